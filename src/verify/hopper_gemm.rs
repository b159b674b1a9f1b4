//! Cases of the families `hopper_gemm_fp8` and `hopper_gemm_bf16`: those of the portable products where rows are aligned,
//! with tiles, rows that name their groups, bias, and results that are added to what was there.

use super::bytes::{bf16_bytes, f32_bytes, of_u32, u32_bytes};
use super::gemm::{Case, POISON, Product, Sizes, codes, download_d, errors, spread};
use super::random::{Random, Style};
use super::tensor_core::{OF_16_BITS, OF_E4M3_IN_WARPGROUPS, promoted_error, sum_error};
use super::{Failure, Machine, Passed};
use crate::model::weights::Matrix;
use crate::num::{E4m3, round_to_bf16};
use crate::reference::Numerics;
use crate::reference::linear::{Output as Rounding, linear, linear_quantized};
use crate::reference::quantize::Quantized;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{
    Format, Groups, HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments,
    HopperGemmSpec, Multicast, Tile,
};
use rorqual_kernels::gemm::{Order, Output};
use rorqual_kernels::quant::ScaleLayout;
use rorqual_kernels::{Registered, device_error, generate};

/// About as many rows as a group has whose operands are swapped.
const FEW_ROWS: usize = 40;
/// Tiles of a case with many rows, at least.
const FEWEST_TILES: u32 = 4;

/// Blocks of K of most cases, at least: with fewer, a stage is hardly used again, and nothing tells its barriers apart.
const FEWEST_BLOCKS: u32 = 3;

/// A case, of which one in eight has any size.
pub(super) fn draw_case(random: &mut Random, format: Format, sizes: &Sizes) -> Case {
    let is_any = random.one_in(8);
    loop {
        let case = Case::draw(random, format == Format::Fp8, sizes);
        let blocks = (case.spec.k * format.bytes()).div_ceil(128);
        if is_any || (blocks >= FEWEST_BLOCKS && case.spec.n > 16) {
            return case;
        }
    }
}

/// What is not in a portable case.
struct Hopper {
    spec: HopperGemmSpec,
    bias: Vec<f32>,
    /// D before the launch.
    before: Vec<f32>,
    before_bytes: Vec<u8>,
}

/// What the products of a case become on Hopper.
fn draw_spec(random: &mut Random, format: Format, case: &Case) -> HopperGemmSpec {
    let mut grouping = Groups::from(case.spec.grouping);
    if let Groups::Prefix { groups } = grouping
        && random.one_in(2)
    {
        grouping = Groups::Indexed { groups };
    }
    let a_scales = match format {
        Format::Fp8 => Some(random.pick(&[ScaleLayout::RowMajor, ScaleLayout::ColumnMajor])),
        Format::Bf16 => None,
    };
    HopperGemmSpec {
        n: case.spec.n,
        k: case.spec.k,
        output: case.spec.output,
        grouping,
        b_order: case.spec.b_order,
        a_pitch: case.spec.a_pitch,
        b_pitch: case.spec.b_pitch,
        d_pitch: case.spec.d_pitch,
        a_scales,
        accumulate: random.one_in(4),
        bias: random.one_in(4),
        tile: draw_tile(random, format, case, grouping),
    }
}

impl Hopper {
    /// Rows, bias and what D holds, for a specialisation.
    fn draw(random: &mut Random, spec: HopperGemmSpec, case: &mut Case, sizes: &Sizes) -> Self {
        case.redraw(random, sizes);
        if let Groups::Indexed { .. } = spec.grouping {
            index_rows(random, case);
        }
        // Tensor copies read rows behind the last group too.
        case.present = case.present.max(case.rows);
        let bias = if spec.bias { random.f32s(spec.n as usize, Style::Normal) } else { vec![] };
        let elements = case.sizes()[2];
        let bytes = if spec.output == Output::F32 { 4 } else { 2 };
        let (before, before_bytes) = if spec.accumulate {
            let before = random.bf16s(elements, Style::Normal);
            let bytes = if bytes == 2 { bf16_bytes(&before) } else { f32_bytes(&before) };
            (before, bytes)
        } else {
            (vec![0.0; elements], vec![POISON; bytes * elements])
        };
        Self { spec, bias, before, before_bytes }
    }

    /// Sums and their tolerances with bias and what D held.
    fn finish(&self, product: &Product, mut sums: Vec<f32>, mut errors: Vec<f64>) -> (Vec<f32>, Vec<f64>) {
        let (n, pitch) = (self.spec.n as usize, self.spec.d_pitch as usize);
        for (at, (sum, error)) in sums.iter_mut().zip(&mut errors).enumerate() {
            let (row, column) = (at / n, at % n);
            let mut add = |value: f32| {
                *error += f64::from(f32::EPSILON) * f64::from(sum.abs() + value.abs());
                *sum += value;
            };
            if self.spec.bias {
                add(self.bias[column]);
            }
            if self.spec.accumulate {
                add(self.before[product.d + row * pitch + column]);
            }
            if self.spec.output == Output::Bf16 {
                *sum = round_to_bf16(*sum);
            }
        }
        (sums, errors)
    }

