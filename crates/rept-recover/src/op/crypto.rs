//! The two steps of AES that are no wires (FIPS 197, sections 5.1.1 and 5.1.3); bijections both.

use super::{Known, Rule, multiply};
use crate::bits::{Bits, mask};

/// `x * 2` in the field.
const fn doubled(x: u8) -> u8 {
    x << 1 ^ if x & 0x80 != 0 { 0x1b } else { 0 }
}

const fn product(mut x: u8, mut y: u8) -> u8 {
    let mut sum = 0;
    while y != 0 {
        if y & 1 != 0 {
            sum ^= x;
        }
        x = doubled(x);
        y >>= 1;
    }
    sum
}

/// The S-box, its inverse, and the inverse in the field.
const BOXES: [[u8; 256]; 3] = boxes();

const fn boxes() -> [[u8; 256]; 3] {
    let mut boxes = [[0; 256]; 3];
    let mut x = 0;
    while x < 256 {
        let inverse = inverse(x as u8);
        let y = transformed(inverse);
        boxes[0][x] = y;
        boxes[1][y as usize] = x as u8;
        boxes[2][x] = inverse;
        x += 1;
    }
    boxes
}

/// Of zero, zero.
const fn inverse(x: u8) -> u8 {
    // The inverse is the 254th power.
    let (mut inverse, mut power) = (1, 0);
    while power < 254 {
        inverse = product(inverse, x);
        power += 1;
    }
    inverse
}

const fn transformed(inverse: u8) -> u8 {
    inverse
        ^ inverse.rotate_left(1)
        ^ inverse.rotate_left(2)
        ^ inverse.rotate_left(3)
        ^ inverse.rotate_left(4)
        ^ 0x63
}

pub(super) fn eval_substitute(_: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    BOXES[usize::from(n) % BOXES.len()][(a & 0xff) as usize].into()
}

pub(super) fn substitute(w: u32, n: u16, k: &mut Known) -> Rule {
    multiply::by_trial(w, k, 1, |[a, _, _]| eval_substitute(w, n, a, 0, 0)).map(|_| ())
}

const FORWARD: [u8; 4] = [2, 3, 1, 1];
const INVERSE: [u8; 4] = [14, 11, 13, 9];

fn mixed(a: u64, factors: [u8; 4]) -> u64 {
    let byte = |x: u64, at: usize| (x >> (at % 4 * 8)) as u8;
    (0..4).fold(0, |word, row| {
        let sum = (0..4).fold(0, |sum, at| sum ^ product(byte(a, row + at), factors[at]));
        word | u64::from(sum) << (row * 8)
    })
}

pub(super) fn eval_mix(w: u32, n: u16, a: u64, _: u64, _: u64) -> u64 {
    mixed(a, if n & 1 == 0 { FORWARD } else { INVERSE }) & mask(w)
}

/// Linear over bits: a bit of one side is known when all that it is the sum of are.
pub(super) fn mix(w: u32, n: u16, k: &mut Known) -> Rule {
    let through = |x: Bits, n: u16| {
        // A bit that some unknown bit reaches is unknown.
        let reached = (0..w)
            .filter(|at| x.known >> at & 1 == 0)
            .fold(0, |reached, at| reached | eval_mix(w, n, 1 << at, 0, 0));
        Bits::new(mask(w) & !reached, eval_mix(w, n, x.value, 0, 0))
    };
    k.d.learn(through(k.a, n))?;
    k.a.learn(through(k.d, n ^ 1))?;
    Ok(())
}
