//! Interns a few strings from several threads, so that entries come and go all the time.

use internment::ArcIntern;
use std::thread;

fn main() {
    let work = |_| {
        thread::spawn(|| {
            let mut length = 0;
            for round in 0..10_000_000usize {
                length += ArcIntern::new(format!("a string to intern {}", round / 32 % 3)).len();
            }
            length
        })
    };
    let threads: Vec<_> = (0..4).map(work).collect();
    for thread in threads {
        println!("{}", thread.join().unwrap());
    }
}
