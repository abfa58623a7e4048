//! Packets of the Intel PT stream, as the manual names and lays them out.
//!
//! Source: Intel SDM volume 3C, chapter "Intel Processor Trace", section "Trace
//! Packets and Data Types". [`parse`] turns bytes into a [`Packet`] without any
//! state beyond "inside a group of block items or not", which the bytes alone do
//! not tell; [`Packets`] walks over a buffer and keeps that state.

mod ahead;
mod brief;
mod parse;
mod stream;

pub(crate) use ahead::each_brief;
pub use brief::Brief;
pub use parse::{MAX_PACKET_BYTES, ParseError, ParseErrorKind, parse, parse_with_errata};
pub(crate) use parse::{common, is_short_tnt, short_outcomes, short_tnt};
pub(crate) use stream::item_bytes_after;
pub use stream::{PSB, Packets, find_psb};

use rept_trace::Address;
use std::fmt;

/// How an IP payload is compressed against the last IP ("IPBytes" of TIP and FUP packets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpCompression {
    /// No payload: the IP is out of context.
    Suppressed,
    /// The low 16 bits of the last IP are replaced.
    Update16,
    /// The low 32 bits of the last IP are replaced.
    Update32,
    /// 48 bits, sign-extended.
    SignExtend48,
    /// The low 48 bits of the last IP are replaced.
    Update48,
    /// All 64 bits.
    Full,
}

impl IpCompression {
    /// Bytes of payload.
    pub const fn payload_bytes(self) -> usize {
        match self {
            IpCompression::Suppressed => 0,
            IpCompression::Update16 => 2,
            IpCompression::Update32 => 4,
            IpCompression::SignExtend48 | IpCompression::Update48 => 6,
            IpCompression::Full => 8,
        }
    }
}

/// The IP of a TIP, TIP.PGE, TIP.PGD or FUP packet, still compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPayload {
    /// How to read `bits`.
    pub compression: IpCompression,
    /// The payload, zero-extended.
    pub bits: u64,
}

impl IpPayload {
    /// No IP.
    pub const SUPPRESSED: IpPayload = IpPayload {
        compression: IpCompression::Suppressed,
        bits: 0,
    };
}

/// The last IP, against which the next one is compressed; zero after a PSB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastIp(u64);

impl LastIp {
    /// The address that a payload stands for, remembered for the next one; `None` when suppressed.
    #[inline]
    pub fn update(&mut self, payload: IpPayload) -> Option<Address> {
        let keep = |low: u32| (self.0 >> low << low) | payload.bits;
        self.0 = match payload.compression {
            IpCompression::Suppressed => return None,
            IpCompression::Update16 => keep(16),
            IpCompression::Update32 => keep(32),
            IpCompression::SignExtend48 => ((payload.bits << 16) as i64 >> 16) as u64,
            IpCompression::Update48 => keep(48),
            IpCompression::Full => payload.bits,
        };
        Some(Address(self.0))
    }

