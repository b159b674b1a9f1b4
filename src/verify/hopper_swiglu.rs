//! Cases of the family `hopper_gemm_fp8_swiglu`.
//!
//! Each runs the unfused pair too. Its product, `hopper_gemm_fp8`, is held against the reference; then the fused kernel
//! against the reference's activation and quantisation of gate and up as the product rounded them, and, where
//! `moe_swiglu` has that activation, against its codes and scales, bit for bit.

use super::bytes::{bf16_bytes, f32_bytes, of_bf16, of_f32, of_u32, u32_bytes};
use super::compare::Comparison;
use super::gemm::{Case, POISON, Product, Sizes, codes, errors, rows_of, spread};
use super::hopper_gemm::{columns_of, draw_case, draw_tile, index_rows, many_tiles};
use super::moe::swiglu::error;
use super::random::{Random, Style};
use super::tensor_core::{OF_E4M3_IN_WARPGROUPS, promoted_error};
use super::{Failure, Machine, Passed, quantized};
use crate::model::weights::Matrix;
use crate::num::{E4m3, round_to_bf16};
use crate::reference::linear::linear_quantized;
use crate::reference::ops::swiglu;
use crate::reference::quantize::Quantized;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{
    Format, Groups, HopperFp8Gemm, HopperFp8GemmArguments, HopperFp8Swiglu, HopperFp8SwigluArguments,
    HopperGemmSpec, HopperSwigluSpec, Multicast, Tile,
};
use rorqual_kernels::gemm::{Grouping, Output};
use rorqual_kernels::moe::swiglu::{Swiglu, SwigluArguments, SwigluSpec};
use rorqual_kernels::quant::ScaleLayout;
use rorqual_kernels::{Registered, ScaleFormat, generate};

/// Arguments of the activation.
const LIMIT: f32 = 1.5;
const ALPHA: f32 = 1.702;
const BETA: f32 = 1.0;

/// What a case multiplies.
struct Operands {
    a: Quantized,
    b: Vec<Quantized>,
    /// In device memory, where both kernels find them.
    a_address: u64,
    b_address: u64,
    a_scales: u64,
    a_scale_pitch: u32,
    b_scales: u64,
    groups: u64,
}

impl Operands {
    fn draw(
        random: &mut Random,
        machine: &mut dyn Machine,
        case: &Case,
        layout: ScaleLayout,
        style: Style,
    ) -> Result<Self, Failure> {
        let (n, k) = (case.spec.n as usize, case.spec.k as usize);
        let [a_size, b_size, _] = case.sizes();
        let a = codes(random, case.present, k, style, false);
        let b_style = if style == Style::Special { Style::Normal } else { style };
        let b: Vec<Quantized> = (0..case.weights).map(|_| codes(random, n, k, b_style, true)).collect();
        let b_codes: Vec<u8> = b.iter().flat_map(|b| &b.codes).copied().collect();
        let b_scales: Vec<f32> = b.iter().flat_map(|b| &b.scales).copied().collect();
        let pitch = case.present + random.below(5);
        let a_scales = match layout {
            ScaleLayout::RowMajor => a.scales.clone(),
            ScaleLayout::ColumnMajor => columns_of(&a.scales, k.div_ceil(128), pitch),
        };
        Ok(Self {
            a_address: machine.upload(&spread(&a.codes, k, case.spec.a_pitch as usize, a_size))?,
            b_address: machine.upload(&spread(&b_codes, k, case.spec.b_pitch as usize, b_size))?,
            a_scales: machine.upload(&f32_bytes(&a_scales))?,
            a_scale_pitch: pitch as u32,
            b_scales: machine.upload(&f32_bytes(&b_scales))?,
            groups: machine.upload(&u32_bytes(&case.groups))?,
            a,
            b,
        })
    }
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let sizes = Sizes { n: 600, n_unit: 256, k: 400, rows: 400, units: [16, 16, 8], few_rows: None };
    let mut case = draw_case(random, Format::Fp8, &sizes);
    case.spec.output = Output::Bf16;
    case.spec.d_pitch = case.spec.n;
    let mut grouping = Groups::from(case.spec.grouping);
    if let Grouping::Prefix { groups } = case.spec.grouping
        && random.one_in(2)
    {
        grouping = Groups::Indexed { groups };
    }
    let spec = draw_spec(random, &case, grouping);
    let tile = draw_tile(random, Format::Fp8, &case, grouping);
    let fused_tile = Tile { m: 128, n: 256, stages: spec.stages, multicast: Multicast::None };
    let sizes = many_tiles(Format::Fp8, &case, fused_tile, &sizes);
    case.redraw(random, &sizes);
    if let Groups::Indexed { .. } = grouping {
        index_rows(random, &mut case);
    }
    for product in &mut case.products {
        product.d = product.row * case.spec.n as usize;
    }
    // Tensor copies read rows behind the last group too.
    case.present = case.present.max(case.rows);
    let style = random.style();
    let operands = Operands::draw(random, machine, &case, spec.a_scales, style)?;
    let (gate_up, product) = run_product(machine, &case, (&spec, tile), &operands, style)?;
    let fused = Fused::run(random, machine, &case, &spec, &operands)?;
    let worst = fused.compare(&case, &gate_up, style)?;
    if !spec.shape && !spec.row_weights {
        fused.compare_with_pair(machine, &case, &gate_up)?;
    }
    Ok(Passed {
        kernel: fused.kernel,
        specs: vec![HopperFp8Swiglu::any(&spec)],
        case: product.case,
        worst: worst.max(product.worst),
    })
}

