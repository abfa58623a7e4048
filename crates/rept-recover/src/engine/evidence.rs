//! How values came to be known: for each node the last thing that taught it in each grade, and
//! from it, when asked, the rule, the step and the sources; a walk from source to source ends at
//! the dump, the code and the control flow.

use super::cells::{CELL, Entry};
use super::graph::{AccessState, NONE, PairKind};
use super::kernel::ARGUMENTS;
use super::tracking::Cause;
use super::{Grade, History};
use crate::bits::Bits;
use crate::effect::Flow;
use crate::history::{Evidence, Place, Position, Recovered, Rule, Source, Stage, Value};
use hashbrown::HashMap;
use rept_trace::{Address, Memory, RegWord};

/// What taught each node last, by grade. A node that learned nothing in a grade has `NONE` there.
#[derive(Clone, Default)]
pub(super) struct Lessons {
    causes: [Vec<u32>; 3],
    /// The stage of the inferred grade in which it last learned.
    stages: Vec<u8>,
}

impl Lessons {
    pub(super) fn new(nodes: usize) -> Lessons {
        Lessons {
            causes: std::array::from_fn(|_| vec![NONE; nodes]),
            stages: vec![0; nodes],
        }
    }

    pub(super) fn learned(&mut self, node: u32, grade: Grade, stage: u8, cause: Cause) {
        self.causes[grade as usize][node as usize] = cause.encode();
        self.stages[node as usize] = stage;
    }

    /// What the node learned in the grade was taken back.
    pub(super) fn forget(&mut self, node: u32, grade: Grade) {
        self.causes[grade as usize][node as usize] = NONE;
    }

    /// Nodes were added.
    pub(super) fn resize(&mut self, nodes: usize) {
        self.causes
            .iter_mut()
            .for_each(|column| column.resize(nodes, NONE));
        self.stages.resize(nodes, 0);
    }

    /// A node was added.
    pub(super) fn push(&mut self) {
        self.causes.iter_mut().for_each(|column| column.push(NONE));
        self.stages.push(0);
    }

    fn cause(&self, node: u32, grade: Grade) -> Option<Cause> {
        let code = self.causes[grade as usize][node as usize];
        (code != NONE).then(|| Cause::decode(code))
    }
}

/// Nodes visited for the dereference level of a value at most; it is a lower bound then.
const MAX_LEVELLED: usize = 4096;

/// A node that another was learned from, perhaps by way of an address.
struct Edge {
    node: u32,
    addressing: bool,
}

impl History {
    /// How the register word just before a step came to be known; `None` when it is not.
    pub fn why_known(&self, at: Position, word: RegWord) -> Option<Evidence> {
        let global = self.global(at)?;
        let node = self.graph.versions[at.thread as usize].at(usize::from(word.0), global);
        let known = self.register(at, word).known;
        (known != 0).then(|| self.evidence(node, at))
    }

    /// How the byte at `address` just before a step came to be known; `None` when it is not.
    pub fn why_memory_known(
        &self,
        at: Position,
        address: Address,
        dump: &dyn Memory,
    ) -> Option<Evidence> {
        let shown = self.memory(at, address, dump);
        if shown.known == 0 {
            return None;
        }
        let now = self.next_access(self.global(at)?);
        let cell = self.cell_index.get(&(address.0 / CELL));
        let (before, after) = match cell {
            Some(&cell) => self.around(cell, address.0 % CELL, now),
            None => (None, None),
        };
        // A store that is still to come says nothing about what was there before it.
        let after = after.filter(|entry| !entry.store);
        let knows = |entry: &Entry| {
            let byte = address.0 % CELL;
            let bits = entry.to_cell(self.graph.nodes.bits[entry.node as usize]);
            Bits::new(bits.known >> (8 * byte) & 0xff, bits.value >> (8 * byte))
                == Bits::new(0xff, shown.bits)
        };
        let entry = [before, after]
            .into_iter()
            .flatten()
            .find(|&entry| knows(entry));
        let Some(entry) = entry else {
            return Some(untouched(at, shown));
        };
        let access = &self.graph.accesses[entry.order as usize];
        let mut source = Source {
            at: self.position(access.step),
            place: Place::Memory(address),
            addressing: false,
        };
        if access.kind.writes() {
            source.at = self.behind(access.step);
        }
        let mut evidence = self.evidence(entry.node, at);
        if at != source.at {
            // The value is that of an access elsewhere in time, which no write came between.
            evidence.sources = vec![source];
            evidence.rule = Rule::Unwritten;
            evidence.at = self.position(access.step);
        }
        Some(evidence)
    }

