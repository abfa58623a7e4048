//! Hand-made cases: code, path, final state and the whole expected table on one page.
//!
//! A case is a text file in `cases/`:
//! - `code ADDRESS`, then one instruction a line: its bytes, and its text as iced prints it, which is checked;
//! - `path I J …`: the order in which the instructions ran, by index (default: each once);
//! - `final REG=VALUE …`, `memory ADDRESS BYTE …`: the dump;
//! - `expect COLUMN …`, then one line a position: its number and each column's value just before
//!   that step, `?` for not wholly known. A column is a register or `[ADDRESS]`, eight bytes.

use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{History, Options, recover};
use rept_trace::{
    Address, Block, Code, FinalState, Mapping, Memory, RegWord, Registers, Run, ThreadId,
    ThreadTrace, Trace,
};
use std::collections::BTreeMap;

#[derive(Default)]
struct Bytes {
    runs: BTreeMap<u64, Vec<u8>>,
}

impl Memory for Bytes {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        let (&start, run) = self.runs.range(..=at.0).next_back()?;
        run.get((at.0 - start) as usize..)
            .filter(|rest| !rest.is_empty())
    }

    fn constant_len(&self, _at: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}

#[derive(Default)]
struct Case {
    code: Vec<Block>,
    path: Option<Vec<u32>>,
    registers: Vec<(RegWord, u64)>,
    memory: Bytes,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn number(text: &str) -> u64 {
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
    iced_x86::Formatter::format(&mut formatter, &decoded, &mut printed);
    assert_eq!(printed, text.trim(), "the text of {line:?}");
    Block {
        at: Address(at),
        bytes: bytes.into(),
        starts: Box::new([0]),
        bitness: 64,
    }
}

fn parse(text: &str) -> Case {
    let mut case = Case::default();
    let mut next = None;
    let mut in_table = false;
    for line in text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "code" => next = Some(number(words[1])),
            "path" => case.path = Some(words[1..].iter().map(|word| number(word) as u32).collect()),
            "final" => case.registers.extend(words[1..].iter().map(|word| {
                let (name, value) = word.split_once('=').expect("REG=VALUE");
                (register(name), number(value))
            })),
            "memory" => {
                let bytes = words[2..]
                    .iter()
                    .map(|byte| number(&format!("0x{byte}")) as u8)
                    .collect();
                case.memory.runs.insert(number(words[1]), bytes);
            }
            "expect" => {
                case.columns = words[1..].iter().map(|word| word.to_string()).collect();
                in_table = true;
            }
            _ if in_table => case
                .rows
                .push(words.iter().map(|word| word.to_string()).collect()),
            _ => {
                let at = next.expect("an instruction before `code`");
                let block = instruction(line, at);
                next = Some(block.end().0);
                case.code.push(block);
            }
        }
    }
    case
}

fn run(case: &Case) -> History {
    let thread = ThreadId(1);
    let mut path = ThreadTrace::new(thread);
    let all = (0..case.code.len() as u32).collect();
    for &index in case.path.as_ref().unwrap_or(&all) {
        path.push(Run {
            block: rept_trace::BlockId(index),
            count: 1,
        });
    }
    let trace = Trace {
        code: Code::new(case.code.clone()),
        threads: vec![path],
    };
    let mut registers = Registers::new(thread, Address(0));
    for &(word, value) in &case.registers {
        registers.set(word, value);
    }
    let last = FinalState {
        threads: vec![registers],
        fault: None,
        memory: &case.memory,
        auxv: Vec::new(),
    };
    recover(&trace, &Order::new(&trace), &last, &Options::default())
}

fn shown(value: Value) -> Option<u64> {
    (value.known == u64::MAX).then_some(value.bits)
}

fn column(history: &History, case: &Case, at: Position, name: &str) -> Option<u64> {
    let Some(address) = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return shown(history.register(at, register(name)));
    };
    let address = number(address);
    (0..8).try_fold(0, |word, byte| {
        let value = history.memory(at, Address(address + byte), &case.memory);
        (value.known == 0xff).then_some(word | value.bits << (8 * byte))
    })
}

#[track_caller]
fn check(text: &str) {
    let case = parse(text);
    let history = run(&case);
    assert!(!case.rows.is_empty(), "a case expects something");
    for row in &case.rows {
        let at = Position {
            thread: 0,
            step: number(&row[0]),
        };
        for (name, expect) in case.columns.iter().zip(&row[1..]) {
            let found = column(&history, &case, at, name);
            let expect = (expect != "?").then(|| number(expect));
            assert_eq!(found, expect, "{name} before step {}", at.step);
        }
    }
}

#[test]
fn slides() {
    check(include_str!("cases/slides.txt"));
}
