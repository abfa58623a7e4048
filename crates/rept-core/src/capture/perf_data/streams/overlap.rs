//! What two snapshots of a ring have in common: the end of the older is the begin of the newer.
//!
//! The longest such stretch is found in linear time, with the failure function of Knuth, Morris and
//! Pratt. It counts only with a PSB in it: before the first PSB nothing is decoded, so that nothing
//! shorter can make steps appear twice. With a TSC packet behind the PSB it is proved, as no
//! processor says the same time twice; else the bytes could be of another round of a loop.

use rept_decode::packet::{PSB, Packet, Packets, find_psb};

/// How much of the newer snapshot the older one has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    pub(super) bytes: usize,
    /// What follows in the newer one follows the older one.
    pub(super) certain: bool,
}

impl Overlap {
    const NONE: Overlap = Overlap {
        bytes: 0,
        certain: false,
    };

    pub(super) fn find(older: &[u8], newer: &[u8]) -> Overlap {
        let bytes = longest(older, newer);
        let common = &newer[..bytes];
        match find_psb(common, 0) {
            Some(psb) => Overlap {
                bytes,
                certain: has_time(common, psb),
            },
            None => Overlap::NONE,
        }
    }
}

/// A TSC packet stands in the PSB+ at `psb`, or in a later one.
fn has_time(bytes: &[u8], psb: usize) -> bool {
    let mut next = Some(psb);
    while let Some(at) = next {
        let told = Packets::new(bytes, at)
            .map_while(|(_, packet)| packet.ok())
            .take_while(|packet| *packet != Packet::PsbEnd);
        if told
            .take(MAX_HEADER_PACKETS)
            .any(|packet| matches!(packet, Packet::Tsc { .. }))
        {
            return true;
        }
        next = find_psb(bytes, at + PSB.len());
    }
    false
}

/// Packets between PSB and PSBEND, padding included, that are looked at.
const MAX_HEADER_PACKETS: usize = 64;

/// Length of the longest end of `older` with which `newer` begins.
fn longest(older: &[u8], newer: &[u8]) -> usize {
    let most = older.len().min(newer.len()).min(u32::MAX as usize);
    let (older, newer) = (&older[older.len() - most..], &newer[..most]);
    let borders = borders(newer);
    let mut matched = 0;
    for &byte in older {
        while matched > 0 && (matched == most || newer[matched] != byte) {
            matched = borders[matched - 1] as usize;
        }
        matched += usize::from(newer.get(matched) == Some(&byte));
    }
    matched
}

/// Of each prefix, the length of the longest shorter one that is its end as well.
fn borders(pattern: &[u8]) -> Vec<u32> {
    let mut borders = vec![0u32; pattern.len()];
    let mut matched = 0;
    for at in 1..pattern.len() {
        while matched > 0 && pattern[matched] != pattern[at] {
            matched = borders[matched - 1] as usize;
        }
        matched += usize::from(pattern[matched] == pattern[at]);
        borders[at] = matched as u32;
    }
    borders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(older: &[u8], newer: &[u8], bytes: usize, certain: bool) {
        assert_eq!(Overlap::find(older, newer), Overlap { bytes, certain });
    }

    /// PSB, perhaps a TSC, PSBEND.
    fn psb(tsc: Option<u8>) -> Vec<u8> {
        let mut bytes = PSB.to_vec();
        bytes.extend(
            tsc.into_iter()
                .flat_map(|low| [0x19, low, 1, 2, 3, 4, 5, 6]),
        );
        bytes.extend([0x02, 0x23]);
        bytes
    }

    #[test]
    fn the_longest_common_stretch_counts() {
        assert_eq!(longest(b"xxabcab", b"abcabd"), 5);
        assert_eq!(longest(b"abcabc", b"abcabc"), 6);
        assert_eq!(longest(b"aaaa", b"aaaaaa"), 4);
        assert_eq!(longest(b"aaaaaa", b"aab"), 2);
        assert_eq!(longest(b"", b"abc"), 0);
        assert_eq!(longest(b"abc", b"xyz"), 0);
    }

    #[test]
    fn a_time_proves_it() {
        let common = [psb(Some(7)), vec![0x06, 0x0a]].concat();
        let older = [b"\x06\x06".to_vec(), common.clone()].concat();
        let newer = [common.clone(), b"\x0e".to_vec()].concat();
        check(&older, &newer, common.len(), true);
        let other = [psb(Some(8)), vec![0x06]].concat();
        check(&older, &other, 0, false);
    }

    #[test]
    fn without_a_time_it_is_dropped_and_not_proved() {
        let common = [psb(None), vec![0x06, 0x0a]].concat();
        check(&common, &common, common.len(), false);
    }

    #[test]
    fn without_a_psb_it_does_not_count() {
        check(b"\x06\x0a\x06", b"\x0a\x06\x0e", 0, false);
    }
}
