//! Tiles for the products of [`gemm::hopper`](crate::gemm::hopper), by a model of a Hopper chip.
//!
//! A multiprocessor multiplies a tile block by block, 128 bytes of K each. A block takes the longest of
//!
//! ```text
//! tensor cores    4 products of 64 rows for every 64 rows of the tile, n / 2 clocks each
//! shared memory   128 bytes a clock: A and B as copies write them and again as products read them, and scales
//! L2              64 bytes a clock: A and B
//! a warpgroup     its own products, and what it does between them while none of its own are under way
//! ```
//!
//! Shared memory bounds most tiles: products read 64 rows of A and all of B for every 64 rows, and what a copy writes
//! takes the same port. Then
//!
//! ```text
//! tile      blocks * clocks of a block + a tile's start and end
//! SM        waves * tile, at 1.85 GHz less what tensor cores take; waves = ceil(tiles / multiprocessors)
//! memory    A, B, scales and D once, at 2600 GB/s
//! time      launch + (SM^16 + memory^16)^(1/16)
//! ```
//!
//! The choice is the shortest time; among tiles within 1 % of it, as long as there is more than one,
//!
//! 1. the least waste, in steps of 5 %: products of rows and columns that D does not have, and of idle multiprocessors;
//! 2. the fewest waves: where memory bounds, the most time to spare;
//! 3. the least shared memory;
//! 4. the least traffic from L2, which is what clusters save;
//! 5. fewer rows, then fewer columns.
//!
//! # What the model does not see
//! Copies are taken to be in time, and warpgroups to spill no registers. Left out are that the CTAs of a cluster wait for
//! each other, the order of tiles, what L2 keeps, and power other than that of tensor cores. Between different tiles,
//! predicted differences below 7 % mean little; they decide because something must.

use crate::gemm::hopper::SPAN;
use crate::gemm::hopper::tile::{Format, K_BYTES, MOST_STAGES, Multicast, PIECE_COLUMNS, PRODUCT_ROWS, Tile};
use crate::gemm::{Order, Output};
use std::cmp::Ordering;
use std::fmt;

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
/// Latency of a copy that the stages are to hide, in clocks: a microsecond.
const HIDDEN_CLOCKS: f64 = 1830.0;
/// Memory bandwidth in bytes a microsecond (fitted; the specification has 3352 GB/s).
const MEMORY_BYTES_PER_MICROSECOND: f64 = 2.6e6;
/// A launch, with first and last latencies, in microseconds (fitted).
const LAUNCH_MICROSECONDS: f64 = 0.9;
/// The clock with idle tensor cores, in GHz (fitted).
const IDLE_GHZ: f64 = 1.85;
/// What the clock loses with tensor cores that are always busy, in GHz (fitted).
const BUSY_LOSS_GHZ: f64 = 0.165;
/// Rounds in which clock and use of the tensor cores settle: each changes the clock by a tenth of the round before.
const CLOCK_ROUNDS: usize = 8;

/// Times up to this much longer than the shortest are equally good.
const TIE: f64 = 1.01;
/// Steps in which waste is compared.
const WASTE_STEPS: f64 = 20.0;
/// Stages, at least: one being multiplied, one ready, one under way.
const LEAST_STAGES: u32 = 3;
/// Tiles that a printed choice shows.
const PRINTED: usize = 6;

/// Which weights rows meet. 0 counts as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weights {
    /// One for all.
    Dense,
    /// So many, among which rows are expected to be shared out evenly.
    Groups(u32),
    /// So many products side by side, of equally many rows.
    Batches(u32),
}

impl Weights {
    /// How many there are.
    fn count(self) -> u32 {
        match self {
            Self::Dense => 1,
            Self::Groups(count) | Self::Batches(count) => count.max(1),
        }
    }
}

/// A product whose tile is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is multiplied.
    pub format: Format,
    /// Rows of A and D that are expected, those of all weights together. 0 counts as 1, here and below.
    pub rows: u32,
    /// Columns of D.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Which weights the rows meet.
    pub weights: Weights,
    /// How B lies.
    pub b_order: Order,
    /// The type of D.
    pub output: Output,
    /// Multiprocessors of the chip: 132 of an H100 SXM.
    pub multiprocessors: u32,
}

impl Problem {
    /// Zeros replaced by ones.
    fn at_least_one(self) -> Self {
        Self {
            rows: self.rows.max(1),
            n: self.n.max(1),
            k: self.k.max(1),
            multiprocessors: self.multiprocessors.max(1),
            ..self
        }
    }

    /// Groups that have rows.
    fn filled_groups(&self) -> u32 {
        self.weights.count().min(self.rows)
    }

    /// Rows of a group that has any.
    fn rows_of_group(&self) -> u32 {
        self.rows.div_ceil(self.filled_groups())
    }

    /// Tiles below and beside each other.
    fn tiles(&self, tile: &Tile) -> [u64; 2] {
        let below = u64::from(self.filled_groups()) * u64::from(self.rows_of_group().div_ceil(tile.m));
        [below, u64::from(self.n.div_ceil(tile.n))]
    }

