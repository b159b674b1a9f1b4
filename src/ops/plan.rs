//! A plan: the kernel of a specialisation, chosen and loaded once, launched many times.

use super::{DeviceFlags, Error, Result};
use crate::catalog::{Catalog, CatalogError, KernelError, embedded};
use crate::driver::contract::Arguments;
use crate::driver::{Buffer, Device, Kernel, Module, Stream, Use};
use rorqual_kernels::Registered;
use rorqual_ptx::target::Target;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// What plans generate, once for all of them.
pub(super) static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::new);

/// The parameter that kernels report bad input through.
const ERROR: &str = "error";

/// Where the text of a kernel came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From the catalog that the build embedded.
    Embedded,
    /// It was generated, or found where generated kernels are kept.
    Generated,
}

/// The kernel of a specialisation of a family, loaded on a device. The operations of [`ops`](super) each hold one or
/// a few; for a family without an operation it can be used as it is.
///
/// Printed, it says which kernel was chosen, and why.
///
/// ```
/// # #[cfg(feature = "sim")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rorqual::driver::Device;
/// use rorqual::num::bf16;
/// use rorqual::ops::Plan;
/// use rorqual::ops::spec::residual::{Residual, ResidualArguments, ResidualSpec};
///
/// let device = Device::simulated("sm_80".parse()?)?;
/// let stream = device.stream()?;
/// let plan = Plan::<Residual>::new("residual", &device, &ResidualSpec { hidden: 2, x_pitch: 2 })?;
/// let x = stream.upload([1, 2], &[1.0, 2.0].map(bf16::from_f32))?;
/// let mut sum = stream.upload([1, 2], &[0.5, 0.5].map(bf16::from_f32))?;
/// let arguments = ResidualArguments { stream: sum.address(), x: x.address(), tokens: 1 };
/// plan.launch(&stream, &arguments, &[sum.writes(), x.reads()])?;
/// assert_eq!(stream.download(&sum)?, [1.5, 2.5].map(bf16::from_f32));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sim"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Plan<F: Registered> {
    operation: &'static str,
    spec: F::Spec,
    kernel: Kernel,
    origin: Origin,
    /// The word of kernels that report bad input.
    word: Option<Mutex<Buffer<u32>>>,
}

impl<F: Registered> Plan<F> {
    /// Checks a specialisation, and chooses and loads its kernel: the embedded one if there is one, else a generated one,
    /// which other plans of the process share. `operation` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`Error::Spec`] if the specialisation breaks a rule; [`Error::Target`]; [`Error::Catalog`] if the kernel is neither
    /// embedded nor generated; [`Error::Driver`] if the device refuses it.
    pub fn new(operation: &'static str, device: &Device, spec: &F::Spec) -> Result<Self> {
        Self::of_catalog(&CATALOG, operation, device, spec)
    }

