//! What a process begins with that neither trace nor core tells: its working directory, the
//! descriptors that are open, its limits, and how many processors the kernel's sets of them have room
//! for. The file `process` beside the core says so, in lines of text (docs/real-hardware.md).

use crate::sys;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Name of the file.
const NAME: &str = "process";

/// Writes it for a process that has just begun. That it cannot be written is no loss to the recording:
/// less will be known of what the program read.
pub(crate) fn write(pid: i32, directory: &Path) {
    let text = describe(Path::new(&format!("/proc/{pid}")));
    if fs::write(directory.join(NAME), text).is_err() {
        forget(directory);
    }
}

/// Removes what an earlier recording said.
pub(crate) fn forget(directory: &Path) {
    // Most often there is none.
    let _ = fs::remove_file(directory.join(NAME));
}

fn describe(process: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(directory) = fs::read_link(process.join("cwd")) {
        line(&mut text, b"directory ", &directory);
    }
    if let Some(bytes) = sys::processor_set_bytes() {
        // Writing into memory does not fail.
        let _ = writeln!(text, "processors {}", 8 * bytes);
    }
    // As the kernel lists them, without the heading.
    let limits = fs::read_to_string(process.join("limits")).unwrap_or_default();
    for limit in limits.lines().skip(1) {
        let _ = writeln!(text, "{}", limit.trim_end());
    }
    let Ok(open) = fs::read_dir(process.join("fd")) else {
        return text;
    };
    let names = open.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    for number in numbers {
        match read_only(process, number) {
            Some((position, path)) => {
                let start = format!("descriptor {number} {position} ");
                line(&mut text, start.as_bytes(), &path);
            }
            None => drop(writeln!(text, "descriptor {number}")),
        }
    }
    text
}

/// A line that ends with a path; none if the path would end the line itself.
fn line(text: &mut Vec<u8>, start: &[u8], path: &Path) {
    let path = path.as_os_str().as_bytes();
    if !path.contains(&b'\n') {
        text.extend([start, path, b"\n"].concat());
    }
}

/// Position and path of a descriptor of a plain file that is only read.
fn read_only(process: &Path, number: u32) -> Option<(u64, PathBuf)> {
    let link = process.join(format!("fd/{number}"));
    let information = fs::read_to_string(process.join(format!("fdinfo/{number}"))).ok()?;
    let field = |name: &str| {
        let mut lines = information.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let flags = u32::from_str_radix(&field("flags:")?, 8).ok()?;
    let plain = fs::metadata(&link).ok()?.is_file();
    let reads = flags & libc::O_ACCMODE as u32 == libc::O_RDONLY as u32;
    let position = field("pos:")?.parse().ok()?;
    let path = fs::read_link(&link).ok()?;
    (plain && reads && !path.as_os_str().as_bytes().contains(&b'\n')).then_some((position, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom};
    use std::os::fd::AsRawFd;

    #[test]
    fn files_that_are_read_are_named_with_their_position() {
        let path = std::env::temp_dir().join(format!("rept-inherited-{}", std::process::id()));
        fs::write(&path, b"0123456789").unwrap();
        let mut reads = fs::File::open(&path).unwrap();
        reads.seek(SeekFrom::Start(3)).unwrap();
        reads.read_exact(&mut [0; 4]).unwrap();
        let writes = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let text = String::from_utf8(describe(Path::new("/proc/self"))).unwrap();
        fs::remove_file(&path).unwrap();
        let here = std::env::current_dir().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("directory {}", here.display()));
        let room = lines[1].strip_prefix("processors ").unwrap();
        assert_eq!(room.parse::<u32>().unwrap() % 64, 0, "whole words");
        let stack = lines
            .iter()
            .filter(|line| line.starts_with("Max stack size"));
        assert_eq!(stack.count(), 1);
        let expect = [
            format!("descriptor {} 7 {}", reads.as_raw_fd(), path.display()),
            format!("descriptor {}", writes.as_raw_fd()),
        ];
        assert!(
            expect.iter().all(|line| lines.contains(&line.as_str())),
            "{text}"
        );
    }
}
