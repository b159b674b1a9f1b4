//! Which kernels of Hopper serve a product that is stated as a portable one.
//!
//! A dense or batched product gets one for up to [`MOST_FEW_ROWS`] rows and one for more, with the tiles that
//! [`choose`](sm90::choose) finds for 64 rows and for 4096. Products in groups get a single one, which handles groups of
//! few rows by itself. A row has the same bits in all of them, so that the number of rows may decide at each launch.
//!
//! [`fused_swiglu`] has gate, up and their activation in one kernel, [`weight_gradient`] the gradient of a weight.
//!
//! `choices.txt` has the tiles of everything that ships, to show what a change of the model changes.

use super::sm90::{self, Problem, Weights};
use crate::gemm::hopper::{
    Format, Groups, HopperBf16Gemm, HopperFp8Gemm, HopperFp8Swiglu, HopperGemmSpec, HopperSwigluSpec,
    HopperWeightGradient, HopperWeightGradientSpec, Multicast, Tile,
};
use crate::gemm::{GemmSpec, Grouping, Order, Output};
use crate::targets::Targets;
use crate::{AnySpec, Family, Registered, ScaleFormat};
use rorqual_ptx::target::Target;

/// Rows up to which a dense or batched product has few.
pub const MOST_FEW_ROWS: u32 = 64;

/// Rows that are expected of a dense or batched product that has many.
const MANY_ROWS: u32 = 4096;

/// Rows that are expected of all groups together.
const ROWS_OF_GROUPS: u32 = 32768;

/// Multiprocessors of an H100 SXM. Kernels are the same for every chip of the architecture.
const MULTIPROCESSORS: u32 = 132;

/// Tokens that are expected of the gradient of a weight that all of them have met.
const MANY_TOKENS: u32 = MANY_ROWS;

/// A tile that suits every product: what the rules still refuse is for other reasons.
const PLAIN: Tile = Tile { m: 128, n: 64, stages: 3, multicast: Multicast::None };

/// The kernels of Hopper for a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopperChoice {
    /// What is multiplied, which says the family.
    pub format: Format,
    /// For up to [`MOST_FEW_ROWS`] rows.
    pub few: HopperGemmSpec,
    /// For more rows; of products in groups the same as `few`.
    pub many: HopperGemmSpec,
}

impl HopperChoice {
    /// The kernels for a portable product on a target; FP8 has row-major scales.
    ///
    /// # Errors
    ///
    /// Why there are none, in words: the target, or the first rule of the family that is broken.
    pub fn new(format: Format, spec: &GemmSpec, target: Target) -> Result<Self, String> {
        serves(target)?;
        let &GemmSpec { n, k, output, grouping, b_order, a_pitch, b_pitch, d_pitch } = spec;
        let plain = HopperGemmSpec {
            output,
            grouping: Groups::from(grouping),
            b_order,
            a_pitch,
            b_pitch,
            d_pitch,
            ..HopperGemmSpec::new(format, n, k, PLAIN)
        };
        match format {
            Format::Fp8 => HopperFp8Gemm::check(&plain),
            Format::Bf16 => HopperBf16Gemm::check(&plain),
        }?;
        let (weights, [few, many]) = match grouping {
            Grouping::Dense => (Weights::Dense, [MOST_FEW_ROWS, MANY_ROWS]),
            Grouping::Prefix { groups } | Grouping::Masked { groups } => {
                (Weights::Groups(groups), [ROWS_OF_GROUPS; 2])
            }
            Grouping::Batched { batches, .. } => (
                Weights::Batches(batches),
                [MOST_FEW_ROWS, MANY_ROWS].map(|rows| rows.saturating_mul(batches)),
            ),
        };
        let with_tile = |rows| {
            let multiprocessors = MULTIPROCESSORS;
            let problem = Problem { format, rows, n, k, weights, b_order, output, multiprocessors };
            HopperGemmSpec { tile: sm90::choose(&problem).tile, ..plain }
        };
        let few_rows = with_tile(few);
        Ok(Self { format, few: few_rows, many: if few == many { few_rows } else { with_tile(many) } })
    }

    /// The kernel for a number of rows.
    #[must_use]
    pub const fn for_rows(&self, rows: u32) -> &HopperGemmSpec {
        if rows <= MOST_FEW_ROWS { &self.few } else { &self.many }
    }

    /// Whether one kernel serves all.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.few == self.many
    }

    /// One of its kernels as one of any family.
    #[must_use]
    pub fn any(&self, spec: &HopperGemmSpec) -> AnySpec {
        match self.format {
            Format::Fp8 => HopperFp8Gemm::any(spec),
            Format::Bf16 => HopperBf16Gemm::any(spec),
        }
    }
}

