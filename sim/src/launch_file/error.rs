//! What can be wrong with a launch file.

use crate::device::DeviceError;
use crate::tensor_map::TensorMapError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a launch file cannot be run. The program is not to blame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LaunchFileError {
    /// A file cannot be read.
    #[error("{path}: {message}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {message}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// The file is no launch file.
    #[error("{path}: {message}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// There are no devices, or too many.
    #[error("{devices} devices, expected 1 to {most}")]
    Devices {
        /// What was asked for.
        devices: u32,
        /// The most that there may be.
        most: u32,
    },
    /// A buffer is wrong.
    #[error("buffer `{buffer}`: {message}")]
    Buffer {
        /// Its name.
        buffer: String,
        /// What is wrong with it.
        message: String,
    },
    /// A name that no buffer has.
    #[error("there is no buffer `{name}`")]
    UnknownBuffer {
        /// The name.
        name: String,
    },
    /// An argument is wrong.
    #[error("launch {launch} (`{kernel}`), argument {index}: {message}")]
    Argument {
        /// Number of the launch, from 0.
        launch: usize,
        /// Its kernel.
        kernel: String,
        /// Number of the argument, from 0.
        index: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A module does not load, or a launch does not suit its kernel.
    #[error("launch {launch} (`{kernel}`), module {module}: {source}")]
    Device {
        /// Number of the launch, from 0.
        launch: usize,
        /// Its kernel.
        kernel: String,
        /// Path of its module.
        module: PathBuf,
        /// What is wrong.
        source: Box<DeviceError>,
    },
    /// Devices cannot be made.
    #[error(transparent)]
    Setup(Box<DeviceError>),
    /// There is no such launch to trace.
    #[error("there is no launch {launch} to trace: the file has {launches}, numbered from 0")]
    TracedLaunch {
        /// What was asked for.
        launch: u64,
        /// Launches of the file.
        launches: usize,
    },
    /// An architecture that is not one.
    #[error("launch {launch} (`{kernel}`): architecture `{name}`, expected one like sm_90a")]
    Architecture {
        /// Number of the launch, from 0.
        launch: usize,
        /// Its kernel.
        kernel: String,
        /// What was given.
        name: String,
    },
}

impl From<DeviceError> for LaunchFileError {
    fn from(error: DeviceError) -> Self {
        Self::Setup(Box::new(error))
    }
}

impl LaunchFileError {
    /// A file that cannot be read.
    #[must_use]
    pub fn read(path: &Path, error: &std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), message: error.to_string() }
    }

    /// What is wrong with a buffer.
    #[must_use]
    pub fn buffer(name: &str, message: impl Into<String>) -> Self {
        Self::Buffer { buffer: name.to_owned(), message: message.into() }
    }
}

/// The message of a tensor map that cannot be encoded.
#[must_use]
pub fn tensor_map_message(error: &TensorMapError) -> String {
    format!("tensor map: {error}")
}
