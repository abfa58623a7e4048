//! What a program could see of the fast engine when it looks at itself.

use super::Engine;
use crate::error::Error;
use crate::maps;
use crate::sys;
use libc::user_regs_struct as Registers;
use std::fs;
use std::io::Write;

impl Engine {
    /// A stepped system call has ended: when it opened the list of the process's mappings,
    /// the program gets one without the recorder's, as they are now.
    pub(super) fn hide_mappings(&mut self, tid: i32, before: &Registers) -> Result<(), Error> {
        let flags = match before.rax as i64 {
            libc::SYS_open => before.rsi,
            libc::SYS_openat => before.rdx,
            libc::SYS_openat2 => 0,
            _ => return Ok(()),
        };
        let fd = self.threads[&tid].registers.rax;
        let (Some(fast), Ok(number)) = (&self.fast, i32::try_from(fd)) else {
            return Ok(());
        };
        let Some(list) = self.own_list(tid, number) else {
            return Ok(());
        };
        const FAILED: &str = "show the program its mappings";
        let remote = fast.remote.by(tid);
        let (copy, mut file) = remote.memory_file()?;
        file.write_all(list.as_bytes())
            .map_err(|source| Error::system(FAILED, source))?;
        let close_on_exec = flags & libc::O_CLOEXEC as u64;
        remote.call(libc::SYS_dup3, [copy, fd, close_on_exec, 0, 0, 0], FAILED)?;
        remote.call(libc::SYS_close, [copy, 0, 0, 0, 0, 0], FAILED)?;
        Ok(())
    }

    // What a descriptor that lists the process's mappings should show; `None` for others.
    fn own_list(&self, tid: i32, fd: i32) -> Option<String> {
        let path = fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
        let inside = path.strip_prefix(format!("/proc/{}", self.pid)).ok()?;
        let name = inside.file_name()?.to_str()?;
        if !matches!(name, "maps" | "smaps") {
            return None;
        }
        let text = fs::read_to_string(path).ok()?;
        let mut own = false;
        let shown = text.split_inclusive('\n').filter(|line| {
            // Lines of details follow those of mappings.
            own = maps::start(line).map_or(own, |start| self.is_own_mapping(start));
            !own
        });
        Some(shown.collect())
    }

    /// Copies of restartable sequences are not where the kernel looks for them.
    pub(super) fn look_for_sequences(&mut self, tid: i32) {
        if sys::in_restartable_sequence(tid) {
            self.note(
                "the program uses restartable sequences, which are not restarted in copied code"
                    .into(),
            );
        }
    }
}
