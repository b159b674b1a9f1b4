//! The consumers: warpgroups that multiply what stands in the stages.
//!
//! In FP8 the products of a stage, 128 of K, are a sum of their own, `partial`. It is *promoted*: added to the sums in f32
//! after multiplication with the scales. While one warpgroup promotes, the other one multiplies. A warpgroup that is
//! alone, and one whose partial sums are few, starts the products of the next stage before it promotes those of this one.
//!
//! A warpgroup has products of 64 rows, below each other, or with gate and up side by side. For groups of few rows its 64
//! rows are those of the weight, and the columns are the tokens.

use super::epilogue::{Fragment, store};
use super::gated::activate;
use super::plan::{Arguments, Plan, Results};
use super::schedule::{FEW_ROWS, Tile};
use super::shared_memory::SharedMemory;
use super::tile::{Format, K_BYTES};
use crate::BLOCK;
use crate::gemm::Output;
use rorqual_codegen::element::ElementType;
use rorqual_codegen::mbarrier::Mbarrier;
use rorqual_codegen::mma::wgmma::{self, Accumulator, Descriptor, Encoded, Major};
use rorqual_codegen::pipeline::{Cursor, Place};
use rorqual_codegen::{Builder, Predicate, Value, Variable};

/// A consumer warpgroup.
struct Consumer<'a, 'k> {
    builder: &'k Builder,
    plan: &'a Plan,
    memory: &'a SharedMemory<'k>,
    cursor: Cursor<'k>,
    /// The operands of stage 0.
    a: Descriptor<'k>,
    b: Descriptor<'k>,
    /// Its number.
    warpgroup: Value<'k, u32>,
    /// The row of the thread's first register in a block of 64.
    row: Value<'k, u32>,
    /// The column of the thread's first register.
    column: Value<'k, u32>,
}

/// Who stands where.
enum Arrangement<'k> {
    /// The rows of A fill the rows of a product. Of each run of columns of the tile: whether its scale of B is that of
    /// the second block of 128 columns.
    Usual(Vec<Predicate<'k>>),
    /// The rows of the weight do.
    Swapped,
}

/// What the consumer warps do.
#[track_caller]
pub(super) fn consume<'k>(
    builder: &'k Builder,
    plan: &Plan,
    memory: &SharedMemory<'k>,
    arguments: &Arguments<'k>,
) {
    let zero = builder.constant(0);
    let warpgroup = ((builder.thread() >> 7) - 1).uniform();
    let own_rows = plan.tile.products() * wgmma::ROWS;
    let consumer = Consumer {
        builder,
        plan,
        memory,
        cursor: memory.ring.consumer(),
        a: builder
            .swizzled_descriptor(memory.a(zero), Major::K)
            .pieces(warpgroup, own_rows * K_BYTES)
            .uniform(),
        b: builder.swizzled_descriptor(memory.b(zero), plan.b_major()).uniform(),
        warpgroup,
        row: (builder.warp() & 3) * 16 + builder.lane() / 4,
        column: (builder.lane() & 3) * 2,
    };
    memory.tiles.worker().for_each(|tile: Tile<'k>| {
        let usual = || consumer.tile(arguments, &tile, &consumer.usual(&tile));
        if plan.swaps_few_rows() {
            builder.when_else(tile.is_few, || consumer.tile(arguments, &tile, &Arrangement::Swapped), usual);
        } else {
            usual();
        }
    });
    if plan.output == Output::Bf16 {
        builder.wait_stores_read(0);
    }
}

