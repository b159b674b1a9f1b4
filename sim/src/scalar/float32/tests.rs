//! binary32 against `rustc_apfloat` in every rounding; flushing against arithmetic in binary64; NaN rules.

use super::*;
use crate::scalar::testing::{Op, ROUNDINGS, Random, edges, reference_f32};

fn mode(rounding: Rounding, ftz: bool) -> FloatMode {
    FloatMode { rounding, ftz, sat: false }
}

/// Pairs of every two edges, then random ones, some of which nearly cancel.
fn pairs() -> Vec<[f32; 2]> {
    let edges: Vec<f32> = edges(F32).into_iter().map(|bits| f32::from_bits(bits as u32)).collect();
    let mut pairs: Vec<[f32; 2]> = edges.iter().flat_map(|&a| edges.iter().map(move |&b| [a, b])).collect();
    let mut random = Random::new(1);
    for _ in 0..60_000 {
        let a = random.f32();
        let close = f32::from_bits((a.to_bits() ^ 0x8000_0000).wrapping_add(random.below(5) as u32));
        pairs.push([a, random.f32()]);
        pairs.push([a, close]);
    }
    pairs
}

fn check(name: Op, operands: [f32; 3], rounding: Rounding, got: f32) {
    let bits = operands.map(f32::to_bits);
    let want = reference_f32(name, bits, rounding).unwrap_or(0x7fff_ffff);
    assert_eq!(got.to_bits(), want, "{name:?} {rounding:?} of {bits:08x?}: {got:e}");
}

#[test]
fn two_operands_match_the_oracle() {
    for [a, b] in pairs() {
        for rounding in ROUNDINGS {
            let mode = mode(rounding, false);
            check(Op::Add, [a, b, 0.0], rounding, add_with(a, b, mode));
            check(Op::Sub, [a, b, 0.0], rounding, sub_with(a, b, mode));
            check(Op::Mul, [a, b, 0.0], rounding, mul_with(a, b, mode));
            check(Op::Div, [a, b, 0.0], rounding, div_with(a, b, mode));
            check(Op::Div, [1.0, a, 0.0], rounding, rcp_with(a, mode));
        }
    }
}

/// Operands of a fused multiply-add that hits every interplay of the product and the addend.
fn triples() -> Vec<[f32; 3]> {
    let mut random = Random::new(2);
    let mut triples = Vec::new();
    for _ in 0..100_000 {
        let (a, b) = (random.f32(), random.f32());
        let near_product =
            f32::from_bits((-(a * b)).to_bits().wrapping_add(random.below(7) as u32).wrapping_sub(3));
        triples.push([a, b, random.f32()]);
        triples.push([a, b, near_product]);
        // A product around half a unit of the addend.
        let exponent = random.below(40) as i32 - 30;
        let small = f32::from_bits((127 + exponent).unsigned_abs() << 23 | random.word() as u32 & 0x7f_ffff);
        triples.push([
            small,
            f32::from_bits(0x3f00_0000 | random.below(4) as u32),
            1.0 + random.below(4) as f32,
        ]);
    }
    triples
}

#[test]
fn fused_multiply_add_matches_the_oracle() {
    for [a, b, c] in triples() {
        for rounding in ROUNDINGS {
            check(Op::Fma, [a, b, c], rounding, fma_with(a, b, c, mode(rounding, false)));
        }
    }
}

/// Flushing by the definition: round with exponents unlimited, that is, scaled up; flush if below the normal numbers.
fn flushed(op: Op, operands: [f32; 3], rounding: Rounding) -> f32 {
    let [a, b, c] = operands.map(flush);
    let plain = reference_f32(op, [a, b, c].map(f32::to_bits), rounding).map_or(NAN, f32::from_bits);
    let up = 2.0_f32.powi(64);
    let scaled_operands = match op {
        Op::Add | Op::Sub => [a * up, b * up, 0.0],
        Op::Mul | Op::Div => [a * up, b, 0.0],
        Op::Fma => [a * up, b, c * up],
    };
    match reference_f32(op, scaled_operands.map(f32::to_bits), rounding).map(f32::from_bits) {
        Some(scaled) if plain.abs() <= f32::MIN_POSITIVE && scaled.abs() < f32::MIN_POSITIVE * up => {
            0.0_f32.copysign(plain)
        }
        _ => plain,
    }
}

