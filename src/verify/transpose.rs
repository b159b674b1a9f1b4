//! Cases of the family `quantize_transpose`: every bit is that of the reference for the transpose.

use super::bytes::of_f32;
use super::compare::Comparison;
use super::quant::upload_values;
use super::quantized;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::reference::quantize::Quantized;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::quant::ScaleLayout;
use rorqual_kernels::transpose::{QuantizeTranspose, QuantizeTransposeArguments, QuantizeTransposeSpec};
use rorqual_kernels::{Registered, ScaleFormat, ValueFormat, generate};

/// What memory holds that a kernel has not written.
const POISON: u8 = 0xa5;

/// Draws a case of `quantize_transpose` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let columns = random.size(200).max(1);
    let pitch = columns + if random.one_in(3) { random.below(70) } else { 0 };
    let spec = QuantizeTransposeSpec {
        columns: columns as u32,
        x_pitch: pitch as u32,
        input: random.pick(&[ValueFormat::Bf16, ValueFormat::F32]),
        scale: random.pick(&[ScaleFormat::F32, ScaleFormat::PowerOfTwo]),
        scale_layout: random.pick(&[ScaleLayout::RowMajor, ScaleLayout::ColumnMajor]),
    };
    let tokens = random.size(300);
    let padded = match random.below(6) {
        0 => tokens,
        1 => random.size(300),
        2 | 3 => tokens.next_multiple_of(16) + 16 * random.below(3),
        _ => tokens.next_multiple_of(128),
    };
    let case = format!("{spec:?}, {tokens} tokens, padded to {padded}");
    let kernel = generate::<QuantizeTranspose>(&spec, machine.target())?;
    let (x, x_f32, values) = upload_values(random, machine, spec.input, tokens * pitch)?;
    let blocks = padded.div_ceil(128);
    let arguments = QuantizeTransposeArguments {
        x,
        x_f32,
        codes: machine.upload(&vec![POISON; columns * padded])?,
        scales: machine.upload(&vec![POISON; 4 * columns * blocks])?,
        tokens: tokens as u32,
        padded_tokens: padded as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let value = |at: usize| {
        let (column, token) = (at / padded, at % padded);
        if token < tokens { values[token * pitch + column] } else { 0.0 }
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
    let got = Quantized { codes, scales };
    let worst = quantized::compare(&compare, (&shape, &scale_shape), &expected, &got, &transpose, |_| 0.0)?;
    Ok(Passed {
        kernel: kernel.clone(),
        specs: vec![QuantizeTranspose::any(&spec)],
        case: case.clone(),
        worst,
    })
}
