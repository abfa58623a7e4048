//! Gives several threads a borrowed slice each, though its elements are not for sharing.

use beef::Cow;
use std::cell::Cell;
use std::thread;

#[derive(Clone, Copy)]
enum Size {
    Own(u64),
    Common(&'static u64),
}

static COMMON: u64 = 7;

#[inline(never)]
fn work(sizes: &[Cell<Size>], first: u64) -> u64 {
    let mut sum = 0;
    for round in 0..50_000_000 {
        let size = &sizes[round as usize % sizes.len()];
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
    let sizes: Vec<_> = (0..4).map(|size| Cell::new(Size::Own(size))).collect();
    thread::scope(|scope| {
        for first in [0x1000, 0x2000, 0x3000] {
            let borrowed: Cow<[Cell<Size>]> = Cow::borrowed(&sizes);
            scope.spawn(move || println!("{}", work(&borrowed, first)));
        }
    });
}
