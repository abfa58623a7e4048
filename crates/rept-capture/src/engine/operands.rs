//! The bytes that an instruction reads and writes, for the truth.

use super::{Attempt, Engine};
use crate::instruction::{Instruction, Operand};
use crate::sys;
use crate::truth::{Access, AccessKind};
use libc::user_regs_struct as Registers;

impl Engine {
    // What the instruction is about to touch, and the bytes that it will read.
    pub(super) fn operands(
        &mut self,
        tid: i32,
        instruction: &Instruction,
        before: &Registers,
    ) -> (Vec<Operand>, Vec<Vec<u8>>) {
        let mut lanes = VectorLanes::new(tid);
        let operands = instruction.operands(before, |register, lane, bytes| {
            lanes.get(register, lane, bytes)
        });
        let found = self.read_operands(tid, &operands, |operand| operand.read);
        (operands, found)
    }

    fn read_operands(
        &mut self,
        tid: i32,
        operands: &[Operand],
        wanted: fn(&Operand) -> bool,
    ) -> Vec<Vec<u8>> {
        self.ranges.clear();
        let wanted = |operand: &&Operand| wanted(operand);
        let places: Vec<(usize, usize)> = operands
            .iter()
            .filter(wanted)
            .map(|operand| {
                (
                    self.ranges.push(operand.address, operand.length),
                    operand.length,
                )
            })
            .collect();
        if !self.ranges.is_empty() {
            self.ranges.read(tid);
        }
        places
            .iter()
            .map(|&(at, length)| self.ranges.get(at, length).to_vec())
            .collect()
    }

    // The bytes that the instruction read and wrote.
    pub(super) fn accesses(
        &mut self,
        tid: i32,
        attempt: &Attempt,
        instruction: &Instruction,
        after: &Registers,
    ) -> Vec<Access> {
        let mut operands = attempt.operands.clone();
        if instruction.repeats {
            operands
                .iter_mut()
                .for_each(|o| instruction.trim(o, &attempt.before, after.rcx));
        }
        let left = self.read_operands(tid, &operands, |operand| operand.write);
        gather(&operands, &attempt.operands, &attempt.found, left)
    }
}

/// The accesses that `operands` are, of which `found` and `left` are the bytes read and
/// written; `found` may be of more, as `whole` tells.
pub(super) fn gather(
    operands: &[Operand],
    whole: &[Operand],
    found: &[Vec<u8>],
    left: Vec<Vec<u8>>,
) -> Vec<Access> {
    let (mut found, mut left) = (found.iter(), left.into_iter());
    let mut accesses = Vec::with_capacity(operands.len());
    for (operand, whole) in operands.iter().zip(whole) {
        if operand.read {
            let skipped = (operand.address - whole.address) as usize;
            let bytes = found.next().map_or(&[][..], Vec::as_slice);
            let bytes = bytes
                .get(skipped..bytes.len().min(skipped + operand.length))
                .unwrap_or(&[]);
            push_access(&mut accesses, operand, AccessKind::Read, bytes.to_vec());
        }
        if operand.write {
            let bytes = left.next().unwrap_or_default();
            push_access(&mut accesses, operand, AccessKind::Write, bytes);
        }
    }
    accesses
}

fn push_access(accesses: &mut Vec<Access>, operand: &Operand, kind: AccessKind, bytes: Vec<u8>) {
    // Memory that cannot be read from outside (the kernel's clock pages) was accessed all the same.
    if operand.length > 0 {
        accesses.push(Access {
            address: operand.address,
            kind,
            bytes,
        });
    }
}

/// Elements of a thread's vector registers, fetched when first asked for.
struct VectorLanes {
    tid: i32,
    state: Option<Vec<u8>>,
}

impl VectorLanes {
    fn new(tid: i32) -> VectorLanes {
        VectorLanes { tid, state: None }
    }

    fn get(&mut self, register: iced_x86::Register, lane: usize, bytes: usize) -> Option<u64> {
        if self.state.is_none() {
            self.state = sys::register_set(self.tid, crate::xstate::NT_X86_XSTATE).ok();
        }
        crate::xstate::lane(self.state.as_ref()?, register, lane, bytes)
    }
}
