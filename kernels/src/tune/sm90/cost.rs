//! The model of the chip: what a problem takes with a tile.

use super::problem::{Problem, output_bytes};
use crate::gemm::Output;
use crate::gemm::hopper::tile::{Format, K_BYTES, Multicast, PIECE_COLUMNS, PRODUCT_ROWS, Tile};

// Origin of the constants. Specification: NVIDIA's data sheet of the H100 SXM. Published: microbenchmarks of others.
// Assumed: only the order of magnitude matters. Fitted: to published throughputs of fp8 kernels on an H800, with a model
// that also simulates their machine code. This model, with the costs that those kernels have and the ones described here
// do not (a wait for every tile's store, one set of partial sums), misses 29 of these throughputs by 5 % on average, at
// most by 22 %. That the kernels described here go without these costs is not measured.

/// Clocks of a product of 64 rows and 32 bytes of K, for each column (specification: 1979 TFLOP/s in fp8 are 4096
/// multiplications a clock and multiprocessor).
const TENSOR_CLOCKS_PER_COLUMN: f64 = 0.5;
/// Bytes of K of a product (PTX ISA: k32 of e4m3, k16 of bf16).
const PRODUCT_K_BYTES: u32 = 32;
/// Bytes that the port of shared memory moves in a clock (specification).
const SHARED_BYTES_PER_CLOCK: f64 = 128.0;
/// Bytes that a multiprocessor receives from L2 in a clock (published).
const L2_BYTES_PER_CLOCK: f64 = 64.0;
/// Bytes that a multiprocessor sends to L2 in a clock (assumed).
const STORE_BYTES_PER_CLOCK: f64 = 32.0;
/// From the issue of a product to its first clock, and from its last clock to the end of the wait (assumed).
const PRODUCT_LATENCY_CLOCKS: f64 = 24.0 + 32.0;
/// Clocks that a warp needs between a wait for products and the next products, beside scaling (counted in machine code
/// of loops of 16 to 128 columns).
const BETWEEN_PRODUCTS_CLOCKS: f64 = 29.0;
/// A tile's start and end, whatever its size: barriers, coordinates, the first and last products (fitted to
/// simulated tiles of 4 to 128 blocks).
const TILE_CLOCKS: f64 = 800.0;
/// Elements of D that a CTA rounds and stages in a clock (fitted likewise).
const STAGED_ELEMENTS_PER_CLOCK: f64 = 32.0;
/// Clocks that a piece of D waits until the piece before has been read from shared memory (assumed).
const PIECE_CLOCKS: f64 = 400.0;
/// Memory bandwidth in bytes a microsecond (fitted; the specification has 3352 GB/s).
const MEMORY_BYTES_PER_MICROSECOND: f64 = 2.6e6;
/// A launch, with first and last latencies, in microseconds (fitted).
pub(super) const LAUNCH_MICROSECONDS: f64 = 0.9;
/// The clock with idle tensor cores, in GHz (fitted).
const IDLE_GHZ: f64 = 1.85;
/// What the clock loses with tensor cores that are always busy, in GHz (fitted).
const BUSY_LOSS_GHZ: f64 = 0.165;
/// Rounds in which clock and use of the tensor cores settle: each changes the clock by a tenth of the round before.
const CLOCK_ROUNDS: usize = 8;

/// What takes longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Multiplying.
    TensorCores,
    /// The port of shared memory.
    SharedMemory,
    /// The way from L2 to a multiprocessor.
    L2,
    /// A warpgroup, which multiplies and scales by turns.
    Warpgroup,
    /// Memory outside of the chip.
    Memory,
}

impl Bound {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TensorCores => "tensor cores",
            Self::SharedMemory => "shared memory",
            Self::L2 => "L2",
            Self::Warpgroup => "warpgroup",
            Self::Memory => "memory",
        }
    }
}

/// Clocks that a block of K of a tile keeps each part of a multiprocessor busy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockClocks {
    /// Tensor cores.
    pub tensor_cores: f64,
    /// The port of shared memory.
    pub shared_memory: f64,
    /// The way from L2.
    pub l2: f64,
    /// Each consumer warpgroup.
    pub warpgroup: f64,
}

