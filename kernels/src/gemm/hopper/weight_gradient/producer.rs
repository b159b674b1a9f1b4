//! The producer: one warp that fills the stages. Lane 0 copies the rows of A and B as tensors, all lanes the scales, word
//! by word, since these need not be aligned.

use super::schedule::Tile;
use super::{HopperWeightGradientParameters, HopperWeightGradientSpec};
use crate::BLOCK;
use crate::gemm::hopper::producer::{Rows, fill_stages, in_parts};
use crate::gemm::hopper::shared_memory::SharedMemory;
use crate::gemm::hopper::tile::Format;
use crate::quant::ScaleLayout;
use rorqual_codegen::Value;
use rorqual_codegen::pipeline::Place;
use rorqual_codegen::pointer::{Global, Pointer, Shared};

/// What the producing warp does.
#[track_caller]
pub(super) fn produce<'k>(
    spec: &HopperWeightGradientSpec,
    memory: &SharedMemory<'k>,
    arguments: &HopperWeightGradientParameters<'k>,
) {
    let (tiles, cursor) = (memory.tiles.worker(), memory.ring.producer());
    let bytes = spec.tile.part_bytes(Format::Fp8);
    let is_first_lane = memory.builder.lane().equals(0);
    tiles.for_each(|tile: Tile<'k>| {
        let scales = [
            ScaleSource::new(spec, arguments, arguments.a_scales, [spec.m, spec.tile.m], tile.row),
            ScaleSource::new(spec, arguments, arguments.b_scales, [spec.n, spec.tile.n], tile.column),
        ];
        let stage_copies = |place: Place<'k>, block: Value<'k, u32>| {
            let coordinates = |row| [block * BLOCK, row].map(Value::to_i32).to_vec();
            let [to_a, to_b] = [memory.a(place.stage()), memory.b(place.stage())];
            let a = Rows { map: arguments.a, to: to_a, first: tile.row, coordinates };
            let b = Rows { map: arguments.b, to: to_b, first: tile.column, coordinates };
            in_parts(&spec.tile, Format::Fp8, place, &a, vec![b.all_columns(&spec.tile, place)])
        };
        let copy_scales = |place: Place<'k>, block: Value<'k, u32>| {
            let to = [memory.a_scales(place.stage()), memory.b_scales(place.stage())];
            for (scales, to) in scales.iter().zip(to) {
                scales.copy(to, block);
            }
        };
        let blocks = [tile.first_block, tile.first_block + tile.blocks];
        fill_stages(cursor, blocks, is_first_lane, &bytes, stage_copies, Some(copy_scales));
    });
}

/// Where a lane finds the scales that it copies: those of the rows `lane + 32 * i` of a tile.
struct ScaleSource<'k> {
    /// Of the first of these rows: the scale of block 0.
    first: Pointer<'k, Global, f32>,
    /// Rows from there on that are there.
    left: Value<'k, u32>,
    /// Rows of the tile.
    rows: u32,
    /// From a block to the next, in elements.
    block_step: Value<'k, u32>,
    /// From a row to the one 32 behind it.
    rows_step: Value<'k, u32>,
}

impl<'k> ScaleSource<'k> {
    /// Of an operand with `rows`, in tiles of `tile_rows`, of which one starts at `row`.
    #[track_caller]
    fn new(
        spec: &HopperWeightGradientSpec,
        arguments: &HopperWeightGradientParameters<'k>,
        scales: Pointer<'k, Global, f32>,
        [rows, tile_rows]: [u32; 2],
        row: Value<'k, u32>,
    ) -> Self {
        let builder = row.builder();
        let (row_step, block_step) = match spec.scales {
            ScaleLayout::RowMajor => (arguments.k_blocks, builder.constant(1)),
            ScaleLayout::ColumnMajor => (builder.constant(1), builder.constant(rows)),
        };
        let first = row + builder.lane();
        Self {
            first: scales.at(first.multiply_wide(row_step)),
            left: builder.constant(rows) - first.min(rows),
            rows: tile_rows,
            block_step,
            rows_step: row_step * 32,
        }
    }

    /// Copies the scales of a stage; those of rows that are not there become 0.
    #[track_caller]
    fn copy(&self, to: Pointer<'k, Shared, f32>, block: Value<'k, u32>) {
        let builder = block.builder();
        let to = to.at(builder.lane());
        let mut from = self.first.at(block.multiply_wide(self.block_step));
        for row in (0..self.rows).step_by(32) {
            let present = self.left.greater(row).select(builder.constant(4), builder.constant(0));
            builder.copy_async_present(4, present, to.at(row), from);
            from = from.at(self.rows_step);
        }
    }
}
