//! What the program read of the kernel's link to it (`/proc/self/exe`), and what follows from its length.

mod common;

use common::run_block;
use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Options, recover};
use rept_trace::{
    Address, FinalState, Mapping, Memory, RegWord, Registers, ThreadId, ThreadTrace, Trace,
};

const THREAD: ThreadId = ThreadId(1);
/// Where paths are that calls are given, one after the other.
const PATHS_AT: u64 = 0x60_0000;
const BUFFER: u64 = 0x7000;
const PROGRAM: &[u8] = b"/opt/work/program";

/// Paths, and what the buffer holds in the end, from an address on.
struct Dumped {
    paths: Vec<u8>,
    buffer: Option<(u64, Vec<u8>)>,
}

impl Memory for Dumped {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        let within = |bytes: &'_ [u8], start: u64| {
            let offset = usize::try_from(at.0.checked_sub(start)?).ok()?;
            (offset < bytes.len()).then_some(offset)
        };
        if let Some(offset) = within(&self.paths, PATHS_AT) {
            return Some(&self.paths[offset..]);
        }
        let (start, buffer) = self.buffer.as_ref()?;
        within(buffer, *start).map(|offset| &buffer[offset..])
    }

    fn constant_len(&self, at: Address) -> u64 {
        let constant = at.0 >= PATHS_AT;
        self.bytes(at)
            .filter(|_| constant)
            .map_or(0, |rest| rest.len() as u64)
    }

    fn mappings(&self) -> &[Mapping] {
        &[]
    }
}

/// A call, and what is known otherwise.
struct Case {
    path: &'static [u8],
    room: u32,
    at_directory: bool,
    /// What the program finds the result to be, by a comparison and a branch.
    found: Option<u8>,
    buffer: Option<(u64, Vec<u8>)>,
}

fn case(path: &'static [u8], room: u32) -> Case {
    Case {
        path,
        room,
        at_directory: false,
        found: None,
        buffer: None,
    }
}

impl Case {
    /// The call, and behind it `mov rbx,rax`, `mov r12,[7000h]`, `mov r13,[7008h]`; where the result is
    /// compared, that stands between.
    fn code(&self) -> Vec<Vec<u8>> {
        let number = |register: u8, number: u32| [&[register][..], &number.to_le_bytes()].concat();
        let [path, buffer] = [PATHS_AT as u32, BUFFER as u32];
        let room = [&[0x41, 0xba][..], &self.room.to_le_bytes()].concat();
        let mut code = match self.at_directory {
            // edi, esi, edx, r10d, eax
            true => vec![
                number(0xbf, 3),
                number(0xbe, path),
                number(0xba, buffer),
                room,
                number(0xb8, 267),
            ],
            // edi, esi, edx, eax
            false => vec![
                number(0xbf, path),
                number(0xbe, buffer),
                number(0xba, self.room),
                number(0xb8, 89),
            ],
        };
        code.push(vec![0x0f, 0x05]);
        if let Some(found) = self.found {
            code.push(vec![0x48, 0x83, 0xf8, found]); // cmp rax,found
            code.push(UNLESS_EQUAL.to_vec());
        }
        code.push(vec![0x48, 0x89, 0xc3]);
        code.push(vec![0x4c, 0x8b, 0x24, 0x25, 0, 0x70, 0, 0]);
        code.push(vec![0x4c, 0x8b, 0x2c, 0x25, 8, 0x70, 0, 0]);
        code
    }

    /// The result, and the first two words of the buffer.
    fn recovered(&self) -> [Value; 3] {
        let code = self.code();
        let trace = trace(&code);
        let mut paths = self.path.to_vec();
        paths.resize(512, 0);
        let memory = Dumped {
            paths,
            buffer: self.buffer.clone(),
        };
        let last = FinalState {
            threads: vec![Registers::new(THREAD, Address(0x40_2000))],
            fault: None,
            memory: &memory,
            auxv: Vec::new(),
        };
        let mut options = Options::default();
        options.program = Some(PROGRAM.to_vec());
        options.process = Some(77);
        let history = recover(&trace, &Order::new(&trace), &last, &options);
        let step = code.len() as u64;
        let position = Position { thread: 0, step };
        [RegWord::RBX, RegWord::gpr(12), RegWord::gpr(13)]
            .map(|word| history.register(position, word))
    }
}

