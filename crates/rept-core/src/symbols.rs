//! From addresses to functions and source lines.
//!
//! Each module is loaded when first asked about. What a module lacks (symbols, debug
//! information, the file itself) degrades that module only, and is named.

mod debug_files;
mod die;
mod dwarf;
mod exports;
mod made;
mod places;
mod split;
mod table;
mod thread_storage;
mod variables;

use crate::binaries::{Binaries, Binary};
use crate::capture::Capture;
use crate::dump::{Dump, ModuleFile};
use crate::image::Jit;
use crate::typed::Variable;
use dwarf::Dwarf;
pub(crate) use dwarf::{Reader, section};
use exports::{Exported, Exports};
use made::Made;
use places::Places;
use rept_trace::Address;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use table::Table;
use thread_storage::{Base, Storage};
pub(crate) use variables::{FrameState, FunctionPlace};

/// What is known about a code address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Symbol {
    /// File that holds the code, without directories.
    pub module: Option<String>,
    /// Function by the symbol table (demangled), and the distance from its first byte.
    pub function: Option<(String, u64)>,
    /// Source frames by debug information: the innermost inlined function first, the function itself last.
    pub frames: Vec<SourceFrame>,
}

/// One source-level function that an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceFrame {
    /// Function, demangled.
    pub function: Option<String>,
    /// Source file, as the compiler named it.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
}

impl Symbol {
    /// The function's name: the innermost source function, else the symbol.
    pub fn name(&self) -> Option<&str> {
        let source = self
            .frames
            .iter()
            .find_map(|frame| frame.function.as_deref());
        source.or(self.function.as_ref().map(|(name, _)| name.as_str()))
    }

    /// Innermost source file and line.
    pub fn line(&self) -> Option<(&str, u32)> {
        let frame = self.frames.first()?;
        Some((frame.file.as_deref()?, frame.line?))
    }
}

/// A module whose symbols or lines cannot all be shown, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// The module's path as recorded.
    pub module: String,
    /// One sentence.
    pub reason: String,
}

/// Symbols of all modules; look-ups take `&self` and may be made from several threads.
#[derive(Debug)]
pub struct Symbols {
    modules: Vec<Module>,
    made: Made,
    directories: Vec<std::path::PathBuf>,
    exports: OnceLock<Arc<Exports>>,
}

/// One ELF file at one place.
#[derive(Debug)]
struct Module {
    path: String,
    start: Address,
    end: Address,
    bias: u64,
    binary: Option<Arc<Binary>>,
    /// Why there is no file.
    missing: Option<String>,
    loaded: OnceLock<Loaded>,
    places: OnceLock<Places>,
}

#[derive(Debug)]
struct Loaded {
    table: Table,
    dwarf: Result<Mutex<Dwarf>, String>,
}

impl Symbols {
    pub(crate) fn new(
        capture: Option<&Capture>,
        dump: Option<&Dump>,
        binaries: &Binaries,
        jit: &[Jit],
        process: Option<u32>,
    ) -> Symbols {
        let mut modules: Vec<Module> = dump
            .map(|dump| from_dump(dump).collect())
            .unwrap_or_default();
        if modules.is_empty() {
            modules = capture
                .map(|capture| from_trace(capture, binaries))
                .unwrap_or_default();
        }
        modules.sort_by_key(|module| module.start);
        Symbols {
            modules,
            made: Made::new(jit, process),
            directories: binaries.directories().to_vec(),
            exports: OnceLock::new(),
        }
    }

    /// Everything known about the code at an address. Loads the module's symbols when it is the first look.
    pub fn lookup(&self, at: Address) -> Symbol {
        let Some(module) = self.module(at) else {
            return self.made.lookup(at).unwrap_or_default();
        };
        let own = at.0.wrapping_sub(module.bias);
        let loaded = module.load(&self.directories);
        let frames = match &loaded.dwarf {
            Ok(dwarf) => dwarf
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .frames(own),
            Err(_) => Vec::new(),
        };
        Symbol {
            module: Some(module.name().to_owned()),
            function: loaded
                .table
                .lookup(own)
                .map(|(name, distance)| (dwarf::demangle(name), distance)),
            frames,
        }
    }

