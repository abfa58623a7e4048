//! Intel PT packets to bytes: the complete set of the SDM, volume 3, chapter "Intel
//! Processor Trace", section "Trace Packets and Data Types".
//!
//! Layouts are transcribed from the manual's packet tables and share no code with any
//! parser, so that a wrong layout cannot cancel itself out.

/// One packet. Fields are named as in the manual; values wider than their field are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "variants and fields are the manual's own terms"
)]
#[non_exhaustive]
pub enum Packet {
    Pad,
    /// Up to 6 (short) or 47 (long) conditional branches; bit `count - 1` is the oldest, 1 = taken.
    TntShort {
        bits: u8,
        count: u8,
    },
    TntLong {
        bits: u64,
        count: u8,
    },
    Tip(IpPayload),
    TipPge(IpPayload),
    TipPgd(IpPayload),
    Fup(IpPayload),
    /// CR3 in place (bits 51:5 are kept) and the non-root bit.
    Pip {
        cr3: u64,
        non_root: bool,
    },
    /// CS.L and CS.D of MODE.Exec, and the interrupt flag of event tracing.
    ModeExec {
        long: bool,
        default32: bool,
        interrupt_flag: bool,
    },
    ModeTsx {
        in_transaction: bool,
        aborted: bool,
    },
    TraceStop,
    /// Core:bus ratio.
    Cbr {
        ratio: u8,
    },
    /// Bits 55:0 of the time-stamp counter.
    Tsc {
        tsc: u64,
    },
    /// The mini time counter: 8 bits of the crystal clock.
    Mtc {
        ctc: u8,
    },
    /// Crystal clock bits 15:0 and the 9-bit fast counter, in TSC ticks since it changed.
    Tma {
        ctc: u16,
        fast: u16,
    },
    /// Core cycles since the last CYC packet.
    Cyc {
        cycles: u64,
    },
    /// VMCS pointer in place (bits 51:12 are kept).
    Vmcs {
        base: u64,
    },
    Ovf,
    Psb,
    PsbEnd,
    Mnt {
        payload: u64,
    },
    Ptw {
        payload: PtwPayload,
        ip: bool,
    },
    Exstop {
        ip: bool,
    },
    Mwait {
        hints: u8,
        extensions: u8,
    },
    Pwre {
        hardware: bool,
        state: u8,
        sub_state: u8,
    },
    Pwrx {
        last: u8,
        deepest: u8,
        wake_reason: u8,
    },
    /// Block begin; `short` items have 4 bytes instead of 8.
    Bbp {
        short: bool,
        kind: u8,
    },
    Bip {
        id: u8,
        payload: BipPayload,
    },
    Bep {
        ip: bool,
    },
    Cfe {
        kind: u8,
        vector: u8,
        ip: bool,
    },
    Evd {
        kind: u8,
        payload: u64,
    },
}

/// Operand of PTWRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the size is the name")]
pub enum PtwPayload {
    Four(u32),
    Eight(u64),
}

/// Payload of a block item: its size is the one that the block's BBP announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the size is the name")]
pub enum BipPayload {
    Four(u32),
    Eight(u64),
}

/// An instruction address as TIP, TIP.PGE, TIP.PGD and FUP carry it: whole, in part, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpPayload {
    /// IPBytes 000: out of context.
    Suppressed,
    /// IPBytes 001: bits 15:0 replace those of the last IP.
    Low16(u16),
    /// IPBytes 010: bits 31:0 replace those of the last IP.
    Low32(u32),
    /// IPBytes 011: bits 47:0, sign-extended.
    Signed48(u64),
    /// IPBytes 100: bits 47:0 replace those of the last IP.
    Low48(u64),
    /// IPBytes 110: all 64 bits.
    Full(u64),
}

impl IpPayload {
    /// The shortest form of `ip` for a decoder that holds `last`.
    pub fn compressed(ip: u64, last: u64) -> IpPayload {
        let differing = ip ^ last;
        let sign_extended = ((ip << 16) as i64 >> 16) as u64;
        if differing >> 16 == 0 {
            IpPayload::Low16(ip as u16)
        } else if differing >> 32 == 0 {
            IpPayload::Low32(ip as u32)
        } else if sign_extended == ip {
            IpPayload::Signed48(ip)
        } else if differing >> 48 == 0 {
            IpPayload::Low48(ip)
        } else {
            IpPayload::Full(ip)
        }
    }