    /// What a PSB does.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// Padding.
    Pad,
    /// Packet stream boundary: decoding can begin here.
    Psb,
    /// End of the status packets that follow a PSB.
    PsbEnd,
    /// Internal buffer overflow: packets were dropped.
    Ovf,
    /// Tracing was stopped by a TraceStop region.
    TraceStop,
    /// Outcomes of conditional branches and compressed returns, 1 to 47 of them;
    /// bit `len - 1` is the oldest, 1 means taken.
    Tnt {
        /// The outcomes.
        bits: u64,
        /// How many.
        len: u8,
        /// Whether it came in the long form.
        long: bool,
    },
    /// Target of an indirect branch, exception or interrupt.
    Tip(IpPayload),
    /// Tracing begins at this address.
    TipPge(IpPayload),
    /// Tracing ends; the address is where control went.
    TipPgd(IpPayload),
    /// Flow update: the address of an asynchronous event, or the one a neighbouring packet belongs to.
    Fup(IpPayload),
    /// Execution mode from the next IP packet on.
    ModeExec {
        /// CS.L: 64-bit mode.
        long: bool,
        /// CS.D: 32-bit default operand size.
        default_32: bool,
        /// RFLAGS.IF; meaningful with event trace only.
        interrupts: bool,
    },
    /// Transaction state.
    ModeTsx {
        /// Inside a transaction.
        in_transaction: bool,
        /// The transaction was aborted.
        aborted: bool,
    },
    /// Page table base.
    Pip {
        /// CR3, bits 51:5.
        cr3: u64,
        /// VMX non-root operation.
        non_root: bool,
    },
    /// Base address of the current VMCS.
    Vmcs {
        /// Physical address, bits 51:12.
        base: u64,
    },
    /// Core to bus ratio: the core's frequency in units of the bus clock.
    Cbr {
        /// The ratio.
        ratio: u8,
    },
    /// Time stamp.
    Tsc {
        /// Low 56 bits of the counter.
        tsc: u64,
    },
    /// TSC/MTC alignment.
    Tma {
        /// Low 16 bits of the core crystal clock's count at the TSC packet.
        ctc: u16,
        /// TSC ticks since the crystal clock last ticked, 9 bits.
        fast_counter: u16,
    },
    /// Mini time counter: 8 bits of the crystal clock's count, which ones depends on the MTC period.
    Mtc {
        /// The bits.
        ctc: u8,
    },
    /// Core cycles since the last CYC.
    Cyc {
        /// How many.
        cycles: u64,
    },
    /// Maintenance packet; its payload is not architectural.
    Mnt {
        /// Payload.
        payload: u64,
    },
    /// Operand of a PTWRITE instruction.
    Ptw {
        /// Operand, zero-extended.
        payload: u64,
        /// Its size in bytes, 4 or 8.
        size: u8,
        /// A FUP with the instruction's address follows.
        ip: bool,
    },
    /// The core stopped executing.
    ExStop {
        /// A FUP with the address follows.
        ip: bool,
    },
    /// MWAIT or UMWAIT.
    Mwait {
        /// Hints, bits 7:0.
        hints: u32,
        /// Extensions, bits 1:0.
        extensions: u32,
    },
    /// Entry to a power state.
    Pwre {
        /// Resolved thread C-state.
        state: u8,
        /// Resolved sub C-state.
        sub_state: u8,
        /// Initiated by hardware.
        hardware: bool,
    },
    /// Exit from a power state.
    Pwrx {
        /// Last core C-state.
        last: u8,
        /// Deepest core C-state.
        deepest: u8,
        /// Wake reasons: bit 0 interrupt, 2 store to the monitored address, 3 hardware.
        reason: u8,
    },
    /// Begin of a group of block items (PEBS record).
    Bbp {
        /// Type of the group.
        kind: u8,
        /// Items carry 4 bytes instead of 8.
        short: bool,
    },
    /// One block item.
    Bip {
        /// Identifier within the group's type.
        id: u8,
        /// Payload, zero-extended.
        payload: u64,
        /// Its size in bytes, 4 or 8.
        size: u8,
    },
    /// End of a group of block items.
    Bep {
        /// A FUP with the address follows.
        ip: bool,
    },
    /// Control flow event (event trace).
    Cfe {
        /// Kind, e.g. 1 INTR, 2 IRET; see [`cfe_name`].
        kind: u8,
        /// A FUP with the address follows.
        ip: bool,
        /// Vector, for those kinds that have one.
        vector: u8,
    },
    /// Event data (event trace).
    Evd {
        /// What the payload is, e.g. 0 page-fault linear address.
        kind: u8,
        /// Payload.
        payload: u64,
    },
    /// Trigger tracing.
    Trig {
        /// A FUP with the address follows.
        ip: bool,
        /// More than one trigger is reported at once.
        multiple: bool,
        /// Which triggers fired.
        triggers: u8,
        /// Instructions since the last trigger or FUP, when counted.
        instructions: Option<u16>,
    },
}

/// Name of a control flow event's kind (SDM table "CFE Packet Type and Vector Fields Details").
pub fn cfe_name(kind: u8) -> &'static str {
    match kind {
        0x1 => "INTR",
        0x2 => "IRET",
        0x3 => "SMI",
        0x4 => "RSM",
        0x5 => "SIPI",
        0x6 => "INIT",
        0x7 => "VMENTRY",
        0x8 => "VMEXIT",
        0x9 => "VMEXIT_INTR",
        0xa => "SHUTDOWN",
        0xc => "UINTR",
        0xd => "UIRET",
        0xe => "SWINTR",
        0xf => "SYSCALL",
        _ => "reserved",
    }
}

impl Packet {
    /// Mnemonic as in the manual.
    pub fn name(&self) -> &'static str {
        match self {
            Packet::Pad => "PAD",
            Packet::Psb => "PSB",
            Packet::PsbEnd => "PSBEND",
            Packet::Ovf => "OVF",
            Packet::TraceStop => "TraceStop",
            Packet::Tnt { .. } => "TNT",
            Packet::Tip(_) => "TIP",
            Packet::TipPge(_) => "TIP.PGE",
            Packet::TipPgd(_) => "TIP.PGD",
            Packet::Fup(_) => "FUP",
            Packet::ModeExec { .. } => "MODE.Exec",
            Packet::ModeTsx { .. } => "MODE.TSX",
            Packet::Pip { .. } => "PIP",
            Packet::Vmcs { .. } => "VMCS",
            Packet::Cbr { .. } => "CBR",
            Packet::Tsc { .. } => "TSC",
            Packet::Tma { .. } => "TMA",
            Packet::Mtc { .. } => "MTC",
            Packet::Cyc { .. } => "CYC",
            Packet::Mnt { .. } => "MNT",
            Packet::Ptw { .. } => "PTW",
            Packet::ExStop { .. } => "EXSTOP",
            Packet::Mwait { .. } => "MWAIT",
            Packet::Pwre { .. } => "PWRE",
            Packet::Pwrx { .. } => "PWRX",
            Packet::Bbp { .. } => "BBP",
            Packet::Bip { .. } => "BIP",
            Packet::Bep { .. } => "BEP",
            Packet::Cfe { .. } => "CFE",
            Packet::Evd { .. } => "EVD",
            Packet::Trig { .. } => "TRIG",
        }
    }
}

