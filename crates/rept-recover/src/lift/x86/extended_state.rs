//! FXSAVE, XSAVE and their inverses, as the moves between registers and memory they are.
//!
//! Determinate are the legacy region (MXCSR, XMM0-15), the header's XSTATE_BV, and the upper
//! halves of YMM0-15, which lie at byte 576 in the standard and the compacted format alike
//! (SDM volume 1, chapter "Managing State Using the XSAVE Feature Set"). What lies beyond
//! depends on the processor's layout: it is stored unknown and restored unknown, or as zero
//! where XSTATE_BV says initial. Each component moves under its bit of edx:eax, and what lies beyond
//! where XCR0 enables something that can lie there. AMX tiles
//! (components 17 and 18) are not modelled: Linux gives them to a process on request only.

use crate::lift::Lowered;
use crate::lift::builder::{Builder, Place};
use crate::lift::value::Val;
use crate::op::Op;
use iced_x86::Mnemonic as M;
use rept_trace::RegWord;
use std::ops::Range;

const X87: u32 = 0;
const SSE: u32 = 1;
const AVX: u32 = 2;
const OPMASK: u32 = 5;
const ZMM_HIGH: u32 = 6;
const ZMM_UPPER: u32 = 7;

/// Byte offsets in the area.
const MXCSR_AT: u32 = 24;
const XMM_AT: u32 = 160;
const LEGACY_END: u32 = 512;
const XSTATE_BV_AT: u32 = 512;
const XCOMP_BV_AT: u32 = 520;
const YMM_AT: u32 = 576;
/// Where layouts begin to differ, and where the last component but AMX ends in any of them.
const VARIABLE: Range<u32> = 832..2696;
/// Components behind those of AVX-512, or between them and AVX's; without them the compacted format
/// ends earlier.
const OTHERS: u32 = !0xe7;
const OTHERS_AT: u32 = 2432;

pub(super) fn lower(b: &Builder, m: M) -> Lowered {
    match m {
        M::Fxsave | M::Fxsave64 => save_legacy(b),
        M::Fxrstor | M::Fxrstor64 => restore_legacy(b),
        M::Xsave | M::Xsave64 => save(b, false),
        M::Xsavec | M::Xsavec64 | M::Xsaveopt | M::Xsaveopt64 => save(b, true),
        M::Xrstor | M::Xrstor64 => restore(b),
        _ => return Lowered::Elsewhere,
    }
    Lowered::Done
}

/// Is the component requested? Its bit of edx:eax.
fn requested(b: &Builder, component: u32) -> Val<'_> {
    b.bit(b.input(RegWord::RAX).bit(component))
}

/// The low 128 bits of XMM0-15, or the next 128: (register word, byte offset from the first).
fn halves(first: u16) -> impl Iterator<Item = (RegWord, u32)> {
    (0..16).flat_map(move |number| {
        (0..2).map(move |lane| {
            (
                RegWord::vector(number, first + lane),
                u32::from(number) * 16 + u32::from(lane) * 8,
            )
        })
    })
}

/// x87 control, status, pointers and registers: their words depend on the stack top.
fn x87_cells() -> impl Iterator<Item = u32> {
    (0..MXCSR_AT).chain(32..XMM_AT).step_by(8)
}

fn save_legacy(b: &Builder) {
    let place = b.place();
    for at in x87_cells().chain([MXCSR_AT + 4]) {
        let bytes = if at % 8 == 0 { 8 } else { 4 };
        b.store(place.at(at), bytes, b.unknown(bytes * 8));
    }
    b.store(place.at(MXCSR_AT), 4, b.input(RegWord::MXCSR));
    for (word, at) in halves(0) {
        b.store(place.at(XMM_AT + at), 8, b.input(word));
    }
    // Reserved bytes may be written.
    for at in (XMM_AT + 256..LEGACY_END).step_by(8) {
        b.store_if(place.at(at), 8, b.unknown(64), b.temporary(1));
    }
}

fn restore_legacy(b: &Builder) {
    let place = b.place();
    b.write(RegWord::MXCSR, b.load(place.at(MXCSR_AT), 4));
    for (word, at) in halves(0) {
        b.write(word, b.load(place.at(XMM_AT + at), 8));
    }
    b.forget_x87();
}