    fn evidence(&self, node: u32, asked: Position) -> Evidence {
        let grade = self.grade_of(node);
        let stage = match grade.max(self.trust) {
            Grade::Certain => Stage::Certain,
            Grade::Assumed => Stage::Assumed,
            Grade::Inferred => Stage::Inferred(self.lessons.stages[node as usize]),
        };
        let (rule, step) = match self.lessons.cause(node, grade) {
            Some(Cause::Step(step)) => (Rule::Instruction, step),
            Some(Cause::Transfer(id)) => (Rule::Unwritten, self.access_step(id)),
            Some(Cause::Final(id)) => (Rule::Dump, self.access_step(id)),
            Some(Cause::Pair(number)) => {
                let rule = match self.graph.pairs[number as usize].kind {
                    PairKind::Convention => Rule::Convention,
                    PairKind::Candidate => Rule::Candidate,
                    PairKind::Unwritten => Rule::Unwritten,
                };
                (rule, self.graph.nodes.def[node as usize])
            }
            Some(Cause::Many) | None => self.given(node),
        };
        let edges = self.edges(node, grade);
        let sources = edges.iter().filter_map(|edge| {
            let (at, place) = self.place_of(edge.node)?;
            Some(Source {
                at,
                place,
                addressing: edge.addressing,
            })
        });
        Evidence {
            rule,
            at: match (rule, step) {
                (Rule::FinalState, _) => self.end(asked),
                (_, NONE) => asked,
                _ => self.position(step),
            },
            stage,
            level: self.level(node),
            sources: sources.collect(),
        }
    }

    /// The grade in which the least trusted bit of a node was learned.
    fn grade_of(&self, node: u32) -> Grade {
        let value = self.learned(node);
        match value.known {
            known if known & !value.certain == 0 => Grade::Certain,
            known if known & !value.assumed == 0 => Grade::Assumed,
            _ => Grade::Inferred,
        }
    }

    /// Where a node's value stood when recovery began, which needs no other node.
    fn given(&self, node: u32) -> (Rule, u32) {
        let step = self.graph.nodes.def[node as usize];
        if step == NONE {
            return (Rule::FinalState, NONE);
        }
        let effect = self.graph.effect(step);
        let word = (0..effect.nodes()).find(|&word| self.graph.node(step, word) == node);
        let known = self.graph.nodes.bits[node as usize].known;
        let followed = match effect.flow {
            Flow::Indirect { target }
            | Flow::Return { target }
            | Flow::Call {
                target: Some(target),
            } => Some(usize::from(target.0)),
            _ => None,
        };
        match word {
            Some(word) if effect.template[word].known == known => (Rule::Code, step),
            Some(_) if word == followed => (Rule::ControlFlow, step),
            _ => (Rule::FinalState, NONE),
        }
    }

    /// Nodes that a node was last taught by in a grade.
    fn edges(&self, node: u32, grade: Grade) -> Vec<Edge> {
        let value = |node| Edge {
            node,
            addressing: false,
        };
        let mut edges: Vec<Edge> = match self.lessons.cause(node, grade) {
            Some(Cause::Step(step)) => {
                let words = 0..self.graph.effect(step).nodes();
                words
                    .map(|word| value(self.graph.node(step, word)))
                    .collect()
            }
            Some(Cause::Transfer(later)) => self.transfer_edges(node, later),
            Some(Cause::Final(earlier)) => self.address_edges(earlier),
            Some(Cause::Pair(number)) => {
                let nodes = self.graph.pairs[number as usize].nodes;
                nodes.into_iter().map(value).collect()
            }
            Some(Cause::Many) | None => Vec::new(),
        };
        let known = |edge: &Edge| self.graph.nodes.bits[edge.node as usize].known != 0;
        edges.retain(|edge| edge.node != node && known(edge));
        edges
    }

    /// A load and what stood there before it tell each other, at the places they are known to have.
    fn transfer_edges(&self, node: u32, later: u32) -> Vec<Edge> {
        let mut edges = self.address_edges(later);
        for entry in self.entries_of(later) {
            let entry = &self.entries[entry as usize];
            edges.push(Edge {
                node: entry.node,
                addressing: false,
            });
            if entry.node != node && !self.is_before(entry.previous, node) {
                continue;
            }
            if let Some(earlier) = self.entries.get(entry.previous as usize) {
                edges.push(Edge {
                    node: earlier.node,
                    addressing: false,
                });
                edges.extend(self.address_edges(earlier.order));
            }
        }
        edges
    }

    fn is_before(&self, entry: u32, node: u32) -> bool {
        self.entries
            .get(entry as usize)
            .is_some_and(|entry| entry.node == node)
    }

    fn entries_of(&self, id: u32) -> Vec<u32> {
        match self.wides.get(&id) {
            Some(wide) => wide.entries.clone(),
            None => {
                let entries = self.graph.accesses[id as usize].entries;
                entries.into_iter().filter(|&entry| entry != NONE).collect()
            }
        }
    }

    /// What the place of an access was taken from.
    fn address_edges(&self, id: u32) -> Vec<Edge> {
        let access = &self.graph.accesses[id as usize];
        if access.state != AccessState::Placed {
            return Vec::new();
        }
        let effect = self.graph.steps[access.step as usize].effect as usize;
        let mask = self.graph.address_words[effect];
        (0..self.graph.effects[effect].inputs())
            .filter(|&word| mask >> word.min(63) & 1 == 1)
            .map(|word| Edge {
                node: self.graph.node(access.step, word),
                addressing: true,
            })
            .collect()
    }

