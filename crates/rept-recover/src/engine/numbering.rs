//! Value numbering: unknown words that differ by a known number share a *class*, so that accesses by an unknown
//! pointer are related by their offsets from it.
//!
//! A class is a tree of nodes, each with its distance from its parent (union-find with distances). What joins
//! two nodes is what would hand a value from one to the other if either were known: a copy or a sum with a known
//! number in a step's relations, a pair of the calling convention, and an access and the next one of the same
//! eight bytes, if values pass from one to the other in this stage.
//!
//! Cost: linear in the steps that touch something unknown.

use super::Engine;
use super::cells::Entry;
use super::graph::{AccessKind, AccessState};
use crate::bits::Bits;
use crate::experiment::Technique;
use crate::op::{MicroOp, Op};

/// Times the relations of a step are gone through: words stand mostly behind those they are made of.
const PASSES: usize = 3;

/// Nodes by class.
struct Numbering {
    /// Nothing is joined: each node is a class.
    apart: bool,
    parent: Vec<u32>,
    /// What a node has more than its parent.
    distance: Vec<u64>,
}

/// A word of a step as a node and what it has more than that.
type Form = Option<(u32, u64)>;

/// An access at an unknown place: a distance from what the root of a class holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relative {
    pub(super) root: u32,
    pub(super) access: u32,
    pub(super) distance: u64,
}

impl Numbering {
    fn new(nodes: usize, apart: bool) -> Numbering {
        Numbering {
            apart,
            parent: (0..nodes as u32).collect(),
            distance: vec![0; nodes],
        }
    }

    /// The root of a node's class, and what the node has more than it.
    fn find(&mut self, node: u32) -> (u32, u64) {
        let (mut root, mut all) = (node, 0u64);
        while self.parent[root as usize] != root {
            all = all.wrapping_add(self.distance[root as usize]);
            root = self.parent[root as usize];
        }
        let (mut at, mut left) = (node, all);
        while at != root {
            let (parent, distance) = (self.parent[at as usize], self.distance[at as usize]);
            (self.parent[at as usize], self.distance[at as usize]) = (root, left);
            left = left.wrapping_sub(distance);
            at = parent;
        }
        (root, all)
    }

    /// One node has so much more than another. The older of the two roots stays, so that trees are shallow
    /// where values are handed on in program order.
    fn join(&mut self, node: u32, other: u32, more: u64) {
        let ((one, above), (two, below)) = (self.find(node), self.find(other));
        if one == two || self.apart {
            return;
        }
        let more = more.wrapping_add(below).wrapping_sub(above);
        let (child, root, distance) = if one > two {
            (one, two, more)
        } else {
            (two, one, more.wrapping_neg())
        };
        self.parent[child as usize] = root;
        self.distance[child as usize] = distance;
    }
}

