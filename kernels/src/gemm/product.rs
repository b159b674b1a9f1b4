//! The main loop: tiles through shared memory, fragments through registers, products on tensor cores.

use super::epilogue::{self, Destination};
use super::rows::{self, Segment};
use super::tile::{CHUNK_BYTES, K_BYTES, Loader, STAGES, SharedTile, saturating_difference};
use super::{Grouping, Order, Output, Plan, Slices};
use crate::BLOCK;
use rorqual_codegen::element::{B32, Bf16};
use rorqual_codegen::format::e4m3_to_f16x2;
use rorqual_codegen::mma::mma_sync::{BF16, COLUMNS, E4M3, F16, ROWS};
use rorqual_codegen::pointer::{Global, Pointer, Shared};
use rorqual_codegen::{Builder, Value, Variable};

/// Bytes of K in a fragment: an atom of bf16 or e4m3, or two of binary16 made of e4m3.
const FRAGMENT_BYTES: u32 = 2 * CHUNK_BYTES;

/// What is multiplied, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Factors {
    Bf16,
    Fp8,
    /// e4m3 in memory, binary16 in the tensor core.
    Fp8AsF16,
}

impl Factors {
    pub(super) const fn bytes(self) -> u32 {
        match self {
            Self::Bf16 => 2,
            Self::Fp8 | Self::Fp8AsF16 => 1,
        }
    }
}

/// The arguments of both families.
pub(super) struct Operands<'k> {
    pub(super) a: Pointer<'k, Global, u8>,
    pub(super) b: Pointer<'k, Global, u8>,
    /// Of A and of B.
    pub(super) scales: Option<[Pointer<'k, Global, f32>; 2]>,
    pub(super) d: Pointer<'k, Global, Bf16>,
    pub(super) d_f32: Pointer<'k, Global, f32>,
    pub(super) groups: Pointer<'k, Global, u32>,
    pub(super) error: Pointer<'k, Global, u32>,
    pub(super) rows: Value<'k, u32>,
}

/// Accumulators of a warp: by atom along m, then along n.
pub(super) type Accumulators<'k> = Vec<Vec<[Variable<'k, f32>; 4]>>;

#[track_caller]
pub(super) fn emit<'k>(builder: &'k Builder, plan: &Plan, operands: Operands<'k>) {
    let shape = Shape::new(plan);
    let stages = builder.shared::<u8>(STAGES * shape.stage_bytes(), 128);
    let segment = rows::locate(builder, plan, operands.rows, operands.groups, operands.error);
    let column = builder.cta(1) * plan.tile.n;
    let warp = Warp::new(builder, plan);

    let tiles = Tiles::new(builder, plan, &shape, &operands, &segment, column);
    let fragments = Fragments::new(builder, plan, &shape, &warp);
    let scales = operands.scales.map(|scales| Scales::new(plan, scales, &segment, column, &warp));
    let sums = zeros(builder, plan);
    let k_tiles = (plan.spec.k * plan.factors.bytes()).div_ceil(K_BYTES);

    for tile in 0..STAGES - 1 {
        if tile < k_tiles {
            tiles.load(builder.constant(tile), stages.bytes(tile * shape.stage_bytes()));
        }
        tiles.commit();
    }
    let (read, write) = (Ring::new(builder, &shape, 0), Ring::new(builder, &shape, STAGES - 1));
    if let Some(scales) = &scales {
        scales.set(&scales.load(builder.constant(0)));
    }
    builder.for_each(0, k_tiles, 1, |tile| {
        if tiles.is_asynchronous() {
            builder.wait_copies(STAGES - 2);
        }
        builder.sync_threads();
        let ahead = tile + (STAGES - 1);
        builder.when(ahead.less(k_tiles), || tiles.load(ahead, stages.bytes(write.offset.peek())));
        if k_tiles > 1 {
            tiles.commit();
        }
        let stage = stages.bytes(read.offset.peek());
        match &scales {
            None => fragments.multiply_add(stage, &sums),
            Some(scales) => {
                let next = scales.load(tile + 1);
                let partial = zeros(builder, plan);
                fragments.multiply_add(stage, &partial);
                scales.promote(&partial, &sums);
                scales.set(&next);
            }
        }
        read.advance();
        write.advance();
    });

    let (slices, row) = (plan.slices().map(|[.., d]| d), segment.first * u64::from(plan.spec.d_pitch));
    let start = row + slice_start(slices, segment.group) + column.to_u64();
    let destination = match plan.spec.output {
        Output::Bf16 => Destination::Bf16(operands.d.at(start)),
        Output::F32 => Destination::F32(operands.d_f32.at(start)),
    };
    let place =
        epilogue::Place { warp: &warp, rows: segment.rows, columns: builder.constant(plan.spec.n) - column };
    epilogue::store(plan, &sums, &place, destination);
}

