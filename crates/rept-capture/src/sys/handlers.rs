//! Handlers of signals to the recorder, until the former ones are put back.

use crate::error::Error;
use libc::c_int;
use std::io;

/// What handled signals before; put back when this goes.
#[derive(Debug, Default)]
pub(super) struct Handlers {
    former: Vec<(c_int, libc::sigaction)>,
}

impl Handlers {
    /// From here on, `handler` handles this signal. It may do nothing but what a signal handler
    /// may. The program begins without it, as `exec` takes handlers away.
    pub(super) fn set(
        &mut self,
        signal: c_int,
        handler: extern "C" fn(c_int),
    ) -> Result<(), Error> {
        // SAFETY: zero bytes are a value of this struct: no flags, so that system calls are
        // interrupted, and an empty mask.
        let former = unsafe {
            let mut former: libc::sigaction = std::mem::zeroed();
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            match libc::sigaction(signal, &action, &mut former) {
                0 => Ok(former),
                _ => Err(io::Error::last_os_error()),
            }
        };
        let former = former.map_err(|source| Error::system("handle a signal", source))?;
        self.former.push((signal, former));
        Ok(())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (signal, former) in &self.former {
            // SAFETY: `former` is what the kernel gave for this signal.
            unsafe { libc::sigaction(*signal, former, std::ptr::null_mut()) };
        }
    }
}

/// While this lives, a file that grows beyond the limit of the process is an error of writing,
/// and does not end the recorder.
#[derive(Debug)]
pub(crate) struct FileLimit {
    _handlers: Handlers,
}

impl FileLimit {
    /// # Errors
    /// The signal cannot be handled.
    pub(crate) fn reported() -> Result<FileLimit, Error> {
        extern "C" fn reported(_signal: c_int) {}
        let mut handlers = Handlers::default();
        handlers.set(libc::SIGXFSZ, reported)?;
        Ok(FileLimit {
            _handlers: handlers,
        })
    }
}
