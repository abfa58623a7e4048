//! jitdump files: what a just-in-time compiler says of the code that it makes.
//!
//! The format is perf's (Linux source, `tools/perf/Documentation/jitdump-specification.txt`).
//! The program maps the file executable once, so that a recording names it; records follow each
//! other as code is made, so that a crash may cut the last one.

use crate::Error;
use crate::fields::Fields;
use crate::mmap::FileBytes;
use rept_trace::Address;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What a jitdump file says.
#[derive(Debug)]
pub struct JitDump {
    pub(crate) file: Arc<FileBytes>,
    /// Times are the time-stamp counter, not nanoseconds of CLOCK_MONOTONIC.
    pub times_are_tsc: bool,
    /// In file order.
    pub functions: Vec<JitFunction>,
    /// Why there are no more.
    pub problems: Vec<Error>,
}

/// Code that was put somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JitFunction {
    /// In the file's clock.
    pub time: u64,
    /// First address.
    pub at: Address,
    /// Where its bytes lie in the file; not empty.
    pub code: Range<usize>,
    /// As the JIT calls it.
    pub name: Arc<str>,
    /// By ascending address.
    pub lines: Arc<[JitLine]>,
}

/// From an address on, code of a source line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JitLine {
    /// First address of it.
    pub at: Address,
    /// Line, from 1; 0 when not told.
    pub line: u32,
    /// Source file.
    pub file: Arc<str>,
}

/// Record types.
mod kind {
    pub(super) const LOAD: u32 = 0;
    pub(super) const MOVE: u32 = 1;
    pub(super) const DEBUG_INFO: u32 = 2;
    pub(super) const CLOSE: u32 = 3;
}

/// `JiTD` as the machine writes the number.
const MAGIC: &[u8; 4] = b"DTiJ";
const MAGIC_BIG_ENDIAN: &[u8; 4] = b"JiTD";
/// Id, size and time of a record.
const RECORD_HEADER: usize = 16;

impl JitDump {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no jitdump of x86-64. A damaged end is in `problems`.
    pub fn open(path: &Path) -> Result<JitDump, Error> {
        JitDump::parse(FileBytes::open(path)?)
    }

    /// The same, of bytes that are there; `name` is for messages.
    ///
    /// # Errors
    /// As [`JitDump::open`].
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<JitDump, Error> {
        JitDump::parse(FileBytes::from_vec(name, bytes))
    }

    /// The code of one of its functions.
    pub fn code(&self, function: &JitFunction) -> &[u8] {
        self.file.get(function.code.clone()).unwrap_or_default()
    }

    fn parse(file: FileBytes) -> Result<JitDump, Error> {
        let header = Header::parse(&file)?;
        let file = Arc::new(file);
        let mut reading = Reading {
            file: &file,
            functions: Vec::new(),
            by_index: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        let problems = reading.records(header.size).err().into_iter().collect();
        let functions = reading.functions;
        Ok(JitDump {
            times_are_tsc: header.flags & Header::ARCHITECTURE_TIMESTAMP != 0,
            file,
            functions,
            problems,
        })
    }
}

struct Header {
    size: usize,
    flags: u64,
}

impl Header {
    const ARCHITECTURE_TIMESTAMP: u64 = 1;

    fn parse(file: &FileBytes) -> Result<Header, Error> {
        const VERSION: u32 = 1;
        const X86_64: u32 = 62;
        let path = file.path();
        if file.is_empty() {
            return Err(Error::empty(path));
        }
        if file.starts_with(MAGIC_BIG_ENDIAN) {
            let what = "the jitdump was written by a big-endian machine, which has no Intel PT";
            return Err(Error::malformed(path, 0, what));
        }
        if !file.starts_with(MAGIC) {
            return Err(Error::foreign(path, "a jitdump file", file));
        }
        let mut fields = Fields::at(file, MAGIC.len());
        let short = || Error::truncated(path, 0, "the header", (40 - file.len().min(40)) as u64);
        let mut half = || fields.u32().ok_or_else(short);
        let (version, size, machine) = (half()?, half()?, half()?);
        let flags = Fields::at(file, 32).u64().ok_or_else(short)?;
        if version != VERSION {
            let what = format!("jitdump version {version} is not known");
            return Err(Error::malformed(path, 4, what));
        }
        if machine != X86_64 {
            let what = format!("the code is for ELF machine {machine}, not for x86-64");
            return Err(Error::malformed(path, 12, what));
        }
        let size = size as usize;
        Ok(Header { size, flags })
    }
}

struct Reading<'f> {
    file: &'f FileBytes,
    functions: Vec<JitFunction>,
    /// Where the function of each code index stands in `functions`.
    by_index: BTreeMap<u64, usize>,
    /// Lines told ahead of the function at an address.
    lines: BTreeMap<u64, Arc<[JitLine]>>,
}