/// Shared tiles of A and B.
struct Shape {
    a: SharedTile,
    b: SharedTile,
}

impl Shape {
    fn new(plan: &Plan) -> Self {
        let k_major = |rows| SharedTile { rows, chunks: K_BYTES / CHUNK_BYTES };
        let bytes = plan.factors.bytes();
        let b = match plan.spec.b_order {
            Order::OutputMajor => k_major(plan.tile.n),
            Order::InputMajor => {
                SharedTile { rows: K_BYTES / bytes, chunks: plan.tile.n * bytes / CHUNK_BYTES }
            }
        };
        Self { a: k_major(plan.tile.m), b }
    }

    fn stage_bytes(&self) -> u32 {
        self.a.bytes() + self.b.bytes()
    }
}

/// The place of a stage in the ring.
struct Ring<'k> {
    offset: Variable<'k, u32>,
    stage_bytes: u32,
}

impl<'k> Ring<'k> {
    #[track_caller]
    fn new(builder: &'k Builder, shape: &Shape, stage: u32) -> Self {
        let stage_bytes = shape.stage_bytes();
        Self { offset: builder.constant(stage * stage_bytes).variable(), stage_bytes }
    }

    #[track_caller]
    fn advance(&self) {
        let next = self.offset.peek() + self.stage_bytes;
        let zero = next.builder().constant(0);
        self.offset.set(next.equals(STAGES * self.stage_bytes).select(zero, next));
    }
}

/// The warp's place in the tile, and the lane's in the atoms.
pub(super) struct Warp<'k> {
    pub(super) row: Value<'k, u32>,
    pub(super) column: Value<'k, u32>,
    pub(super) lane: Value<'k, u32>,
}

impl<'k> Warp<'k> {
    #[track_caller]
    fn new(builder: &'k Builder, plan: &Plan) -> Self {
        let warp = builder.warp();
        Self {
            row: warp / plan.tile.warps_n * plan.tile.warp_m(),
            column: warp % plan.tile.warps_n * plan.tile.warp_n(),
            lane: builder.lane(),
        }
    }

    /// The lane's row of an atom of D; its other one is 8 further.
    #[track_caller]
    pub(super) fn group(&self) -> Value<'k, u32> {
        self.lane >> 2
    }

    /// The lane's place among the four that share a row of an atom.
    #[track_caller]
    pub(super) fn member(&self) -> Value<'k, u32> {
        self.lane & 3
    }
}

impl Plan {
    /// Of A, B and D.
    pub(super) fn slices(&self) -> Option<[Slices; 3]> {
        match self.spec.grouping {
            Grouping::Batched { a, b, d, .. } => Some([a, b, d]),
            _ => None,
        }
    }

    /// A power of two from `element_bytes` to 16 that divides the address of every row of a matrix.
    pub(super) fn alignment(&self, pitch: u32, slices: Option<Slices>, element_bytes: u32) -> u32 {
        let Slices { first, stride } = slices.unwrap_or(Slices { first: 0, stride: 0 });
        let divides = |bytes: &u32| {
            [pitch, first, stride].iter().all(|extent| extent.is_multiple_of(bytes / element_bytes))
        };
        [16, 8, 4].into_iter().find(divides).unwrap_or(element_bytes)
    }
}

/// The element at which the slice of a batch starts.
#[track_caller]
fn slice_start<'k>(slices: Option<Slices>, batch: Value<'k, u32>) -> Value<'k, u64> {
    let Slices { first, stride } = slices.unwrap_or(Slices { first: 0, stride: 0 });
    batch.multiply_wide(stride) + u64::from(first)
}

