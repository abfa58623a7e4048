//! Addition, subtraction, comparison.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::{Pred, Val};
use iced_x86::{Mnemonic as M, Register as R};

/// Overflow of a sum, over the signs of (x, y, sum).
const SUM_OVERFLOW: u16 = 0x42;
/// Overflow of a difference, over the signs of (x, y, difference).
const DIFFERENCE_OVERFLOW: u16 = 0x18;
/// Exclusive or of three.
const ODD: u16 = 0x96;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let (x, y) = (|| b.operand(0), || b.operand(1));
    match m {
        M::Cmp => {
            subtract(b, x(), y());
        }
        M::Add => b.set(0, add(b, x(), y())),
        M::Sub => b.set(0, subtract(b, x(), y())),
        M::Adc => b.set(0, add_carry(b, x(), y())),
        M::Sbb => b.set(0, subtract_carry(b, x(), y())),
        M::Inc => b.set(0, add(b, x(), b.constant(1, b.width(0)))),
        M::Dec => b.set(0, subtract(b, x(), b.constant(1, b.width(0)))),
        M::Neg => b.set(0, subtract(b, b.constant(0, b.width(0)), x())),
        M::Xadd => exchange_add(b),
        M::Cmpxchg => compare_exchange(b),
        M::Cmpxchg8b => compare_exchange_pair(b, 32),
        M::Cmpxchg16b => compare_exchange_pair(b, 64),
        M::Adcx => b.set(0, chain(b, CF)),
        M::Adox => b.set(0, chain(b, OF)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// CF is set by whoever knows the carry; INC and DEC do not write it.
fn writes_carry(b: &Builder) -> bool {
    !matches!(b.instruction.mnemonic(), M::Inc | M::Dec)
}

fn adjust(b: &Builder, x: Val<'_>, y: Val<'_>, r: Val<'_>) {
    let (x, y, r) = (b.value(x.word, 5), b.value(y.word, 5), b.value(r.word, 5));
    b.set_flag(AF, x.top_bits(ODD, y, r));
}

fn add<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    let r = x + y;
    if writes_carry(b) {
        b.set_flag(CF, x.carries(y, b.constant(0, 1)));
    }
    b.set_flag(OF, x.top_bits(SUM_OVERFLOW, y, r));
    adjust(b, x, y, r);
    b.result_flags(r);
    r
}

/// `x - y = r` overflows.
pub(super) fn difference_overflows<'b>(x: Val<'b>, y: Val<'b>, r: Val<'b>) -> Pred<'b> {
    x.top_bits(DIFFERENCE_OVERFLOW, y, r)
}

/// Also says `x == y` of ZF, which knows more than the difference when both are known in part.
pub(super) fn subtract<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    let r = x - y;
    if writes_carry(b) {
        b.set_flag(CF, x.below(y));
    }
    if x.is(y) {
        [OF, AF]
            .into_iter()
            .for_each(|flag| b.set_flag(flag, Pred::Constant(false)));
    } else {
        b.set_flag(OF, difference_overflows(x, y, r));
        adjust(b, x, y, r);
    }
    b.set_flag(ZF, x.equals(y));
    if b.instruction.mnemonic() == M::Sub {
        b.set_flag(ZF, r.is_zero());
    }
    b.set_flag(SF, r.sign());
    b.set_flag(PF, r.even_parity());
    b.set_relations(x, y);
    r
}

fn add_carry<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    let carry = b.old_flags();
    let r = x.plus_carry(y, carry);
    b.set_flag(CF, x.carries(y, carry));
    b.set_flag(OF, x.top_bits(SUM_OVERFLOW, y, r));
    adjust(b, x, y, r);
    b.result_flags(r);
    r
}

/// A borrow is the carry of adding back.
fn subtract_carry<'b>(b: &'b Builder, x: Val<'b>, y: Val<'b>) -> Val<'b> {
    let carry = b.old_flags();
    if x.is(y) {
        // All bits are the carry: the usual way to make a mask of it.
        let r = carry.low(1).sign_extended(x.width);
        b.set_flag(CF, carry.bit(0));
        b.set_flag(OF, Pred::Constant(false));
        b.set_flag(AF, carry.bit(0));
        b.result_flags(r);
        return r;
    }
    let r = x.minus_carry(y, carry);
    b.set_flag(CF, r.carries(y, carry));
    b.set_flag(OF, difference_overflows(x, y, r));
    adjust(b, x, y, r);
    b.result_flags(r);
    r
}

/// ADCX and ADOX: a chain through one flag.
fn chain(b: &Builder, flag: u32) -> Val<'_> {
    let (x, y) = (b.operand(0), b.operand(1));
    let carry = b.old_flags().extract(flag, 1);
    let r = x.plus_carry(y, carry);
    b.set_flag(flag, x.carries(y, carry));
    r
}

fn exchange_add(b: &Builder) {
    let (x, y) = (b.operand(0), b.operand(1));
    let sum = add(b, x, y);
    b.set(1, x);
    b.set(0, sum);
}

/// The accumulator is written only when it differs, the destination always.
fn compare_exchange(b: &Builder) {
    let accumulator = match b.width(0) {
        8 => R::AL,
        16 => R::AX,
        32 => R::EAX,
        _ => R::RAX,
    };
    let (old, new, expected) = (b.operand(0), b.operand(1), b.register(accumulator));
    subtract(b, expected, old);
    let equal = expected.equals(old);
    let stored = b.select(equal, new, old);
    let kept = b.register(accumulator.full_register());
    let replaced = match b.width(0) {
        32 => old.zero_extended(64),
        64 => old,
        _ => kept.insert(0, old),
    };
    let loaded = b.select(equal, kept, replaced);
    b.set_register(accumulator.full_register(), loaded);
    if b.is_register(0) && b.width(0) == 32 {
        // When they differ, processors disagree on the upper half of a destination register.
        let rest = b.temporary(64).insert(0, old);
        let stored = b.select(equal, new.zero_extended(64), rest);
        b.set_register(b.instruction.op0_register().full_register(), stored);
    } else {
        b.set(0, stored);
    }
}

/// CMPXCHG8B and CMPXCHG16B: the halves of `rdx:rax` against memory, then `rcx:rbx` to it.
fn compare_exchange_pair(b: &Builder, width: u32) {
    let (place, bytes) = (b.place(), width / 8);
    let register = |full: R| b.register(full).low(width);
    let old = [b.load(place, bytes), b.load(place.at(bytes), bytes)];
    let expected = [register(R::RAX), register(R::RDX)];
    let differ = (old[0] ^ expected[0]) | (old[1] ^ expected[1]);
    let equal = b.bit(differ.is_zero());
    b.set_flag(ZF, equal.bit(0));
    let pick = |x, y| b.select(equal.bit(0), x, y);
    for (half, (full, new)) in [(R::RAX, R::RBX), (R::RDX, R::RCX)].into_iter().enumerate() {
        let loaded = pick(b.register(full), old[half].zero_extended(64).low(64));
        b.set_register(full, loaded);
        b.store(
            place.at(half as u32 * bytes),
            bytes,
            pick(register(new), old[half]),
        );
    }
}
