//! The consumers: warpgroups that multiply what stands in the stages.
//!
//! In FP8 the products of a stage, 128 of K, are a sum of their own, `partial`. It is *promoted*: added to the sums in f32
//! after multiplication with the scales. While one warpgroup promotes, the other one multiplies. A warpgroup that is
//! alone, and one whose partial sums are few, starts the products of the next stage before it promotes those of this one.
//!
//! A warpgroup has products of 64 rows, below each other, or with gate and up side by side. For groups of few rows its 64
//! rows are those of the weight, and the columns are the tokens.

use super::epilogue::Fragment;
use super::plan::{Arguments, Plan, Results};
use super::schedule::{FEW_ROWS, Tile};
use super::shared_memory::SharedMemory;
use super::tile::Format;
use super::warpgroup::{Warpgroup, promote};
use crate::BLOCK;
use crate::gemm::Output;
use rorqual_codegen::element::ElementType;
use rorqual_codegen::mma::wgmma::{self, Accumulator, Encoded};
use rorqual_codegen::pipeline::Place;
use rorqual_codegen::{Predicate, Value, Variable};

/// A consumer warpgroup of a plan.
struct Consumer<'a, 'k> {
    plan: &'a Plan,
    warpgroup: Warpgroup<'a, 'k>,
}

/// Who stands where.
enum Arrangement<'k> {
    /// The rows of A fill the rows of a product. Of each run of columns of the tile: whether its scale of B is that of
    /// the second block of 128 columns.
    Usual(Vec<Predicate<'k>>),
    /// The rows of the weight do.
    Swapped,
}

/// The scales of a product.
struct Scales<'k> {
    /// Those of the thread's two rows, or swapped of the weight, times those of columns.
    both: Vec<Value<'k, f32>>,
    of_columns: Vec<Value<'k, f32>>,
    /// The first column of the product in the tile.
    first_column: u32,
}

/// What the consumer warps do.
#[track_caller]
pub(super) fn consume<'k>(plan: &Plan, memory: &SharedMemory<'k>, arguments: &Arguments<'k>) {
    let builder = memory.builder;
    let consumer = Consumer { plan, warpgroup: Warpgroup::new(memory, plan.b_major(), 0) };
    memory.tiles.worker().for_each(|tile: Tile<'k>| {
        let usual = || consumer.tile(arguments, &tile, &consumer.usual(&tile));
        if plan.swaps_few_rows() {
            builder.when_else(tile.is_few, || consumer.tile(arguments, &tile, &Arrangement::Swapped), usual);
        } else {
            usual();
        }
    });
    if plan.spec.output == Output::Bf16 {
        builder.wait_stores_read(0);
    }
}