fn zeros<'k>(builder: &'k Builder, plan: &Plan) -> Accumulators<'k> {
    let row = || (0..plan.tile.warp_n() / COLUMNS).map(|_| builder.zero_accumulators()).collect();
    (0..plan.tile.warp_m() / ROWS).map(|_| row()).collect()
}

/// The tiles of A and B that a CTA multiplies, in memory.
struct Tiles<'k> {
    a: Loader<'k>,
    a_source: Pointer<'k, Global, u8>,
    a_rows_left: Value<'k, u32>,
    b: Loader<'k>,
    b_source: Pointer<'k, Global, u8>,
    b_order: Order,
    /// Rows of an output-major B, bytes of the rows of an input-major one.
    b_left: Value<'k, u32>,
    b_offset: u32,
    b_pitch_bytes: u32,
    /// Rows of an input-major B in a tile.
    b_rows: u32,
    k: u32,
    k_bytes: u32,
}

impl<'k> Tiles<'k> {
    #[track_caller]
    fn new(
        builder: &'k Builder,
        plan: &Plan,
        shape: &Shape,
        operands: &Operands<'k>,
        segment: &Segment<'k>,
        column: Value<'k, u32>,
    ) -> Self {
        let (spec, bytes) = (&plan.spec, plan.factors.bytes());
        let slices = plan.slices();
        let (a_slices, b_slices) = (slices.map(|[a, ..]| a), slices.map(|[_, b, _]| b));
        let loader = |tile, pitch, slices| {
            Loader::new(builder, tile, pitch * bytes, plan.alignment(pitch, slices, bytes))
        };
        let a = loader(shape.a, spec.a_pitch, a_slices);
        let a_start = segment.first * u64::from(spec.a_pitch) + slice_start(a_slices, segment.group);
        let a_source = a.source(operands.a.bytes(a_start * u64::from(bytes)));

        let b = loader(shape.b, spec.b_pitch, b_slices);
        let (b_rows, b_step) = match spec.b_order {
            Order::OutputMajor => (spec.n, spec.b_pitch),
            Order::InputMajor => (spec.k, 1),
        };
        let weight = match spec.grouping {
            Grouping::Dense => builder.constant(0_u64),
            Grouping::Batched { .. } => slice_start(b_slices, segment.group),
            Grouping::Prefix { .. } | Grouping::Masked { .. } => {
                segment.group.to_u64() * (u64::from(b_rows) * u64::from(spec.b_pitch))
            }
        };
        let b_start = weight + column.multiply_wide(b_step);
        let b_source = b.source(operands.b.bytes(b_start * u64::from(bytes)));
        // All tiles full: no bounds.
        let columns_left = if spec.n.is_multiple_of(plan.tile.n) {
            builder.constant(u32::MAX)
        } else {
            builder.constant(spec.n) - column
        };
        let b_left = match spec.b_order {
            Order::OutputMajor => b.rows_left(columns_left),
            Order::InputMajor if columns_left.known().is_some() => columns_left,
            Order::InputMajor => b.bytes_left(columns_left * bytes),
        };
        Self {
            a_rows_left: a.rows_left(segment.rows),
            a,
            a_source,
            b,
            b_source,
            b_order: spec.b_order,
            b_left,
            b_offset: shape.a.bytes(),
            b_pitch_bytes: spec.b_pitch * bytes,
            b_rows: shape.b.rows,
            k: spec.k,
            k_bytes: spec.k * bytes,
        }
    }

    /// Whether any of the tiles comes by asynchronous copies.
    fn is_asynchronous(&self) -> bool {
        self.a.is_asynchronous() || self.b.is_asynchronous()
    }

    /// Closes the group of the tiles that were loaded last.
    #[track_caller]
    fn commit(&self) {
        if self.is_asynchronous() {
            self.a.builder().commit_copies();
        }
    }

