//! What gdb and the export show, held against the truth: what is shown without a mark is right.

use crate::common::{Scratch, build, record, rept, succeed};
use rept_capture::truth::{AccessKind, Reader, Step};
use rept_trace::{RegWord, ThreadId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// At about so many positions gdb looks.
const LOOKS: usize = 2200;
/// Programs whose threads race.
const RACING: [&str; 3] = ["lost_update", "use_after_free", "publication"];

/// The instruction of a system call.
const SYSCALL: &str = "0f05";

/// Of values that were shown, how many there were and how many of them wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    shown: u64,
    wrong: u64,
}

impl Count {
    fn add(&mut self, right: bool) {
        self.shown += 1;
        self.wrong += u64::from(!right);
    }

    #[track_caller]
    fn at_most_one_in_a_thousand_wrong(&self) {
        assert!(self.shown > 1000, "{self:?}");
        assert!(self.wrong * 1000 <= self.shown, "{self:?}");
    }
}

/// A recording, and what is true of it.
struct Recording {
    directory: PathBuf,
    program: PathBuf,
    steps: BTreeMap<ThreadId, Vec<Step>>,
}

impl Recording {
    fn demo(scratch: &Scratch) -> Recording {
        let directory = scratch.join("recording");
        succeed("demo -o", &directory);
        Recording::new(directory.join("sensors"), directory)
    }

    /// Of a program whose threads race, from its `main` on; none without a C compiler.
    fn racing(scratch: &Scratch, name: &str) -> Option<Recording> {
        let program = build(&format!("threads/{name}.c"), scratch)?;
        let directory = scratch.join(&format!("{name}.recording"));
        record(&program, "main", &directory);
        Some(Recording::new(program, directory))
    }

    fn new(program: PathBuf, directory: PathBuf) -> Recording {
        let mut reader = Reader::open(&directory.join("truth")).unwrap();
        let mut all = BTreeMap::new();
        for thread in reader.threads() {
            let mut steps = reader.read_from(thread, 0).unwrap();
            let own: &mut Vec<Step> = all.entry(thread).or_default();
            while let Some(step) = steps.advance().unwrap() {
                own.push(step.clone());
            }
        }
        Recording {
            directory,
            program,
            steps: all,
        }
    }

    /// Positions all over the recording, about as many as asked for.
    fn places(&self, most: usize) -> Vec<(ThreadId, usize)> {
        let steps = self.steps.iter();
        let all: Vec<_> = steps
            .flat_map(|(&thread, steps)| (0..steps.len()).map(move |index| (thread, index)))
            .collect();
        let stride = all.len().div_ceil(most);
        all.into_iter().step_by(stride).collect()
    }
}

/// True bytes that a step read or wrote.
fn bytes(step: &Step, kind: AccessKind) -> BTreeMap<u64, u8> {
    let accesses = step.accesses.iter().filter(|access| access.kind == kind);
    accesses
        .flat_map(|access| (access.address..).zip(access.bytes.iter().copied()))
        .collect()
}