    /// Blocks of K.
    fn blocks(&self) -> u64 {
        (u64::from(self.k) * u64::from(self.format.bytes())).div_ceil(u64::from(K_BYTES))
    }

    /// Elements of D, the rows of each group filled up to whole products, which no tile can do without.
    fn elements(&self) -> f64 {
        let rows = f64::from(self.rows_of_group().div_ceil(PRODUCT_ROWS)) * f64::from(PRODUCT_ROWS);
        f64::from(self.filled_groups()) * rows * f64::from(self.n)
    }

    /// Floating-point operations that the result needs.
    fn operations(&self) -> f64 {
        2.0 * f64::from(self.rows) * f64::from(self.n) * f64::from(self.k)
    }

    /// Bytes that memory moves: each operand and D once.
    fn memory_bytes(&self) -> f64 {
        let [rows, n, k] = [self.rows, self.n, self.k].map(f64::from);
        let weights = f64::from(self.filled_groups());
        let operands = (rows + weights * n) * k * f64::from(self.format.bytes());
        let scales = match self.format {
            Format::Fp8 => 4.0 * (rows + weights * n / 128.0) * k / 128.0,
            Format::Bf16 => 0.0,
        };
        operands + scales + rows * n * output_bytes(self.output)
    }
}

/// Bytes of an element of D.
const fn output_bytes(output: Output) -> f64 {
    match output {
        Output::Bf16 => 2.0,
        Output::F32 => 4.0,
    }
}

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
    const fn name(self) -> &'static str {
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
    fn of(tile: &Tile, format: Format) -> Self {
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
fn column_blocks(n: u32) -> u32 {
    // Tiles begin at multiples of the largest power of two that divides both.
    let step = 1 << n.trailing_zeros().min(7);
    (n + 128 - step).div_ceil(128)
}

/// Clocks of a consumer warpgroup for a block: `own_tensor` of its products, which read for `own_operands` clocks, while
/// copies take `fill` clocks of the port of shared memory.
fn warpgroup_clocks(tile: &Tile, format: Format, own_tensor: f64, own_operands: f64, fill: f64) -> f64 {
    // The products of the next block are queued before anything else is done.
    match format {
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
    fn of(problem: &Problem, tile: Tile) -> Self {
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

        let [fetched_a, fetched_b] = match tile.multicast {
            Multicast::None => [tile.m, tile.n],
            Multicast::A => [tile.m / 2, tile.n],
            Multicast::B => [tile.m, tile.n / 2],
        };
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
            l2_bytes: tiles as f64 * blocks * f64::from((fetched_a + fetched_b) * K_BYTES),
            bound,
            reason,
        }
    }

    /// The order of tiles that are equally fast, as the [module](self) has it. Two different tiles are never equal.
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

/// Whether the stages cover the time from the release of a stage until it is full again: a microsecond, the way of its
/// bytes from L2, and the time that it is held.
fn hides_latency(tile: &Tile, format: Format) -> bool {
    let clocks = BlockClocks::of(tile, format);
    let (_, block) = clocks.longest();
    f64::from(tile.stages) * block >= HIDDEN_CLOCKS + clocks.l2 + 1.5 * block
}

/// The tiles that a problem may get: each with as many stages as fit, but no tile of fewer than 3. If enough to hide the
/// latency of copies, the most that divide the blocks of K: then a tile is whole rounds of the ring, and its addresses
/// are literals. With 64 rows, columns go by 8 up to 64; all others go by 16. Clusters are for dense products of 128 rows or
/// more, where both neighbours exist. Where columns of B are contiguous, a tile is whole copies of them, for one CTA.
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
                let tile = Tile { m, n, stages: *stages, multicast };
                blocks.is_multiple_of(*stages) && hides_latency(&tile, problem.format)
            });
            if let (true, Some(stages)) = (is_suitable, whole_rounds.or(counts().next())) {
                tiles.push(Tile { m, n, stages, multicast });
            }
        }
    }
    tiles
}

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

/// Chooses the tile of a problem, as the [module](self) says.
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
fn shortest(estimates: &[Estimate]) -> f64 {
    estimates.iter().map(|estimate| estimate.microseconds).fold(f64::INFINITY, f64::min)
}

