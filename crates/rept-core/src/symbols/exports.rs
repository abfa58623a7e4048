//! Which module's variable counts when several have one of a name.
//!
//! The loader gives a name to one module, the program first: a library's exported variable may lie in
//! the program, which has a copy of it (`R_X86_64_COPY`), or in another library, and what debug
//! information then names is memory that nobody uses.

use super::thread_storage::{dynamic, is_program};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol, ObjectSymbolTable, SymbolKind, elf};
use object::{RelocationFlags, RelocationTarget};
use rept_trace::Address;
use std::collections::{BTreeMap, BTreeSet};

/// What the modules of a process export.
#[derive(Debug, Default)]
pub(super) struct Exports {
    modules: Vec<Exported>,
}

/// Variables of one module that others may use.
#[derive(Debug)]
pub(super) struct Exported {
    start: Address,
    bias: u64,
    is_program: bool,
    /// It may use its own whatever others have: linked so (`-Bsymbolic`).
    is_symbolic: bool,
    /// By name: thread-local or not, and the address (or distance). `None` when the file is not there.
    names: Option<BTreeMap<String, (bool, u64)>>,
    /// Names of which it may use its own whatever others have.
    protected: BTreeSet<String>,
    /// Those that are copies of other modules' variables.
    copies: BTreeSet<String>,
}

/// Where a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Where debug information says.
    Own,
    /// In the program, at this address of the process.
    Copy(u64),
    /// It may be another module's.
    Unknown,
}

impl Exports {
    pub(super) fn new(modules: impl Iterator<Item = Exported>) -> Exports {
        let modules = modules.collect();
        Exports { modules }
    }

    /// Of what is at an address of a module's file, or of what is so far into its thread-local block.
    pub(super) fn counts(&self, module: Address, is_thread_local: bool, at: u64) -> Counts {
        let own = self.modules.iter().find(|one| one.start == module);
        let Some(own) = own.filter(|own| !own.is_program) else {
            return Counts::Own;
        };
        let mut names = own.names.iter().flatten();
        let found = names.find_map(|(name, &place)| {
            if place != (is_thread_local, at) {
                return None;
            }
            match self.of_name(module, name) {
                Counts::Own => None,
                _ if own.is_symbolic || own.protected.contains(name) => Some(Counts::Unknown),
                other => Some(other),
            }
        });
        found.unwrap_or(Counts::Own)
    }

    /// Another module may have a variable of this name.
    pub(super) fn elsewhere(&self, module: Address, name: &str) -> bool {
        self.of_name(module, name) != Counts::Own
    }

    fn of_name(&self, module: Address, name: &str) -> Counts {
        let others = || self.modules.iter().filter(|one| one.start != module);
        // The program comes first whatever else there is.
        let copy = others().filter(|one| one.is_program).find_map(|program| {
            let (_, at) = program.names.as_ref()?.get(name)?;
            let copied = program.copies.contains(name);
            copied.then(|| Counts::Copy(at.wrapping_add(program.bias)))
        });
        let may_have = |one: &Exported| {
            let names = one.names.as_ref();
            names.is_none_or(|names| names.contains_key(name))
        };
        match others().any(may_have) {
            true => copy.unwrap_or(Counts::Unknown),
            false => Counts::Own,
        }
    }
}

impl Exported {
    /// Of a module whose file is there.
    pub(super) fn of(bytes: &[u8], start: Address, bias: u64) -> Exported {
        let Ok(file) = ElfFile64::<LittleEndian>::parse(bytes) else {
            return Exported::unknown(start, bias);
        };
        let mut names = BTreeMap::new();
        let mut protected = BTreeSet::new();
        for symbol in file.dynamic_symbols() {
            let kind = symbol.kind();
            let is_variable = !matches!(kind, SymbolKind::Text | SymbolKind::File);
            if let Ok(name) = symbol.name()
                && is_variable
                && !symbol.is_undefined()
            {
                let place = (kind == SymbolKind::Tls, symbol.address());
                names.insert(name.to_owned(), place);
                if symbol.elf_symbol().st_visibility() != elf::STV_DEFAULT {
                    protected.insert(name.to_owned());
                }
            }
        }
        Exported {
            start,
            bias,
            is_program: is_program(&file),
            is_symbolic: is_symbolic(&file),
            names: Some(names),
            protected,
            copies: copies(&file),
        }
    }

    /// Of a module without a file.
    pub(super) fn unknown(start: Address, bias: u64) -> Exported {
        Exported {
            start,
            bias,
            is_program: false,
            is_symbolic: false,
            names: None,
            protected: BTreeSet::new(),
            copies: BTreeSet::new(),
        }
    }
}

/// It uses its own variables before others' of the same names.
fn is_symbolic(file: &ElfFile64<'_, LittleEndian>) -> bool {
    dynamic(file).any(|(tag, value)| {
        tag == elf::DT_SYMBOLIC || tag == elf::DT_FLAGS && value & elf::DF_SYMBOLIC != 0
    })
}

/// Names of what the loader copies into this file's memory.
fn copies(file: &ElfFile64<'_, LittleEndian>) -> BTreeSet<String> {
    let copied = file.dynamic_relocations().into_iter().flatten();
    let copied = copied.filter_map(|(_, relocation)| {
        let RelocationTarget::Symbol(index) = relocation.target() else {
            return None;
        };
        let is_copy = matches!(
            relocation.flags(),
            RelocationFlags::Elf { r_type } if r_type == elf::R_X86_64_COPY
        );
        let symbol = file.dynamic_symbol_table()?.symbol_by_index(index).ok()?;
        is_copy.then(|| symbol.name().ok().map(str::to_owned))?
    });
    copied.collect()
}
