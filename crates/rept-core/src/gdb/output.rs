//! The sending side.

use super::input::sum_of;
use gdbstub::conn::Connection;
use std::io::{self, Write};

/// Packets leave whole.
pub(super) struct Output<W> {
    to: W,
    unsent: Vec<u8>,
    /// The packet that gdbstub is handed next was acknowledged.
    is_acknowledged: bool,
}

impl<W: Write> Output<W> {
    pub(super) fn new(to: W) -> Output<W> {
        Output {
            to,
            unsent: Vec::new(),
            is_acknowledged: false,
        }
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        self.to.write_all(&self.unsent)?;
        self.unsent.clear();
        self.to.flush()
    }

    /// Says that a packet arrived, instead of gdbstub, which does so when it is handed the packet. Once.
    pub(super) fn acknowledge(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_acknowledged, true) {
            self.unsent.push(b'+');
        }
        self.send()
    }

    /// Sends a line for the client's user.
    pub(super) fn say(&mut self, words: &str) -> io::Result<()> {
        let line = format!("rept: {words}\n");
        let digits: String = line.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send_packet(&format!("O{digits}"))
    }

    /// Answers a packet, which was not acknowledged, with an error.
    pub(super) fn refuse(&mut self, words: &str) -> io::Result<()> {
        self.acknowledge()?;
        // These would end the packet, or begin something else.
        let words = words.replace(['#', '$', '}', '*'], "?");
        self.send_packet(&format!("E.{words}"))
    }

    fn send_packet(&mut self, payload: &str) -> io::Result<()> {
        let packet = format!("${payload}#{:02x}", sum_of(payload.as_bytes()));
        self.unsent.extend(packet.bytes());
        self.send()
    }
}

impl<W: Write> Connection for Output<W> {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        // What gdbstub writes first of all is that a packet arrived.
        let was_acknowledged = std::mem::take(&mut self.is_acknowledged);
        if !(was_acknowledged && byte == b'+') {
            self.unsent.push(byte);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_whole_and_are_acknowledged_once() {
        let mut sent = Vec::new();
        let mut output = Output::new(&mut sent);
        output.acknowledge().unwrap();
        output.say("hm").unwrap();
        output.acknowledge().unwrap();
        Connection::write_all(&mut output, b"+$OK#9a").unwrap();
        Connection::flush(&mut output).unwrap();
        Connection::write_all(&mut output, b"+$").unwrap();
        assert_eq!(output.unsent, b"+$");
        assert_eq!(sent, b"+$O726570743a20686d0a#84$OK#9a");
    }
}
