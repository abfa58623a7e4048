//! The areas of a process's memory, as Linux keeps them: split where a call speaks of a part, joined
//! with their neighbours where those are of the same kind (mm/vma.c, `can_vma_merge_before` and
//! `can_vma_merge_after`).

use super::super::kernel::PAGE;
use super::super::{Area, Backing};

const PROT_READ: u64 = 1;
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_TYPE: u64 = 0xf;
const MAP_SHARED: u64 = 1;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_NORESERVE: u64 = 0x4000;
const MAP_STACK: u64 = 0x2_0000;

/// What areas must have in common to be joined, besides what lies behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) execute: bool,
    pub(super) shared: bool,
    /// It counts as memory that the process may need (`VM_ACCOUNT`).
    accounted: bool,
    /// It was asked for without that (`MAP_NORESERVE`).
    unreserved: bool,
    /// It was asked for as a stack, which large pages are not for (`VM_NOHUGEPAGE`).
    stack: bool,
}

impl Kind {
    /// Of memory that the kernel lays out itself.
    fn plain(read: bool, write: bool, execute: bool) -> Kind {
        Kind {
            read,
            write,
            execute,
            shared: false,
            accounted: write,
            unreserved: false,
            stack: false,
        }
    }

    /// Of memory that mmap was asked for. `stacks_apart`: the kernel makes a difference (since 6.7).
    pub(super) fn asked(protection: u64, flags: u64, stacks_apart: bool) -> Kind {
        let write = protection & PROT_WRITE != 0;
        let shared = matches!(flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE);
        let unreserved = flags & MAP_NORESERVE != 0;
        Kind {
            read: protection & PROT_READ != 0,
            write,
            execute: protection & PROT_EXEC != 0,
            shared,
            accounted: write && !shared && !unreserved,
            unreserved,
            stack: stacks_apart && flags & MAP_STACK != 0,
        }
    }

    /// The same with another protection.
    fn protected(self, protection: u64) -> Kind {
        let write = protection & PROT_WRITE != 0;
        Kind {
            read: protection & PROT_READ != 0,
            write,
            execute: protection & PROT_EXEC != 0,
            accounted: self.accounted || (write && !self.shared && !self.unreserved),
            ..self
        }
    }
}

/// What lies behind an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nothing. How far the area was moved since it was made (mremap), in bytes: what was moved does
    /// not join what was not.
    Anonymous { moved: u64 },
    /// One of [`AddressSpace::files`](super::super::AddressSpace::files), if it is known which, from
    /// this offset on.
    File { file: Option<u32>, offset: u64 },
    /// One of [`AddressSpace::first`](super::super::AddressSpace::first) that is of its own kind: the stack,
    /// and what the kernel lends.
    Own(usize),
}

/// One area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) kind: Kind,
    pub(super) behind: Behind,
}

impl Piece {
    /// The part of it from an address inside on.
    fn from(self, start: u64) -> Piece {
        let behind = match self.behind {
            Behind::File { file, offset } => Behind::File {
                file,
                offset: offset.wrapping_add(start - self.start),
            },
            other => other,
        };
        Piece {
            start,
            behind,
            ..self
        }
    }

    /// What a dump tells of it: where it is, how it may be used, what is behind.
    pub(super) fn as_dumped(&self) -> (u64, u64, [bool; 3], Option<Behind>) {
        let kind = self.kind;
        let behind = Some(self.behind).filter(|of| matches!(of, Behind::File { .. }));
        let uses = [kind.read, kind.write, kind.execute];
        (self.start, self.end, uses, behind)
    }

    fn joins(&self, next: &Piece) -> bool {
        let goes_on = match (self.behind, next.behind) {
            (Behind::Anonymous { .. }, Behind::Anonymous { .. }) => {
                self.behind == next.behind && !self.kind.shared
            }
            (Behind::File { file: Some(_), .. }, Behind::File { .. }) => {
                self.from(self.end).behind == next.behind
            }
            _ => false,
        };
        goes_on && self.end == next.start && self.kind == next.kind
    }
}

/// All areas, by ascending address.
#[derive(Clone, Debug, Default)]
pub(super) struct Areas {
    pub(super) pieces: Vec<Piece>,
}

