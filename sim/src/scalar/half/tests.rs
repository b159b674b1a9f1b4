//! binary16 and bfloat16 against `rustc_apfloat`; flushing, clamping, minima, and mixed precision.

use super::*;
use crate::scalar::Rounding;
use crate::scalar::format::{BF16, F16, nearest_from_f32};
use crate::scalar::testing::{Op, Random, edges, reference_bf16, reference_f16, reference_rounded};
use rustc_apfloat::ieee::Half;

const FORMATS: [Format; 2] = [F16, BF16];
const PLAIN: HalfMode = HalfMode { ftz: false, sat: false, relu: false };

fn reference(op: Op, operands: [u16; 3], format: Format) -> u16 {
    if format == F16 { reference_f16(op, operands) } else { reference_bf16(op, operands) }.unwrap_or(NAN)
}

fn compute(op: Op, [a, b, c]: [u16; 3], format: Format, mode: HalfMode) -> u16 {
    match op {
        Op::Add => add(a, b, format, mode),
        Op::Sub => sub(a, b, format, mode),
        Op::Mul => mul(a, b, format, mode),
        Op::Fma => fma(a, b, c, format, mode),
        Op::Div => unreachable!("no such instruction"),
    }
}

const OPS: [Op; 4] = [Op::Add, Op::Sub, Op::Mul, Op::Fma];

/// Edges in every combination, random operands, and sums that lie next to a boundary of the rounding.
fn triples(format: Format) -> Vec<[u16; 3]> {
    let edges: Vec<u16> = edges(format).into_iter().map(|code| code as u16).collect();
    let mut triples: Vec<[u16; 3]> = Vec::new();
    for &a in &edges {
        for &b in &edges {
            triples.extend(edges.iter().map(|&c| [a, b, c]));
        }
    }
    let mut random = Random::new(9);
    for _ in 0..60_000 {
        let mut code = || random.code(format) as u16;
        let [a, b, c] = [code(), code(), code()];
        let product = mul(a, b, format, PLAIN);
        triples.extend([[a, b, c], [a, b, product ^ 0x8000], [a, a ^ 0x8001, c]]);
        // An odd product of one bit too many, and an addend far below it.
        let odd = |random: &mut Random| (random.below(1 << (format.mantissa_bits / 2 + 1)) | 1) as f32;
        let encode = |x: f32| nearest_from_f32(x, format, Overflow::Ieee) as u16;
        let tiny = format.smallest_normal() as u16 * (1 + random.below(8)) as u16;
        triples.push([
            encode(odd(&mut random)),
            encode(odd(&mut random)),
            tiny ^ (random.below(2) << 15) as u16,
        ]);
    }
    triples
}

#[test]
fn arithmetic_matches_the_oracle() {
    for format in FORMATS {
        for operands in triples(format) {
            for op in OPS {
                let got = compute(op, operands, format, PLAIN);
                let want = reference(op, operands, format);
                assert_eq!(got, want, "{op:?} {operands:04x?} {format:?}");
            }
        }
    }
}

#[test]
fn a_tie_is_broken_by_what_lies_far_below() {
    // 7 * 37 = 259 is halfway between two bfloat16 numbers.
    let encode = |x: f32| nearest_from_f32(x, BF16, Overflow::Ieee) as u16;
    let tiny = encode(2.0_f32.powi(-60));
    assert_eq!(fma(encode(7.0), encode(37.0), tiny, BF16, PLAIN), encode(260.0));
    assert_eq!(fma(encode(7.0), encode(37.0), tiny | 0x8000, BF16, PLAIN), encode(258.0));
    assert_eq!(fma(encode(7.0), encode(37.0), 0, BF16, PLAIN), encode(260.0));
    assert_eq!(fma(encode(7.0), encode(39.0), 0, BF16, PLAIN), encode(272.0));
}

#[test]
fn flushing_follows_the_precision_of_the_result() {
    let mode = HalfMode { ftz: true, ..PLAIN };
    let mut random = Random::new(10);
    for _ in 0..200_000 {
        let exponent = random.below(30);
        let a = (exponent << 10 | random.below(1 << 10)) as u16;
        let b = ((15_u64 + random.below(4)).saturating_sub(exponent).min(30) << 10 | random.below(1 << 10))
            as u16;
        let value = |code: u16| if code & 0x7c00 == 0 { 0.0 } else { half::f16::from_bits(code).to_f64() };
        let product = value(a) * value(b);
        // Rounded to 11 bits well inside the normal range.
        let round = |x: f64| reference_rounded::<Half>(x, Rounding::Nearest).map_or(NAN, |code| code as u16);
        let rounded = half::f16::from_bits(round(product * 2.0_f64.powi(12))).to_f64() * 2.0_f64.powi(-12);
        let want = if rounded < 2.0_f64.powi(-14) { 0 } else { round(product) };
        assert_eq!(mul(a, b, F16, mode), want, "{a:04x} {b:04x}");
    }
    assert_eq!(add(0x8001, 0x8001, F16, mode), 0x8000);
    assert_eq!(sub(0x0401, 0x0400, F16, mode), 0);
    assert_eq!(fma(0x3c00, 0x0001, 0x3c00, F16, mode), 0x3c00);
}

