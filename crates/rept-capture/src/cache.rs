//! A copy of the program's code that notes where control goes, as the fast engine runs it.
//!
//! Blocks stand in arenas near the code that they copy, so that distances to data fit. Each
//! begins by writing its number to the thread's log: that is all that is ever recorded, as
//! a block and the next one tell everything between (see [`crate::journal`]). Branches
//! lead from block to block; where none is yet, the thread stops, and it is made, together
//! with those that it may come to next.
//!
//! For each instruction of the cache there is a note of what the program's state is before
//! it, so that a thread that is stopped anywhere can be shown, or set free, as if it had
//! run its own code.

pub(crate) mod area;
mod arena;
mod emit;
mod source;
mod translate;

use crate::error::Error;
use crate::journal::Flow;
use crate::maps::Mapping;
use crate::sys::{Remote, Shared};
use arena::{ARENA_BYTES, Arena, TABLE_BYTES, Table};
use libc::user_regs_struct as Registers;
use source::Source;
use std::collections::{HashMap, HashSet, VecDeque};
use translate::{Checked, Draft};

pub(crate) use emit::{Stage, saved};
pub(crate) use translate::{FLAGS, FULL_WINDOW, LoggedStep, REGISTERS_AT, Span, Style};

/// Blocks that are made at once, when one is missing.
const AHEAD: usize = 192;
/// INT3, which is as long as the shortest instruction: threads beside find it or what stood there.
const STOP: u8 = 0xcc;
/// How often the code at an address may change before it is stepped.
const MOST_VERSIONS: u32 = 256;
/// Least distance of an arena from what the program mapped, where the program may grow.
const MARGIN: u64 = 64 << 20;
/// How far data and other arenas may be away: what 32 bits hold, less what a block is long.
const REACH: u64 = 0x7800_0000;

/// A block in its place.
#[derive(Debug)]
struct Block {
    arena: usize,
    offset: u32,
    ips: Box<[u64]>,
    exits: Box<[u64]>,
    points: Box<[emit::Point]>,
    undo: i64,
    logged: Box<[LoggedStep]>,
    log_bytes: u32,
    checked: Option<Checked>,
}

/// Where a thread stands in the cache, in the program's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Address of the program's instruction that comes next.
    pub(crate) ip: u64,
    /// Registers that wait in the thread's area.
    pub(crate) saved: u8,
    /// The log says that a block runs, of which only so many instructions did.
    pub(crate) ran_only: Option<u8>,
    /// It is behind a system call.
    pub(crate) called: bool,
    /// It is behind an indirect branch.
    pub(crate) branched: bool,
}

/// A stop in the place of the first byte of an instruction of the cache.
#[derive(Debug)]
struct Snare {
    address: u64,
    byte: u8,
}

#[derive(Debug)]
pub(crate) struct Cache {
    arenas: Vec<Arena>,
    table: Table,
    source: Source,
    // By the number in the log.
    blocks: HashMap<u32, Block>,
    by_start: HashMap<u64, u32>,
    // Branches that wait for a block at an address: arena and offset of the field.
    waiting: HashMap<u64, Vec<(usize, usize)>>,
    // Addresses of instructions that must be stepped.
    stepped: HashSet<u64>,
    // How often code that was copied was found to be other code.
    changes: HashMap<u64, u32>,
    style: Style,
    snare: Option<Snare>,
}

impl Cache {
    /// An empty cache for the process behind `remote`.
    ///
    /// # Errors
    /// Memory cannot be shared with it.
    pub(crate) fn new(remote: &Remote, mappings: &[Mapping], style: Style) -> Result<Cache, Error> {
        let at = free_area(mappings, TABLE_BYTES as u64);
        let table = Table::new(Shared::new(remote, at, TABLE_BYTES, false)?);
        let mut source = Source::default();
        source.mappings_changed(remote.tid, mappings);
        Ok(Cache {
            arenas: Vec::new(),
            table,
            source,
            blocks: HashMap::new(),
            by_start: HashMap::new(),
            waiting: HashMap::new(),
            stepped: HashSet::new(),
            changes: HashMap::new(),
            style,
            snare: None,
        })
    }