    /// Brings the tiles that start `tile * 128` bytes into K.
    #[track_caller]
    fn load(&self, tile: Value<'k, u32>, stage: Pointer<'k, Shared, u8>) {
        let builder = stage.builder();
        let left = |extent: u32, step: u32| {
            if extent.is_multiple_of(step) {
                builder.constant(u32::MAX)
            } else {
                builder.constant(extent) - tile * step
            }
        };
        let k_start = tile * K_BYTES;
        let k_left = left(self.k_bytes, K_BYTES);
        self.a.load(stage, self.a_source.bytes(k_start), self.a_rows_left, self.a.bytes_left(k_left));
        let stage = stage.bytes(self.b_offset);
        match self.b_order {
            Order::OutputMajor => {
                let bytes_left = self.b.bytes_left(k_left);
                self.b.load(stage, self.b_source.bytes(k_start), self.b_left, bytes_left);
            }
            Order::InputMajor => {
                let source = self.b_source.bytes((tile * self.b_rows).multiply_wide(self.b_pitch_bytes));
                let rows_left = self.b.rows_left(left(self.k, self.b_rows));
                self.b.load(stage, source, rows_left, self.b_left);
            }
        }
    }
}

/// The fragments of a warp, from a stage to tensor cores.
struct Fragments<'k> {
    factors: Factors,
    b_order: Order,
    a: SharedTile,
    b: SharedTile,
    /// What the lane points to, in the first fragments of a stage.
    a_offset: Value<'k, u32>,
    b_offset: Value<'k, u32>,
}

impl<'k> Fragments<'k> {
    /// Lanes point to the rows of the four matrices of `ldmatrix`. A: rows 0 and 8 of the first chunk, then of the
    /// second. B: the first and second chunk (or 8 of K) of one atom, then of the next.
    #[track_caller]
    fn new(builder: &'k Builder, plan: &Plan, shape: &Shape, warp: &Warp<'k>) -> Self {
        let lane = builder.lane();
        let a_offset = shape.a.offset(warp.row + (lane & 15), lane >> 4);
        let (second, next_atom) = ((lane >> 3) & 1, lane >> 4);
        let b_offset = match plan.spec.b_order {
            Order::OutputMajor => shape.b.offset(warp.column + next_atom * 8 + (lane & 7), second),
            Order::InputMajor => {
                let chunk = warp.column * plan.factors.bytes() / CHUNK_BYTES + next_atom;
                shape.b.offset(second * 8 + (lane & 7), chunk)
            }
        };
        let b_offset = b_offset + shape.a.bytes();
        Self { factors: plan.factors, b_order: plan.spec.b_order, a: shape.a, b: shape.b, a_offset, b_offset }
    }

