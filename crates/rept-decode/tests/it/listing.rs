//! Packets in the words of the reference's packet dump.

use rept_decode::packet::{IpCompression, IpPayload, Packet, Packets, cfe_name};
use rept_decode::{CpuModel, Errata};

/// The first line in which the dump of `pt` is not as `expected`. Lines in brackets, records of perf
/// among the packets, and columns behind ours (times, addresses), depend on options and are not compared.
pub fn difference(
    pt: &[u8],
    cpu: Option<CpuModel>,
    options: &str,
    expected: &str,
) -> Option<String> {
    let normal = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let expected: Vec<_> = expected
        .lines()
        .filter(|line| !line.starts_with(['[', ' ']) && !line.contains("PERF_RECORD_"))
        .map(normal)
        .collect();
    let found: Vec<_> = dump(pt, cpu, options)
        .iter()
        .map(|line| normal(line))
        .collect();
    let longer = found.len().max(expected.len());
    let at = (0..longer).find(|&line| match (found.get(line), expected.get(line)) {
        (Some(found), Some(expected)) => !expected.starts_with(found),
        _ => true,
    })?;
    Some(format!(
        "  line {at}\n  found    {:?}\n  expected {:?}",
        found.get(at),
        expected.get(at)
    ))
}

fn dump(pt: &[u8], cpu: Option<CpuModel>, options: &str) -> Vec<String> {
    let mut packets = Packets::new(pt, 0).with_errata(cpu.map(Errata::of).unwrap_or_default());
    if !options.contains("--no-sync") {
        packets.sync(0);
    }
    let mut lines = Vec::new();
    while let Some((offset, parsed)) = packets.next() {
        let bytes = &pt[offset..packets.offset()];
        match parsed {
            Ok(Packet::Cyc { .. }) if options.contains("--no-cyc") => {}
            // What erratum SKZ84 leaves of a TMA is passed over in one.
            Ok(Packet::Pad) if bytes.len() > 1 => {
                lines.push(line(options, offset, bytes, "<invalid>"));
            }
            Ok(packet) => lines.push(line(options, offset, bytes, &text(&packet))),
            Err(_) => {
                packets.resync();
            }
        }
    }
    lines
}

/// The columns that the options ask for.
fn line(options: &str, offset: usize, bytes: &[u8], text: &str) -> String {
    let asked = |option: &str| options.split_whitespace().any(|word| word == option);
    let mut line = String::new();
    if !asked("--no-offset") {
        line += &format!("{offset:016x} ");
    }
    if asked("--raw") {
        line.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
        line.push(' ');
    }
    line + text
}

fn list(name: &str, fields: &[(bool, &str)]) -> String {
    let set: Vec<&str> = fields
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| *name)
        .collect();
    format!("{name} {}", set.join(", "))
}

fn ip(name: &str, payload: IpPayload) -> String {
    let bits = payload.bits;
    let (number, text) = match payload.compression {
        IpCompression::Suppressed => (0, "????????????????".to_owned()),
        IpCompression::Update16 => (1, format!("????????????{bits:04x}")),
        IpCompression::Update32 => (2, format!("????????{bits:08x}")),
        IpCompression::SignExtend48 => (3, format!("{:016x}", (bits << 16) as i64 >> 16)),
        IpCompression::Update48 => (4, format!("????{bits:012x}")),
        IpCompression::Full => (6, format!("{bits:016x}")),
    };
    format!("{name} {number}: {text}")
}

fn optional_ip(ip: bool) -> &'static str {
    if ip { ", ip" } else { "" }
}

fn text(packet: &Packet) -> String {
    match *packet {
        Packet::Tnt { bits, len, long } => {
            let outcomes: String = (0..len)
                .rev()
                .map(|bit| if bits >> bit & 1 == 1 { '!' } else { '.' })
                .collect();
            format!("tnt.{} {outcomes}", if long { 64 } else { 8 })
        }
        Packet::Tip(payload) => ip("tip", payload),
        Packet::TipPge(payload) => ip("tip.pge", payload),
        Packet::TipPgd(payload) => ip("tip.pgd", payload),
        Packet::Fup(payload) => ip("fup", payload),
        Packet::ModeExec {
            long,
            default_32,
            interrupts,
        } => list(
            "mode.exec",
            &[(default_32, "cs.d"), (long, "cs.l"), (interrupts, "if")],
        ),
        Packet::ModeTsx {
            in_transaction,
            aborted,
        } => list("mode.tsx", &[(in_transaction, "intx"), (aborted, "abrt")]),
        Packet::Pip { cr3, non_root } => {
            format!("pip {cr3:x}{}", if non_root { ", nr" } else { "" })
        }
        Packet::Vmcs { base } => format!("vmcs {base:x}"),
        Packet::Cbr { ratio } => format!("cbr {ratio:x}"),
        Packet::Tsc { tsc } => format!("tsc {tsc:x}"),
        Packet::Tma { ctc, fast_counter } => format!("tma {ctc:x}, {fast_counter:x}"),
        Packet::Mtc { ctc } => format!("mtc {ctc:x}"),
        Packet::Cyc { cycles } => format!("cyc {cycles:x}"),
        Packet::Mnt { payload } => format!("mnt {payload:x}"),
        Packet::TraceStop => "stop".to_owned(),
        Packet::ExStop { ip } => list("exstop", &[(ip, "ip")]),
        Packet::Mwait { hints, extensions } => format!("mwait {hints:08x}, {extensions:08x}"),
        Packet::Pwre {
            state,
            sub_state,
            hardware,
        } => {
            let number = |state: u8| (state + 1) & 15;
            format!(
                "pwre c{}.{}{}",
                number(state),
                number(sub_state),
                if hardware { ", hw" } else { "" }
            )
        }
        Packet::Pwrx {
            last,
            deepest,
            reason,
        } => {
            let number = |state: u8| (state + 1) & 15;
            let reasons: String = [(1, "int: "), (4, "st: "), (8, "hw: ")]
                .iter()
                .filter(|(bit, _)| reason & bit != 0)
                .map(|(_, name)| *name)
                .collect();
            format!("pwrx {reasons}c{}, c{}", number(last), number(deepest))
        }
        Packet::Ptw { payload, size, ip } => format!(
            "ptw {}: {payload:x}{}",
            u8::from(size == 8),
            optional_ip(ip)
        ),
        Packet::Cfe { kind, ip, vector } => {
            let vector = match (kind, vector) {
                (5, vector) => format!(": {vector:x}"),
                (1 | 9 | 12 | 14, vector) => format!(": {vector}"),
                _ => String::new(),
            };
            format!(
                "cfe {kind}{vector}{} type {}",
                optional_ip(ip),
                cfe_name(kind).to_lowercase().replace("reserved", "unknown")
            )
        }
        Packet::Evd { kind, payload } => format!("evd {kind}: {payload:x}"),
        Packet::Trig {
            ip,
            multiple,
            triggers,
            instructions,
        } => {
            let count = instructions.map_or(String::new(), |count| format!(", icnt: {count}"));
            let multiple = if multiple { ", mult" } else { "" };
            format!("trig {triggers:02x}{}{multiple}{count}", optional_ip(ip))
        }
        ref other => other.name().to_lowercase(),
    }
}
