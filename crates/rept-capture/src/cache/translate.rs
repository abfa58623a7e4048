//! From a run of the program's instructions to a block of the cache.
//!
//! Instructions are copied byte by byte; only distances to data are made anew. What ends a
//! block is written out: a direct branch leads to the block of its target, or, until there
//! is one, to a stub that stops; every other branch leaves its target in RAX and goes to
//! the lookup code. A call pushes the address that the program would push. Nothing touches
//! the flags, or memory other than the thread's area.

mod checked;
mod exact;

use super::area::{CALLS_AT, LOG_AT, RAX_AT};
use super::emit::{Emitter, Point, Reg, Stage, saved};
use super::source::Source;
use crate::instruction::{self, Chance, Kind, MAX_BYTES};
use crate::journal::{self, Ending, Flow};
use checked::Checks;
use exact::{Layout, Plan};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

pub(crate) use exact::{FLAGS, FULL_WINDOW, LoggedStep, REGISTERS_AT, Span};

/// Longest block, in instructions.
const LONGEST: usize = 64;
/// The same when each is logged.
const LONGEST_EXACT: usize = 32;
/// Direct jumps and calls that a block may follow.
const MOST_FOLLOWED: u32 = 4;
/// Address of RAX's upper bytes in the thread's area: see [`RAX_AT`].
const RAX_UPPER_AT: u32 = RAX_AT + 1;

/// How blocks are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Locked instructions stand in blocks of their own, with the time before them: not needed while
    /// there is one thread.
    pub(crate) timed: bool,
    /// Registers and accesses of each instruction go to the log, not just the block's number.
    pub(crate) exact: bool,
    /// Instructions whose result is chance are stepped, as it is to be another.
    pub(crate) alike: bool,
}

/// A block before it is put in its place.
pub(super) struct Draft {
    pub(super) bytes: Vec<u8>,
    pub(super) points: Vec<Point>,
    pub(super) ips: Vec<u64>,
    pub(super) exits: Vec<Exit>,
    /// Where the program will come back to from calls.
    pub(super) returns: Vec<u64>,
    /// What must be added to RSP to stand before the block's indirect branch again.
    pub(super) undo: i64,
    pub(super) flow: Flow,
    /// What is in its log, and how long that is, when it is exact.
    pub(super) logged: Vec<LoggedStep>,
    pub(super) log_bytes: u32,
    /// When the code may change: what the block was made of.
    pub(super) checked: Option<Checked>,
}

/// A way out of a block.
pub(super) struct Exit {
    pub(super) target: u64,
    /// The field of the branch that takes it, from the block's first byte.
    pub(super) field: usize,
}

/// What a block compares before it runs.
#[derive(Debug)]
pub(super) struct Checked {
    /// The bytes from its start on.
    pub(super) bytes: Box<[u8]>,
    /// The field of the branch that is taken when they are others, from the block's first byte.
    pub(super) field: usize,
}

struct Translation {
    code: Emitter,
    ips: Vec<u64>,
    targets: Vec<(u64, super::emit::Field)>,
    returns: Vec<u64>,
    calls: Vec<(u8, u64, u64)>,
    lookup: u64,
    undo: i64,
    exact: Layout,
    checks: Checks,
}

/// Makes the block at `start`, to stand at `base`; `lookup` is the lookup code near it.
/// `None` when the first instruction cannot be copied: it must be stepped.
pub(super) fn translate(
    start: u64,
    base: u64,
    lookup: u64,
    id: u32,
    style: Style,
    source: &mut Source,
) -> Option<Draft> {
    let mut translation = Translation {
        code: Emitter::new(base, Stage::Entry),
        ips: Vec::new(),
        targets: Vec::new(),
        returns: Vec::new(),
        calls: Vec::new(),
        lookup,
        undo: 0,
        exact: Layout::default(),
        checks: Checks::of(start, source),
    };
    let ending = translation.body(start, id, style, source)?;
    Some(translation.finish(start, ending))
}

