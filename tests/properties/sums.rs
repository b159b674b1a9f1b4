//! The sums of matrix products: bit for bit those of the simulator's tensor cores, which write down the same measurements
//! on their own; and that short sums are short.

use proptest::prelude::*;
use rorqual::model::config::ScaleFormat;
use rorqual::model::weights::Matrix;
use rorqual::num::{E4m3, bf16};
use rorqual::reference::linear::{Output, linear};
use rorqual::reference::{Numerics, Precision, Sums};
use rorqual_sim::tensor_core::{Accumulation, Format, Generation, Instruction, fused_dot_add};

use crate::draw::Draw;
use crate::{cases, expect_same_bits};

type TensorCore = (Sums, Generation, Instruction);

/// Those that multiply e4m3.
const OF_E4M3: [TensorCore; 2] =
    [(Sums::Ada, Generation::Ada, Instruction::Mma), (Sums::Hopper, Generation::Hopper, Instruction::Wgmma)];

/// Those that multiply bf16.
const OF_BF16: [TensorCore; 3] =
    [(Sums::Ampere, Generation::Ampere, Instruction::Mma), OF_E4M3[0], OF_E4M3[1]];

/// The sum of the products of `a` and `b`, by the simulator.
fn simulated(a: &[f32], b: &[f32], format: Format, generation: Generation, instruction: Instruction) -> f32 {
    let depth = 256 / format.bits() as usize;
    let accumulation = Accumulation::new(generation, instruction, format, depth, false);
    let smallest = (format.minimum_exponent(), format.minimum_exponent());
    let steps = a.chunks(accumulation.group).zip(b.chunks(accumulation.group));
    steps.fold(0.0, |sum, (a, b)| {
        fused_dot_add(a.iter().copied().zip(b.iter().copied()), smallest, sum, accumulation)
    })
}

fn product(x: &[f32], w: &Matrix, sums: Sums) -> Vec<f32> {
    let numerics = Numerics { precision: Precision::Kernel, activation_scale: ScaleFormat::F32, sums };
    linear(x, w, Output::F32, numerics)
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn bf16_is_added_as_tensor_cores_do(k in 1_usize..200, n in 1_usize..20, seed: u64) {
        let mut draw = Draw(seed);
        // Twelve binades, and zeros.
        let mut values = |count: usize| -> Vec<f32> {
            let mut value = || {
                let bits = draw.below(2) << 15 | (121 + draw.below(12)) << 7 | draw.below(128);
                if draw.below(9) == 0 { 0.0 } else { bf16::from_bits(bits as u16).to_f32() }
            };
            (0..count).map(|_| value()).collect()
        };
        let (x, w) = (values(k), values(n * k));
        for (sums, generation, instruction) in OF_BF16 {
            let expected: Vec<f32> =
                w.chunks(k).map(|w| simulated(&x, w, Format::Bf16, generation, instruction)).collect();
            expect_same_bits(&product(&x, &Matrix::from_f32(n, k, &w), sums), &expected)?;
        }
    }

    #[test]
    fn e4m3_is_added_as_tensor_cores_do(k in 1_usize..300, n in 1_usize..20, seed: u64) {
        let mut draw = Draw(seed);
        // Every code but NaN, and sometimes that.
        let mut codes = |count: usize| -> Vec<u8> {
            let mut code = || {
                let codes = if draw.below(500) == 0 { 128 } else { 127 };
                (draw.below(2) << 7 | draw.below(codes)) as u8
            };
            (0..count).map(|_| code()).collect()
        };
        let (mut x, mut w) = (codes(k), codes(n * k));
        // The largest code of each 128 makes its scale 1; it meets zeros, which count for nothing.
        for first in (0..k).step_by(128) {
            x[first] = E4m3::MAX.to_bits();
            w.iter_mut().skip(first).step_by(k).for_each(|code| *code = 0);
        }
        let scales = vec![1.0; n.div_ceil(128) * k.div_ceil(128)];
        let weight = Matrix::from_e4m3(n, k, &w, &scales);
        let values =
            |codes: &[u8]| codes.iter().map(|code| E4m3::from_bits(*code).to_f32()).collect::<Vec<f32>>();
        let (x, w) = (values(&x), values(&w));
        for (sums, generation, instruction) in OF_E4M3 {
            let promoted = |w: &[f32]| {
                let runs = x.chunks(128).zip(w.chunks(128));
                runs.fold(0.0, |sum, (a, b)| sum + simulated(a, b, Format::E4m3, generation, instruction))
            };
            let expected: Vec<f32> = w.chunks(k).map(promoted).collect();
            expect_same_bits(&product(&x, &weight, sums), &expected)?;
        }
    }
}

/// 2^-14 beside 1 is beyond 13 fraction bits; 2^-13 is the last of them.
#[test]
fn ada_and_hopper_cut_what_lies_14_bits_below() {
    let codes = |values: [f32; 3]| values.map(|value| E4m3::from_f32(value).to_bits());
    for (sums, small, kept) in [
        (Sums::F32, 2.0_f32.powi(-14), true),
        (Sums::Ampere, 2.0_f32.powi(-14), true),
        (Sums::Ada, 2.0_f32.powi(-14), false),
        (Sums::Hopper, 2.0_f32.powi(-14), false),
        (Sums::Ada, 2.0_f32.powi(-13), true),
        (Sums::Hopper, 2.0_f32.powi(-13), true),
    ] {
        // 448 makes the scale 1.
        let weight = Matrix::from_e4m3(1, 3, &codes([0.0, 1.0, small * 64.0]), &[1.0]);
        let expected = if kept { 1.0 + small } else { 1.0 };
        assert_eq!(product(&[448.0, 1.0, 1.0 / 64.0], &weight, sums), [expected], "{sums:?}, {small:e}");
    }
}
