//! Keeps an entry that an iterator over a cache gave out, and removes it from the cache.

use lru::LruCache;

fn main() {
    let mut cache: LruCache<u32, Vec<String>> = LruCache::new(64);
    for key in 0..64 {
        cache.put(key, (0..3).map(|part| format!("part {part} of entry {key}")).collect());
    }
    let (&key, parts) = cache.iter().nth(5).unwrap();
    cache.pop(&key);
    let numbers: Vec<Vec<u64>> = (0..64).map(|number| vec![0x3030_3030_3030_3030 + number; 9]).collect();
    let boxes: Vec<Box<[u64; 3]>> = (0..64).map(|number| Box::new([0x4545_4545_4545 + number; 3])).collect();
    let length: usize = parts.iter().map(|part| part.bytes().filter(|&b| b == b'a').count()).sum();
    println!("{length} {} {}", numbers.len(), boxes.len());
}
