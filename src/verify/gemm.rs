//! Cases of the families `gemm_bf16`, `gemm_fp8` and `router`.

use super::bytes::{bf16_bytes, f32_bytes, of_bf16, of_f32, of_u32, u32_bytes};
use super::compare::{Comparison, bf16_ulp};
use super::random::{Random, Style};
use super::tensor_core::{OF_16_BITS, f32_error, of_e4m3, promoted_error, sum_error};
use super::{Failure, Machine, Passed};
use crate::model::config::ScaleFormat;
use crate::model::weights::Matrix;
use crate::num::{E4m3, round_to_bf16};
use crate::reference::Numerics;
use crate::reference::linear::{Output as Rounding, linear, linear_quantized};
use crate::reference::quantize::{Quantized, quantize_1x128, quantize_128x128};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::device_error;
use rorqual_kernels::gemm::router::{Router, RouterArguments, RouterSpec, RouterWeight};
use rorqual_kernels::gemm::{
    Bf16Gemm, Bf16GemmArguments, Fp8Gemm, Fp8GemmArguments, GemmSpec, Grouping, Order, Output, Slices,
};
use rorqual_kernels::{AnySpec, Kernel, Registered, generate};

/// Weights of a grouped case, at most.
const GROUPS: usize = 5;
/// What memory holds before a kernel writes it.
pub(super) const POISON: u8 = 0xa5;

/// Rows that meet a weight, and where they, the weight and the results start, in elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) d: usize,
    pub(super) rows: usize,
    /// The first row over all of A, which its scales are counted by.
    pub(super) row: usize,
    pub(super) weight: usize,
}

/// What cases of a family may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// At most, but for what makes it a multiple of `n_unit`.
    pub(super) n: usize,
    pub(super) n_unit: usize,
    /// At most.
    pub(super) k: usize,
    pub(super) rows: usize,
    /// Elements that the pitches of A, B and D are multiples of.
    pub(super) units: [usize; 3],
    /// Rows that every other group has at most.
    pub(super) few_rows: Option<usize>,
}

impl Sizes {
    /// How many of the rows that are left a group has.
    fn rows_of(&self, random: &mut Random, group: usize, left: usize) -> usize {
        let most = match self.few_rows {
            Some(few) if group.is_multiple_of(2) => few.min(left),
            _ => left,
        };
        random.below(most + 1)
    }
}

/// A specialisation and the rows of a case.
pub(super) struct Case {
    pub(super) spec: GemmSpec,
    /// The argument `rows`.
    pub(super) rows: usize,
    /// The argument `groups`.
    pub(super) groups: Vec<u32>,
    /// What `error` must be.
    pub(super) error: u32,
    /// Rows of A and D that are there.
    pub(super) present: usize,
    /// Weights that are there.
    pub(super) weights: usize,
    pub(super) products: Vec<Product>,
}

impl Case {
    /// A case of an FP8 or bf16 product.
    pub(super) fn draw(random: &mut Random, fp8: bool, sizes: &Sizes) -> Self {
        let (mut n, k) = (random.size(sizes.n).max(1), random.size(sizes.k).max(1));
        if random.one_in(3) {
            n = n.next_multiple_of(8);
        }
        n = n.next_multiple_of(sizes.n_unit);
        let b_order = if fp8 || !random.one_in(3) { Order::OutputMajor } else { Order::InputMajor };
        let gap = |random: &mut Random, extent: usize| match random.below(4) {
            0 => extent + random.below(9),
            1 => extent.next_multiple_of(16),
            _ => extent,
        };
        let [a_unit, b_unit, d_unit] = sizes.units;
        let (a_pitch, d_pitch) =
            (gap(random, k).next_multiple_of(a_unit), gap(random, n).next_multiple_of(d_unit));
        let (b_rows, b_columns) = if b_order == Order::OutputMajor { (n, k) } else { (k, n) };
        let b_pitch = gap(random, b_columns).next_multiple_of(b_unit);
        let mut case = Self {
            spec: GemmSpec {
                n: n as u32,
                k: k as u32,
                output: if random.one_in(3) { Output::F32 } else { Output::Bf16 },
                grouping: Grouping::Dense,
                b_order,
                a_pitch: a_pitch as u32,
                b_pitch: b_pitch as u32,
                d_pitch: d_pitch as u32,
            },
            rows: random.size(sizes.rows),
            groups: vec![],
            error: 0,
            present: 0,
            weights: 1,
            products: vec![],
        };
        match random.below(if fp8 { 3 } else { 4 }) {
            0 => case.dense(),
            1 => case.prefix(random, sizes, b_rows * b_pitch),
            2 => case.masked(random, sizes, b_rows * b_pitch),
            _ => case.batched(random, b_rows * b_pitch, sizes.units[0]),
        }
        case
    }

