//! Matrix products D = A * B on tensor cores, for every target from sm_80 on.
//!
//! ```text
//! bf16   D[i, j] = round(sum over k of A[i, k] * B[j, k])                                      all sums f32
//! fp8    D[i, j] = round(acc), for each 128 of K: acc = fma(scale_a * scale_b, sum A * B, acc)
//! ```
//!
//! | tensor | layout |
//! |---|---|
//! | A | `[rows, k]`, rows `a_pitch` apart |
//! | scales of A (fp8) | `[rows, ceil(k / 128)]`, f32 |
//! | B | `[n, k]`, or `[k, n]` for bf16 if asked, rows `b_pitch` apart |
//! | scales of B (fp8) | `[ceil(n / 128), ceil(k / 128)]`, f32 |
//! | D | `[rows, n]`, rows `d_pitch` apart; bf16 or f32 |
//!
//! [`Grouping`] says which weight a row of A meets. A CTA of four warps computes a tile of D. Tiles of A and B, 128 bytes
//! of K wide, come to shared memory by asynchronous copies, three stages in a ring; `ldmatrix` brings them to the
//! registers of `mma.sync`. Where rows are not aligned for copies of 4 bytes, elements come one by one.
//!
//! FP8 is multiplied as such where `mma.sync` does so: on sm_89 and from sm_120 on. Elsewhere fragments are converted to
//! binary16, which holds every e4m3 exactly, behind `ldmatrix`; the K of a fragment is then permuted within 16, in A and B
//! alike.
//!
//! Hazards: a stage is filled again after the barrier behind its last reader: the copy of tile `i + 2` is issued after
//! the barrier of round `i`, when all have left round `i - 1`, which read that stage. Every thread waits for its own
//! copies before the barrier.
//!
//! The order of a sum depends on `k` alone: a row has the same bits whatever rows surround it, wherever it stands.
//!
//! Sources: DeepSeek-V3 report (arXiv 2412.19437), section 3.3; PTX ISA 9.7.16.5. Oracle: `linear` and
//! `linear_quantized` of the CPU reference.

mod epilogue;
pub mod hopper;
mod product;
pub mod router;
mod rows;
pub mod tile;

use crate::rows::target_name;
use crate::rule::{Rule, require, within};
use crate::{BLOCK, Family};
use hopper::Groups;
use product::{Factors, Operands};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::{GenerateError, Header, Kernel, generate};
use rorqual_ptx::target::Target;
use tile::{THREADS, Tile};

/// The largest extent and pitch, in elements.
const LARGEST: u32 = 1 << 24;

/// What a product is specialised to. The number of rows is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct GemmSpec {
    /// Columns of D: outputs of the weight.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// The type of D.
    pub output: Output,
    /// Which weight a row meets.
    pub grouping: Grouping,
    /// How B lies; [`Order::OutputMajor`] for fp8.
    pub b_order: Order,
    /// Elements from a row of A to the next, at least `k`.
    pub a_pitch: u32,
    /// Elements from a row of B to the next, at least `k`, or `n` if [`Order::InputMajor`].
    pub b_pitch: u32,
    /// Elements from a row of D to the next, at least `n`.
    pub d_pitch: u32,
}

/// The type of D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Output {
    /// Activations.
    Bf16,
    /// Logits.
    F32,
}

/// How a weight lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Order {
    /// `[n, k]`: k contiguous.
    OutputMajor,
    /// `[k, n]`: n contiguous.
    InputMajor,
}

/// Which weight a row of A meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Grouping {
    /// One weight for all.
    Dense,
    /// Rows `offsets[g]..offsets[g + 1]` meet weight `g`; rows outside of all groups are not touched.
    Prefix {
        /// Weights.
        groups: u32,
    },
    /// A and D are `[groups, rows, ..]`; of group `g` the first `counts[g]` rows meet weight `g`, others are not touched.
    Masked {
        /// Weights.
        groups: u32,
    },
    /// Products of the same rows side by side, each with its slice of A, B and D.
    Batched {
        /// Products.
        batches: u32,
        /// Where the first element of A of a product is.
        a: Slices,
        /// Of B.
        b: Slices,
        /// Of D. Slices lie side by side within the rows of D, or one behind the other, at least `d_pitch` apart: then
        /// the `rows` of one must end before the next starts.
        d: Slices,
    },
}

