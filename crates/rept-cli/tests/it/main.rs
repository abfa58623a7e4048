//! The commands of the README, end to end, on programs that are recorded here and now.

mod bad_input;
mod common;
mod containers;
mod cores;
mod demo;
mod engines;
mod fast;
mod forks;
mod gdb;
mod inputs;
mod jit;
mod listed;
mod live;
mod lua;
mod partial;
mod pauses;
mod perf;
mod questions;
mod repeated;
mod rewritten;
mod rounds;
mod shown;
mod subjects;
mod threads;
mod whole;
