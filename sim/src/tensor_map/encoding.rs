//! The 128 bytes of a tensor map, our own layout, and the edits of `tensormap.replace`.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 7 | magic |
//! | 7 | 1 | version |
//! | 8 | 8 | global address |
//! | 16 | 40 | elements along each of 5 dimensions, 0 standing for 2^32 |
//! | 56 | 32 | strides in bytes of dimensions 1 to 4 |
//! | 88 | 20 | box along each dimension |
//! | 108 | 5 | element stride along each dimension |
//! | 113 | 1 | rank - 1 |
//! | 114 | 6 | ISA codes: element type, interleave, swizzle mode, swizzle atomicity, fill, L2 promotion |
//! | 120 | 8 | checksum of the above |
//!
//! All integers are little-endian. Values that do not fit a byte are kept as 255, which no rule allows.

use super::{
    ElementType, Interleave, L2Promotion, MAX_RANK, OobFill, Swizzle, TENSOR_MAP_ALIGN, TensorMapError,
    TileSpec,
};

/// The bytes of a tensor map.
pub const TENSOR_MAP_BYTES: usize = 128;

const MAGIC: [u8; 7] = *b"RQTMAP\0";
const VERSION: u8 = 1;
const CHECKSUM: usize = 120;

/// A field that `tensormap.replace` edits (PTX ISA 9.7.9.27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The address of the first element.
    GlobalAddress,
    /// The dimensions, less 1.
    Rank,
    /// The box along the dimension of the ordinal.
    BoxDim,
    /// The elements along the dimension of the ordinal.
    GlobalDim,
    /// The stride in bytes along the dimension after the ordinal.
    GlobalStride,
    /// The element stride along the dimension of the ordinal.
    ElementStride,
    /// The element type.
    ElementType,
    /// The interleave.
    InterleaveLayout,
    /// The swizzle.
    SwizzleMode,
    /// The atomicity of the swizzle.
    SwizzleAtomicity,
    /// What elements outside read as.
    FillMode,
}

impl Field {
    /// Every field.
    pub const ALL: &[Self] = &[
        Self::GlobalAddress,
        Self::Rank,
        Self::BoxDim,
        Self::GlobalDim,
        Self::GlobalStride,
        Self::ElementStride,
        Self::ElementType,
        Self::InterleaveLayout,
        Self::SwizzleMode,
        Self::SwizzleAtomicity,
        Self::FillMode,
    ];

    /// The modifier of the instruction, without its dot.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GlobalAddress => "global_address",
            Self::Rank => "rank",
            Self::BoxDim => "box_dim",
            Self::GlobalDim => "global_dim",
            Self::GlobalStride => "global_stride",
            Self::ElementStride => "element_stride",
            Self::ElementType => "elemtype",
            Self::InterleaveLayout => "interleave_layout",
            Self::SwizzleMode => "swizzle_mode",
            Self::SwizzleAtomicity => "swizzle_atomicity",
            Self::FillMode => "fill_mode",
        }
    }

    /// The field with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }

    /// The largest ordinal, if the instruction has one.
    #[must_use]
    pub const fn last_ordinal(self) -> Option<u32> {
        match self {
            Self::BoxDim | Self::GlobalDim | Self::ElementStride => Some(MAX_RANK as u32 - 1),
            Self::GlobalStride => Some(MAX_RANK as u32 - 2),
            _ => None,
        }
    }
}

/// The fields of a tensor map as they were written. They may contradict each other until [`Self::decode`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TensorMap {
    address: u64,
    /// 0 stands for 2^32.
    dims: [u64; MAX_RANK],
    strides: [u64; MAX_RANK - 1],
    box_dims: [u32; MAX_RANK],
    element_strides: [u8; MAX_RANK],
    rank_less_1: u8,
    element: u8,
    interleave: u8,
    swizzle_mode: u8,
    swizzle_atomicity: u8,
    fill: u8,
    l2_promotion: u8,
}

