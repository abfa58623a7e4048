//! The notes of a core: registers, signal, files.
//!
//! Layouts: `struct elf_prstatus`, `struct elf_prpsinfo` and `user_regs_struct` of Linux x86-64;
//! FXSAVE and XSAVE areas by the SDM, volume 1, chapters 10 and 13.

use super::modules::FileMapping;
use crate::fields::Fields;
use crate::layout::Note;
use object::elf;
use rept_trace::{Address, Fault, RegWord, Registers, ThreadId};

/// Everything that the notes tell.
#[derive(Debug, Default)]
pub(super) struct ProcessNotes {
    pub(super) threads: Vec<ThreadNotes>,
    pub(super) process: Option<u32>,
    pub(super) command: Option<String>,
    pub(super) fault: Option<Fault>,
    pub(super) auxv: Vec<(u64, u64)>,
    pub(super) files: Vec<FileMapping>,
    /// Bytes of the processor's extended state, as XSAVE writes it.
    pub(super) extended_state_bytes: Option<u64>,
    /// XSAVE components as NT_X86_XSAVE_LAYOUT lists them, (number, offset).
    xsave_layout: Vec<(u32, usize)>,
}

/// One thread's.
#[derive(Debug)]
pub(super) struct ThreadNotes {
    pub(super) registers: Registers,
    /// `orig_rax` holds a system-call number.
    pub(super) in_system_call: bool,
}

/// Registers of `user_regs_struct` in its order; `None` where rept has no word for it.
const USER_REGS: [Option<RegWord>; 23] = {
    const fn gpr(number: u16) -> Option<RegWord> {
        Some(RegWord::gpr(number))
    }
    [
        gpr(15),
        gpr(14),
        gpr(13),
        gpr(12),
        gpr(5),
        gpr(3),
        gpr(11),
        gpr(10),
        gpr(9),
        gpr(8),
        gpr(0),
        gpr(1),
        gpr(2),
        gpr(6),
        gpr(7),
        None, // orig_rax
        None, // rip
        None, // cs
        Some(RegWord::FLAGS),
        gpr(4),
        None, // ss
        Some(RegWord::FS_BASE),
        Some(RegWord::GS_BASE),
    ]
};
const ORIG_RAX: usize = 15;
const RIP: usize = 16;

/// Newer kernels list the processor's XSAVE components.
const NT_X86_XSAVE_LAYOUT: u32 = 0x205;

/// Files taken from NT_FILE, at most.
const MAX_FILES: u64 = 1 << 20;

/// Takes one note in; those of unknown owner or type, and damaged ones, are passed over.
pub(super) fn take(found: &mut ProcessNotes, note: &Note<'_>) {
    match (note.owner, note.kind) {
        (b"CORE", elf::NT_PRSTATUS) => found.threads.extend(prstatus(note.desc)),
        (b"CORE", elf::NT_PRPSINFO) => prpsinfo(found, note.desc),
        (b"CORE", elf::NT_AUXV) => found.auxv = auxv(note.desc),
        (b"CORE", elf::NT_FILE) => found.files = files(note.desc).unwrap_or_default(),
        (b"CORE", elf::NT_SIGINFO) => {
            if let (None, Some(thread)) = (found.fault, found.threads.last()) {
                found.fault = siginfo(note.desc, thread.registers.thread);
            }
        }
        (b"CORE", elf::NT_FPREGSET) => {
            if let Some(thread) = found.threads.last_mut() {
                fxsave(&mut thread.registers, note.desc);
            }
        }
        (b"LINUX", elf::NT_X86_XSTATE) => {
            let layout = found.xsave_layout.clone();
            found.extended_state_bytes = Some(note.desc.len() as u64);
            if let Some(thread) = found.threads.last_mut() {
                fxsave(&mut thread.registers, note.desc);
                xsave(&mut thread.registers, note.desc, &layout);
            }
        }
        (b"LINUX", NT_X86_XSAVE_LAYOUT) => found.xsave_layout = xsave_layout(note.desc),
        _ => {}
    }
}

