//! A [`Device`] of the library as a [`Machine`]: a real GPU, or the simulator behind the same interface.
#![allow(unsafe_code, reason = "a case gives its kernel addresses, as it does on every machine")]

use super::{Machine, MachineError};
use crate::driver::{Buffer, Device, Error, Module, Stream};
use rorqual_kernels::Kernel;
use rorqual_kernels::catalog;
use rorqual_kernels::contract::Argument;
use rorqual_ptx::target::Target;

/// A device, and all memory that cases have asked it for; it is freed with the machine.
#[derive(Debug)]
pub struct OnDevice {
    stream: Stream,
    target: Target,
    buffers: Vec<Buffer<u8>>,
}

impl OnDevice {
    /// A machine that runs on this device what the catalog has for it.
    ///
    /// # Errors
    /// If the device is older than every target of the catalog, or has no stream to give.
    pub fn new(device: &Device) -> Result<Self, MachineError> {
        let target = target_for(device)
            .ok_or_else(|| MachineError::Wrong(format!("there are no kernels for {}", device.target())))?;
        Ok(Self { stream: device.stream()?, target, buffers: Vec::new() })
    }
}

/// The target of the kernels that a device runs: of those of the catalog the best for it, if there is one.
#[must_use]
pub fn target_for(device: &Device) -> Option<Target> {
    Target::best_for(device.target(), &catalog::targets().collect::<Vec<_>>())
}

impl From<Error> for MachineError {
    fn from(error: Error) -> Self {
        let inconclusive = error.is_inconclusive();
        let message = error.to_string();
        if inconclusive { Self::Inconclusive(message) } else { Self::Wrong(message) }
    }
}

impl Machine for OnDevice {
    fn target(&self) -> Target {
        self.target
    }

    fn upload(&mut self, bytes: &[u8]) -> Result<u64, MachineError> {
        let buffer = self.stream.upload(bytes.len(), bytes)?;
        let address = buffer.address();
        self.buffers.push(buffer);
        Ok(address)
    }

    fn download(&mut self, address: u64, bytes: usize) -> Result<Vec<u8>, MachineError> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let inside = |buffer: &&Buffer<u8>| {
            (buffer.address()..buffer.address() + buffer.len() as u64).contains(&address)
        };
        let buffer = self.buffers.iter().find(inside);
        let buffer = buffer.ok_or_else(|| MachineError::Wrong(format!("no memory at {address:#x}")))?;
        let first = (address - buffer.address()) as usize;
        Ok(self.stream.download(buffer.slice(first, bytes)?)?)
    }

    fn run(&mut self, kernel: &Kernel, arguments: &[Argument]) -> Result<(), MachineError> {
        let module = Module::load(self.stream.device(), &kernel.text())?;
        let loaded = module.kernel(&kernel.contract)?;
        // SAFETY: a case passes addresses of memory that it got from `upload`, of the sizes that the kernel's contract
        // asks for; `buffers` keeps it, and the work is over before this returns. That the kernel keeps to its contract
        // is what the simulator, on which the same cases run first, checks access by access.
        unsafe { loaded.launch_raw(&self.stream, arguments) }?;
        Ok(self.stream.synchronize()?)
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::verify::FAMILIES;
    use crate::verify::random::Random;

    #[test]
    fn a_device_runs_the_cases() {
        for (device, target) in [("sm_80", "sm_80"), ("sm_86", "sm_80"), ("sm_90a", "sm_90a")] {
            let device = Device::simulated(device.parse().unwrap()).unwrap();
            for family in FAMILIES.iter().filter(|family| family.targets.serve(target.parse().unwrap())) {
                let mut machine = OnDevice::new(&device).unwrap();
                assert_eq!(machine.target().to_string(), target);
                let passed = (family.run)(&mut Random::new(1), &mut machine);
                assert!(passed.is_ok(), "{}: {passed:?}", family.name);
            }
        }
    }
}