    /// Addresses of the functions of this name (plain or demangled), by ascending address.
    pub fn addresses_of(&self, function: &str) -> Vec<Address> {
        let of = |module: &Module| -> Vec<Address> {
            let found = module.load(&self.directories).table.named(function);
            found
                .into_iter()
                .map(|own| Address(own.wrapping_add(module.bias)))
                .collect()
        };
        self.modules.iter().flat_map(of).collect()
    }

    /// The function that holds the code at an address, with its place in the process.
    pub(crate) fn function(&self, at: Address) -> Option<FunctionPlace> {
        self.with_dwarf(at, |dwarf, own, bias| {
            let place = dwarf.function(own, bias)?;
            Some(FunctionPlace {
                entry: place.entry.wrapping_add(bias),
                body: place.body.map(|body| body.wrapping_add(bias)),
                ..place
            })
        })?
    }

    /// Variables of the functions at an address, by source frame as [`Symbol::frames`] has them.
    pub(crate) fn variables(
        &self,
        at: Address,
        state: &FrameState<'_>,
        unset: bool,
    ) -> Result<Vec<Vec<Variable>>, String> {
        let Some(module) = self.module(at) else {
            return Err(format!("no file is known for the code at {at}"));
        };
        match &module.load(&self.directories).dwarf {
            Err(reason) => Err(module.missing.clone().unwrap_or_else(|| reason.clone())),
            Ok(_) => {
                let places = self.places(module);
                let read =
                    |dwarf: &mut Dwarf, own, _| dwarf.variables(own, places.clone(), state, unset);
                Ok(self.with_dwarf(at, read).unwrap_or_default())
            }
        }
    }

    /// Variables that are no function's own, of all modules, by name. Reads all modules' debug information.
    pub(crate) fn statics(&self, name: &str, state: &FrameState<'_>) -> Vec<Variable> {
        let of = |module: &Module| {
            let dwarf = module.load(&self.directories).dwarf.as_ref().ok()?;
            let mut dwarf = dwarf.lock().unwrap_or_else(PoisonError::into_inner);
            Some(dwarf.statics(name, self.places(module).clone(), state))
        };
        self.modules.iter().filter_map(of).flatten().collect()
    }

    /// Where a module's variables are.
    fn places<'a>(&self, module: &'a Module) -> &'a Places {
        module.places.get_or_init(|| {
            let exports = self.exports.get_or_init(|| Arc::new(self.exported()));
            Places {
                start: module.start,
                bias: module.bias,
                data: module.binary.as_ref().and_then(places::data),
                storage: self.storage(module, exports),
                exports: exports.clone(),
            }
        })
    }

    /// What modules export. Of one without a file nothing is known; the kernel's own have no variables.
    fn exported(&self) -> Exports {
        let exported = |module: &Module| match &module.binary {
            Some(binary) => Some(Exported::of(binary.bytes(), module.start, module.bias)),
            None if module.name().starts_with('[') => None,
            None => Some(Exported::unknown(module.start, module.bias)),
        };
        Exports::new(self.modules.iter().filter_map(exported))
    }

    /// Where a module keeps thread-local variables.
    fn storage(&self, module: &Module, exports: &Exports) -> Storage {
        let Some(binary) = &module.binary else {
            return Storage::unknown();
        };
        let symbols = module.load(&self.directories).table.thread_local();
        let elsewhere = |name: &str| exports.elsewhere(module.start, name);
        let found = Storage::of(binary.bytes(), symbols, &elsewhere);
        // The layout of the thread's vector is the C library's own, and known of glibc.
        let is_glibc = |name: &str| name == "libc.so.6" || name.starts_with("libc-2.");
        match found.base {
            Base::Numbered { .. } if !self.modules.iter().any(|one| is_glibc(one.name())) => {
                Storage::unknown()
            }
            _ => found,
        }
    }

    fn with_dwarf<T>(&self, at: Address, ask: impl FnOnce(&mut Dwarf, u64, u64) -> T) -> Option<T> {
        let module = self.module(at)?;
        let dwarf = module.load(&self.directories).dwarf.as_ref().ok()?;
        let mut dwarf = dwarf.lock().unwrap_or_else(PoisonError::into_inner);
        let own = at.0.wrapping_sub(module.bias);
        Some(ask(&mut dwarf, own, module.bias))
    }

    /// The places of all code files, what is added to their own addresses, and the files.
    pub(crate) fn files(
        &self,
    ) -> impl Iterator<Item = (Range<Address>, u64, Option<Arc<Binary>>)> + '_ {
        self.modules.iter().map(|module| {
            let range = module.start..module.end;
            (range, module.bias, module.binary.clone())
        })
    }

    /// Modules asked about so far that lack something.
    pub fn degraded(&self) -> Vec<Degraded> {
        let reason = |module: &Module| match (&module.missing, module.loaded.get()?) {
            (Some(missing), _) => Some(missing.clone()),
            (
                None,
                Loaded {
                    dwarf: Err(reason), ..
                },
            ) => Some(reason.clone()),
            (
                None,
                Loaded {
                    dwarf: Ok(dwarf), ..
                },
            ) => {
                let dwarf = dwarf.lock().unwrap_or_else(PoisonError::into_inner);
                dwarf.lacks()
            }
        };
        let degraded = self.modules.iter().filter_map(|module| {
            Some(Degraded {
                module: module.path.clone(),
                reason: reason(module)?,
            })
        });
        degraded.collect()
    }

    fn module(&self, at: Address) -> Option<&Module> {
        let index = self.modules.partition_point(|module| module.start <= at);
        self.modules[..index]
            .iter()
            .rev()
            .find(|module| at < module.end)
    }
}

