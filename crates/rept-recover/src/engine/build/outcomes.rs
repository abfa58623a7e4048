//! Whether a system call failed, by the branch that asks: results from -4095 to -1 are errors
//! (syscall(2)), which wrappers tell by one unsigned comparison.

use super::super::graph::Outcome;
use super::super::lower::decode;
use super::{Builder, behind};
use iced_x86::{ConditionCode, Instruction, Mnemonic, OpKind};
use rept_trace::{Block, RegWord};

/// The greatest result that is no error, and the least that is one.
const LAST_RESULT: i64 = -4096;
const FIRST_ERROR: i64 = -4095;

impl Builder<'_> {
    /// A branch at `index` of a block went this way: perhaps it asked whether the thread's last system
    /// call failed.
    pub(super) fn asked_for_error(
        &mut self,
        thread: usize,
        block: &Block,
        index: usize,
        outcome: Outcome,
    ) {
        let Some((access, result)) = self.cursors[thread].last_call else {
            return;
        };
        // Most branches ask something else, long after the call: no instruction is looked at for them.
        if outcome == Outcome::Nothing || !self.cursors[thread].holds(result) {
            return;
        }
        let Some(compare) = self.instruction_before(thread, block, index) else {
            return;
        };
        let branch = decode(block, index);
        let immediate = compare.op_count() == 2
            && matches!(
                compare.op1_kind(),
                OpKind::Immediate32to64 | OpKind::Immediate32
            );
        if compare.mnemonic() != Mnemonic::Cmp || !immediate {
            return;
        }
        let register = compare.op0_register();
        if !register.is_gpr64() && !register.is_gpr32() {
            return;
        }
        let word = RegWord::gpr(register.full_register().number() as u16);
        if self.cursors[thread].current[usize::from(word.0)] != result {
            return;
        }
        let limit = i64::from(compare.immediate32() as i32);
        let is_error = match (branch.condition_code(), limit) {
            (ConditionCode::a, LAST_RESULT) | (ConditionCode::ae, FIRST_ERROR) => true,
            (ConditionCode::be, LAST_RESULT) | (ConditionCode::b, FIRST_ERROR) => false,
            _ => return,
        };
        let failed = (outcome == Outcome::Taken) == is_error;
        // What fits the error range in its low half may be no error.
        if !failed || register.is_gpr64() {
            self.graph.failed.insert(access, failed);
        }
    }

    /// The instruction that the thread executed right before the one at `index` of a block, whose step was
    /// passed last, if that lies behind it in memory. A trace may take up a block in its middle, where it
    /// is synchronised.
    fn instruction_before(
        &self,
        thread: usize,
        block: &Block,
        index: usize,
    ) -> Option<Instruction> {
        if let Some(before) = index.checked_sub(1) {
            return Some(decode(block, before));
        }
        let cursor = &self.cursors[thread];
        let run = cursor.run.checked_sub(usize::from(cursor.index == 0))?;
        let before = cursor.trace.runs()[run.checked_sub(1)?];
        let last = usize::from(before.count) - 1;
        let before = self.trace.code.block(before.block);
        (behind(before, last) == block.at).then(|| decode(before, last))
    }
}
