//! Contexts, streams and memory of `cudarc`, which candle and others use too.
//!
//! [`Device::open`] opens the primary context of a device, as `CudaContext::new` does: both see the same memory. A minor
//! version of `cudarc` here is a minor version of this crate.
#![allow(unsafe_code, reason = "memory of another library is borrowed by its address")]

pub use ::cudarc::driver;

use crate::driver::{Buffer, Device, DeviceElement, Error, Result, Shape, Stream};
use ::cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The context of a device; `None` for a simulated one.
#[must_use]
pub fn context(device: &Device) -> Option<&Arc<CudaContext>> {
    device.cuda_context()
}

/// The stream as `cudarc` knows it; `None` for a simulated one. Work that is submitted to either is in one order.
#[must_use]
pub fn cuda_stream(stream: &Stream) -> Option<&Arc<CudaStream>> {
    stream.cuda_stream()
}

/// A stream that submits its work to one of `cudarc`.
///
/// # Errors
///
/// If the device is simulated, or the stream is of another context than the device's primary one.
pub fn stream(device: &Device, stream: Arc<CudaStream>) -> Result<Stream> {
    let given = stream.context();
    if context(device).is_some_and(|own| own.cu_ctx() == given.cu_ctx()) {
        return Ok(Stream::of_cuda(device, stream));
    }
    Err(Error::OtherDevice {
        operation: "use a stream of cudarc",
        expected: device.to_string(),
        given: format!("a context of CUDA device {}", given.ordinal()),
    })
}

/// A slice of `cudarc`, borrowed as a buffer to read. Dropping it lets `cudarc` go on with the slice.
#[derive(Debug)]
pub struct Borrowed<'a, T> {
    /// Dropped first, so that the stream is behind all work on it when the guard takes note of the stream.
    buffer: Buffer<T>,
    _guard: SyncOnDrop<'a>,
}

/// As [`Borrowed`], to write.
#[derive(Debug)]
pub struct BorrowedMut<'a, T> {
    borrowed: Borrowed<'a, T>,
}

/// Borrows a slice to read, ordered behind what `cudarc` does with it.
///
/// # Errors
///
/// If the stream is simulated or of another context, or the shape has another number of elements.
pub fn borrow<'a, T: DeviceElement>(
    stream: &'a Stream,
    slice: &'a CudaSlice<T>,
    shape: impl Into<Shape>,
) -> Result<Borrowed<'a, T>> {
    let (own, shape) = check(stream, slice, shape.into())?;
    let (address, guard) = slice.device_ptr(own);
    // SAFETY: the slice has as many elements and is borrowed as long as the guard lives; work of `cudarc` comes before
    // by its event, and after by that which the guard records.
    let buffer = unsafe { stream.borrow_raw(address, shape) }?;
    Ok(Borrowed { buffer, _guard: guard })
}

/// Borrows a slice to write, ordered behind what `cudarc` does with it.
///
/// # Errors
///
/// As of [`borrow`].
pub fn borrow_mut<'a, T: DeviceElement>(
    stream: &'a Stream,
    slice: &'a mut CudaSlice<T>,
    shape: impl Into<Shape>,
) -> Result<BorrowedMut<'a, T>> {
    let (own, shape) = check(stream, slice, shape.into())?;
    let (address, guard) = slice.device_ptr_mut(own);
    // SAFETY: as above, and the slice is borrowed mutably.
    let buffer = unsafe { stream.borrow_raw(address, shape) }?;
    Ok(BorrowedMut { borrowed: Borrowed { buffer, _guard: guard } })
}

fn check<'a, T>(
    stream: &'a Stream,
    slice: &CudaSlice<T>,
    shape: Shape,
) -> Result<(&'a Arc<CudaStream>, Shape)> {
    let operation = "borrow a slice of cudarc";
    let own = cuda_stream(stream).filter(|own| own.context().cu_ctx() == slice.context().cu_ctx());
    let Some(own) = own else {
        return Err(Error::OtherDevice {
            operation,
            expected: stream.device().to_string(),
            given: format!("a context of CUDA device {}", slice.ordinal()),
        });
    };
    if shape.elements() != Some(slice.len()) {
        let (expected, given) = (format!("a shape of {} elements", slice.len()), shape.to_string());
        return Err(Error::Shape { operation, expected, given });
    }
    Ok((own, shape))
}

impl<T> Deref for Borrowed<'_, T> {
    type Target = Buffer<T>;

    fn deref(&self) -> &Buffer<T> {
        &self.buffer
    }
}

impl<T> Deref for BorrowedMut<'_, T> {
    type Target = Buffer<T>;

    fn deref(&self) -> &Buffer<T> {
        &self.borrowed.buffer
    }
}

impl<T> DerefMut for BorrowedMut<'_, T> {
    fn deref_mut(&mut self) -> &mut Buffer<T> {
        &mut self.borrowed.buffer
    }
}
