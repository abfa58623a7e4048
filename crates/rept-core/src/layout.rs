//! What an ELF file's header says about its place in memory: segments, RELRO, build-id.

use crate::BuildId;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadRef};

const PAGE: u64 = 4096;

/// The load segments of one ELF file, in its own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) segments: Vec<Segment>,
    /// PT_GNU_RELRO as (address, size): written by the loader, then protected.
    relro: Option<(u64, u64)>,
    pub(crate) build_id: Option<BuildId>,
}

/// One PT_LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) memory_size: u64,
    pub(crate) offset: u64,
    pub(crate) file_size: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

pub(crate) fn page_down(at: u64) -> u64 {
    at & !(PAGE - 1)
}

pub(crate) fn page_up(at: u64) -> u64 {
    page_down(at.saturating_add(PAGE - 1))
}

impl Layout {
    /// Reads the headers; `bytes` may be no more than the first page of the file.
    /// `None` for what is no little-endian 64-bit ELF file.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Layout> {
        let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
        let headers = header.program_headers(LittleEndian, bytes).ok()?;
        let mut layout = Layout::default();
        for header in headers {
            layout.add(header, bytes);
        }
        Some(layout)
    }

    fn add(&mut self, header: &ProgramHeader64<LittleEndian>, bytes: &[u8]) {
        let e = LittleEndian;
        match header.p_type(e) {
            elf::PT_LOAD => self.segments.push(Segment {
                address: header.p_vaddr(e),
                memory_size: header.p_memsz(e),
                offset: header.p_offset(e),
                file_size: header.p_filesz(e),
                read: header.p_flags(e) & elf::PF_R != 0,
                write: header.p_flags(e) & elf::PF_W != 0,
                execute: header.p_flags(e) & elf::PF_X != 0,
            }),
            elf::PT_GNU_RELRO => self.relro = Some((header.p_vaddr(e), header.p_memsz(e))),
            elf::PT_NOTE if self.build_id.is_none() => self.build_id = note_build_id(header, bytes),
            _ => {}
        }
    }

    /// What to add to the file's addresses when its bytes from `file_offset` on are mapped at `start`.
    ///
    /// Two segments may share a page of the file; a mapping that begins with that page is
    /// the later segment's.
    pub(crate) fn bias(&self, start: u64, file_offset: u64) -> Option<u64> {
        let segment = self
            .segments
            .iter()
            .filter(|segment| segment.maps(file_offset))
            .max_by_key(|segment| segment.offset)?;
        let address = segment
            .page_address()
            .wrapping_add(file_offset - page_down(segment.offset));
        Some(start.wrapping_sub(address))
    }

    /// A mapping of `file_offset` at `start` is one that the loader makes for this bias.
    pub(crate) fn explains(&self, bias: u64, start: u64, file_offset: u64) -> bool {
        self.segments.iter().any(|segment| {
            segment.maps(file_offset)
                && segment
                    .page_address()
                    .wrapping_add(file_offset - page_down(segment.offset))
                    .wrapping_add(bias)
                    == start
        })
    }

    /// What the loader writes and then protects, as a half-open range.
    ///
    /// Rounded as the dynamic loader does, both ends down to a page.
    pub(crate) fn relro(&self) -> Option<(u64, u64)> {
        let (start, size) = self.relro?;
        Some((page_down(start), page_down(start.saturating_add(size))))
    }

    /// The part of the file's addresses that nobody writes, not even the loader, as half-open ranges.
    pub(crate) fn constant(&self) -> Vec<(u64, u64)> {
        let relro = self.relro();
        let mut ranges = Vec::new();
        for segment in self.segments.iter().filter(|segment| !segment.write) {
            let (start, end) = (
                segment.page_address(),
                page_up(segment.address.saturating_add(segment.file_size)),
            );
            match relro {
                Some((from, to)) if from < end && start < to => {
                    ranges.extend([(start, from), (to, end)])
                }
                _ => ranges.push((start, end)),
            }
        }
        ranges.retain(|&(start, end)| start < end);
        ranges
    }
}

impl Segment {
    fn page_address(&self) -> u64 {
        page_down(self.address)
    }

    fn maps(&self, file_offset: u64) -> bool {
        let end = page_up(self.offset.saturating_add(self.file_size));
        (page_down(self.offset)..end).contains(&file_offset)
    }
}

fn note_build_id(header: &ProgramHeader64<LittleEndian>, bytes: &[u8]) -> Option<BuildId> {
    let e = LittleEndian;
    let data = bytes
        .read_bytes_at(header.p_offset(e), header.p_filesz(e))
        .ok()?;
    notes(data).find_map(|note| match note {
        Note {
            owner: b"GNU",
            kind: elf::NT_GNU_BUILD_ID,
            desc,
        } => BuildId::new(desc),
        _ => None,
    })
}

/// One ELF note.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note<'a> {
    pub(crate) owner: &'a [u8],
    pub(crate) kind: u32,
    pub(crate) desc: &'a [u8],
}

/// The notes in a PT_NOTE segment (4-byte aligned, as Linux writes them); ends at the first damaged one.
pub(crate) fn notes(data: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut cursor = crate::fields::Fields::new(data);
    std::iter::from_fn(move || {
        let (owner_len, desc_len, kind) = (
            cursor.u32()? as usize,
            cursor.u32()? as usize,
            cursor.u32()?,
        );
        let owner = cursor.take(owner_len)?;
        cursor.take(owner_len.next_multiple_of(4) - owner_len)?;
        let desc = cursor.take(desc_len)?;
        // The last note's padding may be missing.
        cursor
            .take(desc_len.next_multiple_of(4) - desc_len)
            .or_else(|| cursor.take(cursor.remaining().len()));
        let owner = owner.strip_suffix(&[0]).unwrap_or(owner);
        Some(Note { owner, kind, desc })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let segment = |address, memory_size, offset, file_size, write| Segment {
            address,
            memory_size,
            offset,
            file_size,
            read: true,
            write,
            execute: false,
        };
        Layout {
            segments: vec![
                segment(0, 0x600, 0, 0x600, false),
                segment(0x1000, 0x200, 0x1000, 0x200, false),
                segment(0x3d00, 0x400, 0x2d00, 0x310, true),
            ],
            relro: Some((0x3d00, 0x300)),
            build_id: None,
        }
    }

    #[test]
    fn a_mapping_tells_the_bias() {
        assert_eq!(layout().bias(0x7000_0000, 0), Some(0x7000_0000));
        assert_eq!(layout().bias(0x7000_3000, 0x2000), Some(0x7000_0000));
        assert_eq!(layout().bias(0x7000_3000, 0x9000), None);
    }

    #[test]
    fn only_what_the_loader_maps_is_explained() {
        assert!(layout().explains(0x7000_0000, 0x7000_3000, 0x2000));
        assert!(!layout().explains(0x7000_0000, 0x7000_2000, 0x2000));
    }

    #[test]
    fn writable_segments_are_not_constant() {
        assert_eq!(layout().constant(), [(0, 0x1000), (0x1000, 0x2000)]);
    }

    #[test]
    fn relro_in_a_read_only_segment_is_cut_out_by_whole_pages() {
        let mut layout = layout();
        layout.segments[1].file_size = 0x2000;
        layout.relro = Some((0x1800, 0x900));
        assert_eq!(layout.constant(), [(0, 0x1000), (0x2000, 0x3000)]);
    }
}
