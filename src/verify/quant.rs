//! Cases of the families `quantize_1x128`, `quantize_128x128` and `dequantize_128x128`: every bit is that of the
//! reference.

use super::bytes::{bf16_bytes, f32_bytes, of_bf16, of_f32};
use super::compare::Comparison;
use super::quantized::{self, reference_format};
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::num::{E4m3, round_to_bf16};
use crate::reference::quantize::{Quantized, quantize_1x128, quantize_128x128};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::quant::{
    Dequantize128x128, Dequantize128x128Arguments, Dequantize128x128Spec, Quantize1x128,
    Quantize1x128Arguments, Quantize1x128Spec, Quantize128x128, Quantize128x128Arguments,
    Quantize128x128Spec, ScaleLayout,
};
use rorqual_kernels::{Registered, ScaleFormat, ValueFormat, generate};

const FORMATS: [ScaleFormat; 2] = [ScaleFormat::F32, ScaleFormat::PowerOfTwo];
const INPUTS: [ValueFormat; 2] = [ValueFormat::Bf16, ValueFormat::F32];
/// What memory holds that a kernel has not written.
const POISON: u8 = 0xa5;

/// Values of a format on the device: the addresses as bf16 and as f32, of which one is used, and the values.
pub(super) fn upload_values(
    random: &mut Random,
    machine: &mut dyn Machine,
    format: ValueFormat,
    count: usize,
) -> Result<(u64, u64, Vec<f32>), Failure> {
    let style = random.style();
    Ok(match format {
        ValueFormat::Bf16 => {
            let values = random.bf16s(count, style);
            (machine.upload(&bf16_bytes(&values))?, 0, values)
        }
        ValueFormat::F32 => {
            let values = random.f32s(count, style);
            (0, machine.upload(&f32_bytes(&values))?, values)
        }
    })
}

/// Draws a case of `quantize_1x128` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_1x128(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let k = random.size(600).max(1);
    let pitch = k + if random.one_in(3) { random.below(70) } else { 0 };
    let spec = Quantize1x128Spec {
        k: k as u32,
        x_pitch: pitch as u32,
        input: random.pick(&INPUTS),
        scale: random.pick(&FORMATS),
        scale_layout: random.pick(&[ScaleLayout::RowMajor, ScaleLayout::ColumnMajor]),
    };
    let tokens = random.size(40);
    let scale_pitch = tokens.next_multiple_of(4) + 4 * random.below(3);
    let case = format!("{spec:?}, {tokens} tokens, scale pitch {scale_pitch}");
    let kernel = generate::<Quantize1x128>(&spec, machine.target())?;
    let (x, x_f32, values) = upload_values(random, machine, spec.input, tokens * pitch)?;
    let values: Vec<f32> = values.chunks(pitch).flat_map(|row| &row[..k]).copied().collect();
    let blocks = k.div_ceil(128);
    let column_major = spec.scale_layout == ScaleLayout::ColumnMajor;
    let stored_scales = blocks * if column_major { scale_pitch } else { tokens };
    let arguments = Quantize1x128Arguments {
        x,
        x_f32,
        codes: machine.upload(&vec![POISON; tokens * k])?,
        scales: machine.upload(&vec![POISON; 4 * stored_scales])?,
        tokens: tokens as u32,
        scale_pitch: scale_pitch as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let codes = machine.download(arguments.codes, tokens * k)?;
    let mut scales = of_f32(&machine.download(arguments.scales, 4 * stored_scales)?);
    if column_major {
        let poison = f32::from_le_bytes([POISON; 4]);
        let padding: Vec<f32> =
            scales.chunks(scale_pitch.max(1)).flat_map(|column| &column[tokens..]).copied().collect();
        let shape = &[padding.len()];
        let comparison = Comparison { kernel: &kernel, case: &case, tensor: "padding of scales", shape };
        comparison.equal(&padding, &vec![poison; padding.len()])?;
        let of = |at: usize| scales[at % blocks * scale_pitch + at / blocks];
        scales = (0..tokens * blocks).map(of).collect();
    }
    let expected = quantize_1x128(&values, k, reference_format(spec.scale));
    let got = Quantized { codes, scales };
    let shapes = ([tokens, k], [tokens, blocks]);
    let worst = quantized::compare(&compare, (&shapes.0, &shapes.1), &expected, &got, &values, |_| 0.0)?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Quantize1x128::any(&spec)], case: case.clone(), worst })
}

