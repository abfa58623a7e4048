#![forbid(unsafe_code)]
//! (in the making)
