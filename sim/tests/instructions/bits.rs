//! Logic, shifts, counting and bit fields (PTX ISA 9.7.1.14 to 9.7.1.22, 9.7.9).

use crate::harness::{Case, Kind, check};
use Kind::{Count, I16, I32, I64, Pred};

const TYPES: [(&str, Kind); 3] = [("b16", I16), ("b32", I32), ("b64", I64)];

fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

fn signed(x: u64, width: u32) -> i64 {
    (x << (64 - width)).cast_signed() >> (64 - width)
}

#[test]
fn logic() {
    for (name, kind) in TYPES {
        let ones = mask(kind.bits());
        check(&format!("and.{name}"), kind, &[kind, kind], |x| x[0] & x[1]);
        check(&format!("or.{name}"), kind, &[kind, kind], |x| x[0] | x[1]);
        check(&format!("xor.{name}"), kind, &[kind, kind], |x| x[0] ^ x[1]);
        check(&format!("not.{name}"), kind, &[kind], |x| !x[0] & ones);
        check(&format!("cnot.{name}"), kind, &[kind], |x| u64::from(x[0] == 0));
    }
    for table in [0x00_u64, 0x96, 0xe8, 0xca, 0x80, 0xfe, 0x1d, 0xff] {
        let expected = move |x: &[u64]| {
            (0..32)
                .map(|bit| {
                    let row = [x[0], x[1], x[2]].iter().fold(0, |row, x| row << 1 | x >> bit & 1);
                    (table >> row & 1) << bit
                })
                .sum::<u64>()
        };
        Case::of(&format!("lop3.b32 %d, %a, %b, %c, {table};"), I32, &[I32, I32, I32])
            .check_some(|x| Some(expected(x)));
        let text = format!("lop3.or.b32 %a|%d, %a, %b, %c, {table}, %e;");
        Case::of(&text, Pred, &[I32, I32, I32, Pred])
            .check_some(|x| Some(u64::from(expected(x) != 0 || x[3] == 1)));
        let text = format!("lop3.and.b32 %d|%q, %a, %b, %c, {table}, !%e;");
        Case::of(&text, I32, &[I32, I32, I32, Pred]).check_some(|x| Some(expected(x)));
    }
}

#[test]
fn shifts() {
    for (name, kind) in TYPES {
        let width = kind.bits();
        check(&format!("shl.{name}"), kind, &[kind, Count], |x| {
            if x[1] >= u64::from(width) { 0 } else { x[0] << x[1] & mask(width) }
        });
        for letter in ["b", "u"] {
            check(&format!("shr.{}", name.replace('b', letter)), kind, &[kind, Count], |x| {
                if x[1] >= u64::from(width) { 0 } else { x[0] >> x[1] }
            });
        }
        check(&format!("shr.{}", name.replace('b', "s")), kind, &[kind, Count], |x| {
            (signed(x[0], width) >> x[1].min(63)).cast_unsigned() & mask(width)
        });
        Case::of(&format!("shl.{name} %d, %a, 5;"), kind, &[kind])
            .check_some(|x| Some(x[0] << 5 & mask(width)));
        Case::of(&format!("shr.{} %d, %a, 3;", name.replace('b', "s")), kind, &[kind])
            .check_some(|x| Some((signed(x[0], width) >> 3).cast_unsigned() & mask(width)));
    }
    for (mode, count) in [("clamp", (|c: u64| c.min(32)) as fn(u64) -> u64), ("wrap", |c| c & 31)] {
        check(&format!("shf.l.{mode}.b32"), I32, &[I32, I32, Count], |x| {
            (u128::from(x[1] << 32 | x[0]) << count(x[2]) >> 32) as u64 & mask(32)
        });
        check(&format!("shf.r.{mode}.b32"), I32, &[I32, I32, Count], |x| {
            (x[1] << 32 | x[0]) >> count(x[2]) & mask(32)
        });
    }
}