/// Draws a case of `quantize_128x128` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_128x128(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (n, k) = (random.size(200).max(1), random.size(300).max(1));
    let (input, scale) = (random.pick(&INPUTS), random.pick(&FORMATS));
    let spec = Quantize128x128Spec { n: n as u32, k: k as u32, input, scale };
    let case = format!("{spec:?}");
    let kernel = generate::<Quantize128x128>(&spec, machine.target())?;
    let (weight, weight_f32, values) = upload_values(random, machine, spec.input, n * k)?;
    let (block_rows, block_columns) = (n.div_ceil(128), k.div_ceil(128));
    let arguments = Quantize128x128Arguments {
        weight,
        weight_f32,
        codes: machine.upload(&vec![POISON; n * k])?,
        scales: machine.upload(&vec![POISON; 4 * block_rows * block_columns])?,
    };
    machine.run(&kernel, &arguments.pack())?;

    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let expected = quantize_128x128(&values, n, k, reference_format(spec.scale));
    let codes = machine.download(arguments.codes, n * k)?;
    let scales = of_f32(&machine.download(arguments.scales, 4 * block_rows * block_columns)?);
    let (shape, scale_shape) = ([n, k], [block_rows, block_columns]);
    compare("scales", &scale_shape).equal(&scales, &expected.scales)?;
    let values_of =
        |codes: &[u8]| codes.iter().map(|code| E4m3::from_bits(*code).to_f32()).collect::<Vec<f32>>();
    compare("codes", &shape).equal(&values_of(&codes), &values_of(&expected.codes))?;
    Ok(Passed {
        kernel: kernel.clone(),
        specs: vec![Quantize128x128::any(&spec)],
        case: case.clone(),
        worst: 0.0,
    })
}

/// Draws a case of `dequantize_128x128` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_dequantize(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (n, k) = (random.size(200).max(1), random.size(300).max(1));
    let spec = Dequantize128x128Spec { n: n as u32, k: k as u32 };
    let case = format!("{spec:?}");
    let kernel = generate::<Dequantize128x128>(&spec, machine.target())?;
    // All codes occur, NaN too.
    let codes: Vec<u8> = (0..n * k).map(|_| random.bits() as u8).collect();
    let columns = k.div_ceil(128);
    let style = random.style();
    let scales = random.f32s(n.div_ceil(128) * columns, style);
    let arguments = Dequantize128x128Arguments {
        codes: machine.upload(&codes)?,
        scales: machine.upload(&f32_bytes(&scales))?,
        weight: machine.upload(&vec![POISON; 2 * n * k])?,
    };
    machine.run(&kernel, &arguments.pack())?;

    let value = |(at, code): (usize, &u8)| {
        let scale = scales[at / k / 128 * columns + at % k / 128];
        round_to_bf16(E4m3::from_bits(*code).to_f32() * scale)
    };
    let expected: Vec<f32> = codes.iter().enumerate().map(value).collect();
    let got = of_bf16(&machine.download(arguments.weight, 2 * n * k)?);
    let kernel = kernel.contract.kernel;
    Comparison { kernel: &kernel, case: &case, tensor: "weight", shape: &[n, k] }.equal(&got, &expected)?;
    Ok(Passed { kernel, specs: vec![Dequantize128x128::any(&spec)], case, worst: 0.0 })
}
