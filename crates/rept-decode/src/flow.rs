//! From packets to steps.
//!
//! Packets are pushed in, one at a time; each is used up at once as far as it leads.
//! Execution *stands* before the first instruction about which no packet has spoken yet,
//! so nothing runs ahead of the packets and nothing has to be taken back when an
//! interrupt cuts a straight line of code short:
//!
//! | packet | what it makes execution do |
//! |---|---|
//! | TNT | run through as many conditional branches and compressed returns |
//! | TIP | run through the next indirect branch |
//! | FUP | run straight on to its address; what comes next says why |
//! | TIP.PGD | run to where tracing ended; after a FUP: nothing more |
//! | PSB+ | run straight on to its FUP's address, which checks the path so far |
//!
//! Source: SDM "Intel Processor Trace", sections "Trace Packets and Data Types" and
//! "Software Implications".

mod effort;
mod group;
mod linked;
mod output;
mod rare;
mod state;
mod status;
mod uncounted;
mod waiting;
mod walk;

use crate::clock::Clock;
use crate::code::CodeBuilder;
use crate::errata::Errata;
use crate::packet::{IpPayload, LastIp, Packet};
use crate::reader::Sink;
use crate::returns::Returns;
use crate::{CodeImage, DecodeOptions, Resync};
use effort::{Begun, Effort};
use output::Output;
use rept_trace::{
    Address, Code, Event, EventKind, Gap, GapReason, Interval, ThreadTrace, Timestamp,
};
pub(crate) use state::{Path, State};
use status::{Boundary, Mode};
pub(crate) use status::{exec_bitness, keep_mark};
use waiting::Waiting;
use walk::{Outcomes, Standing, Stop, Walk};

/// Runs that room is made for at most, before it is known whether they will come.
const MAX_RUNS_EXPECTED: usize = 1 << 22;

/// What is known of where execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Tracing is on, and execution stands at a known instruction.
    Traced,
    /// Tracing is off.
    Off,
    /// Not known: before the first PSB+, after an overflow, after damage.
    Lost,
}

/// What the caller must do after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// Push the next packet.
    Packet,
    /// Packets up to the next PSB are of no use.
    Boundary,
    /// Push no packet: the PSB+ that was asked for is over.
    Stop,
}

/// The path of one thread in the making.
pub(crate) struct Flow<'c, I: ?Sized> {
    image: &'c I,
    options: DecodeOptions,
    errata: Errata,
    code: &'c mut CodeBuilder,
    out: Output,
    // Steps that were handed out already.
    handed_out: u64,
    clock: Clock,
    last_ip: LastIp,
    place: Place,
    standing: Standing,
    bitness: u8,
    // A MODE.Exec packet told the mode, or a PSB+ did.
    bitness_known: bool,
    // Interrupts were enabled when this was told last; before, they are taken for disabled.
    interrupts: bool,
    next_mode: Option<Mode>,
    pending: Outcomes,
    returns: Returns,
    // Nothing was missed since the stack was last empty on both sides.
    returns_reliable: bool,
    compression_seen: bool,
    // A FUP announced an asynchronous event here.
    interrupted: Option<Address>,
    // Tracing stopped at this instruction, of which a part may have run.
    midway: Option<Address>,
    // Lost until tracing begins anew, or a PSB or an overflow comes.
    until_enabled: bool,
    waiting: Waiting,
    boundary: Option<Boundary>,
    // No step since the last PSB+, whose FUP may be spurious (BDM70).
    at_boundary: bool,
    // Offset of the packet in hand.
    offset: u64,
    effort: Effort,
    timing: status::Timing,
    // Offset of the PSB at whose PSBEND to stop, and whether it is open.
    watched: Option<u64>,
    at_watched: bool,
    // What was done would have been done otherwise, had a compressed return been seen before.
    undecided: bool,
}

