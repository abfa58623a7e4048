//! Variables that are no function's own: globals, those of files, namespaces and classes, and what
//! functions keep between calls.
//!
//! Names are collected once, in one walk over all entries.

use super::super::die::{Die, Dies, Unit, UnitPlace};
use super::super::dwarf::Reader;
use gimli::Operation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variables of one file at most.
const MAX_STATICS: usize = 1 << 20;

/// Variables by the last part of their names.
#[derive(Default)]
pub(in crate::symbols) struct Statics {
    by_name: BTreeMap<String, Vec<Static>>,
    count: usize,
}

/// One variable.
#[derive(Clone)]
pub(in crate::symbols) struct Static {
    /// Its name with those of what it is in.
    pub(in crate::symbols) path: String,
    pub(in crate::symbols) die: Die,
}

impl Statics {
    /// Those whose name is this, alone or with some or all of what they are in before it.
    pub(in crate::symbols) fn named(&self, name: &str) -> Vec<Static> {
        let last = name.rsplit("::").next().unwrap_or(name);
        let all = self.by_name.get(last).map(Vec::as_slice);
        let is = |found: &&Static| {
            let rest = found.path.strip_suffix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
        };
        all.unwrap_or_default().iter().filter(is).cloned().collect()
    }

    /// Adds those of a unit.
    pub(in crate::symbols) fn add(&mut self, dies: &mut Dies, place: UnitPlace) {
        let Some(unit) = dies.unit(place) else {
            return;
        };
        // What the entry is in: how deep each is, and its path.
        let mut around: Vec<(isize, String)> = Vec::new();
        let mut declared: BTreeMap<usize, String> = BTreeMap::new();
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            let (depth, tag, offset) = (entry.depth(), entry.tag(), entry.offset());
            around.retain(|&(outer, _)| outer < depth);
            let die = Die {
                unit: unit.clone(),
                offset,
            };
            if tag == gimli::DW_TAG_variable || tag == gimli::DW_TAG_member {
                let inside = around.last().map_or("", |(_, path)| path);
                if entry.attr_value(gimli::DW_AT_declaration).is_some() {
                    let name = dies.name(&die).unwrap_or_default();
                    declared.insert(offset.0, join(inside, &name));
                } else if is_static(&unit, entry.attr_value(gimli::DW_AT_location)) {
                    let declaration = entry.attr_value(gimli::DW_AT_specification);
                    let declaration = declaration.and_then(|value| match value {
                        gimli::AttributeValue::UnitRef(offset) => declared.get(&offset.0).cloned(),
                        _ => None,
                    });
                    let own = || Some(join(inside, &dies.name(&die)?));
                    if let Some(path) = declaration.or_else(own) {
                        self.insert(path, die);
                    }
                }
            } else if names(tag) {
                let inside = around.last().map_or("", |(_, path)| path);
                let name = dies.name(&die).unwrap_or_default();
                around.push((depth, join(inside, &name)));
            }
        }
    }

    fn insert(&mut self, path: String, die: Die) {
        if self.count == MAX_STATICS {
            return;
        }
        self.count += 1;
        let last = path.rsplit("::").next().unwrap_or(&path).to_owned();
        let found = self.by_name.entry(last).or_default();
        found.push(Static { path, die });
    }
}

/// What it holds is named after it.
fn names(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_namespace
            | gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_subprogram
    )
}

fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}::{name}"),
    }
}

/// It lies at one place, or at one of each thread.
fn is_static(unit: &Arc<Unit>, location: Option<gimli::AttributeValue<Reader>>) -> bool {
    let Some(expression) = location.and_then(|location| location.exprloc_value()) else {
        return false;
    };
    let mut operations = expression.operations(unit.encoding());
    match operations.next() {
        Ok(Some(Operation::Address { .. } | Operation::AddressIndex { .. })) => true,
        Ok(Some(Operation::UnsignedConstant { .. } | Operation::ConstantIndex { .. })) => {
            matches!(operations.next(), Ok(Some(Operation::TLS)))
        }
        _ => false,
    }
}
