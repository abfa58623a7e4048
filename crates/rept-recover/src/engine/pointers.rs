//! Checked candidates: what an unknown pointer can have been, going by what was accessed through it.
//!
//! Accesses whose places are known but for one pointer (a class of `numbering`) tell much of it: each holds, as far
//! as its value is known, what memory held at its distance from the pointer. *Candidates* are the pointers that the
//! same instructions followed at other times, and those that put a rare value of the class where memory, at any
//! time, is known to have held it. Each candidate is then *checked* (`check`): every access of the class is held
//! against the timeline of the place that it would have had. The pointer is taken for a candidate when enough
//! speaks for it, and for no other nearly as much. That is an assumption like any other of this grade: a pair of
//! the class's root and a number, which a contradiction takes back.
//!
//! DIVERGENCE: the paper leaves such accesses alone; values that went through them stay unknown.
//!
//! It ends after [`MAX_TURNS`] turns, and no pointer is taken for one candidate twice. A turn walks once over the
//! dump's writable memory and over the timelines, and makes a bounded number of checks for each class.

mod check;

use super::Engine;
use super::cells::CELL;
use super::graph::{AccessKind, AccessState, PairKind};
use super::numbering::Relative;
use crate::experiment::Technique;
use check::{MAX_LOOKED_AT, RARE, information};
use hashbrown::{HashMap, HashSet};
use rept_trace::Address;
use smallvec::SmallVec;

/// Times that pointers are looked for: what one teaches tells others.
const MAX_TURNS: usize = 4;
/// Values of a class that are looked for in memory.
const MAX_VALUES: usize = 8;
/// Places of one value, to be looked at: what stands in more tells little.
const MAX_PLACES: usize = 32;
/// Places an instruction was seen at, latest first, that are looked at.
const MAX_SEEN: usize = 8;
/// What must speak for a pointer, in bits: three values, each as rare as counts. Held against the truth of eleven
/// recordings, the six pointers that had as much were right; of eight that had two thirds of it, four.
const ENOUGH: i32 = 96;
/// What must speak for it more than for the next.
const AHEAD: i32 = 32;
/// Bytes after which memory that is not in the dump is looked for again.
const PAGE: u64 = 4096;

/// Classes that hold a value, each with its distance from the pointer, by value.
type Wanted = HashMap<u64, SmallVec<[(u32, u64); 2]>>;
/// Where each wanted value stands, or stood.
type Places = HashMap<u64, SmallVec<[u64; 4]>>;
/// Candidates of each class.
type Candidates = Vec<HashSet<u64>>;

/// The candidate that stands out for a class.
struct Found {
    root: u32,
    pointer: u64,
    /// The first access of the class, and where it is then.
    access: u32,
    address: u64,
}