    fn dense(&mut self) {
        self.present = self.rows;
        self.products = vec![Product { a: 0, b: 0, d: 0, rows: self.rows, row: 0, weight: 0 }];
    }

    pub(super) fn group(&self, row: usize, rows: usize, weight: usize, weight_size: usize) -> Product {
        let (a, d) = (row * self.spec.a_pitch as usize, row * self.spec.d_pitch as usize);
        Product { a, b: weight * weight_size, d, rows, row, weight }
    }

    fn prefix(&mut self, random: &mut Random, sizes: &Sizes, weight_size: usize) {
        self.weights = if random.one_in(8) { 33 } else { 1 + random.below(GROUPS) };
        self.spec.grouping = Grouping::Prefix { groups: self.weights as u32 };
        self.cut(random, sizes, weight_size);
    }

    /// Cuts the rows into groups.
    fn cut(&mut self, random: &mut Random, sizes: &Sizes, weight_size: usize) {
        let mut cuts: Vec<u32> = (0..=self.weights).map(|_| random.below(self.rows + 1) as u32).collect();
        cuts.sort_unstable();
        if sizes.few_rows.is_some() {
            for group in 0..self.weights {
                let begin = cuts[group] as usize;
                cuts[group + 1] = (begin + sizes.rows_of(random, group, self.rows - begin)) as u32;
            }
        }
        self.present = cuts[self.weights] as usize;
        self.groups = cuts;
        let mut good = self.weights;
        if random.one_in(8) && self.rows > 0 {
            good = random.below(self.weights);
            self.groups[good + 1] = (self.rows + 1 + random.below(1000)) as u32;
            self.error = device_error::GROUPS;
        }
        let rows = |cut: usize| self.groups[cut] as usize;
        let group = |group| self.group(rows(group), rows(group + 1) - rows(group), group, weight_size);
        self.products = (0..good).map(group).collect();
    }

    fn masked(&mut self, random: &mut Random, sizes: &Sizes, weight_size: usize) {
        self.weights = 1 + random.below(GROUPS);
        self.spec.grouping = Grouping::Masked { groups: self.weights as u32 };
        self.count(random, sizes, weight_size);
    }

    /// Counts the rows of each group.
    fn count(&mut self, random: &mut Random, sizes: &Sizes, weight_size: usize) {
        self.groups = (0..self.weights).map(|group| sizes.rows_of(random, group, self.rows) as u32).collect();
        if random.one_in(8) && self.rows > 0 {
            self.groups[random.below(self.weights)] = (self.rows + 1 + random.below(1000)) as u32;
            self.error = device_error::GROUPS;
        }
        self.present = self.weights * self.rows;
        let group = |group| {
            let rows = (self.groups[group] as usize).min(self.rows);
            self.group(group * self.rows, rows, group, weight_size)
        };
        self.products = (0..self.weights).map(group).collect();
    }

