//! How a tensor core adds the products of one instruction.
//!
//! Tensor cores do not round after each product. One step takes C and up to [`group`](Accumulation::group) products
//! and
//! 1. multiplies significands and adds exponents, without normalising: a product of significand in `[0, 4)`;
//! 2. aligns every term to the largest exponent among them, truncating it toward zero to
//!    [`fraction_bits`](Accumulation::fraction_bits);
//! 3. adds exactly, normalises, and rounds as [`output`](Accumulation::output) says.
//!
//! A zero counts with exponent -126, a subnormal with the smallest normal exponent of its format. The constants were
//! measured bit by bit on hardware by MMA-Sim (arXiv 2511.10909) and, independently, by Khattak and Mikaitis
//! (arXiv 2512.07004). [`fused_dot_add`] is the rule for one element, in integers; the vector kernel gives the same
//! bits and falls back to it for the rare cases.

use super::format::Format;

/// How far the arithmetic of a simulated tensor core follows the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// A chain of f32 fused multiply-adds, ascending k, starting from C; f16 results are rounded once at the end.
    Exact,
    /// The accumulation of the modelled generation, bit by bit.
    Hardware,
}

/// A generation of tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// sm_80 to sm_88.
    Ampere,
    /// sm_89.
    Ada,
    /// sm_90.
    Hopper,
    /// sm_100 to sm_121; data-centre and consumer parts accumulate alike.
    Blackwell,
}

impl Generation {
    /// The generation of compute capability `major * 10 + minor`; none before sm_80.
    pub const fn of(compute_capability: u32) -> Option<Self> {
        match compute_capability {
            80..89 => Some(Generation::Ampere),
            89 => Some(Generation::Ada),
            90..100 => Some(Generation::Hopper),
            100.. => Some(Generation::Blackwell),
            _ => None,
        }
    }
}

/// Which instruction computes. Hopper runs them on different paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// `mma.sync` and `wmma.mma`.
    Mma,
    /// `wgmma.mma_async`.
    Wgmma,
}

/// What a step keeps of its sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// f32, rounded toward zero.
    F32,
    /// f32 with 13 fraction bits, rounded toward zero.
    E8m13,
    /// f16, rounded to nearest even.
    F16,
}

/// The constants of a generation's accumulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accumulation {
    /// Fraction bits kept of each term, relative to the largest exponent.
    pub fraction_bits: i32,
    /// Products of one step. An instruction with more runs several, each adding to the rounded result of the one before.
    pub group: usize,
    /// Rounding of the sum of each step.
    pub output: Output,
}

/// The arithmetic of a floating-point matrix instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// [`Precision::Exact`]; rounds the final sum to f16 if `half`.
    Exact {
        /// Whether D is f16.
        half: bool,
    },
    /// [`Precision::Hardware`].
    Hardware(Accumulation),
}

impl Arithmetic {
    /// The arithmetic of an instruction with `depth` products an element, multiplicands like `format`, and D in f16
    /// if `half`, else in f32.
    pub const fn new(
        precision: Precision,
        generation: Generation,
        instruction: Instruction,
        format: Format,
        depth: usize,
        half: bool,
    ) -> Self {
        match precision {
            Precision::Exact => Arithmetic::Exact { half },
            Precision::Hardware => {
                Arithmetic::Hardware(Accumulation::new(generation, instruction, format, depth, half))
            }
        }
    }
}

impl Accumulation {
    /// The constants for an instruction; the arguments are those of [`Arithmetic::new`].
    ///
    /// Two entries are inferred, not measured. Hopper's `mma.sync` on 8-bit floats converts to f16 and multiplies as
    /// such; the halves of k are taken in order. `mma.m8n8k4`, made for Volta, uses the constants of its generation.
    pub const fn new(
        generation: Generation,
        instruction: Instruction,
        format: Format,
        depth: usize,
        half: bool,
    ) -> Self {
        let eight_bit = matches!(format, Format::E4m3 | Format::E5m2);
        let (fraction_bits, group) = match (generation, instruction) {
            (Generation::Hopper, Instruction::Wgmma) if eight_bit => (13, depth),
            (Generation::Hopper, Instruction::Mma) if eight_bit => (25, 16),
            (Generation::Ampere | Generation::Ada, _) if eight_bit => (13, 16),
            (Generation::Ampere | Generation::Ada, _) if matches!(format, Format::Tf32) => (24, 4),
            (Generation::Ampere | Generation::Ada, _) => (24, 8),
            (Generation::Hopper | Generation::Blackwell, _) => (25, depth),
        };
        let output = if half {
            Output::F16
        } else if fraction_bits == 13 {
            Output::E8m13
        } else {
            Output::F32
        };
        Self { fraction_bits, group, output }
    }
}

