//! An ELF core made from a stopped process: the same notes and segments as the kernel's.
//!
//! Layout: `core(5)`, `elf(5)`, Linux `include/uapi/linux/elfcore.h`, `fs/binfmt_elf.c`.

use crate::error::Error;
use crate::maps::{self, Mapping};
use crate::sys;
use crate::xstate::NT_X86_XSTATE;
use libc::user_regs_struct as Registers;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

const ELF_HEADER_BYTES: u64 = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;
const PAGE: u64 = 4096;

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// One thread of the core.
#[derive(Debug)]
pub(crate) struct CoreThread {
    pub(crate) tid: i32,
    pub(crate) registers: Registers,
    /// NT_FPREGSET and NT_X86_XSTATE, when they can be had.
    pub(crate) floating: Option<Vec<u8>>,
    pub(crate) extended: Option<Vec<u8>>,
}

impl CoreThread {
    /// A thread with these registers; if it is stopped, with its vector registers.
    pub(crate) fn new(tid: i32, registers: Registers) -> CoreThread {
        CoreThread {
            tid,
            registers,
            floating: sys::register_set(tid, NT_FPREGSET).ok(),
            extended: sys::register_set(tid, NT_X86_XSTATE).ok(),
        }
    }
}

/// What goes into the core.
pub(crate) struct OwnCore<'a> {
    pub(crate) pid: i32,
    /// The dying thread first.
    pub(crate) threads: &'a [CoreThread],
    /// 0 when the process exits.
    pub(crate) signal: i32,
    /// `siginfo_t` of the signal, when there is one.
    pub(crate) signal_info: Option<Vec<u8>>,
}

impl OwnCore<'_> {
    /// Writes the core; returns its size in bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<u64, Error> {
        self.save(path)
            .map_err(|source| Error::io("write", path, source))
    }

    fn save(&self, path: &Path) -> io::Result<u64> {
        let mappings = maps::read(self.pid);
        if mappings.len() >= 0xffff {
            return Err(io::Error::other("more than 65534 mappings"));
        }
        let notes = self.notes(&mappings);
        let notes_at = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES * (mappings.len() as u64 + 1);
        let data_at = (notes_at + notes.len() as u64).next_multiple_of(PAGE);
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&elf_header(mappings.len() as u16 + 1))?;
        out.write_all(&program_header(4, 0, notes_at, 0, notes.len() as u64, 0))?;
        let mut at = data_at;
        for mapping in &mappings {
            let length = mapping.end - mapping.start;
            let held = if is_dumped(mapping) { length } else { 0 };
            out.write_all(&program_header(
                1,
                flags(mapping),
                at,
                mapping.start,
                held,
                length,
            ))?;
            at += held;
        }
        out.write_all(&notes)?;
        out.seek(SeekFrom::Start(data_at))?;
        let mut page = vec![0; 1 << 16];
        for mapping in mappings.iter().filter(|mapping| is_dumped(mapping)) {
            self.copy(mapping, &mut page, &mut out)?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_len(at)?;
        Ok(at)
    }

    // Zeros are left out: the file system reads holes as zeros.
    fn copy(
        &self,
        mapping: &Mapping,
        buffer: &mut [u8],
        out: &mut BufWriter<File>,
    ) -> io::Result<()> {
        let mut at = mapping.start;
        while at < mapping.end {
            let wanted = buffer.len().min((mapping.end - at) as usize);
            let part = &mut buffer[..wanted];
            part.fill(0);
            sys::read(self.threads[0].tid, at, part);
            match part.iter().all(|&byte| byte == 0) {
                true => out.seek_relative(wanted as i64)?,
                false => out.write_all(part)?,
            }
            at += wanted as u64;
        }
        Ok(())
    }

    fn notes(&self, mappings: &[Mapping]) -> Vec<u8> {
        let mut out = Vec::new();
        for (position, thread) in self.threads.iter().enumerate() {
            note(&mut out, b"CORE", NT_PRSTATUS, &self.status(thread));
            if position == 0 {
                note(&mut out, b"CORE", NT_PRPSINFO, &self.process());
                if let Some(info) = &self.signal_info {
                    note(&mut out, b"CORE", NT_SIGINFO, info);
                }
                let auxv = fs::read(format!("/proc/{}/auxv", self.pid)).unwrap_or_default();
                note(&mut out, b"CORE", NT_AUXV, &auxv);
                note(&mut out, b"CORE", NT_FILE, &files(mappings));
            }
            if let Some(floating) = &thread.floating {
                note(&mut out, b"CORE", NT_FPREGSET, floating);
            }
            if let Some(extended) = &thread.extended {
                note(&mut out, b"LINUX", NT_X86_XSTATE, extended);
            }
        }
        out
    }

    // struct elf_prstatus.
    fn status(&self, thread: &CoreThread) -> Vec<u8> {
        let mut out = vec![0; 336];
        put(&mut out, 0, &self.signal.to_le_bytes());
        if let Some(info) = &self.signal_info {
            // si_code and si_errno stand the other way round than in siginfo_t.
            put(&mut out, 4, &info[8..12]);
            put(&mut out, 8, &info[4..8]);
        }
        put(&mut out, 12, &(self.signal as u16).to_le_bytes());
        put(&mut out, 32, &thread.tid.to_le_bytes());
        put(&mut out, 112, &sys::register_bytes(&thread.registers));
        put(
            &mut out,
            328,
            &i32::from(thread.floating.is_some()).to_le_bytes(),
        );
        out
    }

    // struct elf_prpsinfo.
    fn process(&self) -> Vec<u8> {
        let mut out = vec![0; 136];
        out[1] = b'R';
        put(&mut out, 24, &self.pid.to_le_bytes());
        let name = fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        put(&mut out, 40, &name[..name.len().saturating_sub(1).min(15)]);
        let arguments = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let arguments: Vec<u8> = arguments
            .iter()
            .map(|&b| if b == 0 { b' ' } else { b })
            .collect();
        put(&mut out, 56, &arguments[..arguments.len().min(79)]);
        out
    }
}

