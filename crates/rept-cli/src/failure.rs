//! Why a command could not do what it was asked for.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;

/// One sentence for the standard error stream.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    reader_gone: bool,
}

impl Failure {
    /// Says what could not be done in one sentence that names the file, the place and the cause.
    pub(crate) fn new(sentence: impl Into<String>) -> Failure {
        Failure {
            sentence: sentence.into(),
            reader_gone: false,
        }
    }

    /// A file could not be read or written; `what` is the verb.
    pub(crate) fn file(what: &str, path: &Path, cause: impl Display) -> Failure {
        Failure::new(format!("cannot {what} {}: {cause}", path.display()))
    }

    /// The output could not be written.
    pub(crate) fn output(cause: io::Error) -> Failure {
        let reader_gone = cause.kind() == io::ErrorKind::BrokenPipe;
        Failure {
            sentence: format!("cannot write the output: {cause}"),
            reader_gone,
        }
    }

    /// Nobody reads the output any more (`rept decode … | head`): no reason to complain.
    pub(crate) fn reader_is_gone(&self) -> bool {
        self.reader_gone
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
