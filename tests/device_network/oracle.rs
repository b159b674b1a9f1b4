//! What a launch must leave in memory, by the reference's functions, from what it finds there.
//!
//! Tolerances are those of the families' own cases in `rorqual::verify`.

use rorqual::model::config::{Scoring as ReferenceScoring, TopkMethod};
use rorqual::model::weights::Matrix;
use rorqual::network::Launch;
use rorqual::num::{E4m3, bf16};
use rorqual::reference::Numerics;
use rorqual::reference::gate::{GateSpec as ReferenceGate, gate};
use rorqual::reference::linear::{Output as Rounding, linear, linear_quantized};
use rorqual::reference::mla::{HeadSpec, latent_attention, naive};
use rorqual::reference::moe::combine;
use rorqual::reference::ops::{add_residual, rms_norm, swiglu};
use rorqual::reference::quantize::Quantized;
use rorqual::reference::rope::rotate_pairs;
use rorqual::verify::attention::attend;
use rorqual::verify::compare::bf16_ulp;
use rorqual::verify::quantized;
use rorqual::verify::tensor_core::{
    OF_16_BITS, OF_E4M3_IN_WARPGROUPS, Step, f32_error, of_e4m3, promoted_error, sum_error,
};
use rorqual_kernels::Family;
use rorqual_kernels::attention::append::CacheAppend;
use rorqual_kernels::attention::combine::MlaCombine;
use rorqual_kernels::attention::decode::MlaDecode;
use rorqual_kernels::attention::gather::CacheGather;
use rorqual_kernels::attention::prefill::MlaPrefill;
use rorqual_kernels::copy::CopyRows;
use rorqual_kernels::embedding::Embedding;
use rorqual_kernels::gemm::hopper::{
    Groups, HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments, HopperGemmSpec,
};
use rorqual_kernels::gemm::router::{Router, RouterWeight};
use rorqual_kernels::gemm::{
    Bf16Gemm, Bf16GemmArguments, Fp8Gemm, Fp8GemmArguments, GemmSpec, Grouping, Order, Output,
};
use rorqual_kernels::moe::combine::Combine;
use rorqual_kernels::moe::gate::{Gate, GroupMethod, Scoring};
use rorqual_kernels::moe::layout::Layout;
use rorqual_kernels::moe::permute::{Permute, RowFormat};
use rorqual_kernels::moe::swiglu::Swiglu;
use rorqual_kernels::norm::RmsNorm;
use rorqual_kernels::quant::{Quantize1x128, ScaleLayout};
use rorqual_kernels::rope::Rope;
use rorqual_ptx::target::Target;

/// The type of elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Bf16,
    F32,
    E4m3,
    U32,
    /// bf16 in memory of bytes: the cache.
    Record,
}

/// What must be in memory.
#[derive(Debug)]
pub enum Expected {
    /// Rows of numbers.
    Rows(Rows),
    /// Codes and scales, in neighbouring rows.
    Fp8(Fp8),
}

/// Rows of `width` numbers, each at its address.
#[derive(Debug)]
pub struct Rows {
    pub tensor: &'static str,
    pub format: Format,
    pub addresses: Vec<u64>,
    pub width: usize,
    pub values: Vec<f32>,
    /// Of each number; 0 if it must be equal.
    pub tolerances: Vec<f32>,
}

/// `values` `[rows, width]`, quantised 1x128, of which each may have been off by `error` of itself before.
#[derive(Debug)]
pub struct Fp8 {
    pub codes: u64,
    pub scales: u64,
    pub width: usize,
    pub quantized: Quantized,
    pub values: Vec<f32>,
    pub error: fn(f32) -> f32,
}

/// The sums that a decode leaves for the combine after it.
#[derive(Debug)]
pub struct Latents {
    output: Vec<f32>,
    tolerances: Vec<f32>,
    lse: Vec<f32>,
    lse_tolerances: Vec<f32>,
}

