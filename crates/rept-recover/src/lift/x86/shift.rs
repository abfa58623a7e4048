//! Shifts and rotations, by constants and by CL, with the BMI2 forms.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{CF, OF, constant_count};
use crate::lift::value::{Pred, Val};
use crate::op::Op;
use iced_x86::{Mnemonic as M, Register as R};

/// Exclusive or of the first two of three.
const DIFFER: u16 = 0x3c;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Shl | M::Sal | M::Shr | M::Sar => shift(b, m),
        M::Rol | M::Ror => rotate(b, m),
        M::Rcl | M::Rcr => return rotate_carry(b, m),
        M::Shld | M::Shrd => return double(b, m),
        M::Rorx => {
            let x = b.operand(1);
            let count = x.width - u32::from(b.instruction.immediate8()) % x.width;
            b.set(0, x.rol(count));
        }
        M::Shlx | M::Shrx | M::Sarx => {
            let (x, count) = (b.operand(1), masked(b, b.operand(2)));
            b.set(0, x.by(variable(m), count));
        }
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

fn variable(m: M) -> Op {
    match m {
        M::Shl | M::Sal | M::Shlx => Op::ShlBy,
        M::Shr | M::Shrx => Op::ShrBy,
        _ => Op::SarBy,
    }
}

/// The count cut to 5 bits, or 6 for 64-bit operands, as a word of the operand's width.
fn masked<'b>(b: &'b Builder, count: Val<'b>) -> Val<'b> {
    let width = b.width(0);
    let bits = if width == 64 { 0x3f } else { 0x1f };
    let count = b.value(count.word, count.width.min(8));
    let cut = count & b.constant(bits, count.width);
    b.value(cut.word, width)
}

fn shift(b: &Builder, m: M) {
    let x = b.operand(0);
    let constant = constant_count(&b.instruction);
    let result = match constant {
        Some(0) => x,
        Some(n) => by_constant(x, m, n),
        None => {
            let count = masked(b, b.register(R::CL));
            b.flags_only_if(count.is_zero().negated());
            x.by(variable(m), count)
        }
    };
    match constant {
        Some(0) => b.keep_flags(),
        _ => {
            b.result_flags(result);
            shift_carry(b, x, m, constant);
        }
    }
    // OF is defined for a count of one only.
    if constant == Some(1) {
        match m {
            M::Shr => b.set_flag(OF, x.sign()),
            M::Sar => b.set_flag(OF, Pred::Constant(false)),
            _ => b.set_flag(OF, x.top_bits(DIFFER, result, x)),
        }
    }
    b.set(0, result);
}