impl Translation {
    fn body(&mut self, start: u64, id: u32, style: Style, source: &mut Source) -> Option<Ending> {
        let (mut at, mut followed) = (start, 0);
        loop {
            let first = self.ips.is_empty();
            let piece = Piece::read(at, source);
            let locked = piece.as_ref().is_some_and(|piece| piece.locks()) && style.timed;
            let longest = if style.exact { LONGEST_EXACT } else { LONGEST };
            let fits = self.ips.len() < longest && (first || !locked);
            let covered = piece
                .as_ref()
                .is_some_and(|piece| self.checks.cover(piece, source));
            let Some(piece) = piece.filter(|piece| fits && covered && piece.can_be_copied(style))
            else {
                return self.cut(at, first);
            };
            let plan = style.exact.then(|| Plan::of(&piece));
            if matches!(plan, Some(None)) {
                return self.cut(at, first);
            }
            let plan = plan.flatten();
            if first {
                self.check(start);
                match style.exact {
                    true => self.exact_prologue(id),
                    false => self.prologue(id, locked),
                }
            }
            self.code.stage(Stage::Inside(self.ips.len() as u8));
            if let Some(plan) = &plan {
                self.exact_before(at, plan);
            }
            match piece.kind {
                Kind::Plain | Kind::PushFlags => {
                    if self.copy(&piece).is_none() {
                        return self.cut(at, first);
                    }
                    self.ran(at, plan.as_ref());
                    at = piece.next();
                    if locked {
                        return self.cut(at, false);
                    }
                }
                Kind::Jump { target } if followed < MOST_FOLLOWED && !self.checks.any() => {
                    self.ips.push(at);
                    (at, followed) = (target, followed + 1);
                }
                Kind::Call { target } if followed < MOST_FOLLOWED && !self.checks.any() => {
                    self.code.push_constant(piece.next());
                    self.returns.push(piece.next());
                    self.calls
                        .push((self.ips.len() as u8, piece.next(), target));
                    self.ran(at, plan.as_ref());
                    (at, followed) = (target, followed + 1);
                }
                _ => {
                    let ending = self.end(&piece, plan.as_ref());
                    if ending.is_none() {
                        return self.cut(at, first);
                    }
                    self.ips.push(at);
                    return ending;
                }
            }
        }
    }

    // The copy of the instruction at `at` is complete.
    fn ran(&mut self, at: u64, plan: Option<&Plan>) {
        self.ips.push(at);
        if let Some(plan) = plan {
            self.code.stage(Stage::Inside(self.ips.len() as u8));
            self.exact_after(plan, false);
        }
    }

    // The copy of the block's last instruction has pushed what it pushes.
    fn pushed(&mut self, plan: Option<&Plan>, stage: Stage) {
        if let Some(plan) = plan {
            self.code.stage(stage);
            self.exact_after(plan, true);
        }
    }

    // The block ends before the instruction at `at`.
    fn cut(&mut self, at: u64, empty: bool) -> Option<Ending> {
        if empty {
            return None;
        }
        self.jump(at);
        Some(Ending::Cut)
    }

    fn prologue(&mut self, id: u32, timed: bool) {
        let code = &mut self.code;
        code.save(Reg::Rax);
        if timed {
            code.save(Reg::Rcx);
            code.save(Reg::Rdx);
            code.log_time(journal::TIME, Some(id));
            code.stage(Stage::Inside(0));
            code.restore(Reg::Rdx);
            code.restore(Reg::Rcx);
        } else {
            code.load(Reg::Rax, LOG_AT);
            code.op(&id_store(id)); // mov dword [rax], id
            code.op(&[0x48, 0x8d, 0x40, 4]); // lea rax, [rax+4]
            code.store(Reg::Rax, LOG_AT);
            code.stage(Stage::Inside(0));
        }
        code.restore(Reg::Rax);
    }

    // Copies an instruction; `None` when its data is too far away.
    fn copy(&mut self, piece: &Piece) -> Option<()> {
        let bytes = piece.relocated(piece.bytes(), self.code.address())?;
        self.code.op(&bytes);
        Some(())
    }

