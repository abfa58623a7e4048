//! The packet parser: any bytes are packets and errors, each at a place further on.

use rept_decode::packet::Packets;

/// Walks over all packets, resynchronising behind errors; in brief they are the same.
pub fn run(data: &[u8]) {
    alone(data);
    in_brief(data);
}

fn in_brief(data: &[u8]) {
    let mut alone = Packets::new(data, 0);
    let mut packets = Packets::new(data, 0);
    loop {
        packets.briefs(|at, brief| assert_eq!(alone.next(), Some((at, Ok(brief.packet())))));
        let next = packets.next();
        assert_eq!(alone.next(), next);
        if !matches!(next, Some((_, Ok(_)))) {
            break;
        }
    }
}

fn alone(data: &[u8]) {
    let mut packets = Packets::new(data, 0);
    let mut last = None;
    while let Some((offset, packet)) = packets.next() {
        assert!(last < Some(offset), "packets move on");
        last = Some(offset);
        if packet.is_err() && !packets.sync(offset + 1) {
            break;
        }
        assert!(packets.offset() > offset && packets.offset() <= data.len());
    }
}

/// Streams of every kind of packet, as the manual lays them out.
pub fn seeds() -> Vec<Vec<u8>> {
    let psb = [0x02, 0x82].repeat(8);
    let psb_plus = [
        &[0x19, 1, 2, 3, 4, 5, 6, 7][..], // TSC
        &[0x02, 0x73, 1, 2, 0, 4, 0],     // TMA
        &[0x02, 0x03, 20, 0],             // CBR
        &[0x99, 0x01],                    // MODE.Exec
        &[0x02, 0x23],                    // PSBEND
    ]
    .concat();
    let flow = [
        &[0x71, 0, 0x10, 0x40, 0, 0, 0][..], // TIP.PGE, 48 bits
        &[0x0e, 0x56, 0xfe],                 // short TNT
        &[0x02, 0xa3, 1, 2, 3, 4, 5, 6],     // long TNT
        &[0x2d, 8, 0x10],                    // TIP, 16 bits
        &[0x59, 7, 0x83, 0x1f, 5],           // MTC, CYC, CYC of two bytes
        &[0x3d, 9, 0x10, 0x01],              // FUP, TIP.PGD
    ]
    .concat();
    let rare = [
        &[0x02, 0x43, 1, 2, 3, 4, 5, 6][..],            // PIP
        &[0x02, 0xc8, 1, 2, 3, 4, 5],                   // VMCS
        &[0x02, 0xc3, 0x88, 1, 2, 3, 4, 5, 6, 7, 8, 9], // MNT
        &[0x02, 0x12, 1, 2, 3, 4],                      // PTW
        &[0x02, 0x62, 0x02, 0xa2, 1, 1],                // EXSTOP, PWRE
        &[0x02, 0x63, 1, 0x7c, 1, 2, 3, 4, 0x02, 0x33], // BBP, BIP, BEP
        &[0x02, 0x13, 1, 2, 0x02, 0x53, 1],             // CFE, EVD
        &[0x02, 0xf3, 0x02, 0x83],                      // OVF, TraceStop
    ]
    .concat();
    let all = [&psb[..], &psb_plus, &flow, &rare].concat();
    vec![[&psb[..], &psb_plus, &flow].concat(), rare, all]
}
