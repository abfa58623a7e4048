//! Keeps the names of who is connected, and forgets one who leaves.

use simple_slab::Slab;

/// What is measured before anybody connects; its memory is given back.
fn warm_up(rounds: u64) -> u64 {
    let mut delays = vec![0; 24];
    for round in 0..rounds {
        delays[round as usize % 24] = 4_000_000 + round * 40_503 % 100_000;
    }
    delays.iter().sum()
}

fn main() {
    println!("delays {}", warm_up(3_000));
    let mut names = Slab::with_capacity(8);
    for number in 0..5 {
        names.insert(format!("guest number {number}"));
    }
    println!("{} leaves", names.remove(1));
    for name in names.iter() {
        let sum: u64 = name.bytes().map(u64::from).sum();
        println!("{sum}");
    }
}
