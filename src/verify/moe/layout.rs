//! Cases of the family `moe_layout`: everything is equal to a stable sort by expert.

use crate::verify::bytes::{of_u32, u32_bytes};
use crate::verify::compare::{Comparison, Mismatch};
use crate::verify::random::Random;
use crate::verify::{Failure, Machine, Passed};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::moe::layout::{Layout, LayoutArguments, LayoutSpec};
use rorqual_kernels::{Registered, device_error, generate};

/// Rows in expert order, by a plain loop.
pub(super) struct Expected {
    pub(super) offsets: Vec<u32>,
    pub(super) row_of_slot: Vec<u32>,
    pub(super) slot_of_row: Vec<u32>,
}

/// The layout of slots whose experts are `topk_idx`, of which those from `experts` on do not exist.
pub(super) fn expected(topk_idx: &[u32], experts: usize) -> Expected {
    let mut layout = Expected {
        offsets: vec![0],
        row_of_slot: vec![u32::MAX; topk_idx.len()],
        slot_of_row: vec![u32::MAX; topk_idx.len()],
    };
    let mut row = 0;
    for expert in 0..experts as u32 {
        for (slot, _) in topk_idx.iter().enumerate().filter(|(_, found)| **found == expert) {
            layout.row_of_slot[slot] = row;
            layout.slot_of_row[row as usize] = slot as u32;
            row += 1;
        }
        layout.offsets.push(row);
    }
    layout
}

/// Experts of `tokens` tokens, now and then one that does not exist; some experts get none.
pub(super) fn random_experts(random: &mut Random, slots: usize, experts: usize, bad: bool) -> Vec<u32> {
    let used = if random.one_in(3) { 1 + random.below(experts) } else { experts };
    let expert = |random: &mut Random| match random.below(16) {
        0 if bad => u32::MAX,
        1 if bad => experts as u32,
        _ => random.below(used) as u32,
    };
    (0..slots).map(|_| expert(random)).collect()
}

/// Compares integers exactly.
pub(super) fn equal(comparison: &Comparison<'_>, got: &[u32], expected: &[u32]) -> Result<(), Mismatch> {
    // The halves are exact in f32; `u32::MAX` differs from all rows in both.
    for shift in [0, 16] {
        let half = |values: &[u32]| {
            values.iter().map(|value| (value >> shift & 0xffff) as f32).collect::<Vec<f32>>()
        };
        comparison.equal(&half(got), &half(expected))?;
    }
    Ok(())
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let experts = random.size(70).max(1);
    let topk = 1 + random.below(experts.min(9));
    let (tokens, bad) = (random.size(150), random.one_in(3));
    let spec = LayoutSpec { experts: experts as u32, topk: topk as u32 };
    let case = format!("{spec:?}, {tokens} tokens, bad experts: {bad}");
    let kernel = generate::<Layout>(&spec, machine.target())?;
    let slots = tokens * topk;
    let topk_idx = random_experts(random, slots, experts, bad);
    let poison = |elements: usize| vec![0xa5; 4 * elements];
    let arguments = LayoutArguments {
        topk_idx: machine.upload(&u32_bytes(&topk_idx))?,
        counts: machine.upload(&poison(experts))?,
        offsets: machine.upload(&poison(experts + 1))?,
        row_of_slot: machine.upload(&poison(slots))?,
        slot_of_row: machine.upload(&poison(slots))?,
        error: machine.upload(&u32_bytes(&[0]))?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let kernel = kernel.contract.kernel;
    let expected = expected(&topk_idx, experts);
    let counts: Vec<u32> = expected.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let error =
        if topk_idx.iter().any(|found| *found as usize >= experts) { device_error::EXPERT } else { 0 };
    let mut check = |tensor, address, expected: &[u32], shape: &[usize]| -> Result<(), Failure> {
        let got = of_u32(&machine.download(address, 4 * expected.len())?);
        Ok(equal(&Comparison { kernel: &kernel, case: &case, tensor, shape }, &got, expected)?)
    };
    check("counts", arguments.counts, &counts, &[experts])?;
    check("offsets", arguments.offsets, &expected.offsets, &[experts + 1])?;
    check("row_of_slot", arguments.row_of_slot, &expected.row_of_slot, &[tokens, topk])?;
    check("slot_of_row", arguments.slot_of_row, &expected.slot_of_row, &[slots])?;
    check("error", arguments.error, &[error], &[1])?;
    Ok(Passed { kernel, specs: vec![Layout::any(&spec)], case, worst: 0.0 })
}
