//! Jamming, the sign of zero, stochastic rounding, and numbers far apart.

use super::*;
use crate::scalar::format::{E4M3, F16, F32, F64};
use crate::scalar::testing::Random;

fn exact(x: f64) -> Exact {
    Exact::from_f64(x)
}

fn to_f64(x: Exact, rounding: Rounding) -> f64 {
    f64::from_bits(x.encode(F64, rounding, Overflow::Ieee))
}

#[test]
fn what_lies_far_below_still_decides_a_directed_rounding() {
    let tiny = exact(f64::from_bits(1));
    for (a, rounding, want) in [
        (1.0, Rounding::Up, 1.0_f64.next_up()),
        (1.0, Rounding::Nearest, 1.0),
        (-1.0, Rounding::Up, (-1.0_f64).next_up()),
        (1.0, Rounding::Zero, 1.0),
        (-1.0, Rounding::Zero, (-1.0_f64).next_up()),
    ] {
        assert_eq!(to_f64(exact(a).sum(tiny, rounding), rounding), want, "{a} {rounding:?}");
    }
    let product = exact(1.5).product(exact(f64::from_bits(1)));
    assert_eq!(to_f64(exact(1e300).sum(product, Rounding::Up), Rounding::Up), 1e300_f64.next_up());
}

#[test]
fn an_exact_zero_takes_its_sign_from_the_rounding() {
    let cancel = |rounding| to_f64(exact(2.5).sum(exact(-2.5), rounding), rounding).to_bits();
    assert_eq!(cancel(Rounding::Down), 1 << 63);
    assert_eq!([Rounding::Nearest, Rounding::Zero, Rounding::Up].map(cancel), [0; 3]);
    let zeros = |a: f64, b: f64, rounding| to_f64(exact(a).sum(exact(b), rounding), rounding).to_bits();
    assert_eq!(zeros(-0.0, -0.0, Rounding::Up), 1 << 63);
    assert_eq!(zeros(0.0, 0.0, Rounding::Down), 0);
    assert_eq!(zeros(0.0, -0.0, Rounding::Down), 1 << 63);
}

#[test]
fn integers_of_128_bits() {
    let round = |value: i128, rounding| to_f64(Exact::from_integer(value), rounding);
    assert_eq!(round(i128::MIN, Rounding::Nearest), -(2.0_f64.powi(127)));
    assert_eq!(round(i128::MAX, Rounding::Zero), 2.0_f64.powi(127).next_down());
    assert_eq!(round((1 << 54) + 2, Rounding::Nearest), 2.0_f64.powi(54));
    assert_eq!(round((1 << 54) + 2, Rounding::NearestAway), 2.0_f64.powi(54) + 4.0);
}

#[test]
fn overflow_goes_where_the_rounding_points() {
    let big = exact(1e6);
    let encode = |x: Exact, rounding, overflow| x.encode(F16, rounding, overflow);
    assert_eq!(encode(big, Rounding::Nearest, Overflow::Ieee), 0x7c00);
    assert_eq!(encode(big, Rounding::Zero, Overflow::Ieee), 0x7bff);
    assert_eq!(encode(big, Rounding::Down, Overflow::Ieee), 0x7bff);
    assert_eq!(encode(exact(-1e6), Rounding::Down, Overflow::Ieee), 0xfc00);
    assert_eq!(encode(exact(-1e6), Rounding::Up, Overflow::Ieee), 0xfbff);
    assert_eq!(encode(big, Rounding::Up, Overflow::Saturate), 0x7bff);
    // No infinity to go to.
    assert_eq!(big.encode(E4M3, Rounding::Nearest, Overflow::Ieee), 0x7e);
}

#[test]
fn stochastic_rounding_goes_up_for_as_many_random_values_as_the_fraction_says() {
    let count = |x: f64, up: u64| {
        (0..1 << 13)
            .filter(|&random| {
                let rounding = Rounding::Stochastic { bits: 13, random };
                exact(x).encode(F16, rounding, Overflow::Ieee) == up
            })
            .count()
    };
    // One unit above 1 is 2^-10.
    assert_eq!(count(1.0 + 2.0_f64.powi(-12), 0x3c01), 1 << 11);
    assert_eq!(count(1.0 + 2.0_f64.powi(-23), 0x3c01), 1);
    assert_eq!(count(1.0 + 2.0_f64.powi(-24), 0x3c01), 0);
    assert_eq!(count(-1.0 - 3.0 * 2.0_f64.powi(-12), 0xbc01), 3 << 11);
    // A quarter of the smallest subnormal number.
    assert_eq!(count(2.0_f64.powi(-26), 0x0001), 1 << 11);
    assert_eq!(count(2.0_f64.powi(-60), 0x0001), 0);
    assert_eq!(count(1.0, 0x3c00), 1 << 13);
}

#[test]
fn flushed_encoding_differs_only_for_tiny_numbers() {
    let mut random = Random::new(8);
    let smallest = f64::from(f32::MIN_POSITIVE);
    for _ in 0..50_000 {
        let x = smallest
            * (1.0 + (random.word() as i64 >> 11) as f64 * 2.0_f64.powi(-53 - random.below(40) as i32));
        let got = exact(x).encode_flushed(F32, Rounding::Nearest, Overflow::Ieee);
        // Between 1 - 2^-25 and 1 the number rounds to 1 at 24 bits; a tie goes there too.
        let want = if x < smallest * (1.0 - 2.0_f64.powi(-25)) { 0 } else { u64::from((x as f32).to_bits()) };
        assert_eq!(got, want, "{x:e}");
    }
    let just_below = exact(smallest * (1.0 - 2.0_f64.powi(-40)));
    assert_eq!(just_below.encode_flushed(F32, Rounding::Zero, Overflow::Ieee), 0);
    assert_eq!(just_below.encode_flushed(F32, Rounding::Up, Overflow::Ieee), 0x0080_0000);
}
