//! The tiles that a problem may get.

use super::cost::BlockClocks;
use super::problem::{Problem, Weights};
use crate::gemm::Order;
use crate::gemm::hopper::SPAN;
use crate::gemm::hopper::tile::{Format, K_BYTES, MOST_STAGES, Multicast, Tile};

/// Stages, at least: one being multiplied, one ready, one under way.
pub(super) const LEAST_STAGES: u32 = 3;
/// Latency of a copy that the stages are to hide, in clocks: a microsecond.
const HIDDEN_CLOCKS: f64 = 1830.0;

/// Whether the stages cover the time from the release of a stage until it is full again: a microsecond, the way of its
/// bytes from L2, and the time that it is held.
fn hides_latency(tile: &Tile, format: Format) -> bool {
    let clocks = BlockClocks::of(tile, format);
    let (_, block) = clocks.longest();
    f64::from(tile.stages) * block >= HIDDEN_CLOCKS + clocks.l2 + 1.5 * block
}

/// The tiles that a problem may get: each with as many stages as fit, but no tile of fewer than 3. If enough to hide the
/// latency of copies, or at most an eighth fewer, the most that divide the blocks of K: then a tile is whole rounds of the
/// ring, and its addresses are literals. With 64 rows, columns go by 8 up to 64; all others go by 16. Clusters are for dense
/// products of 128 rows or more, where both neighbours exist. Where columns of B are contiguous, a tile is whole copies of
/// them, for one CTA.
#[must_use]
pub fn candidates(problem: &Problem) -> Vec<Tile> {
    let narrow = (8..=64).step_by(8).map(|n| (64, n));
    let wide = (80..=256).step_by(16).map(|n| (64, n));
    let tall = [128, 256].into_iter().flat_map(|m| (16..=256).step_by(16).map(move |n| (m, n)));
    let blocks = problem.k.max(1).div_ceil(K_BYTES / problem.format.bytes());
    let mut tiles = Vec::new();
    for (m, n) in narrow.chain(wide).chain(tall) {
        for multicast in [Multicast::None, Multicast::A, Multicast::B] {
            let has_neighbour = match multicast {
                Multicast::None => true,
                Multicast::A => problem.weights == Weights::Dense && problem.n > n,
                Multicast::B => problem.weights == Weights::Dense && problem.rows > m,
            };
            // Only tiles of 128 rows swap the operands of groups that have few.
            let suits_weights = !matches!(problem.weights, Weights::Groups(_)) || (m == 128 && n >= 32);
            let is_whole_copies = n.is_multiple_of(SPAN) && multicast != Multicast::B;
            let suits_order = problem.b_order == Order::OutputMajor || is_whole_copies;
            let is_suitable = has_neighbour && suits_weights && suits_order;
            let fits = |stages: &u32| {
                Tile { m, n, stages: *stages, multicast }.check(problem.format, problem.output).is_ok()
            };
            let counts = || (LEAST_STAGES..=MOST_STAGES).rev().filter(fits);
            let whole_rounds = counts().find(|stages| {
                let is_hardly_fewer = 8 * stages >= 7 * counts().next().unwrap_or(*stages);
                let hides = || hides_latency(&Tile { m, n, stages: *stages, multicast }, problem.format);
                blocks.is_multiple_of(*stages) && (is_hardly_fewer || hides())
            });
            if let (true, Some(stages)) = (is_suitable, whole_rounds.or(counts().next())) {
                tiles.push(Tile { m, n, stages, multicast });
            }
        }
    }
    tiles
}
