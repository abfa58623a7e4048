//! Names and lines of code that a JIT made.
//!
//! An address may have been of several functions, one after the other, and a look-up tells no
//! time: only what was of one function all along gets a name.

use super::{SourceFrame, Symbol};
use crate::capture::JitFunction;
use crate::image::Jit;
use rept_trace::Address;

/// Functions by ascending address.
#[derive(Debug, Default)]
pub(super) struct Made {
    functions: Vec<JitFunction>,
    /// Of each function, the last address of those up to it.
    reach: Vec<u64>,
}

impl Made {
    /// Those of `process`, or of all.
    pub(super) fn new(jit: &[Jit], process: Option<u32>) -> Made {
        let own = |jit: &&Jit| process.is_none() || jit.process == process;
        let functions = jit.iter().filter(own).flat_map(Jit::functions);
        let mut functions: Vec<JitFunction> =
            functions.map(|(_, function)| function.clone()).collect();
        functions.sort_by_key(|function| function.at);
        let mut last = 0;
        let reach = functions.iter().map(|function| {
            last = last.max(last_address(function));
            last
        });
        Made {
            reach: reach.collect(),
            functions,
        }
    }

    /// The function that an address belongs to.
    pub(super) fn lookup(&self, at: Address) -> Option<Symbol> {
        let behind = self.functions.partition_point(|function| function.at <= at);
        let before = (0..behind)
            .rev()
            .take_while(|&index| self.reach[index] >= at.0);
        let holds = |function: &&JitFunction| last_address(function) >= at.0;
        let mut holding = before.map(|index| &self.functions[index]).filter(holds);
        let found = holding.next()?;
        let same = |other: &JitFunction| other.name == found.name && other.at == found.at;
        holding.all(same).then(|| symbol(found, at))
    }
}

fn last_address(function: &JitFunction) -> u64 {
    function.at.0.saturating_add(function.code.len() as u64 - 1)
}

fn symbol(function: &JitFunction, at: Address) -> Symbol {
    let behind = function.lines.partition_point(|line| line.at <= at);
    let frame = function.lines[..behind].last().map(|line| SourceFrame {
        function: Some(function.name.to_string()),
        file: Some(line.file.to_string()),
        line: Some(line.line).filter(|&line| line > 0),
        column: None,
    });
    Symbol {
        module: None,
        function: Some((function.name.to_string(), at.0 - function.at.0)),
        frames: frame.into_iter().collect(),
    }
}
