//! The consumers: warpgroups that multiply what stands in the stages.
//!
//! In FP8 the products of a stage, 128 of K, are a sum of their own, `partial`. It is *promoted*: added to the sums in f32
//! after multiplication with the scales. While one warpgroup promotes, the other one multiplies. A warpgroup that is
//! alone, and one whose partial sums are few, starts the products of the next stage before it promotes those of this one.
//!
//! A warpgroup has `row_blocks` blocks of 64 rows of the tile. For groups of few rows its 64 rows are those of the
//! weight, and the columns are the tokens.

use super::epilogue::{Fragment, store};
use super::gated::activate;
use super::plan::{Arguments, Plan, Results};
use super::schedule::{FEW_ROWS, Tile};
use super::shared_memory::SharedMemory;
use super::tile::{Format, K_BYTES};
use crate::BLOCK;
use rorqual_codegen::element::ElementType;
use rorqual_codegen::mbarrier::Mbarrier;
use rorqual_codegen::mma::wgmma::{self, Accumulator, Descriptor, Major};
use rorqual_codegen::pipeline::{Cursor, Place};
use rorqual_codegen::pointer::{Pointer, Shared};
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
enum Operands<'k> {
    /// The rows of A fill the rows of a product. Of each run of columns of the tile: whether its scale of B is that of
    /// the second block of 128 columns.
    Usual(Vec<Predicate<'k>>),
    /// The rows of A fill the rows of two products, of which one is with gate, the other one with up.
    GateUp,
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
    memory.tiles.worker().for_each(|tile| {
        let usual = || consumer.tile(arguments, &tile, &consumer.usual(&tile));
        if plan.gated.is_some() {
            consumer.tile(arguments, &tile, &Operands::GateUp);
        } else if plan.swaps_few_rows() {
            builder.when_else(tile.is_few, || consumer.tile(arguments, &tile, &Operands::Swapped), usual);
        } else {
            usual();
        }
    });
    if plan.staged_elements() > 0 {
        builder.wait_stores_read(0);
    }
}

