use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a recording could not be made: one lower-case sentence with the file, place and cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Program {
        path: PathBuf,
        cause: &'static str,
    },
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    System {
        doing: &'static str,
        source: io::Error,
    },
    PtraceForbidden {
        source: io::Error,
    },
    From {
        text: String,
        cause: String,
    },
    Truth {
        path: PathBuf,
        offset: u64,
        cause: &'static str,
    },
    Option {
        cause: String,
    },
    Kept {
        error: Box<Error>,
        directory: PathBuf,
    },
}

impl Error {
    pub(crate) fn program(path: &Path, cause: &'static str) -> Error {
        Kind::Program {
            path: path.to_owned(),
            cause,
        }
        .into()
    }

    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Error {
        Kind::Io {
            doing,
            path: path.to_owned(),
            source,
        }
        .into()
    }

    /// The system call behind `doing` failed; takes the cause from `errno`.
    pub(crate) fn last_os(doing: &'static str) -> Error {
        Error::system(doing, io::Error::last_os_error())
    }

    pub(crate) fn system(doing: &'static str, source: io::Error) -> Error {
        Kind::System { doing, source }.into()
    }

    pub(crate) fn ptrace_forbidden(source: io::Error) -> Error {
        Kind::PtraceForbidden { source }.into()
    }

    pub(crate) fn from(text: &str, cause: impl Into<String>) -> Error {
        Kind::From {
            text: text.to_owned(),
            cause: cause.into(),
        }
        .into()
    }

    pub(crate) fn truth(path: &Path, offset: u64, cause: &'static str) -> Error {
        Kind::Truth {
            path: path.to_owned(),
            offset,
            cause,
        }
        .into()
    }

    pub(crate) fn option(cause: impl Into<String>) -> Error {
        Kind::Option {
            cause: cause.into(),
        }
        .into()
    }

    /// What was recorded before this error is kept in `directory`.
    pub(crate) fn but_kept(self, directory: &Path) -> Error {
        Kind::Kept {
            error: Box::new(self),
            directory: directory.to_owned(),
        }
        .into()
    }

    /// Whether a file could not be written as its disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self.file_cause(), Some(libc::ENOSPC | libc::EDQUOT))
    }

    /// Whether a file could not be written as there is no room for it.
    pub(crate) fn has_no_room(&self) -> bool {
        self.is_disk_full() || self.file_cause() == Some(libc::EFBIG)
    }

    fn file_cause(&self) -> Option<i32> {
        match &self.kind {
            Kind::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the traced thread was gone when the call was made (it was killed meanwhile).
    pub(crate) fn is_gone(&self) -> bool {
        matches!(&self.kind, Kind::System { source, .. } if source.raw_os_error() == Some(libc::ESRCH))
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Error {
        Error { kind }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Program { path, cause } => write!(f, "cannot run {}: {cause}", path.display()),
            Kind::Io {
                doing,
                path,
                source,
            } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Kind::System { doing, source } => write!(f, "cannot {doing}: {source}"),
            Kind::PtraceForbidden { source } => {
                write!(
                    f,
                    "this system forbids ptrace, which recording needs: {source}"
                )
            }
            Kind::From { text, cause } => write!(f, "cannot start at '{text}': {cause}"),
            Kind::Truth {
                path,
                offset,
                cause,
            } => {
                write!(f, "{} at offset {offset:#x}: {cause}", path.display())
            }
            Kind::Option { cause } => f.write_str(cause),
            Kind::Kept { error, directory } => write!(
                f,
                "{error} (what was recorded before is in {})",
                directory.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Io { source, .. }
            | Kind::System { source, .. }
            | Kind::PtraceForbidden { source } => Some(source),
            Kind::Kept { error, .. } => error.source(),
            _ => None,
        }
    }
}
