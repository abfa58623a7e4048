//! Which instructions can be run natively, and which of their outputs nothing determines.

use crate::access::real_flags;
use crate::emulate::Emulator;
use crate::state::{Setting, World};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind};
use rept_recover::lift::ALL_FLAGS;
use rept_trace::RegWord;

/// Bits of an output that need not be determined by the inputs.
pub(crate) fn excused(instruction: &Instruction, word: RegWord) -> u64 {
    let unknown_source = matches!(
        instruction.mnemonic(),
        Mnemonic::Rdtsc
            | Mnemonic::Rdtscp
            | Mnemonic::Cpuid
            | Mnemonic::Rdrand
            | Mnemonic::Rdseed
            | Mnemonic::Rdpid
            | Mnemonic::Xgetbv
            | Mnemonic::Rdpkru
            | Mnemonic::Rdsspd
            | Mnemonic::Rdsspq
    );
    use Mnemonic as M;
    let mnemonic = instruction.mnemonic();
    match word {
        _ if unknown_source => u64::MAX,
        // A zero source leaves the destination undefined.
        RegWord(0..16) if matches!(mnemonic, M::Bsf | M::Bsr) => u64::MAX,
        // Whether no iteration clears the upper halves of the registers differs by processor.
        RegWord::RCX | RegWord::RSI | RegWord::RDI if counts_in_32_bits(instruction) => {
            0xffff_ffff << 32
        }
        // Whether a failed comparison zeroes the upper half of the destination differs by vendor.
        RegWord(0..16) if mnemonic == M::Cmpxchg => 0xffff_ffff << 32,
        RegWord::FLAGS => {
            // REPE CMPS and the like: flags come from memory that the effect leaves to the engine.
            let strings = matches!(
                instruction.mnemonic(),
                Mnemonic::Cmpsb
                    | Mnemonic::Cmpsw
                    | Mnemonic::Cmpsd
                    | Mnemonic::Cmpsq
                    | Mnemonic::Scasb
                    | Mnemonic::Scasw
                    | Mnemonic::Scasd
                    | Mnemonic::Scasq
            );
            let undefined = if strings {
                u64::from(ALL_FLAGS)
            } else {
                real_flags(instruction.rflags_undefined())
            };
            let turns =
                matches!(mnemonic, M::Rcl | M::Rcr) && instruction.op1_kind() == OpKind::Immediate8;
            // Only a turn by one place defines OF; iced counts places beyond whole turns.
            let overflow = u64::from(turns && instruction.immediate8() & 31 != 1) << 11;
            // Shifting everything out leaves CF undefined; the bytes are few enough to excuse them all.
            let narrow = instruction
                .op0_register()
                .size()
                .max(instruction.memory_size().size())
                < 4;
            let shifted_out =
                matches!(mnemonic, M::Shl | M::Sal | M::Shr | M::Shld | M::Shrd) && narrow;
            undefined | overflow | u64::from(shifted_out) | !u64::from(ALL_FLAGS)
        }
        RegWord::MXCSR => 0x3f,
        // The upper quadword.
        RegWord(64..) if matches!(mnemonic, M::Extrq | M::Insertq) && word.0 % 8 == 1 => u64::MAX,
        // Arithmetic, and use against the tags, leave registers, memory and condition codes open.
        RegWord(32..48) if is_x87(instruction) => u64::MAX,
        // Nor do the manuals say whether EMMS moves the top.
        RegWord::X87_STATUS if mnemonic == M::Emms => 0xffff,
        RegWord::X87_STATUS => 0xc7ff,
        _ => 0,
    }
}

