//! Inserts the lengths of words into the middle of a vector, with an iterator that promises little.

use smallvec::SmallVec;

struct Lengths<'a>(std::str::SplitWhitespace<'a>);

impl Iterator for Lengths<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        Some(0x5151_5151_0000 + self.0.next()?.len() as u64)
    }

    // A lower bound may be low.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (2, None)
    }
}

fn main() {
    let text: String = (0..300).map(|number| format!("word{number} ")).collect();
    let mut lists: Vec<Vec<String>> = (0..24).map(|k| vec![format!("list {k}"); 3]).collect();
    let mut numbers: SmallVec<[u64; 4]> = (0..8).collect();
    let kept: Vec<Box<u64>> = (0..48).map(Box::new).collect();
    numbers.insert_many(3, Lengths(text.split_whitespace()));
    lists.iter_mut().for_each(|list| list.push(String::from("end")));
    println!("{} {} {}", numbers.len(), lists.len(), kept.len());
}
