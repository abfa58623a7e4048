//! Time: from TSC, TMA, MTC, CYC and CBR packets to bounds on the time-stamp counter.
//!
//! TSC packets are exact. An MTC packet marks a tick of the core crystal clock (CTC),
//! which a TMA packet has tied to the TSC; it is exact to a TSC tick. A CYC packet counts
//! core cycles since the last CYC, whose length in TSC ticks is known only as well as the
//! core's frequency is (CBR, or the cycles counted between two MTCs); what it says lies
//! between the exact times around it. Source: SDM "Tracking Time".

use crate::TimeParameters;
use crate::packet::Packet;
use rept_trace::{Interval, Timestamp};

/// Bits of a TSC packet.
const TSC_BITS: u32 = 56;

/// Cycles that must lie between two exact times for their ratio to be used.
const MIN_CALIBRATION_CYCLES: u64 = 256;

/// Share of a span counted in cycles by which its length in TSC ticks may be off: one in 32.
const CYCLE_ERROR_SHIFT: u32 = 5;

/// Core cycles per TSC tick, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Speed {
    cycles: u64,
    ticks: u64,
}

/// The crystal clock: a count and the TSC at its tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crystal {
    // The TMA packet's 16-bit count, and the TSC at that tick.
    base_ctc: u64,
    base_tsc: u64,
    // The count at the last MTC or TMA, in MTC periods, from the same origin.
    periods: u64,
    // Payload of the last MTC since the TMA.
    last_mtc: Option<u8>,
}

/// What the packets so far say about the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    parameters: TimeParameters,
    // The last time that is exact.
    exact: Option<u64>,
    crystal: Option<Crystal>,
    // Core cycles since `exact`.
    cycles: u64,
    // No cycle was lost since `exact`.
    complete: bool,
    speed: Option<Speed>,
    // Time never goes back: what was said last.
    said: u64,
}

impl Clock {
    pub(crate) fn new(parameters: TimeParameters) -> Clock {
        Clock {
            parameters,
            exact: None,
            crystal: None,
            cycles: 0,
            complete: false,
            speed: None,
            said: 0,
        }
    }

    /// What is known of the present moment; `latest` is open when only the past is known.
    #[inline]
    pub(crate) fn now(&self) -> Interval {
        let Some(exact) = self.exact else {
            return Interval::UNKNOWN;
        };
        if self.cycles == 0 {
            return Interval {
                earliest: Timestamp(exact),
                latest: Timestamp(u64::MAX),
            };
        }
        let Some(speed) = self.speed else {
            return Interval {
                earliest: Timestamp(exact.max(self.said)),
                latest: Timestamp(u64::MAX),
            };
        };
        let span = ticks(self.cycles, speed);
        let error = (span >> CYCLE_ERROR_SHIFT) + 2;
        Interval {
            earliest: Timestamp(
                exact
                    .saturating_add(span.saturating_sub(error))
                    .max(self.said),
            ),
            latest: Timestamp(exact.saturating_add(span).saturating_add(error)),
        }
    }

    /// A TSC packet. The upper byte is that of the time before; a trace starts with zero.
    pub(crate) fn tsc(&mut self, low: u64) -> Option<u64> {
        if !self.parameters.tsc {
            return None;
        }
        let before = self.exact.unwrap_or(0);
        let mut tsc = before >> TSC_BITS << TSC_BITS | low;
        // Going back by more than half the range is a carry out of the 56 bits.
        if tsc < before && before - tsc > 1 << (TSC_BITS - 1) {
            tsc = tsc.saturating_add(1 << TSC_BITS);
        }
        self.crystal = None;
        self.set_exact(tsc);
        Some(tsc)
    }

    /// A TMA packet, which follows the TSC packet it belongs to.
    pub(crate) fn tma(&mut self, ctc: u16, fast_counter: u16) {
        let Some(tsc) = self.exact else { return };
        self.crystal = Some(Crystal {
            base_ctc: u64::from(ctc),
            base_tsc: tsc.saturating_sub(u64::from(fast_counter)),
            periods: u64::from(ctc) >> self.shift(),
            last_mtc: None,
        });
    }

