//! Variables by their debug information, with the values that the programs are known to have had.

#[path = "support/victim.rs"]
mod victim;

use rept_core::{History, Trust};
use std::path::{Path, PathBuf};
use victim::{Folder, open, record_source, recover};

const C: &str = r#"
#include <stddef.h>
enum color { RED, GREEN = 5 };
struct point { int x; short y; unsigned mode : 3, flags : 5; };
struct all {
    struct point at; enum color color; double ratio; float half; const char *text; char name[6];
    unsigned char raw[3]; struct all *next; union { int i; char c; } u; _Bool yes; long grid[2][2];
};
__attribute__((noinline)) static int look(struct all *self, struct all copy, int count) {
    long inner = count * 2L;
    { int inner = 7; *(volatile int *)(size_t)0x10 = inner; }
    return (int)inner + self->at.x + copy.at.x;
}
int main(void) {
    struct all it = { { -3, 4, 5, 17 }, GREEN, 1.5, -0.25f, "a \"b\"", "hello", { 1, 2, 255 }, NULL,
        { 0x41 }, 1, { { 1, 2 }, { 3, 4 } } };
    return look(&it, it, 9);
}
"#;

/// Values of the variables at the crash, the innermost frame's first, without the marks of grades.
fn at_the_crash(history: &History, trust: Trust) -> Vec<(String, String)> {
    let crash = history.crash().expect("the core has the signal");
    let backtrace = history
        .backtrace(crash.position, trust)
        .expect("the position exists");
    let frames = 0..backtrace.frames.len().min(3);
    let of_frame = |index| {
        history
            .variables_of(crash.position, &backtrace, index, trust)
            .expect("the frame exists")
    };
    let variables = frames.flat_map(|index| of_frame(index).functions.into_iter().flatten());
    variables
        .map(|variable| {
            let value = variable.value.to_string().replace('~', "");
            (variable.name.clone(), value)
        })
        .collect()
}

#[track_caller]
fn check(found: &[(String, String)], expect: &[(&str, &str)]) {
    for (name, value) in expect {
        let shown = found.iter().find(|(known, _)| known == name);
        let shown = shown.map(|(_, value)| value.as_str());
        assert_eq!(shown, Some(*value), "{name} among {found:#?}");
    }
}

#[test]
fn c_values_are_shown_as_the_source_has_them() {
    let folder = Folder::new("source-c");
    let built = record_source(&folder.0, "victim.c", C, &["cc", "-O0", "-g"], Some("main"));
    let Some((recording, _)) = built else { return };
    let history = open(&recording);
    let found = at_the_crash(&history, Trust::Certain);
    let all = found
        .iter()
        .find(|(name, _)| name == "copy")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    for member in [
        "at: {x: -3, y: 4, mode: 5, flags: 17}",
        "color: GREEN",
        "ratio: 1.5, half: -0.25",
        "\"a \\\"b\\\"\"",
        "name: \"hello\"",
        "raw: [1, 2, 255]",
        "next: 0x0",
        "u: {i: 65, c: 65 'A'}",
        "yes: true",
        "grid: [1, 2, 3, 4]",
    ] {
        assert!(all.contains(member), "{member} in {all}");
    }
    check(&found, &[("inner", "7"), ("count", "9")]);
}

