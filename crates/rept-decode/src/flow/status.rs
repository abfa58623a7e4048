//! Packets that tell something without moving execution: PSB+, time, modes.

use super::{Flow, Next, Outcomes, Place};
use crate::CodeImage;
use crate::packet::Packet;
use rept_trace::{Address, EventKind, Interval, ThreadTrace, TimeMark, Timestamp};

/// What the packets between PSB and PSBEND said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Boundary {
    pub(super) fup: Option<Address>,
    mode: Option<Mode>,
}

/// What a MODE.Exec packet tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) bitness: u8,
    pub(super) interrupts: bool,
}

/// Marks and events whose upper bound in time is still open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    // The event of an overflow that waits for its address.
    pub(super) overflow: Option<usize>,
    // First mark and first event that are open.
    open_mark: usize,
    open_event: usize,
    // A timing packet came since the last packet that moved execution.
    fresh: bool,
    // Not later than what the last packet that moved execution told about.
    floor: u64,
    /// Time at which the last packet that moved execution was sent, at the earliest.
    sent: u64,
    // The first exact time since the path began.
    first_exact: Option<u64>,
}

impl Timing {
    /// What later bounds depend on.
    pub(super) fn bounds(&self) -> (u64, u64, bool) {
        (self.floor, self.sent, self.fresh)
    }

    /// Whether a TNT makes a mark.
    #[inline]
    pub(super) fn is_told_by_outcomes(&self) -> bool {
        self.fresh || self.sent > self.floor
    }

    /// At the begin of a path.
    pub(super) fn within((floor, sent, fresh): (u64, u64, bool)) -> Timing {
        Timing {
            floor,
            sent,
            fresh,
            ..Timing::default()
        }
    }

    /// The path so far is in other hands.
    pub(super) fn nothing_is_open(&mut self) {
        self.open_mark = 0;
        self.open_event = 0;
    }

    /// The first exact time, and how many marks and events at the end of `path` are open.
    pub(super) fn open(&self, path: &ThreadTrace) -> (Option<u64>, usize, usize) {
        (
            self.first_exact,
            path.times.len() - self.open_mark,
            path.events.len() - self.open_event,
        )
    }
}

/// Whether a packet may stand between PSB and PSBEND.
pub(super) fn may_be_in_boundary(packet: &Packet) -> bool {
    !matches!(
        packet,
        Packet::Tnt { .. } | Packet::Tip(_) | Packet::TipPge(_) | Packet::TipPgd(_)
    )
}

