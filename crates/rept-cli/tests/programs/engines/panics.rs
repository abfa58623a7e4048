//! Panics that are caught, also in a thread, with values dropped on the way; ends by one in
//! a destructor while another unwinds.

use std::panic;

struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        panic!("while unwinding");
    }
}

fn deep(n: usize) -> usize {
    let text = vec![n; n + 1];
    if n == 0 {
        panic!("the bottom");
    }
    deep(n - 1) + text[0]
}

fn main() {
    panic::set_hook(Box::new(|_| ()));
    let caught = (0..2).filter(|&n| panic::catch_unwind(|| deep(n)).is_err());
    assert_eq!(caught.count(), 2);
    assert!(std::thread::spawn(|| deep(1)).join().is_err());
    let _last = Last;
    deep(1);
}
