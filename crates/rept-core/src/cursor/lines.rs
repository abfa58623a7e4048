//! Stepping by source lines.
//!
//! A *stay* is a run of steps on one line of one run of one function; what is called from there,
//! or inlined there, interrupts it and does not end it. Forward, the stop is where another stay
//! begins or goes on; backward, where the stay before began, so that the line has not run yet and
//! stepping there and back meets the same places. Which run of a function a step belongs to is told
//! by the innermost open call, so that a recursion on one line is not taken for one stay.
//!
//! Costs the steps passed, without those of calls that are stepped over and return. A call that does
//! not return is passed step by step.

use crate::history::{Call, History};
use crate::position::Position;
use crate::symbols::SourceFrame;
use iced_x86::{Decoder, DecoderOptions, FlowControl};
use rept_trace::Address;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::Direction;

/// Steps passed between two looks at whether the answer is still wanted.
const PATIENCE: u32 = 256;

/// How a walk ended.
pub(super) enum Walked {
    /// At this step.
    To(u64),
    /// At this step, by whoever opened the session.
    Cancelled(u64),
    /// At the end of the thread's history.
    End,
}

/// Source functions of an instruction, the outermost first.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    frames: Vec<SourceFrame>,
    /// The innermost has a line that one steps by: it is not the loader's.
    has_line: bool,
    /// By the symbol table, where there is no line.
    name: Option<String>,
}

impl Place {
    /// On the same line of the same function, or in the same function without lines.
    fn is_on_line_of(&self, other: &Place) -> bool {
        let ends = self.frames.last().zip(other.frames.last());
        let same = |(own, others): (&SourceFrame, &SourceFrame)| {
            own.line == others.line && own.file == others.file
        };
        self.has_line == other.has_line
            && self.is_within(other)
            && self.frames.len() == other.frames.len()
            && match self.has_line {
                true => ends.is_some_and(same),
                false => self.name == other.name,
            }
    }

    /// In the same inlined function, from the same call of it, or in one inlined there.
    fn is_within(&self, other: &Place) -> bool {
        let Some((last, around)) = other.frames.split_last() else {
            return true;
        };
        self.frames.len() > around.len()
            && self.frames[..around.len()] == *around
            && self.frames[around.len()].function == last.function
    }
}

/// Where a step is: in which run of a function, and where in it.
#[derive(Clone, Debug)]
struct Spot {
    call: Option<usize>,
    place: Rc<Place>,
}

impl Spot {
    fn is_same_stay(&self, other: &Spot) -> bool {
        self.call == other.call && self.place.is_on_line_of(&other.place)
    }
}

/// The dynamic loader: it comes between a first call and what is called, and nobody asked for it.
fn is_loader(module: &str) -> bool {
    module.starts_with("ld-linux") || module.starts_with("ld.so") || module.starts_with("ld-musl")
}

/// A walk over the stays of a thread.
pub(super) struct Lines<'a> {
    history: &'a History,
    from: Position,
    steps: u64,
    start: Spot,
    /// What is called or inlined is passed.
    over: bool,
    places: BTreeMap<Address, Rc<Place>>,
    /// Calls made inside of the call that was asked about last.
    inside: Option<(Option<usize>, Range<usize>)>,
    patience: u32,
}

