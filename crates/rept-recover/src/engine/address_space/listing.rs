//! How Linux lists a process's memory (`/proc/self/maps`; fs/proc/task_mmu.c, `show_map_vma`), and how
//! much of what it makes up line by line a read gives (fs/seq_file.c, `seq_read_iter`).

use super::super::MappedFile;
use super::super::contents::Contents;
use super::super::kernel::PAGE;
use super::areas::Kind;
use std::ops::Range;

/// Columns before the blank and the name.
const WIDTH: usize = 72;

/// One line of the list, as far as it is known.
pub(super) struct Line<'a> {
    pub(super) start: u64,
    /// Another address that it may begin at, if that is not known.
    pub(super) or_start: Option<u64>,
    pub(super) end: u64,
    pub(super) kind: Kind,
    pub(super) offset: u64,
    pub(super) name: Name<'a>,
}

/// What a line ends with.
pub(super) enum Name<'a> {
    None,
    Kernel(&'a str),
    File(&'a MappedFile),
}

impl Line<'_> {
    /// Adds the line to the list.
    pub(super) fn write(&self, list: &mut Contents) {
        let mut text = format!("{:08x}-{:08x} ", self.start, self.end).into_bytes();
        let mut unknown: Vec<Range<usize>> = Vec::new();
        if let Some(other) = self.or_start {
            let other = format!("{other:08x}");
            let digits = text.iter().zip(other.bytes());
            let same = digits.take_while(|&(&digit, other)| digit == other).count();
            // Areas begin with pages, the last three digits.
            unknown.push(same..other.len().saturating_sub(3).max(same));
        }
        let kind = self.kind;
        let letter = |is: bool, letter: u8| if is { letter } else { b'-' };
        text.extend([
            letter(kind.read, b'r'),
            letter(kind.write, b'w'),
            letter(kind.execute, b'x'),
            if kind.shared { b's' } else { b'p' },
        ]);
        text.extend(format!(" {:08x} ", self.offset).bytes());
        let name = match self.name {
            Name::None => {
                text.extend(b"00:00 0 ");
                None
            }
            Name::Kernel(name) => {
                text.extend(b"00:00 0 ");
                Some(name.as_bytes())
            }
            Name::File(file) => {
                match file.identity {
                    Some(of) => text
                        .extend(format!("{:02x}:{:02x} {} ", of.major, of.minor, of.inode).bytes()),
                    None => unknown.push(text.len()..WIDTH),
                }
                Some(file.path.as_slice())
            }
        };
        if let Some(name) = name {
            text.resize(text.len().max(WIDTH), b' ');
            text.push(b' ');
            for &byte in name {
                match byte {
                    b'\n' => text.extend(b"\\012"),
                    other => text.push(other),
                }
            }
        }
        text.push(b'\n');
        list.add(&text, &unknown);
    }
}

/// How many bytes a read gives of a text that is made up line by line, from a position on: what is left
/// of a line that was begun, then whole lines up to a page together, the last cut at what was asked for.
pub(in super::super) fn made_up(text: &[u8], position: usize, asked: u64) -> u64 {
    let asked = usize::try_from(asked).unwrap_or(usize::MAX);
    let Some(rest) = text.get(position..) else {
        return 0;
    };
    let begun = match position.checked_sub(1).map(|before| text[before]) {
        None | Some(b'\n') => 0,
        Some(_) => line(rest).min(asked),
    };
    let wanted = asked - begun;
    let (mut batch, mut rest) = (0, &rest[begun..]);
    while wanted > batch && !rest.is_empty() {
        let more = line(rest);
        if batch > 0 && batch + more >= PAGE as usize {
            break;
        }
        (batch, rest) = (batch + more, &rest[more..]);
    }
    (begun + batch.min(wanted)) as u64
}

