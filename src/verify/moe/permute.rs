//! Cases of the family `moe_permute`: bytes are equal to those of the gathered rows.

use super::layout;
use crate::verify::bytes::{of_u32, u32_bytes};
use crate::verify::compare::Comparison;
use crate::verify::random::Random;
use crate::verify::{Failure, Machine, Passed};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::moe::permute::{Permute, PermuteArguments, PermuteSpec, RowFormat};
use rorqual_kernels::{Registered, device_error, generate};

const POISON: u8 = 0xa5;

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (hidden, topk, tokens) = (random.size(400).max(1), 1 + random.below(9), random.size(30));
    let format = random.pick(&[RowFormat::Bf16, RowFormat::Fp8]);
    let spec = PermuteSpec { hidden: hidden as u32, topk: topk as u32, format };
    let (bad_experts, bad_slots) = (random.one_in(3), random.one_in(4));
    let case = format!("{spec:?}, {tokens} tokens, bad experts: {bad_experts}, bad slots: {bad_slots}");
    let kernel = generate::<Permute>(&spec, machine.target())?;
    let rows = tokens * topk;
    let topk_idx = layout::random_experts(random, rows, 40, bad_experts);
    let mut slot_of_row = layout::expected(&topk_idx, 40).slot_of_row;
    if bad_slots && rows > 0 {
        slot_of_row[random.below(rows)] = random.pick(&[rows as u32, u32::MAX - 1]);
    }
    let blocks = hidden.div_ceil(128);
    let mut bytes = |count: usize| (0..count).map(|_| random.bits() as u8).collect::<Vec<u8>>();
    let (x, codes, scales) = (bytes(2 * tokens * hidden), bytes(tokens * hidden), bytes(4 * tokens * blocks));
    let arguments = PermuteArguments {
        x: machine.upload(&x)?,
        codes: machine.upload(&codes)?,
        scales: machine.upload(&scales)?,
        slot_of_row: machine.upload(&u32_bytes(&slot_of_row))?,
        out: machine.upload(&vec![POISON; 2 * rows * hidden])?,
        out_codes: machine.upload(&vec![POISON; rows * hidden])?,
        out_scales: machine.upload(&vec![POISON; 4 * rows * blocks])?,
        error: machine.upload(&u32_bytes(&[0]))?,
        tokens: tokens as u32,
        rows: rows as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let kernel = kernel.contract.kernel;
    let mut check = |tensor, address, source: &[u8], row_bytes: usize, moved: bool| -> Result<(), Failure> {
        let row = |slot: &u32| match source.chunks(row_bytes).nth(*slot as usize / topk) {
            Some(row) if moved => row.to_vec(),
            _ => vec![POISON; row_bytes],
        };
        let expected: Vec<f32> = slot_of_row.iter().flat_map(row).map(f32::from).collect();
        let got = machine.download(address, rows * row_bytes)?;
        let got: Vec<f32> = got.into_iter().map(f32::from).collect();
        let shape = &[rows, row_bytes];
        Ok(Comparison { kernel: &kernel, case: &case, tensor, shape }.equal(&got, &expected)?)
    };
    let fp8 = format == RowFormat::Fp8;
    check("bytes of out", arguments.out, &x, 2 * hidden, !fp8)?;
    check("out_codes", arguments.out_codes, &codes, hidden, fp8)?;
    check("bytes of out_scales", arguments.out_scales, &scales, 4 * blocks, fp8)?;
    let wrong = slot_of_row.iter().any(|slot| *slot as usize >= rows && *slot != u32::MAX);
    let error = of_u32(&machine.download(arguments.error, 4)?);
    let comparison = Comparison { kernel: &kernel, case: &case, tensor: "error", shape: &[1] };
    layout::equal(&comparison, &error, &[if wrong { device_error::SLOT } else { 0 }])?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Permute::any(&spec)], case: case.clone(), worst: 0.0 })
}
