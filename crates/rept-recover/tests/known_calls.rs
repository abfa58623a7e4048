//! What is known of system calls from outside of the trace: which memory they mapped, where the heap
//! began, which files they read, by which descriptors.

mod common;

use common::run_block;
use rept_order::Order;
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{
    AddressSpace, Anchor, AnchorPoint, Area, Backing, Descriptor, FileRead, Mapped, MappedFile,
    OpenedFiles, Options, ResourceLimit, recover,
};
use rept_trace::{
    Address, FinalState, Mapping, Memory, RegWord, Registers, ThreadId, ThreadTrace, Trace,
};
use std::sync::Arc;

const THREAD: ThreadId = ThreadId(1);
/// Where the file is mapped that [`Files`] holds.
const FILE_AT: u64 = 0x50_0000;

/// Where the path is that [`Files`] holds.
const PATH_AT: u64 = 0x60_0000;

/// Nothing is known of memory but what is in a file, and a path.
struct Files;

static PATH: [u8; 512] = {
    let mut path = [0; 512];
    (path[0], path[1]) = (b'i', b'n');
    let (list, mut at) = (b"/proc/self/maps", 0);
    while at < list.len() {
        path[LIST_OFFSET as usize + at] = list[at];
        at += 1;
    }
    path
};
/// Where in it the path is of the list of the process's memory.
const LIST_OFFSET: u64 = 0x80;

static FILE: [u8; 16] = *b"\x7fELF....contents";

