//! Where a module's thread-local variables are: relative to the thread pointer, which is what the
//! dynamic loader has made of the relocations for them.
//!
//! A program's own lie right below the thread pointer (ELF's TLS ABI, variant II). A library's are
//! found by what the loader wrote into its table of addresses: their distance, or the library's
//! number among those of the thread's vector of blocks.
//!
//! Debug information alone does not say which variable it means: of what the linker removed it has
//! zero, as the block's first variable does, and gcc leaves the variable's address to the linker, not
//! its distance, where units are split. So a place is taken only when the file's symbols have a
//! variable of that name and size there.

use super::table::ThreadLocals;
use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{
    LittleEndian, Object, ObjectSymbol, ObjectSymbolTable, RelocationFlags, RelocationTarget,
};
use std::sync::Arc;

/// Where a module keeps thread-local variables.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) base: Base,
    /// Address and size of the block in the file.
    block: (u64, u64),
    /// What is where in the block.
    symbols: Arc<ThreadLocals>,
}

/// How the block of one module is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing tells.
    Unknown,
    /// This far from the thread pointer, modulo 2^64.
    Fixed(u64),
    /// An address of the file holds the distance plus a number.
    Distance { at: u64, plus: u64 },
    /// An address of the file holds the module's number.
    Numbered { at: u64 },
}

/// What a variable is called, and its size.
#[derive(Clone, Debug, Default)]
pub(super) struct Called {
    /// By the linker, when that differs.
    pub(super) symbol: Option<String>,
    /// In the source.
    pub(super) name: String,
    pub(super) size: u64,
}

impl Storage {
    /// Of a file; `elsewhere` says whether another module has a symbol of a name, which the loader may
    /// then have taken instead.
    pub(super) fn of(
        bytes: &[u8],
        symbols: Arc<ThreadLocals>,
        elsewhere: &dyn Fn(&str) -> bool,
    ) -> Storage {
        let Ok(file) = ElfFile64::<LittleEndian>::parse(bytes) else {
            return Storage::unknown();
        };
        let block = tls_header(&file).map(|header| {
            let e = LittleEndian;
            (header.p_vaddr(e), header.p_memsz(e))
        });
        Storage {
            base: Base::of(&file, elsewhere),
            block: block.unwrap_or_default(),
            symbols,
        }
    }

    /// Of a module of which nothing is known.
    pub(super) fn unknown() -> Storage {
        Storage {
            base: Base::Unknown,
            block: (0, 0),
            symbols: Arc::default(),
        }
    }

    /// How far into the block a variable is for which debug information has `number`: its distance, or
    /// its address in the file. `None` unless the symbols say the same.
    pub(super) fn distance(&self, number: u64, called: &Called) -> Option<u64> {
        let (start, size) = self.block;
        let from_start = number.wrapping_sub(start);
        let mut found = [number, from_start].into_iter().filter(|&distance| {
            let here = self.symbols.get(&distance).into_iter().flatten();
            distance < size && here.into_iter().any(|symbol| called.fits(symbol))
        });
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

impl Called {
    /// A symbol of this name and size is this variable's. What functions keep between calls has a
    /// number behind its name in C, and the function's name before it in C++ and Rust.
    fn fits(&self, (symbol, size): &(String, u64)) -> bool {
        let numbered = symbol.strip_prefix(&self.name);
        let numbered = numbered.and_then(|rest| rest.strip_prefix('.'));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = Some(symbol) == self.symbol.as_ref()
            || *symbol == self.name
            || numbered.is_some_and(is_number)
            || super::dwarf::demangle(symbol).rsplit("::").next() == Some(&self.name);
        is_name && *size == self.size
    }
}

impl Base {
    fn of(file: &ElfFile64<'_, LittleEndian>, elsewhere: &dyn Fn(&str) -> bool) -> Base {
        if is_program(file) {
            return own_block(file).map_or(Base::Unknown, Base::Fixed);
        }
        let mut relocations = file.dynamic_relocations().into_iter().flatten();
        let found = relocations.find_map(|(at, relocation)| {
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return None;
            };
            let value = match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = file.dynamic_symbol_table()?.symbol_by_index(index).ok()?;
                    let own = !symbol.is_undefined() && !symbol.name().is_ok_and(elsewhere);
                    own.then_some(symbol.address())?
                }
                _ => 0,
            };
            match r_type {
                elf::R_X86_64_DTPMOD64 => Some(Base::Numbered { at }),
                elf::R_X86_64_TPOFF64 => Some(Base::Distance {
                    at,
                    plus: value.wrapping_add(relocation.addend() as u64),
                }),
                _ => None,
            }
        });
        found.unwrap_or(Base::Unknown)
    }
}

