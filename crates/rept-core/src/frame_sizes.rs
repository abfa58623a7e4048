//! How large frames are, read from code: for functions that were entered before the window and are left in it.
//!
//! A function that addresses its frame by rbp leaves it by `leave` or `lea rsp,[rbp-40]`. What rsp was before, the
//! instruction does not tell backward; the code that led there does, as it moves rsp by constants. It is walked
//! from the function's first instruction on, along direct jumps, with what rsp and rbp have more than rsp had at
//! the beginning. Where ways meet that differ, or something else is done to a register, it is not known.
//!
//! It ends because what is known of a place is only ever lost, and costs at most [`MAX_BYTES`] of code a function,
//! each place of which is walked at most three times.

use crate::Session;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use rept_recover::FrameSizes;
use rept_trace::Address;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes of a function that are walked at most.
const MAX_BYTES: u64 = 1 << 18;

/// What rsp and rbp have more than rsp had at the function's first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Heights {
    rsp: Option<i64>,
    rbp: Option<i64>,
}

impl Heights {
    /// At the first instruction.
    const ENTRY: Heights = Heights {
        rsp: Some(0),
        rbp: None,
    };

    /// What is known however a place was reached.
    fn meet(self, other: Heights) -> Heights {
        Heights {
            rsp: self.rsp.filter(|_| self.rsp == other.rsp),
            rbp: self.rbp.filter(|_| self.rbp == other.rbp),
        }
    }

    fn get(self, register: Register) -> Option<i64> {
        match register {
            Register::RSP => self.rsp,
            Register::RBP => self.rbp,
            _ => None,
        }
    }

    fn set(&mut self, register: Register, height: Option<i64>) {
        match register.full_register() {
            Register::RSP => self.rsp = height,
            Register::RBP => self.rbp = height,
            _ => {}
        }
    }

    /// After an instruction; behind a call, after the return.
    fn after(mut self, instruction: &Instruction) -> Heights {
        let to = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Call | Mnemonic::Cmp | Mnemonic::Test => {}
            Mnemonic::Leave => {
                self.rsp = self.rbp.map(|rbp| rbp + 8);
                self.rbp = None;
            }
            Mnemonic::Push | Mnemonic::Pushfq => self.moved(instruction),
            Mnemonic::Pop | Mnemonic::Popfq => {
                self.moved(instruction);
                self.set(to, None);
            }
            _ => {
                let height = self.result(instruction);
                self.set(to, height);
                if instruction.mnemonic() == Mnemonic::Xchg {
                    self.set(instruction.op1_register(), None);
                }
            }
        }
        self
    }

    fn moved(&mut self, instruction: &Instruction) {
        let by = i64::from(instruction.stack_pointer_increment());
        self.rsp = self.rsp.and_then(|rsp| rsp.checked_add(by));
    }

    /// What an instruction puts into its first operand.
    fn result(self, instruction: &Instruction) -> Option<i64> {
        let to = instruction.op0_register();
        let constant = || {
            let immediate = !matches!(instruction.op1_kind(), OpKind::Register | OpKind::Memory);
            immediate.then(|| instruction.immediate(1) as i64)
        };
        match instruction.mnemonic() {
            _ if to != Register::RSP && to != Register::RBP => None,
            Mnemonic::Add => self.get(to)?.checked_add(constant()?),
            Mnemonic::Sub => self.get(to)?.checked_sub(constant()?),
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
                self.get(instruction.op1_register())
            }
            Mnemonic::Lea if instruction.memory_index() == Register::None => {
                let distance = instruction.memory_displacement64() as i64;
                self.get(instruction.memory_base())?.checked_add(distance)
            }
            _ => None,
        }
    }
}

/// How far rsp is below rbp before the instructions of a function that set rsp by rbp.
fn sizes(code: &[u8], start: u64) -> BTreeMap<u64, u64> {
    let end = start + code.len() as u64;
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut known: BTreeMap<u64, Heights> = BTreeMap::new();
    let mut work = vec![(start, Heights::ENTRY)];
    let mut leaves = Vec::new();
    while let Some((mut at, mut heights)) = work.pop() {
        while (start..end).contains(&at) {
            let before = known.get(&at).copied();
            heights = before.map_or(heights, |before| before.meet(heights));
            if before == Some(heights) {
                break;
            }
            known.insert(at, heights);
            decoder.set_ip(at);
            if decoder.set_position((at - start) as usize).is_err() {
                break;
            }
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            if sets_by_rbp(&instruction) {
                leaves.push(at);
            }
            heights = heights.after(&instruction);
            let target = instruction.near_branch_target();
            at = match instruction.flow_control() {
                FlowControl::UnconditionalBranch => target,
                FlowControl::ConditionalBranch => {
                    work.push((target, heights));
                    instruction.next_ip()
                }
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                    instruction.next_ip()
                }
                _ => break,
            };
        }
    }
    let size = |at: u64| {
        let Heights { rsp, rbp } = known[&at];
        u64::try_from(rbp?.checked_sub(rsp?)?).ok()
    };
    let all = leaves.into_iter();
    all.filter_map(|at| Some((at, size(at)?))).collect()
}

