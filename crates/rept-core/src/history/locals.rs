//! Parameters and locals at a position.

use super::frames::{Backtrace, Frame};
use super::{History, StateView, Trust, Value};
use crate::position::Position;
use crate::symbols::{FrameState, FunctionPlace};
use crate::typed::Variable;
use rept_trace::{Address, RegWord};
use std::sync::PoisonError;

/// The variables of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameVariables {
    /// Variables by source frame, as [`crate::Symbol::frames`] has them for the frame's code: those
    /// of the innermost inlined function first, of the function itself last.
    pub functions: Vec<Vec<Variable>>,
    /// Why there are none, where the file that holds the code cannot tell.
    pub missing: Option<String>,
}

impl FrameVariables {
    /// All of them, the innermost function's first.
    pub fn all(&self) -> impl Iterator<Item = &Variable> {
        self.functions.iter().flatten()
    }
}

impl History {
    /// Parameters and locals of the function that runs at a position, and of those inlined into
    /// it, with values known at grade `trust` or better. `None` for no such position.
    pub fn variables(&self, position: Position, trust: Trust) -> Option<FrameVariables> {
        let state = self.at(position)?;
        let Some(pc) = state.pc() else {
            return Some(FrameVariables::default());
        };
        let innermost = Frame::innermost(&state, pc, trust);
        let call = self.open_calls(position).last().map(|&index| {
            let site = self.calls(position.thread)[index].site;
            Position::new(position.thread, site)
        });
        Some(self.frame_variables(&state, &innermost, call, trust))
    }

    /// The same of frame `index` of a backtrace of this position and grade: registers as they
    /// were (or will be) in that frame, memory as it is at the position.
    ///
    /// `None` for no such position or frame.
    pub fn variables_of(
        &self,
        position: Position,
        backtrace: &Backtrace,
        index: usize,
        trust: Trust,
    ) -> Option<FrameVariables> {
        let state = self.at(position)?;
        let frame = backtrace.frames.get(index)?;
        let caller = backtrace.frames.get(index + 1);
        let call = caller.and_then(|caller| caller.call);
        Some(self.frame_variables(&state, frame, call, trust))
    }

    /// Variables that are no function's own, by name: globals, those of files, of namespaces and
    /// classes, and what functions keep between calls, with values known at grade `trust` or better;
    /// of thread-local ones those of the position's thread. The name may be the last part of a longer
    /// one; several may have it. Reads the debug information of all modules when first asked.
    ///
    /// `None` for no such position.
    pub fn statics(&self, name: &str, position: Position, trust: Trust) -> Option<Vec<Variable>> {
        let state = self.at(position)?;
        let frame_state = FrameState {
            register: &|_| Value::default(),
            at_entry: &|_| None,
            byte: &|address| state.byte(address),
            cfa: None,
            thread: state.reg(RegWord::FS_BASE),
            trust,
        };
        Some(self.session.symbols().statics(name, &frame_state))
    }

    /// Variables of this name at a position: of the function that runs there and of those inlined into
    /// it, the innermost first, then those that are no function's own.
    ///
    /// `None` for no such position.
    pub fn variables_named(
        &self,
        name: &str,
        position: Position,
        trust: Trust,
    ) -> Option<Vec<Variable>> {
        let own = self.variables(position, trust)?.functions.into_iter();
        let own = own.flatten().filter(|variable| variable.name == name);
        let mut found: Vec<Variable> = own.collect();
        for other in self.statics(name, position, trust)? {
            let known =
                |found: &Variable| found.location.is_some() && found.location == other.location;
            if !found.iter().any(known) {
                found.push(other);
            }
        }
        Some(found)
    }

    fn frame_variables(
        &self,
        state: &StateView<'_>,
        frame: &Frame,
        call: Option<Position>,
        trust: Trust,
    ) -> FrameVariables {
        let at = frame.lookup_address();
        let place = self.session.symbols().function(at);
        let entry = place.and_then(|place| self.entered(place, call?));
        // Registers of frames that the trace has are read with their grades.
        let own = match frame.call {
            Some(site) => self.at(site),
            None if frame.pc == frame.registers.pc && frame.interrupted => {
                Some(*state).filter(|state| state.pc() == Some(frame.pc))
            }
            None => None,
        };
        let register = |word: RegWord| match &own {
            Some(state) => state.reg(word),
            None => unwound(frame.registers.get(word), trust),
        };
        let at_entry = |word: RegWord| entry.as_ref().map(|state| state.reg(word));
        let byte = |address: Address| state.byte(address);
        let frame_state = FrameState {
            register: &register,
            at_entry: &at_entry,
            byte: &byte,
            cfa: self.cfa(state, own.as_ref(), frame, trust),
            thread: state.reg(RegWord::FS_BASE),
            trust,
        };
        let unset = place.is_some_and(|place| self.is_unset(place, at));
        let found = self.session.symbols().variables(at, &frame_state, unset);
        match found {
            Ok(functions) => FrameVariables {
                functions,
                missing: None,
            },
            Err(missing) => FrameVariables {
                functions: Vec::new(),
                missing: Some(missing),
            },
        }
    }

    /// The state when the function was entered by a call: `None` where the call entered another
    /// function, which jumped on to this one.
    fn entered(&self, place: FunctionPlace, call: Position) -> Option<StateView<'_>> {
        let first = self.at(Position::new(call.thread, call.step + 1))?;
        (first.pc() == Some(Address(place.entry))).then_some(first)
    }

    /// The canonical frame address, by the best grade that it is known at.
    fn cfa(
        &self,
        state: &StateView<'_>,
        own: Option<&StateView<'_>>,
        frame: &Frame,
        trust: Trust,
    ) -> Option<(u64, Trust)> {
        let unwinder = self.session.unwinder();
        let mut unwinder = unwinder.lock().unwrap_or_else(PoisonError::into_inner);
        let grades = [Trust::Certain, Trust::Assumed, Trust::Inferred];
        grades
            .into_iter()
            .filter(|&grade| grade <= trust)
            .find_map(|grade| {
                let registers = match own {
                    Some(own) => own.frame_registers(frame.pc, grade),
                    None if grade == trust => frame.registers,
                    None => return None,
                };
                let memory =
                    |address: Address, size: usize| state.read_number(address, size, grade);
                unwinder
                    .cfa(&registers, frame.interrupted, &memory)
                    .map(|cfa| (cfa, grade))
            })
    }

    /// The frame base is a register's, and the register not as the function's body has it: the
    /// prologue is not over, or the epilogue has begun.
    fn is_unset(&self, place: FunctionPlace, at: Address) -> bool {
        let Some(body) = place.body.filter(|_| place.by_register) else {
            return false;
        };
        let unwinder = self.session.unwinder();
        let mut unwinder = unwinder.lock().unwrap_or_else(PoisonError::into_inner);
        unwinder.cfa_rule(at) != unwinder.cfa_rule(Address(body))
    }
}

/// A register that unwinding found, at the grade that was asked for.
fn unwound(found: Option<u64>, trust: Trust) -> Value {
    let known = found.map_or(0, |_| u64::MAX);
    let at = |grade: Trust| if trust <= grade { known } else { 0 };
    Value {
        bits: found.unwrap_or(0),
        known,
        certain: at(Trust::Certain),
        assumed: at(Trust::Assumed),
    }
}
