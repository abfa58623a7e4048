//! Finding one's way among debugging information entries.

use super::dwarf::Reader;
use gimli::{AttributeValue, DwAt, DwTag, Reader as _, UnitOffset, UnitRef};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(super) type Unit = gimli::Unit<Reader>;
pub(super) type Entry = gimli::DebuggingInformationEntry<Reader>;
type Value = AttributeValue<Reader>;

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

/// The entries of one file. Units are read when first needed.
pub(super) struct Dies {
    pub(super) dwarf: Arc<gimli::Dwarf<Reader>>,
    /// Units by the offset of their headers.
    units: BTreeMap<usize, Arc<Unit>>,
    /// Functions of a unit by its offset, sorted by address.
    functions: BTreeMap<usize, Arc<Vec<Function>>>,
    /// Where each unit lies; made when first needed.
    extents: Option<Vec<Range<usize>>>,
}

impl Dies {
    pub(super) fn new(dwarf: Arc<gimli::Dwarf<Reader>>) -> Dies {
        Dies {
            dwarf,
            units: BTreeMap::new(),
            functions: BTreeMap::new(),
            extents: None,
        }
    }

    /// The unit whose header lies at an offset of `.debug_info`.
    pub(super) fn unit(&mut self, header: usize) -> Option<Arc<Unit>> {
        if let Some(unit) = self.units.get(&header) {
            return Some(unit.clone());
        }
        let parsed = self
            .dwarf
            .unit_header(gimli::DebugInfoOffset(header))
            .ok()?;
        let unit = Arc::new(self.dwarf.unit(parsed).ok()?);
        self.units.insert(header, unit.clone());
        Some(unit)
    }

    /// The function of a unit whose code holds an address.
    pub(super) fn function(&mut self, header: usize, at: u64) -> Option<(Die, Function)> {
        let unit = self.unit(header)?;
        let functions = match self.functions.get(&header) {
            Some(known) => known.clone(),
            None => {
                let found = Arc::new(self.functions_of(&unit));
                self.functions.insert(header, found.clone());
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

    fn functions_of(&self, unit: &Unit) -> Vec<Function> {
        let mut found = Vec::new();
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            if entry.tag() != gimli::DW_TAG_subprogram {
                continue;
            }
            let Ok(mut ranges) = self.dwarf.die_ranges(unit, entry) else {
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
                let header = self.header_of(at.0)?;
                let unit = self.unit(header)?;
                let offset = at.to_unit_offset(&unit.header)?;
                Some(Die { unit, offset })
            }
            _ => None,
        }
    }

    /// The entry that a reference attribute leads to.
    pub(super) fn follow(&mut self, die: &Die, name: DwAt) -> Option<Die> {
        let (holder, value) = self.attribute(die, name)?;
        self.target(&holder, &value)
    }

    /// The unit that an offset of `.debug_info` lies in.
    fn header_of(&mut self, at: usize) -> Option<usize> {
        let dwarf = &self.dwarf;
        let extents = self.extents.get_or_insert_with(|| {
            let mut extents = Vec::new();
            let mut headers = dwarf.units();
            while let Ok(Some(header)) = headers.next() {
                if let Some(start) = header.debug_info_offset() {
                    extents.push(start.0..start.0.saturating_add(header.length_including_self()));
                }
            }
            extents
        });
        let behind = extents.partition_point(|extent| extent.start <= at);
        let extent = extents[..behind].last()?;
        extent.contains(&at).then_some(extent.start)
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
        let mut ranges = self.dwarf.die_ranges(&die.unit, &entry).ok()?;
        let mut any = None;
        while let Ok(Some(range)) = ranges.next() {
            any = Some(any.unwrap_or(false) || (range.begin..range.end).contains(&at));
        }
        any
    }

    /// The entry's name, as written in the source.
    pub(super) fn name(&mut self, die: &Die) -> Option<String> {
        let (holder, value) = self.attribute(die, gimli::DW_AT_name)?;
        let unit = UnitRef::new(&self.dwarf, &holder.unit);
        let text = unit.attr_string(value).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }

    /// A number among the entry's own attributes.
    pub(super) fn number(&self, die: &Die, name: DwAt) -> Option<u64> {
        let value = self.own(die, name)?;
        let signed = || value.sdata_value().map(|value| value as u64);
        value.udata_value().or_else(signed)
    }
}
