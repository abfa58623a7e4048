use super::*;
use crate::case::{Program, Spot};
use crate::testing::{Made, access, run};
use rept_recover::history::Value;
use rept_trace::{Address, Fault, Gap, GapReason, RegWord, Registers};

/// `f` begins at 0x1000, all of it on one line; code is `mov eax,[rdi]`.
struct OneFunction;

impl Program for OneFunction {
    fn spot(&self, address: Address) -> Spot {
        Spot {
            function: Some(("f".to_owned(), address.0 - 0x1000)),
            line: Some(("f.c".to_owned(), 7)),
            module: None,
        }
    }

    fn bytes(&self, _: Address, buffer: &mut [u8]) -> usize {
        buffer[..2].copy_from_slice(&[0x8b, 0x07]);
        2
    }
}

fn value(bits: u64, grades: [u64; 3]) -> Value {
    let [known, assumed, certain] = grades;
    Value {
        bits,
        known,
        certain,
        assumed,
    }
}

const ALL: u64 = u64::MAX;

/// `add rcx,rax`, then `push rcx`, in thread 1; rcx is certain before, assumed after.
fn made() -> Made {
    let mut store = access(true, Some(0x7ff8), 8);
    store.address_certain = false;
    store.value = value(9, [ALL, 0, 0]);
    let mut made = run(&[&[(&[0x48, 0x01, 0xc1], &[]), (&[0x51], &[store])]]);
    let at = |step| Position { thread: 0, step };
    made.history.registers.extend([
        ((at(0), RegWord::RCX), value(4, [ALL; 3])),
        ((at(0), RegWord::RAX), value(0x5, [0xff; 3])),
        ((at(1), RegWord::RCX), value(9, [ALL, ALL, 0])),
    ]);
    made
}

fn report_of(made: &Made, wanted: ReportArgs) -> Result<String, Failure> {
    let mut registers = [Registers::new(ThreadId(1), Address(0x1004))];
    registers[0].set(RegWord::RDI, 0x44);
    let case = Case {
        trace: &made.trace,
        sequence: &made.sequence,
        history: &made.history,
        program: &OneFunction,
        fault: Some(Fault {
            thread: ThreadId(1),
            signal: 11,
            code: 1,
            address: Some(Address(0x44)),
        }),
        races: &[],
        registers: &registers,
    };
    let mut out = Vec::new();
    report(case, &wanted, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn wanted(line: &str) -> ReportArgs {
    use crate::args::{Arguments, Command};
    use clap::Parser;
    let line = format!("rept report x {line}");
    match Arguments::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
    {
        Command::Report(wanted) => wanted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_crash_comes_first() {
    let text = report_of(&made(), wanted("")).unwrap();
    let expect = "SIGSEGV (address not mapped) at address 0x44, thread 1
  at 0x1004 in f+0x4, f.c:7
  mov eax,[rdi]
  with rdi=0x44
";
    assert!(text.starts_with(expect), "{text}");
}

#[test]
fn each_step_shows_what_it_read_and_wrote_and_how_that_is_known() {
    let text = report_of(&made(), wanted("")).unwrap();
    let tail = text.split("why\n\n").nth(1).unwrap();
    let lines: Vec<String> = tail
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let unknown = "? (overwritten, and nothing that survives depends on it)";
    assert_eq!(lines[0], "f f.c:7");
    assert_eq!(
        lines[1],
        "1:0 +0x0 add rcx,rax rcx=0x4 rax=0x??????????????05 -> rcx=~0x9"
    );
    assert_eq!(
        lines[2],
        format!("1:1 +0x0 push rcx rcx=~0x9 rsp={unknown} -> rsp={unknown} [~0x7ff8]=~~0x9")
    );
    let totals = "values shown: 1 certain, 2 assumed, 1 inferred, 1 partly known, 2 unknown";
    assert_eq!(lines[4], totals);
    assert_eq!(lines[5], "in all: 2 steps of 1 thread, 0 gaps");
}

#[test]
fn a_gap_is_shown_where_it_is() {
    let mut made = made();
    let reason = GapReason::LostData;
    made.trace.threads[0].gaps.push(Gap {
        step: 1,
        offset: 0,
        at: None,
        reason,
    });
    let text = report_of(&made, wanted("")).unwrap();
    let gap = "---- steps are missing here: the recording lost data ----";
    assert!(
        text.find("add rcx").unwrap() < text.find(gap).unwrap(),
        "{text}"
    );
    assert!(
        text.find(gap).unwrap() < text.find("push rcx").unwrap(),
        "{text}"
    );
}

#[test]
fn a_range_may_be_chosen() {
    let text = report_of(&made(), wanted("--last 1")).unwrap();
    assert!(
        !text.contains("add rcx") && text.contains("push rcx"),
        "{text}"
    );
    let text = report_of(&made(), wanted("--from 1:0 --to 1:1")).unwrap();
    assert!(
        text.contains("add rcx") && !text.contains("push rcx"),
        "{text}"
    );
}

#[test]
fn what_does_not_exist_is_said() {
    let failure = |line| report_of(&made(), wanted(line)).unwrap_err().to_string();
    assert_eq!(
        failure("--to 1:3"),
        "position 1:3 does not exist: the thread ends at 1:2"
    );
    assert_eq!(
        failure("--thread 5"),
        "no steps of thread 5 in the trace: the trace holds thread 1"
    );
    assert_eq!(
        failure("--thread 1 --to 5:0"),
        "position 5:0 is not of thread 1"
    );
}
