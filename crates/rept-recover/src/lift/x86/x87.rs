//! The x87 unit: its stack of eight registers, moves, and what arithmetic overwrites.
//!
//! Words are physical registers; the top of the stack is a field of the status word. Reading
//! st(i) is a choice among the eight by three bits, writing it a choice for each. Where the top
//! is known (it nearly always is: every step says how far it moves) both are plain wires.
//!
//! Loads, stores, exchanges and sign changes say what they do; other arithmetic says which
//! register it overwrites. A load onto a register in use, or the use of an empty one, is a
//! stack fault: the sticky SF bit of the status word tells whether there was one, and what
//! the instruction would have done is stated for the case that there was none. Unmasked
//! exceptions stop an instruction half-way: then nothing is stated.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, OF, SF};
use crate::lift::value::{Pred, Val};
use crate::op::Op;
use crate::op::float::EXTENDED_FLAG;
use iced_x86::{MemorySize, Mnemonic as M};
use rept_trace::RegWord;

/// Exception masks in the control word, and their flags in the status word.
const EXCEPTIONS: u64 = 0x3f;
/// Stack fault in the status word.
const STACK_FAULT: u32 = 6;
/// Top of the stack in the status word.
const TOP_AT: u32 = 11;
/// The control word after FNINIT.
const INITIAL: u64 = 0x37f;

/// Bits of the control word that exist, and those that are always set.
const CONTROL_BITS: u64 = 0x1f3f;
const CONTROL_ONES: u64 = 0x40;

/// The number 1, and 0: significand, sign and exponent.
const ONE: (u64, u64) = (1 << 63, 0x3fff);
const ZERO: (u64, u64) = (0, 0);

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    if moves(b, m) || arithmetic(b, m) || state(b, m) {
        Lowered::Done
    } else {
        Lowered::Elsewhere
    }
}

fn moves(b: &Builder, m: M) -> bool {
    match m {
        M::Fld => load(b),
        M::Fild => Step::new(b).push(load_integer(b)),
        M::Fbld => {
            (0..10).step_by(8).for_each(|at| {
                b.load(b.place().at(at), (10 - at).min(8));
            });
            Step::new(b).push(Number::unknown(b));
        }
        M::Fld1 => Step::new(b).push(Number::constant(b, ONE)),
        M::Fldz => Step::new(b).push(Number::constant(b, ZERO)),
        // Rounded as the control word says, in ways that differ by processor.
        M::Fldpi | M::Fldl2e | M::Fldl2t | M::Fldlg2 | M::Fldln2 => {
            Step::new(b).push(Number::unknown(b));
        }
        M::Fst | M::Fstp => store(b, m != M::Fst),
        M::Fist => store_integer(b, 0, false),
        M::Fistp => store_integer(b, 0, true),
        M::Fisttp => store_integer(b, EXTENDED_FLAG, true),
        M::Fbstp => {
            b.store(b.place(), 8, b.unknown(64));
            b.store(b.place().at(8), 2, b.unknown(16));
            moves_only(b, 1);
        }
        M::Fxch => exchange(b),
        M::Fchs => change_sign(b, |rest| {
            let sign = rest & b.constant(0x8000, 16);
            (sign ^ b.constant(0x8000, 16)) | (rest & b.constant(0x7fff, 16))
        }),
        M::Fabs => change_sign(b, |rest| rest & b.constant(0x7fff, 16)),
        M::Fcmovb => conditional(b, 2),
        M::Fcmovnb => conditional(b, 3),
        M::Fcmove => conditional(b, 4),
        M::Fcmovne => conditional(b, 5),
        M::Fcmovbe => conditional(b, 6),
        M::Fcmovnbe => conditional(b, 7),
        M::Fcmovu => conditional(b, 10),
        M::Fcmovnu => conditional(b, 11),
        _ => return false,
    }
    true
}

/// Overwrites a register with something unknown, and moves the stack.
fn arithmetic(b: &Builder, m: M) -> bool {
    match m {
        M::Fadd | M::Fsub | M::Fsubr | M::Fmul | M::Fdiv | M::Fdivr => {
            operand_from_memory(b);
            overwrite(b, named_register(b), 0);
        }
        M::Fiadd | M::Fisub | M::Fisubr | M::Fimul | M::Fidiv | M::Fidivr => {
            operand_from_memory(b);
            overwrite(b, 0, 0);
        }
        M::Faddp | M::Fsubp | M::Fsubrp | M::Fmulp | M::Fdivp | M::Fdivrp => {
            overwrite(b, named_register(b), 1);
        }
        M::Fsqrt | M::Fsin | M::Fcos | M::Frndint | M::F2xm1 => overwrite(b, 0, 0),
        M::Fscale | M::Fprem | M::Fprem1 => overwrite(b, 0, 0),
        M::Fpatan | M::Fyl2x | M::Fyl2xp1 => overwrite(b, 1, 1),
        M::Fxam => Step::new(b).finish(),
        M::Ftst | M::Fcom | M::Fucom | M::Ficom => compare(b, 0),
        M::Fcomp | M::Fucomp | M::Ficomp => compare(b, 1),
        M::Fcompp | M::Fucompp => compare(b, 2),
        M::Fcomi | M::Fucomi => compare_flags(b, 0),
        M::Fcomip | M::Fucomip => compare_flags(b, 1),
        _ => return false,
    }
    true
}

