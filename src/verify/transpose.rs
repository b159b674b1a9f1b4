//! Cases of the family `quantize_transpose`: every bit is that of the reference for the transpose, in which each group
//! of tokens starts at a whole block.

use super::bytes::{of_f32, of_u32, u32_bytes};
use super::compare::Comparison;
use super::quant::upload_values;
use super::quantized;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::reference::quantize::Quantized;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::quant::ScaleLayout;
use rorqual_kernels::transpose::{QuantizeTranspose, QuantizeTransposeArguments, QuantizeTransposeSpec};
use rorqual_kernels::{Registered, ScaleFormat, ValueFormat, device_error, generate};

/// What memory holds that a kernel has not written.
const POISON: u8 = 0xa5;

/// Groups of tokens.
struct Groups {
    offsets: Vec<u32>,
    /// How many there are up to the first bad offset.
    good: usize,
    /// What `error` must be.
    error: u32,
}

impl Groups {
    /// All tokens are one.
    fn none(tokens: usize) -> Self {
        Self { offsets: vec![0, tokens as u32], good: 1, error: 0 }
    }

    fn draw(random: &mut Random, groups: u32, tokens: usize) -> Self {
        let groups = groups as usize;
        let mut offsets: Vec<u32> = (0..=groups).map(|_| random.below(tokens + 1) as u32).collect();
        offsets.sort_unstable();
        if !random.one_in(6) {
            return Self { offsets, good: groups, error: 0 };
        }
        let good = random.below(groups);
        offsets[good + 1] = match offsets[good] {
            before if before > 0 && random.one_in(2) => random.below(before as usize) as u32,
            _ => (tokens + 1 + random.below(1000)) as u32,
        };
        Self { offsets, good, error: device_error::GROUPS }
    }

    /// The token of each place of a column, where there is one.
    fn places(&self) -> Vec<Option<usize>> {
        let good = self.offsets.windows(2).take(self.good);
        let places = good.flat_map(|ends| {
            let (first, end) = (ends[0] as usize, ends[1] as usize);
            let padded = (end - first).next_multiple_of(128);
            (first..first + padded).map(move |token| (token < end).then_some(token))
        });
        places.collect()
    }

    /// The first block of each group, and the end.
    fn block_offsets(&self) -> Vec<u32> {
        let mut end = 0;
        let ends = self.offsets.windows(2).enumerate().map(|(group, ends)| {
            end += if group < self.good { (ends[1] - ends[0]).div_ceil(128) } else { 0 };
            end
        });
        std::iter::once(0).chain(ends).collect()
    }
}

/// Draws a case of `quantize_transpose` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let columns = random.size(200).max(1);
    let pitch = columns + if random.one_in(3) { random.below(70) } else { 0 };
    let groups = if random.one_in(8) { 33 } else { 1 + random.below(5) as u32 };
    let spec = QuantizeTransposeSpec {
        columns: columns as u32,
        x_pitch: pitch as u32,
        input: random.pick(&[ValueFormat::Bf16, ValueFormat::F32]),
        scale: random.pick(&[ScaleFormat::F32, ScaleFormat::PowerOfTwo]),
        scale_layout: random.pick(&[ScaleLayout::RowMajor, ScaleLayout::ColumnMajor]),
        groups: random.one_in(2).then_some(groups),
    };
    let tokens = random.size(300);
    let padded = match random.below(6) {
        0 => tokens,
        1 => random.size(300),
        2 | 3 => tokens.next_multiple_of(16) + 16 * random.below(3),
        _ => tokens.next_multiple_of(128),
    };
    let padded = match spec.groups {
        Some(groups) if random.one_in(2) => tokens.next_multiple_of(128) + 128 * groups as usize,
        Some(_) => padded.max(1),
        None => padded,
    };
    let groups = spec.groups.map_or(Groups::none(tokens), |groups| Groups::draw(random, groups, tokens));
    let case = format!("{spec:?}, {tokens} tokens in groups {:?}, padded to {padded}", groups.offsets);
    let kernel = generate::<QuantizeTranspose>(&spec, machine.target())?;
    let (x, x_f32, values) = upload_values(random, machine, spec.input, tokens * pitch)?;
    let blocks = padded.div_ceil(128);
    let arguments = QuantizeTransposeArguments {
        x,
        x_f32,
        codes: machine.upload(&vec![POISON; columns * padded])?,
        scales: machine.upload(&vec![POISON; 4 * columns * blocks])?,
        tokens: tokens as u32,
        offsets: machine.upload(&u32_bytes(&groups.offsets))?,
        block_offsets: machine.upload(&vec![POISON; 4 * groups.offsets.len()])?,
        error: machine.upload(&u32_bytes(&[0]))?,
        padded_tokens: padded as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let places = groups.places();
    let value = |at: usize| {
        let (column, token) = (at / padded, at % padded);
        places.get(token).copied().flatten().map_or(0.0, |token| values[token * pitch + column])
    };
    let transpose: Vec<f32> = (0..columns * padded).map(value).collect();
    let expected = quantized::expected(&transpose, padded, spec.scale);
    let codes = machine.download(arguments.codes, columns * padded)?;
    let mut scales = of_f32(&machine.download(arguments.scales, 4 * columns * blocks)?);
    if spec.scale_layout == ScaleLayout::ColumnMajor {
        scales = (0..columns * blocks).map(|at| scales[at % blocks * columns + at / blocks]).collect();
    }
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let (shape, scale_shape) = ([columns, padded], [columns, blocks]);
    if spec.groups.is_some() {
        let starts = of_u32(&machine.download(arguments.block_offsets, 4 * groups.offsets.len())?);
        let floats = |numbers: &[u32]| numbers.iter().map(|number| *number as f32).collect::<Vec<_>>();
        let shape = [starts.len()];
        let comparison = Comparison { kernel: &kernel, case: &case, tensor: "block_offsets", shape: &shape };
        comparison.equal(&floats(&starts), &floats(&groups.block_offsets()))?;
        let error = of_u32(&machine.download(arguments.error, 4)?);
        compare("error", &[1]).equal(&floats(&error), &floats(&[groups.error]))?;
    }
    let got = Quantized { codes, scales };
    let worst = quantized::compare(&compare, (&shape, &scale_shape), &expected, &got, &transpose, |_| 0.0)?;
    Ok(Passed {
        kernel: kernel.clone(),
        specs: vec![QuantizeTranspose::any(&spec)],
        case: case.clone(),
        worst,
    })
}
