//! Finds the program to run, and says why it cannot be.

use crate::error::Error;
use object::{Object, ObjectKind};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file that `program` means: a path, or a name in `PATH`.
///
/// # Errors
/// It is missing, not executable, no 64-bit x86 program, or set-user-ID.
pub(crate) fn find(program: &OsStr) -> Result<PathBuf, Error> {
    let path = match program.as_bytes().contains(&b'/') {
        true => PathBuf::from(program),
        false => in_search_path(program)
            .ok_or_else(|| Error::program(Path::new(program), "not found in PATH"))?,
    };
    check(&path)?;
    Ok(path)
}

/// Whether a process can be recorded.
///
/// # Errors
/// It is not there, or runs no 64-bit x86 program.
pub(crate) fn check_process(pid: i32) -> Result<(), Error> {
    let link = PathBuf::from(format!("/proc/{pid}/exe"));
    match fs::metadata(format!("/proc/{pid}")) {
        Ok(_) => match fs::read_link(&link) {
            Err(source) if source.kind() == ErrorKind::PermissionDenied => {
                Err(untraceable(pid, &source))
            }
            // The link can be opened when the file has another name by now, or none.
            program => check_format(&link, &program.unwrap_or_else(|_| link.clone())),
        },
        Err(_) => Err(Error::option(format!("there is no process {pid}"))),
    }
}

/// The kernel does not let us trace a process that is there.
pub(crate) fn untraceable(pid: i32, source: &io::Error) -> Error {
    // What a process that is not to be looked at has in /proc belongs to root.
    let shown_to = fs::metadata(format!("/proc/{pid}/status")).map(|data| data.uid());
    let why = match ids(pid, "Uid:").first() {
        Some(&owner) if owner != sys_uid() => format!("it is another user's, with user ID {owner}"),
        Some(owner) if shown_to.is_ok_and(|uid| uid != *owner) => {
            "it forbids to be traced by others than root: PR_SET_DUMPABLE".to_owned()
        }
        _ => "ptrace is restricted: /proc/sys/kernel/yama/ptrace_scope".to_owned(),
    };
    Error::option(format!("process {pid} cannot be traced: {source} ({why})"))
}

/// The set-user-ID or set-group-ID program of a process that did not get its owner's rights.
pub(crate) fn without_rights(pid: i32) -> Option<PathBuf> {
    const SET_USER: u32 = 0o4000;
    const SET_GROUP: u32 = 0o2010;
    let program = PathBuf::from(format!("/proc/{pid}/exe"));
    let file = fs::metadata(&program).ok()?;
    let has = |bits: u32, name, owner: u32| {
        let effective = *ids(pid, name).get(1)?;
        Some(file.mode() & bits != bits || effective == owner)
    };
    let has_all = has(SET_USER, "Uid:", file.uid())? && has(SET_GROUP, "Gid:", file.gid())?;
    let named = fs::read_link(&program).unwrap_or(program);
    (!has_all).then_some(named)
}

/// What the kernel says of a process under `name`, such as `TracerPid:`.
pub(crate) fn status(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

// Real, effective, saved and file-system ID of a process: those of its user, or of its group.
fn ids(pid: i32, name: &str) -> Vec<u32> {
    let told = status(pid, name).unwrap_or_default();
    let words = told.split_whitespace().map(str::parse);
    words.filter_map(Result::ok).collect()
}

fn in_search_path(name: &OsStr) -> Option<PathBuf> {
    let directories = env::var_os("PATH")?;
    env::split_paths(&directories)
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn check(path: &Path) -> Result<(), Error> {
    let data = fs::metadata(path).map_err(|source| Error::io("run", path, source))?;
    if !data.is_file() {
        return Err(Error::program(path, "not a file"));
    }
    if !is_executable(path) {
        return Err(Error::program(path, "not executable"));
    }
    const SET_ID: u32 = 0o6000;
    if data.mode() & SET_ID != 0 && data.uid() != sys_uid() {
        return Err(Error::program(
            path,
            "set-user-ID and set-group-ID programs cannot be traced",
        ));
    }
    check_format(path, path)
}

fn sys_uid() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |data| data.uid())
}

// Of the file that has this path. Scripts are run by their interpreter, which the kernel finds.
fn check_format(file: &Path, path: &Path) -> Result<(), Error> {
    let file = fs::File::open(file).map_err(|source| Error::io("read", path, source))?;
    let cache = object::ReadCache::new(file);
    let mut first = [0; 2];
    first.copy_from_slice(object::ReadRef::read_bytes_at(&cache, 0, 2).unwrap_or(b"??"));
    if &first == b"#!" {
        return Ok(());
    }
    let parsed =
        object::File::parse(&cache).map_err(|_| Error::program(path, "not an ELF program"))?;
    if !parsed.is_64() || parsed.architecture() != object::Architecture::X86_64 {
        return Err(Error::program(path, "not a 64-bit x86 program"));
    }
    match parsed.kind() {
        ObjectKind::Executable | ObjectKind::Dynamic => Ok(()),
        _ => Err(Error::program(path, "not an ELF program")),
    }
}
