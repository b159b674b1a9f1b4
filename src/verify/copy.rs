//! Cases of the family `copy_rows`.

use super::bytes::{bf16_bytes, of_bf16};
use super::compare::Comparison;
use super::random::Random;
use super::{Failure, Machine, Passed};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::copy::{CopyRows, CopyRowsArguments, CopyRowsSpec};
use rorqual_kernels::{Registered, generate};

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let width = random.size(600).max(1);
    let [from_pitch, to_pitch] = [(); 2].map(|()| width + random.below(20));
    let (rows, style) = (random.size(40), random.style());
    let spec = CopyRowsSpec { width: width as u32, from_pitch: from_pitch as u32, to_pitch: to_pitch as u32 };
    let kernel = generate::<CopyRows>(&spec, machine.target())?;
    let case = format!("{rows} rows, {style:?} values");
    let from = random.bf16s(rows * from_pitch, style);
    let mut to = random.bf16s(rows * to_pitch, style);
    // Of the last rows only what is copied is there.
    let spans = [from_pitch, to_pitch].map(|pitch| (rows * pitch).saturating_sub(pitch - width));
    let arguments = CopyRowsArguments {
        from: machine.upload(&bf16_bytes(&from[..spans[0]]))?,
        to: machine.upload(&bf16_bytes(&to[..spans[1]]))?,
        rows: rows as u32,
    };
    machine.run(&kernel, &arguments.pack())?;
    for (from, to) in from.chunks(from_pitch).zip(to.chunks_mut(to_pitch)) {
        to[..width].copy_from_slice(&from[..width]);
    }
    let kernel = kernel.contract.kernel;
    let got = of_bf16(&machine.download(arguments.to, 2 * spans[1])?);
    let comparison = Comparison { kernel: &kernel, case: &case, tensor: "to", shape: &[spans[1]] };
    comparison.equal(&got, &to[..spans[1]])?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![CopyRows::any(&spec)], case: case.clone(), worst: 0.0 })
}
