//! Kernels by family and specialisation: generated and loaded once, launched in the order of one stream.

use crate::catalog::{AnySpec, Catalog, Registered};
use crate::driver::{Buffer, Device, Kernel, Module, Result as DriverResult, Stream, Use};
use crate::error::{Error, Result};
use rorqual_kernels::contract::Arguments;
use rorqual_ptx::target::Target;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The kernels of a device that have been needed so far, and the stream that they run on.
#[derive(Debug)]
pub struct Executor {
    stream: Stream,
    catalog: Catalog,
    target: Target,
    kernels: Mutex<HashMap<String, (AnySpec, Arc<Kernel>)>>,
}

impl Executor {
    /// An executor with a stream of its own.
    ///
    /// # Errors
    /// If there are no kernels for the device; what the device says.
    pub fn new(device: &Device) -> Result<Self> {
        let catalog = Catalog::new();
        let device_target = device.target();
        let target = catalog.target_for(device_target).ok_or(Error::NoKernels { target: device_target })?;
        Ok(Self { stream: device.stream()?, catalog, target, kernels: Mutex::default() })
    }

    /// Its stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        self.stream.device()
    }

    /// The kernel of a specialisation: from the catalog, else generated.
    ///
    /// # Errors
    /// If the specialisation breaks a rule, or the device refuses the kernel.
    pub fn kernel<F: Registered>(&self, spec: &F::Spec) -> Result<Arc<Kernel>> {
        let key = format!("{} {spec:?}", F::NAME);
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kernel)) = kernels.get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let artifact = self.catalog.kernel_of::<F>(spec, self.target)?;
        let kernel = Arc::new(Module::load(self.device(), &artifact.ptx)?.kernel(&artifact.contract)?);
        kernels.insert(key, (F::any(spec), Arc::clone(&kernel)));
        Ok(kernel)
    }

    /// The specialisations that have been needed so far, in no order.
    pub fn specs(&self) -> Vec<AnySpec> {
        let kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        kernels.values().map(|(spec, _)| spec.clone()).collect()
    }

    /// Launches the kernel of a specialisation; `buffers` are those that the arguments point into.
    ///
    /// # Errors
    /// As of [`kernel`](Self::kernel), and what the launch says.
    pub fn launch<F: Registered>(
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
