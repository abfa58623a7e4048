//! The truth as `rept record --truth` writes it.

use super::operands::TrueOperand;
use super::walk::{GPRS, TrueStep};
use super::{TrueSteps, Truth};
use crate::failure::Failure;
use rept_capture::truth::{Access, AccessKind, Reader, Step, Steps};
use rept_trace::{Address, ThreadId};
use std::path::Path;

/// A truth file.
pub(crate) struct TruthFile(pub(super) Reader);

impl TruthFile {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub(crate) fn open(path: &Path) -> Result<TruthFile, Failure> {
        Reader::open(path).map(TruthFile).map_err(failed)
    }
}

pub(super) fn failed(error: rept_capture::Error) -> Failure {
    Failure::new(error.to_string())
}

impl Truth for TruthFile {
    fn addresses(&mut self, thread: ThreadId) -> Result<Vec<Address>, Failure> {
        let mut steps = self.0.read_from(thread, 0).map_err(failed)?;
        let mut addresses = Vec::new();
        while let Some(step) = steps.advance().map_err(failed)? {
            addresses.push(Address(step.ip));
        }
        Ok(addresses)
    }

    fn steps(&mut self, thread: ThreadId, first: u64) -> Result<TrueSteps<'_>, Failure> {
        let steps = self.0.read_from(thread, first).map_err(failed)?;
        Ok(Box::new(Iter(steps)))
    }
}

struct Iter<'a>(Steps<'a>);

impl Iterator for Iter<'_> {
    type Item = Result<TrueStep, Failure>;

    fn next(&mut self) -> Option<Result<TrueStep, Failure>> {
        self.0
            .advance()
            .map(|step| step.map(true_step))
            .map_err(failed)
            .transpose()
    }
}

fn true_step(step: &Step) -> TrueStep {
    TrueStep {
        at: Address(step.ip),
        registers: std::array::from_fn::<u64, GPRS, _>(|number| step.words[number]),
        operands: step.accesses.iter().map(operand).collect(),
    }
}

fn operand(access: &Access) -> TrueOperand {
    TrueOperand {
        address: Address(access.address),
        store: access.kind == AccessKind::Write,
        bytes: access.bytes.clone(),
    }
}
