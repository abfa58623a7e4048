//! The file around the records: header, attributes, features, pipe mode, compressed stretches.

use super::attr::Attr;
use super::record::{RawRecord, kind};
use super::tracepoints;
use crate::fields::Fields;
use crate::{BuildId, Error};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::path::Path;

const MAGIC: &[u8; 8] = b"PERFILE2";
const MAGIC_BIG_ENDIAN: &[u8; 8] = b"2ELIFREP";
/// Bytes of the header of a seekable file and of a pipe.
const FILE_HEADER: u64 = 104;
/// Where the header tells the size of an event in the table.
const ATTR_SIZE_AT: u64 = 16;
/// The shortest event that perf knows.
const LEAST_ATTR: u64 = 64;
/// What stands behind an event in the table: where its identifiers lie, and how many bytes they are.
const ID_PLACE: u64 = 16;
const PIPE_HEADER: u64 = 16;
/// Header features, by bit.
const FEATURE_BUILD_ID: u64 = 2;
const FEATURE_CPUID: u64 = 9;
/// Events taken seriously at most.
const MAX_ATTRS: usize = 4096;
/// Decompressed bytes accepted at most, as a multiple of the file's length.
const MAX_EXPANSION: u64 = 1024;

/// Receives what the container holds, in file order.
pub(super) trait Visit {
    /// An event described on the way (pipe mode).
    fn attr(&mut self, attr: Attr);
    /// A record.
    fn record(&mut self, record: RawRecord<'_>);
    /// Damage.
    fn problem(&mut self, problem: Error);
}

/// An opened container.
pub(super) struct Container<'a> {
    path: &'a Path,
    data: &'a [u8],
    attrs: Vec<Attr>,
    /// Features found, (bit, bytes).
    features: Vec<(u64, &'a [u8])>,
    /// Build-ids from records of their own (pipe mode).
    build_ids: Vec<(String, BuildId)>,
    /// Where the records lie.
    first: u64,
    end: u64,
    /// End of all that the header tells of.
    told: u64,
    problems: Vec<Error>,
}

impl<'a> Container<'a> {
    pub(super) fn open(path: &'a Path, data: &'a [u8]) -> Result<Container<'a>, Error> {
        if data.is_empty() {
            return Err(Error::empty(path));
        }
        if data.starts_with(MAGIC_BIG_ENDIAN) {
            let what = "the recording was made on a big-endian machine, which has no Intel PT";
            return Err(Error::malformed(path, 0, what));
        }
        if !data.starts_with(MAGIC) {
            return Err(Error::foreign(path, "a perf.data file", data));
        }
        let mut container = Container {
            path,
            data,
            attrs: Vec::new(),
            features: Vec::new(),
            build_ids: Vec::new(),
            first: PIPE_HEADER,
            end: data.len() as u64,
            told: 0,
            problems: Vec::new(),
        };
        match Fields::at(data, 8).u64() {
            Some(PIPE_HEADER) => {}
            Some(size) if size >= FILE_HEADER => container.file_header()?,
            Some(size) => {
                return Err(Error::malformed(
                    path,
                    8,
                    format!("a header of {size} bytes is too small"),
                ));
            }
            None => {
                return Err(Error::truncated(
                    path,
                    8,
                    "the header",
                    16 - data.len() as u64,
                ));
            }
        }
        Ok(container)
    }

    pub(super) fn attrs(&self) -> &[Attr] {
        &self.attrs
    }

    fn file_header(&mut self) -> Result<(), Error> {
        let len = self.data.len() as u64;
        let mut cursor = Fields::at(self.data, 16);
        let mut word = || {
            cursor
                .u64()
                .ok_or_else(|| Error::truncated(self.path, 16, "the header", FILE_HEADER - len))
        };
        let attr_size = word()?;
        let (attrs_at, attrs_size) = (word()?, word()?);
        let (data_at, data_size) = (word()?, word()?);
        let (types_at, types_size) = (word()?, word()?);
        let mut flags = [0; 4];
        for flag in &mut flags {
            *flag = word()?;
        }
        self.section(types_at, types_size);
        self.file_attrs(attr_size, attrs_at, attrs_size);
        self.first = data_at;
        if data_size == 0 {
            // The recorder was killed before it could write the size: take what is there.
            self.problems.push(Error::malformed(
                self.path,
                48,
                "the recorder did not finish the file; all that follows the header is read",
            ));
            return Ok(());
        }
        self.end = data_at.saturating_add(data_size);
        if self.end > len {
            self.problems.push(Error::truncated(
                self.path,
                len,
                "the data section",
                self.end - len,
            ));
            self.end = len;
        } else {
            self.file_features(self.end, flags);
            self.untold();
        }
        Ok(())
    }

