//! The tools, and how each runs the program.

use crate::Failure;
use std::fs;
use std::iter;
use std::path::Path;

/// Added to a tool's name when the kernel chooses its processors.
pub(super) const ANYWHERE: &str = ", on any processor";

/// Runs of the program by itself in one measurement: one is over before the kernel's clock of what
/// processes take has moved.
const ALONE: u32 = 100;

/// A way to run the program.
pub(super) struct Tool {
    pub(super) name: String,
    /// Shell line; `"$@"` is the program with its arguments.
    pub(super) line: String,
    /// Runs that the line makes.
    pub(super) runs: u32,
}

/// All ways, on one processor each.
///
/// A recorder by single steps and its program wait for each other, a million times, and where the kernel
/// puts them is its choice, run by run: on a quiet machine one run took three times as long as the next.
pub(super) fn tools(rept: &Path, folder: &Path) -> Result<Vec<Tool>, Failure> {
    let alone = Tool {
        name: "none".to_owned(),
        line: format!("for run in $(seq {ALONE}); do \"$@\"; done"),
        runs: ALONE,
    };
    let others = lines(rept, folder).map(|(name, line)| Tool {
        name: name.to_owned(),
        line,
        runs: 1,
    });
    let anywhere: Vec<Tool> = iter::once(alone).chain(others).collect();
    let processor = processor()?;
    let on_one = |tool: &Tool| Tool {
        name: tool.name.clone(),
        line: format!("taskset -c -p {processor} $$ >/dev/null && {}", tool.line),
        runs: tool.runs,
    };
    let mut tools: Vec<Tool> = anywhere.iter().map(on_one).collect();
    let stepping = anywhere
        .into_iter()
        .filter(|tool| tool.name.contains("single-step"));
    tools.extend(stepping.map(|tool| Tool {
        name: format!("{}{ANYWHERE}", tool.name),
        ..tool
    }));
    Ok(tools)
}

/// A processor that this process may run on.
fn processor() -> Result<u32, Failure> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = allowed.and_then(|list| list.trim().split(['-', ',']).next()?.parse().ok());
    first.ok_or_else(|| "the kernel names no processor that may be used".to_owned())
}

fn lines(rept: &Path, folder: &Path) -> [(&'static str, String); 7] {
    let record = |options: &str, name: &str| {
        let to = folder.join(name);
        format!(
            "exec '{}' record {options} --buffer 4M -o '{}' -- \"$@\"",
            rept.display(),
            to.display()
        )
    };
    [
        ("rept record --engine fast", record("--engine fast", "fast")),
        ("rept record --engine fast --truth", record("--engine fast --truth", "fast-truth")),
        ("rept record (single-step)", record("", "step")),
        ("rept record --truth (single-step)", record("--truth", "step-truth")),
        ("valgrind --tool=none", "exec valgrind -q --tool=none \"$@\"".to_owned()),
        ("valgrind (memcheck)", "exec valgrind -q \"$@\"".to_owned()),
        (
            "gdb, record full, from main on",
            // gdb cannot record AVX; the C library is told to do without.
            "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2_Usable,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-XSAVE,-XSAVEC \
             exec gdb -q -batch -ex 'set record full insn-number-max unlimited' -ex 'break main' -ex run \
             -ex 'record full' -ex continue -ex 'info record' --args \"$@\" | tee gdb.log && grep -q SIGSEGV gdb.log"
                .to_owned(),
        ),
    ]
}
