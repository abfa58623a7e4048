//! The machine that the recording pretends to come from, and its time.
//!
//! The traced program runs under single-step, so real time says nothing about it. Time
//! is *virtual*: an instruction takes one core cycle, a system call or a signal some
//! hundred. The core runs at the TSC's frequency, so cycles, TSC ticks and the crystal
//! clock stand in fixed ratios and every timing packet agrees with every other.

/// TSC ticks (and core cycles) per second.
pub(crate) const TSC_HZ: u64 = 2_400_000_000;
/// CPUID 15h EBX: TSC frequency = crystal frequency × numerator / denominator.
pub(crate) const CTC_NUMERATOR: u64 = 200;
/// CPUID 15h EAX.
pub(crate) const CTC_DENOMINATOR: u64 = 2;
/// Ratio of the core to the 100 MHz bus clock; the same number is the maximum non-turbo ratio.
pub(crate) const CORE_BUS_RATIO: u8 = 24;
/// An MTC packet is sent each time bit `MTC_PERIOD` of the crystal clock changes.
pub(crate) const MTC_PERIOD: u32 = 3;
/// perf's time conversion: ns = tsc × mult >> shift.
pub(crate) const TIME_SHIFT: u64 = 31;
/// The TSC when recording begins: non-zero, as perf takes 0 for "unknown".
pub(crate) const EPOCH: u64 = 100 * TSC_HZ;

/// Cycles from `syscall` to the return to the program.
pub(crate) const SYSCALL_COST: u64 = 400;
/// Cycles from the interrupted instruction to a signal handler's first one.
pub(crate) const SIGNAL_COST: u64 = 1_500;
/// Cycles from one thread's last packet to another's first on the same core.
pub(crate) const SWITCH_COST: u64 = 2_000;
/// Cycles that pass between `clone` and the new thread's first instruction.
pub(crate) const CLONE_COST: u64 = 3_000;

/// The crystal clock at this TSC.
pub(crate) fn crystal(tsc: u64) -> u64 {
    tsc / (CTC_NUMERATOR / CTC_DENOMINATOR)
}

/// TSC ticks since the crystal clock last changed.
pub(crate) fn fast_counter(tsc: u64) -> u64 {
    tsc % (CTC_NUMERATOR / CTC_DENOMINATOR)
}

/// The first TSC after `tsc` at which an MTC packet is due.
pub(crate) fn next_mtc(tsc: u64) -> u64 {
    let period = (CTC_NUMERATOR / CTC_DENOMINATOR) << MTC_PERIOD;
    (tsc / period + 1) * period
}

/// How perf's clock follows the TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds of 2^[`TIME_SHIFT`] ticks.
    pub(crate) multiplier: u64,
}

impl Rate {
    /// That of a TSC of so many ticks a second.
    pub(crate) fn of(ticks_per_second: u64) -> Rate {
        Rate {
            multiplier: (1_000_000_000 << TIME_SHIFT) / ticks_per_second.max(1),
        }
    }

    /// perf's clock, in nanoseconds, at this TSC.
    pub(crate) fn nanoseconds(self, tsc: u64) -> u64 {
        let (whole, part) = (tsc >> TIME_SHIFT, tsc & ((1 << TIME_SHIFT) - 1));
        whole * self.multiplier + ((part * self.multiplier) >> TIME_SHIFT)
    }
}

impl Default for Rate {
    /// That of virtual time.
    fn default() -> Rate {
        Rate::of(TSC_HZ)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_of_ticks_is_a_second() {
        let rate = Rate::default();
        let elapsed = rate.nanoseconds(EPOCH + TSC_HZ) - rate.nanoseconds(EPOCH);
        assert!(
            (999_999_990..=1_000_000_010).contains(&elapsed),
            "{elapsed}"
        );
    }

    #[test]
    fn mtc_is_due_when_its_lowest_bit_changes() {
        let due = next_mtc(EPOCH);
        assert_eq!(
            crystal(due) >> MTC_PERIOD,
            (crystal(due - 1) >> MTC_PERIOD) + 1
        );
        assert_eq!(next_mtc(due - 1), due);
        assert_eq!(fast_counter(due), 0);
    }
}
