//! What memory and registers hold: elements of tensors, and the types of values.

use rorqual_ptx::operand::Immediate;
use rorqual_ptx::types::Type;
use std::fmt;

/// The element type of a tensor, as plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ElementType {
    /// bfloat16.
    #[cfg_attr(feature = "serde", serde(rename = "bf16"))]
    Bf16,
    /// IEEE binary16.
    #[cfg_attr(feature = "serde", serde(rename = "f16"))]
    F16,
    /// IEEE binary32.
    #[cfg_attr(feature = "serde", serde(rename = "f32"))]
    F32,
    /// FP8, 4 exponent and 3 mantissa bits, no infinity.
    #[cfg_attr(feature = "serde", serde(rename = "f8e4m3"))]
    E4m3,
    /// FP8, 5 exponent and 2 mantissa bits.
    #[cfg_attr(feature = "serde", serde(rename = "f8e5m2"))]
    E5m2,
    /// Bytes.
    #[cfg_attr(feature = "serde", serde(rename = "u8"))]
    U8,
    /// 32-bit unsigned.
    #[cfg_attr(feature = "serde", serde(rename = "u32"))]
    U32,
    /// 32-bit signed.
    #[cfg_attr(feature = "serde", serde(rename = "s32"))]
    I32,
    /// 64-bit unsigned.
    #[cfg_attr(feature = "serde", serde(rename = "u64"))]
    U64,
}

impl ElementType {
    /// Bytes of an element.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::E4m3 | Self::E5m2 | Self::U8 => 1,
            Self::Bf16 | Self::F16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::U64 => 8,
        }
    }

    /// The name used in kernel names and contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::E4m3 => "f8e4m3",
            Self::E5m2 => "f8e5m2",
            Self::U8 => "u8",
            Self::U32 => "u32",
            Self::I32 => "s32",
            Self::U64 => "u64",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A type of elements in memory.
pub trait Element: Copy + fmt::Debug + 'static {
    /// The type as data.
    const ELEMENT: ElementType;
    /// What a register holds after a load.
    type Loaded: Held;
}

/// A type that a register holds.
pub trait Held: Copy + fmt::Debug + 'static {
    /// The type that a register is declared with.
    const REGISTER: Type;
}

/// A held type that literals of Rust have too, with arithmetic.
pub trait Scalar: Held + PartialEq {
    /// The type in the modifiers of arithmetic.
    const ARITHMETIC: Type;
    /// The literal.
    fn immediate(self) -> Immediate;
    /// The value of a literal that [`immediate`](Self::immediate) made.
    fn of_immediate(immediate: Immediate) -> Self;
    /// Folds `operation` of two constants; `None` where the result is not exact or not defined.
    fn fold(operation: Operation, a: Self, b: Self) -> Option<Self>;
}

/// A scalar that counts: an integer.
pub trait Integer: Scalar {
    /// Of a small number.
    fn of_u32(value: u32) -> Self;
    /// The exponent, if the value is a power of two.
    fn exponent(self) -> Option<u32>;
}

/// Operations of two values that are folded while the kernel is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient.
    Divide,
    /// Remainder.
    Remainder,
    /// The smaller one.
    Minimum,
    /// The larger one.
    Maximum,
    /// Bitwise conjunction.
    And,
    /// Bitwise disjunction.
    Or,
    /// Bitwise difference.
    Xor,
}

macro_rules! held {
    ($($(#[$doc:meta])* $name:ident $register:ident;)*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name;

        impl Held for $name {
            const REGISTER: Type = Type::$register;
        })*
    };
}

held! {
    /// bfloat16.
    Bf16 B16;
    /// IEEE binary16.
    F16 B16;
    /// 16 bits.
    B16 B16;
    /// 32 bits: elements packed from the low end.
    B32 B32;
    /// Two bfloat16.
    Bf16x2 B32;
    /// Two binary16.
    F16x2 B32;
}

/// FP8, 4 exponent and 3 mantissa bits. A register holds it zero-extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct E4m3;

/// FP8, 5 exponent and 2 mantissa bits. A register holds it zero-extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct E5m2;

macro_rules! elements {
    ($($ty:ty: $element:ident in $held:ty;)*) => {
        $(impl Element for $ty {
            const ELEMENT: ElementType = ElementType::$element;
            type Loaded = $held;
        })*
    };
}

elements! {
    Bf16: Bf16 in Bf16;
    F16: F16 in F16;
    f32: F32 in f32;
    E4m3: E4m3 in u32;
    E5m2: E5m2 in u32;
    u8: U8 in u32;
    u32: U32 in u32;
    i32: I32 in i32;
    u64: U64 in u64;
}

macro_rules! integers {
    ($($ty:ty: $register:ident $arithmetic:ident;)*) => {
        $(impl Held for $ty {
            const REGISTER: Type = Type::$register;
        }

        impl Scalar for $ty {
            const ARITHMETIC: Type = Type::$arithmetic;

            fn immediate(self) -> Immediate {
                Immediate::int(self as i64)
            }

            fn of_immediate(immediate: Immediate) -> Self {
                match immediate {
                    Immediate::Integer { value, .. } => value as Self,
                    Immediate::F32(bits) => bits as Self,
                    Immediate::F64(bits) => bits as Self,
                }
            }

            fn fold(operation: Operation, a: Self, b: Self) -> Option<Self> {
                match operation {
                    Operation::Add => Some(a.wrapping_add(b)),
                    Operation::Subtract => Some(a.wrapping_sub(b)),
                    Operation::Multiply => Some(a.wrapping_mul(b)),
                    Operation::Divide => a.checked_div(b),
                    Operation::Remainder => a.checked_rem(b),
                    Operation::Minimum => Some(a.min(b)),
                    Operation::Maximum => Some(a.max(b)),
                    Operation::And => Some(a & b),
                    Operation::Or => Some(a | b),
                    Operation::Xor => Some(a ^ b),
                }
            }
        }

        impl Integer for $ty {
            fn of_u32(value: u32) -> Self {
                value as Self
            }

            fn exponent(self) -> Option<u32> {
                (self > 0 && self & (self - 1) == 0).then(|| self.trailing_zeros())
            }
        })*
    };
}

integers! {
    u32: B32 U32;
    i32: B32 S32;
    u64: B64 U64;
    i64: B64 S64;
}

/// 8 bits are held in 32: there is no arithmetic on less.
impl Held for u8 {
    const REGISTER: Type = Type::B32;
}

impl Held for f32 {
    const REGISTER: Type = Type::F32;
}

impl Scalar for f32 {
    const ARITHMETIC: Type = Type::F32;

    fn immediate(self) -> Immediate {
        Immediate::F32(self.to_bits())
    }

    fn of_immediate(immediate: Immediate) -> Self {
        match immediate {
            Immediate::F32(bits) => Self::from_bits(bits),
            Immediate::F64(bits) => f64::from_bits(bits) as Self,
            Immediate::Integer { value, .. } => value as Self,
        }
    }

    /// Nothing: NaN payloads and signed zeros are left to the device.
    fn fold(_: Operation, _: Self, _: Self) -> Option<Self> {
        None
    }
}
