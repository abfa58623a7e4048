//! Events that packets tell beside the flow: page tables, power, PTWRITE, PEBS, event trace, triggers.
//!
//! An event's place in the path is not always where execution stands when its packet comes:
//!
//! | event | its place |
//! |---|---|
//! | whose packet says that a FUP follows | the address of the FUP |
//! | an interrupt of the event trace without that, while tracing is on | the address of the FUP that announces it |
//! | of a far transfer: PIP, VMCS, the event trace's IRET and its like | behind that transfer, before what it leads to |
//! | a trigger with a number of instructions | so many further on |
//! | all others | where execution stands |
//!
//! What comes while an event waits for its FUP is told behind that event, so that events keep the order
//! of their packets. Data of the event trace (EVD) goes with the event that it belongs to.
//!
//! Source: SDM "Intel Processor Trace", sections "Power Event Tracing", "Event Tracing" and "Trigger
//! Tracing".

use super::waiting::{Ahead, Fup, MAX_WAITING, data, interrupts, other};
use super::{Flow, Next, Place};
use crate::CodeImage;
use crate::packet::Packet;
use rept_trace::EventKind;

impl<I: CodeImage + ?Sized> Flow<'_, I> {
    /// A packet that is neither of the flow nor of time or mode.
    pub(super) fn rare(&mut self, packet: &Packet) -> Next {
        match *packet {
            Packet::Pip { cr3, non_root } => self.page_table(cr3 >> 4 | u64::from(non_root)),
            Packet::Vmcs { base } => self.of_transfer("VMCS", base),
            Packet::Ptw { payload, size, ip } => self.ptwrite(payload, size, ip),
            Packet::Bbp { kind, .. } => {
                self.flush_waiting(None);
                self.waiting.group = kind;
            }
            Packet::Bip { id, payload, .. } => self.block_item(id, payload),
            Packet::Bep { ip: false } => drop(self.flush_waiting(None)),
            Packet::Cfe { kind, ip, vector } => return self.control_flow_event(kind, ip, vector),
            Packet::Evd { kind, payload } => return self.event_data(kind, payload),
            Packet::Trig {
                triggers,
                instructions,
                ip,
                multiple,
            } => self.trigger((triggers, multiple), instructions, ip),
            // Unlike what else may be in a PSB+ it restates nothing.
            Packet::Mnt { payload } => self.stream_event("MNT", payload),
            Packet::TraceStop => self.other_event("TraceStop", 0),
            _ => self.power(packet),
        }
        Next::Packet
    }

    fn power(&mut self, packet: &Packet) {
        match *packet {
            Packet::Mwait { hints, extensions } => {
                let payload = u64::from(extensions) << 32 | u64::from(hints);
                self.wait_for_fup(other("MWAIT", payload), false);
            }
            // The state is entered where the EXSTOP, which comes next, says.
            Packet::Pwre {
                state,
                sub_state,
                hardware,
            } => {
                let states = u64::from(state) << 12 | u64::from(sub_state) << 8;
                let payload = states | u64::from(hardware) << 7;
                self.wait(other("PWRE", payload), Fup::Foreign);
            }
            Packet::ExStop { ip: true } => self.wait_for_fup(other("EXSTOP", 0), false),
            // Without an address, MWAIT has none either.
            Packet::ExStop { ip: false } => {
                self.flush_waiting(None);
                self.stream_event("EXSTOP", 0);
            }
            Packet::Pwrx {
                last,
                deepest,
                reason,
            } => {
                if !self.waiting.asks() {
                    self.flush_waiting(None);
                }
                let payload = u64::from(reason) << 8 | u64::from(last) << 4 | u64::from(deepest);
                self.stream_event("PWRX", payload);
            }
            _ => {}
        }
    }

    /// A MOV to CR3 that is next in straight code is what made the PIP, and ran.
    fn page_table(&mut self, payload: u64) {
        let synchronous = self.boundary.is_none() && self.interrupted.is_none();
        let walkable = self.place == Place::Traced && self.pending.len == 0;
        let before = self.step_number();
        match synchronous && walkable && self.walk_through_control() {
            true => self.stream_event("PIP", payload),
            false => self.of_transfer("PIP", payload),
        }
        self.led_on(before);
    }

    /// A packet that triggers do not count from led on from step `before`.
    fn led_on(&mut self, before: u64) {
        let step = self.step_number();
        let ahead = self.waiting.ahead;
        let earlier = if ahead.step == before {
            ahead.instructions
        } else {
            0
        };
        if step > before {
            self.waiting.ahead = Ahead {
                step,
                instructions: earlier + (step - before),
            };
        }
    }

    /// An event of the far transfer that comes next, if there is one.
    fn of_transfer(&mut self, name: &'static str, payload: u64) {
        let comes = self.place == Place::Traced
            && self.boundary.is_none()
            && (self.interrupted.is_some() || self.pending.len == 0 && self.far_transfer_is_next());
        match comes {
            true => self.wait_for_transfer(other(name, payload)),
            false => self.other_event(name, payload),
        }
    }

    /// An event without an address of its own. In a PSB+ it restates what is known already.
    pub(super) fn other_event(&mut self, name: &'static str, payload: u64) {
        if self.boundary.is_none() {
            self.stream_event(name, payload);
        }
    }

    fn block_item(&mut self, id: u8, payload: u64) {
        let kind = EventKind::BlockItem {
            group: self.waiting.group,
            id,
            payload,
            ip: None,
        };
        self.wait(kind, Fup::AskedFor);
    }

    fn ptwrite(&mut self, payload: u64, size: u8, ip: bool) {
        let event = EventKind::Ptwrite {
            ip: None,
            payload,
            size,
        };
        if ip {
            return self.wait_for_fup(event, false);
        }
        self.flush_waiting(None);
        let walkable = self.place == Place::Traced && self.pending.len == 0;
        let before = self.step_number();
        let ip = if walkable {
            self.walk_to_ptwrite()
        } else {
            None
        };
        self.event(EventKind::Ptwrite { ip, payload, size });
        if ip.is_some() {
            self.run_ptwrite();
        }
        self.led_on(before);
    }

    /// Event data waits for its event, and must agree with what else that event has.
    fn event_data(&mut self, kind: u8, payload: u64) -> Next {
        let known = &self.waiting.data;
        if !known.iter().all(|&(other, _)| data::agree(kind, other)) {
            return self.unexpected("EVD", "CFE of the event data before it");
        }
        if known.len() >= MAX_WAITING {
            self.tell_data();
        }
        self.waiting.data.push((kind, payload));
        Next::Packet
    }

    fn control_flow_event(&mut self, kind: u8, ip: bool, vector: u8) -> Next {
        let data = &self.waiting.data;
        if !data.iter().all(|&(data, _)| data::belongs(data, kind)) {
            return self.unexpected("CFE", "CFE of the event data before it");
        }
        let data = std::mem::take(&mut self.waiting.data);
        let payload = u64::from(vector) << 8 | u64::from(kind);
        let event = [("CFE", payload)];
        let data = data.iter().map(|&(kind, value)| (data::name(kind), value));
        for (name, payload) in data.chain(event) {
            match (ip, interrupts(kind) && self.place == Place::Traced) {
                (true, moves) => self.wait_for_fup(other(name, payload), moves),
                (false, true) => self.wait(other(name, payload), Fup::Announces),
                (false, false) => self.of_transfer(name, payload),
            }
        }
        Next::Packet
    }

    /// Trigger tracing counts instructions since the packet before that told of a place.
    fn trigger(&mut self, (triggers, multiple): (u8, bool), count: Option<u16>, ip: bool) {
        let payload =
            u64::from(multiple) << 24 | u64::from(count.unwrap_or(0)) << 8 | u64::from(triggers);
        if ip {
            return self.wait_for_fup(other("TRIG", payload), false);
        }
        let walkable = self.place == Place::Traced && self.pending.len == 0;
        let count = count.filter(|_| walkable && !self.waiting.for_fup());
        let Some(left) = count.and_then(|count| u64::from(count).checked_sub(self.led_over()))
        else {
            return self.stream_event("TRIG", payload);
        };
        self.walk_on(left);
        self.waiting.count_from_here();
        self.event(EventKind::Other {
            name: "TRIG",
            ip: Some(self.address()),
            payload,
        });
    }

    /// Instructions since the packet that triggers count from.
    fn led_over(&mut self) -> u64 {
        let ahead = self.waiting.ahead;
        if ahead.step == self.step_number() {
            ahead.instructions
        } else {
            0
        }
    }
}