    /// Draws other rows for the same specialisation, more of them than at first, so that it runs through all that it does.
    pub(super) fn redraw(&mut self, random: &mut Random, sizes: &Sizes) {
        if matches!(self.spec.grouping, Grouping::Batched { .. }) {
            return;
        }
        if random.one_in(2) {
            self.rows = sizes.rows / 2 + random.below(sizes.rows / 2);
        }
        self.error = 0;
        let GemmSpec { n, k, b_pitch, .. } = self.spec;
        let b_rows = if self.spec.b_order == Order::OutputMajor { n } else { k };
        let weight_size = b_rows as usize * b_pitch as usize;
        match self.spec.grouping {
            Grouping::Dense => self.dense(),
            Grouping::Prefix { .. } => self.cut(random, sizes, weight_size),
            Grouping::Masked { .. } => self.count(random, sizes, weight_size),
            Grouping::Batched { .. } => {}
        }
    }

    /// `[rows, batches, ..]` for A and D, `[batches, ..]` for B, as attention has its heads.
    fn batched(&mut self, random: &mut Random, weight_size: usize, unit: usize) {
        let batches = 1 + random.below(4);
        self.present = self.rows;
        let unit = unit.max(random.pick(&[1, 8]));
        let slices = |random: &mut Random, least: usize| Slices {
            first: (unit * random.below(4)) as u32,
            stride: least.next_multiple_of(unit) as u32 + (unit * random.below(2)) as u32,
        };
        let (a, d) = (slices(random, self.spec.a_pitch as usize), slices(random, self.spec.d_pitch as usize));
        let b = slices(random, weight_size);
        self.spec.a_pitch = a.stride * batches as u32;
        self.spec.d_pitch = d.stride * batches as u32;
        let start = |slices: Slices, batch: usize| (slices.first + batch as u32 * slices.stride) as usize;
        let product = |batch| {
            let (a, b, d) = (start(a, batch), start(b, batch), start(d, batch));
            Product { a, b, d, rows: self.rows, row: 0, weight: batch }
        };
        self.products = (0..batches).map(product).collect();
        self.weights = batches;
        self.spec.grouping = Grouping::Batched { batches: batches as u32, a, b, d };
    }

    /// Elements of A, B and D: no more than there must be.
    pub(super) fn sizes(&self) -> [usize; 3] {
        let GemmSpec { n, k, a_pitch, b_pitch, d_pitch, .. } = self.spec;
        let (b_rows, b_columns) = if self.spec.b_order == Order::OutputMajor { (n, k) } else { (k, n) };
        let end = |rows: usize, pitch: u32, columns: u32| match rows {
            0 => 0,
            _ => (rows - 1) * pitch as usize + columns as usize,
        };
        if let Grouping::Batched { a, b, d, .. } = self.spec.grouping {
            let last = |slices: Slices, end: usize| {
                let start = slices.first as usize + (self.weights - 1) * slices.stride as usize;
                if end == 0 { 0 } else { start + end }
            };
            return [
                last(a, end(self.present, a_pitch, k)),
                last(b, end(b_rows as usize, b_pitch, b_columns)),
                last(d, end(self.present, d_pitch, n)),
            ];
        }
        let b = end(self.weights * b_rows as usize, b_pitch, b_columns);
        [end(self.present, a_pitch, k), b, end(self.present, d_pitch, n)]
    }

    /// The rows of A of a product, `[rows, k]`.
    pub(super) fn a_of<T: Copy>(&self, product: &Product, a: &[T]) -> Vec<T> {
        rows_of(&a[product.a.min(a.len())..], product.rows, self.spec.k as usize, self.spec.a_pitch as usize)
    }

    /// The weight of a product, `[n, k]`.
    pub(super) fn b_of<T: Copy>(&self, product: &Product, b: &[T]) -> Vec<T> {
        let (n, k, pitch) = (self.spec.n as usize, self.spec.k as usize, self.spec.b_pitch as usize);
        let b = &b[product.b..];
        match self.spec.b_order {
            Order::OutputMajor => rows_of(b, n, k, pitch),
            Order::InputMajor => (0..n).flat_map(|j| (0..k).map(move |l| b[l * pitch + j])).collect(),
        }
    }

