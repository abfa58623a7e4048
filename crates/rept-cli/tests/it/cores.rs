//! The core of a program that ran as copies is that of the program alone: the same mappings, memory
//! and registers as after single steps.
//!
//! Process ids differ, and what is made of them: a core is held against two of single-stepped runs,
//! in each word that these have in common. All run on one processor, whose number the C library keeps.

use crate::common::{Scratch, build};
use std::fs;
use std::path::Path;
use std::process::Command;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
const NT_X86_XSTATE: u32 = 0x202;
/// Where the registers stand in `struct elf_prstatus`, and how long they are.
const REGISTERS: std::ops::Range<usize> = 112..112 + 27 * 8;
/// Where the x87 unit says that its last instruction stood: in the cache.
const X87_PLACES: std::ops::Range<usize> = 8..24;

/// What is compared of a core.
#[derive(Debug, PartialEq)]
struct Core {
    /// Address, size in memory and permissions of each mapping.
    mappings: Vec<(u64, u64, u32)>,
    /// Bytes of all mappings, one after the other.
    memory: Vec<u8>,
    /// General-purpose and vector registers of each thread.
    registers: Vec<Vec<u8>>,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Core {
    fn read(path: &Path) -> Core {
        let file = fs::read(path).unwrap();
        let (table, count) = (word(&file, 32) as usize, half(&file, 56) & 0xffff);
        let mut core = Core {
            mappings: Vec::new(),
            memory: Vec::new(),
            registers: Vec::new(),
        };
        for header in (0..count as usize).map(|n| &file[table + n * 56..][..56]) {
            let (at, length) = (word(header, 8) as usize, word(header, 32) as usize);
            let bytes = &file[at..at + length];
            match half(header, 0) {
                PT_LOAD => {
                    let (address, size) = (word(header, 16), word(header, 40));
                    core.mappings.push((address, size, half(header, 4)));
                    core.memory.extend(bytes);
                }
                PT_NOTE => core.notes(bytes),
                _ => {}
            }
        }
        core
    }

    fn notes(&mut self, mut rest: &[u8]) {
        let padded = |length: u32| length.next_multiple_of(4) as usize;
        while rest.len() >= 12 {
            let (name, length, kind) = (half(rest, 0), half(rest, 4), half(rest, 8));
            let from = 12 + padded(name);
            let mut bytes = rest[from..from + length as usize].to_vec();
            rest = &rest[(from + padded(length)).min(rest.len())..];
            match kind {
                NT_PRSTATUS => self.registers.push(bytes[REGISTERS].to_vec()),
                NT_X86_XSTATE => {
                    bytes[X87_PLACES].fill(0);
                    self.registers.push(bytes);
                }
                _ => {}
            }
        }
    }
}

fn record(options: &str, program: &Path, directory: &Path, place: &Scratch) -> Option<Core> {
    let output = Command::new("taskset")
        .args([
            "-c",
            &first_processor(),
            env!("CARGO_BIN_EXE_rept"),
            "record",
        ])
        .args(options.split_whitespace())
        .args(["--repeatable".as_ref(), "-o".as_ref(), directory])
        .args(["--".as_ref(), program])
        .current_dir(place.join(""))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: no taskset: {error}");
            return None;
        }
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options}: {stderr}");
    Some(Core::read(&directory.join("core")))
}

// The first of those that this process may run on.
fn first_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split(['-', ',']).next());
    first.unwrap().to_owned()
}

/// Places in `mine` that are not as in both others.
fn differing(mine: &[u8], one: &[u8], other: &[u8]) -> Vec<usize> {
    let words = mine.chunks(4).zip(one.chunks(4)).zip(other.chunks(4));
    let differs = words
        .enumerate()
        .filter(|(_, ((m, a), b))| a == b && m != a);
    differs.map(|(n, _)| n * 4).collect()
}

#[track_caller]
fn check(source: &str) {
    let scratch = Scratch::new(&format!("cores-{}", source.replace('/', "-")));
    let Some(program) = build(source, &scratch) else {
        return;
    };
    let run = |tag: &str, options: &str| record(options, &program, &scratch.join(tag), &scratch);
    let (Some(one), Some(other)) = (run("step", ""), run("again", "")) else {
        return;
    };
    for (tag, options) in [
        ("fast", "--engine fast"),
        ("exact", "--engine fast --truth"),
    ] {
        let mine = run(tag, options).expect("as before");
        assert_eq!(mine.mappings, one.mappings, "{tag}");
        assert_eq!(mine.memory.len(), one.memory.len(), "{tag}");
        let memory = differing(&mine.memory, &one.memory, &other.memory);
        assert!(memory.is_empty(), "{tag}: {memory:x?} in the memory");
        assert_eq!(mine.registers.len(), one.registers.len(), "{tag}");
        for (n, mine) in mine.registers.iter().enumerate() {
            let registers = differing(mine, &one.registers[n], &other.registers[n]);
            assert!(
                registers.is_empty(),
                "{tag}, register set {n}: {registers:x?}"
            );
        }
    }
    assert!(one.memory.len() > 50_000 && one.registers.len() >= 2);
}

#[test]
fn after_a_fault_nothing_of_the_recorder_is_in_the_core() {
    check("engines/chance.c");
    check("signals.c");
}

#[test]
fn after_vector_instructions_their_registers_are_the_programs() {
    check("engines/operands.c");
}
