//! Every code of every small format; rounding at and around every boundary, against tables and `rustc_apfloat`.

use super::*;
use crate::scalar::testing::{Random, reference_rounded};
use rustc_apfloat::ieee::{BFloat, Half};

const SMALL: [Format; 5] = [E4M3, E5M2, E3M2, E2M3, E2M1];
const DIRECTIONS: [Rounding; 5] =
    [Rounding::Nearest, Rounding::NearestAway, Rounding::Zero, Rounding::Down, Rounding::Up];

fn codes(format: Format) -> std::ops::Range<u64> {
    0..1 << format.width()
}

#[test]
fn sixteen_bit_formats_decode_as_the_half_crate_says() {
    for code in 0..=u16::MAX {
        let check = |format: Format, want: f64| {
            let got = format.decode(u64::from(code));
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{code:04x}: {got} {want}"
            );
        };
        check(F16, half::f16::from_bits(code).to_f64());
        check(BF16, half::bf16::from_bits(code).to_f64());
    }
}

#[test]
fn small_formats_have_the_published_values() {
    let value = |format: Format, code| format.decode(code);
    assert_eq!((value(E4M3, 0x7e), value(E4M3, 0x01), value(E4M3, 0x08)), (448.0, 0.001953125, 0.015625));
    assert_eq!(
        (value(E5M2, 0x7b), value(E5M2, 0x01), value(E5M2, 0x7c)),
        (57344.0, 2.0_f64.powi(-16), f64::INFINITY)
    );
    assert_eq!((value(E3M2, 0x1f), value(E3M2, 0x01), value(E3M2, 0x04)), (28.0, 0.0625, 0.25));
    assert_eq!((value(E2M3, 0x1f), value(E2M3, 0x01), value(E2M3, 0x08)), (7.5, 0.125, 1.0));
    let all: Vec<f64> = codes(E2M1).map(|code| value(E2M1, code)).collect();
    let positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    assert_eq!(all[..8], positive);
    assert_eq!(all[8..], positive.map(|x| -x));
    assert!(value(E4M3, 0x7f).is_nan() && value(E4M3, 0xff).is_nan() && value(E5M2, 0x7d).is_nan());
    assert_eq!(value(E4M3, 0x80).to_bits(), 1 << 63);
    assert_eq!(value(TF32, 0x1fc01), 1.0 + 2.0_f64.powi(-10));
}

#[test]
fn widening_is_decoding() {
    for format in SMALL.into_iter().chain([F16, BF16, TF32]) {
        for code in codes(format) {
            let (got, want) = (widen(code as u32, format), format.decode(code));
            if want.is_nan() {
                assert_eq!(got.to_bits(), 0x7fff_ffff, "{format:?} {code:x}");
            } else {
                assert_eq!(f64::from(got).to_bits(), want.to_bits(), "{format:?} {code:x}");
            }
        }
    }
}

#[test]
fn every_number_encodes_to_itself() {
    for format in SMALL.into_iter().chain([F16, BF16]) {
        for code in codes(format).filter(|&code| !format.is_nan(code)) {
            let x = format.decode(code);
            for rounding in DIRECTIONS {
                assert_eq!(format.encode(x, rounding, Overflow::Ieee), code);
            }
            assert_eq!(u64::from(nearest_from_f32(x as f32, format, Overflow::Ieee)), code);
            assert_eq!(nearest_from_f64(x, format, Overflow::Ieee), code);
        }
    }
}

/// Rounding by search in the table of the format's numbers, saturating.
struct Table {
    format: Format,
    /// Magnitudes in ascending order; the index is the code.
    magnitudes: Vec<f64>,
}

impl Table {
    fn new(format: Format) -> Self {
        Self { format, magnitudes: (0..=format.largest()).map(|code| format.decode(code)).collect() }
    }

    fn round(&self, x: f64, rounding: Rounding) -> u64 {
        let magnitude = x.abs();
        let below = self.magnitudes.partition_point(|&m| m <= magnitude) - 1;
        let sign = self.format.sign(x.is_sign_negative());
        if self.magnitudes[below] == magnitude || below + 1 == self.magnitudes.len() {
            return sign | below as u64;
        }
        let middle = (self.magnitudes[below] + self.magnitudes[below + 1]) / 2.0;
        let up = match rounding {
            Rounding::Nearest => magnitude > middle || magnitude == middle && below % 2 == 1,
            Rounding::NearestAway => magnitude >= middle,
            Rounding::Zero => false,
            Rounding::Down => x < 0.0,
            Rounding::Up => x > 0.0,
            Rounding::Stochastic { .. } => unreachable!("not in this test"),
        };
        sign | (below + usize::from(up)) as u64
    }
}

