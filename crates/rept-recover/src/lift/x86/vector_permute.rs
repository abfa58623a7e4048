//! Elements chosen by other elements or by mask bits, across a whole vector; and narrowing moves.

use crate::lift::Lowered;
use crate::lift::builder::Builder;
use crate::lift::gather::Byte;
use crate::lift::value::{Pred, Val};
use crate::lift::vector::Lanes;
use crate::op::Op;
use iced_x86::{Mnemonic as M, OpKind};
use rept_trace::RegWord;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Vpermb => permute(b, 1, 2, 1),
        M::Vpermw => permute(b, 2, 2, 1),
        M::Vpermd | M::Vpermps => permute(b, 4, 2, 1),
        M::Vpermq | M::Vpermpd => permute(b, 8, 2, 1),
        M::Vpermilps => within_blocks(b, 4, 0),
        M::Vpermilpd => within_blocks(b, 8, 1),
        M::Vpermi2b => permute_two(b, 1, true),
        M::Vpermi2w => permute_two(b, 2, true),
        M::Vpermi2d | M::Vpermi2ps => permute_two(b, 4, true),
        M::Vpermi2q | M::Vpermi2pd => permute_two(b, 8, true),
        M::Vpermt2b => permute_two(b, 1, false),
        M::Vpermt2w => permute_two(b, 2, false),
        M::Vpermt2d | M::Vpermt2ps => permute_two(b, 4, false),
        M::Vpermt2q | M::Vpermt2pd => permute_two(b, 8, false),
        M::Valignd => align(b, 4),
        M::Valignq => align(b, 8),
        M::Vpcompressb => compress(b, 1),
        M::Vpcompressw => compress(b, 2),
        M::Vpcompressd | M::Vcompressps => compress(b, 4),
        M::Vpcompressq | M::Vcompresspd => compress(b, 8),
        M::Vpexpandb => expand(b, 1),
        M::Vpexpandw => expand(b, 2),
        M::Vpexpandd | M::Vexpandps => expand(b, 4),
        M::Vpexpandq | M::Vexpandpd => expand(b, 8),
        M::Vpmultishiftqb => multishift(b),
        _ => return narrowing(b, m),
    }
    Lowered::Done
}

fn narrowing(b: &Builder, m: M) -> Lowered {
    match m {
        M::Vpmovwb => narrow(b, 2, 1, Saturation::None),
        M::Vpmovdb => narrow(b, 4, 1, Saturation::None),
        M::Vpmovqb => narrow(b, 8, 1, Saturation::None),
        M::Vpmovdw => narrow(b, 4, 2, Saturation::None),
        M::Vpmovqw => narrow(b, 8, 2, Saturation::None),
        M::Vpmovqd => narrow(b, 8, 4, Saturation::None),
        M::Vpmovswb => narrow(b, 2, 1, Saturation::Signed),
        M::Vpmovsdb => narrow(b, 4, 1, Saturation::Signed),
        M::Vpmovsqb => narrow(b, 8, 1, Saturation::Signed),
        M::Vpmovsdw => narrow(b, 4, 2, Saturation::Signed),
        M::Vpmovsqw => narrow(b, 8, 2, Saturation::Signed),
        M::Vpmovsqd => narrow(b, 8, 4, Saturation::Signed),
        M::Vpmovuswb => narrow(b, 2, 1, Saturation::Unsigned),
        M::Vpmovusdb => narrow(b, 4, 1, Saturation::Unsigned),
        M::Vpmovusqb => narrow(b, 8, 1, Saturation::Unsigned),
        M::Vpmovusdw => narrow(b, 4, 2, Saturation::Unsigned),
        M::Vpmovusqw => narrow(b, 8, 2, Saturation::Unsigned),
        M::Vpmovusqd => narrow(b, 8, 4, Saturation::Unsigned),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

impl Builder {
    /// The bytes of `table` that the bytes of `indices` name (modulo its size, a power of two).
    ///
    /// A shuffle chooses from two words; a longer table is asked pair by pair, each answering
    /// zero for the bytes that lie in another.
    fn chosen_bytes<'b>(&'b self, table: &[Val<'b>], indices: Val<'b>) -> Val<'b> {
        let within = indices & self.replicated(0x0f, 8);
        let pairs = table.chunks(2);
        let count = pairs.len() as u64;
        let which = indices & self.replicated((count - 1) << 4, 8);
        let parts = (0u64..).zip(pairs).map(|(number, pair)| {
            let control = if count == 1 {
                within
            } else {
                let here = self.replicated(number << 4, 8);
                let elsewhere = which.packed_pred(Op::Eq, 8, here).negated();
                within | (self.expanded(elsewhere, 8) & self.replicated(0x80, 8))
            };
            let second = pair.last().copied().unwrap_or(pair[0]);
            self.apply(Op::Shuffle, 64, 0, [pair[0], second, control], 64)
        });
        parts
            .reduce(|all, part| all | part)
            .unwrap_or_else(|| self.constant(0, 64))
    }

    /// Byte indices from the indices of elements of `bytes`, which lie in the low bits (from
    /// bit `from` on) of each element of the word.
    fn byte_indices<'b>(
        &'b self,
        elements: Val<'b>,
        bytes: usize,
        from: u16,
        table: usize,
    ) -> Val<'b> {
        if bytes == 1 {
            return elements;
        }
        let width = bytes as u32 * 8;
        let limit = (table * 8 / bytes - 1) as u64;
        let low = elements & self.replicated(limit << from, width);
        let shift = bytes.trailing_zeros() as u16;
        let first = match shift.checked_sub(from) {
            Some(0) => low,
            Some(left) => low.packed(Op::Shl, width, left, low),
            None => low.packed(Op::Shr, width, from - shift, low),
        };
        let source = [first];
        let everywhere = self.assemble(1, |at| Byte::of(&source, at / bytes * bytes))[0];
        let within = (0..8).fold(0, |word, at| word | ((at % bytes) as u64) << (at * 8));
        everywhere | self.constant(within, 64)
    }
}

