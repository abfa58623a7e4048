//! What the process began with, as the file `process` beside the trace tells: lines of text
//! (docs/tracer.md).
//!
//! ```text
//! directory /home/me
//! descriptor 0
//! descriptor 3 120 /home/me/input
//! processors 128
//! Max stack size            8388608              unlimited            bytes
//! ```
//!
//! Lines of limits are those of `/proc/PID/limits`.

use crate::Error;
use rept_recover::{Descriptor, ResourceLimit};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What limits are called in `/proc/PID/limits` (fs/proc/base.c, `lnames`), by the numbers of their
/// resources.
const LIMITS: [&str; 16] = [
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
];

/// Bytes of the file at most.
const MAX_BYTES: u64 = 1 << 20;

/// Working directory and open descriptors of the process at its first instruction, and what of the machine
/// it can see that the dump does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inherited {
    pub(super) directory: Option<PathBuf>,
    /// `None` when nothing is said of them.
    pub(super) descriptors: Option<Vec<Descriptor>>,
    /// Bytes of the kernel's sets of processors.
    pub(super) processor_set_bytes: Option<u64>,
    pub(super) limits: Vec<ResourceLimit>,
}

impl Inherited {
    /// What is said beside a trace; nothing when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is none of these: the other lines hold.
    pub(super) fn beside(trace: &Path) -> (Inherited, Option<Error>) {
        let path = trace.with_file_name("process");
        let nothing = Inherited::default();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_BYTES => {}
            _ => return (nothing, None),
        }
        match std::fs::read(&path) {
            Ok(text) => Inherited::parse(&path, &text),
            Err(source) => (nothing, Some(Error::io(&path, source))),
        }
    }

    fn parse(path: &Path, text: &[u8]) -> (Inherited, Option<Error>) {
        let (mut found, mut wrong) = (Inherited::default(), None);
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            if !line.is_empty() && found.take(line).is_none() {
                let cause = format!(
                    "line {number} is neither a directory, nor a descriptor, nor processors, nor a limit"
                );
                wrong.get_or_insert_with(|| Error::missing(path, cause));
            }
        }
        (found, wrong)
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let mut words = line.splitn(2, |&byte| byte == b' ');
        let (kind, rest) = (words.next()?, words.next()?);
        match kind {
            b"directory" => self.directory = Some(PathBuf::from(OsStr::from_bytes(rest))),
            b"descriptor" => {
                let mut words = rest.splitn(3, |&byte| byte == b' ');
                let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
                let descriptor = u32::try_from(number()?).ok()?;
                let position = number();
                let path = words.next().map(<[u8]>::to_vec);
                self.descriptors.get_or_insert_default().push(Descriptor {
                    number: descriptor,
                    position: position.unwrap_or(0),
                    path: path.filter(|_| position.is_some()),
                });
            }
            b"processors" => {
                let bits = std::str::from_utf8(rest).ok()?.parse::<u64>().ok()?;
                self.processor_set_bytes = Some(bits.div_ceil(8));
            }
            b"Max" => self.limits.push(limit(std::str::from_utf8(line).ok()?)?),
            // The heading of the limits.
            b"Limit" => {}
            _ => return None,
        }
        Some(())
    }
}

/// A limit as the kernel lists it: its name, both its values, its unit.
fn limit(line: &str) -> Option<ResourceLimit> {
    let mut names = (0..).zip(LIMITS);
    let (resource, values) =
        names.find_map(|(resource, name)| Some((resource, line.strip_prefix(name)?)))?;
    let mut values = values.split_ascii_whitespace();
    let mut value = || match values.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some(ResourceLimit {
        resource,
        soft: value()?,
        hard: value()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Inherited, Option<String>) {
        let (found, wrong) = Inherited::parse(Path::new("process"), text.as_bytes());
        (found, wrong.map(|error| error.to_string()))
    }

    #[test]
    fn lines_are_directory_and_descriptors() {
        let (found, wrong) =
            parse("directory /a b\nprocessors 128\ndescriptor 0\ndescriptor 3 120 /c d\n");
        assert_eq!(wrong, None);
        assert_eq!(found.directory, Some(PathBuf::from("/a b")));
        assert_eq!(found.processor_set_bytes, Some(16));
        let of = |number, position, path: Option<&str>| Descriptor {
            number,
            position,
            path: path.map(|path| path.into()),
        };
        let expect = vec![of(0, 0, None), of(3, 120, Some("/c d"))];
        assert_eq!(found.descriptors, Some(expect));
    }

    #[test]
    fn limits_are_those_of_the_kernel() {
        let heading = "Limit                     Soft Limit           Hard Limit           Units";
        let stack = "Max stack size            8388608              unlimited            bytes";
        let nice = "Max nice priority         0                    5";
        let (found, wrong) = parse(&format!("{heading}\n{stack}\n{nice}\n"));
        assert_eq!(wrong, None);
        let of = |resource, soft, hard| ResourceLimit {
            resource,
            soft,
            hard,
        };
        let expect = vec![of(3, 8 << 20, u64::MAX), of(13, 0, 5)];
        assert_eq!(found.limits, expect);
    }

    #[test]
    fn every_limit_of_this_kernel_has_its_number() {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let (found, wrong) = parse(&text);
        assert_eq!(wrong, None);
        let numbers: Vec<u32> = found.limits.iter().map(|of| of.resource).collect();
        assert_eq!(numbers, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn another_line_is_named_and_the_rest_kept() {
        let (found, wrong) = parse("descriptor x\nnonsense\ndirectory /a\n");
        assert_eq!(found.directory, Some(PathBuf::from("/a")));
        assert_eq!(found.descriptors, None);
        let wrong = wrong.unwrap();
        assert!(
            wrong.contains("process") && wrong.contains("line 1"),
            "{wrong}"
        );
    }
}
