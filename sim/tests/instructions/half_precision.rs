//! binary16 and bfloat16 arithmetic (PTX ISA 9.7.4).

use crate::harness::{Kind, check};
use crate::oracle::{NAN16, Op, both, half, widen};
use Kind::{Bf16, Bf16x2, F16, F16x2};

const fn flush(x: u64, bfloat: bool) -> u64 {
    let exponent = if bfloat { 0x7f80 } else { 0x7c00 };
    if x & exponent == 0 { x & 0x8000 } else { x }
}

/// Checks `opcode.type` of one number and of pairs.
fn check_formats(opcode: &str, count: usize, only: Option<bool>, expected: impl Fn(&[u64], bool) -> u64) {
    for (bfloat, single, pair) in [(false, F16, F16x2), (true, Bf16, Bf16x2)] {
        if only.is_some_and(|only| only != bfloat) {
            continue;
        }
        let name = if bfloat { "bf16" } else { "f16" };
        check(&format!("{opcode}.{name}"), single, &vec![single; count], |x| expected(x, bfloat));
        check(&format!("{opcode}.{name}x2"), pair, &vec![pair; count], |x| both(x, |x| expected(x, bfloat)));
    }
}

fn relu(x: u64) -> u64 {
    if x & 0x8000 != 0 && x != NAN16 { 0 } else { x }
}

fn saturate(x: u64) -> u64 {
    let value = widen(x, false);
    if value >= 1.0 {
        0x3c00
    } else if value > 0.0 {
        x
    } else {
        0
    }
}

#[test]
fn sums_and_products() {
    for (name, op, count) in
        [("add", Op::Add, 2), ("sub", Op::Sub, 2), ("mul", Op::Mul, 2), ("fma.rn", Op::Fma, 3)]
    {
        check_formats(name, count, None, |x, bfloat| half(op, x, bfloat));
        check_formats(&format!("{name}.sat"), count, Some(false), |x, _| saturate(half(op, x, false)));
        let flushed = |x: &[u64]| {
            let x: Vec<u64> = x.iter().map(|x| flush(*x, false)).collect();
            // In binary64, where every result of these is exact or has bits enough to show on which side it lies.
            let [a, b] = [x[0], x[1]].map(|x| f64::from(widen(x, false)));
            let value = match op {
                Op::Add => a + b,
                Op::Sub => a - b,
                Op::Mul => a * b,
                _ => a.mul_add(b, f64::from(widen(x[2], false))),
            };
            let result = half(op, &x, false);
            // Tiny after rounding to 11 bits: below 2^-14 less half a unit of the binade below.
            let limit = 0.5_f64.powi(14) * (1.0 - 0.5_f64.powi(12));
            if value.abs() < limit { result & 0x8000 } else { result }
        };
        check_formats(&format!("{name}.ftz"), count, Some(false), |x, _| flushed(x));
        check_formats(&format!("{name}.ftz.sat"), count, Some(false), |x, _| saturate(flushed(x)));
    }
    check_formats("fma.rn.relu", 3, None, |x, bfloat| relu(half(Op::Fma, x, bfloat)));
    check_formats("fma.rn.oob", 3, None, |x, bfloat| {
        if x[0] == 0x7ff7 || x[1] == 0x7ff7 { 0 } else { half(Op::Fma, x, bfloat) }
    });
}

#[test]
fn minima_and_maxima() {
    let extreme = |x: &[u64], bfloat: bool, maximum: bool, propagate: bool| {
        let (a, b) = (widen(x[0], bfloat), widen(x[1], bfloat));
        match (a.is_nan(), b.is_nan()) {
            (true, true) => NAN16,
            (true, false) | (false, true) if propagate => NAN16,
            (true, false) => x[1],
            (false, true) => x[0],
            _ if (a.total_cmp(&b) == std::cmp::Ordering::Greater) == maximum => x[0],
            _ => x[1],
        }
    };
    for (name, maximum) in [("min", false), ("max", true)] {
        check_formats(name, 2, None, |x, bfloat| extreme(x, bfloat, maximum, false));
        check_formats(&format!("{name}.NaN"), 2, None, |x, bfloat| extreme(x, bfloat, maximum, true));
        check_formats(&format!("{name}.ftz"), 2, Some(false), |x, _| {
            extreme(&[flush(x[0], false), flush(x[1], false)], false, maximum, false)
        });
        check_formats(&format!("{name}.xorsign.abs"), 2, None, |x, bfloat| {
            let result = extreme(&[x[0] & 0x7fff, x[1] & 0x7fff], bfloat, maximum, false);
            if result == NAN16 { NAN16 } else { result | (x[0] ^ x[1]) & 0x8000 }
        });
    }
}

#[test]
fn signs() {
    let with_sign = |x: u64, bfloat: bool, sign: u64| {
        if widen(x, bfloat).is_nan() { NAN16 } else { x & 0x7fff | sign }
    };
    check_formats("abs", 1, None, |x, bfloat| with_sign(x[0], bfloat, 0));
    check_formats("neg", 1, None, |x, bfloat| with_sign(x[0], bfloat, !x[0] & 0x8000));
    check_formats("abs.ftz", 1, Some(false), |x, _| with_sign(flush(x[0], false), false, 0));
    check_formats("neg.ftz", 1, Some(false), |x, _| with_sign(flush(x[0], false), false, !x[0] & 0x8000));
}
