//! String instructions. One iteration is ordinary accesses; counted ones state what becomes of
//! the registers and leave the memory operands to the engine, which knows the counts. One that was
//! stopped midway is a counted one that left a part of its count.

use crate::effect::{Flow, StringKind, StringOp};
use crate::lift::Lowered;
use crate::lift::builder::{Builder, Place};
use crate::lift::flags::DF;
use crate::lift::value::Val;
use crate::op::Op;
use iced_x86::{Mnemonic as M, OpKind, Register as R};
use rept_trace::RegWord;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    let Some((kind, element)) = operation(b, m) else {
        return Lowered::Elsewhere;
    };
    if address_bits(b) == 16 {
        return Lowered::Forget;
    }
    if repeats(b) {
        let compares = matches!(kind, StringKind::Cmps | StringKind::Scas);
        repeated(b, kind, element, compares);
    } else {
        once(b, kind, element);
    }
    Lowered::Done
}

/// A part of a repeated instruction, none or all of it included.
pub(in crate::lift) fn lower_part(b: &Builder) -> Lowered {
    match operation(b, b.instruction.mnemonic()) {
        // Of the halves that one iteration clears but none does not, with 32 bits, nothing is said.
        Some((kind, element)) if repeats(b) && address_bits(b) == 64 => {
            repeated(b, kind, element, true);
            Lowered::Done
        }
        _ => Lowered::Forget,
    }
}

fn repeats(b: &Builder) -> bool {
    b.instruction.has_rep_prefix() || b.instruction.has_repne_prefix()
}

/// What it does, and the bytes of an element.
fn operation(b: &Builder, m: M) -> Option<(StringKind, u32)> {
    Some(match m {
        M::Movsb => (StringKind::Movs, 1),
        M::Movsw => (StringKind::Movs, 2),
        M::Movsd if is_string(b) => (StringKind::Movs, 4),
        M::Movsq => (StringKind::Movs, 8),
        M::Stosb => (StringKind::Stos, 1),
        M::Stosw => (StringKind::Stos, 2),
        M::Stosd => (StringKind::Stos, 4),
        M::Stosq => (StringKind::Stos, 8),
        M::Lodsb => (StringKind::Lods, 1),
        M::Lodsw => (StringKind::Lods, 2),
        M::Lodsd => (StringKind::Lods, 4),
        M::Lodsq => (StringKind::Lods, 8),
        M::Cmpsb => (StringKind::Cmps, 1),
        M::Cmpsw => (StringKind::Cmps, 2),
        M::Cmpsd if is_string(b) => (StringKind::Cmps, 4),
        M::Cmpsq => (StringKind::Cmps, 8),
        M::Scasb => (StringKind::Scas, 1),
        M::Scasw => (StringKind::Scas, 2),
        M::Scasd => (StringKind::Scas, 4),
        M::Scasq => (StringKind::Scas, 8),
        _ => return None,
    })
}

/// MOVSD and CMPSD name vector instructions too.
fn is_string(b: &Builder) -> bool {
    b.instruction.is_string_instruction()
}

/// Width of the pointers and of the count.
fn address_bits(b: &Builder) -> u32 {
    let kinds = |kinds: [OpKind; 3]| b.instruction.op_kinds().any(|kind| kinds.contains(&kind));
    if kinds([
        OpKind::MemorySegESI,
        OpKind::MemorySegEDI,
        OpKind::MemoryESEDI,
    ]) {
        32
    } else if kinds([OpKind::MemorySegSI, OpKind::MemorySegDI, OpKind::MemoryESDI]) {
        16
    } else {
        64
    }
}

fn has_source(kind: StringKind) -> bool {
    matches!(kind, StringKind::Movs | StringKind::Lods | StringKind::Cmps)
}

fn has_destination(kind: StringKind) -> bool {
    kind != StringKind::Lods
}

fn accumulator(element: u32) -> R {
    match element {
        1 => R::AL,
        2 => R::AX,
        4 => R::EAX,
        _ => R::RAX,
    }
}

/// The old value of a pointer or of the count.
fn part(b: &Builder, register: RegWord) -> Val<'_> {
    b.input(register).low(address_bits(b)).clean()
}

/// Linear address of `[rsi]`, in its segment.
fn source(b: &Builder) -> Val<'_> {
    in_segment(b, RegWord::RSI)
}

fn in_segment(b: &Builder, register: RegWord) -> Val<'_> {
    let pointer = part(b, register).low(64);
    b.segment_base(b.instruction.memory_segment())
        .map_or(pointer, |base| pointer + base)
}