    fn jump(&mut self, target: u64) {
        let exit = self.targets.len() as u8;
        self.code.stage(Stage::Exit(exit));
        let field = self.code.branch(&[0xe9]);
        self.targets.push((target, field));
    }

    // Writes what ends the block; nothing when that cannot be copied.
    fn end(&mut self, piece: &Piece, plan: Option<&Plan>) -> Option<Ending> {
        match piece.kind {
            Kind::Jump { target } => {
                self.jump(target);
                Some(Ending::Cut)
            }
            Kind::Call { target } => {
                self.code.push_constant(piece.next());
                self.returns.push(piece.next());
                self.pushed(plan, Stage::Exit(self.targets.len() as u8));
                self.jump(target);
                Some(Ending::Call {
                    next: piece.next(),
                    target,
                })
            }
            Kind::Conditional { target, .. } => {
                self.conditional(piece, target)?;
                Some(Ending::Conditional { target })
            }
            Kind::Return => self.ret(piece),
            Kind::CallIndirect => self.indirect(piece, plan, true),
            Kind::Indirect => self.indirect(piece, plan, false),
            Kind::Syscall => {
                self.system_call(piece.next());
                Some(Ending::Syscall)
            }
            _ => None,
        }
    }

    fn conditional(&mut self, piece: &Piece, target: u64) -> Option<()> {
        let next = piece.next();
        let opcode = piece.opcode()?;
        let taken = match opcode {
            [0x0f, second, ..] => self.code.branch(&[0x0f, *second]),
            [short @ 0x70..=0x7f, ..] => self.code.branch(&[0x0f, 0x80 | short & 0xf]),
            [counter @ 0xe0..=0xe3, ..] => {
                // These have short forms only: over the jump that is taken otherwise.
                let prefixes = piece.length - opcode.len();
                let mut bytes = piece.bytes()[..prefixes].to_vec();
                bytes.push(*counter);
                let over = self.code.short(&bytes);
                self.jump(next);
                self.code.lead_here(over);
                self.jump(target);
                return Some(());
            }
            _ => return None,
        };
        self.targets.push((target, taken));
        self.jump(next);
        Some(())
    }

    fn ret(&mut self, piece: &Piece) -> Option<Ending> {
        self.code.save(Reg::Rax);
        match *piece.opcode()? {
            [0xc3] => {
                self.code.op(&[0x58]); // pop rax
                self.undo = -8;
            }
            [0xc2, low, high] => {
                let beyond = 8 + u32::from(u16::from_le_bytes([low, high]));
                self.code.op(&[0x48, 0x8b, 0x04, 0x24]); // mov rax, [rsp]
                let mut bytes = [0x48, 0x8d, 0xa4, 0x24, 0, 0, 0, 0]; // lea rsp, [rsp+...]
                bytes[4..].copy_from_slice(&beyond.to_le_bytes());
                self.code.op(&bytes);
                self.undo = -i64::from(beyond);
            }
            _ => return None,
        }
        self.look_up();
        Some(Ending::Return)
    }

    fn indirect(&mut self, piece: &Piece, plan: Option<&Plan>, call: bool) -> Option<Ending> {
        self.code.save(Reg::Rax);
        let load = piece.load_target()?;
        let load = match piece.instruction.is_ip_rel_memory_operand() {
            true => piece.aimed(load, self.code.address())?,
            false => load,
        };
        self.code.op(&load);
        if call {
            self.code.push_constant(piece.next());
            self.returns.push(piece.next());
            self.undo = 8;
            self.pushed(plan, Stage::InRax);
        }
        self.look_up();
        Some(match call {
            true => Ending::CallIndirect { next: piece.next() },
            false => Ending::Indirect,
        })
    }

    // The target is in RAX, and RAX in the thread's area.
    fn look_up(&mut self) {
        self.code.stage(Stage::InRax);
        let field = self.code.branch(&[0xe9]);
        self.code
            .lead(field, self.lookup)
            .expect("lookup code is near");
    }

