//! Separate debug files, where debuggers look for them.

use crate::BuildId;
use crate::binaries::{Binary, id_path};
use object::Object;
use object::read::elf::ElfFile64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where distributions install debug files.
const SYSTEM: &str = "/usr/lib/debug";

/// The debug file of a stripped binary: by build-id, then by `.gnu_debuglink` beside the
/// binary, in `.debug/`, and under the system's folder. `None` when the binary has its own
/// debug information or nothing fits.
pub(super) fn find(binary: &Arc<Binary>, directories: &[PathBuf]) -> Option<Arc<Binary>> {
    let file = ElfFile64::<object::LittleEndian>::parse(binary.bytes()).ok()?;
    if file.section_by_name(".debug_info").is_some() {
        return None;
    }
    let by_id = by_build_id(binary, directories);
    by_id
        .or_else(|| by_link(binary, &file, directories))
        .map(Arc::new)
}

fn by_build_id(binary: &Binary, directories: &[PathBuf]) -> Option<Binary> {
    let id = binary.build_id()?;
    let relative = id_path(id, ".debug");
    let folders = directories
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new(SYSTEM)]);
    let mut candidates = folders.map(|folder| folder.join(&relative));
    candidates
        .find_map(|candidate| Binary::open(&candidate).filter(|found| found.build_id() == Some(id)))
}

fn by_link(
    binary: &Binary,
    file: &ElfFile64<'_, object::LittleEndian>,
    directories: &[PathBuf],
) -> Option<Binary> {
    let (name, checksum) = file.gnu_debuglink().ok()??;
    let name = Path::new(std::str::from_utf8(name).ok()?).file_name()?;
    let folder = binary.path().parent()?;
    let system = Path::new(SYSTEM).join(folder.strip_prefix("/").unwrap_or(folder));
    let beside = [folder.to_owned(), folder.join(".debug"), system];
    let mut candidates = directories
        .iter()
        .cloned()
        .chain(beside)
        .map(|folder| folder.join(name));
    candidates.find_map(|candidate| {
        let found = Binary::open(&candidate).filter(|_| candidate != binary.path())?;
        let fits = match (found.build_id(), binary.build_id()) {
            (Some(a), Some(b)) => a == b,
            _ => crc32(found.bytes()) == checksum,
        };
        fits.then_some(found)
    })
}

/// The file that the debug information of `binary` shares entries with, by `.gnu_debugaltlink`: where
/// that says, beside the binary, in the folders that were named, and by build-id. The error is its
/// name, when it is not there; `None` when nothing is shared.
pub(super) fn shared(
    binary: &Binary,
    file: &ElfFile64<'_, object::LittleEndian>,
    directories: &[PathBuf],
) -> Option<Result<Arc<Binary>, String>> {
    let (name, id) = file.gnu_debugaltlink().ok()??;
    let name = Path::new(std::str::from_utf8(name).ok()?);
    let id = BuildId::new(id)?;
    let relative = id_path(&id, ".debug");
    let folders = directories.iter().map(PathBuf::as_path);
    let by_id = folders.clone().chain([Path::new(SYSTEM)]);
    let by_id = by_id.map(|folder| folder.join(&relative));
    let named = binary.path().parent().map(|folder| folder.join(name));
    let flat = folders.filter_map(|folder| Some(folder.join(name.file_name()?)));
    let mut candidates = named.into_iter().chain(by_id).chain(flat);
    // Nothing of it is ever loaded: its build-id is in a section, and no segment has it.
    let is_it = |found: &Binary| {
        let file = ElfFile64::<object::LittleEndian>::parse(found.bytes());
        file.is_ok_and(|file| file.build_id() == Ok(Some(id.bytes())))
    };
    let found = candidates.find_map(|path| Binary::open(&path).filter(is_it));
    let found = found.map(Arc::new);
    Some(found.ok_or_else(|| name.display().to_string()))
}

/// The checksum of `.gnu_debuglink`: CRC-32 as in IEEE 802.3, reflected polynomial 0xedb88320.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 != 0 {
                    value >> 1 ^ 0xedb8_8320
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksum_of_the_standard_check_string() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
