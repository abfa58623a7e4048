use super::{
    AccessKind, HEADER_BYTES, MAGIC, MASK_ACCESSES, MASK_IP, MASK_SEQUENCE, Previous, Step,
};
use crate::error::Error;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A block is closed when it has this many steps …
const BLOCK_STEPS: u32 = 4096;
/// … or this many bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// Writes a truth file, step by step.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    threads: BTreeMap<u32, Block>,
    written: u64,
}

#[derive(Debug, Default)]
struct Block {
    first_step: u64,
    first_sequence: u64,
    steps: u32,
    payload: Vec<u8>,
    previous: Previous,
}

impl Writer {
    pub(crate) fn create(path: &Path) -> Result<Writer, Error> {
        let file = File::create(path).map_err(|source| Error::io("create", path, source))?;
        let mut writer = Writer {
            path: path.to_owned(),
            file: BufWriter::new(file),
            threads: BTreeMap::new(),
            written: 0,
        };
        writer.put(&MAGIC)?;
        Ok(writer)
    }

    /// Appends the next step of `thread`.
    pub(crate) fn step(&mut self, thread: u32, step: &Step) -> Result<(), Error> {
        let block = self.threads.entry(thread).or_default();
        if block.steps == 0 {
            block.first_sequence = step.sequence;
        }
        block.append(step);
        if block.steps == BLOCK_STEPS || block.payload.len() >= BLOCK_BYTES {
            let bytes = block.close(thread);
            self.put(&bytes)?;
        }
        Ok(())
    }

    /// Writes what is still open; returns the file's size in bytes.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        for (thread, mut block) in std::mem::take(&mut self.threads) {
            if block.steps != 0 {
                let bytes = block.close(thread);
                self.put(&bytes)?;
            }
        }
        self.file
            .flush()
            .map_err(|source| Error::io("write", &self.path, source))?;
        Ok(self.written)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.written += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|source| Error::io("write", &self.path, source))
    }
}

impl Block {
    fn append(&mut self, step: &Step) {
        let mut mask = 0;
        for (position, (new, old)) in step.words.iter().zip(&self.previous.words).enumerate() {
            mask |= u32::from(new != old) << position;
        }
        if step.ip != self.previous.next_ip {
            mask |= MASK_IP;
        }
        if !step.accesses.is_empty() {
            mask |= MASK_ACCESSES;
        }
        if self.steps != 0 && step.sequence != self.previous.sequence + 1 {
            mask |= MASK_SEQUENCE;
        }
        self.encode(step, mask);
        self.steps += 1;
        self.previous.sequence = step.sequence;
        self.previous.next_ip = step.ip.wrapping_add(u64::from(step.length));
        self.previous.words = step.words;
    }

    fn encode(&mut self, step: &Step, mask: u32) {
        let out = &mut self.payload;
        unsigned(out, u64::from(mask));
        out.push(step.length);
        if mask & MASK_SEQUENCE != 0 {
            unsigned(out, step.sequence.wrapping_sub(self.previous.sequence));
        }
        if mask & MASK_IP != 0 {
            difference(out, step.ip, self.previous.next_ip);
        }
        for (&new, &old) in step.words.iter().zip(&self.previous.words) {
            if new != old {
                difference(out, new, old);
            }
        }
        if mask & MASK_ACCESSES != 0 {
            unsigned(out, step.accesses.len() as u64);
        }
        for access in &step.accesses {
            let write = u64::from(access.kind == AccessKind::Write);
            unsigned(out, (access.bytes.len() as u64) << 1 | write);
            difference(out, access.address, self.previous.address);
            out.extend_from_slice(&access.bytes);
            self.previous.address = access.address;
        }
    }

    // Header and payload; the block then stands for the steps that follow.
    fn close(&mut self, thread: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        out.extend(thread.to_le_bytes());
        out.extend(self.steps.to_le_bytes());
        out.extend(self.first_step.to_le_bytes());
        out.extend(self.first_sequence.to_le_bytes());
        out.extend((self.payload.len() as u64).to_le_bytes());
        out.append(&mut self.payload);
        self.first_step += u64::from(self.steps);
        self.steps = 0;
        self.previous = Previous::default();
        out
    }
}

// LEB128.
fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

// The wrapping difference, sign in bit 0.
fn difference(out: &mut Vec<u8>, new: u64, old: u64) {
    let delta = new.wrapping_sub(old) as i64;
    unsigned(out, (delta << 1 ^ delta >> 63) as u64);
}