/// The kernel for gate, up and their activation, without a clamp, and its quantisation at once; scales are row-major, rows
/// have no gaps. It has the bits of a product and `moe_swiglu` behind each other; [`fuses`] says for how many rows it is
/// meant.
///
/// # Errors
///
/// Why there is none, in words: the target, or the first rule of the family that is broken.
pub fn fused_swiglu(
    inter: u32,
    k: u32,
    grouping: Grouping,
    scale_format: ScaleFormat,
    target: Target,
) -> Result<HopperSwigluSpec, String> {
    serves(target)?;
    let grouping = Groups::from(grouping);
    let spec = HopperSwigluSpec { grouping, scale_format, ..HopperSwigluSpec::new(inter, k) };
    HopperFp8Swiglu::check(&spec).map(|()| spec)
}

/// Whether there are so many rows, of all groups together, that the fused kernel's tiles of 128 rows fill: more than half a
/// tile for each group.
#[must_use]
pub fn fuses(spec: &HopperSwigluSpec, rows: u32) -> bool {
    rows / spec.grouping.weights().max(1) > MOST_FEW_ROWS
}

/// The kernel for the gradient `[m, n]` of a weight, or of each of `groups` weights among which tokens are expected to be
/// shared out evenly.
///
/// # Errors
///
/// Why there is none, in words: the target, or the first rule of the family that is broken.
pub fn weight_gradient(
    m: u32,
    n: u32,
    groups: Option<u32>,
    target: Target,
) -> Result<HopperWeightGradientSpec, String> {
    serves(target)?;
    let with_tile = |tile| HopperWeightGradientSpec { groups, ..HopperWeightGradientSpec::new(m, n, tile) };
    let plain = with_tile(PLAIN);
    HopperWeightGradient::check(&plain)?;
    let (weights, tokens) = match groups {
        None => (Weights::Dense, MANY_TOKENS),
        Some(groups) => (Weights::Batches(groups), ROWS_OF_GROUPS / groups),
    };
    let problem = Problem {
        format: Format::Fp8,
        rows: m.saturating_mul(groups.unwrap_or(1)),
        n,
        k: tokens,
        weights,
        b_order: Order::OutputMajor,
        output: Output::F32,
        multiprocessors: MULTIPROCESSORS,
    };
    // These tiles have scales of columns too, for which there may be a stage less, and registers for fewer columns.
    let considered = sm90::choose(&problem).considered.into_iter().map(|estimate| estimate.tile);
    let mut specs = considered.flat_map(|tile| {
        let shallower = [tile.stages, tile.stages - 1].map(|stages| Tile { stages, ..tile });
        shallower.into_iter().map(&with_tile)
    });
    Ok(specs.find(|spec| HopperWeightGradient::check(spec).is_ok()).unwrap_or(plain))
}