impl<'f> Reading<'f> {
    fn records(&mut self, first: usize) -> Result<(), Error> {
        let mut at = first;
        while at < self.file.len() {
            let (kind, record, time) = self.record(at)?;
            let parsed = match kind {
                kind::LOAD => self.load(at, record, time),
                kind::MOVE => self.moved(record, time),
                kind::DEBUG_INFO => self.debug_info(record),
                kind::CLOSE => return Ok(()),
                // Unwinding tables stand behind the code and are not code; others are not known.
                _ => Some(()),
            };
            if parsed.is_none() {
                let what = format!("jitdump record of type {kind} is shorter than its fields");
                return Err(Error::malformed(self.file.path(), at as u64, what));
            }
            at += RECORD_HEADER + record.len();
        }
        Ok(())
    }

    /// Type, body and time of the record at an offset.
    fn record(&self, at: usize) -> Result<(u32, &'f [u8], u64), Error> {
        let file = self.file;
        let path = self.file.path();
        let mut fields = Fields::at(self.file, at);
        let header = (|| Some((fields.u32()?, fields.u32()? as usize, fields.u64()?)))();
        let short =
            |missing: usize| Error::truncated(path, at as u64, "a jitdump record", missing as u64);
        let left = self.file.len().saturating_sub(at);
        let (kind, size, time) = header.ok_or_else(|| short(RECORD_HEADER - left))?;
        if size < RECORD_HEADER {
            let what = format!("a jitdump record of {size} bytes cannot be");
            return Err(Error::malformed(path, at as u64, what));
        }
        let body = file.get(at + RECORD_HEADER..at + size);
        Ok((kind, body.ok_or_else(|| short(size - left))?, time))
    }

    fn load(&mut self, at: usize, record: &[u8], time: u64) -> Option<()> {
        let mut fields = Fields::new(record);
        let _process_and_thread = fields.u64()?;
        let _virtual_address = fields.u64()?;
        let (address, size, index) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let name = fields.text();
        let size = usize::try_from(size).ok()?;
        let name_end = RECORD_HEADER + record.len() - fields.remaining().len();
        fields.take(size)?;
        let lines = self.lines.remove(&address).unwrap_or_default();
        let start = at + name_end;
        self.put(
            index,
            JitFunction {
                time,
                at: Address(address),
                code: start..start + size,
                name: name.into(),
                lines,
            },
        );
        Some(())
    }

    fn moved(&mut self, record: &[u8], time: u64) -> Option<()> {
        let mut fields = Fields::new(record);
        let _process_and_thread = fields.u64()?;
        let _virtual_address = fields.u64()?;
        let (_from, to) = (fields.u64()?, fields.u64()?);
        let (_size, index) = (fields.u64()?, fields.u64()?);
        // A function that was never loaded can be moved in a file that was begun late.
        let Some(&known) = self.by_index.get(&index) else {
            return Some(());
        };
        let old = self.functions[known].clone();
        let moved = |line: &JitLine| JitLine {
            at: Address(line.at.0.wrapping_sub(old.at.0).wrapping_add(to)),
            ..line.clone()
        };
        self.put(
            index,
            JitFunction {
                time,
                at: Address(to),
                lines: old.lines.iter().map(moved).collect(),
                ..old
            },
        );
        Some(())
    }

    fn put(&mut self, index: u64, function: JitFunction) {
        if !function.code.is_empty() {
            self.by_index.insert(index, self.functions.len());
            self.functions.push(function);
        }
    }

