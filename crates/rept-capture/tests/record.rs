//! Records small C programs and compares with what stock perf decodes.

#[path = "record/common.rs"]
mod common;

use common::{Recorded, record};
use rept_capture::truth::AccessKind;
use rept_capture::{EngineKind, Exit, Schedule};
use rept_trace::ThreadId;
use std::process::Command;

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

#[test]
fn a_crash() {
    let Some(recorded) = record("crash", "plain", |_| ()) else {
        return;
    };
    assert_eq!(recorded.summary.exit, Exit::Signal(SIGSEGV));
    assert_eq!(recorded.summary.threads, 1);
    recorded.assert_perf_agrees(0);
}

#[test]
fn signals_longjmp_and_restarted_calls() {
    let Some(recorded) = record("signals", "plain", |_| ()) else {
        return;
    };
    assert_eq!(recorded.summary.exit, Exit::Signal(SIGABRT));
    recorded.assert_perf_agrees(0);
}

#[test]
fn threads_on_cores_of_their_own() {
    let Some(recorded) = record("threads", "cores", |_| ()) else {
        return;
    };
    assert_eq!(recorded.summary.exit, Exit::Signal(SIGSEGV));
    assert_eq!(recorded.summary.threads, 4);
    recorded.assert_perf_agrees(0);
}

#[test]
fn threads_in_turns() {
    let turns = |options: &mut rept_capture::RecordOptions| {
        options.schedule = Schedule::Quanta { longest: 50 };
        options.seed = 7;
    };
    let Some(recorded) = record("threads", "turns", turns) else {
        return;
    };
    assert_eq!(recorded.summary.exit, Exit::Signal(SIGSEGV));
    recorded.assert_perf_agrees(0);
}

// The same run in both forms: threads share two cores, and move between them.
#[test]
fn streams_of_cores_and_of_threads_show_the_same_run() {
    let cpus = |per_cpu| {
        move |options: &mut rept_capture::RecordOptions| {
            options.schedule = Schedule::Cpus {
                count: 2,
                longest: 300,
            };
            options.per_cpu = per_cpu;
        }
    };
    let Some(by_core) = record("threads", "by-core-", cpus(true)) else {
        return;
    };
    let Some(by_thread) = record("threads", "by-thrd-", cpus(false)) else {
        return;
    };
    by_core.assert_perf_agrees(0);
    by_thread.assert_perf_agrees(0);
    let (a, b) = (by_core.true_addresses(), by_thread.true_addresses());
    assert!(a.values().eq(b.values()));
}

#[test]
fn children_are_let_go() {
    let Some(recorded) = record("children", "plain", |_| ()) else {
        return;
    };
    assert_eq!(recorded.summary.exit, Exit::Status(3));
    assert_eq!(recorded.summary.threads, 1);
    recorded.assert_perf_agrees(0);
}

// A ring of 8 KiB has a PSB each 2 KiB: at most that much of its oldest end is lost, and
// what is left is the newest.
#[test]
fn a_small_ring_keeps_the_newest_steps() {
    let Some(recorded) = record("crash", "ring", |options| options.buffer = 8 << 10) else {
        return;
    };
    let data = std::fs::metadata(recorded.file("perf.data")).unwrap().len();
    assert!(data < 16 << 10, "{data} bytes");
    recorded.assert_perf_agrees(recorded.summary.steps as usize);
}

// The program goes no further, and what is recorded is whole up to there.
#[test]
fn as_many_steps_as_were_asked_for() {
    for engine in [EngineKind::Step, EngineKind::Fast] {
        let limited = |options: &mut rept_capture::RecordOptions| {
            options.engine = engine;
            options.most_steps = Some(500);
        };
        let Some(recorded) = record("crash", &format!("most-{engine:?}"), limited) else {
            return;
        };
        let summary = &recorded.summary;
        let most = if engine == EngineKind::Step {
            500
        } else {
            1 << 20
        };
        assert!((500..=most).contains(&summary.steps), "{}", summary.steps);
        assert_eq!(summary.exit, Exit::Signal(libc::SIGKILL));
        let told = summary.notes.iter().any(|n| n.contains("as many steps"));
        assert!(told, "{:?}", summary.notes);
        let truth = recorded.true_addresses();
        let written: usize = truth.values().map(Vec::len).sum();
        assert_eq!(written as u64, summary.steps);
        assert!(std::fs::metadata(recorded.file("core")).unwrap().len() > 1000);
        recorded.assert_perf_agrees(0);
    }
}

// The crash position: after the last step comes the instruction at which the core stands.
#[test]
fn truth_ends_where_the_core_begins() {
    let Some(recorded) = record("crash", "core", |_| ()) else {
        return;
    };
    let mut reader = recorded.truth();
    let thread = reader.threads()[0];
    let last = reader.steps(thread) - 1;
    let mut steps = reader.read_from(thread, last).unwrap();
    let step = steps.advance().unwrap().unwrap().clone();
    let registers = core_registers(&recorded);
    let (rip, flags) = (registers[16], registers[18]);
    // sum()'s loop is short: the jump back to its head was the last step.
    assert!(rip.abs_diff(step.ip) < 32, "{rip:#x} after {:#x}", step.ip);
    assert_eq!(flags & 0x100, 0, "the trap flag is in the core");
    assert_eq!(step.words[4], registers[19], "stack pointers differ");
}

