//! Launch files: buffers, modules and launches as JSON, for `ptxsim` and for tests.
//!
//! The types here are the file as written; [`run`] makes a device of it, runs the launches and saves buffers. Paths are
//! relative to the file. Unknown keys are errors.
//!
//! Several devices:
//!
//! ```json
//! {
//!   "devices": 2,
//!   "buffers": {
//!     "left": {"dtype": "f32", "shape": [64], "fill": 1, "device": 0, "peers": [1]},
//!     "right": {"dtype": "f32", "shape": [64], "fill": 2, "device": 1},
//!     "both": {"multicast": ["left", "right"]}
//!   },
//!   "launches": [
//!     {"device": 0, "concurrent": 0, "module": "sum.ptx", "kernel": "sum", "grid": [1, 1, 1], "block": [32, 1, 1],
//!      "args": [{"buffer": "both"}]},
//!     {"device": 1, "concurrent": 0, "module": "sum.ptx", "kernel": "sum", "grid": [1, 1, 1], "block": [32, 1, 1],
//!      "args": [{"buffer": "left"}]}
//!   ]
//! }
//! ```
//!
//! Kernels of device 1 may access `left`, which `peers` maps there; `both` is for `multimem` instructions.

mod argument;
mod buffer;
mod error;
mod mutants;
mod run;
mod sweep;

pub use argument::{ArgumentText, FieldText, StructText, TensorMapText};
pub use buffer::{BufferText, Fill, PointerText};
pub use error::LaunchFileError;
pub use mutants::{MutationError, mutate};
pub use run::{FileOutcome, run};
pub use sweep::{Swept, sweep};

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A launch file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchFile {
    /// Simulated devices.
    #[serde(default = "one")]
    pub devices: u32,
    /// Buffers by name.
    #[serde(default)]
    pub buffers: BTreeMap<String, BufferText>,
    /// Launches in order.
    pub launches: Vec<LaunchText>,
}

/// One launch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchText {
    /// Number of the device.
    #[serde(default)]
    pub device: u32,
    /// Path of the PTX file.
    pub module: String,
    /// Name of the kernel.
    pub kernel: String,
    /// CTAs by axis.
    pub grid: [u32; 3],
    /// Threads of a CTA by axis.
    pub block: [u32; 3],
    /// CTAs of a cluster by axis.
    pub cluster: Option<[u32; 3]>,
    /// Bytes of dynamic shared memory.
    #[serde(default)]
    pub dynamic_smem: u32,
    /// Arguments in order.
    #[serde(default)]
    pub args: Vec<ArgumentText>,
    /// The architecture to simulate; the module's `.target` if absent.
    pub arch: Option<String>,
    /// Launch attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// Launches with the same number run at the same time.
    pub concurrent: Option<u64>,
}

/// Attributes of a launch.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// The kernel may start before its predecessor is complete. Launches run in order here, which is one of the orders
    /// that the attribute allows.
    #[serde(default)]
    pub pdl: bool,
    /// All CTAs are resident together, and a grid barrier has its workspace.
    #[serde(default)]
    pub cooperative: bool,
}

fn one() -> u32 {
    1
}

impl LaunchFile {
    /// Reads a launch file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not a launch file.
    pub fn read(path: &Path) -> Result<Self, LaunchFileError> {
        let text = std::fs::read_to_string(path).map_err(|error| LaunchFileError::read(path, &error))?;
        Self::parse(&text)
            .map_err(|error| LaunchFileError::Json { path: path.to_owned(), message: error.to_string() })
    }

    /// Reads the text of a launch file.
    ///
    /// # Errors
    ///
    /// If it is not a launch file.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