    fn debug_info(&mut self, record: &[u8]) -> Option<()> {
        /// Stands for the file of the entry before.
        const SAME_FILE: &[u8] = b"\xff\0";
        let mut fields = Fields::new(record);
        let (address, count) = (fields.u64()?, fields.u64()?);
        let mut lines: Vec<JitLine> = Vec::new();
        for _ in 0..count {
            let (at, line) = (Address(fields.u64()?), fields.u32()?);
            let _discriminator = fields.u32()?;
            let same = fields.remaining().starts_with(SAME_FILE);
            let named = fields.text();
            let file = match lines.last() {
                Some(before) if same => before.file.clone(),
                _ => named.into(),
            };
            lines.push(JitLine { at, line, file });
        }
        lines.sort_by_key(|line| line.at);
        self.lines.insert(address, lines.into());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, time: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((16 + body.len() as u32).to_le_bytes());
        bytes.extend(time.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn load(time: u64, at: u64, index: u64, name: &str, code: &[u8]) -> Vec<u8> {
        let mut body = words(&[7 | 7 << 32, at, at, code.len() as u64, index]);
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(code);
        record(kind::LOAD, time, &body)
    }

    fn line(at: u64, line: u32, file: &[u8]) -> Vec<u8> {
        let mut bytes = words(&[at]);
        bytes.extend(line.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(file);
        bytes
    }

    fn file(machine: u32, records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(
            [1u32, 40, machine, 0, 7]
                .iter()
                .flat_map(|w| w.to_le_bytes()),
        );
        bytes.extend(words(&[0, 1]));
        bytes.extend(records.concat());
        bytes
    }

    fn whole() -> Vec<u8> {
        let lines = [
            words(&[0x1000, 2]),
            line(0x1000, 3, b"a.lua\0"),
            line(0x1001, 4, b"\xff\0"),
        ];
        file(
            62,
            &[
                record(kind::DEBUG_INFO, 1, &lines.concat()),
                load(10, 0x1000, 0, "first", &[0x90, 0xc3]),
                record(4, 11, &words(&[0, 0, 0])),
                load(20, 0x1000, 1, "second", &[0xcc]),
                record(kind::MOVE, 30, &words(&[7, 0, 0x1000, 0x2000, 2, 0])),
                record(kind::CLOSE, 40, &[]),
                load(50, 0x3000, 2, "late", &[0xcc]),
            ],
        )
    }

    fn parse(bytes: Vec<u8>) -> Result<JitDump, Error> {
        JitDump::from_bytes(Path::new("jit-7.dump"), bytes)
    }

    #[test]
    fn loads_moves_and_lines_are_found() {
        let dump = parse(whole()).unwrap();
        assert!(dump.times_are_tsc && dump.problems.is_empty());
        let found: Vec<_> = dump
            .functions
            .iter()
            .map(|f| (f.time, f.at.0, &*f.name, dump.code(f)))
            .collect();
        let first: &[u8] = &[0x90, 0xc3];
        assert_eq!(
            found,
            [
                (10, 0x1000, "first", first),
                (20, 0x1000, "second", &[0xcc]),
                (30, 0x2000, "first", first),
            ]
        );
        let lines = |index: usize| -> Vec<(u64, u32, &str)> {
            let lines = dump.functions[index].lines.iter();
            lines.map(|l| (l.at.0, l.line, &*l.file)).collect()
        };
        assert_eq!(lines(0), [(0x1000, 3, "a.lua"), (0x1001, 4, "a.lua")]);
        assert_eq!(lines(1), []);
        assert_eq!(lines(2), [(0x2000, 3, "a.lua"), (0x2001, 4, "a.lua")]);
    }

    #[test]
    fn every_truncation_gives_what_is_there() {
        let whole = whole();
        let ends = [40, whole.len()];
        let mut most = 0;
        for len in 0..whole.len() {
            match parse(whole[..len].to_vec()) {
                Ok(dump) => {
                    assert!(dump.functions.len() >= most, "cut at {len}");
                    most = dump.functions.len();
                    let said = dump.problems.iter().all(|p| p.offset() < Some(len as u64));
                    assert!(said && len >= ends[0]);
                }
                Err(error) => assert!(len < ends[0], "{error}"),
            }
        }
        assert_eq!(most, 3);
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let whole = whole();
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Ok(dump) = parse(bytes) {
                    assert!(dump.functions.iter().all(|f| f.code.end <= whole.len()));
                }
            }
        }
    }

    #[test]
    fn foreign_files_are_named() {
        let say = |bytes: Vec<u8>| parse(bytes).unwrap_err().to_string();
        assert_eq!(say(Vec::new()), "jit-7.dump: the file is empty");
        assert!(say(b"\x7fELF".to_vec()).contains("expected a jitdump file, found an ELF file"));
        assert!(say(b"JiTD....".to_vec()).contains("big-endian"));
        assert!(say(file(183, &[])).contains("ELF machine 183, not for x86-64"));
    }
}