    /// Address of the table of targets in the traced process.
    pub(crate) fn table(&self) -> u64 {
        self.table.memory.remote
    }

    /// Whether locked instructions are timed: not needed while there is one thread.
    pub(crate) fn is_timed(&self) -> bool {
        self.style.timed
    }

    /// From now on they are; the cache must be cleared.
    pub(crate) fn set_timed(&mut self) {
        self.style.timed = true;
    }

    /// Takes note of the mappings as they are now. `true` when copied code may have
    /// changed: then the cache must be cleared while no thread is in it.
    pub(crate) fn mappings_changed(&mut self, tid: i32, mappings: &[Mapping]) -> bool {
        self.stepped.clear();
        self.changes.clear();
        self.source.mappings_changed(tid, mappings)
    }

    /// Forgets all blocks.
    pub(crate) fn clear(&mut self) {
        self.snare = None;
        self.arenas.iter_mut().for_each(Arena::clear);
        self.table.clear();
        self.blocks.clear();
        self.by_start.clear();
        self.waiting.clear();
        self.stepped.clear();
    }

    /// Whether an address is in the cache.
    pub(crate) fn contains(&self, address: u64) -> bool {
        self.arena_with(address).is_some()
    }

    /// All that it has in the traced process.
    pub(crate) fn memory(&self) -> impl Iterator<Item = &Shared> {
        let code = self.arenas.iter().map(|arena| &arena.code);
        code.chain([&self.table.memory])
    }

    /// The cache address of the block at `ip`, which is made when it is missing; `None` when
    /// the instruction there must be stepped. `flows` takes what new blocks do.
    ///
    /// # Errors
    /// No memory for them can be had.
    pub(crate) fn enter(
        &mut self,
        ip: u64,
        remote: &Remote,
        flows: &mut dyn FnMut(Flow) -> u32,
        indirect: bool,
    ) -> Result<Option<u64>, Error> {
        self.forget_changed(ip, remote.tid);
        if !self.by_start.contains_key(&ip) {
            self.source.look_again();
            self.make(ip, remote, flows)?;
        }
        let address = self.address_of(ip);
        if let Some(address) = address.filter(|_| indirect) {
            self.table.insert(ip, address);
        }
        Ok(address)
    }

    // The block at `ip` was made of other code than there is now: another will be made, to which it leads.
    fn forget_changed(&mut self, ip: u64, tid: i32) {
        let block = self.by_start.get(&ip).and_then(|id| self.blocks.get(id));
        let Some((block, checked)) = block.and_then(|b| Some((b, b.checked.as_ref()?))) else {
            return;
        };
        let mut bytes = vec![0; checked.bytes.len()];
        let got = crate::sys::read(tid, ip, &mut bytes);
        if bytes[..got] == *checked.bytes {
            return;
        }
        let field = (block.arena, block.offset as usize + checked.field);
        self.waiting.entry(ip).or_default().push(field);
        self.by_start.remove(&ip);
        let changes = self.changes.entry(ip).or_default();
        *changes += 1;
        if *changes > MOST_VERSIONS {
            self.stepped.insert(ip);
        }
    }

    fn address_of(&self, ip: u64) -> Option<u64> {
        let block = &self.blocks[self.by_start.get(&ip)?];
        Some(self.arenas[block.arena].code.remote + u64::from(block.offset))
    }

