//! Typed memory with a shape, and views of it.

use super::contract::Access;
use super::element::DeviceElement;
use super::memory::Memory;
use super::{Device, ElementType, Error, Result, Shape, Stream};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A tensor in the memory of a device: row-major, without gaps. Made by [`Stream::allocate`](super::Stream::allocate)
/// and [`Stream::upload`](super::Stream::upload); freed when it is dropped and all work on it has been done.
#[derive(Debug)]
pub struct Buffer<T> {
    memory: Arc<Memory>,
    shape: Shape,
    element: PhantomData<T>,
}

/// A tensor in part of a [`Buffer`], to read.
#[derive(Debug)]
pub struct View<'a, T> {
    region: Region<'a>,
    shape: Shape,
    element: PhantomData<&'a T>,
}

/// A tensor in part of a [`Buffer`], to read and write.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    region: Region<'a>,
    shape: Shape,
    element: PhantomData<&'a mut T>,
}

/// Bytes of an allocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region<'a> {
    pub memory: &'a Arc<Memory>,
    /// From the start of the allocation.
    pub offset: u64,
    pub bytes: u64,
    pub element: ElementType,
}

/// A buffer that a launch is given, and what for; made by `reads` and `writes` of buffers and views.
#[derive(Debug)]
pub struct Use<'a> {
    pub(super) region: Region<'a>,
    pub(super) access: Access,
}

impl Use<'_> {
    /// The elements from an address on, if all of them are in this memory.
    ///
    /// # Errors
    ///
    /// As of [`Stream::read`].
    pub fn read_at<T: DeviceElement>(
        &self,
        stream: &Stream,
        address: u64,
        elements: usize,
    ) -> Result<Option<Vec<T>>> {
        let Some((region, shape)) = self.at::<T>(address, elements) else { return Ok(None) };
        stream.download(View { region, shape, element: PhantomData }).map(Some)
    }

    /// Overwrites the elements from an address on, if all of them are in this memory and it was given to be written.
    ///
    /// # Errors
    ///
    /// As of [`Stream::write`].
    pub fn write_at<T: DeviceElement>(&self, stream: &Stream, address: u64, values: &[T]) -> Result<bool> {
        let Some((region, shape)) = self.at::<T>(address, values.len()) else { return Ok(false) };
        if self.access == Access::In {
            return Ok(false);
        }
        stream.write(ViewMut { region, shape, element: PhantomData }, values).map(|()| true)
    }

    fn at<T: DeviceElement>(&self, address: u64, elements: usize) -> Option<(Region<'_>, Shape)> {
        let bytes = elements.checked_mul(size_of::<T>())? as u64;
        let offset = address.checked_sub(self.region.address())?;
        let is_within = self.region.element == T::ELEMENT && offset.checked_add(bytes)? <= self.region.bytes;
        let region = Region { offset: self.region.offset + offset, bytes, ..self.region };
        is_within.then(|| (region, elements.into()))
    }
}

impl<'a> Region<'a> {
    pub fn address(&self) -> u64 {
        self.memory.address() + self.offset
    }

    pub fn elements(&self) -> usize {
        (self.bytes / u64::from(self.element.bytes())) as usize
    }

    /// Part of it: so many bytes from one of its elements on.
    fn part(self, operation: &'static str, first: usize, shape: Shape) -> Result<Self> {
        let element_bytes = self.element.bytes() as usize;
        let (elements, bytes) = shape.size(operation, element_bytes)?;
        if first.checked_add(elements).is_none_or(|end| end > self.elements()) {
            return Err(Error::Shape {
                operation,
                expected: format!("a part of {} elements", self.elements()),
                given: format!("{shape} from element {first} on"),
            });
        }
        let offset = self.offset + (first * element_bytes) as u64;
        Ok(Self { offset, bytes: bytes as u64, ..self })
    }

    /// Whether the two share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (start, other_start) = (self.address(), other.address());
        self.bytes > 0
            && other.bytes > 0
            && start < other_start + other.bytes
            && other_start < start + self.bytes
    }
}

impl fmt::Display for Region<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, element, .. } = self;
        write!(f, "{} {element} at {:#x} ({bytes} bytes)", self.elements(), self.address())
    }
}

impl<T: DeviceElement> Buffer<T> {
    pub(super) fn new(memory: Memory, shape: Shape) -> Self {
        Self { memory: Arc::new(memory), shape, element: PhantomData }
    }

