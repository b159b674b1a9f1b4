//! The files of a checkpoint before they are opened: regular ones, and small ones where they are read whole.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use super::header::MAX_HEADER_BYTES;

/// Text files above this are refused, as headers are; the largest published ones have a tenth of it.
const MAX_TEXT_BYTES: u64 = MAX_HEADER_BYTES;

/// What the operating system knows about the file at `path`.
///
/// To be asked before the file is opened: opening a named pipe would wait for somebody to write to it.
///
/// # Errors
/// What the operating system says, and [`io::ErrorKind::InvalidInput`] for all but regular files.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(metadata)
}

/// Reads a text file, whose encoding is not checked, into memory.
///
/// # Errors
/// As of [`metadata`], and [`io::ErrorKind::FileTooLarge`] above 100 MB, before memory is taken for it.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = metadata(path)?.len();
    if found > MAX_TEXT_BYTES {
        let message = format!("{found} bytes, expected at most {MAX_TEXT_BYTES}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    fs::read(path)
}
