use crate::error::Error;
use libc::{c_void, iovec, pid_t};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// Ranges of a traced process's memory to be read at once, and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    remote: Vec<(u64, usize)>,
    bytes: Vec<u8>,
    filled: usize,
}

impl Ranges {
    pub(crate) fn clear(&mut self) {
        self.remote.clear();
        self.bytes.clear();
        self.filled = 0;
    }

    /// Adds a range; returns where in the result its bytes begin.
    pub(crate) fn push(&mut self, address: u64, length: usize) -> usize {
        let at = self.bytes.len();
        self.remote.push((address, length));
        self.bytes.resize(at + length, 0);
        at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes from `at` on, of a range of `length`: fewer when the rest cannot be read.
    pub(crate) fn get(&self, at: usize, length: usize) -> &[u8] {
        let end = (at + length).min(self.filled);
        self.bytes.get(at..end).unwrap_or(&[])
    }

    /// Reads all ranges, in order, up to the first byte that cannot be read.
    pub(crate) fn read(&mut self, tid: pid_t) {
        const IOV_MAX: usize = 1024;
        self.filled = 0;
        for ranges in self.remote.chunks(IOV_MAX) {
            let wanted: usize = ranges.iter().map(|range| range.1).sum();
            let local = &mut self.bytes[self.filled..self.filled + wanted];
            let got = read_ranges(tid, ranges, local);
            self.filled += got;
            if got < wanted {
                return;
            }
        }
    }
}

fn read_ranges(tid: pid_t, ranges: &[(u64, usize)], into: &mut [u8]) -> usize {
    let local = iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote: Vec<iovec> = ranges
        .iter()
        .map(|&(address, length)| iovec {
            iov_base: address as *mut c_void,
            iov_len: length,
        })
        .collect();
    // SAFETY: `local` covers `into`, which outlives the call; remote addresses are only
    // used in the other process, where the kernel checks them.
    let got = unsafe {
        libc::process_vm_readv(
            tid,
            &local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    usize::try_from(got).unwrap_or(0)
}

/// Reads as many bytes from `address` on as there are, also where the program itself may
/// not read; returns their number.
pub(crate) fn read(tid: pid_t, address: u64, into: &mut [u8]) -> usize {
    let got = read_ranges(tid, &[(address, into.len())], into);
    if got != 0 {
        return got;
    }
    let mut forced =
        || -> io::Result<usize> { File::open(format!("/proc/{tid}/mem"))?.read_at(into, address) };
    forced().unwrap_or(0)
}

/// Eight bytes of a traced process.
pub(crate) fn read_word(tid: pid_t, at: u64) -> Option<u64> {
    let mut word = [0; 8];
    let got = read(tid, at, &mut word);
    (got == word.len()).then(|| u64::from_le_bytes(word))
}

/// Writes bytes, also where the program itself may not.
pub(crate) fn write(tid: pid_t, address: u64, bytes: &[u8]) -> Result<(), Error> {
    let memory = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{tid}/mem"));
    memory
        .and_then(|memory| memory.write_all_at(bytes, address))
        .map_err(|source| Error::system("write the program's memory", source))
}

/// Writes eight bytes.
pub(crate) fn write_word(tid: pid_t, address: u64, word: u64) -> Result<(), Error> {
    super::ptrace(libc::PTRACE_POKEDATA, tid, address as usize, word as usize)
        .map(drop)
        .map_err(|source| Error::system("write the program's memory", source))
}
