//! Approximations: within their documented error of the exact function, perturbed or not (PTX ISA 9.7.3, 9.7.4).

use crate::harness::{Case, Kind, f32, f64};
use crate::oracle::{flush32, widen};
use Kind::{Bf16, Bf16x2, F16, F16x2, F32, F64};

/// An error bound, as the distance from an exact result that is allowed.
type Bound = fn(f64) -> f64;

/// The distance of neighbouring binary32 numbers.
fn unit(x: f64) -> f64 {
    let exponent = if x == 0.0 { -149 } else { (x.abs().log2().floor() as i32 - 23).max(-149) };
    2.0_f64.powi(exponent)
}

fn close(expected: f64, result: f32, bound: Bound) -> bool {
    if expected.is_nan() {
        return result.to_bits() == 0x7fff_ffff;
    }
    if expected.abs() > f64::from(f32::MAX) * (1.0 - 2e-7) {
        return result.abs() >= f32::MAX * (1.0 - 2e-7) && (result > 0.0) == (expected > 0.0);
    }
    (f64::from(result) - expected).abs() <= bound(expected)
}

/// Checks `name{.ftz}` of binary32 operands, with and without perturbation.
fn check(name: &str, count: usize, flushes: bool, bound: Bound, exact: impl Fn(&[f64]) -> f64) {
    for (opcode, ftz, perturb) in [
        (format!("{name}.f32"), false, false),
        (format!("{name}.ftz.f32"), true, false),
        (format!("{name}.f32"), false, true),
        (format!("{name}.ftz.f32"), true, true),
    ] {
        if ftz && !flushes {
            continue;
        }
        let mut case = Case::new(&opcode, F32, &vec![F32; count]);
        case.options.perturb_approximations = perturb;
        case.check_by(|x, result| {
            let flush = |x: u64| if ftz { flush32(x) } else { x };
            let x: Vec<f64> = x.iter().map(|x| f64::from(f32(flush(*x)))).collect();
            let expected = exact(&x);
            let tiny = ftz && expected.abs() <= f64::from(f32::MIN_POSITIVE);
            tiny && f32(result) == 0.0 || close(expected, f32(result), bound)
        });
    }
}

#[test]
fn binary32_functions() {
    check("ex2.approx", 1, true, |y| 2.0 * unit(y), |x| x[0].exp2());
    check("lg2.approx", 1, true, |y| 0.5_f64.powi(22) * y.abs().max(1.0), |x| x[0].log2());
    check("rcp.approx", 1, true, unit, |x| 1.0 / x[0]);
    check(
        "rsqrt.approx",
        1,
        true,
        |y| 2.0_f64.powf(-22.9) * y.abs(),
        |x| {
            if x[0] == 0.0 { 1.0 / x[0] } else { 1.0 / x[0].sqrt() }
        },
    );
    check("sqrt.approx", 1, true, |y| 0.5_f64.powi(23) * y.abs() + unit(0.0), |x| x[0].sqrt());
    check("sin.approx", 1, true, |_| 2.0_f64.powf(-20.5), |x| x[0].sin());
    check("cos.approx", 1, true, |_| 2.0_f64.powf(-20.5), |x| x[0].cos());
    check("tanh.approx", 1, false, |y| 0.5_f64.powi(11) * y.abs() + unit(0.0), |x| x[0].tanh());
    check("div.full", 2, true, |y| 2.0 * unit(y), |x| x[0] / x[1]);
    check(
        "div.approx",
        2,
        true,
        |y| 2.0 * unit(y),
        |x| {
            // Beyond 2^126 the divisor's reciprocal is zero.
            if x[1].abs() > 2.0_f64.powi(126) { x[0] * 0.0_f64.copysign(x[1]) } else { x[0] / x[1] }
        },
    );
}

#[test]
fn a_perturbed_result_depends_on_the_seed_alone() {
    let mut case = Case::new("ex2.approx.f32", F32, &[F32]);
    let inputs = case.inputs(2048);
    let plain = case.run(&inputs).expect("no fault");
    case.options.perturb_approximations = true;
    let first = case.run(&inputs).expect("no fault");
    assert_eq!(first, case.run(&inputs).expect("no fault"));
    case.options.seed = 1;
    let second = case.run(&inputs).expect("no fault");
    assert!(plain != first && first != second);
}

#[test]
fn half_precision_functions() {
    let cases: [(&str, bool, Bound, fn(f64) -> f64); 4] = [
        ("ex2.approx.f16", false, |y| 2.0_f64.powf(-9.9) * y + 0.5_f64.powi(25), f64::exp2),
        ("ex2.approx.ftz.bf16", true, |y| 0.5_f64.powi(7) * y, f64::exp2),
        ("tanh.approx.f16", false, |_| 2.0_f64.powf(-10.987), f64::tanh),
        ("tanh.approx.bf16", true, |_| 0.5_f64.powi(8), f64::tanh),
    ];
    for (opcode, bfloat, bound, exact) in cases {
        let ftz = opcode.contains("ftz");
        let accepts = move |x: u64, result: u64| {
            let x = if ftz && x & 0x7f80 == 0 { 0.0 } else { f64::from(widen(x, bfloat)) };
            let (expected, result) = (exact(x), f64::from(widen(result, bfloat)));
            let largest = if bfloat { f64::from(f32::MAX) } else { 65504.0 };
            if expected.is_nan() {
                return result.is_nan();
            }
            if expected > largest {
                return result >= largest * (1.0 - 0.5_f64.powi(7));
            }
            ftz && expected <= f64::from(f32::MIN_POSITIVE) && result == 0.0
                || (result - expected).abs() <= bound(expected)
        };
        let (single, pair) = if bfloat { (Bf16, Bf16x2) } else { (F16, F16x2) };
        for perturb in [false, true] {
            let mut case = Case::new(opcode, single, &[single]);
            case.options.perturb_approximations = perturb;
            case.check_by(|x, result| accepts(x[0], result));
            let mut case = Case::new(&format!("{opcode}x2"), pair, &[pair]);
            case.options.perturb_approximations = perturb;
            case.check_by(|x, result| {
                accepts(x[0] & 0xffff, result & 0xffff) && accepts(x[0] >> 16, result >> 16)
            });
        }
    }
}

#[test]
fn binary64_functions() {
    let close = |expected: f64, result: f64| {
        expected.is_nan() && result.is_nan()
            || expected == result
            || expected.abs() < f64::MIN_POSITIVE && result == 0.0
            || (result / expected - 1.0).abs() <= 0.5_f64.powi(19)
    };
    let flush = |x: u64| if x & 0x7ff0 << 48 == 0 { x & 1 << 63 } else { x };
    Case::new("rcp.approx.ftz.f64", F64, &[F64])
        .check_by(|x, result| close(1.0 / f64(flush(x[0] & !0xffff_ffff)), f64(result)));
    let root = |x: f64| if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() };
    Case::new("rsqrt.approx.ftz.f64", F64, &[F64])
        .check_by(|x, result| close(root(f64(flush(x[0] & !0xffff_ffff))), f64(result)));
    Case::new("rsqrt.approx.f64", F64, &[F64]).check_by(|x, result| close(root(f64(x[0])), f64(result)));
}
