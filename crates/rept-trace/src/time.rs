/// A point in time, in ticks of the time-stamp counter (TSC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// When something happened: not before `earliest`, not after `latest`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Lower bound, in TSC ticks.
    pub earliest: Timestamp,
    /// Upper bound, in TSC ticks.
    pub latest: Timestamp,
}

impl Interval {
    /// The interval about which nothing is known.
    pub const UNKNOWN: Interval = Interval {
        earliest: Timestamp(0),
        latest: Timestamp(u64::MAX),
    };
}

/// A timing packet in a thread's stream: the step about to run had not run yet at `time`.
///
/// Steps `< step` of the thread ran at or before `time`, steps `>= step` at or after
/// it, each within the error of the packet's kind, which the decoder has already
/// widened into the two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMark {
    /// First step of the thread that follows the packet.
    pub step: u64,
    /// Bounds of the moment at which the packet was made.
    pub time: Interval,
}
