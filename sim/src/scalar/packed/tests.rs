//! Which operand goes where, saturation and NaN of the narrow formats, random bits, scales.

use super::*;
use crate::scalar::format::{BF16, E2M1, E2M3, E3M2, E4M3, E5M2, F16};
use crate::scalar::testing::Random;

const NARROW: [Format; 5] = [E4M3, E5M2, E3M2, E2M3, E2M1];
const PLAIN: Conversion =
    Conversion { rounding: Rounding::Nearest, ftz: false, sat: false, relu: false, satfinite: false };

#[test]
fn the_first_operand_goes_to_the_top() {
    assert_eq!(f32_pair_to_halves(1.0, 2.0, F16, PLAIN), 0x3c00_4000);
    assert_eq!(f32_pair_to_halves(1.0, 2.0, BF16, PLAIN), 0x3f80_4000);
    assert_eq!(f32_pair_to_narrow(1.0, 2.0, E4M3, false), 0x3840);
    assert_eq!(f32_pair_to_narrow(1.0, 2.0, E5M2, false), 0x3c40);
    assert_eq!(f32_pair_to_narrow(1.0, -2.0, E3M2, false), 0x0c30);
    assert_eq!(f32_pair_to_narrow(1.0, -2.0, E2M3, false), 0x0830);
    assert_eq!(f32_pair_to_narrow(1.0, -6.0, E2M1, false), 0x2f);
    assert_eq!(halves_to_narrow(0x3c00_4000, F16, E4M3, false), 0x3840);
    assert_eq!(halves_to_narrow(0x3f80_4000, BF16, E2M1, false), 0x24);
    assert_eq!(narrow_to_halves(0x3840, E4M3, F16, PLAIN, None), 0x3c00_4000);
    assert_eq!(narrow_to_halves(0x24, E2M1, BF16, PLAIN, None), 0x3f80_4000);
    assert_eq!(f32_pair_to_ue8m0(1.0, 3.0, false, false), 0x7f80);
    assert_eq!(f32_pair_to_ue8m0(1.0, 3.0, true, false), 0x7f81);
    assert_eq!(bf16_pair_to_ue8m0(0x3f80_4040, true, true), 0x7f81);
    assert_eq!(ue8m0_pair_to_bf16(0x7f80), 0x3f80_4000);
    assert_eq!(ue8m0_pair_to_bf16(0x00ff), 0x0040_7fff);
    assert_eq!(both_f32([0x3f80_0000_4000_0000], |[x]| -x), 0xbf80_0000_c000_0000);
    assert_eq!(both_halves([0x1234_5678, 0x0001_0002], |[a, b]| a + b), 0x1235_567a);
}

#[test]
fn narrow_formats_saturate_and_have_their_own_nan() {
    for (format, largest, nan) in
        [(E4M3, 0x7e, 0x7f), (E5M2, 0x7b, 0x7f), (E3M2, 0x1f, 0x1f), (E2M3, 0x1f, 0x1f), (E2M1, 7, 7)]
    {
        let one = |x: f32, relu| f32_pair_to_narrow(0.0, x, format, relu);
        let sign = format.sign(true) as u16;
        assert_eq!(
            [f32::INFINITY, 1e30, f32::NAN, -f32::NAN].map(|x| one(x, false)),
            [largest, largest, nan, nan]
        );
        assert_eq!([f32::NEG_INFINITY, -0.0].map(|x| one(x, false)), [largest | sign, sign]);
        assert_eq!([f32::NEG_INFINITY, -0.0, -f32::NAN].map(|x| one(x, true)), [0, 0, nan]);
    }
    assert_eq!([464.0, 465.0, 447.0].map(|x| f32_pair_to_narrow(0.0, x, E4M3, false)), [0x7e, 0x7e, 0x7e]);
}

#[test]
fn every_narrow_code_survives_the_way_through_halves() {
    for format in NARROW {
        let shift = field(format);
        for code in 0..1_u16 << format.width() {
            let x = format.decode(u64::from(code));
            for half in [F16, BF16] {
                let wide = narrow_to_halves(code << shift, format, half, PLAIN, None);
                assert_eq!(wide & 0xffff, 0);
                if x.is_nan() {
                    assert_eq!(wide >> 16, 0x7fff);
                } else {
                    assert_eq!(half.decode(u64::from(wide >> 16)), x);
                    if x.is_finite() {
                        assert_eq!(halves_to_narrow(wide, half, format, false), code << shift);
                    }
                }
            }
        }
    }
    // Six-bit numbers ignore the two bits above them.
    assert_eq!(
        narrow_to_halves(0xc0ff, E3M2, F16, PLAIN, None),
        narrow_to_halves(0x003f, E3M2, F16, PLAIN, None)
    );
    let relu = Conversion { relu: true, ..PLAIN };
    assert_eq!(narrow_to_halves(0xb880, E4M3, F16, relu, None), 0);
    let satfinite = Conversion { satfinite: true, ..PLAIN };
    assert_eq!(narrow_to_halves(0x7cfc, E5M2, BF16, satfinite, None), 0x7f7f_ff7f);
    assert_eq!(narrow_to_halves(0x7cfc, E5M2, F16, PLAIN, None), 0x7c00_fc00);
}

#[test]
fn scales_multiply_their_own_half() {
    assert_eq!(narrow_to_halves(0x3838, E4M3, BF16, PLAIN, Some(0x8180)), 0x4080_4000);
    assert_eq!(narrow_to_halves(0x3838, E4M3, BF16, PLAIN, Some(0xff7f)), 0x7fff_3f80);
    assert_eq!(narrow_to_halves(0x7e38, E4M3, BF16, PLAIN, Some(0xfe00)), 0x7f80_0040);
    let satfinite = Conversion { satfinite: true, ..PLAIN };
    assert_eq!(narrow_to_halves(0xfe38, E4M3, BF16, satfinite, Some(0xfe7f)), 0xff7f_3f80);
}

