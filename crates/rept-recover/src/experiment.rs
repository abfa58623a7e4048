//! What recovery is worth without one of its techniques, and what it could be with the places of
//! all accesses known: for measuring recovery. Public with the feature `experiments` alone.

#![cfg_attr(
    not(feature = "experiments"),
    expect(unreachable_pub, reason = "public in builds for experiments")
)]

#[cfg(feature = "experiments")]
use rept_trace::Address;

/// Something that recovery does, and can be measured without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Technique {
    /// Values go from a step to what it defines, and from an access to later ones.
    Forward,
    /// What led to a contradiction is taken back; without, whoever came first stays.
    Correction,
    /// Outcomes of branches, targets of indirect jumps and returns are facts.
    BranchFacts,
    /// Calls hand the preserved registers back; frames open at the end are unwound.
    Pairing,
    /// First what is certain, then memory values past ever more stores that may have hit them;
    /// without, past all of them from the start.
    Staging,
    /// What system calls write is known; without, a call may have written anything.
    SystemCalls,
    /// Files that were read are read again.
    Files,
    /// Bits are known one by one; without, a word is known or it is not.
    Bits,
    /// Unknown pointers are taken for the candidate that fits what was accessed through them.
    Candidates,
    /// Accesses by pointers that differ by a known number are known to be related.
    Numbering,
    /// Values do not pass accesses of other threads that nothing orders; without, the sequence is
    /// taken for what happened.
    Races,
}

#[cfg(feature = "experiments")]
impl Technique {
    /// All of them.
    pub const ALL: [Technique; 11] = [
        Technique::Forward,
        Technique::Correction,
        Technique::BranchFacts,
        Technique::Pairing,
        Technique::Staging,
        Technique::SystemCalls,
        Technique::Files,
        Technique::Bits,
        Technique::Candidates,
        Technique::Numbering,
        Technique::Races,
    ];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Technique::Forward => "forward",
            Technique::Correction => "correction",
            Technique::BranchFacts => "branch-facts",
            Technique::Pairing => "pairing",
            Technique::Staging => "staging",
            Technique::SystemCalls => "system-calls",
            Technique::Files => "files",
            Technique::Bits => "bits",
            Technique::Candidates => "candidates",
            Technique::Numbering => "numbering",
            Technique::Races => "races",
        }
    }
}

/// Techniques left out: none, unless the crate is built for experiments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(u16);

impl Without {
    /// The technique is left out.
    pub(crate) const fn has(self, technique: Technique) -> bool {
        self.0 >> technique as u16 & 1 == 1
    }
}

#[cfg(feature = "experiments")]
impl FromIterator<Technique> for Without {
    fn from_iter<T: IntoIterator<Item = Technique>>(all: T) -> Without {
        Without(
            all.into_iter()
                .fold(0, |set, technique| set | 1 << technique as u16),
        )
    }
}

/// What is changed for an experiment.
#[cfg(feature = "experiments")]
#[derive(Clone, Debug, Default)]
pub struct Experiment {
    /// Techniques left out.
    pub without: Without,
    /// Where memory operands were, of each thread of the trace by ascending step and in the
    /// processor's order. They place accesses and nothing else: what an address says about the
    /// registers that it was computed from, and the address itself, are still to be learned.
    pub given: Vec<Vec<GivenOperand>>,
}

/// A memory operand of a step, as it was.
#[cfg(feature = "experiments")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenOperand {
    /// Step of its thread.
    pub step: u64,
    /// First address.
    pub address: Address,
    /// Bytes; 0 when that is not known.
    pub bytes: u64,
    /// Written rather than read.
    pub store: bool,
}
