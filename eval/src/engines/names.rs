//! What stands at an address, for people.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use rept_core::Session;
use rept_trace::Address;
use std::path::Path;

/// Longest x86 instruction.
const LONGEST: usize = 15;

/// Function, line and instruction at an address in a recording; the file without directories, which are
/// this machine's.
pub(super) fn name(recording: &Path, address: u64) -> Option<String> {
    let session = Session::builder().directory(recording).open().ok()?;
    let symbol = session.symbols().lookup(Address(address));
    let line = symbol.line().map(|(file, line)| {
        let name = file.rsplit('/').next().unwrap_or(file);
        format!(" {name}:{line}")
    });
    let memory = session.dump().map(|dump| dump.memory());
    let bytes = memory.and_then(|memory| memory.bytes(Address(address)));
    let instruction = bytes.map(|bytes| instruction(bytes, address));
    let place = symbol.name().unwrap_or("?").to_owned() + &line.unwrap_or_default();
    Some(match instruction {
        Some(instruction) => format!("`{instruction}` of {place}"),
        None => place,
    })
}

/// Function in which the thread that a core is of stands.
pub(super) fn faulting(core: &Path) -> Option<String> {
    let session = Session::builder().dump(core).open().ok()?;
    let at = session.dump()?.threads().first()?.rip;
    session.symbols().lookup(at).name().map(str::to_owned)
}

// The first of the bytes, which stand at the address.
fn instruction(bytes: &[u8], address: u64) -> String {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let decoded = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
    let mut text = String::new();
    IntelFormatter::new().format(&decoded, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_instruction_is_named() {
        assert_eq!(
            instruction(&[0x48, 0x89, 0xc8, 0x90], 0x1000),
            "mov rax,rcx"
        );
        assert_eq!(instruction(&[], 0x1000), "(bad)");
    }
}
