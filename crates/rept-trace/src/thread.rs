use crate::{Address, BlockId, Code, Interval, ThreadId, TimeMark};
use std::fmt;

/// `count` instructions of one block executed in a row, from its first one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The block.
    pub block: BlockId,
    /// Instructions executed, 1 to the block's number; fewer than all when an event interrupted it.
    pub count: u16,
}

/// Something in the stream that is not a plain step; it happened before step `step` of its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The step of the thread that follows the event (equal to the number of steps at the very end).
    pub step: u64,
    /// When, as far as known.
    pub time: Interval,
    /// What.
    pub kind: EventKind,
}

/// Kinds of [`Event`]; Intel SDM volume 3, chapter "Intel Processor Trace".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// Tracing began or was resumed at `ip` (TIP.PGE).
    Enabled {
        /// Address of the next step.
        ip: Address,
    },
    /// Tracing stopped after the previous step, a branch out of the traced region
    /// or a system call (TIP.PGD).
    Disabled {
        /// Where control went, when the trace tells.
        ip: Option<Address>,
    },
    /// Tracing stopped at `at`, which did not run: interrupt, fault or signal (FUP, TIP.PGD).
    AsyncDisabled {
        /// The instruction that was about to run.
        at: Address,
        /// Where control went, when the trace tells.
        ip: Option<Address>,
    },
    /// Control went from `from`, which did not run, to `to` (FUP, TIP).
    AsyncBranch {
        /// The instruction that was about to run.
        from: Address,
        /// The next step.
        to: Address,
    },
    /// The processor dropped packets; steps are missing here (OVF).
    Overflow {
        /// Where tracing resumed, when the packet tells.
        ip: Option<Address>,
    },
    /// Execution mode changed (MODE.Exec): 16, 32 or 64.
    ExecMode {
        /// Width in bits.
        bitness: u8,
    },
    /// Transaction state changed (MODE.TSX).
    Transaction {
        /// Inside a transaction from here on.
        in_transaction: bool,
        /// A transaction was aborted.
        aborted: bool,
    },
    /// A PTWRITE instruction's operand.
    Ptwrite {
        /// The PTWRITE instruction, when the trace tells.
        ip: Option<Address>,
        /// Operand value, zero-extended from 4 or 8 bytes.
        payload: u64,
        /// Operand size in bytes, 4 or 8.
        size: u8,
    },
    /// An item of a group of block items, e.g. one register of a PEBS record (BBP, BIP, BEP).
    BlockItem {
        /// Type of the group: 1 general purpose registers, 4 and 5 basic information and
        /// memory, 8 LBRs, 16 XMM registers; see the manual's table of BBP types.
        group: u8,
        /// Which item of the group.
        id: u8,
        /// Its value.
        payload: u64,
        /// Instruction the record is about, when the trace tells.
        ip: Option<Address>,
    },
    /// Any other packet worth keeping, by the manual's name, with its payload.
    Other {
        /// Packet mnemonic as in the manual: `PIP`, `VMCS`, `CBR`, `MNT`, `TraceStop`, `EXSTOP`, `MWAIT`,
        /// `PWRE`, `PWRX`, `TRIG`; of the event trace `CFE`, and before it, with the same place, its data as
        /// `EVD.CR2`, `EVD.VMXQ` and `EVD.VMXR` (`EVD` where the kind is not known); `IF` where RFLAGS.IF
        /// changed.
        name: &'static str,
        /// Instruction it is bound to, when the trace tells.
        ip: Option<Address>,
        /// Payload as the manual lays it out. `CFE`: type, and the vector from bit 8 on. `TRIG`: triggers,
        /// instructions from bit 8 on, and bit 24 where several were reported at once. `IF`: the flag.
        payload: u64,
    },
}

/// A place where steps are missing: the path between the steps around it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first step after the gap.
    pub step: u64,
    /// Byte offset in the thread's PT stream at which decoding failed; for
    /// [`GapReason::BeforeFirstPsb`] where it began, which is the number of bytes skipped.
    pub offset: u64,
    /// Address at which decoding stood, when known.
    pub at: Option<Address>,
    /// Why.
    pub reason: GapReason,
}

/// Why a [`Gap`] is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The oldest part of a circular buffer: bytes before the first PSB cannot be used.
    BeforeFirstPsb,
    /// The processor dropped packets.
    Overflow,
    /// No code bytes for the address; names the file wanted where one is known.
    MissingCode {
        /// What would have to be supplied.
        wanted: String,
    },
    /// Bytes that are no packet.
    BadPacket,
    /// A packet that cannot follow here, e.g. a TNT where an indirect branch needs a TIP.
    UnexpectedPacket {
        /// The packet's mnemonic.
        packet: &'static str,
        /// What the code called for.
        expected: &'static str,
    },
    /// Code bytes that are no instruction.
    BadInstruction,
    /// The recording says that data was lost.
    LostData,
    /// A loop of direct jumps and calls, which leave no packets, was cut short by an event: how often it
    /// ran before is not known. No or any number of rounds are missing, and nothing else.
    UncountedLoop {
        /// What runs in one round, by ascending address; empty when it is not known or much.
        round: Vec<Run>,
    },
    /// An instruction that repeats itself (REP MOVS, a gather, XSAVE) was stopped and does not go on: none
    /// or any part of it ran, and nothing else is missing. It is the first one of the block.
    PartialInstruction(BlockId),
    /// A limit was reached (e.g. a loop without packets).
    Limit,
}