/// Every number of the format, every middle of two neighbours, and the binary32 and binary64 neighbours of both.
fn boundaries(format: Format) -> Vec<f64> {
    let largest = format.largest();
    let mut points = Vec::new();
    for code in 0..=largest {
        let x = format.decode(code);
        let next = if code == largest { 2.0 * x - format.decode(code - 1) } else { format.decode(code + 1) };
        for point in [x, (x + next) / 2.0] {
            let single = point as f32;
            points.extend([point, point.next_up(), f64::from(single.next_up())]);
            if point > 0.0 {
                points.extend([point.next_down(), f64::from(single.next_down())]);
            }
        }
    }
    points.extend([1e9, 3e38, f64::MAX, 1e-30, 5e-324, f64::INFINITY]);
    points.iter().flat_map(|&x| [x, -x]).collect()
}

#[test]
fn small_formats_round_as_their_tables_say() {
    for format in SMALL {
        let table = Table::new(format);
        for x in boundaries(format) {
            for rounding in DIRECTIONS {
                let want = table.round(x, rounding);
                assert_eq!(
                    format.encode(x, rounding, Overflow::Saturate),
                    want,
                    "{format:?} {x:e} {rounding:?}"
                );
            }
            let want = table.round(x, Rounding::Nearest);
            assert_eq!(nearest_from_f64(x, format, Overflow::Saturate), want, "{format:?} {x:e}");
            if f64::from(x as f32) == x {
                assert_eq!(
                    u64::from(nearest_from_f32(x as f32, format, Overflow::Saturate)),
                    want,
                    "{format:?} {x:e}"
                );
            }
        }
    }
}

fn check_sixteen_bits(x: f64) {
    for rounding in DIRECTIONS {
        let want = [reference_rounded::<Half>(x, rounding), reference_rounded::<BFloat>(x, rounding)];
        for (format, want) in [F16, BF16].into_iter().zip(want) {
            let want = want.unwrap_or(0x7fff);
            assert_eq!(format.encode(x, rounding, Overflow::Ieee), want, "{format:?} {x:e} {rounding:?}");
            if rounding == Rounding::Nearest {
                assert_eq!(nearest_from_f64(x, format, Overflow::Ieee), want, "{format:?} {x:e}");
                if f64::from(x as f32) == x {
                    assert_eq!(
                        u64::from(nearest_from_f32(x as f32, format, Overflow::Ieee)),
                        want,
                        "{format:?} {x:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn sixteen_bit_formats_round_as_the_oracle_does() {
    boundaries(F16).into_iter().chain(boundaries(BF16)).step_by(3).for_each(check_sixteen_bits);
    let mut random = Random::new(7);
    for _ in 0..50_000 {
        check_sixteen_bits(f64::from(random.f32()));
        check_sixteen_bits(random.f64());
    }
    assert_eq!(F16.encode(1e6, Rounding::Nearest, Overflow::Saturate), 0x7bff);
    assert_eq!(nearest_from_f32(f32::INFINITY, F16, Overflow::Saturate), 0x7bff);
    assert_eq!(nearest_from_f32(f32::NEG_INFINITY, BF16, Overflow::Saturate), 0xff7f);
}

#[test]
fn powers_of_two() {
    for code in 0..=254 {
        let x = decode_ue8m0(code);
        assert_eq!(x, 2.0_f64.powi(i32::from(code) - 127));
        for up in [false, true] {
            assert_eq!(encode_ue8m0(x as f32, up, Overflow::Ieee), code);
            assert_eq!(encode_ue8m0(-x as f32, up, Overflow::Ieee), code);
            let above = (x as f32).next_up();
            let next = if up { code + 1 } else { code };
            assert_eq!(encode_ue8m0(above, up, Overflow::Ieee), next);
            assert_eq!(encode_ue8m0(above, up, Overflow::Saturate), next.min(0xfe));
        }
    }
    assert!(decode_ue8m0(0xff).is_nan());
    for up in [false, true] {
        assert_eq!(encode_ue8m0(0.0, up, Overflow::Ieee), 0);
        assert_eq!(encode_ue8m0(f32::from_bits(1), up, Overflow::Ieee), 0);
        assert_eq!(encode_ue8m0(f32::INFINITY, up, Overflow::Ieee), 0xff);
        assert_eq!(encode_ue8m0(f32::INFINITY, up, Overflow::Saturate), 0xfe);
        assert_eq!(encode_ue8m0(f32::NAN, up, Overflow::Saturate), 0xff);
    }
}

#[test]
fn flushing_a_code_keeps_its_sign() {
    for code in codes(F16) {
        let x = F16.decode(code);
        let want = if x.abs() < 2.0_f64.powi(-14) { code & 0x8000 } else { code };
        assert_eq!(F16.flush(code), want);
    }
}