    // A quiet call is made here, between two looks at the clock; all others stop. RCX and
    // R11 are free: the call overwrites them.
    fn system_call(&mut self, next: u64) {
        let code = &mut self.code;
        code.save(Reg::Rcx);
        code.save(Reg::R11);
        code.store(Reg::Rax, RAX_AT);
        code.load(Reg::Rcx, RAX_UPPER_AT);
        let below_256 = code.short(&[0xe3]); // jrcxz
        code.op(&[0x48, 0x8d, 0x49, 0xff]); // lea rcx, [rcx-1]
        let below_512 = code.short(&[0xe3]);
        code.op(&[0xcc]);
        code.lead_here(below_256);
        code.lead_here(below_512);
        let mut table = [0x65, 0x0f, 0xb6, 0x88, 0, 0, 0, 0]; // movzx ecx, byte gs:[rax+...]
        table[4..].copy_from_slice(&CALLS_AT.to_le_bytes());
        code.op(&table);
        let loud = code.short(&[0xe3]);
        let quiet = code.short(&[0xeb]);
        code.lead_here(loud);
        code.op(&[0xcc]);
        code.lead_here(quiet);
        code.save(Reg::Rax);
        code.save(Reg::Rdx);
        code.log_time(journal::TIME, None);
        code.restore(Reg::Rax);
        code.restore(Reg::Rdx);
        code.op(&[0x0f, 0x05]); // syscall
        code.stage(Stage::Called);
        code.set_saved(saved::NONE);
        code.save(Reg::Rax);
        code.save(Reg::Rdx);
        code.log_time(journal::TIME, None);
        code.restore(Reg::Rax);
        code.restore(Reg::Rdx);
        let mut constant = [0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0]; // mov rcx, next
        constant[2..].copy_from_slice(&next.to_le_bytes());
        code.op(&constant);
        let field = code.branch(&[0xe9]);
        self.targets.push((next, field));
    }

    fn finish(mut self, start: u64, ending: Ending) -> Draft {
        self.exact_finish();
        let mut exits = Vec::with_capacity(self.targets.len());
        for (index, (target, field)) in std::mem::take(&mut self.targets).into_iter().enumerate() {
            self.code.stage(Stage::Exit(index as u8));
            self.code.set_saved(saved::NONE);
            let address = self.code.address();
            self.code.op(&[0xcc]);
            self.code.lead(field, address).expect("a stub is near");
            exits.push(Exit {
                target,
                field: self.code.place(field),
            });
        }
        let checked = self.check_failed();
        self.code.finish();
        let flow = Flow {
            id: 0,
            start,
            steps: self.ips.len() as u8,
            calls: self.calls.into(),
            ending,
        };
        Draft {
            bytes: self.code.bytes,
            points: self.code.points,
            ips: self.ips,
            exits,
            returns: self.returns,
            undo: self.undo,
            flow,
            logged: self.exact.steps,
            log_bytes: self.exact.bytes,
            checked,
        }
    }
}