impl GapReason {
    /// The path around the gap is known: what is missing is a part of it again.
    pub fn repeats(&self) -> bool {
        matches!(
            self,
            GapReason::UncountedLoop { .. } | GapReason::PartialInstruction(_)
        )
    }

    /// Gives the blocks that it names other ids.
    pub fn rename_blocks(&mut self, name: impl Fn(BlockId) -> BlockId) {
        match self {
            GapReason::UncountedLoop { round } => {
                for run in round {
                    run.block = name(run.block);
                }
            }
            GapReason::PartialInstruction(block) => *block = name(*block),
            _ => {}
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GapReason::BeforeFirstPsb => f.write_str("bytes before the first PSB packet"),
            GapReason::Overflow => f.write_str("the processor dropped packets (OVF)"),
            GapReason::MissingCode { wanted } => write!(f, "no code: {wanted}"),
            GapReason::BadPacket => f.write_str("bytes that are no packet"),
            GapReason::UnexpectedPacket { packet, expected } => {
                write!(f, "{packet} where the code calls for {expected}")
            }
            GapReason::BadInstruction => f.write_str("code bytes that are no instruction"),
            GapReason::LostData => f.write_str("the recording lost data"),
            GapReason::UncountedLoop { .. } => {
                f.write_str("a loop without packets, which do not tell how often it ran")
            }
            GapReason::PartialInstruction(_) => {
                f.write_str("an instruction was stopped midway, of which a part may have run")
            }
            GapReason::Limit => f.write_str("limit reached"),
        }
    }
}

/// Runs between two entries of the step index of a [`ThreadTrace`].
const RUNS_PER_CHECKPOINT: usize = 64;

/// The path of one thread: what it ran, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadTrace {
    /// The thread.
    pub thread: ThreadId,
    runs: Vec<Run>,
    // Number of steps before run `i * RUNS_PER_CHECKPOINT`.
    checkpoints: Vec<u64>,
    steps: u64,
    /// Events, by ascending step, in stream order.
    pub events: Vec<Event>,
    /// Gaps, by ascending step.
    pub gaps: Vec<Gap>,
    /// Timing packets, by ascending step. Of those before the same step the first and the last must be
    /// kept: the first bounds when the steps before it ended, the last when those from it on began
    /// (around a blocking system call they are far apart). One behind the last step bounds the end.
    pub times: Vec<TimeMark>,
}

impl ThreadTrace {
    /// An empty path.
    pub fn new(thread: ThreadId) -> ThreadTrace {
        ThreadTrace {
            thread,
            ..ThreadTrace::default()
        }
    }

    /// Appends a run.
    #[inline]
    pub fn push(&mut self, run: Run) {
        if self.runs.len().is_multiple_of(RUNS_PER_CHECKPOINT) {
            self.checkpoints.push(self.steps);
        }
        self.runs.push(run);
        self.steps += u64::from(run.count);
    }

    /// Makes room for so many runs more.
    pub fn reserve(&mut self, runs: usize) {
        self.runs.reserve(runs);
        self.checkpoints.reserve(runs / RUNS_PER_CHECKPOINT);
    }

    /// Appends runs, oldest first.
    pub fn extend_runs(&mut self, mut runs: &[Run]) {
        while !runs.is_empty() {
            let behind = self.runs.len() % RUNS_PER_CHECKPOINT;
            if behind == 0 {
                self.checkpoints.push(self.steps);
            }
            let (now, later) = runs.split_at(runs.len().min(RUNS_PER_CHECKPOINT - behind));
            self.runs.extend_from_slice(now);
            self.steps += now.iter().map(|run| u64::from(run.count)).sum::<u64>();
            runs = later;
        }
    }

    /// Takes back the newest runs until `runs` of them are left.
    pub fn truncate(&mut self, runs: usize) {
        for run in self.runs.drain(runs.min(self.runs.len())..) {
            self.steps -= u64::from(run.count);
        }
        self.checkpoints
            .truncate(self.runs.len().div_ceil(RUNS_PER_CHECKPOINT));
    }

    /// Number of steps.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The runs, oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run that holds `step`, as (index of the run, index of the instruction in it). O(log n).
    pub fn locate(&self, step: u64) -> Option<(usize, usize)> {
        if step >= self.steps {
            return None;
        }
        let checkpoint = self.checkpoints.partition_point(|&first| first <= step) - 1;
        let mut left = step - self.checkpoints[checkpoint];
        let mut run = checkpoint * RUNS_PER_CHECKPOINT;
        while left >= u64::from(self.runs[run].count) {
            left -= u64::from(self.runs[run].count);
            run += 1;
        }
        Some((run, left as usize))
    }

    /// Address of the instruction of `step`. O(log n).
    pub fn address(&self, code: &Code, step: u64) -> Option<Address> {
        let (run, index) = self.locate(step)?;
        Some(code.block(self.runs[run].block).address(index))
    }

    /// Addresses of all steps from `first` on, oldest first.
    pub fn addresses<'a>(
        &'a self,
        code: &'a Code,
        first: u64,
    ) -> impl Iterator<Item = Address> + 'a {
        let (run, skip) = self.locate(first).unwrap_or((self.runs.len(), 0));
        self.runs[run..]
            .iter()
            .flat_map(move |run| {
                let block = code.block(run.block);
                (0..usize::from(run.count)).map(move |index| block.address(index))
            })
            .skip(skip)
    }
}