/// A value that does not fit a byte as one that is out of range everywhere.
fn saturated(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

impl TensorMap {
    /// The map that `cuTensorMapEncodeTiled` makes.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn encode(spec: &TileSpec) -> Result<Self, TensorMapError> {
        spec.check()?;
        let (swizzle_mode, swizzle_atomicity) = spec.swizzle.isa_codes();
        Ok(Self {
            address: spec.address,
            dims: spec.dims.map(|dim| dim & 0xffff_ffff),
            strides: std::array::from_fn(|index| spec.strides[index + 1]),
            box_dims: spec.box_dims,
            element_strides: spec.element_strides.map(|stride| saturated(stride.into())),
            rank_less_1: spec.rank as u8 - 1,
            element: spec.element.isa_code() as u8,
            interleave: spec.interleave.isa_code() as u8,
            swizzle_mode: swizzle_mode as u8,
            swizzle_atomicity: swizzle_atomicity as u8,
            fill: spec.fill.isa_code() as u8,
            l2_promotion: spec.l2_promotion.isa_code() as u8,
        })
    }

    /// What the fields mean.
    ///
    /// # Errors
    /// A code that stands for nothing, or the first rule of the encoder that the fields break.
    pub fn decode(&self) -> Result<TileSpec, TensorMapError> {
        let rank = usize::from(self.rank_less_1) + 1;
        if rank > MAX_RANK {
            return Err(TensorMapError::Rank { rank: rank as u64 });
        }
        let code = |field, code: u8| TensorMapError::Code { field, code: code.into() };
        let element = u32::from(self.element);
        if (ElementType::FIRST_PACKED..=ElementType::LAST_PACKED).contains(&element) {
            return Err(TensorMapError::Unsupported { what: "a packed element type of 4 or 6 bits" });
        }
        let element = ElementType::from_isa_code(element).ok_or_else(|| code("elemtype", self.element))?;
        let (mode, atomicity) = (self.swizzle_mode.into(), self.swizzle_atomicity.into());
        let beyond = |dim| dim >= rank;
        let mut strides = [0; MAX_RANK];
        strides[0] = u64::from(element.bytes());
        strides[1..rank].copy_from_slice(&self.strides[..rank - 1]);
        let spec = TileSpec {
            element,
            address: self.address,
            rank,
            dims: std::array::from_fn(|dim| match self.dims[dim] {
                _ if beyond(dim) => 1,
                0 => 1 << 32,
                elements => elements,
            }),
            strides,
            box_dims: std::array::from_fn(|dim| if beyond(dim) { 1 } else { self.box_dims[dim] }),
            element_strides: std::array::from_fn(|dim| {
                if beyond(dim) { 1 } else { self.element_strides[dim].into() }
            }),
            interleave: Interleave::from_isa_code(self.interleave.into())
                .ok_or_else(|| code("interleave_layout", self.interleave))?,
            swizzle: Swizzle::from_isa_codes(mode, atomicity)
                .ok_or(TensorMapError::SwizzleCodes { mode, atomicity })?,
            l2_promotion: L2Promotion::from_isa_code(self.l2_promotion.into())
                .ok_or_else(|| code("l2Promotion", self.l2_promotion))?,
            fill: OobFill::from_isa_code(self.fill.into()).ok_or_else(|| code("fill_mode", self.fill))?,
        };
        spec.check()?;
        Ok(spec)
    }

    /// Edits a field as `tensormap.replace` does; `ordinal` is that of the instruction, where it has one. Whether the
    /// value makes sense is asked when the map is used.
    ///
    /// # Errors
    /// The ordinal names no dimension.
    pub fn replace(&mut self, field: Field, ordinal: u32, value: u64) -> Result<(), TensorMapError> {
        if let Some(limit) = field.last_ordinal()
            && ordinal > limit
        {
            return Err(TensorMapError::Ordinal { field: field.name(), ordinal, limit });
        }
        let (dim, word) = (ordinal as usize, value as u32);
        match field {
            Field::GlobalAddress => self.address = value,
            Field::Rank => self.rank_less_1 = saturated(word.into()),
            Field::BoxDim => self.box_dims[dim] = word,
            Field::GlobalDim => self.dims[dim] = word.into(),
            Field::GlobalStride => self.strides[dim] = value,
            Field::ElementStride => self.element_strides[dim] = saturated(word.into()),
            Field::ElementType => self.element = saturated(word.into()),
            Field::InterleaveLayout => self.interleave = saturated(word.into()),
            Field::SwizzleMode => self.swizzle_mode = saturated(word.into()),
            Field::SwizzleAtomicity => self.swizzle_atomicity = saturated(word.into()),
            Field::FillMode => self.fill = saturated(word.into()),
        }
        Ok(())
    }

    /// Replaces the global address, as `cuTensorMapReplaceAddress` does.
    ///
    /// # Errors
    /// The address breaks a rule of the encoder.
    pub fn replace_address(&mut self, address: u64) -> Result<(), TensorMapError> {
        let moved = Self { address, ..*self };
        moved.decode()?;
        *self = moved;
        Ok(())
    }

    /// The 128 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TENSOR_MAP_BYTES] {
        let mut bytes = [0; TENSOR_MAP_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&[VERSION]);
        put(&self.address.to_le_bytes());
        self.dims.iter().for_each(|dim| put(&dim.to_le_bytes()));
        self.strides.iter().for_each(|stride| put(&stride.to_le_bytes()));
        self.box_dims.iter().for_each(|elements| put(&elements.to_le_bytes()));
        put(&self.element_strides);
        put(&[self.rank_less_1, self.element, self.interleave, self.swizzle_mode, self.swizzle_atomicity]);
        put(&[self.fill, self.l2_promotion]);
        let sum = checksum(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The map that 128 bytes hold. Zeros are a map whose fields are still to be [replaced](Self::replace).
    ///
    /// # Errors
    /// [`TensorMapError::Foreign`], [`TensorMapError::Version`], [`TensorMapError::Checksum`].
    pub fn from_bytes(bytes: &[u8; TENSOR_MAP_BYTES]) -> Result<Self, TensorMapError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Self::default());
        }
        if bytes[..7] != MAGIC {
            return Err(TensorMapError::Foreign);
        }
        if bytes[7] != VERSION {
            return Err(TensorMapError::Version { version: bytes[7], expected: VERSION });
        }
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        if word(CHECKSUM) != checksum(&bytes[..CHECKSUM]) {
            return Err(TensorMapError::Checksum);
        }
        Ok(Self {
            address: word(8),
            dims: std::array::from_fn(|dim| word(16 + 8 * dim)),
            strides: std::array::from_fn(|index| word(56 + 8 * index)),
            box_dims: std::array::from_fn(|dim| word(88 + 4 * dim) as u32),
            element_strides: std::array::from_fn(|dim| bytes[108 + dim]),
            rank_less_1: bytes[113],
            element: bytes[114],
            interleave: bytes[115],
            swizzle_mode: bytes[116],
            swizzle_atomicity: bytes[117],
            fill: bytes[118],
            l2_promotion: bytes[119],
        })
    }

    /// Checks the address at which a map is used or edited.
    ///
    /// # Errors
    /// [`TensorMapError::MapAddress`].
    pub fn check_address(address: u64) -> Result<(), TensorMapError> {
        if !address.is_multiple_of(TENSOR_MAP_ALIGN) {
            return Err(TensorMapError::MapAddress { address });
        }
        Ok(())
    }
}

/// FNV-1a over 64-bit words.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        let mixed = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0000_0100_0000_01b3);
        mixed ^ mixed >> 32
    })
}
