//! Tests of the decoder from outside, in one program.
#![allow(unreachable_pub)]

mod captures;
mod events;
mod hardware;
