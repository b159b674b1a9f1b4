//! The choices of a tensor map: element type, interleave, L2 promotion, fill. Each has the code of the PTX ISA
//! (9.7.9.27, `tensormap.replace`), the code of the driver's enumeration, and the name that a launch file uses.

use super::TensorMapError;

macro_rules! choices {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $isa:literal, $driver:literal, $text:literal;)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every choice.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code that `tensormap.replace` writes.
            #[must_use]
            pub const fn isa_code(self) -> u32 {
                match self { $(Self::$variant => $isa,)* }
            }

            /// The choice with this ISA code.
            #[must_use]
            pub const fn from_isa_code(code: u32) -> Option<Self> {
                match code { $($isa => Some(Self::$variant),)* _ => None }
            }

            /// The choice with this code of the driver's enumeration.
            #[must_use]
            pub const fn from_driver_code(code: u32) -> Option<Self> {
                match code { $($driver => Some(Self::$variant),)* _ => None }
            }

            /// The name in messages and launch files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The choice with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|choice| choice.name() == name)
            }
        }
    };
}

choices! {
    /// The type of the elements of a tensor.
    ElementType {
        /// Unsigned, 8 bits; also every 8-bit float.
        U8 = 0, 0, "u8";
        /// Unsigned, 16 bits.
        U16 = 1, 1, "u16";
        /// Unsigned, 32 bits.
        U32 = 2, 2, "u32";
        /// Signed, 32 bits.
        S32 = 3, 3, "s32";
        /// Unsigned, 64 bits.
        U64 = 4, 4, "u64";
        /// Signed, 64 bits.
        S64 = 5, 5, "s64";
        /// IEEE half precision.
        F16 = 6, 6, "f16";
        /// IEEE single precision.
        F32 = 7, 7, "f32";
        /// IEEE single precision; reductions flush subnormals.
        F32Ftz = 8, 10, "f32_ftz";
        /// IEEE double precision.
        F64 = 9, 8, "f64";
        /// bfloat16.
        Bf16 = 10, 9, "bf16";
        /// Single precision that loads round to 10 bits of fraction.
        Tf32 = 11, 11, "tf32";
        /// As `Tf32`; reductions flush subnormals.
        Tf32Ftz = 12, 12, "tf32_ftz";
    }
}

choices! {
    /// The interleaved layout of a tensor.
    Interleave {
        /// None.
        None = 0, 0, "none";
        /// NC/8HWC8: 16 bytes of channels together.
        B16 = 1, 1, "16B";
        /// NC/16HWC16: 32 bytes of channels together.
        B32 = 2, 2, "32B";
    }
}

choices! {
    /// The size of what loads fetch into L2.
    L2Promotion {
        /// What is needed.
        None = 0, 0, "none";
        /// 64 bytes.
        B64 = 1, 1, "64B";
        /// 128 bytes.
        B128 = 2, 2, "128B";
        /// 256 bytes.
        B256 = 3, 3, "256B";
    }
}

choices! {
    /// What elements outside of the tensor read as.
    OobFill {
        /// Zero.
        Zero = 0, 0, "zero";
        /// The NaN that `fma.oob` treats as zero.
        Nan = 1, 1, "nan";
    }
}

impl ElementType {
    /// The first code of the packed types of 4 and 6 bits, which are of compute capability 10, in both numberings.
    pub(super) const FIRST_PACKED: u32 = 13;
    /// The last code of the packed types.
    pub(super) const LAST_PACKED: u32 = 15;

    /// The bytes of an element.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::S32 | Self::F32 | Self::F32Ftz | Self::Tf32 | Self::Tf32Ftz => 4,
            Self::U64 | Self::S64 | Self::F64 => 8,
        }
    }

    /// Whether elements outside of the tensor can read as NaN.
    #[must_use]
    pub const fn is_float(self) -> bool {
        !matches!(self, Self::U8 | Self::U16 | Self::U32 | Self::S32 | Self::U64 | Self::S64)
    }

    /// Whether loads round what they copy.
    #[must_use]
    pub const fn rounds_on_load(self) -> bool {
        matches!(self, Self::Tf32 | Self::Tf32Ftz)
    }

    /// The type for tensors of a data type by the name of a launch file: [`Self::from_name`], and the types that have
    /// no code of their own under the unsigned type of their width.
    #[must_use]
    pub fn for_data(name: &str) -> Option<Self> {
        match name {
            "s8" | "f8e4m3" | "f8e5m2" | "f8ue8m0" => Some(Self::U8),
            "s16" => Some(Self::U16),
            other => Self::from_name(other),
        }
    }

    /// The type with this code of the driver's enumeration.
    ///
    /// # Errors
    /// The packed types are not supported, other codes do not exist.
    pub fn from_driver(code: u32) -> Result<Self, TensorMapError> {
        match Self::from_driver_code(code) {
            Some(element) => Ok(element),
            None if (Self::FIRST_PACKED..=Self::LAST_PACKED).contains(&code) => {
                Err(TensorMapError::Unsupported { what: "a packed element type of 4 or 6 bits" })
            }
            None => Err(TensorMapError::Code { field: "tensorDataType", code }),
        }
    }
}
