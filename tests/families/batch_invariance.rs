//! A row has the same bits whatever rows surround it, wherever it stands.
//!
//! A family joins by a [`RowFunction`]: prepared rows, any selection of which it computes in any order. Each selection
//! must give every row the bytes that it has in the batch of all rows.

use super::elementwise;
use super::hopper_rows::HopperProduct;
use rorqual::verify::bytes::{bf16_bytes, f32_bytes, u32_bytes};
use rorqual::verify::random::{Random, Style};
use rorqual::verify::simulated::{Simulated, targets};
use rorqual::verify::{self, Machine};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{
    Format, HopperFp8Swiglu, HopperFp8SwigluArguments, HopperSwigluSpec, HopperWeightGradient,
    HopperWeightGradientArguments, HopperWeightGradientSpec, Multicast, Tile,
};
use rorqual_kernels::gemm::router::{Router, RouterArguments, RouterSpec, RouterWeight};
use rorqual_kernels::gemm::{
    Bf16Gemm, Bf16GemmArguments, Fp8Gemm, Fp8GemmArguments, GemmSpec, Grouping, Output,
};
use rorqual_kernels::{Kernel, generate};
use rorqual_ptx::target::Target;
use rorqual_sim::{Options, Precision};

/// Rows that a family computes, each its own function of the row's input.
pub trait RowFunction {
    /// Rows that are prepared.
    fn rows(&self) -> usize;
    /// The result's bytes of the rows of a selection, computed together in this order.
    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>>;
}

/// Prepares rows for a target.
type Prepare = fn(&mut Random, Target) -> Box<dyn RowFunction>;

const FAMILIES: &[(&str, Prepare)] = &[
    ("gemm_bf16", |random, target| Box::new(Product::new(random, target, Factors::Bf16))),
    ("gemm_fp8", |random, target| Box::new(Product::new(random, target, Factors::Fp8))),
    ("hopper_gemm_fp8_swiglu", |random, target| Box::new(Activated::new(random, target))),
    ("hopper_gemm_bf16", |random, target| Box::new(HopperProduct::new(random, target, Format::Bf16))),
    ("hopper_gemm_fp8", |random, target| Box::new(HopperProduct::new(random, target, Format::Fp8))),
    ("hopper_gemm_fp8_1d1d", |random, target| Box::new(Gradients::new(random, target))),
    ("router", |random, target| Box::new(Logits::new(random, target))),
    ("rms_norm", |random, target| Box::new(elementwise::rms_norm(random, target))),
    ("quantize_1x128", |random, target| Box::new(elementwise::quantize(random, target))),
    ("moe_gate", |random, target| Box::new(elementwise::gate(random, target))),
    ("moe_swiglu", |random, target| Box::new(elementwise::swiglu(random, target))),
    ("moe_combine", |random, target| Box::new(elementwise::combine(random, target))),
    ("argmax", |random, target| Box::new(elementwise::argmax(random, target))),
    ("sample", |random, target| Box::new(elementwise::sample(random, target))),
];

/// Rows of `bytes`, `row_bytes` each, in the order of a selection.
pub fn gather(bytes: &[u8], row_bytes: usize, selection: &[usize]) -> Vec<u8> {
    selection.iter().flat_map(|row| &bytes[row * row_bytes..][..row_bytes]).copied().collect()
}

pub fn upload(machine: &mut dyn Machine, bytes: &[u8]) -> u64 {
    machine.upload(bytes).expect("room")
}

#[derive(Clone, Copy, PartialEq)]
enum Factors {
    Bf16,
    Fp8,
}

/// Rows of A; with groups, each with its weight.
struct Product {
    factors: Factors,
    spec: GemmSpec,
    kernel: Kernel,
    rows: usize,
    a: Vec<u8>,
    a_scales: Vec<u8>,
    b: Vec<u8>,
    b_scales: Vec<u8>,
    /// The weight of each row.
    group_of: Vec<usize>,
}