    /// The bytes `at..at + size`, of which the header tells, when they are all there.
    fn section(&mut self, at: u64, size: u64) -> Option<&'a [u8]> {
        self.told = self.told.max(at.saturating_add(size));
        slice(self.data, at, size)
    }

    /// Notes what lies behind all that the header tells of.
    fn untold(&mut self) {
        let at = self.told.max(self.end);
        let ignored = (self.data.len() as u64).saturating_sub(at);
        if ignored > 0 {
            self.problems.push(self.not_read(at, ignored));
        }
    }

    fn not_read(&self, at: u64, ignored: u64) -> Error {
        let rest = slice(self.data, at, ignored).unwrap_or_default();
        let what = match rest.starts_with(MAGIC) {
            true => format!("another perf.data file begins here; its {ignored} bytes are not read"),
            false => format!("the file goes on behind its end; {ignored} bytes are not read"),
        };
        Error::malformed(self.path, at, what)
    }

    fn file_attrs(&mut self, entry_size: u64, at: u64, size: u64) {
        let Some(section) = self.section(at, size) else {
            self.malformed(at, "the table of events lies outside the file");
            return;
        };
        let fits = entry_size >= LEAST_ATTR + ID_PLACE && entry_size <= size;
        if !fits || !size.is_multiple_of(entry_size) {
            let what = format!("a table of {size} bytes cannot hold events of {entry_size}");
            self.malformed(ATTR_SIZE_AT, what);
        }
        if !fits {
            return;
        }
        let entry_size = entry_size as usize;
        let entries = section.chunks_exact(entry_size);
        if entries.len() > MAX_ATTRS {
            let what = format!("of {} events the first {MAX_ATTRS} are read", entries.len());
            self.malformed(at, what);
        }
        for (index, entry) in entries.take(MAX_ATTRS).enumerate() {
            let at = at + (index * entry_size) as u64;
            let (bytes, place) = entry.split_at(entry_size - ID_PLACE as usize);
            self.tell_attr_size(at, bytes);
            let Some(mut attr) = Attr::parse(bytes) else {
                continue;
            };
            attr.ids = words(self.ids(at, place));
            self.attrs.push(attr);
        }
    }

    /// Notes an event that is told to be longer than its place.
    fn tell_attr_size(&mut self, at: u64, bytes: &[u8]) {
        let told = Fields::at(bytes, 4).u32().unwrap_or_default();
        if u64::from(told) > bytes.len() as u64 {
            let what = format!("an event of {told} bytes lies in {}", bytes.len());
            self.malformed(at, what);
        }
    }

    /// The identifiers of the event at `at`, as `place` tells their offset and length.
    fn ids(&mut self, at: u64, place: &[u8]) -> &'a [u8] {
        let mut place = Fields::new(place);
        let Some((ids_at, size)) = place.u64().zip(place.u64()) else {
            return &[];
        };
        let found = self.section(ids_at, size);
        if found.is_none() && size > 0 {
            self.malformed(at, "the identifiers of the event lie outside the file");
        }
        found.unwrap_or_default()
    }

    fn malformed(&mut self, at: u64, what: impl Into<String>) {
        let problem = Error::malformed(self.path, at, what);
        self.problems.push(problem);
    }

    fn file_features(&mut self, table: u64, flags: [u64; 4]) {
        let mut cursor = Fields::at(self.data, usize::try_from(table).unwrap_or(usize::MAX));
        let features = flags
            .iter()
            .map(|bits| u64::from(bits.count_ones()))
            .sum::<u64>();
        self.section(table, 16 * features);
        for bit in (0..256u64).filter(|&bit| flags[bit as usize / 64] >> (bit % 64) & 1 != 0) {
            let Some((at, size)) = cursor.u64().zip(cursor.u64()) else {
                self.problems.push(Error::truncated(
                    self.path,
                    table,
                    "the table of header features",
                    16,
                ));
                return;
            };
            match self.section(at, size) {
                Some(bytes) => self.features.push((bit, bytes)),
                None => self.problems.push(Error::malformed(
                    self.path,
                    at,
                    format!("header feature {bit} lies outside the file"),
                )),
            }
        }
    }

    fn feature(&self, bit: u64) -> Option<&'a [u8]> {
        self.features
            .iter()
            .find(|(found, _)| *found == bit)
            .map(|&(_, bytes)| bytes)
    }

    /// The processor's identification string.
    pub(super) fn cpuid(&self) -> Option<String> {
        let mut cursor = Fields::new(self.feature(FEATURE_CPUID)?);
        let len = cursor.u32()? as usize;
        let text = cursor.remaining();
        Some(Fields::new(&text[..len.min(text.len())]).text())
    }

    /// What describes the tracepoints that were recorded.
    pub(super) fn tracepoints(&self) -> Option<&'a [u8]> {
        self.feature(tracepoints::FEATURE)
    }

    /// Files and their build-ids from the header.
    pub(super) fn build_ids(&self) -> Vec<(String, BuildId)> {
        let mut found = self.build_ids.clone();
        let mut rest = self.feature(FEATURE_BUILD_ID).unwrap_or_default();
        while let Some(header) = rest.get(..8) {
            let size = usize::from(u16::from_le_bytes([header[6], header[7]]));
            let misc = u16::from_le_bytes([header[4], header[5]]);
            let Some(entry) = rest.get(8..size) else {
                break;
            };
            found.extend(build_id_entry(entry, misc));
            rest = &rest[size..];
        }
        found
    }

    /// Walks through all records, in file order.
    pub(super) fn records(&mut self, visit: &mut dyn Visit) {
        for problem in std::mem::take(&mut self.problems) {
            visit.problem(problem);
        }
        let mut packed = Packed::new(self.data.len() as u64);
        let mut at = self.first;
        while at < self.end {
            let Some(record) = self.next(at, visit) else {
                break;
            };
            at += record.whole_len();
            self.one(record, &mut packed, visit);
        }
        packed.finish(self.path, self.end, visit);
    }

    fn one(&mut self, record: RawRecord<'a>, packed: &mut Packed, visit: &mut dyn Visit) {
        match record.kind {
            kind::HEADER_ATTR => match pipe_attr(record.body) {
                Some(attr) => visit.attr(attr),
                None => visit.problem(Error::malformed(
                    self.path,
                    record.offset,
                    "the record of an event is shorter than the event",
                )),
            },
            kind::HEADER_FEATURE => {
                let mut cursor = Fields::new(record.body);
                if let Some(bit) = cursor.u64() {
                    self.features.push((bit, cursor.remaining()));
                }
            }
            kind::HEADER_BUILD_ID => self
                .build_ids
                .extend(build_id_entry(record.body, record.misc)),
            kind::COMPRESSED => packed.feed(self.path, record.offset, record.body, visit),
            kind::COMPRESSED2 => {
                let mut cursor = Fields::new(record.body);
                let len = cursor.u64().unwrap_or(0).min(record.body.len() as u64) as usize;
                let payload = cursor.remaining();
                packed.feed(
                    self.path,
                    record.offset,
                    &payload[..len.min(payload.len())],
                    visit,
                );
            }
            _ => visit.record(record),
        }
    }

    /// The record at offset `at`; `None`, with the problem told, when there is none.
    fn next(&self, at: u64, visit: &mut dyn Visit) -> Option<RawRecord<'a>> {
        let rest = slice(self.data, at, self.end - at)?;
        // Without a size (a pipe, an unfinished file) the next file looks like a record of unknown kind.
        if rest.starts_with(MAGIC) {
            visit.problem(self.not_read(at, self.end - at));
            return None;
        }
        let mut record = match RawRecord::split(rest, at) {
            Ok(record) => record,
            Err(what) => {
                visit.problem(what.located(self.path, at));
                return None;
            }
        };
        let behind = &rest[8 + record.body.len()..];
        let payload = record.payload_len();
        if payload > behind.len() as u64 {
            let missing = payload - behind.len() as u64;
            visit.problem(Error::truncated(
                self.path,
                at,
                "the trace data of an AUXTRACE record",
                missing,
            ));
        }
        record.payload = &behind[..payload.min(behind.len() as u64) as usize];
        Some(record)
    }
}

