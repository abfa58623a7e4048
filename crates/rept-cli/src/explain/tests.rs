use super::*;
use crate::testing::{Made, access, load, run, store};
use iced_x86::{Decoder, DecoderOptions, Register};
use rept_recover::history::Position;
use rept_trace::Address;

impl Made {
    fn past(&self) -> Past<'_> {
        Past {
            trace: &self.trace,
            sequence: &self.sequence,
            history: &self.history,
        }
    }

    /// The trail of a register at the end of the last thread, as text.
    fn trail(&self, register: Register) -> String {
        let thread = self.trace.threads.len() - 1;
        let at = Position {
            thread: thread as u32,
            step: self.trace.threads[thread].steps(),
        };
        let trail = trail(&self.past(), at, register);
        let mut text: Vec<String> = trail.links.iter().map(link).collect();
        text.push(match trail.end {
            End::Made { at } => format!("made {}:{}", at.thread, at.step),
            End::RegisterBefore { register } => format!("{register:?} before"),
            End::MemoryBefore { address } => format!("[{address}] before"),
            End::AddressUnknown { at } => format!("lost {}:{}", at.thread, at.step),
            End::TooLong => "too long".to_owned(),
        });
        text.join(", ")
    }
}

fn link(link: &Link) -> String {
    match link {
        Link::Copy { at, from } => format!("{}:{} copy {from:?}", at.thread, at.step),
        Link::Load { at, .. } => format!("{}:{} load", at.thread, at.step),
        Link::Store {
            at, uncertain: 0, ..
        } => format!("{}:{} store", at.thread, at.step),
        Link::Store { at, uncertain, .. } => {
            format!("{}:{} store after {uncertain} unknown", at.thread, at.step)
        }
    }
}

const MOV_RSI_RCX: &[u8] = &[0x48, 0x89, 0x0e]; // mov [rsi],rcx
const MOV_RAX_RSI: &[u8] = &[0x48, 0x8b, 0x06]; // mov rax,[rsi]
const PUSH_RAX: &[u8] = &[0x50];
const POP_RBX: &[u8] = &[0x5b];
const MOV_RDI_RBX: &[u8] = &[0x48, 0x89, 0xdf]; // mov rdi,rbx
const ADD_RCX_RAX: &[u8] = &[0x48, 0x01, 0xc1]; // add rcx,rax
const MOV_BYTE: &[u8] = &[0xc6, 0x07, 0x00]; // mov byte ptr [rdi],0
const LOAD_XMM0: &[u8] = &[0x0f, 0x10, 0x06]; // movups xmm0,[rsi]
const STORE_XMM0: &[u8] = &[0x0f, 0x11, 0x07]; // movups [rdi],xmm0
const REP_MOVSB: &[u8] = &[0xf3, 0xa4];

#[test]
fn copies_spills_and_stores_are_followed() {
    let made = run(&[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (MOV_RAX_RSI, &[load(0x100)]),
        (PUSH_RAX, &[store(0x7000)]),
        (ADD_RCX_RAX, &[]),
        (POP_RBX, &[load(0x7000)]),
        (MOV_RDI_RBX, &[]),
    ]]);
    let expect = "0:5 copy RBX, 0:4 load, 0:2 store, 0:1 load, 0:0 store, RCX before";
    assert_eq!(made.trail(Register::RDI), expect);
    assert_eq!(made.trail(Register::RCX), "made 0:3");
    assert_eq!(made.trail(Register::R8), "R8 before");
}

#[test]
fn another_thread_may_have_written_it() {
    let made = run(&[
        &[(ADD_RCX_RAX, &[]), (MOV_RSI_RCX, &[store(0x100)])],
        &[(MOV_RAX_RSI, &[load(0x100)])],
    ]);
    assert_eq!(made.trail(Register::RAX), "1:0 load, 0:1 store, made 0:0");
}

#[test]
fn stores_at_unknown_addresses_are_counted() {
    let made = run(&[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (PUSH_RAX, &[access(true, None, 8)]),
        (MOV_RAX_RSI, &[load(0x100)]),
    ]]);
    assert_eq!(
        made.trail(Register::RAX),
        "0:2 load, 0:0 store after 1 unknown, RCX before"
    );
}

#[test]
fn one_overwritten_byte_is_the_answer() {
    let made = run(&[&[
        (MOV_RSI_RCX, &[store(0x100)]),
        (MOV_BYTE, &[access(true, Some(0x105), 1)]),
        (MOV_RAX_RSI, &[load(0x100)]),
    ]]);
    assert_eq!(made.trail(Register::RAX), "0:2 load, 0:1 store, made 0:1");
}

#[test]
fn a_block_copy_leads_to_its_source() {
    let wide = |store, address| {
        [
            access(store, Some(address), 8),
            access(store, Some(address + 8), 8),
        ]
    };
    let made = run(&[&[
        (MOV_RSI_RCX, &[store(0x208)]),
        (LOAD_XMM0, &wide(false, 0x200)),
        (STORE_XMM0, &wide(true, 0x300)),
        (
            REP_MOVSB,
            &[load(0x300), load(0x308), store(0x400), store(0x408)],
        ),
        (MOV_RAX_RSI, &[load(0x408)]),
    ]]);
    let expect = "0:4 load, 0:3 store, 0:2 store, 0:1 load, 0:0 store, RCX before";
    assert_eq!(made.trail(Register::RAX), expect);
}

#[test]
fn the_base_of_the_operand_that_covers_the_fault_is_blamed() {
    let check = |bytes: &[u8], fault, expect| {
        let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
        let value = |register| match register {
            Register::RSI => Some(0x1000),
            Register::RDI => Some(0x20),
            Register::DS | Register::ES => Some(0),
            _ => None,
        };
        assert_eq!(faulting_operand(&instruction, fault, value), expect);
    };
    check(
        &[0x48, 0x8b, 0x46, 0x08],
        Some(Address(0x1008)),
        Some(Register::RSI),
    );
    // movsb reads [rsi] and writes [rdi].
    check(&[0xa4], Some(Address(0x20)), Some(Register::RDI));
    check(&[0xa4], Some(Address(0x1000)), Some(Register::RSI));
    // add rcx,rax has none.
    check(ADD_RCX_RAX, Some(Address(0)), None);
}