impl<'k> Consumer<'_, 'k> {
    /// What the scales of a tile follow from.
    #[track_caller]
    fn usual(&self, tile: &Tile<'k>) -> Arrangement<'k> {
        let run = self.plan.tile.scale_run();
        let start = tile.column % BLOCK;
        let is_second = |index: u32| match index * run {
            // Tiles start at multiples of a run: the first one is in the first block, wherever that is.
            0 => self.builder.known(false),
            BLOCK.. => self.builder.known(true),
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
        let sums = match self.plan.format {
            Format::Fp8 => self.promoted(products, columns, arrangement),
            Format::Bf16 => self.accumulated(products, columns),
        };
        let fragment = Fragment {
            sums,
            columns,
            is_swapped: matches!(arrangement, Arrangement::Swapped),
            warpgroup: self.warpgroup,
            row: self.row,
            column: self.column,
        };
        match &arguments.results {
            Results::Product(results) => store(self.plan, self.memory, results, tile, &fragment),
            Results::Activated(results) => activate(self.plan, self.memory, results, tile, &fragment),
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
        let zero = self.builder.constant(0.0_f32);
        let sums: Vec<Vec<_>> =
            (0..products).map(|_| (0..columns / 2).map(|_| zero.variable()).collect()).collect();
        let swapped = matches!(arrangement, Arrangement::Swapped);
        if swapped || self.plan.tile.has_two_partials(Format::Fp8) {
            self.promote_behind(&sums[0], columns, arrangement);
        } else {
            self.promote_at_once(&sums, columns, arrangement);
        }
        sums
    }

    /// Products, then promotion: the other warpgroup's products run meanwhile.
    #[track_caller]
    fn promote_at_once(&self, sums: &[Vec<Variable<'k, f32>>], columns: u32, arrangement: &Arrangement<'k>) {
        let builder = self.builder;
        let partial = builder.accumulator(columns);
        // The next stage is looked for early: the answer is there when it is needed.
        let ready = Predicate::unset(builder);
        self.cursor.place().look_full(ready);
        self.for_each_block(|here, next| {
            here.wait_full_unless(ready);
            let (mut of_columns, mut scales) = (None, vec![]);
            for (product, own) in (0_u32..).zip(sums) {
                let (row_block, column) = self.plan.place(product);
                self.multiply(&partial, &self.operands(here.stage(), product));
                let of_columns =
                    of_columns.get_or_insert_with(|| self.column_scales(here.stage(), arrangement));
                // Products side by side have the same rows, and of these the first one took the scales of all columns.
                if column == 0 {
                    scales = self.scales(here.stage(), row_block, of_columns, arrangement);
                }
                builder.sync_warp();
                builder.wait_products(0);
                if product as usize + 1 == sums.len() {
                    self.memory.release(here.empty());
                    next.look_full(ready);
                }
                self.promote(own, &partial, &scales, column, arrangement);
            }
        });
    }

    /// Goes through the stages of a tile.
    #[track_caller]
    fn for_each_block(&self, body: impl Fn(Place<'k>, Place<'k>)) {
        let (blocks, stages) = (self.plan.k_blocks(), self.plan.tile.stages);
        if blocks.is_multiple_of(stages) {
            self.cursor.for_each_round(blocks / stages, |places| {
                let behind = places[0].next_round();
                let next = places[1..].iter().chain([&behind]);
                places.iter().zip(next).for_each(|(here, next)| body(*here, *next));
            });
        } else {
            self.cursor.for_each_step(blocks, body);
        }
    }

    /// Products of a stage start before the partial sums of the stage before are promoted. A stretch of stages ends
    /// without products under way: the assembler cannot follow them around a loop.
    #[track_caller]
    fn promote_behind(&self, sums: &[Variable<'k, f32>], columns: u32, arrangement: &Arrangement<'k>) {
        let (builder, blocks, stages) = (self.builder, self.plan.k_blocks(), self.plan.tile.stages);
        let sets = [0, 1].map(|_| builder.accumulator(columns));
        let stretch = |places: &[Place<'k>]| {
            let mut before: Option<(Place<'k>, Vec<Value<'k, f32>>)> = None;
            for step in 0..=places.len() {
                let started = places.get(step).map(|place| {
                    let operands = self.operands(place.stage(), 0);
                    place.wait_full();
                    self.multiply(&sets[step % 2], &operands);
                    let of_columns = self.column_scales(place.stage(), arrangement);
                    (*place, self.scales(place.stage(), 0, &of_columns, arrangement))
                });
                if let Some((place, scales)) = before {
                    builder.wait_products(u32::from(started.is_some()));
                    self.release(place.empty());
                    self.promote(sums, &sets[(step + 1) % 2], &scales, 0, arrangement);
                }
                before = started;
            }
        };
        if blocks.is_multiple_of(stages) {
            self.cursor.for_each_round(blocks / stages, stretch);
            return;
        }
        let take = |count: u32| stretch(&(0..count).map(|_| self.cursor.take()).collect::<Vec<_>>());
        builder.for_each(0, blocks / stages, 1, |_| take(stages));
        take(blocks % stages);
    }

    /// The sums of bf16: they stay in the accumulators of the tensor cores. No thread reads a stage: what products read is
    /// read when the warp has waited for them.
    #[track_caller]
    fn accumulated(&self, products: u32, columns: u32) -> Vec<Vec<Variable<'k, f32>>> {
        let (builder, cursor) = (self.builder, self.cursor);
        let sums: Vec<Accumulator<'k>> = (0..products).map(|_| builder.accumulator(columns)).collect();
        let multiply = |adds: bool| {
            let place = cursor.take();
            let blocks: Vec<_> = (0..products).map(|product| self.operands(place.stage(), product)).collect();
            place.wait_full();
            builder.fence_products();
            for (sum, operands) in sums.iter().zip(&blocks) {
                self.issue(sum, operands, adds);
            }
            builder.commit_products();
            place
        };
        if self.plan.tile.consumer_warpgroups() > 1 {
            // The other warpgroup's products run while this one waits, and the stage is free at once.
            let step = |adds: bool| {
                let place = multiply(adds);
                builder.wait_products(0);
                self.memory.release(place.empty());
            };
            step(false);
            builder.for_each(1, self.plan.k_blocks(), 1, |_| step(true));
            return sums.iter().map(|sum| sum.registers().to_vec()).collect();
        }
        let before = multiply(false).stage().variable();
        builder.for_each(1, self.plan.k_blocks(), 1, |_| {
            let stage = multiply(true).stage();
            builder.wait_products(1);
            self.memory.release(self.memory.ring.empty_of(before.peek()));
            before.set(stage);
        });
        builder.wait_products(0);
        self.memory.release(self.memory.ring.empty_of(before.peek()));
        sums.iter().map(|sum| sum.registers().to_vec()).collect()
    }

    /// The operands of the products of a stage, in ascending k.
    #[track_caller]
    fn operands(&self, stage: Value<'k, u32>, product: u32) -> Vec<[Encoded<'k>; 2]> {
        let (tile, b_major) = (self.plan.tile, self.plan.b_major());
        let (row_block, column) = self.plan.place(product);
        let a = self.a.pieces(stage, tile.m * K_BYTES).bytes(row_block * wgmma::ROWS * K_BYTES);
        let b = self.b.pieces(stage, tile.n * K_BYTES).bytes(column * K_BYTES);
        let steps = 0..K_BYTES / wgmma::K_BYTES;
        steps
            .map(|step| [a.bytes(step * Major::K.k_bytes()), b.bytes(step * b_major.k_bytes())])
            .map(|operands| operands.map(Descriptor::encode))
            .collect()
    }

    /// Starts the products of a stage into a new sum.
    #[track_caller]
    fn multiply(&self, partial: &Accumulator<'k>, operands: &[[Encoded<'k>; 2]]) {
        self.builder.fence_products();
        self.issue(partial, operands, false);
        self.builder.commit_products();
    }

    #[track_caller]
    fn issue(&self, sum: &Accumulator<'k>, operands: &[[Encoded<'k>; 2]], adds: bool) {
        let element = match self.plan.format {
            Format::Fp8 => ElementType::E4m3,
            Format::Bf16 => ElementType::Bf16,
        };
        for (step, [a, b]) in operands.iter().enumerate() {
            sum.multiply_add(element, *a, *b, self.builder.known(adds || step > 0));
        }
    }

    /// The scales of the columns of a product: of each run of columns of the weight; swapped, of each of the thread's
    /// columns.
    #[track_caller]
    fn column_scales(&self, stage: Value<'k, u32>, arrangement: &Arrangement<'k>) -> Vec<Value<'k, f32>> {
        match arrangement {
            Arrangement::Usual(is_second) => {
                let blocks = self.memory.b_scales(stage).load_words(self.plan.scale_blocks() as usize);
                let [first, second] = [blocks[0], blocks[blocks.len() - 1]].map(Value::bits::<f32>);
                is_second.iter().map(|is_second| is_second.select(second, first)).collect()
            }
            Arrangement::Swapped => {
                let own = self.memory.a_scales(stage).at(self.column);
                let pairs = (0..FEW_ROWS).step_by(8).map(|first| own.at(first).load_words(2));
                pairs.flatten().map(Value::bits).collect()
            }
        }
    }

    /// The products of scales that the thread needs: of its two rows, or swapped of the weight, with those of columns.
    #[track_caller]
    fn scales(
        &self,
        stage: Value<'k, u32>,
        row_block: u32,
        of_columns: &[Value<'k, f32>],
        arrangement: &Arrangement<'k>,
    ) -> Vec<Value<'k, f32>> {
        let of_rows = match arrangement {
            Arrangement::Usual(_) => {
                let block = self.warpgroup * self.plan.tile.products() + row_block;
                let rows = self.memory.a_scales(stage).at(block * wgmma::ROWS).at(self.row);
                vec![rows.load(), rows.at(8).load()]
            }
            Arrangement::Swapped => vec![self.memory.b_scales(stage).load()],
        };
        of_rows.iter().flat_map(|row| of_columns.iter().map(|column| *row * *column)).collect()
    }

    /// Adds partial sums, scaled; `first_column` is that of the product in the tile.
    #[track_caller]
    fn promote(
        &self,
        sums: &[Variable<'k, f32>],
        partial: &Accumulator<'k>,
        scales: &[Value<'k, f32>],
        first_column: u32,
        arrangement: &Arrangement<'k>,
    ) {
        for ((register, value), sum) in (0..).zip(partial.registers()).zip(sums) {
            let (row, column) = wgmma::d_coordinate(0, register);
            let scale = match arrangement {
                Arrangement::Usual(_) => {
                    let run = (first_column + column) / self.plan.tile.scale_run();
                    row / 8 * self.plan.scale_runs() + run
                }
                Arrangement::Swapped => column / 8 * 2 + column % 2,
            };
            sum.add_product(value.peek(), scales[scale as usize]);
        }
    }

    /// The warp meets and releases a stage.
    #[track_caller]
    fn release(&self, empty: Mbarrier<'k>) {
        self.builder.sync_warp();
        self.memory.release(empty);
    }
}