#[test]
fn counting() {
    for (name, kind) in &TYPES[1..] {
        let width = kind.bits();
        check(&format!("popc.{name}"), I32, &[*kind], |x| (0..width).map(|bit| x[0] >> bit & 1).sum());
        let highest = move |x: u64| (0..width).rev().find(|bit| x >> bit & 1 == 1);
        check(&format!("clz.{name}"), I32, &[*kind], |x| {
            highest(x[0]).map_or(width, |bit| width - 1 - bit).into()
        });
        check(&format!("brev.{name}"), *kind, &[*kind], |x| {
            (0..width).map(|bit| (x[0] >> bit & 1) << (width - 1 - bit)).sum()
        });
        for (letter, is_signed) in [("u", false), ("s", true)] {
            let ty = name.replace('b', letter);
            let found =
                |x: u64| highest(if is_signed && signed(x, width) < 0 { !x & mask(width) } else { x });
            let none = u64::from(u32::MAX);
            check(&format!("bfind.{ty}"), I32, &[*kind], |x| found(x[0]).map_or(none, u64::from));
            check(&format!("bfind.shiftamt.{ty}"), I32, &[*kind], |x| {
                found(x[0]).map_or(none, |bit| (width - 1 - bit).into())
            });
        }
    }
    // The n-th one from a position, counted by hand.
    Case::of("{ and.b32 %b, %b, 31; rem.s32 %c, %c, 8; fns.b32 %d, %a, %b, %c; }", I32, &[I32, Count, I32])
        .check_some(|x| {
            let (base, offset) = ((x[1] & 31) as i64, signed(x[2], 32) % 8);
            let (mut at, step) = (base, if offset < 0 { -1 } else { 1 });
            let mut wanted = offset.abs().max(1);
            while (0..32).contains(&at) {
                if x[0] >> at & 1 == 1 {
                    wanted -= 1;
                    if wanted == 0 {
                        return Some(at as u64);
                    }
                }
                if offset == 0 {
                    break;
                }
                at += step;
            }
            Some(u64::from(u32::MAX))
        });
}

#[test]
fn fields() {
    for (name, kind) in &TYPES[1..] {
        let width = i64::from(kind.bits());
        for (letter, is_signed) in [("u", false), ("s", true)] {
            check(&format!("bfe.{}", name.replace('b', letter)), *kind, &[*kind, Count, Count], |x| {
                // Bit by bit, as the manual's pseudo-code.
                let (position, length) = ((x[1] & 0xff) as i64, (x[2] & 0xff) as i64);
                let bit = |at: i64| x[0] >> at & 1;
                let fill =
                    if is_signed && length > 0 { bit((position + length - 1).min(width - 1)) } else { 0 };
                (0..width)
                    .map(|i| if i < length && position + i < width { bit(position + i) } else { fill } << i)
                    .sum()
            });
        }
        check(&format!("bfi.{name}"), *kind, &[*kind, *kind, Count, Count], |x| {
            let (position, length) = ((x[2] & 0xff) as i64, (x[3] & 0xff) as i64);
            (0..width)
                .map(|i| {
                    let inside = i >= position && i < position + length;
                    (if inside { x[0] >> (i - position) & 1 } else { x[1] >> i & 1 }) << i
                })
                .sum()
        });
    }
    for (mode, limit) in [("clamp", (|c: u64| c.min(32)) as fn(u64) -> u64), ("wrap", |c| c & 31)] {
        for (ty, is_signed) in [("u32", false), ("s32", true)] {
            check(&format!("szext.{mode}.{ty}"), I32, &[I32, Count], |x| match limit(x[1]) as u32 {
                0 => 0,
                length if is_signed => signed(x[0], length).cast_unsigned() & mask(32),
                length => x[0] & mask(length),
            });
        }
        check(&format!("bmsk.{mode}.b32"), I32, &[Count, Count], |x| {
            let (position, length) = (limit(x[0]), limit(x[1]));
            (0..32).filter(|bit| *bit >= position && *bit < position + length).map(|bit| 1 << bit).sum()
        });
    }
}

#[test]
fn permutation() {
    let byte = |x: &[u64], index: u64| (x[1] << 32 | x[0]) >> (8 * (index & 7)) & 0xff;
    let pack = |bytes: [u64; 4]| bytes.iter().rev().fold(0, |word, byte| word << 8 | byte);
    check("prmt.b32", I32, &[I32, I32, I32], |x| {
        pack([0, 1, 2, 3].map(|index| {
            let nibble = x[2] >> (4 * index) & 15;
            let value = byte(x, nibble);
            if nibble < 8 {
                value
            } else if value >= 0x80 {
                0xff
            } else {
                0
            }
        }))
    });
    // The manual's tables, byte 3 first, for selectors 0 to 3.
    for (mode, table) in [
        ("f4e", ["3210", "4321", "5432", "6543"]),
        ("b4e", ["5670", "6701", "7012", "0123"]),
        ("rc8", ["0000", "1111", "2222", "3333"]),
        ("ecl", ["3210", "3211", "3222", "3333"]),
        ("ecr", ["0000", "1110", "2210", "3210"]),
        ("rc16", ["1010", "3232", "1010", "3232"]),
    ] {
        check(&format!("prmt.b32.{mode}"), I32, &[I32, I32, I32], |x| {
            let row = table[(x[2] & 3) as usize].bytes().rev().map(|digit| byte(x, u64::from(digit - b'0')));
            row.enumerate().map(|(index, byte)| byte << (8 * index)).sum()
        });
    }
}