impl Memory for Files {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        let offset = at.0.checked_sub(PATH_AT)?;
        PATH.get(offset as usize..).filter(|rest| !rest.is_empty())
    }

    fn constant_len(&self, at: Address) -> u64 {
        self.bytes(at).map_or(0, |rest| rest.len() as u64)
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
/// cmp rax,-4096
const IS_ERROR: &[u8] = &[0x48, 0x3d, 0, 0xf0, 0xff, 0xff];
/// ja, not taken
const UNLESS_ERROR: &[u8] = &[0x77, 0x7f];
/// mov rbx,rax
const KEEP: &[u8] = &[0x48, 0x89, 0xc3];

/// Recovers a run of these instructions, and tells what is known of a register behind them.
fn behind(code: Code<'_>, word: RegWord, options: &Options) -> Value {
    behind_blocks(code, &[UNLESS_ERROR], word, options)
}

/// The same of blocks that end behind these instructions.
fn behind_blocks(code: Code<'_>, last: Code<'_>, word: RegWord, options: &Options) -> Value {
    let mut trace = Trace::default();
    let mut thread = ThreadTrace::new(THREAD);
    let mut at = 0x40_1000;
    for code in code.split_inclusive(|instruction| last.contains(instruction)) {
        at = run_block(&mut trace, &mut thread, at, code);
    }
    trace.threads.push(thread);
    let order = Order::new(&trace);
    let last = FinalState {
        threads: vec![Registers::new(THREAD, Address(0x40_2000))],
        fault: None,
        memory: &Files,
        auxv: Vec::new(),
    };
    let history = recover(&trace, &order, &last, options);
    let step = code.len() as u64;
    history.register(Position { thread: 0, step }, word)
}

/// The first step is the process's first.
const BEGIN: Anchor = Anchor {
    thread: THREAD,
    at: AnchorPoint::Entry,
    words: Vec::new(),
    measured: false,
};

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

/// A record that the call of a step mapped so many bytes, of which some at the beginning and at the end had
/// been mapped before.
fn record(step: u64, bytes: u64, [before, behind]: [u64; 2]) -> Mapped {
    Mapped {
        thread: THREAD,
        step,
        start: Address(0x7000_0000),
        bytes,
        before,
        behind,
        fresh: bytes.saturating_sub(before + behind),
        file_offset: None,
        file: None,
    }
}

#[track_caller]
fn check_mapped(code: &[Vec<u8>], bytes: u64, file_offset: Option<u64>, expect: Option<u64>) {
    let record = record(4, bytes, [0; 2]);
    check_record(
        code,
        Mapped {
            file_offset,
            ..record
        },
        expect,
    );
}

#[track_caller]
fn check_record(code: &[Vec<u8>], record: Mapped, expect: Option<u64>) {
    let mut options = Options::default();
    options.mapped.push(record);
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
fn what_joined_memory_that_was_there_is_where_that_is_not() {
    let map = mapping(LENGTH, 0x22);
    let joined = |at| record(4, 0x3000, at);
    check_record(&map, joined([0, 0x1000]), Some(0x7000_0000));
    check_record(&map, joined([0x1000, 0]), Some(0x7000_1000));
    check_record(&map, joined([0x1000, 0x1000]), None);
    check_record(&map, joined([0x3000, 0x3000]), None);
}

#[test]
fn what_was_unmapped_is_not_what_new_memory_joined() {
    // mov edi,70000000h; mov esi,1000h; mov eax,11; syscall
    let unmap: [&[u8]; 4] = [
        &[0xbf, 0, 0, 0, 0x70],
        &[0xbe, 0, 0x10, 0, 0],
        &[0xb8, 11, 0, 0, 0],
        SYSCALL,
    ];
    let map = mapping(LENGTH, 0x22);
    let map = map.iter().map(Vec::as_slice);
    let code: Vec<&[u8]> = unmap.into_iter().chain(map).chain([KEEP]).collect();
    let mut options = Options::default();
    options.mapped.push(record(8, 0x3000, [0x1000, 0x1000]));
    check_assumed(&code, &options, 0x7000_0000);
    // Something was mapped there that may have been since.
    options
        .mapped_elsewhere
        .push((Address(0x7000_0000), 0x1000));
    let found = behind(&code, RegWord::RBX, &options);
    assert_eq!(whole(found), None);
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

#[test]
fn what_is_mapped_at_a_place_is_there() {
    let at: &[u8] = &[0xbf, 0, 0, 0, 0x70]; // mov edi,70000000h
    let mapping = mapping(LENGTH, 0x32);
    let map = mapping.iter().map(Vec::as_slice);
    let code: Vec<&[u8]> = std::iter::once(at)
        .chain(map)
        .chain([IS_ERROR, UNLESS_ERROR, KEEP])
        .collect();
    check_assumed(&code, &Options::default(), 0x7000_0000);
    let unasked = [&code[..6], &[KEEP]].concat();
    let found = behind(&unasked, RegWord::RBX, &Options::default());
    assert_eq!(whole(found), None, "it may have failed");
}

/// brk: what rdi says.
const BRK: [&[u8]; 2] = [&[0xb8, 12, 0, 0, 0], SYSCALL];

#[test]
fn the_first_question_for_the_break_tells_where_the_heap_began() {
    let mut options = Options::default();
    options.initial_break = Some(Address(0x55_5000));
    options.anchors.push(BEGIN);
    let ask: &[u8] = &[0x31, 0xff]; // xor edi,edi
    check_assumed(&[ask, BRK[0], BRK[1], KEEP], &options, 0x55_5000);
}

#[test]
fn the_break_goes_where_it_is_asked_to() {
    let set: &[u8] = &[0xbf, 0, 0x60, 0x55, 0]; // mov edi,556000h
    check_assumed(&[set, BRK[0], BRK[1], KEEP], &Options::default(), 0x55_6000);
}

/// `mov edi,where; brk` for each, then `mov rbx,[555010h]`.
#[track_caller]
fn check_heap(ends: &[u32], expect: Option<u64>) {
    let mut options = Options::default();
    options.initial_break = Some(Address(0x55_5000));
    options.anchors.push(BEGIN);
    let set = |end: &u32| [&[0xbf][..], &end.to_le_bytes()].concat();
    let ends: Vec<Vec<u8>> = ends.iter().map(set).collect();
    let mut code: Vec<&[u8]> = Vec::new();
    for end in &ends {
        code.extend([end, BRK[0], BRK[1]]);
    }
    code.push(&[0x48, 0x8b, 0x1c, 0x25, 0x10, 0x50, 0x55, 0]);
    assert_eq!(whole(behind(&code, RegWord::RBX, &options)), expect);
}

#[test]
fn what_is_added_to_the_heap_is_zero() {
    check_heap(&[0, 0x55_6000], Some(0));
    check_heap(&[0x55_5008, 0x55_6000], Some(0));
    check_heap(&[0, 0x55_7000, 0x55_6000], Some(0));
    // Given back, and added again.
    check_heap(&[0, 0x55_6000, 0x55_5000, 0x55_6000], Some(0));
    check_heap(&[0, 0x55_6000, 0x55_5000], None);
    check_heap(&[0], None);
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

/// The file by its name, and nothing else.
#[derive(Debug)]
struct ByName;

impl OpenedFiles for ByName {
    fn contents(&self, path: &[u8]) -> Option<Arc<[u8]>> {
        (path == b"in").then(|| Arc::from(&FILE[..]))
    }
}

fn opening() -> Options {
    let mut options = Options::default();
    options.anchors.push(BEGIN);
    options.opened_files = Some(Arc::new(ByName));
    options
}

/// `mov eax,number; syscall`, which does not fail.
fn call(number: u8) -> Vec<Vec<u8>> {
    [&[0xb8, number, 0, 0, 0], SYSCALL, IS_ERROR, UNLESS_ERROR]
        .map(<[u8]>::to_vec)
        .into()
}

/// `mov esi,number`.
fn second(number: u32) -> Vec<u8> {
    [&[0xbe][..], &number.to_le_bytes()].concat()
}

/// `mov edx,number`.
fn third(number: u32) -> Vec<u8> {
    [&[0xba][..], &number.to_le_bytes()].concat()
}

/// Opens the file with some flags.
fn open(flags: u32) -> Vec<Vec<u8>> {
    open_at(PATH_AT, flags)
}

/// Opens the file whose path lies at an address.
fn open_at(path: u64, flags: u32) -> Vec<Vec<u8>> {
    let path = [&[0xbf][..], &(path as u32).to_le_bytes()].concat();
    [vec![path, second(flags)], call(2)].concat()
}

/// mov edi,eax
const OF_RESULT: &[u8] = &[0x89, 0xc7];

/// Reads so many bytes into the buffer at 7000h.
fn read(bytes: u32) -> Vec<Vec<u8>> {
    [vec![second(0x7000), third(bytes)], call(0)].concat()
}

/// mov rbx,[7000h]
const FIRST_READ: &[u8] = &[0x48, 0x8b, 0x1c, 0x25, 0, 0x70, 0, 0];

/// What is known of rbx behind calls, and that it is assumed.
#[track_caller]
fn check_opened(calls: &[Vec<Vec<u8>>], then: &[u8], options: &Options, expect: Option<u64>) {
    let mut code: Vec<&[u8]> = calls.iter().flatten().map(Vec::as_slice).collect();
    code.push(then);
    match expect {
        Some(expect) => check_assumed(&code, options, expect),
        None => assert_eq!(whole(behind(&code, RegWord::RBX, options)), None),
    }
}

fn of_result() -> Vec<Vec<u8>> {
    vec![OF_RESULT.to_vec()]
}

const CONTENTS: u64 = u64::from_le_bytes(*b"contents");
const BEGINNING: u64 = u64::from_le_bytes(*b"\x7fELF....");

#[test]
fn a_new_descriptor_has_the_lowest_free_number() {
    check_opened(&[open(0)], KEEP, &opening(), Some(3));
    check_opened(&[open(0), open(0)], KEEP, &opening(), Some(4));
    let close = [of_result(), call(3)].concat();
    check_opened(&[open(0), close, open(0)], KEEP, &opening(), Some(3));
    let pipe = call(22);
    check_opened(&[pipe, open(0)], KEEP, &opening(), Some(5));
}

/// A trace that is synchronised between a comparison and its branch has them in two blocks.
#[test]
fn a_branch_that_begins_a_block_asks_for_an_error_too() {
    let code = open(0);
    let code = code.iter().map(Vec::as_slice).chain([KEEP]);
    let code: Vec<&[u8]> = code.collect();
    let blocks: Code<'_> = &[IS_ERROR, UNLESS_ERROR];
    let found = behind_blocks(&code, blocks, RegWord::RBX, &opening());
    assert_eq!(whole(found), Some(3));
}

#[test]
fn what_was_open_from_the_start_counts() {
    let mut options = opening();
    let listed = [0, 1, 2, 3, 7].map(|number| Descriptor {
        number,
        path: None,
        position: 0,
    });
    options.descriptors = Some(listed.into());
    check_opened(&[open(0)], KEEP, &options, Some(4));
    options.anchors.clear();
    check_opened(&[open(0)], KEEP, &options, None);
}

#[test]
fn a_call_of_unknown_outcome_ends_what_is_known_of_numbers() {
    let socket = vec![vec![0xb8, 41, 0, 0, 0], SYSCALL.to_vec()];
    check_opened(&[socket, open(0)], KEEP, &opening(), None);
}

#[test]
fn a_file_is_read_from_where_the_last_read_ended() {
    let of_file = [open(0), of_result()].concat();
    check_opened(
        &[of_file.clone(), read(16)],
        FIRST_READ,
        &opening(),
        Some(BEGINNING),
    );
    let twice = [of_file, read(8), read(16)];
    check_opened(&twice, FIRST_READ, &opening(), Some(CONTENTS));
    check_opened(&twice, KEEP, &opening(), Some(8));
}

#[test]
fn a_read_begins_where_it_was_sought() {
    let seek = [vec![second(8), third(0)], call(8)].concat();
    let calls = [open(0), of_result(), seek, read(8)];
    check_opened(&calls, FIRST_READ, &opening(), Some(CONTENTS));
}

#[test]
fn duplicates_share_the_position() {
    let calls = [
        open(0),
        of_result(),
        read(8),
        call(32),
        of_result(),
        read(8),
    ];
    check_opened(&calls, FIRST_READ, &opening(), Some(CONTENTS));
}

#[test]
fn a_file_that_the_program_writes_is_not_taken() {
    const O_RDWR: u32 = 2;
    let calls = [open(O_RDWR), open(0), of_result(), read(8)];
    check_opened(&calls, FIRST_READ, &opening(), None);
}

#[test]
fn input_that_was_open_from_the_start_is_read() {
    let mut options = opening();
    options.descriptors = Some(vec![Descriptor {
        number: 0,
        path: Some(b"in".to_vec()),
        position: 8,
    }]);
    let input = vec![vec![0x31, 0xff]]; // xor edi,edi
    check_opened(&[input, read(8)], FIRST_READ, &options, Some(CONTENTS));
}

/// `prlimit64` of this process, `RLIMIT_STACK`, into 7000h, with new limits at rdx, then
/// `mov rbx,[7000h]`.
fn asked_for_stack(new: u32, before: &[Vec<u8>]) -> Value {
    let mut options = Options::default();
    options.limits = vec![ResourceLimit {
        resource: 3,
        soft: 8 << 20,
        hard: u64::MAX,
    }];
    let ask = [
        vec![0x31, 0xff], // xor edi,edi
        second(3),
        third(new),
        vec![0x41, 0xba, 0, 0x70, 0, 0], // mov r10d,7000h
        vec![0xb8, 0x2e, 1, 0, 0],       // mov eax,302
        SYSCALL.to_vec(),
        IS_ERROR.to_vec(),
        UNLESS_ERROR.to_vec(),
        FIRST_READ.to_vec(),
    ];
    let code = before.iter().chain(&ask).map(Vec::as_slice);
    let code: Vec<&[u8]> = code.collect();
    behind(&code, RegWord::RBX, &options)
}

#[test]
fn a_process_is_told_the_limits_that_it_began_with() {
    let found = asked_for_stack(0, &[]);
    assert_eq!(whole(found), Some(8 << 20));
    assert_eq!((found.certain, found.assumed), (0, u64::MAX));
}

#[test]
fn limits_that_a_process_sets_are_not_those_it_began_with() {
    let set = |resource: u8| [vec![vec![0xbf, resource, 0, 0, 0]], call(160)].concat();
    assert_eq!(whole(asked_for_stack(0, &set(3))), None);
    assert_eq!(whole(asked_for_stack(0, &set(7))), Some(8 << 20));
    assert_eq!(whole(asked_for_stack(0x6000, &[])), None);
    let unknown = [vec![0x48, 0x89, 0xe8], SYSCALL.to_vec()]; // mov rax,rbp
    assert_eq!(whole(asked_for_stack(0, &unknown)), None);
}

#[test]
fn a_process_knows_its_number() {
    let mut options = Options::default();
    options.process = Some(77);
    check_opened(&[call(39)], KEEP, &options, Some(77));
    check_opened(&[call(186)], KEEP, &options, Some(u64::from(THREAD.0)));
}

#[cfg(feature = "experiments")]
#[test]
fn without_files_nothing_is_read() {
    use rept_recover::experiment::Technique;
    let mut options = opening();
    options.experiment.without = [Technique::Files].into_iter().collect();
    let calls = [open(0), of_result(), read(16)];
    check_opened(&calls, FIRST_READ, &options, None);
}

/// The program, and the stack of which the dump says that it grew by a page or did not.
fn listing(grown: u64) -> Options {
    let area = |start: u64, end: u64, backing: Backing| Area {
        start: Address(start),
        end: Address(end),
        read: true,
        write: backing == Backing::Stack,
        execute: false,
        backing,
    };
    let program = || {
        let backing = Backing::File { file: 0, offset: 0 };
        area(0x40_0000, 0x40_3000, backing)
    };
    let mut options = opening();
    options.address_space = Some(Arc::new(AddressSpace {
        files: vec![MappedFile {
            path: b"/bin/p".to_vec(),
            identity: None,
        }],
        first: vec![program(), area(0x70_0000, 0x70_8000, Backing::Stack)],
        last: vec![
            program(),
            area(0x70_0000 - grown, 0x70_8000, Backing::Stack),
        ],
        heap: None,
    }));
    options
}

fn read_list(bytes: u32) -> [Vec<Vec<u8>>; 2] {
    let of_list = [open_at(PATH_AT + LIST_OFFSET, 0), of_result()].concat();
    [of_list, read(bytes)]
}

/// mov rbx,[7000h+offset]
fn load(offset: u8) -> [u8; 8] {
    [0x48, 0x8b, 0x1c, 0x25, offset, 0x70, 0, 0]
}

#[test]
fn the_list_of_memory_follows_from_its_areas() {
    let word = |text: &[u8; 8]| Some(u64::from_le_bytes(*text));
    let options = listing(0);
    check_opened(&read_list(1024), &load(0), &options, word(b"00400000"));
    check_opened(&read_list(1024), &load(18), &options, word(b"r--p 000"));
    // A line of 72 columns, a blank and the path; another with the name that the kernel gives.
    let second = 73 + "/bin/p\n".len() as u8;
    check_opened(&read_list(1024), &load(second), &options, word(b"00700000"));
    let whole = u64::from(second) + 73 + "[stack]\n".len() as u64;
    check_opened(&read_list(1024), KEEP, &options, Some(whole));
    check_opened(&read_list(100), KEEP, &options, Some(100));
}

#[test]
fn a_list_is_read_from_where_it_was_sought() {
    let [of_list, read] = read_list(1024);
    let rewind = [vec![second(0), third(0)], call(8)].concat();
    let calls = [of_list, rewind, read];
    let first = u64::from_le_bytes(*b"00400000");
    check_opened(&calls, &load(0), &listing(0), Some(first));
}

#[test]
fn where_a_stack_that_grew_began_is_not_told() {
    let start = 73 + "/bin/p\n".len() as u8;
    let grown = listing(0x1000);
    check_opened(&read_list(1024), &load(start), &grown, None);
    let end = u64::from_le_bytes(*b"00708000");
    check_opened(&read_list(1024), &load(start + 9), &grown, Some(end));
}

#[test]
fn a_list_that_does_not_lead_to_the_dump_is_not_taken() {
    let mut options = listing(0);
    let mut space = AddressSpace::clone(options.address_space.as_ref().unwrap());
    space.last[0].execute = true;
    options.address_space = Some(Arc::new(space));
    check_opened(&read_list(1024), &load(0), &options, None);
}

#[test]
fn memory_that_was_mapped_somewhere_leaves_the_list_open() {
    let [of_list, read] = read_list(1024);
    // mmap, of which nothing is known but that it succeeded
    check_opened(&[call(9), of_list, read], &load(0), &listing(0), None);
}

/// `xor edi,edi; brk`, `brk` to rdi = 556000h, `xor edi,edi; brk`, with the number in esi, as in a C
/// library that is linked in: only `mov eax,esi` stands before each call.
#[test]
fn the_break_is_followed_through_calls_whose_number_lies_in_a_register() {
    let mut options = Options::default();
    options.initial_break = Some(Address(0x55_5000));
    options.anchors.push(BEGIN);
    let number: &[u8] = &[0xbe, 12, 0, 0, 0]; // mov esi,12
    let take: &[u8] = &[0x89, 0xf0]; // mov eax,esi
    let ask: &[u8] = &[0x31, 0xff]; // xor edi,edi
    let set: &[u8] = &[0xbf, 0, 0x60, 0x55, 0]; // mov edi,556000h
    let first = [number, ask, take, SYSCALL, KEEP];
    check_assumed(&first, &options, 0x55_5000);
    let moved = [
        number, ask, take, SYSCALL, set, take, SYSCALL, ask, BRK[0], BRK[1], KEEP,
    ];
    check_assumed(&moved, &options, 0x55_6000);
}

#[test]
fn another_call_whose_number_lies_in_a_register_leaves_the_break() {
    let mut options = Options::default();
    options.initial_break = Some(Address(0x55_5000));
    options.anchors.push(BEGIN);
    let number: &[u8] = &[0xbe, 39, 0, 0, 0]; // mov esi,39 (getpid)
    let take: &[u8] = &[0x89, 0xf0]; // mov eax,esi
    let ask: &[u8] = &[0x31, 0xff]; // xor edi,edi
    let code = [number, take, SYSCALL, ask, BRK[0], BRK[1], KEEP];
    check_assumed(&code, &options, 0x55_5000);
}

/// What the program left in the buffer of `readv` does not outlive the call; what lies behind it does.
#[test]
fn a_call_that_fills_an_array_of_buffers_writes_those_alone() {
    let store = |at: u32, value: u32| {
        let (at, value) = (at.to_le_bytes(), value.to_le_bytes());
        [&[0x48, 0xc7, 0x04, 0x25][..], &at, &value].concat()
    };
    let code = |load: u8| -> Vec<Vec<u8>> {
        vec![
            // The only buffer: eight bytes at 70002020h, of which four are read.
            store(0x7000_2000, 0x7000_2020),
            store(0x7000_2008, 8),
            store(0x7000_2020, 0x11),
            store(0x7000_2028, 0x22),
            vec![0xbe, 0, 0x20, 0, 0x70], // mov esi,70002000h
            vec![0xba, 1, 0, 0, 0],       // mov edx,1
            vec![0xb8, 19, 0, 0, 0],      // mov eax,19
            SYSCALL.to_vec(),
            vec![0x48, 0x8b, 0x1c, 0x25, load, 0x20, 0, 0x70], // mov rbx,[700020??h]
        ]
    };
    for (load, expect) in [(0x20, None), (0x28, Some(0x22)), (0x00, Some(0x7000_2020))] {
        let code = code(load);
        let code: Vec<&[u8]> = code.iter().map(Vec::as_slice).collect();
        let found = behind(&code, RegWord::RBX, &Options::default());
        assert_eq!(whole(found), expect, "{load:#x}");
        assert_eq!(found.certain, expect.map_or(0, |_| u64::MAX), "{load:#x}");
    }
}
