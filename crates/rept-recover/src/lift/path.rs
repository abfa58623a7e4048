//! System calls that open a file or read a link: the kernel reads its path (open(2), readlink(2)).

use crate::effect::Effect;
use crate::lift::builder::Place;
use crate::lift::system_call;
use rept_trace::{Address, RegWord};

const OPEN: u32 = 2;
const OPENAT: u32 = 257;
const READLINK: u32 = 89;
const READLINKAT: u32 = 267;
/// Bytes of a path that are looked at: the kernel takes longer ones (PATH_MAX), programs seldom have them.
const MAX_PATH: u32 = 256;

/// Lowers `syscall` where its number is one that opens a file or reads a link; `None` where it is not.
pub(crate) fn lift_path_reader(
    bytes: &[u8],
    at: Address,
    number: u32,
    live_flags: u16,
) -> Option<Effect> {
    let pointer = match number {
        OPEN | READLINK => RegWord::RDI,
        OPENAT | READLINKAT => RegWord::RSI,
        _ => return None,
    };
    let builder = system_call(bytes, at, live_flags)?;
    let path = Place {
        address: builder.input(pointer).word,
        offset: 0,
    };
    for offset in (0..MAX_PATH).step_by(8) {
        builder.load(path.at(offset), 8);
    }
    Some(builder.finish(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSCALL: &[u8] = &[0x0f, 0x05];

    #[test]
    fn the_path_is_read_where_the_argument_says() {
        let calls = [
            (OPEN, RegWord::RDI),
            (OPENAT, RegWord::RSI),
            (READLINK, RegWord::RDI),
            (READLINKAT, RegWord::RSI),
        ];
        for (number, register) in calls {
            let effect = lift_path_reader(SYSCALL, Address(0x1000), number, 0).expect("a path");
            let places: Vec<(RegWord, u32)> = effect
                .accesses
                .iter()
                .map(|access| (effect.reads[usize::from(access.address.0)], access.offset))
                .collect();
            let expect: Vec<_> = (0..32).map(|index| (register, 8 * index)).collect();
            assert_eq!(places, expect);
            assert!(effect.accesses.iter().all(|access| !access.store));
            let mut writes = effect.writes.iter();
            let (_, behind) = writes.find(|(word, _)| *word == RegWord::RCX).unwrap();
            let behind = effect.template[usize::from(behind.0)];
            assert_eq!(behind.get(), Some(0x1002), "as behind every system call");
        }
        assert_eq!(lift_path_reader(SYSCALL, Address(0x1000), 3, 0), None);
    }
}
