//! What can go wrong between PTX text and a result in memory.

use super::contract::ContractError;
use super::{ElementType, Target};
use rorqual_ptx::error::ParseError;
use rorqual_ptx::verify::VerifyError;
use thiserror::Error;

/// A result of the device API.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the device API: says the operation, what was expected, what was given and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// No CUDA driver can be loaded.
    #[error("no CUDA driver: {reason}; a simulated device needs none")]
    NoDriver {
        /// The libraries that were tried, and why they were not loaded.
        reason: String,
    },
    /// A library of the driver's name lacks functions of a driver.
    #[error(
        "{library} lacks {} of a CUDA driver of version 12.0 or later (570 or later is recommended)",
        some(.symbols)
    )]
    MissingSymbols {
        /// The library.
        library: String,
        /// The functions.
        symbols: Vec<String>,
    },
    /// The library is the toolkit's stub, which programs are linked with where there is no driver.
    #[error("{library} is a stub of the CUDA toolkit, not a driver: take its folder out of the library path")]
    StubLibrary {
        /// The library.
        library: String,
    },
    /// The driver is too old.
    #[error(
        "the CUDA driver offers version {}.{}, at least 12.0 is needed (driver 570 or later is recommended)",
        .version / 1000, .version % 1000 / 10
    )]
    OldDriver {
        /// What `cuDriverGetVersion` says: 12000 for 12.0.
        version: u32,
    },
    /// There is no such device.
    #[error("there is no CUDA device {ordinal}: there are {devices}, numbered from 0")]
    NoDevice {
        /// What was asked for.
        ordinal: usize,
        /// How many there are.
        devices: usize,
    },
    /// The device lacks something that every supported device has.
    #[error("{device} is not supported: {reason}")]
    UnsupportedDevice {
        /// The device.
        device: String,
        /// What is missing.
        reason: String,
    },
    /// The CUDA driver refused something, or work before it failed.
    #[error("{operation}: {name} ({code}): {message}")]
    Cuda {
        /// What was asked of it.
        operation: &'static str,
        /// The value of `CUresult`.
        code: u32,
        /// Its name.
        name: String,
        /// What the driver says about it.
        message: String,
    },
    /// The CUDA driver did not launch a kernel, or work before the launch failed.
    #[error("kernel `{kernel}`, grid {} x {} x {}: {source}", .grid[0], .grid[1], .grid[2])]
    Launch {
        /// The kernel.
        kernel: String,
        /// The CTAs that were to run.
        grid: [u32; 3],
        /// What the driver says.
        source: Box<Error>,
    },
    /// There is not enough memory on the device.
    #[error("{device} cannot allocate {bytes} bytes: {free} of {total} are free")]
    OutOfMemory {
        /// The device.
        device: String,
        /// What was asked for.
        bytes: u64,
        /// What is free.
        free: u64,
        /// What there is.
        total: u64,
    },
    /// A shape or a length does not suit.
    #[error("{operation}: expected {expected}, got {given}")]
    Shape {
        /// What was to be done.
        operation: &'static str,
        /// What would suit.
        expected: String,
        /// What was given.
        given: String,
    },
    /// Something of one device was given to another.
    #[error("{operation}: is on {given}, expected {expected}")]
    OtherDevice {
        /// What was to be done.
        operation: &'static str,
        /// The device that does it.
        expected: String,
        /// The device of what was given.
        given: String,
    },
    /// What cannot be part of a graph was asked of a stream that is being captured.
    #[error("{operation}: cannot be captured in a graph; do it before or after the capture")]
    Capturing {
        /// What was to be done.
        operation: &'static str,
    },
    /// The text is not PTX.
    #[error("PTX: {0}")]
    Parse(#[from] ParseError),
    /// The PTX breaks rules of the language.
    #[error("PTX: {0}")]
    Verify(#[from] VerifyError),
    /// The module is for other devices.
    #[error("the module is for {module}, {device} runs {target}")]
    ModuleTarget {
        /// `.target` of the module.
        module: Target,
        /// The device.
        device: String,
        /// What it runs.
        target: Target,
    },
    /// The driver's compiler refused a module.
    #[error("the driver's compiler refused the module of {}: {name} ({code}): {log}", list(.kernels))]
    Compile {
        /// The kernels of the module, sorted.
        kernels: Vec<String>,
        /// The value of `CUresult`.
        code: u32,
        /// Its name.
        name: String,
        /// The compiler's log.
        log: String,
    },
    /// The module has no such kernel.
    #[error("the module has no kernel `{kernel}`; it has {}", list(.known))]
    NoKernel {
        /// What was asked for.
        kernel: String,
        /// What there is, sorted.
        known: Vec<String>,
    },
    /// A contract does not describe the kernel of its name, or the device cannot hold it.
    #[error("the contract of kernel `{kernel}` cannot be met: {rule}, got {given}")]
    Kernel {
        /// The kernel.
        kernel: String,
        /// What must hold.
        rule: String,
        /// What was found.
        given: String,
    },
    /// The arguments do not suit the contract, or give a grid that no device takes.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// An argument does not suit its parameter.
    #[error("argument `{parameter}` of kernel `{kernel}`: {source}")]
    Argument {
        /// The kernel.
        kernel: String,
        /// The parameter.
        parameter: String,
        /// What is wrong.
        source: ArgumentError,
    },
    /// What a kernel writes overlaps something else that it was given.
    #[error("kernel `{kernel}`: {written} is written and overlaps {other}")]
    Overlap {
        /// The kernel.
        kernel: String,
        /// The region that is written.
        written: String,
        /// The other region.
        other: String,
    },
    /// The simulator found a kernel to be wrong, or cannot run it: see the verdicts of the reports.
    #[cfg(feature = "sim")]
    #[error("kernel `{kernel}`: {}", reports_in_words(.reports))]
    Simulated {
        /// The kernel.
        kernel: String,
        /// What was found; at least one report, the first one first. Each has its verdict, rule and PTX line.
        reports: Vec<rorqual_sim::Report>,
    },
    /// The simulator refused something before anything ran.
    #[cfg(feature = "sim")]
    #[error("{operation}: {source}")]
    Simulator {
        /// What was asked of it.
        operation: &'static str,
        /// Why not.
        source: Box<rorqual_sim::DeviceError>,
    },
}

/// Why an argument does not suit its parameter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// The address is in none of the buffers that the launch was given.
    #[error("address {address:#x} is in none of the buffers that the launch was given")]
    UnknownAddress {
        /// The address.
        address: u64,
    },
    /// The buffer has elements of another type.
    #[error("expected elements of type {expected}, got {given}")]
    ElementType {
        /// What the kernel takes.
        expected: ElementType,
        /// What the buffer holds.
        given: ElementType,
    },
    /// The kernel writes what it may only read.
    #[error("the kernel writes it, but the launch was given it for reading")]
    ReadOnly,
    /// The address does not suit the elements.
    #[error("address {address:#x} is not a multiple of {bytes}")]
    Alignment {
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        bytes: u64,
    },
    /// A tensor map against the rules.
    #[error("tensor map: {rule}, got {given}")]
    TensorMap {
        /// What must hold.
        rule: String,
        /// What was given.
        given: String,
    },
}

