use super::{
    Access, AccessKind, HEADER_BYTES, MAGIC, MASK_ACCESSES, MASK_IP, MASK_SEQUENCE, Previous, Step,
};
use crate::error::Error;
use rept_trace::ThreadId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// An open truth file. Holds 40 bytes for each 4096 steps, and one block at a time.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    threads: BTreeMap<ThreadId, Vec<BlockEntry>>,
}

#[derive(Clone, Copy, Debug)]
struct BlockEntry {
    first_step: u64,
    steps: u32,
    first_sequence: u64,
    offset: u64,
    length: u64,
}

impl Reader {
    /// Opens a file and finds its blocks.
    ///
    /// # Errors
    /// The file cannot be read, is no truth file, or is damaged.
    pub fn open(path: &Path) -> Result<Reader, Error> {
        let failed = |source| Error::io("read", path, source);
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(file);
        let mut magic = [0; MAGIC.len()];
        if size < magic.len() as u64 || file.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Err(Error::truth(
                path,
                0,
                "not a truth file (it does not begin with REPTTRU1)",
            ));
        }
        let mut reader = Reader {
            path: path.to_owned(),
            file,
            threads: BTreeMap::new(),
        };
        let mut at = magic.len() as u64;
        while at < size {
            at = reader.index_block(at, size)?;
        }
        Ok(reader)
    }

    fn index_block(&mut self, at: u64, size: u64) -> Result<u64, Error> {
        let damaged = |cause| Error::truth(&self.path, at, cause);
        let mut header = [0; HEADER_BYTES];
        self.file
            .read_exact(&mut header)
            .map_err(|_| damaged("the file ends within a block header"))?;
        let word =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let thread = ThreadId(word(0) as u32);
        let entry = BlockEntry {
            first_step: word(8),
            steps: (word(0) >> 32) as u32,
            first_sequence: word(16),
            offset: at + HEADER_BYTES as u64,
            length: word(24),
        };
        let end = entry
            .offset
            .checked_add(entry.length)
            .filter(|&end| end <= size);
        let end = end.ok_or_else(|| damaged("the file ends within a block"))?;
        let blocks = self.threads.entry(thread).or_default();
        let expected = blocks
            .last()
            .map_or(0, |last| last.first_step + u64::from(last.steps));
        if entry.first_step != expected || entry.steps == 0 {
            return Err(damaged("a block does not continue its thread"));
        }
        blocks.push(entry);
        let seek = self.file.seek_relative(entry.length as i64);
        seek.map_err(|source| Error::io("read", &self.path, source))?;
        Ok(end)
    }

    /// Threads with at least one step, ascending.
    pub fn threads(&self) -> Vec<ThreadId> {
        self.threads.keys().copied().collect()
    }

    /// Number of recorded steps of a thread. Its last one is the last that it executed.
    pub fn steps(&self, thread: ThreadId) -> u64 {
        let last = self.threads.get(&thread).and_then(|blocks| blocks.last());
        last.map_or(0, |last| last.first_step + u64::from(last.steps))
    }

    /// The steps of a thread from number `first` (0 = first recorded) on, oldest first.
    /// Decodes at most one block to get there.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read_from(&mut self, thread: ThreadId, first: u64) -> Result<Steps<'_>, Error> {
        let blocks = self.threads.get(&thread).cloned().unwrap_or_default();
        let next_block =
            blocks.partition_point(|block| block.first_step + u64::from(block.steps) <= first);
        let skip = blocks
            .get(next_block)
            .map_or(0, |block| first - block.first_step);
        let mut steps = Steps {
            path: &self.path,
            file: &mut self.file,
            blocks,
            next_block,
            left: 0,
            payload: Vec::new(),
            at: 0,
            previous: Previous::default(),
            step: Step::default(),
        };
        for _ in 0..skip {
            steps.advance()?;
        }
        Ok(steps)
    }
}

/// Consecutive steps of one thread. Made by [`Reader::read_from`].
#[derive(Debug)]
pub struct Steps<'a> {
    path: &'a Path,
    file: &'a mut BufReader<File>,
    blocks: Vec<BlockEntry>,
    // Block to open next; the open one is before it.
    next_block: usize,
    // Steps left in the open block.
    left: u32,
    payload: Vec<u8>,
    at: usize,
    previous: Previous,
    step: Step,
}

impl Steps<'_> {
    /// The next step, or `None` behind the thread's last.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn advance(&mut self) -> Result<Option<&Step>, Error> {
        if self.left == 0 && !self.open_block()? {
            return Ok(None);
        }
        let first = self.left == self.blocks[self.next_block - 1].steps;
        self.left -= 1;
        match self.decode(first) {
            Some(()) => Ok(Some(&self.step)),
            None => {
                self.left = 0;
                let offset = self.blocks[self.next_block - 1].offset + self.at as u64;
                Err(Error::truth(self.path, offset, "damaged step record"))
            }
        }
    }

    fn open_block(&mut self) -> Result<bool, Error> {
        let Some(&block) = self.blocks.get(self.next_block) else {
            return Ok(false);
        };
        self.payload.resize(block.length as usize, 0);
        self.file
            .seek(SeekFrom::Start(block.offset))
            .and_then(|_| self.file.read_exact(&mut self.payload))
            .map_err(|source| Error::io("read", self.path, source))?;
        self.next_block += 1;
        self.left = block.steps;
        self.at = 0;
        self.previous = Previous {
            sequence: block.first_sequence,
            ..Previous::default()
        };
        Ok(true)
    }

    fn decode(&mut self, first: bool) -> Option<()> {
        let mask = self.unsigned()? as u32;
        self.step.length = self.take(1)?[0];
        self.step.sequence = match (mask & MASK_SEQUENCE != 0, first) {
            (true, _) => self.previous.sequence.wrapping_add(self.unsigned()?),
            (false, true) => self.previous.sequence,
            (false, false) => self.previous.sequence.wrapping_add(1),
        };
        self.step.ip = match mask & MASK_IP != 0 {
            true => self.difference(self.previous.next_ip)?,
            false => self.previous.next_ip,
        };
        for position in 0..self.step.words.len() {
            let old = self.previous.words[position];
            self.step.words[position] = match mask >> position & 1 {
                1 => self.difference(old)?,
                _ => old,
            };
        }
        self.step.accesses.clear();
        if mask & MASK_ACCESSES != 0 {
            for _ in 0..self.unsigned()? {
                let access = self.access()?;
                self.step.accesses.push(access);
            }
        }
        self.previous.sequence = self.step.sequence;
        self.previous.next_ip = self.step.ip.wrapping_add(u64::from(self.step.length));
        self.previous.words = self.step.words;
        Some(())
    }

    fn access(&mut self) -> Option<Access> {
        let head = self.unsigned()?;
        let address = self.difference(self.previous.address)?;
        self.previous.address = address;
        let kind = if head & 1 != 0 {
            AccessKind::Write
        } else {
            AccessKind::Read
        };
        let bytes = self.take(usize::try_from(head >> 1).ok()?)?.to_vec();
        Some(Access {
            address,
            kind,
            bytes,
        })
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.payload.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn difference(&mut self, old: u64) -> Option<u64> {
        let coded = self.unsigned()?;
        let delta = (coded >> 1) ^ (coded & 1).wrapping_neg();
        Some(old.wrapping_add(delta))
    }
}