// The kernel's own pages cannot be read, and what nobody may touch holds nothing: as in the kernel's
// dumps, such mappings are listed without their bytes.
fn is_dumped(mapping: &Mapping) -> bool {
    !mapping.name.starts_with("[vvar")
        && mapping.name != "[vsyscall]"
        && (mapping.read || mapping.write || mapping.execute)
}

fn flags(mapping: &Mapping) -> u32 {
    u32::from(mapping.execute) | u32::from(mapping.write) << 1 | u32::from(mapping.read) << 2
}

// Number, page size; start, end, page offset of each; then the names.
fn files(mappings: &[Mapping]) -> Vec<u8> {
    let files: Vec<&Mapping> = mappings
        .iter()
        .filter(|mapping| mapping.is_file())
        .collect();
    let mut out = Vec::new();
    let mut word = |value: u64| out.extend(value.to_le_bytes());
    word(files.len() as u64);
    word(PAGE);
    for file in &files {
        word(file.start);
        word(file.end);
        word(file.offset / PAGE);
    }
    for file in &files {
        out.extend(file.name.as_bytes());
        out.push(0);
    }
    out
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn note(out: &mut Vec<u8>, name: &[u8], kind: u32, bytes: &[u8]) {
    let pad = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(4), 0);
    for word in [name.len() as u32 + 1, bytes.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    out.extend(name);
    out.push(0);
    pad(out);
    out.extend(bytes);
    pad(out);
}

fn elf_header(segments: u16) -> Vec<u8> {
    const ET_CORE: u16 = 4;
    const EM_X86_64: u16 = 62;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend(ET_CORE.to_le_bytes());
    out.extend(EM_X86_64.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for word in [0, ELF_HEADER_BYTES, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [
        ELF_HEADER_BYTES as u16,
        PROGRAM_HEADER_BYTES as u16,
        segments,
        0,
        0,
        0,
    ] {
        out.extend(half.to_le_bytes());
    }
    out
}

fn program_header(
    kind: u32,
    flags: u32,
    at: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(PROGRAM_HEADER_BYTES as usize);
    out.extend(kind.to_le_bytes());
    out.extend(flags.to_le_bytes());
    let align = if kind == 1 { PAGE } else { 4 };
    for word in [at, address, 0, in_file, in_memory, align] {
        out.extend(word.to_le_bytes());
    }
    out
}