/// What a launch must leave in memory. `latents` are carried from a decode to its combine, as the reference has
/// nothing between the two.
pub fn expect(launch: &Launch<'_>, target: Target, latents: &mut Option<Latents>) -> Vec<Expected> {
    match launch.family {
        Embedding::NAME => embedding(launch),
        RmsNorm::NAME => norm(launch),
        Quantize1x128::NAME => quantize(launch),
        Bf16Gemm::NAME => bf16_product(launch, &bf16_operands(launch)),
        HopperBf16Gemm::NAME => bf16_product(launch, &hopper_bf16_operands(launch)),
        Fp8Gemm::NAME => fp8_product(launch, &fp8_operands(launch), of_e4m3(target)),
        HopperFp8Gemm::NAME => fp8_product(launch, &hopper_fp8_operands(launch), OF_E4M3_IN_WARPGROUPS),
        Rope::NAME => rope(launch),
        CacheAppend::NAME => append(launch),
        CacheGather::NAME => gather(launch),
        MlaPrefill::NAME => prefill(launch),
        MlaDecode::NAME => {
            *latents = Some(decode(launch));
            vec![]
        }
        MlaCombine::NAME => merge(launch, latents.take().expect("a decode before the combine")),
        Router::NAME => router(launch),
        Gate::NAME => route(launch),
        Layout::NAME => layout(launch),
        Permute::NAME => permute(launch),
        Swiglu::NAME => activate(launch),
        Combine::NAME => combine_experts(launch),
        CopyRows::NAME => copy(launch),
        other => panic!("no oracle for {other}"),
    }
}

/// Specialisation and arguments of a launch.
fn of<'l, F: Family>(launch: &'l Launch<'_>) -> (&'l F::Spec, &'l F::Arguments) {
    let spec = launch.spec.downcast_ref().expect("the family's specialisation");
    (spec, launch.arguments.downcast_ref().expect("the family's arguments"))
}

/// Numbers in memory.
pub fn read(launch: &Launch<'_>, format: Format, address: u64, count: usize) -> Vec<f32> {
    if count == 0 {
        return vec![];
    }
    let read = match format {
        Format::Bf16 => launch.read::<bf16>(address, count).map(|values| floats(values, bf16::to_f32)),
        Format::F32 => launch.read::<f32>(address, count),
        Format::E4m3 => launch.read::<E4m3>(address, count).map(|values| floats(values, E4m3::to_f32)),
        Format::U32 => launch.read::<u32>(address, count).map(|values| floats(values, |value| value as f32)),
        Format::Record => launch.read::<u8>(address, 2 * count).map(|bytes| {
            let halves = bytes.map(|bytes| bytes.as_chunks().0.to_vec());
            floats(halves, |half| bf16::from_le_bytes(half).to_f32())
        }),
    };
    let read = read.unwrap_or_else(|error| panic!("{}: {error}", launch.family));
    read.unwrap_or_else(|| panic!("{}: {count} of {format:?} at {address:#x} are no tensor", launch.family))
}

fn floats<T>(values: Option<Vec<T>>, float: impl Fn(T) -> f32) -> Option<Vec<f32>> {
    values.map(|values| values.into_iter().map(float).collect())
}

fn integers(launch: &Launch<'_>, address: u64, count: usize) -> Vec<usize> {
    read(launch, Format::U32, address, count).into_iter().map(|value| value as usize).collect()
}

/// Rows of `width`, `pitch` apart.
fn rows(
    launch: &Launch<'_>,
    format: Format,
    address: u64,
    (count, width, pitch): (usize, usize, usize),
) -> Vec<f32> {
    let elements = if count == 0 { 0 } else { (count - 1) * pitch + width };
    let values = read(launch, format, address, elements);
    values.chunks(pitch.max(1)).flat_map(|row| &row[..width]).copied().collect()
}

/// A result without gaps between its rows.
fn result(tensor: &'static str, format: Format, address: u64, width: usize, values: Vec<f32>) -> Rows {
    let row_bytes = width * if matches!(format, Format::F32 | Format::U32) { 4 } else { 2 };
    let row_bytes = if format == Format::E4m3 { width } else { row_bytes };
    let count = values.len() / width.max(1);
    let addresses = (0..count).map(|row| address + (row * row_bytes) as u64).collect();
    let tolerances = vec![0.0; values.len()];
    Rows { tensor, format, addresses, width, values, tolerances }
}

fn exact(tensor: &'static str, format: Format, address: u64, width: usize, values: Vec<f32>) -> Expected {
    Expected::Rows(result(tensor, format, address, width, values))
}

fn embedding(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Embedding>(launch);
    let hidden = spec.hidden as usize;
    let row =
        |token: usize| read(launch, Format::Bf16, arguments.table + (2 * token * hidden) as u64, hidden);
    let values = integers(launch, arguments.ids, arguments.tokens as usize).into_iter().flat_map(row);
    vec![exact("out", Format::Bf16, arguments.out, hidden, values.collect())]
}

