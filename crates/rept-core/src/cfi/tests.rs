use super::tables::Tables;
use super::*;
use std::cell::Cell;

const CODE: u64 = 0x1000;
const STACK: u64 = 0x7000_0000;

/// A CIE and one FDE for the 0x100 bytes from [`CODE`] on.
fn eh_frame(augmentation: &[u8], instructions: &[u8]) -> Vec<u8> {
    let entry = |body: &[u8]| {
        let padding = body.len().next_multiple_of(8) - body.len();
        let mut bytes = ((body.len() + padding) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len() + padding, 0);
        bytes
    };
    // Id 0, version 1, augmentation, code alignment 1, data alignment -8, return address in 16.
    let mut cie = vec![0, 0, 0, 0, 1];
    cie.extend_from_slice(augmentation);
    cie.extend_from_slice(&[0, 1, 0x78, 16]);
    // "z": the augmentation's data follows, with its length; there is none.
    let data: &[u8] = if augmentation.is_empty() { &[] } else { &[0] };
    cie.extend_from_slice(data);
    let mut bytes = entry(&cie);
    let mut fde = (bytes.len() as u32 + 4).to_le_bytes().to_vec();
    fde.extend_from_slice(&CODE.to_le_bytes());
    fde.extend_from_slice(&0x100u64.to_le_bytes());
    fde.extend_from_slice(data);
    fde.extend_from_slice(instructions);
    bytes.extend(entry(&fde));
    bytes
}

/// DW_CFA_def_cfa rsp+16; return address at CFA-8, rbx at CFA-16.
const PUSHED_RBX: &[u8] = &[0x0c, 7, 16, 0x90, 1, 0x83, 2];

fn unwinder(augmentation: &[u8], instructions: &[u8]) -> Unwinder {
    let tables = Tables::for_eh_frame(eh_frame(augmentation, instructions));
    let module = CodeFile {
        start: CODE,
        end: CODE + 0x1000,
        bias: 0,
        binary: None,
        tables: Some(Some(Arc::new(tables))),
    };
    Unwinder {
        modules: vec![module],
        cache: BTreeMap::new(),
    }
}

fn innermost() -> FrameRegisters {
    FrameRegisters::new(Address(CODE), |word| match word {
        RegWord::RSP => Some(STACK),
        RegWord::RBX => Some(1),
        RegWord::RBP => Some(2),
        _ => Some(3),
    })
}

/// Frames of a walk, and why it ended.
fn walk(
    unwinder: &mut Unwinder,
    memory: &ReadMemory<'_>,
) -> (Vec<UnwoundFrame>, Option<Truncation>) {
    let mut walk = unwinder.walk(innermost(), memory);
    let frames = walk.by_ref().collect();
    (frames, walk.end())
}

#[test]
fn a_frame_restores_what_it_saved() {
    let memory = |at: Address, _| match at.0 {
        STACK => Some(77),
        0x7000_0008 => Some(CODE + 0x20),
        _ => None,
    };
    let (frames, end) = walk(&mut unwinder(b"", PUSHED_RBX), &memory);
    let [frame] = frames.as_slice() else {
        panic!("one frame, not {frames:?}");
    };
    assert_eq!(frame.cfa, STACK + 16);
    let of = |word| frame.caller.get(word);
    assert_eq!(of(RegWord::RSP), Some(STACK + 16));
    assert_eq!(of(RegWord::RBX), Some(77), "saved on the stack");
    assert_eq!(of(RegWord::RBP), Some(2), "left alone by the callee");
    assert_eq!(of(RegWord::RDI), None, "the callee may have used it");
    assert_eq!(end, Some(Truncation::UnknownReturn(Address(CODE + 0x20))));
}

#[test]
fn a_zero_return_address_is_the_outermost_frame() {
    let (frames, end) = walk(&mut unwinder(b"", PUSHED_RBX), &|_, _| Some(0));
    assert_eq!((frames.len(), end), (0, None));
}

#[test]
fn an_undefined_return_address_is_the_outermost_frame() {
    // DW_CFA_undefined 16.
    let rules = [PUSHED_RBX, &[0x07, 16]].concat();
    let (frames, end) = walk(&mut unwinder(b"", &rules), &|_, _| Some(CODE + 1));
    assert_eq!((frames.len(), end), (0, None));
}

