//! What the process began with, as the file `process` beside the trace tells: lines of text
//! (docs/tracer.md).
//!
//! ```text
//! directory /home/me
//! descriptor 0
//! descriptor 3 120 /home/me/input
//! processors 128
//! ```

use crate::Error;
use rept_recover::Descriptor;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
                    "line {number} is neither a directory, nor a descriptor, nor processors"
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
            _ => return None,
        }
        Some(())
    }
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
