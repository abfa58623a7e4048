//! Which recovered access belongs to which true one.
//!
//! The truth lists the memory operands of a step as the processor made them; a history
//! cuts operands into accesses of at most 8 bytes and may not know where they are. An
//! access whose address is known belongs to the true chunk at that address; the others
//! are taken in order. A recovered access with a known address that the step did not
//! make is a wrong address: a reader of the history would believe it.

use super::tally::{Grade, Verdict};
use rept_recover::history::{AccessView, Value};
use rept_trace::Address;
use std::collections::BTreeMap;

/// A memory operand of a step, as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrueOperand {
    pub(crate) address: Address,
    pub(crate) store: bool,
    /// The bytes read or written.
    pub(crate) bytes: Vec<u8>,
}

/// At most 8 bytes of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) address: Address,
    pub(crate) size: u8,
    /// The bytes, little endian, zero-extended; none (size 0) when the recorder could not read them.
    pub(crate) truth: u64,
    /// First chunk of its operand: the one whose address is judged.
    pub(crate) first: bool,
}

impl Chunk {
    /// The bits of the operand.
    pub(crate) fn mask(&self) -> u64 {
        rept_recover::bits::mask(u32::from(self.size) * 8)
    }
}

/// A true chunk with what was recovered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) chunk: Chunk,
    /// Whether the history says where it is.
    pub(crate) address: Verdict,
    /// Where the history says it is.
    pub(crate) claimed: Option<Address>,
    /// What the history says it holds.
    pub(crate) value: Value,
}

/// The accesses of one direction of one step, matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    pub(crate) pairs: Vec<Pair>,
    /// Addresses that the step did not access though the history says so.
    pub(crate) spurious: Vec<(Address, Grade)>,
}

/// Matches the true operands of one direction with the recovered accesses of the same.
pub(crate) fn pair(operands: &[TrueOperand], views: &[AccessView], store: bool) -> Matched {
    let chunks = operands
        .iter()
        .filter(|operand| operand.store == store)
        .flat_map(chunks);
    let views: Vec<AccessView> = views
        .iter()
        .copied()
        .filter(|view| view.store == store)
        .collect();
    let mut free = vec![true; views.len()];
    let mut pending = Vec::new();
    let mut pairs = Vec::new();
    for (index, chunk) in chunks.enumerate() {
        match at_address(&chunk, &views, &free, index) {
            Some(view) => {
                free[view] = false;
                pairs.push(paired(chunk, &views[view]));
            }
            None => {
                pending.push(pairs.len());
                pairs.push(unmatched(chunk));
            }
        }
    }
    for slot in pending {
        let size = pairs[slot].chunk.size;
        if let Some(view) = (0..views.len()).find(|&view| free[view] && views[view].size == size) {
            free[view] = false;
            pairs[slot] = paired(pairs[slot].chunk, &views[view]);
        }
    }
    let spurious = free
        .iter()
        .zip(&views)
        .filter(|&(&free, _)| free)
        .filter_map(|(_, view)| Some((view.address?, grade(view))));
    Matched {
        spurious: spurious.collect(),
        pairs,
    }
}

/// The free view at the chunk's address; `hint` is where it most likely is.
fn at_address(chunk: &Chunk, views: &[AccessView], free: &[bool], hint: usize) -> Option<usize> {
    let fits = |&view: &usize| {
        free.get(view) == Some(&true)
            && views[view].address == Some(chunk.address)
            && (views[view].size == chunk.size || chunk.size == 0)
    };
    Some(hint)
        .filter(fits)
        .or_else(|| (0..views.len()).find(fits))
}

fn paired(chunk: Chunk, view: &AccessView) -> Pair {
    let address = match view.address {
        None => Verdict::Unknown,
        Some(address) if address == chunk.address => Verdict::Correct(grade(view)),
        Some(_) => Verdict::Wrong(grade(view)),
    };
    Pair {
        chunk,
        address,
        claimed: view.address,
        value: view.value,
    }
}

fn unmatched(chunk: Chunk) -> Pair {
    Pair {
        chunk,
        address: Verdict::Unknown,
        claimed: None,
        value: Value::default(),
    }
}

/// Grade of a view's address.
fn grade(view: &AccessView) -> Grade {
    if view.address_certain {
        Grade::Certain
    } else if view.address_assumed {
        Grade::Assumed
    } else {
        Grade::Inferred
    }
}

fn chunks(operand: &TrueOperand) -> impl Iterator<Item = Chunk> + '_ {
    // An operand without bytes could not be read by the recorder: its address is judged, its value is not.
    let unread = operand.bytes.is_empty().then_some(&[][..]);
    let parts = operand.bytes.chunks(8).chain(unread);
    parts.enumerate().map(|(index, bytes)| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        Chunk {
            address: operand.address.offset(index as u64 * 8),
            size: bytes.len() as u8,
            truth: u64::from_le_bytes(word),
            first: index == 0,
        }
    })
}

/// Matches byte by byte: repeated string instructions, whose accesses the history may cut
/// otherwise than the recorder. Accesses without an address cannot be placed.
pub(crate) fn pair_bytes(operands: &[TrueOperand], views: &[AccessView], store: bool) -> Matched {
    let mut bytes = recovered_bytes(views, store);
    let mut pairs = Vec::new();
    for chunk in operands
        .iter()
        .filter(|operand| operand.store == store)
        .flat_map(chunks)
    {
        pairs.push(assembled(chunk, &mut bytes));
    }
    let spurious = bytes
        .into_iter()
        .map(|(address, (_, grade))| (Address(address), grade));
    Matched {
        pairs,
        spurious: spurious.collect(),
    }
}