/// The NaN that tensor cores give.
pub const CANONICAL_NAN: f32 = f32::from_bits(0x7fff_ffff);

/// The exponent of a zero term.
pub(super) const ZERO_EXPONENT: i32 = -126;

/// One step for one element: C plus the products of `terms`, whose formats have the given
/// [minimum exponents](Format::minimum_exponent). Each must be representable in its format.
pub fn fused_dot_add(
    terms: impl Iterator<Item = (f32, f32)> + Clone,
    minimum_exponents: (i16, i16),
    c: f32,
    accumulation: Accumulation,
) -> f32 {
    let wide = terms.clone().map(|(a, b)| f64::from(a) * f64::from(b)).sum::<f64>() + f64::from(c);
    if wide.is_nan() {
        return CANONICAL_NAN;
    }
    if wide.is_infinite() {
        return wide as f32;
    }

    let products = terms.map(|(a, b)| {
        let (a, b) = (Term::of(a, minimum_exponents.0), Term::of(b, minimum_exponents.1));
        let exponent =
            if a.significand == 0 || b.significand == 0 { ZERO_EXPONENT } else { a.exponent + b.exponent };
        Term { significand: a.significand * b.significand, exponent }
    });
    let c =
        Term::of(c, if accumulation.output == Output::F16 { Format::F16.minimum_exponent() } else { -126 });
    let c_exponent = if c.significand == 0 { ZERO_EXPONENT } else { c.exponent };
    let top = products.clone().map(|product| product.exponent).fold(c_exponent, i32::max);

    // Terms in units of 2^(top - fraction_bits). A product's significand has twice the fraction bits of a term's.
    let fraction_bits = accumulation.fraction_bits;
    let align = |term: Term, scale: i32| {
        let magnitude = i128::from(term.significand.unsigned_abs()) << fraction_bits;
        let shifted = magnitude >> (top - term.exponent + scale).clamp(0, 127);
        if term.significand < 0 { -shifted } else { shifted }
    };
    let sum: i128 =
        products.map(|product| align(product, 2 * Term::SCALE)).sum::<i128>() + align(c, Term::SCALE);
    round(sum, top - fraction_bits, accumulation.output)
}

/// `significand * 2^(exponent - SCALE)`.
#[derive(Clone, Copy)]
struct Term {
    significand: i64,
    exponent: i32,
}

impl Term {
    /// Fraction bits of an f32.
    const SCALE: i32 = 23;

    fn of(value: f32, minimum_exponent: i16) -> Self {
        let field = (value.to_bits() >> 23 & 0xff) as i32;
        let fraction = i64::from(value.to_bits() & 0x7f_ffff);
        let significand = if field == 0 { fraction } else { fraction | 1 << 23 };
        let exponent = field.max(1) - 127;
        // What lies below the format's smallest exponent is subnormal there: its low bits are zero.
        let excess = (i32::from(minimum_exponent) - exponent).max(0);
        let significand = significand >> excess.min(63);
        Self {
            significand: if value < 0.0 { -significand } else { significand },
            exponent: exponent + excess,
        }
    }
}

/// `sum * 2^unit`, rounded. A zero result is +0.
fn round(sum: i128, unit: i32, output: Output) -> f32 {
    let (fraction_bits, minimum_exponent) = match output {
        Output::F32 => (23, -126),
        Output::E8m13 => (13, -126),
        Output::F16 => (10, -14),
    };
    let magnitude = sum.unsigned_abs();
    let exponent = unit + 127 - magnitude.leading_zeros() as i32;
    let last_place = exponent.max(minimum_exponent) - fraction_bits;
    let dropped = (last_place - unit).clamp(0, 127);
    let kept = magnitude >> dropped;
    let remainder = magnitude & ((1 << dropped) - 1);
    let half = if dropped == 0 { 0 } else { 1_u128 << (dropped - 1) };
    let up =
        output == Output::F16 && dropped > 0 && (remainder > half || (remainder == half && kept & 1 == 1));
    let value = (kept + u128::from(up)) as f64 * f64::powi(2.0, unit + dropped);
    let value = if output == Output::F16 && value > 65504.0 { f64::INFINITY } else { value };
    if value == 0.0 {
        0.0
    } else if sum < 0 {
        -(value as f32)
    } else {
        value as f32
    }
}