#[test]
fn the_value_at_entry_is_answered_from_history() {
    const SOURCE: &str = r#"
__attribute__((noinline)) long sink(long n) { return n + 1; }
__attribute__((noinline)) static long last(int a, long b) {
    long r = sink(b);
    __asm__ volatile("xor %%edi, %%edi" ::: "rdi");
    *(volatile long *)0x10 = r;
    return r;
}
int main(int argc, char **argv) { (void)argv; return (int)last(argc + 41, 6); }
"#;
    let folder = Folder::new("source-entry");
    let flags = [
        "cc",
        "-O2",
        "-g",
        "-fno-ipa-ra",
        "-fno-ipa-cp",
        "-fno-ipa-sra",
    ];
    let Some((recording, _)) = record_source(&folder.0, "victim.c", SOURCE, &flags, None) else {
        return;
    };
    let found = at_the_crash(&open(&recording), Trust::Inferred);
    let shown = |wanted: &str| {
        let found = found.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(shown("a"), Some("42"), "{found:#?}");
    assert_eq!(shown("r"), Some("7"), "{found:#?}");
}

#[test]
fn rust_values_are_shown_as_the_source_has_them() {
    const SOURCE: &str = r#"
#[derive(Clone, Copy)]
enum Shape { Circle { radius: f64 }, Square(u32), Nothing }
#[derive(Clone, Copy)]
enum Level { Low = 1, High = 9 }
struct Pair<T> { first: T, second: Option<&'static str> }
#[inline(never)]
fn look(shapes: &[Shape], pair: Pair<i16>, words: Vec<u16>, text: String) -> usize {
    let level = if words.len() > 2 { Level::High } else { Level::Low };
    let letter = 'ß';
    let nothing: Option<&str> = None;
    let number = Some(3u8);
    unsafe { std::ptr::write_volatile(0x10 as *mut usize, level as usize) };
    shapes.len() + pair.first as usize + text.len() + letter as usize + nothing.map_or(0, str::len)
        + number.map_or(0, usize::from) + pair.second.map_or(0, str::len)
}
fn main() {
    let shapes = [Shape::Circle { radius: 2.5 }, Shape::Square(4), Shape::Nothing];
    let pair = Pair { first: -2, second: Some("two") };
    std::process::exit(look(&shapes, pair, vec![5, 6, 7], String::from("hello")) as i32);
}
"#;
    let folder = Folder::new("source-rust");
    let flags = ["rustc", "--edition=2021", "-g", "-Cdebug-assertions=off"];
    let Some((recording, _)) = record_source(&folder.0, "victim.rs", SOURCE, &flags, Some("main"))
    else {
        return;
    };
    let found = at_the_crash(&open(&recording), Trust::Inferred);
    check(
        &found,
        &[
            ("shapes", "[Circle {radius: 2.5}, Square {__0: 4}, Nothing]"),
            ("pair", "{first: -2, second: Some {__0: \"two\"}}"),
            ("words", "[5, 6, 7]"),
            ("text", "\"hello\""),
            ("level", "High"),
            ("letter", "'ß'"),
            ("nothing", "None"),
            ("number", "Some {__0: 3}"),
        ],
    );
}

#[test]
fn variables_are_there_at_earlier_times() {
    let Some((_folder, history)) = recover("source-past") else {
        return;
    };
    let crash = history.crash().expect("the core has the signal");
    let busy = history.session().symbols().addresses_of("busy");
    let entered = history.executions(crash.position.thread, busy[0], 0).next();
    let entered = entered.expect("busy ran");
    let variables = history
        .variables(entered, Trust::Inferred)
        .expect("the position exists");
    let found: Vec<String> = variables.all().map(ToString::to_string).collect();
    let n = found.iter().find(|text| text.starts_with("n = "));
    assert_eq!(
        n.map(|text| text.replace('~', "")),
        Some("n = 100".to_owned()),
        "{found:?}"
    );
}

/// Builds the C program with these options, does something to the files that this made, and opens the
/// recording.
fn locals_of_c(name: &str, flags: &[&str], then: impl FnOnce(&Path)) -> Option<(Folder, History)> {
    let folder = Folder::new(name);
    let compiler = [&["cc", "-O0"], flags].concat();
    let (recording, _) = record_source(&folder.0, "victim.c", C, &compiler, Some("main"))?;
    then(&folder.0);
    Some((folder, open(&recording)))
}

/// Names of the files in a folder that end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

#[test]
fn what_is_split_off_is_found() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let built = locals_of_c("source-dwo", &["-gsplit-dwarf", version], |_| ());
        let Some((folder, history)) = built else {
            return;
        };
        assert!(!files(&folder.0, ".dwo").is_empty(), "{version}");
        let found = at_the_crash(&history, Trust::Certain);
        check(&found, &[("inner", "7"), ("count", "9")]);
        let degraded = history.session().symbols().degraded();
        let own = |module: &rept_core::Degraded| module.module.ends_with("victim");
        assert!(!degraded.iter().any(own), "{degraded:?}");
        let crash = history.crash().expect("the core has the signal").position;
        let symbol = history.source(crash).expect("the position exists");
        assert_eq!(symbol.frames[0].function.as_deref(), Some("look"));
    }
}

