//! Files that the process mapped, as they are on this machine if they are still the same: the inode
//! that the trace tells, and not changed since that was written. (Devices are not compared: layered file
//! systems show a mapping that of a layer, and `stat` their own.)

use crate::capture::{Capture, MappingEvent};
use crate::mmap::FileBytes;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes of one file, and of all files, at most; larger ones are left out.
const MAX_FILE: u64 = 16 << 20;
const MAX_ALL: u64 = 64 << 20;

/// Files by what they were when they were mapped.
pub(super) struct Files {
    /// When the trace was written.
    written: Option<SystemTime>,
    known: BTreeMap<(String, u64), Option<u32>>,
    bytes: u64,
    contents: Vec<Arc<[u8]>>,
}

impl Files {
    pub(super) fn new(capture: &Capture) -> Files {
        let metadata = std::fs::metadata(capture.path());
        Files {
            written: metadata.and_then(|metadata| metadata.modified()).ok(),
            known: BTreeMap::new(),
            bytes: 0,
            contents: Vec::new(),
        }
    }

    /// The number of the file that a record speaks of.
    pub(super) fn of(&mut self, mapping: &MappingEvent) -> Option<u32> {
        let inode = mapping.inode?;
        let key = (mapping.name.clone(), inode);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let read = self.read(&mapping.name, inode);
        let number = read.map(|contents| {
            self.bytes += contents.len() as u64;
            self.contents.push(contents);
            self.contents.len() as u32 - 1
        });
        self.known.insert(key, number);
        number
    }

    fn read(&self, name: &str, inode: u64) -> Option<Arc<[u8]>> {
        let path = Path::new(name);
        let metadata = std::fs::metadata(path).ok()?;
        let same = metadata.ino() == inode && metadata.modified().ok()? <= self.written?;
        if !same || metadata.len() > MAX_FILE.min(MAX_ALL - self.bytes) {
            return None;
        }
        Some(FileBytes::open_regular(path).ok()?.as_ref().into())
    }

    /// The contents, by number.
    pub(super) fn into_contents(self) -> Vec<Arc<[u8]>> {
        self.contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rept_trace::Address;

    /// A file of three bytes and the folder that it lies in, removed afterwards.
    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn folder(name: &str) -> Folder {
        let name = format!("rept-core-files-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("file"), b"abc").unwrap();
        Folder(folder)
    }

    fn mapping(path: &Path, another: u64) -> MappingEvent {
        let metadata = std::fs::metadata(path).unwrap();
        MappingEvent {
            time: None,
            process: None,
            thread: None,
            start: Address(0x1000),
            len: 0x1000,
            file_offset: 0,
            execute: false,
            name: path.to_str().unwrap().to_owned(),
            build_id: None,
            device: None,
            inode: Some(metadata.ino() + another),
        }
    }

    fn files(written: Option<SystemTime>) -> Files {
        Files {
            written,
            known: BTreeMap::new(),
            bytes: 0,
            contents: Vec::new(),
        }
    }

    #[test]
    fn the_same_file_is_read_once() {
        let folder = folder("same");
        let mapping = mapping(&folder.0.join("file"), 0);
        let mut files = files(Some(SystemTime::now()));
        assert_eq!([files.of(&mapping), files.of(&mapping)], [Some(0); 2]);
        assert_eq!(files.into_contents(), [Arc::from(&b"abc"[..])]);
    }

    #[test]
    fn another_file_of_that_name_is_not_taken() {
        let folder = folder("another");
        let mapping = mapping(&folder.0.join("file"), 1);
        assert_eq!(files(Some(SystemTime::now())).of(&mapping), None);
    }

    #[test]
    fn a_file_that_changed_since_is_not_taken() {
        let folder = folder("changed");
        let mapping = mapping(&folder.0.join("file"), 0);
        assert_eq!(files(Some(SystemTime::UNIX_EPOCH)).of(&mapping), None);
        assert_eq!(files(None).of(&mapping), None, "nobody knows");
    }
}
