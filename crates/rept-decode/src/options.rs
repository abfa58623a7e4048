//! What a decoder must be told beside the bytes.

use rept_trace::Address;

/// A processor, as CPUID leaf 1 tells it (family and model with their extended parts added).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CpuModel {
    /// Family, e.g. 6.
    pub family: u16,
    /// Model, e.g. 94.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// How the processor's clocks relate, and which of them the trace carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeParameters {
    /// TSC ticks per tick of the core crystal clock, as a fraction: CPUID 15h EBX over EAX.
    /// A zero in either makes MTC packets useless.
    pub tsc_ctc_numerator: u32,
    /// See `tsc_ctc_numerator`.
    pub tsc_ctc_denominator: u32,
    /// IA32_RTIT_CTL.MTCFreq: an MTC packet comes every `1 << mtc_shift` crystal clock ticks.
    pub mtc_shift: u8,
    /// Ratio of the TSC's frequency to the bus clock (MSR_PLATFORM_INFO, bits 15:8);
    /// relates CBR and CYC packets to the TSC. Zero when unknown.
    pub max_nonturbo_ratio: u8,
    /// Heed TSC packets.
    pub tsc: bool,
    /// Heed MTC packets.
    pub mtc: bool,
    /// Heed CYC packets.
    pub cyc: bool,
}

impl Default for TimeParameters {
    /// Whatever the stream carries, with unknown ratios.
    fn default() -> TimeParameters {
        TimeParameters {
            tsc_ctc_numerator: 0,
            tsc_ctc_denominator: 0,
            mtc_shift: 0,
            max_nonturbo_ratio: 0,
            tsc: true,
            mtc: true,
            cyc: true,
        }
    }
}

/// Where decoding goes on after damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resync {
    /// At the next PSB, where the processor states everything anew. After bytes that are
    /// no packet this is the only choice, whatever is set here.
    #[default]
    Boundary,
    /// At the next packet that tells an address (TIP, TIP.PGE, FUP), as long as packets
    /// could be told apart: right when code was missing, risky when the packets are wrong.
    NextAddress,
    /// Where tracing begins next (TIP.PGE) or at the next PSB, as long as packets could be told apart: for
    /// a processor that runs other programs in between, whose code is missing.
    NextEnable,
}

/// Address ranges to which tracing was confined (IA32_RTIT_ADDRn with ADDRn_CFG = 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressFilter {
    /// First and last address of each range in use, both inclusive. None in use: no filter.
    pub ranges: [Option<(Address, Address)>; 4],
}

impl AddressFilter {
    /// Whether there is a filter and `at` is in none of its ranges.
    pub fn excludes(&self, at: Address) -> bool {
        let mut used = self.ranges.iter().flatten().peekable();
        used.peek().is_some() && !used.any(|&(first, last)| first <= at && at <= last)
    }
}

/// Bounds on what is spent on bad input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blocks that may run without any packet being used up; more is a loop that cannot end.
    pub blocks_without_packet: u32,
    /// Such blocks for each byte of packets since the last PSB+, on the average and beside those of
    /// one longest walk. At least 1024.
    pub blocks_per_byte: u32,
    /// Instructions in a block; longer straight-line code becomes several blocks. 1 to 4096.
    pub block_instructions: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            blocks_without_packet: 1 << 16,
            blocks_per_byte: 1 << 12,
            block_instructions: 512,
        }
    }
}

/// Everything a decoder is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The processor that made the trace, for its errata; `None`: none are worked around.
    pub cpu: Option<CpuModel>,
    /// Clocks.
    pub time: TimeParameters,
    /// Whether returns were compressed (IA32_RTIT_CTL.DisRETC = 0); `None`: told from the packets.
    pub return_compression: Option<bool>,
    /// Where tracing was confined to; needed for erratum SKL014 only.
    pub filter: AddressFilter,
    /// What to do after damage.
    pub resync: Resync,
    /// Bounds.
    pub limits: Limits,
}
