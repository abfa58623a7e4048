//! Records one run: `record [-o DIR] [--fast] [--truth] [--seed N] [--buffer BYTES] [--from PLACE] -- PROGRAM [ARGS…]`.

use rept_capture::{EngineKind, RecordOptions, Recorder, Schedule};
use std::error::Error;
use std::ffi::OsString;
use std::io::IsTerminal;

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = RecordOptions::new("rept.capture");
    let mut arguments = std::env::args_os().skip(1);
    let text = |value: Option<OsString>| {
        value
            .and_then(|v| v.into_string().ok())
            .ok_or("a value is missing")
    };
    while let Some(argument) = arguments.next() {
        match argument.to_str().unwrap_or_default() {
            "-o" => options.output = text(arguments.next())?.into(),
            "--fast" => options.engine = EngineKind::Fast,
            "--truth" => options.truth = true,
            "--seed" => options.seed = text(arguments.next())?.parse()?,
            "--buffer" => options.buffer = text(arguments.next())?.parse()?,
            "--from" => options.from = Some(text(arguments.next())?.parse()?),
            "--sample-registers" => {
                options.sample_registers = Some(text(arguments.next())?.parse()?);
            }
            "--cpus" | "--per-cpu" => {
                options.per_cpu = argument == "--per-cpu";
                let count = text(arguments.next())?.parse()?;
                options.schedule = Schedule::Cpus {
                    count,
                    longest: 1000,
                };
            }
            "--quanta" => {
                options.schedule = Schedule::Quanta {
                    longest: text(arguments.next())?.parse()?,
                }
            }
            "--" => break,
            other => return Err(format!("unknown option '{other}'").into()),
        }
    }
    let program = arguments.next().ok_or("no program given")?;
    let terminal = std::io::stderr().is_terminal();
    let summary = Recorder::new(options, program, arguments).run(|progress| {
        if terminal {
            eprint!("\r{} steps ", progress.steps);
        }
    })?;
    eprintln!("{summary:#?}");
    Ok(())
}
