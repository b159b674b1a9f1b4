//! Conversions against `rustc_apfloat` and 128-bit integers; the tables of NaN results; tf32.

use super::*;
use crate::scalar::format::{BF16, F16};
use crate::scalar::testing::{ROUNDINGS, Random, edges, reference_rounded};
use rustc_apfloat::ieee::{BFloat, Double, Half, Single};
use rustc_apfloat::{Float, Round};

const TYPES: [IntegerType; 8] = [
    IntegerType::unsigned(8),
    IntegerType::signed(8),
    IntegerType::unsigned(16),
    IntegerType::signed(16),
    IntegerType::unsigned(32),
    IntegerType::signed(32),
    IntegerType::unsigned(64),
    IntegerType::signed(64),
];
const FORMATS: [Format; 4] = [F16, BF16, F32, F64];
const INTEGER_ROUNDINGS: [IntegerRounding; 4] =
    [IntegerRounding::Nearest, IntegerRounding::Zero, IntegerRounding::Down, IntegerRounding::Up];

fn with(rounding: Rounding) -> Conversion {
    Conversion { rounding, ..Conversion::default() }
}

fn registers() -> Vec<u64> {
    let mut random = Random::new(11);
    let mut registers: Vec<u64> =
        (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1, !(1 << bit), u64::MAX << bit]).collect();
    registers.extend((0..20_000).map(|_| random.word() >> random.below(64)));
    registers.extend((0..20_000).map(|_| u64::MAX << random.below(64) ^ random.below(8)));
    registers
}

