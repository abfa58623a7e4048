//! Hand-made cases: code, path, final state and the whole expected table on one page.
//!
//! A case is a text file in `cases/`; its table is worked out by hand from what the instructions
//! mean, never copied from what an engine says.
//! - `code ADDRESS`, then one instruction a line: its bytes, and its text as iced prints it, which is checked;
//! - `path I J-K …`: the order in which the instructions ran, by index (default: each once);
//! - `signal STEP ADDRESS`: that step is the first of a signal handler, which interrupted the
//!   instruction at the address; `resume STEP`: a handler returned to that step;
//! - `stopped STEP I`: before that step (or at the end) instruction I was stopped midway; `rounds STEP I-J`:
//!   before that step, which is in the loop, any number of rounds of these instructions are missing;
//! - `final REG=VALUE …`, `memory ADDRESS BYTE …`: the dump; `mapped START END`: what of it was mapped (default:
//!   that is not known);
//! - `expect COLUMN …`, then one line a position: its number and each column's value just before
//!   that step. A column is a register or `[ADDRESS]`, eight bytes. A value is certain, `~` assumed,
//!   `~~` inferred; `?` is not wholly known; with `?` among sixteen digits, all digits are compared.
//!
//! Every case is also held against the judge ([`check`](rept_recover::check)) and a naive engine.

#[path = "cases/format.rs"]
mod format;
#[path = "naive/engine.rs"]
mod naive;

use format::{Case, Column, column_of, normal, parse, position, shown};
use rept_order::Order;
use rept_recover::History;
use rept_recover::history::{AccessView, Position, Recovered, Unknown, Value};
use rept_trace::{Address, Memory, RegWord};