/// That there are kernels of Hopper for a target.
fn serves(target: Target) -> Result<(), String> {
    let expected = Targets::Hopper;
    if expected.serve(target) { Ok(()) } else { Err(format!("the target is {target}, expected {expected}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{MODELS, specs_of};
    use crate::gemm::{Order, Output, Slices};
    use proptest::prelude::*;
    use std::fmt::Write;

    const CHOICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tune/choices.txt");

    fn hopper() -> Target {
        "sm_90a".parse().expect("a target")
    }

    #[test]
    fn the_tiles_of_the_catalog_are_those_of_the_file() {
        let mut text = String::new();
        for (model, shape) in MODELS {
            writeln!(text, "{model}").expect("a string grows");
            for (spec, reason) in specs_of(shape) {
                let (format, spec) = match spec {
                    AnySpec::Fp8Gemm(spec) => (Format::Fp8, spec),
                    AnySpec::Bf16Gemm(spec) => (Format::Bf16, spec),
                    AnySpec::HopperWeightGradient(spec) => {
                        let HopperWeightGradientSpec { m, n, groups, tile, .. } = spec;
                        let problem = format!("1d1d {m} x {n} x {}", groups.unwrap_or(1));
                        writeln!(text, "  {problem:<24} {:<32} {reason}", tile.name())
                            .expect("a string grows");
                        continue;
                    }
                    _ => continue,
                };
                let choice = HopperChoice::new(format, &spec, hopper()).expect("a product of Hopper");
                let weights = Groups::from(spec.grouping).weights();
                let problem = format!("{format:?} {} x {} x {weights}", spec.n, spec.k);
                let [few, many] = [choice.few, choice.many].map(|spec| spec.tile.name());
                writeln!(text, "  {problem:<24} {few:<12} {many:<19} {reason}").expect("a string grows");
            }
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(CHOICES, &text).expect("a file that can be written");
        }
        let written = std::fs::read_to_string(CHOICES).expect("choices.txt");
        assert!(text == written, "tiles are not those of {CHOICES}, which BLESS=1 writes; they are\n{text}");
    }

    #[test]
    fn what_is_refused_is_told_in_words() {
        let refused = |format, spec, target: &str| {
            HopperChoice::new(format, &spec, target.parse().expect("a target")).expect_err("no product")
        };
        let spec = GemmSpec::new(64, 128);
        assert_eq!(refused(Format::Fp8, spec, "sm_80"), "the target is sm_80, expected sm_90a");
        assert_eq!(refused(Format::Fp8, spec, "sm_100a"), "the target is sm_100a, expected sm_90a");
        assert_eq!(
            refused(Format::Fp8, GemmSpec { a_pitch: 136, ..spec }, "sm_90a"),
            "`a_pitch` is 136, expected a multiple of 16 from 128 (`k`) to 16777216"
        );
        assert_eq!(
            refused(Format::Bf16, GemmSpec { d_pitch: 68, ..spec }, "sm_90a"),
            "`d_pitch` is 68, expected a multiple of 8 from 64 (`n`) to 16777216"
        );
        assert_eq!(
            refused(Format::Fp8, GemmSpec { b_order: Order::InputMajor, ..spec }, "sm_90a"),
            "`b_order` is InputMajor, expected OutputMajor for fp8"
        );
        let fused = |inter, target: &str| {
            let target = target.parse().expect("a target");
            fused_swiglu(inter, 512, Grouping::Dense, ScaleFormat::F32, target).expect_err("no kernel")
        };
        assert_eq!(fused(256, "sm_80"), "the target is sm_80, expected sm_90a");
        assert_eq!(
            fused(200, "sm_90a"),
            "`inter` is 200, expected a multiple of 128 from 128 to 8388608; hopper_gemm_fp8 and moe_swiglu serve other widths"
        );
        let gradient = weight_gradient(64, 64, Some(0), hopper()).expect_err("no gradient");
        assert_eq!(gradient, "`groups` is 0, expected 1 to 65535");
    }

    #[test]
    fn rows_are_fused_where_they_fill_more_than_half_of_each_tile() {
        let spec = |grouping| fused_swiglu(256, 512, grouping, ScaleFormat::F32, hopper()).expect("a kernel");
        let dense = spec(Grouping::Dense);
        assert_eq!([0, 64, 65].map(|rows| fuses(&dense, rows)), [false, false, true]);
        let grouped = spec(Grouping::Prefix { groups: 8 });
        assert_eq!([65, 8 * 64 + 7, 8 * 65].map(|rows| fuses(&grouped, rows)), [false, false, true]);
    }

    fn specs() -> impl Strategy<Value = (Format, GemmSpec)> {
        let formats = prop_oneof![Just(Format::Fp8), Just(Format::Bf16)];
        let outputs = prop_oneof![Just(Output::Bf16), Just(Output::F32)];
        let orders = prop_oneof![Just(Order::OutputMajor), Just(Order::InputMajor)];
        let extents = || (1..1200_u32).prop_map(|chunks| 16 * chunks);
        let groupings = (0..4, 1..300_u32);
        (formats, outputs, orders, extents(), extents(), groupings).prop_map(
            |(format, output, order, n, k, (grouping, weights))| {
                let slices = |stride| Slices { first: 0, stride };
                let grouping = match grouping {
                    0 => Grouping::Dense,
                    1 => Grouping::Prefix { groups: weights },
                    2 => Grouping::Masked { groups: weights },
                    _ => Grouping::Batched { batches: weights, a: slices(k), b: slices(k), d: slices(n) },
                };
                let batches = if let Grouping::Batched { batches, .. } = grouping { batches } else { 1 };
                let (b_order, b_pitch) = match (format, order) {
                    (Format::Bf16, Order::InputMajor) => (order, n),
                    _ => (Order::OutputMajor, k),
                };
                let d_pitch = n * batches;
                (format, GemmSpec { output, grouping, b_order, b_pitch, d_pitch, ..GemmSpec::new(n, k) })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_chosen_for_a_gradient_obeys_the_rules(
            [m, n] in [1..40_000_u32, 1..40_000],
            groups in proptest::option::of(1..300_u32),
        ) {
            let spec = weight_gradient(m, n, groups, hopper()).expect("a gradient");
            prop_assert_eq!(HopperWeightGradient::check(&spec), Ok(()));
        }

        #[test]
        fn what_is_chosen_obeys_the_rules((format, spec) in specs()) {
            let is_batched = matches!(spec.grouping, Grouping::Batched { .. });
            match HopperChoice::new(format, &spec, hopper()) {
                Err(rule) => prop_assert!(format == Format::Fp8 && is_batched, "{rule}"),
                Ok(choice) => {
                    prop_assert_eq!(choice.any(choice.for_rows(1)).check(), Ok(()));
                    prop_assert_eq!(choice.any(choice.for_rows(MOST_FEW_ROWS + 1)).check(), Ok(()));
                    let is_grouped = !is_batched && spec.grouping != Grouping::Dense;
                    prop_assert!(choice.is_one() || !is_grouped);
                }
            }
        }
    }
}
