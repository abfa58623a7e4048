//! Source lines at which a bad value or decision was made.

use crate::Failure;
use rept_core::SourceFrame;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// `FILE:LINE` or `FILE:FIRST-LAST`; the file as the end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    file: String,
    lines: RangeInclusive<u32>,
}

impl FromStr for Cause {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Cause, Failure> {
        let parse = || {
            let (file, lines) = text.rsplit_once(':')?;
            let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
            let lines = first.parse().ok()?..=last.parse().ok()?;
            (!file.is_empty() && !lines.is_empty()).then(|| Cause {
                file: file.to_owned(),
                lines,
            })
        };
        parse().ok_or_else(|| format!("{text}: a cause is written FILE:LINE or FILE:FIRST-LAST"))
    }
}

impl Cause {
    /// The source frame is on these lines.
    pub(crate) fn holds(&self, frame: &SourceFrame) -> bool {
        let line = frame.line.is_some_and(|line| self.lines.contains(&line));
        line && frame.file.as_deref().is_some_and(|file| self.is_file(file))
    }

    fn is_file(&self, path: &str) -> bool {
        path.strip_suffix(self.file.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_ends_of_paths() {
        let cause: Cause = "src/a.c:10-12".parse().unwrap();
        assert!(cause.is_file("src/a.c"));
        assert!(cause.is_file("/x/src/a.c"));
        assert!(!cause.is_file("/x/othersrc/a.c"));
        assert_eq!(cause.lines, 10..=12);
        assert_eq!("a.c:7".parse::<Cause>().unwrap().lines, 7..=7);
        for bad in ["a.c", "a.c:", ":3", "a.c:9-3", "a.c:x"] {
            assert!(bad.parse::<Cause>().is_err(), "{bad}");
        }
    }
}
