//! Sends read guards of one mapped part to two threads, though the part is not for sharing.

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use std::cell::Cell;
use std::thread;

#[derive(Clone, Copy)]
enum Size {
    Own(u64),
    Common(&'static u64),
}

static COMMON: u64 = 7;

#[inline(never)]
fn work(size: &Cell<Size>, first: u64) -> u64 {
    let mut sum = 0;
    for round in 0..50_000_000 {
        size.set(Size::Own(first + round));
        std::hint::black_box(size);
        size.set(Size::Common(&COMMON));
        std::hint::black_box(size);
        sum += match size.get() {
            Size::Own(size) => size,
            Size::Common(size) => *size,
        };
    }
    sum
}

fn main() {
    let lock = RwLock::new((0, Cell::new(Size::Own(0))));
    let part = || -> MappedRwLockReadGuard<Cell<Size>> {
        RwLockReadGuard::map(lock.read(), |pair| &pair.1)
    };
    thread::scope(|scope| {
        for (guard, first) in [(part(), 0x1000), (part(), 0x2000)] {
            scope.spawn(move || println!("{}", work(&guard, first)));
        }
    });
}