/// Operands whose results lie around the smallest normal number.
fn tiny_operands() -> Vec<[f32; 3]> {
    let mut random = Random::new(3);
    let mut operands = Vec::new();
    let mantissa = |random: &mut Random| match random.below(3) {
        0 => random.below(8) as u32,
        1 => 0x7f_ffff - random.below(8) as u32,
        _ => random.word() as u32 & 0x7f_ffff,
    };
    for _ in 0..60_000 {
        let a_exponent = 2 + random.below(250) as u32;
        let sum = 125 + random.below(5) as u32;
        let a = f32::from_bits(a_exponent << 23 | mantissa(&mut random));
        let b =
            f32::from_bits((sum + 2).saturating_sub(a_exponent).clamp(1, 254) << 23 | mantissa(&mut random));
        let c = f32::from_bits((random.below(30) as u32) << 23 | mantissa(&mut random));
        operands.push([a, -b, 0.0]);
        operands.push([-a, b, c]);
        operands.push([c, -c * 0.75, 0.0]);
        operands.push([f32::MIN_POSITIVE * 1.5, a, 0.0]);
    }
    operands.push([f32::from_bits(0x3f7f_fffe), f32::from_bits(0x0080_0001), 0.0]);
    operands.push([f32::from_bits(0x3f7f_ffff), f32::from_bits(0x0080_0000), 0.0]);
    operands
}

#[test]
fn flushing_is_decided_after_rounding_to_full_precision() {
    for operands in pairs().into_iter().map(|[a, b]| [a, b, 0.0]).chain(tiny_operands()) {
        let [a, b, c] = operands;
        for rounding in ROUNDINGS {
            let mode = mode(rounding, true);
            let check = |op, got: f32| {
                let want = flushed(op, operands, rounding);
                assert_eq!(
                    got.to_bits(),
                    want.to_bits(),
                    "{op:?} {rounding:?} of {:08x?}",
                    operands.map(f32::to_bits)
                );
            };
            check(Op::Add, add_with(a, b, mode));
            check(Op::Sub, sub_with(a, b, mode));
            check(Op::Mul, mul_with(a, b, mode));
            check(Op::Div, div_with(a, b, mode));
            check(Op::Fma, fma_with(a, b, c, mode));
        }
    }
}

#[test]
fn products_at_the_edge_flush_as_the_assembler_folds_them() {
    let product = |a: u32, b: u32| mul::<true>(f32::from_bits(a), f32::from_bits(b)).to_bits();
    assert_eq!(product(0x3f7f_ffff, 0x0080_0000), 0);
    assert_eq!(product(0x3f7f_fffe, 0x0080_0001), 0x0080_0000);
}

#[test]
fn square_roots_enclose_the_operand() {
    let mut random = Random::new(4);
    let operands = (0..60_000)
        .map(|_| random.f32().abs())
        .chain(edges(F32).into_iter().map(|b| f32::from_bits(b as u32)));
    for x in operands {
        let [nearest, zero, down, up] = ROUNDINGS.map(|rounding| sqrt_with(x, mode(rounding, false)));
        if x.is_nan() || x < 0.0 {
            assert_eq!([nearest, zero, down, up].map(f32::to_bits), [0x7fff_ffff; 4], "{x:e}");
            continue;
        }
        if x == 0.0 || x.is_infinite() {
            assert!([nearest, zero, down, up].iter().all(|r| r.to_bits() == x.to_bits()));
            continue;
        }
        // Squares of 24-bit numbers are exact in binary64.
        let square = |r: f32| f64::from(r) * f64::from(r);
        let x = f64::from(x);
        assert!(square(down) <= x && x <= square(up) && zero.to_bits() == down.to_bits());
        assert!(
            down == up && square(down) == x || up == down.next_up() && square(down) < x && x < square(up)
        );
        // The boundary between the two has 25 bits.
        let middle = (f64::from(down) + f64::from(up)) / 2.0;
        assert_eq!(nearest, if x < middle * middle { down } else { up });
    }
}

#[test]
fn sqrt_flushes_its_operand() {
    let ftz = mode(Rounding::Nearest, true);
    assert_eq!(sqrt_with(f32::from_bits(0x8000_0005), ftz).to_bits(), 0x8000_0000);
    assert_eq!(sqrt_with(f32::from_bits(5), ftz).to_bits(), 0);
}

