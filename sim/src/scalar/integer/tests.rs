//! Integer arithmetic against 128-bit integers, over every type.

use super::*;
use crate::scalar::testing::Random;

/// Words with a value next to every limit, and random ones of every length.
fn words() -> Vec<u64> {
    let mut random = Random::new(20);
    let mut words: Vec<u64> = [7, 8, 15, 16, 31, 32, 63]
        .into_iter()
        .flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1, !(1 << bit), u64::MAX << bit])
        .chain([0, 1, 2, 3, u64::MAX])
        .collect();
    words.extend((0..100).map(|_| random.word() >> random.below(64)));
    words
}

trait Wide: Integer {
    fn wide(self) -> i128;
}

macro_rules! wide {
    ($($type:ty)*) => { $(impl Wide for $type { fn wide(self) -> i128 { i128::from(self) } })* };
}

wide!(u8 i8 u16 i16 u32 i32 u64 i64);

/// The number of type T congruent to a wide one.
fn wrapped<T: Wide>(value: i128) -> T {
    T::from_bits(value as u64)
}

fn clamped<T: Wide>(value: i128) -> i128 {
    let modulus = 1_i128 << T::BITS;
    let (low, high) = if T::SIGNED { (-modulus / 2, modulus / 2 - 1) } else { (0, modulus - 1) };
    value.clamp(low, high)
}

fn check<T: Wide + std::fmt::Debug>() {
    let modulus = 1_i128 << T::BITS;
    for &x in &words() {
        for &y in &words() {
            let (a, b, c) = (T::from_bits(x), T::from_bits(y), T::from_bits(x ^ y << 3));
            let (x, y, z) = (a.wide(), b.wide(), c.wide());
            assert_eq!(a.add(b), wrapped(x + y));
            assert_eq!(a.sub(b), wrapped(x - y));
            assert_eq!(a.add_sat(b).wide(), clamped::<T>(x + y));
            assert_eq!(a.sub_sat(b).wide(), clamped::<T>(x - y));
            assert_eq!(a.mul_lo(b), wrapped(x.wrapping_mul(y)));
            // The product of two u64 needs all 128 bits.
            let high =
                if T::SIGNED { (x * y) >> T::BITS } else { ((x as u128 * y as u128) >> T::BITS) as i128 };
            assert_eq!(a.mul_hi(b), wrapped(high));
            assert_eq!(a.mad_lo(b, c), wrapped(x.wrapping_mul(y).wrapping_add(z)));
            assert_eq!(a.mad_hi(b, c), wrapped(high + z));
            assert_eq!(a.mad_hi_sat(b, c).wide(), clamped::<T>(high + z));
            assert_eq!(a.abs(), wrapped(x.abs()));
            assert_eq!(a.neg(), wrapped(-x));
            assert_eq!(a.sad(b, c), wrapped(x + (y - z).abs()));
            assert_eq!(a.relu().wide(), x.max(0));
            assert_eq!(a.to_f32(), x as f32);
            assert_eq!(a.div(b), if y == 0 { None } else { Some(wrapped(x / y)) });
            assert_eq!(a.rem(b), if y == 0 { None } else { Some(wrapped(x % y)) });
            for carry in [false, true] {
                let (unsigned_x, unsigned_y) = (x.rem_euclid(modulus), y.rem_euclid(modulus));
                let sum = unsigned_x + unsigned_y + i128::from(carry);
                assert_eq!(a.add_carry(b, carry), (wrapped(sum), sum >= modulus));
                let difference = unsigned_x - unsigned_y - i128::from(carry);
                assert_eq!(a.sub_borrow(b, carry), (wrapped(difference), difference < 0));
                let low = x.wrapping_mul(y).rem_euclid(modulus) + z.rem_euclid(modulus) + i128::from(carry);
                assert_eq!(a.mad_lo_carry(b, c, carry), (wrapped(low), low >= modulus));
                let sum = high.rem_euclid(modulus) + z.rem_euclid(modulus) + i128::from(carry);
                assert_eq!(a.mad_hi_carry(b, c, carry), (wrapped(sum), sum >= modulus));
            }
        }
    }
}