/// Records inside COMPRESSED records: one zstd stream, cut anywhere.
struct Packed {
    decoder: FrameDecoder,
    begun: bool,
    broken: bool,
    /// Compressed bytes that do not make a block yet.
    waiting: Vec<u8>,
    /// Decompressed bytes that do not make a record yet.
    ready: Vec<u8>,
    budget: u64,
}

impl Packed {
    fn new(file_len: u64) -> Packed {
        Packed {
            decoder: FrameDecoder::new(),
            begun: false,
            broken: false,
            waiting: Vec::new(),
            ready: Vec::new(),
            budget: file_len.saturating_mul(MAX_EXPANSION),
        }
    }

    fn feed(&mut self, path: &Path, offset: u64, bytes: &[u8], visit: &mut dyn Visit) {
        if self.broken {
            return;
        }
        self.waiting.extend_from_slice(bytes);
        if let Err(what) = self.decompress(path, offset, visit) {
            self.broken = true;
            visit.problem(Error::malformed(path, offset, what));
        }
    }

    /// Gets out what the decoder keeps back while the frame is open: perf never ends its
    /// frame, so an empty last block (RFC 8878, section 3.1.1.2) is put behind it.
    fn finish(&mut self, path: &Path, offset: u64, visit: &mut dyn Visit) {
        const EMPTY_LAST_BLOCK: [u8; 3] = [1, 0, 0];
        if !self.begun || self.broken {
            return;
        }
        if !self.waiting.is_empty() {
            let missing =
                Error::malformed(path, offset, "the compressed records end inside a block");
            visit.problem(missing);
            self.waiting.clear();
        }
        self.feed(path, offset, &EMPTY_LAST_BLOCK, visit);
        if !self.ready.is_empty() && !self.broken {
            visit.problem(Error::truncated(path, offset, "a compressed record", 1));
        }
    }