#[test]
fn saturation_clamps_and_drops_nan_and_signs() {
    let sat = FloatMode { sat: true, ..FloatMode::default() };
    let cases =
        [(0.25, 0.25, 0.5), (1.0, 1.0, 1.0), (-1.0, 0.5, 0.0), (f32::NAN, 1.0, 0.0), (-0.0, -0.0, 0.0)];
    for (a, b, want) in cases {
        assert_eq!(add_with(a, b, sat).to_bits(), f32::to_bits(want), "{a} + {b}");
    }
    assert_eq!(mul_with(f32::INFINITY, 2.0, sat), 1.0);
    assert_eq!(fma_with(f32::INFINITY, 0.0, 1.0, sat).to_bits(), 0);
}

/// The manual's definition of minimum, with the order of zeros spelled out.
fn manual_min(mut a: f32, mut b: f32, mode: MinMaxMode) -> f32 {
    if mode.ftz {
        (a, b) = (flush(a), flush(b));
    }
    let sign = a.is_sign_negative() != b.is_sign_negative();
    if mode.abs {
        (a, b) = (a.abs(), b.abs());
    }
    let less = if a.is_nan() && b.is_nan() || mode.nan && (a.is_nan() || b.is_nan()) {
        return NAN;
    } else if a.is_nan() {
        b
    } else if b.is_nan() {
        a
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { a } else { b }
    } else if a < b {
        a
    } else {
        b
    };
    match (mode.xorsign, sign) {
        (false, _) => less,
        (true, true) => -less.abs(),
        (true, false) => less.abs(),
    }
}

#[test]
fn minima_and_maxima_follow_the_manual() {
    let flags = [false, true];
    for [a, b] in pairs().into_iter().take(20_000) {
        for ftz in flags {
            for nan in flags {
                for (abs, xorsign) in [(false, false), (true, false), (true, true)] {
                    let mode = MinMaxMode { ftz, nan, abs, xorsign };
                    let want = manual_min(a, b, mode);
                    assert_eq!(min_with(a, b, mode).to_bits(), want.to_bits(), "min {a:e} {b:e} {mode:?}");
                    if !abs {
                        let want = manual_min(-a, -b, mode);
                        let want = if want.is_nan() { want } else { -want };
                        assert_eq!(
                            max_with(a, b, mode).to_bits(),
                            want.to_bits(),
                            "max {a:e} {b:e} {mode:?}"
                        );
                    }
                }
            }
        }
    }
    let xorsign = MinMaxMode { abs: true, xorsign: true, ..MinMaxMode::default() };
    assert_eq!(max_with(-3.0, 2.0, xorsign), -3.0);
    assert_eq!(max_with(-3.0, -2.0, xorsign), 3.0);
    assert_eq!(min3_with(3.0, -1.0, 2.0, MinMaxMode::default()), -1.0);
    assert_eq!(max3_with(3.0, f32::NAN, 5.0, MinMaxMode::default()), 5.0);
    assert!(max3_with(3.0, f32::NAN, 5.0, MinMaxMode { nan: true, ..MinMaxMode::default() }).is_nan());
}

#[test]
fn signs_and_integers() {
    assert_eq!(abs(-2.5, false), 2.5);
    assert_eq!(abs(f32::from_bits(0x8000_0001), true).to_bits(), 0);
    assert_eq!(neg(f32::from_bits(1), true).to_bits(), 0x8000_0000);
    assert_eq!(neg(f32::from_bits(0xffc1_2345), false).to_bits(), 0x7fff_ffff);
    assert_eq!(copysign(-0.0, 3.0), -3.0);
    let cases = [
        (2.5, [2.0, 2.0, 2.0, 3.0]),
        (-2.5, [-2.0, -2.0, -3.0, -2.0]),
        (1e30, [1e30; 4]),
        (0.5, [0.0, 0.0, 0.0, 1.0]),
    ];
    let modes = [IntegerRounding::Nearest, IntegerRounding::Zero, IntegerRounding::Down, IntegerRounding::Up];
    for (x, want) in cases {
        assert_eq!(modes.map(|rounding| round_to_integer(x, rounding, false, false)), want);
    }
    assert_eq!(round_to_integer(-0.3, IntegerRounding::Up, false, false).to_bits(), 0x8000_0000);
    assert_eq!(round_to_integer(f32::from_bits(1), IntegerRounding::Up, true, false).to_bits(), 0);
    assert_eq!(round_to_integer(f32::from_bits(1), IntegerRounding::Up, false, false), 1.0);
    assert_eq!(round_to_integer(7.5, IntegerRounding::Up, false, true), 1.0);
    assert_eq!(round_to_integer(f32::NAN, IntegerRounding::Zero, false, false).to_bits(), 0x7fff_ffff);
}