/// jne, not taken
const UNLESS_EQUAL: &[u8] = &[0x75, 0x7f];

fn trace(code: &[Vec<u8>]) -> Trace {
    let mut trace = Trace::default();
    let mut thread = ThreadTrace::new(THREAD);
    let mut at = 0x40_1000;
    for code in code.split_inclusive(|instruction| instruction == UNLESS_EQUAL) {
        at = run_block(&mut trace, &mut thread, at, code);
    }
    trace.threads.push(thread);
    trace
}

fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

/// The call gave so many bytes, and the buffer holds them: both assumed.
#[track_caller]
fn check_read(case: &Case, length: u64) {
    let found = case.recovered();
    let expect = [length, word(b"/opt/wor"), word(b"k/progra")];
    for (found, expect) in found.into_iter().zip(expect) {
        assert_eq!((found.known, found.bits), (u64::MAX, expect));
        assert_eq!((found.certain, found.assumed), (0, u64::MAX));
    }
}

#[track_caller]
fn check_buffer_unknown(case: &Case) {
    let [_, first, second] = case.recovered();
    assert_eq!([first.known, second.known], [0; 2]);
}

#[test]
fn the_link_names_the_program() {
    for path in ["/proc/self/exe", "/proc/thread-self/exe", "/proc/77/exe"] {
        let mut case = case(path.as_bytes(), 4096);
        check_read(&case, PROGRAM.len() as u64);
        case.at_directory = true;
        check_read(&case, PROGRAM.len() as u64);
    }
}

#[test]
fn no_more_is_read_than_there_is_room_for() {
    check_read(&case(b"/proc/self/exe", 16), 16);
    let [result, first, second] = case(b"/proc/self/exe", 10).recovered();
    assert_eq!((result.known, result.bits), (u64::MAX, 10));
    assert_eq!(first.bits, word(b"/opt/wor"));
    assert_eq!((second.known, second.bits & 0xffff), (0xffff, 0x2f6b));
}

#[test]
fn other_links_are_not_known() {
    for path in ["/proc/self/cwd", "/proc/78/exe", "/proc/self/exe/"] {
        let case = case(path.as_bytes(), 4096);
        assert_eq!(case.recovered()[0].known, 0, "{path}");
        check_buffer_unknown(&case);
    }
}

#[test]
fn where_the_result_is_another_nothing_was_read_so() {
    let mut case = case(b"/proc/self/exe", 4096);
    case.found = Some(17);
    let [result, first, _] = case.recovered();
    assert_eq!((result.bits, first.bits), (17, word(b"/opt/wor")));
    case.found = Some(5);
    assert_eq!(case.recovered()[0].bits, 5);
    check_buffer_unknown(&case);
}

#[test]
fn where_the_dump_has_the_text_it_is_a_fact() {
    let mut case = case(b"/proc/self/exe", 4096);
    case.buffer = Some((BUFFER, b"/opt/work/program and what was there".to_vec()));
    let [result, first, second] = case.recovered();
    assert_eq!((result.bits, result.certain), (17, 0));
    assert_eq!([first.certain, second.certain], [u64::MAX; 2]);
}

#[test]
fn where_the_dump_has_another_text_all_of_it_is_taken_back() {
    let mut case = case(b"/proc/self/exe", 4096);
    case.buffer = Some((BUFFER + 8, b"k/another one, and the rest".to_vec()));
    let [result, first, second] = case.recovered();
    assert_eq!([result.known, first.known], [0; 2]);
    let expect = (word(b"k/anothe"), u64::MAX);
    assert_eq!((second.bits, second.certain), expect);
}