impl Areas {
    /// Areas that do not join, by ascending address.
    pub(super) fn new(areas: &[Area]) -> Areas {
        let piece = |(number, area): (usize, &Area)| Piece {
            start: area.start.0,
            end: area.end.0,
            kind: Kind::plain(area.read, area.write, area.execute),
            behind: match area.backing {
                Backing::Anonymous => Behind::Anonymous { moved: 0 },
                Backing::File { file, offset } => Behind::File {
                    file: Some(file),
                    offset,
                },
                Backing::Stack | Backing::Kernel(_) => Behind::Own(number),
            },
        };
        Areas {
            pieces: areas.iter().enumerate().map(piece).collect(),
        }
    }

    /// A new area, in the place of what was there.
    pub(super) fn map(&mut self, piece: Piece) {
        if piece.start >= piece.end {
            return;
        }
        self.unmap(piece.start, piece.end);
        let at = self.pieces.partition_point(|of| of.start < piece.start);
        self.pieces.insert(at, piece);
        self.join(piece.end);
        self.join(piece.start);
    }

    pub(super) fn unmap(&mut self, start: u64, end: u64) {
        self.split(start);
        self.split(end);
        self.pieces.retain(|of| of.end <= start || end <= of.start);
    }

    pub(super) fn protect(&mut self, start: u64, end: u64, protection: u64) {
        self.split(start);
        self.split(end);
        let inside = |of: &Piece| start <= of.start && of.end <= end;
        let mut borders = vec![end];
        for piece in self.pieces.iter_mut().filter(|of| inside(of)) {
            piece.kind = piece.kind.protected(protection);
            borders.push(piece.start);
        }
        // Parts that were protected from elsewhere stay apart only where they differ.
        borders.into_iter().for_each(|border| self.join(border));
    }

    /// The end of the heap moves between two addresses.
    pub(super) fn move_break(&mut self, before: u64, after: u64) {
        let [before, after] = [before, after].map(|at| at.next_multiple_of(PAGE));
        if after < before {
            return self.unmap(after, before);
        }
        self.map(Piece {
            start: before,
            end: after,
            kind: Kind::plain(true, true, false),
            behind: Behind::Anonymous { moved: 0 },
        });
    }

    /// An area, or part of one, moves and changes its length (mremap). False when there is not exactly one.
    pub(super) fn remap(&mut self, from: (u64, u64), to: (u64, u64)) -> bool {
        let ((old, old_bytes), (new, new_bytes)) = (from, to);
        let old_end = old.saturating_add(old_bytes);
        let holder = self
            .pieces
            .iter()
            .find(|of| of.start <= old && old_end <= of.end);
        let Some(&holder) = holder.filter(|_| old_bytes > 0) else {
            return false;
        };
        let mut piece = holder.from(old);
        self.unmap(old, old_end);
        if let Behind::Anonymous { moved } = &mut piece.behind {
            *moved = moved.wrapping_add(new.wrapping_sub(old));
        }
        (piece.start, piece.end) = (new, new.saturating_add(new_bytes));
        self.map(piece);
        true
    }

    /// Something begins here, in the middle of an area.
    fn split(&mut self, at: u64) {
        let index = self.pieces.partition_point(|of| of.end <= at);
        if self.pieces.get(index).is_some_and(|of| of.start < at) {
            let behind = self.pieces[index].from(at);
            self.pieces[index].end = at;
            self.pieces.insert(index + 1, behind);
        }
    }

    /// Joins the areas on both sides of an address, if they are of one kind.
    fn join(&mut self, at: u64) {
        let next = self.pieces.partition_point(|of| of.start < at);
        if let Some(before) = next.checked_sub(1)
            && let Some(&piece) = self.pieces.get(next)
            && self.pieces[before].joins(&piece)
        {
            self.pieces[before].end = piece.end;
            self.pieces.remove(next);
        }
    }

    /// What is mapped in none of some ranges, cut at their borders.
    pub(super) fn outside(&self, ranges: &[(u64, u64)]) -> Areas {
        let mut areas = self.clone();
        for &(start, end) in ranges {
            areas.unmap(start, end);
        }
        areas
    }
}

