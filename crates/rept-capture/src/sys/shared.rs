//! Memory that this process shares with a traced one.

use super::remote::Remote;
use crate::error::Error;
use libc::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Memory mapped here and in the traced process, at another address there.
#[derive(Debug)]
pub(crate) struct Shared {
    local: NonNull<u8>,
    /// Where it begins in the traced process.
    pub(crate) remote: u64,
    /// Its size in bytes.
    pub(crate) length: usize,
}

impl Shared {
    /// Makes memory of `length` bytes (whole pages), mapped at `at` in the process of the
    /// stopped thread behind `remote`; there it is also executable when `execute` says so.
    ///
    /// # Errors
    /// A system call is refused, or something else is mapped there.
    pub(crate) fn new(
        remote: &Remote,
        at: u64,
        length: usize,
        execute: bool,
    ) -> Result<Shared, Error> {
        let (fd, file) = remote.memory_file()?;
        let made = Shared::map_both(remote, fd, &file, at, length, execute);
        let close = [fd, 0, 0, 0, 0, 0];
        remote.call(libc::SYS_close, close, "share memory with the program")?;
        made
    }

    fn map_both(
        remote: &Remote,
        fd: u64,
        file: &File,
        at: u64,
        length: usize,
        execute: bool,
    ) -> Result<Shared, Error> {
        const FAILED: &str = "share memory with the program";
        file.set_len(length as u64)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EFBIG) => Error::option(format!(
                    "the limit on the size of files (ulimit -f) is too low for {length} bytes of memory that the fast engine shares with the program: use --engine step"
                )),
                _ => Error::system(FAILED, source),
            })?;
        let shared = Shared::map_here(file.as_raw_fd(), at, length)?;
        let protection = match execute {
            true => libc::PROT_READ | libc::PROT_EXEC,
            false => libc::PROT_READ | libc::PROT_WRITE,
        };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        remote.call(
            libc::SYS_mmap,
            [at, length as u64, protection as u64, flags as u64, fd, 0],
            FAILED,
        )?;
        // Children that the program forks have no use for it. Refused: they keep it.
        let _ = remote.call(
            libc::SYS_madvise,
            [at, length as u64, libc::MADV_DONTFORK as u64, 0, 0, 0],
            FAILED,
        );
        Ok(shared)
    }

    fn map_here(fd: i32, remote: u64, length: usize) -> Result<Shared, Error> {
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that is as
        // long as the mapping.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        match NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED) {
            Some(local) => Ok(Shared {
                local,
                remote,
                length,
            }),
            None => Err(Error::last_os("share memory with the program")),
        }
    }

    fn at(&self, at: usize, bytes: usize) -> *mut u8 {
        assert!(
            at <= self.length && bytes <= self.length - at,
            "beyond shared memory"
        );
        // SAFETY: within the mapping, as just checked.
        unsafe { self.local.as_ptr().add(at) }
    }

    /// Copies bytes that nobody else reads or writes meanwhile.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.at(at, bytes.len());
        // SAFETY: `to` is good for that many bytes, and no part of `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies bytes that nobody writes meanwhile.
    pub(crate) fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let from = self.at(at, length);
        // SAFETY: `from` is good for that many bytes, and no part of `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length) };
        bytes
    }

    /// Writes four bytes at once; they may have any alignment, but lie in one cache line.
    pub(crate) fn patch(&self, at: usize, word: u32) {
        let to = self.at(at, 4).cast::<u32>();
        // SAFETY: `to` is good for four bytes; threads of the traced process that execute
        // them see the old or the new ones.
        unsafe { to.write_unaligned(word) };
    }

    /// Writes a byte that threads of the traced process may execute at that moment: they see the old or
    /// the new one. Returns the old one.
    pub(crate) fn replace(&self, at: usize, byte: u8) -> u8 {
        // SAFETY: a byte in the mapping, which others only execute.
        unsafe { AtomicU8::from_ptr(self.at(at, 1)) }.swap(byte, Ordering::AcqRel)
    }

    pub(crate) fn word(&self, at: usize) -> u32 {
        assert!(at.is_multiple_of(4));
        // SAFETY: four aligned bytes in the mapping, which others only access atomically.
        unsafe { AtomicU32::from_ptr(self.at(at, 4).cast()) }.load(Ordering::Acquire)
    }

    pub(crate) fn set_word(&self, at: usize, word: u32) {
        assert!(at.is_multiple_of(4));
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.at(at, 4).cast()) }.store(word, Ordering::Release);
    }

    pub(crate) fn quad(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(8));
        // SAFETY: eight aligned bytes in the mapping, which others only access atomically.
        unsafe { AtomicU64::from_ptr(self.at(at, 8).cast()) }.load(Ordering::Acquire)
    }

    pub(crate) fn set_quad(&self, at: usize, quad: u64) {
        assert!(at.is_multiple_of(8));
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.at(at, 8).cast()) }.store(quad, Ordering::Release);
    }

    /// Removes it from the traced process; it stays here.
    pub(crate) fn unmap_there(&self, remote: &Remote) -> Result<(), Error> {
        let arguments = [self.remote, self.length as u64, 0, 0, 0, 0];
        remote
            .call(
                libc::SYS_munmap,
                arguments,
                "take memory from the program again",
            )
            .map(drop)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing borrows from.
        unsafe { libc::munmap(self.local.as_ptr().cast::<c_void>(), self.length) };
    }
}

/// The time-stamp counter, as it is now.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Waits until the time-stamp counter has run for long enough to tell its rate: ticks per
/// second.
pub(crate) fn time_stamp_rate() -> u64 {
    const WINDOW: std::time::Duration = std::time::Duration::from_millis(10);
    let (begun, first) = (std::time::Instant::now(), time_stamp());
    std::thread::sleep(WINDOW);
    let (elapsed, ticks) = (begun.elapsed(), time_stamp() - first);
    (u128::from(ticks) * 1_000_000_000 / elapsed.as_nanos().max(1)) as u64
}
