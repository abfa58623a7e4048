//! Builds small C programs, records them, and asks stock perf what it sees.

use rept_capture::truth::Reader;
use rept_capture::{RecordOptions, Recorder, Summary};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A recording in a directory of its own, removed at the end.
pub(crate) struct Recorded {
    pub(crate) directory: PathBuf,
    pub(crate) summary: Summary,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Addresses of steps, oldest first, by thread.
pub(crate) type Addresses = BTreeMap<u32, Vec<u64>>;

pub(crate) fn temporary(name: &str) -> PathBuf {
    let directory =
        std::env::temp_dir().join(format!("rept-capture-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Builds `tests/programs/NAME.c`; `None`, said aloud, when there is no C compiler.
pub(crate) fn build(name: &str, directory: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/programs/{name}.c"));
    let program = directory.join(name);
    let built = Command::new("cc")
        .args(["-g", "-O1", "-pthread", "-w", "-o"])
        .args([&program, &source])
        .status();
    match built {
        Ok(status) => assert!(status.success(), "cc does not build {}", source.display()),
        Err(error) => {
            eprintln!("skipped: no C compiler ({error})");
            return None;
        }
    }
    Some(program)
}

/// Records a test program from its `main`, with truth; `change` may alter the options.
pub(crate) fn record(
    name: &str,
    tag: &str,
    change: impl FnOnce(&mut RecordOptions),
) -> Option<Recorded> {
    let directory = temporary(&format!("{name}-{tag}"));
    let program = build(name, &directory)?;
    let mut options = RecordOptions::new(directory.join("capture"));
    options.truth = true;
    options.from = Some("main".parse().unwrap());
    change(&mut options);
    let no_arguments: [&str; 0] = [];
    let summary = Recorder::new(options, program, no_arguments)
        .run(|_| ())
        .unwrap();
    Some(Recorded { directory, summary })
}

impl Recorded {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join("capture").join(name)
    }

    pub(crate) fn truth(&self) -> Reader {
        Reader::open(&self.file("truth")).unwrap()
    }

    pub(crate) fn true_addresses(&self) -> Addresses {
        let mut reader = self.truth();
        let mut all = Addresses::new();
        for thread in reader.threads() {
            let mut steps = reader.read_from(thread, 0).unwrap();
            let addresses = all.entry(thread.0).or_default();
            while let Some(step) = steps.advance().unwrap() {
                addresses.push(step.ip);
            }
        }
        all
    }

    /// What stock perf decodes; `None`, said aloud, when there is no perf.
    pub(crate) fn perf_addresses(&self) -> Option<Addresses> {
        self.perf_script(&["--itrace=i0ns"])
    }

    /// Addresses that `perf script` with these options shows.
    pub(crate) fn perf_script(&self, options: &[&str]) -> Option<Addresses> {
        let output = Command::new("perf")
            .arg("script")
            .args(options)
            .args(["-F", "tid,ip", "-i"])
            .arg(self.file("perf.data"))
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                eprintln!("not compared with perf: {error}");
                return None;
            }
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let mut all = Addresses::new();
        for line in text.lines() {
            let (tid, ip) = line.trim().split_once(' ').unwrap();
            let ip = u64::from_str_radix(ip.trim(), 16).unwrap();
            all.entry(tid.parse().unwrap()).or_default().push(ip);
        }
        Some(all)
    }

    /// Every address that perf decodes is the true one, and it misses at most the oldest
    /// `lost` of each thread.
    #[track_caller]
    pub(crate) fn assert_perf_agrees(&self, lost: usize) {
        let truth = self.true_addresses();
        assert_eq!(
            truth.values().map(Vec::len).sum::<usize>() as u64,
            self.summary.steps
        );
        let Some(seen) = self.perf_addresses() else {
            return;
        };
        for (thread, addresses) in &truth {
            let seen = seen.get(thread).map_or(&[][..], Vec::as_slice);
            assert!(
                seen.len() + lost >= addresses.len(),
                "thread {thread}: {} of {}",
                seen.len(),
                addresses.len()
            );
            let newest = &addresses[addresses.len() - seen.len()..];
            let differs = newest.iter().zip(seen).position(|(a, b)| a != b);
            assert_eq!(differs, None, "thread {thread} differs from perf");
        }
    }
}
