//! Everything: code, a stream over it, memory and registers, through to the queries.
//!
//! The stream is written from choices rather than taken from the input, so that most
//! inputs run some code.

use crate::flow::{self, BASE};
use crate::input::Input;
use crate::order;
use rept_order::Order;
use rept_recover::history::{Position, Recovered};
use rept_recover::{Options, recover};
use rept_trace::{Address, FinalState, Mapping, Memory, RegWord, Registers, ThreadId, Trace};

/// Decodes, orders, recovers, and asks everything.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let code = input.bytes(1 << 10);
    let page = Page {
        bytes: input.bytes(1 << 10),
        mappings: mappings(),
    };
    let mut registers = Registers::new(ThreadId(1), BASE);
    for word in 0..16 {
        if input.byte() & 1 == 1 {
            registers.set(RegWord::gpr(word), input.number());
        }
    }
    let stream = stream(&mut input);
    let trace = flow::decode(code, &stream);
    flow::check(&trace);
    let order = Order::new(&trace);
    order::check(&order);
    let last = FinalState {
        threads: vec![registers.clone()],
        fault: None,
        memory: &page,
        auxv: Vec::new(),
    };
    let history = recover(&trace, &order, &last, &Options::default());
    let statistics = history.statistics();
    // Registers that this code cannot have left contradict it: which side wins is not promised.
    let consistent = statistics.certain_conflicts == 0 && statistics.unexplained == 0;
    check(&history, &trace, &registers, &page, consistent);
}

/// Loops over loads, stores, arithmetic, calls and string instructions.
pub fn seeds() -> Vec<Vec<u8>> {
    let programs: [&[u8]; 4] = [
        // lea rbx,[rip+40h]; mov eax,1; add rax,[rbx]; mov [rbx],rax; xor ebx,ebx; jmp $-26
        &[
            0x48, 0x8d, 0x1d, 0x40, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x48, 0x03, 0x03, 0x48, 0x89, 0x03,
            0x31, 0xdb, 0xeb, 0xea,
        ],
        // push rbp; mov rbp,rsp; call +2; pop rbp; ret; mov [rbp-8],rdi; add rdi,[rbp-8]; ret
        &[
            0x55, 0x48, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0x5d, 0xc3, 0x48, 0x89, 0x7d, 0xf8, 0x48,
            0x03, 0x7d, 0xf8, 0xc3,
        ],
        // rep movsb; test eax,eax; jne $-4; syscall; dec ecx; jne $-10
        &[
            0xf3, 0xa4, 0x85, 0xc0, 0x75, 0xfa, 0x0f, 0x05, 0xff, 0xc9, 0x75, 0xf4,
        ],
        // movdqu xmm0,[rsi]; pxor xmm0,xmm1; movq rax,xmm0; shl rax,3; cmp rax,rbx; cmove rcx,rax; jmp rcx
        &[
            0xf3, 0x0f, 0x6f, 0x06, 0x66, 0x0f, 0xef, 0xc1, 0x66, 0x48, 0x0f, 0x7e, 0xc0, 0x48,
            0xc1, 0xe0, 3, 0x48, 0x39, 0xd8, 0x48, 0x0f, 0x44, 0xc8, 0xff, 0xe1,
        ],
    ];
    let seed = |code: &&[u8]| {
        let memory = [32; 33];
        let registers = [1; 32];
        let stream = [1, 0, 0, 0xff, 0, 0x2a, 1, 0, 2, 9, 0, 0xff, 1, 4, 0, 0x15];
        [&[code.len() as u8][..], code, &memory, &registers, &stream].concat()
    };
    programs.iter().map(seed).collect()
}

/// PSB, a start, then what the choices say.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = [0x02, 0x82].repeat(8);
    stream.extend([0x19, 1, 0, 0, 0, 0, 0, 0, 0x99, 0x01, 0x02, 0x23]);
    ip(&mut stream, 0x11, input);
    while !input.is_empty() && stream.len() < 1 << 12 {
        match input.byte() {
            // Six branches.
            0..=99 => stream.push(0x80 | (input.byte() & 0x7e)),
            100..=180 => ip(&mut stream, 0x0d, input),
            181..=200 => stream.extend([0x59, input.byte()]),
            201..=215 => stream.extend([input.byte() & 0xf8 | 3]),
            216..=230 => {
                stream.push(0x01);
                ip(&mut stream, 0x11, input);
            }
            231..=245 => {
                ip(&mut stream, 0x1d, input);
                stream.push(0x01);
                ip(&mut stream, 0x11, input);
            }
            _ => stream.push(input.byte()),
        }
    }
    stream
}

/// A packet with an address inside the code.
fn ip(stream: &mut Vec<u8>, opcode: u8, input: &mut Input<'_>) {
    stream.push(0x60 | opcode);
    stream.extend(&BASE.offset(input.number()).0.to_le_bytes()[..6]);
}

struct Page<'a> {
    bytes: &'a [u8],
    mappings: Vec<Mapping>,
}

/// Low, so that one-byte numbers are addresses.
const PAGE: Address = Address(0x20);

fn mappings() -> Vec<Mapping> {
    vec![Mapping {
        start: PAGE,
        end: PAGE.offset(0x1000),
        read: true,
        write: true,
        execute: false,
        file: None,
    }]
}

impl Memory for Page<'_> {
    fn bytes(&self, at: Address) -> Option<&[u8]> {
        let offset = usize::try_from(at.0.checked_sub(PAGE.0)?).ok()?;
        self.bytes.get(offset..).filter(|bytes| !bytes.is_empty())
    }

    fn constant_len(&self, _: Address) -> u64 {
        0
    }

    fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }
}

/// Grades nest, unknown bits are zero, and the end is what the dump says.
fn check(
    history: &impl Recovered,
    trace: &Trace,
    registers: &Registers,
    memory: &Page<'_>,
    consistent: bool,
) {
    for (thread, path) in (0..).zip(&trace.threads) {
        let steps = path.steps();
        for step in (0..=steps).rev().take(64) {
            let at = Position { thread, step };
            for word in (0..20).map(RegWord) {
                let value = history.register(at, word);
                assert_eq!(value.bits & !value.known, 0);
                assert_eq!(value.certain & !value.assumed, 0);
                assert_eq!(value.assumed & !value.known, 0);
                if value.known != u64::MAX {
                    let _ = history.why_unknown(at, word);
                }
                if step == steps
                    && steps > 0 // of a thread that never ran there is no history
                    && consistent
                    && let Some(last) = registers.get(word)
                {
                    assert_eq!(
                        (value.bits, value.certain),
                        (last, u64::MAX),
                        "{}",
                        word.name()
                    );
                }
            }
            let _ = history.memory(at, PAGE, memory);
            if step < steps {
                for access in history.accesses(at) {
                    assert!(matches!(access.size, 1..=8));
                    assert!(!access.address_certain || access.address_assumed);
                    assert!(!access.address_assumed || access.address.is_some());
                }
            }
        }
    }
}