/// The problem, the choice and why, and a table of the best tiles, each with its best cluster. `tensor`, `shared` and
/// `block` are clocks of a block of K: of the tensor cores, of the port of shared memory, and of whatever takes longest.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { format, rows, n, k, weights, output, multiprocessors, .. } = self.problem;
        let weights = match weights {
            Weights::Dense => "dense".to_owned(),
            Weights::Groups(count) => format!("{count} groups"),
            Weights::Batches(count) => format!("{count} batches"),
        };
        writeln!(
            f,
            "{format:?} {rows} x {n} x {k}, {weights}, output {output:?}, {multiprocessors} multiprocessors"
        )?;
        let Tile { m, n, .. } = self.tile;
        let fastest = shortest(&self.considered);
        let equal = self.considered.iter().filter(|other| other.microseconds <= TIE * fastest).count();
        let why = match equal {
            1 => "the fastest".to_owned(),
            _ => format!(
                "of {equal} within 1 % of the fastest, the first by waste, waves, shared memory, L2 traffic"
            ),
        };
        writeln!(f, "{m} x {n}: {why}")?;
        writeln!(
            f,
            "{:<9} {:>6} {:<7} {:>6} {:>5} {:>6} {:>6} {:>6} {:<13} {:>8} {:>7}  reason",
            "tile",
            "stages",
            "cluster",
            "tiles",
            "waves",
            "tensor",
            "shared",
            "block",
            "bound",
            "us",
            "TFLOP/s"
        )?;
        let mut shapes = Vec::new();
        for estimate in &self.considered {
            let Tile { m, n, stages, multicast } = estimate.tile;
            if shapes.contains(&(m, n)) {
                continue;
            }
            shapes.push((m, n));
            if shapes.len() > PRINTED {
                break;
            }
            let cluster = match multicast {
                Multicast::None => "-",
                Multicast::A => "A by 2",
                Multicast::B => "B by 2",
            };
            writeln!(
                f,
                "{:<9} {stages:>6} {cluster:<7} {:>6} {:>5} {:>6.0} {:>6.0} {:>6.0} {:<13} {:>8.1} {:>7.0}  {}",
                format!("{m} x {n}"),
                estimate.tiles,
                estimate.waves,
                estimate.block.tensor_cores,
                estimate.block.shared_memory,
                estimate.block.longest().1,
                estimate.bound.name(),
                estimate.microseconds,
                estimate.tflops,
                estimate.reason,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::hopper::tile::{MOST_REGISTERS, MOST_SHARED_BYTES};
    use Multicast::{A, B, None};
    use Weights::{Batches, Dense, Groups};
    use proptest::prelude::*;

    const FP8: Problem = Problem {
        format: Format::Fp8,
        rows: 4096,
        n: 4096,
        k: 7168,
        weights: Dense,
        b_order: Order::OutputMajor,
        output: Output::Bf16,
        multiprocessors: 132,
    };
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
        let narrow = Problem { n: 128, multiprocessors: 8, ..FP8 };
        // Of 8 groups 5 have a row; of 8 times 65 rows each has two tiles of 64.
        assert_eq!(estimate(Problem { rows: 5, weights: Groups(8), ..narrow }, 64, None), (5, 1, 0.375));
        assert_eq!(estimate(Problem { rows: 520, weights: Batches(8), ..narrow }, 64, None), (16, 2, 0.0));
        // 9 tiles below each other are 5 clusters, and 8 multiprocessors have 4 at once.
        assert_eq!(estimate(Problem { rows: 9 * 128, ..narrow }, 128, None), (9, 2, 1.0 - 9.0 / 16.0));
        assert_eq!(estimate(Problem { rows: 9 * 128, ..narrow }, 128, B), (10, 2, 1.0 - 9.0 / 16.0));
        assert_eq!(estimate(Problem { rows: 9 * 128, multiprocessors: 9, ..narrow }, 128, None).1, 1);
        assert_eq!(estimate(Problem { rows: 9 * 128, multiprocessors: 9, ..narrow }, 128, B).1, 2);
    }

    #[test]
    fn zeros_count_as_ones() {
        let zeros = Problem { rows: 0, n: 0, k: 0, weights: Batches(0), multiprocessors: 0, ..FP8 };
        let ones = Problem { rows: 1, n: 1, k: 1, weights: Batches(1), multiprocessors: 1, ..FP8 };
        assert_eq!(choose(&zeros).considered, choose(&ones).considered);
        assert_eq!(chosen(zeros), (64, 8, None));
    }

    #[test]
    fn a_choice_prints_as_a_table() {
        let printed = choose(&Problem { n: 2112, ..FP8 }).to_string();
        assert_eq!(printed, TABLE);
    }

    const TABLE: &str = "\
Fp8 4096 x 2112 x 7168, dense, output Bf16, 132 multiprocessors
128 x 192: of 3 within 1 % of the fastest, the first by waste, waves, shared memory, L2 traffic
tile      stages cluster  tiles waves tensor shared  block bound               us TFLOP/s  reason
128 x 192      5 B by 2     352     3    768    864    864 shared memory     89.1    1392  tensor cores busy 85 % of a tile, 5 % its ends, waste 11 %
128 x 144      6 B by 2     480     4    576    720    720 shared memory     98.6    1258  tensor cores busy 76 % of a tile, 5 % its ends, waste 11 %
128 x 160      5 B by 2     448     4    640    768    768 shared memory    104.5    1186  tensor cores busy 79 % of a tile, 5 % its ends, waste 20 %
128 x 112      6 B by 2     608     5    448    624    624 shared memory    105.6    1174  tensor cores busy 69 % of a tile, 5 % its ends, waste 9 %
256 x 96       4 A by 2     352     3    768   1040   1040 shared memory    105.6    1174  tensor cores busy 70 % of a tile, 5 % its ends, waste 11 %
128 x 128      6 B by 2     544     5    512    664    664 shared memory    111.8    1109  tensor cores busy 74 % of a tile, 4 % its ends, waste 20 %
";

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