impl Product {
    fn new(random: &mut Random, target: Target, factors: Factors) -> Self {
        let (rows, groups) = (70 + random.below(30), 3);
        let (n, k) = (1 + random.below(150), 1 + random.below(300));
        let grouping = random.pick(&[
            Grouping::Dense,
            Grouping::Prefix { groups: groups as u32 },
            Grouping::Masked { groups: groups as u32 },
        ]);
        let spec = GemmSpec { grouping, output: Output::F32, ..GemmSpec::new(n as u32, k as u32) };
        let generated = match factors {
            Factors::Bf16 => generate::<Bf16Gemm>(&spec, target),
            Factors::Fp8 => generate::<Fp8Gemm>(&spec, target),
        };
        let (blocks, n_blocks) = (k.div_ceil(128), n.div_ceil(128));
        let mut elements = |count: usize| match factors {
            Factors::Bf16 => bf16_bytes(&random.bf16s(count, Style::Wide)),
            Factors::Fp8 => (0..count).map(|_| (random.below(127) + 128 * random.below(2)) as u8).collect(),
        };
        let (a, b) = (elements(rows * k), elements(groups * n * k));
        Self {
            factors,
            spec,
            kernel: generated.expect("a kernel"),
            rows,
            a,
            a_scales: f32_bytes(&random.f32s(rows * blocks, Style::Normal)),
            b,
            b_scales: f32_bytes(&random.f32s(groups * n_blocks * blocks, Style::Normal)),
            group_of: (0..rows).map(|_| random.below(groups)).collect(),
        }
    }

    /// Rows of each group, `groups`, the argument `rows`, and where in A and D each row of the selection stands.
    fn place(&self, selection: &[usize]) -> (Vec<u32>, u32, Vec<usize>) {
        let groups = match self.spec.grouping {
            Grouping::Prefix { groups } | Grouping::Masked { groups } => groups as usize,
            _ => return (vec![], selection.len() as u32, (0..selection.len()).collect()),
        };
        let mut counts = vec![0; groups];
        let within: Vec<usize> = selection
            .iter()
            .map(|row| {
                counts[self.group_of[*row]] += 1;
                counts[self.group_of[*row]] - 1
            })
            .collect();
        let starts: Vec<usize> = if let Grouping::Masked { .. } = self.spec.grouping {
            (0..groups).map(|group| group * selection.len()).collect()
        } else {
            (0..groups).map(|group| counts[..group].iter().sum()).collect()
        };
        let place = selection.iter().zip(within).map(|(row, within)| starts[self.group_of[*row]] + within);
        let place = place.collect();
        let numbers = match self.spec.grouping {
            Grouping::Masked { .. } => counts.clone(),
            _ => starts.iter().copied().chain([selection.len()]).collect(),
        };
        (numbers.iter().map(|number| *number as u32).collect(), selection.len() as u32, place)
    }
}

impl RowFunction for Product {
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>> {
        let (groups, rows, place) = self.place(selection);
        let present = match self.spec.grouping {
            Grouping::Masked { groups } => groups as usize * selection.len(),
            _ => selection.len(),
        };
        let scatter = |bytes: &[u8]| {
            let row_bytes = bytes.len() / self.rows;
            let mut placed = vec![0x3c; present * row_bytes];
            for (row, place) in selection.iter().zip(&place) {
                placed[place * row_bytes..][..row_bytes]
                    .copy_from_slice(&bytes[row * row_bytes..][..row_bytes]);
            }
            placed
        };
        let row_bytes = 4 * self.spec.n as usize;
        let a = upload(machine, &scatter(&self.a));
        let a_scales = upload(machine, &scatter(&self.a_scales));
        let (b, b_scales) = (upload(machine, &self.b), upload(machine, &self.b_scales));
        let (d, d_f32) = (upload(machine, &[]), upload(machine, &vec![0xa5; present * row_bytes]));
        let (groups, error) = (upload(machine, &u32_bytes(&groups)), upload(machine, &[0; 4]));
        let arguments = match self.factors {
            Factors::Bf16 => Bf16GemmArguments { a, b, d, d_f32, groups, error, rows }.pack(),
            Factors::Fp8 => {
                Fp8GemmArguments { a, a_scales, b, b_scales, d, d_f32, groups, error, rows }.pack()
            }
        };
        machine.run(&self.kernel, &arguments).expect("a run");
        let bytes = machine.download(d_f32, present * row_bytes).expect("results");
        place.iter().map(|place| bytes[place * row_bytes..][..row_bytes].to_vec()).collect()
    }
}

/// Rows of the first product of gated experts, in FP8.
struct Activated {
    spec: HopperSwigluSpec,
    kernel: Kernel,
    rows: usize,
    a: Vec<u8>,
    a_scales: Vec<u8>,
    b: Vec<u8>,
    b_scales: Vec<u8>,
}

