//! Colours for people: on a terminal, or when asked for; plain text otherwise.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this process paints: its one output is a terminal or not for all that is printed.
static PAINTS: AtomicBool = AtomicBool::new(false);

/// When to paint.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Not at all.
    Never,
}

/// Decides for this process, by what was asked for and where its output goes.
pub(crate) fn decide(when: When) {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let able = io::stdout().is_terminal() && !set("NO_COLOR") && !is_dumb;
    PAINTS.store(paints(when, able), Ordering::Relaxed);
}

fn paints(when: When, able: bool) -> bool {
    match when {
        When::Auto => able,
        When::Always => true,
        When::Never => false,
    }
}

/// A function, or what else stands above lines.
pub(crate) fn heading(text: impl Display) -> String {
    painted("1", text, PAINTS.load(Ordering::Relaxed))
}

/// A position.
pub(crate) fn position(text: impl Display) -> String {
    painted("36", text, PAINTS.load(Ordering::Relaxed))
}

/// Values of variables, or of an instruction's operands.
pub(crate) fn values(text: impl Display) -> String {
    painted("32", text, PAINTS.load(Ordering::Relaxed))
}

/// What is wrong with the program.
pub(crate) fn culprit(text: impl Display) -> String {
    painted("1;31", text, PAINTS.load(Ordering::Relaxed))
}

fn painted(code: &str, text: impl Display, paints: bool) -> String {
    let text = text.to_string();
    match paints && !text.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_are_painted_unless_asked_for() {
        let all = [When::Auto, When::Always, When::Never];
        assert_eq!(all.map(|when| paints(when, true)), [true, true, false]);
        assert_eq!(all.map(|when| paints(when, false)), [false, true, false]);
        assert_eq!(painted("1", "main", true), "\x1b[1mmain\x1b[0m");
        assert_eq!(painted("1", "main", false), "main");
        assert_eq!(painted("1", "", true), "");
    }
}
