//! `perf_event_attr`, and the identification fields that its `sample_type` puts behind every record.

use crate::fields::Fields;

/// Bits of `sample_type` (`enum perf_event_sample_format`).
pub(super) mod format {
    pub(crate) const IP: u64 = 1 << 0;
    pub(crate) const TID: u64 = 1 << 1;
    pub(crate) const TIME: u64 = 1 << 2;
    pub(crate) const ADDR: u64 = 1 << 3;
    pub(crate) const READ: u64 = 1 << 4;
    pub(crate) const CALLCHAIN: u64 = 1 << 5;
    pub(crate) const ID: u64 = 1 << 6;
    pub(crate) const CPU: u64 = 1 << 7;
    pub(crate) const PERIOD: u64 = 1 << 8;
    pub(crate) const STREAM_ID: u64 = 1 << 9;
    pub(crate) const RAW: u64 = 1 << 10;
    pub(crate) const BRANCH_STACK: u64 = 1 << 11;
    pub(crate) const REGS_USER: u64 = 1 << 12;
    pub(crate) const STACK_USER: u64 = 1 << 13;
    pub(crate) const WEIGHT: u64 = 1 << 14;
    pub(crate) const DATA_SRC: u64 = 1 << 15;
    pub(crate) const IDENTIFIER: u64 = 1 << 16;
    pub(crate) const TRANSACTION: u64 = 1 << 17;
    pub(crate) const REGS_INTR: u64 = 1 << 18;
    pub(crate) const PHYS_ADDR: u64 = 1 << 19;
    pub(crate) const AUX: u64 = 1 << 20;
    pub(crate) const CGROUP: u64 = 1 << 21;
    pub(crate) const DATA_PAGE_SIZE: u64 = 1 << 22;
    pub(crate) const CODE_PAGE_SIZE: u64 = 1 << 23;
    pub(crate) const WEIGHT_STRUCT: u64 = 1 << 24;
}

/// Flag bit `sample_id_all` of `perf_event_attr`.
const SAMPLE_ID_ALL: u64 = 1 << 18;
/// Flag bit `use_clockid` of `perf_event_attr`.
const USE_CLOCKID: u64 = 1 << 25;

/// One event that was recorded, and the ids of its instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attr {
    pub(super) pmu: u32,
    pub(super) config: u64,
    pub(super) sample_type: u64,
    pub(super) read_format: u64,
    pub(super) branch_sample_type: u64,
    pub(super) regs_user: u64,
    pub(super) regs_intr: u64,
    flags: u64,
    pub(super) ids: Vec<u64>,
}

/// Who, when and where, as far as a record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SampleId {
    /// Process and thread.
    pub(super) task: Option<(u32, u32)>,
    /// Nanoseconds of perf's clock.
    pub(super) time: Option<u64>,
    pub(super) cpu: Option<u32>,
}

impl Attr {
    /// Parses the structure; its size field may announce fewer or more bytes than are known here.
    pub(super) fn parse(bytes: &[u8]) -> Option<Attr> {
        let mut cursor = Fields::new(bytes);
        let pmu = cursor.u32()?;
        let size = cursor.u32()? as usize;
        let known = bytes.get(..size.clamp(64, 1 << 12).min(bytes.len()))?;
        let word = |at: usize| Fields::at(known, at).u64();
        Some(Attr {
            pmu,
            config: word(8)?,
            sample_type: word(24)?,
            read_format: word(32)?,
            flags: word(40)?,
            branch_sample_type: word(72).unwrap_or(0),
            regs_user: word(80).unwrap_or(0),
            regs_intr: word(96).unwrap_or(0),
            ids: Vec::new(),
        })
    }

    /// That of an event of which only context switches are kept, with task and time.
    pub(super) fn of_switches() -> Attr {
        Attr {
            sample_type: format::TID | format::TIME,
            flags: SAMPLE_ID_ALL,
            ..Attr::default()
        }
    }

    /// Has one of these bits.
    pub(super) fn has(&self, bits: u64) -> bool {
        self.sample_type & bits != 0
    }

    /// Its records carry times of a clock that was asked for (`perf record --clockid`), not perf's own.
    pub(super) fn has_foreign_clock(&self) -> bool {
        self.flags & USE_CLOCKID != 0
    }

    /// The id fields at the end of a record that is no sample (`struct sample_id`).
    pub(super) fn trailer(&self, body: &[u8]) -> SampleId {
        let mut id = SampleId::default();
        if self.flags & SAMPLE_ID_ALL == 0 {
            return id;
        }
        let mut end = body.len();
        let mut previous = |bit: u64| -> Option<&[u8]> {
            if !self.has(bit) {
                return None;
            }
            let field = body.get(end.checked_sub(8)?..end)?;
            end -= 8;
            Some(field)
        };
        previous(format::IDENTIFIER);
        let cpu = previous(format::CPU);
        previous(format::STREAM_ID);
        previous(format::ID);
        let time = previous(format::TIME);
        let task = previous(format::TID);
        id.cpu = cpu.and_then(|field| Fields::new(field).u32());
        id.time = time.and_then(|field| Fields::new(field).u64());
        id.task = task.and_then(|field| {
            let mut cursor = Fields::new(field);
            Some((cursor.u32()?, cursor.u32()?))
        });
        id
    }
}

/// The event that a record that is no sample belongs to: by its identifier, which perf
/// makes all events carry as soon as there are several that differ.
pub(super) fn for_record<'a>(attrs: &'a [Attr], body: &[u8]) -> Option<&'a Attr> {
    let last = body
        .len()
        .checked_sub(8)
        .and_then(|at| Fields::at(body, at).u64());
    by_identifier(attrs, last)
}

/// The event that a sample belongs to.
pub(super) fn for_sample<'a>(attrs: &'a [Attr], body: &[u8]) -> Option<&'a Attr> {
    by_identifier(attrs, Fields::new(body).u64())
}

fn by_identifier(attrs: &[Attr], id: Option<u64>) -> Option<&Attr> {
    let identified = attrs.iter().all(|attr| attr.has(format::IDENTIFIER));
    let found = attrs
        .iter()
        .find(|attr| identified && id.is_some_and(|id| attr.ids.contains(&id)));
    found.or_else(|| attrs.first())
}
