//! The receiving side.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

/// "The next step is of all threads": for gdbstub, a step backward of all threads is an error that
/// ends the session.
const ALL_THREADS: &[u8] = b"$Hc-1#09";
/// "Of any thread": of the one that stopped.
const ANY_THREAD: &[u8] = b"$Hc0#db";
/// Bytes of a first packet at most.
const MAX_FIRST: usize = 4096;

/// What the client sends, byte by byte; one packet is replaced by one that asks for less, and the first is
/// handed on once, though gdb has sent it again every few seconds while the history was made.
pub(super) struct Input<R> {
    reader: BufReader<R>,
    /// Read, or put in the place of what was read, and not handed on yet.
    ready: VecDeque<u8>,
    /// A packet was handed on.
    begun: bool,
}

impl<R: Read> Input<R> {
    pub(super) fn new(input: R) -> Input<R> {
        Input {
            reader: BufReader::new(input),
            ready: VecDeque::new(),
            begun: false,
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut bytes = self.reader.by_ref().bytes();
        bytes.next().transpose()
    }

    /// Reads on while what comes may be the packet that is replaced.
    fn fill(&mut self) -> io::Result<()> {
        let mut read: Vec<u8> = Vec::new();
        while ALL_THREADS.starts_with(&read) && read.len() < ALL_THREADS.len() {
            match self.byte()? {
                Some(byte) => read.push(byte),
                None => break,
            }
        }
        if !self.begun && read.first() == Some(&b'$') {
            self.begun = true;
            self.finish_packet(&mut read)?;
            while self.reader.buffer().starts_with(&read) {
                self.reader.consume(read.len());
            }
        }
        let replaced = read == ALL_THREADS;
        self.ready.extend(if replaced { ANY_THREAD } else { &read });
        Ok(())
    }

    /// Reads up to the end of a packet: two digits behind a number sign.
    fn finish_packet(&mut self, read: &mut Vec<u8>) -> io::Result<()> {
        let is_whole = |read: &[u8]| read.len() > 3 && read[read.len() - 3] == b'#';
        while !is_whole(read) && read.len() < MAX_FIRST {
            match self.byte()? {
                Some(byte) => read.push(byte),
                None => break,
            }
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Input<R> {
    type Item = io::Result<u8>;

    fn next(&mut self) -> Option<io::Result<u8>> {
        if self.ready.is_empty()
            && let Err(error) = self.fill()
        {
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_is_replaced_and_all_else_handed_on() {
        let check = |sent: &[u8], handed: &[u8]| {
            let all: io::Result<Vec<u8>> = Input::new(sent).collect();
            assert_eq!(all.unwrap(), handed);
        };
        check(b"", b"");
        check(b"+$Hc-1#09+$bs#d5", b"+$Hc0#db+$bs#d5");
        check(b"$Hc-1", b"$Hc-1");
        check(b"$Hcp1.2#xx$g#67$", b"$Hcp1.2#xx$g#67$");
        // Sent again while nobody answered.
        check(b"+$?#3f$?#3f$?#3f$g#67", b"+$?#3f$g#67");
        check(b"$?#3f$g#67$g#67", b"$?#3f$g#67$g#67");
        check(b"$", b"$");
    }
}
