//! Generated kernels in a directory that many processes may share.
//!
//! An entry is a file named by the hash of what it was generated from: generator, target, specialisation. Its first line
//! is the hash of the rest, so that a damaged entry is no entry. It is written beside itself and renamed, so that nobody
//! sees half of it; who comes last wins, with the same bytes.

use rorqual_kernels::artifact::Artifact;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the entry of a key lies.
pub(super) fn path(directory: &Path, key: &str) -> PathBuf {
    directory.join(format!("{}.kernel", sha256(key.as_bytes())))
}

/// The entry of a key; `None` if there is none that is whole and of this key.
pub(super) fn read(directory: &Path, key: &str) -> Option<Artifact> {
    let text = fs::read_to_string(path(directory, key)).ok()?;
    let (hash, rest) = text.split_once('\n')?;
    let (of_key, artifact) = rest.split_once('\n')?;
    (hash == sha256(rest.as_bytes()) && of_key == key).then(|| Artifact::from_text(artifact).ok())?
}

/// Writes the entry of a key, whatever was there.
pub(super) fn write(directory: &Path, key: &str, artifact: &Artifact) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = path(directory, key);
    let partial = path.with_extension(format!("{}-{number}.partial", std::process::id()));
    let rest = format!("{key}\n{}", artifact.to_text());
    fs::create_dir_all(directory)?;
    let written = fs::File::create(&partial).and_then(|mut file| {
        writeln!(file, "{}", sha256(rest.as_bytes()))?;
        file.write_all(rest.as_bytes())?;
        fs::rename(&partial, &path)
    });
    if written.is_err() {
        // What cannot be removed either is read by nobody.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A hash in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