fn by_constant(x: Val<'_>, m: M, n: u32) -> Val<'_> {
    match m {
        M::Shl | M::Sal => x.shl(n),
        M::Shr => x.shr(n),
        _ => x.sar(n),
    }
}

/// The last bit shifted out; undefined for SHL and SHR by the width or more.
fn shift_carry(b: &Builder, x: Val<'_>, m: M, constant: Option<u32>) {
    let left = matches!(m, M::Shl | M::Sal);
    match constant {
        Some(n) if n <= x.width && left => b.set_flag(CF, x.bit(x.width - n)),
        Some(n) if n <= x.width => b.set_flag(CF, x.bit(n - 1)),
        Some(_) if m == M::Sar => b.set_flag(CF, x.sign()),
        Some(_) => {}
        None => variable_carry(b, x, m, left),
    }
}

/// By a variable count: the last bit out is the edge of a shift by one less. Counts of the
/// width and more are possible for 8 and 16 bits only; there SHL and SHR leave CF undefined.
fn variable_carry(b: &Builder, x: Val<'_>, m: M, left: bool) {
    if !b.wants(CF) || x.width < 32 && m != M::Sar {
        return;
    }
    let count = masked(b, b.register(R::CL));
    let less = count - b.constant(1, x.width);
    let nearly = x.by(variable(m), less);
    b.set_flag(CF, if left { nearly.sign() } else { nearly.bit(0) });
}

fn rotate(b: &Builder, m: M) {
    let x = b.operand(0);
    let left = m == M::Rol;
    let result = match constant_count(&b.instruction) {
        Some(n) => {
            let turn = n % x.width;
            let result = x.rol(if left { turn } else { x.width - turn });
            if n == 0 {
                b.keep_flags();
            } else {
                rotate_flags(b, x, result, left, n == 1);
            }
            result
        }
        None => {
            let count = masked(b, b.register(R::CL));
            b.flags_only_if(count.is_zero().negated());
            let turn = if left {
                count
            } else {
                b.constant(u64::from(x.width), x.width) - count
            };
            // For narrow words the count exceeds the width; the rotation is modulo anyway.
            let result = x.by(Op::RolBy, turn);
            rotate_flags(b, x, result, left, false);
            result
        }
    };
    b.set(0, result);
}

fn rotate_flags(b: &Builder, x: Val<'_>, result: Val<'_>, left: bool, once: bool) {
    b.set_flag(CF, if left { result.bit(0) } else { result.sign() });
    if once {
        if left {
            // The old top bit is the new carry.
            b.set_flag(OF, result.top_bits(DIFFER, x, x));
        } else {
            b.set_flag(OF, result.top_bits(DIFFER, result.shl(1), result));
        }
    }
}

/// RCL and RCR: a rotation of the word with the carry above it.
fn rotate_carry(b: &Builder, m: M) -> Lowered {
    let x = b.operand(0);
    let carry = b.old_flags();
    let turns = x.width + 1;
    let Some(count) = constant_count(&b.instruction) else {
        rotate_carry_by(b, x, m);
        return Lowered::Done;
    };
    let n = count % turns;
    if count == 0 {
        b.keep_flags();
    }
    if n == 0 {
        // Whole turns: everything stays, but OF is undefined.
        b.set_flag(CF, carry.bit(CF));
        b.set(0, x);
        return Lowered::Done;
    }
    let left = if m == M::Rcl { n } else { turns - n };
    let result = b.apply(Op::Rcl, x.width, left as u16, [x, carry, carry], x.width);
    b.set_flag(CF, x.bit(x.width - left));
    if count == 1 {
        let old_carry = carry.low(1).sign_extended(x.width);
        if m == M::Rcl {
            b.set_flag(OF, result.top_bits(DIFFER, x, x));
        } else {
            b.set_flag(OF, x.top_bits(DIFFER, old_carry, x));
        }
    }
    b.set(0, result);
    Lowered::Done
}

/// By a variable count. Below 64 bits the carry is one more bit of the word that turns.
fn rotate_carry_by(b: &Builder, x: Val<'_>, m: M) {
    let (left, carry) = (m == M::Rcl, b.old_flags());
    let count = masked(b, b.register(R::CL));
    b.flags_only_if(count.is_zero().negated());
    let turn = if left {
        count
    } else {
        reversed_count(b, count)
    };
    if x.width < 64 {
        let turns = x.width + 1;
        let wide = x.zero_extended(turns).insert(x.width, carry.low(1));
        let turned = b.apply(Op::RolBy, turns, 0, [wide, turn, wide], turns);
        b.set_flag(CF, turned.bit(x.width));
        b.set(0, turned.low(x.width));
        return;
    }
    let result = b.apply(Op::RclBy, x.width, 0, [x, turn, carry], x.width);
    if b.wants(CF) {
        let less = count - b.constant(1, x.width);
        let out = if left {
            x.by(Op::ShlBy, less).sign()
        } else {
            x.by(Op::ShrBy, less).bit(0)
        };
        b.set_flag(CF, out);
    }
    b.set(0, result);
}

/// A turn to the left that equals `count` turns to the right, of width + 1 places.
fn reversed_count<'b>(b: &'b Builder, count: Val<'b>) -> Val<'b> {
    // At most 63 turns: add enough whole rotations to stay positive.
    let turns = u64::from(count.width + 1);
    let enough = turns * 63u64.div_ceil(turns);
    b.constant(enough, 64) - b.value(count.clean().word, 64)
}

/// SHLD and SHRD; undefined for 16-bit operands shifted by more than 16.
fn double(b: &Builder, m: M) -> Lowered {
    let (x, y) = (b.operand(0), b.operand(1));
    let left = m == M::Shld;
    let Some(n) = constant_count(&b.instruction) else {
        if x.width == 16 {
            return Lowered::Forget;
        }
        let count = masked(b, b.register(R::CL));
        b.flags_only_if(count.is_zero().negated());
        let result = if left {
            b.apply(Op::FunnelBy, x.width, 0, [x, y, count], x.width)
        } else {
            let turn = b.constant(u64::from(x.width), x.width) - count;
            b.apply(Op::FunnelBy, x.width, 0, [y, x, turn], x.width)
        };
        b.result_flags(result);
        variable_carry(b, x, if left { M::Shl } else { M::Shr }, left);
        b.set(0, result);
        return Lowered::Done;
    };
    if n == 0 {
        b.keep_flags();
        b.set(0, x);
        return Lowered::Done;
    }
    if n > x.width {
        return Lowered::Forget;
    }
    let (operands, places, out) = if left {
        ([x, y], n, x.width - n)
    } else {
        ([y, x], x.width - n, n - 1)
    };
    let result = b.apply(
        Op::Funnel,
        x.width,
        places as u16,
        [operands[0], operands[1], operands[0]],
        x.width,
    );
    b.result_flags(result);
    b.set_flag(CF, x.bit(out));
    if n == 1 {
        b.set_flag(OF, x.top_bits(DIFFER, result, x));
    }
    b.set(0, result);
    Lowered::Done
}
