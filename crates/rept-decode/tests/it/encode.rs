//! Packets back to bytes, for tests: written from the manual's tables, sharing nothing with the parser.

use rept_decode::packet::{IpCompression, IpPayload, Packet};

fn with_payload(head: &[u8], payload: u64, bytes: usize) -> Vec<u8> {
    let mut out = head.to_vec();
    out.extend_from_slice(&payload.to_le_bytes()[..bytes]);
    out
}

fn ip(opcode: u8, payload: IpPayload) -> Vec<u8> {
    let (code, bytes) = match payload.compression {
        IpCompression::Suppressed => (0b000, 0),
        IpCompression::Update16 => (0b001, 2),
        IpCompression::Update32 => (0b010, 4),
        IpCompression::SignExtend48 => (0b011, 6),
        IpCompression::Update48 => (0b100, 6),
        IpCompression::Full => (0b110, 8),
    };
    with_payload(&[code << 5 | opcode], payload.bits, bytes)
}

fn cyc(cycles: u64) -> Vec<u8> {
    let (low, mut rest) = (cycles & 0x1f, cycles >> 5);
    let mut out = vec![(low << 3) as u8 | if rest != 0 { 4 } else { 0 } | 3];
    while rest != 0 {
        let more = u8::from(rest >> 7 != 0);
        out.push((rest & 0x7f) as u8 * 2 + more);
        rest >>= 7;
    }
    out
}

/// The bytes of a packet.
pub fn encode(packet: &Packet) -> Vec<u8> {
    let bit = |set: bool, index: u8| u8::from(set) << index;
    match *packet {
        Packet::Pad => vec![0x00],
        Packet::Psb => [0x02, 0x82].repeat(8),
        Packet::PsbEnd => vec![0x02, 0x23],
        Packet::Ovf => vec![0x02, 0xf3],
        Packet::TraceStop => vec![0x02, 0x83],
        Packet::Tnt {
            bits,
            len,
            long: false,
        } => vec![(1 << (len + 1)) | (bits as u8) << 1],
        Packet::Tnt {
            bits,
            len,
            long: true,
        } => with_payload(&[0x02, 0xa3], bits | 1 << len, 6),
        Packet::Tip(payload) => ip(0b01101, payload),
        Packet::TipPge(payload) => ip(0b10001, payload),
        Packet::TipPgd(payload) => ip(0b00001, payload),
        Packet::Fup(payload) => ip(0b11101, payload),
        Packet::ModeExec {
            long,
            default_32,
            interrupts,
        } => {
            vec![0x99, bit(long, 0) | bit(default_32, 1) | bit(interrupts, 2)]
        }
        Packet::ModeTsx {
            in_transaction,
            aborted,
        } => vec![0x99, 0x20 | bit(in_transaction, 0) | bit(aborted, 1)],
        Packet::Pip { cr3, non_root } => {
            with_payload(&[0x02, 0x43], cr3 >> 5 << 1 | u64::from(non_root), 6)
        }
        Packet::Vmcs { base } => with_payload(&[0x02, 0xc8], base >> 12, 5),
        Packet::Cbr { ratio } => vec![0x02, 0x03, ratio, 0],
        Packet::Tsc { tsc } => with_payload(&[0x19], tsc, 7),
        Packet::Tma { ctc, fast_counter } => with_payload(
            &[0x02, 0x73],
            u64::from(ctc) | u64::from(fast_counter) << 24,
            5,
        ),
        Packet::Mtc { ctc } => vec![0x59, ctc],
        Packet::Cyc { cycles } => cyc(cycles),
        Packet::Mnt { payload } => with_payload(&[0x02, 0xc3, 0x88], payload, 8),
        Packet::Ptw { payload, size, ip } => {
            let head = [0x02, 0b10010 | bit(size == 8, 5) | bit(ip, 7)];
            with_payload(&head, payload, usize::from(size))
        }
        Packet::ExStop { ip } => vec![0x02, 0x62 | bit(ip, 7)],
        Packet::Mwait { hints, extensions } => with_payload(
            &[0x02, 0xc2],
            u64::from(hints) | u64::from(extensions) << 32,
            8,
        ),
        Packet::Pwre {
            state,
            sub_state,
            hardware,
        } => vec![0x02, 0x22, bit(hardware, 7), state << 4 | sub_state],
        Packet::Pwrx {
            last,
            deepest,
            reason,
        } => with_payload(&[0x02, 0xa2, last << 4 | deepest, reason], 0, 3),
        Packet::Bbp { kind, short } => vec![0x02, 0x63, kind | bit(short, 7)],
        Packet::Bip { id, payload, size } => {
            with_payload(&[id << 3 | 0b100], payload, usize::from(size))
        }
        Packet::Bep { ip } => vec![0x02, 0x33 | bit(ip, 7)],
        Packet::Cfe { kind, ip, vector } => vec![0x02, 0x13, kind | bit(ip, 7), vector],
        Packet::Evd { kind, payload } => with_payload(&[0x02, 0x53, kind], payload, 8),
        Packet::Trig {
            ip,
            multiple,
            triggers,
            instructions,
        } => {
            let flags = bit(ip, 7) | bit(instructions.is_some(), 6) | bit(multiple, 5);
            let count = instructions.map_or(Vec::new(), |count| count.to_le_bytes().to_vec());
            [vec![0xd9, flags, triggers], count].concat()
        }
    }
}