/// The instruction takes rsp from rbp.
fn sets_by_rbp(instruction: &Instruction) -> bool {
    let to_rsp = instruction.op0_register() == Register::RSP;
    match instruction.mnemonic() {
        Mnemonic::Leave => true,
        Mnemonic::Mov => to_rsp && instruction.op1_register() == Register::RBP,
        Mnemonic::Lea => to_rsp && instruction.memory_base() == Register::RBP,
        _ => false,
    }
}

/// The code of a session's functions, each walked when first asked for.
pub(crate) struct CodeOfFrames {
    session: Session,
    /// By the first address of the function.
    functions: Mutex<BTreeMap<u64, BTreeMap<u64, u64>>>,
}

impl CodeOfFrames {
    pub(crate) fn new(session: &Session) -> CodeOfFrames {
        CodeOfFrames {
            session: session.clone(),
            functions: Mutex::default(),
        }
    }

    fn function(&self, at: Address) -> Option<Range<u64>> {
        let unwinder = self.session.unwinder().lock();
        let function = unwinder
            .unwrap_or_else(PoisonError::into_inner)
            .function(at)?;
        (function.end.checked_sub(function.start)? <= MAX_BYTES).then_some(function)
    }
}

impl FrameSizes for CodeOfFrames {
    fn frame_size(&self, at: Address) -> Option<u64> {
        let function = self.function(at)?;
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = functions.entry(function.start).or_insert_with(|| {
            let memory = self.session.dump().map(|dump| dump.memory());
            let bytes = memory.and_then(|memory| memory.bytes(Address(function.start)));
            let length = (function.end - function.start) as usize;
            let code = bytes.and_then(|bytes| bytes.get(..length));
            code.map_or_else(BTreeMap::new, |code| sizes(code, function.start))
        });
        found.get(&at.0).copied()
    }
}

impl fmt::Debug for CodeOfFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeOfFrames").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code, at an address where it stands nowhere, and what is found of it: offset and bytes.
    #[track_caller]
    fn check(code: &[u8], expect: &[(u64, u64)]) {
        const START: u64 = 0x40_1000;
        let found = sizes(code, START).into_iter();
        let found: Vec<(u64, u64)> = found.map(|(at, size)| (at - START, size)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn constants_move_the_stack_pointer() {
        // push rbp; mov rbp,rsp; push r12; sub rsp,18h; call $+5; lea rsp,[rbp-8]; pop r12; pop rbp; ret
        let code =
            b"\x55\x48\x89\xe5\x41\x54\x48\x83\xec\x18\xe8\0\0\0\0\x48\x8d\x65\xf8\x41\x5c\x5d\xc3";
        check(code, &[(15, 0x20)]);
        // push rbp; mov rbp,rsp; sub rsp,40h; je $+4; nop; nop; leave; ret
        check(
            b"\x55\x48\x89\xe5\x48\x83\xec\x40\x74\x02\x90\x90\xc9\xc3",
            &[(12, 0x40)],
        );
    }

    #[test]
    fn what_the_run_decides_is_not_known() {
        // push rbp; mov rbp,rsp; sub rsp,rax; leave; ret
        check(b"\x55\x48\x89\xe5\x48\x29\xc4\xc9\xc3", &[]);
        // push rbp; mov rbp,rsp; and rsp,-20h; leave; ret
        check(b"\x55\x48\x89\xe5\x48\x83\xe4\xe0\xc9\xc3", &[]);
        // push rbp; mov rbp,rsp; je $+4; push rax; push rax; leave; ret
        check(b"\x55\x48\x89\xe5\x74\x02\x50\x50\xc9\xc3", &[]);
        // push rbp; mov ebp,eax; leave; ret
        check(b"\x55\x89\xc5\xc9\xc3", &[]);
    }
}
