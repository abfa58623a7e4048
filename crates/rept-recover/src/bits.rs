//! The value lattice: a 64-bit word of which each bit is known or not.
//!
//! Order: `UNKNOWN` (nothing known) at the top, fully known words at the bottom; learning only
//! goes down, at most 64 times per word, which is what bounds every fixpoint in this crate.

use std::fmt;

/// Two facts about the same word exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

/// A 64-bit word known bit by bit. Invariant: `value & !known == 0`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bits {
    /// Set where the bit is known.
    pub known: u64,
    /// The known bits; zero where unknown.
    pub value: u64,
}

/// The lowest `width` bits set; `width` 0 to 64.
pub const fn mask(width: u32) -> u64 {
    if width >= 64 {
        u64::MAX
    } else {
        (1 << width) - 1
    }
}

impl Bits {
    /// Nothing is known.
    pub const UNKNOWN: Bits = Bits { known: 0, value: 0 };
    /// All bits are known to be zero.
    pub const ZERO: Bits = Bits {
        known: u64::MAX,
        value: 0,
    };

    /// A wholly known word.
    pub const fn constant(value: u64) -> Bits {
        Bits {
            known: u64::MAX,
            value,
        }
    }

    /// A word of `width` bits about which nothing is known but that the bits above are zero.
    pub const fn unknown(width: u32) -> Bits {
        Bits {
            known: !mask(width),
            value: 0,
        }
    }

    /// The bits of `value` in `known`.
    pub const fn new(known: u64, value: u64) -> Bits {
        Bits {
            known,
            value: value & known,
        }
    }

    /// The value, when all 64 bits are known.
    pub const fn get(self) -> Option<u64> {
        if self.known == u64::MAX {
            Some(self.value)
        } else {
            None
        }
    }

    /// All 64 bits are known.
    pub const fn is_known(self) -> bool {
        self.known == u64::MAX
    }

    /// May the word be `value`?
    pub const fn admits(self, value: u64) -> bool {
        (self.value ^ value) & self.known == 0
    }

    /// Bits known to be one.
    pub const fn ones(self) -> u64 {
        self.value
    }

    /// Bits known to be zero.
    pub const fn zeros(self) -> u64 {
        self.known & !self.value
    }

    /// The lowest `width` bits; nothing is known of those above.
    pub const fn low(self, width: u32) -> Bits {
        Bits::new(self.known & mask(width), self.value)
    }

    /// The `width` bits from bit `at` on, moved down; nothing is known of those above.
    pub const fn field(self, at: u32, width: u32) -> Bits {
        Bits {
            known: self.known >> at,
            value: self.value >> at,
        }
        .low(width)
    }

    /// The same bits, `at` places up; nothing is known of those below.
    pub const fn shifted(self, at: u32) -> Bits {
        Bits {
            known: self.known << at,
            value: self.value << at,
        }
    }

    /// What holds of both: bits known in both with the same value.
    pub const fn join(self, other: Bits) -> Bits {
        Bits::new(
            self.known & other.known & !(self.value ^ other.value),
            self.value,
        )
    }

    /// May both describe the same word?
    pub const fn compatible(self, other: Bits) -> bool {
        (self.value ^ other.value) & self.known & other.known == 0
    }

    /// Learns that `ones` are one and `zeros` are zero.
    ///
    /// # Errors
    /// [`Contradiction`] when a bit would be both.
    pub const fn force(&mut self, ones: u64, zeros: u64) -> Result<(), Contradiction> {
        if ones & zeros != 0 || ones & self.zeros() != 0 || zeros & self.value != 0 {
            return Err(Contradiction);
        }
        self.known |= ones | zeros;
        self.value |= ones;
        Ok(())
    }

    /// Learns `other` too. True when something new was learned.
    ///
    /// # Errors
    /// [`Contradiction`] when a bit is known differently; `self` is unchanged then.
    pub const fn learn(&mut self, other: Bits) -> Result<bool, Contradiction> {
        if (self.value ^ other.value) & self.known & other.known != 0 {
            return Err(Contradiction);
        }
        let changed = other.known & !self.known != 0;
        self.known |= other.known;
        self.value |= other.value;
        Ok(changed)
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.known, self.get()) {
            (_, Some(value)) => write!(f, "{value:#x}"),
            (0, _) => f.write_str("?"),
            _ => write!(f, "{:#x}/{:#x}", self.value, self.known),
        }
    }
}
