//! Plain moves of vector registers: whole words, lanes, and their zero extension.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::vector::Lanes;
use iced_x86::{Mnemonic as M, Register as R};
use rept_trace::RegWord;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    if b.has_write_mask() || b.instruction.is_broadcast() {
        return Lowered::Elsewhere;
    }
    match m {
        M::Movaps | M::Movups | M::Movapd | M::Movupd | M::Movdqa | M::Movdqu | M::Lddqu => {
            whole(b)
        }
        M::Vmovaps | M::Vmovups | M::Vmovapd | M::Vmovupd | M::Vmovdqa | M::Vmovdqu | M::Vlddqu => {
            whole(b)
        }
        M::Vmovdqa32 | M::Vmovdqa64 | M::Vmovdqu8 | M::Vmovdqu16 | M::Vmovdqu32 | M::Vmovdqu64 => {
            whole(b)
        }
        M::Movntdq
        | M::Movntps
        | M::Movntpd
        | M::Movntdqa
        | M::Vmovntdq
        | M::Vmovntps
        | M::Vmovntpd => whole(b),
        M::Vmovntdqa => whole(b),
        M::Movd | M::Movq | M::Vmovd | M::Vmovq | M::Vmovw => return scalar(b),
        M::Movq2dq | M::Movdq2q => b.set_lanes(0, &lowest(b, b.lane(1, 0))),
        M::Movntq | M::Movntsd => b.store(b.place(), 8, b.lane(1, 0)),
        M::Movntss => b.store(b.place(), 4, b.lane(1, 0)),
        M::Movss | M::Movsd | M::Vmovss | M::Vmovsd if !b.instruction.is_string_instruction() => {
            return float_scalar(b, m);
        }
        M::Movlps | M::Movlpd | M::Vmovlps | M::Vmovlpd => half(b, 0),
        M::Movhps | M::Movhpd | M::Vmovhps | M::Vmovhpd => half(b, 1),
        M::Movhlps | M::Vmovhlps => between_halves(b, 1, 0),
        M::Movlhps | M::Vmovlhps => between_halves(b, 0, 1),
        M::Vzeroupper => (0..16).for_each(|number| zero_above(b, number, 2)),
        M::Vzeroall => (0..16).for_each(|number| zero_above(b, number, 0)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

fn whole(b: &Builder) {
    let lanes = b.lanes(1);
    b.set_lanes(0, &lanes);
}

fn zero_above(b: &Builder, number: u16, from: u16) {
    (from..8).for_each(|lane| b.write(RegWord::vector(number, lane), b.constant(0, 64)));
}

fn is_vector(b: &Builder, operand: u32) -> bool {
    let register = b.instruction.op_register(operand);
    b.is_register(operand) && (register.is_vector_register() || register.is_mm())
}

/// MOVD and MOVQ between a vector or MMX register's lowest bits and a register or memory.
fn scalar(b: &Builder) -> Lowered {
    let bits = match b.instruction.mnemonic() {
        M::Movd | M::Vmovd => 32,
        M::Vmovw => 16,
        _ => 64,
    };
    let value = if is_vector(b, 1) {
        b.lane(1, 0).low(bits)
    } else {
        b.operand(1).low(bits)
    };
    if is_vector(b, 0) {
        b.set_lanes(0, &lowest(b, value.zero_extended(64)));
    } else if b.is_memory(0) {
        b.store(b.place(), bits / 8, value);
    } else {
        b.set(0, b.value(value.word, b.width(0).min(bits)));
    }
    Lowered::Done
}

/// A value in the lowest lane, and zeros above, as wide as the destination (128 bits or MMX).
fn lowest<'b>(b: &'b Builder, value: Val<'b>) -> Lanes<'b> {
    let zero = b.constant(0, 64);
    [value, zero].into_iter().take(b.lane_count(0)).collect()
}

/// MOVSS and MOVSD: loads zero the rest, moves between registers merge.
fn float_scalar(b: &Builder, m: M) -> Lowered {
    let bits = if matches!(m, M::Movss | M::Vmovss) {
        32
    } else {
        64
    };
    let last = b.instruction.op_count() - 1;
    if !is_vector(b, 0) {
        b.store(b.place(), bits / 8, b.lane(1, 0));
        return Lowered::Done;
    }
    let mut lanes = Lanes::new();
    if b.is_memory(last) {
        lanes.push(b.load(b.place(), bits / 8).zero_extended(64));
        lanes.push(b.constant(0, 64));
    } else {
        let upper = if last == 2 { 1 } else { 0 };
        let (base, value) = (b.lane(upper, 0), b.lane(last, 0));
        lanes.push(if bits == 64 {
            value
        } else {
            base.insert(0, value.low(32))
        });
        lanes.push(b.lane(upper, 1));
    }
    b.set_lanes(0, &lanes);
    Lowered::Done
}

/// MOVLPS, MOVHPS and kin: one half of an XMM register and memory.
fn half(b: &Builder, which: usize) {
    if !is_vector(b, 0) {
        b.store(b.place(), 8, b.lane(1, which));
        return;
    }
    let (base, last) = (b.instruction.op_count() - 2, b.instruction.op_count() - 1);
    let mut lanes: Lanes<'_> = [b.lane(base, 0), b.lane(base, 1)].into_iter().collect();
    lanes[which] = b.load_lane(last);
    b.set_lanes(0, &lanes);
}

/// MOVHLPS and MOVLHPS: lane `from` of the last operand to lane `to`.
fn between_halves(b: &Builder, from: usize, to: usize) {
    let (base, last) = (b.instruction.op_count() - 2, b.instruction.op_count() - 1);
    let mut lanes: Lanes<'_> = [b.lane(base, 0), b.lane(base, 1)].into_iter().collect();
    lanes[to] = b.lane(last, from);
    b.set_lanes(0, &lanes);
}

impl Builder {
    /// The 64-bit memory operand.
    fn load_lane(&self, _operand: u32) -> Val<'_> {
        self.load(self.place(), 8)
    }

    /// A mask register other than k0 governs the destination.
    pub(super) fn has_write_mask(&self) -> bool {
        self.instruction.op_mask() != R::None
    }
}