#[test]
fn deep_recursion_is_walked_to_its_end_by_one_look_at_the_tables() {
    const DEPTH: u64 = 200_000;
    let top = STACK + 16 * DEPTH;
    let reads = Cell::new(0u64);
    let memory = |at: Address, _| {
        reads.set(reads.get() + 1);
        Some(if at.0 < top { CODE + 0x10 } else { 0 })
    };
    let mut unwinder = unwinder(b"", PUSHED_RBX);
    let (frames, end) = walk(&mut unwinder, &memory);
    assert_eq!((frames.len() as u64, end), (DEPTH, None));
    assert!(reads.get() <= 2 * DEPTH + 1, "two words a frame");
    assert_eq!(unwinder.cache.len(), 2, "the innermost frame and the call");
}

#[test]
fn a_stack_that_does_not_grow_ends_the_walk() {
    // DW_CFA_def_cfa rsp+0.
    let rules = [0x0c, 7, 0, 0x90, 1];
    let (frames, end) = walk(&mut unwinder(b"", &rules), &|_, _| Some(CODE + 1));
    assert_eq!(frames.len(), 0);
    assert_eq!(end, Some(Truncation::StackShrinks(Address(CODE))));
}

#[test]
fn signal_frames_may_lead_anywhere_but_not_for_ever() {
    let rules = [0x0c, 7, 0, 0x90, 1];
    let (frames, end) = walk(&mut unwinder(b"zS", &rules), &|_, _| Some(CODE + 1));
    assert_eq!(frames.len(), MAX_SIGNAL_FRAMES);
    assert!(frames.iter().all(|frame| frame.signal));
    assert_eq!(end, Some(Truncation::TooMany));
}

#[test]
fn an_expression_that_never_ends_is_given_up() {
    // DW_CFA_def_cfa_expression: DW_OP_skip -3.
    let rules = [0x0f, 3, 0x2f, 0xfd, 0xff, 0x90, 1];
    let (frames, end) = walk(&mut unwinder(b"", &rules), &|_, _| Some(CODE + 1));
    assert_eq!(frames.len(), 0);
    assert_eq!(end, Some(Truncation::UnknownFrame(Address(CODE))));
}

#[test]
fn the_kernels_signal_frame_needs_no_table() {
    let restorer = CODE + 0x800;
    let context = STACK + 16 + 40;
    let memory = |at: Address, size| match (at.0, size) {
        (0x7000_0008, _) => Some(restorer),
        (at, 8) if at == restorer => Some(0x0f00_0000_0fc0_c748),
        (at, 1) if at == restorer + 8 => Some(0x05),
        (at, 8) if at == context + 8 * 15 => Some(STACK + 0x900),
        (at, 8) if at == context + 8 * 16 => Some(CODE + 0x40),
        (at, 8) if (context..context + 8 * 15).contains(&at) => Some(at - context),
        _ => None,
    };
    let (frames, _) = walk(&mut unwinder(b"", PUSHED_RBX), &memory);
    let frame = frames.get(1).expect("the signal frame behind the handler");
    assert!(frame.signal);
    assert_eq!(frame.caller.pc, Address(CODE + 0x40));
    assert_eq!(frame.caller.get(RegWord::RSP), Some(STACK + 0x900));
    assert_eq!(frame.caller.get(RegWord::gpr(8)), Some(0));
    assert_eq!(frame.caller.get(RegWord::RAX), Some(8 * 13));
}

#[test]
fn a_call_to_nowhere_is_undone() {
    let memory = |at: Address, _| (at.0 == STACK).then_some(CODE + 0x30);
    let mut unwinder = unwinder(b"", PUSHED_RBX);
    let lost = FrameRegisters {
        pc: Address(0),
        ..innermost()
    };
    let frame = unwinder.walk(lost, &memory).next().expect("a frame");
    assert_eq!(frame.caller.pc, Address(CODE + 0x30));
    assert_eq!(frame.caller.get(RegWord::RSP), Some(STACK + 8));
}

#[test]
fn damaged_tables_are_as_good_as_none() {
    let bytes = eh_frame(b"", PUSHED_RBX);
    for len in 0..bytes.len() {
        let module = CodeFile {
            start: CODE,
            end: CODE + 0x1000,
            bias: 0,
            binary: None,
            tables: Some(Some(Arc::new(Tables::for_eh_frame(bytes[..len].to_vec())))),
        };
        let mut unwinder = Unwinder {
            modules: vec![module],
            cache: BTreeMap::new(),
        };
        let (frames, end) = walk(&mut unwinder, &|_, _| None);
        assert_eq!(frames.len(), 0);
        assert_eq!(end, Some(Truncation::NoRules(Address(CODE))), "{len} bytes");
    }
}
