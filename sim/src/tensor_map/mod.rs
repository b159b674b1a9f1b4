//! Tensor maps: what a tensor copy (`cp.async.bulk.tensor`) is told about the tensor, the box and the shared layout.
//!
//! NVIDIA does not document the 128 bytes that `cuTensorMapEncodeTiled` writes, so these are our own: [`TensorMap`]
//! holds the fields as they were written, [`TileSpec`] what they mean once every rule of the encoder has been checked.
//! A map can be edited on the device (`tensormap.replace`), one field after the other; whether its fields fit together
//! is therefore only asked when it is used.

mod element;
mod encoding;
mod rules;
mod swizzle;

pub use element::{ElementType, Interleave, L2Promotion, OobFill};
pub use encoding::{Field, TENSOR_MAP_BYTES, TensorMap};
pub use rules::TensorMapError;
pub use swizzle::Swizzle;

/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 5;
/// What the address of a tensor map must be a multiple of, wherever it is.
pub const TENSOR_MAP_ALIGN: u64 = 64;

/// What a tensor map says: the arguments of `cuTensorMapEncodeTiled`, the innermost dimension first. Elements of the
/// arrays beyond `rank` are 1 (strides: 0) and mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileSpec {
    /// The type of an element.
    pub element: ElementType,
    /// The global address of the first element.
    pub address: u64,
    /// The dimensions of the tensor.
    pub rank: usize,
    /// The elements along each dimension.
    pub dims: [u64; MAX_RANK],
    /// The bytes from one element to the next along each dimension; along dimension 0 they follow each other.
    pub strides: [u64; MAX_RANK],
    /// The elements along each dimension that a copy traverses.
    pub box_dims: [u32; MAX_RANK],
    /// Along each dimension, every how many of the traversed elements one is copied.
    pub element_strides: [u32; MAX_RANK],
    /// The interleaved layout of the tensor.
    pub interleave: Interleave,
    /// The permutation of the box in shared memory.
    pub swizzle: Swizzle,
    /// What is fetched into L2; no functional effect.
    pub l2_promotion: L2Promotion,
    /// What elements outside of the tensor read as.
    pub fill: OobFill,
}

impl TileSpec {
    /// A map without interleave, swizzle and L2 promotion whose elements outside read as zero. `strides` are the bytes
    /// of the dimensions from 1 on, the other slices have one element a dimension.
    ///
    /// # Errors
    /// The rank is not in 1..=5, or a slice has another length. The other rules are those of [`Self::check`].
    pub fn new(
        element: ElementType,
        address: u64,
        dims: &[u64],
        strides: &[u64],
        box_dims: &[u32],
        element_strides: &[u32],
    ) -> Result<Self, TensorMapError> {
        let rank = dims.len();
        if rank == 0 || rank > MAX_RANK {
            return Err(TensorMapError::Rank { rank: rank as u64 });
        }
        let lengths = [
            ("globalStrides", strides.len(), rank - 1),
            ("boxDim", box_dims.len(), rank),
            ("elementStrides", element_strides.len(), rank),
        ];
        for (field, length, expected) in lengths {
            if length != expected {
                return Err(TensorMapError::Length { field, length, expected, rank });
            }
        }
        let mut spec = Self {
            element,
            address,
            rank,
            dims: [1; MAX_RANK],
            strides: [0; MAX_RANK],
            box_dims: [1; MAX_RANK],
            element_strides: [1; MAX_RANK],
            interleave: Interleave::None,
            swizzle: Swizzle::None,
            l2_promotion: L2Promotion::None,
            fill: OobFill::Zero,
        };
        spec.dims[..rank].copy_from_slice(dims);
        spec.strides[0] = u64::from(element.bytes());
        spec.strides[1..rank].copy_from_slice(strides);
        spec.box_dims[..rank].copy_from_slice(box_dims);
        spec.element_strides[..rank].copy_from_slice(element_strides);
        Ok(spec)
    }

    /// The elements that a copy moves along each dimension: the box divided by the element stride, rounded up.
    #[must_use]
    pub fn counts(&self) -> [u32; MAX_RANK] {
        std::array::from_fn(|dim| self.box_dims[dim].div_ceil(self.element_stride(dim).max(1)))
    }

    /// The element stride that is in effect: that of dimension 0 is ignored without interleave.
    #[must_use]
    pub fn element_stride(&self, dim: usize) -> u32 {
        if dim == 0 && self.interleave == Interleave::None { 1 } else { self.element_strides[dim] }
    }

    /// The bytes that a copy moves, which it also completes on its mbarrier: the whole box, inside the tensor or not.
    #[must_use]
    pub fn box_bytes(&self) -> u32 {
        self.counts()[..self.rank]
            .iter()
            .fold(self.element.bytes(), |bytes, count| bytes.saturating_mul(*count))
    }

    /// The bytes from one row of the box to the next in shared memory. A row is as long as the swizzle span at least.
    #[must_use]
    pub fn row_pitch(&self) -> u32 {
        let row = self.counts()[0] * self.element.bytes();
        row.max(self.swizzle.span())
    }

    /// The bytes of shared memory from the first to the last that a copy touches, when its address is a multiple of
    /// what the swizzle repeats after.
    #[must_use]
    pub fn shared_bytes(&self) -> u32 {
        self.counts()[1..self.rank].iter().fold(self.row_pitch(), |bytes, count| bytes.saturating_mul(*count))
    }
}

#[cfg(test)]
mod tests;