/// Elements of operand `table`, chosen by those of operand `indices`.
fn permute(b: &Builder, bytes: usize, table: u32, indices: u32) {
    let width = bytes as u32 * 8;
    let (table, indices) = (b.elements(table, width), b.elements(indices, width));
    choose(b, bytes, &table, &indices);
}

/// Writes the elements of `table` that the indices choose.
fn choose<'a>(b: &'a Builder, bytes: usize, table: &[Val<'a>], indices: &[Val<'a>]) {
    let result: Lanes<'_> = indices
        .iter()
        .map(|&index| {
            let bytes = b.byte_indices(index, bytes, 0, table.len());
            b.chosen_bytes(table, bytes)
        })
        .collect();
    b.set_elements(0, bytes as u32 * 8, &result);
}

/// VPERMIL2 by a vector: each element chooses within its block of 128 bits.
fn within_blocks(b: &Builder, bytes: usize, from: u16) {
    let width = bytes as u32 * 8;
    let (table, indices) = (b.elements(1, width), b.elements(2, width));
    let result: Lanes<'_> = (0..table.len())
        .map(|lane| {
            let bytes = b.byte_indices(indices[lane], bytes, from, 2);
            b.chosen_bytes(&table[lane / 2 * 2..][..2], bytes)
        })
        .collect();
    b.set_elements(0, width, &result);
}

/// VPERMI2 overwrites the indices, VPERMT2 the first of the two tables.
fn permute_two(b: &Builder, bytes: usize, over_indices: bool) {
    let width = bytes as u32 * 8;
    let (first, indices) = if over_indices { (1, 0) } else { (0, 1) };
    let mut table = b.elements(first, width);
    table.extend(b.elements(2, width));
    choose(b, bytes, &table, &b.elements(indices, width));
}

/// VALIGN: elements of `first : second` from the immediate on.
fn align(b: &Builder, bytes: usize) {
    let width = bytes as u32 * 8;
    let (high, mut all) = b.sources(width);
    let count = all.len();
    all.extend(high);
    let shift = usize::from(b.instruction.immediate8()) % (count * 8 / bytes) * bytes;
    let result = b.assemble(count, |at| Byte::of(&all, at + shift));
    b.set_elements(0, width, &result);
}

/// The bits of the write mask that belong to `count` elements; all ones without a mask.
fn mask_bits(b: &Builder, count: u32) -> Val<'_> {
    if b.has_write_mask() {
        b.mask_operand_of(b.instruction.op_mask()).low(count)
    } else {
        b.constant(u64::MAX, count)
    }
}

