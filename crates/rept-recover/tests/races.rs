//! Litmus shapes for loads that race: what stays known whatever the order was.

#[path = "cases/format.rs"]
#[expect(dead_code, reason = "the format of `cases.rs`, which uses all of it")]
mod format;

use format::parse;
use rept_order::{Diagnostic, Edge, EdgeKind, Order, Point};
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{History, Options, recover};
use rept_trace::{
    Address, Block, FinalState, Mapping, Memory, RegWord, Registers, Run, ThreadId, ThreadTrace,
    Trace,
};

/// The place that all threads access, zero at the end.
const MEMORY: &str = "
code 0x401000
31 c0                              xor eax,eax
final rax=0
memory 0x402000 00 00 00 00 00 00 00 00
expect  rax
0       ?
";

/// What another thread does.
#[derive(Clone, Copy)]
enum Other {
    /// `mov qword [402000h],VALUE`
    Stores(u8),
    /// `mov byte [402000h],VALUE`
    StoresByte(u8),
    /// `mov [rdi],rsi`, of which nothing is known.
    StoresSomewhere,
    /// The same to `BASE + rcx`.
    StoresElement(u32),
    /// The same to `BASE + rcx + 10h`.
    StoresField(u32),
    /// The same to `BASE + (rcx & 38h)`.
    StoresNear(u32),
    /// That to `BASE + rcx`, after it stored to the elements at 100h and 108h.
    StoresElements(u32),
}

impl Other {
    fn instructions(self) -> Vec<(u64, Vec<u8>)> {
        match self {
            Other::Stores(value) => vec![(0, store(value))],
            Other::StoresByte(value) => vec![(0, vec![0xc6, 4, 0x25, 0, 0x20, 0x40, 0, value])],
            Other::StoresSomewhere => vec![(0, vec![0x48, 0x89, 0x37])],
            Other::StoresElement(base) => element(base, 0),
            Other::StoresField(base) => element(base, 0x10),
            Other::StoresNear(base) => vec![
                (0, [&[0xb8], &base.to_le_bytes()[..]].concat()), // mov eax,BASE
                (5, vec![0x83, 0xe1, 0x38]),                      // and ecx,38h
                (8, vec![0x48, 0x89, 0x34, 0x08]),                // mov [rax+rcx],rsi
            ],
            Other::StoresElements(base) => {
                let mut all = Vec::new();
                for index in [0x100u32, 0x108] {
                    let index = [&[0xb9], &index.to_le_bytes()[..]].concat();
                    all.push((0x20 + 8 * all.len() as u64, index)); // mov ecx,INDEX
                    all.extend(element(base, 0));
                }
                all.push((0x80, vec![0x48, 0x8b, 0x0f])); // mov rcx,[rdi]
                all.extend(element(base, 0));
                all
            }
        }
    }
}

fn element(base: u32, offset: u8) -> Vec<(u64, Vec<u8>)> {
    let load_base = [&[0xb8], &base.to_le_bytes()[..]].concat();
    vec![
        (0, load_base),                      // mov eax,BASE
        (5, vec![0x48, 1, 0xc8]),            // add rax,rcx
        (8, vec![0x48, 0x89, 0x70, offset]), // mov [rax+OFFSET],rsi
    ]
}

fn store(value: u8) -> Vec<u8> {
    vec![0x48, 0xc7, 4, 0x25, 0, 0x20, 0x40, 0, value, 0, 0, 0]
}

/// Adds a thread of these instructions, each at its offset, in code of its own.
fn thread(trace: &mut Trace, instructions: &[(u64, Vec<u8>)]) {
    let id = trace.threads.len() as u32 + 1;
    let mut made = ThreadTrace::new(ThreadId(id));
    for (offset, bytes) in instructions {
        let block = trace.code.push(Block {
            at: Address(0x1000 * u64::from(id) + offset),
            bytes: bytes.clone().into(),
            starts: [0].into(),
            bitness: 64,
        });
        made.push(Run { block, count: 1 });
    }
    trace.threads.push(made);
}

/// The first thread makes the others, stores 5 (or a pointer, if it is to follow one), loads, and does something
/// with that; then all is forgotten. Returns what is known of the loaded value.
fn loaded(others: &[Other], then: Then, edges: &[Edge]) -> Value {
    let history = recovered(others, then, edges);
    history.register(Position { thread: 0, step: 3 }, RegWord::RAX)
}

fn recovered(others: &[Other], then: Then, edges: &[Edge]) -> History {
    recovered_in(others, then, edges, Place::Heap)
}

/// What the first thread does with what it loaded.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Anything,
    /// Finds that it is not 5.
    Unequal,
    /// Loads from where it points to.
    Follow,
}

/// Where the place lies.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Heap,
    /// In the data of a file.
    Data,
    /// On the stack of the thread that loads it.
    Stack,
}