impl<'a> Lines<'a> {
    /// Calls are entered.
    pub(super) fn into(history: &'a History, from: Position) -> Lines<'a> {
        Lines::new(history, from, false)
    }

    /// Calls are passed.
    pub(super) fn over(history: &'a History, from: Position) -> Lines<'a> {
        Lines::new(history, from, true)
    }

    fn new(history: &'a History, from: Position, over: bool) -> Lines<'a> {
        let steps = history.lifetime(from.thread).map_or(0, |steps| steps.end);
        let nowhere = Place {
            frames: Vec::new(),
            has_line: false,
            name: None,
        };
        let mut walk = Lines {
            history,
            from,
            steps,
            start: Spot {
                call: None,
                place: Rc::new(nowhere),
            },
            over,
            places: BTreeMap::new(),
            inside: None,
            patience: 0,
        };
        walk.start = walk.spot(from.step);
        walk
    }

    /// The walk begins in an inlined function.
    pub(super) fn is_inlined(&self) -> bool {
        self.start.place.frames.len() > 1
    }

    /// To where another stay begins or goes on.
    pub(super) fn forward(&mut self) -> Walked {
        let mut step = self.from.step;
        loop {
            step = match self.after(step) {
                Ok(step) if step == self.steps => return Walked::To(step),
                Ok(step) => step,
                Err(walked) => return walked,
            };
            let spot = self.spot(step);
            if self.stops_at(&spot) && !spot.is_same_stay(&self.start) {
                return Walked::To(step);
            }
        }
    }

    /// To the beginning of the stay before, or of this one from its midst.
    pub(super) fn backward(&mut self) -> Walked {
        let mut step = match self.stop_before(self.from.step) {
            Ok(step) => step,
            Err(walked) => return walked,
        };
        let mut spot = self.spot(step);
        loop {
            // What is inlined or called there is part of the stay.
            self.start = spot.clone();
            let before = match self.stop_before(step) {
                Ok(before) => before,
                Err(Walked::Cancelled(_)) => return Walked::Cancelled(step),
                Err(_) => return Walked::To(step),
            };
            let other = self.spot(before);
            let entered = !self.over && self.is_inside(other.call, spot.call);
            if !other.is_same_stay(&spot) && !entered {
                return Walked::To(step);
            }
            (step, spot) = (before, other);
        }
    }

    /// To the nearest step outside the inlined function in which the walk begins.
    pub(super) fn out_of_inlined(&mut self, direction: Direction) -> Walked {
        let mut step = self.from.step;
        loop {
            let next = match direction {
                Direction::Forward => self.after(step),
                Direction::Backward => self.before(step),
            };
            step = match next {
                Ok(step) => step,
                Err(walked) => return walked,
            };
            let spot = self.spot(step);
            let inside = match spot.call == self.start.call {
                true => spot.place.is_within(&self.start.place),
                false => self.is_inside(spot.call, self.start.call),
            };
            if !inside {
                return Walked::To(step);
            }
        }
    }

    /// To behind the return of the function in which the walk begins, which was entered before the
    /// window.
    pub(super) fn behind_return(&mut self) -> Walked {
        let mut step = self.from.step;
        loop {
            let returns = self.returns(step) && self.spot(step).call.is_none();
            match self.after(step) {
                Ok(next) if returns => return Walked::To(next),
                Ok(next) => step = next,
                Err(walked) => return walked,
            }
        }
    }

    fn returns(&self, step: u64) -> bool {
        let ran = self.history.instruction(self.position(step));
        ran.is_some_and(|ran| {
            let mut decoder = Decoder::new(ran.bitness.into(), ran.bytes, DecoderOptions::NONE);
            decoder.decode().flow_control() == FlowControl::Return
        })
    }

    /// The last step before `step` at which the walk may stop.
    fn stop_before(&mut self, mut step: u64) -> Result<u64, Walked> {
        loop {
            step = self.before(step)?;
            let spot = self.spot(step);
            if self.stops_at(&spot) {
                return Ok(step);
            }
        }
    }

    /// Somebody who steps by lines wants to see it.
    fn stops_at(&mut self, spot: &Spot) -> bool {
        if !spot.place.has_line && self.start.place.has_line {
            return false;
        }
        if !self.over {
            return true;
        }
        let start = self.start.clone();
        let deeper = match spot.call == start.call {
            true => {
                let longer = spot.place.frames.len() > start.place.frames.len();
                longer && spot.place.is_within(&start.place)
            }
            false => self.is_inside(spot.call, start.call),
        };
        !deeper
    }

    /// The call was made inside of the other; nothing: by a function entered before the window.
    fn is_inside(&mut self, call: Option<usize>, other: Option<usize>) -> bool {
        let Some(call) = call else { return false };
        if self
            .inside
            .as_ref()
            .is_none_or(|(known, _)| *known != other)
        {
            self.inside = Some((other, self.made_inside(other)));
        }
        let inside = self.inside.as_ref();
        inside.is_some_and(|(_, inside)| inside.contains(&call))
    }

    /// The calls made inside of a call: they follow it.
    fn made_inside(&self, call: Option<usize>) -> Range<usize> {
        let calls = self.history.calls(self.from.thread);
        let Some(call) = call else {
            return 0..calls.len();
        };
        let behind = &calls[call + 1..];
        let inside = |inner: &Call| calls[call].left.is_none_or(|left| inner.site <= left);
        let count = behind.partition_point(inside);
        call + 1..call + 1 + count
    }

    /// The step that comes next, over a call that begins here.
    fn after(&mut self, step: u64) -> Result<u64, Walked> {
        self.check(step)?;
        let calls = self.history.calls(self.from.thread);
        let call = calls.binary_search_by_key(&step, |call| call.site).ok();
        let returned = call.and_then(|index| calls[index].returned);
        let last = returned.filter(|_| self.over).unwrap_or(step);
        Some(last + 1)
            .filter(|&next| next <= self.steps)
            .ok_or(Walked::End)
    }

    /// The step that came before, over a call that returned to here.
    fn before(&mut self, step: u64) -> Result<u64, Walked> {
        self.check(step)?;
        let before = step.checked_sub(1).ok_or(Walked::End)?;
        let call = self.history.returned_at(self.position(before));
        // Out of the function in which the walk begins there is only the way by its call.
        Ok(call.filter(|_| self.over).map_or(before, |call| call.site))
    }

    fn check(&mut self, step: u64) -> Result<(), Walked> {
        self.patience = self.patience.checked_sub(1).unwrap_or(PATIENCE);
        match self.patience == PATIENCE && self.history.is_cancelled() {
            true => Err(Walked::Cancelled(step)),
            false => Ok(()),
        }
    }

    fn spot(&mut self, step: u64) -> Spot {
        let position = self.position(step);
        let call = self.history.innermost_call(position);
        let pc = self.history.at(position).and_then(|state| state.pc());
        let symbols = self.history.session().symbols();
        let look_up = |at: Address| {
            let symbol = symbols.lookup(at);
            let is_loader = symbol.module.as_deref().is_some_and(is_loader);
            let has_line = !is_loader && symbol.line().is_some_and(|(_, line)| line > 0);
            let name = symbol.name().filter(|_| !has_line).map(str::to_owned);
            let mut frames = symbol.frames;
            frames.reverse();
            Rc::new(Place {
                frames,
                has_line,
                name,
            })
        };
        let at = pc.unwrap_or(Address(0));
        let place = self.places.entry(at).or_insert_with(|| look_up(at)).clone();
        Spot { call, place }
    }

    fn position(&self, step: u64) -> Position {
        Position::new(self.from.thread, step)
    }
}