fn draw_spec(random: &mut Random, case: &Case, grouping: Groups) -> HopperSwigluSpec {
    let layouts = [ScaleLayout::RowMajor, ScaleLayout::ColumnMajor];
    let inter = case.spec.n / 2;
    HopperSwigluSpec {
        inter,
        k: case.spec.k,
        grouping,
        a_pitch: case.spec.a_pitch,
        b_pitch: case.spec.b_pitch,
        codes_pitch: inter + 16 * random.below(2) as u32,
        a_scales: random.pick(&layouts),
        scales: random.pick(&layouts),
        scale_format: random.pick(&[ScaleFormat::F32, ScaleFormat::PowerOfTwo]),
        clamp: random.one_in(3),
        shape: random.one_in(4),
        row_weights: random.one_in(4),
        stages: 2 + random.below(3) as u32,
    }
}

/// Gate and up as `hopper_gemm_fp8` computes them, `[present, 2 * inter]`, and how they compare with the reference.
fn run_product(
    machine: &mut dyn Machine,
    case: &Case,
    (fused, tile): (&HopperSwigluSpec, Tile),
    operands: &Operands,
    style: Style,
) -> Result<(Vec<f32>, Passed), Failure> {
    let (n, k) = (case.spec.n as usize, case.spec.k as usize);
    let spec = HopperGemmSpec {
        grouping: fused.grouping,
        a_pitch: fused.a_pitch,
        b_pitch: fused.b_pitch,
        a_scales: Some(fused.a_scales),
        ..HopperGemmSpec::new(Format::Fp8, case.spec.n, case.spec.k, tile)
    };
    let kernel = generate::<HopperFp8Gemm>(&spec, machine.target())?;
    let before = vec![POISON; 2 * case.sizes()[2]];
    let rows = case.rows as u32;
    let [a, a_few] = spec.a_maps(operands.a_address, rows);
    let [b, b_few] = spec.b_maps(operands.b_address);
    let arguments = HopperFp8GemmArguments {
        a,
        a_few,
        b,
        b_few,
        a_scales: operands.a_scales,
        a_scale_pitch: operands.a_scale_pitch,
        b_scales: operands.b_scales,
        bias: machine.upload(&[])?,
        d: machine.upload(&before)?,
        d_f32: machine.upload(&[])?,
        groups: operands.groups,
        error: machine.upload(&u32_bytes(&[0]))?,
        rows,
    };
    machine.run(&kernel, &arguments.pack())?;

    let blocks = k.div_ceil(128);
    let decoded =
        |codes: &[u8]| -> Vec<f32> { codes.iter().map(|code| E4m3::from_bits(*code).to_f32()).collect() };
    let expect = |product: &Product| {
        let (first, last) = (product.row, product.row + product.rows);
        let a = Quantized {
            codes: operands.a.codes[first * k..last * k].to_vec(),
            scales: operands.a.scales[first * blocks..last * blocks].to_vec(),
        };
        let b = &operands.b[product.weight];
        let sums = linear_quantized(&a, &Matrix::from_e4m3(n, k, &b.codes, &b.scales));
        let errors = errors(&decoded(&a.codes), &decoded(&b.codes), k, |i, j, a_row, b_row| {
            let scale = |block| a.scales[i * blocks + block] * b.scales[j / 128 * blocks + block];
            promoted_error(a_row, b_row, (0..blocks).map(scale), OF_E4M3_IN_WARPGROUPS)
        });
        (sums.into_iter().map(round_to_bf16).collect(), errors)
    };
    let expected: Vec<_> = case.products.iter().map(expect).collect();
    let got = machine.download(arguments.d, before.len())?;
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let spec = HopperFp8Gemm::any(&spec);
    let passed = case.compare(&kernel, spec, style, [&before, &got], &expected, error)?;
    Ok((of_bf16(&got), passed))
}

