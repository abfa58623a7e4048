//! Sends read guards of one mapped part to two threads, though the part is not for sharing.

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
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
        shape.set(Shape::Text("t"));
        std::hint::black_box(shape);
        if let Shape::Text(name) = shape.get() {
            length += usize::from(name.as_bytes()[0]);
        }
    }
    length
}

fn main() {
    let lock = RwLock::new((0, Cell::new(Shape::Number(0))));
    let part = || -> MappedRwLockReadGuard<Cell<Shape>> {
        RwLockReadGuard::map(lock.read(), |pair| &pair.1)
    };
    thread::scope(|scope| {
        for (guard, first) in [(part(), 0x1000), (part(), 0x2000)] {
            scope.spawn(move || println!("{}", work(&guard, first)));
        }
    });
}
