//! The kernel, the processor's own state, and instructions that do nothing to data.

use crate::effect::Flow;
use crate::lift::Lowered;
use crate::lift::builder::{Builder, Place};
use crate::lift::flags::{AF, CF, OF, PF, SF, ZF};
use crate::lift::value::Pred;
use iced_x86::{Code, Mnemonic as M, Register as R};
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
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchit0
        | M::Prefetchit1 => {}
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
        M::Xgetbv | M::Rdpmc => [R::EAX, R::EDX].into_iter().for_each(unknown),
        M::Rdpru => {
            [R::EAX, R::EDX].into_iter().for_each(unknown);
            clear(b, &[OF, SF, ZF, AF, PF]);
        }
        M::Rdpkru => {
            unknown(R::EAX);
            b.set_register(R::EDX, b.constant(0, 32));
        }
        // The shadow stack pointer is no word of ours; without shadow stacks it is not even read.
        M::Rdsspd | M::Rdsspq => unknown(b.instruction.op0_register().full_register()),
        M::Incsspd | M::Incsspq | M::Wrpkru | M::Xsusldtrk | M::Xresldtrk => {}
        M::Monitor | M::Monitorx | M::Umonitor | M::Mwait | M::Mwaitx => {}
        // They say by one flag what came of it, and clear the others.
        M::Xtest => clear(b, &[CF, OF, SF, AF, PF]),
        M::Tpause | M::Umwait => clear(b, &[OF, SF, ZF, AF, PF]),
        M::Movdiri | M::Wrssd | M::Wrssq => b.set(0, b.operand(1)),
        M::Movdir64b => move_line(b),
        M::Clzero => zero_line(b),
        M::Rdpid => unknown(b.instruction.op_register(0)),
        // CF tells whether there was a number; nothing is known of it.
        M::Rdrand | M::Rdseed => {
            unknown(b.instruction.op_register(0));
            clear(b, &[OF, SF, ZF, AF, PF]);
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

fn clear(b: &Builder, flags: &[u32]) {
    flags
        .iter()
        .for_each(|&flag| b.set_flag(flag, Pred::Constant(false)));
}

/// 64 bytes from memory to where a register points.
fn move_line(b: &Builder) {
    let from = b.place();
    let address = b.register(b.instruction.op0_register()).zero_extended(64);
    let to = Place {
        address: address.word,
        offset: 0,
    };
    let line: Vec<_> = (0..64)
        .step_by(8)
        .map(|at| (at, b.load(from.at(at), 8)))
        .collect();
    line.into_iter()
        .for_each(|(at, word)| b.store(to.at(at), 8, word));
}

/// CLZERO: the cache line that RAX points into becomes zero.
fn zero_line(b: &Builder) {
    let pointer = match b.instruction.code() {
        Code::Clzerod => b.register(R::EAX),
        _ => b.register(R::RAX),
    };
    let line = pointer & b.constant(!63, pointer.width);
    let place = Place {
        address: line.zero_extended(64).word,
        offset: 0,
    };
    (0..64)
        .step_by(8)
        .for_each(|at| b.store(place.at(at), 8, b.constant(0, 64)));
}

/// The processor's part of SYSCALL; what the kernel does is not the instruction's meaning.
fn system_call(b: &Builder) {
    const WITHOUT_RESUME: u64 = 0xfffe_ffff;
    b.write(RegWord::RAX, b.unknown(64));
    b.write(RegWord::RCX, b.constant(b.instruction.next_ip(), 64));
    b.write(RegWord::R11, b.old_flags() & b.constant(WITHOUT_RESUME, 64));
    b.set_flow(Flow::Syscall);
}