fn prstatus(desc: &[u8]) -> Option<ThreadNotes> {
    let thread = ThreadId(Fields::at(desc, 32).u32()?);
    let mut cursor = Fields::at(desc, 112);
    let mut words = [0u64; USER_REGS.len()];
    for word in &mut words {
        *word = cursor.u64()?;
    }
    let mut registers = Registers::new(thread, Address(words[RIP]));
    for (register, value) in USER_REGS.iter().zip(words) {
        if let Some(register) = *register {
            registers.set(register, value);
        }
    }
    Some(ThreadNotes {
        registers,
        in_system_call: words[ORIG_RAX] as i64 >= 0,
    })
}

fn prpsinfo(found: &mut ProcessNotes, desc: &[u8]) {
    found.process = Fields::at(desc, 24).u32();
    let field = |at: usize, len: usize| {
        desc.get(at..at + len)
            .map(|bytes| Fields::new(bytes).text())
    };
    let arguments = field(56, 80).filter(|text| !text.trim().is_empty());
    found.command = arguments
        .or_else(|| field(40, 16))
        .map(|text| text.trim_end().to_owned());
}

fn auxv(desc: &[u8]) -> Vec<(u64, u64)> {
    let mut cursor = Fields::new(desc);
    let entries = std::iter::from_fn(|| Some((cursor.u64()?, cursor.u64()?)));
    entries.take_while(|&(kind, _)| kind != 0).collect()
}

fn files(desc: &[u8]) -> Option<Vec<FileMapping>> {
    let mut cursor = Fields::new(desc);
    let (count, page) = (cursor.u64()?, cursor.u64()?);
    let mut entries = Vec::new();
    for _ in 0..count.min(MAX_FILES) {
        let Some(entry) = (|| Some((cursor.u64()?, cursor.u64()?, cursor.u64()?)))() else {
            break;
        };
        entries.push(entry);
    }
    let mut files = Vec::new();
    for (start, end, offset) in entries {
        let path = cursor.text();
        if start < end && !path.is_empty() {
            let file_offset = offset.saturating_mul(page);
            files.push(FileMapping {
                start,
                end,
                file_offset,
                path,
            });
        }
    }
    files.sort_by_key(|file| file.start);
    Some(files)
}

/// `siginfo_t`. The address is told for signals that the processor raised, except for
/// general-protection faults (SI_KERNEL), which have none.
fn siginfo(desc: &[u8], thread: ThreadId) -> Option<Fault> {
    const SI_KERNEL: i32 = 0x80;
    /// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV.
    const BY_PROCESSOR: [i32; 5] = [4, 5, 7, 8, 11];
    let mut cursor = Fields::new(desc);
    let (signal, _errno, code) = (cursor.i32()?, cursor.i32()?, cursor.i32()?);
    let raised = BY_PROCESSOR.contains(&signal) && code > 0 && code != SI_KERNEL;
    let address = Fields::at(desc, 16).u64().filter(|_| raised).map(Address);
    Some(Fault {
        thread,
        signal,
        code,
        address,
    })
}

/// The legacy area of 512 bytes: x87, MXCSR, XMM.
fn fxsave(registers: &mut Registers, area: &[u8]) {
    let word = |at: usize| Fields::at(area, at).u64();
    let Some(status) = Fields::at(area, 2).u16() else {
        return;
    };
    let top = status >> 11 & 7;
    registers.set(RegWord::X87_STATUS, status.into());
    if let Some(control) = Fields::at(area, 0).u16() {
        registers.set(RegWord::X87_CONTROL, control.into());
    }
    if let Some(tag) = Fields::at(area, 4).u16() {
        registers.set(RegWord::X87_TAG, (tag & 0xff).into());
    }
    for index in 0..8u16 {
        let at = 32 + usize::from(index) * 16;
        let physical = (top + index) % 8;
        if let (Some(significand), Some(rest)) = (word(at), word(at + 8)) {
            registers.set(RegWord::x87(physical, 0), significand);
            registers.set(RegWord::x87(physical, 1), rest & 0xffff);
        }
    }
    if let Some(mxcsr) = Fields::at(area, 24).u32() {
        registers.set(RegWord::MXCSR, mxcsr.into());
    }
    for number in 0..16u16 {
        set_lanes(
            registers,
            area,
            160 + usize::from(number) * 16,
            number,
            0..2,
            true,
        );
    }
}