    /// Compares D, of which each product has the expected `[rows, n]` and their tolerances, and all else is as it was.
    pub(super) fn compare(
        &self,
        kernel: &Kernel,
        spec: AnySpec,
        style: Style,
        [before, d]: [&[u8]; 2],
        expected: &[(Vec<f32>, Vec<f64>)],
        error: u32,
    ) -> Result<Passed, Failure> {
        let products: Vec<_> = self.products.iter().map(|product| (product.row, product.rows)).collect();
        let case = format!("{} rows, products {products:?}, {style:?} values", self.rows);
        let kernel = kernel.contract.kernel.clone();
        let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
        let values = |bytes: &[u8]| match self.spec.output {
            Output::Bf16 => of_bf16(bytes),
            Output::F32 => of_f32(bytes),
        };
        let (before, mut d_values) = (values(before), values(d));
        compare("error", &[1]).equal(&[error as f32], &[self.error as f32])?;
        let (n, pitch) = (self.spec.n as usize, self.spec.d_pitch as usize);
        let mut worst = 0.0_f64;
        for (product, (expected, errors)) in self.products.iter().zip(expected) {
            let got = rows_of(&d_values[product.d.min(d_values.len())..], product.rows, n, pitch);
            let tolerance = |at: usize| {
                let rounding = match self.spec.output {
                    Output::Bf16 => bf16_ulp(expected[at].abs() + errors[at] as f32),
                    Output::F32 => 0.0,
                };
                errors[at] as f32 + rounding
            };
            let shape = [product.rows, n];
            let compare = Comparison { kernel: &kernel, case: &case, tensor: "d", shape: &shape };
            worst = worst.max(compare.within(&got, expected, tolerance)?);
            for row in 0..product.rows {
                let first = product.d + row * pitch;
                d_values[first..first + n].copy_from_slice(&before[first..first + n]);
            }
        }
        compare("elements of d that are no result", &[d_values.len()]).equal(&d_values, &before)?;
        Ok(Passed { kernel, specs: vec![spec], case, worst })
    }
}

pub(super) fn rows_of<T: Copy>(values: &[T], rows: usize, columns: usize, pitch: usize) -> Vec<T> {
    (0..rows).flat_map(|row| &values[row * pitch..][..columns]).copied().collect()
}

/// A bound for each element of the product of `a` `[m, k]` and `b` `[n, k]`.
pub(super) fn errors(
    a: &[f32],
    b: &[f32],
    k: usize,
    error: impl Fn(usize, usize, &[f32], &[f32]) -> f64,
) -> Vec<f64> {
    let error = &error;
    let row = |(i, a)| b.chunks(k).enumerate().map(move |(j, b)| error(i, j, a, b));
    a.chunks(k).enumerate().flat_map(row).collect()
}

/// Addresses of D in bf16 and in f32, of which one is used, and that one.
fn upload_d(machine: &mut dyn Machine, output: Output, elements: usize) -> Result<[u64; 2], Failure> {
    let (bf16, f32) = match output {
        Output::Bf16 => (2 * elements, 0),
        Output::F32 => (0, 4 * elements),
    };
    Ok([machine.upload(&vec![POISON; bf16])?, machine.upload(&vec![POISON; f32])?])
}

pub(super) fn download_d(
    machine: &mut dyn Machine,
    output: Output,
    d: [u64; 2],
    elements: usize,
) -> Result<Vec<u8>, Failure> {
    Ok(match output {
        Output::Bf16 => machine.download(d[0], 2 * elements)?,
        Output::F32 => machine.download(d[1], 4 * elements)?,
    })
}