/// Width of the execution mode that CS.L and CS.D make.
pub(crate) fn exec_bitness(long: bool, default_32: bool) -> u8 {
    match (long, default_32) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

/// Keeps the first and the last mark before a step: the first bounds what ran before it,
/// the last what runs after it.
pub(crate) fn keep_mark(times: &mut Vec<TimeMark>, mark: TimeMark) {
    match times.as_mut_slice() {
        [.., first, last] if first.step == mark.step && last.step == mark.step => *last = mark,
        _ => times.push(mark),
    }
}

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    pub(super) fn begin_boundary(&mut self) -> Next {
        self.last_ip.reset();
        self.at_watched = self.watched == Some(self.offset);
        self.flush_waiting(None);
        if self.pending.len > 0 || self.interrupted.is_some() {
            let _ = self.unexpected("PSB", "TIP");
        }
        self.boundary = Some(Boundary::default());
        Next::Packet
    }

    pub(super) fn end_boundary(&mut self) -> Next {
        let Some(Boundary { fup, mode }) = self.boundary.take() else {
            return self.unexpected("PSBEND", "PSB");
        };
        match (fup, self.place) {
            (Some(ip), Place::Traced) => self.check_boundary(ip, mode),
            (Some(ip), Place::Off | Place::Lost) => self.enter_at_boundary(ip, mode),
            // Tracing is off; where it was thought on, its end was lost.
            (None, Place::Traced) => {
                let _ = self.unexpected("PSB+ without FUP", "TIP.PGD");
                self.place = Place::Off;
                self.restate(mode);
            }
            (None, _) => {
                self.place = Place::Off;
                self.restate(mode);
                // An overflow that ends here ends with tracing off: it has no address.
                self.timing.overflow = None;
            }
        }
        self.returns.clear();
        self.returns_reliable = true;
        self.pending = Outcomes::default();
        self.until_enabled = false;
        self.at_boundary = true;
        self.waiting.count_from_here();
        self.renew_effort();
        self.mark_flow();
        match std::mem::take(&mut self.at_watched) {
            true => Next::Stop,
            false => Next::Packet,
        }
    }

    /// The processor says where it is: that is where the path must lead.
    fn check_boundary(&mut self, ip: Address, mode: Option<Mode>) {
        let before = self.out.runs();
        let walked = self.walk_to(ip);
        let other_mode = || mode.is_some_and(|mode| mode.bitness != self.bitness);
        if let Err(stop) = walked {
            let _ = self.damage("FUP", stop);
        } else if self.bitness_known && other_mode() {
            let _ = self.unexpected("MODE.Exec in PSB+", "the mode so far");
        } else {
            self.mark_rounds(before);
        }
        if self.place != Place::Traced {
            self.enter_at_boundary(ip, mode);
        } else {
            self.restate(mode);
        }
    }

    fn enter_at_boundary(&mut self, ip: Address, mode: Option<Mode>) {
        self.restate(mode);
        self.next_mode = None;
        self.resume(ip);
    }

    /// The mode as a PSB+ has it: the state, and no event.
    fn restate(&mut self, mode: Option<Mode>) {
        if let Some(mode) = mode {
            self.enter_mode(mode);
        }
    }

    /// A packet that moves nothing.
    pub(super) fn status(&mut self, packet: &Packet) -> Next {
        match *packet {
            Packet::Tsc { tsc } => {
                let time = self.clock.tsc(tsc);
                self.exact_time(time);
            }
            Packet::Mtc { ctc } => {
                let time = self.clock.mtc(ctc);
                self.exact_time(time);
            }
            Packet::Tma { ctc, fast_counter } => self.clock.tma(ctc, fast_counter),
            Packet::Cyc { cycles } => self.timing.fresh |= self.clock.cyc(cycles),
            Packet::Cbr { ratio } => {
                self.clock.cbr(ratio);
                self.other_event("CBR", u64::from(ratio));
            }
            Packet::ModeExec {
                long,
                default_32,
                interrupts,
            } => self.exec_mode(Mode {
                bitness: exec_bitness(long, default_32),
                interrupts,
            }),
            Packet::ModeTsx {
                in_transaction,
                aborted,
            } => self.transaction(in_transaction, aborted),
            _ => return self.rare(packet),
        }
        Next::Packet
    }

    fn exec_mode(&mut self, mode: Mode) {
        match &mut self.boundary {
            Some(boundary) => boundary.mode = Some(mode),
            None => self.next_mode = Some(mode),
        }
    }

    /// In a PSB+ the state is restated. Otherwise, with tracing on, a FUP tells the place;
    /// that of an abort is followed by the branch to the abort handler.
    fn transaction(&mut self, in_transaction: bool, aborted: bool) {
        if self.boundary.is_some() {
            return;
        }
        let event = EventKind::Transaction {
            in_transaction,
            aborted,
        };
        match self.place {
            Place::Traced => self.wait_for_fup(event, aborted),
            Place::Off | Place::Lost => self.event(event),
        }
    }

    /// An exact time: all steps so far ran before it.
    fn exact_time(&mut self, time: Option<u64>) {
        let Some(time) = time else { return };
        self.timing.first_exact.get_or_insert(time);
        self.close_marks(time);
        self.push_mark(Interval {
            earliest: Timestamp(self.timing.floor),
            latest: Timestamp(time),
        });
        self.timing.open_mark = self.out.trace().times.len();
        self.timing.fresh = true;
    }

    /// Bounds from above what was left open.
    fn close_marks(&mut self, time: u64) {
        for mark in &mut self.out.trace().times[self.timing.open_mark..] {
            mark.time.latest = mark.time.latest.min(Timestamp(time));
        }
        for event in &mut self.out.trace().events[self.timing.open_event..] {
            event.time.latest = event.time.latest.min(Timestamp(time));
        }
        self.timing.open_event = self.out.trace().events.len();
    }

    /// After a packet that is made when the step it leads to is next (TIP, FUP, PSB+): what
    /// follows ran after the last timing packet before it.
    #[inline]
    pub(super) fn mark_flow(&mut self) {
        if self.timing.fresh {
            self.timing.fresh = false;
            let now = self.clock.now();
            self.timing.floor = now.earliest.0;
            self.timing.sent = now.earliest.0;
            self.push_mark(now);
            self.follow_image(self.timing.floor);
        }
    }

    /// After a TNT packet, which may be sent long after its last branch, when another packet
    /// pushes it out (SDM, "TNT packets"): what follows that branch may have run before any
    /// timing packet in between. But all its branches ran after the flow packet before it was sent.
    #[inline]
    pub(super) fn mark_late_flow(&mut self) {
        if self.timing.is_told_by_outcomes() {
            self.timing.fresh = false;
            let now = self.clock.now();
            self.timing.floor = self.timing.sent;
            self.timing.sent = now.earliest.0;
            self.push_mark(Interval {
                earliest: Timestamp(self.timing.floor),
                ..now
            });
            self.follow_image(self.timing.floor);
        }
    }

    fn push_mark(&mut self, time: Interval) {
        let step = self.out.steps();
        let mark = TimeMark { step, time };
        keep_mark(&mut self.out.trace().times, mark);
        self.timing.open_mark = self.timing.open_mark.min(self.out.trace().times.len() - 1);
    }

    /// Enters the image's epoch that `time` is in: what follows ran no earlier, and is asked for in the code
    /// of that time. Whether that is another epoch than before.
    pub(super) fn follow_image(&mut self, time: u64) -> bool {
        let changes = self.image.changes();
        if changes.is_empty() {
            return false;
        }
        let epoch = changes.partition_point(|&change| change.0 <= time) as u32;
        let is_other = self.code.enter_epoch(epoch);
        if is_other {
            self.returns.unlink();
            self.forget_block();
        }
        is_other
    }
}