impl Activated {
    fn new(random: &mut Random, target: Target) -> Self {
        let (rows, inter, k) =
            (120 + random.below(30), 128 * (1 + random.below(2)), 16 * (1 + random.below(20)));
        let spec = HopperSwigluSpec { stages: 2, ..HopperSwigluSpec::new(inter as u32, k as u32) };
        let mut codes = |count: usize| -> Vec<u8> {
            (0..count).map(|_| (random.below(127) + 128 * random.below(2)) as u8).collect()
        };
        let (a, b) = (codes(rows * k), codes(2 * inter * k));
        Self {
            spec,
            kernel: generate::<HopperFp8Swiglu>(&spec, target).expect("a kernel"),
            rows,
            a,
            a_scales: f32_bytes(&random.f32s(rows * k.div_ceil(128), Style::Normal)),
            b,
            // Small: sums of codes are large.
            b_scales: f32_bytes(&vec![1e-4; 2 * inter / 128 * k.div_ceil(128)]),
        }
    }
}

impl RowFunction for Activated {
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>> {
        let (k, inter) = (self.spec.k as usize, self.spec.inter as usize);
        let (rows, scale_bytes) = (selection.len(), 4 * inter / 128);
        let a = upload(machine, &gather(&self.a, k, selection));
        let b = upload(machine, &self.b);
        let arguments = HopperFp8SwigluArguments {
            a: self.spec.a_map(a, rows as u32),
            b: self.spec.b_map(b),
            a_scales: upload(machine, &gather(&self.a_scales, 4 * k.div_ceil(128), selection)),
            a_scale_pitch: 0,
            b_scales: upload(machine, &self.b_scales),
            row_weights: upload(machine, &[]),
            codes: upload(machine, &vec![0xa5; rows * inter]),
            scales: upload(machine, &vec![0xa5; rows * scale_bytes]),
            scale_pitch: 0,
            groups: upload(machine, &[]),
            error: upload(machine, &[0; 4]),
            rows: rows as u32,
            limit: 0.0,
            alpha: 0.0,
            beta: 0.0,
        };
        machine.run(&self.kernel, &arguments.pack()).expect("a run");
        let codes = machine.download(arguments.codes, rows * inter).expect("codes");
        let scales = machine.download(arguments.scales, rows * scale_bytes).expect("scales");
        codes
            .chunks(inter)
            .zip(scales.chunks(scale_bytes))
            .map(|(codes, scales)| [codes, scales].concat())
            .collect()
    }
}

/// Gradients of groups of tokens, of which each is a row: whatever the groups around it, and the tile.
struct Gradients {
    target: Target,
    m: usize,
    n: usize,
    /// The blocks of 128 tokens of each group.
    groups: Vec<Vec<TokenBlock>>,
}

/// Both operands of 128 tokens: codes `[rows, 128]` and scales `[rows]`.
struct TokenBlock {
    codes: [Vec<u8>; 2],
    scales: [Vec<f32>; 2],
}

impl Gradients {
    fn new(random: &mut Random, target: Target) -> Self {
        let (m, n) = (1 + random.below(150), 1 + random.below(150));
        let codes = |random: &mut Random, rows: usize| {
            (0..rows * 128).map(|_| (random.below(127) + 128 * random.below(2)) as u8).collect()
        };
        let block = |random: &mut Random| TokenBlock {
            codes: [m, n].map(|rows| codes(random, rows)),
            scales: [m, n].map(|rows| random.f32s(rows, Style::Normal)),
        };
        let groups = (0..5).map(|_| (0..random.below(4)).map(|_| block(random)).collect()).collect();
        Self { target, m, n, groups }
    }
}

