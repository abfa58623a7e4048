//! Passes texts and numbers through a queue.

use crossbeam::queue::MsQueue;

/// The queue begins with a node whose message nobody sent: it is made of bytes that all are 1
/// (`mem::uninitialized` of today's standard library), so it is a number, and needs no destructor.
#[repr(u8)]
enum Message {
    Text(String),
    Number(usize),
}

fn main() {
    let queue: MsQueue<Message> = MsQueue::new();
    let mut kept = Vec::new();
    let mut sum = 0;
    for round in 0..3_000usize {
        queue.push(Message::Number(round));
        for item in 0..2 {
            queue.push(Message::Text(format!("item {item} of round {round}")));
        }
        for _ in 0..3 {
            match queue.pop() {
                Message::Text(text) if text.len() % 2 == 0 => kept.push(text),
                Message::Text(text) => sum += text.len(),
                Message::Number(number) => sum += number,
            }
        }
    }
    println!("{} {sum}", kept.len());
}
