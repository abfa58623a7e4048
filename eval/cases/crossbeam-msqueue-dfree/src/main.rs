//! Passes strings through a queue.

use crossbeam::queue::MsQueue;

fn main() {
    let queue: MsQueue<String> = MsQueue::new();
    let mut kept = Vec::new();
    for round in 0..3_000usize {
        for item in 0..3 {
            queue.push(format!("item {item} of round {round}"));
        }
        for _ in 0..3 {
            let text = queue.pop();
            if text.len() % 2 == 0 {
                kept.push(text);
            }
        }
    }
    println!("{}", kept.len());
}