    // Makes the block at `ip` and those that it can lead to, near ones first.
    fn make(
        &mut self,
        ip: u64,
        remote: &Remote,
        flows: &mut dyn FnMut(Flow) -> u32,
    ) -> Result<(), Error> {
        let mut wanted = VecDeque::from([(ip, false)]);
        let mut made = 0;
        while let Some((ip, is_return)) = wanted.pop_front() {
            if !self.by_start.contains_key(&ip) && made < AHEAD {
                let Some((arena, draft)) = self.draft(ip, remote, flows)? else {
                    continue;
                };
                made += 1;
                wanted.extend(draft.exits.iter().map(|exit| (exit.target, false)));
                wanted.extend(draft.returns.iter().map(|&ip| (ip, true)));
                self.place(ip, arena, draft, flows);
            }
            if let Some(address) = self.address_of(ip).filter(|_| is_return) {
                self.table.insert(ip, address);
            }
        }
        Ok(())
    }

    fn draft(
        &mut self,
        ip: u64,
        remote: &Remote,
        flows: &mut dyn FnMut(Flow) -> u32,
    ) -> Result<Option<(usize, Draft)>, Error> {
        if self.stepped.contains(&ip) || self.source.fetch(ip, &mut [0]) == 0 {
            return Ok(None);
        }
        let Some(arena) = self.arena_near(ip, remote)? else {
            return Ok(None);
        };
        let code = &self.arenas[arena];
        let base = code.code.remote + code.used as u64;
        let style = self.style;
        // The number is known when the block is: a number that is not used does no harm.
        let id = flows(Flow::nothing(ip));
        let lookup = code.code.remote;
        let draft = translate::translate(ip, base, lookup, id, style, &mut self.source);
        Ok(match draft {
            Some(mut draft) => {
                draft.flow.id = id;
                Some((arena, draft))
            }
            // There may be other code later where it can change.
            None if self.source.may_change(ip) => None,
            None => {
                self.stepped.insert(ip);
                None
            }
        })
    }

    fn place(&mut self, ip: u64, arena: usize, draft: Draft, flows: &mut dyn FnMut(Flow) -> u32) {
        let offset = self.arenas[arena].used;
        let id = flows(draft.flow);
        let code = &mut self.arenas[arena];
        code.code.write(offset, &draft.bytes);
        code.used = (offset + draft.bytes.len()).next_multiple_of(16);
        code.blocks.push((offset as u32, id));
        self.by_start.insert(ip, id);
        let exits = draft.exits.iter().map(|exit| exit.target).collect();
        for exit in &draft.exits {
            let field = (arena, offset + exit.field);
            match self.address_of_placed(exit.target, ip, arena, offset) {
                Some(address) => self.link(field, address),
                None => self.waiting.entry(exit.target).or_default().push(field),
            }
        }
        self.blocks.insert(
            id,
            Block {
                arena,
                offset: offset as u32,
                ips: draft.ips.into(),
                exits,
                points: draft.points.into(),
                undo: draft.undo,
                logged: draft.logged.into(),
                log_bytes: draft.log_bytes,
                checked: draft.checked,
            },
        );
        let address = self.arenas[arena].code.remote + offset as u64;
        for field in self.waiting.remove(&ip).unwrap_or_default() {
            self.link(field, address);
        }
    }

    // Like `address_of`, while the block at `own` is being placed.
    fn address_of_placed(&self, ip: u64, own: u64, arena: usize, offset: usize) -> Option<u64> {
        match ip == own {
            true => Some(self.arenas[arena].code.remote + offset as u64),
            false => self.address_of(ip),
        }
    }

    // Leads a branch to a block: its own arena's, or, by way of a jump through a constant,
    // another's.
    fn link(&mut self, (arena, field): (usize, usize), address: u64) {
        let code = &mut self.arenas[arena];
        let from = code.code.remote + field as u64 + 4;
        let distance = |to: u64| i32::try_from(to.wrapping_sub(from) as i64).ok();
        let distance = distance(address).or_else(|| {
            let mut jump = vec![0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc]; // jmp [rip+2]
            jump.extend(address.to_le_bytes());
            let at = code.used;
            code.code.write(at, &jump);
            code.used += jump.len();
            distance(code.code.remote + at as u64)
        });
        let distance = distance.expect("an arena is shorter than the reach");
        code.code.patch(field, distance as u32);
    }