impl BlockClocks {
    pub(super) fn of(tile: &Tile, format: Format) -> Self {
        let steps = f64::from(K_BYTES / PRODUCT_K_BYTES);
        let [n, products, consumers] = [tile.n, tile.products(), tile.consumer_warpgroups()].map(f64::from);
        let own_tensor = products * steps * n * TENSOR_CLOCKS_PER_COLUMN;
        let own_operands = products * f64::from((PRODUCT_ROWS + tile.n) * K_BYTES) / SHARED_BYTES_PER_CLOCK;
        let bytes = f64::from((tile.m + tile.n) * K_BYTES);
        let fill = bytes / SHARED_BYTES_PER_CLOCK;
        Self {
            tensor_cores: consumers * own_tensor,
            shared_memory: consumers * (own_operands + scale_loads(tile, format)) + fill,
            l2: bytes / L2_BYTES_PER_CLOCK,
            warpgroup: warpgroup_clocks(tile, format, own_tensor, own_operands, fill),
        }
    }

    /// What bounds a block, and its clocks.
    #[must_use]
    pub fn longest(&self) -> (Bound, f64) {
        let parts = [
            (Bound::TensorCores, self.tensor_cores),
            (Bound::SharedMemory, self.shared_memory),
            (Bound::L2, self.l2),
            (Bound::Warpgroup, self.warpgroup),
        ];
        let longer = |best: (Bound, f64), part: (Bound, f64)| if part.1 > best.1 { part } else { best };
        parts.into_iter().fold(parts[0], longer)
    }
}

/// Clocks in which the four warps of a consumer read scales of a block: for each product those of two rows, and one for
/// each block of 128 columns that the tile may meet.
fn scale_loads(tile: &Tile, format: Format) -> f64 {
    match format {
        Format::Fp8 => f64::from(4 * (2 * tile.products() + column_blocks(tile.n))),
        Format::Bf16 => 0.0,
    }
}

/// Blocks of 128 columns that a tile of `n` columns meets at most, wherever it stands among its like.
pub(super) fn column_blocks(n: u32) -> u32 {
    // Tiles begin at multiples of the largest power of two that divides both.
    let step = 1 << n.trailing_zeros().min(7);
    (n + 128 - step).div_ceil(128)
}

/// Clocks of a consumer warpgroup for a block: `own_tensor` of its products, which read for `own_operands` clocks, while
/// copies take `fill` clocks of the port of shared memory.
fn warpgroup_clocks(tile: &Tile, format: Format, own_tensor: f64, own_operands: f64, fill: f64) -> f64 {
    match format {
        // Products follow each other, those of another warpgroup or of the next block.
        Format::Bf16 => return own_tensor,
        Format::Fp8 if tile.has_two_partials(format) => return own_tensor + PRODUCT_LATENCY_CLOCKS,
        Format::Fp8 => {}
    }
    // One multiplication and addition for a partial sum; where a scale ends within the tile, the scale of each 8 columns
    // is selected, for two rows.
    let n = f64::from(tile.n);
    let scaling = if column_blocks(tile.n) == 1 { n / 2.0 } else { n / 2.0 + n / 4.0 };
    let between = f64::from(tile.products()) * (PRODUCT_LATENCY_CLOCKS + BETWEEN_PRODUCTS_CLOCKS + scaling);
    // With copies evenly spread over the clocks t of a block, t = own_operands * t / (t - fill) + between.
    let sum = own_operands + fill + between;
    let contended = (sum + (sum * sum - 4.0 * fill * between).sqrt()) / 2.0;
    contended.max(own_tensor + between)
}

/// What the model says of a tile.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The tile.
    pub tile: Tile,
    /// Tiles that D has, a missing neighbour of a cluster included.
    pub tiles: u64,
    /// Tiles that the busiest multiprocessor computes.
    pub waves: u64,
    /// The part of the products of all waves, 0 to 1, that no row and column of D needs. The rows of a product, 64, are
    /// not split.
    pub waste: f64,
    /// Clocks of a block of K.
    pub block: BlockClocks,
    /// Clocks of a tile, with its start and end.
    pub tile_clocks: f64,
    /// Microseconds that the busiest multiprocessor takes.
    pub multiprocessor_microseconds: f64,
    /// Microseconds that memory takes.
    pub memory_microseconds: f64,
    /// Predicted microseconds of a launch.
    pub microseconds: f64,
    /// Predicted rate, in 10^12 operations of the result a second.
    pub tflops: f64,
    /// Bytes read from L2, those that a cluster shares once.
    pub l2_bytes: f64,
    /// What takes longest.
    pub bound: Bound,
    /// Why it takes that long, in words.
    pub reason: String,
}

