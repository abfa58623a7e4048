//! Symbols of one file: functions, sorted by address, and thread-local variables.

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sorted by address; one name an address.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    thread_local: Arc<ThreadLocals>,
}

/// Names and sizes of thread-local variables, by their distance in the module's block.
pub(super) type ThreadLocals = BTreeMap<u64, Vec<(String, u64)>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    address: u64,
    /// Aliases: exported names first, sized ones first, then by name.
    local: bool,
    unsized_: bool,
    name: String,
    size: u64,
}

impl Table {
    /// Functions in `.symtab` and `.dynsym`; empty for what cannot be read.
    pub(super) fn new(bytes: &[u8]) -> Table {
        let mut table = Table::default();
        table.extend(bytes);
        table
    }

    /// Adds those of another file of the same addresses (its separate debug file).
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let Ok(file) = ElfFile64::<LittleEndian>::parse(bytes) else {
            return;
        };
        let symbols = || file.symbols().chain(file.dynamic_symbols());
        let thread_local = Arc::make_mut(&mut self.thread_local);
        for symbol in symbols() {
            if symbol.kind() == SymbolKind::Tls
                && !symbol.is_undefined()
                && let Ok(name) = symbol.name()
            {
                let here = thread_local.entry(symbol.address()).or_default();
                here.push((name.to_owned(), symbol.size()));
            }
        }
        let functions =
            symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
        self.entries.extend(functions.filter_map(|symbol| {
            Some(Entry {
                address: symbol.address(),
                local: symbol.is_local(),
                unsized_: symbol.size() == 0,
                name: symbol
                    .name()
                    .ok()
                    .filter(|name| !name.is_empty())?
                    .to_owned(),
                size: symbol.size(),
            })
        }));
        self.entries.sort_unstable();
        self.entries.dedup_by_key(|entry| entry.address);
    }

    /// The function that holds an address, and the distance from its start.
    pub(super) fn lookup(&self, at: u64) -> Option<(&str, u64)> {
        let behind = self.entries.partition_point(|entry| entry.address <= at);
        let entry = &self.entries[..behind].last()?;
        let distance = at - entry.address;
        // Assembly functions have no size; they reach to the next symbol.
        let inside = entry.size == 0 || distance < entry.size;
        inside.then_some((entry.name.as_str(), distance))
    }

    /// Thread-local variables.
    pub(super) fn thread_local(&self) -> Arc<ThreadLocals> {
        self.thread_local.clone()
    }

    /// Addresses of the functions of this name.
    pub(super) fn named(&self, name: &str) -> Vec<u64> {
        let is = |entry: &&Entry| entry.name == name || super::dwarf::demangle(&entry.name) == name;
        self.entries
            .iter()
            .filter(is)
            .map(|entry| entry.address)
            .collect()
    }
}
