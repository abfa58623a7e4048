//! The emulator's sums of products, and its arithmetic in the field of AES.

use crate::emulate::{Cpu, Elements, ones, signed};

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn products(&mut self, name: &str) -> Option<Option<()>> {
        match name {
            "pmadd52luq" | "pmadd52huq" => Some(self.accumulate(8, |sum, x, y| {
                let product = u128::from(x & ones(52)) * u128::from(y & ones(52));
                let part = if name == "pmadd52luq" {
                    product
                } else {
                    product >> 52
                };
                sum.wrapping_add(part as u64 & ones(52))
            })),
            "gf2p8mulb" => Some(self.bytes(|x, y, _| field_product(x, y))),
            "gf2p8affineqb" => Some(self.bytes(affine)),
            "gf2p8affineinvqb" => {
                Some(self.bytes(|x, matrix, imm| affine(field_inverse(x), matrix, imm)))
            }
            "pshufbitqmb" => Some(self.chosen_bits()),
            _ => {
                let dot = Dot::named(name.strip_prefix("pdp")?)?;
                Some(self.accumulate(4, |sum, x, y| dot.of(sum, x, y)))
            }
        }
    }

    fn accumulate(&mut self, size: usize, f: impl Fn(u64, u64, u64) -> u64) -> Option<()> {
        let count = self.length() / size;
        let [sum, x, y] = [0, 1, 2].map(|operand| self.elements(operand, size, count));
        let (sum, x, y) = (sum?, x?, y?);
        let result: Elements = (0..count).map(|i| f(sum[i], x[i], y[i])).collect();
        self.set_elements(size, &result)
    }

    /// Bytes of the first source with the quadword (or byte, for products) of the second.
    fn bytes(&mut self, f: impl Fn(u8, Matrix, u8) -> u8) -> Option<()> {
        let count = self.length();
        let x = self.elements(1, 1, count)?;
        let rows = self.elements(2, 8, count / 8)?;
        let imm = match self.instruction.op_count() {
            4 => self.instruction.immediate8(),
            _ => 0,
        };
        let one = |i: usize| {
            let matrix = Matrix {
                rows: rows[i / 8],
                column: i % 8,
            };
            u64::from(f(x[i] as u8, matrix, imm))
        };
        self.set_elements(1, &(0..count).map(one).collect::<Elements>())
    }

    fn chosen_bits(&mut self) -> Option<()> {
        let count = self.length();
        let (x, places) = (self.elements(1, 8, count / 8)?, self.elements(2, 1, count)?);
        self.set_mask((0..count).map(|i| x[i / 8] >> (places[i] & 63) & 1 == 1))
    }
}

/// The quadword beside a byte, and which of its bytes lies beside it.
struct Matrix {
    rows: u64,
    column: usize,
}

/// Bit `i` is the parity of row `7 - i` and the byte, plus that of the constant.
fn affine(x: u8, matrix: Matrix, constant: u8) -> u8 {
    (0..8).fold(0, |byte, bit| {
        let row = (matrix.rows >> ((7 - bit) * 8)) as u8;
        let odd = (row & x).count_ones() as u8 & 1;
        byte | (odd ^ constant >> bit & 1) << bit
    })
}

fn field_product(x: u8, other: Matrix) -> u8 {
    product(x, (other.rows >> (other.column * 8)) as u8)
}

/// The product of polynomials, less multiples of x^8 + x^4 + x^3 + x + 1.
fn product(x: u8, y: u8) -> u8 {
    let mut long = (0..8)
        .filter(|bit| y >> bit & 1 == 1)
        .fold(0u32, |sum, bit| sum ^ u32::from(x) << bit);
    for bit in (8..15).rev() {
        if long >> bit & 1 == 1 {
            long ^= 0x11b << (bit - 8);
        }
    }
    long as u8
}

fn field_inverse(x: u8) -> u8 {
    (0..=255).find(|&y| product(x, y) == 1).unwrap_or(0)
}

/// VPDPxxD: how its parts are taken.
struct Dot {
    part: usize,
    x_signed: bool,
    y_signed: bool,
    saturates: bool,
}

impl Dot {
    /// From what follows VPDP: `busd`, `wssds`.
    fn named(name: &str) -> Option<Dot> {
        let saturates = name.len() == 5 && name.ends_with('s');
        let [part, x, y, b'd'] = name.as_bytes()[..4.min(name.len())] else {
            return None;
        };
        Some(Dot {
            part: match part {
                b'b' => 1,
                b'w' => 2,
                _ => return None,
            },
            x_signed: x == b's',
            y_signed: y == b's',
            saturates,
        })
    }

    fn of(&self, sum: u64, x: u64, y: u64) -> u64 {
        let taken = |word: u64, at: usize, is_signed: bool| {
            let part = word >> (at * 8 * self.part) & ones(8 * self.part);
            match is_signed {
                true => signed(part, self.part),
                false => part as i64,
            }
        };
        let products: i64 = (0..4 / self.part)
            .map(|at| taken(x, at, self.x_signed) * taken(y, at, self.y_signed))
            .sum();
        let is_signed = self.x_signed || self.y_signed;
        let total = products
            + if is_signed {
                signed(sum, 4)
            } else {
                sum as i64
            };
        let limited = match (self.saturates, is_signed) {
            (false, _) => total,
            (true, true) => total.clamp(i32::MIN.into(), i32::MAX.into()),
            (true, false) => total.min(u32::MAX.into()),
        };
        limited as u64 & ones(32)
    }
}