/// XSAVE components beyond the legacy area, by their number.
const AVX: u32 = 2;
const OPMASK: u32 = 5;
const ZMM_HI256: u32 = 6;
const HI16_ZMM: u32 = 7;
const PKRU: u32 = 9;

fn xsave(registers: &mut Registers, area: &[u8], listed: &[(u32, usize)]) {
    // The kernel leaves the enabled features in bytes that XSAVE does not use.
    let (Some(enabled), Some(in_use)) = (Fields::at(area, 464).u64(), Fields::at(area, 512).u64())
    else {
        return;
    };
    if enabled != 0 {
        registers.set(RegWord::XCR0, enabled);
    }
    let offset = |component: u32| component_offset(component, area.len(), enabled, listed);
    let has = |component: u32| enabled >> component & 1 != 0;
    // A component not in use is in its initial state: zero.
    let used = |component: u32| in_use >> component & 1 != 0;
    if let (true, Some(at)) = (has(AVX), offset(AVX)) {
        (0..16u16).for_each(|n| {
            set_lanes(
                registers,
                area,
                at + usize::from(n) * 16,
                n,
                2..4,
                used(AVX),
            )
        });
    }
    if let (true, Some(at)) = (has(ZMM_HI256), offset(ZMM_HI256)) {
        (0..16u16).for_each(|n| {
            set_lanes(
                registers,
                area,
                at + usize::from(n) * 32,
                n,
                4..8,
                used(ZMM_HI256),
            )
        });
    }
    if let (true, Some(at)) = (has(HI16_ZMM), offset(HI16_ZMM)) {
        (0..16u16).for_each(|n| {
            set_lanes(
                registers,
                area,
                at + usize::from(n) * 64,
                16 + n,
                0..8,
                used(HI16_ZMM),
            )
        });
    }
    if let (true, Some(at)) = (has(OPMASK), offset(OPMASK)) {
        for n in 0..8u16 {
            if let Some(value) = Fields::at(area, at + usize::from(n) * 8).u64() {
                registers.set(RegWord::opmask(n), if used(OPMASK) { value } else { 0 });
            }
        }
    }
}

fn set_lanes(
    registers: &mut Registers,
    area: &[u8],
    at: usize,
    number: u16,
    lanes: std::ops::Range<u16>,
    used: bool,
) {
    let mut cursor = Fields::at(area, at);
    for lane in lanes {
        if let Some(value) = cursor.u64() {
            registers.set(RegWord::vector(number, lane), if used { value } else { 0 });
        }
    }
}

/// Offset of a component in the standard (not compacted) format. CPUID tells it; in a dump
/// that lists no layout, two are in use: with room for MPX (Intel) and without (AMD). The
/// length of the area tells them apart, as no other pair of them has the same length.
fn component_offset(
    component: u32,
    len: usize,
    enabled: u64,
    listed: &[(u32, usize)],
) -> Option<usize> {
    if !listed.is_empty() {
        return listed
            .iter()
            .find(|&&(number, _)| number == component)
            .map(|&(_, offset)| offset);
    }
    let without_mpx =
        enabled >> HI16_ZMM & 1 != 0 && len < 2688 || enabled >> PKRU & 1 != 0 && len == 2440;
    match (component, without_mpx) {
        (AVX, _) => Some(576),
        (OPMASK, false) => Some(1088),
        (ZMM_HI256, false) => Some(1152),
        (HI16_ZMM, false) => Some(1664),
        (OPMASK, true) => Some(832),
        (ZMM_HI256, true) => Some(896),
        (HI16_ZMM, true) => Some(1408),
        _ => None,
    }
}

/// `struct x86_xfeat_component`: type, size, offset, flags, 32 bits each.
fn xsave_layout(desc: &[u8]) -> Vec<(u32, usize)> {
    let mut cursor = Fields::new(desc);
    let entries = std::iter::from_fn(|| {
        let (number, _size, offset, _flags) =
            (cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?);
        Some((number, offset as usize))
    });
    entries.take(64).collect()
}
