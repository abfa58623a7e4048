//! The emulator's moves, insertions and extractions, and what packs, unpacks, shuffles or
//! multiplies within blocks of 128 bits.

use crate::emulate::{Cpu, Elements, element, ones, signed};
use iced_x86::OpKind;
use std::arch::asm;

impl Cpu<'_> {
    /// `None` when the name is not one of these.
    pub(super) fn moves(&mut self, name: &str) -> Option<Option<()>> {
        Some(match name {
            "movss" => self.move_lowest(4),
            "movsd" => self.move_lowest(8),
            "movsh" => self.move_lowest(2),
            "movw" => self.move_general(2),
            "movd" => self.move_general(4),
            "movq" => self.move_general(8),
            "movlps" | "movlpd" => self.move_quadword(0),
            "movhps" | "movhpd" => self.move_quadword(1),
            "movhlps" => self.quadwords(|x, y| [y[1], x[1]]),
            "movlhps" => self.quadwords(|x, y| [x[0], y[0]]),
            "movsldup" => self.each_from(4, |i| i & !1),
            "movshdup" => self.each_from(4, |i| i | 1),
            "movddup" => self.each_from(8, |i| i & !1),
            "broadcastss" => self.each_from(4, |_| 0),
            "broadcastsd" => self.each_from(8, |_| 0),
            "pbroadcastmb2q" => self.mask_everywhere(1, 8),
            "pbroadcastmw2d" => self.mask_everywhere(2, 4),
            "pextrb" => self.extract(1),
            "pextrw" => self.extract(2),
            "pextrd" | "extractps" => self.extract(4),
            "pextrq" => self.extract(8),
            "pinsrb" => self.insert(1),
            "pinsrw" => self.insert(2),
            "pinsrd" => self.insert(4),
            "pinsrq" => self.insert(8),
            "insertps" => self.insert_single(),
            "blendmps" => self.blend(4),
            "blendmpd" => self.blend(8),
            "pmovb2m" => self.signs(1),
            "pmovw2m" => self.signs(2),
            "pmovd2m" => self.signs(4),
            "pmovq2m" => self.signs(8),
            _ => return self.extensions(name).or_else(|| self.within_block(name)),
        })
    }

    fn to_memory(&self) -> bool {
        self.instruction.op0_kind() == OpKind::Memory
    }

    fn move_lowest(&mut self, size: usize) -> Option<()> {
        match self.instruction.op_count() {
            3 => {
                let value = self.elements(2, size, 1)?[0];
                self.set_scalar_element(1, size, value)
            }
            _ => {
                let value = self.elements(1, size, 1)?;
                self.set_elements(size, &value)
            }
        }
    }

    fn move_general(&mut self, size: usize) -> Option<()> {
        let value = match self.instruction.op1_register().is_vector_register() {
            true => self.elements(1, size, 1)?[0],
            false => self.scalar(1)? & ones(8 * size),
        };
        if self.instruction.op0_register().is_vector_register() {
            return self.set_all_elements(size, &[value]);
        }
        self.set_general(value, size)
    }

    /// To a general register, zero-extended, or to memory.
    fn set_general(&mut self, value: u64, size: usize) -> Option<()> {
        if self.to_memory() {
            self.store(value, 0, size);
            return Some(());
        }
        self.set_scalar(0, value)
    }

    fn move_quadword(&mut self, place: usize) -> Option<()> {
        if self.to_memory() {
            let value = self.elements(1, 8, 2)?[place];
            self.store(value, 0, 8);
            return Some(());
        }
        let mut result = self.elements(1, 8, 2)?;
        result[place] = self.load(0, 8);
        self.set_all_elements(8, &result)
    }

    fn quadwords(&mut self, f: impl Fn(&[u64], &[u64]) -> [u64; 2]) -> Option<()> {
        let (x, y) = (self.elements(1, 8, 2)?, self.elements(2, 8, 2)?);
        self.set_all_elements(8, &f(&x, &y))
    }

    fn each_from(&mut self, size: usize, from: impl Fn(usize) -> usize) -> Option<()> {
        let count = self.length() / size;
        let x = self.elements(1, size, count)?;
        let result: Elements = (0..count).map(|i| x[from(i)]).collect();
        self.set_elements(size, &result)
    }

    fn mask_everywhere(&mut self, bytes: usize, size: usize) -> Option<()> {
        let mask = self.scalar(1)? & ones(8 * bytes);
        self.set_all_elements(size, &vec![mask; self.length() / size])
    }

    fn place(&self, count: usize) -> usize {
        usize::from(self.instruction.immediate8()) % count
    }

    fn extract(&mut self, size: usize) -> Option<()> {
        let x = self.elements(1, size, 16 / size)?;
        self.set_general(x[self.place(16 / size)], size)
    }

    fn insert(&mut self, size: usize) -> Option<()> {
        let mut x = self.elements(1, size, 16 / size)?;
        x[self.place(16 / size)] = self.scalar(2)? & ones(8 * size);
        self.set_all_elements(size, &x)
    }

    fn insert_single(&mut self) -> Option<()> {
        let imm = usize::from(self.instruction.immediate8());
        let mut x = self.elements(1, 4, 4)?;
        x[imm >> 4 & 3] = match self.instruction.op2_kind() {
            OpKind::Memory => self.load(0, 4),
            _ => self.elements(2, 4, 4)?[imm >> 6],
        };
        for (i, value) in x.iter_mut().enumerate() {
            if imm >> i & 1 == 1 {
                *value = 0;
            }
        }
        self.set_all_elements(4, &x)
    }

    fn blend(&mut self, size: usize) -> Option<()> {
        let count = self.length() / size;
        let (x, y) = (
            self.elements(1, size, count)?,
            self.elements(2, size, count)?,
        );
        let zeroing = self.instruction.zeroing_masking();
        let one = |i: usize| match self.selected(i) {
            true => y[i],
            false if zeroing => 0,
            false => x[i],
        };
        let result: Elements = (0..count).map(one).collect();
        self.set_all_elements(size, &result)
    }

    fn signs(&mut self, size: usize) -> Option<()> {
        let x = self.elements(1, size, self.length() / size)?;
        self.set_mask(x.into_iter().map(|x| signed(x, size) < 0))
    }

    /// PMOVSX and PMOVZX.
    fn extensions(&mut self, name: &str) -> Option<Option<()>> {
        let sizes = name
            .strip_prefix("pmovsx")
            .or(name.strip_prefix("pmovzx"))?;
        let is_signed = name.starts_with("pmovs");
        let (from, to) = (element(&sizes[..1])?.1, element(sizes)?.1);
        let count = self.length() / to;
        let extended = |x: u64| match is_signed {
            true => signed(x, from) as u64,
            false => x,
        };
        Some(self.elements(1, from, count).and_then(|x| {
            let result: Elements = x.into_iter().map(extended).collect();
            self.set_elements(to, &result)
        }))
    }

    /// `f` of each 128 bits of the two sources (or twice the one), and their number.
    fn by_block(
        &mut self,
        [from, to]: [usize; 2],
        f: impl Fn(usize, &[u64], &[u64]) -> Elements,
    ) -> Option<()> {
        let count = self.length() / from;
        let x = self.elements(1, from, count)?;
        let two =
            self.instruction.op_count() > 2 && self.instruction.op2_kind() != OpKind::Immediate8;
        let y = if two {
            self.elements(2, from, count)?
        } else {
            x.clone()
        };
        let block = 16 / from;
        let blocks = x.chunks(block).zip(y.chunks(block)).enumerate();
        let result: Elements = blocks.flat_map(|(at, (x, y))| f(at, x, y)).collect();
        self.set_elements(to, &result)
    }

    fn within_block(&mut self, name: &str) -> Option<Option<()>> {
        let imm = usize::from(
            self.instruction
                .try_immediate(self.instruction.op_count() - 1)
                .unwrap_or(0) as u8,
        );
        if let Some(half) = name.strip_prefix("punpck").or(name.strip_prefix("unpck")) {
            let size = unpacked(half)?;
            let first = if half.starts_with('h') { 8 / size } else { 0 };
            let pairs = move |_: usize, x: &[u64], y: &[u64]| {
                (first..first + 8 / size)
                    .flat_map(|i| [x[i], y[i]])
                    .collect()
            };
            return Some(self.by_block([size, size], pairs));
        }
        Some(match name {
            "shufps" => self.by_block([4, 4], |_, x, y| {
                vec![x[imm & 3], x[imm >> 2 & 3], y[imm >> 4 & 3], y[imm >> 6]]
            }),
            "shufpd" => self.by_block([8, 8], |at, x, y| {
                vec![x[imm >> (2 * at) & 1], y[imm >> (2 * at + 1) & 1]]
            }),
            "pshufd" => self.by_block([4, 4], |_, x, _| {
                (0..4).map(|i| x[imm >> (2 * i) & 3]).collect()
            }),
            "pshuflw" => self.by_block([2, 2], |_, x, _| {
                let low = (0..4).map(|i| x[imm >> (2 * i) & 3]);
                low.chain(x[4..].iter().copied()).collect()
            }),
            "pshufhw" => self.by_block([2, 2], |_, x, _| {
                let high = (0..4).map(|i| x[4 + (imm >> (2 * i) & 3)]);
                x[..4].iter().copied().chain(high).collect()
            }),
            "pshufb" => self.by_block([1, 1], |_, x, y| {
                let chosen = |&c: &u64| if c & 0x80 != 0 { 0 } else { x[c as usize & 15] };
                y.iter().map(chosen).collect()
            }),
            "palignr" => self.by_block([1, 1], |_, x, y| shifted(&[y, x].concat(), imm, 16)),
            "psrldq" => self.by_block([1, 1], |_, x, _| shifted(x, imm, 16)),
            "pslldq" => self.by_block([1, 1], |_, x, _| {
                let zeros = vec![0; imm.min(16)];
                [&zeros[..], x].concat()[..16].to_vec()
            }),
            "packsswb" => self.by_block([2, 1], |_, x, y| packed(x, y, 2, -0x80, 0x7f)),
            "packuswb" => self.by_block([2, 1], |_, x, y| packed(x, y, 2, 0, 0xff)),
            "packssdw" => self.by_block([4, 2], |_, x, y| packed(x, y, 4, -0x8000, 0x7fff)),
            "packusdw" => self.by_block([4, 2], |_, x, y| packed(x, y, 4, 0, 0xffff)),
            _ => return self.multiplied(name, imm),
        })
    }

    fn multiplied(&mut self, name: &str, imm: usize) -> Option<Option<()>> {
        Some(match name {
            "psadbw" => self.by_block([1, 8], |_, x, y| {
                let sum = |at: usize| (at..at + 8).map(|i| x[i].abs_diff(y[i])).sum();
                vec![sum(0), sum(8)]
            }),
            "pmaddwd" => self.by_block([2, 4], |_, x, y| {
                let product = |i: usize| signed(x[i], 2) * signed(y[i], 2);
                (0..4)
                    .map(|i| (product(2 * i) + product(2 * i + 1)) as u64)
                    .collect()
            }),
            "pmaddubsw" => self.by_block([1, 2], |_, x, y| {
                let product = |i: usize| x[i] as i64 * signed(y[i], 1);
                let sum = |i: usize| (product(2 * i) + product(2 * i + 1)).clamp(-0x8000, 0x7fff);
                (0..8).map(|i| sum(i) as u64).collect()
            }),
            "pmuludq" => self.by_block([8, 8], |_, x, y| {
                (0..2)
                    .map(|i| (x[i] & ones(32)) * (y[i] & ones(32)))
                    .collect()
            }),
            "pmuldq" => self.by_block([8, 8], |_, x, y| {
                (0..2)
                    .map(|i| (signed(x[i], 4) * signed(y[i], 4)) as u64)
                    .collect()
            }),
            "pmulhw" => self.words(|x, y| ((signed(x, 2) * signed(y, 2)) >> 16) as u64),
            "pmulhuw" => self.words(|x, y| (x * y) >> 16),
            "pmulhrsw" => {
                self.words(|x, y| ((((signed(x, 2) * signed(y, 2)) >> 14) + 1) >> 1) as u64)
            }
            "pclmulqdq" => self.by_block([8, 8], |_, x, y| {
                let product = carryless(x[imm & 1], y[imm >> 4 & 1]);
                vec![product as u64, (product >> 64) as u64]
            }),
            "aesenc" | "aesenclast" | "aesdec" | "aesdeclast" => {
                if !std::arch::is_x86_feature_detected!("aes") {
                    return Some(None);
                }
                let name = name.to_owned();
                self.by_block([8, 8], |_, x, y| aes_round(&name, x, y))
            }
            "andps" | "andpd" => self.bits(name, |x, y| x & y),
            "andnps" | "andnpd" => self.bits(name, |x, y| !x & y),
            "orps" | "orpd" => self.bits(name, |x, y| x | y),
            "xorps" | "xorpd" => self.bits(name, |x, y| x ^ y),
            _ => return None,
        })
    }

    fn words(&mut self, f: impl Fn(u64, u64) -> u64) -> Option<()> {
        self.by_block([2, 2], |_, x, y| (0..8).map(|i| f(x[i], y[i])).collect())
    }

    fn bits(&mut self, name: &str, f: impl Fn(u64, u64) -> u64) -> Option<()> {
        let size = if name.ends_with('s') { 4 } else { 8 };
        self.by_block([size, size], |_, x, y| {
            x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
        })
    }
}