#[test]
fn clamping() {
    let sat = HalfMode { sat: true, ..PLAIN };
    let relu = HalfMode { relu: true, ..PLAIN };
    let nan = 0xfe01;
    assert_eq!(
        [(0x4000, 0x4000), (0x3800, 0x3000), (0xbc00, 0), (nan, 0)].map(|(a, b)| add(a, b, F16, sat)),
        [0x3c00, 0x3900, 0, 0]
    );
    assert_eq!(fma(0xbc00, 0x3c00, 0x3800, F16, relu), 0);
    assert_eq!(fma(0x8000, 0x3c00, 0x8000, F16, relu), 0);
    assert_eq!(fma(nan, 0x3c00, 0, F16, relu), NAN);
    assert_eq!(fma_oob(OUT_OF_BOUNDS_NAN, nan, 0x3c00, F16, PLAIN), 0);
    assert_eq!(fma_oob(nan, 0x3c00, 0, F16, PLAIN), NAN);
    assert_eq!(fma_oob(0x3c00, 0x4000, 0x3c00, F16, PLAIN), 0x4200);
}

#[test]
fn minima_and_maxima() {
    for format in FORMATS {
        let edges: Vec<u16> = edges(format).into_iter().map(|code| code as u16).collect();
        for &a in &edges {
            for &b in &edges {
                for nan in [false, true] {
                    for (abs, xorsign) in [(false, false), (true, false), (true, true)] {
                        let mode = MinMaxMode { ftz: false, nan, abs, xorsign };
                        // Widening drops the sign of a NaN, which counts for `.xorsign`.
                        let wide = |code: u16| {
                            let x = widen(u32::from(code), format);
                            if code & 0x8000 == 0 { x } else { -x.abs() }
                        };
                        let back = |x: f32| nearest_from_f32(x, format, Overflow::Ieee) as u16;
                        assert_eq!(min(a, b, format, mode), back(float32::min_with(wide(a), wide(b), mode)));
                        assert_eq!(max(a, b, format, mode), back(float32::max_with(wide(a), wide(b), mode)));
                    }
                }
            }
        }
    }
    let ftz = MinMaxMode { ftz: true, ..MinMaxMode::default() };
    assert_eq!(max(0x0001, 0x8000, F16, ftz), 0);
    assert_eq!(min(0x8001, 0x0000, F16, ftz), 0x8000);
}

#[test]
fn signs_and_integers() {
    assert_eq!((abs(0xc000, F16, false), neg(0x4000, F16, false)), (0x4000, 0xc000));
    assert_eq!((abs(0x8001, F16, true), neg(0x0001, F16, true)), (0, 0x8000));
    assert_eq!((abs(0xffc1, BF16, false), neg(0x7fc1, BF16, false)), (NAN, NAN));
    for code in 0..=u16::MAX {
        let x = half::f16::from_bits(code).to_f32();
        if x.is_nan() {
            continue;
        }
        let want = half::f16::from_f32(x.round_ties_even()).to_bits();
        assert_eq!(round_to_integer(code, F16, IntegerRounding::Nearest, false), want);
        let want = half::f16::from_f32(x.floor()).to_bits();
        assert_eq!(round_to_integer(code, F16, IntegerRounding::Down, false), want);
    }
    assert_eq!(round_to_integer(0x4500, F16, IntegerRounding::Zero, true), 0x3c00);
}

#[test]
fn mixed_precision_rounds_once() {
    let mode = |rounding| FloatMode { rounding, ..FloatMode::default() };
    let c = 2.0_f32.powi(-30);
    assert_eq!(add_mixed(0x3c00, c, F16, mode(Rounding::Up)), 1.0_f32.next_up());
    assert_eq!(sub_mixed(0x3f80, c, BF16, mode(Rounding::Zero)), 1.0_f32.next_down());
    assert_eq!(
        fma_mixed(0x3c01, 0x3c01, c, F16, mode(Rounding::Nearest)),
        1.0 + 2.0_f32.powi(-9) + 2.0_f32.powi(-20)
    );
    assert_eq!(
        fma_mixed(0x3c01, 0x3c01, c, F16, mode(Rounding::Up)),
        (1.0 + 2.0_f32.powi(-9) + 2.0_f32.powi(-20)).next_up()
    );
    assert_eq!(add_mixed(0x7e01, 1.0, F16, mode(Rounding::Nearest)).to_bits(), 0x7fff_ffff);
    let sat = FloatMode { sat: true, ..FloatMode::default() };
    assert_eq!(add_mixed(0x3c00, 5.0, F16, sat), 1.0);
}
