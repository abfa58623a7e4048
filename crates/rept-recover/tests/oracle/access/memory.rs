//! The bytes that an effect reads and writes, against those that iced says.

use super::{Difference, reads, writes};
use crate::forms::Instance;
use crate::random::Random;
use crate::state::with_relations;
use iced_x86::{InstructionInfo, MemorySize, OpAccess, Register, UsedMemory};
use rept_recover::bits::Bits;
use rept_recover::effect::{Effect, StringOp};
use rept_recover::lift::ALL_FLAGS;
use rept_trace::RegWord;
use std::collections::BTreeSet;

/// Bytes touched, by direction.
#[derive(Default)]
struct Touched {
    read: BTreeSet<u64>,
    written: BTreeSet<u64>,
}

pub(super) fn compare(
    instance: &Instance,
    effect: &Effect,
    info: &InstructionInfo,
    random: &mut Random,
    found: &mut Vec<Difference>,
) {
    let mut values: Vec<u64> = (0..RegWord::COUNT)
        .map(|_| random.next() & 0x0000_7fff_ffff_fff8)
        .collect();
    values[usize::from(RegWord::FLAGS.0)] =
        with_relations(random.next() & u64::from(ALL_FLAGS) | 2);
    let Some(ours) = effect_touches(effect, &values, found) else {
        return;
    };
    let (must, may, sized) = iced_touches(info, &values);
    if !sized {
        let writes_unsized = info
            .used_memory()
            .iter()
            .any(|m| writes(m.access()) && size_of(m) == 0);
        if writes_unsized && !effect.clobbers_memory && ours.written.is_empty() {
            found.push(Difference::MissingClobber);
        }
        return;
    }
    let vsib = instance.instruction.is_vsib();
    if effect.modelled && !vsib && !must.read.is_subset(&ours.read) {
        found.push(Difference::MissingAccess { store: false });
    }
    if !vsib && !must.written.is_subset(&ours.written) && !effect.clobbers_memory {
        found.push(Difference::MissingAccess { store: true });
    }
    if !ours.read.is_subset(&may.read) {
        found.push(Difference::ExtraAccess { store: false });
    }
    if !ours.written.is_subset(&may.written) {
        found.push(Difference::ExtraAccess { store: true });
    }
}

fn effect_touches(effect: &Effect, values: &[u64], found: &mut Vec<Difference>) -> Option<Touched> {
    let mut words = effect.template.to_vec();
    for (word, register) in words.iter_mut().zip(&effect.reads) {
        *word = Bits::constant(values[usize::from(register.0)]);
    }
    if effect.narrow(&mut words).is_err() {
        found.push(Difference::Contradiction);
        return None;
    }
    let mut touched = Touched::default();
    for access in &effect.accesses {
        let Some(base) = words[usize::from(access.address.0)].get() else {
            found.push(Difference::AddressUnknown);
            return None;
        };
        let first = base.wrapping_add(u64::from(access.offset));
        let set = if access.store {
            &mut touched.written
        } else {
            &mut touched.read
        };
        set.extend((0..u64::from(access.size)).map(|i| first.wrapping_add(i)));
    }
    if let Some(string) = &effect.string {
        string_touches(string, &words, &mut touched);
    }
    Some(touched)
}

/// The first element of a string instruction.
fn string_touches(string: &StringOp, words: &[Bits], touched: &mut Touched) {
    use rept_recover::effect::StringKind::{Movs, Stos};
    let element = |pointer: Option<rept_recover::effect::Word>| {
        let first = pointer.and_then(|p| words[usize::from(p.0)].get());
        first
            .into_iter()
            .flat_map(|first| (0..u64::from(string.element)).map(move |i| first.wrapping_add(i)))
    };
    touched.read.extend(element(string.source));
    let store = matches!(string.kind, Movs | Stos);
    let set = if store {
        &mut touched.written
    } else {
        &mut touched.read
    };
    set.extend(element(string.destination));
}

fn size_of(memory: &UsedMemory) -> usize {
    match memory.memory_size() {
        MemorySize::Unknown => 0,
        size => size.size(),
    }
}

/// Bytes that must be and may be touched, and whether iced gives every operand a size.
fn iced_touches(info: &InstructionInfo, values: &[u64]) -> (Touched, Touched, bool) {
    let (mut must, mut may, mut sized) = (Touched::default(), Touched::default(), true);
    for memory in info.used_memory() {
        if !reads(memory.access()) && !writes(memory.access()) {
            continue;
        }
        let size = size_of(memory);
        sized &= size != 0;
        let elements = match memory.vsib_size() {
            0 => 1,
            bytes => memory.index().size() / bytes as usize,
        };
        for element in 0..elements {
            let Some(first) = address(memory, element, values) else {
                continue;
            };
            let bytes = (0..size as u64).map(|i| first.wrapping_add(i));
            if reads(memory.access()) {
                may.read.extend(bytes.clone());
                // A conditional read may be left out; what it reads then is not known.
                if memory.access() != OpAccess::CondRead {
                    must.read.extend(bytes.clone());
                }
            }
            if writes(memory.access()) {
                may.written.extend(bytes.clone());
                must.written.extend(bytes);
            }
        }
    }
    (must, may, sized)
}

fn address(memory: &UsedMemory, element: usize, values: &[u64]) -> Option<u64> {
    memory.virtual_address(element, |register, element, size| {
        let word = |word: RegWord| values[usize::from(word.0)];
        Some(match register {
            Register::FS => word(RegWord::FS_BASE),
            Register::GS => word(RegWord::GS_BASE),
            _ if register.is_segment_register() => 0,
            _ if register.is_vector_register() => {
                let per_lane = 8 / size;
                let lane = word(RegWord::vector(
                    register.number() as u16,
                    (element / per_lane) as u16,
                ));
                match size {
                    4 => lane >> (element % 2 * 32) & 0xffff_ffff,
                    _ => lane,
                }
            }
            _ => {
                let full = word(RegWord::gpr(register.full_register().number() as u16));
                match register.size() {
                    1 => full & 0xff,
                    2 => full & 0xffff,
                    4 => full & 0xffff_ffff,
                    _ => full,
                }
            }
        })
    })
}
