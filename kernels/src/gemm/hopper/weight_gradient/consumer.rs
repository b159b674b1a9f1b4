//! The consumers: warpgroups that multiply what stands in the stages, and keep the sums of 64 or 128 rows of the tile each.
//!
//! The products of a stage, 128 tokens, are a sum of their own, `partial`. It is *promoted*: added to the sums in f32
//! after multiplication with the scales of its row and column. While one warpgroup promotes, the other one multiplies.

use super::schedule::Tile;
use super::{HopperWeightGradientParameters, HopperWeightGradientSpec};
use crate::gemm::hopper::shared_memory::SharedMemory;
use crate::gemm::hopper::tile::K_BYTES;
use rorqual_codegen::element::ElementType;
use rorqual_codegen::mma::wgmma::{self, Accumulator, Descriptor, Major};
use rorqual_codegen::pipeline::Cursor;
use rorqual_codegen::{Builder, Predicate, Value, Variable};

/// A consumer warpgroup.
struct Consumer<'a, 'k> {
    builder: &'k Builder,
    spec: &'a HopperWeightGradientSpec,
    memory: &'a SharedMemory<'k>,
    cursor: Cursor<'k>,
    /// The operands of stage 0.
    a: Descriptor<'k>,
    b: Descriptor<'k>,
    /// Row and column of the thread's first register in the tile.
    row: Value<'k, u32>,
    column: Value<'k, u32>,
}

/// What the consumer warps do.
#[track_caller]
pub(super) fn consume<'k>(
    builder: &'k Builder,
    spec: &HopperWeightGradientSpec,
    memory: &SharedMemory<'k>,
    arguments: &HopperWeightGradientParameters<'k>,
) {
    let zero = builder.constant(0);
    let warpgroup = ((builder.thread() >> 7) - 1).uniform();
    let own_rows = spec.tile.products() * wgmma::ROWS;
    let consumer = Consumer {
        builder,
        spec,
        memory,
        cursor: memory.ring.consumer(),
        a: builder
            .swizzled_descriptor(memory.a(zero), Major::K)
            .pieces(warpgroup, own_rows * K_BYTES)
            .uniform(),
        b: builder.swizzled_descriptor(memory.b(zero), Major::K).uniform(),
        row: warpgroup * own_rows + (builder.warp() & 3) * 16 + builder.lane() / 4,
        column: (builder.lane() & 3) * 2,
    };
    memory.tiles.worker().for_each(|tile: Tile<'k>| {
        let sums = consumer.sums(tile.blocks.uniform());
        consumer.store(arguments, &tile, &sums);
    });
}

impl<'k> Consumer<'_, 'k> {
    /// The sums of a tile: for each 64 rows, those of the thread.
    #[track_caller]
    fn sums(&self, blocks: Value<'k, u32>) -> Vec<Vec<Variable<'k, f32>>> {
        let (builder, cursor, columns) = (self.builder, self.cursor, self.spec.tile.n);
        let zeros = || (0..columns / 2).map(|_| builder.constant(0.0_f32).variable()).collect();
        let sums: Vec<Vec<_>> = (0..self.spec.tile.products()).map(|_| zeros()).collect();
        let partial = builder.accumulator(columns);
        // The next stage is looked for early: the answer is there when it is needed.
        let ready = Predicate::unset(builder);
        cursor.place().look_full(ready);
        cursor.for_each_step(blocks, |here, next| {
            here.wait_full_unless(ready);
            self.multiply(&partial, here.stage(), 0);
            let columns = self.column_scales(here.stage());
            for (product, sums) in (0_u32..).zip(&sums) {
                if product > 0 {
                    self.multiply(&partial, here.stage(), product);
                }
                let rows = self.row_scales(here.stage(), product);
                builder.sync_warp();
                builder.wait_products(0);
                if product + 1 == self.spec.tile.products() {
                    self.memory.release(here.empty());
                    next.look_full(ready);
                }
                promote(sums, &partial, &rows, &columns);
            }
        });
        sums
    }

    /// Starts a product of a stage into a new sum.
    #[track_caller]
    fn multiply(&self, partial: &Accumulator<'k>, stage: Value<'k, u32>, product: u32) {
        let (builder, tile) = (self.builder, self.spec.tile);
        let a = self.a.pieces(stage, tile.m * K_BYTES).bytes(product * wgmma::ROWS * K_BYTES);
        let b = self.b.pieces(stage, tile.n * K_BYTES);
        builder.fence_products();
        for skipped in (0..K_BYTES).step_by(wgmma::K_BYTES as usize) {
            let [a, b] = [a, b].map(|operand| operand.bytes(skipped).encode());
            partial.multiply_add(ElementType::E4m3, a, b, builder.known(skipped > 0));
        }
        builder.commit_products();
    }

    /// The scales of the thread's two rows of a product.
    #[track_caller]
    fn row_scales(&self, stage: Value<'k, u32>, product: u32) -> [Value<'k, f32>; 2] {
        let scales = self.memory.a_scales(stage).at(self.row).at(product * wgmma::ROWS);
        [scales.load(), scales.at(8).load()]
    }

    /// The scales of the thread's columns, two of each 8.
    #[track_caller]
    fn column_scales(&self, stage: Value<'k, u32>) -> Vec<Value<'k, f32>> {
        let scales = self.memory.b_scales(stage).at(self.column);
        let pairs = (0..self.spec.tile.n).step_by(8).flat_map(|first| scales.at(first).load_words(2));
        pairs.map(Value::bits).collect()
    }

    /// Stores the sums, with what D held if that is asked for: neighbouring columns of a row together where they are.
    #[track_caller]
    fn store(
        &self,
        arguments: &HopperWeightGradientParameters<'k>,
        tile: &Tile<'k>,
        sums: &[Vec<Variable<'k, f32>>],
    ) {
        let HopperWeightGradientSpec { m, n, d_pitch, accumulate, .. } = *self.spec;
        let (row, column) = (tile.row + self.row, tile.column + self.column);
        let [rows_left, columns_left] =
            [(m, row), (n, column)].map(|(end, first)| self.builder.constant(end) - first.min(end));
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
}

/// Adds partial sums, scaled.
#[track_caller]
fn promote<'k>(
    sums: &[Variable<'k, f32>],
    partial: &Accumulator<'k>,
    rows: &[Value<'k, f32>; 2],
    columns: &[Value<'k, f32>],
) {
    for ((register, value), sum) in (0..).zip(partial.registers()).zip(sums) {
        let (row, column) = wgmma::d_coordinate(0, register);
        let scale = rows[row as usize / 8] * columns[(column / 8 * 2 + column % 2) as usize];
        sum.add_product(value.peek(), scale);
    }
}
