//! Special cases, agreement with the C library, and that perturbed results stay within their bounds and use them.

use super::*;
use crate::scalar::testing::{Random, reference_rounded};
use rustc_apfloat::ieee::{BFloat, Half};

use std::f32::consts::FRAC_PI_2;

const INFINITY: f32 = f32::INFINITY;

fn bits(x: f32) -> u32 {
    x.to_bits()
}

const NAN_BITS: u32 = 0x7fff_ffff;

#[test]
fn special_arguments() {
    for ftz in [false, true] {
        assert_eq!(
            [ex2(-INFINITY, ftz), ex2(0.0, ftz), ex2(-0.0, ftz), ex2(INFINITY, ftz)],
            [0.0, 1.0, 1.0, INFINITY]
        );
        assert_eq!(
            [lg2(0.0, ftz), lg2(-0.0, ftz), lg2(1.0, ftz), lg2(INFINITY, ftz)],
            [-INFINITY, -INFINITY, 0.0, INFINITY]
        );
        assert_eq!([rcp(0.0, ftz), rcp(-0.0, ftz), rcp(INFINITY, ftz)], [INFINITY, -INFINITY, 0.0]);
        assert_eq!([rsqrt(0.0, ftz), rsqrt(-0.0, ftz), rsqrt(INFINITY, ftz)], [INFINITY, -INFINITY, 0.0]);
        assert_eq!([sqrt(-0.0, ftz), sin(-0.0, ftz)].map(bits), [1 << 31, 1 << 31]);
        assert_eq!([sqrt(INFINITY, ftz), cos(0.0, ftz)], [INFINITY, 1.0]);
        let invalid =
            [lg2(-1.0, ftz), rsqrt(-1.0, ftz), sqrt(-1.0, ftz), sin(INFINITY, ftz), cos(-INFINITY, ftz)];
        assert_eq!(invalid.map(bits), [NAN_BITS; 5]);
        let nan = -f32::NAN;
        let of_nan = [
            ex2(nan, ftz),
            lg2(nan, ftz),
            rcp(nan, ftz),
            rsqrt(nan, ftz),
            sqrt(nan, ftz),
            sin(nan, ftz),
            cos(nan, ftz),
        ];
        assert_eq!(of_nan.map(bits), [NAN_BITS; 7]);
    }
    assert_eq!([tanh(INFINITY), tanh(-INFINITY)], [1.0, -1.0]);
    assert_eq!([tanh(-0.0), tanh(f32::NAN)].map(bits), [1 << 31, NAN_BITS]);
}

#[test]
fn subnormal_numbers_count_unless_flushed() {
    let tiny = f32::from_bits(1);
    assert_eq!((lg2(tiny, false), lg2(tiny, true)), (-149.0, -INFINITY));
    assert_eq!((ex2(-149.0, false), ex2(-149.0, true)), (tiny, 0.0));
    assert_eq!((ex2(-126.0, false), ex2(-126.0, true)), (f32::MIN_POSITIVE, f32::MIN_POSITIVE));
    assert_eq!((rcp(-1.5e38, false), bits(rcp(-1.5e38, true))), (-1.0 / 1.5e38, 1 << 31));
    assert_eq!(
        (rcp(2.0_f32.powi(-127), false), rcp(2.0_f32.powi(-128), false), rcp(-tiny, true)),
        (2.0_f32.powi(127), INFINITY, -INFINITY)
    );
    assert_eq!((rsqrt(tiny, true), sqrt(tiny, true)), (INFINITY, 0.0));
    assert_eq!(
        (bits(sin(-tiny, true)), bits(sin(-tiny, false)), cos(tiny, true)),
        (1 << 31, 0x8000_0001, 1.0)
    );
}

#[test]
fn division_underflows_for_large_divisors() {
    let power = |exponent| 2.0_f32.powi(exponent);
    for ftz in [false, true] {
        assert_eq!(div(3.0, 2.0, ftz), 1.5);
        assert_eq!(div(power(127), power(126), ftz), 2.0);
        assert_eq!(bits(div(power(127), -power(126) * 1.5, ftz)), 1 << 31);
        assert_eq!(bits(div(INFINITY, power(127), ftz)), NAN_BITS);
        assert_eq!(
            (div(INFINITY, power(126), ftz), div(1.0, INFINITY, ftz), div(-1.0, 0.0, ftz)),
            (INFINITY, 0.0, -INFINITY)
        );
        assert_eq!(div_full(power(127), power(127), ftz), 1.0);
    }
    assert_eq!((div(power(-126), power(3), false), div(power(-126), power(3), true)), (power(-129), 0.0));
    assert_eq!(
        (div_full(power(-130), power(-130), false), bits(div_full(power(-130), power(-130), true))),
        (1.0, NAN_BITS)
    );
}

