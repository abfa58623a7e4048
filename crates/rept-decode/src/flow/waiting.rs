//! Events that wait for the packet that tells their place, a FUP or that of a far transfer.

use super::{Flow, Place};
use crate::CodeImage;
use rept_trace::{Address, EventKind, Interval};

/// Events that wait at a time, at most; a PEBS record has fewer than a hundred items.
pub(super) const MAX_WAITING: usize = 512;

/// What a FUP is to an event that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fup {
    /// The event's packet asked for it.
    AskedFor,
    /// It announces the interrupt that the event is.
    Announces,
    /// The event only came behind one that waits.
    Foreign,
}

/// An event that waits for a FUP, and the time of its packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    kind: EventKind,
    time: Interval,
    fup: Fup,
}

/// Events whose place is told by a later packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    events: Vec<Item>,
    // Those of the far transfer that comes next.
    transfer: Vec<Item>,
    // Event data, with its kind; the event it belongs to comes next.
    pub(super) data: Vec<(u8, u64)>,
    // Type of the group of block items that is open.
    pub(super) group: u8,
    pub(super) ahead: Ahead,
    // One of them also moves execution: the FUP is that of an interrupt.
    moves: bool,
}

impl Item {
    /// Whether it is the event trace's word of a far transfer whose address it asked for.
    fn is_of_transfer(&self) -> bool {
        let EventKind::Other { name, payload, .. } = self.kind else {
            return false;
        };
        name == "CFE" && self.fup == Fup::AskedFor && !interrupts(payload as u8)
    }

    /// The FUP came, with address `at`.
    fn give(&mut self, at: Address) {
        match &mut self.kind {
            EventKind::Other { ip, .. }
            | EventKind::BlockItem { ip, .. }
            | EventKind::Ptwrite { ip, .. }
                if self.fup != Fup::Foreign =>
            {
                *ip = Some(at);
            }
            _ => {}
        }
    }
}

/// Instructions that PTWRITEs and page tables led over since the packet that triggers count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    // The step behind them; where execution is elsewhere, another packet led there.
    pub(super) step: u64,
    pub(super) instructions: u64,
}

impl Waiting {
    /// Triggers count from here on.
    pub(super) fn count_from_here(&mut self) {
        self.ahead = Ahead::default();
    }

    /// Whether an event waits for a FUP.
    #[inline]
    pub(super) fn for_fup(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether a PTWRITE waits for its address.
    pub(super) fn for_ptwrite(&self) -> bool {
        self.has(|kind| matches!(kind, EventKind::Ptwrite { .. }))
    }

    /// Whether a transaction's abort waits for its address.
    pub(super) fn for_abort(&self) -> bool {
        self.has(|kind| matches!(kind, EventKind::Transaction { aborted: true, .. }))
    }

    fn has(&self, kind: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|item| kind(&item.kind))
    }

    /// Whether the next FUP announces an asynchronous branch.
    fn announces(&self) -> bool {
        self.moves || !self.asks()
    }

    /// Whether a packet asked for the next FUP.
    pub(super) fn asks(&self) -> bool {
        self.events.iter().any(|item| item.fup == Fup::AskedFor)
    }
}

/// Kinds of event data, and which other kinds come with the same event (SDM table "EVD Packet Type and
/// Payload Details"): a page fault has its address, a VM exit its reason and its qualification.
pub(super) mod data {
    const PAGE_FAULT: u8 = 0;
    const QUALIFICATION: u8 = 1;
    const REASON: u8 = 2;

    pub(in super::super) fn name(kind: u8) -> &'static str {
        match kind {
            PAGE_FAULT => "EVD.CR2",
            QUALIFICATION => "EVD.VMXQ",
            REASON => "EVD.VMXR",
            _ => "EVD",
        }
    }

    /// Whether both can be of one event.
    pub(in super::super) fn agree(one: u8, other: u8) -> bool {
        let known = |kind| kind <= REASON;
        !known(one) || !known(other) || one != other && one.min(other) != PAGE_FAULT
    }

    /// Whether a control flow event of kind `event` can have it.
    pub(in super::super) fn belongs(kind: u8, event: u8) -> bool {
        match event {
            0x1 => !matches!(kind, QUALIFICATION | REASON),
            0x8 | 0x9 => kind != PAGE_FAULT,
            0x2..=0xf => kind > REASON,
            _ => true,
        }
    }
}