    /// Adds the product of a stage.
    #[track_caller]
    fn multiply_add(&self, stage: Pointer<'k, Shared, u8>, sums: &Accumulators<'k>) {
        let builder = stage.builder();
        for start in (0..K_BYTES).step_by(FRAGMENT_BYTES as usize) {
            let a_row = stage.bytes(self.a_offset ^ start);
            let a: Vec<Vec<[Value<'k, B32>; 4]>> = (0..sums.len() as u32)
                .map(|atom| builder.load_matrices(a_row.bytes(atom * ROWS * self.a.row_bytes())))
                .map(|words| self.a_atoms(words))
                .collect();
            for pair in 0..sums[0].len() as u32 / 2 {
                let words = self.load_b(stage, start, pair);
                for (atom, words) in words.as_chunks::<2>().0.iter().enumerate() {
                    let b = self.b_atoms(*words);
                    for (sums, a) in sums.iter().zip(&a) {
                        let sum = &sums[2 * pair as usize + atom];
                        for (a, b) in a.iter().zip(&b) {
                            match self.factors {
                                Factors::Bf16 => BF16.multiply_add(sum, a, b),
                                Factors::Fp8 => E4M3.multiply_add(sum, a, b),
                                Factors::Fp8AsF16 => F16.multiply_add(sum, a, b),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Two neighbouring atoms of B, `start` bytes into K.
    #[track_caller]
    fn load_b(&self, stage: Pointer<'k, Shared, u8>, start: u32, pair: u32) -> [Value<'k, B32>; 4] {
        let builder = stage.builder();
        match self.b_order {
            Order::OutputMajor => {
                let rows = stage.bytes(self.b_offset ^ start);
                builder.load_matrices(rows.bytes(pair * 2 * COLUMNS * self.b.row_bytes()))
            }
            Order::InputMajor => {
                let chunk = pair * 2 * COLUMNS * self.factors.bytes();
                let row = start / self.factors.bytes();
                let columns = stage.bytes(self.b_offset ^ chunk);
                builder.load_matrices_transposed(columns.bytes(row * self.b.row_bytes()))
            }
        }
    }

    /// Fragments as they are multiplied. Of e4m3, a chunk of 16 becomes an atom of binary16: a lane's low two of four
    /// elements are its first in the atom, the high two its second.
    #[track_caller]
    fn a_atoms(&self, words: [Value<'k, B32>; 4]) -> Vec<[Value<'k, B32>; 4]> {
        if self.factors != Factors::Fp8AsF16 {
            return vec![words];
        }
        let chunk = |[row, row_8]: [Value<'k, B32>; 2]| {
            let ([low, high], [low_8, high_8]) = (e4m3_to_f16x2(row), e4m3_to_f16x2(row_8));
            [low, low_8, high, high_8]
        };
        words.as_chunks::<2>().0.iter().copied().map(chunk).collect()
    }

    #[track_caller]
    fn b_atoms(&self, words: [Value<'k, B32>; 2]) -> Vec<[Value<'k, B32>; 2]> {
        if self.factors == Factors::Fp8AsF16 { words.map(e4m3_to_f16x2).to_vec() } else { vec![words] }
    }
}

/// The scales of a lane's rows, and of the tile's columns, for the present 128 of K.
struct Scales<'k> {
    a: Pointer<'k, Global, f32>,
    b: Pointer<'k, Global, f32>,
    /// Rows from the lane's first on.
    rows_left: Value<'k, u32>,
    blocks: u32,
    /// By half an atom.
    rows: Vec<Variable<'k, f32>>,
    column: Variable<'k, f32>,
}

impl<'k> Scales<'k> {
    #[track_caller]
    fn new(
        plan: &Plan,
        [a, b]: [Pointer<'k, Global, f32>; 2],
        segment: &Segment<'k>,
        column: Value<'k, u32>,
        warp: &Warp<'k>,
    ) -> Self {
        let builder = column.builder();
        let blocks = plan.k_blocks();
        let row = warp.row + warp.group();
        let weight_scales = u64::from(plan.spec.n.div_ceil(BLOCK)) * u64::from(blocks);
        let weight = segment.group.to_u64() * weight_scales;
        Self {
            a: a.at((segment.first + row.to_u64()) * u64::from(blocks)),
            b: b.at(weight + (column / BLOCK).multiply_wide(blocks)),
            rows_left: saturating_difference(segment.rows, row),
            blocks,
            rows: (0..plan.tile.warp_m() / 8).map(|_| Variable::unset(builder)).collect(),
            column: Variable::unset(builder),
        }
    }
}

impl<'k> Scales<'k> {
    /// The scales of a block of K, by half an atom, and that of the columns last; 1 where there is none.
    #[track_caller]
    fn load(&self, block: Value<'k, u32>) -> Vec<Value<'k, f32>> {
        let builder = block.builder();
        let exists = match block.known() {
            Some(block) => builder.known(block < self.blocks),
            None => block.less(self.blocks),
        };
        let one = builder.constant(1.0_f32);
        let a = self.a.at(block);
        let row = |row: u32| a.at(row * self.blocks).load_or(self.rows_left.greater(row) & exists, one);
        let rows = (0..self.rows.len() as u32).map(|half| row(8 * half));
        rows.chain([self.b.at(block).load_or(exists, one)]).collect()
    }

    #[track_caller]
    fn set(&self, loaded: &[Value<'k, f32>]) {
        for (variable, value) in self.rows.iter().chain([&self.column]).zip(loaded) {
            variable.set(*value);
        }
    }

    /// Adds the sums of a block, scaled.
    #[track_caller]
    fn promote(&self, partial: &Accumulators<'k>, sums: &Accumulators<'k>) {
        for (atom, (partial, sums)) in partial.iter().zip(sums).enumerate() {
            let scales = [0, 1].map(|half| self.rows[2 * atom + half].peek() * self.column.peek());
            for (partial, sums) in partial.iter().zip(sums) {
                for (register, (partial, sum)) in partial.iter().zip(sums).enumerate() {
                    sum.add_product(scales[register / 2], partial.peek());
                }
            }
        }
    }
}
