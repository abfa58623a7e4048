//! Micro-operations: relations over words, learned in every direction.

use crate::bits::{Bits, Contradiction};
use crate::effect::Word;

/// A relation `d = op(a, b, c)` over words of `width` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroOp {
    /// Which relation.
    pub op: Op,
    /// Width of the words in bits, 1 to 64.
    pub width: u8,
    /// Immediate parameter (shift count, field position), meaning depends on `op`.
    pub imm: u16,
    /// Result.
    pub d: Word,
    /// First operand.
    pub a: Word,
    /// Second operand (equal to `a` where unused).
    pub b: Word,
    /// Third operand (equal to `a` where unused).
    pub c: Word,
}

/// Kinds of [`MicroOp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `d = a`.
    Copy,
    /// `d = a ^ b`.
    Xor,
}

impl MicroOp {
    /// Learns what the relation implies; true when a word changed.
    ///
    /// # Errors
    /// [`Contradiction`] when no values satisfy the relation.
    pub fn narrow(&self, words: &mut [Bits]) -> Result<bool, Contradiction> {
        let (a, b) = (words[usize::from(self.a.0)], words[usize::from(self.b.0)]);
        let d = words[usize::from(self.d.0)];
        match self.op {
            Op::Copy => {
                let changed = words[usize::from(self.d.0)].learn(a)?;
                Ok(words[usize::from(self.a.0)].learn(d)? || changed)
            }
            Op::Xor => {
                let xor = |x: Bits, y: Bits| Bits::new(x.known & y.known, x.value ^ y.value);
                let changed = words[usize::from(self.d.0)].learn(xor(a, b))?;
                let changed = words[usize::from(self.a.0)].learn(xor(d, b))? || changed;
                Ok(words[usize::from(self.b.0)].learn(xor(d, a))? || changed)
            }
        }
    }
}