/// mmap's flags say that no file is behind.
pub(super) fn is_anonymous(flags: u64) -> bool {
    // Shared memory without a file has one of the kernel's own behind it.
    flags & MAP_ANONYMOUS != 0 && !Kind::asked(0, flags, false).shared
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: u64 = PROT_READ | PROT_WRITE;
    const PRIVATE: u64 = 2 | MAP_ANONYMOUS;

    fn anonymous(start: u64, end: u64, protection: u64, flags: u64) -> Piece {
        Piece {
            start,
            end,
            kind: Kind::asked(protection, flags, true),
            behind: Behind::Anonymous { moved: 0 },
        }
    }

    fn of_file(start: u64, end: u64, protection: u64, offset: u64) -> Piece {
        Piece {
            behind: Behind::File {
                file: Some(0),
                offset,
            },
            ..anonymous(start, end, protection, 2)
        }
    }

    fn ranges(areas: &Areas) -> Vec<(u64, u64)> {
        areas.pieces.iter().map(|of| (of.start, of.end)).collect()
    }

    #[test]
    fn memory_beside_memory_of_its_kind_is_one_area() {
        let mut areas = Areas::default();
        areas.map(anonymous(0x3000, 0x4000, RW, PRIVATE));
        areas.map(anonymous(0x1000, 0x2000, RW, PRIVATE));
        areas.map(anonymous(0x2000, 0x3000, RW, PRIVATE));
        assert_eq!(ranges(&areas), [(0x1000, 0x4000)]);
        areas.map(anonymous(0x4000, 0x5000, PROT_READ, PRIVATE));
        areas.map(anonymous(0x5000, 0x6000, RW, PRIVATE | MAP_STACK));
        assert_eq!(ranges(&areas).len(), 3);
    }

    #[test]
    fn a_stack_with_a_guard_is_two_areas() {
        let mut areas = Areas::default();
        let flags = PRIVATE | MAP_NORESERVE | MAP_STACK;
        for start in [0x9000, 0x5000] {
            areas.map(anonymous(start, start + 0x4000, 0, flags));
            areas.protect(start + 0x1000, start + 0x4000, RW);
        }
        let expect = [
            (0x5000, 0x6000),
            (0x6000, 0x9000),
            (0x9000, 0xa000),
            (0xa000, 0xd000),
        ];
        assert_eq!(ranges(&areas), expect);
    }

    #[test]
    fn a_file_goes_on_where_it_ended() {
        let mut areas = Areas::default();
        areas.map(of_file(0x1000, 0x3000, PROT_READ, 0));
        areas.map(of_file(0x3000, 0x4000, PROT_READ, 0x2000));
        areas.map(of_file(0x4000, 0x5000, PROT_READ, 0x9000));
        assert_eq!(ranges(&areas), [(0x1000, 0x4000), (0x4000, 0x5000)]);
        areas.unmap(0x2000, 0x3000);
        let offsets: Vec<Behind> = areas.pieces.iter().map(|of| of.behind).collect();
        let [first, second] = [0, 0x2000].map(|offset| Behind::File {
            file: Some(0),
            offset,
        });
        assert_eq!(offsets[..2], [first, second]);
    }

    #[test]
    fn what_was_writable_and_is_no_more_differs_from_what_never_was() {
        let mut areas = Areas::default();
        areas.map(of_file(0x1000, 0x2000, PROT_READ, 0));
        areas.map(of_file(0x2000, 0x4000, RW, 0x1000));
        areas.protect(0x2000, 0x3000, PROT_READ);
        let expect = [(0x1000, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000)];
        assert_eq!(ranges(&areas), expect);
        areas.protect(0x2000, 0x3000, RW);
        assert_eq!(ranges(&areas), [(0x1000, 0x2000), (0x2000, 0x4000)]);
    }

    #[test]
    fn the_heap_grows_and_shrinks_by_pages() {
        let mut areas = Areas::default();
        areas.move_break(0x1000, 0x2800);
        areas.move_break(0x2800, 0x5000);
        areas.move_break(0x5000, 0x3001);
        assert_eq!(ranges(&areas), [(0x1000, 0x4000)]);
    }

    #[test]
    fn what_was_moved_does_not_join() {
        let mut areas = Areas::default();
        areas.map(anonymous(0x1000, 0x3000, RW, PRIVATE));
        areas.map(anonymous(0x9000, 0xa000, RW, PRIVATE));
        assert!(areas.remap((0x9000, 0x1000), (0x3000, 0x2000)));
        assert_eq!(ranges(&areas), [(0x1000, 0x3000), (0x3000, 0x5000)]);
        assert!(!areas.remap((0x2000, 0x2000), (0x8000, 0x2000)));
    }
}
