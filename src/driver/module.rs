//! PTX text, or machine code made from it, becomes a module on a device.

use super::backend::{self, each, wrapped};
use super::contract::Contract;
use super::kernel::Kernel;
use super::{Device, Error, Result};
use rorqual_kernels::artifact::Artifact;
use rorqual_kernels::cubin::Cubin;
use rorqual_ptx::module::Variable;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kernels that were loaded from one PTX text. Clones are the same module.
#[derive(Debug, Clone)]
pub struct Module {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub device: Device,
    pub backend: backend::Module,
    /// Bytes of the parameters of every kernel.
    kernels: BTreeMap<String, Vec<u64>>,
}

impl Module {
    /// Parses, verifies and loads PTX.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] and [`Error::Verify`] with the line; [`Error::ModuleTarget`] if the text is for other devices;
    /// [`Error::Compile`] with the compiler's log if the driver refuses what the table of the language allows.
    pub fn load(device: &Device, ptx: &str) -> Result<Self> {
        Self::load_either(device, ptx, None)
    }

    /// The same for a kernel of the catalog: its machine code if it has some that is for the device, else its text. A
    /// driver that refuses the machine code, say because it is older, gets the text, with a warning through `tracing`;
    /// a simulated device always gets the text.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub fn load_artifact(device: &Device, artifact: &Artifact) -> Result<Self> {
        let is_for = artifact.contract.target.machine_code_runs_on(device.target());
        Self::load_either(device, &artifact.ptx, artifact.cubin.as_ref().filter(|_| is_for))
    }

    fn load_either(device: &Device, ptx: &str, cubin: Option<&Cubin>) -> Result<Self> {
        let _span = tracing::info_span!("load", %device, bytes = ptx.len()).entered();
        let verified = rorqual_ptx::verify::verify(rorqual_ptx::parse(ptx)?)?;
        let (module, target) = (verified.target, device.target());
        if !module.runs_on(target) {
            return Err(Error::ModuleTarget { module, device: device.to_string(), target });
        }
        let entries =
            verified.functions.iter().filter(|function| function.is_kernel && function.body.is_some());
        let kernels = entries.map(|entry| {
            let first = entry.return_count as usize;
            let parameters = &entry.variables[first..first + entry.parameter_count as usize];
            (entry.name.clone(), parameters.iter().map(bytes).collect())
        });
        let kernels: BTreeMap<String, Vec<u64>> = kernels.collect();
        let names: Vec<String> = kernels.keys().cloned().collect();
        let backend = {
            let _span = tracing::info_span!("assemble").entered();
            wrapped!(Context device.context() => context: Module context.load(ptx, cubin, &names))?
        };
        Ok(Self { inner: Arc::new(Inner { device: device.clone(), backend, kernels }) })
    }

    /// Its device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Whether it was loaded as machine code; otherwise the driver compiled its text, or the simulator reads it.
    #[must_use]
    pub fn is_machine_code(&self) -> bool {
        each!(Module &self.inner.backend => module: module.is_machine_code())
    }

    /// The names of its kernels, sorted.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.inner.kernels.keys().map(String::as_str)
    }

    /// The kernel that a contract describes.
    ///
    /// # Errors
    ///
    /// [`Error::NoKernel`]; [`Error::Kernel`] if the parameters of the contract are not those of the kernel, or the
    /// device cannot hold a CTA or cluster of it.
    pub fn kernel(&self, contract: &Contract) -> Result<Kernel> {
        let Some(parameters) = self.inner.kernels.get(&contract.kernel) else {
            let known = self.kernels().map(str::to_owned).collect();
            return Err(Error::NoKernel { kernel: contract.kernel.clone(), known });
        };
        Kernel::new(self, contract, parameters)
    }
}

/// Bytes of a parameter.
fn bytes(parameter: &Variable) -> u64 {
    let element = u64::from(parameter.ty.bytes()) * u64::from(parameter.vector);
    parameter.dimensions.iter().fold(element, |bytes, extent| bytes.saturating_mul(extent.unwrap_or(0)))
}
