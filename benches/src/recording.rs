//! A recording made on the spot, so that figures need nothing but a C compiler.

use rept_capture::{RecordOptions, Recorder};
use rept_core::Session;
use rept_recover::effect::Effect;
use rept_recover::lift::{FlagUse, flag_use, lift};
use rept_trace::{Address, Block, Trace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// CF, ZF, SF and OF: what a conditional in the next block may read.
const LIVE: u16 = 0x8c1;

/// Recordings made by this process.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A recording in a directory of its own, which goes with it.
#[derive(Debug)]
pub struct Recorded {
    directory: PathBuf,
    /// The recording, opened.
    pub session: Session,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Recorded {
    /// Builds `programs/NAME.c` and records it from `main` to the signal that ends it.
    ///
    /// # Errors
    /// There is no C compiler, or the system forbids ptrace; one sentence.
    pub fn make(name: &str) -> Result<Recorded, String> {
        Recorded::make_with(name, &[], |_| ())
    }

    /// The same, with options for the compiler and the recorder.
    ///
    /// # Errors
    /// As [`Recorded::make`].
    pub fn make_with(
        name: &str,
        compiler: &[&str],
        change: impl FnOnce(&mut RecordOptions),
    ) -> Result<Recorded, String> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let unique = format!("rept-bench-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let program = build(name, compiler, &directory)?;
        let mut options = RecordOptions::new(directory.join("capture"));
        options.buffer = 8 << 20;
        change(&mut options);
        options.from = Some("main".parse().map_err(|error| format!("{error}"))?);
        let recorder = Recorder::new(options, program, [] as [&str; 0]);
        recorder.run(|_| ()).map_err(|error| error.to_string())?;
        let session = Session::builder()
            .directory(directory.join("capture"))
            .open()
            .map_err(|error| error.to_string())?;
        Ok(Recorded { directory, session })
    }
}

fn build(name: &str, options: &[&str], directory: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.c"));
    let program = directory.join(name);
    let status = Command::new("cc")
        .args(["-g", "-O2"])
        .args(options)
        .arg("-o")
        .args([&program, &source])
        .status()
        .map_err(|error| format!("no C compiler: {error}"))?;
    match status.success() {
        true => Ok(program),
        false => Err(format!("cc does not build {}", source.display())),
    }
}

/// A static instruction and what it does.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The instruction.
    pub bytes: Vec<u8>,
    /// Where it stands.
    pub at: Address,
    /// What it does to data.
    pub effect: Effect,
}

/// The instructions of each block, lowered with the flags live that the block itself reads.
pub fn lowered(trace: &Trace) -> Vec<Vec<Lowered>> {
    trace.code.blocks().iter().map(lower).collect()
}

fn lower(block: &Block) -> Vec<Lowered> {
    let mut live = LIVE;
    let mut instructions: Vec<Lowered> = (0..block.instructions())
        .rev()
        .map(|index| {
            let (at, bytes) = (block.address(index), block.instruction_bytes(index));
            let effect = lift(bytes, at, block.bitness, live);
            let FlagUse { reads, overwrites } = flag_use(bytes, at, block.bitness);
            live = reads | live & !overwrites;
            let bytes = bytes.to_vec();
            Lowered { bytes, at, effect }
        })
        .collect();
    instructions.reverse();
    instructions
}

/// The first `count` steps of the trace, in the order in which their thread ran them.
pub fn steps<'a>(trace: &Trace, blocks: &'a [Vec<Lowered>], count: usize) -> Vec<&'a Lowered> {
    let runs = trace.threads.iter().flat_map(|thread| thread.runs());
    runs.flat_map(|run| &blocks[run.block.0 as usize][..usize::from(run.count)])
        .take(count)
        .collect()
}
