//! Fused multiply-add.
//!
//! A fused operation has three operands, so that MXCSR is none of its relation; it is stated
//! for the two settings that programs use (all zero as after reset, and denormals flushed, as
//! fast-math start-up code sets it). Under other settings the result is unknown.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::value::Val;
use crate::lift::x86::vector_float::{Elements, elements, masked_scalar, set_packed, stick};
use crate::op::Op;
use crate::op::float::{CONTROL, NEGATE_ADDEND, NEGATE_PRODUCT};
use iced_x86::{Mnemonic as M, RoundingControl};
use rept_trace::RegWord;

/// Flush-to-zero and denormals-are-zero in MXCSR.
const FLUSHING: u16 = 0x8040;

/// Which operands are the factors and the addend, of those in the encoding.
#[derive(Clone, Copy)]
struct Order([u32; 3]);

const ORDER_132: Order = Order([0, 2, 1]);
const ORDER_213: Order = Order([1, 0, 2]);
const ORDER_231: Order = Order([1, 2, 0]);

/// Signs of product and addend, in even and odd elements.
#[derive(Clone, Copy)]
struct Signs([u16; 2]);

const ADD: Signs = Signs([0; 2]);
const SUBTRACT: Signs = Signs([NEGATE_ADDEND; 2]);
const NEGATIVE_ADD: Signs = Signs([NEGATE_PRODUCT; 2]);
const NEGATIVE_SUBTRACT: Signs = Signs([NEGATE_PRODUCT | NEGATE_ADDEND; 2]);
const SUBTRACT_EVEN: Signs = Signs([NEGATE_ADDEND, 0]);
const SUBTRACT_ODD: Signs = Signs([0, NEGATE_ADDEND]);

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let (signs, order, width, packed) = match m {
        M::Vfmadd132ps => (ADD, ORDER_132, 32, true),
        M::Vfmadd132pd => (ADD, ORDER_132, 64, true),
        M::Vfmadd132ss => (ADD, ORDER_132, 32, false),
        M::Vfmadd132sd => (ADD, ORDER_132, 64, false),
        M::Vfmadd213ps => (ADD, ORDER_213, 32, true),
        M::Vfmadd213pd => (ADD, ORDER_213, 64, true),
        M::Vfmadd213ss => (ADD, ORDER_213, 32, false),
        M::Vfmadd213sd => (ADD, ORDER_213, 64, false),
        M::Vfmadd231ps => (ADD, ORDER_231, 32, true),
        M::Vfmadd231pd => (ADD, ORDER_231, 64, true),
        M::Vfmadd231ss => (ADD, ORDER_231, 32, false),
        M::Vfmadd231sd => (ADD, ORDER_231, 64, false),
        M::Vfmsub132ps => (SUBTRACT, ORDER_132, 32, true),
        M::Vfmsub132pd => (SUBTRACT, ORDER_132, 64, true),
        M::Vfmsub132ss => (SUBTRACT, ORDER_132, 32, false),
        M::Vfmsub132sd => (SUBTRACT, ORDER_132, 64, false),
        M::Vfmsub213ps => (SUBTRACT, ORDER_213, 32, true),
        M::Vfmsub213pd => (SUBTRACT, ORDER_213, 64, true),
        M::Vfmsub213ss => (SUBTRACT, ORDER_213, 32, false),
        M::Vfmsub213sd => (SUBTRACT, ORDER_213, 64, false),
        M::Vfmsub231ps => (SUBTRACT, ORDER_231, 32, true),
        M::Vfmsub231pd => (SUBTRACT, ORDER_231, 64, true),
        M::Vfmsub231ss => (SUBTRACT, ORDER_231, 32, false),
        M::Vfmsub231sd => (SUBTRACT, ORDER_231, 64, false),
        M::Vfnmadd132ps => (NEGATIVE_ADD, ORDER_132, 32, true),
        M::Vfnmadd132pd => (NEGATIVE_ADD, ORDER_132, 64, true),
        M::Vfnmadd132ss => (NEGATIVE_ADD, ORDER_132, 32, false),
        M::Vfnmadd132sd => (NEGATIVE_ADD, ORDER_132, 64, false),
        M::Vfnmadd213ps => (NEGATIVE_ADD, ORDER_213, 32, true),
        M::Vfnmadd213pd => (NEGATIVE_ADD, ORDER_213, 64, true),
        M::Vfnmadd213ss => (NEGATIVE_ADD, ORDER_213, 32, false),
        M::Vfnmadd213sd => (NEGATIVE_ADD, ORDER_213, 64, false),
        M::Vfnmadd231ps => (NEGATIVE_ADD, ORDER_231, 32, true),
        M::Vfnmadd231pd => (NEGATIVE_ADD, ORDER_231, 64, true),
        M::Vfnmadd231ss => (NEGATIVE_ADD, ORDER_231, 32, false),
        M::Vfnmadd231sd => (NEGATIVE_ADD, ORDER_231, 64, false),
        M::Vfnmsub132ps => (NEGATIVE_SUBTRACT, ORDER_132, 32, true),
        M::Vfnmsub132pd => (NEGATIVE_SUBTRACT, ORDER_132, 64, true),
        M::Vfnmsub132ss => (NEGATIVE_SUBTRACT, ORDER_132, 32, false),
        M::Vfnmsub132sd => (NEGATIVE_SUBTRACT, ORDER_132, 64, false),
        M::Vfnmsub213ps => (NEGATIVE_SUBTRACT, ORDER_213, 32, true),
        M::Vfnmsub213pd => (NEGATIVE_SUBTRACT, ORDER_213, 64, true),
        M::Vfnmsub213ss => (NEGATIVE_SUBTRACT, ORDER_213, 32, false),
        M::Vfnmsub213sd => (NEGATIVE_SUBTRACT, ORDER_213, 64, false),
        M::Vfnmsub231ps => (NEGATIVE_SUBTRACT, ORDER_231, 32, true),
        M::Vfnmsub231pd => (NEGATIVE_SUBTRACT, ORDER_231, 64, true),
        M::Vfnmsub231ss => (NEGATIVE_SUBTRACT, ORDER_231, 32, false),
        M::Vfnmsub231sd => (NEGATIVE_SUBTRACT, ORDER_231, 64, false),
        M::Vfmaddsub132ps => (SUBTRACT_EVEN, ORDER_132, 32, true),
        M::Vfmaddsub132pd => (SUBTRACT_EVEN, ORDER_132, 64, true),
        M::Vfmaddsub213ps => (SUBTRACT_EVEN, ORDER_213, 32, true),
        M::Vfmaddsub213pd => (SUBTRACT_EVEN, ORDER_213, 64, true),
        M::Vfmaddsub231ps => (SUBTRACT_EVEN, ORDER_231, 32, true),
        M::Vfmaddsub231pd => (SUBTRACT_EVEN, ORDER_231, 64, true),
        M::Vfmsubadd132ps => (SUBTRACT_ODD, ORDER_132, 32, true),
        M::Vfmsubadd132pd => (SUBTRACT_ODD, ORDER_132, 64, true),
        M::Vfmsubadd213ps => (SUBTRACT_ODD, ORDER_213, 32, true),
        M::Vfmsubadd213pd => (SUBTRACT_ODD, ORDER_213, 64, true),
        M::Vfmsubadd231ps => (SUBTRACT_ODD, ORDER_231, 32, true),
        M::Vfmsubadd231pd => (SUBTRACT_ODD, ORDER_231, 64, true),
        M::Vfmadd132ph => (ADD, ORDER_132, 16, true),
        M::Vfmadd132sh => (ADD, ORDER_132, 16, false),
        M::Vfmadd213ph => (ADD, ORDER_213, 16, true),
        M::Vfmadd213sh => (ADD, ORDER_213, 16, false),
        M::Vfmadd231ph => (ADD, ORDER_231, 16, true),
        M::Vfmadd231sh => (ADD, ORDER_231, 16, false),
        M::Vfmsub132ph => (SUBTRACT, ORDER_132, 16, true),
        M::Vfmsub132sh => (SUBTRACT, ORDER_132, 16, false),
        M::Vfmsub213ph => (SUBTRACT, ORDER_213, 16, true),
        M::Vfmsub213sh => (SUBTRACT, ORDER_213, 16, false),
        M::Vfmsub231ph => (SUBTRACT, ORDER_231, 16, true),
        M::Vfmsub231sh => (SUBTRACT, ORDER_231, 16, false),
        M::Vfnmadd132ph => (NEGATIVE_ADD, ORDER_132, 16, true),
        M::Vfnmadd132sh => (NEGATIVE_ADD, ORDER_132, 16, false),
        M::Vfnmadd213ph => (NEGATIVE_ADD, ORDER_213, 16, true),
        M::Vfnmadd213sh => (NEGATIVE_ADD, ORDER_213, 16, false),
        M::Vfnmadd231ph => (NEGATIVE_ADD, ORDER_231, 16, true),
        M::Vfnmadd231sh => (NEGATIVE_ADD, ORDER_231, 16, false),
        M::Vfnmsub132ph => (NEGATIVE_SUBTRACT, ORDER_132, 16, true),
        M::Vfnmsub132sh => (NEGATIVE_SUBTRACT, ORDER_132, 16, false),
        M::Vfnmsub213ph => (NEGATIVE_SUBTRACT, ORDER_213, 16, true),
        M::Vfnmsub213sh => (NEGATIVE_SUBTRACT, ORDER_213, 16, false),
        M::Vfnmsub231ph => (NEGATIVE_SUBTRACT, ORDER_231, 16, true),
        M::Vfnmsub231sh => (NEGATIVE_SUBTRACT, ORDER_231, 16, false),
        M::Vfmaddsub132ph => (SUBTRACT_EVEN, ORDER_132, 16, true),
        M::Vfmaddsub213ph => (SUBTRACT_EVEN, ORDER_213, 16, true),
        M::Vfmaddsub231ph => (SUBTRACT_EVEN, ORDER_231, 16, true),
        M::Vfmsubadd132ph => (SUBTRACT_ODD, ORDER_132, 16, true),
        M::Vfmsubadd213ph => (SUBTRACT_ODD, ORDER_213, 16, true),
        M::Vfmsubadd231ph => (SUBTRACT_ODD, ORDER_231, 16, true),
        _ => return Lowered::Elsewhere,
    };
    let n = if packed {
        (b.width(0) / width) as usize
    } else {
        1
    };
    let [x, y, z] = order.0.map(|operand| elements(b, operand, width, n));
    let results: Elements<'_> = (0..n)
        .map(|at| fused(b, [x[at], y[at], z[at]], signs.0[at % 2]))
        .collect();
    if packed {
        set_packed(b, &results);
    } else {
        merge(b, results[0]);
    }
    stick(b);
    Lowered::Done
}

