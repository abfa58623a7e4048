//! Programs that both engines run.

use crate::Failure;
use crate::arguments::Variant;
use crate::build::build;
use crate::case::Case;
use crate::process::must;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Compiling one file.
const LIMIT: Duration = Duration::from_secs(120);

/// A program, ready to be run.
pub(super) struct Subject {
    pub(super) name: String,
    /// Folder to run it in.
    pub(super) folder: PathBuf,
    pub(super) command: Vec<String>,
    /// Where the evaluation's recording begins.
    pub(super) from: Option<String>,
    /// The signal that it is to end with.
    pub(super) signal: Option<String>,
    /// Why two runs of it differ, whatever is done about it.
    pub(super) differs: Option<&'static str>,
    pub(super) threads: u32,
}

/// A test program: its source, how it is compiled, its arguments, and why runs of it differ.
struct Test {
    source: &'static str,
    flags: &'static str,
    arguments: &'static [&'static str],
    differs: Option<&'static str>,
}

const fn test(source: &'static str) -> Test {
    Test {
        source,
        flags: "",
        arguments: &[],
        differs: None,
    }
}

const fn differs(source: &'static str, why: &'static str) -> Test {
    Test {
        differs: Some(why),
        ..test(source)
    }
}

const fn with(source: &'static str, arguments: &'static [&'static str]) -> Test {
    Test {
        arguments,
        ..test(source)
    }
}

const fn built(source: &'static str, flags: &'static str) -> Test {
    Test {
        flags,
        ..test(source)
    }
}

const THREADS: &str = "has threads";
const AT_ANY_TIME: &str = "signals come at any time";

/// The folder of `engines.rs` is the second, that of the recorder's own tests the third.
const TESTS: &[Test] = &[
    test("rept-cli/tests/programs/deep.c"),
    test("rept-cli/tests/programs/overrun.c"),
    test("rept-cli/tests/programs/cut.c"),
    with("rept-cli/tests/programs/rounds.c", &["walk"]),
    test("rept-cli/tests/programs/signals.c"),
    test("rept-cli/tests/programs/irregular.c"),
    test("rept-cli/tests/programs/listed.c"),
    with("rept-cli/tests/programs/jit.c", &["."]),
    with("rept-cli/tests/programs/rewritten.c", &["path"]),
    with("rept-cli/tests/programs/rewritten.c", &["constant"]),
    with("rept-cli/tests/programs/words.c", &["words.c"]),
    test("rept-cli/tests/programs/family.c"),
    differs("rept-cli/tests/programs/busy.c", THREADS),
    differs("rept-cli/tests/programs/relay.c", THREADS),
    differs("rept-cli/tests/programs/pauses.c", THREADS),
    differs("rept-cli/tests/programs/aloof.c", "sleeps for ever"),
    differs("rept-cli/tests/programs/threads.c", THREADS),
    differs(
        "rept-cli/tests/programs/processor.c",
        "reads which processor it is on",
    ),
    test("rept-cli/tests/programs/engines/operands.c"),
    test("rept-cli/tests/programs/engines/chance.c"),
    built("rept-cli/tests/programs/engines/chance.c", "-static"),
    built("rept-cli/tests/programs/engines/chance.c", "-static-pie"),
    built("rept-cli/tests/programs/engines/chance.c", "-no-pie"),
    test("rept-cli/tests/programs/engines/plugins.c"),
    test("rept-cli/tests/programs/engines/jit.c"),
    test("rept-cli/tests/programs/engines/rewrites.c"),
    test("rept-cli/tests/programs/engines/confined.c"),
    built("rept-cli/tests/programs/engines/confined.c", "-DCALL"),
    built("rept-cli/tests/programs/engines/confined.c", "-DSTRICT"),
    test("rept-cli/tests/programs/engines/traced.c"),
    test("rept-cli/tests/programs/engines/unwinds.cpp"),
    test("rept-cli/tests/programs/engines/sequences.c"),
    differs(
        "rept-cli/tests/programs/engines/itself.c",
        "counts its resident memory (`smaps`)",
    ),
    differs("rept-cli/tests/programs/engines/panics.rs", THREADS),
    differs("rept-cli/tests/programs/engines/again.c", THREADS),
    differs("rept-cli/tests/programs/engines/alarms.c", AT_ANY_TIME),
    differs("rept-cli/tests/programs/engines/percpu.c", AT_ANY_TIME),
    test("rept-capture/tests/programs/crash.c"),
    differs("rept-capture/tests/programs/signals.c", AT_ANY_TIME),
    test("rept-capture/tests/programs/children.c"),
    differs("rept-capture/tests/programs/threads.c", THREADS),
];

impl Subject {
    /// A case of the evaluation.
    ///
    /// # Errors
    /// It cannot be built.
    pub(super) fn case(case: &Case, work: &Path) -> Result<Subject, Failure> {
        let folder = build(case, Variant::O2, work)?.folder;
        let manifest = &case.manifest;
        Ok(Subject {
            name: case.name.clone(),
            folder,
            command: manifest.run.clone(),
            from: manifest.from.clone(),
            signal: Some(manifest.signal.clone()),
            differs: (manifest.threads > 1).then_some(THREADS),
            threads: manifest.threads,
        })
    }

    /// A name that files can have.
    pub(super) fn file_name(&self) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let replaced = |c: char| if allowed(c) { c } else { '_' };
        self.name.chars().map(replaced).collect()
    }
}

