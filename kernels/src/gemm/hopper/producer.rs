//! The producer: one warp that fills the stages. Lane 0 copies the rows of A and B as tensors, all lanes the scales, word
//! by word, since these need not be aligned.

use super::grouping::Groups;
use super::plan::{Arguments, Plan, SPAN, Scales};
use super::schedule::{FEW_ROWS, Tile};
use super::shared_memory::SharedMemory;
use super::tile::{K_BYTES, Multicast};
use crate::BLOCK;
use crate::gemm::Order;
use crate::quant::ScaleLayout;
use rorqual_codegen::pipeline::{Cursor, Place};
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::{Builder, Predicate, Value};

/// What the producing warp does.
#[track_caller]
pub(super) fn produce<'k>(
    builder: &'k Builder,
    plan: &Plan,
    memory: &SharedMemory<'k>,
    arguments: &Arguments<'k>,
) {
    let (tiles, cursor) = (memory.tiles.worker(), memory.ring.producer());
    tiles.for_each(|tile: Tile<'k>| {
        let many = || fill(builder, plan, memory, arguments, cursor, &tile, false);
        if plan.swaps_few_rows() {
            let few = || fill(builder, plan, memory, arguments, cursor, &tile, true);
            builder.when_else(tile.is_few, few, many);
        } else {
            many();
        }
    });
}

/// Fills the stages of a tile.
#[track_caller]
fn fill<'k>(
    builder: &'k Builder,
    plan: &Plan,
    memory: &SharedMemory<'k>,
    arguments: &Arguments<'k>,
    cursor: Cursor<'k>,
    tile: &Tile<'k>,
    few: bool,
) {
    let scales = arguments.scales.map(|scales| ScaleSources::new(builder, plan, &scales, tile, few));
    let bytes = builder.constant(plan.stage_bytes()[usize::from(few)]);
    let is_first_lane = builder.lane().equals(0);
    builder.for_each(0, plan.k_blocks(), 1, |block| {
        let place = cursor.take();
        place.wait_empty();
        builder.when(is_first_lane, || {
            place.full().arrive_expecting(bytes);
            copy_tensors(builder, plan, memory, arguments, place, tile, few, block);
        });
        if let Some(scales) = &scales {
            scales.copy(plan, memory, place, block);
            builder.arrive_when_copied(place.full());
        }
    });
}

/// Copies the rows of A and B of a stage. With swapped operands the weight takes the place of A.
#[track_caller]
#[expect(clippy::too_many_arguments, reason = "the state of the loop around it")]
fn copy_tensors<'k>(
    builder: &'k Builder,
    plan: &Plan,
    memory: &SharedMemory<'k>,
    arguments: &Arguments<'k>,
    place: Place<'k>,
    tile: &Tile<'k>,
    few: bool,
    block: Value<'k, u32>,
) {
    let k = block * plan.k_block();
    let coordinates = |inner: Value<'k, u32>, outer: Value<'k, u32>, has_slices: bool| {
        let slice = has_slices.then_some(tile.group);
        [inner, outer].into_iter().chain(slice).map(Value::to_i32).collect::<Vec<_>>()
    };
    let of_a = |row| coordinates(k, row, matches!(plan.grouping, Groups::Batched { .. }));
    let of_b = |column: Value<'k, u32>| match (plan.b_order, plan.b_has_weights()) {
        _ if plan.gated.is_some() => [k, column / 2, tile.group * 2].into_iter().map(Value::to_i32).collect(),
        (Order::OutputMajor, true) => coordinates(k, column, true),
        (Order::OutputMajor, false) => coordinates(k, tile.group.multiply_add(plan.n, column), false),
        (Order::InputMajor, _) => coordinates(column, k, true),
    };
    let (row, column) = (tile.row, tile.column);
    let (to_a, to_b) = (memory.a(place.stage()), memory.b(place.stage()));
    if few {
        builder.copy_tensor_to_shared(to_a, arguments.b_few, &of_b(column), place.full());
        builder.copy_tensor_to_shared(to_b, arguments.a_few, &of_a(row), place.full());
        return;
    }
    // Each CTA of a cluster brings half of what they share, to both.
    let half_of = |rows: u32| (builder.cta(0) & 1) * (rows / 2);
    if plan.tile.multicast == Multicast::A {
        let skipped = half_of(plan.tile.m);
        let to = to_a.at(skipped * K_BYTES);
        builder.multicast_tensor(to, arguments.a, &of_a(row + skipped), place.full(), 0b11);
    } else {
        builder.copy_tensor_to_shared(to_a, arguments.a, &of_a(row), place.full());
    }
    match (plan.b_order, plan.tile.multicast) {
        (Order::InputMajor, _) => {
            for first in (0..plan.tile.n).step_by(SPAN as usize) {
                let to = to_b.at(first * K_BYTES);
                builder.copy_tensor_to_shared(to, arguments.b, &of_b(column + first), place.full());
            }
        }
        (Order::OutputMajor, Multicast::B) => {
            let skipped = half_of(plan.tile.n);
            let to = to_b.at(skipped * K_BYTES);
            builder.multicast_tensor(to, arguments.b, &of_b(column + skipped), place.full(), 0b11);
        }
        (Order::OutputMajor, _) => {
            builder.copy_tensor_to_shared(to_b, arguments.b, &of_b(column), place.full());
        }
    }
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
    fn new(builder: &'k Builder, plan: &Plan, scales: &Scales<'k>, tile: &Tile<'k>, few: bool) -> Self {
        let Scales { a, a_pitch: pitch, b } = *scales;
        let (lane, k_blocks, n_blocks) = (builder.lane(), plan.k_blocks(), plan.n.div_ceil(BLOCK));
        let (rows, scale_blocks) = if few { (FEW_ROWS, 1) } else { (plan.tile.m, plan.scale_blocks()) };
        let (row_step, a_step) = match plan.a_scales {
            ScaleLayout::RowMajor => (k_blocks, builder.constant(1)),
            ScaleLayout::ColumnMajor => (1, pitch),
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
            let from = match plan.a_scales {
                ScaleLayout::RowMajor => from.at(block),
                ScaleLayout::ColumnMajor => from.at(block.multiply_wide(self.a_step)),
            };
            builder.copy_async_present(4, *bytes, to.at(row), from);
        }
        builder.when(self.has_columns, || {
            let to = memory.b_scales(place.stage()).at(lane);
            builder.copy_async_present(4, builder.constant(4), to, self.columns.at(block));
        });
    }
}
