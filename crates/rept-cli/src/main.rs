//! The `rept` command.
fn main() {}
