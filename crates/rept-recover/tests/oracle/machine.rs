//! Runs one instruction on the processor at hand, on a state of our choice.
//!
//! A region of executable memory below 2 GiB holds a stub that loads every register from a
//! [`State`], runs the bytes in its slot, and stores every register back. Faults inside the
//! slot are caught by a signal handler that resumes at the stub's end: registers of the host
//! are restored from memory, so that nothing depends on what the instruction left behind.

use crate::state::{MXCSR_DEFAULT, SCRATCH_LEN, Setting, State, World};
use std::cell::Cell;
use std::mem::offset_of;
use std::ptr;

const REGION_LEN: usize = 0x10000;
/// Offsets in the region: code, then data pages.
const BEFORE: usize = 0x1000;
const AFTER: usize = 0x2000;
const SAVED_RSP: usize = 0x3000;
const SAVED_MXCSR: usize = 0x3008;
/// FXSAVE areas of 512 bytes, which carry the x87 unit.
const FX_BEFORE: usize = 0x3200;
const FX_AFTER: usize = 0x3400;
const FX_LEN: usize = 512;
const SCRATCH: usize = 0x8000;
const SIGNAL_STACK: usize = 0xa000;
const SIGNAL_STACK_LEN: usize = REGION_LEN - SIGNAL_STACK;
/// Set where a branch of the slot lands when taken.
const TAKEN: usize = 0x3010;
/// Longest instruction and the jump behind it.
const SLOT_LEN: usize = 32;
/// Where in the slot branches lead.
pub(crate) const LANDING: usize = 16;

/// Register-state extensions that the stub must carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// AVX: 16 registers of 256 bits.
    Avx,
    /// AVX-512: 32 registers of 512 bits and opmasks.
    Avx512,
}

/// Why an instruction could not be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faulted {
    /// Signal number.
    pub(crate) signal: i32,
}

/// Executable memory with a stub around one instruction.
pub(crate) struct Machine {
    region: *mut u8,
    slot: usize,
    extension: Extension,
}

/// What the signal handler must know of the machine of its thread.
#[derive(Clone, Copy)]
struct Recovery {
    first: u64,
    last: u64,
    resume: u64,
    signal: i32,
}

thread_local! {
    static RECOVERY: Cell<Option<Recovery>> = const { Cell::new(None) };
}