/// The unit's own state.
fn state(b: &Builder, m: M) -> bool {
    match m {
        M::Ffree => release(b),
        M::Fincstp => turn(b, 1),
        M::Fdecstp => turn(b, 7),
        M::Fninit => {
            b.write(RegWord::X87_CONTROL, b.constant(INITIAL, 16));
            b.write(RegWord::X87_STATUS, b.constant(0, 16));
            b.write(RegWord::X87_TAG, b.constant(0, 8));
        }
        M::Fnclex => {
            // The flags, the stack fault, the summary and busy.
            let kept = status(b) & b.constant(0x7f00, 16);
            b.write(RegWord::X87_STATUS, b.value(kept.word, 16));
        }
        M::Fnstcw | M::Fstcw => b.store(b.place(), 2, b.input(RegWord::X87_CONTROL)),
        M::Fldcw => {
            let control = b.load(b.place(), 2) & b.constant(CONTROL_BITS, 16);
            b.write(RegWord::X87_CONTROL, control | b.constant(CONTROL_ONES, 16));
            // Unmasking an exception that is pending raises the summary.
            let summary = b.temporary(16).insert(0, status(b).low(7));
            let kept = summary.insert(8, status(b).extract(8, 7));
            b.write(RegWord::X87_STATUS, kept);
        }
        M::Fnstsw | M::Fstsw => b.set(0, status(b)),
        M::Emms => {
            b.write(RegWord::X87_TAG, b.constant(0, 8));
            // Whether it moves the top as other MMX instructions do, the manuals do not say.
            let moved = status(b).insert(TOP_AT, b.temporary(3));
            b.write(RegWord::X87_STATUS, moved);
        }
        _ => return false,
    }
    true
}

fn status(b: &Builder) -> Val<'_> {
    b.input(RegWord::X87_STATUS).low(16)
}

/// An extended number: significand, and sign with exponent.
#[derive(Clone, Copy)]
struct Number<'b> {
    significand: Val<'b>,
    rest: Val<'b>,
}

