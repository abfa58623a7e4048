//! Litmus shapes for threads that wait for each other: each stores where a pointer says that it loads, and neither
//! load is known as long as the other thread's store may be anywhere.

#[path = "cases/format.rs"]
#[expect(dead_code, reason = "the format of `cases.rs`, which uses all of it")]
mod format;

use format::parse;
use rept_order::{Edge, EdgeKind, Order, Point};
use rept_recover::history::{Position, Recovered, Value};
use rept_recover::{Options, recover};
use rept_trace::{Address, Block, RegWord, Run, ThreadId, ThreadTrace, Trace};

/// Where the pointers of the threads are, and what they are at the end.
const FIRST: u32 = 0x40_2000;
const SECOND: u32 = 0x40_2008;
/// Where nothing was ever stored that is known.
const STRANGE: u32 = 0x40_2010;
const MEMORY: &str = "
code 0x401000
31 c0                              xor eax,eax
final rax=0
memory 0x402000 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
memory 0x402010 00 00 00 00 00 00 00 00 28 20 40 00 00 00 00 00
memory 0x402020 07 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00
expect  rax
0       ?
";

/// `mov qword [ADDRESS],VALUE`
fn store(address: u32, value: u32) -> Vec<u8> {
    [
        &[0x48, 0xc7, 4, 0x25][..],
        &address.to_le_bytes(),
        &value.to_le_bytes(),
    ]
    .concat()
}

/// `mov rax,[ADDRESS]`
fn load_rax(address: u32) -> Vec<u8> {
    [&[0x48, 0x8b, 4, 0x25][..], &address.to_le_bytes()].concat()
}

/// `mov rbx,[ADDRESS]`
fn load_rbx(address: u32) -> Vec<u8> {
    [&[0x48, 0x8b, 0x1c, 0x25][..], &address.to_le_bytes()].concat()
}

/// `mov qword [rax],7`
const STORE_BY_RAX: [u8; 7] = [0x48, 0xc7, 0, 7, 0, 0, 0];
/// `mov qword [rbx],8`
const STORE_BY_RBX: [u8; 7] = [0x48, 0xc7, 3, 8, 0, 0, 0];
/// `mov [402018h],rbx`
const SPILL_RBX: [u8; 8] = [0x48, 0x89, 0x1c, 0x25, 0x18, 0x20, 0x40, 0];
/// `xor eax,eax` and `xor ebx,ebx`
const FORGET_RAX: [u8; 2] = [0x31, 0xc0];
const FORGET_RBX: [u8; 2] = [0x31, 0xdb];

fn thread(trace: &mut Trace, instructions: &[Vec<u8>]) {
    let id = trace.threads.len() as u32 + 1;
    let mut made = ThreadTrace::new(ThreadId(id));
    for (place, bytes) in instructions.iter().enumerate() {
        let block = trace.code.push(Block {
            at: Address(0x1000 * u64::from(id) + 0x20 * place as u64),
            bytes: bytes.clone().into(),
            starts: [0].into(),
            bitness: 64,
        });
        made.push(Run { block, count: 1 });
    }
    trace.threads.push(made);
}

/// The first thread stores both pointers and makes the second; each loads its own, stores by it, and forgets it.
/// What is assumed of the two pointers behind the loads.
fn pointers(first: u32, second: u32, other: &[Vec<u8>]) -> [Value; 2] {
    let mut trace = Trace::default();
    let own = [
        store(FIRST, first),
        store(SECOND, second),
        load_rax(FIRST),
        STORE_BY_RAX.to_vec(),
        FORGET_RAX.to_vec(),
        store(FIRST, 0),
    ];
    thread(&mut trace, &own);
    thread(&mut trace, other);
    let made = Edge {
        kind: EdgeKind::ThreadCreate,
        from: Point { thread: 0, step: 2 },
        to: Point { thread: 1, step: 0 },
    };
    let order = Order::with_edges(&trace, &[made]);
    let last = parse(MEMORY);
    let mut options = Options::default();
    options.optimism = false;
    let history = recover(&trace, &order, &last.final_state(), &options);
    [(0, 3, RegWord::RAX), (1, 1, RegWord::gpr(3))]
        .map(|(thread, step, word)| history.register(Position { thread, step }, word))
}

/// The second thread, which loads its pointer from an address.
fn other(pointer: u32) -> Vec<Vec<u8>> {
    vec![
        load_rbx(pointer),
        STORE_BY_RBX.to_vec(),
        FORGET_RBX.to_vec(),
        store(pointer, 0),
    ]
}

fn whole(value: Value) -> Option<u64> {
    (value.known == u64::MAX).then_some(value.bits)
}

#[test]
fn two_threads_that_wait_for_each_other_go_on() {
    let [first, second] = pointers(0x40_2020, 0x40_2028, &other(SECOND));
    assert_eq!(whole(first), Some(0x40_2020));
    assert_eq!(whole(second), Some(0x40_2028));
    assert_eq!(first.certain, 0, "it is assumed");
}

#[test]
fn a_store_that_hits_what_the_other_thread_loads_stops_it() {
    let [first, second] = pointers(0x40_2020, FIRST, &other(SECOND));
    // The first pointer may be 8, so that its thread may store anywhere.
    assert_eq!([whole(first), whole(second)], [None; 2]);
    let [first, second] = pointers(SECOND, FIRST, &other(SECOND));
    assert_eq!([whole(first), whole(second)], [None; 2]);
}

#[test]
fn a_store_that_stays_without_a_place_stops_the_other_thread() {
    let [first, second] = pointers(0x40_2020, 0x40_2028, &other(STRANGE));
    assert_eq!([whole(first), whole(second)], [None; 2]);
}

#[test]
fn what_follows_backward_alone_proves_nothing() {
    // What was spilled is in the dump, if the first thread did not store there.
    let mut spills = other(STRANGE);
    spills.insert(1, SPILL_RBX.to_vec());
    let [first, second] = pointers(0x40_2020, 0, &spills);
    assert_eq!([whole(first), whole(second)], [None; 2]);
}