/// Control bytes put together from one index (of an element of `bytes`) per element.
fn index_lanes<'b>(b: &'b Builder, indices: &[Val<'b>], bytes: usize) -> Lanes<'b> {
    let per_lane = 8 / bytes;
    indices
        .chunks(per_lane)
        .map(|chunk| {
            let mut word = b.constant(0, 64);
            for (at, index) in (0u32..).zip(chunk) {
                word = word.insert(at * bytes as u32 * 8, index.low(8));
            }
            word
        })
        .collect()
}

/// VPCOMPRESS: the elements under the mask, side by side from the lowest on.
fn compress(b: &Builder, bytes: usize) {
    let width = bytes as u32 * 8;
    let x = b.lanes(1);
    let count = (x.len() * 8 / bytes) as u32;
    if !b.has_write_mask() {
        return b.set_lanes(0, &x);
    }
    let mask = b
        .mask_operand_of(b.instruction.op_mask())
        .low(count)
        .clean()
        .low(64);
    // The place of the n-th one of the mask: a one deposited there.
    let places: Vec<Val<'_>> = (0..count)
        .map(|n| b.constant(1 << n, 64).with(Op::Pdep, mask))
        .collect();
    let indices: Vec<Val<'_>> = places.iter().map(|place| place.map(Op::Tzcnt, 0)).collect();
    let present: Vec<Pred<'_>> = places
        .iter()
        .map(|place| place.is_zero().negated())
        .collect();
    let chosen: Lanes<'_> = index_lanes(b, &indices, bytes)
        .iter()
        .map(|&index| {
            let control = b.byte_indices(index, bytes, 0, x.len());
            b.chosen_bytes(&x, control)
        })
        .collect();
    if b.is_memory(0) {
        let conditions: Vec<Val<'_>> = present.iter().map(|&pred| b.bit(pred)).collect();
        b.store_elements(&chosen, width, &conditions);
        return;
    }
    let bits = b.gathered(present, 1);
    b.set_under(0, width, &chosen, bits);
}

/// VPEXPAND: the lowest elements, spread to the places of the mask's ones.
fn expand(b: &Builder, bytes: usize) {
    let width = bytes as u32 * 8;
    let count = b.width(0) / width;
    let mask = mask_bits(b, count);
    let rank = |n: u32| (mask.low(count) & b.constant((1 << n) - 1, count)).map(Op::Popcnt, 0);
    let x = if b.is_memory(1) {
        let ones = mask.clean().map(Op::Popcnt, 0).clean().low(8);
        let conditions: Vec<Val<'_>> = (0..u64::from(count))
            .map(|n| b.bit(b.constant(n, 8).below(ones)))
            .collect();
        b.load_elements(width, &conditions)
    } else {
        b.lanes(1)
    };
    let indices: Vec<Val<'_>> = (0..count).map(|n| rank(n).clean()).collect();
    let result: Lanes<'_> = index_lanes(b, &indices, bytes)
        .iter()
        .map(|&index| {
            let control = b.byte_indices(index, bytes, 0, x.len());
            b.chosen_bytes(&x, control)
        })
        .collect();
    b.set_elements(0, width, &result);
}

/// VPMULTISHIFTQB: each byte of the result is eight bits of the quadword, from a bit of choice on.
fn multishift(b: &Builder) {
    let (control, x) = b.sources(64);
    let result: Lanes<'_> = control
        .iter()
        .zip(&x)
        .map(|(&control, &x)| {
            let mut word = b.constant(0, 64);
            for at in 0..8 {
                let right = control.extract(at * 8, 8) & b.constant(63, 8);
                let left = b.constant(64, 64) - right.clean().low(64);
                word = word.insert(at * 8, x.by(Op::RolBy, left).low(8));
            }
            word
        })
        .collect();
    b.set_elements(0, 8, &result);
}

/// What becomes of an element that the narrower one cannot hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saturation {
    None,
    Signed,
    Unsigned,
}

/// VPMOVQB and kin: elements of `from` bytes as elements of `to` bytes.
fn narrow(b: &Builder, from: usize, to: usize, saturation: Saturation) {
    let (wide, narrow) = (from as u32 * 8, to as u32 * 8);
    let x: Lanes<'_> = b
        .lanes(1)
        .iter()
        .map(|&x| saturated(b, x, wide, narrow, saturation))
        .collect();
    let count = x.len() * 8 / from;
    let lanes = (count * to).div_ceil(8);
    let result = b.assemble(lanes, |at| match at / to < count {
        true => Byte::of(&x, at / to * from + at % to),
        false => Byte::Zero,
    });
    if b.is_memory(0) {
        return match b.has_write_mask() {
            true => b.store_elements(&result, narrow, &b.mask_conditions(count as u32)),
            false => b.store_bytes(&result, (count * to) as u32),
        };
    }
    b.set_lowest(0, narrow, &result, (count * to) as u32 * 8);
}

fn saturated<'b>(
    b: &'b Builder,
    x: Val<'b>,
    wide: u32,
    narrow: u32,
    saturation: Saturation,
) -> Val<'b> {
    let greatest = crate::bits::mask(narrow);
    match saturation {
        Saturation::None => x,
        Saturation::Signed => b.clamped(x, wide, (greatest >> 1, !(greatest >> 1))),
        Saturation::Unsigned => {
            let top = b.replicated(greatest, wide);
            let over = b.expanded(top.packed_pred(Op::Ult, wide, x), wide);
            b.choose(over, top, x)
        }
    }
}

impl Builder {
    /// The mask register `register`, whole.
    pub(super) fn mask_operand_of(&self, register: iced_x86::Register) -> Val<'_> {
        self.input(RegWord::opmask(register.number() as u16))
    }

    /// Stores the lowest `bytes` of a vector.
    pub(super) fn store_bytes(&self, lanes: &[Val<'_>], bytes: u32) {
        for (at, lane) in (0..bytes).step_by(8).zip(lanes) {
            self.store(
                self.place().at(at),
                (bytes - at).min(8),
                self.value(lane.word, 64),
            );
        }
    }

    /// Does the instruction end with an immediate byte?
    pub(super) fn has_immediate(&self) -> bool {
        let last = self.instruction.op_count() - 1;
        self.instruction.op_kind(last) == OpKind::Immediate8
    }
}