/// The effect leaves results open on purpose under this control word: fused operations are
/// stated for MXCSR as after reset and for flushed denormals, x87 stores for registers in use; and
/// nothing is said where editions of the manual differ (`op/float/special.rs`).
pub(crate) fn leaves_open(setting: Setting, instruction: &Instruction, before: &World) -> bool {
    let mxcsr = before.state.mxcsr;
    let name = format!("{:?}", instruction.mnemonic());
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    is_x87(instruction)
        || is(&["Vfm", "Vfnm"]) && !matches!(mxcsr & 0xe040, 0 | 0x8040)
        || is(&["Vgetmant", "Vreduce", "Vfixupimm"])
            && Emulator::leaves_open(setting, instruction, before)
}

/// Works on the x87 stack.
pub(crate) fn is_x87(instruction: &Instruction) -> bool {
    instruction
        .cpuid_features()
        .iter()
        .any(|feature| format!("{feature:?}").starts_with("FPU"))
}

/// A repeated string instruction with 32-bit addresses.
fn counts_in_32_bits(instruction: &Instruction) -> bool {
    let short = |kind| {
        matches!(
            kind,
            OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI
        )
    };
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    repeats && instruction.op_kinds().any(short)
}

/// Why instances of `code` cannot be run here, when they cannot.
pub(crate) fn unfit(code: Code) -> Option<&'static str> {
    let opcode = code.op_code();
    if !opcode.is_instruction() || !opcode.mode64() {
        return Some("not an instruction of 64-bit mode");
    }
    if opcode.is_privileged() || opcode.is_input_output() || opcode.must_be_cpl0() {
        return Some("privileged");
    }
    if code.flow_control() != FlowControl::Next && !branches(code) {
        return Some("transfers control to where a register or memory says");
    }
    if missing_feature(code) {
        return Some("the processor takes it for another instruction");
    }
    if opcode.is_save_restore() {
        return Some("saves or restores the host's state");
    }
    use iced_x86::OpCodeOperandKind as Kind;
    let first = opcode.op0_kind();
    if matches!(
        first,
        Kind::seg_reg | Kind::fs | Kind::gs | Kind::es | Kind::ss | Kind::ds | Kind::cs
    ) {
        return Some("loads a segment register");
    }
    if uses_x87_environment(code) {
        return Some("stores or loads the x87 environment");
    }
    use Mnemonic as M;
    match code.mnemonic() {
        M::Wrfsbase | M::Wrgsbase | M::Wrpkru | M::Lfs | M::Lgs | M::Lss => {
            Some("changes segments or protection")
        }
        M::Monitorx | M::Mwaitx | M::Umonitor | M::Umwait | M::Tpause => Some("waits"),
        M::Vmmcall | M::Vmcall | M::Vmgexit | M::Vmfunc | M::Getsec => Some("calls a hypervisor"),
        M::Xabort | M::Xbegin | M::Xend => Some("transactional"),
        _ => None,
    }
}

/// Transfers control to a constant near target, or goes on.
pub(crate) fn branches(code: Code) -> bool {
    use iced_x86::OpCodeOperandKind as Kind;
    matches!(code.op_code().op0_kind(), Kind::br64_1 | Kind::br64_4)
        && code.mnemonic() != Mnemonic::Xbegin
}

/// Encodings that processors without the feature execute as something else.
fn missing_feature(code: Code) -> bool {
    match code.mnemonic() {
        Mnemonic::Tzcnt => !std::arch::is_x86_feature_detected!("bmi1"),
        // Without UINTR the prefix is ignored: RDPKRU and WRPKRU, which would lock us out.
        Mnemonic::Clui | Mnemonic::Stui | Mnemonic::Testui | Mnemonic::Senduipi => true,
        Mnemonic::Lzcnt => !std::arch::is_x86_feature_detected!("lzcnt"),
        _ => false,
    }
}

/// Stores or loads the unit's environment, whose instruction and data pointers are the stub's own.
fn uses_x87_environment(code: Code) -> bool {
    use Mnemonic as M;
    matches!(
        code.mnemonic(),
        M::Fldenv | M::Frstor | M::Fnsave | M::Fsave | M::Fnstenv | M::Fstenv
    )
}
