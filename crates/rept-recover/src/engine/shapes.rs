//! The shapes of accesses: how a place is reached, as offset from a register and size.
//!
//! A field of an object is written as it is read: at the same offset, in the same size. Among the
//! pending stores that a value passes, those of a shape in which its place was ever accessed are the
//! ones to fear: on eight recorded programs one in 9 to one in 900 of them had hit the place, of
//! the others mostly less than one in 3,000.
//!
//! DIVERGENCE: not in the paper. Used from the inferred grade on only, where it decides how many
//! pending stores a memory value passes.

use super::graph::{Access, AccessKind, Graph};
use super::kinds::KINDS;
use super::pending::PendingSet;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// Shapes of a cell that are told apart; with more, every store counts as one of them.
pub(super) const MAX_SHAPES: usize = 8;

/// Number of a shape.
pub(super) type Shape = u16;
/// The shape of accesses that have none.
pub(super) const NO_SHAPE: Shape = Shape::MAX;

/// The shapes in which a cell was accessed.
pub(super) type ShapeSet = SmallVec<[Shape; 4]>;

/// Pending stores that a value passes.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    /// Of the shapes in which its place was accessed.
    pub(super) alike: u32,
    /// Of other shapes.
    pub(super) others: u32,
}

/// Stores of other shapes that are as likely to have hit a place as one of its own.
const AS_LIKELY: u32 = 32;

impl Passed {
    /// How likely one of them hit the place, in units of one of another shape.
    pub(super) fn danger(self) -> u32 {
        self.alike
            .saturating_mul(AS_LIKELY)
            .saturating_add(self.others)
    }

    /// The same in units of one of the place's own shapes.
    pub(super) fn count(self) -> u32 {
        self.danger().div_ceil(AS_LIKELY)
    }
}

/// The stores of one shape.
struct Alike {
    /// Ascending.
    stores: Vec<u32>,
    /// Of each kind of memory: those that are pending and may hit it, by place in `stores`; `None` while
    /// there are none.
    pending: Option<Box<[PendingSet; KINDS]>>,
}

impl Alike {
    /// The pending ones, to which others may come.
    fn pending(&mut self) -> &mut [PendingSet; KINDS] {
        let none = || PendingSet::without_members(self.stores.len());
        let empty = || Box::new(std::array::from_fn(|_| none()));
        self.pending.get_or_insert_with(empty)
    }
}

/// The shapes of a graph's accesses.
#[derive(Default)]
pub(super) struct Shapes {
    of: Vec<Shape>,
    /// Where in its shape's list each store is.
    place: Vec<u32>,
    alike: Vec<Alike>,
}

impl Shapes {
    pub(super) fn new(graph: &Graph) -> Shapes {
        let mut numbers: HashMap<(u32, u8, bool), Shape> = HashMap::new();
        let mut of = Vec::with_capacity(graph.accesses.len());
        let mut place = vec![0; graph.accesses.len()];
        let mut stores: Vec<Vec<u32>> = Vec::new();
        for (id, access) in (0..).zip(&graph.accesses) {
            let Some(key) = key(graph, id, access) else {
                of.push(NO_SHAPE);
                continue;
            };
            let next = numbers.len().min(usize::from(NO_SHAPE) - 1) as Shape;
            let shape = *numbers.entry(key).or_insert(next);
            of.push(shape);
            if stores.len() <= usize::from(shape) {
                stores.resize(usize::from(shape) + 1, Vec::new());
            }
            if access.kind == AccessKind::Store {
                let alike = &mut stores[usize::from(shape)];
                place[id as usize] = alike.len() as u32;
                alike.push(id);
            }
        }
        let alike = stores.into_iter().map(|stores| Alike {
            stores,
            pending: None,
        });
        Shapes {
            of,
            place,
            alike: alike.collect(),
        }
    }

    /// The shape of an access.
    pub(super) fn of(&self, id: u32) -> Shape {
        self.of.get(id as usize).copied().unwrap_or(NO_SHAPE)
    }

    /// Takes `may_hit` (one bit a kind of memory) of each pending store, ascending, for what it may hit.
    pub(super) fn observe(&mut self, may_hit: &[u16], pending: &[u32]) {
        let mut alike_pending = vec![Vec::new(); self.alike.len()];
        for &id in pending {
            if let Some(alike) = alike_pending.get_mut(usize::from(self.of(id))) {
                alike.push((self.place[id as usize], may_hit[id as usize]));
            }
        }
        for (alike, pending) in self.alike.iter_mut().zip(alike_pending) {
            if pending.is_empty() {
                alike.pending = None;
                continue;
            }
            for (kind, set) in alike.pending().iter_mut().enumerate() {
                let hits = pending
                    .iter()
                    .filter(|(_, may_hit)| may_hit >> kind & 1 == 1);
                set.refill(hits.map(|&(place, _)| place));
            }
        }
    }

    /// A store is no longer pending.
    pub(super) fn settled(&mut self, id: u32) {
        if let Some((alike, place)) = self.alike(id)
            && let Some(pending) = &mut alike.pending
        {
            pending.iter_mut().for_each(|set| set.remove(place));
        }
    }

    /// A store that may hit these kinds of memory is pending again.
    pub(super) fn unsettled(&mut self, id: u32, may_hit: u16) {
        if let Some((alike, place)) = self.alike(id) {
            for (kind, set) in alike.pending().iter_mut().enumerate() {
                if may_hit >> kind & 1 == 1 {
                    set.insert(place);
                }
            }
        }
    }

    /// The stores of a store's shape, and its place among them; `None` for other accesses.
    fn alike(&mut self, id: u32) -> Option<(&mut Alike, u32)> {
        let shape = self.of(id);
        let alike = self.alike.get_mut(usize::from(shape))?;
        let place = self.place[id as usize];
        let listed = alike.stores.get(place as usize) == Some(&id);
        listed.then_some((alike, place))
    }

    /// Pending stores of these shapes strictly between two accesses that may hit a kind of memory.
    pub(super) fn between(&self, shapes: &[Shape], kind: usize, after: u32, before: u32) -> u32 {
        let counts = shapes.iter().map(|&shape| {
            let alike = &self.alike[usize::from(shape)];
            let Some(pending) = &alike.pending else {
                return 0;
            };
            let first = alike.stores.partition_point(|&id| id <= after);
            let end = alike.stores.partition_point(|&id| id < before);
            pending[kind].within(first as u32, end as u32)
        });
        counts.sum()
    }
}

/// Offset, size, and whether the address is more than a register and the offset.
fn key(graph: &Graph, id: u32, access: &Access) -> Option<(u32, u8, bool)> {
    if !matches!(access.kind, AccessKind::Load | AccessKind::Store) {
        return None;
    }
    // What stands for the time before the window belongs to no step.
    let index = id.checked_sub(graph.steps.get(access.step as usize)?.access)?;
    let effect = graph.effect(access.step);
    let operand = effect.accesses.get(index as usize)?;
    let computed = usize::from(operand.address.0) >= effect.inputs();
    Some((operand.offset, operand.size, computed))
}
