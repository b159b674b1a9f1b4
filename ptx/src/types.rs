//! Fundamental types (PTX ISA 5.2): what an instruction, a register or a variable is declared with.

use std::fmt;

/// How the bits of a [`Type`] are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Raw bits, compatible with any type of the same width.
    Bits,
    /// Unsigned integer.
    Unsigned,
    /// Two's complement integer.
    Signed,
    /// Binary floating point, wide or narrow, also the packed and alternate formats.
    Float,
    /// One bit, in predicate registers only.
    Predicate,
}

macro_rules! types {
    ($($(#[$doc:meta])* $variant:ident $name:literal $kind:ident $bits:literal $element_bits:literal;)*) => {
        /// A fundamental or alternate type, named as after the dot in PTX.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Type { $($(#[$doc])* $variant,)* }

        impl Type {
            /// Every type, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The spelling without the dot, e.g. `f16x2`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Width in bits of the whole value.
            #[must_use]
            pub const fn bits(self) -> u32 {
                match self { $(Self::$variant => $bits,)* }
            }

            /// Width in bits of one element of a packed type, else of the whole value.
            #[must_use]
            pub const fn element_bits(self) -> u32 {
                match self { $(Self::$variant => $element_bits,)* }
            }

            /// How the bits are read.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// The type spelled `name`, without the dot.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

types! {
    /// 1-bit matrix elements.
    B1 "b1" Bits 1 1;
    /// 8 raw bits.
    B8 "b8" Bits 8 8;
    /// 16 raw bits.
    B16 "b16" Bits 16 16;
    /// 32 raw bits.
    B32 "b32" Bits 32 32;
    /// 64 raw bits.
    B64 "b64" Bits 64 64;
    /// 128 raw bits.
    B128 "b128" Bits 128 128;
    /// A tensor map.
    B1024 "b1024" Bits 1024 1024;
    /// 8-bit unsigned.
    U8 "u8" Unsigned 8 8;
    /// 16-bit unsigned.
    U16 "u16" Unsigned 16 16;
    /// 32-bit unsigned.
    U32 "u32" Unsigned 32 32;
    /// 64-bit unsigned.
    U64 "u64" Unsigned 64 64;
    /// 8-bit signed.
    S8 "s8" Signed 8 8;
    /// 16-bit signed.
    S16 "s16" Signed 16 16;
    /// 32-bit signed.
    S32 "s32" Signed 32 32;
    /// 64-bit signed.
    S64 "s64" Signed 64 64;
    /// 4-bit unsigned matrix elements.
    U4 "u4" Unsigned 4 4;
    /// 4-bit signed matrix elements.
    S4 "s4" Signed 4 4;
    /// 2-bit signed matrix elements.
    S2 "s2" Signed 2 2;
    /// 2-bit unsigned matrix elements.
    U2 "u2" Unsigned 2 2;
    /// Two 16-bit unsigned.
    U16x2 "u16x2" Unsigned 32 16;
    /// Two 16-bit signed.
    S16x2 "s16x2" Signed 32 16;
    /// Four 8-bit unsigned.
    U8x4 "u8x4" Unsigned 32 8;
    /// Four 8-bit signed.
    S8x4 "s8x4" Signed 32 8;
    /// IEEE binary16.
    F16 "f16" Float 16 16;
    /// Two binary16.
    F16x2 "f16x2" Float 32 16;
    /// bfloat16.
    Bf16 "bf16" Float 16 16;
    /// Two bfloat16.
    Bf16x2 "bf16x2" Float 32 16;
    /// IEEE binary32 with the low 13 bits ignored by the tensor core.
    Tf32 "tf32" Float 32 32;
    /// IEEE binary32.
    F32 "f32" Float 32 32;
    /// Two binary32.
    F32x2 "f32x2" Float 64 32;
    /// IEEE binary64.
    F64 "f64" Float 64 64;
    /// FP8, 4 exponent and 3 mantissa bits.
    E4m3 "e4m3" Float 8 8;
    /// FP8, 5 exponent and 2 mantissa bits.
    E5m2 "e5m2" Float 8 8;
    /// Two `e4m3`.
    E4m3x2 "e4m3x2" Float 16 8;
    /// Two `e5m2`.
    E5m2x2 "e5m2x2" Float 16 8;
    /// Four `e4m3`.
    E4m3x4 "e4m3x4" Float 32 8;
    /// Four `e5m2`.
    E5m2x4 "e5m2x4" Float 32 8;
    /// FP6, 3 exponent and 2 mantissa bits.
    E3m2 "e3m2" Float 6 6;
    /// FP6, 2 exponent and 3 mantissa bits.
    E2m3 "e2m3" Float 6 6;
    /// Two `e3m2`, each padded to a byte.
    E3m2x2 "e3m2x2" Float 16 8;
    /// Two `e2m3`, each padded to a byte.
    E2m3x2 "e2m3x2" Float 16 8;
    /// Four `e3m2`, each padded to a byte.
    E3m2x4 "e3m2x4" Float 32 8;
    /// Four `e2m3`, each padded to a byte.
    E2m3x4 "e2m3x4" Float 32 8;
    /// FP4, 2 exponent and 1 mantissa bit.
    E2m1 "e2m1" Float 4 4;
    /// Two `e2m1` in a byte.
    E2m1x2 "e2m1x2" Float 8 4;
    /// Four `e2m1` in 16 bits.
    E2m1x4 "e2m1x4" Float 16 4;
    /// A power-of-two scale, exponent only.
    Ue8m0 "ue8m0" Float 8 8;
    /// Two `ue8m0`.
    Ue8m0x2 "ue8m0x2" Float 16 8;
    /// Two 8-bit fixed-point numbers with 6 fractional bits.
    S2f6x2 "s2f6x2" Signed 16 8;
    /// An unsigned scale, 4 exponent and 3 mantissa bits.
    Ue4m3 "ue4m3" Float 8 8;
    /// A predicate.
    Pred "pred" Predicate 1 1;
}

impl Type {
    /// Width in whole bytes, rounded up.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Whether the value is a two's complement integer.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(self.kind(), Kind::Signed)
    }

    /// Whether the value is floating point.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self.kind(), Kind::Float)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}", self.name())
    }
}

/// A state space (PTX ISA 5.1). The sub-qualified shared spaces are their own values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// `.reg`
    Reg,
    /// `.const`
    Const,
    /// `.global`
    Global,
    /// `.local`
    Local,
    /// `.param` of a kernel or a function.
    Param,
    /// `.shared`, the window of the executing CTA.
    Shared,
    /// `.shared::cluster`, the windows of every CTA of the cluster.
    SharedCluster,
    /// No space given: a generic address.
    Generic,
}

impl Space {
    /// The directive or modifier without the dot; empty for a generic address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reg => "reg",
            Self::Const => "const",
            Self::Global => "global",
            Self::Local => "local",
            Self::Param => "param",
            Self::Shared => "shared",
            Self::SharedCluster => "shared::cluster",
            Self::Generic => "",
        }
    }
}