    // Header of five bits `opcode`, then the payload.
    fn encode(self, opcode: u8, out: &mut Vec<u8>) {
        let (ip_bytes, value, length) = match self {
            IpPayload::Suppressed => (0b000, 0, 0),
            IpPayload::Low16(ip) => (0b001, u64::from(ip), 2),
            IpPayload::Low32(ip) => (0b010, u64::from(ip), 4),
            IpPayload::Signed48(ip) => (0b011, ip, 6),
            IpPayload::Low48(ip) => (0b100, ip, 6),
            IpPayload::Full(ip) => (0b110, ip, 8),
        };
        out.push(ip_bytes << 5 | opcode);
        out.extend_from_slice(&value.to_le_bytes()[..length]);
    }
}

impl Packet {
    /// Appends the packet's bytes.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Packet::Pad => out.push(0x00),
            Packet::TntShort { bits, count } => encode_short_tnt(bits, count, out),
            Packet::TntLong { bits, count } => encode_long_tnt(bits, count, out),
            Packet::Tip(ip) => ip.encode(0b0_1101, out),
            Packet::TipPge(ip) => ip.encode(0b1_0001, out),
            Packet::TipPgd(ip) => ip.encode(0b0_0001, out),
            Packet::Fup(ip) => ip.encode(0b1_1101, out),
            Packet::Pip { cr3, non_root } => {
                let payload = (cr3 >> 5 << 1 | u64::from(non_root)).to_le_bytes();
                extended(0x43, &payload[..6], out);
            }
            Packet::ModeExec {
                long,
                default32,
                interrupt_flag,
            } => {
                out.extend([
                    0x99,
                    bit(long, 0) | bit(default32, 1) | bit(interrupt_flag, 2),
                ]);
            }
            Packet::ModeTsx {
                in_transaction,
                aborted,
            } => {
                out.extend([0x99, 0x20 | bit(in_transaction, 0) | bit(aborted, 1)]);
            }
            Packet::TraceStop => extended(0x83, &[], out),
            Packet::Cbr { ratio } => extended(0x03, &[ratio, 0], out),
            Packet::Tsc { tsc } => {
                out.push(0x19);
                out.extend_from_slice(&tsc.to_le_bytes()[..7]);
            }
            Packet::Mtc { ctc } => out.extend([0x59, ctc]),
            Packet::Tma { ctc, fast } => {
                let ([c0, c1], [f0, f1]) = (ctc.to_le_bytes(), fast.to_le_bytes());
                extended(0x73, &[c0, c1, 0, f0, f1 & 1], out);
            }
            Packet::Cyc { cycles } => encode_cyc(cycles, out),
            Packet::Vmcs { base } => extended(0xc8, &(base >> 12).to_le_bytes()[..5], out),
            Packet::Ovf => extended(0xf3, &[], out),
            Packet::Psb => out.extend([0x02, 0x82].repeat(8)),
            Packet::PsbEnd => extended(0x23, &[], out),
            Packet::Mnt { payload } => {
                extended(0xc3, &[0x88], out);
                out.extend(payload.to_le_bytes());
            }
            Packet::Ptw {
                payload: PtwPayload::Four(value),
                ip,
            } => {
                extended(0x12 | bit(ip, 7), &value.to_le_bytes(), out);
            }
            Packet::Ptw {
                payload: PtwPayload::Eight(value),
                ip,
            } => {
                extended(0x32 | bit(ip, 7), &value.to_le_bytes(), out);
            }
            Packet::Exstop { ip } => extended(0x62 | bit(ip, 7), &[], out),
            Packet::Mwait { hints, extensions } => {
                extended(0xc2, &[hints, 0, 0, 0, extensions & 3, 0, 0, 0], out);
            }
            Packet::Pwre {
                hardware,
                state,
                sub_state,
            } => {
                extended(0x22, &[bit(hardware, 7), state << 4 | sub_state & 15], out);
            }
            Packet::Pwrx {
                last,
                deepest,
                wake_reason,
            } => {
                extended(
                    0xa2,
                    &[last << 4 | deepest & 15, wake_reason & 15, 0, 0, 0],
                    out,
                );
            }
            Packet::Bbp { short, kind } => extended(0x63, &[bit(short, 7) | kind & 31], out),
            Packet::Bip { id, payload } => {
                out.push(id << 3 | 0b100);
                match payload {
                    BipPayload::Four(value) => out.extend(value.to_le_bytes()),
                    BipPayload::Eight(value) => out.extend(value.to_le_bytes()),
                }
            }
            Packet::Bep { ip } => extended(0x33 | bit(ip, 7), &[], out),
            Packet::Cfe { kind, vector, ip } => {
                extended(0x13, &[bit(ip, 7) | kind & 31, vector], out)
            }
            Packet::Evd { kind, payload } => {
                extended(0x53, &[kind & 63], out);
                out.extend(payload.to_le_bytes());
            }
        }
    }

    /// The packet's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

