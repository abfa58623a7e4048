//! ELF core files, as the Linux kernel (`fs/binfmt_elf.c`), gdb's `gcore` and rept's recorder write them.

#[cfg(test)]
mod tests;

use super::Dump;
use super::memory::{Chunk, DumpMemory, Source};
use super::modules::{self, FileMapping};
use super::notes::{self, ProcessNotes};
use crate::Error;
use crate::binaries::Binaries;
use crate::layout;
use crate::mmap::FileBytes;
use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use rept_trace::{Address, Mapping, Memory, RegWord};
use std::path::Path;

/// Program headers looked at, at most; a process has 65530 mappings by default.
const MAX_SEGMENTS: usize = 1 << 20;

/// Reads a core and overlays what it lacks.
pub(super) fn read(file: FileBytes, binaries: &Binaries) -> Result<Dump, Error> {
    let path = file.path().to_owned();
    let headers = program_headers(&path, &file)?;
    let mut problems = Vec::new();
    let notes = all_notes(&path, &file, headers, &mut problems);
    if notes.threads.is_empty() {
        let cut = problems.into_iter().next();
        return Err(cut.unwrap_or_else(|| {
            Error::missing(&path, "the core names no thread (no NT_PRSTATUS note)")
        }));
    }
    let mut chunks = Vec::new();
    let mut mappings = Vec::new();
    for header in headers
        .iter()
        .take(MAX_SEGMENTS)
        .filter(|header| header.p_type(LittleEndian) == elf::PT_LOAD)
    {
        load(&path, &file, header, &mut chunks, &mut problems);
        mappings.extend(mapping(header, &notes.files));
    }
    mappings.sort_by_key(|mapping| mapping.start);
    let memory = DumpMemory::new(file, chunks, mappings);
    Ok(assemble(path, notes, memory, binaries, problems))
}

fn assemble(
    path: std::path::PathBuf,
    notes: ProcessNotes,
    mut memory: DumpMemory,
    binaries: &Binaries,
    problems: Vec<Error>,
) -> Dump {
    let modules = modules::find(&notes.files, &memory, &notes.auxv, binaries);
    memory.overlay(&modules, &notes.auxv);
    let mut threads = notes.threads;
    for thread in &mut threads {
        if thread.in_system_call && after_syscall(&memory, thread.registers.rip) {
            // The kernel has not said yet what it returns, and the recorder's single-stepping
            // may have left its mark in the flags that SYSCALL saved.
            thread.registers.clear(RegWord::RAX);
            thread.registers.clear(RegWord::R11);
        }
    }
    Dump {
        path,
        process: notes.process,
        command: notes.command,
        threads: threads.into_iter().map(|thread| thread.registers).collect(),
        fault: notes.fault,
        auxv: notes.auxv,
        extended_state_bytes: notes.extended_state_bytes,
        memory,
        modules,
        files: notes.files,
        problems,
    }
}

/// The two bytes before `rip` are SYSCALL. Unknown bytes count as one: it is the rule in 64-bit code.
fn after_syscall(memory: &DumpMemory, rip: Address) -> bool {
    let Some(at) = rip.0.checked_sub(2) else {
        return false;
    };
    let byte = |at: u64| memory.bytes(Address(at)).map(|bytes| bytes[0]);
    match (byte(at), byte(at + 1)) {
        (Some(first), Some(second)) => [first, second] == [0x0f, 0x05],
        _ => true,
    }
}

fn program_headers<'a>(
    path: &Path,
    file: &'a [u8],
) -> Result<&'a [ProgramHeader64<LittleEndian>], Error> {
    if file.is_empty() {
        return Err(Error::empty(path));
    }
    if !file.starts_with(&elf::ELFMAG) {
        return Err(Error::foreign(path, "an ELF core file", file));
    }
    let short = 64u64.saturating_sub(file.len() as u64);
    if short > 0 {
        return Err(Error::truncated(path, 0, "the ELF header", short));
    }
    let header = FileHeader64::<LittleEndian>::parse(file).map_err(|_| {
        Error::malformed(path, 4, "only little-endian 64-bit ELF cores can be read")
    })?;
    let machine = header.e_machine(LittleEndian);
    if machine != elf::EM_X86_64 {
        return Err(Error::malformed(
            path,
            18,
            format!("the machine is {machine}, not x86-64 (62)"),
        ));
    }
    let kind = header.e_type(LittleEndian);
    if kind != elf::ET_CORE {
        return Err(Error::malformed(
            path,
            16,
            format!("an ELF file of type {kind}, not a core (4)"),
        ));
    }
    let table = header.e_phoff(LittleEndian);
    let headers = header.program_headers(LittleEndian, file);
    headers.map_err(|_| {
        Error::truncated(
            path,
            table,
            "the table of program headers",
            table.saturating_sub(file.len() as u64).max(1),
        )
    })
}

/// The bytes of a segment that are in the file; what is cut off is a problem.
fn segment_bytes<'a>(
    path: &Path,
    file: &'a [u8],
    header: &ProgramHeader64<LittleEndian>,
    problems: &mut Vec<Error>,
) -> &'a [u8] {
    let (offset, size) = (header.p_offset(LittleEndian), header.p_filesz(LittleEndian));
    let len = file.len() as u64;
    let start = offset.min(len);
    let end = offset.saturating_add(size).min(len);
    if end - start < size && problems.len() < 100 {
        let what = match header.p_type(LittleEndian) {
            elf::PT_NOTE => "the notes".to_owned(),
            _ => format!("the memory at {:#x}", header.p_vaddr(LittleEndian)),
        };
        problems.push(Error::truncated(path, offset, what, size - (end - start)));
    }
    &file[start as usize..end as usize]
}

fn all_notes(
    path: &Path,
    file: &[u8],
    headers: &[ProgramHeader64<LittleEndian>],
    problems: &mut Vec<Error>,
) -> ProcessNotes {
    let mut found = ProcessNotes::default();
    for header in headers
        .iter()
        .filter(|header| header.p_type(LittleEndian) == elf::PT_NOTE)
    {
        let bytes = segment_bytes(path, file, header, problems);
        layout::notes(bytes).for_each(|note| notes::take(&mut found, &note));
    }
    found
}

fn load(
    path: &Path,
    file: &[u8],
    header: &ProgramHeader64<LittleEndian>,
    chunks: &mut Vec<Chunk>,
    problems: &mut Vec<Error>,
) {
    let bytes = segment_bytes(path, file, header, problems);
    let len = (bytes.len() as u64).min(header.p_memsz(LittleEndian));
    let start = header.p_vaddr(LittleEndian);
    if let Some(end) = start.checked_add(len).filter(|&end| end > start) {
        let offset = header.p_offset(LittleEndian) as usize;
        chunks.push(Chunk {
            start,
            end,
            source: Source::Core,
            offset,
        });
    }
}

fn mapping(header: &ProgramHeader64<LittleEndian>, files: &[FileMapping]) -> Option<Mapping> {
    let start = header.p_vaddr(LittleEndian);
    let end = start
        .checked_add(header.p_memsz(LittleEndian))
        .filter(|&end| end > start)?;
    let flags = header.p_flags(LittleEndian);
    let file = modules::part_at(files, start);
    Some(Mapping {
        start: Address(start),
        end: Address(end),
        read: flags & elf::PF_R != 0,
        write: flags & elf::PF_W != 0,
        execute: flags & elf::PF_X != 0,
        file: file.map(|file| file.path.clone()),
    })
}