    fn decompress(
        &mut self,
        path: &Path,
        offset: u64,
        visit: &mut dyn Visit,
    ) -> Result<(), String> {
        let explain = |error: &dyn std::fmt::Display| {
            format!("compressed records cannot be unpacked: {error}")
        };
        loop {
            let mut source = self.waiting.as_slice();
            if !self.begun {
                self.decoder
                    .reset(&mut source)
                    .map_err(|error| explain(&error))?;
                self.begun = true;
            } else if block_is_whole(source) {
                let strategy = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder
                    .decode_blocks(&mut source, strategy)
                    .map_err(|error| explain(&error))?;
                self.begun = !self.decoder.is_finished();
            } else {
                return Ok(());
            }
            let used = self.waiting.len() - source.len();
            self.waiting.drain(..used);
            let fresh = self.decoder.collect().unwrap_or_default();
            self.budget = self
                .budget
                .checked_sub(fresh.len() as u64)
                .ok_or("compressed records expand without bound")?;
            self.ready.extend_from_slice(&fresh);
            self.deliver(path, offset, visit)?;
            if !self.begun && self.waiting.is_empty() {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self, path: &Path, offset: u64, visit: &mut dyn Visit) -> Result<(), String> {
        let mut used = 0;
        loop {
            match RawRecord::split(&self.ready[used..], offset) {
                Ok(record) => {
                    used += 8 + record.body.len();
                    visit.record(record);
                }
                Err(what) if what.is_short() => break,
                Err(what) => return Err(what.located(path, offset).to_string()),
            }
        }
        self.ready.drain(..used);
        Ok(())
    }
}

/// A zstd block (RFC 8878, section 3.1.1.2) is there to its end.
fn block_is_whole(bytes: &[u8]) -> bool {
    let Some(&[a, b, c]) = bytes.first_chunk::<3>() else {
        return false;
    };
    let header = u32::from_le_bytes([a, b, c, 0]);
    let run_length = header >> 1 & 3 == 1;
    let len = if run_length { 1 } else { header >> 3 };
    bytes.len() - 3 >= len as usize
}

/// The bytes `at..at + size`, when they are all there.
fn slice(data: &[u8], at: u64, size: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    data.get(at..end)
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let mut cursor = Fields::new(bytes);
    std::iter::from_fn(|| cursor.u64()).collect()
}

/// HEADER_ATTR: a `perf_event_attr` of its own size, then ids.
fn pipe_attr(body: &[u8]) -> Option<Attr> {
    let size = Fields::at(body, 4).u32()? as usize;
    let (attr, ids) = body.split_at_checked(size)?;
    let mut attr = Attr::parse(attr)?;
    attr.ids = words(ids);
    Some(attr)
}

/// `struct perf_record_header_build_id` behind its record header.
fn build_id_entry(entry: &[u8], misc: u16) -> Option<(String, BuildId)> {
    const SIZE_IS_TOLD: u16 = 1 << 15;
    let id = entry.get(4..24)?;
    let told = usize::from(*entry.get(24)?);
    let len = if misc & SIZE_IS_TOLD != 0 {
        told.min(20)
    } else {
        20
    };
    let name = Fields::at(entry, 28).text();
    Some((name, BuildId::new(&id[..len])?))
}
