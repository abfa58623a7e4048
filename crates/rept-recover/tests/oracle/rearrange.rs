//! The emulator's instructions that move elements between places: permutations, compression,
//! narrowing, whole blocks.

use crate::emulate::{Cpu, Elements, element, ones, signed};
use iced_x86::OpKind;

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn rearrange(&mut self, name: &str) -> Option<Option<()>> {
        let narrowing = name.strip_prefix("pmov").filter(|rest| {
            let sizes = rest.trim_start_matches("us").trim_start_matches('s');
            matches!(sizes, "wb" | "db" | "qb" | "dw" | "qw" | "qd")
        });
        if let Some(rest) = narrowing {
            return Some(self.narrow(rest));
        }
        if let Some((size, lanes)) = block(name) {
            return Some(self.blocks(name, size, lanes));
        }
        let (stem, size) = match name {
            "permps" | "permi2ps" | "permt2ps" | "compressps" | "expandps" => {
                (name.strip_suffix("ps")?, 4)
            }
            "permpd" | "permi2pd" | "permt2pd" | "compresspd" | "expandpd" => {
                (name.strip_suffix("pd")?, 8)
            }
            "permilps" => ("permil", 4),
            "permilpd" => ("permil", 8),
            "pmultishiftqb" => return Some(self.multishift()),
            _ => element(name)?,
        };
        let count = self.length() / size;
        match stem {
            "perm" => Some(self.permute(size, count)),
            "permil" => Some(self.within_blocks(size, count)),
            "permi2" | "permt2" => Some(self.permute_two(size, count, stem == "permi2")),
            "align" => Some(self.align(size, count)),
            "pcompress" | "compress" => Some(self.compress(size, count)),
            "pexpand" | "expand" => Some(self.expand(size, count)),
            "pshldv" | "pshrdv" => Some(self.funnel_variable(size, count, stem == "pshldv")),
            "pconflict" => Some(self.conflict(size, count)),
            "pshld" | "pshrd" => Some(self.funnel(size, count, stem == "pshld")),
            _ => None,
        }
    }

    pub(super) fn has_immediate(&self) -> bool {
        let last = self.instruction.op_count() - 1;
        self.instruction.op_kind(last) == OpKind::Immediate8
    }

    fn permute(&mut self, size: usize, count: usize) -> Option<()> {
        if self.has_immediate() {
            let x = self.elements(1, size, count)?;
            let imm = self.instruction.immediate(2) as usize;
            let result: Elements = (0..count)
                .map(|i| x[i / 4 * 4 + (imm >> (i % 4 * 2) & 3)])
                .collect();
            return self.set_elements(size, &result);
        }
        let (index, x) = (
            self.elements(1, size, count)?,
            self.elements(2, size, count)?,
        );
        let result: Elements = index.iter().map(|&i| x[i as usize % count]).collect();
        self.set_elements(size, &result)
    }

    fn within_blocks(&mut self, size: usize, count: usize) -> Option<()> {
        let x = self.elements(1, size, count)?;
        let per_block = 16 / size;
        let choice: Elements = if self.has_immediate() {
            let imm = self.instruction.immediate(2);
            let each = |i: usize| match size {
                4 => imm >> (i % 4 * 2) & 3,
                _ => imm >> i & 1,
            };
            (0..count).map(each).collect()
        } else {
            let control = self.elements(2, size, count)?;
            control
                .iter()
                .map(|&c| if size == 4 { c & 3 } else { c >> 1 & 1 })
                .collect()
        };
        let result: Elements = (0..count)
            .map(|i| x[i / per_block * per_block + choice[i] as usize])
            .collect();
        self.set_elements(size, &result)
    }

    fn permute_two(&mut self, size: usize, count: usize, over_indices: bool) -> Option<()> {
        let (first, index) = if over_indices { (1, 0) } else { (0, 1) };
        let (x, index) = (
            self.elements(first, size, count)?,
            self.elements(index, size, count)?,
        );
        let y = self.elements(2, size, count)?;
        let result: Elements = index
            .iter()
            .map(|&i| {
                let i = i as usize % (2 * count);
                if i < count { x[i] } else { y[i - count] }
            })
            .collect();
        self.set_elements(size, &result)
    }

    fn align(&mut self, size: usize, count: usize) -> Option<()> {
        let mut all = self.elements(2, size, count)?;
        all.extend(self.elements(1, size, count)?);
        let shift = self.instruction.immediate(3) as usize % count;
        self.set_elements(size, &all[shift..shift + count])
    }

    fn compress(&mut self, size: usize, count: usize) -> Option<()> {
        let x = self.elements(1, size, count)?;
        let chosen: Elements = (0..count)
            .filter(|&i| self.selected(i))
            .map(|i| x[i])
            .collect();
        if self.instruction.op0_kind() == OpKind::Memory {
            for (i, &value) in chosen.iter().enumerate() {
                self.store(value, i * size, size);
            }
            return Some(());
        }
        let zeroing = self.instruction.zeroing_masking();
        let old = self.elements(0, size, count)?;
        let mut lanes = [0u64; 8];
        for i in 0..count {
            let kept = if zeroing { 0 } else { old[i] };
            let value = chosen.get(i).copied().unwrap_or(kept);
            lanes[i * size / 8] |= value << (i * size % 8 * 8);
        }
        self.world.state.vector[self.instruction.op0_register().number()] = lanes;
        Some(())
    }

    fn expand(&mut self, size: usize, count: usize) -> Option<()> {
        let memory = self.instruction.op_kind(1) == OpKind::Memory;
        let register = if memory {
            Vec::new()
        } else {
            self.elements(1, size, count)?
        };
        let mut next = 0;
        let mut result = vec![0; count];
        for (i, slot) in result.iter_mut().enumerate() {
            if self.selected(i) {
                *slot = if memory {
                    self.load(next * size, size)
                } else {
                    register[next]
                };
                next += 1;
            }
        }
        self.set_elements(size, &result)
    }

    fn conflict(&mut self, size: usize, count: usize) -> Option<()> {
        let x = self.elements(1, size, count)?;
        let result: Elements = (0..count)
            .map(|i| (0..i).fold(0, |bits, j| bits | u64::from(x[i] == x[j]) << j))
            .collect();
        self.set_elements(size, &result)
    }

    fn funnel(&mut self, size: usize, count: usize, left: bool) -> Option<()> {
        let bits = 8 * size as u32;
        let (x, y) = (
            self.elements(1, size, count)?,
            self.elements(2, size, count)?,
        );
        let by = self.instruction.immediate(3) as u32 % bits;
        let both = |high: u64, low: u64| u128::from(high) << bits | u128::from(low);
        let result: Elements = x
            .iter()
            .zip(&y)
            .map(|(&x, &y)| match left {
                true => (both(x, y) << by >> bits) as u64,
                false => (both(y, x) >> by) as u64,
            })
            .map(|value| value & ones(8 * size))
            .collect();
        self.set_elements(size, &result)
    }

    fn funnel_variable(&mut self, size: usize, count: usize, left: bool) -> Option<()> {
        let bits = 8 * size as u32;
        let [x, y, by] = [0, 1, 2].map(|operand| self.elements(operand, size, count));
        let (x, y, by) = (x?, y?, by?);
        let both = |high: u64, low: u64| u128::from(high) << bits | u128::from(low);
        let one = |i: usize| {
            let by = by[i] as u32 % bits;
            let value = match left {
                true => both(x[i], y[i]) << by >> bits,
                false => both(y[i], x[i]) >> by,
            };
            value as u64 & ones(8 * size)
        };
        self.set_elements(size, &(0..count).map(one).collect::<Elements>())
    }

    fn multishift(&mut self) -> Option<()> {
        let count = self.length() / 8;
        let (control, x) = (self.elements(1, 8, count)?, self.elements(2, 8, count)?);
        let result: Elements = (0..count * 8)
            .map(|i| {
                let by = control[i / 8] >> (i % 8 * 8) & 63;
                x[i / 8].rotate_right(by as u32) & 0xff
            })
            .collect();
        self.set_elements(1, &result)
    }

    fn narrow(&mut self, rest: &str) -> Option<()> {
        let sizes = rest.trim_start_matches("us").trim_start_matches('s');
        let (from, to) = (element(&sizes[..1])?.1, element(&sizes[1..])?.1);
        let source = self.instruction.op1_register().size();
        let bits = 8 * to as u32;
        let x = self.elements(1, from, source / from)?;
        let result: Elements = x
            .iter()
            .map(|&x| match rest.strip_suffix(sizes) {
                Some("us") => x.min(ones(8 * to)),
                Some("s") => {
                    let limit = 1i64 << (bits - 1);
                    signed(x, from).clamp(-limit, limit - 1) as u64 & ones(8 * to)
                }
                _ => x & ones(8 * to),
            })
            .collect();
        self.set_elements(to, &result)
    }

    /// Whole blocks: broadcast, extracted, inserted, shuffled.
    fn blocks(&mut self, name: &str, size: usize, lanes: usize) -> Option<()> {
        let last = self.instruction.op_count() - 1;
        let imm = match self.has_immediate() {
            true => self.instruction.immediate(last) as usize,
            false => 0,
        };
        let block = lanes * 8 / size;
        let result = if name.starts_with("broadcast") {
            let x = self.elements(1, size, block)?;
            (0..self.length() / size).map(|i| x[i % block]).collect()
        } else if name.starts_with("extract") {
            let count = self.instruction.op1_register().size() / size;
            let x = self.elements(1, size, count)?;
            x[imm % (count / block) * block..][..block].to_vec()
        } else if name.starts_with("insert") {
            let count = self.length() / size;
            let (mut x, y) = (
                self.elements(1, size, count)?,
                self.elements(2, size, block)?,
            );
            x[imm % (count / block) * block..][..block].copy_from_slice(&y);
            x
        } else {
            let count = self.length() / size;
            let (x, y) = (
                self.elements(1, size, count)?,
                self.elements(2, size, count)?,
            );
            let blocks = count / block;
            let bits = blocks.trailing_zeros() as usize;
            let from = |i: usize| {
                let source = if i / block < blocks / 2 { &x } else { &y };
                source[(imm >> (i / block * bits)) % blocks * block + i % block]
            };
            (0..count).map(from).collect::<Elements>()
        };
        self.set_elements(size, &result)
    }
}

/// Element size and lanes of a block, by the end of the name.
fn block(name: &str) -> Option<(usize, usize)> {
    let moves = ["broadcast", "extract", "insert", "shuf"];
    if !moves.iter().any(|stem| name.starts_with(stem)) {
        return None;
    }
    let shape = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    Some(match shape {
        "32x2" => (4, 1),
        "32x4" => (4, 2),
        "64x2" => (8, 2),
        "32x8" => (4, 4),
        "64x4" => (8, 4),
        _ => return None,
    })
}
