//! Finding one's way among debugging information entries.

use super::dwarf::{Reader, Sections};
use gimli::{AttributeValue, DwAt, DwTag, Reader as _, UnitOffset, UnitRef};
use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::Arc;

pub(super) type Entry = gimli::DebuggingInformationEntry<Reader>;
type Value = AttributeValue<Reader>;

/// A unit, and the sections that it is of: the file's own, or others that belong to it.
pub(super) struct Unit {
    unit: gimli::Unit<Reader>,
    pub(super) dwarf: Arc<Sections>,
    /// Index of the sections among those of [`Dies`].
    place: usize,
    /// What is left of it in the file's own sections, where it was split off.
    skeleton: Option<Arc<Unit>>,
}

/// References from entry to entry followed at most, where they stand for the same thing.
const MAX_REFERENCES: usize = 8;
/// Children of one entry looked at, at most.
const MAX_CHILDREN: usize = 1 << 16;

/// One entry: its unit, and where it lies in it.
#[derive(Clone)]
pub(super) struct Die {
    pub(super) unit: Arc<Unit>,
    pub(super) offset: UnitOffset,
}

/// A function's code, and its entry.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) code: Range<u64>,
    pub(super) offset: UnitOffset,
}

/// Where a unit's header lies: sections by their index, and the offset in their `.debug_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitPlace {
    pub(super) sections: usize,
    pub(super) header: usize,
}

/// The file's own sections.
pub(super) const OWN: usize = 0;

/// Sections whose entries were read.
struct Source {
    dwarf: Arc<Sections>,
    skeleton: Option<Arc<Unit>>,
    /// Where each unit lies; made when first needed.
    extents: Option<Vec<Range<usize>>>,
    /// Types that are units of their own, by their signatures; made when first needed.
    types: Option<BTreeMap<u64, gimli::UnitHeader<Reader>>>,
}

/// The entries of one file, and of those that parts of them were moved to. Units are read when first
/// needed.
pub(super) struct Dies {
    sources: Vec<Source>,
    units: BTreeMap<UnitPlace, Arc<Unit>>,
    /// Functions of a unit, sorted by address.
    functions: BTreeMap<UnitPlace, Arc<Vec<Function>>>,
    /// The file that entries shared by several files were moved to.
    shared: Option<usize>,
    /// Entries that were moved to a type unit, by sections and signature.
    by_signature: BTreeMap<(usize, u64), Option<Die>>,
}

impl Deref for Unit {
    type Target = gimli::Unit<Reader>;

    fn deref(&self) -> &gimli::Unit<Reader> {
        &self.unit
    }
}

impl Unit {
    /// The line program, which is not split off.
    pub(super) fn lines(&self) -> Option<gimli::IncompleteLineProgram<Reader>> {
        let skeleton = self.skeleton.as_ref().map(|skeleton| &skeleton.unit);
        skeleton.unwrap_or(&self.unit).line_program.clone()
    }
}

impl Dies {
    pub(super) fn new(dwarf: Arc<Sections>, shared: Option<Arc<Sections>>) -> Dies {
        let mut dies = Dies {
            sources: Vec::new(),
            units: BTreeMap::new(),
            functions: BTreeMap::new(),
            shared: None,
            by_signature: BTreeMap::new(),
        };
        dies.add(dwarf, None);
        dies.shared = shared.map(|shared| dies.add(shared, None));
        dies
    }

    /// Adds sections that were split off, and what is left of their unit; gives their index.
    pub(super) fn add(&mut self, dwarf: Arc<Sections>, skeleton: Option<Arc<Unit>>) -> usize {
        self.sources.push(Source {
            dwarf,
            skeleton,
            extents: None,
            types: None,
        });
        self.sources.len() - 1
    }

    /// The units of the file's own sections.
    pub(super) fn own_units(&mut self) -> Vec<UnitPlace> {
        let place = |extent: &Range<usize>| UnitPlace {
            sections: OWN,
            header: extent.start,
        };
        let extents = self.extents(OWN).unwrap_or_default();
        extents.iter().map(place).collect()
    }

    /// The file's own unit that another one was split off from.
    pub(super) fn skeleton(&mut self, id: gimli::DwoId) -> Option<Arc<Unit>> {
        self.own_units()
            .into_iter()
            .filter_map(|place| self.unit(place))
            .find(|unit| unit.dwo_id == Some(id))
    }

    /// The unit in sections that were split off that is no type's.
    pub(super) fn compilation_unit(&mut self, sections: usize) -> Option<UnitPlace> {
        let starts = self.extents(sections)?.iter().map(|extent| extent.start);
        let starts: Vec<usize> = starts.collect();
        let mut places = starts
            .into_iter()
            .map(|header| UnitPlace { sections, header });
        places.find(|&place| {
            self.unit(place)
                .is_some_and(|unit| type_of(&unit.header).is_none())
        })
    }

