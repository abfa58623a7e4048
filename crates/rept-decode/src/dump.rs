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

use crate::packet::{LastIp, Packet, Packets, ParseError};
use crate::{CpuModel, Errata};
use rept_trace::Address;
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

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset of its first byte.
    pub offset: usize,
    /// The packet; or damage, behind which the listing goes on at the next PSB.
    pub found: Result<Packet, ParseError>,
    /// The address that an IP packet stands for.
    pub ip: Option<Address>,
}

/// The packets of `bytes`, one after the other; none where there is no PSB to begin at.
pub fn entries(bytes: &[u8], options: DumpOptions) -> impl Iterator<Item = Entry> + '_ {
    let errata = options.cpu.map(Errata::of).unwrap_or_default();
    let mut packets = Packets::new(bytes, 0).with_errata(errata);
    let mut has_begun = options.no_sync || packets.sync(0);
    let mut last_ip = LastIp::default();
    std::iter::from_fn(move || {
        while has_begun {
            let Some((offset, found)) = packets.next() else {
                has_begun = false;
                break;
            };
            if options.no_pad && found == Ok(Packet::Pad) {
                continue;
            }
            if found.is_err() {
                packets.resync();
            }
            let ip = found
                .as_ref()
                .ok()
                .and_then(|one| address(one, &mut last_ip));
            return Some(Entry { offset, found, ip });
        }
        None
    })
}

/// Writes the listing of `bytes` to `out`. Damage is a line of its own, after which the
/// listing goes on at the next PSB.
pub fn dump(bytes: &[u8], options: DumpOptions, out: &mut impl Write) -> fmt::Result {
    let mut entries = entries(bytes, options).peekable();
    // Where there is a PSB, it is the first of them.
    if !options.no_sync && entries.peek().is_none() {
        return writeln!(out, "{:016x}  error: no PSB in {} bytes", 0, bytes.len());
    }
    for entry in entries {
        match &entry.found {
            Ok(packet) => write!(out, "{:016x}  {packet}", entry.offset)?,
            Err(error) => write!(out, "{:016x}  error: {error}", entry.offset)?,
        }
        match entry.ip {
            Some(ip) => writeln!(out, "  {ip:x}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

fn address(packet: &Packet, last_ip: &mut LastIp) -> Option<Address> {
    match *packet {
        Packet::Psb => {
            last_ip.reset();
            None
        }
        Packet::Tip(ip) | Packet::TipPge(ip) | Packet::TipPgd(ip) | Packet::Fup(ip) => {
            last_ip.update(ip)
        }
        _ => None,
    }
}