/// The limits of a type, written out.
fn limits(ty: IntegerType) -> (i128, i128) {
    match (ty.bits, ty.signed) {
        (8, false) => (0, 255),
        (8, true) => (-128, 127),
        (16, false) => (0, 65535),
        (16, true) => (-32768, 32767),
        (32, false) => (0, u32::MAX.into()),
        (32, true) => (i32::MIN.into(), i32::MAX.into()),
        (64, false) => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

#[test]
fn integers_extend_truncate_and_saturate() {
    for raw in registers().into_iter().step_by(7) {
        for from in TYPES {
            let value = from.value(raw);
            let (low, high) = limits(from);
            assert!(
                (low..=high).contains(&value) && (value - i128::from(raw)).rem_euclid(1 << from.bits) == 0
            );
            for to in TYPES {
                let (low, high) = limits(to);
                let plain = to.value(integer_to_integer(raw, from, to, false));
                assert!((low..=high).contains(&plain) && (plain - value).rem_euclid(1 << to.bits) == 0);
                let saturated = integer_to_integer(raw, from, to, true);
                assert_eq!(saturated, value.clamp(low, high) as u64);
            }
        }
    }
}

fn reference_integer<F: Float>(value: i128, rounding: Rounding) -> u64 {
    let round = match rounding {
        Rounding::Nearest => Round::NearestTiesToEven,
        Rounding::Zero => Round::TowardZero,
        Rounding::Down => Round::TowardNegative,
        _ => Round::TowardPositive,
    };
    F::from_i128_r(value, round).value.to_bits() as u64
}

#[test]
fn integers_round_to_every_format() {
    for raw in registers() {
        for from in TYPES {
            let value = from.value(raw);
            for rounding in ROUNDINGS {
                let want = [
                    reference_integer::<Half>(value, rounding),
                    reference_integer::<BFloat>(value, rounding),
                    reference_integer::<Single>(value, rounding),
                    reference_integer::<Double>(value, rounding),
                ];
                let got = FORMATS.map(|to| integer_to_float(raw, from, to, with(rounding)));
                assert_eq!(got, want, "{value} {rounding:?}");
            }
        }
    }
    let sat = Conversion { sat: true, ..Conversion::default() };
    assert_eq!(integer_to_float(7, TYPES[4], F32, sat), 0x3f80_0000);
    assert_eq!(integer_to_float(u64::MAX, TYPES[5], F32, sat), 0);
}

/// Rounds by the exact binary expansion: significand and exponent in 128-bit integers.
fn reference_to_integer(x: f64, rounding: IntegerRounding, ty: IntegerType) -> u64 {
    let (low, high) = limits(ty);
    if x.abs() >= 1e20 {
        return if x > 0.0 { high as u64 } else { low as u64 };
    }
    let field = (x.to_bits() >> 52 & 0x7ff) as i32;
    let fraction = i128::from(x.to_bits() & ((1 << 52) - 1)) | i128::from(field > 0) << 52;
    let significand = if x < 0.0 { -fraction } else { fraction };
    let shift = 1075 - field.max(1);
    let integer = if shift <= 0 {
        significand << -shift
    } else {
        // Beyond 120 bits of fraction only the sign and whether there is anything matter.
        let shift = shift.min(120);
        let floor = significand >> shift;
        let rest = significand - (floor << shift);
        let half = 1_i128 << (shift - 1);
        floor
            + i128::from(match rounding {
                IntegerRounding::Nearest => rest > half || rest == half && floor & 1 == 1,
                IntegerRounding::Zero => rest != 0 && significand < 0,
                IntegerRounding::Down => false,
                IntegerRounding::Up => rest != 0,
            })
    };
    integer.clamp(low, high) as u64
}

#[test]
fn floats_round_to_every_integer_type() {
    let mut random = Random::new(12);
    let mut inputs: Vec<f64> = Vec::new();
    for ty in TYPES {
        let (low, high) = limits(ty);
        for edge in [low as f64, high as f64, 0.0] {
            for step in -8..=8 {
                inputs.push(edge + f64::from(step) / 4.0);
                inputs.push((edge + f64::from(step) / 4.0).next_up());
                inputs.push((edge + f64::from(step) / 4.0).next_down());
            }
        }
    }
    inputs.extend((0..40_000).map(|_| random.f64()));
    inputs
        .extend((0..40_000).map(|_| random.word() as i64 as f64 * 2.0_f64.powi(-(random.below(70) as i32))));
    for x in inputs.into_iter().filter(|x| !x.is_nan()) {
        for ty in TYPES {
            for rounding in INTEGER_ROUNDINGS {
                let want = reference_to_integer(x, rounding, ty);
                assert_eq!(float_to_integer(x, true, rounding, ty), want, "{x:e} {rounding:?} {ty:?}");
            }
        }
        let single = x as f32;
        for rounding in INTEGER_ROUNDINGS {
            let want = reference_to_integer(f64::from(single), rounding, TYPES[5]);
            assert_eq!(i64::from(f32_to_s32(single, rounding, false)) as u64, want);
            let want = reference_to_integer(f64::from(single), rounding, TYPES[4]);
            assert_eq!(u64::from(f32_to_u32(single, rounding, false)), want);
        }
    }
    assert_eq!(f32_to_s32(f32::from_bits(1), IntegerRounding::Up, true), 0);
}

#[test]
fn nan_to_integer_depends_on_both_types() {
    let from_f32 = TYPES.map(|to| float_to_integer(f64::NAN, false, IntegerRounding::Zero, to));
    assert_eq!(from_f32, [0, 0, 0, 0, 0, 0, 1 << 63, 1 << 63]);
    let from_f64 = TYPES.map(|to| float_to_integer(f64::NAN, true, IntegerRounding::Zero, to));
    let smallest = |bits: u32| u64::MAX << (bits - 1);
    assert_eq!(from_f64, [0x80, smallest(8), 0x8000, smallest(16), 1 << 31, smallest(32), 1 << 63, 1 << 63]);
    assert_eq!(
        (
            f32_to_s32(f32::NAN, IntegerRounding::Zero, false),
            f32_to_u32(f32::NAN, IntegerRounding::Zero, false)
        ),
        (0, 0)
    );
}

#[test]
fn floats_round_to_every_format() {
    let mut random = Random::new(13);
    for from in FORMATS {
        let inputs: Vec<u64> =
            edges(from).into_iter().chain((0..20_000).map(|_| random.code(from))).collect();
        for code in inputs.into_iter().filter(|&code| !from.is_nan(code)) {
            let x = from.decode(code);
            for rounding in ROUNDINGS {
                let want = [
                    reference_rounded::<Half>(x, rounding),
                    reference_rounded::<BFloat>(x, rounding),
                    reference_rounded::<Single>(x, rounding),
                    Some(x.to_bits()),
                ];
                for (to, want) in FORMATS.into_iter().zip(want) {
                    let got = float_to_float(code, from, to, with(rounding));
                    assert_eq!(Some(got), want, "{x:e} {to:?} {rounding:?}");
                    if from == F32 && to.width() == 16 {
                        let half = f32_to_half(f32::from_bits(code as u32), to, with(rounding));
                        assert_eq!(u64::from(half), got, "{x:e} {to:?} {rounding:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn nan_between_formats() {
    let plain = Conversion::default();
    let ftz = Conversion { ftz: true, ..plain };
    let convert = |code: u64, from, to, conversion| float_to_float(code, from, to, conversion);
    assert_eq!(convert(0xffc1_2345, F32, F64, plain), 0xfff8_2468_a000_0000);
    assert_eq!(convert(0xffc1_2345, F32, F64, ftz), 0x7fff_ffff_e000_0000);
    assert_eq!(convert(0xff81_2345, F32, F32, plain), 0xff81_2345);
    assert_eq!(convert(0xff81_2345, F32, F32, ftz), 0x7fff_ffff);
    assert_eq!(convert(0xfff8_0000_0001_2345, F64, F32, plain), 0xffc0_0000);
    assert_eq!(convert(0x7ff4_2000_0000_0000, F64, F16, plain), 0x7f08);
    assert_eq!(convert(0xfc01, F16, F32, plain), 0x7fff_ffff);
    assert_eq!(convert(0xfc01, F16, F64, plain), 0xfff8_0400_0000_0000);
    assert_eq!(convert(0xff81, BF16, F32, plain), 0xff81_0000);
    assert_eq!(convert(0xff81, BF16, F32, ftz), 0x7fff_ffff);
    for (from, to) in [(F32, F16), (F32, BF16), (F16, BF16), (BF16, F16)] {
        assert_eq!(convert(from.nan | from.sign(true), from, to, plain), 0x7fff);
    }
    let sat = Conversion { sat: true, ..plain };
    assert_eq!(convert(0xffc1_2345, F32, F32, sat), 0);
    assert_eq!(bf16_to_f32(0xff81).to_bits(), 0xff81_0000);
    assert_eq!(f16_to_f32(0xfc01).to_bits(), 0x7fff_ffff);
    assert_eq!(f32_to_f64(f32::from_bits(0xffc1_2345), false).to_bits(), 0xfff8_2468_a000_0000);
    assert_eq!(f32_to_f64(f32::from_bits(0x8000_0001), true).to_bits(), 1 << 63);
    assert_eq!(f32_to_f64(1.5, false), 1.5);
}

#[test]
fn modifiers_between_formats() {
    let f32_to = |x: f32, to, conversion| float_to_float(u64::from(x.to_bits()), F32, to, conversion);
    let sat = Conversion { sat: true, ..Conversion::default() };
    assert_eq!([2.0, -1.0, -0.0, 0.5].map(|x| f32_to(x, F32, sat)), [0x3f80_0000, 0, 0, 0x3f00_0000]);
    assert_eq!(f32_to(0.99999, F16, sat), 0x3c00);
    let relu = Conversion { relu: true, ..Conversion::default() };
    for format in [F16, BF16] {
        assert_eq!([-1.0, -0.0, f32::NEG_INFINITY].map(|x| f32_to_half(x, format, relu)), [0; 3]);
        assert_eq!(f32_to_half(-f32::NAN, format, relu), 0x7fff);
    }
    let satfinite = Conversion { satfinite: true, ..Conversion::default() };
    assert_eq!(
        [1e6, f32::INFINITY, -1e6, f32::NAN].map(|x| f32_to_half(x, F16, satfinite)),
        [0x7bff, 0x7bff, 0xfbff, 0x7fff]
    );
    assert_eq!([f32::MAX, f32::NEG_INFINITY].map(|x| f32_to_half(x, BF16, satfinite)), [0x7f7f, 0xff7f]);
    let ftz = Conversion { ftz: true, ..Conversion::default() };
    let up = Conversion { rounding: Rounding::Up, ..ftz };
    assert_eq!(f32_to(f32::from_bits(1), F16, up), 0);
    assert_eq!(f32_to(f32::from_bits(0x8000_0001), F32, ftz), 0x8000_0000);
    // Tininess is detected after rounding to 24 bits.
    let below = f64::from(f32::MIN_POSITIVE) * (1.0 - 2.0_f64.powi(-24));
    let hardly_below = f64::from(f32::MIN_POSITIVE) * (1.0 - 2.0_f64.powi(-26));
    assert_eq!(float_to_float(below.to_bits(), F64, F32, ftz), 0);
    assert_eq!(float_to_float(below.to_bits(), F64, F32, Conversion::default()), 0x0080_0000);
    assert_eq!(float_to_float(hardly_below.to_bits(), F64, F32, ftz), 0x0080_0000);
}

#[test]
fn tf32_keeps_nineteen_bits() {
    let mut random = Random::new(14);
    for _ in 0..100_000 {
        let x = random.f32();
        if x.is_nan() {
            continue;
        }
        let bits = x.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let (low, odd) = (magnitude & 0x1fff, magnitude >> 13 & 1 == 1);
        for (rounding, up) in [
            (Rounding::Zero, false),
            (Rounding::Nearest, low > 0x1000 || low == 0x1000 && odd),
            (Rounding::NearestAway, low >= 0x1000),
        ] {
            let want = (magnitude >> 13) + u32::from(up);
            let got = f32_to_tf32(x, with(rounding));
            assert_eq!(got, want << 13 | bits & 0x8000_0000, "{bits:08x} {rounding:?}");
        }
    }
    let nan = f32::from_bits(0xffc0_0001);
    let satfinite = |rounding| Conversion { satfinite: true, ..with(rounding) };
    assert_eq!(f32_to_tf32(nan, with(Rounding::Nearest)), 0x7fff_e000);
    assert_eq!(f32_to_tf32(nan, satfinite(Rounding::Zero)), 0x7fff_e000);
    assert_eq!(f32_to_tf32(f32::from_bits(0x7fc0_0000), with(Rounding::NearestAway)), 0x7fc0_0000);
    assert_eq!(f32_to_tf32(f32::from_bits(0x7fc0_0000), satfinite(Rounding::NearestAway)), 0x7fbf_e000);
    assert_eq!(f32_to_tf32(f32::from_bits(0xff80_0001), with(Rounding::NearestAway)), 0xff80_0000);
    assert_eq!(f32_to_tf32(f32::from_bits(0x7fff_ffff), with(Rounding::NearestAway)), 0x7fff_e000);
    assert_eq!(f32_to_tf32(f32::INFINITY, satfinite(Rounding::NearestAway)), 0x7f7f_e000);
    assert_eq!(f32_to_tf32(f32::MAX, with(Rounding::Nearest)), 0x7f80_0000);
    assert_eq!(f32_to_tf32(-1.0, Conversion { relu: true, ..Conversion::default() }), 0);
}