/// The size of what `lbw`, `hdq`, `lps` unpack.
fn unpacked(half: &str) -> Option<usize> {
    Some(match &half[1..] {
        "bw" => 1,
        "wd" => 2,
        "dq" | "ps" => 4,
        "qdq" | "pd" => 8,
        _ => return None,
    })
}

fn shifted(bytes: &[u64], by: usize, count: usize) -> Elements {
    (by..by + count)
        .map(|i| bytes.get(i).copied().unwrap_or(0))
        .collect()
}

fn packed(x: &[u64], y: &[u64], size: usize, least: i64, greatest: i64) -> Elements {
    let limited = |&x: &u64| signed(x, size).clamp(least, greatest) as u64;
    x.iter().chain(y).map(limited).collect()
}

fn carryless(x: u64, y: u64) -> u128 {
    (0..64)
        .filter(|bit| y >> bit & 1 == 1)
        .fold(0, |sum, bit| sum ^ u128::from(x) << bit)
}

/// By the processor's own instruction.
macro_rules! on_blocks {
    ($instruction:literal, $x:expr, $key:expr) => {{
        let (mut x, key) = ($x, $key);
        // SAFETY: reads and writes the two arrays named; the processor was asked whether it has it.
        unsafe {
            asm!(
                "movdqu {a}, [{x}]",
                "movdqu {b}, [{key}]",
                concat!($instruction, " {a}, {b}"),
                "movdqu [{x}], {a}",
                x = in(reg) x.as_mut_ptr(),
                key = in(reg) key.as_ptr(),
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
            );
        }
        x.to_vec()
    }};
}

fn aes_round(name: &str, x: &[u64], key: &[u64]) -> Elements {
    let (x, key) = ([x[0], x[1]], [key[0], key[1]]);
    match name {
        "aesenc" => on_blocks!("aesenc", x, key),
        "aesenclast" => on_blocks!("aesenclast", x, key),
        "aesdec" => on_blocks!("aesdec", x, key),
        _ => on_blocks!("aesdeclast", x, key),
    }
}