    /// Dereferences between a value and the dump: the most over any way back, 0 for what needs none.
    fn level(&self, node: u32) -> u8 {
        let mut levels: HashMap<u32, u8> = HashMap::new();
        let mut stack = vec![(node, false)];
        while let Some((node, ready)) = stack.pop() {
            if !ready && (levels.contains_key(&node) || levels.len() >= MAX_LEVELLED) {
                continue;
            }
            let edges = self.edges(node, self.grade_of(node));
            if ready {
                let level = edges.iter().map(|edge| {
                    let level = levels.get(&edge.node).copied().unwrap_or(0);
                    level.saturating_add(u8::from(edge.addressing))
                });
                levels.insert(node, level.max().unwrap_or(0));
            } else {
                // A value that was learned from both sides leads back to itself: that adds nothing.
                levels.insert(node, 0);
                stack.push((node, true));
                stack.extend(edges.into_iter().map(|edge| (edge.node, false)));
            }
        }
        levels.get(&node).copied().unwrap_or(0)
    }

    /// Where a node's value is found: in a register from a position on, or in an operand.
    fn place_of(&self, node: u32) -> Option<(Position, Place)> {
        let step = self.graph.nodes.def[node as usize];
        if step != NONE {
            return self.defined(step, node);
        }
        let first = self.graph.nodes.first_use[node as usize];
        if first == NONE {
            return None;
        }
        let step = self.graph.use_step[first as usize];
        let index = (first - self.graph.steps[step as usize].uses) as usize;
        let reads = &self.graph.effect(step).reads;
        let call = self.graph.effect(step).flow == Flow::Syscall;
        let argument = || ARGUMENTS.get(index - reads.len()).filter(|_| call);
        let word = reads.get(index).or_else(argument)?;
        Some((self.position(step), Place::Register(*word)))
    }

    fn defined(&self, step: u32, node: u32) -> Option<(Position, Place)> {
        let at = self.position(step);
        let behind = self.behind(step);
        let writes = &self.graph.effect(step).writes;
        let written = writes
            .iter()
            .find(|(_, value)| self.graph.node(step, usize::from(value.0)) == node);
        if let Some(&(word, _)) = written {
            return Some((behind, Place::Register(word)));
        }
        let mut accesses = self.graph.accesses_of(step);
        accesses.find_map(|id| {
            let access = &self.graph.accesses[id as usize];
            let here = access.state == AccessState::Placed && access.node == node;
            let address = here.then_some(access.address);
            let address = address.or_else(|| self.wide_cell(id, node))?;
            // What is stored stands there from the next step on.
            let at = if access.kind.writes() { behind } else { at };
            Some((at, Place::Memory(Address(address))))
        })
    }

    /// Address of the cell of a wide access that a node holds.
    fn wide_cell(&self, id: u32, node: u32) -> Option<u64> {
        let mut entries = self.wides.get(&id)?.entries.iter();
        let entry = entries.find(|&&entry| self.entries[entry as usize].node == node)?;
        let cell = self.entries[*entry as usize].cell;
        Some(self.cells[cell as usize].number * CELL)
    }

    fn access_step(&self, id: u32) -> u32 {
        self.graph.accesses[id as usize].step
    }

    /// The position of a step of the sequence.
    pub(super) fn position(&self, step: u32) -> Position {
        Position {
            thread: self.graph.segments[self.graph.segment_of(step)].thread,
            step: self.graph.step_in_thread(step),
        }
    }

    /// The position behind a step of the sequence.
    fn behind(&self, step: u32) -> Position {
        let at = self.position(step);
        Position {
            step: at.step + u64::from(self.graph.is_traced(step)),
            ..at
        }
    }

    /// Behind the last step of the thread of a position.
    fn end(&self, of: Position) -> Position {
        let segments = &self.graph.segments;
        let last = segments
            .iter()
            .rposition(|segment| segment.thread == of.thread);
        let Some(index) = last else { return of };
        let all = self.graph.steps.len() as u32;
        let behind = segments.get(index + 1).map_or(all, |next| next.global);
        let first = segments[index].global;
        let parts = self.graph.parts_in(first, behind).len() as u32;
        Position {
            step: segments[index].first + u64::from(behind - first - parts),
            ..of
        }
    }
}

/// Memory that nothing in the window touched.
fn untouched(at: Position, shown: Value) -> Evidence {
    Evidence {
        rule: Rule::Dump,
        at,
        stage: match shown.known {
            known if known == shown.certain => Stage::Certain,
            known if known == shown.assumed => Stage::Assumed,
            _ => Stage::Inferred(0),
        },
        level: 0,
        sources: Vec::new(),
    }
}
