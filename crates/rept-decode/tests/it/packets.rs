//! The packet parser: every packet comes back from its bytes, and any bytes are survived.

use crate::encode::encode;
use proptest::prelude::*;
use rept_decode::Errata;
use rept_decode::dump::{DumpOptions, dump};
use rept_decode::packet::{
    IpCompression, IpPayload, MAX_PACKET_BYTES, PSB, Packet, Packets, ParseError, ParseErrorKind,
    find_psb, parse,
};

fn ip_payload() -> impl Strategy<Value = IpPayload> {
    let compression = prop_oneof![
        Just(IpCompression::Suppressed),
        Just(IpCompression::Update16),
        Just(IpCompression::Update32),
        Just(IpCompression::SignExtend48),
        Just(IpCompression::Update48),
        Just(IpCompression::Full),
    ];
    (compression, any::<u64>()).prop_map(|(compression, bits)| {
        let bits = match compression.payload_bytes() {
            0 => 0,
            bytes => bits >> (64 - 8 * bytes),
        };
        IpPayload { compression, bits }
    })
}

fn tnt(longest: u8, long: bool) -> impl Strategy<Value = Packet> {
    (1..=longest, any::<u64>()).prop_map(move |(len, bits)| {
        let bits = bits & ((1 << len) - 1);
        Packet::Tnt { bits, len, long }
    })
}

fn moving() -> impl Strategy<Value = Packet> {
    prop_oneof![
        Just(Packet::Pad),
        Just(Packet::Psb),
        Just(Packet::PsbEnd),
        Just(Packet::Ovf),
        Just(Packet::TraceStop),
        tnt(6, false),
        tnt(47, true),
        ip_payload().prop_map(Packet::Tip),
        ip_payload().prop_map(Packet::TipPge),
        ip_payload().prop_map(Packet::TipPgd),
        ip_payload().prop_map(Packet::Fup),
    ]
}

fn stating() -> impl Strategy<Value = Packet> {
    prop_oneof![
        any::<(bool, bool, bool)>().prop_map(|(long, default_32, interrupts)| Packet::ModeExec {
            long,
            default_32,
            interrupts
        }),
        any::<(bool, bool)>().prop_map(|(in_transaction, aborted)| Packet::ModeTsx {
            in_transaction,
            aborted
        }),
        (0u64..1 << 47, any::<bool>()).prop_map(|(page, non_root)| Packet::Pip {
            cr3: page << 5,
            non_root
        }),
        (0u64..1 << 40).prop_map(|page| Packet::Vmcs { base: page << 12 }),
        any::<u8>().prop_map(|ratio| Packet::Cbr { ratio }),
        (0u64..1 << 56).prop_map(|tsc| Packet::Tsc { tsc }),
        (any::<u16>(), 0u16..512).prop_map(|(ctc, fast_counter)| Packet::Tma { ctc, fast_counter }),
        any::<u8>().prop_map(|ctc| Packet::Mtc { ctc }),
        any::<u64>().prop_map(|cycles| Packet::Cyc { cycles }),
        (0u64..100).prop_map(|cycles| Packet::Cyc { cycles }),
        any::<u64>().prop_map(|payload| Packet::Mnt { payload }),
    ]
}

fn rare() -> impl Strategy<Value = Packet> {
    prop_oneof![
        (any::<u32>(), any::<bool>()).prop_map(|(payload, ip)| Packet::Ptw {
            payload: payload.into(),
            size: 4,
            ip
        }),
        (any::<u64>(), any::<bool>()).prop_map(|(payload, ip)| Packet::Ptw {
            payload,
            size: 8,
            ip
        }),
        any::<bool>().prop_map(|ip| Packet::ExStop { ip }),
        (0u32..256, 0u32..4).prop_map(|(hints, extensions)| Packet::Mwait { hints, extensions }),
        (0u8..16, 0u8..16, any::<bool>()).prop_map(|(state, sub_state, hardware)| Packet::Pwre {
            state,
            sub_state,
            hardware
        }),
        (0u8..16, 0u8..16, 0u8..16).prop_map(|(last, deepest, reason)| Packet::Pwrx {
            last,
            deepest,
            reason
        }),
        (0u8..32, any::<bool>()).prop_map(|(kind, short)| Packet::Bbp { kind, short }),
        any::<bool>().prop_map(|ip| Packet::Bep { ip }),
        (0u8..32, any::<bool>(), any::<u8>()).prop_map(|(kind, ip, vector)| Packet::Cfe {
            kind,
            ip,
            vector
        }),
        (0u8..64, any::<u64>()).prop_map(|(kind, payload)| Packet::Evd { kind, payload }),
        any::<(bool, bool, u8, Option<u16>)>().prop_map(
            |(ip, multiple, triggers, instructions)| Packet::Trig {
                ip,
                multiple,
                triggers,
                instructions
            }
        ),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![moving(), stating(), rare()]
}

/// A stream of some hundred packets, of which more or less are such as can be told in brief.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let brief = || {
        prop_oneof![
            8 => tnt(6, false),
            4 => ip_payload().prop_map(Packet::Tip),
            1 => Just(Packet::Pad),
            1 => any::<u8>().prop_map(|ctc| Packet::Mtc { ctc }),
            1 => (0u64..1 << 14).prop_map(|cycles| Packet::Cyc { cycles }),
        ]
    };
    let packets = |of: BoxedStrategy<Packet>| prop::collection::vec(of, 1..400).boxed();
    let often = prop_oneof![30 => brief(), 1 => packet()].boxed();
    prop_oneof![packets(often), packets(packet().boxed())]
        .prop_map(|packets| packets.iter().flat_map(encode).collect())
}