fn norm(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<RmsNorm>(launch);
    let (tokens, hidden) = (arguments.tokens as usize, spec.hidden as usize);
    let mut x = rows(launch, Format::Bf16, arguments.x, (tokens, hidden, spec.x_pitch as usize));
    let weight = read(launch, Format::F32, arguments.weight, hidden);
    let mut expected = vec![];
    if spec.residual {
        let mut stream = read(launch, Format::Bf16, arguments.residual, tokens * hidden);
        add_residual(&mut stream, &x, Numerics::KERNEL);
        x = stream;
        expected.push(exact("residual", Format::Bf16, arguments.residual, hidden, x.clone()));
    }
    let y = rms_norm(&x, &weight, arguments.epsilon, Numerics::KERNEL);
    if let Some(format) = spec.fp8 {
        let quantized = quantized::expected(&y, hidden, format);
        let (codes, scales, values) = (arguments.codes, arguments.scales, y.clone());
        expected.push(Expected::Fp8(Fp8 {
            codes,
            scales,
            width: hidden,
            quantized,
            values,
            error: bf16_ulp,
        }));
    }
    if spec.bf16 {
        let tolerances = y.iter().map(|y| bf16_ulp(*y)).collect();
        let y = result("y", Format::Bf16, arguments.y, hidden, y);
        expected.push(Expected::Rows(Rows { tolerances, ..y }));
    }
    expected
}

fn quantize(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Quantize1x128>(launch);
    let shape = (arguments.tokens as usize, spec.k as usize, spec.x_pitch as usize);
    let values = rows(launch, Format::Bf16, arguments.x, shape);
    let quantized = quantized::expected(&values, shape.1, spec.scale);
    let (codes, scales) = (arguments.codes, arguments.scales);
    vec![Expected::Fp8(Fp8 { codes, scales, width: shape.1, quantized, values, error: |_| 0.0 })]
}

/// What a launch multiplies, whichever family does it: addresses, and the rows that the kernel is told.
struct Operands {
    spec: GemmSpec,
    a: u64,
    a_scales: u64,
    b: u64,
    b_scales: u64,
    d: [u64; 2],
    groups: u64,
    rows: u32,
}

fn bf16_operands(launch: &Launch<'_>) -> Operands {
    let (spec, arguments) = of::<Bf16Gemm>(launch);
    let &Bf16GemmArguments { a, b, d, d_f32, groups, rows, .. } = arguments;
    Operands { spec: *spec, a, a_scales: 0, b, b_scales: 0, d: [d, d_f32], groups, rows }
}

fn fp8_operands(launch: &Launch<'_>) -> Operands {
    let (spec, arguments) = of::<Fp8Gemm>(launch);
    let &Fp8GemmArguments { a, a_scales, b, b_scales, d, d_f32, groups, rows, .. } = arguments;
    Operands { spec: *spec, a, a_scales, b, b_scales, d: [d, d_f32], groups, rows }
}

fn hopper_bf16_operands(launch: &Launch<'_>) -> Operands {
    let (hopper, arguments) = of::<HopperBf16Gemm>(launch);
    let (spec, [first_of_a, first_of_b]) = as_portable(hopper);
    let HopperBf16GemmArguments { a, b, d, d_f32, groups, rows, .. } = arguments;
    Operands {
        spec,
        a: a.address - 2 * u64::from(first_of_a),
        a_scales: 0,
        b: b.address - 2 * u64::from(first_of_b),
        b_scales: 0,
        d: [*d, *d_f32],
        groups: *groups,
        rows: *rows,
    }
}

fn hopper_fp8_operands(launch: &Launch<'_>) -> Operands {
    let (hopper, arguments) = of::<HopperFp8Gemm>(launch);
    let HopperFp8GemmArguments { a, a_scales, b, b_scales, d, d_f32, groups, rows, .. } = arguments;
    Operands {
        spec: as_portable(hopper).0,
        a: a.address,
        a_scales: *a_scales,
        b: b.address,
        b_scales: *b_scales,
        d: [*d, *d_f32],
        groups: *groups,
        rows: *rows,
    }
}

/// The portable product that one of Hopper stands for, and the elements of A and B at which its tensors start.
fn as_portable(hopper: &HopperGemmSpec) -> (GemmSpec, [u32; 2]) {
    let &HopperGemmSpec { n, k, output, b_order, a_pitch, b_pitch, d_pitch, .. } = hopper;
    assert!(!hopper.accumulate && !hopper.bias, "the network only multiplies");
    assert_ne!(hopper.a_scales, Some(ScaleLayout::ColumnMajor), "the network quantises row by row");
    let (grouping, firsts) = match hopper.grouping {
        Groups::Dense => (Grouping::Dense, [0; 2]),
        Groups::Prefix { groups } => (Grouping::Prefix { groups }, [0; 2]),
        Groups::Batched { batches, a, b, d } => (Grouping::Batched { batches, a, b, d }, [a.first, b.first]),
        other => panic!("the network has no product of {other:?}"),
    };
    (GemmSpec { n, k, output, grouping, b_order, a_pitch, b_pitch, d_pitch }, firsts)
}