impl Estimate {
    /// What a problem takes with a tile of its candidates.
    pub(super) fn of(problem: &Problem, tile: Tile) -> Self {
        let problem = problem.at_least_one();
        let cluster = u64::from(tile.multicast.cluster());
        let [below, beside] = problem.tiles(&tile);
        let tiles = match tile.multicast {
            Multicast::None => below * beside,
            Multicast::A => below * beside.next_multiple_of(2),
            Multicast::B => below.next_multiple_of(2) * beside,
        };
        let clusters = (u64::from(problem.multiprocessors) / cluster).max(1);
        let waves = (tiles / cluster).div_ceil(clusters);
        let slots = (waves * clusters * cluster) as f64 * f64::from(tile.m) * f64::from(tile.n);
        let waste = 1.0 - problem.elements() / slots;

        let block = BlockClocks::of(&tile, problem.format);
        let (loop_bound, block_clocks) = block.longest();
        let blocks = problem.blocks() as f64;
        let tile_clocks = blocks * block_clocks + tile_ends(&tile, problem.output);
        let clocks = waves as f64 * tile_clocks;
        let memory_microseconds = problem.memory_bytes() / MEMORY_BYTES_PER_MICROSECOND;

        let tensor_clocks = problem.operations() / operations_per_clock(&problem);
        let mut ghz = IDLE_GHZ;
        for _ in 0..CLOCK_ROUNDS {
            let time = LAUNCH_MICROSECONDS + soft_maximum(microseconds(clocks, ghz), memory_microseconds);
            ghz = IDLE_GHZ - BUSY_LOSS_GHZ * microseconds(tensor_clocks, ghz) / time;
        }
        let multiprocessor_microseconds = microseconds(clocks, ghz);
        let time = LAUNCH_MICROSECONDS + soft_maximum(multiprocessor_microseconds, memory_microseconds);

        let bound =
            if memory_microseconds > multiprocessor_microseconds { Bound::Memory } else { loop_bound };
        let reason = if bound == Bound::Memory {
            let share = multiprocessor_microseconds / memory_microseconds;
            format!("memory bounds, multiprocessors need {} of its time", percent(share))
        } else {
            let busy = blocks * block.tensor_cores / tile_clocks;
            let ends = 1.0 - blocks * block_clocks / tile_clocks;
            format!(
                "tensor cores busy {} of a tile, {} its ends, waste {}",
                percent(busy),
                percent(ends),
                percent(waste)
            )
        };
        Self {
            tile,
            tiles,
            waves,
            waste,
            block,
            tile_clocks,
            multiprocessor_microseconds,
            memory_microseconds,
            microseconds: time,
            tflops: problem.operations() / time / 1e6,
            l2_bytes: tiles as f64 * blocks * f64::from(tile.fetched().iter().sum::<u32>() * K_BYTES),
            bound,
            reason,
        }
    }
}

/// Clocks of a tile outside of its blocks. The last piece of staged output leaves while the next tile is multiplied.
fn tile_ends(tile: &Tile, output: Output) -> f64 {
    let elements = f64::from(tile.m) * f64::from(tile.n);
    let stored = match output {
        Output::Bf16 => {
            let pieces = tile.products() * tile.n.div_ceil(PIECE_COLUMNS);
            elements / STAGED_ELEMENTS_PER_CLOCK + f64::from(pieces - 1) * PIECE_CLOCKS
        }
        Output::F32 => elements * output_bytes(output) / STORE_BYTES_PER_CLOCK,
    };
    TILE_CLOCKS + stored
}

/// Floating-point operations of all tensor cores in a clock.
fn operations_per_clock(problem: &Problem) -> f64 {
    let elements_of_k = f64::from(PRODUCT_K_BYTES / problem.format.bytes());
    let each = 2.0 * f64::from(PRODUCT_ROWS) * elements_of_k / TENSOR_CLOCKS_PER_COLUMN;
    each * f64::from(problem.multiprocessors)
}