#[test]
fn every_type_computes_modulo_its_width() {
    check::<u8>();
    check::<i8>();
    check::<u16>();
    check::<i16>();
    check::<u32>();
    check::<i32>();
    check::<u64>();
    check::<i64>();
}

#[test]
fn wide_products() {
    assert_eq!(0xffff_u16.mul_wide(0xffff), 0xfffe_0001);
    assert_eq!((-32768_i16).mul_wide(-32768), 1 << 30);
    assert_eq!(u32::MAX.mul_wide(u32::MAX), 0xffff_fffe_0000_0001);
    assert_eq!(i32::MIN.mul_wide(2), -(1 << 32));
    assert_eq!(u32::MAX.mad_wide(u32::MAX, u64::MAX), 0xffff_fffe_0000_0000);
    assert_eq!(i32::MIN.mad_wide(i32::MIN, i64::MAX), i64::MAX.wrapping_add(1 << 62));
}

#[test]
fn products_of_24_bits() {
    assert_eq!(mul24_lo(0xff00_0003, 5, false), 15);
    assert_eq!(mul24_hi(0xff80_0000, 0x0080_0000, false), 1 << 30);
    assert_eq!(mul24_lo(0x00ff_ffff, 7, true), (-7_i32) as u32);
    assert_eq!(mul24_hi(0x0080_0000, 0x007f_ffff, true), ((-(1_i64 << 23) * 0x7f_ffff) >> 16) as u32);
    assert_eq!(mul24_lo(0x00ff_ffff, 0x00ff_ffff, false), 0xfe00_0001);
    assert_eq!(mul24_hi(0x00ff_ffff, 0x00ff_ffff, false), 0xffff_fe00);
}

#[test]
fn dot_products() {
    let (a, b) = (0xff02_fe80, 0x0304_7fff);
    // Bytes of a, low first: 128 254 2 255, signed -128 -2 2 -1; of b: 255 127 4 3, signed -1 127 4 3.
    assert_eq!(dp4a(a, b, 10, false, false), 10 + 128 * 255 + 254 * 127 + 2 * 4 + 255 * 3);
    assert_eq!(dp4a(a, b, 10, true, true) as i32, 10 + 128 - 2 * 127 + 8 - 3);
    assert_eq!(dp4a(a, b, 10, true, false) as i32, 10 - 128 * 255 - 2 * 127 + 8 - 3);
    assert_eq!(dp4a(a, b, u32::MAX, false, true) as i32, -1 - 128 + 254 * 127 + 8 + 255 * 3);
    let a = 0xffff_0002;
    assert_eq!(dp2a(a, b, 1, true, true, false) as i32, 1 - 2 - 127);
    assert_eq!(dp2a(a, b, 1, false, false, true), 1 + 2 * 4 + 65535 * 3);
    assert_eq!(dp2a(a, b, 1, true, false, false) as i32, 1 + 2 * 255 - 127);
}

#[test]
fn packed_elements_do_not_touch_their_neighbours() {
    assert_eq!(each::<u16>(0xffff_0001, 0x0001_ffff, u16::add), 0x0000_0000);
    assert_eq!(each::<u16>(0xffff_0001, 0x0001_0002, u16::add_sat), 0xffff_0003);
    assert_eq!(each::<i16>(0x8000_7fff, 0x0001_0001, i16::min), 0x8000_0001);
    assert_eq!(each::<i16>(0x8000_7fff, 0xffff_0001, |a, b| a.max(b).relu()), 0x0000_7fff);
    assert_eq!(each::<i8>(0x80ff_7f01, 0x01ff_0101, i8::add_sat), 0x81fe_7f02);
    assert_eq!(each::<u8>(0x80ff_7f01, 0x0102_0302, u8::max), 0x80ff_7f02);
}
