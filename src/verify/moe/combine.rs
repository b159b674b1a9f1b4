//! Cases of the family `moe_combine`: every bit is that of the reference.

use super::layout;
use crate::reference::Numerics;
use crate::reference::moe::combine;
use crate::reference::ops::add_residual;
use crate::verify::bytes::{bf16_bytes, f32_bytes, of_bf16, of_u32, u32_bytes};
use crate::verify::compare::Comparison;
use crate::verify::random::Random;
use crate::verify::{Failure, Machine, Passed};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::moe::combine::{Combine, CombineArguments, CombineSpec};
use rorqual_kernels::{Registered, device_error, generate};

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (hidden, topk, tokens) = (random.size(400).max(1), 1 + random.below(20), random.size(24));
    let spec = CombineSpec {
        hidden: hidden as u32,
        topk: topk as u32,
        shared: random.one_in(2),
        residual: random.one_in(2),
    };
    let (style, bad_experts, bad_rows) = (random.style(), random.one_in(3), random.one_in(4));
    let case =
        format!("{spec:?}, {tokens} tokens, {style:?}, bad experts: {bad_experts}, bad rows: {bad_rows}");
    let kernel = generate::<Combine>(&spec, machine.target())?;
    let slots = tokens * topk;
    let topk_idx = layout::random_experts(random, slots, 40, bad_experts);
    let layout = layout::expected(&topk_idx, 40);
    let rows = layout.offsets[40] as usize;
    let mut row_of_slot = layout.row_of_slot;
    if bad_rows && slots > 0 {
        row_of_slot[random.below(slots)] = random.pick(&[rows as u32, u32::MAX - 1]);
    }
    let expert_out = random.bf16s(rows * hidden, style);
    let weight = random.f32s(slots, style);
    let shared = random.bf16s(tokens * hidden, style);
    let mut stream = random.bf16s(tokens * hidden, style);
    let arguments = CombineArguments {
        expert_out: machine.upload(&bf16_bytes(&expert_out))?,
        row_of_slot: machine.upload(&u32_bytes(&row_of_slot))?,
        weight: machine.upload(&f32_bytes(&weight))?,
        shared: machine.upload(&bf16_bytes(&shared))?,
        out: machine.upload(&vec![0xa5; 2 * tokens * hidden])?,
        stream: machine.upload(&bf16_bytes(&stream))?,
        error: machine.upload(&u32_bytes(&[0]))?,
        rows: rows as u32,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    // The reference has no slots to leave out: one with weight 0 and a row of zeros adds nothing.
    let exists = |slot: usize| (row_of_slot[slot] as usize) < rows;
    let routed: Vec<f32> = (0..slots)
        .flat_map(|slot| match exists(slot) {
            true => expert_out[row_of_slot[slot] as usize * hidden..][..hidden].to_vec(),
            false => vec![0.0; hidden],
        })
        .collect();
    let weight: Vec<f32> = (0..slots).map(|slot| if exists(slot) { weight[slot] } else { 0.0 }).collect();
    let start = if spec.shared { shared } else { vec![0.0; tokens * hidden] };
    let combined = combine(&start, &routed, &weight, hidden, Numerics::KERNEL);
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let shape = [tokens, hidden];
    let poison = vec![f32::from_bits(0xa5a5_0000); tokens * hidden];
    let got = of_bf16(&machine.download(arguments.out, 2 * tokens * hidden)?);
    compare("out", &shape).equal(&got, if spec.residual { &poison } else { &combined })?;
    if spec.residual {
        add_residual(&mut stream, &combined, Numerics::KERNEL);
    }
    let got = of_bf16(&machine.download(arguments.stream, 2 * tokens * hidden)?);
    compare("stream", &shape).equal(&got, &stream)?;
    let wrong = row_of_slot.iter().any(|row| *row as usize >= rows && *row != u32::MAX);
    let error = of_u32(&machine.download(arguments.error, 4)?);
    layout::equal(&compare("error", &[1]), &error, &[if wrong { device_error::SLOT } else { 0 }])?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Combine::any(&spec)], case: case.clone(), worst: 0.0 })
}
