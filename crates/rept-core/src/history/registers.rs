//! Which steps write a register, by what their instructions are.

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Mnemonic, OpAccess, Register};
use rept_trace::{Block, Code, EventKind, Gap, GapReason, RegWord, ThreadTrace};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Thread index and word.
type Key = (usize, RegWord);

/// Write positions by thread index and word, made when first asked for.
#[derive(Debug, Default)]
pub(super) struct RegisterWrites {
    cache: Mutex<BTreeMap<Key, Arc<[u64]>>>,
}

impl RegisterWrites {
    /// Steps of the thread that write (or may write) the word, ascending.
    pub(super) fn of(
        &self,
        code: &Code,
        index: usize,
        thread: &ThreadTrace,
        word: RegWord,
    ) -> Arc<[u64]> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .entry((index, word))
            .or_insert_with(|| writes(code, thread, word).into())
            .clone()
    }
}

/// Every instruction is looked at once a block, every run once.
fn writes(code: &Code, thread: &ThreadTrace, word: RegWord) -> Vec<u64> {
    let mut writers: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut first = 0u64;
    for run in thread.runs() {
        let of_block = writers
            .entry(run.block.0)
            .or_insert_with(|| block_writers(code.block(run.block), word));
        let ran = of_block.iter().take_while(|&&index| index < run.count);
        steps.extend(ran.map(|&index| first + u64::from(index)));
        first += u64::from(run.count);
    }
    steps
}

/// Instructions of a block that write the word.
fn block_writers(block: &Block, word: RegWord) -> Vec<u16> {
    let mut factory = InstructionInfoFactory::new();
    let writes = |index: &usize| {
        let bytes = block.instruction_bytes(*index);
        writes_word(&mut factory, bytes, block.bitness, word)
    };
    (0..block.instructions())
        .filter(writes)
        .map(|index| index as u16)
        .collect()
}

/// An instruction writes (or may write) the word.
#[cfg(test)]
pub(super) fn writes_bytes(bytes: &[u8], word: RegWord) -> bool {
    writes_word(&mut InstructionInfoFactory::new(), bytes, 64, word)
}