#[track_caller]
fn check(text: &str) {
    let case = parse(text);
    let history = case.run();
    let mut wrong = Vec::new();
    for row in &case.rows {
        for (name, expect) in case.columns.iter().zip(&row.cells) {
            let found = shown(case.value(&history, row.step, name), expect);
            if found != normal(expect) {
                wrong.push(format!(
                    "{name} before step {}: {found}, not {expect}",
                    row.step
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let order = Order::new(&case.trace);
    let violations = rept_recover::check::check(&case.trace, &order, &history, &case.memory);
    assert_eq!(violations, [], "the history shown contradicts itself");
    compare(&case, &history);
}

/// The naive engine knows nothing that ours does not know as well, but where the table says
/// that it cannot be known or is something else.
#[track_caller]
fn compare(case: &Case, history: &History) {
    let memory = case
        .columns
        .iter()
        .filter_map(|column| match column_of(column) {
            Column::Memory(address) => Some(address),
            Column::Register(_) => None,
        });
    let watched: Vec<u64> = memory.collect();
    let naive = naive::recover(&case.trace, &case.final_state(), &watched);
    let mut worse = Vec::new();
    let mut judge = |step: u64, column: &str, ours: Value, naive: Option<u64>| {
        let Some(naive) = naive else { return };
        let same = ours.known == u64::MAX && ours.bits == naive;
        if !same && !is_expected(case, step, column, ours) {
            worse.push(format!(
                "{column} before step {step}: {naive:#x}, ours {ours:x?}"
            ));
        }
    };
    for step in 0..=case.steps() {
        let at = position(step);
        for word in (0..16).map(RegWord::gpr) {
            let known = naive.register(at, word);
            let known = (known.known == u64::MAX).then_some(known.bits);
            judge(step, &word.name(), history.register(at, word), known);
        }
        for column in &case.columns {
            if let Column::Memory(address) = column_of(column) {
                let ours = case.value(history, step, column);
                judge(step, column, ours, naive.watched(at, address));
            }
        }
    }
    assert!(worse.is_empty(), "naive engine: {}", worse.join("\n"));
}

/// The table has this very value in that place.
fn is_expected(case: &Case, step: u64, column: &str, value: Value) -> bool {
    let row = case.rows.iter().find(|row| row.step == step);
    let index = case.columns.iter().position(|name| name == column);
    row.zip(index)
        .is_some_and(|(row, index)| shown(value, &row.cells[index]) == normal(&row.cells[index]))
}

macro_rules! cases {
    ($($name:ident $file:literal)*) => {
        $(#[test]
        fn $name() {
            check(include_str!(concat!("cases/", $file, ".txt")));
        })*
    };
}

cases! {
    slides "slides"
    conflict_by_a_missing_write "missing-write"
    chain_of_pending_stores_resolved_in_one_go "pending-chain"
    retraction_that_cascades "retraction-cascades"
    load_placed_between_what_told_each_other "bridged-load"
    overlapping_writes_of_different_size "overlapping-writes"
    stack_frame_reuse "frame-reuse"
    flags_that_nobody_reads "stale-flags"
    alloca "alloca"
    string_copy "string-copy"
    system_call_into_a_live_buffer "syscall-buffer"
    signal_handler_in_the_middle "signal-handler"
    longjmp_across_frames "longjmp"
    setjmp_returns_twice "setjmp"
    list_walked_backward "list-walk"
    mmap_anywhere_is_in_nobodys_way "mmap-anywhere"
    mmap_at_a_fixed_place_may_be "mmap-fixed"
    mapped_again_is_fresh_whatever_was_there "mapped-again"
    a_store_in_a_range_is_in_nobodys_way_outside "narrow-range"
    what_an_instruction_did_until_it_was_stopped "copy-stopped"
    a_handler_in_the_middle_of_an_instruction "copy-interrupted"
    rounds_that_are_not_counted "loop-not-counted"
    rounds_that_store "loop-that-stores"
    flags_survive_a_system_call "flags-survive"
    masked_store_of_unknown_mask "masked-store"
    first_instruction_of_a_process "process-entry"
    values_through_an_unknown_pointer "unplaced"
    pointer_that_fits_what_was_read_through_it "candidate"
    two_pointers_fit_what_was_read "candidates-too-close"
}

#[test]
fn conflict_over_a_place_between_places_that_changed() {
    check(include_str!("cases/changed-around.txt"));
}

#[test]
fn conflict_of_equal_levels() {
    check(include_str!("cases/equal-levels.txt"));
}

/// What a comparison said of a flag is not shown once an instruction changed it, be it that nobody
/// reads it any more.
#[test]
fn changed_flags_are_not_shown() {
    const CF: u64 = 1;
    const ZF: u64 = 1 << 6;
    let history = parse(include_str!("cases/stale-flags.txt")).run();
    let flags = |step| history.register(position(step), RegWord::FLAGS).known;
    let shown: Vec<_> = (1..5)
        .map(|step| (flags(step) & CF != 0, flags(step) & ZF != 0))
        .collect();
    assert_eq!(
        shown,
        [(true, true), (true, true), (true, false), (true, false)]
    );
}

/// A history with one bit of one register changed.
struct Tampered<'a> {
    history: &'a History,
    step: u64,
    word: RegWord,
}

impl Recovered for Tampered<'_> {
    fn register(&self, at: Position, word: RegWord) -> Value {
        let mut value = self.history.register(at, word);
        if (at.step, word) == (self.step, self.word) {
            value.bits ^= 1;
        }
        value
    }

    fn why_unknown(&self, at: Position, word: RegWord) -> Unknown {
        self.history.why_unknown(at, word)
    }

    fn accesses(&self, at: Position) -> Vec<AccessView> {
        self.history.accesses(at)
    }

    fn memory(&self, at: Position, address: Address, dump: &dyn Memory) -> Value {
        self.history.memory(at, address, dump)
    }
}

/// The judge can say no: the sum of the slides is denied when one of its ends is changed.
#[test]
fn a_changed_register_is_a_violation_of_the_steps_around_it() {
    let case = parse(include_str!("cases/slides.txt"));
    let history = case.run();
    let tampered = Tampered {
        history: &history,
        step: 3,
        word: RegWord::RAX,
    };
    let order = Order::new(&case.trace);
    let found = rept_recover::check::check(&case.trace, &order, &tampered, &case.memory);
    let steps: Vec<u64> = found.iter().map(|violation| violation.at.step).collect();
    assert_eq!(steps, [2, 3], "the sum before, the store behind");
}

/// Where a copy came from is not known: its destination is not taken for it.
#[test]
fn a_source_that_is_not_known_has_no_place() {
    let case = parse(
        "code 0x401000\n\
         fc                                 cld\n\
         b9 08 00 00 00                     mov ecx,8\n\
         bf 00 30 40 00                     mov edi,403000h\n\
         f3 a4                              rep movsb [rdi],[rsi]\n\
         final rcx=0 rdi=0x403008\n\
         memory 0x403000 41 42 43 44 45 46 47 48\n\
         expect rcx\n\
         0 ?\n",
    );
    let found = case.run().string_accesses(position(3));
    let places: Vec<_> = found.iter().map(|a| (a.store, a.address)).collect();
    assert_eq!(places, [(true, Some(Address(0x40_3000)))]);
}
