//! binary32 and binary64 arithmetic (PTX ISA 9.7.3, 9.7.5).

use crate::harness::{Case, Kind, check, check_on, f32, f64};
use crate::oracle::{NAN32, Op, double, flush32, round_of, single, single_flushed, widen};
use Kind::{Bf16, F16, F32, F32x2, F64, Pred};

const ROUNDINGS: [&str; 4] = ["rn", "rz", "rm", "rp"];

/// `.sat`: NaN and negative numbers become zero.
fn saturate(bits: u64) -> u64 {
    let x = f32(bits);
    if x >= 1.0 {
        1.0_f32.to_bits().into()
    } else if x > 0.0 {
        bits
    } else {
        0
    }
}

fn canonical(x: f32) -> u64 {
    if x.is_nan() { NAN32 } else { x.to_bits().into() }
}

#[test]
fn sums_products_and_quotients() {
    for (name, op, count) in
        [("add", Op::Add, 2), ("sub", Op::Sub, 2), ("mul", Op::Mul, 2), ("fma", Op::Fma, 3)]
    {
        let operands = vec![F32; count];
        if op != Op::Fma {
            let nearest = round_of("rn");
            check(&format!("{name}.f32"), F32, &operands, |x| single(op, x, nearest));
            check(&format!("{name}.ftz.f32"), F32, &operands, |x| single_flushed(op, x, nearest));
            check(&format!("{name}.sat.f32"), F32, &operands, |x| saturate(single(op, x, nearest)));
            check(&format!("{name}.ftz.sat.f32"), F32, &operands, |x| {
                saturate(single_flushed(op, x, nearest))
            });
        }
        for rounding in ROUNDINGS {
            let round = round_of(rounding);
            check(&format!("{name}.{rounding}.f32"), F32, &operands, |x| single(op, x, round));
            check(&format!("{name}.{rounding}.sat.f32"), F32, &operands, |x| saturate(single(op, x, round)));
            check(&format!("{name}.{rounding}.f64"), F64, &vec![F64; count], |x| {
                double_or_nan(op, x, rounding)
            });
        }
        check(&format!("{name}.rn.ftz.f32"), F32, &operands, |x| single_flushed(op, x, round_of("rn")));
    }
    check("mad.rn.f32", F32, &[F32; 3], |x| single(Op::Fma, x, round_of("rn")));
    check("mad.rz.ftz.f32", F32, &[F32; 3], |x| {
        // Rounding toward zero never leaves the subnormal numbers upward.
        let x: Vec<u64> = x.iter().map(|x| flush32(*x)).collect();
        flush32(single(Op::Fma, &x, round_of("rz")))
    });
    check("mad.rp.f64", F64, &[F64; 3], |x| double_or_nan(Op::Fma, x, "rp"));
    for rounding in ROUNDINGS {
        let round = round_of(rounding);
        check(&format!("div.{rounding}.f32"), F32, &[F32; 2], |x| single(Op::Div, x, round));
        check(&format!("rcp.{rounding}.f32"), F32, &[F32], |x| single(Op::Div, &[0x3f80_0000, x[0]], round));
        check(&format!("div.{rounding}.f64"), F64, &[F64; 2], |x| double_or_nan(Op::Div, x, rounding));
        check(&format!("rcp.{rounding}.f64"), F64, &[F64], |x| {
            double_or_nan(Op::Div, &[1.0_f64.to_bits(), x[0]], rounding)
        });
    }
    check("div.rn.ftz.f32", F32, &[F32; 2], |x| single_flushed(Op::Div, x, round_of("rn")));
    check("sqrt.rn.f32", F32, &[F32], |x| canonical(f32(x[0]).sqrt()));
    check("sqrt.rn.ftz.f32", F32, &[F32], |x| canonical(f32(flush32(x[0])).sqrt()));
    Case::new("sqrt.rn.f64", F64, &[F64]).check_by(|x, result| same(f64(x[0]).sqrt(), result));
    // A root rounded down is the largest number whose square does not exceed the argument, in exact arithmetic.
    Case::new("sqrt.rz.f32", F32, &[F32]).check_by(|x, result| {
        let (a, root) = (f64::from(f32(x[0])), f32(result));
        if !(a > 0.0 && a.is_finite()) {
            return canonical(f32(x[0]).sqrt()) == result;
        }
        let square = |x: f32| f64::from(x) * f64::from(x);
        square(root) <= a && square(root.next_up()) > a
    });
}

