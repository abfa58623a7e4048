//! Containers of the standard libraries, shown as what they contain.

use super::super::super::die::Die;
use super::super::location::Bytes;
use super::{MAX_DEPTH, MAX_OBJECT, MAX_TEXT, Types, known, part, text, word};
use crate::history::Value;
use crate::show::grade;
use crate::typed::Shape;
use rept_trace::Address;

impl Types<'_> {
    /// Containers of the standard libraries whose contents say more than their members: Rust's
    /// slices, strings and vectors, C++'s `std::string` and `std::vector`.
    pub(super) fn library(
        &mut self,
        die: &Die,
        name: &str,
        object: &Bytes,
        depth: usize,
    ) -> Option<Shape> {
        match name {
            "&str" | "&mut str" => self.slice(die, object, true, depth),
            "String" => self.string(die, object),
            "string" => self.std_string(die, object),
            _ if name.starts_with("&[") || name.starts_with("&mut [") => {
                self.slice(die, object, false, depth)
            }
            _ if name.starts_with("Vec<") => self.vector(die, object, depth),
            _ if name.starts_with("basic_string<char") => self.std_string(die, object),
            _ if name.starts_with("vector<") => self.std_vector(die, object, depth),
            _ => None,
        }
    }

    /// Rust: `&str`, `&[T]`.
    fn slice(&mut self, die: &Die, object: &Bytes, is_text: bool, depth: usize) -> Option<Shape> {
        let (kind, pointer) = self.inside(die, &["data_ptr"], object)?;
        let (_, length) = self.inside(die, &["length"], object)?;
        let plain = self.plain(&kind)?;
        let element = self.dies.follow(&plain, gimli::DW_AT_type)?;
        self.contents(&element, word(&pointer), word(&length), is_text, depth)
    }

    /// Rust: `String` is a vector of bytes.
    fn string(&mut self, die: &Die, object: &Bytes) -> Option<Shape> {
        let (vector, bytes) = self.inside(die, &["vec"], object)?;
        let (element, pointer, length) = self.vector_parts(&vector, &bytes)?;
        self.contents(&element, pointer, length, true, 0)
    }

    /// Rust: `Vec<T>`.
    fn vector(&mut self, die: &Die, object: &Bytes, depth: usize) -> Option<Shape> {
        let (element, pointer, length) = self.vector_parts(die, object)?;
        self.contents(&element, pointer, length, false, depth)
    }

    /// Element type, pointer and length of a Rust vector; the pointer is wrapped in types that
    /// change from version to version, but is the first pointer in them.
    fn vector_parts(&mut self, die: &Die, object: &Bytes) -> Option<(Die, Value, Value)> {
        let (_, length) = self.inside(die, &["len"], object)?;
        let (buffer, bytes) = self.inside(die, &["buf"], object)?;
        let pointer = self.first_pointer(&buffer, &bytes, 0)?;
        let element = self.parameter(die, "T")?;
        Some((element, pointer, word(&length)))
    }

    /// C++: `std::string` of libstdc++.
    fn std_string(&mut self, die: &Die, object: &Bytes) -> Option<Shape> {
        let (kind, pointer) = self.inside(die, &["_M_dataplus", "_M_p"], object)?;
        let (_, length) = self.inside(die, &["_M_string_length"], object)?;
        self.contents(&kind, word(&pointer), word(&length), true, 0)
    }

    /// C++: `std::vector` of libstdc++.
    fn std_vector(&mut self, die: &Die, object: &Bytes, depth: usize) -> Option<Shape> {
        let (kind, start) = self.inside(die, &["_M_impl", "_M_start"], object)?;
        let (_, finish) = self.inside(die, &["_M_impl", "_M_finish"], object)?;
        let (start, mut length) = (known(word(&start))?, known(word(&finish))?);
        let plain = self.plain(&kind)?;
        let element = self.dies.follow(&plain, gimli::DW_AT_type)?;
        let size = self.size(&element).filter(|&size| size > 0)?;
        length.bits = length.bits.checked_sub(start.bits)? / size;
        self.contents(&element, start, length, false, depth)
    }

    /// `length` elements at a pointer; `None` when either is not known.
    fn contents(
        &mut self,
        element: &Die,
        pointer: Value,
        length: Value,
        is_text: bool,
        depth: usize,
    ) -> Option<Shape> {
        let (pointer, length) = (known(pointer)?, known(length)?);
        let mut place = pointer;
        place.certain &= length.certain;
        place.assumed &= length.assumed;
        if is_text {
            let bytes = self.pointed(place, length.bits.min(MAX_TEXT));
            return Some(text(&bytes.bytes, length.bits));
        }
        let size = self.size(element)?;
        let state = self.state;
        let floor = Some(grade(place, u64::MAX));
        let shape = self.elements(element, length.bits, depth, |index| {
            let at = Address(pointer.bits).offset(index * size);
            Some(state.memory(at, size.min(MAX_OBJECT), floor))
        });
        Some(shape)
    }

    /// The member at the end of a path of names: its type and bytes.
    fn inside(&mut self, die: &Die, path: &[&str], object: &Bytes) -> Option<(Die, Bytes)> {
        let (mut kind, mut bytes) = (die.clone(), object.clone());
        for &name in path {
            let plain = self.plain(&kind)?;
            let (offset, member) = self.named(&plain, name, 0)?;
            let size = self.size(&member)?;
            bytes = part(&bytes, offset, size)?;
            kind = member;
        }
        Some((kind, bytes))
    }

    /// A member's place and type; it may be one of a class that this one is derived from.
    fn named(&mut self, plain: &Die, name: &str, depth: usize) -> Option<(u64, Die)> {
        let children = self.dies.children(plain);
        let members = children
            .iter()
            .filter(|(_, tag)| *tag == gimli::DW_TAG_member);
        for (member, _) in members {
            if self.dies.name(member).as_deref() == Some(name) {
                let kind = self.dies.follow(member, gimli::DW_AT_type)?;
                return Some((self.offset(member)?, kind));
            }
        }
        if depth == MAX_DEPTH {
            return None;
        }
        let bases = children
            .iter()
            .filter(|(_, tag)| *tag == gimli::DW_TAG_inheritance);
        for (base, _) in bases {
            let found = (|| {
                let kind = self.dies.follow(base, gimli::DW_AT_type)?;
                let kind = self.plain(&kind)?;
                let (offset, member) = self.named(&kind, name, depth + 1)?;
                Some((self.offset(base)?.checked_add(offset)?, member))
            })();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The first pointer among the members, and theirs.
    fn first_pointer(&mut self, die: &Die, object: &Bytes, depth: usize) -> Option<Value> {
        let plain = self.plain(die)?;
        if self.tag(&plain) == gimli::DW_TAG_pointer_type {
            return Some(word(object));
        }
        if depth == MAX_DEPTH {
            return None;
        }
        for (child, tag) in self.dies.children(&plain) {
            if tag != gimli::DW_TAG_member {
                continue;
            }
            let found = (|| {
                let kind = self.dies.follow(&child, gimli::DW_AT_type)?;
                let size = self.size(&kind)?;
                let bytes = part(object, self.offset(&child)?, size)?;
                self.first_pointer(&kind, &bytes, depth + 1)
            })();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A template parameter's type.
    fn parameter(&mut self, die: &Die, name: &str) -> Option<Die> {
        let plain = self.plain(die)?;
        let children = self.dies.children(&plain);
        let found = children.into_iter().find(|(child, tag)| {
            *tag == gimli::DW_TAG_template_type_parameter
                && self.dies.name(child).as_deref() == Some(name)
        });
        self.dies.follow(&found?.0, gimli::DW_AT_type)
    }
}