    /// Addresses of D in bf16 and in f32, of which one is used.
    fn upload_d(&self, machine: &mut dyn Machine) -> Result<[u64; 2], Failure> {
        let (bf16, f32): (&[u8], &[u8]) = match self.spec.output {
            Output::Bf16 => (&self.before_bytes, &[]),
            Output::F32 => (&[], &self.before_bytes),
        };
        Ok([machine.upload(bf16)?, machine.upload(f32)?])
    }
}

/// Sizes with so many rows that a CTA which is alone goes round its rings of stages and tiles more than twice.
pub(super) fn many_tiles(format: Format, case: &Case, tile: Tile, sizes: &Sizes) -> Sizes {
    let blocks = (case.spec.k * format.bytes()).div_ceil(128);
    let unit_rows = if tile.multicast == Multicast::B { 2 * tile.m } else { tile.m };
    // Half as many may be drawn.
    let tiles = 2 * (2 * tile.stages / blocks + 1).max(FEWEST_TILES);
    let rows = tiles.div_ceil(case.spec.n.div_ceil(tile.n)) * unit_rows;
    Sizes { rows: sizes.rows.max(rows as usize / case.weights), ..*sizes }
}

/// Turns a case of offsets into one in which each row names its group: mostly in runs, some rows without a group.
pub(super) fn index_rows(random: &mut Random, case: &mut Case) {
    let groups = case.weights;
    case.present = case.rows;
    case.error = 0;
    let mut index = Vec::with_capacity(case.rows);
    while index.len() < case.rows {
        let (length, group) = (1 + random.below(3 * FEW_ROWS), random.below(groups + 1));
        let name = match group {
            group if group < groups => group as u32,
            _ if random.one_in(4) => {
                case.error = device_error::GROUPS;
                groups as u32 + random.below(9) as u32
            }
            _ => u32::MAX,
        };
        index.resize((index.len() + length).min(case.rows), name);
    }
    let b_rows = if case.spec.b_order == Order::OutputMajor { case.spec.n } else { case.spec.k };
    let weight_size = b_rows as usize * case.spec.b_pitch as usize;
    let mut products: Vec<Product> = Vec::new();
    for (row, &group) in index.iter().enumerate() {
        match products.last_mut() {
            Some(last) if last.row + last.rows == row && last.weight == group as usize => last.rows += 1,
            _ if (group as usize) < groups => {
                products.push(case.group(row, 1, group as usize, weight_size));
            }
            _ => {}
        }
    }
    case.groups = index;
    case.products = products;
}

pub(super) fn draw_tile(random: &mut Random, format: Format, case: &Case, grouping: Groups) -> Tile {
    let is_spanned = case.spec.b_order == Order::InputMajor;
    loop {
        let m = random.pick(&[64, 128, 128, 256]);
        let most = Tile::most_columns(m, format) as usize;
        let n = 8 * (1 + random.below(most / 8)) as u32;
        let n = if random.one_in(2) || is_spanned { n.next_multiple_of(64) } else { n };
        let multicast = random.pick(&[Multicast::None, Multicast::A, Multicast::B]);
        let multicast = if grouping == Groups::Dense { multicast } else { Multicast::None };
        let tile = Tile { m, n, stages: 2 + random.below(4) as u32, multicast };
        let shares_spans = is_spanned && multicast == Multicast::B;
        if tile.check(format, case.spec.output).is_ok() && !shares_spans {
            return tile;
        }
    }
}

/// Draws a case of `hopper_gemm_bf16` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_bf16(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let sizes = Sizes { n: 400, n_unit: 1, k: 400, rows: 400, units: [8; 3], few_rows: Some(FEW_ROWS) };
    let mut case = draw_case(random, Format::Bf16, &sizes);
    let spec = draw_spec(random, Format::Bf16, &case);
    let kernel = generate::<HopperBf16Gemm>(&spec, machine.target())?;
    let sizes = many_tiles(Format::Bf16, &case, spec.tile, &sizes);
    let hopper = Hopper::draw(random, spec, &mut case, &sizes);
    let style = random.style();
    let [a_size, b_size, d_size] = case.sizes();
    // A row of the weight with an infinity or NaN spoils a whole column of D: only A has them.
    let b_style = if style == Style::Special { Style::Normal } else { style };
    let (a, b) = (random.bf16s(a_size, style), random.bf16s(b_size, b_style));
    let d = hopper.upload_d(machine)?;
    let (a_address, b_address) = (machine.upload(&bf16_bytes(&a))?, machine.upload(&bf16_bytes(&b))?);
    let rows = case.rows as u32;
    let [a_map, a_few] = hopper.spec.a_maps(a_address, rows);
    let [b_map, b_few] = hopper.spec.b_maps(b_address);
    let arguments = HopperBf16GemmArguments {
        a: a_map,
        a_few,
        b: b_map,
        b_few,
        bias: machine.upload(&f32_bytes(&hopper.bias))?,
        d: d[0],
        d_f32: d[1],
        groups: machine.upload(&u32_bytes(&case.groups))?,
        error: machine.upload(&u32_bytes(&[0]))?,
        rows,
    };
    machine.run(&kernel, &arguments.pack())?;

    let (n, k) = (case.spec.n as usize, case.spec.k as usize);
    let expect = |product: &Product| {
        let (a, b) = (case.a_of(product, &a), case.b_of(product, &b));
        let sums = linear(&a, &Matrix::from_f32(n, k, &b), Rounding::F32, Numerics::KERNEL);
        hopper.finish(product, sums, errors(&a, &b, k, |_, _, a, b| sum_error(a, b, OF_16_BITS)))
    };
    let expected: Vec<_> = case.products.iter().map(expect).collect();
    let got = download_d(machine, case.spec.output, d, d_size)?;
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let spec = HopperBf16Gemm::any(&hopper.spec);
    case.compare(&kernel, spec, style, [&hopper.before_bytes, &got], &expected, error)
}

