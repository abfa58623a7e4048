//! The 80-bit numbers of the x87 unit: an explicit integer bit, 15 bits of exponent.
//!
//! Loads are exact. Stores round once, under the rounding control of the x87 control word;
//! there is no flushing of denormals (SDM volume 1, sections 4.2.2 and 8.2).

use super::soft::{Class, Control, Format, Number, Rounding};

const BIAS: i32 = 16_383;
const EXPONENT: u16 = 0x7fff;
const SIGN: u16 = 0x8000;
/// The integer bit.
const INTEGER: u64 = 1 << 63;
/// Makes a NaN quiet.
const QUIET: u64 = 1 << 62;

/// An extended number as it lies in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) significand: u64,
    /// Sign and exponent.
    pub(super) exponent: u16,
}

impl Extended {
    /// What invalid operations yield.
    pub(super) const INDEFINITE: Extended = Extended {
        significand: INTEGER | QUIET,
        exponent: SIGN | EXPONENT,
    };

    pub(super) fn new(significand: u64, exponent: u16) -> Extended {
        Extended {
            significand,
            exponent,
        }
    }

    fn signed(negative: bool, exponent: u16, significand: u64) -> Extended {
        let sign = if negative { SIGN } else { 0 };
        Extended::new(significand, sign | exponent)
    }

    /// An integer, exactly.
    pub(super) fn of_integer(x: i64) -> Extended {
        let magnitude = x.unsigned_abs();
        if magnitude == 0 {
            return Extended::new(0, 0);
        }
        let shift = magnitude.leading_zeros();
        let exponent = BIAS + 63 - shift as i32;
        Extended::signed(x < 0, exponent as u16, magnitude << shift)
    }

    fn negative(self) -> bool {
        self.exponent & SIGN != 0
    }

    /// `None` for encodings that the processor rejects: no integer bit where there must be one.
    fn class(self) -> Option<Class> {
        let exponent = self.exponent & EXPONENT;
        if exponent != 0 && self.significand & INTEGER == 0 {
            return None;
        }
        Some(match (exponent, self.significand) {
            (_, 0) => Class::Zero,
            (EXPONENT, INTEGER) => Class::Infinite,
            (EXPONENT, _) => Class::Nan,
            (_, significand) => Class::Finite(Number {
                negative: self.negative(),
                exponent: i32::from(exponent.max(1)) - BIAS - 63,
                significand: significand.into(),
                sticky: false,
            }),
        })
    }

    /// A signed integer of `bits` bits; the most negative one where none fits.
    pub(super) fn to_signed(self, bits: u32, rounding: Rounding) -> u64 {
        let least = 1u64 << (bits - 1);
        let magnitude = match self.class() {
            Some(Class::Zero) => Some(0),
            Some(Class::Finite(x)) if x.exponent <= 0 => {
                u64::try_from(x.quotient(0, rounding)).ok()
            }
            _ => None,
        };
        match magnitude.filter(|&m| m < least + u64::from(self.negative())) {
            Some(magnitude) if self.negative() => magnitude.wrapping_neg() & (least | (least - 1)),
            Some(magnitude) => magnitude,
            None => least,
        }
    }
}

impl Format {
    /// The same number in extended precision; a signalling NaN becomes quiet.
    pub(super) fn extend(self, bits: u64) -> Extended {
        let negative = self.is_negative(bits);
        match self.class(bits) {
            Class::Zero => Extended::signed(negative, 0, 0),
            Class::Infinite => Extended::signed(negative, EXPONENT, INTEGER),
            Class::Nan => {
                let payload = self.fraction_of(bits) << (63 - self.fraction_bits());
                Extended::signed(negative, EXPONENT, INTEGER | QUIET | payload)
            }
            Class::Finite(x) => {
                let shift = x.significand.leading_zeros() - 64;
                let exponent = x.exponent + 63 - shift as i32 + BIAS;
                Extended::signed(negative, exponent as u16, (x.significand as u64) << shift)
            }
        }
    }

    /// An extended number in this format.
    pub(super) fn contract(self, x: Extended, rounding: Rounding) -> u64 {
        let control = Control {
            rounding,
            denormals_are_zero: false,
            flush_to_zero: false,
        };
        match x.class() {
            None => self.indefinite(),
            Some(Class::Zero) => self.with_sign(x.negative(), 0),
            Some(Class::Infinite) => self.with_sign(x.negative(), self.infinity()),
            Some(Class::Finite(number)) => self.round(number, control),
            Some(Class::Nan) => {
                let payload = (x.significand & !INTEGER | QUIET) >> (63 - self.fraction_bits());
                self.with_sign(x.negative(), self.infinity() | payload)
            }
        }
    }
}
