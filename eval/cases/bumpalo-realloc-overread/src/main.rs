//! Joins lines in an arena.

use bumpalo::{collections::Vec, Bump};

fn join<'a>(arena: &'a Bump, lines: &[&str], expected: usize) -> Vec<'a, u8> {
    let mut text = Vec::new_in(arena);
    for line in lines {
        text.extend_from_slice(line.as_bytes());
    }
    // The rest comes in one piece.
    text.reserve_exact(expected);
    text
}

fn main() {
    let arena = Bump::with_capacity(100_000);
    let lines: std::vec::Vec<String> = (0..100)
        .map(|line| format!("line {line} of many"))
        .collect();
    let lines: std::vec::Vec<&str> = lines.iter().map(String::as_str).collect();
    for expected in [1_000, 2_000, 80_000] {
        let text = join(&arena, &lines, expected);
        println!("{} of {}", text.len(), text.capacity());
    }
}
