//! The producer: one warp that fills the stages. Lane 0 copies the rows of A and B as tensors, all lanes the scales, word
//! by word, since these need not be aligned.

use super::grouping::Groups;
use super::plan::{Arguments, Plan, SPAN, Scales};
use super::schedule::{FEW_ROWS, Tile};
use super::shared_memory::SharedMemory;
use super::tile::{self, Format, K_BYTES, Multicast};
use crate::BLOCK;
use crate::gemm::Order;
use crate::quant::ScaleLayout;
use rorqual_codegen::mbarrier::Mbarrier;
use rorqual_codegen::pipeline::{Cursor, Place};
use rorqual_codegen::pointer::{Global, Pointer, Shared};
use rorqual_codegen::tma::TensorMapAddress;
use rorqual_codegen::{Predicate, Value};

/// The producing warp.
struct Producer<'a, 'k> {
    plan: &'a Plan,
    memory: &'a SharedMemory<'k>,
    arguments: &'a Arguments<'k>,
    cursor: Cursor<'k>,
}

/// What the producing warp does.
#[track_caller]
pub(super) fn produce<'k>(plan: &Plan, memory: &SharedMemory<'k>, arguments: &Arguments<'k>) {
    let tiles = memory.tiles.worker();
    let producer = Producer { plan, memory, arguments, cursor: memory.ring.producer() };
    tiles.for_each(|tile: Tile<'k>| {
        let many = || producer.fill(&tile, false);
        if plan.swaps_few_rows() {
            memory.builder.when_else(tile.is_few, || producer.fill(&tile, true), many);
        } else {
            many();
        }
    });
}

impl<'k> Producer<'_, 'k> {
    /// Fills the stages of a tile.
    #[track_caller]
    fn fill(&self, tile: &Tile<'k>, few: bool) {
        let (plan, builder) = (self.plan, self.memory.builder);
        let scales = self.arguments.scales.map(|scales| ScaleSources::new(plan, &scales, tile, few));
        let is_first_lane = builder.lane().equals(0);
        let blocks = [0, plan.k_blocks()].map(|block| builder.constant(block));
        let bytes = plan.staged_tile(few).part_bytes(plan.spec.format());
        let stage_copies = |place, block| self.stage_copies(place, tile, few, block);
        let copy_scales =
            scales.map(|scales| move |place, block| scales.copy(plan, self.memory, place, block));
        fill_stages(self.cursor, blocks, is_first_lane, &bytes, stage_copies, copy_scales);
    }

    /// Copies of the rows of A and B of a stage. With swapped operands the weight takes the place of A.
    #[track_caller]
    fn stage_copies(
        &self,
        place: Place<'k>,
        tile: &Tile<'k>,
        few: bool,
        block: Value<'k, u32>,
    ) -> Vec<TensorCopy<'k>> {
        let Self { plan, memory, arguments, .. } = *self;
        let k = block * plan.k_block();
        let coordinates = |inner: Value<'k, u32>, outer: Value<'k, u32>, has_slices: bool| {
            let slice = has_slices.then_some(tile.group);
            [inner, outer].into_iter().chain(slice).map(Value::to_i32).collect::<Vec<_>>()
        };
        let of_a = |row| coordinates(k, row, matches!(plan.spec.grouping, Groups::Batched { .. }));
        let of_b = |column: Value<'k, u32>| match (plan.spec.b_order, plan.b_has_weights()) {
            _ if plan.gated.is_some() => {
                [k, column / 2, tile.group * 2].into_iter().map(Value::to_i32).collect()
            }
            (Order::OutputMajor, true) => coordinates(k, column, true),
            (Order::OutputMajor, false) => {
                coordinates(k, tile.group.multiply_add(plan.spec.n, column), false)
            }
            (Order::InputMajor, _) => coordinates(column, k, true),
        };
        let (to_a, to_b) = (memory.a(place.stage()), memory.b(place.stage()));
        let (staged, format) = (plan.staged_tile(few), plan.spec.format());
        if few {
            let columns = Rows { map: arguments.b_few, to: to_a, first: tile.column, coordinates: of_b };
            let tokens = Rows { map: arguments.a_few, to: to_b, first: tile.row, coordinates: of_a };
            return in_parts(&staged, format, place, &columns, vec![tokens.copy(0, place.full())]);
        }
        let a = Rows { map: arguments.a, to: to_a, first: tile.row, coordinates: of_a };
        let b = Rows { map: arguments.b, to: to_b, first: tile.column, coordinates: of_b };
        let of_columns = match plan.spec.b_order {
            Order::OutputMajor => vec![b.all_columns(&staged, place)],
            Order::InputMajor => {
                (0..staged.n).step_by(SPAN as usize).map(|first| b.copy(first, place.full())).collect()
            }
        };
        in_parts(&staged, format, place, &a, of_columns)
    }
}