fn recovered_bytes(views: &[AccessView], store: bool) -> BTreeMap<u64, (Value, Grade)> {
    let mut bytes = BTreeMap::new();
    for view in views.iter().filter(|view| view.store == store) {
        let Some(address) = view.address else {
            continue;
        };
        for index in 0..u64::from(view.size) {
            let byte = shifted(view.value, |word| word >> (index * 8) & 0xff);
            bytes.insert(address.offset(index).0, (byte, grade(view)));
        }
    }
    bytes
}

fn assembled(chunk: Chunk, bytes: &mut BTreeMap<u64, (Value, Grade)>) -> Pair {
    let mut pair = unmatched(chunk);
    for index in 0..u64::from(chunk.size) {
        let Some((byte, grade)) = bytes.remove(&chunk.address.offset(index).0) else {
            continue;
        };
        if index == 0 {
            pair.address = Verdict::Correct(grade);
            pair.claimed = Some(chunk.address);
        }
        pair.value.bits |= byte.bits << (index * 8);
        pair.value.known |= byte.known << (index * 8);
        pair.value.certain |= byte.certain << (index * 8);
        pair.value.assumed |= byte.assumed << (index * 8);
    }
    pair
}

fn shifted(value: Value, part: impl Fn(u64) -> u64) -> Value {
    Value {
        bits: part(value.bits),
        known: part(value.known),
        certain: part(value.certain),
        assumed: part(value.assumed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bits: u64) -> Value {
        Value {
            bits,
            known: u64::MAX,
            certain: u64::MAX,
            assumed: u64::MAX,
        }
    }

    fn read(address: Option<u64>, size: u8, value: Value) -> AccessView {
        AccessView {
            address: address.map(Address),
            address_certain: false,
            address_assumed: true,
            size,
            store: false,
            value,
        }
    }

    fn operand(address: u64, bytes: &[u8]) -> TrueOperand {
        TrueOperand {
            address: Address(address),
            store: false,
            bytes: bytes.into(),
        }
    }

    fn addresses(matched: &Matched) -> Vec<Verdict> {
        matched.pairs.iter().map(|pair| pair.address).collect()
    }

    const RIGHT: Verdict = Verdict::Correct(Grade::Assumed);

    #[test]
    fn a_wide_operand_is_judged_in_chunks() {
        let views = [read(Some(0x10), 8, known(1)), read(Some(0x18), 2, known(2))];
        let truth = [operand(0x10, &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0])];
        let matched = pair(&truth, &views, false);
        assert_eq!(addresses(&matched), [RIGHT, RIGHT]);
        assert_eq!(matched.pairs[1].chunk.truth, 2);
        assert_eq!(matched.pairs[1].chunk.mask(), 0xffff);
        assert!(matched.pairs[0].chunk.first && !matched.pairs[1].chunk.first);
    }

    #[test]
    fn a_known_address_beats_the_order() {
        let views = [read(None, 4, known(7)), read(Some(0x10), 4, known(9))];
        let truth = [operand(0x10, &[9, 0, 0, 0]), operand(0x20, &[7, 0, 0, 0])];
        let matched = pair(&truth, &views, false);
        assert_eq!(addresses(&matched), [RIGHT, Verdict::Unknown]);
        assert_eq!(matched.pairs[1].value, known(7));
    }

    #[test]
    fn an_access_elsewhere_is_a_wrong_address() {
        let matched = pair(
            &[operand(0x10, &[9])],
            &[read(Some(0x20), 1, known(9))],
            false,
        );
        assert_eq!(addresses(&matched), [Verdict::Wrong(Grade::Assumed)]);
    }

    #[test]
    fn an_operand_that_could_not_be_read_is_judged_by_its_address() {
        let matched = pair(
            &[operand(0x10, &[])],
            &[read(Some(0x10), 8, known(1))],
            false,
        );
        assert_eq!(addresses(&matched), [RIGHT]);
        assert!(matched.spurious.is_empty());
    }

    #[test]
    fn an_access_that_was_not_made_is_spurious_when_its_address_is_claimed() {
        let views = [read(Some(0x20), 1, known(9)), read(None, 1, known(9))];
        assert_eq!(
            pair(&[], &views, false).spurious,
            [(Address(0x20), Grade::Assumed)]
        );
        assert_eq!(
            pair_bytes(&[], &views, false).spurious,
            [(Address(0x20), Grade::Assumed)]
        );
    }

    #[test]
    fn what_the_history_does_not_list_is_unknown() {
        let matched = pair(&[operand(0x10, &[9])], &[], false);
        assert_eq!(addresses(&matched), [Verdict::Unknown]);
        assert_eq!(matched.pairs[0].value, Value::default());
    }

    #[test]
    fn directions_are_kept_apart() {
        let store = AccessView {
            store: true,
            ..read(Some(0x10), 1, known(9))
        };
        assert_eq!(
            addresses(&pair(&[operand(0x10, &[9])], &[store], false)),
            [Verdict::Unknown]
        );
    }

    #[test]
    fn repeated_string_instructions_are_matched_byte_by_byte() {
        let views: Vec<_> = (0..10)
            .map(|index| read(Some(0x10 + index), 1, known(index)))
            .collect();
        let truth = [operand(0x10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])];
        let matched = pair_bytes(&truth, &views, false);
        assert_eq!(addresses(&matched), [RIGHT, RIGHT]);
        assert_eq!(matched.pairs[0].value, known(0x0706_0504_0302_0100));
        assert_eq!(matched.pairs[1].value.bits, 0x0908);
        assert_eq!(matched.pairs[1].value.known, 0xffff);
        assert!(matched.spurious.is_empty());
    }
}
