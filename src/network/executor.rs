//! Kernels by family and specialisation: generated and loaded once, launched in the order of one stream.

use crate::driver::{Buffer, Device, Kernel, Module, Result as DriverResult, Stream, Use};
use crate::error::Result;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::{Family, generate};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The kernels of a device that have been needed so far, and the stream that they run on.
#[derive(Debug)]
pub struct Executor {
    stream: Stream,
    kernels: Mutex<HashMap<(&'static str, String), Arc<Kernel>>>,
}

impl Executor {
    /// An executor with a stream of its own.
    ///
    /// # Errors
    /// What the device says.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self { stream: device.stream()?, kernels: Mutex::default() })
    }

    /// Its stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        self.stream.device()
    }

    /// The kernel of a specialisation.
    ///
    /// # Errors
    /// If the specialisation breaks a rule, or the device refuses the kernel.
    pub fn kernel<F: Family>(&self, spec: &F::Spec) -> Result<Arc<Kernel>> {
        let key = (F::NAME, format!("{spec:?}"));
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let generated = {
            let _span = tracing::debug_span!("generate", family = F::NAME, spec = key.1).entered();
            generate::<F>(spec, self.device().target())?
        };
        let module = Module::load(self.device(), &generated.text())?;
        let kernel = Arc::new(module.kernel(&generated.contract)?);
        kernels.insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    /// Launches the kernel of a specialisation; `buffers` are those that the arguments point into.
    ///
    /// # Errors
    /// As of [`kernel`](Self::kernel), and what the launch says.
    pub fn launch<F: Family>(
        &self,
        spec: &F::Spec,
        arguments: &F::Arguments,
        buffers: &[Use<'_>],
    ) -> Result<()> {
        Ok(self.kernel::<F>(spec)?.launch(&self.stream, &arguments.pack(), buffers)?)
    }

    /// New memory, not written yet.
    ///
    /// # Errors
    /// If there is no room.
    pub fn allocate<T: crate::driver::DeviceElement>(&self, elements: usize) -> DriverResult<Buffer<T>> {
        self.stream.allocate(elements)
    }
}