impl Error {
    /// Whether it leaves open if a kernel is wrong: the simulator lacks what it needs, or a budget ran out.
    #[must_use]
    pub fn is_inconclusive(&self) -> bool {
        match self {
            #[cfg(feature = "sim")]
            Self::Simulated { reports, .. } => reports.first().is_some_and(|report| {
                use rorqual_sim::Verdict;
                matches!(report.rule.verdict(), Verdict::Unsupported | Verdict::Limit)
            }),
            _ => false,
        }
    }

    /// The line of the PTX text that is to blame, where one is known.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::Parse(error) => Some(error.position.line),
            Self::Verify(error) => Some(error.position.line).filter(|line| *line > 0),
            #[cfg(feature = "sim")]
            Self::Simulated { reports, .. } => {
                reports.first().map(|report| report.line).filter(|line| *line > 0)
            }
            _ => None,
        }
    }
}

fn some(names: &[String]) -> String {
    match names {
        [] | [_] | [_, _] | [_, _, _] => names.join(", "),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more functions", rest.len()),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(feature = "sim")]
fn reports_in_words(reports: &[rorqual_sim::Report]) -> String {
    let first = reports.first().map_or_else(|| "no report".to_owned(), ToString::to_string);
    match reports.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_driver_name_the_kernel() {
        let error = Error::Compile {
            kernels: vec!["first".to_owned(), "second".to_owned()],
            code: 218,
            name: "CUDA_ERROR_INVALID_PTX".to_owned(),
            log: "line 3".to_owned(),
        };
        let words =
            "the driver's compiler refused the module of first, second: CUDA_ERROR_INVALID_PTX (218): line 3";
        assert_eq!(error.to_string(), words);
        let source = Box::new(Error::Cuda {
            operation: "launch",
            code: 701,
            name: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES".to_owned(),
            message: "too many resources".to_owned(),
        });
        let error = Error::Launch { kernel: "first".to_owned(), grid: [7, 2, 1], source };
        let words = "kernel `first`, grid 7 x 2 x 1: launch: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701): too many resources";
        assert_eq!(error.to_string(), words);
    }
}
