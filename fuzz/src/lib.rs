#![forbid(unsafe_code)]
//! Fuzz targets of `rept`, one per trust boundary.
//!
//! Each target is a function of bytes that must not panic, whatever they are, and checks
//! what its crate promises of any input. They are driven
//!
//! * by libFuzzer, on nightly Rust: `cargo fuzz run --features libfuzzer TARGET`;
//! * by a seeded mutator, on stable Rust: `cargo run -p rept-fuzz --bin smoke -- [TARGET…]`,
//!   for a time, and `cargo test -p rept-fuzz`, for a fixed number of inputs.
//!
//! | target | bytes stand for |
//! |---|---|
//! | [`packets`] | a PT stream, as packets |
//! | [`flow`] | a PT stream and the code it runs over |
//! | [`perf_data`] | a perf.data file |
//! | [`jitdump`] | a jitdump file |
//! | [`core_file`] | an ELF core file |
//! | [`lift`] | one instruction |
//! | [`order`] | timing packets and edges of a few threads |
//! | [`pipeline`] | code, packets, memory and registers: decoded, ordered, recovered, queried |

pub mod core_file;
pub mod flow;
mod input;
pub mod jitdump;
pub mod lift;
mod mutate;
pub mod order;
pub mod packets;
pub mod perf_data;
pub mod pipeline;

pub use mutate::Mutator;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name, as libFuzzer's entry point is called.
    pub name: &'static str,
    /// Tries one input; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that get somewhere, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// All targets.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*];
    };
}

targets!(packets flow perf_data jitdump core_file lift order pipeline);
