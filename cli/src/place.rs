//! Where the network runs: the reference path, a simulated GPU or a real one.

use std::fmt;

use rorqual::catalog::Target;
use rorqual::driver;

use crate::arguments::{Device, PrecisionArgument, RunArguments};
use crate::failure::Failure;

/// The target of a simulated device, unless another is asked for.
const SIMULATED: &str = "sm_90a";

/// Where the network runs, ready to be used.
pub struct Place {
    /// Its name on the command line.
    name: Device,
    /// `None` is the reference path.
    pub device: Option<driver::Device>,
    /// Where values are rounded.
    pub precision: PrecisionArgument,
}

impl Place {
    /// The place that was asked for, else the reference path.
    pub fn asked_for(arguments: &RunArguments) -> Result<Self, Failure> {
        start_threads(arguments)?;
        let name = arguments.device.unwrap_or(Device::Reference);
        Self::new(name, open(name, arguments.target)?, arguments.precision)
    }

    /// The place that was asked for, else the best: the first GPU if there is one, or a simulated one.
    pub fn asked_for_or_best(arguments: &RunArguments) -> Result<Self, Failure> {
        start_threads(arguments)?;
        let (name, device) = match (arguments.device, arguments.target) {
            (Some(name), target) => (name, open(name, target)?),
            (None, Some(_)) => (Device::Simulated(1), open(Device::Simulated(1), arguments.target)?),
            (None, None) => {
                let best = driver::Device::best()?;
                (if best.is_simulated() { Device::Simulated(1) } else { Device::Cuda(0) }, Some(best))
            }
        };
        Self::new(name, device, arguments.precision)
    }

    fn new(
        name: Device,
        device: Option<driver::Device>,
        precision: Option<PrecisionArgument>,
    ) -> Result<Self, Failure> {
        let precision = match (precision, &device) {
            (Some(PrecisionArgument::F32), Some(_)) => {
                return Err(Failure::input(format_args!(
                    "precision f32 is for the reference path, expected kernel on device {name}"
                )));
            }
            (_, Some(_)) => PrecisionArgument::Kernel,
            (asked_for, None) => asked_for.unwrap_or(PrecisionArgument::F32),
        };
        Ok(Self { name, device, precision })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// The device of this name; `None` is the reference path.
fn open(name: Device, target: Option<Target>) -> Result<Option<driver::Device>, Failure> {
    match (name, target) {
        (Device::Simulated(1), target) => {
            let target = target.map_or_else(|| SIMULATED.parse().map_err(Failure::input), Ok)?;
            Ok(Some(driver::Device::simulated(target)?))
        }
        (Device::Simulated(_), _) => Err(Failure::input(format_args!(
            "device {name} is not available: the network runs on one device, expected sim or sim:1"
        ))),
        (_, Some(target)) => Err(Failure::input(format_args!(
            "--target {target} is for simulated devices, expected --device sim with it, got {name}"
        ))),
        (Device::Cuda(ordinal), None) => Ok(Some(driver::Device::open(ordinal as usize)?)),
        (Device::Reference, None) => Ok(None),
    }
}

/// More threads than cores would only wait for each other.
fn start_threads(arguments: &RunArguments) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or(cores, |threads| cores.min(threads.into()));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Failure::input)
}