    // The arena for code at `ip`, made when there is none near or the near one is full.
    fn arena_near(&mut self, ip: u64, remote: &Remote) -> Result<Option<usize>, Error> {
        const ROOM: usize = 64 << 10;
        let reaches = |start: u64| {
            start.abs_diff(ip) < REACH && (start + ARENA_BYTES as u64).abs_diff(ip) < REACH
        };
        let found = self
            .arenas
            .iter()
            .position(|a| reaches(a.code.remote) && a.used + ROOM < ARENA_BYTES);
        if found.is_some() {
            return Ok(found);
        }
        let mappings = crate::maps::read(remote.tid);
        let Some(at) = free_near(&mappings, ip, ARENA_BYTES as u64) else {
            return Ok(None);
        };
        let code = Shared::new(remote, at, ARENA_BYTES, true)?;
        self.arenas.push(Arena::new(code));
        Ok(Some(self.arenas.len() - 1))
    }

    fn arena_with(&self, address: u64) -> Option<(&Arena, u32)> {
        self.arenas.iter().find_map(|arena| {
            let offset = address.checked_sub(arena.code.remote)?;
            (offset < arena.code.length as u64).then_some((arena, offset as u32))
        })
    }

    /// Where a thread with these registers stands; `target` is the cache address in its
    /// area. `None` when it is at no instruction of the cache.
    pub(crate) fn standing(&self, registers: &Registers, target: u64) -> Option<Standing> {
        let (arena, offset) = self.arena_with(registers.rip)?;
        let Some((at, id)) = arena.block_at(offset) else {
            let point = find(&arena.points, offset)?;
            return self.in_lookup(point, registers, target);
        };
        let block = self.blocks.get(&id)?;
        let Some(point) = find(&block.points, offset - at) else {
            // The jump through a constant that leads to another arena.
            return self.between_arenas(arena, offset);
        };
        let (ip, ran_only) = match point.stage {
            Stage::Entry => (block.ips[0], None),
            Stage::Inside(index) => {
                let ip = block.ips.get(usize::from(index)).copied();
                (ip.unwrap_or_else(|| block.exits[0]), Some(index))
            }
            Stage::Exit(exit) => (block.exits[usize::from(exit)], None),
            Stage::Called => (block.exits[0], None),
            Stage::InRax | Stage::InArea => return self.in_lookup(point, registers, target),
        };
        Some(Standing {
            ip,
            saved: point.saved,
            ran_only,
            called: point.stage == Stage::Called,
            branched: false,
        })
    }

    fn in_lookup(
        &self,
        point: &emit::Point,
        registers: &Registers,
        target: u64,
    ) -> Option<Standing> {
        let ip = match point.stage {
            Stage::InRax => registers.rax,
            _ => {
                let (arena, offset) = self.arena_with(target)?;
                let (_, id) = arena.block_at(offset)?;
                self.blocks.get(&id)?.ips[0]
            }
        };
        Some(Standing {
            ip,
            saved: point.saved,
            ran_only: None,
            called: false,
            branched: true,
        })
    }

    fn between_arenas(&self, arena: &Arena, offset: u32) -> Option<Standing> {
        let at = usize::try_from(offset).ok()? + 8;
        let target = arena.code.quad(at.next_multiple_of(8));
        let (arena, offset) = self.arena_with(target)?;
        let (_, id) = arena.block_at(offset)?;
        Some(Standing {
            ip: self.blocks.get(&id)?.ips[0],
            saved: saved::NONE,
            ran_only: None,
            called: false,
            branched: false,
        })
    }

    /// The addresses of a block's instructions.
    pub(crate) fn instructions(&self, id: u32) -> Option<&[u64]> {
        Some(&self.blocks.get(&id)?.ips)
    }