impl RowFunction for Gradients {
    fn rows(&self) -> usize {
        self.groups.len()
    }

    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>> {
        let multicast = [Multicast::None, Multicast::A, Multicast::B][selection.len() % 3];
        let tile = Tile { m: 128, n: 16 * (1 + selection.len() as u32 % 4), stages: 3, multicast };
        let spec = HopperWeightGradientSpec {
            groups: Some(selection.len() as u32),
            ..HopperWeightGradientSpec::new(self.m as u32, self.n as u32, tile)
        };
        let kernel = generate::<HopperWeightGradient>(&spec, self.target).expect("a kernel");
        let blocks: Vec<_> = selection.iter().flat_map(|group| &self.groups[*group]).collect();
        let ends = selection.iter().scan(0, |end, group| {
            *end += self.groups[*group].len() as u32;
            Some(*end)
        });
        let offsets: Vec<u32> = std::iter::once(0).chain(ends).collect();
        let codes = |operand: usize, rows: usize| -> Vec<u8> {
            let row =
                |row: usize| blocks.iter().flat_map(move |block| &block.codes[operand][row * 128..][..128]);
            (0..rows).flat_map(row).copied().collect()
        };
        let scales = |operand: usize| -> Vec<f32> {
            blocks.iter().flat_map(|block| &block.scales[operand]).copied().collect()
        };
        let tokens = 128 * blocks.len() as u32;
        let group_bytes = 4 * self.m * spec.d_pitch as usize;
        let (a, b) = (upload(machine, &codes(0, self.m)), upload(machine, &codes(1, self.n)));
        let arguments = HopperWeightGradientArguments {
            a: spec.a_map(a, tokens, tokens),
            b: spec.b_map(b, tokens, tokens),
            a_scales: upload(machine, &f32_bytes(&scales(0))),
            b_scales: upload(machine, &f32_bytes(&scales(1))),
            d: upload(machine, &vec![0xa5; selection.len() * group_bytes]),
            offsets: upload(machine, &u32_bytes(&offsets)),
            error: upload(machine, &[0; 4]),
            k_blocks: blocks.len() as u32,
        };
        machine.run(&kernel, &arguments.pack()).expect("a run");
        let bytes = machine.download(arguments.d, selection.len() * group_bytes).expect("results");
        bytes.chunks(group_bytes).map(<[u8]>::to_vec).collect()
    }
}

/// Rows of router logits.
struct Logits {
    spec: RouterSpec,
    kernel: Kernel,
    tokens: usize,
    x: Vec<u8>,
    weight: Vec<u8>,
}

impl Logits {
    fn new(random: &mut Random, target: Target) -> Self {
        let (tokens, experts, k) = (10 + random.below(20), 1 + random.below(40), 1 + random.below(300));
        let spec = RouterSpec { experts: experts as u32, k: k as u32, weight: RouterWeight::F32 };
        Self {
            spec,
            kernel: generate::<Router>(&spec, target).expect("a kernel"),
            tokens,
            x: bf16_bytes(&random.bf16s(tokens * k, Style::Wide)),
            weight: f32_bytes(&random.f32s(experts * k, Style::Normal)),
        }
    }
}

impl RowFunction for Logits {
    fn rows(&self) -> usize {
        self.tokens
    }

    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>> {
        let row_bytes = 4 * self.spec.experts as usize;
        let arguments = RouterArguments {
            x: upload(machine, &gather(&self.x, 2 * self.spec.k as usize, selection)),
            weight: upload(machine, &self.weight),
            weight_bf16: upload(machine, &[]),
            logits: upload(machine, &vec![0xa5; selection.len() * row_bytes]),
            tokens: selection.len() as u32,
        };
        machine.run(&self.kernel, &arguments.pack()).expect("a run");
        let bytes = machine.download(arguments.logits, selection.len() * row_bytes).expect("results");
        bytes.chunks(row_bytes).map(<[u8]>::to_vec).collect()
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    for (name, prepare) in FAMILIES {
        let family = verify::FAMILIES.iter().find(|family| family.name == *name);
        let served = family.expect("a family of this name").targets;
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let target = random.pick(&targets(served));
            let precision = random.pick(&[Precision::Exact, Precision::Hardware]);
            let machine = |seed| {
                let options = Options { seed, precision, threads: 1, ..Options::default() };
                Simulated::new(target, options).expect("a machine")
            };
            let rows = prepare(&mut random, target);
            let all: Vec<usize> = (0..rows.rows()).collect();
            let expected = rows.run(&mut machine(random.bits()), &all);
            let alone = vec![random.below(all.len())];
            let some = (0..1 + random.below(2 * all.len())).map(|_| random.below(all.len())).collect();
            let backwards = all.iter().rev().copied().collect();
            for selection in [all.clone(), alone, some, backwards] {
                let got = rows.run(&mut machine(random.bits()), &selection);
                for (row, got) in selection.iter().zip(&got) {
                    assert_eq!(
                        got, &expected[*row],
                        "{name}, seed {seed}, {target}: row {row} of {selection:?}"
                    );
                }
            }
        }
    }
}
