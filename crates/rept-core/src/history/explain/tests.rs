//! Chains over hand-made pasts.

use super::*;
use rept_trace::ThreadId;

/// An instruction's bytes and what it accesses.
type Ran<'a> = (&'a [u8], &'a [AccessView]);

/// Threads with ids from 1; a later thread runs after all earlier ones.
struct Told<'a>(&'a [&'a [Ran<'a>]]);

impl Told<'_> {
    /// Steps before a position, newest first.
    fn backwards(&self, before: Position) -> impl Iterator<Item = Position> {
        let threads = (1..=before.thread.0).rev().map(move |thread| {
            let steps = self.0[thread as usize - 1].len() as u64;
            let own = thread == before.thread.0;
            (ThreadId(thread), if own { before.step } else { steps })
        });
        threads.flat_map(|(thread, steps)| {
            (0..steps)
                .rev()
                .map(move |step| Position::new(thread, step))
        })
    }

    fn ran(&self, at: Position) -> Option<Ran<'_>> {
        let thread = self.0[at.thread.0 as usize - 1];
        thread.get(at.step as usize).copied()
    }

    /// The chain of a register at the end of the last thread, as text.
    fn chain(&self, word: RegWord) -> String {
        let threads = self.0.len();
        let end = self.0[threads - 1].len() as u64;
        let at = Position::new(ThreadId(threads as u32), end);
        let found = follow(self, Place::of(Location::Reg(word)), at);
        let mut text: Vec<String> = found.links.iter().map(link).collect();
        text.push(match found.origin {
            Origin::Constant(at) => format!("constant {at}"),
            Origin::Computed { at, inputs } => format!("computed {at} of {}", inputs.len()),
            Origin::BeforeWindow(location) => format!("{location} before"),
            other => format!("{other:?}"),
        });
        text.join(", ")
    }
}

fn link(link: &Link) -> String {
    let kind = match (link.to, link.from) {
        _ if link.computed => "compute".to_owned(),
        (Location::Mem { .. }, _) => "store".to_owned(),
        (_, Some(Location::Mem { .. })) => "load".to_owned(),
        (_, Some(from)) => format!("copy {from}"),
        (_, None) => "set".to_owned(),
    };
    if link.times > 1 {
        return format!(
            "{} {kind} {} times from {}",
            link.at, link.times, link.first
        );
    }
    match link.unknown_stores {
        _ if link.raced => format!("{} {kind} by its value", link.at),
        0 => format!("{} {kind}", link.at),
        stores => format!("{} {kind} or one of {stores}", link.at),
    }
}

