//! The format of the text cases, and what runs them.

use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Anchor, AnchorPoint, History, Options, recover};
use rept_trace::{
    Address, Block, BlockId, Code, Event, EventKind, FinalState, Gap, GapReason, Interval, Mapping,
    Memory, RegWord, Registers, Run, ThreadId, ThreadTrace, Trace,
};
use std::collections::BTreeMap;

/// Memory of a case.
#[derive(Default)]
pub(crate) struct Bytes {
    runs: BTreeMap<u64, Vec<u8>>,
    /// What the process began with.
    initial: BTreeMap<u64, Vec<u8>>,
    /// What is mapped, when a case says so.
    mappings: Vec<Mapping>,
}

impl Memory for Bytes {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        from(&self.runs, at)
    }

    fn initial_bytes(&self, at: Address) -> Option<&[u8]> {
        from(&self.initial, at)
    }

    fn constant_len(&self, _at: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }
}

fn from(runs: &BTreeMap<u64, Vec<u8>>, at: Address) -> Option<&[u8]> {
    let (&start, run) = runs.range(..=at.0).next_back()?;
    run.get((at.0 - start) as usize..)
        .filter(|rest| !rest.is_empty())
}

/// A case: everything on its page.
#[derive(Default)]
pub(crate) struct Case {
    pub(crate) trace: Trace,
    pub(crate) registers: Vec<(RegWord, u64)>,
    pub(crate) memory: Bytes,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// A line of the table: a position and a cell for each column.
pub(crate) struct Row {
    pub(crate) step: u64,
    pub(crate) cells: Vec<String>,
}

pub(crate) fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|e| panic!("{text:?} is no number: {e}"))
}

fn register(name: &str) -> RegWord {
    (0..RegWord::COUNT as u16)
        .map(RegWord)
        .find(|word| word.name() == name)
        .unwrap_or_else(|| panic!("no register {name:?}"))
}

/// One instruction as a block of its own; the text beside the bytes must be what they say.
fn instruction(line: &str, at: u64) -> Block {
    let (bytes, text) = line
        .split_once("   ")
        .unwrap_or_else(|| panic!("no text in {line:?}"));
    let bytes: Vec<u8> = bytes
        .split_whitespace()
        .map(|byte| number(&format!("0x{byte}")) as u8)
        .collect();
    let decoded = iced_x86::Decoder::with_ip(64, &bytes, at, 0).decode();
    assert_eq!(
        decoded.len(),
        bytes.len(),
        "{line:?} is not one instruction"
    );
    let mut printed = String::new();
    let mut formatter = iced_x86::IntelFormatter::new();
    iced_x86::Formatter::options_mut(&mut formatter).set_branch_leading_zeros(false);
    iced_x86::Formatter::format(&mut formatter, &decoded, &mut printed);
    assert_eq!(printed, text.trim(), "the text of {line:?}");
    Block {
        at: Address(at),
        bytes: bytes.into(),
        starts: Box::new([0]),
        bitness: 64,
    }
}

/// Instructions of a path: indices and ranges of them.
fn path(words: &[&str]) -> Vec<u32> {
    let range = |word: &&str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        number(first) as u32..=number(last) as u32
    };
    words.iter().flat_map(range).collect()
}

/// A case as it is read, before its trace is put together.
#[derive(Default)]
struct Page {
    case: Case,
    code: Vec<Block>,
    path: Option<Vec<u32>>,
    /// Steps before which a signal handler starts, and the instruction that it interrupted.
    signals: Vec<(u64, Address)>,
    /// Steps before which a handler returned to them.
    resumed: Vec<u64>,
    /// Steps before which an instruction, by its index, was stopped midway.
    stopped: Vec<(u64, u32)>,
    /// Steps before which rounds may be missing, of which these instructions are one.
    rounds: Vec<(u64, Vec<u32>)>,
    next: Option<u64>,
}

pub(crate) fn parse(text: &str) -> Case {
    let mut page = Page::default();
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        page.take(line, &words);
    }
    page.finish()
}

impl Page {
    fn take(&mut self, line: &str, words: &[&str]) {
        let case = &mut self.case;
        match words[0] {
            "code" => self.next = Some(number(words[1])),
            "path" => self.path = Some(path(&words[1..])),
            "signal" => self
                .signals
                .push((number(words[1]), Address(number(words[2])))),
            "resume" => self.resumed.push(number(words[1])),
            "stopped" => self
                .stopped
                .push((number(words[1]), number(words[2]) as u32)),
            "rounds" => self.rounds.push((number(words[1]), path(&words[2..]))),
            "final" => case.registers.extend(words[1..].iter().map(|word| {
                let (name, value) = word.split_once('=').expect("REG=VALUE");
                (register(name), number(value))
            })),
            "memory" | "began" => {
                let bytes = words[2..].iter();
                let bytes = bytes.map(|byte| number(&format!("0x{byte}")) as u8);
                let runs = match words[0] {
                    "memory" => &mut case.memory.runs,
                    _ => &mut case.memory.initial,
                };
                runs.insert(number(words[1]), bytes.collect());
            }
            "mapped" => case.memory.mappings.push(Mapping {
                start: Address(number(words[1])),
                end: Address(number(words[2])),
                read: true,
                write: true,
                execute: false,
                file: None,
            }),
            "expect" => case.columns = words[1..].iter().map(|word| word.to_string()).collect(),
            _ if !case.columns.is_empty() => case.rows.push(Row {
                step: number(words[0]),
                cells: words[1..].iter().map(|word| word.to_string()).collect(),
            }),
            _ => {
                let at = self.next.expect("an instruction before `code`");
                let block = instruction(line, at);
                self.next = Some(block.end().0);
                self.code.push(block);
            }
        }
    }

