//! A text listing of packets, one a line: offset, mnemonic, fields.
//!
//! ```text
//! 0000000000000000  PSB
//! 0000000000000010  TSC 0x2fa1088fb28320
//! 0000000000000018  PSBEND
//! 000000000000001a  TIP.PGE ~401000  401000
//! ```
//!
//! Packets with an IP end with the address that the payload stands for.

use crate::packet::{LastIp, Packet, Packets};
use crate::{CpuModel, Errata};
use std::fmt::{self, Write};

/// What to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpOptions {
    /// Leave out PAD packets.
    pub no_pad: bool,
    /// List from the first byte, not from the first PSB.
    pub no_sync: bool,
    /// The processor, for its errata.
    pub cpu: Option<CpuModel>,
}

/// Writes the listing of `bytes` to `out`. Damage is a line of its own, after which the
/// listing goes on at the next PSB.
pub fn dump(bytes: &[u8], options: DumpOptions, out: &mut impl Write) -> fmt::Result {
    let mut packets =
        Packets::new(bytes, 0).with_errata(options.cpu.map(Errata::of).unwrap_or_default());
    if !options.no_sync && !packets.sync(0) {
        return writeln!(out, "{:016x}  error: no PSB in {} bytes", 0, bytes.len());
    }
    let mut last_ip = LastIp::default();
    while let Some((offset, parsed)) = packets.next() {
        match parsed {
            Ok(Packet::Pad) if options.no_pad => {}
            Ok(packet) => line(offset, &packet, &mut last_ip, out)?,
            Err(error) => {
                writeln!(out, "{offset:016x}  error: {error}")?;
                packets.resync();
            }
        }
    }
    Ok(())
}

fn line(offset: usize, packet: &Packet, last_ip: &mut LastIp, out: &mut impl Write) -> fmt::Result {
    write!(out, "{offset:016x}  {packet}")?;
    let ip = match *packet {
        Packet::Psb => {
            last_ip.reset();
            None
        }
        Packet::Tip(ip) | Packet::TipPge(ip) | Packet::TipPgd(ip) | Packet::Fup(ip) => {
            last_ip.update(ip)
        }
        _ => None,
    };
    match ip {
        Some(ip) => writeln!(out, "  {ip:x}"),
        None => writeln!(out),
    }
}
