//! What can go wrong between a directory on disk and generated tokens.

use std::io;
use std::path::PathBuf;

use crate::model::config::ConfigError;
use crate::model::sampling::SamplingError;
use crate::model::weights::WeightsError;
use crate::reference::InputError;

/// An error of this crate: says what was wrong, what was expected and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory is missing, or no directory.
    #[error("{directory}: not a checkpoint: {reason}", directory = directory.display())]
    NotACheckpoint {
        /// What was given.
        directory: PathBuf,
        /// Why it cannot be one.
        reason: String,
    },
    /// A file could not be read.
    #[error("{file}: {source}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A text file is not UTF-8.
    #[error("{file}: invalid UTF-8 at byte {offset}", file = file.display())]
    Utf8 {
        /// The file.
        file: PathBuf,
        /// The first byte that is no UTF-8.
        offset: usize,
    },
    /// A configuration is not valid, or not supported.
    #[error("{file}: {source}", file = file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The weights are not valid, or are not those of the configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// `tokenizer.json` is not valid, or could not process a text.
    #[error("{file}: {message}", file = file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No token can be chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The network cannot run on the tokens that it was given.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A device refused, or reports a mistake.
    #[cfg(any(feature = "cuda", feature = "sim"))]
    #[error(transparent)]
    Driver(#[from] crate::driver::Error),
    /// There is no kernel for a specialisation.
    #[error(transparent)]
    Catalog(#[from] crate::catalog::CatalogError),
    /// There are no kernels for a device.
    #[error("there are no kernels for {target}, expected sm_80 or later")]
    NoKernels {
        /// What the device runs.
        target: rorqual_ptx::target::Target,
    },
    /// A size that the cache cannot have.
    #[error("`{option}` is {given}, expected {} to {}", .expected.0, .expected.1)]
    LoadOption {
        /// The field of `LoadOptions`.
        option: &'static str,
        /// Its value.
        given: usize,
        /// The least and the largest that it may be.
        expected: (usize, usize),
    },
    /// Weights and cache do not fit on the device.
    #[error("the device has {free} bytes free, expected {weights} for the weights and {cache} for the cache")]
    DeviceMemory {
        /// Bytes of the weights.
        weights: usize,
        /// Bytes of the cache.
        cache: usize,
        /// Free bytes.
        free: usize,
    },
    /// The cache has no room for the tokens.
    #[error("the cache has {free} of {total} pages of {page_size} tokens free, expected {needed}")]
    CacheFull {
        /// Pages that are needed.
        needed: usize,
        /// Pages that are free.
        free: usize,
        /// All pages.
        total: usize,
        /// Tokens of a page.
        page_size: usize,
    },
    /// A cache is of another network, or of the other of trunk and draft module.
    #[error("the cache takes its pages elsewhere, expected one from {expected} of this network")]
    ForeignCache {
        /// What makes such caches.
        expected: &'static str,
    },
    /// Weights that one product takes together are of different kinds.
    #[error(
        "weights of one layer differ in type or width, expected all with block scales or none, of equal width"
    )]
    MixedWeights,
    /// Kernels met input that only the device can see.
    #[error("kernels met bad input: {flags}")]
    DeviceInput {
        /// What was found.
        flags: rorqual_kernels::device_error::DeviceFlags,
    },
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
