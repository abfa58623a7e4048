//! Gathers numbers from messages, making room for as many as a message announces.

use smallvec::SmallVec;

/// Takes a message: how many numbers there will be in all, then some of them.
fn take(numbers: &mut SmallVec<[u64; 4]>, message: &[u64]) {
    numbers.grow(message[0] as usize);
    numbers.extend(message[1..].iter().copied());
}

fn mean(messages: &[Vec<u64>]) -> u64 {
    let mut numbers = SmallVec::new();
    for message in messages {
        take(&mut numbers, message);
    }
    numbers.iter().sum::<u64>() / numbers.len() as u64
}

fn main() {
    for round in 0..200u64 {
        let room = 12 + round % 5;
        let again = if round == 150 { room } else { room + 4 };
        let messages = [vec![room, round, 7, 9, 11, 13], vec![again, round * 3, 17]];
        println!("{}", mean(&messages));
    }
}
