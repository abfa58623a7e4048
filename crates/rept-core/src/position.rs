//! Places in a history, as people write them.

use rept_trace::ThreadId;
use std::fmt;
use std::str::FromStr;

/// Just before a step of a thread; prints and parses as `tid:step`, e.g. `4711:123456`.
///
/// Steps count from 0, the oldest that the trace still holds. The number of a thread's
/// steps is the end of its history: for the thread that crashed, the faulting
/// instruction, which did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The thread, by the kernel's id.
    pub thread: ThreadId,
    /// The step that is about to run.
    pub step: u64,
}

impl Position {
    /// Before step `step` of `thread`.
    pub const fn new(thread: ThreadId, step: u64) -> Position {
        Position { thread, step }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.thread, self.step)
    }
}

/// A text that is no [`Position`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePositionError {
    text: String,
}

impl fmt::Display for ParsePositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no position: expected THREAD:STEP, both decimal",
            self.text
        )
    }
}

impl std::error::Error for ParsePositionError {}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Position, ParsePositionError> {
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(text.len())
        };
        let parse = || {
            let (thread, step) = text.split_once(':')?;
            number(thread).and(number(step))?;
            Some(Position::new(
                ThreadId(thread.parse().ok()?),
                step.parse().ok()?,
            ))
        };
        parse().ok_or_else(|| ParsePositionError {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        let position = Position::new(ThreadId(4711), 123_456);
        assert_eq!(position.to_string(), "4711:123456");
        assert_eq!("4711:123456".parse(), Ok(position));
    }

    #[test]
    fn nothing_else_parses() {
        for text in [
            "",
            ":",
            "1",
            "1:",
            ":1",
            "1:x",
            "+1:2",
            "1: 2",
            "1:2:3",
            "99999999999:1",
        ] {
            let error = text.parse::<Position>().unwrap_err().to_string();
            assert!(error.contains("THREAD:STEP"), "{text}: {error}");
        }
    }
}