fn recovered_in(others: &[Other], then: Then, edges: &[Edge], place: Place) -> History {
    let mut trace = Trace::default();
    let stored = match then {
        // mov qword [402000h],402008h
        Then::Follow => vec![0x48, 0xc7, 4, 0x25, 0, 0x20, 0x40, 0, 8, 0x20, 0x40, 0],
        _ => store(5),
    };
    let mut first = vec![
        (0, vec![0x90]), // nop
        (1, stored),
        (13, vec![0x48, 0x8b, 4, 0x25, 0, 0x20, 0x40, 0]), // mov rax,[402000h]
    ];
    match then {
        Then::Anything => {}
        // cmp rax,5; jne over what is not run
        Then::Unequal => first.extend([(21, vec![0x48, 0x83, 0xf8, 5]), (25, vec![0x75, 2])]),
        Then::Follow => first.push((21, vec![0x48, 0x8b, 0])), // mov rax,[rax]
    }
    first.extend([(29, vec![0x31, 0xc0]), (31, store(0))]);
    thread(&mut trace, &first);
    for other in others {
        thread(&mut trace, &other.instructions());
    }
    let made = (1..=others.len() as u32).map(|thread| Edge {
        kind: EdgeKind::ThreadCreate,
        from: Point { thread: 0, step: 1 },
        to: Point { thread, step: 0 },
    });
    let edges: Vec<Edge> = made.chain(edges.iter().copied()).collect();
    let order = Order::with_edges(&trace, &edges);
    let refused = |found: &&Diagnostic| !matches!(found, Diagnostic::NoTime { .. });
    assert_eq!(order.diagnostics().iter().find(refused), None);
    let last = parse(MEMORY);
    let mut last = last.final_state();
    let file = (place == Place::Data).then_some("program");
    let memory = Mapped::new(last.memory, file);
    if place == Place::Stack {
        let mut registers = Registers::new(trace.threads[0].thread, Address(0x40_1000));
        registers.set(RegWord::RSP, 0x40_1800);
        last.threads = vec![registers];
    }
    let last = FinalState {
        memory: &memory,
        ..last
    };
    recover(&trace, &order, &last, &Options::default())
}

/// Memory in one mapping.
struct Mapped<'a> {
    memory: &'a (dyn Memory + Sync),
    mappings: [Mapping; 1],
}

impl Mapped<'_> {
    fn new<'a>(memory: &'a (dyn Memory + Sync), file: Option<&str>) -> Mapped<'a> {
        let mapping = Mapping {
            start: Address(0x40_1000),
            end: Address(0x40_3000),
            read: true,
            write: true,
            execute: false,
            file: file.map(str::to_owned),
        };
        Mapped {
            memory,
            mappings: [mapping],
        }
    }
}

impl Memory for Mapped<'_> {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        self.memory.bytes(at)
    }

    fn constant_len(&self, at: Address) -> u64 {
        self.memory.constant_len(at)
    }

    fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }
}

#[track_caller]
fn check(others: &[Other], then: Then, certain: Option<u64>, known: Option<u64>) {
    let found = loaded(others, then, &[]);
    let whole = |mask: u64| (mask == u64::MAX).then_some(found.bits);
    assert_eq!(
        (whole(found.certain), whole(found.known)),
        (certain, known),
        "{found:x?}"
    );
}

const UNEQUAL: Then = Then::Unequal;
const ANYTHING: Then = Then::Anything;

#[test]
fn stores_that_agree_are_no_race() {
    check(&[Other::Stores(5)], ANYTHING, Some(5), Some(5));
    check(
        &[Other::Stores(5), Other::Stores(5)],
        ANYTHING,
        Some(5),
        Some(5),
    );
    let agreed = loaded(&[Other::Stores(7)], ANYTHING, &[]);
    assert_eq!((agreed.certain, agreed.known, agreed.bits), (!2, !2, 5));
    // With one bit open, not to be 5 is to be 7.
    check(&[Other::Stores(7)], UNEQUAL, Some(7), Some(7));
}

#[test]
fn the_only_store_that_fits_was_read() {
    check(&[Other::Stores(6)], UNEQUAL, None, Some(6));
    check(
        &[Other::Stores(6), Other::Stores(6)],
        UNEQUAL,
        None,
        Some(6),
    );
}

#[test]
fn what_is_no_pointer_was_not_followed() {
    check(&[Other::Stores(6)], Then::Follow, None, Some(0x40_2008));
    let agreed = loaded(&[Other::Stores(8)], Then::Follow, &[]);
    assert_eq!(agreed.certain, !0x40_2000, "{agreed:x?}");
}

#[test]
fn the_order_of_what_was_read_is_remembered() {
    let at = |thread, step| Position { thread, step };
    let observed = |others: &[Other], then| {
        let history = recovered(others, then, &[]);
        history.observed_orders().collect::<Vec<_>>()
    };
    let read = [(at(1, 0), at(0, 2))];
    assert_eq!(observed(&[Other::Stores(6)], UNEQUAL), read);
    assert_eq!(observed(&[Other::Stores(6)], ANYTHING), []);
    let two = [Other::Stores(7), Other::Stores(15)];
    assert_eq!(observed(&two, UNEQUAL), []);
}

