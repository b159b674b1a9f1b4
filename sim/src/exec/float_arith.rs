//! Sums, products, quotients, minima and maxima of floating-point numbers (PTX ISA 9.7.3 to 9.7.5): what the
//! instructions of [`arith`](super::arith) that take both kinds of numbers do with these.

use super::elementwise::{LaneFunction, Operands, lacking, type_of};
use crate::counters::Class;
use crate::decode::{Decoded, Decoder};
use crate::scalar::approximate::{self, Function};
use crate::scalar::format::{BF16, F16, Format};
use crate::scalar::half::{self, HalfMode};
use crate::scalar::{FloatMode, IntegerRounding, MinMaxMode, Rounding, float32, float64};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::types::Type;

/// `.rn`, `.rz`, `.rm`, `.rp` or `.rna`; to nearest where there is none.
pub(super) fn rounding_of(instruction: &Instruction) -> Rounding {
    instruction
        .find(|modifier| match modifier {
            Modifier::Rz => Some(Rounding::Zero),
            Modifier::Rm => Some(Rounding::Down),
            Modifier::Rp => Some(Rounding::Up),
            Modifier::Rna => Some(Rounding::NearestAway),
            _ => None,
        })
        .unwrap_or_default()
}

/// `.rni`, `.rzi`, `.rmi` or `.rpi`.
pub(super) fn integer_rounding_of(instruction: &Instruction) -> Option<IntegerRounding> {
    instruction.find(|modifier| match modifier {
        Modifier::Rni => Some(IntegerRounding::Nearest),
        Modifier::Rzi => Some(IntegerRounding::Zero),
        Modifier::Rmi => Some(IntegerRounding::Down),
        Modifier::Rpi => Some(IntegerRounding::Up),
        _ => None,
    })
}

pub(super) fn float_mode(instruction: &Instruction) -> FloatMode {
    FloatMode {
        rounding: rounding_of(instruction),
        ftz: instruction.has(Modifier::Ftz),
        sat: instruction.has(Modifier::Sat),
    }
}

pub(super) fn half_mode(instruction: &Instruction) -> HalfMode {
    HalfMode {
        ftz: instruction.has(Modifier::Ftz),
        sat: instruction.has(Modifier::Sat),
        relu: instruction.has(Modifier::Relu),
    }
}

pub(super) fn min_max_mode(instruction: &Instruction) -> MinMaxMode {
    MinMaxMode {
        ftz: instruction.has(Modifier::Ftz),
        nan: instruction.has(Modifier::PropagateNan),
        abs: instruction.has(Modifier::Abs),
        xorsign: instruction.has(Modifier::Xorsign),
    }
}

/// The 16-bit type of the operands of a mixed-precision instruction, the second type of `add.f32.bf16`.
pub(super) fn mixed_format(instruction: &Instruction) -> Option<Format> {
    match instruction.types().nth(1)? {
        Type::F16 => Some(F16),
        Type::Bf16 => Some(BF16),
        _ => None,
    }
}

/// Defines the method of a binary32 instruction. What kernels execute most, rounding to nearest without `.sat`, is code
/// of its own, free of branches.
macro_rules! binary32 {
    ($method:ident, $function:ident, $with:ident, ($($operand:ident),*)) => {
        pub(super) fn $method(&mut self, instruction: &Instruction) -> Decoded {
            let mode = float_mode(instruction);
            match mode {
                FloatMode { rounding: Rounding::Nearest, ftz: false, sat: false } => {
                    self.map(Class::Float, instruction, |($($operand),*)| float32::$function::<false>($($operand),*))
                }
                FloatMode { rounding: Rounding::Nearest, ftz: true, sat: false } => {
                    self.map(Class::Float, instruction, |($($operand),*)| float32::$function::<true>($($operand),*))
                }
                _ => self.map_scalar(Class::Float, instruction, move |($($operand),*)| {
                    float32::$with($($operand),*, mode)
                }),
            }
        }
    };
}

/// Defines the method of a binary32 minimum or maximum.
macro_rules! extreme32 {
    ($method:ident, $function:ident, $with:ident, $three:ident) => {
        pub(super) fn $method(&mut self, instruction: &Instruction) -> Decoded {
            let mode = min_max_mode(instruction);
            if instruction.operands.len() == 4 {
                return self
                    .map_scalar(Class::Float, instruction, move |(a, b, c)| float32::$three(a, b, c, mode));
            }
            match (mode.abs, mode.ftz, mode.nan) {
                (true, ..) => {
                    self.map_scalar(Class::Float, instruction, move |(a, b)| float32::$with(a, b, mode))
                }
                (_, false, false) => {
                    self.map(Class::Float, instruction, |(a, b)| float32::$function::<false, false>(a, b))
                }
                (_, false, true) => {
                    self.map(Class::Float, instruction, |(a, b)| float32::$function::<false, true>(a, b))
                }
                (_, true, false) => {
                    self.map(Class::Float, instruction, |(a, b)| float32::$function::<true, false>(a, b))
                }
                (_, true, true) => {
                    self.map(Class::Float, instruction, |(a, b)| float32::$function::<true, true>(a, b))
                }
            }
        }
    };
}