/// Slice `i` starts at element `first + i * stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Slices {
    /// Of slice 0.
    pub first: u32,
    /// From a slice to the next.
    pub stride: u32,
}

impl Slices {
    /// That no element is of two of these slices of D, of `n` columns.
    fn are_apart(self, batches: u32, n: u32, d_pitch: u32) -> Result<(), String> {
        let [n, pitch, stride] = [n, d_pitch, self.stride].map(u64::from);
        let are_side_by_side = stride >= n && u64::from(batches - 1) * stride + n <= pitch;
        require(batches == 1 || are_side_by_side || stride >= pitch, || {
            format!(
                "`d.stride` is {stride}, expected {n} (`n`) or more with {batches} slices in {pitch} (`d_pitch`), or \
                 {pitch} or more"
            )
        })
    }
}

/// The part of a kernel's name that says the pitches of A, B and D, where they are not those without gaps.
fn pitch_name(pitches: [u32; 3], dense: [u32; 3]) -> String {
    let [a, b, d] = pitches;
    if pitches == dense { String::new() } else { format!("_pitch{a}x{b}x{d}") }
}

impl GemmSpec {
    /// A dense product with bf16 output and no gaps between rows.
    #[must_use]
    pub const fn new(n: u32, k: u32) -> Self {
        Self {
            n,
            k,
            output: Output::Bf16,
            grouping: Grouping::Dense,
            b_order: Order::OutputMajor,
            a_pitch: k,
            b_pitch: k,
            d_pitch: n,
        }
    }

    fn name(&self, family: &str, target: Target) -> String {
        let Self { n, k, .. } = *self;
        let output = if self.output == Output::F32 { "_f32" } else { "" };
        let order = if self.b_order == Order::InputMajor { "_inputmajor" } else { "" };
        let grouping = Groups::from(self.grouping).name();
        let dense = if self.b_order == Order::OutputMajor { [k, k, n] } else { [k, n, n] };
        let pitch = pitch_name([self.a_pitch, self.b_pitch, self.d_pitch], dense);
        let target = target_name(target);
        format!("{family}_n{n}_k{k}{output}{order}{grouping}{pitch}_{target}")
    }
}

/// A specialisation, and what follows from it.
struct Plan {
    spec: GemmSpec,
    tile: Tile,
    factors: Factors,
}

impl Plan {
    fn new(spec: GemmSpec, factors: Factors) -> Self {
        Self { spec, tile: Tile::choose(spec.n), factors }
    }

    fn header(&self, family: &str, target: Target) -> Header {
        let rows = Extent::argument("rows");
        let (tiles, layers) = match self.spec.grouping {
            Grouping::Dense => (rows.ceil_divide(self.tile.m), 1),
            // A group that is not empty begins at most one tile more than its rows fill.
            Grouping::Prefix { groups } => {
                (rows.clone().ceil_divide(self.tile.m).plus(rows.at_most(groups)), 1)
            }
            Grouping::Masked { groups } => (rows.ceil_divide(self.tile.m), groups),
            Grouping::Batched { batches, .. } => (rows.ceil_divide(self.tile.m), batches),
        };
        Header::new(self.spec.name(family, target), self.spec, target, THREADS).grid(
            tiles,
            self.spec.n.div_ceil(self.tile.n),
            layers,
        )
    }

    /// Blocks of 128 along K.
    fn k_blocks(&self) -> u32 {
        self.spec.k.div_ceil(BLOCK)
    }
}

