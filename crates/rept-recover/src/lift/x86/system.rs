//! The kernel, the processor's own state, and instructions that do nothing to data.

use crate::effect::Flow;
use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::flags::{AF, OF, PF, SF, ZF};
use crate::lift::value::Pred;
use iced_x86::{Mnemonic as M, Register as R};
use rept_trace::RegWord;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let unknown = |register: R| b.set_register(register, b.unknown(register.size() as u32 * 8));
    match m {
        M::Nop
        | M::Endbr64
        | M::Endbr32
        | M::Pause
        | M::Fnop
        | M::Wait
        | M::Lfence
        | M::Sfence
        | M::Mfence => {}
        M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetch
        | M::Prefetchw => {}
        M::Clflush | M::Clflushopt | M::Clwb | M::Cldemote | M::Serialize | M::Reservednop => {}
        // Its operand is in the trace: a load makes it a value.
        M::Ptwrite if b.is_memory(0) => {
            b.operand(0);
        }
        M::Ptwrite => {}
        M::Syscall => system_call(b),
        M::Int | M::Int1 | M::Int3 => b.set_flow(Flow::Syscall),
        M::Rdtsc => [R::EAX, R::EDX].into_iter().for_each(unknown),
        M::Rdtscp => [R::EAX, R::EDX, R::ECX].into_iter().for_each(unknown),
        M::Cpuid => [R::EAX, R::EBX, R::ECX, R::EDX]
            .into_iter()
            .for_each(unknown),
        M::Xgetbv => [R::EAX, R::EDX].into_iter().for_each(unknown),
        M::Rdpid => unknown(b.instruction.op_register(0)),
        // CF tells whether there was a number; nothing is known of it.
        M::Rdrand | M::Rdseed => {
            unknown(b.instruction.op_register(0));
            [OF, SF, ZF, AF, PF]
                .into_iter()
                .for_each(|flag| b.set_flag(flag, Pred::Constant(false)));
        }
        M::Rdfsbase => b.set(0, b.input(RegWord::FS_BASE).low(b.width(0))),
        M::Rdgsbase => b.set(0, b.input(RegWord::GS_BASE).low(b.width(0))),
        M::Wrfsbase => b.write(RegWord::FS_BASE, b.operand(0)),
        M::Wrgsbase => b.write(RegWord::GS_BASE, b.operand(0)),
        M::Stmxcsr | M::Vstmxcsr => b.store(b.place(), 4, b.input(RegWord::MXCSR)),
        M::Ldmxcsr | M::Vldmxcsr => b.write(RegWord::MXCSR, b.load(b.place(), 4)),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// The processor's part of SYSCALL; what the kernel does is not the instruction's meaning.
fn system_call(b: &Builder) {
    const WITHOUT_RESUME: u64 = 0xfffe_ffff;
    b.write(RegWord::RAX, b.unknown(64));
    b.write(RegWord::RCX, b.constant(b.instruction.next_ip(), 64));
    b.write(RegWord::R11, b.old_flags() & b.constant(WITHOUT_RESUME, 64));
    b.set_flow(Flow::Syscall);
}
