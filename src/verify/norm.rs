//! Cases of the family `rms_norm`.

use super::bytes::{bf16_bytes, f32_bytes, of_bf16, of_f32};
use super::compare::{Comparison, bf16_ulp};
use super::quantized;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::reference::Numerics;
use crate::reference::ops::{add_residual, rms_norm};
use crate::reference::quantize::Quantized;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::norm::{RmsNorm, RmsNormArguments, RmsNormSpec};
use rorqual_kernels::{Registered, ScaleFormat, generate};

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let hidden = random.size(1100).max(1);
    let pitch = hidden + if random.one_in(3) { random.below(70) } else { 0 };
    let fp8 = [None, Some(ScaleFormat::F32), Some(ScaleFormat::PowerOfTwo)][random.below(3)];
    let spec = RmsNormSpec {
        hidden: hidden as u32,
        x_pitch: pitch as u32,
        residual: random.one_in(2),
        bf16: fp8.is_none() || random.one_in(2),
        fp8,
    };
    let (tokens, style) = (random.size(20), random.style());
    let kernel = generate::<RmsNorm>(&spec, machine.target())?;
    let case = format!("{tokens} tokens, {style:?} values");

    let x = random.bf16s(tokens * pitch, style);
    let weight = random.f32s(hidden, style);
    let residual = random.bf16s(tokens * hidden, style);
    let blocks = hidden.div_ceil(128);
    let arguments = RmsNormArguments {
        x: machine.upload(&bf16_bytes(&x))?,
        residual: machine.upload(&bf16_bytes(&residual))?,
        weight: machine.upload(&f32_bytes(&weight))?,
        y: machine.upload(&vec![0xa5; 2 * tokens * hidden])?,
        codes: machine.upload(&vec![0xa5; tokens * hidden])?,
        scales: machine.upload(&vec![0xa5; 4 * tokens * blocks])?,
        tokens: tokens as u32,
        epsilon: 1e-6,
    };
    machine.run(&kernel, &arguments.pack())?;

    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let (rows, scale_rows) = ([tokens, hidden], [tokens, blocks]);
    let mut stream: Vec<f32> = x.chunks(pitch).flat_map(|row| &row[..hidden]).copied().collect();
    let got_stream = of_bf16(&machine.download(arguments.residual, 2 * tokens * hidden)?);
    if spec.residual {
        add_residual(&mut stream, &residual, Numerics::KERNEL);
    }
    compare("residual", &rows).equal(&got_stream, if spec.residual { &stream } else { &residual })?;
    let y = rms_norm(&stream, &weight, arguments.epsilon, Numerics::KERNEL);
    let mut worst = 0.0_f64;
    if spec.bf16 {
        let got = of_bf16(&machine.download(arguments.y, 2 * tokens * hidden)?);
        worst = compare("y", &rows).within(&got, &y, |at| bf16_ulp(y[at]))?;
    }
    if let Some(format) = spec.fp8 {
        let codes = machine.download(arguments.codes, tokens * hidden)?;
        let scales = of_f32(&machine.download(arguments.scales, 4 * tokens * blocks)?);
        let (got, expected) = (Quantized { codes, scales }, quantized::expected(&y, hidden, format));
        // The kernel quantises its own y, which may be one unit off.
        let shapes = (&rows[..], &scale_rows[..]);
        worst = worst.max(quantized::compare(&compare, shapes, &expected, &got, &y, bf16_ulp)?);
    }
    Ok(Passed { kernel: kernel.clone(), specs: vec![RmsNorm::any(&spec)], case: case.clone(), worst })
}