    fn finish(self) -> Case {
        let mut case = self.case;
        assert!(!case.rows.is_empty(), "a case expects something");
        for row in &case.rows {
            assert_eq!(row.cells.len(), case.columns.len(), "row {}", row.step);
        }
        let mut thread = ThreadTrace::new(ThreadId(1));
        let all = (0..self.code.len() as u32).collect();
        let path = self.path.unwrap_or(all);
        for &index in &path {
            thread.push(Run {
                block: BlockId(index),
                count: 1,
            });
        }
        let at = |step: u64| self.code[path[step as usize] as usize].at;
        for (step, index) in self.stopped {
            let at = self.code[index as usize].at;
            let reason = GapReason::PartialInstruction(BlockId(index));
            thread.gaps.push(gap(step, at, reason));
            if !self.signals.contains(&(step, at)) {
                thread.events.push(Event {
                    step,
                    time: Interval::UNKNOWN,
                    kind: EventKind::AsyncDisabled { at, ip: None },
                });
            }
        }
        for (step, instructions) in self.rounds {
            let run = |&index: &u32| Run {
                block: BlockId(index),
                count: 1,
            };
            let round = instructions.iter().map(run).collect();
            let reason = GapReason::UncountedLoop { round };
            thread.gaps.push(gap(step, at(step), reason));
        }
        for (step, interrupted) in self.signals {
            let left = EventKind::AsyncDisabled {
                at: interrupted,
                ip: None,
            };
            thread.events.extend(transition(step, left, at(step)));
        }
        for step in self.resumed {
            let left = EventKind::Disabled { ip: None };
            thread.events.extend(transition(step, left, at(step)));
        }
        thread.events.sort_by_key(|event| event.step);
        case.trace = Trace {
            code: Code::new(self.code),
            threads: vec![thread],
        };
        case
    }
}

fn gap(step: u64, at: Address, reason: GapReason) -> Gap {
    Gap {
        step,
        offset: 0,
        at: Some(at),
        reason,
    }
}

/// Tracing stops before `step`, and begins again with it.
fn transition(step: u64, left: EventKind, ip: Address) -> [Event; 2] {
    [left, EventKind::Enabled { ip }].map(|kind| Event {
        step,
        time: Interval::UNKNOWN,
        kind,
    })
}

impl Case {
    pub(crate) fn steps(&self) -> u64 {
        self.trace.threads[0].steps()
    }

    pub(crate) fn final_state(&self) -> FinalState<'_> {
        let mut registers = Registers::new(ThreadId(1), Address(0));
        for &(word, value) in &self.registers {
            registers.set(word, value);
        }
        FinalState {
            threads: vec![registers],
            fault: None,
            memory: &self.memory,
            auxv: Vec::new(),
        }
    }

    /// The process's first instruction, in cases that say what it began with.
    fn entry(&self) -> Option<Anchor> {
        (!self.memory.initial.is_empty()).then(|| Anchor {
            thread: ThreadId(1),
            at: AnchorPoint::Entry,
            words: Vec::new(),
            measured: false,
        })
    }

    pub(crate) fn run(&self) -> History {
        let order = Order::new(&self.trace);
        let mut options = Options::default();
        options.anchors.extend(self.entry());
        recover(&self.trace, &order, &self.final_state(), &options)
    }

    /// A column's value just before a step.
    pub(crate) fn value(&self, history: &History, step: u64, column: &str) -> Value {
        let at = position(step);
        match column_of(column) {
            Column::Register(word) => history.register(at, word),
            Column::Memory(address) => (0..8).fold(Value::default(), |word, byte| {
                let value = history.memory(at, Address(address + byte), &self.memory);
                Value {
                    bits: word.bits | value.bits << (8 * byte),
                    known: word.known | value.known << (8 * byte),
                    certain: word.certain | value.certain << (8 * byte),
                    assumed: word.assumed | value.assumed << (8 * byte),
                }
            }),
        }
    }
}

pub(crate) fn position(step: u64) -> Position {
    Position { thread: 0, step }
}

/// What a column shows.
pub(crate) enum Column {
    Register(RegWord),
    Memory(u64),
}

pub(crate) fn column_of(name: &str) -> Column {
    match name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => Column::Memory(number(address)),
        None => Column::Register(register(name)),
    }
}

/// The lowest grade among the known bits, as a prefix.
fn grade(value: Value) -> &'static str {
    match value.known {
        known if value.certain == known => "",
        known if value.assumed == known => "~",
        _ => "~~",
    }
}

/// A value as a cell has it, in the manner of `like`: with unknown digits when that has some.
pub(crate) fn shown(value: Value, like: &str) -> String {
    let grade = grade(value);
    if like != "?" && like.contains('?') {
        let digit = |at: u32| {
            let known = value.known >> (4 * at) & 0xf == 0xf;
            let digit = char::from_digit((value.bits >> (4 * at) & 0xf) as u32, 16);
            digit.filter(|_| known).unwrap_or('?')
        };
        let digits: String = (0..16).rev().map(digit).collect();
        return format!("{grade}0x{digits}");
    }
    match value.known {
        u64::MAX => format!("{grade}{:#x}", value.bits),
        _ => "?".to_owned(),
    }
}

/// The same cell with its number written in one way.
pub(crate) fn normal(cell: &str) -> String {
    if cell.contains('?') {
        return cell.to_owned();
    }
    let digits = cell.trim_start_matches('~');
    format!(
        "{}{:#x}",
        &cell[..cell.len() - digits.len()],
        number(digits)
    )
}
