//! Calls and returns of one thread: its call tree over the window.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use rept_trace::{Address, Block, Code, ThreadTrace};
use std::collections::BTreeMap;

/// One call that was made inside the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The step that called.
    pub site: u64,
    /// Address called: the first step inside is `site + 1`.
    pub callee: Address,
    /// The step that returned; `None` when the call is still open at the end, or was left by other means.
    pub returned: Option<u64>,
    /// The call it was made from, as an index into the thread's list; `None` for those made
    /// by a function that was entered before the window.
    pub parent: Option<u32>,
    /// Number of calls around it.
    pub depth: u32,
}

/// Return addresses of open calls, innermost last.
struct Open {
    call: u32,
    return_to: Address,
}

/// All calls of a thread, by ascending site.
///
/// A return closes the innermost call that it fits; calls inside that one were left by
/// other means (longjmp, exceptions). A return that fits none leaves a function entered
/// before the window, and all open calls with it.
pub(super) fn calls(code: &Code, thread: &ThreadTrace) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut kinds: BTreeMap<u32, Option<FlowControl>> = BTreeMap::new();
    let mut end = 0u64;
    for (index, run) in thread.runs().iter().enumerate() {
        end += u64::from(run.count);
        let block = code.block(run.block);
        if usize::from(run.count) < block.instructions() {
            continue;
        }
        let kind = *kinds.entry(run.block.0).or_insert_with(|| last_flow(block));
        let Some(next) = thread
            .runs()
            .get(index + 1)
            .map(|run| code.block(run.block).at)
        else {
            break;
        };
        match kind {
            Some(FlowControl::Call | FlowControl::IndirectCall) if next != block.end() => {
                let parent = open.last().map(|open| open.call);
                open.push(Open {
                    call: calls.len() as u32,
                    return_to: block.end(),
                });
                calls.push(Call {
                    site: end - 1,
                    callee: next,
                    returned: None,
                    parent,
                    depth: open.len() as u32 - 1,
                });
            }
            Some(FlowControl::Return) => {
                let fits = open.iter().rposition(|open| open.return_to == next);
                if let Some(fits) = fits {
                    calls[open[fits].call as usize].returned = Some(end - 1);
                }
                open.truncate(fits.unwrap_or(0));
            }
            _ => {}
        }
    }
    calls
}

/// Steps of the returns of these calls, with the indices of the calls, ascending.
pub(super) fn returns(calls: &[Call]) -> Vec<(u64, u32)> {
    let numbered = calls.iter().zip(0..);
    let mut returns: Vec<(u64, u32)> = numbered
        .filter_map(|(call, index)| Some((call.returned?, index)))
        .collect();
    returns.sort_unstable();
    returns
}

fn last_flow(block: &Block) -> Option<FlowControl> {
    let last = block.instructions().checked_sub(1)?;
    let mut decoder = Decoder::new(
        block.bitness.into(),
        block.instruction_bytes(last),
        DecoderOptions::NONE,
    );
    Some(decoder.decode().flow_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Run, ThreadId};

    /// Blocks: 0x10 `call`, 0x15 `nop; call`, 0x1b `ret`; 0x100 `nop; ret`; 0x200 `ret`; 0x300 `call`.
    fn thread(blocks: &[u64]) -> Vec<Call> {
        let bytes: BTreeMap<u64, (&[u8], &[u16])> = BTreeMap::from([
            (0x10, (&[0xe8, 0xeb, 0, 0, 0][..], &[0][..])),
            (0x15, (&[0x90, 0xe8, 0, 0, 0, 0], &[0, 1])),
            (0x1b, (&[0xc3], &[0])),
            (0x100, (&[0x90, 0xc3], &[0, 1])),
            (0x200, (&[0xc3], &[0])),
            (0x300, (&[0xe8, 0, 0, 0, 0], &[0])),
        ]);
        let mut code = Code::default();
        let mut thread = ThreadTrace::new(ThreadId(1));
        let mut ids = BTreeMap::new();
        for at in blocks {
            let (block_bytes, starts) = bytes[at];
            let id = *ids.entry(*at).or_insert_with(|| {
                code.push(Block {
                    at: Address(*at),
                    bytes: block_bytes.into(),
                    starts: starts.into(),
                    bitness: 64,
                })
            });
            thread.push(Run {
                block: id,
                count: starts.len() as u16,
            });
        }
        calls(&code, &thread)
    }

    #[test]
    fn a_return_closes_its_call() {
        let calls = thread(&[0x10, 0x100, 0x15, 0x200, 0x1b]);
        let [first, second] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        assert_eq!(
            (first.site, first.callee, first.returned),
            (0, Address(0x100), Some(2))
        );
        assert_eq!(
            (second.site, second.callee, second.returned, second.parent),
            (4, Address(0x200), Some(5), None)
        );
    }

    #[test]
    fn calls_nest_and_a_far_return_leaves_several() {
        let calls = thread(&[0x10, 0x300, 0x200, 0x15, 0x200, 0x1b]);
        assert_eq!(calls[1].parent, Some(0));
        assert_eq!(calls[1].depth, 1);
        assert_eq!(
            calls[0].returned,
            Some(2),
            "the return to 0x15 fits the outer call"
        );
        assert_eq!(calls[1].returned, None);
        assert_eq!(calls[2].parent, None);
    }
}