/// The same with bytes changed and a CYC that an OVF cuts off put in, or any bytes.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let places = || prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20);
    let changed = (stream(), places(), places()).prop_map(|(mut bytes, changes, cuts)| {
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        for (index, byte) in cuts {
            let index = index.index(bytes.len());
            bytes.splice(index..index, [byte | 7, 0x02, 0xf3]);
        }
        bytes
    });
    prop_oneof![changed, prop::collection::vec(any::<u8>(), 0..2000)]
}

/// Those that packets show.
fn errata() -> impl Strategy<Value = Errata> {
    any::<(bool, bool)>().prop_map(|(skd007, skz84)| Errata {
        skd007,
        skz84,
        ..Errata::default()
    })
}

type Found = Vec<(usize, Result<Packet, ParseError>)>;

/// All packets, by [`Packets::briefs`] where these are asked for; what is found behind each damage.
fn found(bytes: &[u8], errata: Errata, briefs: bool) -> Found {
    let mut packets = Packets::new(bytes, 0).with_errata(errata);
    let mut found = Vec::new();
    loop {
        if briefs {
            packets.briefs(|at, brief| found.push((at, Ok(brief.packet()))));
        }
        let Some(next) = packets.next() else {
            return found;
        };
        found.push(next);
        if next.1.is_err() {
            packets.resync();
        }
    }
}

/// What of a packet is its payload, told in brief.
fn payload(packet: Packet) -> u64 {
    match packet {
        Packet::Tnt { bits, .. } => bits,
        Packet::Tip(ip) | Packet::TipPge(ip) | Packet::TipPgd(ip) | Packet::Fup(ip) => ip.bits,
        Packet::Mtc { ctc } => ctc.into(),
        Packet::Tsc { tsc } => tsc,
        Packet::Cyc { cycles } => cycles,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn comes_back_from_its_bytes(packet in packet(), behind in any::<[u8; 4]>()) {
        let bytes = encode(&packet);
        prop_assert!(bytes.len() <= MAX_PACKET_BYTES);
        let padded = [&bytes[..], &behind].concat();
        prop_assert_eq!(parse(&padded, None).unwrap(), (packet, bytes.len()));
        for cut in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..cut], None).unwrap_err().kind(), ParseErrorKind::Truncated);
        }
    }

    #[test]
    fn block_items_come_back(id in 0u8..32, payload: u64, short: bool) {
        let (size, payload) = if short { (4, payload & 0xffff_ffff) } else { (8, payload) };
        let item = Packet::Bip { id, payload, size };
        let group = [Packet::Bbp { kind: 4, short }, item, Packet::Bep { ip: false }];
        let bytes: Vec<u8> = group.iter().flat_map(encode).collect();
        let parsed: Vec<Packet> = Packets::new(&bytes, 0).map(|(_, packet)| packet.unwrap()).collect();
        prop_assert_eq!(parsed, group);
    }

    #[test]
    fn any_bytes_are_packets_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        match parse(&bytes, None) {
            Ok((_, len)) => prop_assert!((1..=bytes.len().min(MAX_PACKET_BYTES)).contains(&len)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        let mut listing = String::new();
        dump(&bytes, DumpOptions { no_sync: true, ..DumpOptions::default() }, &mut listing).unwrap();
        prop_assert!(bytes.is_empty() || !listing.is_empty());
    }

    #[test]
    fn packets_in_brief_are_those_read_alone(bytes in damaged(), errata in errata()) {
        prop_assert_eq!(found(&bytes, errata, true), found(&bytes, errata, false));
    }

    #[test]
    fn a_brief_tells_what_its_packet_does(bytes in damaged()) {
        let mut packets = Packets::new(&bytes, 0);
        let mut briefs = Vec::new();
        packets.briefs(|_, brief| briefs.push(brief));
        for brief in briefs {
            let packet = brief.packet();
            prop_assert_eq!(brief.payload(), payload(packet));
            let leads_on = matches!(
                packet,
                Packet::Pad | Packet::Tnt { .. } | Packet::Tip(_) | Packet::TipPge(_) | Packet::TipPgd(_)
            );
            prop_assert_eq!(brief.leads_on(), leads_on);
        }
    }

    #[test]
    fn a_boundary_is_found_where_it_is(before in prop::collection::vec(0u8..0x80, 0..80), after in any::<[u8; 20]>()) {
        let bytes = [&before[..], &PSB, &after].concat();
        // A 02 and 82 before it may be part of a longer run, which begins earlier.
        let naive = (0..bytes.len()).find(|&at| bytes[at..].starts_with(&PSB));
        prop_assert_eq!(find_psb(&bytes, 0), naive);
    }
}