    /// As [`new`](Self::new), with a catalog of the caller's, which says where generated kernels are kept.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn of_catalog(
        catalog: &Catalog,
        operation: &'static str,
        device: &Device,
        spec: &F::Spec,
    ) -> Result<Self> {
        let _span = tracing::debug_span!("plan", operation, family = F::NAME, ?spec).entered();
        F::check(spec).map_err(|rule| Error::Spec { operation, rule })?;
        let target = target_of(catalog, operation, device)?;
        let (artifact, origin) = match embedded(&F::any(spec), target) {
            Some(artifact) => (Arc::new(artifact), Origin::Embedded),
            None => {
                let generated = catalog.kernel_of::<F>(spec, target);
                let generated = generated.map_err(|source| match source {
                    CatalogError::Kernel(KernelError::Spec { rule, .. }) => Error::Spec { operation, rule },
                    source => Error::Catalog { operation, source: Box::new(source) },
                });
                (generated?, Origin::Generated)
            }
        };
        let load = || -> crate::driver::Result<_> {
            let kernel = Module::load_artifact(device, &artifact)?.kernel(&artifact.contract)?;
            let reports = artifact.contract.parameters.iter().any(|parameter| parameter.name == ERROR);
            let word = reports.then(|| device.stream()?.upload(1, &[0_u32])).transpose()?;
            Ok((kernel, word.map(Mutex::new)))
        };
        let (kernel, word) = load().map_err(Error::of(operation))?;
        Ok(Self { operation, spec: spec.clone(), kernel, origin, word })
    }

    /// What errors call the operation.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// What the kernel is specialised to.
    #[must_use]
    pub const fn spec(&self) -> &F::Spec {
        &self.spec
    }

    /// The kernel.
    #[must_use]
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Its device.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.kernel.device()
    }

    /// Where the kernel came from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// What bad input the runs of this plan have met that only the device can see, since it was asked last; the flags are
    /// cleared. Waits for the stream.
    ///
    /// # Errors
    ///
    /// If the stream is of another device or being captured, or work on it failed.
    pub fn flags(&self, stream: &Stream) -> Result<DeviceFlags> {
        let Some(mut word) = self.word() else { return Ok(DeviceFlags::default()) };
        let mut take = || -> crate::driver::Result<u32> {
            let bits = stream.download(&*word)?[0];
            if bits != 0 {
                stream.write(&mut *word, &[0])?;
            }
            Ok(bits)
        };
        take().map(DeviceFlags::from_bits).map_err(Error::of(self.operation))
    }

    /// Launches the kernel with arguments of the family; `buffers` are those that they point into. An argument `error` may
    /// be any word. Shapes are not checked: an operation does that.
    ///
    /// # Errors
    ///
    /// As of [`Kernel::launch`].
    pub fn launch(&self, stream: &Stream, arguments: &F::Arguments, buffers: &[Use<'_>]) -> Result<()> {
        self.kernel.launch(stream, &arguments.pack(), buffers).map_err(Error::of(self.operation))
    }

    /// The word that the kernel reports to, held while it is launched.
    pub(super) fn word(&self) -> Option<MutexGuard<'_, Buffer<u32>>> {
        self.word.as_ref().map(|word| word.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Registered> fmt::Display for Plan<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contract = self.kernel.contract();
        let origin = match self.origin {
            Origin::Embedded => "embedded",
            Origin::Generated => "generated",
        };
        let [x, y, z] = &contract.grid;
        write!(
            f,
            "{}: {}, {origin} for {}, the best target for {}; CTAs of {} threads with {} bytes of shared memory, \
             grid {x} x {y} x {z}",
            self.operation,
            contract.kernel,
            contract.target,
            self.device(),
            contract.threads,
            contract.shared_bytes
        )
    }
}

/// The target whose kernels the plans of a device get.
pub(super) fn target_of(catalog: &Catalog, operation: &'static str, device: &Device) -> Result<Target> {
    catalog.target_for(device.target()).ok_or_else(|| Error::Target {
        operation,
        device: device.to_string(),
        target: device.target(),
    })
}

/// What every operation with one plan has beside `plan`, `run` and `run_into`.
macro_rules! front {
    ($name:ident $(<$($parameter:ident),*>)? of $plan:ty $(, $bounded:ident: $bound:path)?) => {
        impl $(<$($parameter),*>)? $name $(<$($parameter),*>)?
        $(where $bounded: $bound)?
        {
            /// What was chosen.
            #[must_use]
            pub const fn chosen(&self) -> &$plan {
                &self.plan
            }

            /// As [`Plan::flags`](crate::ops::Plan::flags).
            ///
            /// # Errors
            ///
            /// As of [`Plan::flags`](crate::ops::Plan::flags).
            pub fn flags(
                &self,
                stream: &$crate::driver::Stream,
            ) -> $crate::ops::Result<$crate::ops::DeviceFlags> {
                self.plan.flags(stream)
            }
        }

        impl $(<$($parameter),*>)? std::fmt::Display for $name $(<$($parameter),*>)?
        $(where $bounded: $bound)?
        {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.plan.fmt(f)
            }
        }
    };
}
pub(super) use front;