fn writes_word(
    factory: &mut InstructionInfoFactory,
    bytes: &[u8],
    bitness: u8,
    word: RegWord,
) -> bool {
    let mut decoder = Decoder::new(bitness.into(), bytes, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if word == RegWord::FLAGS {
        return instruction.rflags_modified() != 0 || instruction.mnemonic() == Mnemonic::Popfq;
    }
    // The kernel's answer.
    if instruction.mnemonic() == Mnemonic::Syscall && word == RegWord::RAX {
        return true;
    }
    let info = factory.info(&instruction);
    info.used_registers().iter().any(|used| {
        let written = matches!(
            used.access(),
            OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
        );
        written && holds(used.register(), word)
    })
}

/// The register has bits in the word. Vector registers count by lane: writing an XMM register
/// with a VEX instruction is reported by iced as a write of the whole register.
fn holds(register: Register, word: RegWord) -> bool {
    if register.is_gpr() {
        return RegWord::gpr(register.full_register().number() as u16) == word;
    }
    if register.is_vector_register() {
        let lanes = (register.size() / 8) as u16;
        let number = register.number() as u16;
        return (0..lanes).any(|lane| RegWord::vector(number, lane) == word);
    }
    if register.is_k() {
        return RegWord::opmask(register.number() as u16) == word;
    }
    false
}

/// Steps before which the kernel may have set every register: signal handlers entered and
/// left, steps missing. Ascending. An instruction that was stopped midway moves its own pointers on: where
/// they came from, the steps before it say.
pub(super) fn barriers(code: &Code, thread: &ThreadTrace) -> Vec<u64> {
    let stopped = |gap: &&Gap| matches!(gap.reason, GapReason::PartialInstruction(_));
    let gaps = thread.gaps.iter().filter(|gap| !stopped(gap));
    let mut steps: Vec<u64> = gaps.map(|gap| gap.step).collect();
    let mut left = None;
    for event in &thread.events {
        match event.kind {
            EventKind::AsyncDisabled { at, .. } => left = Some(at),
            EventKind::Disabled { .. } => left = behind(code, thread, event.step),
            EventKind::Enabled { ip } => {
                let elsewhere = left.take() != Some(ip);
                steps.extend(elsewhere.then_some(event.step));
            }
            EventKind::Overflow { .. } | EventKind::AsyncBranch { .. } => steps.push(event.step),
            _ => {}
        }
    }
    steps.retain(|&step| step > 0);
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// The address behind the instruction of the step before `step`.
fn behind(code: &Code, thread: &ThreadTrace, step: u64) -> Option<rept_trace::Address> {
    let (run, index) = thread.locate(step.checked_sub(1)?)?;
    let block = code.block(thread.runs()[run].block);
    Some(
        block
            .address(index)
            .offset(block.instruction_bytes(index).len() as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::{Address, BlockId, Run, ThreadId};

    #[track_caller]
    fn check(bytes: &[u8], writes: &[RegWord], leaves: &[RegWord]) {
        let mut factory = InstructionInfoFactory::new();
        for word in writes {
            assert!(
                writes_word(&mut factory, bytes, 64, *word),
                "{bytes:x?} writes {}",
                word.name()
            );
        }
        for word in leaves {
            assert!(
                !writes_word(&mut factory, bytes, 64, *word),
                "{bytes:x?} leaves {}",
                word.name()
            );
        }
    }

    #[test]
    fn writers_are_told_from_readers() {
        check(
            &[0x48, 0x89, 0xd8],
            &[RegWord::RAX],
            &[RegWord::RBX, RegWord::FLAGS],
        );
        check(&[0xb0, 0x01], &[RegWord::RAX], &[RegWord::RCX]);
        check(
            &[0x48, 0x01, 0xd8],
            &[RegWord::RAX, RegWord::FLAGS],
            &[RegWord::RBX],
        );
        check(&[0x58], &[RegWord::RAX, RegWord::RSP], &[RegWord::FLAGS]);
        check(
            &[0x0f, 0x05],
            &[RegWord::RAX, RegWord::RCX, RegWord::R11],
            &[RegWord::RBX],
        );
        check(
            &[0x66, 0x0f, 0xef, 0xc0],
            &[RegWord::vector(0, 0), RegWord::vector(0, 1)],
            &[RegWord::vector(1, 0)],
        );
    }

    #[test]
    fn a_stopped_instruction_is_no_barrier() {
        let mut thread = ThreadTrace::new(ThreadId(1));
        let gap = |step, reason| Gap {
            step,
            offset: 0,
            at: None,
            reason,
        };
        thread.gaps = vec![
            gap(3, GapReason::LostData),
            gap(7, GapReason::PartialInstruction(BlockId(0))),
            gap(9, GapReason::UncountedLoop { round: Vec::new() }),
        ];
        assert_eq!(barriers(&Code::default(), &thread), [3, 9]);
    }

    #[test]
    fn writes_are_found_across_runs_cut_short() {
        // mov eax,ebx; mov ecx,ebx; mov eax,ebx
        let bytes = [0x89, 0xd8, 0x89, 0xd9, 0x89, 0xd8];
        let block = Block {
            at: Address(0x1000),
            bytes: bytes.into(),
            starts: [0, 2, 4].into(),
            bitness: 64,
        };
        let mut code = Code::default();
        let block = code.push(block);
        let mut thread = ThreadTrace::new(ThreadId(1));
        thread.push(Run { block, count: 3 });
        thread.push(Run { block, count: 2 });
        assert_eq!(writes(&code, &thread, RegWord::RAX), [0, 2, 3]);
        assert_eq!(writes(&code, &thread, RegWord::RCX), [1, 4]);
    }
}