impl Past for Told<'_> {
    fn instruction_of(&self, at: Position) -> Option<Instruction> {
        let (bytes, _) = self.ran(at)?;
        Some(Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode())
    }

    fn accesses_of(&self, at: Position) -> Vec<AccessView> {
        self.ran(at)
            .map(|(_, accesses)| accesses.to_vec())
            .unwrap_or_default()
    }

    fn writer(&self, location: Location, before: Position) -> Option<Write> {
        let mut stores = 0;
        for at in self.backwards(before) {
            let (bytes, accesses) = self.ran(at)?;
            let found = match location {
                Location::Reg(word) => {
                    at.thread == before.thread
                        && crate::history::registers::writes_bytes(bytes, word)
                }
                Location::Mem { address, size } => accesses.iter().any(|access| {
                    let Some(start) = access.address.filter(|_| access.store) else {
                        stores += u64::from(access.store);
                        return false;
                    };
                    start.0 < address.0 + size && address.0 < start.0 + u64::from(access.size)
                }),
            };
            if found {
                return Some(Write::new(Some(at), stores, None));
            }
        }
        Some(Write::new(None, stores, None))
    }

    fn flags(&self, _: Position) -> Value {
        Value::default()
    }

    fn found(&self, address: Address, size: u64, at: Position) -> Value {
        accessed(&self.accesses_of(at), false, address, size)
    }

    fn rival(&self, address: Address, size: u64, found: Value, at: Position) -> Option<Position> {
        let threads = self.0.len();
        let end = Position::new(ThreadId(threads as u32), self.0[threads - 1].len() as u64);
        let put = |step: &Position| accessed(&self.accesses_of(*step), true, address, size);
        let mut others = self.backwards(end).filter(|step| step.thread != at.thread);
        others.find(|step| put(step) == found)
    }

    fn is_file(&self, _: Address) -> bool {
        false
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

fn access(store: bool, address: Option<u64>, size: u8) -> AccessView {
    AccessView {
        address: address.map(Address),
        address_certain: true,
        address_assumed: true,
        size,
        store,
        value: Value::default(),
    }
}

fn load(address: u64) -> AccessView {
    access(false, Some(address), 8)
}

fn store(address: u64) -> AccessView {
    access(true, Some(address), 8)
}

/// An access of 8 bytes whose value is known.
fn valued(store: bool, address: u64, bits: u64) -> AccessView {
    let all = u64::MAX;
    let value = Value {
        bits,
        known: all,
        certain: all,
        assumed: all,
    };
    AccessView {
        value,
        ..access(store, Some(address), 8)
    }
}

#[track_caller]
fn check(threads: &[&[Ran<'_>]], word: RegWord, expect: &str) {
    assert_eq!(Told(threads).chain(word), expect);
}

const MOV_RSI_RCX: &[u8] = &[0x48, 0x89, 0x0e]; // mov [rsi],rcx
const MOV_RAX_RSI: &[u8] = &[0x48, 0x8b, 0x06]; // mov rax,[rsi]
const PUSH_RAX: &[u8] = &[0x50];
const POP_RBX: &[u8] = &[0x5b];
const MOV_RAX_RBX: &[u8] = &[0x48, 0x89, 0xd8]; // mov rax,rbx
const MOV_RDI_RBX: &[u8] = &[0x48, 0x89, 0xdf]; // mov rdi,rbx
const ADD_RCX_RAX: &[u8] = &[0x48, 0x01, 0xc1]; // add rcx,rax
const ADD_RAX_8: &[u8] = &[0x48, 0x83, 0xc0, 0x08]; // add rax,8
const MOV_BYTE: &[u8] = &[0xc6, 0x07, 0x00]; // mov byte ptr [rdi],0
const MOV_AH: &[u8] = &[0xb4, 0x01]; // mov ah,1
const LOAD_XMM0: &[u8] = &[0x0f, 0x10, 0x06]; // movups xmm0,[rsi]
const STORE_XMM0: &[u8] = &[0x0f, 0x11, 0x07]; // movups [rdi],xmm0
const REP_MOVSB: &[u8] = &[0xf3, 0xa4];

#[test]
fn copies_spills_and_stores_are_followed() {
    let threads: &[&[Ran<'_>]] = &[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (MOV_RAX_RSI, &[load(0x100)]),
        (PUSH_RAX, &[store(0x7000)]),
        (ADD_RCX_RAX, &[]),
        (POP_RBX, &[load(0x7000)]),
        (MOV_RDI_RBX, &[]),
    ]];
    let expect = "1:5 copy rbx, 1:4 load, 1:2 store, 1:1 load, 1:0 store, rcx before";
    check(threads, RegWord::RDI, expect);
    check(threads, RegWord::RCX, "1:3 compute, computed 1:3 of 2");
    check(threads, RegWord::gpr(8), "r8 before");
}

#[test]
fn one_varying_input_hands_the_question_on() {
    let threads: &[&[Ran<'_>]] = &[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (MOV_RAX_RSI, &[load(0x100)]),
        (ADD_RAX_8, &[]),
        (MOV_AH, &[]),
    ]];
    let expect = "1:2 compute, 1:1 load, 1:0 store, rcx before";
    check(threads, RegWord::RAX, expect);
}

#[test]
fn another_thread_may_have_written_it() {
    let threads: &[&[Ran<'_>]] = &[
        &[(ADD_RCX_RAX, &[]), (MOV_RSI_RCX, &[store(0x100)])],
        &[(MOV_RAX_RSI, &[load(0x100)])],
    ];
    let expect = "2:0 load, 1:1 store, 1:0 compute, computed 1:0 of 2";
    check(threads, RegWord::RAX, expect);
}

#[test]
fn a_store_of_another_value_is_not_followed() {
    let (other, own) = ([valued(true, 0x100, 5)], [valued(true, 0x100, 7)]);
    let found = [valued(false, 0x100, 5)];
    let racing: &[&[Ran<'_>]] = &[
        &[(MOV_RSI_RCX, &other), (MOV_RSI_RCX, &own)],
        &[(MOV_RSI_RCX, &own), (MOV_RAX_RSI, &found)],
    ];
    let expect = "2:1 load, 1:0 store by its value, rcx before";
    check(racing, RegWord::RAX, expect);

    let alone: &[&[Ran<'_>]] = &[&[(MOV_RSI_RCX, &own), (MOV_RAX_RSI, &found)]];
    let text = Told(alone).chain(RegWord::RAX);
    assert!(text.starts_with("1:1 load, Contradicted"), "{text}");
    let unknown = [access(true, None, 8)];
    let doubtful: &[&[Ran<'_>]] = &[&[
        (MOV_RSI_RCX, &own),
        (PUSH_RAX, &unknown),
        (MOV_RAX_RSI, &found),
    ]];
    let text = Told(doubtful).chain(RegWord::RAX);
    assert!(text.starts_with("1:2 load, UnknownStore"), "{text}");
}

#[test]
fn stores_at_unknown_addresses_are_counted() {
    let threads: &[&[Ran<'_>]] = &[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (PUSH_RAX, &[access(true, None, 8)]),
        (MOV_RAX_RSI, &[load(0x100)]),
    ]];
    let expect = "1:2 load, 1:0 store or one of 1, rcx before";
    check(threads, RegWord::RAX, expect);
}

#[test]
fn one_overwritten_byte_is_the_answer() {
    let threads: &[&[Ran<'_>]] = &[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (MOV_BYTE, &[access(true, Some(0x105), 1)]),
        (MOV_RAX_RSI, &[load(0x100)]),
    ]];
    check(threads, RegWord::RAX, "1:2 load, 1:1 store, constant 1:1");
}

#[test]
fn a_block_copy_leads_to_its_source() {
    let wide = |store, address| {
        [
            access(store, Some(address), 8),
            access(store, Some(address + 8), 8),
        ]
    };
    let threads: &[&[Ran<'_>]] = &[&[
        (MOV_RSI_RCX, &[store(0x208)]),
        (LOAD_XMM0, &wide(false, 0x200)),
        (STORE_XMM0, &wide(true, 0x300)),
        (
            REP_MOVSB,
            &[load(0x300), load(0x308), store(0x400), store(0x408)],
        ),
        (MOV_RAX_RSI, &[load(0x408)]),
    ]];
    let expect = "1:4 load, 1:3 store, 1:2 store, 1:1 load, 1:0 store, rcx before";
    check(threads, RegWord::RAX, expect);
}

#[test]
fn a_loop_is_one_turn_with_a_count() {
    let counted: Vec<Ran<'_>> = vec![(ADD_RAX_8, &[]); 1000];
    let expect = "1:999 compute 1000 times from 1:0, rax before";
    check(&[&counted], RegWord::RAX, expect);

    let (loads, stores) = ([load(0x7000)], [store(0x7000)]);
    let turn: &[Ran<'_>] = &[
        (POP_RBX, &loads),
        (MOV_RAX_RBX, &[]),
        (ADD_RAX_8, &[]),
        (PUSH_RAX, &stores),
    ];
    let mut turns: Vec<Ran<'_>> = vec![(PUSH_RAX, &stores)];
    turns.extend(turn.repeat(300));
    let each = "300 times from";
    let expect = format!(
        "1:1200 store {each} 1:4, 1:1199 compute {each} 1:3, 1:1198 copy rbx {each} 1:2, \
         1:1197 load {each} 1:1, 1:0 store, rax before"
    );
    turns.push((MOV_RAX_RSI, &loads));
    check(&[&turns], RegWord::RAX, &format!("1:1201 load, {expect}"));
}
