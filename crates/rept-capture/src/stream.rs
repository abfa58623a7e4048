//! One PT stream: what the trace unit of a core does with the instructions it sees retire.
//!
//! Configured as `intel_pt/cyc=1/u`: user mode only (system calls and signals switch
//! packets off and on again), return compression on, TSC on, MTC and CYC as asked for. Each event is
//! given with the virtual time at which it happens; times never decrease.
//!
//! Liberties that the manual leaves to the processor, taken here: branches wait in the
//! TNT buffer until 47 have gathered, or six are there and [`TNT_DELAY`] cycles passed;
//! MTC and PSB flush the buffer; the return stack is emptied by PSB, by switching off
//! and by a return that it does not predict, so that whatever a decoder keeps below is
//! never asked for.
//!
//! A stream of the fast engine ([`Stream::untimed`]) is one of a unit with `cyc=0,mtc=0`:
//! it says the time when it is told, by TSC packets, and never else.

use crate::clock;
use crate::encode::{IpPayload, Packet};
use crate::ring::Ring;
use crate::schedule::Timing;

/// Cycles since the last packet after which a TNT buffer of six or more branches is sent.
const TNT_DELAY: u64 = 64;
/// Entries of the stack of call return addresses that compresses returns.
const RETURN_STACK: usize = 64;
/// Branches of a long TNT packet.
const TNT_LONG: u8 = 47;
/// Branches of a short TNT packet.
const TNT_SHORT: u8 = 6;

/// How an instruction changed control flow, as far as the trace unit cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction, or where a direct jump says.
    Plain,
    /// A conditional branch.
    Conditional { taken: bool },
    /// A direct call that returns to `next`.
    Call { next: u64, target: u64 },
    /// An indirect call.
    CallIndirect { next: u64, target: u64 },
    /// An indirect jump or far transfer.
    Indirect { target: u64 },
    /// A near return.
    Return { target: u64 },
    /// A system call: what is traced goes on when it is over, if at all.
    Syscall,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    ring: Ring,
    timing: Timing,
    // The time is said only when it is told by `mark`.
    marked: bool,
    psb_period: u64,
    last_psb: u64,
    enabled: bool,
    last_ip: Option<u64>,
    tnt_bits: u64,
    tnt_count: u8,
    returns: Vec<u64>,
    last_cyc: u64,
    next_mtc: u64,
    scratch: Vec<u8>,
}

/// The PSB period for a ring of `buffer` bytes, as the power of two that `attr.config`
/// holds: 2^(11 + n) bytes, perf's default 3 or less, at most an eighth of the ring.
pub(crate) fn psb_period_exponent(buffer: usize) -> u32 {
    (0..3)
        .find(|n| (2048usize << (n + 1)) * 8 > buffer)
        .unwrap_or(3)
}

impl Stream {
    pub(crate) fn new(buffer: usize, timing: Timing) -> Stream {
        Stream {
            ring: Ring::new(buffer),
            timing,
            marked: false,
            psb_period: 2048 << psb_period_exponent(buffer),
            last_psb: 0,
            enabled: false,
            last_ip: None,
            tnt_bits: 0,
            tnt_count: 0,
            returns: Vec::with_capacity(RETURN_STACK),
            last_cyc: 0,
            next_mtc: 0,
            scratch: Vec::with_capacity(64),
        }
    }

    /// A stream that says the time only when [`Stream::mark`] is called.
    pub(crate) fn untimed(buffer: usize) -> Stream {
        Stream {
            marked: true,
            ..Stream::new(buffer, Timing::Boundaries)
        }
    }

    /// It is `now`, and the program at `ip`, between two instructions: all that was told so
    /// far happened before, all else will happen after. A PSB is sent when it is due: only
    /// here, as its group says the time.
    pub(crate) fn mark(&mut self, ip: u64, now: u64) {
        if self.psb_is_due() {
            return self.psb_group(self.enabled.then_some(ip), now);
        }
        self.flush_tnt(now);
        self.put(Packet::Tsc { tsc: now });
    }

