//! What stands at an address, for people.

use rept_core::Session;
use rept_trace::Address;
use std::path::Path;

/// Function and line of an address in a recording; the file without directories, which are this machine's.
pub(super) fn name(recording: &Path, address: u64) -> Option<String> {
    let session = Session::builder().directory(recording).open().ok()?;
    let symbol = session.symbols().lookup(Address(address));
    let line = symbol.line().map(|(file, line)| {
        let name = file.rsplit('/').next().unwrap_or(file);
        format!(" {name}:{line}")
    });
    Some(symbol.name()?.to_owned() + &line.unwrap_or_default())
}
