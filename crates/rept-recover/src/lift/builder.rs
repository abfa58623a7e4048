//! Collects the words, relations and accesses of one instruction.
//!
//! Words get provisional numbers in order of creation; [`Builder::finish`] (in `finish.rs`)
//! drops what nobody needs and renumbers them as [`Effect`](crate::effect::Effect) wants them.
//! Reads always see the state before the instruction, writes take effect at its end.

use crate::bits::{Bits, mask};
use crate::effect::{Access, Flow, NewThread, StringOp, Word};
use crate::lift::value::{Pred, Val};
use crate::op::{MicroOp, Op};
use iced_x86::Instruction;
use rept_trace::RegWord;
use std::cell::{Cell, RefCell};

/// What a provisional word will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The old value of a register word.
    Input(RegWord),
    /// A node of the graph: a new register value or a memory operand.
    Fresh,
    /// Lives only while the relations are narrowed.
    Temporary,
}

/// The lists that grow while an instruction is lowered.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) words: Vec<(Kind, Bits)>,
    pub(super) writes: Vec<(RegWord, Word)>,
    pub(super) accesses: Vec<Access>,
    pub(super) ops: Vec<MicroOp>,
    pub(super) flow: Flow,
    pub(super) string: Option<StringOp>,
    pub(super) new_thread: Option<NewThread>,
    pub(super) clobbers_memory: bool,
}

/// How the flags of an instruction come about.
#[derive(Debug, Default)]
pub(super) struct FlagPlan {
    /// The word under construction.
    pub(super) word: Cell<Option<Word>>,
    /// They change only when this bit is 1 (shifts by a count that may be zero).
    pub(super) condition: Cell<Option<Word>>,
    /// The whole RFLAGS word is stated by a family (popf).
    pub(super) whole: Cell<bool>,
}

/// Where a memory operand lies: an address word and a constant beyond it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: Word,
    pub(super) offset: u32,
}

impl Place {
    /// `bytes` further on.
    pub(super) fn at(self, bytes: u32) -> Place {
        Place {
            offset: self.offset + bytes,
            ..self
        }
    }
}

/// Builds the effect of one instruction.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) instruction: Instruction,
    pub(super) live_flags: u16,
    pub(super) parts: RefCell<Parts>,
    pub(super) flags: FlagPlan,
    pub(super) place: Cell<Option<Place>>,
}

impl Builder {
    pub(super) fn new(instruction: &Instruction, live_flags: u16) -> Builder {
        Builder {
            instruction: *instruction,
            live_flags,
            parts: RefCell::default(),
            flags: FlagPlan::default(),
            place: Cell::new(None),
        }
    }

    fn push_word(&self, kind: Kind, template: Bits) -> Word {
        let words = &mut self.parts.borrow_mut().words;
        words.push((kind, template));
        Word((words.len() - 1) as u16)
    }

