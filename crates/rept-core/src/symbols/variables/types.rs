//! From bytes to values of the source's types: C, C++ and Rust.

mod library;
mod numbers;

use super::super::die::{Die, Dies};
use super::location::{Bytes, FrameState};
use crate::history::Value;
use crate::show::grade;
use crate::typed::{Shape, Typed};
use gimli::{AttributeValue, DwTag};
use numbers::{character, integer, known, low, shifted, text, wide, word};
use rept_trace::Address;

/// Types inside types followed at most.
const MAX_DEPTH: usize = 8;
/// Elements of an array shown at most.
const MAX_ELEMENTS: u64 = 16;
/// Characters of a text shown at most.
const MAX_TEXT: u64 = 64;
/// Scalars of one variable shown at most.
const MAX_SCALARS: u32 = 256;
/// Bytes of one object looked at, at most.
pub(super) const MAX_OBJECT: u64 = 4096;

/// Decodes the objects of one frame.
pub(super) struct Types<'a> {
    dies: &'a mut Dies,
    state: &'a FrameState<'a>,
    left: u32,
}

impl<'a> Types<'a> {
    pub(super) fn new(dies: &'a mut Dies, state: &'a FrameState<'a>) -> Types<'a> {
        Types {
            dies,
            state,
            left: MAX_SCALARS,
        }
    }

    /// The object with these bytes.
    pub(super) fn decode(&mut self, die: &Die, object: &Bytes, depth: usize) -> Typed {
        let type_name = self.name(die, 0);
        let Some(plain) = self.plain(die) else {
            return Typed::missing(type_name, "its type is not described");
        };
        if depth == MAX_DEPTH || self.left == 0 {
            return Typed::missing(type_name, "not shown: the value is large");
        }
        let shape = match self.tag(&plain) {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
                self.structure(&plain, &type_name, object, depth)
            }
            gimli::DW_TAG_array_type => self.array(&plain, object, depth),
            gimli::DW_TAG_enumeration_type => self.enumeration(&plain, object),
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => self.pointer(&plain, object),
            _ => self.number(&plain, object),
        };
        Typed { type_name, shape }
    }

    /// Size in bytes.
    pub(super) fn size(&mut self, die: &Die) -> Option<u64> {
        let plain = self.plain(die)?;
        match self.tag(&plain) {
            gimli::DW_TAG_array_type => {
                let element = self.dies.follow(&plain, gimli::DW_AT_type)?;
                let element = self.size(&element)?;
                Some(element.saturating_mul(self.length(&plain)?))
            }
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => Some(8),
            _ => self.dies.number(&plain, gimli::DW_AT_byte_size),
        }
    }

    fn tag(&self, die: &Die) -> DwTag {
        self.dies
            .entry(die)
            .map_or(gimli::DW_TAG_null, |entry| entry.tag())
    }

    /// The type behind names and qualifiers; a declaration alone is no type.
    fn plain(&mut self, die: &Die) -> Option<Die> {
        let mut die = die.clone();
        for _ in 0..64 {
            match self.tag(&die) {
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type => {
                    die = self.dies.follow(&die, gimli::DW_AT_type)?;
                }
                // What is left of a type that was moved to a unit of its own.
                _ if self.dies.own(&die, gimli::DW_AT_signature).is_some() => {
                    die = self.dies.follow(&die, gimli::DW_AT_signature)?;
                }
                _ => {
                    let declared = self.dies.own(&die, gimli::DW_AT_declaration).is_some();
                    return (!declared).then_some(die);
                }
            }
        }
        None
    }

    /// The type's name, as the source has it.
    pub(super) fn name(&mut self, die: &Die, depth: usize) -> String {
        if depth == MAX_DEPTH {
            return "…".to_owned();
        }
        let tag = self.tag(die);
        if let Some(name) = self.dies.name(die) {
            return name;
        }
        let target = self.dies.follow(die, gimli::DW_AT_type);
        let inner = match &target {
            Some(target) => self.name(target, depth + 1),
            None => "void".to_owned(),
        };
        match tag {
            gimli::DW_TAG_pointer_type => format!("{inner} *"),
            gimli::DW_TAG_reference_type => format!("{inner} &"),
            gimli::DW_TAG_rvalue_reference_type => format!("{inner} &&"),
            gimli::DW_TAG_const_type => format!("const {inner}"),
            gimli::DW_TAG_volatile_type => format!("volatile {inner}"),
            gimli::DW_TAG_restrict_type | gimli::DW_TAG_atomic_type => inner,
            gimli::DW_TAG_array_type => match self.length(die) {
                Some(length) => format!("{inner}[{length}]"),
                None => format!("{inner}[]"),
            },
            gimli::DW_TAG_subroutine_type => format!("{inner} ()"),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => "struct {…}".to_owned(),
            gimli::DW_TAG_union_type => "union {…}".to_owned(),
            gimli::DW_TAG_enumeration_type => "enum {…}".to_owned(),
            _ => "?".to_owned(),
        }
    }

