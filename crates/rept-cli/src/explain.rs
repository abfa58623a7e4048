//! Where did a value come from: backwards through copies, loads and stores.
//!
//! Registers: the last step of the thread that wrote it is exact, whatever the values.
//! Memory: the last store known to touch the first byte, in sequence order; stores whose
//! address is not known may have been later, and are counted. A plain move hands the
//! question on to its source; anything that computes ends the chain, for from there on
//! there is more than one answer. Each link goes back in the sequence, so it ends.

mod past;
mod trail;

pub(crate) use past::Past;
pub(crate) use trail::{End, Link, Trail, faulting_operand, memory_trail, trail};

#[cfg(test)]
mod tests;