/// Fills a stage for each block of K from the first one on up to the end: one lane copies tensors, so many bytes for each
/// part of a stage, and all lanes copy scales, if there are any, with part 0. Where tensors go is worked out before the stage
/// is empty.
#[track_caller]
pub(super) fn fill_stages<'k>(
    cursor: Cursor<'k>,
    [first, end]: [Value<'k, u32>; 2],
    copying_lane: Predicate<'k>,
    bytes: &[u32],
    stage_copies: impl FnOnce(Place<'k>, Value<'k, u32>) -> Vec<TensorCopy<'k>>,
    copy_scales: Option<impl FnOnce(Place<'k>, Value<'k, u32>)>,
) {
    let builder = first.builder();
    builder.for_each(first, end, 1, |block| {
        let place = cursor.take();
        let copies = stage_copies(place, block);
        place.wait_empty();
        builder.when(copying_lane, || {
            for (part, bytes) in (0_u32..).zip(bytes) {
                place.full_of(builder.constant(part)).arrive_expecting(builder.constant(*bytes));
            }
            copies.iter().for_each(TensorCopy::start);
        });
        if let Some(copy_scales) = copy_scales {
            copy_scales(place, block);
            builder.arrive_when_copied(place.full());
        }
    });
}

/// A tensor copy to a stage.
pub(super) struct TensorCopy<'k> {
    map: TensorMapAddress<'k>,
    to: Pointer<'k, Shared, u8>,
    coordinates: Vec<Value<'k, i32>>,
    full: Mbarrier<'k>,
    /// Whether to both CTAs of the cluster.
    is_shared: bool,
}

impl TensorCopy<'_> {
    #[track_caller]
    fn start(&self) {
        let &Self { map, to, ref coordinates, full, is_shared } = self;
        if is_shared {
            to.builder().multicast_tensor(to, map, coordinates, full, 0b11);
        } else {
            to.builder().copy_tensor_to_shared(to, map, coordinates, full);
        }
    }
}

/// Rows of an operand on their way to a stage.
pub(super) struct Rows<'k, C> {
    pub(super) map: TensorMapAddress<'k>,
    pub(super) to: Pointer<'k, Shared, u8>,
    /// The first of the tile.
    pub(super) first: Value<'k, u32>,
    /// Those of a row in the tensor.
    pub(super) coordinates: C,
}

impl<'k, C: Fn(Value<'k, u32>) -> Vec<Value<'k, i32>>> Rows<'k, C> {
    /// A box of them, from the one `skipped` behind the first on.
    #[track_caller]
    fn copy(&self, skipped: u32, full: Mbarrier<'k>) -> TensorCopy<'k> {
        self.copy_behind(self.first.builder().constant(skipped), full)
    }

    #[track_caller]
    fn copy_behind(&self, skipped: Value<'k, u32>, full: Mbarrier<'k>) -> TensorCopy<'k> {
        TensorCopy {
            map: self.map,
            to: self.to.at(skipped * K_BYTES),
            coordinates: (self.coordinates)(self.first + skipped),
            full,
            is_shared: false,
        }
    }

    /// Of so many rows that the CTAs of a cluster share, the half that this one brings to both.
    #[track_caller]
    fn half(&self, rows: u32, full: impl FnOnce(Value<'k, u32>) -> Mbarrier<'k>) -> TensorCopy<'k> {
        let rank = self.first.builder().cta(0) & 1;
        TensorCopy { is_shared: true, ..self.copy_behind(rank * (rows / 2), full(rank)) }
    }