/// With `optimised`, components in their initial state may be skipped.
fn save(b: &Builder, optimised: bool) {
    let place = b.place();
    let moved = |component: u32| {
        let requested = requested(b, component);
        if optimised || component > SSE {
            requested & b.temporary(1)
        } else {
            requested
        }
    };
    let [x87, sse, avx] = [X87, SSE, AVX].map(moved);
    let control = (requested(b, SSE) | requested(b, AVX)) & b.temporary(1);
    for at in x87_cells() {
        b.store_if(place.at(at), 8, b.unknown(64), x87);
    }
    b.store_if(place.at(MXCSR_AT), 4, b.input(RegWord::MXCSR), control);
    b.store_if(place.at(MXCSR_AT + 4), 4, b.unknown(32), control);
    for (word, at) in halves(0) {
        b.store_if(place.at(XMM_AT + at), 8, b.input(word), sse);
    }
    for (word, at) in halves(2) {
        b.store_if(place.at(YMM_AT + at), 8, b.input(word), avx);
    }
    let compacted = matches!(b.instruction.mnemonic(), M::Xsavec | M::Xsavec64);
    let behind = if compacted { OTHERS_AT } else { VARIABLE.end };
    for (range, components) in [
        (VARIABLE.start..behind, !0b111),
        (behind..VARIABLE.end, OTHERS),
    ] {
        save_variable(b, place, range, components);
    }
    save_header(b, place, optimised && compacted, [x87, sse, avx]);
}

/// A range that only some components can lie in: requested, and enabled in XCR0.
fn save_variable(b: &Builder, place: Place, range: Range<u32>, components: u32) {
    if range.is_empty() {
        return;
    }
    let [requested, enabled] = [RegWord::RAX, RegWord::XCR0].map(|word| b.input(word).low(32));
    let saved = requested & enabled & b.constant(u64::from(components), 32);
    let happens = b.bit(saved.is_zero().negated()) & b.temporary(1);
    for at in range.step_by(8) {
        b.store_if(place.at(at), 8, b.unknown(64), happens);
    }
}

/// The compacted form writes which components it wrote; XSAVE only updates what is in use,
/// which the registers do not tell.
fn save_header(b: &Builder, place: Place, compacted: bool, moved: [Val<'_>; 3]) {
    let present = b.unknown(64);
    if compacted {
        for (component, moved) in (0u32..).zip(moved) {
            moved.bit(0).place(b, present.word, component);
        }
        b.store(place.at(XCOMP_BV_AT), 8, b.unknown(64));
    }
    b.store(place.at(XSTATE_BV_AT), 8, present);
}

fn restore(b: &Builder) {
    let place = b.place();
    let present = b.load(place.at(XSTATE_BV_AT), 8);
    b.load(place.at(XCOMP_BV_AT), 8);
    for (component, first, base) in [(SSE, 0, XMM_AT), (AVX, 2, YMM_AT)] {
        let moved = requested(b, component) & b.bit(present.bit(component));
        for (word, at) in halves(first) {
            let data = b.unknown(64);
            b.access(place.at(base + at), 8, data.word, false, Some(moved.word));
            restore_word(b, word, component, present, data);
        }
    }
    let lanes = |numbers: Range<u16>, lanes: Range<u16>| {
        numbers.flat_map(move |number| lanes.clone().map(move |lane| RegWord::vector(number, lane)))
    };
    lanes(0..16, 4..8).for_each(|word| restore_word(b, word, ZMM_HIGH, present, b.temporary(64)));
    lanes(16..32, 0..8).for_each(|word| restore_word(b, word, ZMM_UPPER, present, b.temporary(64)));
    (0..8)
        .map(RegWord::opmask)
        .for_each(|word| restore_word(b, word, OPMASK, present, b.temporary(64)));
    let x87 = requested(b, X87);
    for number in 0..8 {
        [RegWord::x87(number, 0), RegWord::x87(number, 1)]
            .into_iter()
            .for_each(|word| replace_if(b, x87, word, 64));
    }
    for (word, width) in [
        (RegWord::X87_CONTROL, 16),
        (RegWord::X87_STATUS, 16),
        (RegWord::X87_TAG, 8),
    ] {
        replace_if(b, x87, word, width);
    }
    replace_if(b, requested(b, SSE) | requested(b, AVX), RegWord::MXCSR, 32);
}

/// Requested: the operand when present, else the initial state, zero. Not requested: as it was.
fn restore_word<'b>(
    b: &'b Builder,
    word: RegWord,
    component: u32,
    present: Val<'b>,
    data: Val<'b>,
) {
    let loaded = b.select(present.bit(component), data, b.constant(0, 64));
    b.write(
        word,
        b.select(requested(b, component).bit(0), loaded, b.input(word)),
    );
}

/// Something unknown, if the condition holds.
fn replace_if(b: &Builder, condition: Val<'_>, word: RegWord, width: u32) {
    let unknown = b.temporary(width).low(64);
    b.write(
        word,
        b.apply(Op::Select, 64, 0, [unknown, b.input(word), condition], 64),
    );
}
