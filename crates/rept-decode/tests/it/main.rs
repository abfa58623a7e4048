//! Tests of the decoder from outside, in one program.
#![allow(unreachable_pub)]

mod captures;
mod conformance;
mod encode;
mod events;
mod flow;
mod hardware;
mod listing;
mod packets;
mod program;
