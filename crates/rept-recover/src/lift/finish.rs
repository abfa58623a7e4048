//! From the builder's lists to an [`Effect`]: the RFLAGS word, dead relations, final numbers.

use crate::bits::Bits;
use crate::effect::{Effect, Flow, NewThread, StringOp, Word};
use crate::lift::ALL_FLAGS;
use crate::lift::builder::{Builder, Kind, Parts};
use crate::lift::flags::{modified, writes_conditionally};
use crate::op::{MicroOp, Op};
use rept_trace::RegWord;

impl Builder {
    /// The effect.
    pub(super) fn finish(self, modelled: bool) -> Effect {
        let flags = self.finish_flags();
        let mut parts = self.parts.into_inner();
        drop_dead(&mut parts);
        number(parts, flags, modelled)
    }

    /// Writes the new RFLAGS word, unless nobody reads it.
    fn finish_flags(&self) -> Unwritten {
        if self.flags.whole.get() {
            return Unwritten::default();
        }
        let modified = modified(&self.instruction);
        if modified == 0 {
            return Unwritten::default();
        }
        let (live, kept) = (
            self.live_flags & modified,
            self.live_flags & ALL_FLAGS & !modified,
        );
        if live == 0 {
            let all = kept == 0 && !writes_conditionally(&self.instruction);
            return Unwritten {
                all,
                stale: modified,
            };
        }
        let word = self
            .flags
            .word
            .get()
            .unwrap_or_else(|| self.temporary(64).word);
        let new = self.value(word, 64);
        if kept != 0 {
            let old = self.old_flags().word;
            self.relate(MicroOp {
                op: Op::Keep,
                width: 32,
                lanes: 1,
                imm: modified,
                d: word,
                a: old,
                b: old,
                c: old,
            });
        }
        let new = match self.flags.condition.get() {
            None => new,
            Some(bit) => {
                let condition = self.value(bit, 1);
                self.apply(Op::Select, 64, 0, [new, self.old_flags(), condition], 64)
            }
        };
        self.write(RegWord::FLAGS, new);
        Unwritten::default()
    }
}

/// Flags that an instruction modifies without a new RFLAGS word.
#[derive(Clone, Copy, Default)]
struct Unwritten {
    /// The old word is gone.
    all: bool,
    /// Bits of RFLAGS that the old word does not tell any more.
    stale: u16,
}

/// Drops relations that only define a temporary which nothing else uses.
///
/// Such a relation has a solution whatever its other words are: operations are total
/// functions, and a sum determines each of its parts.
fn drop_dead(parts: &mut Parts) {
    loop {
        let uses = count_uses(parts);
        let words = &parts.words;
        let before = parts.ops.len();
        let dangling = |word: Word, unknown: Bits| {
            let (kind, template) = words[usize::from(word.0)];
            kind == Kind::Temporary
                && uses[usize::from(word.0)] == 1
                && template.known & unknown.known == 0
        };
        parts.ops.retain(|op| {
            let [d, _, _, _] = op.masks();
            let result = Bits::new(d, 0);
            let sum = matches!(op.op, Op::Add | Op::AddCarry) && op.lanes == 1;
            !(dangling(op.d, result)
                || sum && dangling(op.a, Bits::new(crate::bits::mask(u32::from(op.width)), 0)))
        });
        if parts.ops.len() == before {
            return;
        }
    }
}

/// How often each word is mentioned (an operand that merely repeats `a` is not counted).
fn count_uses(parts: &Parts) -> Vec<u32> {
    let mut uses = vec![0u32; parts.words.len()];
    let mut mention = |word: Word| uses[usize::from(word.0)] += 1;
    for op in &parts.ops {
        for word in distinct(op) {
            mention(word);
        }
    }
    parts.accesses.iter().for_each(|access| {
        mention(access.address);
        mention(access.data);
        access.condition.into_iter().for_each(&mut mention);
    });
    parts.writes.iter().for_each(|write| mention(write.1));
    flow_words(parts.flow)
        .into_iter()
        .flatten()
        .for_each(&mut mention);
    if let Some(string) = parts.string {
        string_words(&string)
            .into_iter()
            .flatten()
            .for_each(&mut mention);
    }
    if let Some(new) = parts.new_thread {
        [new.stack_pointer, new.fs_base]
            .into_iter()
            .for_each(&mut mention);
    }
    uses
}