/// Length of the first line.
fn line(text: &[u8]) -> usize {
    let end = text.iter().position(|&byte| byte == b'\n');
    end.map_or(text.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::super::super::FileIdentity;
    use super::*;
    use std::fs::File;
    use std::io::Read;

    /// A line that the kernel wrote, in its parts.
    struct Parts {
        addresses: [u64; 2],
        kind: Kind,
        offset: u64,
        file: MappedFile,
    }

    fn parts(line: &str) -> Parts {
        let (fields, name) = line.split_at(line.len().min(WIDTH));
        let mut fields = fields.split_ascii_whitespace();
        let mut next = || fields.next().unwrap();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = next().split_once('-').unwrap();
        let flags = next().as_bytes();
        let mut kind = Kind::asked(0, 2, false);
        kind.read = flags[0] == b'r';
        kind.write = flags[1] == b'w';
        kind.execute = flags[2] == b'x';
        kind.shared = flags[3] == b's';
        let offset = hex(next());
        let (major, minor) = next().split_once(':').unwrap();
        let [major, minor] = [major, minor].map(|number| hex(number) as u32);
        let inode = next().parse().unwrap();
        Parts {
            addresses: [start, end].map(hex),
            kind,
            offset,
            file: MappedFile {
                path: name.trim_start().as_bytes().to_vec(),
                identity: Some(FileIdentity {
                    major,
                    minor,
                    inode,
                }),
            },
        }
    }

    #[test]
    fn lines_are_written_as_the_kernel_writes_them() {
        let list = std::fs::read_to_string("/proc/self/maps").unwrap();
        for expect in list.lines() {
            let parts = parts(expect);
            let [start, end] = parts.addresses;
            let path = std::str::from_utf8(&parts.file.path).unwrap();
            let line = Line {
                start,
                or_start: None,
                end,
                kind: parts.kind,
                offset: parts.offset,
                name: match path {
                    "" => Name::None,
                    name if name.starts_with('[') => Name::Kernel(name),
                    _ => Name::File(&parts.file),
                },
            };
            let mut list = Contents::default();
            line.write(&mut list);
            let made = std::str::from_utf8(list.bytes()).unwrap();
            assert_eq!(made, format!("{expect}\n"));
        }
    }

    #[test]
    fn what_is_not_known_of_a_line_has_a_length() {
        let file = MappedFile {
            path: b"/usr/bin/x".to_vec(),
            identity: None,
        };
        let line = Line {
            start: 0x7fff_ff5d_e000,
            or_start: Some(0x7fff_fffd_e000),
            end: 0x7fff_ffff_f000,
            kind: Kind::asked(1, 2, false),
            offset: 0x3000,
            name: Name::File(&file),
        };
        let mut list = Contents::default();
        line.write(&mut list);
        let known: Vec<u8> = (0..list.len())
            .map(|at| list.known_from(at).map_or(b'?', |bytes| bytes[0]))
            .collect();
        let known = String::from_utf8(known).unwrap();
        let unknown = "?".repeat(WIDTH - 40);
        let expect = format!("7fffff???000-7ffffffff000 r--p 00003000 {unknown} /usr/bin/x\n");
        assert_eq!(known, expect);
    }

    /// Reads of the kernel's list are as long as told. Nothing is mapped between them: the text is held in
    /// a buffer that was filled before.
    #[test]
    fn reads_are_as_long_as_the_kernels() {
        for asked in [1, 7, 100, 1000, 1024, 4095, 4096, 100_000] {
            let (mut text, mut lengths) = (vec![0; 1 << 20], Vec::with_capacity(1 << 16));
            let mut file = File::open("/proc/self/maps").unwrap();
            let mut end = 0;
            loop {
                let length = file.read(&mut text[end..end + asked]).unwrap();
                lengths.push(length);
                end += length;
                if length == 0 || lengths.len() == lengths.capacity() {
                    break;
                }
            }
            let text = &text[..end];
            let mut at = 0;
            for (number, length) in lengths.into_iter().enumerate() {
                let told = made_up(text, at, asked as u64);
                assert_eq!(told, length as u64, "read {number} of {asked} bytes");
                at += length;
            }
        }
    }
}
