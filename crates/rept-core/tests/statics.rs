//! Variables that are no function's own, thread-local ones among them: with the values that the
//! programs are known to have had, and as stock gdb shows them in the core.

#[path = "support/victim.rs"]
mod victim;

use rept_core::{History, Position, Trust};
use std::path::{Path, PathBuf};
use std::process::Command;
use victim::{Folder, open, record_source};

/// Variables of a name at a position: their whole names and values, without the marks of grades.
fn named(history: &History, name: &str, at: Position) -> Vec<(String, String)> {
    let found = history.variables_named(name, at, Trust::Inferred);
    let found = found.expect("the position exists").into_iter();
    found
        .map(|variable| {
            let value = variable.value.to_string().replace('~', "");
            (variable.name, value)
        })
        .collect()
}

/// At the crash.
#[track_caller]
fn check(history: &History, name: &str, whole: &str, value: &str) {
    let crash = history.crash().expect("the core has the signal");
    let found = named(history, name, crash.position);
    assert_eq!(found, [(whole.to_owned(), value.to_owned())], "{name}");
}

/// What stock gdb makes of the same core: numbers, where it knows one, must be those that are shown.
fn judge(recording: &Path, history: &History, names: &[&str]) {
    let program = recording.with_file_name("victim");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    gdb.arg(&program).arg(recording.join("core"));
    for name in names {
        gdb.args(["-ex", &format!("output {name}"), "-ex", "echo \\n"]);
        gdb.args(["-ex", &format!("echo :{name}\\n")]);
    }
    let Ok(output) = gdb.output() else {
        return eprintln!("skipped: no gdb");
    };
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let crash = history.crash().expect("the core has the signal");
    let mut compared = 0;
    for name in names {
        let mut lines = output.lines();
        let before = |line: &&str| *line == format!(":{name}");
        let lines: Vec<&str> = lines.by_ref().take_while(|line| !before(line)).collect();
        let theirs = lines.last().copied().unwrap_or_default();
        // It has no answer where it cannot read the loader's data; then the line is another variable's mark.
        if theirs.is_empty() || theirs.starts_with(':') {
            eprintln!("gdb does not show {name}");
            continue;
        }
        for (whole, ours) in named(history, name, crash.position) {
            if !ours.starts_with('?') {
                assert_eq!(ours, theirs, "{whole}");
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "{output}");
}

const CXX: &str = r#"
#include <string>
#include <thread>
#include <vector>
struct base { virtual ~base() {} int id = 3; };
enum class level { low, high };
namespace store {
    struct shelf : base { static int count; std::string label; std::vector<short> sizes; level at; };
    int shelf::count = 12;
    shelf first;
    thread_local long own = 5;
}
static int hidden = -1;
__thread long removed = 1;
int unused = 1;
static __thread char letter = 'x';
static int next(void) { static int calls; static __thread short mine; ++mine; return ++calls; }
__attribute__((noinline)) static void work(int wanted) {
    store::own += wanted;
    letter += 1;
    next();
    if (wanted == 30) *(volatile int *)0x10 = next();
}
int main() {
    store::first.label = "top";
    store::first.sizes = { 4, 5 };
    store::first.at = level::high;
    hidden = store::shelf::count++;
    work(2);
    std::thread other(work, 30);
    other.join();
    return (int)store::own;
}
"#;

fn cxx(name: &str, more: &[&str]) -> Option<(Folder, PathBuf)> {
    let folder = Folder::new(name);
    let flags = "g++ -O0 -g -pthread -fdata-sections -Wl,--gc-sections";
    let flags: Vec<&str> = flags.split(' ').chain(more.iter().copied()).collect();
    let (recording, _) = record_source(&folder.0, "victim.cc", CXX, &flags, Some("main"))?;
    Some((folder, recording))
}

#[test]
fn what_is_no_functions_own_is_found_by_name() {
    for more in [&[][..], &["-gsplit-dwarf"], &["-static"], &["-no-pie"]] {
        let Some((_folder, recording)) = cxx("statics", more) else {
            return;
        };
        let history = open(&recording);
        check(&history, "count", "store::shelf::count", "13");
        check(&history, "shelf::count", "store::shelf::count", "13");
        check(&history, "hidden", "hidden", "12");
        check(&history, "calls", "next::calls", "3");
        // Those of the thread that crashed.
        check(&history, "own", "store::own", "35");
        check(&history, "letter", "letter", "121 'y'");
        check(&history, "mine", "next::mine", "2");
        let crash = history.crash().expect("the core has the signal");
        let first = named(&history, "store::first", crash.position);
        let (_, value) = first.first().expect("it is there");
        for part in ["id: 3", "label: \"top\"", "sizes: [4, 5]", "at: high"] {
            assert!(value.contains(part), "{part} in {value}");
        }
        assert_eq!(named(&history, "nowhere", crash.position), []);
        // The linker left addresses of other variables, or of none.
        let lost = "? (where it is, is not known)";
        check(&history, "removed", "removed", lost);
        check(&history, "unused", "unused", "? (optimized out)");
        let main = history.threads().next().expect("two threads");
        let end = history.lifetime(main).expect("it was traced").end;
        let own = named(&history, "own", Position::new(main, end));
        assert_eq!(own, [("store::own".to_owned(), "7".to_owned())], "{more:?}");
        if more.is_empty() {
            let names = ["hidden", "store::shelf::count", "store::own", "letter"];
            judge(&recording, &history, &names);
        }
    }
}

const LIBRARY: &str = r#"
__thread long shown = 40;
static __thread long kept = 1;
int copied = 7, taken = 1, own = 20;
__attribute__((visibility("hidden"))) int inner = 3;
long bump(void) { shown += 2; copied += 1; taken += 1; own += 1; inner += 1; return ++kept; }
"#;

/// Builds the library; `None`, said aloud, without a compiler.
fn library(folder: &Path) -> Option<String> {
    let (library, source) = (folder.join("libstatics.so"), folder.join("library.c"));
    std::fs::write(&source, LIBRARY).expect("the source can be written");
    let built = Command::new("cc")
        .args(["-O0", "-g", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return None;
    }
    Some(library.to_string_lossy().into_owned())
}

#[test]
fn of_a_librarys_variables_those_are_shown_that_count() {
    // The program has a copy of one of the library's variables, and one of its own that takes another's name.
    const PROGRAM: &str = r#"
long bump(void);
extern int copied;
int taken = 50;
int main(void) { return (int)*(volatile long *)(bump() + 0x10 + copied + taken); }
"#;
    let folder = Folder::new("statics-library");
    let Some(path) = library(&folder.0) else {
        return;
    };
    let flags = [
        "cc",
        "-O0",
        "-g",
        "-fno-pic",
        "-no-pie",
        "-Wl,--no-as-needed",
        &path,
    ];
    let built = record_source(&folder.0, "victim.c", PROGRAM, &flags, Some("main"));
    let Some((recording, _)) = built else { return };
    let history = open(&recording);
    check(&history, "shown", "shown", "42");
    check(&history, "kept", "kept", "2");
    check(&history, "copied", "copied", "8");
    check(&history, "own", "own", "21");
    check(&history, "inner", "inner", "4");
    let crash = history.crash().expect("the core has the signal");
    let mut values = named(&history, "taken", crash.position);
    values.sort();
    let refused = "? (other modules may have one of this name that counts)";
    let expect = [refused, "51"].map(|value| ("taken".to_owned(), value.to_owned()));
    let mut expect = expect.to_vec();
    expect.sort();
    assert_eq!(values, expect);
    judge(
        &recording,
        &history,
        &["shown", "kept", "copied", "own", "inner"],
    );
}

#[test]
fn a_block_that_was_made_later_is_not_taken_for_the_modules() {
    let folder = Folder::new("statics-later");
    let Some(path) = library(&folder.0) else {
        return;
    };
    let program = format!(
        r#"
#include <dlfcn.h>
int main(void) {{
    void *library = dlopen("{path}", RTLD_NOW);
    long (*bump)(void) = (long (*)(void))dlsym(library, "bump");
    return (int)*(volatile long *)(bump() + 0x10);
}}
"#
    );
    let flags = ["cc", "-O0", "-g"];
    let built = record_source(&folder.0, "victim.c", &program, &flags, Some("main"));
    let Some((recording, _)) = built else { return };
    let history = open(&recording);
    check(&history, "copied", "copied", "8");
    let later = "? (its module was loaded later, and the thread's block may be an earlier one's)";
    check(&history, "shown", "shown", later);
}
