//! Host memory that a device reads and writes by itself, so that copies go on beside the host.

use super::backend::{self, each, wrapped};
use super::element::{self, DeviceElement};
use super::{Device, Result, Shape};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use zerocopy::FromBytes;

/// Page-locked host memory for elements; a slice of them. On the simulator it is ordinary memory.
pub struct Pinned<T> {
    device: Device,
    /// `None` for no bytes at all.
    backend: Option<backend::Pinned>,
    count: usize,
    element: PhantomData<T>,
}

/// A copy under way between a device and pinned memory, which it gives back by [`wait`](Self::wait). Dropping it waits too.
#[derive(Debug)]
#[must_use = "the pinned memory comes back by `wait`"]
pub struct Transfer<T> {
    device: Device,
    backend: Option<backend::Transfer>,
    count: usize,
    element: PhantomData<T>,
}

impl Device {
    /// Pinned host memory with so many zeros.
    ///
    /// # Errors
    ///
    /// If the host has too little memory that can be pinned.
    pub fn pinned<T: DeviceElement>(&self, count: usize) -> Result<Pinned<T>> {
        let (_, bytes) = Shape::from(count).size("allocate pinned memory", size_of::<T>())?;
        let backend = match bytes {
            0 => None,
            bytes => Some(wrapped!(Context self.context() => context: Pinned context.pinned(bytes))?),
        };
        Ok(Pinned { device: self.clone(), backend, count, element: PhantomData })
    }
}

impl<T: DeviceElement> Pinned<T> {
    /// Its device.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn into_backend(self) -> Option<backend::Pinned> {
        self.backend
    }
}

impl<T: DeviceElement> Deref for Pinned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let Some(backend) = &self.backend else { return &[] };
        let bytes = each!(Pinned backend => pinned: pinned.bytes());
        // Backends align to 8 bytes at least, and the size is that of the elements.
        <[T]>::ref_from_bytes(&bytes[..self.count * size_of::<T>()]).unwrap_or(&[])
    }
}

impl<T: DeviceElement> DerefMut for Pinned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let Some(backend) = &mut self.backend else { return &mut [] };
        let bytes = each!(Pinned backend => pinned: pinned.bytes_mut());
        <[T]>::mut_from_bytes(&mut bytes[..self.count * size_of::<T>()]).unwrap_or(&mut [])
    }
}

impl<T: DeviceElement> fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: DeviceElement> Transfer<T> {
    /// One that had nothing to copy.
    pub(super) fn done(values: Pinned<T>) -> Self {
        Self { device: values.device, backend: None, count: 0, element: PhantomData }
    }

    pub(super) fn under_way(device: &Device, count: usize, backend: backend::Transfer) -> Self {
        Self { device: device.clone(), backend: Some(backend), count, element: PhantomData }
    }

    /// Waits for the copy; the pinned memory.
    ///
    /// # Errors
    ///
    /// If work on the stream failed; the pinned memory is lost then.
    pub fn wait(self) -> Result<Pinned<T>> {
        let backend = match self.backend {
            None => None,
            Some(transfer) => Some(wrapped!(Transfer transfer => transfer: Pinned transfer.wait())?),
        };
        Ok(Pinned { device: self.device, backend, count: self.count, element: PhantomData })
    }
}

const _: () = assert!(element::LARGEST_BYTES <= 8, "pinned memory is aligned to 8 bytes");
