//! What the tests share: operands worth testing, and an independent arithmetic (`rustc_apfloat`) to compare with.

use super::Rounding;
use super::format::Format;
use rustc_apfloat::ieee::{BFloat, Double, Half, Single};
use rustc_apfloat::{Float, FloatConvert, Round, StatusAnd};

/// A reproducible stream of random words.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit
    }

    /// A code of the format: any bits, or few bits, or long runs of equal bits, at any exponent or near the middle.
    pub fn code(&mut self, format: Format) -> u64 {
        let mantissa_mask = (1_u64 << format.mantissa_bits) - 1;
        let word = self.word();
        let mantissa = match self.below(5) {
            0 => word & 1,
            1 => mantissa_mask ^ (word & 3),
            2 => 1 << self.below(u64::from(format.mantissa_bits)),
            3 => (mantissa_mask << self.below(u64::from(format.mantissa_bits))) & mantissa_mask,
            _ => word & mantissa_mask,
        };
        let fields = 1_u64 << format.exponent_bits;
        let field = match self.below(6) {
            0 => self.below(3),
            1 => fields - 1 - self.below(3),
            2 | 3 => (format.bias as u64 + self.below(5)).saturating_sub(2) % fields,
            _ => self.below(fields),
        };
        format.sign(self.below(2) == 1) | field << format.mantissa_bits | mantissa
    }

    pub fn f32(&mut self) -> f32 {
        f32::from_bits(self.code(super::format::F32) as u32)
    }

    pub fn f64(&mut self) -> f64 {
        f64::from_bits(self.code(super::format::F64))
    }
}

/// Codes at every kind of edge of a format.
pub fn edges(format: Format) -> Vec<u64> {
    let one = (format.bias as u64) << format.mantissa_bits;
    let largest = format.largest();
    let normal = format.smallest_normal();
    let magnitudes = [
        0,
        1,
        2,
        3,
        normal / 2,
        normal - 1,
        normal,
        normal + 1,
        2 * normal,
        one / 2,
        one - normal,
        one - 1,
        one,
        one + 1,
        one + 2,
        one + normal / 2,
        one + normal,
        largest / 2,
        largest - 1,
        largest,
        (largest + 1).min(format.magnitude_mask()),
        (largest + 2).min(format.magnitude_mask()),
        format.magnitude_mask(),
    ];
    magnitudes.into_iter().flat_map(|magnitude| [magnitude, magnitude | format.sign(true)]).collect()
}

/// The IEEE rounding directions of the arithmetic instructions.
pub const ROUNDINGS: [Rounding; 4] = [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up];

fn apfloat_round(rounding: Rounding) -> Round {
    match rounding {
        Rounding::Nearest => Round::NearestTiesToEven,
        Rounding::NearestAway => Round::NearestTiesToAway,
        Rounding::Zero => Round::TowardZero,
        Rounding::Down => Round::TowardNegative,
        Rounding::Up => Round::TowardPositive,
        Rounding::Stochastic { .. } => unreachable!("not an IEEE rounding"),
    }
}

/// An operation of the oracle.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Fma,
}

fn reference<F: Float>(op: Op, [a, b, c]: [u64; 3], rounding: Rounding) -> Option<u64> {
    let [a, b, c] = [a, b, c].map(|bits| F::from_bits(u128::from(bits)));
    let round = apfloat_round(rounding);
    let StatusAnd { value, .. } = match op {
        Op::Add => a.add_r(b, round),
        Op::Sub => a.sub_r(b, round),
        Op::Mul => a.mul_r(b, round),
        Op::Div => a.div_r(b, round),
        Op::Fma => a.mul_add_r(b, c, round),
    };
    (!value.is_nan()).then(|| value.to_bits() as u64)
}

/// The result of an operation on binary32 codes by the oracle; none for NaN.
pub fn reference_f32(op: Op, operands: [u32; 3], rounding: Rounding) -> Option<u32> {
    reference::<Single>(op, operands.map(u64::from), rounding).map(|bits| bits as u32)
}

/// The same for binary64.
pub fn reference_f64(op: Op, operands: [u64; 3], rounding: Rounding) -> Option<u64> {
    reference::<Double>(op, operands, rounding)
}

/// The same for binary16.
pub fn reference_f16(op: Op, operands: [u16; 3]) -> Option<u16> {
    reference::<Half>(op, operands.map(u64::from), Rounding::Nearest).map(|bits| bits as u16)
}

/// The same for bfloat16.
pub fn reference_bf16(op: Op, operands: [u16; 3]) -> Option<u16> {
    reference::<BFloat>(op, operands.map(u64::from), Rounding::Nearest).map(|bits| bits as u16)
}

/// A binary64 number rounded by the oracle to one of its formats; none for NaN.
pub fn reference_rounded<F: Float>(value: f64, rounding: Rounding) -> Option<u64>
where
    Double: FloatConvert<F>,
{
    let mut loses = false;
    let source = Double::from_bits(u128::from(value.to_bits()));
    let StatusAnd { value, .. } = source.convert_r(apfloat_round(rounding), &mut loses);
    (!value.is_nan()).then(|| value.to_bits() as u64)
}