/// The result by the oracle; of NaN operands the last one's payload, made quiet, and the device's NaN where none is.
fn double_or_nan(op: Op, x: &[u64], rounding: &str) -> u64 {
    double(op, x, round_of(rounding)).unwrap_or_else(|| {
        let nan = x.iter().rev().find(|x| f64(**x).is_nan());
        nan.map_or(0xfff8 << 48, |nan| nan | 1 << 51)
    })
}

fn same(expected: f64, result: u64) -> bool {
    if expected.is_nan() { f64(result).is_nan() } else { expected.to_bits() == result }
}

#[test]
fn pairs_of_binary32() {
    let both = |x: &[u64], function: &dyn Fn(&[u64]) -> u64| {
        let part = |shift: u32| function(&x.iter().map(|x| x >> shift & 0xffff_ffff).collect::<Vec<_>>());
        part(32) << 32 | part(0)
    };
    for (name, op, count) in
        [("add", Op::Add, 2), ("sub", Op::Sub, 2), ("mul", Op::Mul, 2), ("fma", Op::Fma, 3)]
    {
        for rounding in ROUNDINGS {
            let round = round_of(rounding);
            check_on("sm_100a", &format!("{name}.{rounding}.f32x2"), F32x2, &vec![F32x2; count], |x| {
                both(x, &|x| single(op, x, round))
            });
        }
        check_on("sm_100a", &format!("{name}.rn.ftz.f32x2"), F32x2, &vec![F32x2; count], |x| {
            both(x, &|x| single_flushed(op, x, round_of("rn")))
        });
    }
}

#[test]
fn mixed_precision() {
    for (name, kind, bfloat) in [("f16", F16, false), ("bf16", Bf16, true)] {
        for rounding in ROUNDINGS {
            let round = round_of(rounding);
            let wide = |x: u64| u64::from(widen(x, bfloat).to_bits());
            check_on("sm_100a", &format!("add.{rounding}.f32.{name}"), F32, &[kind, F32], |x| {
                single(Op::Add, &[wide(x[0]), x[1]], round)
            });
            check_on("sm_100a", &format!("sub.{rounding}.sat.f32.{name}"), F32, &[kind, F32], |x| {
                saturate(single(Op::Sub, &[wide(x[0]), x[1]], round))
            });
            check_on("sm_100a", &format!("fma.{rounding}.f32.{name}"), F32, &[kind, kind, F32], |x| {
                single(Op::Fma, &[wide(x[0]), wide(x[1]), x[2]], round)
            });
        }
    }
}

/// The smaller or larger of two numbers as PTX has it: -0 below +0, NaN only where it must be.
fn extreme(x: &[u64], maximum: bool, propagate: bool) -> u64 {
    let (a, b) = (f32(x[0]), f32(x[1]));
    if a.is_nan() && b.is_nan() || propagate && (a.is_nan() || b.is_nan()) {
        return NAN32;
    }
    let first = match (a.is_nan(), b.is_nan()) {
        (true, _) => false,
        (_, true) => true,
        _ => (a.total_cmp(&b) == std::cmp::Ordering::Greater) == maximum,
    };
    if first { x[0] } else { x[1] }
}

