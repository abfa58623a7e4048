//! Blocks of code that the program may write: before each runs, it compares the code with what it
//! was copied from.
//!
//! Such a block is short: it follows no jump, and ends behind the first instruction that writes
//! memory, as that may be the code that comes next. So what runs is what stands there when the
//! block begins; another thread that writes meanwhile could not count on more, as a processor has
//! fetched that far too. The comparison leaves the flags alone, like all else in the cache.

use super::{Checked, Piece, Translation};
use crate::cache::emit::{Field, Reg, Stage, saved};
use crate::cache::source::Source;
use crate::instruction::Kind;
use iced_x86::{InstructionInfoFactory, OpAccess};

/// Longest such block, in instructions.
const LONGEST: usize = 16;

/// What a block is to compare.
#[derive(Default)]
pub(super) struct Checks {
    // The bytes from its start on; none when they cannot change.
    bytes: Vec<u8>,
    // Where they end.
    end: u64,
    failures: Vec<Field>,
}

impl Checks {
    /// What the block at `start` compares.
    pub(super) fn of(start: u64, source: &mut Source) -> Checks {
        let mut checks = Checks {
            end: start,
            ..Checks::default()
        };
        let mut count = 0;
        while checks.end == start || count < LONGEST {
            let Some(piece) = Piece::read(checks.end, source).filter(|p| p.may_change(source))
            else {
                break;
            };
            checks.bytes.extend(piece.bytes());
            checks.end = piece.next();
            count += 1;
            if !matches!(piece.kind, Kind::Plain) || piece.writes() {
                break;
            }
        }
        checks
    }

    /// Whether there is anything to compare.
    pub(super) fn any(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Whether an instruction may be part of the block.
    pub(super) fn cover(&self, piece: &Piece, source: &mut Source) -> bool {
        match self.any() {
            true => piece.next() <= self.end,
            false => !piece.may_change(source),
        }
    }
}

impl Piece {
    fn may_change(&self, source: &mut Source) -> bool {
        let first = self.next() - self.length as u64;
        source.may_change(first) || source.may_change(self.next() - 1)
    }

    fn writes(&self) -> bool {
        let mut factory = InstructionInfoFactory::new();
        let mut used = factory.info(&self.instruction).used_memory().iter();
        used.any(|memory| !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead))
    }
}

impl Translation {
    /// Compares the code at `start`, where the program stands, with what the block was made of.
    pub(super) fn check(&mut self, start: u64) {
        let bytes = std::mem::take(&mut self.checks.bytes);
        if bytes.is_empty() {
            return;
        }
        self.code.save(Reg::Rax);
        self.code.save(Reg::Rcx);
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let width = [8, 4, 2, 1].into_iter().find(|&width| width <= rest.len());
            let width = width.expect("there is a byte left");
            self.compare(start + at as u64, &rest[..width]);
            at += width;
        }
        self.code.restore(Reg::Rcx);
        self.code.restore(Reg::Rax);
        self.checks.bytes = bytes;
    }

    // `width` bytes at `address`, against these.
    fn compare(&mut self, address: u64, bytes: &[u8]) {
        let load: &[u8] = match bytes.len() {
            8 => &[0x48, 0x8b, 0x0d], // mov rcx, [rip+...]
            4 => &[0x8b, 0x0d],       // mov ecx, [rip+...]
            2 => &[0x0f, 0xb7, 0x0d], // movzx ecx, word [rip+...]
            _ => &[0x0f, 0xb6, 0x0d], // movzx ecx, byte [rip+...]
        };
        let field = self.code.reach(load);
        self.code
            .lead(field, address)
            .expect("an arena is near the code that it copies");
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        let complement = u64::from_le_bytes(value).wrapping_neg();
        let mut constant = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]; // mov rax, ...
        constant[2..].copy_from_slice(&complement.to_le_bytes());
        self.code.op(&constant);
        self.code.op(&[0x48, 0x8d, 0x0c, 0x01]); // lea rcx, [rcx+rax]
        let same = self.code.short(&[0xe3]); // jrcxz
        let failed = self.code.branch(&[0xe9]);
        self.code.lead_here(same);
        self.checks.failures.push(failed);
    }

    /// Where the block goes when its code is other code: to a stub that stops, until there is a
    /// block of that.
    pub(super) fn check_failed(&mut self) -> Option<Checked> {
        if !self.checks.any() {
            return None;
        }
        self.code.stage(Stage::Entry);
        self.code.set_saved(saved::RAX | saved::RCX);
        let here = self.code.address();
        for field in std::mem::take(&mut self.checks.failures) {
            self.code.lead(field, here).expect("it is near");
        }
        self.code.restore(Reg::Rcx);
        self.code.restore(Reg::Rax);
        let field = self.code.branch(&[0xe9]);
        let stub = self.code.address();
        self.code.op(&[0xcc]);
        self.code.lead(field, stub).expect("a stub is near");
        Some(Checked {
            bytes: std::mem::take(&mut self.checks.bytes).into(),
            field: self.code.place(field),
        })
    }
}