    /// An MTC packet: the exact time, when the crystal clock is tied to the TSC.
    pub(crate) fn mtc(&mut self, ctc: u8) -> Option<u64> {
        let parameters = self.parameters;
        let usable = parameters.mtc
            && parameters.tsc_ctc_numerator != 0
            && parameters.tsc_ctc_denominator != 0;
        let shift = self.shift();
        let crystal = self.crystal.as_mut().filter(|_| usable)?;
        let passed = match crystal.last_mtc.replace(ctc) {
            Some(last) => u64::from(ctc.wrapping_sub(last)),
            // A long MTC period shows bits that the 16 of the TMA packet do not reach.
            None => u64::from(ctc).wrapping_sub(crystal.periods) & (0xffff >> shift & 0xff),
        };
        if passed == 0 {
            return None;
        }
        crystal.periods += passed;
        let since = (crystal.periods << shift).saturating_sub(crystal.base_ctc);
        let ticks = u128::from(since) * u128::from(parameters.tsc_ctc_numerator)
            / u128::from(parameters.tsc_ctc_denominator);
        let tsc = crystal
            .base_tsc
            .saturating_add(ticks.min(u128::from(u64::MAX)) as u64);
        self.set_exact(tsc.max(self.exact.unwrap_or(0)));
        self.exact
    }

    /// A CYC packet; `true` when it narrows the time.
    pub(crate) fn cyc(&mut self, cycles: u64) -> bool {
        if !self.parameters.cyc {
            return false;
        }
        self.cycles = self.cycles.saturating_add(cycles);
        self.exact.is_some() && self.speed.is_some()
    }

    /// A CBR packet: the core's speed from now on.
    pub(crate) fn cbr(&mut self, ratio: u8) {
        let nominal = self.parameters.max_nonturbo_ratio;
        if ratio == 0 || nominal == 0 {
            return;
        }
        let speed = Speed {
            cycles: u64::from(ratio),
            ticks: u64::from(nominal),
        };
        // Cycles counted so far ran at the old speed: restate them in the new one.
        if let Some(old) = self.speed {
            self.said = self.said.max(self.now().earliest.0);
            self.cycles = ticks(self.cycles, old).saturating_mul(speed.cycles) / speed.ticks;
        }
        self.speed = Some(speed);
    }

    /// An overflow: cycles were lost.
    pub(crate) fn overflow(&mut self) {
        self.said = self.said.max(self.now().earliest.0);
        self.cycles = 0;
        self.complete = false;
    }

    /// Heeds a packet for its time alone.
    pub(crate) fn heed(&mut self, packet: &Packet) {
        match *packet {
            Packet::Tsc { tsc } => drop(self.tsc(tsc)),
            Packet::Mtc { ctc } => drop(self.mtc(ctc)),
            Packet::Tma { ctc, fast_counter } => self.tma(ctc, fast_counter),
            Packet::Cyc { cycles } => drop(self.cyc(cycles)),
            Packet::Cbr { ratio } => self.cbr(ratio),
            Packet::Ovf => self.overflow(),
            _ => {}
        }
    }

    fn shift(&self) -> u32 {
        u32::from(self.parameters.mtc_shift.min(15))
    }

    /// Takes an exact time; the cycles counted since the one before tell the core's speed.
    fn set_exact(&mut self, tsc: u64) {
        if let Some(before) = self.exact
            && self.complete
            && tsc > before
            && self.cycles >= MIN_CALIBRATION_CYCLES
        {
            self.speed = Some(Speed {
                cycles: self.cycles,
                ticks: tsc - before,
            });
        }
        self.exact = Some(tsc);
        self.cycles = 0;
        self.complete = true;
        self.said = self.said.max(tsc);
    }
}

/// Length of `cycles` in TSC ticks.
fn ticks(cycles: u64, speed: Speed) -> u64 {
    let ticks = u128::from(cycles) * u128::from(speed.ticks) / u128::from(speed.cycles.max(1));
    ticks.min(u128::from(u64::MAX)) as u64
}
