//! The core: the kernel's own where it can be had, else one like it, made from the
//! stopped process.
//!
//! Whether the kernel will write a core, and where, is found out before the process
//! dies (`core(5)`): its pattern must name a plain file, the process's limit and working
//! directory must allow it. The file then lands in the working directory of the dying
//! process, from where it is moved.

mod own;

use crate::error::Error;
use crate::sys;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) use own::{CoreThread, OwnCore};

/// Where the core goes.
#[derive(Debug)]
pub(crate) struct CoreWriter {
    path: PathBuf,
}

/// A core that the kernel is about to write.
#[derive(Debug)]
pub(crate) struct KernelCore {
    place: PathBuf,
    // A file of the same name that was there before, and where it waits meanwhile.
    moved_aside: Option<PathBuf>,
    // Held until the core is taken: processes that die in one directory give their cores one name.
    _turn: Option<File>,
}

impl CoreWriter {
    pub(crate) fn new(directory: &Path) -> CoreWriter {
        CoreWriter {
            path: directory.join("core"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes ready for the kernel's core of `pid`, or tells why there will be none.
    pub(crate) fn expect_kernel(&self, pid: i32) -> Result<KernelCore, String> {
        let name = kernel_name(pid)?;
        limit_allows(pid)?;
        let directory = fs::read_link(format!("/proc/{pid}/cwd"))
            .map_err(|error| format!("the program's working directory is unknown ({error})"))?;
        if !sys::is_writable(&c_path(&directory)) {
            return Err(format!(
                "the kernel writes the core into the program's working directory {}, which is not writable",
                directory.display()
            ));
        }
        // Without a lock (some file systems have none) the core is expected all the same.
        let turn = File::open(&directory)
            .ok()
            .filter(|directory| sys::lock(directory).is_ok());
        let place = directory.join(name);
        let moved_aside = match place.symlink_metadata() {
            Ok(_) => Some(move_aside(&place, pid)?),
            Err(_) => None,
        };
        Ok(KernelCore {
            place,
            moved_aside,
            _turn: turn,
        })
    }

    /// Takes the core that the kernel wrote; returns its size in bytes.
    ///
    /// # Errors
    /// It cannot be moved: then it is where it was.
    pub(crate) fn take(&self, core: &KernelCore) -> Result<u64, Error> {
        let taken = fs::rename(&core.place, &self.path).or_else(|_| {
            fs::copy(&core.place, &self.path)?;
            fs::remove_file(&core.place)
        });
        let size = taken.and_then(|()| fs::metadata(&self.path));
        match size {
            Ok(data) => {
                core.restore();
                Ok(data.len())
            }
            Err(source) => {
                // A part of it is of no use.
                let _ = fs::remove_file(&self.path);
                Err(Error::io("write", &self.path, source))
            }
        }
    }
}

impl KernelCore {
    /// Where the kernel writes it.
    pub(crate) fn path(&self) -> &Path {
        &self.place
    }

    /// The kernel gave up: what it may have written is removed.
    pub(crate) fn discard(&self) {
        // Most often there is nothing.
        let _ = fs::remove_file(&self.place);
        self.restore();
    }

    /// Puts back what was moved aside.
    pub(crate) fn restore(&self) {
        if let Some(aside) = &self.moved_aside {
            // When this fails the file still is beside its place, under a telling name.
            let _ = fs::rename(aside, &self.place);
        }
    }
}

fn move_aside(place: &Path, pid: i32) -> Result<PathBuf, String> {
    let mut aside = place.as_os_str().to_owned();
    aside.push(format!(".before-rept-{pid}"));
    let aside = PathBuf::from(aside);
    match fs::rename(place, &aside) {
        Ok(()) => Ok(aside),
        Err(error) => Err(format!(
            "{} is in the kernel's way ({error})",
            place.display()
        )),
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

// The name that the kernel gives a core of `pid`.
fn kernel_name(pid: i32) -> Result<String, String> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    expand(
        read("core_pattern").trim_end(),
        read("core_uses_pid").trim(),
        pid,
    )
}

fn expand(pattern: &str, uses_pid: &str, pid: i32) -> Result<String, String> {
    let quoted = format!("the kernel's core pattern '{pattern}' (/proc/sys/kernel/core_pattern)");
    if pattern.starts_with('|') {
        return Err(format!("{quoted} pipes cores to a program"));
    }
    if pattern.contains('/') {
        return Err(format!("{quoted} sends cores to another directory"));
    }
    let mut name = pattern
        .replace("%p", &pid.to_string())
        .replace("%P", &pid.to_string());
    if name.contains('%') {
        return Err(format!("{quoted} makes names that cannot be foretold"));
    }
    if uses_pid != "0" && !pattern.contains("%p") {
        name.push_str(&format!(".{pid}"));
    }
    Ok(if name.is_empty() {
        "core".to_owned()
    } else {
        name
    })
}

fn limit_allows(pid: i32) -> Result<(), String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Ok(()),
        limit => Err(format!(
            "the limit for core files (RLIMIT_CORE) is {} bytes",
            limit.unwrap_or("unknown")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn names_of_kernel_cores() {
        assert_eq!(expand("core", "0", 7).unwrap(), "core");
        assert_eq!(expand("core", "1", 7).unwrap(), "core.7");
        assert_eq!(expand("c.%p", "1", 7).unwrap(), "c.7");
        assert!(
            expand("|/usr/lib/handler %p", "0", 7)
                .unwrap_err()
                .contains("pipes")
        );
        assert!(
            expand("/var/core", "0", 7)
                .unwrap_err()
                .contains("another directory")
        );
        assert!(expand("core.%t", "0", 7).unwrap_err().contains("foretold"));
    }
}
