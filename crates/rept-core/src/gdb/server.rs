//! What is done with each packet, while the history is in the making and after.
//!
//! A packet that asks for the past is acknowledged and held back until the history is there. Two kinds
//! of packets do, those that let the program run and `monitor` commands. Clients set no limit of time to
//! the answer of either, and take words for their user meanwhile. What else comes then waits behind the
//! packet, but for an interrupt, which ends the waiting, and a farewell. Where there is no dump to
//! answer from, all packets wait.

use super::GdbError;
use super::input::{from_hex, payload};
use super::monitor;
use super::output::Output;
use super::stub::{Lack, Stub};
use crate::Error;
use crate::history::History;
use crate::session::Progress;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{GdbStub, MultiThreadStopReason};
use std::io::Write;
use std::mem;

/// What a client sends that wants the running program stopped.
const INTERRUPT: &[u8] = b"\x03";
/// What gdb sends when an answer takes it too long: on a stream nothing arrives damaged.
const NOT_ACKNOWLEDGED: &[u8] = b"-";
/// Bytes that a client may send while it waits.
const MAX_BEHIND: usize = 1 << 16;

type Machine<'a, W> = GdbStubStateMachine<'static, Stub<'a>, Output<W>>;

/// One client's session.
pub(super) struct Server<'a, W: Write> {
    stub: Stub<'a>,
    /// `None` when the session is over.
    machine: Option<Machine<'a, W>>,
    /// A packet that waits for the history.
    held: Option<Vec<u8>>,
    /// What came after it.
    behind: Vec<Vec<u8>>,
    /// What the client was told last of how far the recovery is.
    said: String,
    /// The client wants each packet acknowledged.
    acknowledges: bool,
}

