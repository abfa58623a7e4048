//! The stack: push, pop, call, return, frames.

use crate::effect::Flow;
use crate::lift::Lowered;
use crate::lift::builder::{Builder, Place};
use crate::lift::value::Val;
use crate::lift::x86::control::near;
use crate::op::Op;
use iced_x86::{Code, Mnemonic as M, OpKind, Register as R};
use rept_trace::RegWord;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Push => push(b, b.operand(0), operand_bytes(b)),
        M::Pop => pop_operand(b),
        M::Call => return call(b),
        M::Ret => return ret(b),
        M::Leave => return leave(b),
        M::Enter => return enter(b),
        M::Pushfq => push(b, image(b), 8),
        M::Pushf => push(b, image(b).low(16), 2),
        M::Popfq => set_flags(b, pop(b, 8)),
        M::Popf => set_low_flags(b, pop(b, 2)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// 8, or 2 with an operand-size prefix.
fn operand_bytes(b: &Builder) -> u32 {
    b.instruction.stack_pointer_increment().unsigned_abs()
}

/// Pushes the low `bytes` of a value.
pub(super) fn push(b: &Builder, value: Val<'_>, bytes: u32) {
    let value = b.value(value.word, value.width).sign_extended(bytes * 8);
    let top = b.current(RegWord::RSP) - b.constant(u64::from(bytes), 64);
    b.write(RegWord::RSP, top);
    b.store(
        Place {
            address: top.word,
            offset: 0,
        },
        bytes,
        value,
    );
}

/// Pops `bytes`.
pub(super) fn pop(b: &Builder, bytes: u32) -> Val<'_> {
    let top = b.current(RegWord::RSP);
    let value = b.load(
        Place {
            address: top.word,
            offset: 0,
        },
        bytes,
    );
    b.write(RegWord::RSP, top + b.constant(u64::from(bytes), 64));
    value
}

/// An address that uses RSP sees it after the increment; a popped RSP replaces it.
fn pop_operand(b: &Builder) {
    let value = pop(b, operand_bytes(b));
    if b.is_memory(0) && b.instruction.memory_base() == R::RSP {
        let place = popped_place(b);
        b.place.set(Some(place));
    }
    b.set(0, value);
}

fn popped_place(b: &Builder) -> Place {
    let top = b.current(RegWord::RSP);
    let instruction = &b.instruction;
    let displacement = b.constant(instruction.memory_displacement64(), 64);
    let mut sum = top + displacement;
    if let Some(index) = crate::lift::operand::gpr_part(instruction.memory_index()) {
        sum = sum
            + b.input(index.word)
                .shl(instruction.memory_index_scale().trailing_zeros());
    }
    if let Some(base) = b.segment_base(instruction.memory_segment()) {
        sum = sum + base;
    }
    Place {
        address: sum.word,
        offset: 0,
    }
}

fn call(b: &Builder) -> Lowered {
    if !matches!(b.instruction.code(), Code::Call_rel32_64 | Code::Call_rm64) {
        return Lowered::Forget;
    }
    let target = (!near(b)).then(|| b.operand(0).word);
    push(b, b.constant(b.instruction.next_ip(), 64), 8);
    b.set_flow(Flow::Call { target });
    Lowered::Done
}

fn ret(b: &Builder) -> Lowered {
    if !matches!(b.instruction.code(), Code::Retnq | Code::Retnq_imm16) {
        return Lowered::Forget;
    }
    let target = pop(b, 8);
    if b.instruction.op0_kind() == OpKind::Immediate16 {
        let released = b.constant(u64::from(b.instruction.immediate16()), 64);
        b.write(RegWord::RSP, b.current(RegWord::RSP) + released);
    }
    b.set_flow(Flow::Return {
        target: target.word,
    });
    Lowered::Done
}

/// `rsp = rbp; pop rbp`.
fn leave(b: &Builder) -> Lowered {
    let bytes = match b.instruction.code() {
        Code::Leaveq => 8,
        Code::Leavew => 2,
        _ => return Lowered::Forget,
    };
    let frame = b.input(RegWord::RBP);
    b.write(RegWord::RSP, frame);
    let popped = pop(b, bytes);
    set_frame(b, popped);
    Lowered::Done
}

/// The frame pointer, or its lowest 16 bits.
fn set_frame(b: &Builder, value: Val<'_>) {
    match value.width {
        64 => b.write(RegWord::RBP, value),
        _ => b.set_register(R::BP, value),
    }
}

/// `push rbp; rbp = rsp; rsp -= size`; nested, the frame pointers of the outer levels and the
/// new one are pushed in between.
fn enter(b: &Builder) -> Lowered {
    let bytes = match b.instruction.code() {
        Code::Enterq_imm16_imm8 => 8,
        Code::Enterw_imm16_imm8 => 2,
        _ => return Lowered::Forget,
    };
    let levels = u64::from(b.instruction.immediate8_2nd() % 32);
    let outer = b.input(RegWord::RBP);
    push(b, outer.low(bytes * 8), bytes);
    let frame = b.current(RegWord::RSP);
    for level in 1..levels {
        let address = outer - b.constant(level * u64::from(bytes), 64);
        let saved = b.load(
            Place {
                address: address.word,
                offset: 0,
            },
            bytes,
        );
        push(b, saved, bytes);
    }
    if levels > 0 {
        push(b, frame.low(bytes * 8), bytes);
    }
    set_frame(b, frame.low(bytes * 8));
    b.write(
        RegWord::RSP,
        b.current(RegWord::RSP) - b.constant(u64::from(b.instruction.immediate16()), 64),
    );
    Lowered::Done
}

/// The pushed image: RF and VM read as zero.
pub(super) fn image(b: &Builder) -> Val<'_> {
    b.old_flags() & b.constant(0xfffc_ffff, 64)
}

/// What a user-mode POPF may change: the status flags, TF, DF, NT, AC and ID.
const CHANGED: u64 = 0x24_4dd5;

/// RF is cleared.
fn set_flags(b: &Builder, popped: Val<'_>) {
    const WITHOUT_RESUME: u64 = 0xfffe_ffff;
    let kept = b.old_flags() & b.constant(WITHOUT_RESUME, 64);
    mix_flags(b, CHANGED, popped, kept);
}

/// POPF of 16 bits keeps what is above them.
fn set_low_flags(b: &Builder, popped: Val<'_>) {
    mix_flags(b, CHANGED & 0xffff, popped.zero_extended(64), b.old_flags());
}

/// IF and IOPL depend on the privilege level and are forgotten.
fn mix_flags(b: &Builder, changed: u64, popped: Val<'_>, kept: Val<'_>) {
    const FORGOTTEN: u16 = 0x3200;
    let mixed = b.apply(
        Op::Ternary,
        64,
        CHOOSE,
        [b.constant(changed, 64), popped, kept],
        64,
    );
    b.write(
        RegWord::FLAGS,
        b.apply(Op::Keep, 32, FORGOTTEN, [mixed; 3], 64),
    );
    b.flags.whole.set(true);
}

/// Truth table of `a ? b : c`.
const CHOOSE: u16 = 0xca;