    /// The unit whose header lies at a place.
    pub(super) fn unit(&mut self, place: UnitPlace) -> Option<Arc<Unit>> {
        if let Some(unit) = self.units.get(&place) {
            return Some(unit.clone());
        }
        let dwarf = &self.sources.get(place.sections)?.dwarf;
        let header = gimli::DebugInfoOffset(place.header);
        let parsed = dwarf.unit_header(header).ok()?;
        let unit = self.read(place.sections, parsed)?;
        self.units.insert(place, unit.clone());
        Some(unit)
    }

    fn read(&self, place: usize, header: gimli::UnitHeader<Reader>) -> Option<Arc<Unit>> {
        let Source {
            dwarf, skeleton, ..
        } = self.sources.get(place)?;
        let mut unit = dwarf.unit(header).ok()?;
        if let Some(skeleton) = skeleton {
            unit.copy_relocated_attributes(skeleton);
        }
        Some(Arc::new(Unit {
            unit,
            dwarf: dwarf.clone(),
            place,
            skeleton: skeleton.clone(),
        }))
    }

    /// The function of a unit whose code holds an address.
    pub(super) fn function(&mut self, place: UnitPlace, at: u64) -> Option<(Die, Function)> {
        let unit = self.unit(place)?;
        let functions = match self.functions.get(&place) {
            Some(known) => known.clone(),
            None => {
                let found = Arc::new(functions_of(&unit));
                self.functions.insert(place, found.clone());
                found
            }
        };
        let behind = functions.partition_point(|function| function.code.start <= at);
        let below = functions[..behind].iter().rev();
        let function = below
            .clone()
            .find(|function| at < function.code.end)?
            .clone();
        let offset = function.offset;
        Some((Die { unit, offset }, function))
    }

    pub(super) fn entry(&self, die: &Die) -> Option<Entry> {
        die.unit.entry(die.offset).ok()
    }

    /// An attribute of the entry itself.
    pub(super) fn own(&self, die: &Die, name: DwAt) -> Option<Value> {
        self.entry(die)?.attr_value(name)
    }

    /// An attribute of the entry, or of the one that it is an instance or the body of.
    pub(super) fn attribute(&mut self, die: &Die, name: DwAt) -> Option<(Die, Value)> {
        let mut die = die.clone();
        for _ in 0..MAX_REFERENCES {
            let entry = self.entry(&die)?;
            if let Some(value) = entry.attr_value(name) {
                return Some((die, value));
            }
            let origin = entry
                .attr_value(gimli::DW_AT_abstract_origin)
                .or_else(|| entry.attr_value(gimli::DW_AT_specification))?;
            die = self.target(&die, &origin)?;
        }
        None
    }

    /// The entry that a reference leads to.
    pub(super) fn target(&mut self, from: &Die, reference: &Value) -> Option<Die> {
        match *reference {
            AttributeValue::UnitRef(offset) => Some(Die {
                unit: from.unit.clone(),
                offset,
            }),
            AttributeValue::DebugInfoRef(at) => {
                let place = from.unit.place;
                self.entry_at(place, at)
            }
            AttributeValue::DebugInfoRefSup(at) => {
                let shared = self.shared?;
                self.entry_at(shared, at)
            }
            AttributeValue::DebugTypesRef(signature) => {
                let place = from.unit.place;
                self.type_unit(place, signature)
            }
            _ => None,
        }
    }

    /// The entry that a reference attribute leads to.
    pub(super) fn follow(&mut self, die: &Die, name: DwAt) -> Option<Die> {
        let (holder, value) = self.attribute(die, name)?;
        self.target(&holder, &value)
    }

    /// The entry at an offset of the `.debug_info` of some sections.
    fn entry_at(&mut self, sections: usize, at: gimli::DebugInfoOffset) -> Option<Die> {
        let extents = self.extents(sections)?;
        let behind = extents.partition_point(|extent| extent.start <= at.0);
        let extent = extents[..behind].last()?;
        let header = extent.contains(&at.0).then_some(extent.start)?;
        let unit = self.unit(UnitPlace { sections, header })?;
        let offset = at.to_unit_offset(&unit.header)?;
        Some(Die { unit, offset })
    }