rorqual_codegen::arguments! {
    /// Arguments of [`Bf16Gemm`]. Addresses are multiples of 16.
    pub struct Bf16GemmArguments, Bf16GemmParameters {
        /// `[rows, k]`, rows `a_pitch` apart; `[groups, rows, k]` if masked.
        a: In<Bf16>,
        /// `[n, k]` or `[k, n]`, rows `b_pitch` apart; one for each group.
        b: In<Bf16>,
        /// `[rows, n]`, rows `d_pitch` apart; `[groups, rows, n]` if masked. Not touched with f32 output.
        d: Out<Bf16>,
        /// As `d`; not touched with bf16 output.
        d_f32: Out<f32>,
        /// Offsets `[groups + 1]` of prefix groups, counts `[groups]` of masked ones; else not touched.
        groups: In<u32>,
        /// Gains [`GROUPS`](crate::device_error::GROUPS) if `groups` does not suit `rows`: the groups from the first
        /// bad offset on are left out, a count is cut to `rows`. `[1]`
        error: InOut<u32>,
        /// Rows of A, at least: bounds the offsets of prefix groups, and is the rows of each masked group.
        rows: u32,
    }
}

rorqual_codegen::arguments! {
    /// Arguments of [`Fp8Gemm`]. Addresses are multiples of 16.
    pub struct Fp8GemmArguments, Fp8GemmParameters {
        /// `[rows, k]`, rows `a_pitch` apart; `[groups, rows, k]` if masked.
        a: In<E4m3>,
        /// `[rows, ceil(k / 128)]`; `[groups, rows, ceil(k / 128)]` if masked.
        a_scales: In<f32>,
        /// `[n, k]`, rows `b_pitch` apart; one for each group.
        b: In<E4m3>,
        /// `[ceil(n / 128), ceil(k / 128)]`; one for each group.
        b_scales: In<f32>,
        /// `[rows, n]`, rows `d_pitch` apart; `[groups, rows, n]` if masked. Not touched with f32 output.
        d: Out<Bf16>,
        /// As `d`; not touched with bf16 output.
        d_f32: Out<f32>,
        /// Offsets `[groups + 1]` of prefix groups, counts `[groups]` of masked ones; else not touched.
        groups: In<u32>,
        /// Gains [`GROUPS`](crate::device_error::GROUPS) if `groups` does not suit `rows`: the groups from the first
        /// bad offset on are left out, a count is cut to `rows`. `[1]`
        error: InOut<u32>,
        /// Rows of A, at least: bounds the offsets of prefix groups, and is the rows of each masked group.
        rows: u32,
    }
}

// The rules that both families share.

const N: Rule<GemmSpec> = Rule::new("n", |spec| within("n", spec.n, 1..=LARGEST));

const K: Rule<GemmSpec> = Rule::new("k", |spec| within("k", spec.k, 1..=LARGEST));

const A_PITCH: Rule<GemmSpec> = Rule::new("a_pitch", |spec| pitch("a_pitch", spec.a_pitch, ("k", spec.k)));

const B_PITCH: Rule<GemmSpec> = Rule::new("b_pitch", |spec| {
    let row = if spec.b_order == Order::OutputMajor { ("k", spec.k) } else { ("n", spec.n) };
    pitch("b_pitch", spec.b_pitch, row)
});

const D_PITCH: Rule<GemmSpec> = Rule::new("d_pitch", |spec| pitch("d_pitch", spec.d_pitch, ("n", spec.n)));

/// That a pitch is at least the length of its rows.
fn pitch(name: &str, pitch: u32, (row, least): (&str, u32)) -> Result<(), String> {
    require((least..=LARGEST).contains(&pitch), || {
        format!("`{name}` is {pitch}, expected {least} (`{row}`) to {LARGEST}")
    })
}

/// Tiles beside each other are a dimension of the grid.
const GRID: Rule<GemmSpec> = Rule::new("grid", |spec| {
    let most = 65535 * Tile::choose(spec.n).n;
    require(spec.n <= most, || format!("`n` is {}, expected at most {most}", spec.n))
});