/// Draws a case of `hopper_gemm_fp8` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_fp8(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let sizes = Sizes { n: 400, n_unit: 1, k: 700, rows: 400, units: [16, 16, 8], few_rows: Some(FEW_ROWS) };
    let mut case = draw_case(random, Format::Fp8, &sizes);
    let spec = draw_spec(random, Format::Fp8, &case);
    let kernel = generate::<HopperFp8Gemm>(&spec, machine.target())?;
    let sizes = many_tiles(Format::Fp8, &case, spec.tile, &sizes);
    let hopper = Hopper::draw(random, spec, &mut case, &sizes);
    let style = random.style();
    let [a_size, b_size, d_size] = case.sizes();
    let (n, k) = (case.spec.n as usize, case.spec.k as usize);
    let a = codes(random, case.present, k, style, false);
    let b_style = if style == Style::Special { Style::Normal } else { style };
    let b: Vec<Quantized> = (0..case.weights).map(|_| codes(random, n, k, b_style, true)).collect();
    let b_codes: Vec<u8> = b.iter().flat_map(|b| &b.codes).copied().collect();
    let b_scales: Vec<f32> = b.iter().flat_map(|b| &b.scales).copied().collect();
    let blocks = k.div_ceil(128);
    let scale_pitch = case.present + random.below(5);
    let a_scales = match hopper.spec.a_scales {
        Some(ScaleLayout::ColumnMajor) => columns_of(&a.scales, blocks, scale_pitch),
        _ => a.scales.clone(),
    };
    let d = hopper.upload_d(machine)?;
    let a_address = machine.upload(&spread(&a.codes, k, case.spec.a_pitch as usize, a_size))?;
    let b_address = machine.upload(&spread(&b_codes, k, case.spec.b_pitch as usize, b_size))?;
    let rows = case.rows as u32;
    let [a_map, a_few] = hopper.spec.a_maps(a_address, rows);
    let [b_map, b_few] = hopper.spec.b_maps(b_address);
    let arguments = HopperFp8GemmArguments {
        a: a_map,
        a_few,
        b: b_map,
        b_few,
        a_scales: machine.upload(&f32_bytes(&a_scales))?,
        a_scale_pitch: scale_pitch as u32,
        b_scales: machine.upload(&f32_bytes(&b_scales))?,
        bias: machine.upload(&f32_bytes(&hopper.bias))?,
        d: d[0],
        d_f32: d[1],
        groups: machine.upload(&u32_bytes(&case.groups))?,
        error: machine.upload(&u32_bytes(&[0]))?,
        rows,
    };
    machine.run(&kernel, &arguments.pack())?;

    let decoded =
        |codes: &[u8]| -> Vec<f32> { codes.iter().map(|code| E4m3::from_bits(*code).to_f32()).collect() };
    let expect = |product: &Product| {
        let (first, last) = (product.row, product.row + product.rows);
        let a = Quantized {
            codes: a.codes[first * k..last * k].to_vec(),
            scales: a.scales[first * blocks..last * blocks].to_vec(),
        };
        let b = &b[product.weight];
        let sums = linear_quantized(&a, &Matrix::from_e4m3(n, k, &b.codes, &b.scales));
        let errors = errors(&decoded(&a.codes), &decoded(&b.codes), k, |i, j, a_row, b_row| {
            let scale = |block| a.scales[i * blocks + block] * b.scales[j / 128 * blocks + block];
            promoted_error(a_row, b_row, (0..blocks).map(scale), OF_E4M3_IN_WARPGROUPS)
        });
        hopper.finish(product, sums, errors)
    };
    let expected: Vec<_> = case.products.iter().map(expect).collect();
    let got = download_d(machine, case.spec.output, d, d_size)?;
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let spec = HopperFp8Gemm::any(&hopper.spec);
    case.compare(&kernel, spec, style, [&hopper.before_bytes, &got], &expected, error)
}

/// Scales `[rows, blocks]` as `[blocks, pitch]`, gaps NaN.
pub(super) fn columns_of(scales: &[f32], blocks: usize, pitch: usize) -> Vec<f32> {
    let mut columns = vec![f32::NAN; blocks * pitch];
    for (at, scale) in scales.iter().enumerate() {
        columns[at % blocks * pitch + at / blocks] = *scale;
    }
    columns
}