fn distinct(op: &MicroOp) -> impl Iterator<Item = Word> {
    let words = [op.d, op.a, op.b, op.c];
    (0..4)
        .filter(move |&i| !words[..i].contains(&words[i]))
        .map(move |i| words[i])
}

fn flow_words(flow: Flow) -> [Option<Word>; 1] {
    [match flow {
        Flow::Branch { taken, .. } => Some(taken),
        Flow::Indirect { target } | Flow::Return { target } => Some(target),
        Flow::Call { target } => target,
        _ => None,
    }]
}

fn string_words(string: &StringOp) -> [Option<Word>; 6] {
    [
        string.count.map(|count| count.0),
        string.count.map(|count| count.1),
        string.source,
        string.destination,
        Some(string.direction),
        string.accumulator,
    ]
}

/// Gives the words their final numbers: inputs, fresh words, temporaries.
fn number(mut parts: Parts, flags: Unwritten, modelled: bool) -> Effect {
    let uses = count_uses(&parts);
    let class = |kind: Kind| match kind {
        Kind::Input(_) => 0,
        Kind::Fresh => 1,
        Kind::Temporary => 2,
    };
    let mut order: Vec<usize> = (0..parts.words.len()).filter(|&i| uses[i] > 0).collect();
    order.sort_by_key(|&i| class(parts.words[i].0));
    let mut new = vec![Word(0); parts.words.len()];
    for (number, &old) in order.iter().enumerate() {
        new[old] = Word(number as u16);
    }
    let map = |word: Word| new[usize::from(word.0)];
    for op in &mut parts.ops {
        (op.d, op.a, op.b, op.c) = (map(op.d), map(op.a), map(op.b), map(op.c));
    }
    for access in &mut parts.accesses {
        (access.address, access.data) = (map(access.address), map(access.data));
        access.condition = access.condition.map(map);
    }
    let reads = order.iter().filter_map(|&i| match parts.words[i].0 {
        Kind::Input(register) => Some(register),
        _ => None,
    });
    Effect {
        template: order.iter().map(|&i| parts.words[i].1).collect(),
        reads: reads.collect(),
        fresh: order
            .iter()
            .filter(|&&i| parts.words[i].0 == Kind::Fresh)
            .count() as u16,
        writes: parts
            .writes
            .iter()
            .map(|&(register, word)| (register, map(word)))
            .collect(),
        accesses: parts.accesses.into_boxed_slice(),
        ops: parts.ops.into(),
        flow: map_flow(parts.flow, map),
        string: parts.string.map(|string| map_string(string, map)),
        new_thread: parts.new_thread.map(|new| NewThread {
            stack_pointer: map(new.stack_pointer),
            fs_base: map(new.fs_base),
        }),
        kills_flags: flags.all,
        stale_flags: flags.stale,
        clobbers_memory: parts.clobbers_memory,
        modelled,
    }
}

fn map_flow(flow: Flow, map: impl Fn(Word) -> Word) -> Flow {
    match flow {
        Flow::Branch { taken, target } => Flow::Branch {
            taken: map(taken),
            target,
        },
        Flow::Indirect { target } => Flow::Indirect {
            target: map(target),
        },
        Flow::Return { target } => Flow::Return {
            target: map(target),
        },
        Flow::Call { target } => Flow::Call {
            target: target.map(map),
        },
        other => other,
    }
}

fn map_string(string: StringOp, map: impl Fn(Word) -> Word + Copy) -> StringOp {
    StringOp {
        count: string
            .count
            .map(|(before, after)| (map(before), map(after))),
        source: string.source.map(map),
        destination: string.destination.map(map),
        direction: map(string.direction),
        accumulator: string.accumulator.map(map),
        ..string
    }
}