impl<I: CodeImage + ?Sized> Sink for Flow<'_, I> {
    #[inline]
    fn packet(&mut self, offset: u64, packet: &Packet) -> Next {
        self.offset = offset;
        match *packet {
            Packet::Pad => Next::Packet,
            Packet::Tnt { bits, len, .. } if self.boundary.is_none() => self.tnt(bits, len),
            _ => self.other(packet),
        }
    }

    #[inline(always)]
    fn outcomes(&mut self, offset: u64, bytes: &[u8]) -> (usize, Next) {
        self.group(offset, bytes)
    }

    fn broken(&mut self, offset: u64, reason: GapReason) {
        self.offset = offset;
        self.flush_waiting(None);
        self.gap(reason);
        self.lose();
    }
}

impl<'c, I: CodeImage + ?Sized> Flow<'c, I> {
    pub(crate) fn new(
        thread: rept_trace::ThreadId,
        image: &'c I,
        options: DecodeOptions,
        code: &'c mut CodeBuilder,
    ) -> Flow<'c, I> {
        code.enter_epoch(0);
        Flow {
            image,
            options,
            errata: options.cpu.map(Errata::of).unwrap_or_default(),
            code,
            out: Output::new(ThreadTrace::new(thread)),
            handed_out: 0,
            clock: Clock::new(options.time),
            last_ip: LastIp::default(),
            place: Place::Lost,
            standing: Standing::Address(Address(0), None),
            bitness: 64,
            bitness_known: false,
            interrupts: false,
            next_mode: None,
            pending: Outcomes::default(),
            returns: Returns::new(),
            returns_reliable: false,
            compression_seen: false,
            interrupted: None,
            midway: None,
            until_enabled: false,
            waiting: Waiting::default(),
            boundary: None,
            at_boundary: false,
            offset: 0,
            effort: Effort::default(),
            timing: status::Timing::default(),
            watched: None,
            at_watched: false,
            undecided: false,
        }
    }

    /// The blocks so far.
    pub(crate) fn code(&self) -> &Code {
        self.code.code()
    }

    /// Makes room for the path of so many bytes.
    pub(crate) fn expect_bytes(&mut self, bytes: usize) {
        // Real streams have half a run to three for a byte.
        self.out.trace().reserve(bytes.min(MAX_RUNS_EXPECTED));
    }

    /// The number of steps before what is handed out now, and the path since then.
    pub(crate) fn take(&mut self) -> (u64, ThreadTrace) {
        let out = self.out.trace();
        let empty = ThreadTrace::new(out.thread);
        let first = self.handed_out;
        // The event of an overflow is changed when its address comes.
        if self.timing.overflow.is_some() {
            return (first, empty);
        }
        let taken = std::mem::replace(out, empty);
        self.handed_out += taken.steps();
        self.timing.nothing_is_open();
        (first, taken)
    }

    /// The path, complete.
    pub(crate) fn finish(mut self) -> ThreadTrace {
        self.flush_waiting(None);
        self.leave_midway();
        self.out.into_trace()
    }

    fn other(&mut self, packet: &Packet) -> Next {
        if self.boundary.is_some() && !status::may_be_in_boundary(packet) {
            self.boundary = None;
            return self.unexpected(packet.name(), "PSBEND");
        }
        match *packet {
            Packet::Tip(ip) => self.tip(ip, None),
            Packet::TipPge(ip) => self.enable(ip),
            Packet::TipPgd(ip) => self.disable(ip),
            Packet::Fup(ip) => self.fup(ip),
            Packet::Ovf => self.overflow(),
            Packet::Psb => self.begin_boundary(),
            Packet::PsbEnd => self.end_boundary(),
            Packet::ModeExec {
                long: true,
                default_32: true,
                ..
            } => self.unexpected("MODE.Exec of a reserved mode", "16, 32 or 64 bits"),
            // It forces out the outcomes before it, and the TIPs that they wait for.
            Packet::ModeExec { .. } if self.pending.len > 0 => self.unexpected("MODE.Exec", "TIP"),
            _ => self.status(packet),
        }
    }

    #[inline]
    fn tnt(&mut self, bits: u64, len: u8) -> Next {
        if self.place != Place::Traced {
            return self.tnt_out_of_place();
        }
        // A mode is told together with the address where it begins.
        if self.next_mode.is_some() {
            return self.unexpected("TNT", "TIP behind MODE.Exec");
        }
        if self.interrupted.is_some() || !self.pending.append(bits, len) {
            return self.unexpected("TNT", "TIP");
        }
        self.no_fup_comes();
        let walked = self.use_outcomes();
        self.at_boundary = false;
        self.mark_late_flow();
        self.walked("TNT", walked)
    }

    #[cold]
    fn tnt_out_of_place(&mut self) -> Next {
        match self.place {
            Place::Off => self.unexpected("TNT", "TIP.PGE"),
            Place::Lost | Place::Traced => Next::Packet,
        }
    }

    fn tip(&mut self, payload: IpPayload, group: Option<Begun>) -> Next {
        let Some(to) = self.last_ip.update(payload) else {
            return self.unexpected("TIP without IP", "TIP with IP");
        };
        match self.place {
            Place::Lost if self.until_enabled => return Next::Packet,
            Place::Lost => {
                self.resume(to);
                self.follow_image(self.clock.now().earliest.0);
                return Next::Packet;
            }
            Place::Off => return self.unexpected("TIP", "TIP.PGE"),
            Place::Traced => self.no_fup_comes(),
        }
        let mode = self.next_mode;
        let walked = match self.interrupted.take() {
            Some(from) => {
                self.event(EventKind::AsyncBranch { from, to });
                self.tell_transfer();
                self.resume(to);
                Ok(())
            }
            None => self.take_indirect(to, group).and_then(|()| {
                self.tell_transfer();
                self.use_outcomes()
            }),
        };
        let next = self.after_flow("TIP", walked);
        self.resume_if_lost(to, mode);
        next
    }

    fn enable(&mut self, payload: IpPayload) -> Next {
        let Some(ip) = self.last_ip.update(payload) else {
            return self.unexpected("TIP.PGE without IP", "TIP.PGE with IP");
        };
        if self.place == Place::Traced && !self.at_boundary {
            // The end of the section before was lost; this packet states all that is needed.
            self.gap(GapReason::UnexpectedPacket {
                packet: "TIP.PGE",
                expected: "TIP.PGD",
            });
        }
        self.flush_waiting(None);
        self.pending = Outcomes::default();
        self.interrupted = None;
        self.until_enabled = false;
        // Tracing was off when packets were dropped: the overflow itself has no address.
        self.timing.overflow = None;
        self.event(EventKind::Enabled { ip });
        self.resume(ip);
        self.after_flow("TIP.PGE", Ok(()))
    }

    fn disable(&mut self, payload: IpPayload) -> Next {
        let to = self.last_ip.update(payload);
        self.no_fup_comes();
        let walked = match (self.place, self.interrupted.take()) {
            (Place::Traced, Some(at)) => self.disable_asynchronously(at, to),
            (Place::Traced, None) if self.pending.len > 0 => {
                Err(Stop::Needs("TIP for an indirect branch"))
            }
            (Place::Traced, None) if self.next_mode.is_some() => {
                Err(Stop::Needs("TIP behind MODE.Exec"))
            }
            (Place::Traced, None) => self.walk_to_disable(to).map(|()| {
                self.tell_transfer();
                self.event(EventKind::Disabled { ip: to });
            }),
            (Place::Off, _) => Err(Stop::Needs("TIP.PGE")),
            // After an overflow: APL11, not the end of a section that is known.
            (Place::Lost, _) if self.timing.overflow.is_some() => Ok(()),
            (Place::Lost, _) => {
                self.event(EventKind::Disabled { ip: to });
                Ok(())
            }
        };
        let failed = walked.is_err();
        let next = self.after_flow("TIP.PGD", walked);
        if next == Next::Packet {
            if failed {
                self.event(EventKind::Disabled { ip: to });
            }
            self.place = Place::Off;
        }
        next
    }

    /// The end of tracing after a FUP.
    fn disable_asynchronously(&mut self, at: Address, to: Option<Address>) -> Walk<()> {
        if self.errata.skd022 && self.at_vm_entry() {
            self.run_one()?;
            self.event(EventKind::Disabled { ip: to });
        } else {
            self.event(EventKind::AsyncDisabled { at, ip: to });
            self.tell_transfer();
            self.midway = self.may_be_midway().then_some(at);
        }
        Ok(())
    }

    fn fup(&mut self, payload: IpPayload) -> Next {
        let ip = self.last_ip.update(payload);
        if let Some(boundary) = &mut self.boundary {
            boundary.fup = ip;
            return Next::Packet;
        }
        let Some(ip) = ip else {
            self.flush_waiting(None);
            return Next::Packet;
        };
        // What a FUP is for: an interrupt, unless a packet before it asked for the address. After
        // an overflow it tells where tracing goes on.
        let asked_for = self.next_mode.is_some() || self.timing.overflow.is_some();
        let mode = self.next_mode;
        let ptwrite = self.waiting.for_ptwrite();
        let walked = match self.place {
            Place::Lost if self.until_enabled => Ok(()),
            Place::Lost => {
                self.resume(ip);
                Ok(())
            }
            Place::Off => Ok(()),
            Place::Traced if self.pending.len > 0 => Err(Stop::Needs("TIP for an indirect branch")),
            Place::Traced => self.walk_to_event(ip),
        };
        // Where the path does not lead there, it is still what the events' packets asked for.
        let told = walked.is_err().then(|| self.flush_waiting(Some(ip)));
        let next = self.after_flow("FUP", walked);
        self.resume_if_lost(ip, mode);
        if next == Next::Packet && self.place != Place::Lost {
            self.switch_mode();
            let moves = told.unwrap_or_else(|| self.tell_waiting(ip));
            if self.place == Place::Traced {
                if ptwrite {
                    self.run_ptwrite();
                }
                self.interrupted = (moves && !asked_for).then_some(ip);
            }
        }
        next
    }

    /// Walks to the address of a FUP. BDM64: where an abort's FUP cannot be reached, the branch
    /// recorded last was wrong.
    fn walk_to_event(&mut self, ip: Address) -> Walk<()> {
        let before = self.out.runs();
        let walked = self.walk_to(ip);
        if walked.is_err() && self.errata.bdm64 && self.waiting.for_abort() {
            self.stand_at(ip);
            return Ok(());
        }
        if walked.is_ok() && !self.waiting.for_ptwrite() {
            self.mark_rounds(before);
        }
        walked
    }

    fn overflow(&mut self) -> Next {
        self.boundary = None;
        self.until_enabled = false;
        self.flush_waiting(None);
        self.clock.overflow();
        self.event(EventKind::Overflow { ip: None });
        self.gap(GapReason::Overflow);
        self.lose();
        self.timing.overflow = Some(self.out.trace().events.len() - 1);
        Next::Packet
    }

    /// Execution goes on at `ip`, in the mode announced last.
    fn resume(&mut self, ip: Address) {
        if self.midway == Some(ip) {
            self.midway = None;
        }
        self.leave_midway();
        self.stand_at(ip);
        self.switch_mode();
        if let Some(index) = self.timing.overflow.take()
            && let Some(Event {
                kind: EventKind::Overflow { ip: known },
                ..
            }) = self.out.trace().events.get_mut(index)
        {
            *known = Some(ip);
        }
    }

    /// The packet that showed the damage tells where execution is.
    fn resume_if_lost(&mut self, ip: Address, mode: Option<Mode>) {
        if self.place == Place::Lost && self.options.resync == Resync::NextAddress {
            self.next_mode = mode;
            self.resume(ip);
        }
    }

    /// The mode of a MODE.Exec packet begins here.
    fn switch_mode(&mut self) {
        let Some(mode) = self.next_mode.take() else {
            return;
        };
        let Mode {
            bitness,
            interrupts,
        } = mode;
        if bitness != self.bitness || !self.bitness_known {
            self.event(EventKind::ExecMode { bitness });
        }
        if interrupts != self.interrupts {
            self.event(EventKind::Other {
                name: "IF",
                ip: None,
                payload: u64::from(interrupts),
            });
        }
        self.enter_mode(mode);
    }

    /// The mode from here on.
    fn enter_mode(
        &mut self,
        Mode {
            bitness,
            interrupts,
        }: Mode,
    ) {
        self.interrupts = interrupts;
        // A block that was looked up already was decoded in the mode before.
        if bitness != self.bitness {
            self.forget_block();
        }
        self.bitness = bitness;
        self.bitness_known = true;
    }

    /// Books a packet that moved execution: time for what follows, or damage.
    #[inline]
    fn after_flow(&mut self, packet: &'static str, walked: Walk<()>) -> Next {
        self.at_boundary = false;
        self.mark_flow();
        self.walked(packet, walked)
    }

    #[inline]
    fn walked(&mut self, packet: &'static str, walked: Walk<()>) -> Next {
        match walked {
            Ok(()) => Next::Packet,
            Err(stop) => self.damage(packet, stop),
        }
    }

    #[cold]
    fn damage(&mut self, packet: &'static str, stop: Stop) -> Next {
        match stop {
            Stop::Needs(expected) => self.unexpected(packet, expected),
            Stop::Code(reason) => {
                self.gap(reason);
                self.lost()
            }
        }
    }

    #[cold]
    fn unexpected(&mut self, packet: &'static str, expected: &'static str) -> Next {
        self.gap(GapReason::UnexpectedPacket { packet, expected });
        self.lost()
    }

    /// Gives up until packets tell where execution is.
    fn lost(&mut self) -> Next {
        self.flush_waiting(None);
        self.lose();
        match self.options.resync {
            Resync::Boundary => Next::Boundary,
            Resync::NextAddress => Next::Packet,
            Resync::NextEnable => {
                self.until_enabled = true;
                Next::Packet
            }
        }
    }

    fn lose(&mut self) {
        self.place = Place::Lost;
        self.pending = Outcomes::default();
        self.returns.clear();
        self.returns_reliable = false;
        self.interrupted = None;
        self.midway = None;
        self.boundary = None;
        self.at_boundary = false;
        self.next_mode = None;
        self.bitness_known = false;
    }

    fn gap(&mut self, reason: GapReason) {
        let gap = Gap {
            step: self.out.steps(),
            offset: self.offset,
            at: (self.place == Place::Traced).then(|| self.address()),
            reason,
        };
        self.out.trace().gaps.push(gap);
    }

    fn event(&mut self, kind: EventKind) {
        self.event_at(self.clock.now(), kind);
    }

    /// Steps so far, with those that were handed out.
    fn step_number(&mut self) -> u64 {
        self.handed_out + self.out.steps()
    }

    /// An event whose packet came at `time`.
    fn event_at(&mut self, time: Interval, kind: EventKind) {
        let event = Event {
            step: self.out.steps(),
            time,
            kind,
        };
        self.out.trace().events.push(event);
    }

    /// The time to ask the code image about: any of its epoch.
    fn time_of_code(&self) -> Option<Timestamp> {
        let Interval { earliest, .. } = self.clock.now();
        let changes = self.image.changes();
        let entered = (self.code.epoch() as usize).checked_sub(1);
        let time = match (
            entered.and_then(|epoch| changes.get(epoch)),
            changes.first(),
        ) {
            (Some(&begun), _) => begun,
            (None, Some(first)) => earliest.min(Timestamp(first.0.saturating_sub(1))),
            (None, None) => earliest,
        };
        (earliest.0 != 0).then_some(time)
    }
}
