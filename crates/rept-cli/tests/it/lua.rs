//! Stock gdb on a real program: Lua 5.4.0, as its package has it, and CVE-2020-24370.
//!
//! `debug.getlocal` is asked for a variable argument by a number whose negation overflows: it stays
//! negative, passes the check, and the place that is computed from it is far from the stack.

use crate::common::{Scratch, rept};
use crate::gdb::session;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a script.
const PROGRAM: &str = r#"
#include <stdio.h>
#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

int main(int argc, char **argv) {
    lua_State *state = luaL_newstate();
    luaL_openlibs(state);
    if (argc < 2 || luaL_dofile(state, argv[1])) {
        fprintf(stderr, "failed: %s\n", argc < 2 ? "no script" : lua_tostring(state, -1));
        return 1;
    }
    lua_close(state);
    return 0;
}
"#;

/// Lists the arguments of a call, and then asks for one too many.
const SCRIPT: &str = "
local function arguments(...)
    local found = {}
    while debug.getlocal(1, -#found - 1) do
        found[#found + 1] = true
    end
    return #found, debug.getlocal(1, 2147483648)
end
print(arguments('one', 'two', 'three'))
";

/// Where [`builds_lua_for_the_other_test`] is to put the library.
const FOLDER: &str = "REPT_TEST_LUA";

/// Lua's package builds itself with the options of its environment, which a test must not change: the
/// other test runs this one in a process of its own.
#[test]
fn builds_lua_for_the_other_test() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    const MACHINE: &str = "x86_64-unknown-linux-gnu";
    let mut lua = lua_src::Build::new();
    lua.out_dir(folder).target(MACHINE).host(MACHINE);
    lua.build(lua_src::Lua54);
}

/// Builds the program; `None`, said aloud, without a compiler.
fn build(scratch: &Scratch) -> Option<PathBuf> {
    let flags = ["-O0", "-g"];
    let folder = scratch.join("lua");
    let test = "lua::builds_lua_for_the_other_test";
    let built = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(FOLDER, &folder)
        .env("CFLAGS", flags.join(" "))
        .output()
        .unwrap();
    let (source, program) = (scratch.join("main.c"), scratch.join("main"));
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled = Command::new("cc")
        .args(flags)
        .arg("-I")
        .arg(folder.join("include"))
        .arg(&source)
        .arg(folder.join("lib/liblua5.4.a"))
        .args(["-lm", "-ldl", "-o"])
        .arg(&program)
        .status();
    match compiled {
        Err(_) => {
            eprintln!("skipped: no C compiler");
            None
        }
        Ok(status) => {
            assert!(status.success(), "{built:?}");
            Some(program)
        }
    }
}

fn record(program: &Path, scratch: &Scratch) -> PathBuf {
    let (script, recording) = (scratch.join("script.lua"), scratch.join("recording"));
    std::fs::write(&script, SCRIPT).unwrap();
    let mut arguments: Vec<std::ffi::OsString> = Vec::new();
    arguments.extend(["record", "--from", "lua_pcallk", "-o"].map(Into::into));
    arguments.extend([recording.clone().into(), "--".into()]);
    arguments.extend([program.into(), script.into()]);
    let recorded = rept(&arguments);
    assert!(recorded.status.success(), "{recorded:?}");
    recording
}

#[test]
fn gdb_finds_the_culprit_in_lua() {
    let scratch = Scratch::new("gdb-lua");
    let Some(program) = build(&scratch) else {
        return;
    };
    let recording = record(&program, &scratch);
    let commands = [
        "bt",
        "info locals",
        "watch -l pos",
        "reverse-continue",
        "x/i $pc",
        "bt 3",
        "info args",
        "info locals",
        "delete",
        "reverse-finish",
        "info locals",
        "reverse-finish",
        "info locals",
        "info registers rip fctrl cs",
        "tbreak db_getlocal",
        "reverse-continue",
        "info locals",
        "continue",
    ];
    let texts = [
        "#0",
        "in lua_getlocal",
        "db_getlocal",
        "luaV_execute",
        "lua_pcallk",
        "main",
        // At the crash.
        "pos = 0x",
        "name = 0x",
        "\"(vararg)\"",
        // At the culprit.
        "Hardware watchpoint",
        "Old value = ",
        "New value = ",
        " 0x0\n",
        "mov",
        "findvararg",
        "luaG_findlocal",
        "lua_getlocal",
        "n = -2147483648",
        "nextra = 3",
        // In its callers, before.
        "luaG_findlocal",
        "name = 0x0",
        "lua_getlocal",
        "pos = 0x0",
        "0x37f",
        "<unavailable>",
        "db_getlocal",
        "nvar = ",
        "SIGSEGV",
    ];
    session(&program, &recording, &commands, &texts);
}