/// What the fused kernel wrote.
struct Fused<'a> {
    spec: &'a HopperSwigluSpec,
    kernel: String,
    codes: Vec<u8>,
    /// `[present, blocks]`, and what lies behind the last row of column-major ones.
    scales: Vec<f32>,
    gaps: Vec<f32>,
    error: u32,
    row_weights: Vec<f32>,
}

impl<'a> Fused<'a> {
    fn run(
        random: &mut Random,
        machine: &mut dyn Machine,
        case: &Case,
        spec: &'a HopperSwigluSpec,
        operands: &Operands,
    ) -> Result<Self, Failure> {
        let kernel = generate::<HopperFp8Swiglu>(spec, machine.target())?;
        let blocks = spec.inter as usize / 128;
        let pitch = case.present + random.below(5);
        let codes = match case.present {
            0 => 0,
            rows => (rows - 1) * spec.codes_pitch as usize + spec.inter as usize,
        };
        let is_column_major = spec.scales == ScaleLayout::ColumnMajor;
        let scales = blocks * if is_column_major { pitch } else { case.present };
        let row_weights = random.f32s(case.present, Style::Normal);
        let given = if spec.row_weights { &row_weights[..] } else { &[] };
        let rows = case.rows as u32;
        let arguments = HopperFp8SwigluArguments {
            a: spec.a_map(operands.a_address, rows),
            b: spec.b_map(operands.b_address),
            a_scales: operands.a_scales,
            a_scale_pitch: operands.a_scale_pitch,
            b_scales: operands.b_scales,
            row_weights: machine.upload(&f32_bytes(given))?,
            codes: machine.upload(&vec![POISON; codes])?,
            scales: machine.upload(&vec![POISON; 4 * scales])?,
            scale_pitch: pitch as u32,
            groups: operands.groups,
            error: machine.upload(&u32_bytes(&[0]))?,
            rows,
            limit: LIMIT,
            alpha: ALPHA,
            beta: BETA,
        };
        machine.run(&kernel, &arguments.pack())?;
        let written = of_f32(&machine.download(arguments.scales, 4 * scales)?);
        let (scales, gaps) = if is_column_major {
            let at = |row: usize| (0..blocks).map(move |block| block * pitch + row);
            let pick = |rows: std::ops::Range<usize>| rows.flat_map(at).map(|at| written[at]).collect();
            (pick(0..case.present), pick(case.present..pitch))
        } else {
            (written, vec![])
        };
        Ok(Self {
            spec,
            kernel: kernel.contract.kernel,
            codes: machine.download(arguments.codes, codes)?,
            scales,
            gaps,
            error: of_u32(&machine.download(arguments.error, 4)?)[0],
            row_weights,
        })
    }

    /// Codes and scales of the rows of a product.
    fn of(&self, product: &Product) -> Quantized {
        let HopperSwigluSpec { inter, codes_pitch, .. } = *self.spec;
        let (inter, pitch, blocks) = (inter as usize, codes_pitch as usize, inter as usize / 128);
        let first = (product.row * pitch).min(self.codes.len());
        Quantized {
            codes: rows_of(&self.codes[first..], product.rows, inter, pitch),
            scales: self.scales[product.row * blocks..][..product.rows * blocks].to_vec(),
        }
    }

    /// The activation of the rows of a product, as the reference has it.
    fn activated(&self, product: &Product, gate_up: &[f32]) -> Vec<f32> {
        let (spec, inter) = (self.spec, self.spec.inter as usize);
        let at_most = |value: f32, bound: f32| if value > bound { bound } else { value };
        let row = |row: usize| {
            let (gate, up) = gate_up[row * 2 * inter..][..2 * inter].split_at(inter);
            let (mut gate, mut up) = (gate.to_vec(), up.to_vec());
            if spec.clamp {
                gate.iter_mut().for_each(|gate| *gate = at_most(*gate, LIMIT));
                up.iter_mut().for_each(|up| *up = -at_most(-at_most(*up, LIMIT), LIMIT));
            }
            let mut values = if spec.shape {
                let shaped = |(gate, up): (&f32, &f32)| gate / (1.0 + (-(ALPHA * gate)).exp()) * (up + BETA);
                gate.iter().zip(&up).map(shaped).collect()
            } else {
                swiglu(&gate, &up)
            };
            if spec.row_weights {
                values.iter_mut().for_each(|value| *value *= self.row_weights[row]);
            }
            values
        };
        (product.row..product.row + product.rows).flat_map(row).collect()
    }

