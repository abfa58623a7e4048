//! The traced process's mappings, as `/proc/PID/maps` lists them.

use object::Object;
use std::fs;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) execute: bool,
    pub(crate) shared: bool,
    pub(crate) offset: u64,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    /// Path, `[name]`, or empty for anonymous memory; the kernel's ` (deleted)` is kept.
    pub(crate) name: String,
}

impl Mapping {
    /// Whether a file is behind it.
    pub(crate) fn is_file(&self) -> bool {
        self.inode != 0 && self.name.starts_with('/')
    }

    /// Whether code bytes here cannot change while the mapping stays as it is.
    pub(crate) fn is_constant_code(&self) -> bool {
        self.execute
            && !self.write
            && !self.shared
            && (self.is_file() || self.name.starts_with('['))
    }

    fn parse(line: &str) -> Option<Mapping> {
        let mut rest = line;
        let mut field = || {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after.trim_start();
            word
        };
        let (start, end) = field().split_once('-')?;
        let permissions = field().as_bytes();
        let offset = field();
        let (major, minor) = field().split_once(':')?;
        let inode = field();
        Some(Mapping {
            start: hexadecimal(start)?,
            end: hexadecimal(end)?,
            read: permissions.first() == Some(&b'r'),
            write: permissions.get(1) == Some(&b'w'),
            execute: permissions.get(2) == Some(&b'x'),
            shared: permissions.get(3) == Some(&b's'),
            offset: hexadecimal(offset)?,
            device: (hexadecimal(major)? as u32, hexadecimal(minor)? as u32),
            inode: inode.parse().ok()?,
            name: rest.to_owned(),
        })
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Where the mapping begins that a line of `maps` or `smaps` is the first of.
pub(crate) fn start(line: &str) -> Option<u64> {
    let (range, _) = line.split_once(' ')?;
    hexadecimal(range.split_once('-')?.0)
}

/// The mappings of `pid`, ascending; empty when the process has none (any more).
pub(crate) fn read(pid: i32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines().filter_map(Mapping::parse).collect()
}

/// The build id of the file behind a mapping, when it has one.
pub(crate) fn build_id(mapping: &Mapping) -> Option<Vec<u8>> {
    if !mapping.is_file() {
        return None;
    }
    let file = fs::File::open(&mapping.name).ok()?;
    let cache = object::ReadCache::new(file);
    let parsed = object::File::parse(&cache).ok()?;
    parsed.build_id().ok()?.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::Mapping;

    #[test]
    fn a_line_with_spaces_in_the_name() {
        let line = "7f00-7f10 r-xp 0001a000 fd:01 42     /tmp/a b (deleted)";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(
            (mapping.start, mapping.end, mapping.offset),
            (0x7f00, 0x7f10, 0x1a000)
        );
        assert_eq!((mapping.device, mapping.inode), ((0xfd, 1), 42));
        assert_eq!(mapping.name, "/tmp/a b (deleted)");
        assert!(mapping.is_constant_code());
    }

    #[test]
    fn an_anonymous_line() {
        let mapping = Mapping::parse("7f00-7f10 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!(mapping.name, "");
        assert!(mapping.write && !mapping.execute && !mapping.is_file());
    }
}