/// Whether a control flow event interrupts, so that a FUP announces it while tracing is on.
pub(super) fn interrupts(event: u8) -> bool {
    matches!(event, 0x1 | 0x3 | 0x5 | 0x6 | 0x8..=0xa | 0xc | 0xe)
}

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// A packet that moves execution comes before the FUP that events wait for.
    #[inline]
    pub(super) fn no_fup_comes(&mut self) {
        if self.waiting.for_fup() {
            self.tell_without_fup();
        }
    }

    #[cold]
    fn tell_without_fup(&mut self) {
        let transfer = std::mem::take(&mut self.waiting.transfer);
        self.flush_waiting(None);
        self.waiting.transfer = transfer;
    }

    /// An event of the far transfer that comes next.
    pub(super) fn wait_for_transfer(&mut self, kind: EventKind) {
        if self.waiting.transfer.len() >= MAX_WAITING {
            self.tell_transfer();
        }
        let time = self.clock.now();
        let fup = Fup::Foreign;
        self.waiting.transfer.push(Item { kind, time, fup });
    }

    /// Execution went through a far transfer, or an indirect branch in its place.
    #[inline]
    pub(super) fn tell_transfer(&mut self) {
        if !self.waiting.transfer.is_empty() {
            self.tell_transfer_events();
        }
    }

    #[cold]
    fn tell_transfer_events(&mut self) {
        for item in std::mem::take(&mut self.waiting.transfer) {
            self.event_at(item.time, item.kind);
        }
    }

    /// An event that stands where its packet does.
    pub(super) fn stream_event(&mut self, name: &'static str, payload: u64) {
        let kind = other(name, payload);
        match self.waiting.events.is_empty() {
            true => self.event(kind),
            false => self.wait(kind, Fup::Foreign),
        }
    }

    /// An event whose address a FUP tells, which its packet asked for.
    pub(super) fn wait_for_fup(&mut self, kind: EventKind, moves: bool) {
        self.wait(kind, Fup::AskedFor);
        self.waiting.moves |= moves;
    }

    pub(super) fn wait(&mut self, kind: EventKind, fup: Fup) {
        if self.waiting.events.len() >= MAX_WAITING {
            self.flush_waiting(None);
        }
        let time = self.clock.now();
        self.waiting.events.push(Item { kind, time, fup });
    }

    /// At the address of a FUP: delivers the events that waited for it, as [`Flow::flush_waiting`] does,
    /// but those of a far transfer there behind it.
    pub(super) fn tell_waiting(&mut self, at: Address) -> bool {
        self.waiting.count_from_here();
        let moves = self.waiting.announces();
        let later = self.waiting.events.iter().position(Item::is_of_transfer);
        let here = self.place == Place::Traced;
        if let Some(later) = later
            && here
            && self.far_transfer_is_next()
        {
            let mut events = self.waiting.events.split_off(later);
            for item in &mut events {
                item.give(at);
            }
            self.flush_waiting(Some(at));
            self.waiting.transfer = events;
            return moves;
        }
        self.flush_waiting(Some(at))
    }

    /// Delivers the events that waited. Says whether a FUP at `at` announces an asynchronous branch: it
    /// does when nothing asked for it, or something that moves execution.
    pub(super) fn flush_waiting(&mut self, at: Option<Address>) -> bool {
        let moves = self.waiting.announces();
        self.waiting.moves = false;
        for mut item in std::mem::take(&mut self.waiting.events) {
            if let Some(at) = at {
                item.give(at);
            }
            self.event_at(item.time, item.kind);
        }
        self.tell_transfer();
        self.tell_data();
        moves
    }

    /// Event data whose event does not come.
    pub(super) fn tell_data(&mut self) {
        for (kind, payload) in std::mem::take(&mut self.waiting.data) {
            self.event(other(data::name(kind), payload));
        }
    }
}

pub(super) fn other(name: &'static str, payload: u64) -> EventKind {
    let ip = None;
    EventKind::Other { name, ip, payload }
}
