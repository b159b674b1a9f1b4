//! Opening a device, and what it offers.

use super::backend::{Context, each, wrapped};
use super::stream::Stream;
use super::{Error, Result, Target};
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "sim")]
use super::sim;

/// A GPU, or a simulated one. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct Inner {
    context: Context,
    identity: Identity,
    properties: Properties,
}

/// Which device it is. A GPU that is opened twice is one device; every simulated device is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    #[cfg(feature = "cuda")]
    Cuda(usize),
    #[cfg(feature = "sim")]
    Simulated(u64),
}

/// What does not change while a device is open.
#[derive(Debug, Clone)]
pub(super) struct Properties {
    /// For people.
    pub name: String,
    /// The PTX that it runs.
    pub target: Target,
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// Shared memory that a CTA may have, in bytes.
    pub shared_bytes: u32,
}

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// What is free.
    pub free: u64,
    /// What there is.
    pub total: u64,
}

impl Device {
    /// Opens a GPU by its number, through the CUDA driver that is loaded now. The context is the device's primary
    /// one, which other libraries share.
    ///
    /// The environment variable `RORQUAL_CUDA_DRIVER_LIBRARY` names a driver library to use in place of the system's;
    /// its `SONAME` must be `libcuda.so`.
    ///
    /// # Errors
    ///
    /// [`Error::NoDriver`], [`Error::MissingSymbols`], [`Error::StubLibrary`] and [`Error::OldDriver`] if there is no
    /// driver to work with, [`Error::NoDevice`] if there is no such device, [`Error::UnsupportedDevice`] if it is older
    /// than sm_80.
    #[cfg(feature = "cuda")]
    pub fn open(ordinal: usize) -> Result<Self> {
        let (context, properties) = cuda::Context::open(ordinal)?;
        Ok(Self::new(Context::Cuda(context), Identity::Cuda(ordinal), properties))
    }

    /// How many GPUs [`open`](Self::open) can open.
    ///
    /// # Errors
    ///
    /// If there is no driver to work with.
    #[cfg(feature = "cuda")]
    pub fn installed() -> Result<usize> {
        cuda::preflight::devices()
    }

    /// A simulated device that runs PTX for `target`, with the default options.
    ///
    /// # Errors
    ///
    /// If the target is not simulated.
    #[cfg(feature = "sim")]
    pub fn simulated(target: Target) -> Result<Self> {
        Self::simulated_with(target, sim::SimulatorOptions::default())
    }

    /// A simulated device with options: seed, precision, threads, budgets, checks. It uses as many threads as the
    /// options say, or else as the pool of `rayon` that the caller is in.
    ///
    /// # Errors
    ///
    /// If the target is not simulated.
    #[cfg(feature = "sim")]
    pub fn simulated_with(target: Target, options: sim::SimulatorOptions) -> Result<Self> {
        let (context, number, properties) = sim::Context::new(target, options)?;
        Ok(Self::new(Context::Simulated(context), Identity::Simulated(number), properties))
    }

    /// The first GPU if there is one, else a simulated device for sm_90a. [`name`](Self::name) says which it is.
    ///
    /// # Errors
    ///
    /// If there is a GPU that cannot be opened: a broken installation is not passed over in silence.
    #[cfg(all(feature = "cuda", feature = "sim"))]
    pub fn best() -> Result<Self> {
        match Self::open(0) {
            Err(Error::NoDriver { .. } | Error::NoDevice { .. } | Error::StubLibrary { .. }) => {
                Self::simulated(Target { sm: 90, features: rorqual_ptx::target::Features::Specific })
            }
            opened => opened,
        }
    }

    fn new(context: Context, identity: Identity, properties: Properties) -> Self {
        Self { inner: Arc::new(Inner { context, identity, properties }) }
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.properties.name
    }

    /// The PTX that it runs: of several builds of a kernel it gets that of [`Target::best_for`] this one.
    #[must_use]
    pub fn target(&self) -> Target {
        self.inner.properties.target
    }

    /// How many multiprocessors it has.
    #[must_use]
    pub fn multiprocessors(&self) -> u32 {
        self.inner.properties.multiprocessors
    }

    /// Shared memory that a CTA may have, in bytes.
    #[must_use]
    pub fn shared_bytes(&self) -> u32 {
        self.inner.properties.shared_bytes
    }

    /// Whether it is simulated.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        #[cfg(feature = "sim")]
        if matches!(self.inner.identity, Identity::Simulated(_)) {
            return true;
        }
        false
    }

    /// Its memory.
    ///
    /// # Errors
    ///
    /// If the driver reports one.
    pub fn memory_info(&self) -> Result<MemoryInfo> {
        each!(Context self.context() => context: context.memory_info())
    }

    /// Waits for all work on the device.
    ///
    /// # Errors
    ///
    /// If the driver reports one, also of work before.
    pub fn synchronize(&self) -> Result<()> {
        each!(Context self.context() => context: context.synchronize())
    }

    /// A new stream.
    ///
    /// # Errors
    ///
    /// If the driver reports one.
    pub fn stream(&self) -> Result<Stream> {
        let stream = wrapped!(Context self.context() => context: Stream context.stream())?;
        Ok(Stream::new(self, stream))
    }

    pub(super) fn context(&self) -> &Context {
        &self.inner.context
    }

    /// The context of `cudarc`.
    #[cfg(feature = "cuda")]
    pub(crate) fn cuda_context(&self) -> Option<&Arc<::cudarc::driver::CudaContext>> {
        match self.context() {
            Context::Cuda(context) => Some(context.cuda_context()),
            #[cfg(feature = "sim")]
            Context::Simulated(_) => None,
        }
    }

    /// That `other` is this device.
    pub(super) fn check_same(&self, other: &Self, operation: &'static str) -> Result<()> {
        if self == other {
            return Ok(());
        }
        let (expected, given) = (format!("{self}"), format!("{other}"));
        Err(Error::OtherDevice { operation, expected, given })
    }

    /// The error of an allocation that failed for want of memory.
    pub(super) fn out_of_memory(&self, bytes: u64) -> Error {
        let MemoryInfo { free, total } = self.memory_info().unwrap_or(MemoryInfo { free: 0, total: 0 });
        Error::OutOfMemory { device: self.name().to_owned(), bytes, free, total }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.inner.identity == other.inner.identity
    }
}

impl Eq for Device {}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.identity {
            #[cfg(feature = "cuda")]
            Identity::Cuda(ordinal) => write!(f, "CUDA device {ordinal} ({})", self.name()),
            #[cfg(feature = "sim")]
            Identity::Simulated(number) => write!(f, "simulated device {number} ({})", self.target()),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("identity", &self.inner.identity)
            .field("properties", &self.inner.properties)
            .finish()
    }
}
