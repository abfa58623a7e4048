//! Code that changes while it is traced: which of its versions a step runs.

use crate::encode::encode;
use rept_decode::packet::{IpCompression, IpPayload, Packet};
use rept_decode::{CodeBytes, CodeImage, DecodeOptions, MissingCode, Stream, decode};
use rept_trace::{Address, ThreadId, Timestamp};

const BASE: u64 = 0x1000;
/// The code: `nop; jmp rax` at 0; six `nop`s and `jmp 0` at 0x10.
const OLD: &[u8] = b"\x90\xff\xe0\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4\x90\x90\x90\x90\x90\x90\xeb\xe8";
/// A `jmp rax` in the midst of it.
const NEW: &[u8] = b"\xff\xe0";

/// `OLD` from the begin on; from time 20 on `NEW` at 0x12, and `OLD` at 0x100 as well.
struct Changing;

impl CodeImage for Changing {
    fn code(&self, at: Address, time: Option<Timestamp>) -> Result<CodeBytes<'_>, MissingCode> {
        let changed = time.is_none_or(|time| time.0 >= 20);
        let offset = at.0.wrapping_sub(BASE) as usize;
        let (bytes, generation) = match offset {
            0x12 | 0x13 if changed => (&NEW[offset - 0x12..], 1),
            0..0x12 if changed => (&OLD[offset..0x12], 2),
            0..0x18 => (&OLD[offset..], 3),
            0x100..0x118 if changed => (&OLD[offset - 0x100..], 4),
            _ => {
                let wanted = format!("nothing at {at}");
                return Err(MissingCode { wanted });
            }
        };
        Ok(CodeBytes { bytes, generation })
    }

    fn changes(&self) -> &[Timestamp] {
        &[Timestamp(20)]
    }
}

fn tip(offset: u64) -> Packet {
    Packet::Tip(ip(offset))
}

fn ip(offset: u64) -> IpPayload {
    IpPayload {
        compression: IpCompression::SignExtend48,
        bits: BASE + offset,
    }
}

fn tsc(tsc: u64) -> Packet {
    Packet::Tsc { tsc }
}

/// Decodes packets behind a PSB+ of time 10 at 0.
#[track_caller]
fn check(packets: &[Packet], steps: &[u64], gaps: usize) {
    let mode = Packet::ModeExec {
        long: true,
        default_32: false,
        interrupts: false,
    };
    let begin = [
        Packet::Psb,
        tsc(10),
        mode,
        Packet::Fup(ip(0)),
        Packet::PsbEnd,
    ];
    let bytes: Vec<u8> = begin.iter().chain(packets).flat_map(encode).collect();
    let streams = [Stream::new(ThreadId(1), &bytes)];
    let trace = decode(&streams, &Changing, &DecodeOptions::default());
    let thread = &trace.threads[0];
    let addresses = thread.addresses(&trace.code, 0);
    let found: Vec<u64> = addresses.map(|at| at.0 - BASE).collect();
    assert_eq!(found, steps, "{:?}", thread.gaps);
    assert_eq!(thread.gaps.len(), gaps, "{:?}", thread.gaps);
}

#[test]
fn steps_run_the_code_of_the_last_time_before_them() {
    let old = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0, 1];
    let around = [&[0, 1][..], &old, &[0x10, 0x11, 0x12]].concat();
    let ends = [Packet::Fup(ip(0)), Packet::TipPgd(ip(0))];
    // The branch to 0x10 was told before the code changed; what it led to as well, however late.
    let [first, second, last] = [tip(0x10), tip(0x10), tip(0)];
    let packets = [&[first, tsc(20), second, last][..], &ends].concat();
    check(&packets, &around, 0);
    // The next one came when it had changed.
    let packets = [&[tsc(20), first, second, last][..], &ends].concat();
    check(&packets, &[0, 1, 0x10, 0x11, 0x12, 0x10, 0x11, 0x12], 0);
}

#[test]
fn code_that_is_there_later_only_is_taken_when_there_was_none() {
    let packets = [tip(0x100), tsc(20), tip(0x10), tip(0)];
    let steps = [0, 1, 0x100, 0x101, 0x10, 0x11, 0x12];
    check(&packets, &steps, 0);
    // Before it is there, it does not run.
    let packets = [tip(0x100), tsc(19), tip(0x10), tsc(20), tip(0)];
    check(&packets, &[0, 1], 1);
}
