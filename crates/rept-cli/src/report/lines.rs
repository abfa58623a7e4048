//! The source lines that a thread executed, with the values that variables had there.
//!
//! A line is printed when the thread comes to it; below it, the variables of its function whose
//! values are not those that were shown last for this run of the function.

use crate::colour;
use rept_core::{History, Position, SourceFrame, Trust, Variable};
use rept_trace::{Address, ThreadId};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::rc::Rc;

/// Column at which values begin.
const VALUES: usize = 4;
/// Characters of one value printed at most.
const MAX_VALUE: usize = 160;

/// A stay on one source line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stay {
    step: u64,
    place: Rc<Place>,
}

/// Function, file and line of an instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) function: String,
    /// As the compiler named it, and the line; none where there is no debug information.
    pub(super) line: Option<(String, u32)>,
}

/// What to print.
pub(crate) struct Wanted<'a> {
    pub(crate) thread: ThreadId,
    pub(crate) steps: Range<u64>,
    /// The newest lines printed, at most.
    pub(crate) most: u64,
    /// Only of functions whose name holds this.
    pub(crate) function: Option<&'a str>,
    pub(crate) trust: Trust,
}

/// Prints the lines, oldest first.
///
/// # Errors
/// Those of writing.
pub(crate) fn lines(history: &History, wanted: &Wanted<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut places = Places::new(history);
    let stays = stays(&mut places, wanted);
    if stays.is_empty() {
        let whose = wanted
            .function
            .map(|name| format!(" of functions named {name}"));
        let whose = whose.unwrap_or_default();
        return writeln!(out, "no step{whose} among those asked for");
    }
    let mut files = Files::default();
    let mut shown: BTreeMap<(usize, String), BTreeMap<String, String>> = BTreeMap::new();
    let mut heading = None;
    for stay in &stays {
        let at = Position::new(wanted.thread, stay.step);
        let Place { function, line } = &*stay.place;
        if heading.as_ref() != Some(function) {
            let file = line.as_ref().map_or("", |(file, _)| file.as_str());
            writeln!(out, "{}  {file}", colour::heading(function))?;
            heading = Some(function.clone());
        }
        let at_text = colour::position(format!("{:<16}", at.to_string()));
        let text = line
            .as_ref()
            .and_then(|(file, line)| files.line(file, *line));
        let number = line.as_ref().map_or(0, |&(_, line)| line);
        match number {
            0 => writeln!(out, "  {at_text}     | (no source line)")?,
            _ => writeln!(out, "  {at_text} {number:>4}| {}", text.unwrap_or_default())?,
        }
        let depth = history.open_calls(at).len();
        // A function that is entered again has variables of its own.
        shown.retain(|&(known, _), _| known <= depth);
        let values = shown.entry((depth, function.clone())).or_default();
        variables(history, at, wanted.trust, values, out)?;
    }
    Ok(())
}

/// Prints variables that differ from what was shown last.
fn variables(
    history: &History,
    at: Position,
    trust: Trust,
    shown: &mut BTreeMap<String, String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(found) = history.variables(at, trust) else {
        return Ok(());
    };
    let innermost = found
        .functions
        .first()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut news = Vec::new();
    for variable in innermost
        .iter()
        .filter(|variable| variable.value.is_known())
    {
        let text = text(variable);
        if shown.get(&variable.name) != Some(&text) {
            news.push(text.clone());
            shown.insert(variable.name.clone(), text);
        }
    }
    for text in news {
        let text = colour::values(text);
        writeln!(out, "  {:<16}      {:VALUES$}{text}", "", "")?;
    }
    Ok(())
}

fn text(variable: &Variable) -> String {
    let text = variable.to_string();
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where the thread came to each of the newest lines that are wanted, oldest first.
pub(super) fn places(history: &History, wanted: &Wanted<'_>) -> Vec<(Position, Rc<Place>)> {
    let stays = stays(&mut Places::new(history), wanted).into_iter();
    stays
        .map(|stay| (Position::new(wanted.thread, stay.step), stay.place))
        .collect()
}

/// The newest stays that are wanted, oldest first.
fn stays(places: &mut Places<'_>, wanted: &Wanted<'_>) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let mut step = wanted.steps.end;
    while step > wanted.steps.start {
        step -= 1;
        let Some(place) = places.at(Position::new(wanted.thread, step)) else {
            continue;
        };
        let full = stays.len() as u64 == wanted.most;
        match stays.last_mut() {
            Some(last) if last.place == place && last.step == step + 1 => last.step = step,
            _ if full => break,
            _ if wanted
                .function
                .is_none_or(|name| place.function.contains(name)) =>
            {
                stays.push(Stay { step, place });
            }
            _ => {}
        }
    }
    stays.reverse();
    stays
}

/// Places of instructions, looked up once.
struct Places<'a> {
    history: &'a History,
    known: BTreeMap<Address, Rc<Place>>,
}

impl<'a> Places<'a> {
    fn new(history: &'a History) -> Places<'a> {
        let known = BTreeMap::new();
        Places { history, known }
    }

    fn at(&mut self, position: Position) -> Option<Rc<Place>> {
        let at = self.history.instruction(position)?.at;
        let history = self.history;
        let look_up = || {
            let symbol = history.session().symbols().lookup(at);
            let frame = symbol.frames.first();
            let line = |frame: &SourceFrame| {
                Some((frame.file.clone()?, frame.line.filter(|&line| line > 0)?))
            };
            let function = symbol.name().map(str::to_owned);
            let module = || symbol.module.clone();
            Rc::new(Place {
                line: frame.and_then(line),
                function: function.or_else(module).unwrap_or_else(|| at.to_string()),
            })
        };
        Some(self.known.entry(at).or_insert_with(look_up).clone())
    }
}

/// Source files, read once; a file that is not there has no lines.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<String>>);

impl Files {
    fn line(&mut self, file: &str, line: u32) -> Option<String> {
        let read = || {
            let text = std::fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            text.lines().map(str::to_owned).collect()
        };
        let lines = self.0.entry(file.to_owned()).or_insert_with(read);
        lines.get((line as usize).checked_sub(1)?).cloned()
    }
}
