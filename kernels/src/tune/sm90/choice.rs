//! The choice among the candidates, by the times of the model.

use super::candidates::candidates;
use super::cost::Estimate;
use super::problem::Problem;
use crate::gemm::hopper::tile::Tile;
use std::cmp::Ordering;

/// Times up to this much longer than the shortest are equally good.
pub(super) const TIE: f64 = 1.01;
/// Steps in which waste is compared.
const WASTE_STEPS: f64 = 20.0;

/// A tile for a problem, and what it was chosen from.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The problem.
    pub problem: Problem,
    /// The tile chosen.
    pub tile: Tile,
    /// What the model says of it.
    pub estimate: Estimate,
    /// All candidates, best first: those that are equally fast as the choice's rule orders them, then others by time.
    pub considered: Vec<Estimate>,
}

/// Chooses the tile of a problem, as the [module](super) says.
#[must_use]
pub fn choose(problem: &Problem) -> Choice {
    let mut considered: Vec<_> =
        candidates(problem).into_iter().map(|tile| Estimate::of(problem, tile)).collect();
    let equal = TIE * shortest(&considered);
    considered.sort_by(|one, other| {
        // All that are equally fast count as the fastest.
        let time = |estimate: &Estimate| estimate.microseconds.max(equal);
        time(one).total_cmp(&time(other)).then_with(|| one.by_waste(other, problem))
    });
    // There is always one: 128 rows of 64 columns fit.
    let estimate = considered[0].clone();
    Choice { problem: *problem, tile: estimate.tile, estimate, considered }
}

/// The shortest of the predicted times.
pub(super) fn shortest(estimates: &[Estimate]) -> f64 {
    estimates.iter().map(|estimate| estimate.microseconds).fold(f64::INFINITY, f64::min)
}