    fn extents(&mut self, sections: usize) -> Option<&[Range<usize>]> {
        let source = self.sources.get_mut(sections)?;
        let extents = source.extents.get_or_insert_with(|| {
            let mut extents = Vec::new();
            let mut headers = source.dwarf.units();
            while let Ok(Some(header)) = headers.next() {
                if let Some(start) = header.debug_info_offset() {
                    extents.push(start.0..start.0.saturating_add(header.length_including_self()));
                }
            }
            extents
        });
        Some(extents)
    }

    /// The entry of a type that is a unit of its own.
    fn type_unit(&mut self, sections: usize, signature: gimli::DebugTypeSignature) -> Option<Die> {
        let key = (sections, signature.0);
        if let Some(known) = self.by_signature.get(&key) {
            return known.clone();
        }
        let found = self.read_type_unit(sections, signature);
        self.by_signature.insert(key, found.clone());
        found
    }

    fn read_type_unit(
        &mut self,
        sections: usize,
        signature: gimli::DebugTypeSignature,
    ) -> Option<Die> {
        let source = self.sources.get_mut(sections)?;
        let types = source.types.get_or_insert_with(|| types_of(&source.dwarf));
        let header = types.get(&signature.0)?.clone();
        let offset = type_of(&header)?.1;
        let unit = self.read(sections, header)?;
        Some(Die { unit, offset })
    }

    /// The entry's children with their tags.
    pub(super) fn children(&self, die: &Die) -> Vec<(Die, DwTag)> {
        let mut found = Vec::new();
        let Ok(mut tree) = die.unit.entries_tree(Some(die.offset)) else {
            return found;
        };
        let Ok(root) = tree.root() else { return found };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            let unit = die.unit.clone();
            let offset = entry.offset();
            found.push((Die { unit, offset }, entry.tag()));
            if found.len() == MAX_CHILDREN {
                break;
            }
        }
        found
    }

    /// The entry's code holds an address; `None` when it names no code.
    pub(super) fn holds(&self, die: &Die, at: u64) -> Option<bool> {
        let entry = self.entry(die)?;
        let mut ranges = die.unit.dwarf.die_ranges(&die.unit, &entry).ok()?;
        let mut any = None;
        while let Ok(Some(range)) = ranges.next() {
            any = Some(any.unwrap_or(false) || (range.begin..range.end).contains(&at));
        }
        any
    }

    /// The entry's name, as written in the source.
    pub(super) fn name(&mut self, die: &Die) -> Option<String> {
        let (holder, value) = self.attribute(die, gimli::DW_AT_name)?;
        let unit = UnitRef::new(&holder.unit.dwarf, &holder.unit);
        let text = unit.attr_string(value).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }

    /// What the linker calls what an entry describes, where that is another name.
    pub(super) fn linkage_name(&mut self, die: &Die) -> Option<String> {
        let (holder, value) = self.attribute(die, gimli::DW_AT_linkage_name)?;
        let text = holder.unit.dwarf.attr_string(&holder.unit, value).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }

    /// A number among the entry's own attributes.
    pub(super) fn number(&self, die: &Die, name: DwAt) -> Option<u64> {
        let value = self.own(die, name)?;
        let signed = || value.sdata_value().map(|value| value as u64);
        value.udata_value().or_else(signed)
    }
}

fn functions_of(unit: &Unit) -> Vec<Function> {
    let mut found = Vec::new();
    let mut entries = unit.entries();
    while let Ok(Some(entry)) = entries.next_dfs() {
        if entry.tag() != gimli::DW_TAG_subprogram {
            continue;
        }
        let Ok(mut ranges) = unit.dwarf.die_ranges(unit, entry) else {
            continue;
        };
        while let Ok(Some(range)) = ranges.next() {
            found.push(Function {
                code: range.begin..range.end,
                offset: entry.offset(),
            });
        }
    }
    found.sort_by_key(|function| (function.code.start, function.offset.0));
    found
}

/// The headers of units that hold a type each, by its signature.
fn types_of(dwarf: &Sections) -> BTreeMap<u64, gimli::UnitHeader<Reader>> {
    let mut found = BTreeMap::new();
    let mut add = |header: gimli::UnitHeader<Reader>| {
        if let Some((signature, _)) = type_of(&header) {
            found.entry(signature.0).or_insert(header);
        }
    };
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        add(header);
    }
    // DWARF 4 has a section for them.
    let mut units = dwarf.type_units();
    while let Ok(Some(header)) = units.next() {
        add(header);
    }
    found
}

fn type_of(header: &gimli::UnitHeader<Reader>) -> Option<(gimli::DebugTypeSignature, UnitOffset)> {
    match header.type_() {
        gimli::UnitType::Type {
            type_signature,
            type_offset,
        }
        | gimli::UnitType::SplitType {
            type_signature,
            type_offset,
        } => Some((type_signature, type_offset)),
        _ => None,
    }
}
