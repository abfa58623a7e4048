//! The jitdump reader: any file is refused in one sentence, or read as far as it goes.

use crate::input::bytes;
use rept_core::JitDump;
use std::path::Path;

/// Reads a file, and the code of every function in it.
pub fn run(data: &[u8]) {
    match JitDump::from_bytes(Path::new("jit-1.dump"), data.to_vec()) {
        Ok(dump) => {
            for function in &dump.functions {
                assert_eq!(dump.code(function).len(), function.code.len());
                assert!(!function.code.is_empty());
                assert!(function.lines.is_sorted_by_key(|line| line.at));
            }
            for problem in &dump.problems {
                assert!(!problem.to_string().contains('\n'));
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// A file with lines, a function, and the same function moved.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut file = b"DTiJ".to_vec();
    file.extend(bytes![1u32, 40u32, 62u32, 0u32, 1u32, 5u64, 1u64]);
    let lines = bytes![0x1000u64, 1u64, 0x1000u64, 3u32, 0u32];
    let load = bytes![1u32, 1u32, 0x1000u64, 0x1000u64, 1u64, 0u64];
    file.extend(record(2, &[&lines[..], b"a.lua\0"].concat()));
    file.extend(record(0, &[&load[..], b"f\0", &[0xc3]].concat()));
    file.extend(record(
        1,
        &bytes![1u32, 1u32, 0u64, 0x1000u64, 0x2000u64, 1u64, 0u64],
    ));
    file.extend(record(3, &[]));
    vec![file]
}

fn record(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = bytes![kind, 16 + body.len() as u32, 7u64];
    bytes.extend(body);
    bytes
}
