//! Bit tests, scans, counts and fields; BMI1, BMI2, CRC32.

use crate::lift::Lowered;
use crate::lift::builder::{Builder, Place};
use crate::lift::flags::{CF, OF, SF, ZF};
use crate::lift::value::{Pred, Val};
use crate::op::Op;
use iced_x86::{Mnemonic as M, OpKind};

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Bt | M::Bts | M::Btr | M::Btc => test(b, m),
        M::Bsf | M::Bsr => scan(b, m),
        M::Tzcnt => count(b, Op::Tzcnt),
        M::Lzcnt => count(b, Op::Lzcnt),
        M::Popcnt => {
            let x = b.operand(1);
            [CF, OF, SF, crate::lift::flags::AF, crate::lift::flags::PF]
                .into_iter()
                .for_each(|flag| b.set_flag(flag, Pred::Constant(false)));
            b.set_flag(ZF, x.is_zero());
            b.set(0, x.map(Op::Popcnt, 0));
        }
        M::Bzhi => zero_high(b),
        M::Bextr => return extract_field(b),
        M::Blsi | M::Blsr | M::Blsmsk => lowest(b, m),
        M::Pdep => b.set(0, b.operand(1).with(Op::Pdep, b.operand(2))),
        M::Pext => b.set(0, b.operand(1).with(Op::Pext, b.operand(2))),
        M::Crc32 => crc(b),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// A bit of a register or of a bit string in memory, whose offset may reach beyond the operand.
fn test(b: &Builder, m: M) {
    let width = b.width(0);
    let constant = b.instruction.op_kind(1) != OpKind::Register;
    let offset = b.operand(1);
    let index = if constant {
        b.constant(
            u64::from(b.instruction.immediate8()) % u64::from(width),
            width,
        )
    } else {
        offset & b.constant(u64::from(width) - 1, width)
    };
    if b.is_memory(0) && !constant {
        b.place.set(Some(string_place(b, offset)));
    }
    let x = b.operand(0);
    let one = b.constant(1, width);
    let (bit, place) = match index.as_constant() {
        Some(at) => (x.bit(at as u32), b.constant(1 << at, width)),
        None => (x.by(Op::ShrBy, index).bit(0), one.by(Op::ShlBy, index)),
    };
    b.set_flag(CF, bit);
    match m {
        M::Bts => b.set(0, x | place),
        M::Btr => b.set(0, x & !place),
        M::Btc => b.set(0, x ^ place),
        _ => {}
    }
}

/// The operand that holds bit `offset` (signed) of the string at the address.
fn string_place<'b>(b: &'b Builder, offset: Val<'b>) -> Place {
    let (log, bytes) = (
        offset.width.trailing_zeros(),
        offset.width.trailing_zeros() - 3,
    );
    let width = b.address_width();
    let operands = offset.sar(log).sign_extended(64).low(width);
    let linear = (b.effective_address(width) + operands.shl(bytes)).zero_extended(64);
    let address = b
        .segment_base(b.instruction.memory_segment())
        .map_or(linear, |base| linear + base);
    Place {
        address: address.word,
        offset: 0,
    }
}

/// BSF and BSR leave the destination as it is when the source is zero (as processors do,
/// though one manual calls it undefined: it is forgotten then).
fn scan(b: &Builder, m: M) {
    let x = b.operand(1);
    let found = if m == M::Bsf {
        x.map(Op::Tzcnt, 0)
    } else {
        b.constant(u64::from(x.width) - 1, x.width) - x.map(Op::Lzcnt, 0)
    };
    b.set_flag(ZF, x.is_zero());
    let undefined = b.temporary(64);
    let register = b.instruction.op_register(0);
    if x.width == 32 {
        // Even the upper half is undefined without a bit set.
        let new = b.select(x.is_zero(), undefined, found.zero_extended(64));
        b.set_register(register.full_register(), new);
    } else {
        b.set(0, b.select(x.is_zero(), undefined.low(x.width), found));
    }
}

fn count(b: &Builder, op: Op) {
    let x = b.operand(1);
    let result = x.map(op, 0);
    b.set_flag(CF, x.is_zero());
    b.set_flag(ZF, if op == Op::Tzcnt { x.bit(0) } else { x.sign() });
    b.set(0, result);
}

/// BZHI: keeps the bits below an index given by the low byte of the second operand.
fn zero_high(b: &Builder) {
    let (x, index) = (b.operand(1), b.operand(2).low(8));
    let places = b.value((index & b.constant(0xff, 8)).clean().word, x.width);
    let all = b.constant(u64::MAX, x.width);
    let result = x & !all.by(Op::ShlBy, places);
    b.set_flag(CF, index.below(b.constant(u64::from(x.width), 8)).negated());
    b.set_flag(OF, Pred::Constant(false));
    b.set_flag(ZF, result.is_zero());
    b.set_flag(SF, result.sign());
    b.set(0, result);
}

/// BEXTR: start and length are bytes of the control operand.
fn extract_field(b: &Builder) -> Lowered {
    if b.instruction.op_kind(2) != OpKind::Register {
        return Lowered::Forget;
    }
    let (x, control) = (b.operand(1), b.operand(2));
    let byte = |at: u32| {
        b.value(
            control.map(Op::Extract, crate::op::field_imm(at, 8)).word,
            x.width,
        )
    };
    let all = b.constant(u64::MAX, x.width);
    let result = x.by(Op::ShrBy, byte(0)) & !all.by(Op::ShlBy, byte(8));
    b.set_flag(CF, Pred::Constant(false));
    b.set_flag(OF, Pred::Constant(false));
    b.set_flag(ZF, result.is_zero());
    b.set(0, result);
    Lowered::Done
}

/// BLSI, BLSR, BLSMSK: the lowest one alone, all but it, all up to it. (As `x ^ (x - 1)` above a known one
/// nothing would be known where `x` is not.)
fn lowest(b: &Builder, m: M) {
    let x = b.operand(1);
    let up_to = x.map(Op::UpToLowest, 0);
    let (result, carry) = match m {
        M::Blsi => (x & up_to, x.is_zero().negated()),
        M::Blsr => (x & !up_to, x.is_zero()),
        _ => (up_to, x.is_zero()),
    };
    b.set_flag(CF, carry);
    b.set_flag(OF, Pred::Constant(false));
    b.set_flag(
        ZF,
        if m == M::Blsmsk {
            Pred::Constant(false)
        } else {
            result.is_zero()
        },
    );
    b.set_flag(SF, result.sign());
    b.set(0, result);
}

fn crc(b: &Builder) {
    let (old, data) = (b.operand(0), b.operand(1));
    let width = data.width.max(32);
    let sum = b.apply(Op::Crc32, width, data.width as u16, [old, data, old], 32);
    b.set(0, b.value(sum.word, b.width(0)));
}