impl Machine {
    /// Maps the region; `None` when the system or the processor does not allow for it.
    pub(crate) fn new() -> Option<Machine> {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return None;
        }
        let wide = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw");
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let region = unsafe { libc::mmap(ptr::null_mut(), REGION_LEN, protection, flags, -1, 0) };
        if region == libc::MAP_FAILED {
            return None;
        }
        let mut machine = Machine {
            region: region.cast(),
            slot: 0,
            extension: if wide {
                Extension::Avx512
            } else {
                Extension::Avx
            },
        };
        machine.write_stub();
        machine.install_handlers();
        Some(machine)
    }

    /// Address at which instructions run.
    pub(crate) fn slot(&self) -> u64 {
        self.region as u64 + self.slot as u64
    }

    pub(crate) fn setting(&self) -> Setting {
        Setting {
            scratch: self.region as u64 + SCRATCH as u64,
            fs_base: segment_base(0x1003),
            gs_base: segment_base(0x1004),
            lanes: if self.extension == Extension::Avx512 {
                8
            } else {
                4
            },
        }
    }

    /// Puts an instruction into the slot. It must not change anything that the stub does not
    /// carry, and transfer control to the landing place at most (`branches`).
    pub(crate) fn load(&mut self, bytes: &[u8], branches: bool) {
        assert!(bytes.len() <= 15 && !(branches && bytes.len() + 5 > LANDING));
        let mut code = bytes.to_vec();
        code.push(0xe9);
        let rest = SLOT_LEN - code.len() - 4;
        code.extend((rest as u32).to_le_bytes());
        if branches {
            // mov byte [TAKEN], 1, which leaves registers and flags alone.
            code.resize(LANDING, 0xcc);
            code.extend([0xc6, 0x05]);
            let next = self.slot + code.len() + 5;
            code.extend((TAKEN as u32).wrapping_sub(next as u32).to_le_bytes());
            code.push(1);
            code.resize(SLOT_LEN, 0x90);
        }
        self.write(self.slot, &code);
    }

    /// Runs the instruction in the slot once.
    ///
    /// # Errors
    /// The signal that it raised instead of completing.
    pub(crate) fn run(&mut self, before: &World) -> Result<World, Faulted> {
        self.write(SCRATCH, &before.scratch);
        self.write(FX_BEFORE, &x87_image(&before.state));
        self.write(TAKEN, &[0]);
        RECOVERY.set(Some(Recovery {
            first: self.slot(),
            last: self.slot() + SLOT_LEN as u64,
            resume: self.slot() + SLOT_LEN as u64,
            signal: 0,
        }));
        // SAFETY: BEFORE is page-aligned and holds room for a State; nobody else refers to it.
        unsafe {
            self.region
                .add(BEFORE)
                .cast::<State>()
                .write(before.state.clone())
        };
        // SAFETY: the stub at the region's start is a function without arguments that keeps
        // the callee-saved registers, the flags, MXCSR and the stack pointer.
        unsafe {
            let stub: extern "sysv64" fn() = std::mem::transmute(self.region);
            stub();
        }
        let signal = RECOVERY.take().map_or(0, |recovery| recovery.signal);
        if signal != 0 {
            return Err(Faulted { signal });
        }
        // SAFETY: the stub wrote a whole State to AFTER; fields that it does not carry were copied there by `write_stub`'s caller.
        let mut state = unsafe { self.region.add(AFTER).cast::<State>().read() };
        state.fs_base = before.state.fs_base;
        state.gs_base = before.state.gs_base;
        let mut image = [0; FX_LEN];
        // SAFETY: the area lies in the region and is FX_LEN bytes long; the stub wrote it.
        unsafe { ptr::copy_nonoverlapping(self.region.add(FX_AFTER), image.as_mut_ptr(), FX_LEN) };
        read_x87(&image, &mut state);
        let mut scratch = [0; SCRATCH_LEN];
        // SAFETY: both ranges are SCRATCH_LEN bytes long and distinct.
        unsafe {
            ptr::copy_nonoverlapping(self.region.add(SCRATCH), scratch.as_mut_ptr(), SCRATCH_LEN)
        };
        // SAFETY: the byte lies in the region.
        let taken = unsafe { self.region.add(TAKEN).read() } != 0;
        Ok(World {
            state,
            scratch,
            taken,
        })
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= REGION_LEN);
        // SAFETY: the range was just checked to lie in the region, which is ours alone and writable.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.region.add(offset), bytes.len()) };
    }

    fn write_stub(&mut self) {
        let mut stub = Stub {
            code: Vec::new(),
            extension: self.extension,
        };
        stub.enter();
        self.slot = stub.code.len();
        stub.code.resize(self.slot + SLOT_LEN, 0xcc);
        stub.leave();
        assert!(stub.code.len() < BEFORE);
        let code = stub.code;
        self.write(0, &code);
    }

    fn install_handlers(&self) {
        let stack = libc::stack_t {
            ss_sp: self.region.wrapping_add(SIGNAL_STACK).cast(),
            ss_flags: 0,
            ss_size: SIGNAL_STACK_LEN,
        };
        // SAFETY: the alternate stack lies in the region, which lives as long as the thread
        // (machines are leaked); the handler only touches the context and a thread-local cell.
        unsafe {
            libc::sigaltstack(&raw const stack, ptr::null_mut());
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            for signal in [
                libc::SIGSEGV,
                libc::SIGILL,
                libc::SIGFPE,
                libc::SIGBUS,
                libc::SIGTRAP,
            ] {
                libc::sigaction(signal, &raw const action, ptr::null_mut());
            }
        }
    }
}

/// The legacy area as FXRSTOR wants it: registers by their place on the stack.
fn x87_image(state: &State) -> [u8; FX_LEN] {
    let mut image = [0; FX_LEN];
    image[..2].copy_from_slice(&(state.x87_control as u16).to_le_bytes());
    image[2..4].copy_from_slice(&(state.x87_status as u16).to_le_bytes());
    image[4] = state.x87_tag as u8;
    image[24..28].copy_from_slice(&(MXCSR_DEFAULT as u32).to_le_bytes());
    for (at, physical) in stack_order(state.x87_status) {
        let [significand, rest] = state.x87[physical];
        image[at..at + 8].copy_from_slice(&significand.to_le_bytes());
        image[at + 8..at + 10].copy_from_slice(&(rest as u16).to_le_bytes());
    }
    image
}

/// Offset in the area and number of each physical register.
fn stack_order(status: u64) -> impl Iterator<Item = (usize, usize)> {
    let top = (status >> 11 & 7) as usize;
    (0..8).map(move |i| (32 + 16 * i, (top + i) % 8))
}

fn read_x87(image: &[u8; FX_LEN], state: &mut State) {
    let word = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    state.x87_control = word(0);
    state.x87_status = word(2);
    state.x87_tag = image[4].into();
    for (at, physical) in stack_order(state.x87_status) {
        let bytes = image[at..at + 8].try_into().expect("eight bytes");
        state.x87[physical] = [u64::from_le_bytes(bytes), word(at + 8)];
    }
}

