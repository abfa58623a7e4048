//! Shares the guard of a mapped part between threads, though the part is not for sharing.

use futures_executor::block_on;
use futures_util::lock::{Mutex, MutexGuard};
use std::cell::Cell;
use std::thread;

#[derive(Clone, Copy)]
enum Shape {
    Number(u64),
    Text(&'static str),
}

fn work(shape: &Cell<Shape>, first: u64) -> usize {
    let mut length = 0;
    for round in 0..50_000_000 {
        shape.set(Shape::Number(first + round));
        std::hint::black_box(shape);
        shape.set(Shape::Text("a shape that has a name"));
        std::hint::black_box(shape);
        if let Shape::Text(name) = shape.get() {
            length += name.bytes().filter(|&byte| byte == b'a').count();
        }
    }
    length
}

fn main() {
    let lock = Mutex::new((0, Cell::new(Shape::Number(0))));
    let guard = MutexGuard::map(block_on(lock.lock()), |pair| &mut pair.1);
    let shared = &guard;
    thread::scope(|scope| {
        for first in [0x1000, 0x2000, 0x3000] {
            scope.spawn(move || println!("{}", work(shared, first)));
        }
    });
}
