//! The consumers: warpgroups that multiply what stands in the stages, and keep the sums of 64 or 128 rows of the tile each.
//!
//! The products of a stage, 128 tokens, are a sum of their own, `partial`. It is *promoted*: added to the sums in f32
//! after multiplication with the scales of its row and column. While one warpgroup promotes, the other one multiplies.

use super::schedule::Tile;
use super::{HopperWeightGradientParameters, HopperWeightGradientSpec};
use crate::gemm::hopper::shared_memory::SharedMemory;
use crate::gemm::hopper::warpgroup::Warpgroup;
use rorqual_codegen::mma::wgmma::{self, Major};
use rorqual_codegen::{Value, Variable};

/// What the consumer warps do.
#[track_caller]
pub(super) fn consume<'k>(
    spec: &HopperWeightGradientSpec,
    memory: &SharedMemory<'k>,
    arguments: &HopperWeightGradientParameters<'k>,
) {
    let warpgroup = Warpgroup::new(memory, Major::K, spec.tile.own_rows());
    memory.tiles.worker().for_each(|tile: Tile<'k>| {
        let sums = sums(spec, &warpgroup, tile.blocks.uniform());
        store(spec, &warpgroup, arguments, &tile, &sums);
    });
}

/// The sums of a tile: for each 64 rows, those of the thread.
#[track_caller]
fn sums<'k>(
    spec: &HopperWeightGradientSpec,
    warpgroup: &Warpgroup<'_, 'k>,
    blocks: Value<'k, u32>,
) -> Vec<Vec<Variable<'k, f32>>> {
    let (tile, memory) = (spec.tile, warpgroup.memory);
    let sums = warpgroup.zeros(tile.products(), tile.n);
    warpgroup.promote_at_once(
        &sums,
        tile.n,
        |body| warpgroup.cursor.for_each_step(blocks, body),
        |partial, stage, product, before| {
            warpgroup.multiply(partial, warpgroup.operands(stage, product, 0));
            let all_columns = || warpgroup.column_scales(memory.b_scales(stage), tile.n);
            let columns = before.map_or_else(all_columns, |(_, columns)| columns);
            let rows = memory.a_scales(stage).at(warpgroup.row).at(product * wgmma::ROWS);
            ([rows.load(), rows.at(8).load()], columns)
        },
        |(rows, columns), row, column| {
            rows[row as usize / 8] * columns[(column / 8 * 2 + column % 2) as usize]
        },
    );
    sums
}

/// Stores the sums, with what D held if that is asked for: neighbouring columns of a row together where they are.
#[track_caller]
fn store<'k>(
    spec: &HopperWeightGradientSpec,
    warpgroup: &Warpgroup<'_, 'k>,
    arguments: &HopperWeightGradientParameters<'k>,
    tile: &Tile<'k>,
    sums: &[Vec<Variable<'k, f32>>],
) {
    let HopperWeightGradientSpec { m, n, d_pitch, accumulate, .. } = *spec;
    let (row, column) = (tile.row + warpgroup.row, tile.column + warpgroup.column);
    let [rows_left, columns_left] =
        [(m, row), (n, column)].map(|(end, first)| first.builder().constant(end) - first.min(end));
    let first = arguments.d.at((tile.group * m + row).multiply_wide(d_pitch)).at(column);
    let width = if n.is_multiple_of(2) { 2 } else { 1 };
    let place = |product: usize, index: usize| {
        let (row, column) = wgmma::d_coordinate(0, (index * width) as u32);
        let row = row + product as u32 * wgmma::ROWS;
        let present = rows_left.greater(row) & columns_left.greater(column);
        (first.at(row as usize * d_pitch as usize + column as usize), present)
    };
    let finish = |product: usize, index: usize, sums: &[Variable<'k, f32>]| -> Vec<Value<'k, _>> {
        let sums = sums.iter().map(|sum| sum.peek());
        if !accumulate {
            return sums.map(Value::bits).collect();
        }
        let (place, present) = place(product, index);
        let before = place.load_words_or_zero(present, width);
        sums.zip(before).map(|(sum, before)| (sum + before.bits::<f32>()).bits()).collect()
    };
    for (product, sums) in sums.iter().enumerate() {
        let sums = sums.chunks(width).enumerate();
        let finished: Vec<_> = sums.map(|(index, sums)| finish(product, index, sums)).collect();
        for (index, words) in finished.iter().enumerate() {
            let (place, present) = place(product, index);
            place.store_words_when(present, words);
        }
    }
}
