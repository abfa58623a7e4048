//! The receiving side.

use std::collections::VecDeque;
use std::io::{self, BufReader, Bytes, Read};

/// "The next step is of all threads": for gdbstub, a step backward of all threads is an error that
/// ends the session.
const ALL_THREADS: &[u8] = b"$Hc-1#09";
/// "Of any thread": of the one that stopped.
const ANY_THREAD: &[u8] = b"$Hc0#db";

/// What the client sends, byte by byte; one packet is replaced by one that asks for less.
pub(super) struct Input<R> {
    bytes: Bytes<BufReader<R>>,
    /// Read, or put in the place of what was read, and not handed on yet.
    ready: VecDeque<u8>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(input: R) -> Input<R> {
        Input {
            bytes: BufReader::new(input).bytes(),
            ready: VecDeque::new(),
        }
    }

    /// Reads on while what comes may be the packet that is replaced.
    fn fill(&mut self) -> io::Result<()> {
        let mut read: Vec<u8> = Vec::new();
        while ALL_THREADS.starts_with(&read) && read.len() < ALL_THREADS.len() {
            match self.bytes.next() {
                Some(byte) => read.push(byte?),
                None => break,
            }
        }
        let replaced = read == ALL_THREADS;
        self.ready.extend(if replaced { ANY_THREAD } else { &read });
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
    }
}
