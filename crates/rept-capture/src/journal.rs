//! What the fast engine leaves behind: a log for each thread, and what the numbers in it mean.
//!
//! A log is a ring of words. Most are numbers of blocks: a block tells which instructions
//! ran, and where it begins tells which way the one before it ended. The others say what
//! time it was between two blocks, that a block was left early, or that a signal came.
//! At the end, what is left of each log becomes the packets that a trace unit would have
//! sent ([`convert`]).

mod convert;
mod log;

use crate::instruction::{Instruction, Kind};
use crate::stream::Stream;
use crate::sys::{Shared, time_stamp};
use convert::Converter;
use libc::user_regs_struct as Registers;
use log::Log;
use std::collections::{BTreeMap, HashMap};

pub(crate) use log::log_bytes;

/// Word of the log: the time follows, in two words.
pub(crate) const TIME: u32 = 0x8000_0001;
/// A signal came at the address in the next two words.
const INTERRUPTED: u32 = 0x8000_0002;
/// The same, and the program had come there.
const INTERRUPTED_THERE: u32 = 0x8000_0003;
/// The block before ran to its end, after which nothing may come.
const ENDED: u32 = 0x8000_0004;
/// Of the block before, only the first instructions ran; the lower byte is how many.
const RAN_ONLY: u32 = 0xc000_0000;

/// What a block does, as far as packets are concerned.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Its number, once it has one.
    pub(crate) id: u32,
    /// Address of its first instruction.
    pub(crate) start: u64,
    /// How many instructions it has.
    pub(crate) steps: u8,
    /// Direct calls that it followed: index, return address and target of each.
    pub(crate) calls: Box<[(u8, u64, u64)]>,
    /// Its last instruction.
    pub(crate) ending: Ending,
}

/// What ends a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// Nothing that packets tell of.
    Cut,
    Conditional {
        target: u64,
    },
    /// A branch whose two ways are one, which was seen to be taken or not.
    Decided {
        taken: bool,
    },
    Call {
        next: u64,
        target: u64,
    },
    CallIndirect {
        next: u64,
    },
    Indirect,
    Return,
    Syscall,
}