/// A product of a launch: the first elements of A, B and D, rows of A, and the first of them by number.
struct Product {
    a: usize,
    b: usize,
    d: usize,
    rows: usize,
    row: usize,
    weight: usize,
}

fn products(launch: &Launch<'_>, operands: &Operands) -> Vec<Product> {
    let (spec, groups) = (&operands.spec, operands.groups);
    let (n, k, rows) = (spec.n as usize, spec.k as usize, operands.rows as usize);
    match spec.grouping {
        Grouping::Dense => vec![Product { a: 0, b: 0, d: 0, rows, row: 0, weight: 0 }],
        Grouping::Prefix { groups: count } => {
            let offsets = integers(launch, groups, count as usize + 1);
            let group = |(weight, ends): (usize, &[usize])| {
                let (a, d) = (ends[0] * spec.a_pitch as usize, ends[0] * spec.d_pitch as usize);
                Product { a, b: weight * n * k, d, rows: ends[1] - ends[0], row: ends[0], weight }
            };
            offsets.windows(2).enumerate().map(group).filter(|product| product.rows > 0).collect()
        }
        Grouping::Batched { batches, a, b, d } => (0..batches)
            .map(|batch| {
                let [a, b, d] = [a, b, d].map(|slices| (slices.first + batch * slices.stride) as usize);
                Product { a, b, d, rows, row: 0, weight: batch as usize }
            })
            .collect(),
        Grouping::Masked { .. } => panic!("the network has no masked product"),
    }
}

/// The rows of D of a product, with the error of each sum.
fn sums(spec: &GemmSpec, d: [u64; 2], product: &Product, values: Vec<f32>, errors: &[f64]) -> Expected {
    let (format, address, element) = match spec.output {
        Output::Bf16 => (Format::Bf16, d[0], 2),
        Output::F32 => (Format::F32, d[1], 4),
    };
    let row = |row: usize| address + (element * (product.d + row * spec.d_pitch as usize)) as u64;
    let tolerance = |(value, error): (&f32, &f64)| {
        let rounding = if element == 2 { bf16_ulp(value.abs() + *error as f32) } else { 0.0 };
        *error as f32 + rounding
    };
    Expected::Rows(Rows {
        tensor: "d",
        format,
        addresses: (0..product.rows).map(row).collect(),
        width: spec.n as usize,
        tolerances: values.iter().zip(errors).map(tolerance).collect(),
        values,
    })
}

/// A bound for each element of the product of `a` `[m, k]` and `b` `[n, k]`.
fn errors(a: &[f32], b: &[f32], k: usize, error: impl Fn(usize, usize, &[f32], &[f32]) -> f64) -> Vec<f64> {
    let error = &error;
    let row = |(i, a)| b.chunks(k).enumerate().map(move |(j, b)| error(i, j, a, b));
    a.chunks(k).enumerate().flat_map(row).collect()
}

fn bf16_product(launch: &Launch<'_>, operands: &Operands) -> Vec<Expected> {
    let spec = &operands.spec;
    let (n, k, pitch) = (spec.n as usize, spec.k as usize, spec.b_pitch as usize);
    let rounding = if spec.output == Output::F32 { Rounding::F32 } else { Rounding::Activation };
    let product = |product: &Product| {
        let shape = (product.rows, k, spec.a_pitch as usize);
        let a = rows(launch, Format::Bf16, operands.a + 2 * product.a as u64, shape);
        let b = operands.b + 2 * product.b as u64;
        let b = match spec.b_order {
            Order::OutputMajor => rows(launch, Format::Bf16, b, (n, k, pitch)),
            Order::InputMajor => {
                let b = rows(launch, Format::Bf16, b, (k, n, pitch));
                (0..n * k).map(|at| b[at % k * n + at / k]).collect()
            }
        };
        let values = linear(&a, &Matrix::from_f32(n, k, &b), rounding, Numerics::KERNEL);
        let errors = errors(&a, &b, k, |_, _, a, b| sum_error(a, b, OF_16_BITS));
        sums(spec, operands.d, product, values, &errors)
    };
    products(launch, operands).iter().map(product).collect()
}

