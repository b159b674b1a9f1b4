//! The arguments of a run, checked one by one before anything is launched.

use super::plan::Plan;
use super::{Error, Result};
use crate::driver::{Device, DeviceElement, ElementType, Shape, Stream, Use, View, ViewMut};
use rorqual_kernels::Registered;
use std::fmt;
use std::sync::MutexGuard;

/// Bytes that tensors of numbers start at a multiple of, so that kernels read them in vectors. Tensors of indices are
/// read one by one.
const VECTOR_BYTES: u64 = 16;

/// An extent that a tensor should have.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// This one.
    Is(u32),
    /// Any; what it counts.
    Any(&'static str),
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(extent) => write!(f, "{extent}"),
            Self::Any(name) => f.write_str(name),
        }
    }
}

/// The name of a tensor, or of a part of one: `x`, `x.scales`.
#[derive(Debug, Clone, Copy)]
pub struct Name(pub &'static str, pub &'static str);

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(name, "")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

/// The bytes of an argument.
#[derive(Debug)]
struct Bytes {
    name: Name,
    start: u64,
    count: u64,
    written: bool,
}

/// The word that a plan's kernel reports to, held during a run.
pub type Word<'a> = Option<MutexGuard<'a, crate::driver::Buffer<u32>>>;

/// A run of an operation: gathers its arguments, then launches.
#[derive(Debug)]
pub struct Call<'a> {
    operation: &'static str,
    device: &'a Device,
    stream: &'a Stream,
    /// The address of the word that kernels report to; 0 without one.
    pub error: u64,
    tensors: Vec<Bytes>,
    uses: Vec<Use<'a>>,
}

impl<'a> Call<'a> {
    /// A run of a plan on a stream of its device; `word` is the plan's.
    pub fn new<F: Registered>(plan: &'a Plan<F>, stream: &'a Stream, word: &'a mut Word<'_>) -> Result<Self> {
        let mut call = Self {
            operation: plan.operation(),
            device: plan.device(),
            stream,
            error: 0,
            tensors: Vec::new(),
            uses: Vec::new(),
        };
        call.check_device("stream".into(), stream.device())?;
        if let Some(word) = word {
            call.error = word.address();
            call.uses.push(word.writes());
        }
        Ok(call)
    }

    /// A tensor that is read: its address and extents.
    pub fn read<T: DeviceElement, const N: usize>(
        &mut self,
        name: impl Into<Name>,
        tensor: View<'a, T>,
        expected: [Extent; N],
    ) -> Result<(u64, [u32; N])> {
        let (name, address) = (name.into(), tensor.address());
        self.check_device(name, tensor.device())?;
        let extents = self.check_shape(name, tensor.shape(), expected)?;
        self.add::<T>(name, (address, tensor.len()), false)?;
        self.uses.push(tensor.reads());
        Ok((address, extents))
    }

    /// A tensor that is read if the plan says so: its address, or 0.
    pub fn read_if<T: DeviceElement, const N: usize>(
        &mut self,
        name: &'static str,
        wanted: bool,
        tensor: Option<View<'a, T>>,
        expected: [Extent; N],
    ) -> Result<u64> {
        match (wanted, tensor) {
            (true, Some(tensor)) => Ok(self.read(name, tensor, expected)?.0),
            (false, None) => Ok(0),
            (true, None) => {
                self.check(name, false, "a tensor, for which this is planned", "none").map(|()| 0)
            }
            (false, Some(tensor)) => {
                let given = format!("one of shape {}", tensor.shape());
                self.check(name, false, "no tensor, for which this is planned", given).map(|()| 0)
            }
        }
    }

    /// A tensor that is written: its address and extents.
    pub fn write<T: DeviceElement, const N: usize>(
        &mut self,
        name: impl Into<Name>,
        tensor: ViewMut<'a, T>,
        expected: [Extent; N],
    ) -> Result<(u64, [u32; N])> {
        let (name, address) = (name.into(), tensor.address());
        self.check_device(name, tensor.device())?;
        let extents = self.check_shape(name, tensor.shape(), expected)?;
        self.add::<T>(name, (address, tensor.len()), true)?;
        self.uses.push(tensor.writes());
        Ok((address, extents))
    }

    /// A tensor that is written, whatever its extents: its address and elements.
    pub fn write_flat<T: DeviceElement>(
        &mut self,
        name: impl Into<Name>,
        tensor: ViewMut<'a, T>,
    ) -> Result<(u64, usize)> {
        let (name, address, elements) = (name.into(), tensor.address(), tensor.len());
        self.check_device(name, tensor.device())?;
        self.add::<T>(name, (address, elements), true)?;
        self.uses.push(tensor.writes());
        Ok((address, elements))
    }

    /// Launches a kernel of the operation with these arguments.
    pub fn launch<F: Registered>(&self, plan: &Plan<F>, arguments: &F::Arguments) -> Result<()> {
        self.check_overlaps()?;
        plan.launch(self.stream, arguments, &self.uses)
    }

