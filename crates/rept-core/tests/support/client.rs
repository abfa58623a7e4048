//! A client of the stub that speaks the protocol itself.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A client that sends what it is told.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    /// Sends a packet and gives the answer's payload; empty when the stub ends first.
    pub(crate) fn ask(&mut self, payload: &str) -> String {
        self.send(packet(payload).as_bytes());
        self.answer()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The stub may have hung up.
        let _ = self.0.write_all(bytes);
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut text = Vec::new();
        let mut byte = [0];
        // A read that a signal interrupts is tried again.
        while self.0.read_exact(&mut byte).is_ok() {
            match byte[0] {
                b'+' | b'-' if text.is_empty() => {}
                b'$' => text = vec![b'$'],
                b'#' if !text.is_empty() => {
                    let _ = self.0.read_exact(&mut [0; 2]);
                    self.send(b"+");
                    return expanded(&String::from_utf8_lossy(&text[1..]));
                }
                other => text.push(other),
            }
        }
        String::new()
    }

    /// Runs a `monitor` command and gives its text.
    pub(crate) fn monitor(&mut self, command: &str) -> String {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.ask_and_listen(&format!("qRcmd,{hex}")).0
    }

    /// Sends a packet and gives the words for the user that come before the answer, and the answer.
    pub(crate) fn ask_and_listen(&mut self, payload: &str) -> (String, String) {
        let first = self.ask(payload);
        self.listen(first)
    }

    /// The words from this answer on, and the answer behind them.
    pub(crate) fn listen(&mut self, first: String) -> (String, String) {
        let (mut text, mut part) = (String::new(), first);
        while let Some(output) = part.strip_prefix('O').filter(|output| *output != "K") {
            text += &unhex(output);
            part = self.answer();
        }
        (text, part)
    }

    /// An object as a client reads it: part by part, until the last.
    pub(crate) fn whole(&mut self, object: &str) -> String {
        let mut all = String::new();
        loop {
            let part = self.ask(&format!("qXfer:{object}:{:x},1000", all.len()));
            all += part.get(1..).unwrap_or_default();
            if !part.starts_with('m') {
                return all;
            }
        }
    }
}

/// A packet as it is sent.
pub(crate) fn packet(payload: &str) -> String {
    let sum = payload.bytes().fold(0u8, u8::wrapping_add);
    format!("${payload}#{sum:02x}")
}

/// Undoes run-length encoding: `0* ` is `0000`.
fn expanded(text: &str) -> String {
    let mut all = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match (character, all.chars().last()) {
            ('*', Some(last)) => {
                let more = rest.next().map_or(0, |count| count as usize - 29);
                all.extend(std::iter::repeat_n(last, more));
            }
            _ => all.push(character),
        }
    }
    all
}

fn unhex(text: &str) -> String {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..text.len()).step_by(2).filter_map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
