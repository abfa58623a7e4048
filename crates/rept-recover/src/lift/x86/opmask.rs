//! Mask registers k0 to k7 among themselves, general registers and memory.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::{Pred, Val};
use iced_x86::Mnemonic as M;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Kmovb => copy(b, 8),
        M::Kmovw => copy(b, 16),
        M::Kmovd => copy(b, 32),
        M::Kmovq => copy(b, 64),
        M::Kortestb => or_test(b, 8),
        M::Kortestw => or_test(b, 16),
        M::Kortestd => or_test(b, 32),
        M::Kortestq => or_test(b, 64),
        M::Ktestb => and_test(b, 8),
        M::Ktestw => and_test(b, 16),
        M::Ktestd => and_test(b, 32),
        M::Ktestq => and_test(b, 64),
        M::Kandb | M::Kandw | M::Kandd | M::Kandq => zip(b, |x, y| x & y),
        M::Kandnb | M::Kandnw | M::Kandnd | M::Kandnq => zip(b, |x, y| !x & y),
        M::Korb | M::Korw | M::Kord | M::Korq => zip(b, |x, y| x | y),
        M::Kxorb | M::Kxorw | M::Kxord | M::Kxorq => zip(b, |x, y| x ^ y),
        M::Kxnorb | M::Kxnorw | M::Kxnord | M::Kxnorq => {
            zip(b, |x, y| {
                if x.is(y) {
                    x.builder.constant(u64::MAX, x.width)
                } else {
                    !(x ^ y)
                }
            });
        }
        M::Kaddb | M::Kaddw | M::Kaddd | M::Kaddq => zip(b, |x, y| x + y),
        M::Knotb | M::Knotw | M::Knotd | M::Knotq => {
            b.write_mask_operand(!b.mask_operand(1).low(width(b)))
        }
        M::Kunpckbw => unpack(b, 8),
        M::Kunpckwd => unpack(b, 16),
        M::Kunpckdq => unpack(b, 32),
        M::Kshiftlb | M::Kshiftlw | M::Kshiftld | M::Kshiftlq => {
            let x = b.mask_operand(1).low(width(b));
            b.write_mask_operand(x.shl(u32::from(b.instruction.immediate8())));
        }
        M::Kshiftrb | M::Kshiftrw | M::Kshiftrd | M::Kshiftrq => {
            let x = b.mask_operand(1).low(width(b));
            b.write_mask_operand(x.shr(u32::from(b.instruction.immediate8())));
        }
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The width that the mnemonic's last letter names.
fn width(b: &Builder) -> u32 {
    use M::*;
    match b.instruction.mnemonic() {
        Kandb | Kandnb | Korb | Kxorb | Kxnorb | Kaddb | Knotb | Kshiftlb | Kshiftrb => 8,
        Kandw | Kandnw | Korw | Kxorw | Kxnorw | Kaddw | Knotw | Kshiftlw | Kshiftrw => 16,
        Kandd | Kandnd | Kord | Kxord | Kxnord | Kaddd | Knotd | Kshiftld | Kshiftrd => 32,
        _ => 64,
    }
}

fn is_mask(b: &Builder, operand: u32) -> bool {
    b.is_register(operand) && b.instruction.op_register(operand).is_k()
}

fn copy(b: &Builder, width: u32) {
    let value = if is_mask(b, 1) {
        b.mask_operand(1).low(width)
    } else {
        b.operand(1).low(width)
    };
    if is_mask(b, 0) {
        b.write_mask_operand(value);
    } else if b.is_memory(0) {
        b.store(b.place(), width / 8, value);
    } else {
        b.set(0, value.zero_extended(b.width(0)));
    }
}

fn zip<'b>(b: &'b Builder, f: impl Fn(Val<'b>, Val<'b>) -> Val<'b>) {
    let width = width(b);
    b.write_mask_operand(f(
        b.mask_operand(1).low(width),
        b.mask_operand(2).low(width),
    ));
}

/// The first source becomes the high half.
fn unpack(b: &Builder, half: u32) {
    let (high, low) = (b.mask_operand(1).low(half), b.mask_operand(2).low(half));
    b.write_mask_operand(low.zero_extended(half * 2).insert(half, high));
}

fn clear_others(b: &Builder) {
    [OF, SF, AF, PF]
        .into_iter()
        .for_each(|flag| b.set_flag(flag, Pred::Constant(false)));
}

fn or_test(b: &Builder, width: u32) {
    let any = b.mask_operand(0).low(width) | b.mask_operand(1).low(width);
    b.set_flag(ZF, any.is_zero());
    b.set_flag(CF, any.equals(b.constant(u64::MAX, width)));
    clear_others(b);
}

fn and_test(b: &Builder, width: u32) {
    let (x, y) = (b.mask_operand(0).low(width), b.mask_operand(1).low(width));
    b.set_flag(ZF, (x & y).is_zero());
    b.set_flag(CF, (!x & y).is_zero());
    clear_others(b);
}