fn number(text: &Value) -> Option<u64> {
    let digits = text.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

#[test]
fn the_export_agrees_with_the_truth() {
    let scratch = Scratch::new("shown-export");
    let demo = Recording::demo(&scratch);
    let counts = exported(&demo);
    assert_eq!(counts["assumed"].wrong, 0, "{counts:?}");
    counts["certain"].at_most_one_in_a_thousand_wrong();

    let strict = succeed("export --trust certain --func parse_line", &demo.directory);
    let grades = |line: &str| line.contains("assumed") || line.contains("inferred");
    assert!(strict.lines().count() > 10 && !strict.lines().any(grades));
}

// What is inferred is marked in the export, so what is shown unmarked is certain or assumed.
#[test]
fn the_export_of_threads_that_race_agrees_with_the_truth() {
    let scratch = Scratch::new("shown-races");
    for name in RACING {
        let Some(recording) = Recording::racing(&scratch, name) else {
            return;
        };
        assert!(recording.steps.len() > 1, "{name} has threads");
        let counts = exported(&recording);
        assert_eq!(counts["assumed"].wrong, 0, "{counts:?}");
        counts["certain"].at_most_one_in_a_thousand_wrong();
    }
}

/// Holds all that is exported against the truth, and counts by grade; what is certain is never wrong.
fn exported(recording: &Recording) -> BTreeMap<String, Count> {
    let text = succeed("export", &recording.directory);
    let mut lines = text.lines();
    let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(header["schema"], "rept-export/1");
    let told = header["threads"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|one| (one["thread"].clone(), one["steps"].clone()))
        .collect();
    let true_steps = recording.steps.iter();
    let there: Vec<_> = true_steps
        .clone()
        .map(|(thread, steps)| (Value::from(thread.0), Value::from(steps.len())))
        .collect();
    assert_eq!(told, there);
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    // Held against the step behind, what is right has to be found wrong.
    let mut shifted: BTreeMap<String, Count> = BTreeMap::new();
    for (thread, steps) in true_steps {
        for (index, step) in steps.iter().enumerate() {
            let record: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            assert_eq!(record["at"], format!("{thread}:{index}"));
            assert_eq!(number(&record["pc"]), Some(step.ip));
            judge(&record, steps, index, &mut counts);
            if index + 1 < steps.len() {
                judge(&record, steps, index + 1, &mut shifted);
            }
        }
    }
    assert_eq!(lines.next(), None);
    eprintln!("{}: {counts:?}", recording.directory.display());
    let wrong = |counts: &BTreeMap<String, Count>| counts["certain"].wrong;
    assert!(
        wrong(&shifted) * 10 > shifted["certain"].shown,
        "{shifted:?}"
    );
    assert_eq!(wrong(&counts), 0, "{counts:?}");
    counts
}

fn judge(record: &Value, steps: &[Step], index: usize, counts: &mut BTreeMap<String, Count>) {
    let known = |value: &Value| number(&value["known"]).unwrap_or(u64::MAX);
    let mut count = |value: &Value, right: bool| {
        let grade = value["grade"].as_str().unwrap().to_owned();
        counts.entry(grade).or_default().add(right);
    };
    if let Some(after) = steps.get(index + 1) {
        for register in record["registers"].as_array().unwrap() {
            let Some(value) = number(&register["value"]) else {
                continue;
            };
            let name = register["name"].as_str().unwrap();
            let mut words = (0..RegWord::COUNT as u16).map(RegWord);
            let word = words.find(|word| word.name() == name).unwrap();
            let Some(&true_value) = after.words.get(usize::from(word.0)) else {
                continue;
            };
            count(register, (true_value ^ value) & known(register) == 0);
        }
    }
    for access in record["memory"].as_array().unwrap() {
        let place = number(&access["address"]).zip(number(&access["value"]));
        let Some((address, value)) = place else {
            continue;
        };
        let kind = match access["store"].as_bool().unwrap() {
            // What the kernel wrote, the truth does not hold.
            true if record["code"] == SYSCALL => continue,
            true => AccessKind::Write,
            false => AccessKind::Read,
        };
        let known = known(access).to_le_bytes();
        let truth = bytes(&steps[index], kind);
        let size = access["size"].as_u64().unwrap() as usize;
        let right = value.to_le_bytes()[..size]
            .iter()
            .enumerate()
            .all(|(at, byte)| {
                let true_byte = truth.get(&(address + at as u64));
                true_byte.is_some_and(|true_byte| (true_byte ^ byte) & known[at] == 0)
            });
        // The weaker of the value's grade and the address's speaks for both.
        let weaker = [&access["grade"], &access["address_grade"]];
        let weakest = weaker.into_iter().max_by_key(|grade| match grade.as_str() {
            Some("certain") => 0,
            Some("assumed") => 1,
            _ => 2,
        });
        count(&serde_json::json!({ "grade": weakest }), right);
    }
}

/// Goes to each position and writes what gdb says of the registers and of memory.
const LOOK: &str = r#"
import gdb
names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
def look(thread, index, memory):
    # gdb cannot make an inlined function's frame where it does not know the stack.
    try:
        gdb.execute("rept seek %d:%d" % (thread, index), to_string=True)
        for one in gdb.selected_inferior().threads():
            if one.ptid[1] == thread:
                one.switch()
        frame = gdb.newest_frame()
    except gdb.error:
        return ["?"]
    words = ["%x" % frame.pc()]
    for name in names:
        try:
            words.append("%x" % (int(frame.read_register(name)) & (2**64 - 1)))
        except gdb.error:
            words.append("?")
    for address, size in memory:
        try:
            words.append(bytes(gdb.selected_inferior().read_memory(address, size)).hex())
        except gdb.error:
            words.append("?")
    return words
with open(RESULT, "w") as result:
    for thread, index, memory in PLACES:
        result.write(" ".join(look(thread, index, memory)) + "\n")
"#;

#[test]
fn gdb_is_shown_the_truth_or_nothing() {
    let scratch = Scratch::new("shown-gdb");
    let demo = Recording::demo(&scratch);
    held_against_gdb(&scratch, &demo, &["", "--trust certain"]);
}

#[test]
fn gdb_is_shown_the_truth_or_nothing_of_threads_that_race() {
    let scratch = Scratch::new("shown-gdb-races");
    if let Some(recording) = Recording::racing(&scratch, RACING[0]) {
        held_against_gdb(&scratch, &recording, &[""]);
    }
}

/// Has gdb look at positions all over the recording.
fn held_against_gdb(scratch: &Scratch, recording: &Recording, trusts: &[&str]) {
    let places = recording.places(LOOKS);
    for trust in trusts {
        let Some(looked) = looked(scratch, recording, trust, &script(recording, &places)) else {
            return eprintln!("skipped: no gdb");
        };
        assert_eq!(looked.lines().count(), places.len());
        let count = compared(&looked, recording, &places);
        eprintln!("{} positions, {trust}: {count:?}", places.len());
        count.at_most_one_in_a_thousand_wrong();
        if !trust.is_empty() {
            assert_eq!(count.wrong, 0, "{count:?}");
        }
        // Held against the step behind, what is right has to be found wrong.
        let behind = |&(thread, index): &(ThreadId, usize)| (thread, index.saturating_sub(1));
        let behind: Vec<_> = places.iter().map(behind).collect();
        let shifted = compared(&looked, recording, &behind);
        assert!(shifted.wrong * 20 > shifted.shown, "{shifted:?}");
    }
}

/// Where gdb is to look.
fn script(recording: &Recording, places: &[(ThreadId, usize)]) -> String {
    let mut script = "PLACES = [\n".to_owned();
    for &(thread, index) in places {
        let _ = write!(script, "({thread}, {index}, [");
        for access in reads(&recording.steps[&thread][index]) {
            let _ = write!(script, "({}, {}),", access.address, access.bytes.len());
        }
        script += "]),\n";
    }
    script + "]\n"
}

/// What gdb wrote at these places; `None` without gdb.
fn looked(scratch: &Scratch, recording: &Recording, trust: &str, places: &str) -> Option<String> {
    let result = scratch.join("result");
    let (look, commands) = (scratch.join("look.py"), scratch.join("rept.py"));
    std::fs::write(&look, format!("RESULT = {result:?}\n{places}{LOOK}")).unwrap();
    let python = rept(&["gdb", "--print-python"]);
    std::fs::write(&commands, python.stdout).unwrap();
    let server = format!(
        "target remote | {} gdb {trust} {}",
        env!("CARGO_BIN_EXE_rept"),
        recording.directory.display()
    );
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]).arg(&recording.program);
    gdb.args(["-ex", "set debuginfod enabled off", "-ex", &server]);
    gdb.arg("-x").arg(&commands).arg("-x").arg(&look);
    let output = gdb.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    Some(std::fs::read_to_string(&result).unwrap_or_else(|_| panic!("{said}")))
}

/// Holds what gdb wrote against the truth of these steps.
fn compared(looked: &str, recording: &Recording, places: &[(ThreadId, usize)]) -> Count {
    let mut count = Count::default();
    for (line, &(thread, index)) in looked.lines().zip(places) {
        let mut words = line.split(' ');
        let step = &recording.steps[&thread][index];
        let mut add = |truth: String| match words.next() {
            Some("?") | None => {}
            Some(shown) => count.add(shown == truth),
        };
        add(format!("{:x}", step.ip));
        for word in &step.words[..16] {
            add(format!("{word:x}"));
        }
        for access in reads(step) {
            let bytes = access.bytes.iter();
            add(bytes.map(|byte| format!("{byte:02x}")).collect());
        }
    }
    count
}

/// What a step read from memory, where it is not much.
fn reads(step: &Step) -> impl Iterator<Item = &rept_capture::truth::Access> {
    let small = |access: &&rept_capture::truth::Access| {
        access.kind == AccessKind::Read && access.bytes.len() <= 64
    };
    step.accesses.iter().filter(small)
}