/// Draws a case of `gemm_bf16` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_bf16(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let case = Case::draw(
        random,
        false,
        &Sizes { n: 200, n_unit: 1, k: 260, rows: 140, units: [1; 3], few_rows: None },
    );
    let style = random.style();
    let kernel = generate::<Bf16Gemm>(&case.spec, machine.target())?;
    let [a_size, b_size, d_size] = case.sizes();
    // A row of the weight with an infinity or NaN spoils a whole column of D: only A has them.
    let b_style = if style == Style::Special { Style::Normal } else { style };
    let (a, b) = (random.bf16s(a_size, style), random.bf16s(b_size, b_style));
    let d = upload_d(machine, case.spec.output, d_size)?;
    let arguments = Bf16GemmArguments {
        a: machine.upload(&bf16_bytes(&a))?,
        b: machine.upload(&bf16_bytes(&b))?,
        d: d[0],
        d_f32: d[1],
        groups: machine.upload(&u32_bytes(&case.groups))?,
        error: machine.upload(&u32_bytes(&[0]))?,
        rows: case.rows as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let (n, k) = (case.spec.n as usize, case.spec.k as usize);
    let rounding = if case.spec.output == Output::F32 { Rounding::F32 } else { Rounding::Activation };
    let expect = |product: &Product| {
        let (a, b) = (case.a_of(product, &a), case.b_of(product, &b));
        let d = linear(&a, &Matrix::from_f32(n, k, &b), rounding, Numerics::KERNEL);
        (d, errors(&a, &b, k, |_, _, a, b| sum_error(a, b, OF_16_BITS)))
    };
    let expected: Vec<_> = case.products.iter().map(expect).collect();
    let got = download_d(machine, case.spec.output, d, d_size)?;
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let before = vec![POISON; got.len()];
    case.compare(&kernel, Bf16Gemm::any(&case.spec), style, [&before, &got], &expected, error)
}

/// Codes and scales of `[rows, columns]`, rows `pitch` apart: quantised values, or any codes with any scales.
pub(super) fn codes(
    random: &mut Random,
    rows: usize,
    columns: usize,
    style: Style,
    weight: bool,
) -> Quantized {
    let format = random.pick(&[ScaleFormat::F32, ScaleFormat::Ue8m0]);
    let values = random.bf16s(rows * columns, style);
    let mut quantized = if weight {
        quantize_128x128(&values, rows, columns, format)
    } else {
        quantize_1x128(&values, columns, format)
    };
    if random.one_in(3) {
        for code in &mut quantized.codes {
            let any = random.below(256) as u8;
            let is_nan = any & 0x7f == 0x7f;
            *code = if is_nan && !(style == Style::Special && random.one_in(4)) { 0x08 } else { any };
        }
        quantized.scales = random.f32s(quantized.scales.len(), Style::Wide);
    }
    quantized
}

/// Rows of codes `columns` long, at every `pitch`, in memory of `size` bytes whose gaps are NaN.
pub(super) fn spread(codes: &[u8], columns: usize, pitch: usize, size: usize) -> Vec<u8> {
    let mut memory = vec![0x7f; size];
    for (row, codes) in codes.chunks(columns).enumerate() {
        memory[row * pitch..][..columns].copy_from_slice(codes);
    }
    memory
}