/// How many binary32 numbers lie between two results.
fn apart(a: f32, b: f32) -> u32 {
    (a.to_bits() as i32).abs_diff(b.to_bits() as i32)
}

#[test]
fn own_exponential_and_logarithm_are_as_good_as_the_library() {
    let mut random = Random::new(30);
    let mut differing = 0;
    for _ in 0..300_000 {
        let x = f32::from_bits(random.word() as u32 & 0xbfff_ffff) * 2.0_f32.powi(random.below(12) as i32);
        let x = if x.abs() < 160.0 { x } else { x % 160.0 };
        let want = f64::from(x).exp2();
        assert!((exp2(f64::from(x)) - want).abs() <= want * power_of_two(-50), "{x:e}");
        differing += apart(ex2(x, false), want as f32);
        let y = f32::from_bits(random.word() as u32 & 0x7f7f_ffff);
        if y > 0.0 {
            let want = f64::from(y).log2();
            assert!((log2(f64::from(y)) - want).abs() <= want.abs() * power_of_two(-50), "{y:e}");
            differing += apart(lg2(y, false), want as f32);
        }
        let near_one = 1.0 + (random.word() as i32 as f32) * 2.0_f32.powi(-32 - random.below(20) as i32);
        let want = f64::from(near_one).log2();
        assert!((log2(f64::from(near_one)) - want).abs() <= want.abs() * power_of_two(-50), "{near_one:e}");
    }
    assert!(differing <= 1, "{differing} results differ");
    for exponent in -149..128 {
        assert_eq!(ex2(exponent as f32, false), power_of_two(exponent) as f32);
        assert_eq!(lg2(power_of_two(exponent) as f32, false), exponent as f32);
    }
}

fn to_f16(x: f64) -> u16 {
    reference_rounded::<Half>(x, Rounding::Nearest).map_or(0x7fff, |code| code as u16)
}

fn to_bf16(x: f64) -> u16 {
    reference_rounded::<BFloat>(x, Rounding::Nearest).map_or(0x7fff, |code| code as u16)
}

#[test]
fn half_precision_functions_over_every_code() {
    for code in 0..=u16::MAX {
        let x = half::f16::from_bits(code).to_f64();
        if x.is_nan() {
            assert_eq!((ex2_half(code, F16), tanh_half(code, F16)), (0x7fff, 0x7fff));
            continue;
        }
        assert_eq!(ex2_half(code, F16), to_f16(x.exp2()), "ex2({x:e})");
        assert_eq!(tanh_half(code, F16), to_f16(x.tanh()), "tanh({x:e})");
        let x = half::bf16::from_bits(code).to_f64();
        if !x.is_nan() {
            let want = to_bf16(x.exp2());
            let want = if want < 0x0080 { 0 } else { want };
            assert_eq!(ex2_half(code, BF16), want, "ex2({x:e})");
            assert_eq!(tanh_half(code, BF16), to_bf16(x.tanh()), "tanh({x:e})");
        }
    }
}

#[test]
fn functions_of_upper_words() {
    assert_eq!((rcp_f64(4.0), rsqrt_ftz_f64(4.0), rsqrt_f64(4.0)), (0.25, 0.5, 0.5));
    assert_eq!(rcp_f64(f64::from_bits(0x4010_0000_ffff_ffff)), 0.25);
    assert_eq!(rcp_f64(3.0).to_bits(), 0x3fd5_5555 << 32);
    assert_eq!(
        (rcp_f64(0.0), rcp_f64(-1e-310), rsqrt_ftz_f64(-0.0), rsqrt_f64(f64::INFINITY)),
        (f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0)
    );
    assert_eq!(rcp_f64(f64::NAN).to_bits(), 0x7fff_ffff << 32);
    assert_eq!(rsqrt_f64(-1.0).to_bits(), 0xfff8 << 48);
    assert_eq!(rcp_f64(-f64::MAX).to_bits(), 1 << 63);
}