    /// Its device.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.memory.device()
    }

    /// Its extents, outermost first.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it starts, for the arguments of a launch; 0 if it has no elements.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.memory.address()
    }

    /// The same elements with other extents.
    ///
    /// # Errors
    ///
    /// If that is another number of elements.
    pub fn reshape(mut self, shape: impl Into<Shape>) -> Result<Self> {
        self.shape = reshaped(self.shape, shape.into())?;
        Ok(self)
    }

    /// All of it.
    #[must_use]
    pub fn view(&self) -> View<'_, T> {
        View { region: self.region(), shape: self.shape, element: PhantomData }
    }

    /// All of it, to write.
    #[must_use]
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut { region: self.region(), shape: self.shape, element: PhantomData }
    }

    /// A tensor of this shape from element `first` on.
    ///
    /// # Errors
    ///
    /// If it would reach beyond the end.
    pub fn slice(&self, first: usize, shape: impl Into<Shape>) -> Result<View<'_, T>> {
        self.view().slice(first, shape)
    }

    /// As [`slice`](Self::slice), to write.
    ///
    /// # Errors
    ///
    /// As of [`slice`](Self::slice).
    pub fn slice_mut(&mut self, first: usize, shape: impl Into<Shape>) -> Result<ViewMut<'_, T>> {
        self.view_mut().slice_mut(first, shape)
    }

    /// For a launch that reads it.
    #[must_use]
    pub fn reads(&self) -> Use<'_> {
        self.view().reads()
    }

    /// For a launch that writes it, and may read it too.
    #[must_use]
    pub fn writes(&mut self) -> Use<'_> {
        self.view_mut().writes()
    }

    fn region(&self) -> Region<'_> {
        // The shape was allocated with this size.
        let bytes = self.shape.elements().unwrap_or(0) * size_of::<T>();
        Region { memory: &self.memory, offset: 0, bytes: bytes as u64, element: T::ELEMENT }
    }
}

fn reshaped(from: Shape, to: Shape) -> Result<Shape> {
    if from.elements() == to.elements() {
        return Ok(to);
    }
    Err(Error::Shape {
        operation: "reshape",
        expected: format!("as many elements as {from}"),
        given: format!("{to}"),
    })
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

macro_rules! views {
    ($name:ident) => {
        impl<'a, T: DeviceElement> $name<'a, T> {
            /// Its device.
            #[must_use]
            pub fn device(&self) -> &'a Device {
                self.region.memory.device()
            }

            /// Its extents, outermost first.
            #[must_use]
            pub const fn shape(&self) -> Shape {
                self.shape
            }

            /// How many elements it has.
            #[must_use]
            pub fn len(&self) -> usize {
                self.region.elements()
            }

            /// Whether it has no elements.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Where it starts, for the arguments of a launch.
            #[must_use]
            pub fn address(&self) -> u64 {
                self.region.address()
            }

            /// The same elements with other extents.
            ///
            /// # Errors
            ///
            /// If that is another number of elements.
            pub fn reshape(mut self, shape: impl Into<Shape>) -> Result<Self> {
                self.shape = reshaped(self.shape, shape.into())?;
                Ok(self)
            }

            pub(super) const fn region(&self) -> Region<'a> {
                self.region
            }
        }
    };
}

views!(View);
views!(ViewMut);

impl<'a, T: DeviceElement> View<'a, T> {
    /// A tensor of this shape from element `first` on.
    ///
    /// # Errors
    ///
    /// If it would reach beyond the end.
    pub fn slice(self, first: usize, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        Ok(Self { region: self.region.part("slice", first, shape)?, shape, element: PhantomData })
    }

    /// For a launch that reads it.
    #[must_use]
    pub const fn reads(self) -> Use<'a> {
        Use { region: self.region, access: Access::In }
    }
}

impl<'a, T: DeviceElement> ViewMut<'a, T> {
    /// A tensor of this shape from element `first` on.
    ///
    /// # Errors
    ///
    /// If it would reach beyond the end.
    pub fn slice_mut(self, first: usize, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        Ok(Self { region: self.region.part("slice", first, shape)?, shape, element: PhantomData })
    }

    /// The elements before `at` and those from it on, as two tensors of one dimension.
    ///
    /// # Errors
    ///
    /// If there are fewer elements.
    pub fn split(self, at: usize) -> Result<(Self, Self)> {
        let rest = self.len().saturating_sub(at);
        let part = |first, elements: usize| -> Result<Self> {
            let region = self.region.part("split", first, elements.into())?;
            Ok(Self { region, shape: elements.into(), element: PhantomData })
        };
        Ok((part(0, at)?, part(at, rest)?))
    }

    /// The same, for a shorter time.
    #[must_use]
    pub const fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { region: self.region, shape: self.shape, element: PhantomData }
    }

    /// The same, to read.
    #[must_use]
    pub const fn as_view(&self) -> View<'_, T> {
        View { region: self.region, shape: self.shape, element: PhantomData }
    }

    /// For a launch that writes it, and may read it too.
    #[must_use]
    pub const fn writes(self) -> Use<'a> {
        Use { region: self.region, access: Access::InOut }
    }
}

impl<'a, T: DeviceElement> From<&'a Buffer<T>> for View<'a, T> {
    fn from(buffer: &'a Buffer<T>) -> Self {
        buffer.view()
    }
}

impl<'a, T: DeviceElement> From<&'a mut Buffer<T>> for ViewMut<'a, T> {
    fn from(buffer: &'a mut Buffer<T>) -> Self {
        buffer.view_mut()
    }
}