    /// Number of elements, over all dimensions.
    fn length(&mut self, array: &Die) -> Option<u64> {
        let mut length: Option<u64> = None;
        for (child, tag) in self.dies.children(array) {
            if tag != gimli::DW_TAG_subrange_type {
                continue;
            }
            let count = self.dies.number(&child, gimli::DW_AT_count);
            let upper = || {
                let upper = self.dies.number(&child, gimli::DW_AT_upper_bound)?;
                Some(upper.wrapping_add(1))
            };
            let count = count.or_else(upper)?;
            length = Some(length.unwrap_or(1).saturating_mul(count));
        }
        length
    }

    fn structure(&mut self, die: &Die, name: &str, object: &Bytes, depth: usize) -> Shape {
        if let Some(known) = self.library(die, name, object, depth) {
            return known;
        }
        let mut members = Vec::new();
        for (child, tag) in self.dies.children(die) {
            match tag {
                gimli::DW_TAG_member => {
                    let Some(shown) = self.member(&child, object, depth) else {
                        continue;
                    };
                    members.push(shown);
                }
                gimli::DW_TAG_inheritance => {
                    if let Some((_, base)) = self.member(&child, object, depth) {
                        members.push((base.type_name.clone(), base));
                    }
                }
                gimli::DW_TAG_variant_part => return self.variants(&child, object, depth),
                _ => {}
            }
        }
        let variant = None;
        Shape::Members { variant, members }
    }

    /// A member's name and value; `None` for static members.
    fn member(&mut self, die: &Die, object: &Bytes, depth: usize) -> Option<(String, Typed)> {
        if self.dies.own(die, gimli::DW_AT_external).is_some() {
            return None;
        }
        let name = self.dies.name(die).unwrap_or_default();
        let kind = self.dies.follow(die, gimli::DW_AT_type)?;
        if let Some(bits) = self.dies.number(die, gimli::DW_AT_bit_size) {
            let field = self.bit_field(die, &kind, bits, object);
            return Some((name, field));
        }
        let Some(offset) = self.offset(die) else {
            let type_name = self.name(&kind, 0);
            return Some((name, Typed::missing(type_name, "at a computed place")));
        };
        let size = self.size(&kind);
        let part = size.and_then(|size| part(object, offset, size));
        let value = match part {
            Some(part) => self.decode(&kind, &part, depth + 1),
            None => Typed::missing(self.name(&kind, 0), "not shown: the value is large"),
        };
        Some((name, value))
    }

    /// Bytes from the start of the object; `None` for places that are computed.
    fn offset(&self, member: &Die) -> Option<u64> {
        match self.dies.own(member, gimli::DW_AT_data_member_location) {
            None => Some(0),
            Some(AttributeValue::Exprloc(_)) => None,
            Some(value) => value.udata_value(),
        }
    }

    fn bit_field(&mut self, die: &Die, kind: &Die, bits: u64, object: &Bytes) -> Typed {
        let type_name = self.name(kind, 0);
        let data = self.dies.number(die, gimli::DW_AT_data_bit_offset);
        let first = data.or_else(|| {
            // DWARF 3: counted from the most significant bit of the storage unit.
            let from_top = self.dies.number(die, gimli::DW_AT_bit_offset)?;
            let size = self.dies.number(die, gimli::DW_AT_byte_size);
            let unit = 8 * size.or_else(|| self.size(kind))?;
            let offset = 8 * self.offset(die)?;
            Some(offset + unit.checked_sub(from_top + bits)?)
        });
        let found = first.and_then(|first| {
            let bytes = part(object, first / 8, (first % 8 + bits).div_ceil(8).min(8))?;
            Some((shifted(word(&bytes), first % 8), bits))
        });
        let Some((value, bits @ 1..=57)) = found else {
            return Typed::missing(type_name, "a bit field in a place that is not supported");
        };
        self.left = self.left.saturating_sub(1);
        let signed = self.plain(kind).is_some_and(|plain| self.is_signed(&plain));
        let shape = integer(value, bits as u32, signed);
        Typed { type_name, shape }
    }

