//! Rows of the products of Hopper: each has the same bits in every tile that its architecture has, with operands swapped or
//! not, in whatever group order, and in every batch.
//!
//! A selection is computed in one way, the next in another: with tiles of few and of many rows, one launch for each
//! weight, and with groups by offsets, by counts and by row, among which those of few rows have their operands swapped.

use super::batch_invariance::{RowFunction, gather, upload};
use rorqual::verify::Machine;
use rorqual::verify::bytes::{bf16_bytes, f32_bytes, u32_bytes};
use rorqual::verify::random::{Random, Style};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::Output;
use rorqual_kernels::gemm::hopper::{
    Format, Groups, HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments,
    HopperGemmSpec, Multicast, Tile,
};
use rorqual_kernels::{Kernel, generate};
use rorqual_ptx::target::Target;
use std::cell::Cell;

/// Weights, of which a row meets one.
const WEIGHTS: usize = 3;

/// A byte of rows that nobody asked for.
const FILLER: u8 = 0x3c;

/// Rows of A, each with its weight.
pub struct HopperProduct {
    n: usize,
    rows: usize,
    a: Vec<u8>,
    a_scales: Vec<u8>,
    b: Vec<u8>,
    b_scales: Vec<u8>,
    weight_of: Vec<usize>,
    ways: Vec<(HopperGemmSpec, Kernel)>,
    /// Selections that have been computed.
    runs: Cell<usize>,
}

/// Rows as they lie in A and D.
struct Placed {
    /// Of each place the row, if it has one.
    rows: Vec<Option<usize>>,
    /// The argument `groups`.
    groups: Vec<u32>,
    /// The argument `rows`.
    count: usize,
}

impl HopperProduct {
    pub fn new(random: &mut Random, target: Target, format: Format) -> Self {
        let rows = 70 + random.below(30);
        let (n, k) = (4 * (1 + random.below(60)), 16 * (1 + random.below(20)));
        let blocks = k.div_ceil(128);
        let mut elements = |count: usize| match format {
            Format::Bf16 => bf16_bytes(&random.bf16s(count, Style::Wide)),
            Format::Fp8 => (0..count).map(|_| (random.below(127) + 128 * random.below(2)) as u8).collect(),
        };
        let (a, b) = (elements(rows * k), elements(WEIGHTS * n * k));
        let tile = |m, n, stages, multicast| Tile { m, n, stages, multicast };
        let groups = WEIGHTS as u32;
        let mut ways = vec![
            (Groups::Dense, tile(64, 16, 4, Multicast::None)),
            (Groups::Dense, tile(128, 192, 3, Multicast::B)),
            (Groups::Dense, tile(256, 64, 3, Multicast::A)),
            (Groups::Prefix { groups }, tile(128, 64, 3, Multicast::None)),
            (Groups::Masked { groups }, tile(128, 96, 4, Multicast::None)),
            (Groups::Indexed { groups }, tile(128, 32, 3, Multicast::None)),
        ];
        // Six ways, of which any may be the first: the others are compared with it.
        ways.rotate_left(random.below(6));
        let kernel = |(grouping, tile)| {
            let output = Output::F32;
            let spec =
                HopperGemmSpec { output, grouping, ..HopperGemmSpec::new(format, n as u32, k as u32, tile) };
            let generated = match format {
                Format::Bf16 => generate::<HopperBf16Gemm>(&spec, target),
                Format::Fp8 => generate::<HopperFp8Gemm>(&spec, target),
            };
            (spec, generated.expect("a kernel"))
        };
        Self {
            n,
            rows,
            a,
            a_scales: f32_bytes(&random.f32s(rows * blocks, Style::Normal)),
            b,
            b_scales: f32_bytes(&random.f32s(WEIGHTS * n.div_ceil(128) * blocks, Style::Normal)),
            weight_of: (0..rows).map(|_| random.below(WEIGHTS)).collect(),
            ways: ways.into_iter().map(kernel).collect(),
            runs: Cell::new(0),
        }
    }