impl<'k> Consumer<'_, 'k> {
    /// What the scales of a tile follow from.
    #[track_caller]
    fn usual(&self, tile: &Tile<'k>) -> Operands<'k> {
        let run = self.plan.tile.scale_run();
        let start = tile.column % BLOCK;
        let is_second = |index: u32| match index * run {
            // Tiles start at multiples of a run: the first one is in the first block, wherever that is.
            0 => self.builder.known(false),
            BLOCK.. => self.builder.known(true),
            skipped => (start + skipped).at_least(BLOCK),
        };
        Operands::Usual((0..self.plan.scale_runs()).map(is_second).collect())
    }

    #[track_caller]
    fn tile(&self, arguments: &Arguments<'k>, tile: &Tile<'k>, operands: &Operands<'k>) {
        let (columns, products) = match operands {
            Operands::Usual(_) => (self.plan.tile.n, self.plan.tile.products()),
            Operands::GateUp => (BLOCK, 2),
            Operands::Swapped => (FEW_ROWS, 1),
        };
        let sums = match self.plan.format {
            Format::Fp8 => self.promoted(columns, products, operands),
            Format::Bf16 => self.accumulated(columns, products),
        };
        let fragment = Fragment {
            sums,
            columns,
            is_swapped: matches!(operands, Operands::Swapped),
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
    fn promoted(&self, columns: u32, products: u32, operands: &Operands<'k>) -> Vec<Vec<Variable<'k, f32>>> {
        let zero = self.builder.constant(0.0_f32);
        let sums: Vec<Vec<_>> =
            (0..products).map(|_| (0..columns / 2).map(|_| zero.variable()).collect()).collect();
        let swapped = matches!(operands, Operands::Swapped);
        if swapped || self.plan.tile.has_two_partials(Format::Fp8) {
            self.promote_behind(&sums[0], columns, operands);
        } else {
            self.promote_at_once(&sums, columns, operands);
        }
        sums
    }

    /// Products, then promotion: the other warpgroup's products run meanwhile.
    #[track_caller]
    fn promote_at_once(&self, sums: &[Vec<Variable<'k, f32>>], columns: u32, operands: &Operands<'k>) {
        let builder = self.builder;
        let partial = builder.accumulator(columns);
        // The next stage is looked for early: the answer is there when it is needed.
        let ready = Predicate::unset(builder);
        self.cursor.place().look_full(ready);
        self.for_each_block(|here, next| {
            here.wait_full_unless(ready);
            let mut scales = vec![];
            for (product, own) in (0_u32..).zip(sums) {
                self.multiply(&partial, here.stage(), product);
                scales = match operands {
                    // They came with those of gate.
                    Operands::GateUp if product == 1 => scales.split_off(2),
                    _ => self.scales(here.stage(), product, operands),
                };
                builder.sync_warp();
                builder.wait_products(0);
                if product as usize + 1 == sums.len() {
                    self.arrive(here.empty());
                    next.look_full(ready);
                }
                self.promote(own, &partial, &scales, operands);
            }
        });
    }

    /// Goes through the stages of a tile.
    #[track_caller]
    fn for_each_block(&self, body: impl Fn(Place<'k>, Place<'k>)) {
        let (blocks, stages) = (self.plan.k_blocks(), self.plan.tile.stages);
        if blocks.is_multiple_of(stages) {
            self.cursor.for_each_round(blocks / stages, body);
        } else {
            self.cursor.for_each_step(blocks, body);
        }
    }

    /// Products of a stage start before the partial sums of the stage before are promoted.
    #[track_caller]
    fn promote_behind(&self, sums: &[Variable<'k, f32>], columns: u32, operands: &Operands<'k>) {
        let (builder, blocks) = (self.builder, self.plan.k_blocks());
        let sets = [0, 1].map(|_| builder.accumulator(columns));
        let stretch = |places: &mut dyn FnMut(u32) -> Place<'k>, count: u32| {
            let mut before: Option<(Place<'k>, Vec<Value<'k, f32>>)> = None;
            for step in 0..=count {
                let started = (step < count).then(|| {
                    let place = places(step);
                    place.wait_full();
                    self.multiply(&sets[step as usize % 2], place.stage(), 0);
                    (place, self.scales(place.stage(), 0, operands))
                });
                if let Some((place, scales)) = before {
                    builder.wait_products(u32::from(started.is_some()));
                    self.release(place.empty());
                    self.promote(sums, &sets[(step as usize + 1) % 2], &scales, operands);
                }
                before = started;
            }
        };
        let length = self.plan.tile.stages;
        builder.for_each(0, blocks / length, 1, |_| stretch(&mut |_| self.cursor.take(), length));
        if !blocks.is_multiple_of(length) {
            stretch(&mut |_| self.cursor.take(), blocks % length);
        }
    }

    /// The sums of bf16: they stay in the accumulators of the tensor cores.
    #[track_caller]
    fn accumulated(&self, columns: u32, products: u32) -> Vec<Vec<Variable<'k, f32>>> {
        let (builder, cursor) = (self.builder, self.cursor);
        let sums: Vec<Accumulator<'k>> = (0..products).map(|_| builder.accumulator(columns)).collect();
        let multiply = |adds: bool| {
            let place = cursor.take();
            place.wait_full();
            builder.fence_products();
            for (product, sum) in (0..).zip(&sums) {
                self.issue(sum, place.stage(), product, adds);
            }
            builder.commit_products();
            place.stage()
        };
        let before = multiply(false).variable();
        builder.for_each(1, self.plan.k_blocks(), 1, |_| {
            let stage = multiply(true);
            builder.wait_products(1);
            self.release(self.memory.ring.empty_of(before.peek()));
            before.set(stage);
        });
        builder.wait_products(0);
        self.release(self.memory.ring.empty_of(before.peek()));
        sums.iter().map(|sum| sum.registers().to_vec()).collect()
    }

    /// Starts the products of a stage into a new sum.
    #[track_caller]
    fn multiply(&self, partial: &Accumulator<'k>, stage: Value<'k, u32>, product: u32) {
        self.builder.fence_products();
        self.issue(partial, stage, product, false);
        self.builder.commit_products();
    }

    #[track_caller]
    fn issue(&self, sum: &Accumulator<'k>, stage: Value<'k, u32>, product: u32, adds: bool) {
        let (builder, tile) = (self.builder, self.plan.tile);
        let element = match self.plan.format {
            Format::Fp8 => ElementType::E4m3,
            Format::Bf16 => ElementType::Bf16,
        };
        // Products lie below each other; those with gate and up lie side by side.
        let (row, column) = match self.plan.gated {
            None => (product * wgmma::ROWS, 0),
            Some(_) => (0, product * BLOCK),
        };
        let a = self.a.pieces(stage, tile.m * K_BYTES).bytes(row * K_BYTES);
        let b = self.b.pieces(stage, tile.n * K_BYTES).bytes(column * K_BYTES);
        for step in 0..K_BYTES / wgmma::K_BYTES {
            let (a, b) = (a.bytes(step * Major::K.k_bytes()), b.bytes(step * self.plan.b_major().k_bytes()));
            sum.multiply_add(element, a, b, builder.known(adds || step > 0));
        }
    }

    /// The products of scales that the thread needs: of its two rows with each run of columns, or with gate and with up;
    /// swapped, of the weight with each of its columns.
    #[track_caller]
    fn scales(&self, stage: Value<'k, u32>, product: u32, operands: &Operands<'k>) -> Vec<Value<'k, f32>> {
        let (a, b) = (self.memory.a_scales(stage), self.memory.b_scales(stage));
        match operands {
            Operands::Usual(is_second) => {
                let rows = self.row_scales(a, self.warpgroup * self.plan.tile.products() + product);
                let blocks = b.load_words(self.plan.scale_blocks() as usize);
                let [first, second] = [blocks[0], blocks[blocks.len() - 1]].map(Value::bits::<f32>);
                let runs: Vec<_> =
                    is_second.iter().map(|is_second| is_second.select(second, first)).collect();
                rows.iter().flat_map(|row| runs.iter().map(|run| *row * *run)).collect()
            }
            Operands::GateUp => {
                let weights = b.load_words(2);
                let rows = self.row_scales(a, self.warpgroup);
                weights.iter().flat_map(|weight| rows.map(|row| row * weight.bits())).collect()
            }
            Operands::Swapped => {
                let weight = b.load();
                let pairs = (0..FEW_ROWS).step_by(8).map(|first| a.at(self.column).at(first).load_words(2));
                pairs.flatten().map(|scale| scale.bits::<f32>() * weight).collect()
            }
        }
    }

    /// The scales of the thread's two rows in a block of 64 of the tile.
    #[track_caller]
    fn row_scales(&self, a: Pointer<'k, Shared, f32>, block: Value<'k, u32>) -> [Value<'k, f32>; 2] {
        let first = a.at(block * wgmma::ROWS).at(self.row);
        [first.load(), first.at(8).load()]
    }

    /// Adds partial sums, scaled.
    #[track_caller]
    fn promote(
        &self,
        sums: &[Variable<'k, f32>],
        partial: &Accumulator<'k>,
        scales: &[Value<'k, f32>],
        operands: &Operands<'k>,
    ) {
        for ((register, value), sum) in (0..).zip(partial.registers()).zip(sums) {
            let (row, column) = wgmma::d_coordinate(0, register);
            let scale = match operands {
                Operands::Usual(_) => row / 8 * self.plan.scale_runs() + column / self.plan.tile.scale_run(),
                Operands::GateUp => row / 8,
                Operands::Swapped => column / 8 * 2 + column % 2,
            };
            sum.add_product(value.peek(), scales[scale as usize]);
        }
    }

    /// Releases a stage.
    #[track_caller]
    fn release(&self, empty: Mbarrier<'k>) {
        self.builder.sync_warp();
        self.arrive(empty);
    }

    /// Releases a stage, in a cluster in both CTAs, which fill it together; the warp has met since it read it last.
    #[track_caller]
    fn arrive(&self, empty: Mbarrier<'k>) {
        let (lane, ctas) = (self.builder.lane(), self.plan.tile.multicast.cluster());
        if ctas > 1 {
            self.builder.when(lane.less(ctas), || empty.arrive_remote(lane));
        } else {
            self.builder.when(lane.equals(0), || empty.arrive());
        }
    }
}