    /// Lays a snare: a stop in the place of an instruction of a block, while threads may run there.
    /// There is one at a time. Whether it could be.
    pub(crate) fn lay_snare(&mut self, id: u32, index: u8) -> bool {
        self.take_snare_away();
        self.snare = self.snare_for(id, index);
        self.snare.is_some()
    }

    fn snare_for(&self, id: u32, index: u8) -> Option<Snare> {
        let block = self.blocks.get(&id)?;
        let mut points = block.points.iter();
        let point = points.find(|point| point.stage == Stage::Inside(index))?;
        let at = block.offset as usize + usize::from(point.at);
        let code = &self.arenas[block.arena].code;
        let byte = code.replace(at, STOP);
        let address = code.remote + at as u64;
        Some(Snare { address, byte })
    }

    /// Puts back what stood where the snare is. A thread may have run onto it already.
    pub(crate) fn take_snare_away(&mut self) {
        if let Some(snare) = self.snare.take()
            && let Some((arena, offset)) = self.arena_with(snare.address)
        {
            arena.code.replace(offset as usize, snare.byte);
        }
    }

    /// Whether the snare is at this address.
    pub(crate) fn has_snare(&self, address: u64) -> bool {
        self.snare
            .as_ref()
            .is_some_and(|snare| snare.address == address)
    }

    /// Whether a stop stands at an address in the cache.
    pub(crate) fn is_stop(&self, address: u64) -> bool {
        self.arena_with(address)
            .is_some_and(|(arena, offset)| arena.code.read(offset as usize, 1) == [STOP])
    }

    /// The instructions of a block and the bytes of its log, when it is exact.
    pub(crate) fn logged(&self, id: u32) -> Option<(&[LoggedStep], usize)> {
        let block = self.blocks.get(&id)?;
        Some((&block.logged, block.log_bytes as usize))
    }

    /// The last instruction of a block, and what must be added to RSP to stand before it
    /// again after it has branched.
    pub(crate) fn before_branch(&self, id: u32) -> Option<(u64, u8, i64)> {
        let block = self.blocks.get(&id)?;
        let last = block.ips.len().checked_sub(1)?;
        Some((block.ips[last], last as u8, block.undo))
    }
}

fn find(points: &[emit::Point], at: u32) -> Option<&emit::Point> {
    let at = u16::try_from(at).ok()?;
    let index = points.binary_search_by_key(&at, |point| point.at).ok()?;
    points.get(index)
}

/// A free place for `length` bytes that no program uses: far from all that is ever mapped
/// of itself.
pub(crate) fn free_area(mappings: &[Mapping], length: u64) -> u64 {
    const BEGINS: u64 = 0x2000_0000_0000;
    const STEP: u64 = 1 << 30;
    let mut at = BEGINS;
    while mappings.iter().any(|m| m.start < at + length && at < m.end) {
        at += STEP;
    }
    at
}

// A free place from which `ip` and what is around it can be reached, away from what is
// mapped; below is better, as programs grow upwards there, and the kernel maps from above.
fn free_near(mappings: &[Mapping], ip: u64, length: u64) -> Option<u64> {
    const STEP: u64 = 16 << 20;
    const LOWEST: u64 = 256 << 20;
    const FAR: u64 = 1 << 30;
    let fits = |at: &u64| {
        let (from, to) = (at.saturating_sub(MARGIN), at + length + MARGIN);
        *at >= LOWEST && !mappings.iter().any(|m| m.start < to && from < m.end)
    };
    let base = ip / STEP * STEP;
    let steps = (REACH - length) / STEP - 2;
    let first = FAR / STEP;
    let distances = (first..steps).chain((1..first).rev());
    let below = distances.clone().filter_map(|n| base.checked_sub(n * STEP));
    let above = distances.map(|n| base + n * STEP);
    below.chain(above).find(fits)
}
