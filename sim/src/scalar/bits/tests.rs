//! Bit instructions against the loops of the manual.

use super::*;
use crate::scalar::testing::Random;

/// bfe, bit by bit as the manual has it.
fn manual_bfe(a: u64, bits: u32, signed: bool, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let bit = |index: u32| a >> index & 1;
    let sign = if signed && length != 0 { bit((position + length - 1).min(bits - 1)) } else { 0 };
    (0..bits)
        .map(|i| (if i < length && position + i < bits { bit(position + i) } else { sign }) << i)
        .fold(0, |all, bit| all | bit)
}

/// bfi, bit by bit as the manual has it.
fn manual_bfi(a: u64, b: u64, bits: u32, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    (0..length).filter(|i| position + i < bits).fold(b, |result, i| {
        let mask = 1 << (position + i);
        result & !mask | (a >> i & 1) << (position + i)
    })
}

#[test]
fn bit_fields_follow_the_manual() {
    let mut random = Random::new(21);
    for _ in 0..40_000 {
        let (a, b) = (random.word(), random.word());
        let wide = random.below(3) == 0;
        let (position, length) = if wide {
            (random.word() as u32, random.word() as u32)
        } else {
            (random.below(70) as u32, random.below(70) as u32)
        };
        let (low, other) = (a as u32, b as u32);
        assert_eq!(
            u64::from(bfe(low, position, length)),
            manual_bfe(u64::from(low), 32, false, position, length)
        );
        let signed = bfe(low as i32, position, length) as u32;
        assert_eq!(
            u64::from(signed),
            manual_bfe(u64::from(low), 32, true, position, length),
            "{low:x} {position} {length}"
        );
        assert_eq!(bfe(a, position, length), manual_bfe(a, 64, false, position, length));
        assert_eq!(bfe(a as i64, position, length) as u64, manual_bfe(a, 64, true, position, length));
        let inserted = bfi(low, other, position, length);
        assert_eq!(u64::from(inserted), manual_bfi(u64::from(low), u64::from(other), 32, position, length));
        assert_eq!(bfi(a, b, position, length), manual_bfi(a, b, 64, position, length));
    }
}

#[test]
fn counting() {
    assert_eq!((popc(0xf0f0_0001_u32), popc(u64::MAX)), (9, 64));
    assert_eq!((clz(0_u32), clz(1_u32), clz(0_u64), clz(1_u64 << 40)), (32, 31, 64, 23));
    assert_eq!(
        (brev(1_u32), brev(0x8000_0000_0000_0001_u64), brev(6_u32)),
        (1 << 31, 0x8000_0000_0000_0001, 3 << 29)
    );
    assert_eq!((bfind(0_u32), bfind(1_u32), bfind(0x8000_0000_u32)), (u32::MAX, 0, 31));
    assert_eq!((bfind(-1_i32), bfind(-2_i32), bfind(i32::MIN), bfind(0_i32)), (u32::MAX, 0, 30, u32::MAX));
    assert_eq!((bfind(u64::MAX), bfind(i64::MIN), bfind(-1_i64), bfind(1_i64 << 40)), (63, 62, u32::MAX, 40));
    assert_eq!((bfind_shiftamt(1_u32), bfind_shiftamt(0_u32), bfind_shiftamt(-2_i64)), (31, u32::MAX, 63));
}

#[test]
fn nth_set_bit() {
    assert_eq!(fns(0xaaaa_aaaa, 3, 1), 3);
    assert_eq!(fns(0xaaaa_aaaa, 3, -1), 3);
    assert_eq!(fns(0xaaaa_aaaa, 2, 1), 3);
    assert_eq!(fns(0xaaaa_aaaa, 2, -1), 1);
    assert_eq!((fns(0xaaaa_aaaa, 3, 0), fns(0xaaaa_aaaa, 2, 0)), (3, u32::MAX));
    assert_eq!((fns(u32::MAX, 0, 32), fns(u32::MAX, 0, 33), fns(u32::MAX, 31, -32)), (31, u32::MAX, 0));
    assert_eq!(fns(1, 31, i32::MIN), u32::MAX);
}

#[test]
fn masks_and_extension() {
    assert_eq!(bmsk(4, 8, Excess::Clamp), 0xff0);
    assert_eq!(
        (bmsk(0, 32, Excess::Clamp), bmsk(0, 32, Excess::Wrap), bmsk(32, 1, Excess::Clamp)),
        (u32::MAX, 0, 0)
    );
    assert_eq!(
        (bmsk(28, 8, Excess::Clamp), bmsk(36, 40, Excess::Wrap), bmsk(1, 100, Excess::Clamp)),
        (0xf000_0000, 0xff0, !1)
    );
    assert_eq!((szext(0xff_i32, 8, Excess::Clamp), szext(0x7f_i32, 8, Excess::Wrap)), (-1, 0x7f));
    assert_eq!((szext(0xfff_u32, 8, Excess::Clamp), szext(-5_i32, 0, Excess::Clamp)), (0xff, 0));
    assert_eq!(
        (szext(-5_i32, 32, Excess::Clamp), szext(-5_i32, 32, Excess::Wrap), szext(-5_i32, 99, Excess::Clamp)),
        (-5, 0, -5)
    );
}

