//! The truth: what each step really read and wrote, for scoring a recovery against.
//!
//! A recovery never sees this file. Its format is described in `docs/truth-format.md`:
//! blocks of consecutive steps of one thread, each decodable alone, so that a reader
//! finds the last steps of a thread without decoding the earlier ones.

mod compare;
mod reader;
mod writer;

pub use compare::{Comparison, Ended, compare};
pub use reader::{Reader, Steps};
pub(crate) use writer::Writer;

/// First bytes of the file.
const MAGIC: [u8; 8] = *b"REPTTRU1";
/// Bytes of a block's header.
const HEADER_BYTES: usize = 32;
/// Register words of a step: 16 general-purpose registers in encoding order, RFLAGS, FS and GS base.
pub const WORDS: usize = 19;

// Bits of a record's mask beyond those of the register words.
const MASK_IP: u32 = 1 << 19;
const MASK_ACCESSES: u32 = 1 << 20;
const MASK_SEQUENCE: u32 = 1 << 21;

/// Whether an access reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// The bytes are those that the instruction found.
    Read,
    /// The bytes are those that the instruction left.
    Write,
}

/// One range of memory that an instruction read or wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// First address.
    pub address: u64,
    /// Direction.
    pub kind: AccessKind,
    /// The bytes: before the step for reads, after it for writes.
    pub bytes: Vec<u8>,
}

/// One executed instruction: the registers before it, and its memory accesses.
///
/// An instruction that reads and writes a location has two accesses. A REP string
/// instruction is one step; each of its operands is one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Position in the recorded run among the steps of all threads, from 0.
    pub sequence: u64,
    /// Address of the instruction.
    pub ip: u64,
    /// Length of the instruction in bytes.
    pub length: u8,
    /// Registers before the step, numbered as [`rept_trace::RegWord`] does.
    pub words: [u64; WORDS],
    /// Memory accesses, in the order of the instruction's operands.
    pub accesses: Vec<Access>,
}

/// What the next record is encoded against; all zero at the start of a block.
#[derive(Clone, Debug, Default)]
struct Previous {
    sequence: u64,
    next_ip: u64,
    address: u64,
    words: [u64; WORDS],
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::ThreadId;

    fn step(n: u64) -> Step {
        let mut words = [0; WORDS];
        words[0] = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        words[4] = u64::MAX - n;
        let access = |kind| Access {
            address: 0x7fff_0000 + n * 8,
            kind,
            bytes: vec![n as u8; (n % 9) as usize],
        };
        Step {
            sequence: n * 3,
            ip: if n.is_multiple_of(5) {
                n << 40
            } else {
                0x1000 + n * 4
            },
            length: 4,
            words,
            accesses: if n.is_multiple_of(2) {
                vec![access(AccessKind::Read), access(AccessKind::Write)]
            } else {
                Vec::new()
            },
        }
    }

    fn temporary(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("rept-truth-{}-{name}", std::process::id()))
    }

    #[test]
    fn round_trip_from_any_step() {
        let path = temporary("round-trip");
        let mut writer = Writer::create(&path).unwrap();
        for n in 0..10_000 {
            writer.step(1, &step(n)).unwrap();
            if n.is_multiple_of(3) {
                writer.step(2, &step(n + 7)).unwrap();
            }
        }
        writer.finish().unwrap();

        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.threads(), [ThreadId(1), ThreadId(2)]);
        assert_eq!(reader.steps(ThreadId(1)), 10_000);
        assert_eq!(reader.steps(ThreadId(2)), 3_334);
        for first in [0, 1, 4_095, 4_096, 9_999, 10_000] {
            let mut steps = reader.read_from(ThreadId(1), first).unwrap();
            for n in first..10_000 {
                assert_eq!(steps.advance().unwrap(), Some(&step(n)), "step {n}");
            }
            assert_eq!(steps.advance().unwrap(), None);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn damage_is_an_error() {
        let path = temporary("damage");
        let mut writer = Writer::create(&path).unwrap();
        (0..12).for_each(|n| writer.step(1, &step(n)).unwrap());
        writer.finish().unwrap();
        let good = std::fs::read(&path).unwrap();

        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(
            Reader::open(&path)
                .unwrap_err()
                .to_string()
                .contains("ends within a block")
        );
        std::fs::write(&path, b"something else").unwrap();
        assert!(
            Reader::open(&path)
                .unwrap_err()
                .to_string()
                .contains("not a truth file")
        );
        // Any byte changed: an error or other values, but no panic.
        for at in MAGIC.len()..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            std::fs::write(&path, &bad).unwrap();
            let Ok(mut reader) = Reader::open(&path) else {
                continue;
            };
            for thread in reader.threads() {
                let mut steps = reader.read_from(thread, 0).unwrap();
                while let Ok(Some(_)) = steps.advance() {}
            }
        }
        std::fs::remove_file(path).unwrap();
    }
}
