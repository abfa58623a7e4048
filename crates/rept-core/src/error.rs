//! The one error type of this crate: which file, where in it, and why.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be opened or read.
///
/// Prints as one lower-case sentence that names the file, the place in it where
/// there is one, and the cause.
#[derive(Debug)]
pub struct Error {
    file: PathBuf,
    offset: Option<u64>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Io(io::Error),
    Empty,
    Foreign {
        expected: &'static str,
        found: String,
    },
    Truncated {
        what: String,
        missing: u64,
    },
    Malformed {
        what: String,
    },
    Missing {
        what: String,
    },
    Failed {
        what: String,
    },
    Cancelled,
}

impl Error {
    pub(crate) fn io(file: &Path, error: io::Error) -> Error {
        Error::new(file, None, Kind::Io(error))
    }

    pub(crate) fn empty(file: &Path) -> Error {
        Error::new(file, None, Kind::Empty)
    }

    pub(crate) fn foreign(file: &Path, expected: &'static str, start: &[u8]) -> Error {
        let found = describe(start);
        Error::new(file, Some(0), Kind::Foreign { expected, found })
    }

    pub(crate) fn truncated(
        file: &Path,
        offset: u64,
        what: impl Into<String>,
        missing: u64,
    ) -> Error {
        let what = what.into();
        Error::new(file, Some(offset), Kind::Truncated { what, missing })
    }

    pub(crate) fn malformed(file: &Path, offset: u64, what: impl Into<String>) -> Error {
        let what = what.into();
        Error::new(file, Some(offset), Kind::Malformed { what })
    }

    pub(crate) fn missing(file: &Path, what: impl Into<String>) -> Error {
        let what = what.into();
        Error::new(file, None, Kind::Missing { what })
    }

    pub(crate) fn failed(what: impl Into<String>) -> Error {
        let what = what.into();
        Error::new(Path::new(""), None, Kind::Failed { what })
    }

    pub(crate) fn cancelled() -> Error {
        Error::new(Path::new(""), None, Kind::Cancelled)
    }

    fn new(file: &Path, offset: Option<u64>, kind: Kind) -> Error {
        Error {
            file: file.to_owned(),
            offset,
            kind,
        }
    }

    /// The work was stopped because somebody asked for that.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, Kind::Cancelled)
    }

    /// The file that the error is about; empty when it is about none.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Byte offset in the file, where the cause has a place.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }
}

/// What a file looks like by its first bytes, for people.
fn describe(start: &[u8]) -> String {
    match start {
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file".to_owned(),
        [b'M', b'D', b'M', b'P', ..] => "a minidump".to_owned(),
        [b'P', b'E', b'R', b'F', ..] => "a perf.data file".to_owned(),
        [0x02, 0x82, 0x02, 0x82, ..] => {
            "bare Intel PT packets, which do not say what code ran".to_owned()
        }
        _ => {
            let head: Vec<String> = start
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("a file that starts with {}", head.join(" "))
        }
    }
}

impl Error {
    fn tell(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match &self.kind {
            Kind::Cancelled => return f.write_str("the work was cancelled"),
            Kind::Failed { what } => return f.write_str(what),
            _ => {}
        }
        write!(f, "{}: ", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, "at offset {offset:#x}: ")?;
        }
        match &self.kind {
            Kind::Io(error) => write!(f, "cannot be read: {error}"),
            Kind::Empty => f.write_str("the file is empty"),
            Kind::Foreign { expected, found } => write!(f, "expected {expected}, found {found}"),
            Kind::Truncated { what, missing } => {
                write!(f, "the file ends inside {what}, {missing} bytes short")
            }
            Kind::Malformed { what } | Kind::Missing { what } => f.write_str(what),
            Kind::Failed { .. } | Kind::Cancelled => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(&mut Printable(f))
    }
}

/// Escapes control characters: names and messages come from files, and an error is one line.
struct Printable<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char.is_control() {
            true => write!(self.0, "{}", char.escape_debug()),
            false => fmt::Write::write_char(self.0, char),
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_the_file_says() {
        let error = Error::malformed(Path::new("a\nb"), 1, "the name \"c\" and \u{1b}[m");
        let line = "a\\nb: at offset 0x1: the name \"c\" and \\u{1b}[m";
        assert_eq!(error.to_string(), line);
    }
}