/// Checks a perturbed result against the exact one; returns how far it went, as a fraction of the bound.
fn check_perturbed(function: Function, result: u64, exact: f64, seed: u64, operand: u64) -> f64 {
    let moved = perturb(function, result, seed, [operand, 0]);
    let error = (function.format().decode(moved) - exact).abs();
    let format = function.format();
    let magnitude = exact.abs();
    let unit = 2.0_f64.powi(
        (magnitude.log2().floor() as i32 - format.mantissa_bits as i32).max(format.smallest_unit_exponent()),
    );
    let bound = match function.bound() {
        ErrorBound::Units(units) => units * unit,
        ErrorBound::Relative(fraction) => fraction * magnitude,
        ErrorBound::Absolute(distance) => distance,
        ErrorBound::AbsoluteOrRelative(distance) => distance * magnitude.max(1.0),
    };
    // The library's exact value and the one of the code under test differ by 2^-50 of them.
    assert!(
        error <= bound + magnitude * 2.0_f64.powi(-45),
        "{function:?}({operand:x}): {error:e} > {bound:e}"
    );
    error / bound
}

#[test]
fn perturbed_results_fill_their_bounds() {
    let mut random = Random::new(31);
    let mut widest = [0.0_f64; 7];
    for seed in 0..20_000 {
        let x = 2.0_f32.powi(random.below(20) as i32 - 10)
            * (1.0 + random.below(1 << 23) as f32 * 2.0_f32.powi(-23));
        let wide = f64::from(x);
        let small = x % 6.0;
        let cases = [
            (Function::Ex2, small, u64::from(bits(ex2(small, false))), f64::from(small).exp2()),
            (Function::Lg2, x, u64::from(bits(lg2(x, false))), wide.log2()),
            (Function::Rcp, x, u64::from(bits(rcp(x, false))), 1.0 / wide),
            (Function::Rsqrt, x, u64::from(bits(rsqrt(x, false))), 1.0 / wide.sqrt()),
            (Function::Sqrt, x, u64::from(bits(sqrt(x, false))), wide.sqrt()),
            (Function::Sin, small, u64::from(bits(sin(small, false))), f64::from(small).sin()),
            (Function::Tanh, small, u64::from(bits(tanh(small))), f64::from(small).tanh()),
        ];
        for ((function, operand, result, exact), widest) in cases.into_iter().zip(&mut widest) {
            if exact != 0.0 {
                *widest =
                    widest.max(check_perturbed(function, result, exact, seed, u64::from(bits(operand))));
            }
        }
    }
    assert!(widest.iter().all(|&fraction| fraction > 0.9), "{widest:?}");
}

#[test]
fn perturbed_half_results() {
    let mut moved = 0;
    for code in 0..0x7c00_u16 {
        let x = half::f16::from_bits(code).to_f64();
        let result = u64::from(tanh_half(code, F16));
        if result != 0 {
            check_perturbed(Function::TanhF16, result, x.tanh(), 1, u64::from(code));
            moved += u32::from(perturb(Function::TanhF16, result, 1, [u64::from(code), 0]) != result);
        }
    }
    assert!(moved > 1000, "{moved}");
}

#[test]
fn perturbation_is_a_function_of_seed_and_operands() {
    let result = u64::from(bits(ex2(0.3, false)));
    let with_operand = |seed, x: f32| perturb(Function::Ex2, result, seed, [u64::from(bits(x)), 0]);
    let with_seed = |seed| with_operand(seed, 0.3);
    assert_eq!(with_seed(5), with_seed(5));
    assert!((0..50).any(|seed| with_seed(seed) != with_seed(5)));
    assert!((1..50).any(|step| {
        let x = f32::from_bits(bits(0.3) + step);
        with_operand(5, x).abs_diff(u64::from(bits(ex2(x, false)))) != with_seed(5).abs_diff(result)
    }));
    for special in [0.0_f32, -0.0, INFINITY, NAN] {
        assert_eq!(perturb(Function::Ex2, u64::from(bits(special)), 3, [0, 0]), u64::from(bits(special)));
    }
    let one = u64::from(bits(1.0));
    assert!((0..100).all(|seed| perturb(Function::Sin, one, seed, [u64::from(bits(FRAC_PI_2)), 0]) <= one));
}
