//! Context switches as a tracepoint tells of them: what older kernels have instead of
//! PERF_RECORD_SWITCH, and what perf asks for where it may not have those.
//!
//! A sample of `sched:sched_switch` carries the kernel's own record of it, whose layout the kernel
//! describes in text; perf puts that text, with those of all other tracepoints it recorded, into a
//! feature of the header (HEADER_TRACING_DATA, the beginning of a `trace.dat` of trace-cmd: see
//! `trace-cmd.dat(5)`).

#[cfg(test)]
mod tests;

use crate::fields::Fields;

/// Header feature, by bit.
pub(super) const FEATURE: u64 = 1;
/// `PERF_TYPE_TRACEPOINT`.
const TRACEPOINT: u32 = 2;
/// First bytes of what describes the tracepoints.
const MAGIC: &[u8] = b"\x17\x08\x44tracing";

/// Where the record of a context switch has what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SwitchFormat {
    /// The tracepoint's number, which its event has as configuration.
    id: u64,
    previous: Place,
    next: Place,
}

/// A field of a tracepoint's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: usize,
    size: usize,
}

impl SwitchFormat {
    /// From what describes the tracepoints; `None` when that of context switches is not among them.
    pub(super) fn find(described: &[u8]) -> Option<SwitchFormat> {
        let mut cursor = Fields::new(described);
        if cursor.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let _version = cursor.text();
        let _byte_order_and_sizes = cursor.take(6)?;
        for header in ["header_page", "header_event"] {
            if cursor.text() != header {
                return None;
            }
            sized(&mut cursor)?;
        }
        for _ in 0..cursor.u32()? {
            sized(&mut cursor)?;
        }
        for _ in 0..cursor.u32()? {
            let system = cursor.text();
            for _ in 0..cursor.u32()? {
                let text = String::from_utf8_lossy(sized(&mut cursor)?);
                if system == "sched" && value(&text, "name:") == Some("sched_switch") {
                    return SwitchFormat::parse(&text);
                }
            }
        }
        None
    }

    fn parse(text: &str) -> Option<SwitchFormat> {
        Some(SwitchFormat {
            id: value(text, "ID:")?.parse().ok()?,
            previous: Place::find(text, "prev_pid")?,
            next: Place::find(text, "next_pid")?,
        })
    }

    /// Samples of the event with this type and configuration tell of context switches.
    pub(super) fn is_of(&self, (kind, config): (u32, u64)) -> bool {
        kind == TRACEPOINT && config == self.id
    }

    /// The threads that left and came, from the record in a sample.
    pub(super) fn threads(&self, raw: &[u8]) -> Option<(u32, u32)> {
        Some((self.previous.read(raw)?, self.next.read(raw)?))
    }
}

impl Place {
    // `	field:pid_t prev_pid;	offset:24;	size:4;	signed:1;`
    fn find(text: &str, name: &str) -> Option<Place> {
        let line = text.lines().find(|line| {
            let declared = value(line, "field:").and_then(|field| field.split(';').next());
            declared.and_then(|field| field.split_whitespace().last()) == Some(name)
        })?;
        let number = |name: &str| {
            let part = line.split(';').find_map(|part| value(part, name))?;
            part.parse().ok()
        };
        Some(Place {
            offset: number("offset:")?,
            size: number("size:").filter(|&size| size == 4)?,
        })
    }

    fn read(self, raw: &[u8]) -> Option<u32> {
        let end = self.offset.checked_add(self.size)?;
        Fields::new(raw.get(self.offset..end)?).u32()
    }
}

// A length of eight bytes, and so many bytes.
fn sized<'a>(cursor: &mut Fields<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(cursor.u64()?).ok()?;
    cursor.take(length)
}

// What stands behind a name at the beginning of a line.
fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().map(str::trim);
    lines
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}
