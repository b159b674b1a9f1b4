//! Cases of the family `hopper_gemm_fp8_1d1d`: gradients of all tokens, and of groups of tokens, some of them empty.

use super::bytes::{f32_bytes, of_f32, of_u32, u32_bytes};
use super::compare::Comparison;
use super::gemm::{POISON, codes, spread};
use super::hopper_gemm::columns_of;
use super::random::{Random, Style};
use super::tensor_core::{OF_E4M3_IN_WARPGROUPS, promoted_error};
use super::{Failure, Machine, Passed};
use crate::num::E4m3;
use crate::reference::quantize::Quantized;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::weight_gradient::spec::most_columns;
use rorqual_kernels::gemm::hopper::{
    HopperWeightGradient, HopperWeightGradientArguments, HopperWeightGradientSpec, Multicast, Tile,
};
use rorqual_kernels::quant::ScaleLayout;
use rorqual_kernels::{Family, Registered, device_error, generate};
use std::ops::Range;

/// An operand, `[rows, tokens]`.
struct Operand {
    rows: usize,
    tokens: usize,
    quantized: Quantized,
    /// What the codes stand for.
    values: Vec<f32>,
}

impl Operand {
    fn draw(random: &mut Random, rows: u32, tokens: usize, style: Style) -> Self {
        let rows = rows as usize;
        let quantized = codes(random, rows, tokens, style, false);
        let mut values = vec![0.0; quantized.codes.len()];
        E4m3::decode_slice(&quantized.codes, &mut values);
        Self { rows, tokens, quantized, values }
    }

    fn blocks(&self) -> usize {
        self.tokens.div_ceil(128)
    }

    /// The values of a row in some blocks, and the scales of these.
    fn row(&self, row: usize, blocks: &Range<usize>) -> (&[f32], &[f32]) {
        let [first, end] = [blocks.start, blocks.end].map(|block| (block * 128).min(self.tokens));
        let scales = &self.quantized.scales[row * self.blocks()..][..self.blocks()];
        (&self.values[row * self.tokens..][first..end], &scales[blocks.clone()])
    }

    /// Addresses of codes, rows `pitch` apart, and of scales.
    fn upload(
        &self,
        machine: &mut dyn Machine,
        pitch: usize,
        layout: ScaleLayout,
    ) -> Result<[u64; 2], Failure> {
        let size = if self.tokens == 0 { 0 } else { (self.rows - 1) * pitch + self.tokens };
        let codes = spread(&self.quantized.codes, self.tokens.max(1), pitch, size);
        let scales = match layout {
            ScaleLayout::RowMajor => self.quantized.scales.clone(),
            ScaleLayout::ColumnMajor => columns_of(&self.quantized.scales, self.blocks(), self.rows),
        };
        Ok([machine.upload(&codes)?, machine.upload(&f32_bytes(&scales))?])
    }
}

/// An element of the gradient of some blocks, a block at a time in f32, and how far the kernel may be off.
fn element([a, b]: [&Operand; 2], [i, j]: [usize; 2], blocks: &Range<usize>) -> (f32, f64) {
    let ((a, a_scales), (b, b_scales)) = (a.row(i, blocks), b.row(j, blocks));
    let scales = a_scales.iter().zip(b_scales).map(|(a, b)| a * b);
    let mut sum = 0.0_f32;
    for ((a, b), scale) in a.chunks(128).zip(b.chunks(128)).zip(scales.clone()) {
        let partial: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        sum = scale.mul_add(partial, sum);
    }
    (sum, promoted_error(a, b, scales, OF_E4M3_IN_WARPGROUPS))
}

/// Offsets of groups in a number of blocks, how many groups there are up to the first bad offset, and what `error` must be.
fn draw_offsets(random: &mut Random, groups: usize, blocks: usize) -> (Vec<u32>, usize, u32) {
    let mut offsets: Vec<u32> = (0..=groups).map(|_| random.below(blocks + 1) as u32).collect();
    offsets.sort_unstable();
    if !random.one_in(6) {
        return (offsets, groups, 0);
    }
    let bad = random.below(groups);
    offsets[bad + 1] = match offsets[bad] {
        before if before > 0 && random.one_in(2) => random.below(before as usize) as u32,
        _ => (blocks + 1 + random.below(1000)) as u32,
    };
    (offsets, bad, device_error::GROUPS)
}