#[test]
fn what_is_split_off_and_gone_is_named() {
    let built = locals_of_c("source-no-dwo", &["-g", "-gsplit-dwarf"], |folder| {
        for file in files(folder, ".dwo") {
            std::fs::remove_file(file).expect("it can be removed");
        }
    });
    let Some((_folder, history)) = built else {
        return;
    };
    let found = at_the_crash(&history, Trust::Certain);
    assert!(!found.iter().any(|(name, _)| name == "inner"), "{found:?}");
    let crash = history.crash().expect("the core has the signal").position;
    let symbol = history.source(crash).expect("the position exists");
    // Lines are not split off.
    eprintln!(
        "DEBUG {symbol:?} {:?}",
        history.session().symbols().degraded()
    );
    assert_eq!(symbol.line().map(|(_, line)| line), Some(11));
    let degraded = history.session().symbols().degraded();
    let victim = degraded
        .iter()
        .find(|found| found.module.ends_with("victim"));
    let reason = victim.map_or("", |victim| &victim.reason);
    assert!(reason.contains(".dwo"), "{degraded:?}");
}

#[test]
fn a_package_of_what_is_split_off_is_found() {
    let mut packed = false;
    let built = locals_of_c("source-dwp", &["-gsplit-dwarf", "-gdwarf-4"], |folder| {
        let program = folder.join("victim");
        let output = folder.join("victim.dwp");
        let ran = std::process::Command::new("dwp")
            .arg("-e")
            .arg(&program)
            .arg("-o")
            .arg(&output)
            .status();
        packed = ran.is_ok_and(|status| status.success());
        for file in files(folder, ".dwo") {
            std::fs::remove_file(file).expect("it can be removed");
        }
    });
    let Some((_folder, history)) = built else {
        return;
    };
    if !packed {
        return eprintln!("skipped: no dwp that packs this");
    }
    let found = at_the_crash(&history, Trust::Certain);
    check(&found, &[("inner", "7"), ("count", "9")]);
}

#[test]
fn what_files_share_is_found() {
    let mut packed = false;
    let built = locals_of_c("source-dwz", &["-gdwarf-4"], |folder| {
        let (program, other) = (folder.join("victim"), folder.join("other"));
        std::fs::copy(&program, &other).expect("it can be copied");
        let mut dwz = std::process::Command::new("dwz");
        dwz.arg("-m").arg(folder.join("shared")).arg("-r");
        let ran = dwz.arg(&program).arg(&other).status();
        packed = ran.is_ok_and(|status| status.success()) && folder.join("shared").exists();
    });
    let Some((folder, history)) = built else {
        return;
    };
    if !packed {
        return eprintln!("skipped: no dwz that makes a shared file");
    }
    let found = at_the_crash(&history, Trust::Certain);
    check(&found, &[("inner", "7"), ("count", "9")]);
    std::fs::remove_file(folder.0.join("shared")).expect("it can be removed");
    let history = open(&folder.0.join("recording"));
    at_the_crash(&history, Trust::Certain);
    let degraded = history.session().symbols().degraded();
    let named = |found: &rept_core::Degraded| found.reason.contains("shared, which was not found");
    assert!(degraded.iter().any(named), "{degraded:?}");
}

#[test]
fn types_in_units_of_their_own_are_found() {
    for more in [&[][..], &["-gsplit-dwarf"]] {
        for version in ["-gdwarf-4", "-gdwarf-5"] {
            let flags = [&[version, "-fdebug-types-section"], more].concat();
            let Some((_folder, history)) = locals_of_c("source-types", &flags, |_| ()) else {
                return;
            };
            let found = at_the_crash(&history, Trust::Certain);
            let copy = found.iter().find(|(name, _)| name == "copy");
            let copy = copy.map_or("", |(_, value)| value);
            assert!(
                copy.contains("at: {x: -3, y: 4, mode: 5, flags: 17}"),
                "{flags:?}: {found:?}"
            );
        }
    }
}
