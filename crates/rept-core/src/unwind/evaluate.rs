//! DWARF expressions over registers and memory of which not all is known.

use crate::symbols::Reader;
use gimli::{Encoding, Evaluation, EvaluationResult, Expression, Location, Piece, Value};

/// Operations evaluated at most; expressions may loop.
const MAX_OPERATIONS: u32 = 10_000;

/// Where an expression finds its operands; what is not known is `None`, and ends it.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Registers by DWARF number.
    pub(crate) registers: &'a dyn Fn(u16) -> Option<u64>,
    /// Little-endian numbers in memory: address, size in bytes.
    pub(crate) memory: &'a dyn Fn(u64, usize) -> Option<u64>,
    /// Canonical frame address.
    pub(crate) cfa: Option<u64>,
    /// Value of DW_AT_frame_base.
    pub(crate) frame_base: Option<u64>,
    /// What is added to addresses of the file.
    pub(crate) bias: u64,
}

/// The pieces that an expression describes; `None` when an operand is not known, or not supported.
pub(crate) fn pieces_of(
    expression: Expression<Reader>,
    encoding: Encoding,
    around: &Surroundings<'_>,
    initial: Option<u64>,
) -> Option<Vec<Piece<Reader>>> {
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(MAX_OPERATIONS);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut state = evaluation.evaluate().ok()?;
    loop {
        if matches!(state, EvaluationResult::Complete) {
            return Some(evaluation.result());
        }
        state = supply(&mut evaluation, state, around)?;
    }
}

/// The value of an expression that describes an address or a number.
pub(crate) fn value_of(
    expression: Expression<Reader>,
    encoding: Encoding,
    around: &Surroundings<'_>,
    initial: Option<u64>,
) -> Option<u64> {
    match pieces_of(expression, encoding, around, initial)?.as_slice() {
        [
            Piece {
                location: Location::Address { address },
                ..
            },
        ] => Some(*address),
        [
            Piece {
                location: Location::Value { value },
                ..
            },
        ] => value.to_u64(u64::MAX).ok(),
        [
            Piece {
                location: Location::Register { register },
                ..
            },
        ] => (around.registers)(register.0),
        _ => None,
    }
}

fn supply(
    evaluation: &mut Evaluation<Reader>,
    wanted: EvaluationResult<Reader>,
    around: &Surroundings<'_>,
) -> Option<EvaluationResult<Reader>> {
    let next = match wanted {
        EvaluationResult::RequiresMemory { address, size, .. } => {
            evaluation.resume_with_memory(Value::Generic((around.memory)(address, size.into())?))
        }
        EvaluationResult::RequiresRegister { register, .. } => {
            evaluation.resume_with_register(Value::Generic((around.registers)(register.0)?))
        }
        EvaluationResult::RequiresFrameBase => {
            evaluation.resume_with_frame_base(around.frame_base?)
        }
        EvaluationResult::RequiresCallFrameCfa => {
            evaluation.resume_with_call_frame_cfa(around.cfa?)
        }
        EvaluationResult::RequiresRelocatedAddress(address) => {
            evaluation.resume_with_relocated_address(address.wrapping_add(around.bias))
        }
        _ => return None,
    };
    next.ok()
}
