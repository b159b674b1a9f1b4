//! binary64 against `rustc_apfloat` in every rounding; NaN selection.

use super::*;
use crate::scalar::testing::{Op, ROUNDINGS, Random, edges, reference_f64};

fn check(op: Op, operands: [f64; 3], rounding: Rounding, got: f64) {
    let bits = operands.map(f64::to_bits);
    match reference_f64(op, bits, rounding) {
        Some(want) => assert_eq!(got.to_bits(), want, "{op:?} {rounding:?} of {bits:016x?}: {got:e}"),
        None => {
            let used = match op {
                Op::Fma => 3,
                _ => 2,
            };
            let operand = operands[..used].iter().rev().find(|x| x.is_nan());
            let want = operand.map_or(0xfff8 << 48, |x| x.to_bits() | 1 << 51);
            assert_eq!(got.to_bits(), want, "{op:?} of {bits:016x?}");
        }
    }
}

#[test]
fn everything_matches_the_oracle() {
    let edges: Vec<f64> = edges(F64).into_iter().map(f64::from_bits).collect();
    let mut triples: Vec<[f64; 3]> =
        edges.iter().flat_map(|&a| edges.iter().map(move |&b| [a, b, -a * b])).collect();
    let mut random = Random::new(5);
    for _ in 0..40_000 {
        let (a, b) = (random.f64(), random.f64());
        let close = f64::from_bits((-a).to_bits().wrapping_add(random.below(5)));
        let near_product = f64::from_bits((-(a * b)).to_bits().wrapping_add(random.below(7)).wrapping_sub(3));
        triples.push([a, b, random.f64()]);
        triples.push([a, b, near_product]);
        triples.push([a, close, b]);
        triples.push([f64::from(random.f32()), f64::from(random.f32()), f64::from(random.f32())]);
    }
    for [a, b, c] in triples {
        for rounding in ROUNDINGS {
            check(Op::Add, [a, b, 0.0], rounding, add(a, b, rounding));
            check(Op::Sub, [a, b, 0.0], rounding, sub(a, b, rounding));
            check(Op::Mul, [a, b, 0.0], rounding, mul(a, b, rounding));
            check(Op::Div, [a, b, 0.0], rounding, div(a, b, rounding));
            check(Op::Div, [1.0, b, 0.0], rounding, rcp(b, rounding));
            check(Op::Fma, [a, b, c], rounding, fma(a, b, c, rounding));
        }
    }
}

/// |x|'s significand and exponent.
fn parts(x: f64) -> (u128, i32) {
    let field = (x.to_bits() >> 52) as i32;
    let fraction = u128::from(x.to_bits() & ((1 << 52) - 1));
    if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) }
}

/// How `root`^2 compares with x, by integers.
fn compare_square(root: f64, x: f64) -> std::cmp::Ordering {
    let ((root, root_exponent), (x, x_exponent)) = (parts(root), parts(x));
    let (square, square_exponent) = (root * root, 2 * root_exponent);
    let top = |value: u128, exponent: i32| exponent + 128 - value.leading_zeros() as i32;
    top(square, square_exponent).cmp(&top(x, x_exponent)).then_with(|| {
        let shift = x_exponent - square_exponent;
        if shift >= 0 { square.cmp(&(x << shift)) } else { (square << -shift).cmp(&x) }
    })
}

#[test]
fn square_roots_enclose_the_operand() {
    let mut random = Random::new(6);
    for _ in 0..40_000 {
        let x = random.f64().abs();
        if x.is_nan() || x == 0.0 || x.is_infinite() {
            continue;
        }
        let [nearest, zero, down, up] = ROUNDINGS.map(|rounding| sqrt(x, rounding));
        assert_eq!(zero.to_bits(), down.to_bits());
        assert!(nearest == down || nearest == up);
        if down == up {
            assert!(compare_square(down, x).is_eq());
        } else {
            assert!(up == down.next_up() && compare_square(down, x).is_lt() && compare_square(up, x).is_gt());
        }
    }
    assert_eq!(sqrt(-0.0, Rounding::Down).to_bits(), (-0.0_f64).to_bits());
    assert_eq!(sqrt(-1.0, Rounding::Up).to_bits(), 0xfff8 << 48);
    assert_eq!(sqrt(f64::INFINITY, Rounding::Zero), f64::INFINITY);
}

#[test]
fn minima_and_maxima() {
    let quiet_b = 0xfff8_0000_0000_0002;
    let (nan_a, nan_b) = (f64::from_bits(0x7ff8_0000_0000_0001), f64::from_bits(0xfff0_0000_0000_0002));
    assert_eq!(min(nan_a, nan_b).to_bits(), quiet_b);
    assert_eq!(max(nan_a, nan_b).to_bits(), quiet_b);
    assert_eq!(min(nan_a, 3.0), 3.0);
    assert_eq!(max(-3.0, nan_a), -3.0);
    assert_eq!(max(-0.0, 0.0).to_bits(), 0);
    assert_eq!(max(0.0, -0.0).to_bits(), 0);
    assert_eq!(min(0.0, -0.0).to_bits(), 1 << 63);
    let edges: Vec<f64> = edges(F64).into_iter().map(f64::from_bits).filter(|x| !x.is_nan()).collect();
    for &a in &edges {
        for &b in &edges {
            assert_eq!((min(a, b), max(a, b)), if a < b { (a, b) } else { (b, a) });
        }
    }
}

#[test]
fn signs_and_integers() {
    let nan = f64::from_bits(0x7ff0_0000_0000_0001);
    assert_eq!(abs(-nan).to_bits(), nan.to_bits());
    assert_eq!(neg(nan).to_bits(), nan.to_bits() | 1 << 63);
    assert_eq!(copysign(-1.0, 4.0), -4.0);
    assert_eq!(round_to_integer(-2.5, IntegerRounding::Nearest, false), -2.0);
    assert_eq!(round_to_integer(-2.5, IntegerRounding::Down, false), -3.0);
    assert_eq!(round_to_integer(-2.5, IntegerRounding::Up, false), -2.0);
    assert_eq!(round_to_integer(2.5, IntegerRounding::Zero, true), 1.0);
    assert_eq!(round_to_integer(nan, IntegerRounding::Zero, false).to_bits(), 0x7ff8_0000_0000_0001);
}