/// Draws a case of `gemm_fp8` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_fp8(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let case = Case::draw(
        random,
        true,
        &Sizes { n: 200, n_unit: 1, k: 400, rows: 140, units: [1; 3], few_rows: None },
    );
    let style = random.style();
    let kernel = generate::<Fp8Gemm>(&case.spec, machine.target())?;
    let [a_size, b_size, d_size] = case.sizes();
    let (n, k) = (case.spec.n as usize, case.spec.k as usize);
    let a = codes(random, case.present, k, style, false);
    let b_style = if style == Style::Special { Style::Normal } else { style };
    let b: Vec<Quantized> = (0..case.weights).map(|_| codes(random, n, k, b_style, true)).collect();
    let b_codes: Vec<u8> = b.iter().flat_map(|b| &b.codes).copied().collect();
    let b_scales: Vec<f32> = b.iter().flat_map(|b| &b.scales).copied().collect();
    let d = upload_d(machine, case.spec.output, d_size)?;
    let arguments = Fp8GemmArguments {
        a: machine.upload(&spread(&a.codes, k, case.spec.a_pitch as usize, a_size))?,
        a_scales: machine.upload(&f32_bytes(&a.scales))?,
        b: machine.upload(&spread(&b_codes, k, case.spec.b_pitch as usize, b_size))?,
        b_scales: machine.upload(&f32_bytes(&b_scales))?,
        d: d[0],
        d_f32: d[1],
        groups: machine.upload(&u32_bytes(&case.groups))?,
        error: machine.upload(&u32_bytes(&[0]))?,
        rows: case.rows as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let (blocks, step) = (k.div_ceil(128), of_e4m3(machine.target()));
    let decoded =
        |codes: &[u8]| -> Vec<f32> { codes.iter().map(|code| E4m3::from_bits(*code).to_f32()).collect() };
    let expect = |product: &Product| {
        let (first, last) = (product.row, product.row + product.rows);
        let a = Quantized {
            codes: a.codes[first * k..last * k].to_vec(),
            scales: a.scales[first * blocks..last * blocks].to_vec(),
        };
        let b = &b[product.weight];
        let mut d = linear_quantized(&a, &Matrix::from_e4m3(n, k, &b.codes, &b.scales));
        if case.spec.output == Output::Bf16 {
            d.iter_mut().for_each(|d| *d = round_to_bf16(*d));
        }
        let errors = errors(&decoded(&a.codes), &decoded(&b.codes), k, |i, j, a_row, b_row| {
            let scale = |block| a.scales[i * blocks + block] * b.scales[j / 128 * blocks + block];
            promoted_error(a_row, b_row, (0..blocks).map(scale), step)
        });
        (d, errors)
    };
    let expected: Vec<_> = case.products.iter().map(expect).collect();
    let got = download_d(machine, case.spec.output, d, d_size)?;
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let before = vec![POISON; got.len()];
    case.compare(&kernel, Fp8Gemm::any(&case.spec), style, [&before, &got], &expected, error)
}

/// Draws a case of `router` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_router(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (tokens, experts, k) = (random.size(40), random.size(70).max(1), random.size(700).max(1));
    let (style, bf16) = (random.style(), random.one_in(2));
    let weight_type = if bf16 { RouterWeight::Bf16 } else { RouterWeight::F32 };
    let spec = RouterSpec { experts: experts as u32, k: k as u32, weight: weight_type };
    let kernel = generate::<Router>(&spec, machine.target())?;
    let x = random.bf16s(tokens * k, style);
    let weight_style = if style == Style::Special { Style::Normal } else { style };
    let mut weight = random.f32s(experts * k, weight_style);
    if bf16 {
        weight.iter_mut().for_each(|weight| *weight = round_to_bf16(*weight));
    }
    let none = machine.upload(&[])?;
    let arguments = RouterArguments {
        x: machine.upload(&bf16_bytes(&x))?,
        weight: if bf16 { none } else { machine.upload(&f32_bytes(&weight))? },
        weight_bf16: if bf16 { machine.upload(&bf16_bytes(&weight))? } else { none },
        logits: machine.upload(&vec![POISON; 4 * tokens * experts])?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let expected = linear(&x, &Matrix::from_f32(experts, k, &weight), Rounding::F32, Numerics::F32);
    // The kernel: a lane's share, then 5 rounds over the lanes. The reference: runs of 128, then these.
    let chain = (k.div_ceil(32) + 4 + 5).max(128 + k.div_ceil(128));
    let errors = errors(&x, &weight, k, |_, _, x, weight| f32_error(x, weight, chain));
    let got = of_f32(&machine.download(arguments.logits, 4 * tokens * experts)?);
    let (kernel, case) = (kernel.contract.kernel, format!("{tokens} tokens, {style:?} values"));
    let compare = Comparison { kernel: &kernel, case: &case, tensor: "logits", shape: &[tokens, experts] };
    let worst = compare.within(&got, &expected, |at| errors[at] as f32)?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Router::any(&spec)], case: case.clone(), worst })
}
