//! Kernels by family and specialisation: generated and loaded once, launched in the order of one stream.
//!
//! A [`Witness`] sees every launch and the memory that it works on, before and after: that is how the network is held
//! against the reference operation by operation.

use crate::catalog::{AnySpec, Catalog, Registered};
use crate::driver::{Buffer, Device, DeviceElement, Kernel, Module, Result as DriverResult, Stream, Use};
use crate::error::{Error, Result};
use rorqual_kernels::contract::Arguments;
use rorqual_ptx::target::Target;
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The kernels of a device that have been needed so far, and the stream that they run on.
#[derive(Debug)]
pub struct Executor {
    stream: Stream,
    catalog: Catalog,
    target: Target,
    kernels: Mutex<HashMap<String, (AnySpec, Arc<Kernel>)>>,
    witness: Mutex<Option<Box<dyn Witness>>>,
}

/// Stands around every launch of an [`Executor`].
pub trait Witness: fmt::Debug + Send {
    /// Is called in place of the launch, which `run` does. Memory may be looked at before and after.
    ///
    /// # Errors
    /// What `run` and the memory say; the caller of the operation gets it.
    fn launch(&mut self, launch: &Launch<'_>, run: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// A launch as a [`Witness`] sees it.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The name of the family.
    pub family: &'static str,
    /// The family's `Spec`.
    pub spec: &'a dyn Any,
    /// The family's `Arguments`.
    pub arguments: &'a dyn Any,
    stream: &'a Stream,
    buffers: &'a [Use<'a>],
}

impl Launch<'_> {
    /// The elements from an address on; `None` unless they lie in one buffer of such elements that the launch uses.
    ///
    /// # Errors
    /// What the device says.
    pub fn read<T: DeviceElement>(&self, address: u64, elements: usize) -> Result<Option<Vec<T>>> {
        for buffer in self.buffers {
            if let Some(values) = buffer.read_at(self.stream, address, elements)? {
                return Ok(Some(values));
            }
        }
        Ok(None)
    }

    /// Overwrites the elements from an address on; `false` unless they lie in one buffer that the launch writes.
    ///
    /// # Errors
    /// What the device says.
    pub fn write<T: DeviceElement>(&self, address: u64, values: &[T]) -> Result<bool> {
        for buffer in self.buffers {
            if buffer.write_at(self.stream, address, values)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
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
        Ok(Self {
            stream: device.stream()?,
            catalog,
            target,
            kernels: Mutex::default(),
            witness: Mutex::default(),
        })
    }

    /// Its stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        self.stream.device()
    }

    /// The target of its kernels.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Puts a witness around every launch from now on, or none.
    pub fn set_witness(&self, witness: Option<Box<dyn Witness>>) {
        *self.witness.lock().unwrap_or_else(PoisonError::into_inner) = witness;
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
        let kernel = Arc::new(Module::load_artifact(self.device(), &artifact)?.kernel(&artifact.contract)?);
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
        let kernel = self.kernel::<F>(spec)?;
        let mut run = || Ok(kernel.launch(&self.stream, &arguments.pack(), buffers)?);
        match &mut *self.witness.lock().unwrap_or_else(PoisonError::into_inner) {
            None => run(),
            Some(witness) => {
                let launch = Launch { family: F::NAME, spec, arguments, stream: &self.stream, buffers };
                witness.launch(&launch, &mut run)
            }
        }
    }

    /// New memory, not written yet.
    ///
    /// # Errors
    /// If there is no room.
    pub fn allocate<T: DeviceElement>(&self, elements: usize) -> DriverResult<Buffer<T>> {
        self.stream.allocate(elements)
    }
}
