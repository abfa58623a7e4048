//! Reads the local time in some threads while another sets environment variables.

use std::thread;

fn main() {
    let clocks: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(|| {
                let at = |second| {
                    time::tzset();
                    i64::from(time::at(time::Timespec::new(second, 0)).tm_min)
                };
                (0..100_000).map(at).sum::<i64>()
            })
        })
        .collect();
    let setter = thread::spawn(|| {
        let mut pages = Vec::new();
        for round in 0..4_000u64 {
            std::env::set_var(format!("SETTING_{round}"), "on");
            for size in 0..32 {
                pages.push(vec![0x1010_1010_1010_1010 + round; size + round as usize % 512]);
            }
            if round % 32 == 31 {
                pages.clear();
            }
        }
    });
    for clock in clocks {
        println!("{}", clock.join().unwrap());
    }
    setter.join().unwrap();
}