    /// A temporary of `width` bits, of which nothing is known.
    pub(super) fn temporary(&self, width: u32) -> Val<'_> {
        self.value(self.push_word(Kind::Temporary, Bits::unknown(width)), width)
    }

    /// A new node of `width` bits, of which nothing is known: a source of unknown values.
    pub(super) fn unknown(&self, width: u32) -> Val<'_> {
        self.value(self.push_word(Kind::Fresh, Bits::unknown(width)), width)
    }

    /// A constant, cut to `width` bits.
    pub(super) fn constant(&self, value: u64, width: u32) -> Val<'_> {
        let template = Bits::constant(value & mask(width));
        let found = self.parts.borrow().words.iter().position(|&(kind, bits)| {
            bits == template && matches!(kind, Kind::Temporary | Kind::Fresh)
        });
        let word = found.map_or_else(
            || self.push_word(Kind::Temporary, template),
            |index| Word(index as u16),
        );
        self.value(word, width)
    }

    /// A handle on the low `width` bits of a word.
    pub(super) fn value(&self, word: Word, width: u32) -> Val<'_> {
        Val {
            builder: self,
            word,
            width,
        }
    }

    /// The old value of a register word.
    pub(super) fn input(&self, register: RegWord) -> Val<'_> {
        let found = self
            .parts
            .borrow()
            .words
            .iter()
            .position(|&(kind, _)| kind == Kind::Input(register));
        let word = found.map_or_else(
            || self.push_word(Kind::Input(register), Bits::UNKNOWN),
            |index| Word(index as u16),
        );
        self.value(word, 64)
    }

    /// The newest value of a register word: the one written by this instruction, if it was.
    pub(super) fn current(&self, register: RegWord) -> Val<'_> {
        let written = self
            .parts
            .borrow()
            .writes
            .iter()
            .find(|write| write.0 == register)
            .map(|write| write.1);
        written.map_or_else(|| self.input(register), |word| self.value(word, 64))
    }

    /// Writes a whole register word. The value's word must say what the bits above its width are.
    pub(super) fn write(&self, register: RegWord, value: Val<'_>) {
        let word = value.clean().word;
        self.promote(word);
        let parts = &mut *self.parts.borrow_mut();
        parts.writes.retain(|write| write.0 != register);
        if parts.words[usize::from(word.0)].0 != Kind::Input(register) {
            parts.writes.push((register, word));
        }
    }

    /// Makes a temporary a node.
    pub(super) fn promote(&self, word: Word) {
        let kind = &mut self.parts.borrow_mut().words[usize::from(word.0)].0;
        if *kind == Kind::Temporary {
            *kind = Kind::Fresh;
        }
    }

    /// States a relation.
    pub(super) fn relate(&self, op: MicroOp) {
        self.parts.borrow_mut().ops.push(op);
    }

    /// States `d = op(a, b, c)` and returns the word `d` of `result` bits: a new one, or that of
    /// the same statement made before.
    pub(super) fn apply(
        &self,
        op: Op,
        width: u32,
        imm: u16,
        operands: [Val<'_>; 3],
        result: u32,
    ) -> Val<'_> {
        let [a, b, c] = operands.map(|operand| operand.word);
        let stated = |d| MicroOp {
            op,
            width: width as u8,
            lanes: 1,
            imm,
            d,
            a,
            b,
            c,
        };
        let before = self
            .parts
            .borrow()
            .ops
            .iter()
            .find(|&&seen| seen == stated(seen.d))
            .map(|seen| seen.d);
        let word = before.unwrap_or_else(|| {
            let d = self.temporary(result).word;
            self.relate(stated(d));
            d
        });
        self.value(word, result)
    }

    /// Bits of a word that are known whatever happens.
    pub(super) fn template(&self, word: Word) -> Bits {
        self.parts.borrow().words[usize::from(word.0)].1
    }

    /// Adds to what is known of a word whatever happens (no conflict is possible: it is our own word).
    pub(super) fn learn_template(&self, word: Word, bits: Bits) {
        let template = &mut self.parts.borrow_mut().words[usize::from(word.0)].1;
        template.known |= bits.known;
        template.value |= bits.value;
    }

    /// Loads `bytes` (1 to 8) from memory; asked again for the same operand, the same word.
    pub(super) fn load(&self, place: Place, bytes: u32) -> Val<'_> {
        let again = self
            .parts
            .borrow()
            .accesses
            .iter()
            .find(|access| {
                (access.address, access.offset) == (place.address, place.offset)
                    && (u32::from(access.size), access.store, access.condition)
                        == (bytes, false, None)
            })
            .map(|access| access.data);
        if let Some(data) = again {
            return self.value(data, bytes * 8);
        }
        let data = self.unknown(bytes * 8);
        self.access(place, bytes, data.word, false, None);
        data
    }

    /// Stores the low `bytes` (1 to 8) of a value.
    pub(super) fn store(&self, place: Place, bytes: u32, value: Val<'_>) {
        self.promote(value.word);
        self.access(place, bytes, value.word, true, None);
    }

    /// Stores the low `bytes` of a value when the one-bit word `condition` is 1.
    pub(super) fn store_if(&self, place: Place, bytes: u32, value: Val<'_>, condition: Val<'_>) {
        self.promote(value.word);
        self.access(place, bytes, value.word, true, Some(condition.word));
    }

    /// Loads `bytes` (1 to 8) when the one-bit word `condition` is 1; else the value is unknown.
    pub(super) fn load_if<'b>(&'b self, place: Place, bytes: u32, condition: Val<'b>) -> Val<'b> {
        let data = self.unknown(bytes * 8);
        self.access(place, bytes, data.word, false, Some(condition.word));
        data
    }

    /// States an access.
    pub(super) fn access(
        &self,
        place: Place,
        bytes: u32,
        data: Word,
        store: bool,
        condition: Option<Word>,
    ) {
        self.parts.borrow_mut().accesses.push(Access {
            address: place.address,
            offset: place.offset,
            size: bytes as u8,
            data,
            store,
            condition,
        });
    }

    /// `if pred { x } else { y }`.
    pub(super) fn select<'b>(&'b self, pred: Pred<'b>, x: Val<'b>, y: Val<'b>) -> Val<'b> {
        match pred {
            Pred::Constant(true) => x,
            Pred::Constant(false) => y,
            _ => {
                let bit = self.bit(pred);
                self.apply(Op::Select, x.width, 0, [x, y, bit], x.width)
            }
        }
    }

    /// A predicate as a word of one bit.
    pub(super) fn bit<'b>(&'b self, pred: Pred<'b>) -> Val<'b> {
        if let Pred::Constant(holds) = pred {
            return self.constant(u64::from(holds), 1);
        }
        pred.as_bit().unwrap_or_else(|| {
            let d = self.temporary(1);
            pred.place(self, d.word, 0);
            d
        })
    }

    pub(super) fn set_flow(&self, flow: Flow) {
        self.parts.borrow_mut().flow = flow;
    }
}