impl Module {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    fn load(&self, directories: &[std::path::PathBuf]) -> &Loaded {
        self.loaded.get_or_init(|| match &self.binary {
            Some(binary) => Loaded::new(binary, directories),
            None => Loaded {
                table: Table::default(),
                dwarf: Err("the file is not there".to_owned()),
            },
        })
    }
}

impl Loaded {
    fn new(binary: &Arc<Binary>, directories: &[std::path::PathBuf]) -> Loaded {
        let debug = debug_files::find(binary, directories);
        let mut table = Table::new(binary.bytes());
        if let Some(debug) = &debug {
            table.extend(debug.bytes());
        }
        let source = debug.as_ref().unwrap_or(binary);
        Loaded {
            table,
            dwarf: Dwarf::load(binary, source, directories).map(Mutex::new),
        }
    }
}

fn from_dump(dump: &Dump) -> impl Iterator<Item = Module> + '_ {
    dump.modules().iter().map(|module| {
        let binary = match &module.file {
            ModuleFile::InDump => {
                let bytes = dump.memory().bytes(module.start);
                bytes
                    .and_then(|bytes| Binary::from_bytes(&module.path, bytes))
                    .map(Arc::new)
            }
            _ => module.binary().cloned(),
        };
        let missing = match &module.file {
            ModuleFile::Missing(missing) => Some(missing.to_string()),
            _ => None,
        };
        Module {
            path: module.path.clone(),
            start: module.start,
            end: module.end,
            bias: module.bias,
            binary,
            missing,
            loaded: OnceLock::new(),
            places: OnceLock::new(),
        }
    })
}

/// Modules by the trace's executable mappings, for a trace without a dump.
fn from_trace(capture: &Capture, binaries: &Binaries) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let files = capture
        .mappings
        .iter()
        .filter(|mapping| mapping.process.is_some() && mapping.name.starts_with('/'));
    for mapping in files {
        let found = binaries.find(&crate::Wanted {
            path: mapping.name.clone(),
            build_id: mapping.build_id.clone(),
        });
        let missing = found.as_ref().err().map(ToString::to_string);
        let binary = found.ok().map(|located| located.binary);
        let bias = binary
            .as_ref()
            .and_then(|binary| binary.layout.bias(mapping.start.0, mapping.file_offset));
        modules.push(Module {
            path: mapping.name.clone(),
            start: mapping.start,
            end: mapping.start.offset(mapping.len),
            bias: bias.unwrap_or_else(|| mapping.start.0.wrapping_sub(mapping.file_offset)),
            binary,
            missing,
            loaded: OnceLock::new(),
            places: OnceLock::new(),
        });
    }
    modules
}