fn id_store(id: u32) -> [u8; 6] {
    let mut bytes = [0xc7, 0x00, 0, 0, 0, 0];
    bytes[2..].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// One instruction of the program.
struct Piece {
    raw: [u8; MAX_BYTES],
    length: usize,
    instruction: Instruction,
    kind: Kind,
    // Where the distance to its data stands, when it has one.
    displacement: usize,
}

impl Piece {
    fn read(at: u64, source: &mut Source) -> Option<Piece> {
        let mut raw = [0; MAX_BYTES];
        let got = source.fetch(at, &mut raw);
        let mut decoder = Decoder::with_ip(64, &raw[..got], at, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        let offsets = decoder.get_constant_offsets(&instruction);
        Some(Piece {
            raw,
            length: instruction.len(),
            kind: instruction::kind(&instruction),
            displacement: offsets.displacement_offset(),
            instruction,
        })
    }

    fn bytes(&self) -> &[u8] {
        &self.raw[..self.length]
    }

    fn next(&self) -> u64 {
        self.instruction.next_ip()
    }

    fn locks(&self) -> bool {
        let memory =
            (0..self.instruction.op_count()).any(|n| self.instruction.op_kind(n) == OpKind::Memory);
        self.instruction.has_lock_prefix()
            || self.instruction.mnemonic() == Mnemonic::Xchg && memory
    }

    // Whether the instruction does the same in the cache. The others see where they stand
    // or what GS is, lead nowhere that can be followed, or are the kernel's affair.
    fn can_be_copied(&self, style: Style) -> bool {
        let i = &self.instruction;
        let answered = style.alike && Chance::of(i).is_some();
        let by_kind = match self.kind {
            Kind::Interrupt | Kind::PopFlags => false,
            Kind::Conditional { target, .. } => target != self.next(),
            Kind::Syscall => i.mnemonic() == Mnemonic::Syscall,
            _ => true,
        };
        let transaction = i.flow_control() == FlowControl::XbeginXabortXend;
        let narrow_branch = i.flow_control() != FlowControl::Next && self.has_prefix(0x66);
        let eip_relative = i.is_ip_rel_memory_operand() && self.has_prefix(0x67);
        by_kind && !answered && !transaction && !narrow_branch && !eip_relative && !self.sees_gs()
    }

    fn sees_gs(&self) -> bool {
        let i = &self.instruction;
        let operand = (0..i.op_count())
            .any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n) == Register::GS);
        let base = matches!(
            i.mnemonic(),
            Mnemonic::Rdgsbase | Mnemonic::Wrgsbase | Mnemonic::Swapgs | Mnemonic::Lgs
        );
        operand || base || self.has_prefix(0x65)
    }

    fn prefixes(&self) -> usize {
        let is_prefix = |byte: &&u8| {
            matches!(
                byte,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3
            )
        };
        self.bytes().iter().take_while(is_prefix).count()
    }

    fn has_prefix(&self, prefix: u8) -> bool {
        self.bytes()[..self.prefixes()].contains(&prefix)
    }

    // The instruction from its opcode on, when no REX prefix stands before that.
    fn opcode(&self) -> Option<&[u8]> {
        let rest = &self.bytes()[self.prefixes()..];
        match rest.first() {
            Some(0x40..=0x4f) => self.bytes().get(self.prefixes() + 1..),
            _ => Some(rest),
        }
    }

    // `bytes`, this instruction, as it must be to stand at `address`.
    fn relocated(&self, bytes: &[u8], address: u64) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        if self.instruction.is_ip_rel_memory_operand() {
            let end = address + bytes.len() as u64;
            put_distance(&mut bytes, self.displacement, self.data(), end)?;
        }
        Some(bytes)
    }

    // `bytes`, which end in the distance to the data, as they must be to stand at `address`.
    fn aimed(&self, mut bytes: Vec<u8>, address: u64) -> Option<Vec<u8>> {
        let (at, end) = (bytes.len() - 4, address + bytes.len() as u64);
        put_distance(&mut bytes, at, self.data(), end)?;
        Some(bytes)
    }

    fn data(&self) -> u64 {
        self.instruction.ip_rel_memory_address()
    }

    // `mov rax, ...` of what the indirect branch reads.
    fn load_target(&self) -> Option<Vec<u8>> {
        let prefixes = &self.bytes()[..self.prefixes()];
        let mut out: Vec<u8> = prefixes
            .iter()
            .copied()
            .filter(|prefix| matches!(prefix, 0x64 | 0x67))
            .collect();
        let rex = match self.bytes()[prefixes.len()] {
            rex @ 0x40..=0x4f => rex & 3,
            _ => 0,
        };
        let [0xff, modrm, rest @ ..] = self.opcode()? else {
            return None;
        };
        out.extend([0x48 | rex, 0x8b, modrm & 0xc7]);
        out.extend(rest);
        Some(out)
    }
}

fn put_distance(bytes: &mut [u8], at: usize, data: u64, end: u64) -> Option<()> {
    let distance = i32::try_from(data.wrapping_sub(end) as i64).ok()?;
    bytes
        .get_mut(at..at + 4)?
        .copy_from_slice(&distance.to_le_bytes());
    Some(())
}
