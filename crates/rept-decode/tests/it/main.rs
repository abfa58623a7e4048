//! Tests of the decoder from outside, in one program.
#![allow(unreachable_pub)]

mod captures;
mod conformance;
mod events;
mod hardware;
mod listing;
