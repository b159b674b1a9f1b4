//! A kernel with the contract that says how to launch it.

use super::backend::{self, wrapped};
use super::contract::{Contract, ParameterKind};
use super::module::Module;
use super::{Device, Error, Result};
use std::fmt;

/// Threads of a CTA.
const MAX_THREADS: u32 = 1024;
/// CTAs of a cluster, of the size that every device with clusters can be asked for.
const MAX_CLUSTER: u32 = 16;

/// A kernel of a [`Module`], ready to be launched. Made by [`Module::kernel`].
///
/// ```
/// # #[cfg(feature = "sim")]
/// # fn main() -> rorqual::driver::Result<()> {
/// use rorqual::driver::contract::{Access, Argument, Contract, Extent, Parameter, ParameterKind};
/// use rorqual::driver::{Device, ElementType, Module};
///
/// let ptx = "
///     .version 7.0
///     .target sm_80
///     .address_size 64
///     .visible .entry count(.param .u64 out, .param .u32 ctas) {
///         .reg .b32 %r<2>; .reg .b64 %rd<4>;
///         ld.param.u64 %rd1, [out];
///         mov.u32 %r1, %ctaid.x;
///         mul.wide.u32 %rd2, %r1, 4;
///         add.s64 %rd3, %rd1, %rd2;
///         st.global.u32 [%rd3], %r1;
///         ret;
///     }";
/// // Kernels that this library generates come with their contract.
/// let contract = Contract {
///     kernel: "count".to_owned(),
///     spec: String::new(),
///     target: "sm_80".parse().expect("a target"),
///     parameters: vec![
///         Parameter {
///             name: "out".into(),
///             kind: ParameterKind::Pointer(ElementType::U32, Access::Out),
///             doc: "`[ctas]`".into(),
///         },
///         Parameter { name: "ctas".into(), kind: ParameterKind::U32, doc: "CTAs".into() },
///     ],
///     grid: [Extent::argument("ctas"), 1.into(), 1.into()],
///     threads: 1,
///     cluster: None,
///     shared_bytes: 0,
///     dependent_launch: false,
/// };
///
/// let device = Device::simulated("sm_90a".parse().expect("a target"))?;
/// let stream = device.stream()?;
/// let kernel = Module::load(&device, ptx)?.kernel(&contract)?;
/// let mut out = stream.allocate::<u32>(5)?;
/// kernel.launch(&stream, &[Argument::Address(out.address()), Argument::U32(5)], &[out.writes()])?;
/// assert_eq!(stream.download(&out)?, [0, 1, 2, 3, 4]);
///
/// // The kernel would write beyond the end: the simulator says so, and where.
/// let arguments = [Argument::Address(out.address()), Argument::U32(6)];
/// let error = kernel.launch(&stream, &arguments, &[out.writes()]).expect_err("six CTAs for five elements");
/// assert_eq!(error.line(), Some(11));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sim"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Kernel {
    pub(super) module: Module,
    pub(super) function: backend::Function,
    pub(super) contract: Contract,
    pub(super) programmatic: bool,
}

impl Kernel {
    pub(super) fn new(module: &Module, contract: &Contract, parameters: &[u64]) -> Result<Self> {
        check(module.device(), contract, parameters)?;
        let function = wrapped!(Module &module.inner.backend => module: Function module.function(contract))?;
        Ok(Self {
            module: module.clone(),
            function,
            contract: contract.clone(),
            programmatic: contract.dependent_launch,
        })
    }

    /// Lets the kernel start before the one before it in the stream has ended (programmatic dependent launch): the
    /// kernel must execute `griddepcontrol.wait` before it touches what that one writes. Its contract says so first.
    /// Without effect on the simulator, and before sm_90.
    #[must_use]
    pub const fn programmatic(mut self, programmatic: bool) -> Self {
        self.programmatic = programmatic;
        self
    }

    /// Its contract.
    #[must_use]
    pub const fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Its device.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.module.device()
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.contract.kernel, self.device())
    }
}

/// That the contract has the parameters of the kernel, and the device can hold a CTA and a cluster of it.
fn check(device: &Device, contract: &Contract, parameters: &[u64]) -> Result<()> {
    let check = |holds: bool, rule: &str, given: &dyn fmt::Display| {
        let error = || Error::Kernel {
            kernel: contract.kernel.clone(),
            rule: rule.to_owned(),
            given: given.to_string(),
        };
        if holds { Ok(()) } else { Err(error()) }
    };
    check(
        contract.parameters.len() == parameters.len(),
        &format!("the kernel has {} parameters", parameters.len()),
        &contract.parameters.len(),
    )?;
    for (parameter, bytes) in contract.parameters.iter().zip(parameters) {
        let expected = parameter_bytes(parameter.kind);
        check(
            expected == *bytes,
            &format!("parameter `{}` of the kernel has {bytes} bytes", parameter.name),
            &format!("{:?} of {expected}", parameter.kind),
        )?;
    }
    check(
        (1..=MAX_THREADS).contains(&contract.threads),
        &format!("a CTA has 1 to {MAX_THREADS} threads"),
        &contract.threads,
    )?;
    check(
        contract.shared_bytes <= device.shared_bytes(),
        &format!("a CTA on {} has at most {} bytes of shared memory", device.target(), device.shared_bytes()),
        &contract.shared_bytes,
    )?;
    let Some(cluster) = contract.cluster else { return Ok(()) };
    let ctas = cluster.iter().fold(1u32, |ctas, extent| ctas.saturating_mul(*extent));
    let most = if device.target().sm >= 90 { MAX_CLUSTER } else { 1 };
    check(
        (1..=most).contains(&ctas),
        &format!("a cluster on {} has 1 to {most} CTAs", device.target()),
        &format!("{cluster:?}"),
    )
}

/// Bytes of a parameter.
const fn parameter_bytes(kind: ParameterKind) -> u64 {
    match kind {
        ParameterKind::U32 | ParameterKind::F32 => 4,
        ParameterKind::Pointer(..) | ParameterKind::U64 => 8,
        ParameterKind::TensorMap => 128,
    }
}