#[test]
fn random_bits_of_halves_are_added_to_what_is_discarded() {
    let mut random = Random::new(15);
    for _ in 0..100_000 {
        let (x, y, word) = (random.f32(), random.f32(), random.word() as u32);
        // bfloat16 has binary32's exponents: the sum of integers is the definition.
        let add = |x: f32, random: u32| {
            let sum = (x.to_bits() & 0x7fff_ffff) + random;
            if x.is_nan() {
                0x7fff
            } else if x.is_infinite() {
                x.to_bits() >> 16
            } else {
                sum >> 16 | (x.to_bits() & 0x8000_0000) >> 16
            }
        };
        let got = f32_pair_to_halves_stochastic(x, y, word, BF16, PLAIN);
        assert_eq!(got, add(x, word >> 16) << 16 | add(y, word & 0xffff), "{x:e} {y:e} {word:08x}");
    }
    // binary16 uses 13 bits of each half.
    let x = 1.0 + 2.0_f32.powi(-12);
    assert_eq!(f32_pair_to_halves_stochastic(x, x, 0x1800_17ff, F16, PLAIN), 0x3c01_3c00);
    assert_eq!(f32_pair_to_halves_stochastic(x, x, 0xf7ff_f800, F16, PLAIN), 0x3c00_3c01);
    let satfinite = Conversion { satfinite: true, ..PLAIN };
    assert_eq!(f32_pair_to_halves_stochastic(65519.0, 65519.0, 0x1fff_1fff, F16, PLAIN), 0x7c00_7c00);
    assert_eq!(f32_pair_to_halves_stochastic(65519.0, 65519.0, 0x1fff_1fff, F16, satfinite), 0x7bff_7bff);
}

#[test]
fn random_bits_of_fours_come_in_pairs() {
    // A quarter of a unit above 1: rounded up if the two top random bits are set.
    let above = |format: Format| 1.0 + 2.0_f32.powi(-(format.mantissa_bits as i32) - 2);
    for format in [E4M3, E5M2, E3M2, E2M3] {
        let values = [above(format); 4];
        let one = f32_pair_to_narrow(0.0, 1.0, format, false);
        let ups = |random: u32| {
            f32_four_to_narrow_stochastic(values, random, format, false)
                .to_be_bytes()
                .map(|code| u16::from(code) - one)
        };
        // The second of a pair reads the half as it is, the first from the other end.
        assert_eq!(ups(0xc000_0000), [0, 1, 0, 0], "{format:?}");
        assert_eq!(ups(0x0003_0000), [1, 0, 0, 0]);
        assert_eq!(ups(0x0000_c000), [0, 0, 0, 1]);
        assert_eq!(ups(0x0000_0003), [0, 0, 1, 0]);
        assert_eq!(ups(0xbfff_fffd), [1, 0, 0, 1]);
        assert_eq!(ups(0), [0; 4]);
    }
    let values = [above(E2M1), 0.0, 0.0, above(E2M1)];
    let four = |random: u32| f32_four_to_narrow_stochastic(values, random, E2M1, false);
    assert_eq!(four(0), 0x2002);
    // `f` reads bytes 2 and 0 as they are, `a` bytes 3 and 1 from the other end.
    assert_eq!(four(0x00c0_0000), 0x2003);
    assert_eq!(four(0x0000_0300), 0x3002);
    assert_eq!(f32_four_to_narrow_stochastic([-1.0, 1e9, f32::NAN, -1e9], u32::MAX, E4M3, true), 0x007e_7f00);
    assert_eq!(f32_four_to_narrow_stochastic([-1.0, 1e9, f32::NAN, -1e9], 0, E4M3, false), 0xb87e_7ffe);
}

#[test]
fn integers_pack_saturated() {
    let (signed, unsigned) = (IntegerType::signed, IntegerType::unsigned);
    assert_eq!(pack_integers(-1, 70000, 0, unsigned(16)), 0x0000_ffff);
    assert_eq!(pack_integers(-40000, 40000, 0xdead, signed(16)), 0x8000_7fff);
    assert_eq!(pack_integers(300, -5, 0x1234_5678, unsigned(8)), 0x5678_ff00);
    assert_eq!(pack_integers(300, -5, 0x1234_5678, signed(8)), 0x5678_7ffb);
    assert_eq!(pack_integers(20, -20, 0x1234_5678, signed(4)), 0x3456_7878);
    assert_eq!(pack_integers(20, 2, 0x1234_5678, unsigned(2)), 0x2345_678e);
}

#[test]
fn fixed_point_bytes() {
    assert_eq!(f32_pair_to_s2f6(1.0, -1.0, false, None), 0x40c0);
    assert_eq!(f32_pair_to_s2f6(5.0, -5.0, false, None), 0x7f80);
    assert_eq!(f32_pair_to_s2f6(f32::NAN, -5.0, true, None), 0x7f00);
    assert_eq!(f32_pair_to_s2f6(1.5 / 64.0, 2.5 / 64.0, false, None), 0x0202);
    assert_eq!(f32_pair_to_s2f6(1.0, 1.0, false, Some(0x8081)), 0x2010);
    assert_eq!(s2f6_pair_to_bf16(0x40c0, PLAIN, None), 0x3f80_bf80);
    assert_eq!(s2f6_pair_to_bf16(0x40c0, PLAIN, Some(0x807f)), 0x4000_bf80);
    assert_eq!(s2f6_pair_to_bf16(0x40c0, Conversion { relu: true, ..PLAIN }, Some(0xff7f)), 0x7fff_0000);
}
