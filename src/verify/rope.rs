//! Cases of the family `rope`.

use super::bytes::{bf16_bytes, f32_bytes, of_bf16, of_u32, u32_bytes};
use super::compare::Comparison;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::model::config::Yarn;
use crate::reference::Numerics;
use crate::reference::rope::{MscaleConvention, Rope as Frequencies, rotate_halves, rotate_pairs};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::device_error::POSITION;
use rorqual_kernels::rope::{Pairing, Rope, RopeArguments, RopeSpec};
use rorqual_kernels::{Registered, generate};

/// Cosines and sines of positions `0..positions`, `[positions, width / 2, 2]`.
pub fn table(random: &mut Random, width: usize, positions: usize) -> Vec<f32> {
    let yarn = Yarn {
        factor: 40.0,
        original_max_position_embeddings: 64.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(1.0),
        mscale_all_dim: 0.5,
    };
    let yarn = random.one_in(2).then_some(&yarn);
    let frequencies = Frequencies::new(width, 10000.0, yarn, MscaleConvention::HuggingFace);
    (0..positions)
        .flat_map(|position| frequencies.rotation(position))
        .flat_map(|(cos, sin)| [cos, sin])
        .collect()
}

/// The row of a position in a table.
pub fn rotation(table: &[f32], width: usize, position: u32) -> Vec<(f32, f32)> {
    let row = &table[position as usize * width..][..width];
    row.as_chunks().0.iter().map(|[cos, sin]| (*cos, *sin)).collect()
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let width = 2 * random.pick(&[1, 3, 4, 8, 12, 32, 33]);
    let slack = |random: &mut Random| random.pick(&[0, 0, 3, 8, 128]);
    let (heads, offset) = (1 + random.below(5), slack(random));
    let head_pitch = offset + width + slack(random);
    let token_pitch = heads * head_pitch + slack(random);
    let spec = RopeSpec {
        width: width as u32,
        heads: heads as u32,
        head_pitch: head_pitch as u32,
        token_pitch: token_pitch as u32,
        offset: offset as u32,
        pairing: random.pick(&[Pairing::Interleaved, Pairing::Halves]),
    };
    let (tokens, style) = (random.size(20), random.style());
    let position_count = 1 + random.below(100);
    let table = table(random, width, position_count);
    // A position behind the table now and then.
    let reach = position_count + usize::from(random.one_in(3));
    let positions: Vec<u32> = (0..tokens).map(|_| random.below(reach) as u32).collect();
    let kernel = generate::<Rope>(&spec, machine.target())?;
    let case = format!("{tokens} tokens, {position_count} positions, {style:?} values");

    let mut x = random.bf16s(tokens * token_pitch, style);
    let arguments = RopeArguments {
        x: machine.upload(&bf16_bytes(&x))?,
        table: machine.upload(&f32_bytes(&table))?,
        positions: machine.upload(&u32_bytes(&positions))?,
        error: machine.upload(&[0; 4])?,
        tokens: tokens as u32,
        position_count: position_count as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let mut error = 0;
    for (row, position) in x.chunks_mut(token_pitch).zip(&positions) {
        if *position as usize >= position_count {
            error = POSITION;
            continue;
        }
        let rotation = rotation(&table, width, *position);
        for head in 0..heads {
            let head = &mut row[head * head_pitch + offset..][..width];
            match spec.pairing {
                Pairing::Interleaved => rotate_pairs(head, &rotation, Numerics::KERNEL),
                Pairing::Halves => rotate_halves(head, &rotation, Numerics::KERNEL),
            }
        }
    }
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let rows = [tokens, token_pitch];
    let got = of_bf16(&machine.download(arguments.x, 2 * tokens * token_pitch)?);
    compare("x", &rows).equal(&got, &x)?;
    let got = of_u32(&machine.download(arguments.error, 4)?);
    compare("error", &[1]).equal(&[got[0] as f32], &[error as f32])?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Rope::any(&spec)], case: case.clone(), worst: 0.0 })
}
