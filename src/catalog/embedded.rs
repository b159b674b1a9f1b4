//! The kernels that the build embedded, compressed, found by specialisation and target.

use miniz_oxide::inflate::decompress_to_vec_with_limit;
use rorqual_kernels::artifact::Artifact;
use rorqual_kernels::cubin::Cubin;
use rorqual_ptx::target::Target;
use std::ops::Range;

/// A kernel in the blob.
struct Row {
    target: &'static str,
    /// The specialisation as JSON.
    spec: &'static str,
    text: Stored,
    /// Machine code, which feature `aot` adds.
    cubin: Option<Stored>,
}

/// Bytes in the blob.
struct Stored {
    /// Where they lie, compressed.
    at: Range<usize>,
    /// How many they are otherwise.
    bytes: usize,
}

impl Stored {
    fn read(&self) -> Option<Vec<u8>> {
        decompress_to_vec_with_limit(BLOB.get(self.at.clone())?, self.bytes).ok()
    }
}

// Written by build.rs: `TARGETS`, `FINGERPRINT`, and `ROWS` ordered by target and specialisation.
include!(concat!(env!("OUT_DIR"), "/catalog.rs"));
static BLOB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/catalog.bin"));

/// What tells the generators of this build from others.
pub(super) const GENERATOR: &str = FINGERPRINT;

/// The targets that the build embedded kernels for, oldest first.
pub(super) fn targets() -> impl Iterator<Item = Target> {
    TARGETS.iter().filter_map(|name| Target::from_name(name))
}

/// The kernel of a specialisation given as JSON, if it was embedded for this target.
pub(super) fn find(spec: &str, target: Target) -> Option<Artifact> {
    let target = target.to_string();
    let at = ROWS.binary_search_by(|row| (row.target, row.spec).cmp(&(&target, spec))).ok()?;
    let row = &ROWS[at];
    let text = row.text.read()?;
    let artifact = Artifact::from_text(std::str::from_utf8(&text).ok()?).ok()?;
    let cubin = match &row.cubin {
        Some(stored) => Some(Cubin::new(stored.read()?).ok()?),
        None => None,
    };
    Some(Artifact { cubin, ..artifact })
}
