//! Cases of the family `moe_swiglu`.
//!
//! The kernel's `1 + exp(-gate)` is off by less than 2^-21 relative, its reciprocal by 2^-23 more, and two products round;
//! the reference's exponential is off by 2^-23, and sum, quotient and product round. Together a value is off by 2^-20, with
//! a weight of its row, which rounds once more in each, by less than 2^-19; and by 2^-140 where it is denormal.

use crate::reference::ops::swiglu;
use crate::reference::quantize::Quantized;
use crate::verify::bytes::{bf16_bytes, of_bf16, of_f32, u32_bytes};
use crate::verify::compare::{Comparison, bf16_ulp};
use crate::verify::quantized;
use crate::verify::random::Random;
use crate::verify::{Failure, Machine, Passed};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::moe::swiglu::{Swiglu, SwigluArguments, SwigluSpec};
use rorqual_kernels::{Registered, ScaleFormat, generate};

/// How far off a value may be before it is rounded or quantised.
pub fn error(value: f32) -> f32 {
    value.abs() * 2.0_f32.powi(-19) + 2.0_f64.powi(-140) as f32
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (inter, capacity, style) = (random.size(400).max(1), random.size(30), random.style());
    let fp8 = [None, Some(ScaleFormat::F32), Some(ScaleFormat::PowerOfTwo)][random.below(3)];
    let spec = SwigluSpec {
        inter: inter as u32,
        clamp: random.one_in(3),
        device_rows: random.one_in(2),
        bf16: fp8.is_none() || random.one_in(3),
        fp8,
    };
    let count = if spec.device_rows { random.below(capacity + 3) } else { capacity };
    let rows = count.min(capacity);
    let limit = 1.5;
    let case = format!("{spec:?}, {count} of {capacity} rows, {style:?}");
    let kernel = generate::<Swiglu>(&spec, machine.target())?;
    let gate_up = random.bf16s(capacity * 2 * inter, style);
    let blocks = inter.div_ceil(128);
    let arguments = SwigluArguments {
        gate_up: machine.upload(&bf16_bytes(&gate_up))?,
        row_count: machine.upload(&u32_bytes(&[count as u32]))?,
        out: machine.upload(&vec![0xa5; 2 * capacity * inter])?,
        codes: machine.upload(&vec![0xa5; capacity * inter])?,
        scales: machine.upload(&vec![0xa5; 4 * capacity * blocks])?,
        rows: capacity as u32,
        limit,
    };
    machine.run(&kernel, &arguments.pack())?;

    let at_most = |value: f32, bound: f32| if value > bound { bound } else { value };
    let half = |second: usize| {
        let rows = gate_up.chunks(2 * inter).take(rows);
        rows.flat_map(move |row| row[second * inter..][..inter].to_vec()).collect::<Vec<f32>>()
    };
    let (mut gate, mut up) = (half(0), half(1));
    if spec.clamp {
        gate.iter_mut().for_each(|gate| *gate = at_most(*gate, limit));
        up.iter_mut().for_each(|up| *up = -at_most(-at_most(*up, limit), limit));
    }
    let expected = swiglu(&gate, &up);
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let untouched = |tensor, rest: &[f32], poison: f32| {
        let comparison = Comparison { kernel: &kernel, case: &case, tensor, shape: &[rest.len()] };
        comparison.equal(rest, &vec![poison; rest.len()])
    };
    let (shape, scale_shape) = ([rows, inter], [rows, blocks]);
    let mut worst = 0.0_f64;
    let mut out = of_bf16(&machine.download(arguments.out, 2 * capacity * inter)?);
    let mut codes = machine.download(arguments.codes, capacity * inter)?;
    let mut scales = of_f32(&machine.download(arguments.scales, 4 * capacity * blocks)?);
    let written = if spec.bf16 { rows * inter } else { 0 };
    let rest = out.split_off(written);
    untouched("out", &rest, f32::from_bits(0xa5a5_0000))?;
    if spec.bf16 {
        let rounded: Vec<f32> = expected.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect();
        worst = compare("out", &shape).within(&out, &rounded, |at| bf16_ulp(expected[at]))?;
    }
    let written = if fp8.is_some() { rows } else { 0 };
    let rest: Vec<f32> = codes.split_off(written * inter).into_iter().map(f32::from).collect();
    untouched("codes", &rest, f32::from(0xa5_u8))?;
    let rest = scales.split_off(written * blocks);
    untouched("scales", &rest, f32::from_bits(0xa5a5_a5a5))?;
    if let Some(format) = fp8 {
        let reference = quantized::expected(&expected, inter, format);
        if format == ScaleFormat::F32 {
            let tolerance = |at: usize| error(reference.scales[at]);
            worst =
                worst.max(compare("scales", &scale_shape).within(&scales, &reference.scales, tolerance)?);
        }
        let got = Quantized { codes, scales };
        worst = worst.max(quantized::compare(
            &compare,
            (&shape, &scale_shape),
            &reference,
            &got,
            &expected,
            error,
        )?);
    }
    Ok(Passed { kernel: kernel.clone(), specs: vec![Swiglu::any(&spec)], case: case.clone(), worst })
}