    /// Compares with the reference, and what no row has with what was there.
    fn compare(&self, case: &Case, gate_up: &[f32], style: Style) -> Result<f64, Failure> {
        let inter = self.spec.inter as usize;
        let text = format!("{} rows, {} products, {style:?} values", case.rows, case.products.len());
        let equal = |tensor, got: &[f32], expected: &[f32]| {
            let shape = [got.len()];
            Comparison { kernel: &self.kernel, case: &text, tensor, shape: &shape }.equal(got, expected)
        };
        equal("error", &[self.error as f32], &[case.error as f32])?;
        let mut worst = 0.0_f64;
        let mut codes: Vec<f32> = self.codes.iter().copied().map(f32::from).collect();
        let mut scales = [&self.scales[..], &self.gaps].concat();
        let poison = [f32::from(POISON), f32::from_bits(u32::from_ne_bytes([POISON; 4]))];
        for product in &case.products {
            let values = self.activated(product, gate_up);
            let expected = quantized::expected(&values, inter, self.spec.scale_format);
            let (shape, scale_shape) = ([product.rows, inter], [product.rows, inter / 128]);
            let shapes = (&shape[..], &scale_shape[..]);
            let compare = |tensor, shape| Comparison { kernel: &self.kernel, case: &text, tensor, shape };
            let got = self.of(product);
            worst = worst.max(quantized::compare(&compare, shapes, &expected, &got, &values, error)?);
            for row in product.row..product.row + product.rows {
                codes[row * self.spec.codes_pitch as usize..][..inter].fill(poison[0]);
                scales[row * inter / 128..][..inter / 128].fill(poison[1]);
            }
        }
        for (tensor, rest, poison) in
            [("codes of no row", codes, poison[0]), ("scales of no row", scales, poison[1])]
        {
            equal(tensor, &rest, &vec![poison; rest.len()])?;
        }
        Ok(worst)
    }

    /// Compares with what `moe_swiglu` makes of gate and up, bit for bit.
    fn compare_with_pair(
        &self,
        machine: &mut dyn Machine,
        case: &Case,
        gate_up: &[f32],
    ) -> Result<(), Failure> {
        let HopperSwigluSpec { inter, clamp, scale_format, .. } = *self.spec;
        let spec = SwigluSpec { inter, clamp, device_rows: false, bf16: false, fp8: Some(scale_format) };
        let kernel = generate::<Swiglu>(&spec, machine.target())?;
        let (columns, blocks) = (inter as usize, inter as usize / 128);
        let arguments = SwigluArguments {
            gate_up: machine.upload(&bf16_bytes(gate_up))?,
            row_count: machine.upload(&[])?,
            out: machine.upload(&[])?,
            codes: machine.upload(&vec![POISON; case.present * columns])?,
            scales: machine.upload(&vec![POISON; 4 * case.present * blocks])?,
            rows: case.present as u32,
            limit: LIMIT,
        };
        machine.run(&kernel, &arguments.pack())?;
        let codes = machine.download(arguments.codes, case.present * columns)?;
        let scales = of_f32(&machine.download(arguments.scales, 4 * case.present * blocks)?);
        for product in &case.products {
            let rows = product.row..product.row + product.rows;
            let pair = Quantized {
                codes: codes[rows.start * columns..rows.end * columns].to_vec(),
                scales: scales[rows.start * blocks..rows.end * blocks].to_vec(),
            };
            let got = self.of(product);
            let case = format!("the pair's bits, {rows:?}");
            let equal = |tensor, got: &[f32], expected: &[f32]| {
                let shape = [product.rows, got.len() / product.rows.max(1)];
                Comparison { kernel: &self.kernel, case: &case, tensor, shape: &shape }.equal(got, expected)
            };
            let bytes = |codes: &[u8]| codes.iter().copied().map(f32::from).collect::<Vec<_>>();
            equal("codes", &bytes(&got.codes), &bytes(&pair.codes))?;
            equal("scales", &got.scales, &pair.scales)?;
        }
        Ok(())
    }
}
