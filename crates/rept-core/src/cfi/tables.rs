//! Call-frame information of one file: `.eh_frame` with its index, `.debug_frame` without.

use super::expression::{Around, value_of};
use crate::binaries::Binary;
use crate::symbols::{Reader, section};
use gimli::{BaseAddresses, DebugFrame, EhFrame, EhFrameHdr, Encoding, EndianReader, LittleEndian};
use gimli::{FrameDescriptionEntry, ParsedEhFrameHdr, RegisterRule, UnwindContext};
use gimli::{UnwindExpression, UnwindOffset, UnwindSection, UnwindTableRow};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};
use rept_trace::Address;
use std::sync::Arc;

type Elf<'a> = ElfFile64<'a, object::LittleEndian>;

/// The tables of one file.
pub(super) struct Tables {
    eh: Option<EhTables>,
    debug: Option<DebugFrame<Reader>>,
    bases: BaseAddresses,
    bias: u64,
}

struct EhTables {
    frame: EhFrame<Reader>,
    index: Option<ParsedEhFrameHdr<Reader>>,
}

/// How to unwind from one code address.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) row: UnwindTableRow<usize>,
    pub(super) return_address: gimli::Register,
    /// The kernel's frame of a signal handler: "S" in the augmentation.
    pub(super) signal: bool,
    encoding: Encoding,
    section: Section,
    bias: u64,
}

/// The section that a rule's expressions lie in.
#[derive(Debug)]
enum Section {
    Eh(EhFrame<Reader>),
    Debug(DebugFrame<Reader>),
}

impl Tables {
    /// Reads what the file has; `None` when that is nothing.
    pub(super) fn load(binary: &Arc<Binary>, bias: u64) -> Option<Tables> {
        let file = Elf::parse(binary.bytes()).ok()?;
        let bases = bases(&file);
        let reader = |name: &str| {
            section(binary, &file, name).map(|bytes| EndianReader::new(bytes, LittleEndian))
        };
        let eh = reader(".eh_frame").map(|bytes| {
            let mut frame = EhFrame::from(bytes);
            frame.set_address_size(8);
            let header = reader(".eh_frame_hdr").map(EhFrameHdr::from);
            let index = header.and_then(|header| header.parse(&bases, 8).ok());
            EhTables { frame, index }
        });
        let debug = reader(".debug_frame").map(|bytes| {
            let mut frame = DebugFrame::from(bytes);
            frame.set_address_size(8);
            frame
        });
        (eh.is_some() || debug.is_some()).then_some(Tables {
            eh,
            debug,
            bases,
            bias,
        })
    }

    /// Tables of an `.eh_frame` section alone.
    #[cfg(test)]
    pub(super) fn for_eh_frame(bytes: Vec<u8>) -> Tables {
        let bytes = crate::mmap::Section::Unpacked(bytes.into());
        let mut frame = EhFrame::from(EndianReader::new(bytes, LittleEndian));
        frame.set_address_size(8);
        Tables {
            eh: Some(EhTables { frame, index: None }),
            debug: None,
            bases: BaseAddresses::default(),
            bias: 0,
        }
    }

    /// The function around an address of the file, or the part of it: first address and end.
    pub(super) fn function(&self, at: u64) -> Option<(u64, u64)> {
        let eh = self.eh.as_ref().and_then(|eh| self.eh_entry(eh, at));
        let entry = eh.or_else(|| self.debug_entry(self.debug.as_ref()?, at))?;
        let start = entry.initial_address();
        Some((start, start.checked_add(entry.len())?))
    }

    /// The rules for an address of the file.
    pub(super) fn rules(&self, at: u64) -> Option<Rules> {
        let eh = self.eh.as_ref().and_then(|eh| self.eh_rules(eh, at));
        eh.or_else(|| self.debug_rules(self.debug.as_ref()?, at))
    }

    fn eh_rules(&self, eh: &EhTables, at: u64) -> Option<Rules> {
        let entry = self.eh_entry(eh, at)?;
        self.row(&eh.frame, entry, at, Section::Eh(eh.frame.clone()))
    }

    fn debug_rules(&self, frame: &DebugFrame<Reader>, at: u64) -> Option<Rules> {
        let entry = self.debug_entry(frame, at)?;
        self.row(frame, entry, at, Section::Debug(frame.clone()))
    }

    fn eh_entry(&self, eh: &EhTables, at: u64) -> Option<FrameDescriptionEntry<Reader>> {
        let table = eh.index.as_ref().and_then(ParsedEhFrameHdr::table);
        let cie = EhFrame::cie_from_offset;
        let entry = match table {
            Some(table) => table.fde_for_address(&eh.frame, &self.bases, at, cie),
            None => eh.frame.fde_for_address(&self.bases, at, cie),
        };
        entry.ok()
    }

    fn debug_entry(
        &self,
        frame: &DebugFrame<Reader>,
        at: u64,
    ) -> Option<FrameDescriptionEntry<Reader>> {
        let cie = DebugFrame::cie_from_offset;
        frame.fde_for_address(&self.bases, at, cie).ok()
    }

    fn row<S: UnwindSection<Reader>>(
        &self,
        frame: &S,
        entry: FrameDescriptionEntry<Reader>,
        at: u64,
        section: Section,
    ) -> Option<Rules>
    where
        S::Offset: UnwindOffset<usize>,
    {
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(frame, &self.bases, &mut context, at);
        Some(Rules {
            row: row.ok()?.clone(),
            return_address: entry.cie().return_address_register(),
            signal: entry.is_signal_trampoline(),
            encoding: entry.cie().encoding(),
            section,
            bias: self.bias,
        })
    }
}

impl Rules {
    /// The value of an expression among the rules.
    pub(super) fn value(
        &self,
        expression: &UnwindExpression<usize>,
        around: &Around<'_>,
        initial: Option<u64>,
    ) -> Option<u64> {
        let expression = match &self.section {
            Section::Eh(frame) => expression.get(frame),
            Section::Debug(frame) => expression.get(frame),
        };
        value_of(expression.ok()?, self.encoding, self.bias, around, initial)
    }

    /// What a rule says that the caller has in a register.
    pub(super) fn restore(
        &self,
        rule: RegisterRule<usize>,
        register: gimli::Register,
        cfa: u64,
        around: &Around<'_>,
    ) -> Option<u64> {
        let stored = |at: u64| (around.memory)(Address(at), 8);
        match rule {
            RegisterRule::SameValue => around.registers.by_dwarf(register.0),
            RegisterRule::Offset(offset) => stored(cfa.wrapping_add_signed(offset)),
            RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(offset)),
            RegisterRule::Register(other) => around.registers.by_dwarf(other.0),
            RegisterRule::Expression(place) => stored(self.value(&place, around, Some(cfa))?),
            RegisterRule::ValExpression(value) => self.value(&value, around, Some(cfa)),
            RegisterRule::Constant(value) => Some(value),
            _ => None,
        }
    }
}

/// Addresses that pointers in the tables are relative to.
fn bases(file: &Elf<'_>) -> BaseAddresses {
    let address = |name: &str| file.section_by_name(name).map(|section| section.address());
    let mut bases = BaseAddresses::default();
    if let Some(at) = address(".eh_frame") {
        bases = bases.set_eh_frame(at);
    }
    if let Some(at) = address(".eh_frame_hdr") {
        bases = bases.set_eh_frame_hdr(at);
    }
    if let Some(at) = address(".text") {
        bases = bases.set_text(at);
    }
    if let Some(at) = address(".got") {
        bases = bases.set_got(at);
    }
    bases
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables")
            .field("bias", &self.bias)
            .finish_non_exhaustive()
    }
}
