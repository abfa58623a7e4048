//! Which instructions end a block, and what the packets must say about them.
//!
//! Source: SDM "Change of Flow Instruction (COFI) Tracing".

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};
use rept_trace::{Address, Block};

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At a limit of length or of the known bytes: control goes on behind it.
    Split,
    /// Direct jump.
    Jump,
    /// Direct call that pushes its return address for return compression.
    Call,
    /// Conditional branch: needs a TNT bit.
    Conditional,
    /// Near return: needs a TNT bit when compressed, a TIP when not.
    Return,
    /// Indirect jump: needs a TIP.
    IndirectJump,
    /// Indirect call: needs a TIP, pushes its return address.
    IndirectCall,
    /// Far transfer (system call, interrupt, far call, return from them, VM entry): needs a
    /// TIP or, when it leaves the traced context, a TIP.PGD.
    Far,
    /// May switch tracing off but does not branch (MOV to CR3, WRMSR): control goes on
    /// behind it unless a TIP.PGD says otherwise.
    Control,
    /// Raises an exception always; never completes.
    Undefined,
}

impl End {
    /// Whether only a packet tells where control goes.
    #[inline]
    pub(crate) fn needs_packet(self) -> bool {
        !matches!(self, End::Split | End::Control | End::Jump | End::Call)
    }

    /// Whether that is a packet with an address.
    #[inline]
    pub(crate) fn is_indirect(self) -> bool {
        matches!(
            self,
            End::Return | End::IndirectJump | End::IndirectCall | End::Far
        )
    }
}

/// How `instruction` ends its block and where a direct branch goes; `None` when it does not end it.
pub(super) fn end_of(instruction: &Instruction) -> (Option<End>, Address) {
    let target = Address(instruction.near_branch_target());
    match instruction.flow_control() {
        FlowControl::Next | FlowControl::XbeginXabortXend => (control(instruction), target),
        FlowControl::ConditionalBranch => (Some(End::Conditional), target),
        FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
            (Some(End::Jump), target)
        }
        FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => {
            (Some(End::IndirectJump), target)
        }
        FlowControl::IndirectCall if instruction.is_call_near_indirect() => {
            (Some(End::IndirectCall), target)
        }
        FlowControl::Call if instruction.is_call_near() => (Some(call(instruction)), target),
        FlowControl::Call if stays(instruction) => (None, target),
        FlowControl::Return if is_near_return(instruction) => (Some(End::Return), target),
        FlowControl::Exception => (Some(End::Undefined), target),
        _ => (Some(End::Far), target),
    }
}

/// A call to the next instruction reads the instruction pointer; the processor does not track it.
fn call(instruction: &Instruction) -> End {
    match instruction.near_branch_target() == instruction.next_ip() {
        true => End::Jump,
        false => End::Call,
    }
}

fn is_near_return(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Ret
}

/// Instructions that iced counts as calls and that the traced program goes on behind:
/// hypercalls, which leave tracing by a VM exit that has its own packets, if any.
fn stays(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Vmcall
            | Mnemonic::Vmmcall
            | Mnemonic::Vmgexit
            | Mnemonic::Tdcall
            | Mnemonic::Seamcall
            | Mnemonic::Vmfunc
    )
}

fn control(instruction: &Instruction) -> Option<End> {
    let moves_to_cr3 = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::CR3;
    let writes_msr = matches!(
        instruction.mnemonic(),
        Mnemonic::Wrmsr
            | Mnemonic::Wrmsrns
            | Mnemonic::Wrmsrlist
            | Mnemonic::Xrstors
            | Mnemonic::Xrstors64
    );
    (moves_to_cr3 || writes_msr).then_some(End::Control)
}

/// Whether the first instruction of `block` is a VM entry.
pub(crate) fn is_vm_entry(block: &Block) -> bool {
    matches!(first(block).code(), Code::Vmlaunch | Code::Vmresume)
}

/// Whether the first instruction of `block`, stopped by a fault or an interrupt, may have done a part of
/// its work: repeated string instructions, gathers and scatters, and saving the extended state.
pub(crate) fn may_stop_midway(block: &Block) -> bool {
    let first = first(block);
    let repeated = first.has_rep_prefix() || first.has_repne_prefix();
    (first.is_string_instruction() && repeated)
        || first.is_vsib()
        || first.is_save_restore_instruction()
}

fn first(block: &Block) -> Instruction {
    let (bytes, bitness) = (block.instruction_bytes(0), u32::from(block.bitness));
    let options = iced_x86::DecoderOptions::NONE;
    iced_x86::Decoder::with_ip(bitness, bytes, block.at.0, options).decode()
}