/// Where the store of a masked move to `[rdi]` (in a segment of choice) goes.
pub(super) fn masked_destination(b: &Builder) -> Place {
    Place {
        address: in_segment(b, RegWord::RDI).word,
        offset: 0,
    }
}

fn once(b: &Builder, kind: StringKind, element: u32) {
    let from = Place {
        address: source_word(b, kind),
        offset: 0,
    };
    let to = Place {
        address: part(b, RegWord::RDI).word,
        offset: 0,
    };
    match kind {
        StringKind::Movs => b.store(to, element, b.load(from, element)),
        StringKind::Stos => b.store(to, element, b.input(RegWord::RAX)),
        StringKind::Lods => b.set_register(accumulator(element), b.load(from, element)),
        StringKind::Cmps => {
            let x = b.load(from, element);
            super::arithmetic::subtract(b, x, b.load(to, element));
        }
        StringKind::Scas => {
            let x = b.register(accumulator(element));
            super::arithmetic::subtract(b, x, b.load(to, element));
        }
    }
    let distance = b.constant(u64::from(element), address_bits(b));
    advance(b, kind, distance, |value| value.zero_extended(64));
}

fn source_word(b: &Builder, kind: StringKind) -> crate::effect::Word {
    if has_source(kind) {
        source(b).word
    } else {
        part(b, RegWord::RDI).word
    }
}

/// Moves the pointers by `distance`, downwards when DF is set; `whole` makes registers of them.
fn advance<'b>(
    b: &'b Builder,
    kind: StringKind,
    distance: Val<'b>,
    whole: impl Fn(Val<'b>) -> Val<'b>,
) {
    let down = b.constant(0, distance.width) - distance;
    let step = b.select(b.old_flags().bit(DF), down, distance);
    let advanced = |register| b.write(register, whole(part(b, register) + step));
    if has_source(kind) {
        advanced(RegWord::RSI);
    }
    if has_destination(kind) {
        advanced(RegWord::RDI);
    }
}

/// `stops`: it may be over before the count is 0.
fn repeated<'b>(b: &'b Builder, kind: StringKind, element: u32, stops: bool) {
    let before = part(b, RegWord::RCX);
    let width = before.width;
    // Whether no iteration at all clears the upper halves differs by processor.
    let whole = |value: Val<'b>| match width {
        64 => value,
        _ => b.select(
            before.is_zero(),
            b.temporary(64).insert(0, value),
            value.zero_extended(64),
        ),
    };
    let (after, iterations) = if stops {
        let after = b.unknown(width);
        (after, before - after)
    } else {
        (b.constant(0, width), before)
    };
    b.write(RegWord::RCX, whole(after));
    if matches!(kind, StringKind::Cmps | StringKind::Scas) {
        // No iteration, no comparison: the flags stay.
        b.flags_only_if(before.is_zero().negated());
    }
    if stops {
        not_more(b, after, before);
    }
    advance(b, kind, iterations.shl(element.trailing_zeros()), whole);
    let loaded = (kind == StringKind::Lods).then(|| load_last(b, iterations, element));
    let direction = b.bit(b.old_flags().bit(DF)).word;
    b.parts.borrow_mut().string = Some(StringOp {
        kind,
        element: element as u8,
        repeated: true,
        count: Some((before.word, after.word)),
        source: None,
        destination: None,
        direction,
        accumulator: match kind {
            StringKind::Stos | StringKind::Scas => Some(b.input(RegWord::RAX).word),
            _ => loaded.map(|value| value.word),
        },
    });
    let from = has_source(kind).then(|| source(b).word);
    let to = has_destination(kind).then(|| part(b, RegWord::RDI).word);
    if let Some(string) = &mut b.parts.borrow_mut().string {
        (string.source, string.destination) = (from, to);
    }
    b.set_flow(Flow::Next);
}

/// `after <= before`: counts only go down.
fn not_more<'b>(b: &'b Builder, after: Val<'b>, before: Val<'b>) {
    before.below(after).place(b, b.constant(0, 1).word, 0);
}

/// REP LODS keeps the last element, if there was one. Returns the element.
fn load_last<'b>(b: &'b Builder, count: Val<'b>, element: u32) -> Val<'b> {
    let loaded = b.unknown(element * 8);
    let register = accumulator(element);
    let old = b.input(RegWord::RAX);
    let new = match element {
        1 | 2 => old.insert(0, loaded),
        _ => loaded.zero_extended(64),
    };
    let kept = b.select(count.is_zero(), old, new);
    b.set_register(
        register.full_register(),
        b.apply(Op::Copy, 64, 0, [kept; 3], 64),
    );
    loaded
}