fn bit(value: bool, position: u8) -> u8 {
    u8::from(value) << position
}

// A packet with a two-byte header.
fn extended(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend([0x02, opcode]);
    out.extend_from_slice(payload);
}

// The stop bit stands in front of the oldest branch.
fn encode_short_tnt(bits: u8, count: u8, out: &mut Vec<u8>) {
    let count = count.clamp(1, 6);
    let kept = bits & ((1 << count) - 1);
    out.push((1 << count | kept) << 1);
}

fn encode_long_tnt(bits: u64, count: u8, out: &mut Vec<u8>) {
    let count = count.clamp(1, 47);
    let kept = bits & ((1 << count) - 1);
    extended(0xa3, &(1 << count | kept).to_le_bytes()[..6], out);
}

// Five bits and an extension flag, then seven bits and a flag in each further byte.
fn encode_cyc(cycles: u64, out: &mut Vec<u8>) {
    let mut rest = cycles >> 5;
    out.push(((cycles & 31) << 3) as u8 | bit(rest != 0, 2) | 0b11);
    while rest != 0 {
        let payload = ((rest & 127) << 1) as u8;
        rest >>= 7;
        out.push(payload | bit(rest != 0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packet: Packet, bytes: &[u8]) {
        assert_eq!(packet.to_bytes(), bytes, "{packet:?}");
    }

    // Bytes worked out by hand from the packet tables of the manual.
    #[test]
    fn branches() {
        check(Packet::Pad, &[0x00]);
        check(Packet::TntShort { bits: 1, count: 1 }, &[0b0000_0110]);
        check(Packet::TntShort { bits: 0, count: 1 }, &[0b0000_0100]);
        check(
            Packet::TntShort {
                bits: 0b101101,
                count: 6,
            },
            &[0b1101_1010],
        );
        check(
            Packet::TntLong {
                bits: 0b1010_1010,
                count: 8,
            },
            &[0x02, 0xa3, 0xaa, 0x01, 0, 0, 0, 0],
        );
        let full = Packet::TntLong {
            bits: (1 << 47) - 1,
            count: 47,
        };
        check(full, &[0x02, 0xa3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn addresses() {
        check(Packet::Tip(IpPayload::Suppressed), &[0x0d]);
        check(Packet::Tip(IpPayload::Low16(0x1234)), &[0x2d, 0x34, 0x12]);
        check(
            Packet::TipPge(IpPayload::Low32(0x8765_4321)),
            &[0x51, 0x21, 0x43, 0x65, 0x87],
        );
        check(
            Packet::Fup(IpPayload::Signed48(0xffff_8000_0000_0001)),
            &[0x7d, 0x01, 0, 0, 0, 0, 0x80],
        );
        check(
            Packet::TipPgd(IpPayload::Low48(0x1234_5678_9abc)),
            &[0x81, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12],
        );
        check(
            Packet::TipPgd(IpPayload::Full(1)),
            &[0xc1, 1, 0, 0, 0, 0, 0, 0, 0],
        );
    }

    #[test]
    fn shortest_form_of_an_address() {
        let last = 0x7fff_1234_5678;
        assert_eq!(
            IpPayload::compressed(0x7fff_1234_0001, last),
            IpPayload::Low16(1)
        );
        assert_eq!(
            IpPayload::compressed(0x7fff_0000_0001, last),
            IpPayload::Low32(1)
        );
        assert_eq!(
            IpPayload::compressed(0x5555_0000_0001, last),
            IpPayload::Signed48(0x5555_0000_0001)
        );
        let high = 0x0001_8000_0000_0000;
        assert_eq!(
            IpPayload::compressed(high | 5 << 32, high),
            IpPayload::Low48(high | 5 << 32)
        );
        assert_eq!(IpPayload::compressed(high, last), IpPayload::Full(high));
    }

    #[test]
    fn time() {
        check(
            Packet::Tsc {
                tsc: 0x11_2233_4455_6677,
            },
            &[0x19, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
        );
        check(Packet::Mtc { ctc: 0xab }, &[0x59, 0xab]);
        check(
            Packet::Tma {
                ctc: 0x1234,
                fast: 0x1ff,
            },
            &[0x02, 0x73, 0x34, 0x12, 0, 0xff, 0x01],
        );
        check(Packet::Cbr { ratio: 24 }, &[0x02, 0x03, 24, 0]);
        check(Packet::Cyc { cycles: 0 }, &[0b0000_0011]);
        check(Packet::Cyc { cycles: 31 }, &[0b1111_1011]);
        check(Packet::Cyc { cycles: 32 }, &[0b0000_0111, 0b0000_0010]);
        check(
            Packet::Cyc { cycles: 1 << 12 },
            &[0b0000_0111, 0b0000_0001, 0b0000_0010],
        );
    }

    #[test]
    fn state_and_markers() {
        check(
            Packet::Psb,
            &[
                2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82,
            ],
        );
        check(Packet::PsbEnd, &[0x02, 0x23]);
        check(Packet::Ovf, &[0x02, 0xf3]);
        check(Packet::TraceStop, &[0x02, 0x83]);
        check(
            Packet::ModeExec {
                long: true,
                default32: false,
                interrupt_flag: false,
            },
            &[0x99, 0x01],
        );
        check(
            Packet::ModeTsx {
                in_transaction: false,
                aborted: true,
            },
            &[0x99, 0x22],
        );
        check(
            Packet::Pip {
                cr3: 0x1000,
                non_root: true,
            },
            &[0x02, 0x43, 0x01, 0x01, 0, 0, 0, 0],
        );
        check(
            Packet::Vmcs {
                base: 0x1_2345_6000,
            },
            &[0x02, 0xc8, 0x56, 0x34, 0x12, 0, 0],
        );
        check(
            Packet::Mnt { payload: 1 },
            &[0x02, 0xc3, 0x88, 1, 0, 0, 0, 0, 0, 0, 0],
        );
    }

    #[test]
    fn payload_packets() {
        check(
            Packet::Ptw {
                payload: PtwPayload::Four(7),
                ip: false,
            },
            &[0x02, 0x12, 7, 0, 0, 0],
        );
        check(
            Packet::Ptw {
                payload: PtwPayload::Eight(7),
                ip: true,
            },
            &[0x02, 0xb2, 7, 0, 0, 0, 0, 0, 0, 0],
        );
        check(Packet::Exstop { ip: true }, &[0x02, 0xe2]);
        check(
            Packet::Mwait {
                hints: 0x60,
                extensions: 1,
            },
            &[0x02, 0xc2, 0x60, 0, 0, 0, 1, 0, 0, 0],
        );
        check(
            Packet::Pwre {
                hardware: true,
                state: 6,
                sub_state: 1,
            },
            &[0x02, 0x22, 0x80, 0x61],
        );
        check(
            Packet::Pwrx {
                last: 3,
                deepest: 6,
                wake_reason: 4,
            },
            &[0x02, 0xa2, 0x36, 0x04, 0, 0, 0],
        );
        check(
            Packet::Bbp {
                short: true,
                kind: 4,
            },
            &[0x02, 0x63, 0x84],
        );
        check(
            Packet::Bip {
                id: 2,
                payload: BipPayload::Four(9),
            },
            &[0x14, 9, 0, 0, 0],
        );
        check(Packet::Bep { ip: true }, &[0x02, 0xb3]);
        check(
            Packet::Cfe {
                kind: 1,
                vector: 14,
                ip: true,
            },
            &[0x02, 0x13, 0x81, 14],
        );
        check(
            Packet::Evd {
                kind: 0,
                payload: 0xff,
            },
            &[0x02, 0x53, 0, 0xff, 0, 0, 0, 0, 0, 0, 0],
        );
    }
}
