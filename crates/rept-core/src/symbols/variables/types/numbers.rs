//! Bytes as numbers, characters and text.

use super::super::location::{Bytes, limited};
use super::{MAX_TEXT, part};
use crate::history::{Trust, Value};
use crate::show::grade;
use crate::typed::Shape;

/// The first eight bytes as a little-endian number.
pub(super) fn word(object: &Bytes) -> Value {
    let mut word = Value::default();
    for (index, byte) in object.bytes.iter().take(8).enumerate() {
        word.bits |= byte.bits << (8 * index);
        word.known |= byte.known << (8 * index);
        word.certain |= byte.certain << (8 * index);
        word.assumed |= byte.assumed << (8 * index);
    }
    word
}

pub(super) fn shifted(value: Value, by: u64) -> Value {
    Value {
        bits: value.bits >> by,
        known: value.known >> by,
        certain: value.certain >> by,
        assumed: value.assumed >> by,
    }
}

/// A word that is wholly known.
pub(super) fn known(value: Value) -> Option<Value> {
    (value.known == u64::MAX).then_some(value)
}

/// A mask of the lowest `size` bytes.
pub(super) fn low(size: u64) -> u64 {
    if size >= 8 {
        u64::MAX
    } else {
        (1 << (8 * size)) - 1
    }
}

pub(super) fn integer(value: Value, bits: u32, signed: bool) -> Shape {
    let mask = rept_recover::bits::mask(bits);
    let value = value.masked(mask);
    let text = (value.known == mask).then(|| {
        if signed {
            let shift = 64 - bits;
            ((value.bits << shift) as i64 >> shift).to_string()
        } else {
            value.bits.to_string()
        }
    });
    Shape::Scalar { value, bits, text }
}

/// Numbers of more than eight bytes: in hexadecimal, but for the processor's 80-bit floats.
pub(super) fn wide(object: &Bytes, size: u64, encoding: gimli::DwAte) -> Shape {
    let bytes = &object.bytes[..object.bytes.len().min(size as usize)];
    if encoding == gimli::DW_ATE_float && bytes.len() >= 10 {
        let (low, high) = (word(object), part(object, 8, 2).map(|part| word(&part)));
        let value = limited(low, Trust::Inferred, None);
        let text = high.filter(|high| high.known == 0xffff && low.known == u64::MAX);
        let text = text.map(|high| format!("{:?}", extended(low.bits, high.bits)));
        let bits = 64;
        return Shape::Scalar { value, bits, text };
    }
    let digits: String = bytes
        .iter()
        .rev()
        .map(|byte| match byte.known {
            0xff => format!("{:02x}", byte.bits),
            _ => "??".to_owned(),
        })
        .collect();
    let any = bytes.iter().any(|byte| byte.known == 0xff);
    let mut value = word(object);
    // The mark is that of the least trusted byte, also of those behind the eighth.
    for byte in bytes.iter().filter(|byte| byte.known != 0) {
        value.certain &= u64::from(byte.certain == byte.known).wrapping_neg();
        value.assumed &= u64::from(byte.assumed == byte.known).wrapping_neg();
    }
    Shape::Scalar {
        value,
        bits: 64,
        text: any.then(|| format!("0x{digits}")),
    }
}

/// An 80-bit float of the x87, as nearly as a double can have it.
pub(super) fn extended(mantissa: u64, top: u64) -> f64 {
    let exponent = (top & 0x7fff) as i32 - 16383 - 63;
    let magnitude = match top & 0x7fff {
        0x7fff if mantissa << 1 == 0 => f64::INFINITY,
        0x7fff => f64::NAN,
        _ => mantissa as f64 * 2f64.powi(exponent),
    };
    if top & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

pub(super) fn character(bits: u64) -> String {
    let known = u32::try_from(bits).ok().and_then(char::from_u32);
    match known {
        Some(known) => format!("'{}'", known.escape_debug()),
        None => format!("{bits:#x}"),
    }
}

/// Characters up to the first zero, of `length` bytes.
pub(super) fn text(bytes: &[Value], length: u64) -> Shape {
    let shown = length.min(MAX_TEXT) as usize;
    let bytes = &bytes[..bytes.len().min(shown)];
    let end = bytes
        .iter()
        .position(|byte| byte.known == 0xff && byte.bits == 0);
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    let one = |byte: &Value| (byte.known == 0xff).then_some(byte.bits as u8);
    let grades = bytes.iter().map(|byte| grade(*byte, byte.known));
    Shape::Text {
        bytes: bytes.iter().map(one).collect(),
        grade: grades.max().unwrap_or(Trust::Certain),
        more: end.is_none() && length > bytes.len() as u64,
    }
}