impl fmt::Display for IpPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits;
        match self.compression {
            IpCompression::Suppressed => f.write_str("-"),
            IpCompression::Update16 => write!(f, "~{bits:04x}"),
            IpCompression::Update32 => write!(f, "~{bits:08x}"),
            IpCompression::SignExtend48 => write!(f, "±{bits:012x}"),
            IpCompression::Update48 => write!(f, "~{bits:012x}"),
            IpCompression::Full => write!(f, "{bits:016x}"),
        }
    }
}

/// The mnemonic, then the fields: `TNT !..!`, `TIP ~4005d0`, `CBR ratio 28`, …
/// A taken branch is `!`, one not taken is `.`; an IP that replaces part of the
/// last one begins with `~`, a sign-extended one with `±`.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let flag = |set: bool, name: &'static str| if set { name } else { "" };
        match *self {
            Packet::Pad | Packet::Psb | Packet::PsbEnd | Packet::Ovf | Packet::TraceStop => Ok(()),
            Packet::Tnt { bits, len, .. } => {
                f.write_str(" ")?;
                (0..len)
                    .rev()
                    .try_for_each(|bit| f.write_str(if bits >> bit & 1 == 1 { "!" } else { "." }))
            }
            Packet::Tip(ip) | Packet::TipPge(ip) | Packet::TipPgd(ip) | Packet::Fup(ip) => {
                write!(f, " {ip}")
            }
            Packet::ModeExec { interrupts, .. } => {
                write!(f, " {}{}", exec_mode(self), flag(interrupts, " if"))
            }
            Packet::ModeTsx {
                in_transaction,
                aborted,
            } => {
                write!(
                    f,
                    "{}{}",
                    flag(in_transaction, " intx"),
                    flag(aborted, " abort")
                )
            }
            Packet::Pip { cr3, non_root } => write!(f, " cr3 {cr3:#x}{}", flag(non_root, " nr")),
            Packet::Vmcs { base } => write!(f, " {base:#x}"),
            Packet::Cbr { ratio } => write!(f, " ratio {ratio}"),
            Packet::Tsc { tsc } => write!(f, " {tsc:#x}"),
            Packet::Tma { ctc, fast_counter } => write!(f, " ctc {ctc:#x} fc {fast_counter:#x}"),
            Packet::Mtc { ctc } => write!(f, " {ctc:#x}"),
            Packet::Cyc { cycles } => write!(f, " {cycles}"),
            Packet::Mnt { payload } => write!(f, " {payload:#x}"),
            Packet::Ptw { payload, size, ip } => {
                write!(f, " {payload:#x} size {size}{}", flag(ip, " ip"))
            }
            Packet::ExStop { ip } | Packet::Bep { ip } => f.write_str(flag(ip, " ip")),
            Packet::Mwait { hints, extensions } => {
                write!(f, " hints {hints:#x} ext {extensions:#x}")
            }
            Packet::Pwre {
                state,
                sub_state,
                hardware,
            } => {
                write!(f, " c{state} sub {sub_state}{}", flag(hardware, " hw"))
            }
            Packet::Pwrx {
                last,
                deepest,
                reason,
            } => write!(f, " last c{last} deepest c{deepest} wake {reason:#x}"),
            Packet::Bbp { kind, short } => {
                write!(f, " type {kind:#x} size {}", if short { 4 } else { 8 })
            }
            Packet::Bip { id, payload, .. } => write!(f, " id {id:#x} {payload:#x}"),
            Packet::Cfe { kind, ip, vector } => {
                write!(
                    f,
                    " {} vector {vector:#x}{}",
                    cfe_name(kind),
                    flag(ip, " ip")
                )
            }
            Packet::Evd { kind, payload } => write!(f, " type {kind:#x} {payload:#x}"),
            Packet::Trig {
                ip,
                multiple,
                triggers,
                instructions,
            } => {
                write!(
                    f,
                    " {triggers:#x}{}{}",
                    flag(ip, " ip"),
                    flag(multiple, " mult")
                )?;
                instructions.map_or(Ok(()), |count| write!(f, " icnt {count}"))
            }
        }
    }
}

/// Width that a MODE.Exec packet announces, for display.
fn exec_mode(packet: &Packet) -> &'static str {
    match packet {
        Packet::ModeExec {
            long: true,
            default_32: false,
            ..
        } => "64-bit",
        Packet::ModeExec {
            long: false,
            default_32: true,
            ..
        } => "32-bit",
        Packet::ModeExec {
            long: false,
            default_32: false,
            ..
        } => "16-bit",
        _ => "reserved",
    }
}