/// A specialisation, of which one in eight has any size; others have tiles below and beside each other, so that a CTA has
/// more than one.
fn draw_spec(random: &mut Random) -> HopperWeightGradientSpec {
    let is_any = random.one_in(8);
    let gap = if random.one_in(3) { 4 * random.below(4) as u32 } else { 0 };
    loop {
        let (rows, columns) = (random.pick(&[64, 128, 128, 256]), if random.one_in(2) { 32 } else { 8 });
        let tile = Tile {
            m: rows,
            n: columns * (1 + random.below((most_columns(rows) / columns) as usize) as u32),
            stages: 2 + random.below(4) as u32,
            multicast: random.pick(&[Multicast::None, Multicast::A, Multicast::B]),
        };
        let mut extent = |tile: u32| match is_any {
            true => random.size(300).max(1) as u32,
            false => tile + 1 + random.size(tile.max(64) as usize) as u32,
        };
        let (m, n) = (extent(tile.m), extent(tile.n));
        let groups = if random.one_in(12) { 33 } else { 1 + random.below(5) as u32 };
        let spec = HopperWeightGradientSpec {
            groups: random.one_in(2).then_some(groups),
            d_pitch: n.next_multiple_of(4) + gap,
            scales: random.pick(&[ScaleLayout::RowMajor, ScaleLayout::ColumnMajor]),
            accumulate: random.one_in(2),
            ..HopperWeightGradientSpec::new(m, n, tile)
        };
        if HopperWeightGradient::check(&spec).is_ok() {
            return spec;
        }
    }
}

/// Draws a case of `hopper_gemm_fp8_1d1d` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let spec = draw_spec(random);
    let kernel = generate::<HopperWeightGradient>(&spec, machine.target())?;
    // One in eight has any number of tokens, others some blocks.
    let tokens = if random.one_in(8) { random.size(900) } else { 257 + random.size(640) };
    let style = random.style();
    // A row of B with an infinity or NaN spoils a whole column of D: only A has them.
    let b_style = if style == Style::Special { Style::Normal } else { style };
    let a = Operand::draw(random, spec.m, tokens, style);
    let b = Operand::draw(random, spec.n, tokens, b_style);
    let (blocks, gradients) = (a.blocks(), spec.groups.unwrap_or(1) as usize);
    let (offsets, good, error) = match spec.groups {
        None => (vec![0, blocks as u32], 1, 0),
        Some(_) => draw_offsets(random, gradients, blocks),
    };
    let pitch = |random: &mut Random| tokens.next_multiple_of(16) + 16 * random.below(2);
    let (a_pitch, b_pitch) = (pitch(random), pitch(random));
    let (m, n, d_pitch) = (spec.m as usize, spec.n as usize, spec.d_pitch as usize);
    // There is nothing behind the last element.
    let d_size = (gradients * m - 1) * d_pitch + n;
    let before_bytes = match spec.accumulate {
        true => f32_bytes(&random.f32s(d_size, Style::Normal)),
        false => vec![POISON; 4 * d_size],
    };
    let [a_address, a_scales] = a.upload(machine, a_pitch, spec.scales)?;
    let [b_address, b_scales] = b.upload(machine, b_pitch, spec.scales)?;
    let arguments = HopperWeightGradientArguments {
        a: spec.a_map(a_address, tokens as u32, a_pitch as u32),
        b: spec.b_map(b_address, tokens as u32, b_pitch as u32),
        a_scales,
        b_scales,
        d: machine.upload(&before_bytes)?,
        offsets: if spec.groups.is_some() { machine.upload(&u32_bytes(&offsets))? } else { 0 },
        error: machine.upload(&u32_bytes(&[0]))?,
        k_blocks: blocks as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let before = of_f32(&before_bytes);
    let (mut expected, mut errors) = (before.clone(), vec![0.0; d_size]);
    for (gradient, ends) in offsets.windows(2).enumerate().take(good) {
        let blocks = ends[0] as usize..ends[1] as usize;
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let at = (gradient * m + i) * d_pitch + j;
            let (sum, error) = element([&a, &b], [i, j], &blocks);
            (expected[at], errors[at]) = match spec.accumulate {
                false => (sum, error),
                true => {
                    let rounding = f64::from(f32::EPSILON) * f64::from(sum.abs() + before[at].abs());
                    (sum + before[at], error + rounding)
                }
            };
        }
    }
    let case = format!("{tokens} tokens, blocks {offsets:?}, {style:?} values");
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let got_error = of_u32(&machine.download(arguments.error, 4)?)[0];
    compare("error", &[1]).equal(&[got_error as f32], &[error as f32])?;
    // The last row without its gap would be shorter than the others.
    let whole = |mut values: Vec<f32>| {
        values.resize(gradients * m * d_pitch, 0.0);
        values
    };
    let got = whole(of_f32(&machine.download(arguments.d, 4 * d_size)?));
    let shape = [gradients, m, d_pitch];
    let tolerance = |at: usize| errors.get(at).map_or(0.0, |error| *error as f32);
    let worst = compare("d", &shape).within(&got, &whole(expected), tolerance)?;
    let specs = vec![HopperWeightGradient::any(&spec)];
    Ok(Passed { kernel: kernel.clone(), specs, case: case.clone(), worst })
}
