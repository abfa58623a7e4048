//! What is known of system calls from outside of the trace: which memory they mapped, where the heap
//! began, which files they read.

use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Anchor, AnchorPoint, FileRead, Mapped, Options, recover};
use rept_trace::{
    Address, Block, FinalState, Mapping, Memory, RegWord, Registers, Run, ThreadId, ThreadTrace,
    Trace,
};

const THREAD: ThreadId = ThreadId(1);
/// Where the file is mapped that [`Files`] holds.
const FILE_AT: u64 = 0x50_0000;

/// Nothing is known of memory but what is in a file.
struct Files;

static FILE: [u8; 16] = *b"\x7fELF....contents";

impl Memory for Files {
    fn bytes(&self, _: Address) -> Option<&[u8]> {
        None
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn file_bytes(&self, at: Address, offset: u64) -> Option<&[u8]> {
        let held = FILE.get(offset as usize..)?;
        (at.0 == FILE_AT + offset).then_some(held)
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}

/// Instructions, one after the other.
type Code<'a> = &'a [&'a [u8]];

const SYSCALL: &[u8] = &[0x0f, 0x05];
/// mov rbx,rax
const KEEP: &[u8] = &[0x48, 0x89, 0xc3];

/// Recovers a run of these instructions, and tells what is known of a register behind them.
fn behind(code: Code<'_>, word: RegWord, options: &Options) -> Value {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    for instruction in code {
        starts.push(bytes.len() as u16);
        bytes.extend_from_slice(instruction);
    }
    let count = starts.len() as u16;
    let mut trace = Trace::default();
    let block = trace.code.push(Block {
        at: Address(0x40_1000),
        bytes: bytes.into(),
        starts: starts.into(),
        bitness: 64,
    });
    let mut thread = ThreadTrace::new(THREAD);
    thread.push(Run { block, count });
    trace.threads.push(thread);
    let order = Order::new(&trace);
    let last = FinalState {
        threads: vec![Registers::new(THREAD, Address(0x40_2000))],
        fault: None,
        memory: &Files,
        auxv: Vec::new(),
    };
    let history = recover(&trace, &order, &last, options);
    let step = u64::from(count);
    history.register(Position { thread: 0, step }, word)
}

fn whole(known: Value) -> Option<u64> {
    (known.known == u64::MAX).then_some(known.bits)
}

/// `mmap` of so many bytes, anonymous (flags 0x22) or of a file (2).
fn mapping(bytes: &[u8], flags: u8) -> [Vec<u8>; 5] {
    [
        bytes.to_vec(),
        vec![0x41, 0xba, flags, 0, 0, 0], // mov r10d,flags
        vec![0x45, 0x31, 0xc9],           // xor r9d,r9d
        vec![0xb8, 9, 0, 0, 0],           // mov eax,9
        SYSCALL.to_vec(),
    ]
}

/// mov esi,1800h
const LENGTH: &[u8] = &[0xbe, 0, 0x18, 0, 0];
/// nop
const NOTHING: &[u8] = &[0x90];

#[track_caller]
fn check_mapped(code: &[Vec<u8>], bytes: u64, file_offset: Option<u64>, expect: Option<u64>) {
    let mut options = Options::default();
    options.mapped.push(Mapped {
        thread: THREAD,
        step: 4,
        start: Address(0x7000_0000),
        bytes,
        file_offset,
        file: None,
    });
    let code: Vec<&[u8]> = code.iter().map(Vec::as_slice).chain([KEEP]).collect();
    let found = behind(&code, RegWord::RBX, &options);
    assert_eq!(whole(found), expect);
    assert_eq!(found.certain, expect.map_or(0, |_| u64::MAX), "a fact");
}

#[test]
fn a_record_of_what_was_asked_for_tells_the_result() {
    check_mapped(&mapping(LENGTH, 0x22), 0x2000, None, Some(0x7000_0000));
}

#[test]
fn a_record_of_more_does_not() {
    check_mapped(&mapping(LENGTH, 0x22), 0x3000, None, None);
}

#[test]
fn a_file_of_unknown_length_is_known_by_its_offset() {
    check_mapped(&mapping(NOTHING, 2), 0x9000, Some(0), Some(0x7000_0000));
}

#[test]
fn a_file_from_elsewhere_on_is_not() {
    check_mapped(&mapping(NOTHING, 2), 0x9000, Some(0x1000), None);
}

#[track_caller]
fn check_assumed(code: Code<'_>, options: &Options, expect: u64) {
    let found = behind(code, RegWord::RBX, options);
    assert_eq!(whole(found), Some(expect));
    assert_eq!((found.certain, found.assumed), (0, u64::MAX));
}

/// brk: what rdi says.
const BRK: [&[u8]; 2] = [&[0xb8, 12, 0, 0, 0], SYSCALL];

#[test]
fn the_first_question_for_the_break_tells_where_the_heap_began() {
    let mut options = Options::default();
    options.initial_break = Some(Address(0x55_5000));
    options.anchors.push(Anchor {
        thread: THREAD,
        at: AnchorPoint::Entry,
        words: Vec::new(),
        measured: false,
    });
    let ask: &[u8] = &[0x31, 0xff]; // xor edi,edi
    check_assumed(&[ask, BRK[0], BRK[1], KEEP], &options, 0x55_5000);
}

#[test]
fn the_break_goes_where_it_is_asked_to() {
    let set: &[u8] = &[0xbf, 0, 0x60, 0x55, 0]; // mov edi,556000h
    check_assumed(&[set, BRK[0], BRK[1], KEEP], &Options::default(), 0x55_6000);
}

fn reading() -> Options {
    let mut options = Options::default();
    options.files.push(vec![0; 0x1234].into());
    options.file_reads.push(FileRead {
        thread: THREAD,
        step: 3,
        base: Address(FILE_AT),
        file: Some(0),
    });
    options
}

/// mov esi,7000h
const BUFFER: &[u8] = &[0xbe, 0, 0x70, 0, 0];

#[test]
fn a_file_that_was_read_lies_in_the_buffer() {
    let code: Code<'_> = &[
        BUFFER,
        &[0xba, 16, 0, 0, 0], // mov edx,16
        &[0x31, 0xc0],        // xor eax,eax
        SYSCALL,
        &[0x48, 0x8b, 0x1c, 0x25, 8, 0x70, 0, 0], // mov rbx,[7008h]
    ];
    check_assumed(code, &reading(), u64::from_le_bytes(*b"contents"));
}

/// fstat, then `mov rbx,[7000h+offset]`.
#[track_caller]
fn check_stat(offset: u8, options: &Options, expect: u64) {
    let load: &[u8] = &[0x48, 0x8b, 0x1c, 0x25, offset, 0x70, 0, 0];
    let code: Code<'_> = &[BUFFER, NOTHING, &[0xb8, 5, 0, 0, 0], SYSCALL, load];
    check_assumed(code, options, expect);
}

#[test]
fn the_length_of_a_file_at_hand_is_told() {
    check_stat(48, &reading(), 0x1234);
}

#[test]
fn blocks_are_assumed_to_be_pages() {
    check_stat(56, &Options::default(), 4096);
}