impl Engine<'_> {
    /// Takes unknown pointers for the candidates that stand out, and lets values pass between accesses by one of
    /// them, as long as that pays.
    pub(super) fn follow_pointers(&mut self) {
        for _ in 0..MAX_TURNS {
            let before = self.before_stage();
            let relative = self.number_values();
            let mut taken = Vec::new();
            if !self.without.has(Technique::Numbering) {
                self.pass_unplaced(&relative, &mut taken);
            }
            if !self.without.has(Technique::Candidates) {
                for found in self.checked_candidates(&relative) {
                    taken.extend(self.take(&found));
                }
            }
            if taken.is_empty() || self.pace.is_stopped() {
                return;
            }
            self.observe_kinds();
            self.fixpoint();
            if self.tracking.is_exhausted() || !self.paid(&before) {
                self.refute_pairs(taken);
                return self.give_up(before);
            }
            self.note_places();
        }
    }

    /// Takes a pointer for what was found, unless it was before.
    fn take(&mut self, found: &Found) -> Option<u32> {
        let place = (found.access, found.address);
        if self.taken.contains_key(&place) {
            return None;
        }
        let constant = self.new_constant(found.pointer);
        let pair = self
            .graph
            .pair_as(PairKind::Candidate, found.root, constant);
        self.taken.insert(place, pair);
        self.equalise(pair);
        Some(pair)
    }

    /// No pointer is taken for a candidate any more.
    pub(super) fn forget_pointers(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.refute_pairs(taken.into_values());
    }

    fn refute_pairs(&mut self, pairs: impl IntoIterator<Item = u32>) {
        for pair in pairs {
            self.graph.pairs[pair as usize].refuted = true;
        }
    }

    /// What the unknown pointers can have been, as far as one candidate stands out.
    fn checked_candidates(&mut self, relative: &[Relative]) -> Vec<Found> {
        let classes = relative.chunk_by(|a, b| a.root == b.root);
        let classes: Vec<&[Relative]> = classes
            .filter(|class| self.potential(class)[0] >= ENOUGH)
            .collect();
        let mut candidates = self.seen_pointers(&classes);
        let mut wanted = Wanted::new();
        for (number, class) in (0..).zip(&classes) {
            self.want(number, class, &mut wanted);
        }
        for (value, places) in self.find_wanted(&wanted) {
            for &(class, distance) in wanted[&value].iter().filter(|_| places.len() <= MAX_PLACES) {
                let pointers = places.iter().map(|place| place.wrapping_sub(distance));
                candidates[class as usize].extend(pointers);
            }
        }
        let classes = classes.into_iter().zip(candidates);
        classes
            .filter_map(|(class, candidates)| self.choose(class, candidates))
            .collect()
    }

    /// The pointers that the instructions of each class followed at other times.
    fn seen_pointers(&self, classes: &[&[Relative]]) -> Candidates {
        let instruction = |access: u32| {
            let step = self.graph.accesses[access as usize].step;
            self.graph.instruction(step)
        };
        let mut seen: HashMap<u32, SmallVec<[u64; MAX_SEEN]>> = HashMap::new();
        let accesses = self.graph.accesses.iter().rev();
        let plain = accesses.filter(|access| {
            matches!(access.kind, AccessKind::Load | AccessKind::Store)
                && access.state == AccessState::Placed
        });
        for access in plain {
            let places = seen.entry(self.graph.instruction(access.step)).or_default();
            if places.len() < MAX_SEEN && !places.contains(&access.address) {
                places.push(access.address);
            }
        }
        let pointers = |class: &&[Relative]| {
            let accesses = class.iter().take(MAX_VALUES);
            let places = accesses.flat_map(|relative| {
                let places = seen.get(&instruction(relative.access));
                let places = places.into_iter().flatten();
                places.map(|place| place.wrapping_sub(relative.distance))
            });
            places.collect()
        };
        classes.iter().map(pointers).collect()
    }

    /// Notes the rarest values of a class, and how far from its pointer they stood.
    fn want(&self, number: u32, class: &[Relative], wanted: &mut Wanted) {
        let mut values: Vec<(u32, u64, u64)> = Vec::new();
        for relative in class.iter().rev().take(MAX_LOOKED_AT) {
            let access = self.graph.accesses[relative.access as usize];
            let value = self.graph.nodes.bits[access.node as usize].get();
            if let Some(value) = value.filter(|_| u64::from(access.size) == CELL) {
                values.push((information(value, 64), value, relative.distance));
            }
        }
        values.retain(|&(information, ..)| information >= RARE);
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.dedup();
        for (_, value, distance) in values.into_iter().take(MAX_VALUES) {
            wanted.entry(value).or_default().push((number, distance));
        }
    }

    /// Where wanted values stand in the dump or are known to have stood at any time; [`MAX_PLACES`] and one more at
    /// most.
    fn find_wanted(&self, wanted: &Wanted) -> Places {
        let mut places = Places::new();
        if wanted.is_empty() {
            return places;
        }
        let mut note = |value: u64, address: u64| {
            if information(value, 64) >= RARE && wanted.contains_key(&value) {
                let places = places.entry(value).or_default();
                if places.len() <= MAX_PLACES && !places.contains(&address) {
                    places.push(address);
                }
            }
        };
        for cell in &self.cells.cells {
            let mut at = cell.head;
            while let Some(entry) = self.cells.entries.get(at as usize) {
                let held = entry.to_cell(self.graph.nodes.bits[entry.node as usize]);
                if let Some(value) = held.get() {
                    note(value, cell.number * CELL);
                }
                at = entry.next;
            }
        }
        self.words_of_dump(note);
        places
    }

    /// Each aligned word of the dump's memory that can have changed, with its address.
    fn words_of_dump(&self, mut note: impl FnMut(u64, u64)) {
        let memory = self.cells.memory();
        let writable = memory.mappings().iter();
        for mapping in writable.filter(|mapping| memory.constant_len(mapping.start) == 0) {
            let mut at = mapping.start.0;
            while at < mapping.end.0 {
                let run = memory.bytes(Address(at)).unwrap_or_default();
                let length = (run.len() as u64).min(mapping.end.0 - at) as usize;
                let (words, _) = run[..length].as_chunks::<{ CELL as usize }>();
                for (word, bytes) in (at..).step_by(CELL as usize).zip(words) {
                    note(u64::from_le_bytes(*bytes), word);
                }
                at = match length {
                    0 => (at | (PAGE - 1)).saturating_add(1),
                    length => (at + length as u64).next_multiple_of(CELL),
                };
            }
        }
    }

    /// The candidate for which enough speaks, and for no other nearly as much.
    fn choose(&mut self, class: &[Relative], candidates: HashSet<u64>) -> Option<Found> {
        let mut best: Option<(i32, u64)> = None;
        let mut second = i32::MIN;
        let potential = self.potential(class);
        for pointer in candidates {
            let Some(score) = self.check(class, pointer, &potential) else {
                continue;
            };
            let rank = Some((score, pointer));
            let lesser = rank.min(best);
            best = rank.max(best);
            second = second.max(lesser.map_or(i32::MIN, |(score, _)| score));
        }
        let (score, pointer) = best?;
        let stands_out = score >= ENOUGH && score.saturating_sub(second) >= AHEAD;
        stands_out.then(|| Found {
            root: class[0].root,
            pointer,
            access: class[0].access,
            address: pointer.wrapping_add(class[0].distance),
        })
    }
}
