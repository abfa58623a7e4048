//! The emulator's floating point: which elements meet, and where the result goes; what comes of
//! them is the processor's matter (`scalar.rs`).

use crate::emulate::{Cpu, Elements};
use crate::scalar;
use iced_x86::RoundingControl;
use std::cmp::Ordering;

/// `addps` as `add`, of 4 bytes, all elements.
fn shape(name: &str) -> Option<(&str, usize, bool)> {
    let (stem, suffix) = name.split_at_checked(name.len().checked_sub(2)?)?;
    let (size, packed) = match suffix {
        "ps" => (4, true),
        "pd" => (8, true),
        "ph" => (2, true),
        "ss" => (4, false),
        "sd" => (8, false),
        "sh" => (2, false),
        _ => return None,
    };
    Some((stem, size, packed))
}

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn float(&mut self, name: &str) -> Option<Option<()>> {
        let (stem, size, packed) = shape(name)?;
        let count = if packed { self.length() / size } else { 1 };
        if let Some(fused) = stem.strip_prefix('f')
            && let Some((operation, order)) = fused.split_at_checked(fused.len().checked_sub(3)?)
            && let Some(outcome) = self.fused(operation, order, size, count, packed)
        {
            return Some(outcome);
        }
        if let Some(outcome) = self.special(stem, size, count, packed) {
            return Some(outcome);
        }
        Some(match stem {
            "add" | "sub" | "mul" | "div" | "min" | "max" | "sqrt" => {
                self.arithmetic(stem, size, count, packed)
            }
            "rndscale" => {
                let imm = u64::from(self.instruction.immediate8());
                let mxcsr = self.world.state.mxcsr;
                let rounding = if imm & 4 == 0 { imm } else { mxcsr >> 13 } & 3;
                self.unary(size, count, packed, |x| {
                    scalar::rounded(size, x, imm >> 4, rounding, mxcsr)
                })
            }
            "getexp" => {
                let mxcsr = self.world.state.mxcsr;
                self.unary(size, count, packed, |x| scalar::exponent(size, x, mxcsr))
            }
            "fpclass" => self.classify(size, if packed { 0 } else { 1 }),
            "cmp" => self.compare_floats(size, count),
            "comi" | "ucomi" => self.order_flags(size),
            _ => return None,
        })
    }

    /// MXCSR under static rounding.
    pub(super) fn control(&self) -> u64 {
        let rounding = match self.instruction.rounding_control() {
            RoundingControl::None => return self.world.state.mxcsr,
            RoundingControl::RoundToNearest => 0,
            RoundingControl::RoundDown => 1,
            RoundingControl::RoundUp => 2,
            RoundingControl::RoundTowardZero => 3,
        };
        self.world.state.mxcsr & !0x6000 | rounding << 13
    }

    fn unary(
        &mut self,
        size: usize,
        count: usize,
        packed: bool,
        f: impl Fn(u64) -> u64,
    ) -> Option<()> {
        let vectors = self.instruction.op_count() - 1 - u32::from(self.has_immediate());
        let x = self.elements(vectors, size, count)?;
        let results: Elements = x.iter().map(|&x| f(x)).collect();
        self.set_floats(size, &results, packed)
    }

    /// All elements, or the lowest one.
    pub(super) fn set_floats(&mut self, size: usize, results: &[u64], packed: bool) -> Option<()> {
        match packed {
            true => self.set_elements(size, results),
            false => self.set_scalar_element(1, size, results[0]),
        }
    }

    /// `count` elements, or with 0 as many as the source has; a broadcast source does not say.
    fn classify(&mut self, size: usize, count: usize) -> Option<()> {
        let count = match count {
            0 => self.source_bytes()? / size,
            _ => count,
        };
        let (kinds, mxcsr) = (self.instruction.immediate8(), self.world.state.mxcsr);
        let x = self.elements(1, size, count)?;
        self.set_mask(
            x.into_iter()
                .map(|x| scalar::kinds(size, x, mxcsr) & kinds != 0),
        )
    }

    fn arithmetic(&mut self, stem: &str, size: usize, count: usize, packed: bool) -> Option<()> {
        let last = self.instruction.op_count() - 1;
        let y = self.elements(last, size, count)?;
        let x = match last {
            1 => y.clone(),
            _ => self.elements(last - 1, size, count)?,
        };
        let mxcsr = self.control();
        let results: Option<Elements> = x
            .iter()
            .zip(&y)
            .map(|(&x, &y)| scalar::binary(stem, size, x, y, mxcsr))
            .collect();
        self.set_floats(size, &results?, packed)
    }

    /// `None` when this is no fused operation.
    fn fused(
        &mut self,
        operation: &str,
        order: &str,
        size: usize,
        count: usize,
        packed: bool,
    ) -> Option<Option<()>> {
        let places: [u32; 3] = match order {
            "132" => [0, 2, 1],
            "213" => [1, 0, 2],
            "231" => [1, 2, 0],
            _ => return None,
        };
        let mxcsr = self.control();
        let mut results = Elements::new();
        let [x, y, z] = places.map(|operand| self.elements(operand, size, count));
        let (x, y, z) = (x?, y?, z?);
        for i in 0..count {
            let operation = match (operation, i % 2) {
                ("maddsub", 0) | ("msubadd", 1) => "msub",
                ("maddsub" | "msubadd", _) => "madd",
                _ => operation,
            };
            results.push(scalar::fused(operation, size, [x[i], y[i], z[i]], mxcsr)?);
        }
        Some(match packed {
            true => self.set_elements(size, &results),
            false => self.set_scalar_element(0, size, results[0]),
        })
    }

    /// The lowest element under the lowest bit of the mask; the others from operand `rest`.
    pub(super) fn set_scalar_element(&mut self, rest: u32, size: usize, value: u64) -> Option<()> {
        let count = 16 / size;
        let mut result = self.elements(rest, size, count)?;
        result[0] = match self.selected(0) {
            true => value,
            false if self.instruction.zeroing_masking() => 0,
            false => self.elements(0, size, 1)?[0],
        };
        self.set_all_elements(size, &result)
    }

    fn compare_floats(&mut self, size: usize, count: usize) -> Option<()> {
        if !self.instruction.op0_register().is_k() {
            return None;
        }
        let (x, y) = (
            self.elements(1, size, count)?,
            self.elements(2, size, count)?,
        );
        let (predicate, mxcsr) = (self.instruction.immediate8() & 15, self.world.state.mxcsr);
        let holds =
            |(&x, &y): (&u64, &u64)| predicate_holds(predicate, scalar::order(size, x, y, mxcsr));
        self.set_mask(x.iter().zip(&y).map(holds).collect::<Vec<_>>().into_iter())
    }

    fn order_flags(&mut self, size: usize) -> Option<()> {
        let (x, y) = (self.elements(0, size, 1)?[0], self.elements(1, size, 1)?[0]);
        let order = scalar::order(size, x, y, self.world.state.mxcsr);
        let unordered = order.is_none();
        let (less, equal) = (
            order == Some(Ordering::Less),
            order == Some(Ordering::Equal),
        );
        self.set_zero_carry(equal || unordered, less || unordered);
        self.world.state.flags |= u64::from(unordered) << 2;
        Some(())
    }
}

/// The sixteen predicates of VCMPPS that differ in result (SDM volume 2, table of CMPPD's).
fn predicate_holds(predicate: u8, order: Option<Ordering>) -> bool {
    let less = order == Some(Ordering::Less);
    let equal = order == Some(Ordering::Equal);
    let unordered = order.is_none();
    match predicate {
        0 => equal,
        1 => less,
        2 => less || equal,
        3 => unordered,
        4 => !equal,
        5 => !less,
        6 => !(less || equal),
        7 => !unordered,
        8 => equal || unordered,
        9 => less || unordered,
        10 => less || equal || unordered,
        11 => false,
        12 => !(equal || unordered),
        13 => !(less || unordered),
        14 => !(less || equal || unordered),
        _ => true,
    }
}