/// It is a program, not a library.
pub(super) fn is_program(file: &ElfFile64<'_, LittleEndian>) -> bool {
    let is_pie = |(tag, flags): (u32, u32)| tag == elf::DT_FLAGS_1 && flags & elf::DF_1_PIE != 0;
    file.elf_header().e_type(LittleEndian) == elf::ET_EXEC || dynamic(file).any(is_pie)
}

/// Tags and values of a file's dynamic section.
pub(super) fn dynamic(file: &ElfFile64<'_, LittleEndian>) -> impl Iterator<Item = (u32, u32)> {
    let e = LittleEndian;
    let mut headers = file.elf_program_headers().iter();
    let found = headers.find_map(|header| header.dynamic(e, file.data()).ok().flatten());
    let entries = found.unwrap_or_default().iter();
    entries.filter_map(move |entry| Some((entry.tag32(e)?, entry.val32(e)?)))
}

fn tls_header<'a>(
    file: &ElfFile64<'a, LittleEndian>,
) -> Option<&'a elf::ProgramHeader64<LittleEndian>> {
    let mut headers = file.elf_program_headers().iter();
    headers.find(|header| header.p_type(LittleEndian) == elf::PT_TLS)
}

/// How far from the thread pointer a program's own block begins.
fn own_block(file: &ElfFile64<'_, LittleEndian>) -> Option<u64> {
    let e = LittleEndian;
    let block = tls_header(file)?;
    let align = block.p_align(e).max(1);
    // The first byte is as far from a multiple of the alignment as in the file.
    let ahead = block.p_vaddr(e).wrapping_neg() % align;
    let size = block.p_memsz(e).checked_sub(ahead)?;
    let size = size.checked_next_multiple_of(align)?.checked_add(ahead)?;
    Some(size.wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: u64, (symbol, name, size): (Option<&str>, &str, u64), expect: Option<u64>) {
        let symbols = [
            (0, "_ZL5first", 8),
            (8, "kept.3", 4),
            (16, "own", 8),
            (0x10, "alias", 8),
            (0x28, "both", 1),
            (0x20, "both", 1),
        ];
        let mut table = ThreadLocals::new();
        for (at, name, size) in symbols {
            table.entry(at).or_default().push((name.to_owned(), size));
        }
        let storage = Storage {
            base: Base::Unknown,
            block: (8, 0x30),
            symbols: Arc::new(table),
        };
        let called = Called {
            symbol: symbol.map(str::to_owned),
            name: name.to_owned(),
            size,
        };
        assert_eq!(storage.distance(number, &called), expect, "{name}");
    }

    #[test]
    fn a_place_is_taken_when_the_symbols_say_the_same() {
        check(0, (None, "first", 8), Some(0));
        check(0, (Some("_ZL5first"), "first", 8), Some(0));
        check(8, (None, "kept", 4), Some(8));
        check(16, (None, "alias", 8), Some(16));
        // By the address in the file.
        check(24, (None, "own", 8), Some(16));
        // Removed, of another size, in no block, one of two.
        check(0, (None, "removed", 8), None);
        check(0, (None, "first", 4), None);
        check(0x60, (None, "own", 8), None);
        check(0x28, (None, "both", 1), None);
    }
}
