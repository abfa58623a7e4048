//! Where recording starts, for programs too long to be stepped from their beginning.

use crate::error::Error;
use crate::maps::Mapping;
use object::{Object, ObjectSegment, ObjectSymbol};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// A place in the program, and which arrival there starts the recording:
/// `SYMBOL`, `LIBRARY!SYMBOL` or `ADDRESS`, each with an optional `:COUNT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPoint {
    place: Place,
    count: u64,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In the program or any library; in those whose file name begins with `library`.
    Symbol {
        library: Option<String>,
        symbol: String,
    },
    Address(u64),
}

impl FromStr for StartPoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<StartPoint, Error> {
        let (place, count) = match text.rsplit_once(':') {
            // C++ names have colons too.
            Some((place, count)) if !place.ends_with(':') && count.parse::<u64>().is_ok() => {
                (place, count.parse().expect("just parsed"))
            }
            _ => (text, 1),
        };
        if place.is_empty() || count == 0 {
            return Err(Error::from(
                text,
                "it is not SYMBOL, LIBRARY!SYMBOL or ADDRESS, each with an optional :COUNT from 1",
            ));
        }
        Ok(StartPoint {
            place: Place::parse(place),
            count,
            text: text.to_owned(),
        })
    }
}

impl Place {
    fn parse(text: &str) -> Place {
        let address = text
            .strip_prefix("0x")
            .map(|digits| u64::from_str_radix(digits, 16));
        match (address, text.split_once('!')) {
            (Some(Ok(address)), _) => Place::Address(address),
            (_, Some((library, symbol))) => Place::Symbol {
                library: Some(library.to_owned()),
                symbol: symbol.to_owned(),
            },
            _ => Place::Symbol {
                library: None,
                symbol: text.to_owned(),
            },
        }
    }
}

impl StartPoint {
    /// Which arrival starts the recording, from 1.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// As the user wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The address, when what it stands in is mapped. `searched` keeps the files that do
    /// not define the symbol, so that each is read once.
    pub(crate) fn resolve(
        &self,
        mappings: &[Mapping],
        searched: &mut HashSet<String>,
    ) -> Option<u64> {
        let (library, symbol) = match &self.place {
            Place::Address(address) => return Some(*address),
            Place::Symbol { library, symbol } => (library.as_deref(), symbol.as_str()),
        };
        for mapping in mappings.iter().filter(|m| m.is_file()) {
            let name = mapping.name.as_str();
            if !names(library, name) || searched.contains(name) {
                continue;
            }
            match offset_in(Path::new(name), symbol) {
                Some(offset) => return address_of(name, offset, mappings),
                None => searched.insert(name.to_owned()),
            };
        }
        None
    }
}

fn names(library: Option<&str>, path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    library.is_none_or(|library| file.starts_with(library))
}

// Where in an ELF file a function stands.
fn offset_in(path: &Path, symbol: &str) -> Option<u64> {
    let cache = object::ReadCache::new(fs::File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let defined = |s: &object::Symbol<'_, '_, _>| s.is_definition() && s.name() == Ok(symbol);
    let address = file
        .symbols()
        .chain(file.dynamic_symbols())
        .find(defined)?
        .address();
    let segment = file
        .segments()
        .find(|s| (s.address()..s.address() + s.size()).contains(&address))?;
    Some(segment.file_range().0 + (address - segment.address()))
}

// Where that offset is mapped executable, once it is.
fn address_of(path: &str, offset: u64, mappings: &[Mapping]) -> Option<u64> {
    let holds = |m: &&Mapping| {
        let length = m.end - m.start;
        m.name == path && m.execute && (m.offset..m.offset + length).contains(&offset)
    };
    let mapping = mappings.iter().find(holds)?;
    Some(mapping.start + (offset - mapping.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(library: Option<&str>, symbol: &str) -> Place {
        Place::Symbol {
            library: library.map(str::to_owned),
            symbol: symbol.to_owned(),
        }
    }

    #[track_caller]
    fn check(text: &str, place: Place, count: u64) {
        let parsed: StartPoint = text.parse().unwrap();
        assert_eq!((parsed.place, parsed.count), (place, count));
    }

    #[test]
    fn forms() {
        check("main", symbol(None, "main"), 1);
        check("main:3", symbol(None, "main"), 3);
        check("libc.so!free:100", symbol(Some("libc.so"), "free"), 100);
        check("0x4010", Place::Address(0x4010), 1);
        check("0x4010:2", Place::Address(0x4010), 2);
        check("std::io::read", symbol(None, "std::io::read"), 1);
        assert!("main:0".parse::<StartPoint>().is_err());
        assert!("".parse::<StartPoint>().is_err());
    }

    #[test]
    fn a_library_is_named_by_how_its_file_name_begins() {
        assert!(names(Some("libc"), "/lib/libc.so.6"));
        assert!(!names(Some("libc"), "/libc/libm.so.6"));
        assert!(names(None, "/bin/true"));
    }
}