#[test]
fn minima_and_maxima() {
    for (name, maximum) in [("min", false), ("max", true)] {
        check(&format!("{name}.f32"), F32, &[F32; 2], |x| extreme(x, maximum, false));
        check(&format!("{name}.NaN.f32"), F32, &[F32; 2], |x| extreme(x, maximum, true));
        let flushed = |x: &[u64]| x.iter().map(|x| flush32(*x)).collect::<Vec<_>>();
        check(&format!("{name}.ftz.f32"), F32, &[F32; 2], |x| extreme(&flushed(x), maximum, false));
        check(&format!("{name}.ftz.NaN.f32"), F32, &[F32; 2], |x| extreme(&flushed(x), maximum, true));
        let magnitudes = |x: &[u64]| x.iter().map(|x| x & 0x7fff_ffff).collect::<Vec<_>>();
        check(&format!("{name}.xorsign.abs.f32"), F32, &[F32; 2], |x| {
            let result = extreme(&magnitudes(x), maximum, false);
            if result == NAN32 { NAN32 } else { result | (x[0] ^ x[1]) & 0x8000_0000 }
        });
        let three =
            |x: &[u64], propagate| extreme(&[extreme(x, maximum, propagate), x[2]], maximum, propagate);
        check_on("sm_100a", &format!("{name}.f32"), F32, &[F32; 3], |x| three(x, false));
        check_on("sm_100a", &format!("{name}.NaN.f32"), F32, &[F32; 3], |x| three(x, true));
        check_on("sm_100a", &format!("{name}.ftz.abs.f32"), F32, &[F32; 3], |x| {
            three(&magnitudes(&flushed(x)), false)
        });
        Case::new(&format!("{name}.f64"), F64, &[F64; 2]).check_by(|x, result| {
            let (a, b) = (f64(x[0]), f64(x[1]));
            match (a.is_nan(), b.is_nan()) {
                (true, true) => f64(result).is_nan(),
                (true, false) => result == x[1],
                (false, true) => result == x[0],
                _ => {
                    let first = (a.total_cmp(&b) == std::cmp::Ordering::Greater) == maximum;
                    result == if first { x[0] } else { x[1] }
                }
            }
        });
    }
}

#[test]
fn signs() {
    check("abs.f32", F32, &[F32], |x| canonical(f32(x[0]).abs()));
    check("abs.ftz.f32", F32, &[F32], |x| canonical(f32(flush32(x[0])).abs()));
    check("neg.f32", F32, &[F32], |x| canonical(-f32(x[0])));
    check("neg.ftz.f32", F32, &[F32], |x| canonical(-f32(flush32(x[0]))));
    check("abs.f64", F64, &[F64], |x| x[0] & (u64::MAX >> 1));
    check("neg.f64", F64, &[F64], |x| x[0] ^ 1 << 63);
    check("copysign.f32", F32, &[F32; 2], |x| x[1] & 0x7fff_ffff | x[0] & 0x8000_0000);
    check("copysign.f64", F64, &[F64; 2], |x| x[1] & (u64::MAX >> 1) | x[0] & 1 << 63);
}

#[test]
fn classes() {
    use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
    type Holds = fn(std::num::FpCategory) -> bool;
    let classes: [(&str, Holds); 6] = [
        ("finite", |class| !matches!(class, Infinite | Nan)),
        ("infinite", |class| class == Infinite),
        ("number", |class| class != Nan),
        ("notanumber", |class| class == Nan),
        ("normal", |class| matches!(class, Normal | Zero)),
        ("subnormal", |class| class == Subnormal),
    ];
    for (name, holds) in classes {
        check(&format!("testp.{name}.f32"), Pred, &[F32], |x| holds(f32(x[0]).classify()).into());
        check(&format!("testp.{name}.f64"), Pred, &[F64], |x| holds(f64(x[0]).classify()).into());
    }
}

/// Literals of a floating-point instruction are read in its type.
#[test]
fn literals() {
    Case::of("fma.rn.f32 %d, %a, 0f40000000, 0fBF800000;", F32, &[F32])
        .check_some(|x| Some(canonical(f32(x[0]).mul_add(2.0, -1.0))));
    Case::of("add.f64 %d, %a, 0d3FF0000000000000;", F64, &[F64])
        .check_by(|x, result| same(f64(x[0]) + 1.0, result));
    Case::of("mul.f32 %d, 0f3F000000, %a;", F32, &[F32]).check_some(|x| Some(canonical(f32(x[0]) * 0.5)));
}