/// Microseconds of clocks at a frequency.
fn microseconds(clocks: f64, ghz: f64) -> f64 {
    clocks / (ghz * 1e3)
}

/// `(a^16 + b^16)^(1/16)` of positive numbers: the larger, and up to 4 % more where both are close (fitted exponent).
fn soft_maximum(a: f64, b: f64) -> f64 {
    let ratio = a.min(b) / a.max(b);
    // Squares and roots instead of `powf`: they are the same on every machine.
    let power = (0..4).fold(ratio, |power, _| power * power);
    a.max(b) * (0..4).fold(1.0 + power, |root: f64, _| root.sqrt())
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::sm90::Weights::{Batches, Groups};
    use crate::tune::sm90::candidates::LEAST_STAGES;
    use Multicast::{B, None};

    #[test]
    fn a_block_keeps_tensor_cores_as_busy_as_counted() {
        // The part of a block in which tensor cores multiply: in the middle as simulated, clock by clock, from the machine
        // code of such loops; on the right if copies and operands were all that takes time.
        let busy = |m, n, format| {
            let block = BlockClocks::of(&Tile { m, n, stages: LEAST_STAGES, multicast: None }, format);
            block.tensor_cores / block.longest().1
        };
        for (m, n, simulated, ceiling) in [
            (64, 96, 0.47, 0.6),
            (128, 16, 0.2, 0.211),
            (128, 32, 0.34, 0.364),
            (128, 56, 0.49, 0.528),
            (128, 112, 0.72, 0.757),
            (128, 128, 0.77, 0.8),
            (128, 160, 0.83, 0.87),
            (128, 192, 0.889, 0.923),
            (256, 128, 0.86, 0.889),
        ] {
            let modelled = busy(m, n, Format::Fp8);
            assert!((modelled - simulated).abs() < 0.011, "{m} x {n}: {modelled}");
            assert!(modelled < ceiling, "{m} x {n}: {modelled}");
        }
        assert_eq!(busy(128, 256, Format::Bf16), 1.0);
        assert!((busy(256, 128, Format::Bf16) - 0.889).abs() < 0.001);
    }

    #[test]
    fn a_lone_consumer_hides_the_scaling_of_narrow_tiles_alone() {
        let block = |n| BlockClocks::of(&Tile { m: 64, n, stages: 8, multicast: None }, Format::Fp8);
        assert_eq!(block(64).longest(), (Bound::SharedMemory, 268.0));
        assert_eq!(block(80).longest().0, Bound::Warpgroup);
    }

    #[test]
    fn the_blocks_of_columns_are_those_that_any_tile_meets() {
        for n in (8..=256).step_by(8) {
            let met = (0..128).map(|tile| (tile * n + n - 1) / 128 - tile * n / 128 + 1).max();
            assert_eq!(Some(column_blocks(n)), met, "{n} columns");
        }
    }

    #[test]
    fn tiles_hold_rows_of_one_group_and_clusters_are_whole() {
        let estimate = |problem: Problem, m, multicast| {
            let Estimate { tiles, waves, waste, .. } =
                Estimate::of(&problem, Tile { m, n: 128, stages: 3, multicast });
            (tiles, waves, waste)
        };
        let narrow = Problem { n: 128, multiprocessors: 8, ..Problem::FP8 };
        // Of 8 groups 5 have a row; of 8 times 65 rows each has two tiles of 64.
        assert_eq!(estimate(Problem { rows: 5, weights: Groups(8), ..narrow }, 64, None), (5, 1, 0.375));
        assert_eq!(estimate(Problem { rows: 520, weights: Batches(8), ..narrow }, 64, None), (16, 2, 0.0));
        // 9 tiles below each other are 5 clusters, and 8 multiprocessors have 4 at once.
        assert_eq!(estimate(Problem { rows: 9 * 128, ..narrow }, 128, None), (9, 2, 1.0 - 9.0 / 16.0));
        assert_eq!(estimate(Problem { rows: 9 * 128, ..narrow }, 128, B), (10, 2, 1.0 - 9.0 / 16.0));
        assert_eq!(estimate(Problem { rows: 9 * 128, multiprocessors: 9, ..narrow }, 128, None).1, 1);
        assert_eq!(estimate(Problem { rows: 9 * 128, multiprocessors: 9, ..narrow }, 128, B).1, 2);
    }
}
