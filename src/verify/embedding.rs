//! Cases of the family `embedding`: every bit is that of the reference, also of tokens that do not exist.

use super::bytes::{of_bf16, of_u32, u32_bytes};
use super::compare::Comparison;
use super::quant::upload_values;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::num::round_to_bf16;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::embedding::{Embedding, EmbeddingArguments, EmbeddingSpec};
use rorqual_kernels::{Registered, ValueFormat, device_error, generate};

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (vocab, hidden, tokens) = (random.size(60).max(1), random.size(400).max(1), random.size(40));
    let table = random.pick(&[ValueFormat::Bf16, ValueFormat::F32]);
    let spec = EmbeddingSpec { vocab: vocab as u32, hidden: hidden as u32, table };
    let bad = random.one_in(3);
    let case = format!("{spec:?}, {tokens} tokens, bad tokens: {bad}");
    let kernel = generate::<Embedding>(&spec, machine.target())?;
    let (table, table_f32, values) = upload_values(random, machine, spec.table, vocab * hidden)?;
    let id = |random: &mut Random| match random.below(16) {
        0 if bad => u32::MAX,
        1 if bad => vocab as u32,
        _ => random.below(vocab) as u32,
    };
    let ids: Vec<u32> = (0..tokens).map(|_| id(random)).collect();
    let arguments = EmbeddingArguments {
        ids: machine.upload(&u32_bytes(&ids))?,
        table,
        table_f32,
        out: machine.upload(&vec![0xa5; 2 * tokens * hidden])?,
        error: machine.upload(&u32_bytes(&[0x100]))?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let row = |id: &u32| match values.chunks(hidden).nth(*id as usize) {
        Some(row) => row.iter().map(|value| round_to_bf16(*value)).collect(),
        None => vec![0.0; hidden],
    };
    let expected: Vec<f32> = ids.iter().flat_map(row).collect();
    let got = of_bf16(&machine.download(arguments.out, 2 * tokens * hidden)?);
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let expected_error =
        if ids.iter().any(|id| *id as usize >= vocab) { device_error::TOKEN } else { 0 } | 0x100;
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let shape = [tokens, hidden];
    compare("out", &shape).equal(&got, &expected)?;
    compare("error", &[1]).equal(&[error as f32], &[expected_error as f32])?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Embedding::any(&spec)], case: case.clone(), worst: 0.0 })
}