impl Flow {
    /// A block that never runs.
    pub(crate) fn nothing(start: u64) -> Flow {
        Flow {
            id: 0,
            start,
            steps: 0,
            calls: Box::default(),
            ending: Ending::Cut,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    buffer: usize,
    flows: Vec<Flow>,
    // Blocks of one instruction, for those that were stepped.
    stepped: HashMap<(u64, Ending), u32>,
    threads: BTreeMap<i32, Record>,
    // Areas of threads that have ended.
    free: Vec<Shared>,
}

#[derive(Debug)]
struct Record {
    log: Option<Log>,
    converter: Converter,
}

impl Journal {
    pub(crate) fn new(buffer: usize) -> Journal {
        Journal {
            buffer,
            flows: vec![Flow::nothing(0)],
            stepped: HashMap::new(),
            threads: BTreeMap::new(),
            free: Vec::new(),
        }
    }

    /// Size of a thread's area, for which the engine finds the memory.
    pub(crate) fn area_bytes(&self) -> usize {
        crate::cache::area::RING_AT + log_bytes(self.buffer)
    }

    /// From now on the log of `tid` is in this memory.
    pub(crate) fn begin(&mut self, tid: i32, area: Shared) {
        self.convert(tid);
        let buffer = self.buffer;
        let record = self.threads.entry(tid).or_insert_with(|| Record {
            log: None,
            converter: Converter::new(buffer),
        });
        record.log = Some(Log::new(area, buffer));
    }

    /// The log and area of a thread, while it has one.
    pub(crate) fn log(&mut self, tid: i32) -> Option<&mut Log> {
        self.threads.get_mut(&tid)?.log.as_mut()
    }

    /// The area of a thread, while it has one.
    pub(crate) fn area(&self, tid: i32) -> Option<&Shared> {
        self.threads.get(&tid)?.log.as_ref().map(Log::area)
    }

    /// The word that a thread wrote last.
    pub(crate) fn last(&self, tid: i32) -> Option<u32> {
        self.threads.get(&tid)?.log.as_ref().map(Log::last)
    }

    /// All areas.
    pub(crate) fn areas(&self) -> impl Iterator<Item = &Shared> {
        let logs = self.threads.values().filter_map(|r| r.log.as_ref());
        logs.map(Log::area).chain(&self.free)
    }

    /// An area that no thread uses any more.
    pub(crate) fn free_area(&mut self) -> Option<Shared> {
        self.free.pop()
    }

    /// The areas are no longer in the process: what the logs hold is kept.
    pub(crate) fn forget_areas(&mut self) {
        self.convert_all();
        self.free.clear();
    }

    /// Notes what a block does; returns its number. A flow with a number replaces the one
    /// that had it.
    pub(crate) fn block(&mut self, flow: Flow) -> u32 {
        match flow.id {
            0 => {
                let id = self.flows.len() as u32;
                self.flows.push(Flow { id, ..flow });
                id
            }
            id => {
                self.flows[id as usize] = flow;
                id
            }
        }
    }

    /// One instruction ran outside the cache.
    pub(crate) fn step(
        &mut self,
        tid: i32,
        instruction: &Instruction,
        before: &Registers,
        next_ip: u64,
    ) {
        let ending = ending(instruction, before, next_ip);
        let known = self.stepped.get(&(before.rip, ending)).copied();
        let id = known.unwrap_or_else(|| {
            let flow = Flow {
                steps: 1,
                ending,
                ..Flow::nothing(before.rip)
            };
            let id = self.block(flow);
            self.stepped.insert((before.rip, ending), id);
            id
        });
        self.write(tid, &[id]);
        self.time(tid);
    }

    /// Of the block that was entered last, only the first `steps` instructions ran.
    pub(crate) fn ran_only(&mut self, tid: i32, steps: u8) {
        self.write(tid, &[RAN_ONLY | u32::from(steps)]);
    }

    /// It is now.
    pub(crate) fn time(&mut self, tid: i32) {
        let now = time_stamp();
        self.write(tid, &[TIME, now as u32, (now >> 32) as u32]);
    }

    /// The instruction that was stepped last is a system call, and ran.
    pub(crate) fn enters_kernel(&mut self, tid: i32) {
        self.write(tid, &[ENDED]);
        self.time(tid);
    }

    /// See [`crate::recording::Recording::interrupted`].
    pub(crate) fn interrupted(&mut self, tid: i32, ip: u64, reached: bool) {
        let code = match reached {
            true => INTERRUPTED_THERE,
            false => INTERRUPTED,
        };
        self.write(tid, &[code, ip as u32, (ip >> 32) as u32]);
        self.time(tid);
    }

    fn write(&mut self, tid: i32, words: &[u32]) {
        if let Some(log) = self.log(tid) {
            log.write(words);
        }
    }

    /// Blocks entered so far, about.
    pub(crate) fn written(&self) -> u64 {
        let logs = self.threads.values();
        logs.map(|r| r.log.as_ref().map_or(0, Log::written) + r.converter.steps)
            .sum()
    }

    /// Turns what is left of a thread's log into packets, and gives up its memory.
    pub(crate) fn convert(&mut self, tid: i32) {
        let Some(record) = self.threads.get_mut(&tid) else {
            return;
        };
        if let Some(log) = record.log.take() {
            record.converter.read(&log, &self.flows);
            self.free.push(log.into_area());
        }
    }

    /// Turns all logs into packets.
    pub(crate) fn convert_all(&mut self) {
        let tids: Vec<i32> = self.threads.keys().copied().collect();
        tids.into_iter().for_each(|tid| self.convert(tid));
    }

    /// The threads' streams and steps, once all is converted.
    pub(crate) fn finish(self) -> Vec<(i32, Stream, u64)> {
        let records = self.threads.into_iter();
        records
            .map(|(tid, record)| {
                let steps = record.converter.steps;
                (tid, record.converter.finish(), steps)
            })
            .collect()
    }

    /// The threads' streams as far as all is converted.
    pub(crate) fn streams(&self) -> BTreeMap<u32, Stream> {
        let records = self.threads.iter();
        records
            .map(|(&tid, record)| (tid as u32, record.converter.clone().finish()))
            .collect()
    }

    /// Blocks that were overwritten in the logs.
    pub(crate) fn lost(&self) -> u64 {
        self.threads.values().map(|r| r.converter.lost).sum()
    }
}

fn ending(instruction: &Instruction, before: &Registers, next_ip: u64) -> Ending {
    let next = instruction.next(before.rip);
    match instruction.kind {
        Kind::Plain | Kind::Jump { .. } | Kind::PushFlags | Kind::PopFlags | Kind::Interrupt => {
            Ending::Cut
        }
        Kind::Syscall => Ending::Syscall,
        Kind::Conditional { .. } => match instruction.flow(before, next_ip) {
            crate::stream::Flow::Conditional { taken } => Ending::Decided { taken },
            _ => Ending::Cut,
        },
        Kind::Call { target } => Ending::Call { next, target },
        Kind::CallIndirect => Ending::CallIndirect { next },
        Kind::Indirect => Ending::Indirect,
        Kind::Return => Ending::Return,
    }
}
