//! Lowering: from one static x86 instruction to its [`Effect`].

use crate::effect::Effect;
use rept_trace::Address;

/// Flag bits of RFLAGS that the lowering may be asked for: CF, PF, AF, ZF, SF, DF, OF.
pub const ALL_FLAGS: u16 = 0xcd5;

/// Lowers the instruction `bytes` (exactly one instruction) at `at`, run in `bitness`-bit mode.
///
/// `live_flags`: RFLAGS bits that somebody may read before they are overwritten; others need
/// not be computed (they are unknown in the new RFLAGS word, or `kills_flags` is set when none is live).
/// Bytes that are no instruction forget everything.
pub fn lift(bytes: &[u8], at: Address, bitness: u8, live_flags: u16) -> Effect {
    let _ = (bytes, at, bitness, live_flags);
    Effect::default()
}
