//! Layouts against the formulas of the PTX ISA, written as the manual writes them, shape by shape.

use std::collections::HashMap;

use super::*;

/// Checks a layout against a formula for element i of a lane, counted through its registers, and that every element
/// of the matrix is held `copies` times.
#[track_caller]
fn check(fragment: Fragment, copies: usize, formula: impl Fn(usize, usize, usize) -> (usize, usize)) {
    let mut held = HashMap::new();
    for lane in 0..32 {
        for register in 0..fragment.registers() {
            for element in 0..fragment.elements() {
                let Position { line, place } = fragment.position(lane, register, element);
                assert!(
                    line < fragment.lines() && place < fragment.places(),
                    "lane {lane} register {register}"
                );
                *held.entry((line, place)).or_insert(0) += 1;
                let i = register * fragment.elements() + element;
                assert_eq!((line, place), formula(lane / 4, lane % 4, i), "lane {lane} element {i}");
            }
        }
    }
    assert_eq!(held.len(), fragment.lines() * fragment.places());
    assert!(held.values().all(|&count| count == copies));
}

/// 8 if the condition holds.
fn eight(condition: bool) -> usize {
    if condition { 8 } else { 0 }
}

#[test]
fn mma_a() {
    // m8n8k16 8-bit, m8n8k32 4-bit, m8n8k128 1-bit, m8n8k4 f64.
    check(Fragment::operand(8, 16, 8), 1, |g, t, i| (g, t * 4 + i));
    check(Fragment::operand(8, 32, 4), 1, |g, t, i| (g, t * 8 + i));
    check(Fragment::operand(8, 128, 1), 1, |g, t, i| (g, t * 32 + i));
    check(Fragment::operand(8, 4, 64), 1, |g, t, _| (g, t));
    // m16n8k4 tf32 and f64, m16n8k8 tf32.
    check(Fragment::operand(16, 4, 32), 1, |g, t, i| (g + eight(i == 1), t));
    check(Fragment::operand(16, 4, 64), 1, |g, t, i| (g + eight(i == 1), t));
    check(Fragment::operand(16, 8, 32), 1, |g, t, i| {
        (g + eight(i == 1 || i == 3), t + if i >= 2 { 4 } else { 0 })
    });
    // m16n8k8 f64, m16n8k16 f64.
    check(Fragment::operand(16, 8, 64), 1, |g, t, i| {
        (g + eight(i == 1 || i == 3), t + if i >= 2 { 4 } else { 0 })
    });
    check(Fragment::operand(16, 16, 64), 1, |g, t, i| (g + eight(i % 2 == 1), i / 2 * 4 + t));
    // m16n8k8 16-bit, m16n8k16 16-bit.
    check(Fragment::operand(16, 8, 16), 1, |g, t, i| (g + eight(i >= 2), t * 2 + (i & 1)));
    check(Fragment::operand(16, 16, 16), 1, |g, t, i| {
        let upper = i < 2 || (4..6).contains(&i);
        (g + eight(!upper), t * 2 + (i & 1) + eight(i >= 4))
    });
    // m16n8k16 and m16n8k32 8-bit.
    check(Fragment::operand(16, 16, 8), 1, |g, t, i| (g + eight(i >= 4), t * 4 + (i & 3)));
    check(Fragment::operand(16, 32, 8), 1, |g, t, i| {
        let upper = i < 4 || (8..12).contains(&i);
        (g + eight(!upper), t * 4 + (i & 3) + if i >= 8 { 16 } else { 0 })
    });
    // m16n8k32 and m16n8k64 4-bit.
    check(Fragment::operand(16, 32, 4), 1, |g, t, i| (g + eight(i >= 8), t * 8 + (i & 7)));
    check(Fragment::operand(16, 64, 4), 1, |g, t, i| {
        let upper = i < 8 || (16..24).contains(&i);
        (g + eight(!upper), t * 8 + (i & 7) + if i >= 16 { 32 } else { 0 })
    });
    // m16n8k128 and m16n8k256 1-bit.
    check(Fragment::operand(16, 128, 1), 1, |g, t, i| (g + eight(i >= 32), t * 32 + (i & 31)));
    check(Fragment::operand(16, 256, 1), 1, |g, t, i| {
        let upper = i < 32 || (64..96).contains(&i);
        (g + eight(!upper), t * 32 + (i & 31) + if i >= 64 { 128 } else { 0 })
    });
}

