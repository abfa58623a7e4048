//! The instrument itself, on a history whose every mistake is known.

use super::operands::TrueOperand;
use super::tally::{ByGrade, Measure, Tally};
use super::*;
use rept_recover::history::{AccessView, Position, Unknown, Value};
use rept_trace::{Block, BlockId, Code, Interval, Memory, RegWord, Run};

/// `mov rax, [rbx]` at 0x1000, `add rcx, rax` at 0x1003, `push rcx` at 0x1006, `jmp` back.
const LOOP: &[u8] = &[0x48, 0x8b, 0x03, 0x48, 0x01, 0xc1, 0x51, 0xeb, 0xf7];
const STARTS: [u16; 4] = [0, 3, 6, 7];
const TURNS: u64 = 500;
const TID: ThreadId = ThreadId(77);

fn trace() -> Trace {
    let block = Block {
        at: Address(0x1000),
        bytes: LOOP.into(),
        starts: STARTS.into(),
        bitness: 64,
    };
    let mut thread = ThreadTrace::new(TID);
    for _ in 0..TURNS {
        thread.push(Run {
            block: BlockId(0),
            count: 4,
        });
    }
    Trace {
        code: Code::new(vec![block]),
        threads: vec![thread],
    }
}

/// Register `number` before step `step`: a different value each.
fn register(step: u64, number: u64) -> u64 {
    step << 8 | number
}

fn true_step(step: u64) -> TrueStep {
    let operand = |address, store, value: u64| TrueOperand {
        address: Address(address),
        store,
        bytes: value.to_le_bytes().into(),
    };
    TrueStep {
        at: Address(0x1000 + u64::from(STARTS[(step % 4) as usize])),
        registers: std::array::from_fn(|number| register(step, number as u64)),
        operands: match step % 4 {
            0 => vec![operand(0x5000, false, step)],
            2 => vec![operand(0x6000 - step, true, step)],
            _ => vec![],
        },
    }
}

/// The truth also holds `EARLIER` steps from before the window, and the faulting step.
struct FakeTruth;

const EARLIER: u64 = 10;

impl Truth for FakeTruth {
    fn addresses(&mut self, thread: ThreadId) -> Result<Vec<Address>, Failure> {
        Ok(self
            .steps(thread, 0)?
            .map(|step| step.map(|step| step.at).unwrap())
            .collect())
    }

    fn steps(&mut self, thread: ThreadId, first: u64) -> Result<TrueSteps<'_>, Failure> {
        assert_eq!(thread, TID);
        let at = |step| {
            Ok(TrueStep {
                at: Address(0x9000 + step),
                ..TrueStep::default()
            })
        };
        let steps = (0..EARLIER)
            .map(at)
            .chain((0..TURNS * 4).map(|step| Ok(true_step(step))));
        Ok(Box::new(steps.chain([at(100)]).skip(first as usize)))
    }
}

/// Knows everything, but for the mistakes.
#[derive(Default)]
struct FakeHistory {
    /// Registers and what is believed of them, at given steps.
    registers: Vec<(u64, RegWord, Value)>,
    /// Accesses of given steps.
    accesses: Vec<(u64, Vec<AccessView>)>,
}

fn certain(bits: u64) -> Value {
    Value {
        bits,
        known: u64::MAX,
        certain: u64::MAX,
        assumed: u64::MAX,
    }
}

fn view(operand: &TrueOperand) -> AccessView {
    AccessView {
        address: Some(operand.address),
        address_certain: true,
        address_assumed: true,
        size: operand.bytes.len() as u8,
        store: operand.store,
        value: certain(u64::from_le_bytes(operand.bytes[..].try_into().unwrap())),
    }
}

impl Recovered for FakeHistory {
    fn register(&self, at: Position, word: RegWord) -> Value {
        let mistake = self
            .registers
            .iter()
            .find(|&&(step, of, _)| (step, of) == (at.step, word));
        mistake.map_or(
            certain(register(at.step, u64::from(word.0))),
            |&(_, _, value)| value,
        )
    }

    fn why_unknown(&self, _: Position, _: RegWord) -> Unknown {
        Unknown::Overwritten
    }

    fn accesses(&self, at: Position) -> Vec<AccessView> {
        let mistake = self.accesses.iter().find(|&&(step, _)| step == at.step);
        mistake.map_or_else(
            || true_step(at.step).operands.iter().map(view).collect(),
            |(_, accesses)| accesses.clone(),
        )
    }

    fn memory(&self, _: Position, _: Address, _: &dyn Memory) -> Value {
        Value::default()
    }
}

fn judged(history: &FakeHistory) -> Score {
    let trace = trace();
    let steps = trace.threads[0].steps();
    let sequence = [Segment {
        thread: 0,
        first: 0,
        steps,
        time: Interval::UNKNOWN,
    }];
    let subject = Subject {
        trace: &trace,
        sequence: &sequence,
        history,
        crashing: TID,
    };
    score(&subject, &mut FakeTruth, true).unwrap()
}

fn right(certain: u64) -> Tally {
    Tally {
        correct: ByGrade {
            certain,
            ..ByGrade::default()
        },
        ..Tally::default()
    }
}