impl Estimate {
    /// The order of tiles that are equally fast, as the [module](super) has it. Two different tiles are never equal.
    fn by_waste(&self, other: &Self, problem: &Problem) -> Ordering {
        let bytes = |estimate: &Self| estimate.tile.shared_bytes(problem.format, problem.output);
        let name = |estimate: &Self| (estimate.tile.m, estimate.tile.n, estimate.tile.multicast);
        let waste = |estimate: &Self| (WASTE_STEPS * estimate.waste).floor();
        waste(self)
            .total_cmp(&waste(other))
            .then(self.waves.cmp(&other.waves))
            .then(bytes(self).cmp(&bytes(other)))
            .then(self.l2_bytes.total_cmp(&other.l2_bytes))
            .then(name(self).cmp(&name(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::hopper::tile::{Format, MOST_REGISTERS, MOST_SHARED_BYTES, MOST_STAGES, Multicast};
    use crate::gemm::{Order, Output};
    use crate::tune::sm90::Weights;
    use crate::tune::sm90::candidates::LEAST_STAGES;
    use crate::tune::sm90::cost::LAUNCH_MICROSECONDS;
    use Multicast::{A, B, None};
    use Weights::{Batches, Dense, Groups};
    use proptest::prelude::*;

    const FP8: Problem = Problem::FP8;
    const BF16: Problem = Problem { format: Format::Bf16, ..FP8 };

    /// Rows, columns and cluster of the choice.
    fn chosen(problem: Problem) -> (u32, u32, Multicast) {
        let Tile { m, n, multicast, .. } = choose(&problem).tile;
        (m, n, multicast)
    }

    #[test]
    fn few_rows_get_as_many_narrow_tiles_as_there_are_multiprocessors() {
        for rows in [1, 64] {
            let fp8 = |n, k| chosen(Problem { rows, n, k, ..FP8 });
            assert_eq!(fp8(2112, 7168), (64, 16, None));
            assert_eq!(fp8(4096, 7168), (64, 32, None));
            assert_eq!(fp8(7168, 2048), (64, 56, None));
            assert_eq!(fp8(7168, 16384), (64, 56, None));
            assert_eq!(fp8(24576, 1536), (64, 192, None));
        }
        let fp8 = |n, k| chosen(Problem { rows: 128, n, k, ..FP8 });
        assert_eq!(fp8(2112, 7168), (64, 32, None));
        assert_eq!(fp8(4096, 7168), (64, 64, None));
        assert_eq!(fp8(24576, 1536), (128, 192, A));
    }

    #[test]
    fn many_rows_get_the_tiles_that_spare_shared_memory() {
        let fp8 = |n, k| chosen(Problem { n, k, ..FP8 });
        // 352 tiles: three waves of 132, of which the last is not full.
        assert_eq!(fp8(2112, 7168), (128, 192, B));
        assert_eq!(fp8(24576, 1536), (128, 192, B));
        assert_eq!(fp8(4096, 7168), (256, 128, A));
        assert_eq!(fp8(7168, 16384), (256, 128, A));
        let grouped = |groups, n, k| chosen(Problem { rows: 32768, weights: Groups(groups), n, k, ..FP8 });
        for groups in [4, 8] {
            assert_eq!(grouped(groups, 4096, 7168), (128, 192, None));
            assert_eq!(grouped(groups, 7168, 2048), (128, 192, None));
        }
        for (n, k) in [(24576, 1536), (7168, 16384), (4096, 7168), (7168, 2048)] {
            assert_eq!(chosen(Problem { n, k, ..BF16 }), (128, 256, B));
        }
    }

    #[test]
    fn zeros_count_as_ones() {
        let zeros = Problem { rows: 0, n: 0, k: 0, weights: Batches(0), multiprocessors: 0, ..FP8 };
        let ones = Problem { rows: 1, n: 1, k: 1, weights: Batches(1), multiprocessors: 1, ..FP8 };
        assert_eq!(choose(&zeros).considered, choose(&ones).considered);
        assert_eq!(chosen(zeros), (64, 8, None));
    }

    fn problems() -> impl Strategy<Value = Problem> {
        let extent = || prop_oneof![0..300_u32, 0..40_000_u32, any::<u32>()];
        let formats = prop_oneof![Just(Format::Fp8), Just(Format::Bf16)];
        let outputs = prop_oneof![Just(Output::Bf16), Just(Output::F32)];
        let orders = prop_oneof![Just(Order::OutputMajor), Just(Order::InputMajor)];
        let weights = prop_oneof![Just(Dense), (0..300_u32).prop_map(Groups), (0..300_u32).prop_map(Batches)];
        (formats, outputs, extent(), extent(), extent(), (weights, orders), 0..200_u32).prop_map(
            |(format, output, rows, n, k, (weights, b_order), multiprocessors)| Problem {
                format,
                rows,
                n,
                k,
                weights,
                b_order,
                output,
                multiprocessors,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: Option::None, ..ProptestConfig::default() })]

        #[test]
        fn every_choice_can_be_made_and_none_is_faster(problem in problems()) {
            let choice = choose(&problem);
            let Tile { m, n, stages, multicast } = choice.tile;
            prop_assert_eq!(choice.tile.check(problem.format, problem.output), Ok(()));
            prop_assert!(choice.tile.shared_bytes(problem.format, problem.output) <= MOST_SHARED_BYTES);
            prop_assert!(choice.tile.registers(problem.format) <= MOST_REGISTERS);
            prop_assert!((LEAST_STAGES..=MOST_STAGES).contains(&stages));
            prop_assert!(multicast == None || (m >= 128 && problem.weights == Dense));
            prop_assert!(!matches!(problem.weights, Groups(_)) || (m == 128 && n >= 32));
            prop_assert!(problem.b_order == Order::OutputMajor || (n % 64 == 0 && multicast != B));
            prop_assert_eq!(&choice.estimate, &choice.considered[0]);
            for other in &choice.considered {
                prop_assert!(choice.estimate.microseconds <= TIE * other.microseconds, "{:?}", other.tile);
                prop_assert!((-1e-9..1.0).contains(&other.waste), "{:?} wastes {}", other.tile, other.waste);
                let least = LAUNCH_MICROSECONDS + other.multiprocessor_microseconds.max(other.memory_microseconds);
                prop_assert!(other.microseconds >= least && other.microseconds.is_finite());
            }
        }
    }
}