impl<'b> Number<'b> {
    fn unknown(b: &'b Builder) -> Number<'b> {
        Number {
            significand: b.temporary(64),
            rest: b.temporary(16),
        }
    }

    fn constant(b: &'b Builder, (significand, rest): (u64, u64)) -> Number<'b> {
        Number {
            significand: b.constant(significand, 64),
            rest: b.constant(rest, 16),
        }
    }

    fn select(b: &'b Builder, bit: Val<'b>, x: Number<'b>, y: Number<'b>) -> Number<'b> {
        Number {
            significand: b.select(bit.bit(0), x.significand, y.significand),
            rest: b.select(bit.bit(0), x.rest, y.rest),
        }
    }

    fn physical(b: &'b Builder, register: u16) -> Number<'b> {
        Number {
            significand: b.input(RegWord::x87(register, 0)),
            rest: b.input(RegWord::x87(register, 1)).low(16),
        }
    }
}

/// One instruction's effect on the stack, under construction.
struct Step<'b> {
    b: &'b Builder,
    top: Val<'b>,
    tag: Val<'b>,
    registers: [Number<'b>; 8],
    /// Exceptions are masked: the instruction runs to its end.
    completes: Val<'b>,
    /// A register was used against its tag.
    fault: Val<'b>,
    /// Registers of this kind change at all.
    changed: bool,
}

impl<'b> Step<'b> {
    fn new(b: &'b Builder) -> Step<'b> {
        let control = b.input(RegWord::X87_CONTROL).low(6);
        Step {
            b,
            top: status(b).extract(TOP_AT, 3),
            tag: b.input(RegWord::X87_TAG).low(8),
            registers: [0, 1, 2, 3, 4, 5, 6, 7].map(|register| Number::physical(b, register)),
            completes: b.bit(control.equals(b.constant(EXCEPTIONS, 6))),
            fault: b.constant(0, 1),
            changed: false,
        }
    }

    /// Number of the physical register that st(i) is.
    fn index(&self, i: u64) -> Val<'b> {
        self.top + self.b.constant(i, 3)
    }

    fn in_use(&self, index: Val<'b>) -> Val<'b> {
        let place = index.zero_extended(8);
        self.b.bit(self.tag.by(Op::ShrBy, place).bit(0))
    }

    /// st(i), which must be in use.
    fn read(&mut self, i: u64) -> Number<'b> {
        let b = self.b;
        let index = self.index(i);
        self.expect(index, true);
        let choose = |bit: u32, x, y| Number::select(b, b.bit(index.bit(bit)), y, x);
        let r = self.registers;
        let pairs = [0, 2, 4, 6].map(|at| choose(0, r[at], r[at + 1]));
        let [low, high] = [0, 2].map(|at| choose(1, pairs[at], pairs[at + 1]));
        choose(2, low, high)
    }

    /// A fault, unless the register is in use, or free, as it should be.
    fn expect(&mut self, index: Val<'b>, in_use: bool) {
        let used = self.in_use(index);
        let wrong = if in_use { !used } else { used };
        self.fault = self.fault | wrong;
    }

    /// Writes st(i), whatever it was.
    fn write(&mut self, i: u64, number: Number<'b>) {
        let b = self.b;
        let index = self.index(i);
        let holds = self.completes & !self.fault;
        let value = Number::select(b, holds, number, Number::unknown(b));
        self.registers = std::array::from_fn(|register| {
            let here = b.bit(index.equals(b.constant(register as u64, 3)));
            Number::select(b, here, value, self.registers[register])
        });
        self.mark(index, true);
        self.changed = true;
    }

    fn mark(&mut self, index: Val<'b>, in_use: bool) {
        let one = self.b.constant(1, 8);
        let place = one.by(Op::ShlBy, index.zero_extended(8));
        self.tag = if in_use {
            self.tag | place
        } else {
            self.tag & !place
        };
    }

    fn push(mut self, number: Number<'b>) {
        self.top = self.index(7);
        self.expect(self.top, false);
        self.write(0, number);
        self.finish();
    }

    fn pops(mut self, count: u32) -> Step<'b> {
        for _ in 0..count {
            self.mark(self.top, false);
            self.top = self.index(1);
        }
        self
    }

    /// Writes the registers, if any changed, the tags and the status.
    fn finish(self) {
        let b = self.b;
        if self.changed {
            for (register, number) in (0..8).zip(self.registers) {
                b.write(RegWord::x87(register, 0), number.significand);
                b.write(RegWord::x87(register, 1), number.rest);
            }
        }
        let old_tag = b.input(RegWord::X87_TAG).low(8);
        if !self.tag.is(old_tag) {
            let tag = b.select(self.completes.bit(0), self.tag, b.temporary(8));
            b.write(RegWord::X87_TAG, tag);
        }
        let old = status(b);
        // Condition codes, summary and busy are unknown, exception flags stick.
        let raised = old.low(6) | b.temporary(6);
        let fault = b.bit(old.bit(STACK_FAULT)) | self.fault;
        let top = b.select(self.completes.bit(0), self.top, b.temporary(3));
        let new = b
            .temporary(16)
            .insert(0, raised)
            .insert(STACK_FAULT, fault)
            .insert(TOP_AT, top);
        b.write(RegWord::X87_STATUS, new);
    }
}

/// Bits of the memory operand.
fn memory_bits(b: &Builder) -> u32 {
    b.instruction.memory_size().size() as u32 * 8
}

fn is_extended(b: &Builder) -> bool {
    b.instruction.memory_size() == MemorySize::Float80
}

/// `i` of the operand st(i).
fn stack_number(b: &Builder, operand: u32) -> u64 {
    b.instruction.op_register(operand).number() as u64
}

/// The register that arithmetic with st(i) writes; st(0) with a memory operand.
fn named_register(b: &Builder) -> u64 {
    if b.is_register(0) {
        stack_number(b, 0)
    } else {
        0
    }
}

fn load(b: &Builder) {
    let mut step = Step::new(b);
    let number = if b.is_register(0) {
        step.read(stack_number(b, 0))
    } else if is_extended(b) {
        Number {
            significand: b.load(b.place(), 8),
            rest: b.load(b.place().at(8), 2),
        }
    } else {
        let bits = memory_bits(b);
        extended(b, b.load(b.place(), bits / 8), bits as u16)
    };
    step.push(number);
}

fn load_integer(b: &Builder) -> Number<'_> {
    let bits = memory_bits(b);
    extended(b, b.load(b.place(), bits / 8), bits as u16 | EXTENDED_FLAG)
}

