//! What accesses tell of the bytes of a place.

use rept_recover::history::{AccessView, Value};
use rept_trace::Address;

/// Bytes of a word.
const WORD: u64 = 8;

/// What the loads (or the stores) of a step tell of `size` bytes at `address`, at most 8.
pub(in crate::history) fn accessed(
    accesses: &[AccessView],
    store: bool,
    address: Address,
    size: u64,
) -> Value {
    let wanted = || accesses.iter().filter(|access| access.store == store);
    joined(size, |byte| {
        let inside = wanted().rev().find_map(|access| {
            let offset = address.offset(byte).0.checked_sub(access.address?.0)?;
            (offset < u64::from(access.size)).then(|| shifted(access.value, offset))
        });
        inside.unwrap_or_default()
    })
}

/// A word of `size` bytes, each told by its distance from the first.
pub(super) fn joined(size: u64, byte: impl Fn(u64) -> Value) -> Value {
    (0..size.min(WORD)).fold(Value::default(), |word, at| {
        let byte = byte(at).masked(0xff);
        let put = |part: u64| part << (8 * at);
        Value {
            bits: word.bits | put(byte.bits),
            known: word.known | put(byte.known),
            certain: word.certain | put(byte.certain),
            assumed: word.assumed | put(byte.assumed),
        }
    })
}

/// The value from byte `offset` on.
fn shifted(value: Value, offset: u64) -> Value {
    let take = |part: u64| part.checked_shr(8 * offset as u32).unwrap_or(0);
    Value {
        bits: take(value.bits),
        known: take(value.known),
        certain: take(value.certain),
        assumed: take(value.assumed),
    }
}
