//! The rules of `cuTensorMapEncodeTiled` (CUDA driver API 6.30), checked in the order in which it lists them, and what
//! else can be wrong with a tensor map.

use super::{ElementType, Interleave, MAX_RANK, OobFill, Swizzle, TENSOR_MAP_ALIGN, TileSpec};

/// Strides are below this.
const MAX_STRIDE: u64 = 1 << 40;
/// A dimension has at most this many elements. CUDA 12 documents 2^32, CUDA 13 2^31.
const MAX_DIM: u64 = 1 << 32;
/// The box has at most this many elements along a dimension.
const MAX_BOX: u32 = 256;
/// Element strides are at most this.
const MAX_ELEMENT_STRIDE: u32 = 8;
/// The bytes of a row of the box are a multiple of this.
const ROW_UNIT: u32 = 16;

/// Why a tensor map cannot be encoded, read, or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorMapError {
    /// An array of the encoder has the wrong length.
    #[error("{field} has {length} elements: a tensor of {rank} dimensions needs {expected}")]
    Length {
        /// The array.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The length that it should have.
        expected: usize,
        /// The dimensions of the tensor.
        rank: usize,
    },
    /// The rank is not in 1..=5.
    #[error("tensorRank is {rank}: it must be in 1..={MAX_RANK}")]
    Rank {
        /// The rank.
        rank: u64,
    },
    /// An interleaved tensor has fewer than 3 dimensions.
    #[error("tensorRank is {rank}: with interleave {} it must be at least 3", interleave.name())]
    InterleaveRank {
        /// The rank.
        rank: usize,
        /// The interleave.
        interleave: Interleave,
    },
    /// The global address is not aligned.
    #[error("globalAddress is {address:#x}: with interleave {} it must be a multiple of {align}", interleave.name())]
    Address {
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
        /// The interleave.
        interleave: Interleave,
    },
    /// A dimension is empty or too large.
    #[error("globalDim[{dim}] is {value}: it must be in 1..={MAX_DIM}")]
    Dim {
        /// The dimension.
        dim: usize,
        /// Its elements.
        value: u64,
    },
    /// A stride is not aligned.
    #[error("globalStrides[{}] is {value}: with interleave {} it must be a multiple of {align}", dim - 1, interleave.name())]
    StrideAlignment {
        /// The dimension.
        dim: usize,
        /// The stride in bytes.
        value: u64,
        /// What it must be a multiple of.
        align: u64,
        /// The interleave.
        interleave: Interleave,
    },
    /// A stride is too large.
    #[error("globalStrides[{}] is {value}: it must be less than 2^40", dim - 1)]
    StrideRange {
        /// The dimension.
        dim: usize,
        /// The stride in bytes.
        value: u64,
    },
    /// The box is empty or too large along a dimension.
    #[error("boxDim[{dim}] is {value}: it must be in 1..={MAX_BOX}")]
    Box {
        /// The dimension.
        dim: usize,
        /// The elements.
        value: u32,
    },
    /// A row of the box is no multiple of 16 bytes.
    #[error(
        "boxDim[0] is {elements} elements of {bytes} bytes: a row must be a multiple of {ROW_UNIT} bytes"
    )]
    BoxRow {
        /// The elements of a row.
        elements: u32,
        /// The bytes of an element.
        bytes: u32,
    },
    /// An element stride is not in 1..=8.
    #[error("elementStrides[{dim}] is {value}: it must be in 1..={MAX_ELEMENT_STRIDE}")]
    ElementStride {
        /// The dimension.
        dim: usize,
        /// The stride.
        value: u32,
    },
    /// A row of the box is longer than the swizzle span.
    #[error("boxDim[0] is {bytes} bytes: with swizzle {} a row has at most {} bytes", swizzle.name(), swizzle.span())]
    SwizzleSpan {
        /// The bytes of a row.
        bytes: u32,
        /// The swizzle.
        swizzle: Swizzle,
    },
    /// The swizzle does not go with the interleave.
    #[error("swizzle is {}: interleave {} {}", swizzle.name(), interleave.name(),
        if *.interleave == Interleave::B32 { "requires swizzle 32B" } else { "excludes it" })]
    InterleaveSwizzle {
        /// The swizzle.
        swizzle: Swizzle,
        /// The interleave.
        interleave: Interleave,
    },
    /// NaN fill of integers.
    #[error("oobFill is nan: tensorDataType {} is no floating-point type", element.name())]
    NanFill {
        /// The element type.
        element: ElementType,
    },
    /// A code stands for nothing.
    #[error("{field} has code {code}, which stands for nothing")]
    Code {
        /// The field.
        field: &'static str,
        /// The code.
        code: u32,
    },
    /// Swizzle mode and atomicity do not go together.
    #[error("swizzle mode {mode} does not exist with swizzle atomicity {atomicity}")]
    SwizzleCodes {
        /// The ISA's code of the mode.
        mode: u32,
        /// The ISA's code of the atomicity.
        atomicity: u32,
    },
    /// The ordinal of a `tensormap.replace` names no dimension.
    #[error("tensormap.replace of {field} with ordinal {ordinal}: it must be at most {limit}")]
    Ordinal {
        /// The field.
        field: &'static str,
        /// The ordinal.
        ordinal: u32,
        /// The largest there is.
        limit: u32,
    },
    /// The bytes are no tensor map of this simulator.
    #[error("these 128 bytes are no tensor map: it was not encoded for this simulator, or never written")]
    Foreign,
    /// The bytes are of another version of this simulator.
    #[error("the tensor map has version {version}: this simulator reads version {expected}")]
    Version {
        /// Its version.
        version: u8,
        /// The version that is read.
        expected: u8,
    },
    /// The bytes were changed other than by `tensormap.replace`.
    #[error(
        "the checksum of the tensor map is wrong: its bytes were written over, or copied while they changed"
    )]
    Checksum,
    /// The tensor map itself is not aligned.
    #[error("the tensor map is at {address:#x}: its address must be a multiple of {TENSOR_MAP_ALIGN}")]
    MapAddress {
        /// The address of the map.
        address: u64,
    },
    /// The simulator does not have it.
    #[error("not supported by the simulator: {what}")]
    Unsupported {
        /// What it does not have.
        what: &'static str,
    },
}

