//! Floating-point arithmetic by `rustc_apfloat`, with PTX's modifiers on top.

use rustc_apfloat::ieee::{BFloat, Double, Half, Quad, Single};
use rustc_apfloat::{Float, FloatConvert, Round, StatusAnd};

/// The canonical NaN of binary32, of 16-bit formats.
pub const NAN32: u64 = 0x7fff_ffff;
pub const NAN16: u64 = 0x7fff;

/// An operation on one to three operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
}

/// Of a rounding's modifier.
pub fn round_of(word: &str) -> Round {
    match word {
        "rz" => Round::TowardZero,
        "rm" => Round::TowardNegative,
        "rp" => Round::TowardPositive,
        _ => Round::NearestTiesToEven,
    }
}

fn apply<F: Float>(op: Op, x: &[u64], round: Round) -> F {
    let operand = |index: usize| F::from_bits(u128::from(x[index]));
    let StatusAnd { value, .. } = match op {
        Op::Add => operand(0).add_r(operand(1), round),
        Op::Sub => operand(0).sub_r(operand(1), round),
        Op::Mul => operand(0).mul_r(operand(1), round),
        Op::Fma => operand(0).mul_add_r(operand(1), operand(2), round),
        Op::Div => operand(0).div_r(operand(1), round),
    };
    value
}

/// The result in binary32, the canonical NaN included.
pub fn single(op: Op, x: &[u64], round: Round) -> u64 {
    let value: Single = apply(op, x, round);
    if value.is_nan() { NAN32 } else { value.to_bits() as u64 }
}

/// The result in binary64; none for NaN.
pub fn double(op: Op, x: &[u64], round: Round) -> Option<u64> {
    let value: Double = apply(op, x, round);
    (!value.is_nan()).then(|| value.to_bits() as u64)
}

/// The result in a 16-bit format.
pub fn half(op: Op, x: &[u64], bfloat: bool) -> u64 {
    let round = Round::NearestTiesToEven;
    let (nan, bits) = if bfloat {
        let value: BFloat = apply(op, x, round);
        (value.is_nan(), value.to_bits())
    } else {
        let value: Half = apply(op, x, round);
        (value.is_nan(), value.to_bits())
    };
    if nan { NAN16 } else { bits as u64 }
}

pub const fn flush32(x: u64) -> u64 {
    if x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x }
}

/// The result in binary32 with `.ftz`: flushed if, rounded as if there were no smallest exponent, it is below the
/// smallest normal number.
pub fn single_flushed(op: Op, x: &[u64], round: Round) -> u64 {
    let x: Vec<u64> = x.iter().map(|x| flush32(*x)).collect();
    let mut loses = false;
    let wide: Vec<u64> = x.clone();
    let exact: Quad = {
        let operand =
            |index: usize| -> Quad { Single::from_bits(u128::from(wide[index])).convert(&mut loses).value };
        let mut operands = [Quad::ZERO; 3];
        let mut operand = operand;
        for (index, slot) in operands.iter_mut().enumerate().take(x.len()) {
            *slot = operand(index);
        }
        let [a, b, c] = operands;
        match op {
            Op::Add => (a + b).value,
            Op::Sub => (a - b).value,
            Op::Mul => (a * b).value,
            Op::Fma => a.mul_add(b, c).value,
            Op::Div => (a / b).value,
        }
    };
    let result = single(op, &x, round);
    // 2^-126 less half a unit of a number of 24 bits below it.
    let limit: Quad =
        Double::from_bits(u128::from((f64::from(f32::MIN_POSITIVE) * (1.0 - 0.5_f64.powi(25))).to_bits()))
            .convert(&mut loses)
            .value;
    let magnitude = if exact.is_negative() { -exact } else { exact };
    if !exact.is_zero() && magnitude < limit { result & 0x8000_0000 } else { result }
}

/// A binary64 number rounded to binary32, 16-bit or wider formats; none for NaN.
pub fn narrowed<F: Float>(value: f64, round: Round) -> Option<u64>
where
    Double: FloatConvert<F>,
{
    let mut loses = false;
    let StatusAnd { value, .. } = Double::from_bits(u128::from(value.to_bits())).convert_r(round, &mut loses);
    let value: F = value;
    (!value.is_nan()).then(|| value.to_bits() as u64)
}

/// The value of a 16-bit code.
pub fn widen(code: u64, bfloat: bool) -> f32 {
    let code = code as u16;
    if bfloat { f32::from_bits(u32::from(code) << 16) } else { half::f16::from_bits(code).to_f32() }
}

/// Applies a function to the halves of packed operands.
pub fn both(x: &[u64], function: impl Fn(&[u64]) -> u64) -> u64 {
    let part = |shift: u32| {
        let operands: Vec<u64> = x.iter().map(|x| x >> shift & 0xffff).collect();
        function(&operands)
    };
    part(16) << 16 | part(0)
}