fn fp8_product(launch: &Launch<'_>, operands: &Operands, unit: Step) -> Vec<Expected> {
    let spec = &operands.spec;
    let (n, k) = (spec.n as usize, spec.k as usize);
    let (blocks, block_rows) = (k.div_ceil(128), n.div_ceil(128));
    let codes = |values: &[f32]| values.iter().map(|value| E4m3::from_f32(*value).to_bits()).collect();
    let product = |product: &Product| {
        let shape = (product.rows, k, spec.a_pitch as usize);
        let a = rows(launch, Format::E4m3, operands.a + product.a as u64, shape);
        let first = operands.a_scales + (4 * product.row * blocks) as u64;
        let a_scales = read(launch, Format::F32, first, product.rows * blocks);
        let b = read(launch, Format::E4m3, operands.b + product.b as u64, n * k);
        let first = operands.b_scales + (4 * product.weight * block_rows * blocks) as u64;
        let b_scales = read(launch, Format::F32, first, block_rows * blocks);
        let errors = errors(&a, &b, k, |i, j, a, b| {
            let scale = |block| a_scales[i * blocks + block] * b_scales[j / 128 * blocks + block];
            promoted_error(a, b, (0..blocks).map(scale), unit)
        });
        let quantized = Quantized { codes: codes(&a), scales: a_scales.clone() };
        let weight: Vec<u8> = codes(&b);
        let mut values = linear_quantized(&quantized, &Matrix::from_e4m3(n, k, &weight, &b_scales));
        if spec.output == Output::Bf16 {
            Numerics::KERNEL.round(&mut values);
        }
        sums(spec, operands.d, product, values, &errors)
    };
    products(launch, operands).iter().map(product).collect()
}

/// Cosines and sines of each position.
fn rotations(
    launch: &Launch<'_>,
    table: u64,
    positions: u64,
    (tokens, width): (usize, usize),
) -> Vec<Vec<(f32, f32)>> {
    let rotation = |position: usize| {
        let row = read(launch, Format::F32, table + (4 * position * width) as u64, width);
        row.as_chunks().0.iter().map(|[cos, sin]| (*cos, *sin)).collect()
    };
    integers(launch, positions, tokens).into_iter().map(rotation).collect()
}

fn rope(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Rope>(launch);
    let (tokens, width, heads) = (arguments.tokens as usize, spec.width as usize, spec.heads as usize);
    let rotations = rotations(launch, arguments.table, arguments.positions, (tokens, width));
    let mut values = vec![];
    let mut addresses = vec![];
    for (token, rotation) in rotations.iter().enumerate() {
        for head in 0..heads {
            let at =
                token * spec.token_pitch as usize + head * spec.head_pitch as usize + spec.offset as usize;
            addresses.push(arguments.x + 2 * at as u64);
            let mut row = read(launch, Format::Bf16, arguments.x + 2 * at as u64, width);
            rotate_pairs(&mut row, rotation, Numerics::KERNEL);
            values.extend(row);
        }
    }
    let tolerances = vec![0.0; values.len()];
    vec![Expected::Rows(Rows { tensor: "x", format: Format::Bf16, addresses, width, values, tolerances })]
}

fn append(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<CacheAppend>(launch);
    let (tokens, latent, width) = (arguments.tokens as usize, spec.latent as usize, spec.rope as usize);
    let latents = rows(launch, Format::Bf16, arguments.latents, (tokens, latent, spec.latent_pitch as usize));
    let mut keys = rows(launch, Format::Bf16, arguments.keys, (tokens, width, spec.key_pitch as usize));
    let rotations = rotations(launch, arguments.table, arguments.positions, (tokens, width));
    let mut values = vec![];
    for ((latent, key), rotation) in latents.chunks(latent).zip(keys.chunks_mut(width)).zip(&rotations) {
        rotate_pairs(key, rotation, Numerics::KERNEL);
        values.extend([latent, key].concat());
    }
    let bytes = (2 * (latent + width)) as u64;
    let slots = integers(launch, arguments.slots, tokens);
    let addresses = slots.into_iter().map(|slot| arguments.pool + slot as u64 * bytes).collect();
    let tolerances = vec![0.0; values.len()];
    let (tensor, format, width) = ("records", Format::Record, latent + width);
    vec![Expected::Rows(Rows { tensor, format, addresses, width, values, tolerances })]
}

/// The first `count` records of a sequence, `[count, width]`.
fn records(
    launch: &Launch<'_>,
    pool: u64,
    pages: &[usize],
    page_size: usize,
    count: usize,
    width: usize,
) -> Vec<f32> {
    let page = |(at, page): (usize, &usize)| {
        let present = page_size.min(count - (at * page_size).min(count));
        read(launch, Format::Record, pool + (2 * page * page_size * width) as u64, present * width)
    };
    pages.iter().enumerate().flat_map(page).collect()
}