fn extended<'b>(b: &'b Builder, x: Val<'b>, from: u16) -> Number<'b> {
    Number {
        significand: b.apply(Op::ExtendedSignificand, 64, from, [x; 3], 64),
        rest: b.apply(Op::ExtendedExponent, 64, from, [x; 3], 16),
    }
}

fn store(b: &Builder, pops: bool) {
    let mut step = Step::new(b);
    let number = step.read(0);
    let pops = u32::from(pops);
    if !b.is_memory(0) {
        step.write(stack_number(b, 0), number);
        return step.pops(pops).finish();
    }
    let holds = step.completes & !step.fault;
    let kept = |value: Val<'_>| b.value(value.word, value.width);
    if is_extended(b) {
        let known = Number::select(b, holds, number, Number::unknown(b));
        b.store(b.place(), 8, kept(known.significand));
        b.store(b.place().at(8), 2, kept(known.rest));
    } else {
        let bits = memory_bits(b);
        let control = b.input(RegWord::X87_CONTROL);
        let operands = [number.significand, number.rest, control];
        let value = b.apply(Op::FloatFromExtended, 64, bits as u16, operands, bits);
        let value = b.select(holds.bit(0), value, b.temporary(bits));
        b.store(b.place(), bits / 8, value);
    }
    step.pops(pops).finish();
}

fn store_integer(b: &Builder, flag: u16, pops: bool) {
    let mut step = Step::new(b);
    let number = step.read(0);
    let bits = memory_bits(b);
    let control = b.input(RegWord::X87_CONTROL);
    let operands = [number.significand, number.rest, control];
    let value = b.apply(Op::IntFromExtended, 64, bits as u16 | flag, operands, bits);
    let holds = step.completes & !step.fault;
    b.store(
        b.place(),
        bits / 8,
        b.select(holds.bit(0), value, b.temporary(bits)),
    );
    step.pops(u32::from(pops)).finish();
}

fn exchange(b: &Builder) {
    let mut step = Step::new(b);
    let other = (0..b.instruction.op_count())
        .map(|operand| stack_number(b, operand))
        .find(|&number| number != 0)
        .unwrap_or(0);
    let (x, y) = (step.read(0), step.read(other));
    step.write(0, y);
    step.write(other, x);
    step.finish();
}

fn change_sign<'b>(b: &'b Builder, f: impl Fn(Val<'b>) -> Val<'b>) {
    let mut step = Step::new(b);
    let number = step.read(0);
    let rest = f(number.rest);
    step.write(0, Number { rest, ..number });
    step.finish();
}

/// Moves st(i) to st(0) under a condition of RFLAGS.
fn conditional(b: &Builder, code: u16) {
    let mut step = Step::new(b);
    let other = stack_number(b, b.instruction.op_count() - 1);
    let (old, new) = (step.read(0), step.read(other));
    step.write(0, Number::select(b, b.condition(code), new, old));
    step.finish();
}

fn operand_from_memory(b: &Builder) {
    if let Some(operand) = (0..b.instruction.op_count()).find(|&operand| b.is_memory(operand)) {
        b.load(b.place(), b.width(operand) / 8);
    }
}

fn overwrite(b: &Builder, i: u64, pops: u32) {
    let mut step = Step::new(b);
    step.fault = b.temporary(1);
    step.write(i, Number::unknown(b));
    step.pops(pops).finish();
}

fn compare(b: &Builder, pops: u32) {
    operand_from_memory(b);
    moves_only(b, pops);
}

/// Uses registers and writes none.
fn moves_only(b: &Builder, pops: u32) {
    let mut step = Step::new(b);
    step.fault = b.temporary(1);
    step.pops(pops).finish();
}

fn compare_flags(b: &Builder, pops: u32) {
    for flag in [OF, SF, AF] {
        b.set_flag(flag, Pred::Constant(false));
    }
    compare(b, pops);
}

/// Marks st(i) as free.
fn release(b: &Builder) {
    let mut step = Step::new(b);
    let index = step.index(stack_number(b, 0));
    step.mark(index, false);
    step.finish();
}

/// Moves the top without touching tags.
fn turn(b: &Builder, by: u64) {
    let mut step = Step::new(b);
    step.top = step.index(by);
    step.finish();
}

/// Every MMX instruction makes the stack's top register 0 and all registers in use.
pub(in crate::lift) fn enter_mmx(b: &Builder) {
    let used = (0..b.instruction.op_count())
        .any(|operand| b.is_register(operand) && b.instruction.op_register(operand).is_mm());
    if used {
        b.write(RegWord::X87_TAG, b.constant(0xff, 8));
        let status = b.input(RegWord::X87_STATUS);
        b.write(RegWord::X87_STATUS, status.insert(TOP_AT, b.constant(0, 3)));
    }
}