#[test]
fn logic_tables() {
    let (a, b, c) = (0x1234_5678, 0x9abc_def0, 0x0f0f_3333);
    assert_eq!(lop3(a, b, c, 0xf0), a);
    assert_eq!(lop3(a, b, c, 0xcc), b);
    assert_eq!(lop3(a, b, c, 0xaa), c);
    assert_eq!(lop3(a, b, c, 0x80), a & b & c);
    assert_eq!(lop3(a, b, c, 0xf8), a | b & c);
    assert_eq!(lop3(a, b, c, 0x1a), (a & b | c) ^ a);
    assert_eq!(lop3(a, b, c, 0x96), a ^ b ^ c);
    for table in 0..=u8::MAX {
        assert_eq!(lop3(0xf0, 0xcc, 0xaa, table) & 0xff, u32::from(table));
    }
    assert_eq!((cnot(0_u32), cnot(5_u16), cnot(0_u64)), (1, 0, 1));
}

#[test]
fn shifts() {
    assert_eq!(
        (shl(1_u32, 31), shl(1_u32, 32), shl(1_u32, u32::MAX), shl(3_u16, 15), shl(1_u16, 16)),
        (1 << 31, 0, 0, 0x8000, 0)
    );
    assert_eq!((shl(1_u64, 63), shl(1_u64, 64)), (1 << 63, 0));
    assert_eq!((shr(0x8000_0000_u32, 31), shr(0x8000_0000_u32, 32), shr(u64::MAX, 64)), (1, 0, 0));
    assert_eq!(
        (shr(i32::MIN, 31), shr(i32::MIN, 32), shr(i32::MIN, u32::MAX), shr(-2_i16, 1), shr(-2_i16, 99)),
        (-1, -1, -1, -1, -1)
    );
    assert_eq!((shr(i32::MAX, 40), shr(i64::MIN, 64), shr(i64::MAX, 62)), (0, -1, 1));
    let (low, high) = (0x89ab_cdef, 0x0123_4567);
    assert_eq!(
        (shf_l(low, high, 8, Excess::Wrap), shf_r(low, high, 8, Excess::Wrap)),
        (0x2345_6789, 0x6789_abcd)
    );
    assert_eq!((shf_l(low, high, 32, Excess::Wrap), shf_r(low, high, 32, Excess::Wrap)), (high, low));
    assert_eq!((shf_l(low, high, 32, Excess::Clamp), shf_r(low, high, 99, Excess::Clamp)), (low, high));
    assert_eq!((shf_l(low, high, 40, Excess::Wrap), shf_r(low, high, 0, Excess::Clamp)), (0x2345_6789, low));
}

#[test]
fn permutations() {
    let (a, b) = (0x8321_a001, 0x7766_5544);
    let bytes = [0x01, 0xa0, 0x21, 0x83, 0x44, 0x55, 0x66, 0x77_u8];
    for selector in 0..=u32::from(u16::MAX) {
        let want = (0..4).map(|i| {
            let nibble = selector >> (4 * i) & 15;
            let byte = bytes[nibble as usize & 7];
            let byte = if nibble < 8 {
                byte
            } else if byte >= 128 {
                0xff
            } else {
                0
            };
            u32::from(byte) << (8 * i)
        });
        assert_eq!(prmt(a, b, selector, Permutation::Index), want.sum::<u32>(), "{selector:04x}");
    }
    assert_eq!(prmt(a, b, 0xffff_3210, Permutation::Index), a);
    // Each mode's bytes, the highest first, for the selectors 0 to 3.
    let modes = [
        (Permutation::Forward4, [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        (Permutation::Backward4, [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        (Permutation::Replicate8, [[0; 4], [1; 4], [2; 4], [3; 4]]),
        (Permutation::EdgeClampLeft, [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3; 4]]),
        (Permutation::EdgeClampRight, [[0; 4], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        (Permutation::Replicate16, [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    for (mode, rows) in modes {
        for (selector, row) in rows.into_iter().enumerate() {
            let want = u32::from_be_bytes(row.map(|index: usize| bytes[index]));
            assert_eq!(prmt(a, b, selector as u32 | 0xfff0, mode), want, "{mode:?} {selector}");
        }
    }
}
