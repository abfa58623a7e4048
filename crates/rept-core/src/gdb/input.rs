//! The receiving side.

use std::io::{self, BufRead, BufReader, Read};

/// "The next step is of all threads": for gdbstub, a step backward of all threads is an error that
/// ends the session.
const ALL_THREADS: &[u8] = b"$Hc-1#09";
/// "Of any thread": of the one that stopped.
const ANY_THREAD: &[u8] = b"$Hc0#db";
/// Bytes of a packet that are kept together at most; gdbstub takes none that is longer.
const MAX_PACKET: usize = 8192;

/// What the client sends: packets, each whole, and what is between them, byte by byte. One packet is
/// replaced by one that asks for less, and the first is handed on once, though gdb has sent it again
/// every few seconds while nobody read it.
pub(super) struct Input<R> {
    reader: BufReader<R>,
    /// A packet was handed on.
    begun: bool,
}

impl<R: Read> Input<R> {
    pub(super) fn new(input: R) -> Input<R> {
        Input {
            reader: BufReader::new(input),
            begun: false,
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut bytes = self.reader.by_ref().bytes();
        bytes.next().transpose()
    }

    /// A byte, and the packet that it begins; empty at the end.
    fn part(&mut self) -> io::Result<Vec<u8>> {
        let mut read: Vec<u8> = self.byte()?.into_iter().collect();
        if read != b"$" {
            return Ok(read);
        }
        self.finish_packet(&mut read)?;
        if !self.begun {
            self.begun = true;
            while self.reader.buffer().starts_with(&read) {
                self.reader.consume(read.len());
            }
        }
        if read == ALL_THREADS {
            read = ANY_THREAD.to_owned();
        }
        Ok(read)
    }

    /// Reads up to the end of a packet: two digits behind the first number sign.
    fn finish_packet(&mut self, read: &mut Vec<u8>) -> io::Result<()> {
        let mut end = None;
        while end.is_none_or(|end| read.len() < end) && read.len() < MAX_PACKET {
            match self.byte()? {
                Some(byte) => read.push(byte),
                None => break,
            }
            if end.is_none() && read.ends_with(b"#") {
                end = Some(read.len() + 2);
            }
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Input<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let part = self.part();
        let is_end = part.as_ref().is_ok_and(Vec::is_empty);
        (!is_end).then_some(part)
    }
}

/// What a packet says, where it arrived as it was sent.
pub(super) fn payload(packet: &[u8]) -> Option<&[u8]> {
    let inside = packet.strip_prefix(b"$")?;
    let (payload, sum) = inside.split_at_checked(inside.len().checked_sub(3)?)?;
    let digits = std::str::from_utf8(sum.strip_prefix(b"#")?).ok()?;
    let sent = u8::from_str_radix(digits, 16).ok()?;
    (sent == sum_of(payload)).then_some(payload)
}

/// The sum that a packet with this payload ends with.
pub(super) fn sum_of(payload: &[u8]) -> u8 {
    payload.iter().copied().fold(0, u8::wrapping_add)
}

/// Bytes that were sent as digits.
pub(super) fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_is_replaced_and_all_else_handed_on() {
        let check = |sent: &[u8], handed: &[&[u8]]| {
            let all: io::Result<Vec<Vec<u8>>> = Input::new(sent).collect();
            assert_eq!(all.unwrap(), handed);
        };
        check(b"", &[]);
        check(b"+$Hc-1#09+$bs#d5", &[b"+", b"$Hc0#db", b"+", b"$bs#d5"]);
        check(b"$Hc-1", &[b"$Hc-1"]);
        check(b"$Hcp1.2#xx$g#67$", &[b"$Hcp1.2#xx", b"$g#67", b"$"]);
        // Sent again while nobody answered.
        check(b"+$?#3f$?#3f$?#3f$g#67", &[b"+", b"$?#3f", b"$g#67"]);
        check(b"$?#3f$g#67$g#67", &[b"$?#3f", b"$g#67", b"$g#67"]);
        check(b"$", &[b"$"]);
        check(b"$##3\x03", &[b"$##3", b"\x03"]);
    }

    #[test]
    fn a_packet_without_an_end_is_handed_on_in_parts() {
        let long = [&b"$"[..], &[b'A'; MAX_PACKET]].concat();
        let parts: io::Result<Vec<Vec<u8>>> = Input::new(&long[..]).collect();
        let lengths: Vec<usize> = parts.unwrap().iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_PACKET, 1]);
    }

    #[test]
    fn a_payload_is_what_its_sum_says() {
        let check = |packet: &[u8], expect: Option<&[u8]>| assert_eq!(payload(packet), expect);
        check(b"$bs#d5", Some(b"bs"));
        check(b"$#00", Some(b""));
        check(b"$bs#d6", None);
        check(b"$bs#", None);
        check(b"$bs#+5", None);
        check(b"$", None);
        check(b"#00", None);
        check(b"+", None);
        check(b"", None);
        assert_eq!(from_hex(b"6f6B"), Some(b"ok".to_vec()));
        assert_eq!(from_hex(b"6f6"), Some(vec![0x6f, 6]));
        assert_eq!(from_hex(b"zz"), None);
    }
}