#[test]
fn of_common_packets_nearly_all_are_told_in_brief() {
    let long = [0x6d, 1, 2, 3, 4, 5, 6];
    let common = [
        &[0x00, 0x06, 0xfe, 0x2d, 0x05, 0x02][..],
        &[0x4d, 1, 2, 3, 4],
        &long,
        &[0x0d],
    ];
    let timed = [
        &[0x19, 1, 2, 3, 4, 5, 6, 7][..],
        &[0x59, 3, 0x83, 0x87, 0x04],
    ];
    let other = [&[0x31, 1, 2][..], &[0x21, 1, 2], &[0x3d, 1, 2]];
    let boundary = [
        &PSB[..],
        &[0x99, 0x01, 0x99, 0x20],
        &[0x02, 0x03, 20, 0],
        &[0x02, 0x43, 1, 2, 3, 4, 5, 6],
        &[0x02, 0xc8, 1, 2, 3, 4, 5],
        &[0x02, 0x23],
    ];
    let round = [
        common.concat(),
        timed.concat(),
        other.concat(),
        boundary.concat(),
    ]
    .concat();
    let bytes = round.repeat(100);
    let mut told = 0;
    let mut packets = Packets::new(&bytes, 0);
    packets.briefs(|_, _| told += 1);
    assert!(packets.offset() > bytes.len() - 300, "{}", packets.offset());
    assert_eq!(
        told,
        Packets::new(&bytes, 0)
            .take_while(|&(at, _)| at < packets.offset())
            .count()
    );
}

#[test]
fn a_listing_tells_offsets_fields_and_addresses() {
    let sign_extended = IpPayload {
        compression: IpCompression::SignExtend48,
        bits: 0x40_1000,
    };
    let update = IpPayload {
        compression: IpCompression::Update16,
        bits: 0x2000,
    };
    let packets = [
        Packet::Psb,
        Packet::PsbEnd,
        Packet::TipPge(sign_extended),
        Packet::Tnt {
            bits: 0b101,
            len: 3,
            long: false,
        },
        Packet::Tip(update),
    ];
    let mut bytes: Vec<u8> = packets.iter().flat_map(encode).collect();
    bytes.push(0x05);
    let mut listing = String::new();
    dump(&bytes, DumpOptions::default(), &mut listing).unwrap();
    let expected = "\
0000000000000000  PSB
0000000000000010  PSBEND
0000000000000012  TIP.PGE ±000000401000  401000
0000000000000019  TNT !.!
000000000000001a  TIP ~2000  402000
000000000000001d  error: no packet begins with 05 00
";
    assert_eq!(listing, expected);
}

#[test]
fn a_psb_that_a_cut_packet_swallows_is_found() {
    // An MNT without its payload, then PSB, PSBEND: the payload seems to be the PSB's begin.
    let mut bytes = vec![0x02, 0xc3, 0x88];
    bytes.extend(PSB);
    bytes.extend([0x02, 0x23]);
    let mut packets = Packets::new(&bytes, 0);
    let mut names = Vec::new();
    while let Some((offset, parsed)) = packets.next() {
        match parsed {
            Ok(packet) => names.push((offset, packet.name())),
            Err(_) => assert!(packets.resync()),
        }
    }
    assert_eq!(names, [(0, "MNT"), (3, "PSB"), (19, "PSBEND")]);
}