impl TensorMapError {
    /// Whether the simulator lacks something, rather than the program being wrong.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }
}

impl TileSpec {
    /// Checks every rule of `cuTensorMapEncodeTiled`.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), TensorMapError> {
        let Self { element, address, rank, interleave, swizzle, .. } = *self;
        if rank == 0 || rank > MAX_RANK {
            return Err(TensorMapError::Rank { rank: rank as u64 });
        }
        if interleave != Interleave::None && rank < 3 {
            return Err(TensorMapError::InterleaveRank { rank, interleave });
        }
        let align = if interleave == Interleave::B32 { 32 } else { 16 };
        if !address.is_multiple_of(align) {
            return Err(TensorMapError::Address { address, align, interleave });
        }
        for (dim, &value) in self.dims[..rank].iter().enumerate() {
            if value == 0 || value > MAX_DIM {
                return Err(TensorMapError::Dim { dim, value });
            }
        }
        for (dim, &value) in self.strides[..rank].iter().enumerate().skip(1) {
            if !value.is_multiple_of(align) {
                return Err(TensorMapError::StrideAlignment { dim, value, align, interleave });
            }
            if value >= MAX_STRIDE {
                return Err(TensorMapError::StrideRange { dim, value });
            }
        }
        for (dim, &value) in self.box_dims[..rank].iter().enumerate() {
            if value == 0 || value > MAX_BOX {
                return Err(TensorMapError::Box { dim, value });
            }
        }
        let row = self.box_dims[0] * element.bytes();
        if interleave == Interleave::None && !row.is_multiple_of(ROW_UNIT) {
            return Err(TensorMapError::BoxRow { elements: self.box_dims[0], bytes: element.bytes() });
        }
        for dim in 0..rank {
            let value = self.element_stride(dim);
            if value == 0 || value > MAX_ELEMENT_STRIDE {
                return Err(TensorMapError::ElementStride { dim, value });
            }
        }
        if interleave == Interleave::None && swizzle != Swizzle::None && row > swizzle.span() {
            return Err(TensorMapError::SwizzleSpan { bytes: row, swizzle });
        }
        let goes_together = match interleave {
            Interleave::None => true,
            Interleave::B16 => swizzle != Swizzle::B96,
            Interleave::B32 => swizzle == Swizzle::B32,
        };
        if !goes_together {
            return Err(TensorMapError::InterleaveSwizzle { swizzle, interleave });
        }
        if self.fill == OobFill::Nan && !element.is_float() {
            return Err(TensorMapError::NanFill { element });
        }
        Ok(())
    }
}