fn gather(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<CacheGather>(launch);
    let (latent, rope) = (spec.latent as usize, spec.rope as usize);
    let (sequences, max_pages) = (arguments.sequences as usize, arguments.max_pages as usize);
    let table = integers(launch, arguments.block_table, sequences * max_pages);
    let offsets = integers(launch, arguments.key_offsets, sequences + 1);
    let (mut latents, mut keys) = (vec![], vec![]);
    for (pages, ends) in table.chunks(max_pages).zip(offsets.windows(2)) {
        let count = ends[1] - ends[0];
        for record in records(launch, arguments.pool, pages, spec.page_size as usize, count, latent + rope)
            .chunks(latent + rope)
        {
            latents.extend_from_slice(&record[..latent]);
            keys.extend_from_slice(&record[latent..]);
        }
    }
    let latents = exact("latents", Format::Bf16, arguments.latents, latent, latents);
    vec![latents, exact("shared_keys", Format::Bf16, arguments.shared_keys, rope, keys)]
}

fn prefill(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<MlaPrefill>(launch);
    let [heads, nope, rope, value] =
        [spec.heads, spec.nope, spec.rope, spec.value].map(|width| width as usize);
    let (query, expanded) = (nope + rope, heads * (nope + value));
    let scale = arguments.softmax_scale;
    let queries = read(launch, Format::Bf16, arguments.queries, arguments.tokens as usize * heads * query);
    let keys = arguments.keys as usize;
    let rows = read(launch, Format::Bf16, arguments.expanded, keys * expanded);
    let shared = read(launch, Format::Bf16, arguments.shared_keys, keys * rope);
    let sequences = arguments.sequences as usize;
    let query_ends = integers(launch, arguments.query_offsets, sequences + 1);
    let key_ends = integers(launch, arguments.key_offsets, sequences + 1);
    // The reference expands latents itself: here they are expanded already, and the identity changes nothing.
    let identity: Vec<f32> =
        (0..expanded * expanded).map(|at| f32::from(u8::from(at / expanded == at % expanded))).collect();
    let identity = Matrix::from_f32(expanded, expanded, &identity);
    let heads_spec = HeadSpec { heads, nope, rope, value, latent: expanded, softmax_scale: scale };
    let (mut values, mut tolerances) = (vec![], vec![]);
    for (query_ends, key_ends) in query_ends.windows(2).zip(key_ends.windows(2)) {
        let queries = &queries[query_ends[0] * heads * query..query_ends[1] * heads * query];
        let cache: Vec<f32> = (key_ends[0]..key_ends[1])
            .flat_map(|key| rows[key * expanded..][..expanded].iter().chain(&shared[key * rope..][..rope]))
            .copied()
            .collect();
        values.extend(naive(queries, &cache, &identity, &heads_spec, Numerics::KERNEL).output);
        let (count, first) = (query_ends[1] - query_ends[0], key_ends[0]);
        let before = key_ends[1] - first - count;
        for (at, query) in queries.chunks(query).enumerate() {
            let (token, head) = (at / heads, at % heads);
            let seen = first..first + before + token + 1;
            let row = |key: usize| &rows[key * expanded + head * (nope + value)..][..nope + value];
            let keys: Vec<Vec<f32>> =
                seen.clone().map(|key| [&row(key)[..nope], &shared[key * rope..][..rope]].concat()).collect();
            let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
            let of_values: Vec<&[f32]> = seen.map(|key| &row(key)[nope..]).collect();
            tolerances.extend(attend(query, &keys, &of_values, value, scale).output_tolerance);
        }
    }
    let output = result("output", Format::Bf16, arguments.output, value, values);
    vec![Expected::Rows(Rows { tolerances, ..output })]
}

fn decode(launch: &Launch<'_>) -> Latents {
    let (spec, arguments) = of::<MlaDecode>(launch);
    let [heads, latent, rope] = [spec.heads, spec.latent, spec.rope].map(|width| width as usize);
    let (tokens, scale) = (arguments.tokens as usize, arguments.softmax_scale);
    let width = latent + rope;
    let max_pages = arguments.max_pages as usize;
    let table = integers(launch, arguments.block_table, arguments.sequences as usize * max_pages);
    let lengths = integers(launch, arguments.lengths, tokens);
    let sequence_of = integers(launch, arguments.sequence_of, tokens);
    let queries = read(launch, Format::Bf16, arguments.queries, tokens * heads * width);
    let spec_of_heads = HeadSpec { heads, nope: 0, rope, value: 0, latent, softmax_scale: scale };
    let mut latents = Latents { output: vec![], tolerances: vec![], lse: vec![], lse_tolerances: vec![] };
    for (token, queries) in queries.chunks(heads * width).enumerate() {
        let pages = &table[sequence_of[token] * max_pages..][..max_pages];
        let cache = records(launch, arguments.pool, pages, spec.page_size as usize, lengths[token], width);
        let (output, lse) = latent_attention(queries, &cache, &spec_of_heads, Numerics::KERNEL);
        latents.output.extend(output);
        latents.lse.extend(lse);
        let keys: Vec<&[f32]> = cache.chunks(width).collect();
        for query in queries.chunks(width) {
            let attended = attend(query, &keys, &keys, latent, scale);
            latents.tolerances.extend(attended.output_tolerance);
            latents.lse_tolerances.push(attended.lse_tolerance);
        }
    }
    latents
}