#[test]
fn mma_b() {
    // The manual gives (row, column): k and line here.
    check(Fragment::operand(8, 4, 32), 1, |g, t, _| (g, t));
    check(Fragment::operand(8, 8, 32), 1, |g, t, i| (g, t + 4 * i));
    check(Fragment::operand(8, 16, 64), 1, |g, t, i| (g, t + i * 4));
    check(Fragment::operand(8, 8, 16), 1, |g, t, i| (g, t * 2 + i));
    check(Fragment::operand(8, 16, 16), 1, |g, t, i| (g, t * 2 + (i & 1) + eight(i >= 2)));
    check(Fragment::operand(8, 32, 8), 1, |g, t, i| (g, t * 4 + (i & 3) + if i >= 4 { 16 } else { 0 }));
    check(Fragment::operand(8, 64, 4), 1, |g, t, i| (g, t * 8 + (i & 7) + if i >= 8 { 32 } else { 0 }));
    check(Fragment::operand(8, 256, 1), 1, |g, t, i| (g, t * 32 + (i & 31) + if i >= 32 { 128 } else { 0 }));
}

#[test]
fn accumulators() {
    check(Fragment::accumulator(8, 8, 32), 1, |g, t, i| (g, t * 2 + (i & 1)));
    check(Fragment::accumulator(8, 8, 64), 1, |g, t, i| (g, t * 2 + (i & 1)));
    for bits in [16, 32, 64] {
        check(Fragment::accumulator(16, 8, bits), 1, |g, t, i| (g + eight(i >= 2), t * 2 + (i & 1)));
    }
    // wgmma, within a warp's 16 rows.
    for columns in [8, 24, 256] {
        for bits in [16, 32] {
            check(Fragment::accumulator(16, columns, bits), 1, |g, t, i| {
                (g + 8 * (i >> 1 & 1), 8 * (i / 4) + 2 * t + (i & 1))
            });
        }
    }
}

#[test]
fn quad_pairs() {
    // `%laneid` in the manual's formulas; matrix p belongs to lanes 4p.. and 16 + 4p...
    let first = |lane: usize| 8 * (lane / 4 % 4) + if lane < 16 { 0 } else { 4 };
    let lane = |g: usize, t: usize| 4 * g + t;
    check(Fragment::quad_pair_operand(true), 1, |g, t, i| (first(lane(g, t)) + lane(g, t) % 4, i));
    check(Fragment::quad_pair_operand(false), 1, |g, t, i| (first(lane(g, t)) + i % 4, lane(g, t) % 4));
    check(Fragment::quad_pair_accumulator(16), 1, |g, t, i| (first(lane(g, t)) + lane(g, t) % 4, i));
    check(Fragment::quad_pair_accumulator(32), 1, |g, t, i| {
        let lane = lane(g, t);
        (first(lane) + (lane & 1) + (i & 2), (i & 4) + (lane & 2) + (i & 1))
    });
}

#[test]
fn matrix_moves() {
    check(Fragment::matrix(false), 1, |g, t, i| (g, 2 * t + i));
    check(Fragment::matrix(true), 1, |g, t, i| (2 * t + i, g));
    // stmatrix.m16n8.trans.b8 stores the transpose of an accumulator's bytes.
    check(Fragment::byte_matrix(), 1, |g, t, i| (2 * t + i % 2, g + eight(i >= 2)));
}

#[test]
fn wmma_holds_every_element_equally_often() {
    for (lines, places, bits, registers, copies) in [
        (16, 16, 16, 8, 2),
        (32, 16, 16, 8, 1),
        (8, 16, 16, 8, 4),
        (16, 16, 16, 4, 1),
        (16, 16, 8, 2, 1),
        (8, 16, 8, 1, 1),
        (16, 8, 32, 4, 1),
        (16, 16, 32, 8, 1),
        (32, 8, 32, 8, 1),
        (8, 32, 4, 1, 1),
        (8, 128, 1, 1, 1),
        (8, 4, 64, 1, 1),
        (8, 8, 64, 2, 1),
    ] {
        check(Fragment::wmma(lines, places, bits, registers), copies, |g, t, i| {
            let index = (i * 32 + 4 * g + t) % (lines * places);
            (index / places, index % places)
        });
    }
}

