//! Parameters and locals of the functions that an address belongs to, by their debug information.
//!
//! The scopes around an address are matched from the function inwards: lexical blocks, and
//! inlined functions, each with variables of its own. A variable's location is evaluated over
//! what is known of the frame; what the compiler kept nowhere, and what is not known, is said.

mod location;
mod statics;
mod types;

use super::die::{Die, Dies, UnitPlace};
use super::dwarf::Reader;
use super::places::Places;
use crate::typed::{Typed, Variable};
use gimli::{AttributeValue, Expression, UnitRef};
pub(crate) use location::FrameState;
use location::{Bytes, Evaluator, Missing, all_known};
pub(super) use statics::Statics;
use types::{MAX_OBJECT, Types};

/// Scopes inside scopes at most.
const MAX_NESTING: usize = 128;
/// Variables of one function at most.
const MAX_VARIABLES: usize = 1024;

/// A code address of a file and the unit that it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) unit: UnitPlace,
    /// Address in the file.
    pub(super) at: u64,
    /// Where the file's variables are.
    pub(super) places: Places,
}

/// A function's place in the file, for setting up its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FunctionPlace {
    /// Its first instruction.
    pub(crate) entry: u64,
    /// The first instruction behind its prologue, where the line table says so.
    pub(crate) body: Option<u64>,
    /// Its frame base is a register, not the canonical frame address: valid in the body only.
    pub(crate) by_register: bool,
}

/// Variables of one function at an address, the function itself or one inlined into it: each with
/// whether it is a parameter.
type Scope = Vec<(Die, bool)>;

/// What the function that holds an address needs to be known for.
pub(super) fn place(dies: &mut Dies, spot: Spot) -> Option<FunctionPlace> {
    let (die, function) = dies.function(spot.unit, spot.at)?;
    let entry = entry_of(dies, &die).unwrap_or(function.code.start);
    let base = dies.attribute(&die, gimli::DW_AT_frame_base);
    let base = base.and_then(|(holder, value)| Some((holder, value.exprloc_value()?)));
    let by_register = base.is_some_and(|(holder, expression)| {
        let mut operations = expression.operations(holder.unit.encoding());
        !matches!(operations.next(), Ok(Some(gimli::Operation::CallFrameCFA)))
    });
    let body = by_register.then(|| body_of(dies, &die, entry)).flatten();
    Some(FunctionPlace {
        entry,
        body,
        by_register,
    })
}

/// The address at which the function is entered.
fn entry_of(dies: &Dies, die: &Die) -> Option<u64> {
    let entry = dies.entry(die)?;
    if let Some(value) = entry.attr_value(gimli::DW_AT_low_pc) {
        return die.unit.dwarf.attr_address(&die.unit, value).ok()?;
    }
    // The first range holds the entry; cold parts come behind.
    let mut ranges = die.unit.dwarf.die_ranges(&die.unit, &entry).ok()?;
    Some(ranges.next().ok()??.begin)
}

/// The first address behind the prologue: marked as its end, else the second line of the function.
fn body_of(dies: &Dies, die: &Die, entry: u64) -> Option<u64> {
    let program = die.unit.lines()?;
    let end = dies.entry(die).and_then(|entry| {
        let mut ranges = die.unit.dwarf.die_ranges(&die.unit, &entry).ok()?;
        Some(ranges.next().ok()??.end)
    })?;
    let mut rows = program.rows();
    let mut second = None;
    while let Ok(Some((_, row))) = rows.next_row() {
        if !(entry..end).contains(&row.address()) || row.end_sequence() {
            continue;
        }
        if row.prologue_end() {
            return Some(row.address());
        }
        if row.address() > entry && second.is_none() {
            second = Some(row.address());
        }
    }
    second
}

/// The variables of the functions at an address: those of the innermost inlined function first.
pub(super) fn variables(
    dies: &mut Dies,
    spot: Spot,
    state: &FrameState<'_>,
    unset: bool,
) -> Vec<Vec<Variable>> {
    let Some((function, _)) = dies.function(spot.unit, spot.at) else {
        return Vec::new();
    };
    let mut scopes = vec![Scope::new()];
    collect(dies, &function, spot.at, &mut scopes, (0, 0));
    let reader = FrameReader {
        spot,
        function,
        state,
        unset,
    };
    let of_scope = |scope: Scope| -> Vec<Variable> {
        let mut shown: Vec<Variable> = Vec::new();
        for (die, parameter) in scope {
            let Some(variable) = reader.variable(dies, &die, parameter) else {
                continue;
            };
            // An inner block's variable hides an outer one of the same name.
            shown.retain(|other| other.name != variable.name);
            shown.push(variable);
        }
        shown
    };
    scopes.into_iter().rev().map(of_scope).collect()
}

/// Adds the variables of a scope to the function `own`, and functions inlined into it behind.
fn collect(
    dies: &Dies,
    scope: &Die,
    at: u64,
    scopes: &mut Vec<Scope>,
    (own, depth): (usize, usize),
) {
    if depth == MAX_NESTING {
        return;
    }
    for (child, tag) in dies.children(scope) {
        match tag {
            gimli::DW_TAG_formal_parameter | gimli::DW_TAG_variable => {
                let parameter = tag == gimli::DW_TAG_formal_parameter;
                if scopes[own].len() < MAX_VARIABLES {
                    scopes[own].push((child, parameter));
                }
            }
            gimli::DW_TAG_lexical_block if dies.holds(&child, at) != Some(false) => {
                collect(dies, &child, at, scopes, (own, depth + 1));
            }
            gimli::DW_TAG_inlined_subroutine if dies.holds(&child, at) == Some(true) => {
                scopes.push(Scope::new());
                let inlined = scopes.len() - 1;
                collect(dies, &child, at, scopes, (inlined, depth + 1));
            }
            _ => {}
        }
    }
}

