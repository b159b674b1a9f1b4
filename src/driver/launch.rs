//! Launches: every argument is checked against the contract, then the kernel goes to its stream.
#![allow(
    unsafe_code,
    reason = "the kernel does with memory what its contract says, which nobody can check here"
)]

use super::backend::{self, LaunchShape};
use super::buffer::{Region, Use};
use super::contract::{Access, Argument, ParameterKind};
use super::memory::Mode;
use super::{ArgumentError, Error, Kernel, Result, Stream, tensor_map};

impl Kernel {
    /// Launches the kernel with these arguments, in the order of the stream. Every address in the arguments that is not
    /// null, also of a tensor map, lies in one of `buffers`; further buffers are those that the kernel reaches through tables. A grid
    /// that the contract makes empty is no launch.
    ///
    /// # Errors
    ///
    /// [`Error::Contract`] if the arguments are not those of the contract or the grid is too large;
    /// [`Error::Argument`] for an address outside of the buffers, elements of another type, memory that is written but
    /// was given for reading, a wrong tensor map; [`Error::Overlap`]; [`Error::OtherDevice`]. On a GPU
    /// [`Error::Launch`] with what the driver says, on the simulator [`Error::Simulated`] with what the kernel did wrong.
    pub fn launch(&self, stream: &Stream, arguments: &[Argument], buffers: &[Use<'_>]) -> Result<()> {
        self.device().check_same(stream.device(), "launch")?;
        for given in buffers {
            self.device().check_same(given.region.memory.device(), "launch")?;
        }
        let Some(shape) = self.shape(arguments)? else { return Ok(()) };
        self.check_overlaps(buffers)?;
        for (parameter, argument) in self.contract.parameters.iter().zip(arguments) {
            check(parameter.kind, argument, buffers).map_err(|source| Error::Argument {
                kernel: self.contract.kernel.clone(),
                parameter: parameter.name.to_string(),
                source,
            })?;
        }
        for given in buffers {
            let mode = if given.access == Access::In { Mode::Read } else { Mode::Write };
            given.region.memory.order(stream.state(), mode)?;
        }
        // SAFETY: the addresses lie in buffers that are borrowed for this call, in the direction of the contract, and
        // whose memory is kept until the work on this stream has been done. That the kernel keeps to its contract is
        // vouched for by whoever loaded its PTX.
        unsafe { self.submit(stream, &shape, arguments) }
    }

    /// Shape of the launch; `None` where there is nothing to launch.
    pub(super) fn shape(&self, arguments: &[Argument]) -> Result<Option<LaunchShape>> {
        let grid = self.contract.grid(arguments, self.device().multiprocessors())?;
        // Older devices refuse even the attributes that ask for nothing.
        let is_hopper = self.device().target().sm >= 90;
        Ok((!grid.contains(&0)).then_some(LaunchShape {
            grid,
            threads: self.contract.threads,
            cluster: self.contract.cluster.filter(|_| is_hopper),
            shared_bytes: self.contract.shared_bytes,
            programmatic: self.programmatic && is_hopper,
        }))
    }

    fn check_overlaps(&self, buffers: &[Use<'_>]) -> Result<()> {
        for (index, written) in buffers.iter().enumerate().filter(|(_, given)| given.access != Access::In) {
            let others = buffers.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, other)) =
                others.into_iter().find(|(_, other)| written.region.overlaps(&other.region))
            {
                return Err(Error::Overlap {
                    kernel: self.contract.kernel.clone(),
                    written: written.region.to_string(),
                    other: other.region.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Hands the launch to the backend.
    ///
    /// # Safety
    ///
    /// Until the work of the stream has been done, what the kernel reads and writes through these arguments is memory
    /// of the device that it may read and write.
    pub(super) unsafe fn submit(
        &self,
        stream: &Stream,
        shape: &LaunchShape,
        arguments: &[Argument],
    ) -> Result<()> {
        let LaunchShape { grid, threads, cluster, shared_bytes, .. } = *shape;
        let kernel = self.contract.kernel.as_str();
        let _span = tracing::debug_span!("launch", kernel, ?grid, threads, ?cluster, shared_bytes).entered();
        match (stream.backend(), &self.function) {
            #[cfg(feature = "cuda")]
            (backend::Stream::Cuda(stream), backend::Function::Cuda(function)) => {
                // SAFETY: as promised by the caller; kinds and number of the arguments were checked with the grid.
                let launched = unsafe { stream.launch(function, shape, arguments) };
                launched.map_err(|source| Error::Launch {
                    kernel: kernel.to_owned(),
                    grid,
                    source: Box::new(source),
                })
            }
            #[cfg(feature = "sim")]
            (backend::Stream::Simulated(stream), backend::Function::Simulated(function)) => {
                stream.launch(function, shape, arguments)
            }
            #[cfg(all(feature = "cuda", feature = "sim"))]
            _ => Err(backend::mixed("launch")),
        }
    }
}

/// Checks an argument, whose kind suits, against the buffers of the launch.
fn check(kind: ParameterKind, argument: &Argument, buffers: &[Use<'_>]) -> Result<(), ArgumentError> {
    match (kind, argument) {
        // A null pointer: for what the kernel's specialisation does not touch, and for tensors without elements.
        (ParameterKind::Pointer(..), Argument::Address(0)) => Ok(()),
        (ParameterKind::Pointer(element, access), Argument::Address(address)) => {
            let given = find(buffers, *address, |region| region.element == element)?;
            if given.region.element != element {
                return Err(ArgumentError::ElementType { expected: element, given: given.region.element });
            }
            if access != Access::In && given.access == Access::In {
                return Err(ArgumentError::ReadOnly);
            }
            let bytes = u64::from(element.bytes());
            if !address.is_multiple_of(bytes) {
                return Err(ArgumentError::Alignment { address: *address, bytes });
            }
            Ok(())
        }
        (_, Argument::TensorMap(map)) => {
            tensor_map::check(map)?;
            let given = find(buffers, map.address, |region| tensor_map::check_within(map, region).is_ok())?;
            tensor_map::check_within(map, &given.region)
        }
        _ => Ok(()),
    }
}

/// The buffer that holds an address; of several one that suits, else one that says why not. An empty buffer holds the
/// address at which it stands.
fn find<'b, 'm>(
    buffers: &'b [Use<'m>],
    address: u64,
    suits: impl Fn(&Region<'_>) -> bool,
) -> Result<&'b Use<'m>, ArgumentError> {
    let holds = |given: &&Use<'_>| {
        let (start, bytes) = (given.region.address(), given.region.bytes);
        address == start || (start..start + bytes).contains(&address)
    };
    let mut holding = buffers.iter().filter(holds);
    let first = holding.next().ok_or(ArgumentError::UnknownAddress { address })?;
    if suits(&first.region) {
        return Ok(first);
    }
    Ok(holding.find(|given| suits(&given.region)).unwrap_or(first))
}

#[cfg(all(test, feature = "cuda", feature = "sim"))]
mod tests {
    use super::super::contract::Contract;
    use super::super::{Device, Module};

    #[test]
    fn a_dependent_launch_is_asked_for_where_devices_have_it() {
        let text = ".version 7.0 .target sm_80 .address_size 64 .visible .entry nothing() { ret; }";
        for (device, has_it) in [("sm_80", false), ("sm_90a", true)] {
            let device = Device::simulated(device.parse().expect("a target")).expect("a device");
            let module = Module::load(&device, text).expect("a right module");
            for dependent_launch in [false, true] {
                let contract = Contract {
                    kernel: "nothing".to_owned(),
                    spec: String::new(),
                    target: device.target(),
                    parameters: Vec::new(),
                    grid: [1.into(), 1.into(), 1.into()],
                    threads: 32,
                    cluster: None,
                    shared_bytes: 0,
                    dependent_launch,
                };
                let kernel = module.kernel(&contract).expect("a right contract");
                let shape = kernel.shape(&[]).expect("no arguments").expect("one CTA");
                assert_eq!(shape.programmatic, dependent_launch && has_it, "{device}");
            }
        }
    }
}
