//! A crash as the commands see it: what was decoded, in which order, and what was recovered.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use rept_core::{Race, SourceFrame, Symbol};
use rept_order::Segment;
use rept_recover::history::{Position, Recovered};
use rept_trace::{Address, Fault, Registers, ThreadId, Trace};

/// Longest x86 instruction, in bytes.
const LONGEST_INSTRUCTION: usize = 15;

/// Where an address is in the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Function, and bytes from its start.
    pub(crate) function: Option<(String, u64)>,
    /// Source file and line.
    pub(crate) line: Option<(String, u32)>,
    /// File that is mapped there, without directories.
    pub(crate) module: Option<String>,
}

/// What the binaries say about an address.
pub(crate) trait Program {
    /// Where it is.
    fn spot(&self, address: Address) -> Spot;
    /// Code or data bytes from `address` on, at most `buffer.len()`; how many were found.
    fn bytes(&self, address: Address, buffer: &mut [u8]) -> usize;
}

/// One crash.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) trace: &'a Trace,
    /// Segments in sequence order.
    pub(crate) sequence: &'a [Segment],
    pub(crate) history: &'a dyn Recovered,
    pub(crate) program: &'a dyn Program,
    pub(crate) fault: Option<Fault>,
    /// Accesses that nothing orders, where the command looked for them.
    pub(crate) races: &'a [Race],
    /// Registers at the end, the crashing thread's first.
    pub(crate) registers: &'a [Registers],
}

impl Case<'_> {
    /// The thread that crashed; where the dump does not say, the first of the dump.
    pub(crate) fn crashing(&self) -> Option<ThreadId> {
        let named = self.fault.map(|fault| fault.thread);
        named.or_else(|| self.registers.first().map(|registers| registers.thread))
    }

    /// Threads that have steps.
    pub(crate) fn threads(&self) -> Vec<ThreadId> {
        self.trace
            .threads
            .iter()
            .map(|thread| thread.thread)
            .collect()
    }

    /// The instruction that the step at `at` executed; none behind the last step.
    pub(crate) fn ran(&self, at: Position) -> Option<Instruction> {
        let thread = &self.trace.threads[at.thread as usize];
        let (run, index) = thread.locate(at.step)?;
        let block = self.trace.code.block(thread.runs()[run].block);
        Some(crate::score::decode(block, index))
    }

    /// Index of a thread in the trace.
    pub(crate) fn index(&self, thread: ThreadId) -> Option<u32> {
        self.trace
            .threads
            .iter()
            .position(|other| other.thread == thread)
            .map(|index| index as u32)
    }

    /// Position behind the last step of a thread.
    pub(crate) fn end(&self, thread: u32) -> Position {
        Position {
            thread,
            step: self.trace.threads[thread as usize].steps(),
        }
    }

    /// Registers of a thread at the end.
    pub(crate) fn registers(&self, thread: ThreadId) -> Option<&Registers> {
        self.registers
            .iter()
            .find(|registers| registers.thread == thread)
    }

    /// The instruction at an address, by the binaries.
    pub(crate) fn instruction(&self, address: Address) -> Option<Instruction> {
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let length = self.program.bytes(address, &mut bytes);
        let mut decoder = Decoder::with_ip(64, &bytes[..length], address.0, DecoderOptions::NONE);
        Some(decoder.decode()).filter(|instruction| !instruction.is_invalid())
    }

    /// The position as `rept-core` names it.
    pub(crate) fn place(&self, at: Position) -> rept_core::Position {
        let thread = self.trace.threads[at.thread as usize].thread;
        rept_core::Position::new(thread, at.step)
    }

    /// `tid:step`.
    pub(crate) fn name(&self, at: Position) -> String {
        format!(
            "{}:{}",
            self.trace.threads[at.thread as usize].thread, at.step
        )
    }
}

/// Where rustc's own sources are said to be: on no machine.
const RUST_LIBRARY: &str = "/rustc/";

impl From<Symbol> for Spot {
    fn from(symbol: Symbol) -> Spot {
        Spot {
            line: own_line(&symbol),
            function: symbol.function,
            module: symbol.module,
        }
    }
}

/// The innermost line of code that the reader can open: library functions inlined into it
/// are passed over.
fn own_line(symbol: &Symbol) -> Option<(String, u32)> {
    let line = |frame: &SourceFrame| Some((frame.file.clone()?, frame.line?));
    let mut lines = symbol.frames.iter().filter_map(line);
    let own = lines
        .clone()
        .find(|(file, _)| !file.starts_with(RUST_LIBRARY));
    own.or_else(|| lines.next())
}

impl Spot {
    /// `function+0x12`, the file's name where there is no function, or nothing.
    pub(crate) fn place(&self) -> Option<String> {
        let function = self
            .function
            .as_ref()
            .map(|(name, offset)| format!("{name}+{offset:#x}"));
        function.or_else(|| self.module.clone())
    }

    /// `file.c:12`, or nothing.
    pub(crate) fn source(&self) -> Option<String> {
        self.line
            .as_ref()
            .map(|(file, line)| format!("{file}:{line}"))
    }
}
