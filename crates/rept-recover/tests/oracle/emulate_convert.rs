//! The emulator's conversions: which elements become which; what becomes of one is the
//! processor's matter (`scalar.rs`).

use crate::emulate::{Cpu, Elements};
use crate::scalar;

/// What an element is before or after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

#[derive(Clone, Copy)]
struct Type {
    kind: Kind,
    size: usize,
    /// One element only, in a vector or (integers) a general register.
    single: bool,
}

/// `ps`, `udq`, `si` of a conversion's name.
fn named(name: &str) -> Option<Type> {
    let (kind, size, single) = match name {
        "ph" | "phx" => (Kind::Float, 2, false),
        "ps" | "psx" => (Kind::Float, 4, false),
        "pd" => (Kind::Float, 8, false),
        "sh" => (Kind::Float, 2, true),
        "ss" => (Kind::Float, 4, true),
        "sd" => (Kind::Float, 8, true),
        "w" => (Kind::Signed, 2, false),
        "dq" => (Kind::Signed, 4, false),
        "qq" => (Kind::Signed, 8, false),
        "uw" => (Kind::Unsigned, 2, false),
        "udq" => (Kind::Unsigned, 4, false),
        "uqq" => (Kind::Unsigned, 8, false),
        // The register says how wide.
        "si" => (Kind::Signed, 0, true),
        "usi" => (Kind::Unsigned, 0, true),
        _ => return None,
    };
    Some(Type { kind, size, single })
}

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn convert(&mut self, name: &str) -> Option<Option<()>> {
        match name {
            "cvtps2ph" => return Some(self.round_to_half()),
            "cvtneps2bf16" => return Some(self.round_to_brain(&[1])),
            "cvtne2ps2bf16" => return Some(self.round_to_brain(&[2, 1])),
            "cvtneebf162ps" => return Some(self.every_other(0, |x| x << 16)),
            "cvtneobf162ps" => return Some(self.every_other(1, |x| x << 16)),
            "cvtneeph2ps" => return Some(self.every_other(0, half_to_single)),
            "cvtneoph2ps" => return Some(self.every_other(1, half_to_single)),
            "bcstnebf162ps" => return Some(self.everywhere(|x| x << 16)),
            "bcstnesh2ps" => return Some(self.everywhere(half_to_single)),
            _ => {}
        }
        let rest = name.strip_prefix("cvt")?;
        let (truncates, rest) = match rest.strip_prefix('t') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (from, to) = rest.split_once('2')?;
        let (from, to) = (named(from)?, named(to)?);
        Some(match from.single {
            true => self.convert_one(from, to, truncates),
            false => self.convert_all(from, to, truncates),
        })
    }

    fn converted(&self, from: Type, to: Type, truncates: bool, x: u64) -> u64 {
        let mxcsr = self.control();
        let rounding = if truncates { 3 } else { mxcsr >> 13 & 3 };
        match (from.kind, to.kind) {
            (Kind::Float, Kind::Float) => scalar::resized(from.size, to.size, x, mxcsr),
            (Kind::Float, kind) => {
                let is_signed = kind == Kind::Signed;
                scalar::to_integer(from.size, to.size, is_signed, x, rounding, mxcsr)
            }
            (kind, _) => {
                let is_signed = kind == Kind::Signed;
                scalar::from_integer(from.size, is_signed, to.size, x, mxcsr)
            }
        }
    }

    fn convert_one(&mut self, mut from: Type, mut to: Type, truncates: bool) -> Option<()> {
        if to.size == 0 {
            to.size = self.instruction.op0_register().size();
            let x = self.elements(1, from.size, 1)?[0];
            return self.set_scalar(0, self.converted(from, to, truncates, x));
        }
        let x = match from.size {
            0 => {
                from.size = match self.instruction.op2_register().size() {
                    0 => self.instruction.memory_size().size(),
                    size => size,
                };
                self.scalar(2)?
            }
            size => self.elements(2, size, 1)?[0],
        };
        self.set_scalar_element(1, to.size, self.converted(from, to, truncates, x))
    }

    fn convert_all(&mut self, from: Type, to: Type, truncates: bool) -> Option<()> {
        let x = self.elements(1, from.size, self.source_bytes()? / from.size)?;
        let result: Elements = x
            .into_iter()
            .map(|x| self.converted(from, to, truncates, x))
            .collect();
        self.set_elements(to.size, &result)
    }

    /// Bytes of the source vector, which a broadcast source does not say.
    pub(super) fn source_bytes(&self) -> Option<usize> {
        const SIZES: [(&str, usize); 5] = [
            ("zmmm512", 64),
            ("ymmm256", 32),
            ("xmmm128", 16),
            ("xmmm64", 8),
            ("xmmm32", 4),
        ];
        let name = format!("{:?}", self.instruction.code());
        SIZES
            .iter()
            .find(|(part, _)| name.contains(part))
            .map(|&(_, size)| size)
    }

    fn round_to_half(&mut self) -> Option<()> {
        let imm = u64::from(self.instruction.immediate8());
        let mut mxcsr = self.world.state.mxcsr;
        if imm & 4 == 0 {
            mxcsr = mxcsr & !0x6000 | (imm & 3) << 13;
        }
        let x = self.elements(1, 4, self.instruction.op1_register().size() / 4)?;
        let result: Elements = x
            .into_iter()
            .map(|x| scalar::resized(4, 2, x, mxcsr))
            .collect();
        self.set_elements(2, &result)
    }

    fn round_to_brain(&mut self, operands: &[u32]) -> Option<()> {
        let bytes = match operands {
            [_] => self.source_bytes()?,
            _ => self.length(),
        };
        let mut result = Elements::new();
        for &operand in operands {
            let x = self.elements(operand, 4, bytes / 4)?;
            result.extend(x.into_iter().map(single_to_brain));
        }
        self.set_elements(2, &result)
    }

    fn every_other(&mut self, first: usize, f: impl Fn(u64) -> u64) -> Option<()> {
        let count = self.length() / 2;
        let x = self.elements(1, 2, count)?;
        let result: Elements = x.into_iter().skip(first).step_by(2).map(f).collect();
        self.set_all_elements(4, &result)
    }

    fn everywhere(&mut self, f: impl Fn(u64) -> u64) -> Option<()> {
        let x = f(self.load(0, 2));
        self.set_all_elements(4, &vec![x; self.length() / 4])
    }
}

fn half_to_single(x: u64) -> u64 {
    scalar::resized(2, 4, x, 0)
}

/// convert_fp32_to_bfloat16 of the manual (SDM volume 2, VCVTNEPS2BF16).
fn single_to_brain(x: u64) -> u64 {
    let (exponent, fraction) = (x >> 23 & 0xff, x & 0x7f_ffff);
    match (exponent, fraction) {
        (0, _) => x >> 31 << 15,
        (0xff, 0) => x >> 16,
        (0xff, _) => x >> 16 | 0x40,
        _ => (x + 0x7fff + (x >> 16 & 1)) >> 16,
    }
}