/// Defines the method of a binary64 instruction, with code of its own for rounding to nearest.
macro_rules! binary64 {
    ($method:ident, $function:ident, ($($operand:ident),*)) => {
        pub(super) fn $method(&mut self, instruction: &Instruction) -> Decoded {
            match rounding_of(instruction) {
                Rounding::Nearest => self.map(Class::Double, instruction, |($($operand),*)| {
                    float64::$function($($operand),*, Rounding::Nearest)
                }),
                rounding => self.map_scalar(Class::Double, instruction, move |($($operand),*)| {
                    float64::$function($($operand),*, rounding)
                }),
            }
        }
    };
}

impl Decoder<'_> {
    binary32!(add_f32, add, add_with, (a, b));
    binary32!(sub_f32, sub, sub_with, (a, b));
    binary32!(mul_f32, mul, mul_with, (a, b));
    binary32!(fma_f32, fma, fma_with, (a, b, c));
    binary64!(add_f64, add, (a, b));
    binary64!(sub_f64, sub, (a, b));
    binary64!(mul_f64, mul, (a, b));
    binary64!(fma_f64, fma, (a, b, c));
    binary64!(div_f64, div, (a, b));
    extreme32!(min_f32, min, min_with, min3_with);
    extreme32!(max_f32, max, max_with, max3_with);

    pub(super) fn div_f32(&mut self, instruction: &Instruction) -> Decoded {
        let mode = float_mode(instruction);
        let ftz = mode.ftz;
        if instruction.has(Modifier::Approx) {
            self.approximate(Function::Div, instruction, move |(a, b)| approximate::div(a, b, ftz))
        } else if instruction.has(Modifier::Full) {
            self.approximate(Function::DivFull, instruction, move |(a, b)| approximate::div_full(a, b, ftz))
        } else {
            self.map_scalar(Class::Float, instruction, move |(a, b)| float32::div_with(a, b, mode))
        }
    }

    /// A function of 16-bit numbers, applied to single ones or to both of a pair, as the type says.
    pub(super) fn halves<F: HalfFunction>(&mut self, instruction: &Instruction, function: F) -> Decoded {
        match type_of(instruction)? {
            Type::F16 => self.map_by(Class::Half, instruction, Single::<F, false>(function)),
            Type::Bf16 => self.map_by(Class::Half, instruction, Single::<F, true>(function)),
            Type::F16x2 => self.map_by(Class::Half, instruction, Packed::<F, false>(function)),
            Type::Bf16x2 => self.map_by(Class::Half, instruction, Packed::<F, true>(function)),
            other => Err(lacking(other)),
        }
    }
}

/// A function of the codes of one to three 16-bit numbers.
pub(super) trait HalfFunction: Copy + Send + Sync + 'static {
    /// The registers of single numbers.
    type Single: Operands;
    /// The registers of pairs.
    type Packed: Operands;
    fn single(self, operands: Self::Single, format: Format) -> u16;
    fn packed(self, operands: Self::Packed, format: Format) -> u32;
}

/// A function of bfloat16 numbers, or else binary16 ones.
struct Single<F, const BFLOAT: bool>(F);

/// A function of pairs of them.
struct Packed<F, const BFLOAT: bool>(F);

const fn half_format(bfloat: bool) -> Format {
    if bfloat { BF16 } else { F16 }
}

impl<F: HalfFunction, const BFLOAT: bool> LaneFunction<F::Single, u16> for Single<F, BFLOAT> {
    #[inline(always)]
    fn apply(&self, operands: F::Single) -> u16 {
        self.0.single(operands, const { half_format(BFLOAT) })
    }
}

impl<F: HalfFunction, const BFLOAT: bool> LaneFunction<F::Packed, u32> for Packed<F, BFLOAT> {
    #[inline(always)]
    fn apply(&self, operands: F::Packed) -> u32 {
        self.0.packed(operands, const { half_format(BFLOAT) })
    }
}

macro_rules! half_functions {
    ($($(#[$doc:meta])* $name:ident($mode:ty) $function:ident($($operand:ident)*);)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub(super) struct $name(pub(super) $mode);

            impl HalfFunction for $name {
                type Single = ($(half_functions!(@of $operand u16),)*);
                type Packed = ($(half_functions!(@of $operand u32),)*);

                #[inline(always)]
                fn single(self, ($($operand,)*): Self::Single, format: Format) -> u16 {
                    half::$function($($operand,)* format, self.0)
                }

                #[inline(always)]
                fn packed(self, ($($operand,)*): Self::Packed, format: Format) -> u32 {
                    let upper = half::$function($(($operand >> 16) as u16,)* format, self.0);
                    u32::from(upper) << 16 | u32::from(half::$function($($operand as u16,)* format, self.0))
                }
            }
        )*
    };
    (@of $operand:ident $ty:ty) => { $ty };
}

half_functions! {
    /// `a + b`
    HalfAdd(HalfMode) add(a b);
    /// `a - b`
    HalfSub(HalfMode) sub(a b);
    /// `a * b`
    HalfMul(HalfMode) mul(a b);
    /// `a * b + c`
    HalfFma(HalfMode) fma(a b c);
    /// `a * b + c`, zero where a factor lies outside the tensor.
    HalfFmaOutOfBounds(HalfMode) fma_oob(a b c);
    /// The smaller.
    HalfMin(MinMaxMode) min(a b);
    /// The larger.
    HalfMax(MinMaxMode) max(a b);
    /// The magnitude; the mode is whether subnormal numbers are flushed.
    HalfAbs(bool) abs(a);
    /// The opposite; the mode is whether subnormal numbers are flushed.
    HalfNeg(bool) neg(a);
}