    /// A selection as a grouping wants it, its groups being the weights of `order`. With its places in the result.
    fn place(&self, grouping: Groups, order: &[usize], selection: &[usize]) -> (Placed, Vec<usize>) {
        let group_of =
            |row: &usize| order.iter().position(|weight| *weight == self.weight_of[*row]).expect("all");
        let mut sorted: Vec<usize> = (0..selection.len()).collect();
        let counts: Vec<usize> = (0..order.len())
            .map(|group| selection.iter().filter(|row| group_of(row) == group).count())
            .collect();
        let mut rows = vec![];
        let mut places = vec![0; selection.len()];
        let groups = match grouping {
            Groups::Indexed { .. } => {
                rows.extend(selection.iter().copied().map(Some));
                places.copy_from_slice(&sorted);
                selection.iter().map(|row| group_of(row) as u32).collect()
            }
            Groups::Masked { .. } => {
                rows = vec![None; order.len() * selection.len()];
                let mut filled = vec![0; order.len()];
                for (at, row) in selection.iter().enumerate() {
                    let group = group_of(row);
                    places[at] = group * selection.len() + filled[group];
                    rows[places[at]] = Some(*row);
                    filled[group] += 1;
                }
                counts.iter().map(|count| *count as u32).collect()
            }
            _ => {
                sorted.sort_by_key(|at| group_of(&selection[*at]));
                for (place, at) in sorted.iter().enumerate() {
                    rows.push(Some(selection[*at]));
                    places[*at] = place;
                }
                (0..=order.len()).map(|group| counts[..group].iter().sum::<usize>() as u32).collect()
            }
        };
        (Placed { rows, groups, count: selection.len() }, places)
    }

    /// The rows of D of each place.
    fn launch(
        &self,
        machine: &mut dyn Machine,
        (spec, kernel): &(HopperGemmSpec, Kernel),
        order: &[usize],
        placed: &Placed,
    ) -> Vec<Vec<u8>> {
        let scattered = |bytes: &[u8]| -> Vec<u8> {
            let row_bytes = bytes.len() / self.rows;
            let row = |row: &Option<usize>| match row {
                Some(row) => bytes[row * row_bytes..][..row_bytes].to_vec(),
                None => vec![FILLER; row_bytes],
            };
            placed.rows.iter().flat_map(row).collect()
        };
        let of_weights = |bytes: &[u8]| gather(bytes, bytes.len() / WEIGHTS, order);
        let (a, b) = (upload(machine, &scattered(&self.a)), upload(machine, &of_weights(&self.b)));
        let row_bytes = 4 * self.n;
        let (d, d_f32) = (upload(machine, &[]), upload(machine, &vec![0xa5; placed.rows.len() * row_bytes]));
        let (groups, error) = (upload(machine, &u32_bytes(&placed.groups)), upload(machine, &[0; 4]));
        let bias = upload(machine, &[]);
        let rows = placed.count as u32;
        let ([a, a_few], [b, b_few]) = (spec.a_maps(a, rows), spec.b_maps(b));
        let arguments = if spec.a_scales.is_some() {
            let a_scales = upload(machine, &scattered(&self.a_scales));
            let b_scales = upload(machine, &of_weights(&self.b_scales));
            let a_scale_pitch = 0;
            HopperFp8GemmArguments {
                a,
                a_few,
                b,
                b_few,
                a_scales,
                a_scale_pitch,
                b_scales,
                bias,
                d,
                d_f32,
                groups,
                error,
                rows,
            }
            .pack()
        } else {
            HopperBf16GemmArguments { a, a_few, b, b_few, bias, d, d_f32, groups, error, rows }.pack()
        };
        machine.run(kernel, &arguments).expect("a run");
        let bytes = machine.download(d_f32, placed.rows.len() * row_bytes).expect("results");
        bytes.chunks(row_bytes).map(<[u8]>::to_vec).collect()
    }
}

impl RowFunction for HopperProduct {
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&self, machine: &mut dyn Machine, selection: &[usize]) -> Vec<Vec<u8>> {
        let run = self.runs.replace(self.runs.get() + 1);
        let way = &self.ways[run % self.ways.len()];
        let mut order: Vec<usize> = (0..WEIGHTS).collect();
        order.rotate_left(run % WEIGHTS);
        if way.0.grouping != Groups::Dense {
            let (placed, places) = self.place(way.0.grouping, &order, selection);
            let results = self.launch(machine, way, &order, &placed);
            return places.iter().map(|place| results[*place].clone()).collect();
        }
        let mut results = vec![vec![]; selection.len()];
        for weight in order {
            let of_weight: Vec<usize> =
                (0..selection.len()).filter(|at| self.weight_of[selection[*at]] == weight).collect();
            let rows: Vec<Option<usize>> = of_weight.iter().map(|at| Some(selection[*at])).collect();
            let placed = Placed { count: rows.len(), rows, groups: vec![] };
            for (at, row) in of_weight.iter().zip(self.launch(machine, way, &[weight], &placed)) {
                results[*at] = row;
            }
        }
        results
    }
}
