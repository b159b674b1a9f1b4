//! Why no kernel comes out of a generator.

use std::panic::Location;
use thiserror::Error;

/// A mistake in a generator or in what it was asked for: the first one, with the line that made it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kernel} ({spec}): {message}, at {file}:{line}")]
pub struct GenerateError {
    /// The kernel's name.
    pub kernel: String,
    /// What it was to be specialised to.
    pub spec: String,
    /// The mistake.
    pub message: String,
    /// Source file of the generator.
    pub file: String,
    /// Line in it.
    pub line: u32,
}

impl GenerateError {
    pub(crate) fn new(kernel: &str, spec: &str, message: String, location: &Location<'_>) -> Self {
        Self {
            kernel: kernel.to_owned(),
            spec: spec.to_owned(),
            message,
            file: location.file().to_owned(),
            line: location.line(),
        }
    }
}