/// Reads the variables of one frame.
struct FrameReader<'a> {
    spot: Spot,
    function: Die,
    state: &'a FrameState<'a>,
    unset: bool,
}

impl FrameReader<'_> {
    /// `None` for entries without a name.
    fn variable(&self, dies: &mut Dies, die: &Die, parameter: bool) -> Option<Variable> {
        let name = dies.name(die)?;
        let Some(kind) = dies.follow(die, gimli::DW_AT_type) else {
            let value = Typed::missing("?".to_owned(), "its type is not described");
            let location = None;
            return Some(Variable {
                name,
                parameter,
                value,
                location,
            });
        };
        let mut types = Types::new(dies, self.state);
        let type_name = types.name(&kind, 0);
        let size = types.size(&kind).unwrap_or(8).min(MAX_OBJECT);
        let (value, location) = match self.bytes(dies, die, size) {
            Ok(bytes) => {
                let value = Types::new(dies, self.state).decode(&kind, &bytes, 0);
                (value, place_of(&bytes, size))
            }
            Err(missing) => (Typed::missing(type_name, reason(&missing)), None),
        };
        Some(Variable {
            name,
            parameter,
            value,
            location,
        })
    }

    fn bytes(&self, dies: &mut Dies, die: &Die, size: u64) -> Result<Bytes, Missing> {
        if let Some((_, value)) = dies.attribute(die, gimli::DW_AT_const_value) {
            return constant(&value, size);
        }
        let found = dies.attribute(die, gimli::DW_AT_location);
        let (holder, value) = found.ok_or(Missing::OptimizedOut)?;
        let expression = at_hand(self.spot.at, &holder, value)?;
        let mut evaluator = Evaluator {
            dies,
            state: self.state,
            function: &self.function,
            unset: self.unset,
            places: &self.spot.places,
            variable: (die, size),
            nesting: 0,
        };
        evaluator.object(&holder, expression, size)
    }
}

/// The location that holds at an address of the file.
fn at_hand(
    at: u64,
    die: &Die,
    value: AttributeValue<Reader>,
) -> Result<Expression<Reader>, Missing> {
    if let Some(expression) = value.exprloc_value() {
        return match expression.0.is_empty() {
            true => Err(Missing::OptimizedOut),
            false => Ok(expression),
        };
    }
    let unit = UnitRef::new(&die.unit.dwarf, &die.unit);
    let list = unit.attr_locations(value).ok().flatten();
    let mut list = list.ok_or(Missing::OptimizedOut)?;
    while let Ok(Some(entry)) = list.next() {
        let range = entry.range.begin..entry.range.end;
        if range.contains(&at) && !entry.data.0.is_empty() {
            return Ok(entry.data);
        }
    }
    Err(Missing::OptimizedOut)
}

fn place_of(bytes: &Bytes, size: u64) -> Option<crate::Location> {
    let in_memory = bytes.address.filter(|_| size > 0);
    let in_memory = in_memory.map(|address| crate::Location::Mem { address, size });
    in_memory.or(bytes.register.map(crate::Location::Reg))
}

/// Variables of a file that are no function's own, by name; each is called by its path.
pub(super) fn of_name(
    dies: &mut Dies,
    statics: &Statics,
    name: &str,
    (spot, state): (Spot, &FrameState<'_>),
) -> Vec<Variable> {
    let mut found = Vec::new();
    for one in statics.named(name) {
        let reader = FrameReader {
            spot: spot.clone(),
            function: one.die.clone(),
            state,
            unset: true,
        };
        let variable = reader.variable(dies, &one.die, false);
        found.extend(variable.map(|variable| Variable {
            name: one.path,
            ..variable
        }));
    }
    found
}

fn constant(value: &AttributeValue<Reader>, size: u64) -> Result<Bytes, Missing> {
    use gimli::Reader as _;
    let number = value
        .sdata_value()
        .map(|value| value as u64)
        .or_else(|| value.udata_value());
    let bytes: Vec<u8> = match (number, value) {
        (Some(number), _) => number.to_le_bytes().to_vec(),
        (None, AttributeValue::Block(block)) => block
            .to_slice()
            .map_err(|_| Missing::OptimizedOut)?
            .into_owned(),
        _ => return Err(Missing::Unsupported("a constant")),
    };
    let known = bytes
        .iter()
        .map(|&byte| all_known(byte.into()).masked(0xff));
    let mut bytes = Bytes {
        bytes: known.collect(),
        ..Bytes::default()
    };
    bytes.bytes.truncate(size as usize);
    Ok(bytes)
}

fn reason(missing: &Missing) -> String {
    match missing {
        Missing::OptimizedOut => "optimized out".to_owned(),
        Missing::NotMade => "the thread has not made it yet".to_owned(),
        Missing::LoadedLater => {
            "its module was loaded later, and the thread's block may be an earlier one's".to_owned()
        }
        Missing::SeveralModules => "other modules may have one of this name that counts".to_owned(),
        Missing::PlaceUnknown => "where it is, is not known".to_owned(),
        Missing::Unsupported(what) => format!("its location needs {what}, which is not supported"),
    }
}