fn merge(launch: &Launch<'_>, latents: Latents) -> Vec<Expected> {
    let (spec, arguments) = of::<MlaCombine>(launch);
    let output = result("output", Format::Bf16, arguments.output, spec.latent as usize, latents.output);
    let lse = result("lse", Format::F32, arguments.lse, spec.heads as usize, latents.lse);
    vec![
        Expected::Rows(Rows { tolerances: latents.tolerances, ..output }),
        Expected::Rows(Rows { tolerances: latents.lse_tolerances, ..lse }),
    ]
}

fn router(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Router>(launch);
    let (tokens, experts, k) = (arguments.tokens as usize, spec.experts as usize, spec.k as usize);
    let x = read(launch, Format::Bf16, arguments.x, tokens * k);
    let weight = match spec.weight {
        RouterWeight::F32 => read(launch, Format::F32, arguments.weight, experts * k),
        RouterWeight::Bf16 => read(launch, Format::Bf16, arguments.weight_bf16, experts * k),
    };
    let values = linear(&x, &Matrix::from_f32(experts, k, &weight), Rounding::F32, Numerics::F32);
    // The kernel: a lane's share, then 5 rounds over the lanes. The reference: runs of 128, then these.
    let chain = (k.div_ceil(32) + 4 + 5).max(128 + k.div_ceil(128));
    let errors = errors(&x, &weight, k, |_, _, x, weight| f32_error(x, weight, chain));
    let logits = result("logits", Format::F32, arguments.logits, experts, values);
    let tolerances = errors.iter().map(|error| *error as f32).collect();
    vec![Expected::Rows(Rows { tolerances, ..logits })]
}

fn route(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Gate>(launch);
    let (tokens, experts, topk) = (arguments.tokens as usize, spec.experts as usize, spec.topk as usize);
    let logits = read(launch, Format::F32, arguments.logits, tokens * experts);
    let bias = spec.bias.then(|| read(launch, Format::F32, arguments.bias, experts));
    let reference = ReferenceGate {
        experts,
        groups: spec.groups as usize,
        topk_groups: spec.topk_groups as usize,
        topk,
        scoring: match spec.scoring {
            Scoring::Sigmoid => ReferenceScoring::Sigmoid,
            Scoring::Softmax => ReferenceScoring::Softmax,
        },
        method: match spec.method {
            GroupMethod::Greedy => TopkMethod::Greedy,
            GroupMethod::Best => TopkMethod::GroupLimitedGreedy,
            GroupMethod::SumOfTwo => TopkMethod::NoauxTc,
        },
        normalize: spec.normalize,
        scaling_factor: spec.scaling_factor,
    };
    let routing = gate(&logits, bias.as_deref(), &reference);
    // As of the family: a score is off by 2^-20 of itself, with softmax by more, a weight by that of two scores and the
    // roundings of their sum.
    let softmax = experts as f32 * 2.0_f32.powi(-23) + 2.0_f32.powi(-21);
    let score = 2.0_f32.powi(-20) + if spec.scoring == Scoring::Softmax { softmax } else { 0.0 };
    let relative = 2.0 * score + topk as f32 * 2.0_f32.powi(-23);
    let tolerances = routing.topk_weight.iter().map(|weight| weight.abs() * relative).collect();
    let chosen = routing.topk_idx.iter().map(|expert| *expert as f32).collect();
    let weights = result("topk_weight", Format::F32, arguments.topk_weight, topk, routing.topk_weight);
    vec![
        exact("topk_idx", Format::U32, arguments.topk_idx, topk, chosen),
        Expected::Rows(Rows { tolerances, ..weights }),
    ]
}