impl<'a, W: Write> Server<'a, W> {
    pub(super) fn new(mut stub: Stub<'a>, output: W) -> Result<Server<'a, W>, GdbError> {
        let machine = GdbStub::new(Output::new(output))
            .run_state_machine(&mut stub)
            .map_err(GdbError::new)?;
        Ok(Server {
            stub,
            machine: Some(machine),
            held: None,
            behind: Vec::new(),
            said: String::new(),
            acknowledges: true,
        })
    }

    /// The client said farewell, or the session failed.
    pub(super) fn is_over(&self) -> bool {
        self.machine.is_none()
    }

    /// Nothing more is answered.
    pub(super) fn end(&mut self) {
        self.machine = None;
    }

    /// Takes what the client sent: a packet, or a byte between packets.
    pub(super) fn take(&mut self, part: Vec<u8>) -> Result<(), GdbError> {
        match &self.held {
            _ if part == NOT_ACKNOWLEDGED => Ok(()),
            Some(held) if *held == part => Ok(()),
            Some(_) => self.take_while_waiting(part),
            // It comes late: what ran has stopped, and the client knows.
            None if part == INTERRUPT => Ok(()),
            None if self.must_wait(&part) => {
                if self.stub.dump().is_some() {
                    self.acknowledge()?;
                }
                self.held = Some(part);
                Ok(())
            }
            None => self.pass(&part),
        }
    }

    fn must_wait(&self, part: &[u8]) -> bool {
        let is_awaited = self.stub.history.is_none() && self.stub.lack.is_none();
        let needs_it = || match self.stub.dump() {
            Some(_) => payload(part).is_some_and(needs_history),
            None => part.starts_with(b"$"),
        };
        is_awaited && needs_it()
    }

    fn take_while_waiting(&mut self, part: Vec<u8>) -> Result<(), GdbError> {
        if part == INTERRUPT {
            self.stub.lack = Some(Lack::Interrupted);
            self.release()?;
            self.stub.lack = None;
            return self.take_behind();
        }
        if payload(&part).is_some_and(is_farewell) {
            self.held = None;
            return self.pass(&part);
        }
        self.behind.push(part);
        if self.behind.iter().map(Vec::len).sum::<usize>() > MAX_BEHIND {
            return Err(GdbError::new("the client does not wait for an answer"));
        }
        Ok(())
    }

    /// The history is there, or it never will be: what was held back goes on.
    pub(super) fn go_on(&mut self, recovered: Result<&'a History, &Error>) -> Result<(), GdbError> {
        match recovered {
            Ok(history) => self.stub.know(history),
            Err(error) => self.stub.lack = Some(Lack::Failed(error.to_string())),
        }
        self.release()?;
        self.take_behind()
    }

    /// What is held back is answered now.
    fn release(&mut self) -> Result<(), GdbError> {
        let held = self.held.take();
        held.map_or(Ok(()), |held| self.pass(&held))
    }

    fn take_behind(&mut self) -> Result<(), GdbError> {
        let behind = mem::take(&mut self.behind);
        behind.into_iter().try_for_each(|part| self.take(part))
    }

    /// Tells a client that waits how far the recovery is.
    pub(super) fn tell(&mut self, progress: Option<Progress>) -> Result<(), GdbError> {
        let listens = self.held.is_some() && self.stub.dump().is_some();
        let Some(said) = progress.filter(|_| listens).map(in_words) else {
            return Ok(());
        };
        if said != self.said {
            self.say(&said)?;
            self.said = said;
        }
        Ok(())
    }

    /// Hands on what gdbstub has an answer to; says why where that is none.
    fn pass(&mut self, part: &[u8]) -> Result<(), GdbError> {
        let payload = payload(part);
        let lack = self.stub.lack.as_ref().map(Lack::to_string);
        if self.stub.dump().is_none()
            && let (Some(lack), Some(_)) = (&lack, payload)
        {
            return self.refuse(lack);
        }
        if let Some(lack) = lack.filter(|_| payload.is_some_and(is_resumption)) {
            self.acknowledge()?;
            self.say(&lack)?;
        }
        if payload == Some(b"QStartNoAckMode") {
            self.acknowledges = false;
        }
        part.iter().try_for_each(|&byte| self.feed(byte))
    }

    /// Without a dump and a history there is nothing to talk about.
    fn refuse(&mut self, lack: &str) -> Result<(), GdbError> {
        let refused = self.output().map_or(Ok(()), |output| output.refuse(lack));
        refused.map_err(GdbError::new)?;
        Err(GdbError::new(lack))
    }

    fn feed(&mut self, byte: u8) -> Result<(), GdbError> {
        let Some(machine) = self.machine.take() else {
            return Ok(());
        };
        let stub = &mut self.stub;
        let mut machine = match machine {
            GdbStubStateMachine::Idle(idle) => idle.incoming_data(stub, byte),
            other => Ok(other),
        };
        self.machine = loop {
            machine = match machine.map_err(GdbError::new)? {
                idle @ GdbStubStateMachine::Idle(_) => break Some(idle),
                GdbStubStateMachine::Running(mut running) => {
                    // A client that is not told soon that its packet arrived sends it again.
                    running.borrow_conn().send().map_err(GdbError::new)?;
                    let reason = stub.go();
                    running.report_stop(stub, reason)
                }
                GdbStubStateMachine::CtrlCInterrupt(interrupt) => {
                    let reason = MultiThreadStopReason::Signal(gdbstub::common::Signal::SIGINT);
                    interrupt.interrupt_handled(stub, Some(reason))
                }
                GdbStubStateMachine::Disconnected(_) => break None,
            };
        };
        Ok(())
    }

    fn output(&mut self) -> Option<&mut Output<W>> {
        match self.machine.as_mut()? {
            GdbStubStateMachine::Idle(machine) => Some(machine.borrow_conn()),
            GdbStubStateMachine::Running(machine) => Some(machine.borrow_conn()),
            GdbStubStateMachine::CtrlCInterrupt(machine) => Some(machine.borrow_conn()),
            GdbStubStateMachine::Disconnected(machine) => Some(machine.borrow_conn()),
        }
    }

    /// Says that a packet arrived, of which gdbstub does not know yet.
    fn acknowledge(&mut self) -> Result<(), GdbError> {
        match self.acknowledges {
            true => self.output().map_or(Ok(()), Output::acknowledge),
            false => Ok(()),
        }
        .map_err(GdbError::new)
    }

    /// Words for the client's user, where the client listens.
    fn say(&mut self, words: &str) -> Result<(), GdbError> {
        let said = self.output().map_or(Ok(()), |output| output.say(words));
        said.map_err(GdbError::new)
    }
}

/// The packet lets the program run.
fn is_resumption(payload: &[u8]) -> bool {
    match payload {
        b"bs" | b"bc" | [b'c' | b's' | b'C' | b'S', ..] => true,
        _ => payload.starts_with(b"vCont;"),
    }
}

/// The client does not want an answer any more.
fn is_farewell(payload: &[u8]) -> bool {
    matches!(payload, [b'D' | b'k', ..]) || payload.starts_with(b"vKill")
}

fn needs_history(payload: &[u8]) -> bool {
    let command = payload.strip_prefix(b"qRcmd,").and_then(from_hex);
    let asks = |command: Vec<u8>| monitor::needs_history(&String::from_utf8_lossy(&command));
    is_resumption(payload) || command.is_some_and(asks)
}

fn in_words(progress: Progress) -> String {
    let share = |done: u64, of: u64| {
        let percent = u128::from(done) * 100 / u128::from(of.max(1));
        format!("{percent} %")
    };
    match progress {
        Progress::Decoding { bytes, of } => format!("decoding, {}", share(bytes, of)),
        Progress::Building { steps, of } => format!("relating steps, {}", share(steps, of)),
        Progress::Learning { phase, of, .. } => format!("learning values, phase {phase} of {of}"),
        Progress::Indexing { steps, of } => format!("sorting accesses, {}", share(steps, of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_from_the_past_needs_a_history() {
        let monitor = |command: &str| {
            let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("qRcmd,{hex}")
        };
        let wait = ["bs", "bc", "c", "s", "C0b", "S05;10", "vCont;s:p1.2;c"].map(String::from);
        let asked = ["where", "seek -1", "explain rax", " mem 0 8"].map(monitor);
        for packet in wait.iter().chain(&asked) {
            assert!(needs_history(packet.as_bytes()), "{packet}");
        }
        let answered = ["?", "g", "vCont?", "qC", "m10,8", "Z2,10,8", "qRcmd,zz"].map(String::from);
        let known = ["help", "trust certain", "", "nonsense"].map(monitor);
        for packet in answered.iter().chain(&known) {
            assert!(!needs_history(packet.as_bytes()), "{packet}");
        }
    }

    #[test]
    fn shares_are_of_something() {
        let all = Progress::Decoding {
            bytes: u64::MAX,
            of: u64::MAX,
        };
        assert_eq!(in_words(all), "decoding, 100 %");
        assert_eq!(
            in_words(Progress::Building { steps: 0, of: 0 }),
            "relating steps, 0 %"
        );
    }
}