    /// The rows of B, of which a cluster that shares them brings half.
    #[track_caller]
    pub(super) fn all_columns(&self, tile: &tile::Tile, place: Place<'k>) -> TensorCopy<'k> {
        match tile.multicast {
            Multicast::None | Multicast::A => self.copy(0, place.full()),
            Multicast::B => self.half(tile.n, |_| place.full()),
        }
    }
}

/// The copies of a stage, in its [parts](tile::Tile::parts). B comes first: where a cluster shares it, either CTA waits for
/// what the other one brings. Last come the rows of A that only the second consumer warpgroup waits for, which multiplies
/// later. Of an A that a cluster shares, each CTA brings half, in two parts one of them.
#[track_caller]
pub(super) fn in_parts<'k, C: Fn(Value<'k, u32>) -> Vec<Value<'k, i32>>>(
    tile: &tile::Tile,
    format: Format,
    place: Place<'k>,
    a: &Rows<'k, C>,
    of_b: Vec<TensorCopy<'k>>,
) -> Vec<TensorCopy<'k>> {
    let parts = tile.parts(format);
    if tile.multicast == Multicast::A {
        let full = |rank| if parts > 1 { place.full_of(rank) } else { place.full() };
        return of_b.into_iter().chain([a.half(tile.m, full)]).collect();
    }
    let of_part =
        |part: u32| a.copy(part * tile.a_box_rows(format), place.full_of(a.first.builder().constant(part)));
    of_b.into_iter().chain((0..parts).map(of_part)).collect()
}

/// Where a lane finds the scales that it copies.
struct ScaleSources<'k> {
    /// Of the rows `lane + 32 * i`: the scale of block 0, and the bytes to copy, none where the row is not there.
    rows: Vec<(Pointer<'k, Global, f32>, Value<'k, u32>)>,
    /// From a block to the next, in elements.
    a_step: Value<'k, u32>,
    /// Of the block of 128 columns behind the tile's first by the lane's index: the scale of block 0.
    columns: Pointer<'k, Global, f32>,
    /// Whether the lane has such a block.
    has_columns: Predicate<'k>,
}

impl<'k> ScaleSources<'k> {
    #[track_caller]
    fn new(plan: &Plan, scales: &Scales<'k>, tile: &Tile<'k>, few: bool) -> Self {
        let Scales { a, a_pitch: pitch, b } = *scales;
        let builder = tile.row.builder();
        let (lane, k_blocks, n_blocks) = (builder.lane(), plan.k_blocks(), plan.spec.n.div_ceil(BLOCK));
        let (rows, scale_blocks) = if few { (FEW_ROWS, 1) } else { (plan.spec.tile.m, plan.scale_blocks()) };
        let (row_step, a_step) = match plan.spec.a_scales {
            Some(ScaleLayout::ColumnMajor) => (1, pitch),
            _ => (k_blocks, builder.constant(1)),
        };
        let first = a.at((tile.row + lane).multiply_wide(row_step));
        let row = |row: u32| {
            let present = (lane + row).less(tile.rows);
            (first.at(row * row_step), present.select(builder.constant(4), builder.constant(0)))
        };
        let column = match plan.gated {
            // Those of gate and up.
            Some(_) => tile.column / (2 * BLOCK) + lane * (n_blocks / 2),
            None => tile.column / BLOCK + lane,
        };
        // What lies behind the last column takes any scale.
        let column = column.min(n_blocks - 1);
        let of_weight = b.at(tile.group.multiply_wide(n_blocks * k_blocks));
        Self {
            rows: (0..rows).step_by(32).map(row).collect(),
            a_step,
            columns: of_weight.at(column.multiply_wide(k_blocks)),
            has_columns: lane.less(scale_blocks),
        }
    }

    /// Copies the scales of a stage; those of rows that are not there become 0.
    #[track_caller]
    fn copy(&self, plan: &Plan, memory: &SharedMemory<'k>, place: Place<'k>, block: Value<'k, u32>) {
        let builder = block.builder();
        let lane = builder.lane();
        let to = memory.a_scales(place.stage()).at(lane);
        for ((from, bytes), row) in self.rows.iter().zip((0_u32..).step_by(32)) {
            let from = match plan.spec.a_scales {
                Some(ScaleLayout::ColumnMajor) => from.at(block.multiply_wide(self.a_step)),
                _ => from.at(block),
            };
            builder.copy_async_present(4, *bytes, to.at(row), from);
        }
        builder.when(self.has_columns, || {
            let to = memory.b_scales(place.stage()).at(lane);
            builder.copy_async_present(4, builder.constant(4), to, self.columns.at(block));
        });
    }
}
