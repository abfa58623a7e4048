//! A bare PT stream and the list of files that were mapped where, as laboratory captures come.

use super::{Capture, MappingEvent, Part, Piece, Stream};
use crate::Error;
use crate::mmap::FileBytes;
use rept_trace::{Address, ThreadId, Timestamp};
use std::path::{Path, PathBuf};

/// A stretch of a file and the address at which it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The file.
    pub path: PathBuf,
    /// Offset in it of the first byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Address of the first byte.
    pub address: Address,
}

/// Opens a file of Intel PT packets; `image` says what code ran.
///
/// There is one thread, with id 1 in process 1, and no clock but what the packets tell.
///
/// # Errors
/// When the file cannot be read or is empty.
pub fn open_raw(path: &Path, image: &[ImageFile]) -> Result<Capture, Error> {
    let file = FileBytes::open(path)?;
    if file.is_empty() {
        return Err(Error::empty(path));
    }
    let len = file.len();
    let mut capture = Capture::empty(file);
    capture.streams.push(Stream {
        cpu: None,
        thread: Some(ThreadId(1)),
        pieces: vec![Piece {
            parts: vec![Part::InFile(0..len)],
            offset: 0,
            len: len as u64,
            reference: Timestamp(0),
        }],
    });
    capture.mappings = image.iter().map(mapping).collect();
    Ok(capture)
}

fn mapping(file: &ImageFile) -> MappingEvent {
    MappingEvent {
        time: None,
        process: Some(1),
        thread: None,
        device: None,
        inode: None,
        start: file.address,
        len: file.len,
        file_offset: file.offset,
        execute: true,
        name: file.path.to_string_lossy().into_owned(),
        build_id: None,
    }
}
