//! DWARF expressions over registers and memory of which not all is known.

use super::{FrameRegisters, ReadMemory};
use crate::symbols::Reader;
use gimli::{Encoding, Evaluation, EvaluationResult, Expression, Location, Value};
use rept_trace::Address;

/// Operations evaluated at most; expressions may loop.
const MAX_OPERATIONS: u32 = 10_000;

/// Where an expression finds its operands; what is not known ends it.
pub(super) struct Around<'a> {
    pub(super) registers: &'a FrameRegisters,
    pub(super) memory: &'a ReadMemory<'a>,
}

/// The address or number that an expression of call-frame information stands for.
pub(super) fn value_of(
    expression: Expression<Reader>,
    encoding: Encoding,
    bias: u64,
    around: &Around<'_>,
    initial: Option<u64>,
) -> Option<u64> {
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(MAX_OPERATIONS);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut state = evaluation.evaluate().ok()?;
    while state != EvaluationResult::Complete {
        state = supply(&mut evaluation, state, bias, around)?;
    }
    match evaluation.as_result() {
        [piece] => match piece.location {
            Location::Address { address } => Some(address),
            Location::Value { value } => value.to_u64(u64::MAX).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn supply(
    evaluation: &mut Evaluation<Reader>,
    wanted: EvaluationResult<Reader>,
    bias: u64,
    around: &Around<'_>,
) -> Option<EvaluationResult<Reader>> {
    let next = match wanted {
        EvaluationResult::RequiresMemory { address, size, .. } => {
            let value = (around.memory)(Address(address), size.into())?;
            evaluation.resume_with_memory(Value::Generic(value))
        }
        EvaluationResult::RequiresRegister { register, .. } => {
            let value = around.registers.by_dwarf(register.0)?;
            evaluation.resume_with_register(Value::Generic(value))
        }
        EvaluationResult::RequiresRelocatedAddress(address) => {
            evaluation.resume_with_relocated_address(address.wrapping_add(bias))
        }
        _ => return None,
    };
    next.ok()
}
