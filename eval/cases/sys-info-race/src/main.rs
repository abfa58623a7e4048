//! Asks for the disks from several threads at once, as a monitor with one thread per client does.

fn main() {
    let ask = |_| {
        std::thread::spawn(|| {
            let mut known = 0;
            for _ in 0..2_000 {
                known += u64::from(sys_info::disk_info().is_ok());
            }
            known
        })
    };
    let threads: Vec<_> = (0..4).map(ask).collect();
    let known: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("{known} answers");
}