    fn is_signed(&self, die: &Die) -> bool {
        let encoding = match self.dies.own(die, gimli::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => encoding,
            _ => return false,
        };
        matches!(encoding, gimli::DW_ATE_signed | gimli::DW_ATE_signed_char)
    }

    /// A Rust enumeration with data.
    fn variants(&mut self, part_die: &Die, object: &Bytes, depth: usize) -> Shape {
        let discriminant = self.dies.own(part_die, gimli::DW_AT_discr);
        let member = discriminant.and_then(|value| self.dies.target(part_die, &value));
        let tag = member.and_then(|member| {
            let kind = self.dies.follow(&member, gimli::DW_AT_type)?;
            let size = self.size(&kind)?.min(8);
            let bytes = part(object, self.offset(&member)?, size)?;
            Some((word(&bytes), size))
        });
        let mut only = None;
        let mut otherwise = None;
        for (variant, kind) in self.dies.children(part_die) {
            if kind != gimli::DW_TAG_variant {
                continue;
            }
            let wanted = self.dies.number(&variant, gimli::DW_AT_discr_value);
            match (wanted, tag) {
                (None, None) => only = Some(variant),
                (None, Some(_)) => otherwise = Some(variant),
                (Some(wanted), Some((value, size))) => {
                    let mask = low(size);
                    if value.known & mask == mask && value.bits & mask == wanted & mask {
                        return self.variant(&variant, Some((value, size)), object, depth);
                    }
                }
                (Some(_), None) => {}
            }
        }
        let known = tag.is_some_and(|(value, size)| value.known & low(size) == low(size));
        match (only, otherwise) {
            (Some(only), _) => self.variant(&only, None, object, depth),
            (None, Some(variant)) if known => self.variant(&variant, tag, object, depth),
            _ => Shape::Missing("which variant it is, is not known".to_owned()),
        }
    }

    fn variant(
        &mut self,
        die: &Die,
        tag: Option<(Value, u64)>,
        object: &Bytes,
        depth: usize,
    ) -> Shape {
        let children = self.dies.children(die);
        let member = children
            .into_iter()
            .find(|&(_, kind)| kind == gimli::DW_TAG_member);
        let Some((name, inner)) = member.and_then(|(die, _)| self.member(&die, object, depth))
        else {
            return Shape::Missing("its variant is not described".to_owned());
        };
        let doubt = tag.map_or("", |(value, size)| {
            crate::show::mark(grade(value, low(size)))
        });
        match inner.shape {
            Shape::Members { members, .. } => Shape::Members {
                variant: Some(format!("{doubt}{name}")),
                members,
            },
            _ => Shape::Members {
                variant: Some(format!("{doubt}{name}")),
                members: vec![("0".to_owned(), inner)],
            },
        }
    }

    fn array(&mut self, die: &Die, object: &Bytes, depth: usize) -> Shape {
        let element = self.dies.follow(die, gimli::DW_AT_type);
        let size = element.as_ref().and_then(|element| self.size(element));
        let (Some(element), Some(size)) = (element, size.filter(|&size| size > 0)) else {
            return Shape::Missing("its elements are not described".to_owned());
        };
        let length = self.length(die).unwrap_or(0);
        if self.is_character(&element) {
            return text(&object.bytes, length);
        }
        self.elements(&element, length, depth, |index| {
            part(object, index * size, size)
        })
    }

    /// The first of `length` elements.
    fn elements(
        &mut self,
        kind: &Die,
        length: u64,
        depth: usize,
        element: impl Fn(u64) -> Option<Bytes>,
    ) -> Shape {
        let mut elements = Vec::new();
        for index in 0..length.min(MAX_ELEMENTS) {
            let Some(bytes) = element(index).filter(|_| self.left > 0) else {
                break;
            };
            elements.push(self.decode(kind, &bytes, depth + 1));
        }
        let more = length - elements.len() as u64;
        Shape::Elements { elements, more }
    }