    /// That a number is in its range.
    pub fn check(&self, argument: &str, holds: bool, expected: &str, given: impl fmt::Display) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Error::Range {
            operation: self.operation,
            argument: argument.to_owned(),
            expected: expected.to_owned(),
            given: given.to_string(),
        })
    }

    fn check_device(&self, name: Name, given: &Device) -> Result<()> {
        if given == self.device {
            return Ok(());
        }
        Err(Error::OtherDevice {
            operation: self.operation,
            argument: name.to_string(),
            expected: self.device.to_string(),
            given: given.to_string(),
        })
    }

    fn check_shape<const N: usize>(
        &self,
        name: Name,
        given: Shape,
        expected: [Extent; N],
    ) -> Result<[u32; N]> {
        let error = || Error::Shape {
            operation: self.operation,
            argument: name.to_string(),
            expected: format!("[{}]", expected.map(|extent| extent.to_string()).join(", ")),
            given: given.to_string(),
        };
        let given: &[usize; N] = given.extents().try_into().map_err(|_| error())?;
        let mut extents = [0; N];
        for ((extent, given), expected) in extents.iter_mut().zip(given).zip(expected) {
            match expected {
                Extent::Is(expected) if *given != expected as usize => return Err(error()),
                Extent::Is(expected) => *extent = expected,
                Extent::Any(counted) => {
                    let argument = || format!("{name}: {counted}");
                    *extent = u32::try_from(*given).map_err(|_| Error::Range {
                        operation: self.operation,
                        argument: argument(),
                        expected: format!("at most {}", u32::MAX),
                        given: given.to_string(),
                    })?;
                }
            }
        }
        Ok(extents)
    }

    fn add<T: DeviceElement>(
        &mut self,
        name: Name,
        (start, elements): (u64, usize),
        written: bool,
    ) -> Result<()> {
        let element_bytes = size_of::<T>() as u64;
        let is_index = matches!(T::ELEMENT, ElementType::U32 | ElementType::I32 | ElementType::U64);
        let expected = if is_index { element_bytes } else { VECTOR_BYTES };
        if elements > 0 && !start.is_multiple_of(expected) {
            let argument = name.to_string();
            return Err(Error::Alignment { operation: self.operation, argument, expected, given: start });
        }
        self.tensors.push(Bytes { name, start, count: elements as u64 * element_bytes, written });
        Ok(())
    }

    /// That what is written overlaps nothing else.
    fn check_overlaps(&self) -> Result<()> {
        let overlap = |a: &Bytes, b: &Bytes| a.start < b.start + b.count && b.start < a.start + a.count;
        for (index, written) in self.tensors.iter().enumerate().filter(|(_, tensor)| tensor.written) {
            let mut others = self.tensors.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, other)) =
                others.find(|(_, other)| written.count > 0 && other.count > 0 && overlap(written, other))
            {
                return Err(Error::Overlap {
                    operation: self.operation,
                    argument: written.name.to_string(),
                    other: other.name.to_string(),
                    given: format!("{} bytes at {:#x}", written.count, written.start),
                });
            }
        }
        Ok(())
    }
}

/// A length of the host as kernels count.
pub fn count(operation: &'static str, argument: &str, given: usize) -> Result<u32> {
    u32::try_from(given).map_err(|_| Error::Range {
        operation,
        argument: argument.to_owned(),
        expected: format!("at most {}", u32::MAX),
        given: given.to_string(),
    })
}

/// The outermost extent of a tensor: how many rows to make room for. Whether they are rows is checked with the tensor.
pub fn rows_of<T: DeviceElement>(tensor: View<'_, T>) -> usize {
    tensor.shape().extents().first().copied().unwrap_or(0)
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;

    /// Buffers that overlap cannot be borrowed without `unsafe`, so their bytes are made up.
    #[test]
    fn results_that_overlap_are_refused() {
        let device = Device::simulated("sm_80".parse().expect("a target")).expect("a device");
        let stream = device.stream().expect("a stream");
        let refused = |tensors: [(u64, u64, bool); 2]| {
            let names = ["x", "y"];
            let bytes = |((start, count, written), name): ((u64, u64, bool), &'static str)| Bytes {
                name: name.into(),
                start,
                count,
                written,
            };
            let tensors = tensors.into_iter().zip(names).map(bytes).collect();
            let (device, stream) = (&device, &stream);
            let call = Call { operation: "test", device, stream, error: 0, tensors, uses: Vec::new() };
            call.check_overlaps().err().map(|error| error.to_string())
        };
        let expected = "test: `y`: expected memory of its own, got 32 bytes at 0x1010 overlapping `x`";
        assert_eq!(refused([(0x1000, 32, false), (0x1010, 32, true)]).as_deref(), Some(expected));
        assert_eq!(refused([(0x1000, 32, false), (0x1010, 32, false)]), None, "both are read");
        assert_eq!(refused([(0x1000, 16, false), (0x1010, 32, true)]), None, "side by side");
        assert_eq!(refused([(0x1010, 0, true), (0x1000, 32, true)]), None, "nothing overlaps nothing");
    }
}
