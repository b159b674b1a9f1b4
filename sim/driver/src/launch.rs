//! Launches.

use crate::boundary::{Arguments, In};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::function::name_of;
use crate::graph::Operation;
use crate::handles::Handle;
use rorqual_sim::{Argument, Launch};

/// CTAs of the largest cluster that every device with clusters has.
pub const PORTABLE_CLUSTER: u32 = 8;
/// More attributes than there are.
const MAX_ATTRIBUTES: u32 = 64;

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Configuration {
    ctas: [u32; 3],
    threads: [u32; 3],
    dynamic_shared_bytes: u32,
    stream: Handle,
    attributes: In<Attribute>,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: what it is, and a union of 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Attribute {
    id: u32,
    _padding: u32,
    value: [u32; 16],
}

const _: () = assert!(size_of::<Configuration>() == 56 && size_of::<Attribute>() == 72, "as in cuda.h");

/// What the attributes say.
#[derive(Default)]
pub struct Attributes {
    pub cluster: Option<[u32; 3]>,
    is_cooperative: bool,
}

/// The product of extents, or the largest number.
pub fn volume(extents: [u32; 3]) -> u32 {
    extents.iter().fold(1, |product: u32, extent| product.saturating_mul(*extent))
}

impl Configuration {
    /// Threads of a CTA.
    pub fn threads_of_a_cta(&self) -> u32 {
        volume(self.threads)
    }

    /// Dynamic shared memory in bytes.
    pub const fn shared_bytes(&self) -> usize {
        self.dynamic_shared_bytes as usize
    }

    /// The attributes by the numbers in cuda.h.
    pub fn attributes(&self) -> Result<Attributes> {
        if self.attribute_count > MAX_ATTRIBUTES {
            return Err(Code::InvalidValue.into());
        }
        let mut attributes = Attributes::default();
        for Attribute { id, value, .. } in self.attributes.several(self.attribute_count as usize)? {
            match id {
                2 => attributes.is_cooperative = value[0] != 0,
                4 => attributes.cluster = Some([value[0], value[1], value[2]]),
                // Nothing, or about when and where work runs, of which there is no choice: L2 windows, how to wait,
                // scheduling, a start before the end of the work before, priorities, domains, wishes.
                0 | 1 | 3 | 5 | 6 | 8..=11 | 14 => {}
                _ => return Err(Code::NotSupported.because(format!("attribute {id} of a launch"))),
            }
        }
        Ok(attributes)
    }
}

impl Driver {
    fn launch(
        &mut self,
        function: Handle,
        shape: &Configuration,
        attributes: &Attributes,
        arguments: Arguments,
        extra: Arguments,
    ) -> Result<()> {
        let function = self.function(function)?;
        let (current, _) = self.stream(shape.stream)?;
        let ctas = shape.ctas.iter().fold(1, |product: u64, extent| product.saturating_mul((*extent).into()));
        if self.functions.context(function)? != current.context {
            return Err(Code::InvalidHandle.because("function and stream are of different contexts"));
        }
        if attributes.is_cooperative && shape.threads_of_a_cta() > 0 {
            let resident = self.resident_ctas(function, shape.threads_of_a_cta(), shape.shared_bytes())?;
            let most = u64::from(resident) * u64::from(self.simulator.limits().multiprocessors);
            if ctas > most && resident > 0 {
                let message = format!("{ctas} CTAs together, the device holds {most}");
                return Err(Code::CooperativeLaunchTooLarge.because(message));
            }
        }
        let (function, kernel) = self.kernel(function)?;
        let name = name_of(&function.name)?;
        let allowed = function.settings.dynamic_shared_bytes;
        if shape.dynamic_shared_bytes > allowed {
            let message = format!(
                "kernel `{name}` may have {allowed} bytes of dynamic shared memory by its attribute, the launch asks \
                 for {}",
                shape.dynamic_shared_bytes
            );
            return Err(Code::InvalidValue.because(message));
        }
        let mut launch = Launch::new(self.modules.get(function.module)?, name)
            .ctas(shape.ctas)
            .threads(shape.threads)
            .dynamic_shared_bytes(shape.dynamic_shared_bytes)
            .cooperative(attributes.is_cooperative);
        if let Some(cluster) = attributes.cluster {
            let ctas = volume(cluster);
            let most = self.simulator.limits().cluster_ctas;
            let most =
                if function.settings.allows_large_clusters { most } else { most.min(PORTABLE_CLUSTER) };
            if ctas == 0 || ctas > most {
                let message = format!("kernel `{name}` has clusters of 1 to {most} CTAs, got {cluster:?}");
                return Err(Code::InvalidClusterSize.because(message));
            }
            launch = launch.cluster(cluster);
        }
        let buffer = packed_arguments(arguments, extra)?;
        for (index, parameter) in kernel.parameters.iter().enumerate() {
            let (offset, bytes) = (parameter.offset as usize, parameter.bytes as usize);
            let value = match &buffer {
                None => arguments.at(index)?.read(bytes, <[u8]>::to_vec)?,
                Some(buffer) => {
                    let value = buffer.get(offset..offset + bytes);
                    value
                        .ok_or_else(|| Code::InvalidValue.because("a buffer too small for the arguments"))?
                        .to_vec()
                }
            };
            launch = launch.argument(Argument(value));
        }
        self.submit(shape.stream, Operation::Launch { launch: Box::new(launch), ctas })
    }
}

/// The arguments where they are in one buffer: `CU_LAUNCH_PARAM_BUFFER_POINTER` and `.._SIZE`.
fn packed_arguments(arguments: Arguments, extra: Arguments) -> Result<Option<Vec<u8>>> {
    const POINTER: usize = 1;
    const SIZE: usize = 2;
    if extra.is_null() {
        return Ok(None);
    }
    if !arguments.is_null() {
        return Err(Code::InvalidValue.because("arguments both one by one and in a buffer"));
    }
    let pairs = extra.pairs()?;
    let find = |wanted| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let (Some(buffer), Some(size)) = (find(POINTER), find(SIZE)) else {
        return Err(Code::InvalidValue.into());
    };
    let bytes = usize::try_from(size.read_number()?).map_err(|_| Code::InvalidValue)?;
    buffer.read(bytes, <[u8]>::to_vec).map(Some)
}

driver_functions! {
    fn cuLaunchKernel[4000 _ptsz](
        function: Handle,
        ctas_x: u32, ctas_y: u32, ctas_z: u32,
        threads_x: u32, threads_y: u32, threads_z: u32,
        dynamic_shared_bytes: u32, stream: Handle, arguments: Arguments, extra: Arguments,
    ) {
        let shape = Configuration {
            ctas: [ctas_x, ctas_y, ctas_z],
            threads: [threads_x, threads_y, threads_z],
            dynamic_shared_bytes,
            stream,
            attributes: In::NULL,
            attribute_count: 0,
        };
        driver()?.launch(function, &shape, &Attributes::default(), arguments, extra)
    }

    fn cuLaunchCooperativeKernel[9000 _ptsz](
        function: Handle,
        ctas_x: u32, ctas_y: u32, ctas_z: u32,
        threads_x: u32, threads_y: u32, threads_z: u32,
        dynamic_shared_bytes: u32, stream: Handle, arguments: Arguments,
    ) {
        let shape = Configuration {
            ctas: [ctas_x, ctas_y, ctas_z],
            threads: [threads_x, threads_y, threads_z],
            dynamic_shared_bytes,
            stream,
            attributes: In::NULL,
            attribute_count: 0,
        };
        let attributes = Attributes { is_cooperative: true, ..Attributes::default() };
        driver()?.launch(function, &shape, &attributes, arguments, Arguments::NULL)
    }

    /// Clusters and cooperative grids. Attributes about when and where work runs have no effect, programmatic starts
    /// before the end of the work before included; events of a launch are refused.
    fn cuLaunchKernelEx[11060 _ptsz](
        configuration: In<Configuration>, function: Handle, arguments: Arguments, extra: Arguments,
    ) {
        let shape = configuration.get()?;
        driver()?.launch(function, &shape, &shape.attributes()?, arguments, extra)
    }
}