    /// C's and C++'s `char`.
    fn is_character(&mut self, die: &Die) -> bool {
        let Some(plain) = self.plain(die) else {
            return false;
        };
        let encoding = self.dies.own(&plain, gimli::DW_AT_encoding);
        let character = matches!(
            encoding,
            Some(AttributeValue::Encoding(
                gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char
            ))
        );
        // `unsigned char` is for bytes, `char` for text, whatever its sign.
        character && self.dies.name(&plain).as_deref() == Some("char")
    }

    fn enumeration(&mut self, die: &Die, object: &Bytes) -> Shape {
        let size = self.size(die).unwrap_or(4).clamp(1, 8);
        let mask = low(size);
        let value = word(object).masked(mask);
        self.left = self.left.saturating_sub(1);
        let mut named = None;
        if value.known == mask {
            for (child, tag) in self.dies.children(die) {
                let number = self.dies.number(&child, gimli::DW_AT_const_value);
                if tag == gimli::DW_TAG_enumerator
                    && number.is_some_and(|number| number & mask == value.bits)
                {
                    named = self.dies.name(&child);
                    break;
                }
            }
            named = named.or_else(|| Some(value.bits.to_string()));
        }
        let bits = 8 * size as u32;
        Shape::Scalar {
            value,
            bits,
            text: named,
        }
    }

    fn pointer(&mut self, die: &Die, object: &Bytes) -> Shape {
        let value = word(object);
        self.left = self.left.saturating_sub(1);
        let mut shown = (value.known == u64::MAX).then(|| format!("{:#x}", value.bits));
        let target = self.dies.follow(die, gimli::DW_AT_type);
        if let (Some(text), Some(target)) = (&mut shown, target)
            && value.bits != 0
            && self.is_character(&target)
        {
            let bytes = self.pointed(value, MAX_TEXT);
            let end = bytes
                .bytes
                .iter()
                .position(|byte| byte.known == 0xff && byte.bits == 0);
            let unknown = bytes
                .bytes
                .iter()
                .take_while(|byte| byte.known != 0)
                .count();
            let len = end.map_or(MAX_TEXT, |end| end as u64 + 1);
            if unknown > 0 {
                *text += &format!(" {}", self::text(&bytes.bytes, len.max(1)));
            }
        }
        Shape::Scalar {
            value,
            bits: 64,
            text: shown,
        }
    }

    /// Bytes that a pointer leads to, known no better than the pointer.
    fn pointed(&self, pointer: Value, len: u64) -> Bytes {
        let floor = Some(grade(pointer, u64::MAX));
        self.state.memory(Address(pointer.bits), len, floor)
    }

    fn number(&mut self, die: &Die, object: &Bytes) -> Shape {
        self.left = self.left.saturating_sub(1);
        let size = self.size(die).unwrap_or(8);
        if size == 0 {
            let (variant, members) = (None, Vec::new());
            return Shape::Members { variant, members };
        }
        let encoding = match self.dies.own(die, gimli::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => encoding,
            _ => gimli::DW_ATE_unsigned,
        };
        if size > 8 {
            return wide(object, size, encoding);
        }
        let bits = 8 * size as u32;
        let value = word(object).masked(low(size));
        let known = value.known == low(size);
        let text = |text: String| Shape::Scalar {
            value,
            bits,
            text: known.then_some(text),
        };
        match encoding {
            gimli::DW_ATE_boolean => text(match value.bits {
                0 => "false".to_owned(),
                1 => "true".to_owned(),
                other => other.to_string(),
            }),
            gimli::DW_ATE_float if size == 4 => {
                text(format!("{:?}", f32::from_bits(value.bits as u32)))
            }
            gimli::DW_ATE_float if size == 8 => text(format!("{:?}", f64::from_bits(value.bits))),
            gimli::DW_ATE_UTF => text(character(value.bits)),
            gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char if self.is_character(die) => {
                let byte = value.bits as u8;
                text(format!("{byte} '{}'", byte.escape_ascii()))
            }
            gimli::DW_ATE_signed | gimli::DW_ATE_signed_char => integer(value, bits, true),
            gimli::DW_ATE_address => text(format!("{:#x}", value.bits)),
            _ => integer(value, bits, false),
        }
    }
}

/// `size` bytes of an object from `offset` on; `None` when they are not all looked at.
fn part(object: &Bytes, offset: u64, size: u64) -> Option<Bytes> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    Some(Bytes {
        bytes: object.bytes.get(start..end)?.to_vec(),
        address: object.address.map(|address| address.offset(offset)),
        register: None,
        floor: object.floor,
    })
}