fn fused<'b>(b: &'b Builder, operands: [Val<'b>; 3], signs: u16) -> Val<'b> {
    let width = operands[0].width;
    let under = |control: u16| b.apply(Op::FloatMulAdd, width, control | signs, operands, width);
    let rounding = match b.instruction.rounding_control() {
        RoundingControl::RoundDown => 1,
        RoundingControl::RoundUp => 2,
        RoundingControl::RoundTowardZero => 3,
        _ => 0,
    } << 13;
    // Static rounding leaves the control of denormals to MXCSR; half precision knows no such thing.
    let mut control = match b.instruction.rounding_control() {
        RoundingControl::None => CONTROL,
        _ => u64::from(FLUSHING),
    };
    if width == 16 {
        control &= !u64::from(FLUSHING);
    }
    let set = b.input(RegWord::MXCSR).low(32) & b.constant(control, 32);
    if width == 16 {
        return b.select(set.is_zero(), under(rounding), b.temporary(width));
    }
    let flushed = b.select(
        set.equals(b.constant(FLUSHING.into(), 32)),
        under(FLUSHING | rounding),
        b.temporary(width),
    );
    b.select(set.is_zero(), under(rounding), flushed)
}

/// The destination is a source too: its upper elements stay.
fn merge(b: &Builder, value: Val<'_>) {
    let value = masked_scalar(b, value);
    let low = match value.width {
        64 => value,
        _ => b.lane(0, 0).insert(0, value),
    };
    b.set_lanes(0, &[low, b.lane(0, 1)]);
}