impl Engine<'_> {
    /// The accesses whose place is unknown but for what the root of a class holds, by root and then in order.
    pub(super) fn number_values(&mut self) -> Vec<Relative> {
        let apart = self.without.has(Technique::Numbering);
        let mut numbering = Numbering::new(self.graph.nodes.len(), apart);
        let mut relative = Vec::new();
        let mut forms = Vec::new();
        for step in 0..self.graph.steps.len() as u32 {
            let unknown = |node: u32| self.graph.nodes.bits[node as usize].get().is_none();
            if self.graph.nodes_of(step).any(unknown) && !self.disabled.contains(&step) {
                self.number_step(step, &mut numbering, &mut forms, &mut relative);
            }
        }
        self.number_pairs(&mut numbering);
        self.number_memory(&mut numbering);
        for relative in &mut relative {
            let (root, more) = numbering.find(relative.root);
            relative.root = root;
            relative.distance = relative.distance.wrapping_add(more);
        }
        relative.sort_unstable_by_key(|relative| (relative.root, relative.access));
        relative
    }

    /// Joins what pairs take to be equal.
    fn number_pairs(&self, numbering: &mut Numbering) {
        for pair in self.graph.pairs.iter().filter(|pair| !pair.refuted) {
            let [a, b] = pair.nodes;
            numbering.join(b, a, pair.more);
        }
    }

    fn number_step(
        &mut self,
        step: u32,
        numbering: &mut Numbering,
        forms: &mut Vec<Form>,
        relative: &mut Vec<Relative>,
    ) {
        self.load_words(step);
        let mut words = std::mem::take(&mut self.words);
        let effect = self.graph.effect(step);
        if effect.narrow(&mut words).is_ok() {
            forms.clear();
            forms.resize(words.len(), None);
            let unknown = (0..effect.nodes()).filter(|&word| words[word].get().is_none());
            for word in unknown {
                forms[word] = Some((self.graph.node(step, word), 0));
            }
            for _ in 0..PASSES {
                let mut changed = false;
                for op in effect.ops.iter() {
                    changed |= relate(op, &words, forms, numbering);
                }
                if !changed {
                    break;
                }
            }
            let first = self.graph.steps[step as usize].access;
            for (access, listed) in (first..).zip(&effect.accesses) {
                let held = &self.graph.accesses[access as usize];
                let plain = matches!(held.kind, AccessKind::Load | AccessKind::Store);
                let open = held.state == AccessState::Pending && listed.condition.is_none();
                let form = forms[usize::from(listed.address.0)];
                if let Some((root, more)) = form.filter(|_| plain && open) {
                    let distance = more.wrapping_add(u64::from(listed.offset));
                    relative.push(Relative {
                        root,
                        access,
                        distance,
                    });
                }
            }
        }
        self.words = words;
    }

    /// Joins what an access of eight bytes holds with what the next one holds, where values pass.
    fn number_memory(&self, numbering: &mut Numbering) {
        for cell in &self.cells.cells {
            let mut at = cell.head;
            while let Some(&entry) = self.cells.entries.get(at as usize) {
                at = entry.next;
                let earlier = self.cells.entries.get(entry.previous as usize);
                let Some(&earlier) = earlier.filter(|_| !entry.store) else {
                    continue;
                };
                let unknown = |entry: Entry| {
                    entry.bytes == u8::MAX
                        && entry.shift == 0
                        && self.graph.nodes.bits[entry.node as usize].get().is_none()
                };
                if unknown(entry) && unknown(earlier) && self.would_pass(earlier, entry.order) {
                    numbering.join(entry.node, earlier.node, 0);
                }
            }
        }
    }

    /// Would a value pass from one access to a later one in this stage, if it were known?
    fn would_pass(&self, earlier: Entry, later: u32) -> bool {
        let address = self.address_of(earlier.cell);
        let own = !self.threaded || self.is_own(earlier.cell, self.place_of(earlier.order));
        own && !self.is_barred(address, earlier.order, later)
            && self.is_kept(earlier.order, later, address)
    }
}

/// What a relation says of the distances of its words; true when a form was found.
fn relate(op: &MicroOp, words: &[Bits], forms: &mut [Form], numbering: &mut Numbering) -> bool {
    if op.width != 64 || op.lanes != 1 {
        return false;
    }
    let [d, a, b] = [op.d, op.a, op.b].map(|word| usize::from(word.0));
    let (from, more) = match op.op {
        Op::Copy => (a, 0),
        Op::Add => match (words[a].get(), words[b].get()) {
            (None, Some(more)) => (a, more),
            (Some(more), None) => (b, more),
            _ => return false,
        },
        _ => return false,
    };
    if words[d].get().is_some() || words[from].get().is_some() {
        return false;
    }
    match (forms[d], forms[from]) {
        (Some((node, above)), Some((other, below))) => {
            numbering.join(node, other, below.wrapping_add(more).wrapping_sub(above));
            false
        }
        (None, Some((other, below))) => {
            forms[d] = Some((other, below.wrapping_add(more)));
            true
        }
        (Some((node, above)), None) => {
            forms[from] = Some((node, above.wrapping_sub(more)));
            true
        }
        (None, None) => false,
    }
}