/// Registers in which every bit pattern is distinct.
fn registers(count: usize) -> Vec<Register> {
    (0..count)
        .map(|r| std::array::from_fn(|lane| (r as u32 * 32 + lane as u32).wrapping_mul(0x9e37_79b9)))
        .collect()
}

#[test]
fn loads_and_stores_follow_the_layout() {
    for fragment in [
        Fragment::accumulator(16, 8, 32),
        Fragment::accumulator(16, 40, 32),
        Fragment::accumulator(8, 8, 32),
        Fragment::accumulator(16, 24, 16),
        Fragment::accumulator(16, 8, 16),
        Fragment::wmma(16, 16, 32, 8),
        Fragment::wmma(32, 8, 16, 4),
        Fragment::quad_pair_accumulator(32),
        Fragment::quad_pair_accumulator(16),
    ] {
        let (lines, places) = (fragment.lines(), fragment.places());
        let registers = registers(fragment.registers());
        let mask = if fragment.bits == 16 { 0xffff } else { u32::MAX };
        for strides in [Strides { line: places, place: 1 }, Strides { line: 1, place: lines }] {
            let mut matrix = vec![0; lines * places];
            fragment.load(&mut matrix, strides, |number| &registers[number], |word| word & mask);
            for lane in 0..32 {
                for (number, words) in registers.iter().enumerate() {
                    for element in 0..fragment.elements() {
                        let Position { line, place } = fragment.position(lane, number, element);
                        let expected = words[lane] >> (16 * element) & mask;
                        assert_eq!(
                            matrix[line * strides.line + place * strides.place],
                            expected,
                            "{fragment:?}"
                        );
                    }
                }
            }
            let mut stored = vec![[0; 32]; registers.len()];
            fragment.store(&matrix, strides, |number, words| stored[number] = *words, |element| element);
            assert_eq!(stored, registers, "{fragment:?}");
        }
    }
}

#[test]
fn panels_follow_the_layout() {
    use Format::*;
    for (format, fragment, warps) in [
        (F16, Fragment::operand(16, 16, 16), 1),
        (Bf16, Fragment::operand(16, 16, 16), 4),
        (E4m3, Fragment::operand(16, 32, 8), 4),
        (Tf32, Fragment::operand(16, 8, 32), 4),
        (Tf32, Fragment::operand(8, 4, 32), 1),
        (S4, Fragment::operand(16, 64, 4), 1),
        (U4, Fragment::operand(8, 32, 4), 1),
        (E5m2, Fragment::operand(8, 32, 8), 1),
        (F16, Fragment::wmma(16, 16, 16, 4), 1),
        (F16, Fragment::quad_pair_operand(true), 1),
        (F16, Fragment::quad_pair_operand(false), 1),
    ] {
        let registers = registers(warps * fragment.registers());
        let mut panel = Panel::new();
        panel.fill_fragment(format, fragment, warps, Precision::Exact, |warp, number| {
            &registers[warp * fragment.registers() + number]
        });
        assert_eq!((panel.lanes(), panel.depth()), (warps * fragment.lines(), fragment.places()));
        for (number, words) in registers.iter().enumerate() {
            let (warp, number) = (number / fragment.registers(), number % fragment.registers());
            for (lane, word) in words.iter().enumerate() {
                for element in 0..fragment.elements() {
                    let Position { line, place } = fragment.position(lane, number, element);
                    let value = panel.values()[place * panel.lanes() + warp * fragment.lines() + line];
                    let expected = format.decode(word >> (element as u32 * format.bits()));
                    assert_eq!(value.to_bits(), expected.to_bits(), "{format:?} {fragment:?}");
                }
            }
        }
    }
}