// What the instruction wrote is what a later read of the same place finds.
#[test]
fn reads_find_what_was_written() {
    let Some(recorded) = record("crash", "memory", |_| ()) else {
        return;
    };
    let mut reader = recorded.truth();
    let thread = reader.threads()[0];
    let mut steps = reader.read_from(thread, 0).unwrap();
    let mut memory = std::collections::HashMap::new();
    let (mut compared, mut copied, mut previous) = (0, Vec::new(), 0);
    while let Some(step) = steps.advance().unwrap() {
        // SYSCALL leaves the return address in RCX; the kernel writes behind the truth's back.
        if step.ip == previous + 2 && step.words[1] == step.ip {
            memory.clear();
        }
        if step.words[16] & 0x100 != 0 {
            panic!("the trap flag shows at {:#x}", step.ip);
        }
        for access in &step.accesses {
            // No register has as many bytes.
            copied.extend((access.bytes.len() == 60).then_some(access.kind));
            for (address, &byte) in (access.address..).zip(&access.bytes) {
                if access.kind == AccessKind::Read
                    && let Some(&written) = memory.get(&address)
                {
                    assert_eq!(byte, written, "{address:#x} read at {:#x}", step.ip);
                    compared += 1;
                }
                memory.insert(address, byte);
            }
        }
        previous = step.ip;
    }
    assert!(compared > 1000, "only {compared} bytes compared");
    for kind in [AccessKind::Read, AccessKind::Write] {
        assert!(copied.contains(&kind), "REP MOVSB is one range: {copied:?}");
    }
}

// One sample each hundred steps of a thread, of the step that comes next.
#[test]
fn register_samples_are_of_every_so_many_steps() {
    for engine in [EngineKind::Step, EngineKind::Fast] {
        let sampled = |options: &mut rept_capture::RecordOptions| {
            options.sample_registers = Some(100);
            options.engine = engine;
        };
        let Some(recorded) = record("crash", &format!("samples-{engine:?}"), sampled) else {
            return;
        };
        let truth = recorded.true_addresses();
        let wanted = truth.values().next().unwrap().iter().step_by(100);
        let Some(seen) = recorded.perf_script(&["--no-itrace"]) else {
            return;
        };
        assert!(wanted.eq(seen.values().next().unwrap()), "{engine:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let steps = |tag: &str, seed: u64| {
        record("threads", tag, |options| options.seed = seed)
            .map(|recorded| recorded.true_addresses())
    };
    let (Some(first), Some(second)) = (steps("seed-a", 5), steps("seed-b", 5)) else {
        return;
    };
    let lengths = |all: &common::Addresses| all.values().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(&first), lengths(&second));
    assert!(first.values().eq(second.values()));
}

#[test]
fn a_sleeping_thread_has_run_its_system_call() {
    let Some(recorded) = record("threads", "sleeper", |_| ()) else {
        return;
    };
    let mut reader = recorded.truth();
    let sleeper: ThreadId = reader.threads()[1];
    let last = reader.steps(sleeper) - 1;
    let mut steps = reader.read_from(sleeper, last).unwrap();
    let step = steps.advance().unwrap().unwrap();
    const READ: u64 = 0;
    assert_eq!((step.length, step.words[0]), (2, READ));
}

// gdb reads the core as the kernel's: the right thread, signal and place.
#[test]
fn gdb_reads_the_core() {
    let Some(recorded) = record("threads", "gdb", |_| ()) else {
        return;
    };
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-ex",
            "bt 1",
            "-ex",
            "info threads",
            "-ex",
            "p $_siginfo._sifields._sigfault.si_addr",
        ])
        .arg(recorded.directory.join("threads"))
        .arg(recorded.file("core"))
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: no gdb");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("main ()"), "{text}");
    assert!(text.contains("libc_read"), "{text}");
    assert!(text.contains("0x10"), "{text}");
}

// The 27 words of the first NT_PRSTATUS note, in the order of `user_regs_struct`.
fn core_registers(recorded: &Recorded) -> Vec<u64> {
    use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
    let bytes = std::fs::read(recorded.file("core")).unwrap();
    let file: ElfFile64<'_> = ElfFile64::parse(&*bytes).unwrap();
    let endian = file.endian();
    let headers = file.elf_header().program_headers(endian, &*bytes).unwrap();
    let mut notes = headers
        .iter()
        .find_map(|h| h.notes(endian, &*bytes).unwrap())
        .unwrap();
    const NT_PRSTATUS: u32 = 1;
    while let Some(note) = notes.next().unwrap() {
        if note.n_type(endian) == NT_PRSTATUS {
            let words = note.desc()[112..112 + 27 * 8].chunks_exact(8);
            return words
                .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
                .collect();
        }
    }
    panic!("no NT_PRSTATUS note");
}
