//! Which elements of a memory operand a mask lets an instruction touch.

use crate::instruction::Operand;
use iced_x86::{Instruction, Mnemonic as M, Register};

/// A mask over the elements of the memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    source: Source,
    /// Bytes of an element.
    element: usize,
    /// The elements in memory stand side by side: only their number counts.
    packed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Bits of a mask register.
    Bits(Register),
    /// The top bits of a vector register's elements.
    Signs(Register),
}

impl Mask {
    /// The mask of moves, gathers and scatters. Others read their operand whole, or are taken to.
    pub(crate) fn of(instruction: &Instruction) -> Option<Mask> {
        let element = instruction.memory_size().element_size();
        let signs = |register, element| Mask {
            source: Source::Signs(register),
            element,
            packed: false,
        };
        match instruction.mnemonic() {
            M::Maskmovdqu | M::Vmaskmovdqu => Some(signs(instruction.op2_register(), 1)),
            M::Vpmaskmovd | M::Vmaskmovps => Some(signs(instruction.op1_register(), 4)),
            M::Vpmaskmovq | M::Vmaskmovpd => Some(signs(instruction.op1_register(), 8)),
            mnemonic if instruction.has_op_mask() && !instruction.is_broadcast() => {
                let packed = is_packed(mnemonic);
                (packed || instruction.is_vsib() || is_elementwise(mnemonic)).then(|| Mask {
                    source: Source::Bits(instruction.op_mask()),
                    element,
                    packed,
                })
            }
            // The last operand of a gather in the older encoding.
            _ if instruction.is_vsib() && instruction.op_count() == 3 => {
                Some(signs(instruction.op2_register(), element))
            }
            _ => None,
        }
    }

    /// The parts of an operand that are touched; all of it, where the mask cannot be had. `element`
    /// gives elements of registers: register, index, bytes.
    pub(crate) fn parts(
        &self,
        whole: Operand,
        element: &mut dyn FnMut(Register, usize, usize) -> Option<u64>,
    ) -> Vec<Operand> {
        let count = whole.length / self.element.max(1);
        let chosen: Option<Vec<bool>> = (0..count).map(|at| self.is_set(at, element)).collect();
        let Some(mut chosen) = chosen else {
            return vec![whole];
        };
        if self.packed {
            chosen.sort_unstable_by_key(|&set| !set);
        }
        let mut parts: Vec<Operand> = Vec::new();
        for at in (0..count).filter(|&at| chosen[at]) {
            let address = whole.address.wrapping_add((at * self.element) as u64);
            match parts.last_mut() {
                Some(last) if last.address.wrapping_add(last.length as u64) == address => {
                    last.length += self.element;
                }
                _ => parts.push(Operand {
                    address,
                    length: self.element,
                    ..whole
                }),
            }
        }
        parts
    }

    /// Whether the mask has an element; `None` when it cannot be had.
    pub(crate) fn is_set(
        &self,
        at: usize,
        element: &mut dyn FnMut(Register, usize, usize) -> Option<u64>,
    ) -> Option<bool> {
        match self.source {
            Source::Bits(register) => Some(element(register, 0, 8)? >> at & 1 != 0),
            Source::Signs(register) => {
                let value = element(register, at, self.element)?;
                Some(value >> (8 * self.element - 1) & 1 != 0)
            }
        }
    }
}

/// VPEXPAND, VPCOMPRESS and their like.
fn is_packed(mnemonic: M) -> bool {
    matches!(
        mnemonic,
        M::Vpexpandb
            | M::Vpexpandw
            | M::Vpexpandd
            | M::Vpexpandq
            | M::Vexpandps
            | M::Vexpandpd
            | M::Vpcompressb
            | M::Vpcompressw
            | M::Vpcompressd
            | M::Vpcompressq
            | M::Vcompressps
            | M::Vcompresspd
    )
}

/// Moves, which touch an element for each bit of their mask and no other.
fn is_elementwise(mnemonic: M) -> bool {
    matches!(
        mnemonic,
        M::Vmovdqu8
            | M::Vmovdqu16
            | M::Vmovdqu32
            | M::Vmovdqu64
            | M::Vmovdqa32
            | M::Vmovdqa64
            | M::Vmovups
            | M::Vmovupd
            | M::Vmovaps
            | M::Vmovapd
            | M::Vmovss
            | M::Vmovsd
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    /// The parts of a 32-byte operand at 0x1000 as (offset, bytes); the register's elements, or bits, are
    /// those of `mask`.
    #[track_caller]
    fn check(bytes: &[u8], mask: u64, expect: &[(u64, usize)]) {
        let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
        assert_eq!(instruction.len(), bytes.len());
        let whole = Operand {
            address: 0x1000,
            length: 32,
            read: true,
            write: false,
        };
        let mask_of = Mask::of(&instruction).expect("masked");
        let mut element = |register: Register, at: usize, size: usize| match register.is_k() {
            true => Some(mask),
            false => Some((mask >> at & 1) << (8 * size - 1)),
        };
        let parts = mask_of.parts(whole, &mut element);
        let parts: Vec<_> = parts
            .iter()
            .map(|p| (p.address - 0x1000, p.length))
            .collect();
        assert_eq!(parts, expect, "{:?}", instruction.mnemonic());
        assert_eq!(mask_of.parts(whole, &mut |_, _, _| None), [whole]);
    }

    #[test]
    fn only_elements_under_the_mask_are_touched() {
        // vmovdqu8 ymm18{k2},[rsi]
        let bytes = [0x62, 0xe1, 0x7f, 0x2a, 0x6f, 0x16];
        check(&bytes, 0x7f, &[(0, 7)]);
        check(&bytes, 0b1100_1110, &[(1, 3), (6, 2)]);
        check(&bytes, 0, &[]);
        check(&bytes, u64::MAX, &[(0, 32)]);
        // vpmaskmovd ymm0,ymm1,[rax]
        check(&[0xc4, 0xe2, 0x75, 0x8c, 0x00], 0b101, &[(0, 4), (8, 4)]);
        // vpexpandd ymm0{k1},[rax]
        check(
            &[0x62, 0xf2, 0x7d, 0x29, 0x89, 0x00],
            0b1010_0100,
            &[(0, 12)],
        );
    }

    #[test]
    fn what_is_not_known_to_be_masked_is_whole() {
        // vpaddd ymm0{k1},ymm1,[rax]; vpcmpneqb k1{k2},ymm18,[rdi]; vmovdqu8 ymm16,[rsi]
        for bytes in [
            &[0x62, 0xf1, 0x75, 0x29, 0xfe, 0x00][..],
            &[0x62, 0xf3, 0x6d, 0x22, 0x3f, 0x0f, 0x04],
            &[0x62, 0xe1, 0x7f, 0x28, 0x6f, 0x06],
        ] {
            let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
            assert_eq!(instruction.len(), bytes.len());
            assert_eq!(Mask::of(&instruction), None, "{:?}", instruction.mnemonic());
        }
    }
}
