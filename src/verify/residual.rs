//! Cases of the family `residual`: every bit is that of the reference.

use super::bytes::{bf16_bytes, of_bf16};
use super::compare::Comparison;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::reference::Numerics;
use crate::reference::ops::add_residual;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::residual::{Residual, ResidualArguments, ResidualSpec};
use rorqual_kernels::{Registered, generate};

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (hidden, tokens, style) = (random.size(600).max(1), random.size(40), random.style());
    let pitch = hidden + if random.one_in(3) { random.below(70) } else { 0 };
    let spec = ResidualSpec { hidden: hidden as u32, x_pitch: pitch as u32 };
    let case = format!("{spec:?}, {tokens} tokens, {style:?}");
    let kernel = generate::<Residual>(&spec, machine.target())?;
    let (mut stream, x) = (random.bf16s(tokens * hidden, style), random.bf16s(tokens * pitch, style));
    let arguments = ResidualArguments {
        stream: machine.upload(&bf16_bytes(&stream))?,
        x: machine.upload(&bf16_bytes(&x))?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let x: Vec<f32> = x.chunks(pitch).flat_map(|row| &row[..hidden]).copied().collect();
    add_residual(&mut stream, &x, Numerics::KERNEL);
    let got = of_bf16(&machine.download(arguments.stream, 2 * tokens * hidden)?);
    let kernel = kernel.contract.kernel;
    let shape = &[tokens, hidden];
    Comparison { kernel: &kernel, case: &case, tensor: "stream", shape }.equal(&got, &stream)?;
    Ok(Passed { kernel, specs: vec![Residual::any(&spec)], case, worst: 0.0 })
}