#[test]
fn two_stores_that_fit_leave_what_they_agree_on() {
    let found = loaded(&[Other::Stores(7), Other::Stores(15)], UNEQUAL, &[]);
    assert_eq!((found.known, found.bits), (!8, 7));
    assert_eq!(
        found.certain, !0xa,
        "5 counts too where nothing is inferred"
    );
}

#[test]
fn a_store_of_part_of_the_bytes_leaves_nothing() {
    let found = loaded(&[Other::StoresByte(7)], UNEQUAL, &[]);
    assert_eq!(found.known, 0, "{found:x?}");
}

#[test]
fn a_store_to_an_unknown_place_leaves_nothing_certain() {
    let found = loaded(&[Other::Stores(5), Other::StoresSomewhere], UNEQUAL, &[]);
    assert_eq!(found.certain, 0, "{found:x?}");
}

// The sum is carried into bits that its parts have in common: the range is that of the numbers.
#[test]
fn a_store_in_a_range_stops_what_lies_there() {
    check(&[Other::StoresNear(0x40_2008)], ANYTHING, Some(5), Some(5));
    check(&[Other::StoresNear(0x40_1fc0)], ANYTHING, Some(5), Some(5));
    check(&[Other::StoresNear(0x40_1fc9)], ANYTHING, None, None);
    check(&[Other::StoresNear(0x40_2000)], ANYTHING, None, None);
    let two = [Other::StoresNear(0x40_2008), Other::StoresSomewhere];
    check(&two, ANYTHING, None, Some(5));
}

#[test]
fn a_store_into_an_array_stops_what_lies_behind_its_beginning() {
    check(&[Other::StoresSomewhere], ANYTHING, None, Some(5));
    check(&[Other::StoresElement(0x40_2000)], ANYTHING, None, None);
    check(&[Other::StoresElement(0x40_1ff8)], ANYTHING, None, None);
    // An array behind the place, and what is no place at all.
    check(&[Other::StoresElement(0x40_2008)], ANYTHING, None, Some(5));
    check(&[Other::StoresElement(0x10)], ANYTHING, None, Some(5));
    // The array begins where its register and the offset say together.
    check(&[Other::StoresField(0x40_1ff0)], ANYTHING, None, None);
    check(&[Other::StoresField(0x40_1ff8)], ANYTHING, None, Some(5));
}

// Where the instruction wrote at other times does not tell which element of a file's data this is; of what
// lies in the heap, most is no array.
#[test]
fn an_instruction_that_wrote_other_elements_stops_those_of_data() {
    let known = |other, place| {
        let history = recovered_in(&[other], ANYTHING, &[], place);
        let loaded = history.register(Position { thread: 0, step: 3 }, RegWord::RAX);
        (loaded.known == u64::MAX).then_some(loaded.bits)
    };
    let stores = Other::StoresElements(0x40_2000);
    assert_eq!(known(stores, Place::Data), None);
    assert_eq!(known(stores, Place::Heap), Some(5));
    let behind = Other::StoresElements(0x40_2008);
    assert_eq!(known(behind, Place::Data), Some(5));
    // Elements up to 110h were seen: as many again are feared, and no more.
    let feared = Other::StoresElements(0x40_1de8);
    assert_eq!(known(feared, Place::Data), None);
    let short = Other::StoresElements(0x40_1de0);
    assert_eq!(known(short, Place::Data), Some(5));
}

// Who stores elements of what lies on the stack of another thread was handed an array.
#[test]
fn an_instruction_that_wrote_other_elements_stops_those_on_the_stack_of_another_thread() {
    let known = |other| {
        let history = recovered_in(&[other], ANYTHING, &[], Place::Stack);
        let loaded = history.register(Position { thread: 0, step: 3 }, RegWord::RAX);
        (loaded.known == u64::MAX).then_some(loaded.bits)
    };
    assert_eq!(known(Other::StoresElement(0x40_2000)), None);
    assert_eq!(known(Other::StoresElements(0x40_2000)), None);
    assert_eq!(known(Other::StoresElements(0x40_2008)), Some(5));
}

#[test]
fn a_store_that_came_before_is_no_candidate() {
    let at = |thread, step| Point { thread, step };
    let edge = |from, to| Edge {
        kind: EdgeKind::FutexWake,
        from,
        to,
    };
    // The store of 7 is before the thread's own of 5; that of 15 may be anywhere.
    let early = [edge(at(1, 1), at(0, 1))];
    let found = loaded(&[Other::Stores(7), Other::Stores(15)], UNEQUAL, &early);
    assert_eq!(
        (found.known, found.bits, found.certain),
        (u64::MAX, 15, !10)
    );
    // After the load, it cannot have been read either.
    let late = [edge(at(0, 3), at(1, 0))];
    let found = loaded(&[Other::Stores(7), Other::Stores(15)], UNEQUAL, &late);
    assert_eq!(
        (found.known, found.bits, found.certain),
        (u64::MAX, 15, !10)
    );
}