/// The project's test programs, built below `work`.
///
/// # Errors
/// A compiler is missing, or fails.
pub(super) fn tests(
    crates: &Path,
    work: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Subject>, Failure> {
    let mut subjects = Vec::new();
    for test in TESTS {
        let short = test.source.replace("/tests/programs/", "/");
        let name = [&short, test.flags].join(" ").trim_end().to_owned();
        if wanted(&name) {
            subjects.push(test.subject(name, crates, work)?);
        }
    }
    Ok(subjects)
}

impl Test {
    fn subject(&self, name: String, crates: &Path, work: &Path) -> Result<Subject, Failure> {
        let mut subject = Subject {
            folder: PathBuf::new(),
            command: vec!["./program".to_owned()],
            from: None,
            signal: None,
            differs: self.differs,
            threads: 1,
            name,
        };
        subject.folder = work.join("tests").join(subject.file_name());
        let arguments = self.arguments.iter().map(|&argument| argument.to_owned());
        subject.command.extend(arguments);
        self.build(crates, &subject.folder)?;
        Ok(subject)
    }

    fn build(&self, crates: &Path, folder: &Path) -> Result<(), Failure> {
        let failed = |path: &Path, error| format!("{}: {error}", path.display());
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let source = crates.join(self.source);
        // Some read their own source.
        let copy = folder.join(source.file_name().unwrap_or_default());
        fs::copy(&source, &copy).map_err(|error| failed(&source, error))?;
        let (compiler, flags) = match copy.extension().and_then(|e| e.to_str()) {
            Some("rs") => ("rustc", "-O -g"),
            Some("cpp") => ("c++", "-O1 -g -w"),
            _ => ("cc", "-O2 -g -w -pthread"),
        };
        let mut command = Command::new(compiler);
        command
            .args(flags.split(' ').chain(self.flags.split_whitespace()))
            .args(["-o", "program"])
            .arg(&copy)
            .current_dir(folder);
        must(&mut command, &folder.join("log"), LIMIT).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    // A test program that is added must be added here.
    #[test]
    fn all_test_programs_are_named() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let named: BTreeSet<&str> = TESTS.iter().map(|test| test.source).collect();
        for folder in [
            "rept-cli/tests/programs",
            "rept-cli/tests/programs/engines",
            "rept-capture/tests/programs",
        ] {
            for entry in fs::read_dir(crates.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                let source = format!("{folder}/{name}");
                assert!(path.is_dir() || named.contains(source.as_str()), "{source}");
            }
        }
    }
}
