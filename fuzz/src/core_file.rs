//! The core reader: any file is refused in one sentence, or read as far as it goes.

use crate::input::bytes;
use rept_core::{Binaries, Dump};
use rept_trace::Address;
use std::path::Path;

/// Reads a file, and memory at and around every mapping.
pub fn run(data: &[u8]) {
    let binaries = Binaries::new(Vec::new(), Vec::new());
    match Dump::from_bytes(Path::new("core"), data.to_vec(), &binaries) {
        Ok(dump) => {
            assert!(
                !dump.threads().is_empty(),
                "a dump without threads is refused"
            );
            let memory = dump.memory();
            for mapping in memory.mappings() {
                for at in [
                    mapping.start,
                    mapping.end,
                    Address(mapping.end.0.wrapping_sub(1)),
                ] {
                    assert!(memory.bytes(at).is_none_or(|bytes| !bytes.is_empty()));
                    let _ = memory.constant_len(at);
                }
            }
            for problem in dump.problems() {
                assert!(!problem.to_string().contains('\n'));
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// A core of one thread and one page.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut status = vec![0; 336];
    status[32] = 7;
    for register in 0..27 {
        status[112 + register * 8] = register as u8 + 1;
    }
    let mut files = bytes![1u64, 4096u64, 0x40_1000u64, 0x40_2000u64, 0u64];
    files.extend(b"/bin/victim\0");
    let notes = [
        note(1, &status),
        note(0x5349_4749, &bytes![11i32, 0i32, 1i32, 0i32, 0x18u64]),
        note(0x4649_4c45, &files),
        note(6, &bytes![9u64, 0x40_1000u64, 0u64, 0u64]),
    ]
    .concat();
    let (notes_len, memory) = (notes.len() as u64, [0x55u8; 64]);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(bytes![
        4u16, 62u16, 1u32, 0u64, 64u64, 0u64, 0u32, 64u16, 56u16, 2u16, 0u16, 0u16, 0u16
    ]);
    file.extend(bytes![
        4u32, 0u32, 176u64, 0u64, 0u64, notes_len, 0u64, 4u64
    ]);
    file.extend(bytes![
        1u32,
        6u32,
        176 + notes_len,
        0x7000u64,
        0u64,
        64u64,
        4096u64,
        4096u64
    ]);
    file.extend(notes);
    file.extend(memory);
    vec![file]
}

fn note(kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut note = bytes![5u32, desc.len() as u32, kind];
    note.extend(b"CORE\0\0\0\0");
    note.extend(desc);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}