    fn psb_is_due(&self) -> bool {
        self.ring.written() - self.last_psb >= self.psb_period
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Packets begin at `ip` after the thread was off its core: a PSB+ group, then TIP.PGE.
    pub(crate) fn switch_in(&mut self, ip: u64, now: u64) {
        self.last_cyc = now;
        self.next_mtc = clock::next_mtc(now);
        self.psb_group(None, now);
        self.put(mode_exec());
        self.packets_on(ip);
    }

    /// Packets begin again at `ip` after a short stay in the kernel.
    pub(crate) fn enable(&mut self, ip: u64, now: u64) {
        self.timers(now);
        self.cyc(now);
        self.packets_on(ip);
    }

    fn packets_on(&mut self, ip: u64) {
        let payload = self.ip_payload(ip);
        self.put(Packet::TipPge(payload));
        self.enabled = true;
    }

    /// Packets stop after a system call.
    pub(crate) fn disable(&mut self, now: u64) {
        self.timers(now);
        self.flush_tnt(now);
        self.cyc(now);
        self.put(Packet::TipPgd(IpPayload::Suppressed));
        self.switched_off();
    }

    /// Packets stop at `ip`, which does not run: fault, signal, or the end of recording.
    pub(crate) fn disable_at(&mut self, ip: u64, now: u64) {
        self.timers(now);
        self.flush_tnt(now);
        self.cyc(now);
        let payload = self.ip_payload(ip);
        self.put(Packet::Fup(payload));
        self.put(Packet::TipPgd(IpPayload::Suppressed));
        self.switched_off();
    }

    fn switched_off(&mut self) {
        self.enabled = false;
        self.returns.clear();
    }

    /// An instruction retired at `now`; the next one is at `next_ip`.
    pub(crate) fn retire(&mut self, flow: Flow, next_ip: u64, now: u64) {
        self.timers(now);
        match flow {
            Flow::Plain => {}
            // The processor is in the kernel: a PSB+ group here would say that the program
            // stands behind the call, where no packet leads.
            Flow::Syscall => return,
            Flow::Conditional { taken } => self.branch(taken, now),
            Flow::Call { next, target } => self.call(next, target),
            Flow::CallIndirect { next, target } => {
                self.tip(target, now);
                self.call(next, target);
            }
            Flow::Indirect { target } => self.tip(target, now),
            Flow::Return { target } => self.ret(target, now),
        }
        if !self.marked && self.psb_is_due() {
            self.psb_group(Some(next_ip), now);
        }
    }

    fn branch(&mut self, taken: bool, now: u64) {
        self.tnt_bits = self.tnt_bits << 1 | u64::from(taken);
        self.tnt_count += 1;
        let late = !self.marked && self.tnt_count >= TNT_SHORT && now >= self.last_cyc + TNT_DELAY;
        if self.tnt_count == TNT_LONG || late {
            self.flush_tnt(now);
        }
    }

    // A call of the next instruction only reads the program counter: hardware leaves it out.
    fn call(&mut self, next: u64, target: u64) {
        if next == target {
            return;
        }
        if self.returns.len() == RETURN_STACK {
            self.returns.remove(0);
        }
        self.returns.push(next);
    }

    fn ret(&mut self, target: u64, now: u64) {
        if self.returns.last() == Some(&target) {
            self.returns.pop();
            self.branch(true, now);
        } else {
            self.returns.clear();
            self.tip(target, now);
        }
    }

    fn tip(&mut self, target: u64, now: u64) {
        self.flush_tnt(now);
        self.cyc(now);
        let payload = self.ip_payload(target);
        self.put(Packet::Tip(payload));
    }

    fn flush_tnt(&mut self, now: u64) {
        let (bits, count) = (self.tnt_bits, self.tnt_count);
        if count == 0 {
            return;
        }
        self.cyc(now);
        self.put(match count {
            1..=TNT_SHORT => Packet::TntShort {
                bits: bits as u8,
                count,
            },
            _ => Packet::TntLong { bits, count },
        });
        (self.tnt_bits, self.tnt_count) = (0, 0);
    }

    fn cyc(&mut self, now: u64) {
        if self.timing != Timing::Cycles {
            return;
        }
        let cycles = now - self.last_cyc;
        self.last_cyc = now;
        self.put(Packet::Cyc { cycles });
    }

    // MTC packets due up to `now`. Branches that retired before the crystal clock changed
    // are sent before the packet: the buffer never holds any from before it.
    fn timers(&mut self, now: u64) {
        if self.timing == Timing::Boundaries {
            return;
        }
        while self.next_mtc <= now {
            let due = self.next_mtc.max(self.last_cyc);
            self.flush_tnt(due);
            self.cyc(due);
            let ctc = (clock::crystal(self.next_mtc) >> clock::MTC_PERIOD) as u8;
            self.put(Packet::Mtc { ctc });
            self.next_mtc = clock::next_mtc(self.next_mtc);
        }
    }

    // PSB, TSC, TMA, CBR, and, while packets are on, MODE.Exec and the next instruction.
    fn psb_group(&mut self, next_ip: Option<u64>, now: u64) {
        self.flush_tnt(now);
        self.cyc(now);
        self.last_psb = self.ring.written();
        self.returns.clear();
        self.last_ip = None;
        self.put(Packet::Psb);
        self.put(Packet::Tsc { tsc: now });
        if self.timing != Timing::Boundaries {
            self.put(Packet::Tma {
                ctc: clock::crystal(now) as u16,
                fast: clock::fast_counter(now) as u16,
            });
        }
        self.put(Packet::Cbr {
            ratio: clock::CORE_BUS_RATIO,
        });
        if let Some(ip) = next_ip {
            self.put(mode_exec());
            let payload = self.ip_payload(ip);
            self.put(Packet::Fup(payload));
        }
        self.put(Packet::PsbEnd);
    }

    // The first address after a PSB is sent in full: perf 6.1 looks ahead for it and
    // does not know the last IP there.
    fn ip_payload(&mut self, ip: u64) -> IpPayload {
        match self.last_ip.replace(ip) {
            Some(last) => IpPayload::compressed(ip, last),
            None => IpPayload::Full(ip),
        }
    }

    fn put(&mut self, packet: Packet) {
        self.scratch.clear();
        packet.encode(&mut self.scratch);
        self.ring.push(&self.scratch);
    }
}

fn mode_exec() -> Packet {
    Packet::ModeExec {
        long: true,
        default32: false,
        interrupt_flag: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PSB: [u8; 16] = [
        0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02,
        0x82,
    ];

    fn boundaries(stream: &Stream) -> usize {
        let (older, newer) = stream.ring().halves();
        let bytes = [older, newer].concat();
        bytes.windows(PSB.len()).filter(|w| *w == PSB).count()
    }

    #[test]
    fn no_boundary_stands_between_a_system_call_and_the_kernel() {
        let mut stream = Stream::new(64 << 10, Timing::Boundaries);
        stream.switch_in(0x1000, 1);
        while !stream.psb_is_due() {
            stream.tip(0x1000_0000, 2);
            stream.tip(0x1000, 2);
        }
        stream.retire(Flow::Syscall, 0x1002, 3);
        stream.disable(4);
        assert_eq!(boundaries(&stream), 1);
        stream.enable(0x1002, 5);
        stream.retire(Flow::Plain, 0x1003, 6);
        assert_eq!(boundaries(&stream), 2);
    }
}
