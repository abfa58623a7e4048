//! Clones an iterator over owned rows after some of them were taken out of it.

use heapless::Vec;
use heapless::consts::U32;

fn main() {
    let mut rows: Vec<std::vec::Vec<String>, U32> = Vec::new();
    for number in 0..32 {
        let row = (0..4).map(|column| format!("cell {column} of row {number}"));
        rows.push(row.collect()).unwrap();
    }
    let mut rest = rows.into_iter();
    let mut cells = 0;
    for row in rest.by_ref().take(20) {
        cells += row.len();
    }
    let mut others: std::vec::Vec<std::vec::Vec<u64>> = std::vec::Vec::new();
    for number in 0..40 {
        others.push((0..12).map(|k| 8 * (number + k)).collect());
    }
    let again = rest.clone();
    cells += again.map(|row| row.len()).sum::<usize>();
    println!("{cells} {}", others.len());
}
