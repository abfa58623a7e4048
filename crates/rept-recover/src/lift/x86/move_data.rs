//! Moves, extensions, exchanges and addresses.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::op::Op;
use iced_x86::{Mnemonic as M, Register as R};

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let widen =
        |from: R, to: R| b.set_register(to, b.register(from).sign_extended(to.size() as u32 * 8));
    let signs = |from: R, to: R| b.set_register(to, b.register(from).sar(63));
    match m {
        M::Mov => b.set(0, b.operand(1)),
        M::Movzx => b.set(0, b.operand(1).zero_extended(b.width(0))),
        M::Movsx | M::Movsxd => b.set(0, b.operand(1).sign_extended(b.width(0))),
        M::Lea => b.set(
            0,
            b.effective_address(b.address_width())
                .zero_extended(b.width(0)),
        ),
        M::Bswap if b.width(0) == 16 => return Lowered::Forget,
        M::Bswap => b.set(0, b.operand(0).map(Op::Bswap, 0)),
        M::Movbe => b.set(0, b.operand(1).map(Op::Bswap, 0)),
        M::Movnti => b.set(0, b.operand(1)),
        M::Xchg => exchange(b),
        M::Cbw => widen(R::AL, R::AX),
        M::Cwde => widen(R::AX, R::EAX),
        M::Cdqe => widen(R::EAX, R::RAX),
        M::Cwd => signs(R::AX, R::DX),
        M::Cdq => signs(R::EAX, R::EDX),
        M::Cqo => signs(R::RAX, R::RDX),
        M::Xlatb => return table_lookup(b),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

fn exchange(b: &Builder) {
    let (x, y) = (b.operand(0), b.operand(1));
    b.set(0, y);
    b.set(1, x);
}

/// `al = [rbx + zero-extended al]`.
fn table_lookup(b: &Builder) -> Lowered {
    let base = b.instruction.memory_base();
    if b.instruction.op0_kind() != iced_x86::OpKind::Memory || !matches!(base, R::RBX | R::EBX) {
        return Lowered::Forget;
    }
    let base = b.register(base);
    let index = b.register(R::AL).map(Op::Copy, 0).zero_extended(base.width);
    let linear = (base + index).zero_extended(64);
    let segment = b.segment_base(b.instruction.memory_segment());
    let address = segment.map_or(linear, |base| linear + base).word;
    let loaded = b.load(crate::lift::builder::Place { address, offset: 0 }, 1);
    b.set_register(R::AL, loaded);
    Lowered::Done
}