impl<'k> Consumer<'_, 'k> {
    /// What the scales of a tile follow from.
    #[track_caller]
    fn usual(&self, tile: &Tile<'k>) -> Arrangement<'k> {
        let run = self.plan.spec.tile.scale_run();
        let start = tile.column % BLOCK;
        let is_second = |index: u32| match index * run {
            // Tiles start at multiples of a run: the first one is in the first block, wherever that is.
            0 => self.warpgroup.builder.known(false),
            BLOCK.. => self.warpgroup.builder.known(true),
            skipped => (start + skipped).at_least(BLOCK),
        };
        Arrangement::Usual((0..self.plan.scale_runs()).map(is_second).collect())
    }

    #[track_caller]
    fn tile(&self, arguments: &Arguments<'k>, tile: &Tile<'k>, arrangement: &Arrangement<'k>) {
        let (products, columns) = match arrangement {
            Arrangement::Usual(_) => self.plan.products(),
            Arrangement::Swapped => (1, FEW_ROWS),
        };
        let sums = match self.plan.spec.format() {
            Format::Fp8 => self.promoted(products, columns, arrangement),
            Format::Bf16 => self.accumulated(products, columns),
        };
        let is_swapped = matches!(arrangement, Arrangement::Swapped);
        let fragment = Fragment { plan: self.plan, warpgroup: self.warpgroup, sums, columns, is_swapped };
        match &arguments.results {
            Results::Product(results) => fragment.store(results, tile),
            Results::Activated(results) => fragment.activate(results, tile),
        }
    }

    /// The sums of FP8: for each product, those of the thread.
    #[track_caller]
    fn promoted(
        &self,
        products: u32,
        columns: u32,
        arrangement: &Arrangement<'k>,
    ) -> Vec<Vec<Variable<'k, f32>>> {
        let sums = self.warpgroup.zeros(products, columns);
        let swapped = matches!(arrangement, Arrangement::Swapped);
        if swapped || self.plan.spec.tile.has_two_partials(Format::Fp8) {
            self.promote_behind(&sums[0], columns, arrangement);
            return sums;
        }
        self.warpgroup.promote_at_once(
            &sums,
            columns,
            |body| self.for_each_block(body),
            |partial, stage, product, before| {
                self.warpgroup.multiply(partial, self.operands(stage, product));
                self.scales(stage, product, before, arrangement)
            },
            |scales, row, column| self.scale(scales, row, column, arrangement),
        );
        sums
    }

    /// Goes through the stages of a tile.
    #[track_caller]
    fn for_each_block(&self, body: impl Fn(Place<'k>, Place<'k>)) {
        let (cursor, blocks, stages) =
            (self.warpgroup.cursor, self.plan.k_blocks(), self.plan.spec.tile.stages);
        if blocks.is_multiple_of(stages) {
            cursor.for_each_round(blocks / stages, |places| {
                let behind = places[0].next_round();
                let next = places[1..].iter().chain([&behind]);
                places.iter().zip(next).for_each(|(here, next)| body(*here, *next));
            });
        } else {
            cursor.for_each_step(blocks, body);
        }
    }

    /// Products of a stage start before the partial sums of the stage before are promoted. A stretch of stages ends
    /// without products under way: the assembler cannot follow them around a loop.
    #[track_caller]
    fn promote_behind(&self, sums: &[Variable<'k, f32>], columns: u32, arrangement: &Arrangement<'k>) {
        let Warpgroup { builder, memory, cursor, .. } = self.warpgroup;
        let (blocks, stages) = (self.plan.k_blocks(), self.plan.spec.tile.stages);
        let sets = [0, 1].map(|_| builder.accumulator(columns));
        let stretch = |places: &[Place<'k>]| {
            let mut before: Option<(Place<'k>, Scales<'k>)> = None;
            for step in 0..=places.len() {
                let started = places.get(step).map(|place| {
                    let operands = self.operands(place.stage(), 0);
                    place.wait_full();
                    self.warpgroup.multiply(&sets[step % 2], operands);
                    (*place, self.scales(place.stage(), 0, None, arrangement))
                });
                if let Some((place, scales)) = before {
                    builder.wait_products(u32::from(started.is_some()));
                    let empty = place.empty();
                    builder.sync_warp();
                    memory.release(empty);
                    promote(sums, &sets[(step + 1) % 2], |row, column| {
                        self.scale(&scales, row, column, arrangement)
                    });
                }
                before = started;
            }
        };
        if blocks.is_multiple_of(stages) {
            cursor.for_each_round(blocks / stages, stretch);
            return;
        }
        let take = |count: u32| stretch(&(0..count).map(|_| cursor.take()).collect::<Vec<_>>());
        builder.for_each(0, blocks / stages, 1, |_| take(stages));
        take(blocks % stages);
    }

    /// The sums of bf16: they stay in the accumulators of the tensor cores. No thread reads a stage: what products read is
    /// read when the warp has waited for them.
    #[track_caller]
    fn accumulated(&self, products: u32, columns: u32) -> Vec<Vec<Variable<'k, f32>>> {
        let Warpgroup { builder, memory, cursor, .. } = self.warpgroup;
        let sums: Vec<Accumulator<'k>> = (0..products).map(|_| builder.accumulator(columns)).collect();
        let multiply = |adds: bool| {
            let place = cursor.take();
            let blocks: Vec<_> = (0..products).map(|product| self.operands(place.stage(), product)).collect();
            place.wait_full();
            builder.fence_products();
            for (sum, operands) in sums.iter().zip(&blocks) {
                self.warpgroup.issue(ElementType::Bf16, sum, operands.iter().copied(), adds);
            }
            builder.commit_products();
            place
        };
        if self.plan.spec.tile.consumer_warpgroups() > 1 {
            // The other warpgroup's products run while this one waits, and the stage is free at once.
            let step = |adds: bool| {
                let place = multiply(adds);
                builder.wait_products(0);
                memory.release(place.empty());
            };
            step(false);
            builder.for_each(1, self.plan.k_blocks(), 1, |_| step(true));
            return sums.iter().map(|sum| sum.registers().to_vec()).collect();
        }
        let before = multiply(false).stage().variable();
        builder.for_each(1, self.plan.k_blocks(), 1, |_| {
            let stage = multiply(true).stage();
            builder.wait_products(1);
            memory.release(memory.ring.empty_of(before.peek()));
            before.set(stage);
        });
        builder.wait_products(0);
        memory.release(memory.ring.empty_of(before.peek()));
        sums.iter().map(|sum| sum.registers().to_vec()).collect()
    }

    /// The operands of a product of a stage, all encoded: products can then follow each other at once.
    #[track_caller]
    fn operands(&self, stage: Value<'k, u32>, product: u32) -> Vec<[Encoded<'k>; 2]> {
        let (row_block, column) = self.plan.place(product);
        self.warpgroup.operands(stage, row_block, column).collect()
    }

    /// The scales of the columns of a product: of each run of columns of the weight; swapped, of each of the thread's
    /// columns.
    #[track_caller]
    fn column_scales(&self, stage: Value<'k, u32>, arrangement: &Arrangement<'k>) -> Vec<Value<'k, f32>> {
        let Warpgroup { memory, .. } = self.warpgroup;
        match arrangement {
            Arrangement::Usual(is_second) => {
                let blocks = memory.b_scales(stage).load_words(self.plan.scale_blocks() as usize);
                let [first, second] = [blocks[0], blocks[blocks.len() - 1]].map(Value::bits::<f32>);
                is_second.iter().map(|is_second| is_second.select(second, first)).collect()
            }
            Arrangement::Swapped => self.warpgroup.column_scales(memory.a_scales(stage), FEW_ROWS),
        }
    }

    /// The scales of a product, of which some are those of the product `before` of the same stage.
    #[track_caller]
    fn scales(
        &self,
        stage: Value<'k, u32>,
        product: u32,
        before: Option<Scales<'k>>,
        arrangement: &Arrangement<'k>,
    ) -> Scales<'k> {
        let Warpgroup { memory, number, row, .. } = self.warpgroup;
        let (row_block, first_column) = self.plan.place(product);
        let of_columns = match before {
            // Products side by side have the same rows, and of these the first one took the scales of all columns.
            Some(scales) if first_column > 0 => return Scales { first_column, ..scales },
            Some(scales) => scales.of_columns,
            None => self.column_scales(stage, arrangement),
        };
        let of_rows = match arrangement {
            Arrangement::Usual(_) => {
                let block = number * self.plan.spec.tile.products() + row_block;
                let rows = memory.a_scales(stage).at(block * wgmma::ROWS).at(row);
                vec![rows.load(), rows.at(8).load()]
            }
            Arrangement::Swapped => vec![memory.b_scales(stage).load()],
        };
        let both = of_rows.iter().flat_map(|row| of_columns.iter().map(|column| *row * *column)).collect();
        Scales { both, of_columns, first_column }
    }

    /// The scale of a row and column of a product.
    fn scale(
        &self,
        scales: &Scales<'k>,
        row: u32,
        column: u32,
        arrangement: &Arrangement<'k>,
    ) -> Value<'k, f32> {
        let index = match arrangement {
            Arrangement::Usual(_) => {
                let run = (scales.first_column + column) / self.plan.spec.tile.scale_run();
                row / 8 * self.plan.scale_runs() + run
            }
            Arrangement::Swapped => column / 8 * 2 + column % 2,
        };
        scales.both[index as usize]
    }
}
