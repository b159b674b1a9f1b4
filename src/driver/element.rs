//! The types whose values a buffer holds.

use super::ElementType;
use crate::num::{E4m3, E5m2, bf16, f16};
use std::fmt::Debug;
use zerocopy::IntoBytes;

mod sealed {
    /// What a value must be to be copied as bytes; also keeps the list of elements closed.
    pub trait Sealed: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable {}
}

/// A type of elements in device memory: its bytes are the same on host and device, and every pattern is a value.
pub trait DeviceElement: sealed::Sealed + Copy + Debug + Send + Sync + 'static {
    /// The type as contracts name it.
    const ELEMENT: ElementType;
}

macro_rules! elements {
    ($($ty:ty: $element:ident;)*) => {
        $(impl sealed::Sealed for $ty {}

        impl DeviceElement for $ty {
            const ELEMENT: ElementType = ElementType::$element;
        })*
    };
}

elements! {
    bf16: Bf16;
    f16: F16;
    f32: F32;
    E4m3: E4m3;
    E5m2: E5m2;
    u8: U8;
    u32: U32;
    i32: I32;
    u64: U64;
}

/// The bytes of elements.
pub(super) fn bytes<T: DeviceElement>(values: &[T]) -> &[u8] {
    IntoBytes::as_bytes(values)
}

/// The bytes of elements, to overwrite.
pub(super) fn bytes_mut<T: DeviceElement>(values: &mut [T]) -> &mut [u8] {
    IntoBytes::as_mut_bytes(values)
}

/// So many zeros.
pub(super) fn zeros<T: DeviceElement>(count: usize) -> Vec<T> {
    vec![T::new_zeroed(); count]
}

/// Bytes of the largest element, which is also the largest alignment.
pub(super) const LARGEST_BYTES: usize = size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    fn same_size<T: DeviceElement>() {
        assert_eq!(size_of::<T>(), T::ELEMENT.bytes() as usize, "{}", T::ELEMENT);
        assert!(size_of::<T>() <= LARGEST_BYTES && align_of::<T>() == size_of::<T>(), "{}", T::ELEMENT);
    }

    #[test]
    fn elements_are_as_large_on_host_and_device() {
        same_size::<bf16>();
        same_size::<f16>();
        same_size::<f32>();
        same_size::<E4m3>();
        same_size::<E5m2>();
        same_size::<u8>();
        same_size::<u32>();
        same_size::<i32>();
        same_size::<u64>();
    }
}