/// Resumes behind the slot when the fault came from within it; else lets it kill us.
extern "C" fn on_fault(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext_t to handlers installed with SA_SIGINFO.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as u64;
    match RECOVERY.get() {
        Some(recovery) if (recovery.first..recovery.last).contains(&at) => {
            RECOVERY.set(Some(Recovery { signal, ..recovery }));
            registers[libc::REG_RIP as usize] = recovery.resume as i64;
        }
        // SAFETY: resetting a signal's action is always allowed; returning faults again.
        _ => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
    }
}

/// Base of FS (0x1003, ARCH_GET_FS) or GS (0x1004, ARCH_GET_GS) of this thread.
fn segment_base(which: i64) -> u64 {
    let mut base = 0u64;
    // SAFETY: arch_prctl writes one word to the address given.
    unsafe { libc::syscall(libc::SYS_arch_prctl, which, &raw mut base) };
    base
}

/// Machine code of the stub; all data is addressed relative to RIP.
struct Stub {
    code: Vec<u8>,
    extension: Extension,
}

const PUSH_CALLEE_SAVED: [u8; 11] = [
    0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x9c,
];
const POP_CALLEE_SAVED: [u8; 11] = [
    0x9d, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b,
];

impl Stub {
    fn enter(&mut self) {
        self.code.extend(PUSH_CALLEE_SAVED);
        self.rip(&[0x48, 0x89], 4, SAVED_RSP);
        self.rip(&[0x0f, 0xae], 3, SAVED_MXCSR); // stmxcsr
        self.rip(&[0x48, 0x0f, 0xae], 1, FX_BEFORE); // fxrstor64
        self.vectors(BEFORE, 0x6f, 0x90);
        self.rip(&[0x0f, 0xae], 2, BEFORE + offset_of!(State, mxcsr)); // ldmxcsr
        self.rip(&[0x48, 0x8d], 4, BEFORE + offset_of!(State, flags)); // lea rsp
        self.code.push(0x9d); // popfq
        for n in (0..16).filter(|&n| n != 4).chain([4]) {
            let rex = 0x48 | (n as u8 >> 3) << 2;
            self.rip(&[rex, 0x8b], n & 7, BEFORE + offset_of!(State, gpr) + n * 8);
        }
    }

    fn leave(&mut self) {
        for n in 0..16 {
            let rex = 0x48 | (n as u8 >> 3) << 2;
            self.rip(&[rex, 0x89], n & 7, AFTER + offset_of!(State, gpr) + n * 8);
        }
        self.rip(&[0x48, 0x8d], 4, AFTER + offset_of!(State, flags) + 8); // lea rsp
        self.code.extend([0x9c, 0xfc]); // pushfq; cld
        self.rip(&[0x48, 0x8b], 4, SAVED_RSP);
        self.rip(&[0x0f, 0xae], 3, AFTER + offset_of!(State, mxcsr));
        self.vectors(AFTER, 0x7f, 0x91);
        self.rip(&[0x48, 0x0f, 0xae], 0, FX_AFTER); // fxsave64
        self.code.extend([0xdb, 0xe3]); // fninit
        self.code.extend([0xc5, 0xf8, 0x77]); // vzeroupper
        self.rip(&[0x0f, 0xae], 2, SAVED_MXCSR);
        self.code.extend(POP_CALLEE_SAVED);
        self.code.push(0xc3);
    }

    /// Moves all vector registers (and opmasks) with opcodes `mov` and `kmov`.
    fn vectors(&mut self, base: usize, mov: u8, kmov: u8) {
        let vector = |n: usize| base + offset_of!(State, vector) + n * 64;
        match self.extension {
            Extension::Avx => {
                for n in 0..16 {
                    // vmovdqu ymm
                    self.rip(
                        &[0xc5, if n < 8 { 0xfe } else { 0x7e }, mov],
                        n & 7,
                        vector(n),
                    );
                }
            }
            Extension::Avx512 => {
                for n in 0..32 {
                    // vmovdqu64 zmm: EVEX.512.F3.0F.W1
                    let high =
                        if n & 8 == 0 { 0x80 } else { 0 } | if n & 16 == 0 { 0x10 } else { 0 };
                    self.rip(&[0x62, 0x61 | high, 0xfe, 0x48, mov], n & 7, vector(n));
                }
                for n in 0..8 {
                    // kmovq: VEX.L0.0F.W1
                    self.rip(
                        &[0xc4, 0xe1, 0xf8, kmov],
                        n,
                        base + offset_of!(State, opmask) + n * 8,
                    );
                }
            }
        }
    }

    /// Appends an instruction with a RIP-relative operand at `offset` of the region.
    fn rip(&mut self, opcode: &[u8], reg: usize, offset: usize) {
        self.code.extend(opcode);
        self.code.push((reg as u8) << 3 | 5);
        let displacement = offset as i64 - (self.code.len() as i64 + 4);
        self.code.extend((displacement as i32).to_le_bytes());
    }
}