/// Weights are a dimension of the grid.
const WEIGHTS: Rule<GemmSpec> = Rule::new("weights", |spec| match spec.grouping {
    Grouping::Dense => Ok(()),
    Grouping::Prefix { groups } | Grouping::Masked { groups } => within("groups", groups, 1..=65535),
    Grouping::Batched { batches, .. } => within("batches", batches, 1..=65535),
});

/// No element of D is of two slices.
const SLICES: Rule<GemmSpec> = Rule::new("slices", |spec| {
    let Grouping::Batched { batches, d, .. } = spec.grouping else { return Ok(()) };
    d.are_apart(batches, spec.n, spec.d_pitch)
});

/// Products of bf16; see the [module](self).
#[derive(Debug)]
pub struct Bf16Gemm;

impl Family for Bf16Gemm {
    const NAME: &'static str = "gemm_bf16";
    type Spec = GemmSpec;
    type Arguments = Bf16GemmArguments;

    const RULES: &[Rule<GemmSpec>] = &[N, GRID, K, A_PITCH, B_PITCH, D_PITCH, WEIGHTS, SLICES];

    fn emit(spec: &GemmSpec, target: Target) -> Result<Kernel, GenerateError> {
        let plan = Plan::new(*spec, Factors::Bf16);
        generate::<Bf16GemmArguments>(plan.header(Self::NAME, target), |builder, arguments| {
            let Bf16GemmParameters { a, b, d, d_f32, groups, error, rows } = arguments;
            let operands = Operands { a: a.cast(), b: b.cast(), scales: None, d, d_f32, groups, error, rows };
            product::emit(builder, &plan, operands);
        })
    }
}

/// Block-scaled products of e4m3; see the [module](self).
#[derive(Debug)]
pub struct Fp8Gemm;

impl Family for Fp8Gemm {
    const NAME: &'static str = "gemm_fp8";
    type Spec = GemmSpec;
    type Arguments = Fp8GemmArguments;

    const RULES: &[Rule<GemmSpec>] = &[
        Rule::new("b_order", |spec| {
            require(spec.b_order == Order::OutputMajor, || {
                format!("`b_order` is {:?}, expected OutputMajor for fp8", spec.b_order)
            })
        }),
        Rule::new("grouping", |spec| {
            require(!matches!(spec.grouping, Grouping::Batched { .. }), || {
                "`grouping` is Batched, expected Dense, Prefix or Masked for fp8".to_owned()
            })
        }),
        N,
        GRID,
        K,
        A_PITCH,
        B_PITCH,
        D_PITCH,
        WEIGHTS,
    ];