fn layout(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Layout>(launch);
    let (experts, topk) = (spec.experts as usize, spec.topk as usize);
    let slots = arguments.tokens as usize * topk;
    let chosen = integers(launch, arguments.topk_idx, slots);
    // Rows in the order of experts, those of one in the order of slots.
    let mut slot_of_row: Vec<usize> = (0..slots).collect();
    slot_of_row.sort_by_key(|slot| chosen[*slot]);
    let mut row_of_slot = vec![0.0; slots];
    slot_of_row.iter().enumerate().for_each(|(row, slot)| row_of_slot[*slot] = row as f32);
    let offsets: Vec<f32> =
        (0..=experts).map(|end| chosen.iter().filter(|expert| **expert < end).count() as f32).collect();
    let counts = offsets.windows(2).map(|ends| ends[1] - ends[0]).collect();
    let slot_of_row = slot_of_row.into_iter().map(|slot| slot as f32).collect();
    vec![
        exact("counts", Format::U32, arguments.counts, experts, counts),
        exact("offsets", Format::U32, arguments.offsets, experts + 1, offsets),
        exact("row_of_slot", Format::U32, arguments.row_of_slot, topk, row_of_slot),
        exact("slot_of_row", Format::U32, arguments.slot_of_row, 1, slot_of_row),
    ]
}

fn permute(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Permute>(launch);
    let (tokens, hidden, topk) = (arguments.tokens as usize, spec.hidden as usize, spec.topk as usize);
    let slots = integers(launch, arguments.slot_of_row, arguments.rows as usize);
    let moved = |tensor, format, from: u64, to: u64, width: usize| {
        let from = read(launch, format, from, tokens * width);
        let rows = slots.iter().flat_map(|slot| &from[slot / topk * width..][..width]);
        exact(tensor, format, to, width, rows.copied().collect())
    };
    match spec.format {
        RowFormat::Bf16 => vec![moved("out", Format::Bf16, arguments.x, arguments.out, hidden)],
        RowFormat::Fp8 => vec![
            moved("out_codes", Format::E4m3, arguments.codes, arguments.out_codes, hidden),
            moved("out_scales", Format::F32, arguments.scales, arguments.out_scales, hidden.div_ceil(128)),
        ],
    }
}

fn activate(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Swiglu>(launch);
    let inter = spec.inter as usize;
    let count = match spec.device_rows {
        true => integers(launch, arguments.row_count, 1)[0].min(arguments.rows as usize),
        false => arguments.rows as usize,
    };
    let gate_up = read(launch, Format::Bf16, arguments.gate_up, count * 2 * inter);
    let half = |second: usize| -> Vec<f32> {
        gate_up.chunks(2 * inter).flat_map(|row| &row[second * inter..][..inter]).copied().collect()
    };
    let values = swiglu(&half(0), &half(1));
    let mut expected = vec![];
    if spec.bf16 {
        let tolerances = values.iter().map(|value| bf16_ulp(*value)).collect();
        let mut rounded = values.clone();
        Numerics::KERNEL.round(&mut rounded);
        let out = result("out", Format::Bf16, arguments.out, inter, rounded);
        expected.push(Expected::Rows(Rows { tolerances, ..out }));
    }
    if let Some(format) = spec.fp8 {
        let quantized = quantized::expected(&values, inter, format);
        let (codes, scales) = (arguments.codes, arguments.scales);
        let error = |value: f32| value.abs() * 2.0_f32.powi(-20) + f32::MIN_POSITIVE;
        expected.push(Expected::Fp8(Fp8 { codes, scales, width: inter, quantized, values, error }));
    }
    expected
}

fn combine_experts(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<Combine>(launch);
    let (tokens, hidden, topk) = (arguments.tokens as usize, spec.hidden as usize, spec.topk as usize);
    let rows = integers(launch, arguments.row_of_slot, tokens * topk);
    let weights = read(launch, Format::F32, arguments.weight, tokens * topk);
    let expert_out = read(launch, Format::Bf16, arguments.expert_out, arguments.rows as usize * hidden);
    let routed: Vec<f32> =
        rows.iter().flat_map(|row| &expert_out[row * hidden..][..hidden]).copied().collect();
    let shared = match spec.shared {
        true => read(launch, Format::Bf16, arguments.shared, tokens * hidden),
        false => vec![0.0; tokens * hidden],
    };
    let values = combine(&shared, &routed, &weights, hidden, Numerics::KERNEL);
    vec![exact("out", Format::Bf16, arguments.out, hidden, values)]
}

fn copy(launch: &Launch<'_>) -> Vec<Expected> {
    let (spec, arguments) = of::<CopyRows>(launch);
    let (count, width) = (arguments.rows as usize, spec.width as usize);
    let values = rows(launch, Format::Bf16, arguments.from, (count, width, spec.from_pitch as usize));
    let address = |row: usize| arguments.to + (2 * row * spec.to_pitch as usize) as u64;
    vec![Expected::Rows(Rows {
        tensor: "to",
        format: Format::Bf16,
        addresses: (0..count).map(address).collect(),
        width,
        tolerances: vec![0.0; values.len()],
        values,
    })]
}
