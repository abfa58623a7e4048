//! The programs: those of the recorder's tests, each with one bug of one kind.

/// A program, and the line that plants what it dies of.
pub(super) struct Program {
    /// Its source, without the ending.
    pub(super) name: &'static str,
    /// Line of the store in another thread than the one that dies; `None` when it dies of no value.
    pub(super) planted: Option<u32>,
}

impl Program {
    const fn new(name: &'static str, planted: Option<u32>) -> Program {
        Program { name, planted }
    }

    pub(super) fn file(&self) -> String {
        format!("{}.c", self.name)
    }

    pub(super) fn cause(&self, line: u32) -> String {
        format!("{}:{line}", self.file())
    }
}

/// All of them.
pub(super) const PROGRAMS: [Program; 6] = [
    Program::new("lost_update", Some(18)),
    Program::new("publication", Some(24)),
    Program::new("double_checked", Some(36)),
    Program::new("use_after_free", Some(30)),
    Program::new("deadlock", None),
    Program::new("producer_consumer", Some(27)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_lines_are_those_of_the_planting_stores() {
        let expect = [
            Some("counter = seen + 1"),
            Some("published = message"),
            Some("instance = calloc"),
            Some("memcpy(text"),
            None,
            Some("inputs + 64 - length"),
        ];
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rept-cli/tests/programs/threads");
        for (program, expect) in PROGRAMS.iter().zip(expect) {
            let text = std::fs::read_to_string(folder.join(program.file())).expect("a source");
            let line = program
                .planted
                .map(|line| text.lines().nth(line as usize - 1).expect("a line"));
            assert_eq!(line.is_some(), expect.is_some(), "{}", program.name);
            if let (Some(line), Some(expect)) = (line, expect) {
                assert!(line.contains(expect), "{}: {line}", program.name);
            }
        }
    }
}
