//! The driver: the simulated devices and the tables of everything that has a handle, behind one lock.

use crate::boundary::{Out, is_in_host_function};
use crate::capture::Capture;
use crate::context::Contexts;
use crate::error::{Code, Result};
use crate::event::Event;
use crate::function::Function;
use crate::graph::{Executable, Graph};
use crate::handles::Table;
use crate::library::{Kernel, Library};
use crate::link::Linker;
use crate::memory::Memory;
use crate::pool::{DevicePools, Pool};
use crate::stream::{Stream, ThreadStreams};
use crate::time::Clocks;
use crate::user_object::UserObject;
use crate::virtual_memory::VirtualMemory;
use rorqual_ptx::target::Target;
use rorqual_sim::{Device, Module, Options, Precision};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// CUDA 13.0.
pub const VERSION: i32 = 13_000;

/// Everything that the driver knows.
pub struct Driver {
    /// All devices, with their memory.
    pub simulator: Device,
    pub devices: u32,
    /// Whether a launch says at once what went wrong.
    pub is_blocking: bool,
    pub contexts: Contexts,
    pub memory: Memory,
    pub pools: Table<Pool>,
    /// By device.
    pub device_pools: Vec<DevicePools>,
    pub virtual_memory: VirtualMemory,
    pub streams: Table<Stream>,
    pub thread_streams: ThreadStreams,
    pub clocks: Clocks,
    pub events: Table<Event>,
    pub modules: Table<Module>,
    pub functions: Table<Function>,
    pub libraries: Table<Library>,
    pub kernels: Table<Kernel>,
    pub linkers: Table<Linker>,
    /// What is being captured.
    pub captures: Table<Capture>,
    pub graphs: Table<Graph>,
    pub executable_graphs: Table<Executable>,
    pub user_objects: Table<UserObject>,
}

static DRIVER: OnceLock<Mutex<Driver>> = OnceLock::new();

/// The driver, once it is initialised.
pub fn driver() -> Result<MutexGuard<'static, Driver>> {
    if is_in_host_function() {
        return Err(Code::NotPermitted.because("called from a function that a stream calls"));
    }
    let driver = DRIVER.get().ok_or(Code::NotInitialized)?;
    Ok(driver.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Driver {
    /// The driver that the environment describes.
    fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let wrong = |name: &str, value: &str, expected: &str| {
            Code::InvalidValue.because(format!("{name} is {value:?}, expected {expected}"))
        };
        let number = |name: &str, otherwise: u64, most: u64| {
            let Some(value) = variable(name) else { return Ok(otherwise) };
            let parsed = value.parse().ok().filter(|number| *number <= most);
            parsed.ok_or_else(|| wrong(name, &value, &format!("a number up to {most}")))
        };
        let arch = variable("PTXSIM_ARCH").unwrap_or_else(|| "sm_90a".to_owned());
        let target: Target =
            arch.parse().map_err(|_| wrong("PTXSIM_ARCH", &arch, "a target such as sm_90a"))?;
        let precision = match variable("PTXSIM_PRECISION").as_deref() {
            None | Some("exact") => Precision::Exact,
            Some("hardware") => Precision::Hardware,
            Some(other) => return Err(wrong("PTXSIM_PRECISION", other, "`exact` or `hardware`")),
        };
        // Addresses beyond those of the last device are reserved for memory that is mapped by hand.
        let most = u64::from(rorqual_sim::memory::MAX_DEVICES) - 1;
        let devices = number("PTXSIM_DEVICES", 1, most)? as u32;
        if devices == 0 {
            return Err(Code::NoDevice.into());
        }
        let seed = number("PTXSIM_SEED", 0, u64::MAX)?;
        let mut simulator = Device::new(target)?.with_devices(devices);
        *simulator.options_mut() = Options { seed, precision, ..Options::default() };
        let mut pools = Table::default();
        let device_pools = (0..devices).map(|device| DevicePools::new(device, &mut pools)).collect();
        Ok(Self {
            simulator,
            devices,
            is_blocking: variable("CUDA_LAUNCH_BLOCKING").is_some_and(|value| value == "1"),
            contexts: Contexts::new(devices),
            memory: Memory::default(),
            pools,
            device_pools,
            virtual_memory: VirtualMemory::default(),
            streams: Table::default(),
            thread_streams: ThreadStreams::default(),
            clocks: Clocks::default(),
            events: Table::default(),
            modules: Table::default(),
            functions: Table::default(),
            libraries: Table::default(),
            kernels: Table::default(),
            linkers: Table::default(),
            captures: Table::default(),
            graphs: Table::default(),
            executable_graphs: Table::default(),
            user_objects: Table::default(),
        })
    }
}

driver_functions! {
    fn cuInit[2000](flags: u32) {
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        if DRIVER.get().is_none() {
            let driver = Driver::from_environment(|name| std::env::var(name).ok())?;
            // Another thread may have been first.
            DRIVER.get_or_init(|| Mutex::new(driver));
        }
        Ok(())
    }

    /// Nothing is profiled.
    fn cuProfilerStart[4000]() {
        driver()?.current().map(drop)
    }

    /// Nothing is profiled.
    fn cuProfilerStop[4000]() {
        driver()?.current().map(drop)
    }

    fn cuDriverGetVersion[2020](version: Out<i32>) {
        version.set(VERSION);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        let variable = |asked: &str| (asked == name).then(|| value.to_owned());
        let error = Driver::from_environment(variable).err().expect("a wrong value");
        assert_eq!(error.code, Code::InvalidValue);
        error.message.expect("a sentence")
    }

    #[test]
    fn the_environment_describes_the_devices() {
        let variable = |name: &str| {
            let values = [("PTXSIM_ARCH", "sm_89"), ("PTXSIM_DEVICES", "3"), ("PTXSIM_SEED", "7")];
            values.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        let driver = Driver::from_environment(variable).expect("right values");
        assert_eq!((driver.simulator.arch().to_string().as_str(), driver.devices), ("sm_89", 3));
        let options = driver.simulator.options();
        assert_eq!((options.seed, options.precision), (7, Precision::Exact));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        assert_eq!(refused("PTXSIM_ARCH", "x"), "PTXSIM_ARCH is \"x\", expected a target such as sm_90a");
        assert_eq!(refused("PTXSIM_ARCH", "sm_75"), "sm_75 is not simulated, expected sm_80 or later");
        assert_eq!(refused("PTXSIM_DEVICES", "99"), "PTXSIM_DEVICES is \"99\", expected a number up to 15");
        let message = refused("PTXSIM_PRECISION", "high");
        assert_eq!(message, "PTXSIM_PRECISION is \"high\", expected `exact` or `hardware`");
    }
}