#[test]
fn a_perfect_history_is_all_right_and_all_counted() {
    let score = judged(&FakeHistory::default());
    assert_eq!((score.judged, score.steps), (TURNS * 4, TURNS * 4));
    // mov reads rbx, add rax and rcx, push rcx and rsp.
    assert_eq!(score.board.total(Measure::RegisterReads), right(TURNS * 4));
    assert_eq!(score.board.total(Measure::StackPointerReads), right(TURNS));
    assert_eq!(score.board.total(Measure::Addresses), right(TURNS * 2));
    assert_eq!(score.board.total(Measure::MemoryReads), right(TURNS));
    assert_eq!(
        score.board.total(Measure::RegisterFile),
        right(TURNS * 4 * 16)
    );
    assert_eq!(score.board.wrong(), ByGrade::default());
}

#[test]
fn each_mistake_is_counted_once_in_its_class() {
    let half = Value {
        known: 0xff,
        certain: 0,
        assumed: 0xff,
        ..certain(0x03)
    };
    let history = FakeHistory {
        registers: vec![
            // The newest `mov`, 4 steps from the end, reads rbx: partly known.
            (1996, RegWord::RBX, half),
            // The `add` of the first turn reads rcx, 1998 steps from the end: wrong, certain.
            (1, RegWord::RCX, certain(5)),
            // r15 is read by no step.
            (2, RegWord::gpr(15), Value::default()),
        ],
        accesses: vec![],
    };
    let score = judged(&history);
    let near = score.board.tally(Measure::RegisterReads, 0);
    assert_eq!(
        near.partial,
        ByGrade {
            assumed: 1,
            ..ByGrade::default()
        }
    );
    assert_eq!((near.total(), near.correct.certain), (1000, 999));
    let far = score.board.tally(Measure::RegisterReads, 1);
    assert_eq!(
        far.wrong,
        ByGrade {
            certain: 1,
            ..ByGrade::default()
        }
    );
    assert_eq!((far.total(), far.correct.certain), (1000, 999));
    let file = score.board.total(Measure::RegisterFile);
    assert_eq!(
        (file.unknown, file.partial.total(), file.wrong.certain),
        (1, 1, 1)
    );
    // Once as a read, once in the register file.
    assert_eq!(score.board.wrong().certain, 2);
}

#[test]
fn memory_mistakes_are_told_apart() {
    let load = view(&true_step(0).operands[0]);
    let elsewhere = AccessView {
        address: Some(Address(0x5008)),
        address_certain: false,
        ..load
    };
    let other_value = AccessView {
        value: certain(99),
        ..load
    };
    let nowhere = AccessView {
        address: None,
        value: Value::default(),
        ..load
    };
    let history = FakeHistory {
        registers: vec![],
        accesses: vec![
            (0, vec![elsewhere]),
            (4, vec![other_value]),
            (8, vec![nowhere]),
            (12, vec![]),
            // `add rcx, rax` makes no access.
            (13, vec![load]),
        ],
    };
    let score = judged(&history);
    let addresses = score.board.total(Measure::Addresses);
    // One too many: the access that was not made.
    assert_eq!(addresses.total(), TURNS * 2 + 1);
    assert_eq!(
        addresses.wrong,
        ByGrade {
            assumed: 1,
            certain: 1,
            inferred: 0
        }
    );
    assert_eq!(addresses.unknown, 2);
    let values = score.board.total(Measure::MemoryReads);
    // At step 0 the value is 0 and right wherever it is; at step 4 it should be 4.
    assert_eq!((values.wrong.certain, values.unknown), (1, 2));
}

#[test]
fn a_wrong_value_is_traced_to_the_step_that_wrote_it() {
    let history = FakeHistory {
        // rax is wrong from after the load of step 4 until the next load.
        registers: (5..=8)
            .map(|step| (step, RegWord::RAX, certain(1)))
            .collect(),
        accesses: vec![],
    };
    let score = judged(&history);
    let blame = score.blame.unwrap();
    assert_eq!(blame.wrong_writers, [("mov (load)".to_owned(), 1)].into());
    let root: Vec<_> = blame.wrong_registers.iter().collect();
    assert_eq!(
        (root.len(), root[0].at.step, root[0].what.as_str()),
        (1, 5, "rax")
    );
}

#[test]
fn both_renderings_hold_the_same_figures() {
    let history = FakeHistory {
        registers: vec![(1, RegWord::RCX, certain(5))],
        ..FakeHistory::default()
    };
    let score = judged(&history);
    let table = Table(&score).to_string();
    assert!(
        table.contains("2,000 of 2,000 steps judged, 1 thread;"),
        "{table}"
    );
    assert!(table.contains("wrong values called certain: 2 "), "{table}");
    let json: serde_json::Value = serde_json::from_str(&json::render(&score).unwrap()).unwrap();
    assert_eq!(json["schema"], "rept-score/1");
    assert_eq!(json["wrong"]["certain"], 2);
    assert_eq!(
        json["measures"]["register_reads"]["all"]["wrong"]["certain"],
        1
    );
    assert_eq!(
        json["measures"]["register_reads"]["by_distance"]["1-10 K"]["wrong"]["certain"],
        1
    );
}