    fn emit(spec: &GemmSpec, target: Target) -> Result<Kernel, GenerateError> {
        // Hopper converts the registers of each `mma.sync` of e4m3 to binary16: better once for each fragment.
        let factors = if matches!(target.sm, 89 | 120..) { Factors::Fp8 } else { Factors::Fp8AsF16 };
        let plan = Plan::new(*spec, factors);
        generate::<Fp8GemmArguments>(plan.header(Self::NAME, target), |builder, arguments| {
            let Fp8GemmParameters { a, a_scales, b, b_scales, d, d_f32, groups, error, rows } = arguments;
            let scales = Some([a_scales, b_scales]);
            let operands = Operands { a: a.cast(), b: b.cast(), scales, d, d_f32, groups, error, rows };
            product::emit(builder, &plan, operands);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    fn rule<F: Family>(spec: &F::Spec) -> String {
        F::check(spec).expect_err("a rule is broken")
    }

    #[test]
    fn broken_rules_name_the_field_and_what_it_should_be() {
        let good = GemmSpec::new(64, 96);
        assert_eq!(Bf16Gemm::check(&good), Ok(()));
        let broken = |spec| rule::<Bf16Gemm>(&spec);
        assert_eq!(broken(GemmSpec { n: 0, ..good }), "`n` is 0, expected 1 to 16777216");
        assert_eq!(
            broken(GemmSpec { a_pitch: 95, ..good }),
            "`a_pitch` is 95, expected 96 (`k`) to 16777216"
        );
        let input_major = GemmSpec { b_order: Order::InputMajor, b_pitch: 63, ..good };
        assert_eq!(broken(input_major), "`b_pitch` is 63, expected 64 (`n`) to 16777216");
        let empty = GemmSpec { grouping: Grouping::Prefix { groups: 0 }, ..good };
        assert_eq!(broken(empty), "`groups` is 0, expected 1 to 65535");
        assert_eq!(
            rule::<Fp8Gemm>(&GemmSpec { b_order: Order::InputMajor, ..good }),
            "`b_order` is InputMajor, expected OutputMajor for fp8"
        );
    }

    #[test]
    fn slices_of_d_do_not_overlap() {
        let batched = |batches, stride, d_pitch| {
            let [a, b] = [Slices { first: 0, stride: 96 }, Slices { first: 0, stride: 64 * 96 }];
            let d = Slices { first: 8, stride };
            GemmSpec { grouping: Grouping::Batched { batches, a, b, d }, d_pitch, ..GemmSpec::new(64, 96) }
        };
        // Side by side with and without gaps, one behind the other, and nothing to overlap with.
        for (batches, stride, d_pitch) in
            [(3, 64, 192), (3, 80, 224), (3, 192, 192), (3, u32::MAX, 64), (1, 0, 64)]
        {
            assert_eq!(Bf16Gemm::check(&batched(batches, stride, d_pitch)), Ok(()));
        }
        // On top of each other, by an element, beyond the end of a row by an element and, in 32 bits, by none.
        for (batches, stride, d_pitch) in [(2, 0, 64), (3, 63, 192), (3, 64, 191), (65535, 65539, 1 << 20)] {
            let ways = format!(
                "64 (`n`) or more with {batches} slices in {d_pitch} (`d_pitch`), or {d_pitch} or more"
            );
            assert_eq!(
                rule::<Bf16Gemm>(&batched(batches, stride, d_pitch)),
                format!("`d.stride` is {stride}, expected {ways}")
            );
        }
    }

    #[test]
    fn names_tell_specialisations_apart() {
        let target = Target::from_name("sm_80").expect("a target");
        let spec = GemmSpec::new(4096, 7168);
        let name = |spec: GemmSpec| spec.name("gemm_fp8", target);
        assert_eq!(name(spec), "gemm_fp8_n4096_k7168_sm80");
        let grouped = GemmSpec { grouping: Grouping::Prefix { groups: 8 }, output: Output::F32, ..spec };
        assert_eq!(name(grouped), "gemm_fp8_n4096_k7168_f32_prefix8_sm80");
        assert_eq!(name(GemmSpec { d_pitch: 5000, ..spec }), "gemm_fp8_n4096_k7168_pitch7168x7168x5000_sm80");
    }

    #[test]
    fn every_target_has_its_kernels() {
        for name in ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100a", "sm_120a"] {
            let target = Target::from_name(name).expect("a target");
            for spec in [GemmSpec::new(576, 7168), GemmSpec::new(LARGEST / 128, LARGEST)] {
                generate::<Fp8Gemm>(&spec, target).expect("a kernel");
                generate::<Bf16Gemm>(&spec, target).expect("a kernel");
            }
        }
    }

    #[test]
    fn the_grid_is_bounded_by_the_argument_alone() {
        let target = Target::from_name("sm_80").expect("a target");
        let spec = GemmSpec { grouping: Grouping::Prefix { groups: 8 }, ..GemmSpec::new(256, 64) };
        let kernel = generate::<Bf16Gemm>(&spec, target).expect("a kernel");
        let grid = |rows| {
            let arguments = Bf16GemmArguments { a: 0, b: 0, d: 0, d_f32: 0, groups: 0, error: 0, rows };
            let arguments = rorqual_codegen::contract::Arguments::pack(&arguments);
            kernel.contract.grid(&arguments, 1).expect("a grid")
        };
        assert_eq!([grid(0), grid(3), grid(64), grid(65)], [[0, 2, 1], [4, 2, 1], [9, 2, 1], [10, 2, 1]]);
    }
}
