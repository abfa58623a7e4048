//! Tests of the decoder from outside, in one program.
#![allow(unreachable_pub)]

mod captures;
mod changing;
mod conformance;
#[cfg(feature = "libipt")]
mod differential;
mod encode;
mod events;
mod flow;
mod forced;
mod hardware;
mod listing;
mod packets;
mod parts;
mod perf;
mod placed;
mod program;
mod seed;
mod uncounted;
