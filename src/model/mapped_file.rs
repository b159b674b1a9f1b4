//! A file mapped read-only into memory: the one place where a checkpoint's bytes come from.
//!
//! Mapping lets the operating system page weights in when they are first read and drop them under pressure,
//! so a checkpoint larger than memory streams from disk.
#![allow(unsafe_code, reason = "mapping a file is unsafe: another process could truncate it")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::weights::regular_file;

/// A file's bytes, mapped read-only.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// The file must not be truncated while it is mapped; reading past the new end would end the process, as it
    /// does for every program that maps files.
    ///
    /// # Errors
    /// What the operating system says when `path` cannot be opened or mapped, is no regular file, or is empty.
    pub fn open(path: &Path) -> io::Result<Self> {
        if regular_file::metadata(path)?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"));
        }
        let file = File::open(path)?;
        // SAFETY: the map is private to this value and never written; that nobody truncates the file meanwhile is
        // the documented condition of every use of a mapped checkpoint.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_owned(), map })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
