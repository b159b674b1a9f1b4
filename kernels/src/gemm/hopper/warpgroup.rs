//! What the consumer warpgroups of all families do alike: products of what stands in a stage, and promotion.

use super::shared_memory::SharedMemory;
use super::tile::K_BYTES;
use rorqual_codegen::element::ElementType;
use rorqual_codegen::mma::wgmma::{self, Accumulator, Descriptor, Encoded, Major};
use rorqual_codegen::pipeline::{Cursor, Place};
use rorqual_codegen::pointer::{Pointer, Shared};
use rorqual_codegen::{Builder, Predicate, Value, Variable};

/// A consumer warpgroup.
#[derive(Clone, Copy)]
pub(super) struct Warpgroup<'a, 'k> {
    pub(super) builder: &'k Builder,
    pub(super) memory: &'a SharedMemory<'k>,
    pub(super) cursor: Cursor<'k>,
    /// Its number.
    pub(super) number: Value<'k, u32>,
    /// Row and column of the thread's first register.
    pub(super) row: Value<'k, u32>,
    pub(super) column: Value<'k, u32>,
    /// The operands of stage 0.
    a: Descriptor<'k>,
    b: Descriptor<'k>,
    b_major: Major,
}

impl<'a, 'k> Warpgroup<'a, 'k> {
    /// `row_step` is what rows of the second warpgroup are counted from: 0 where each counts its own.
    #[track_caller]
    pub(super) fn new(memory: &'a SharedMemory<'k>, b_major: Major, row_step: u32) -> Self {
        let builder = memory.builder;
        let zero = builder.constant(0);
        let number = ((builder.thread() >> 7) - 1).uniform();
        let cursor = memory.consumer(number);
        let a = builder.swizzled_descriptor(memory.a(zero), Major::K);
        let own_bytes = memory.tile.own_rows() * K_BYTES;
        Self {
            builder,
            memory,
            cursor,
            number,
            a: a.pieces(number, own_bytes).uniform(),
            b: builder.swizzled_descriptor(memory.b(zero), b_major).uniform(),
            row: number * row_step + (builder.warp() & 3) * 16 + builder.lane() / 4,
            column: (builder.lane() & 3) * 2,
            b_major,
        }
    }

    /// Sums that are 0: for each product, those of the thread.
    #[track_caller]
    pub(super) fn zeros(&self, products: u32, columns: u32) -> Vec<Vec<Variable<'k, f32>>> {
        let zero = self.builder.constant(0.0_f32);
        (0..products).map(|_| (0..columns / 2).map(|_| zero.variable()).collect()).collect()
    }

    /// The operands of the products of a stage, in ascending k: the warpgroup's block of 64 rows `row_block`, and columns
    /// from `column` on.
    #[track_caller]
    pub(super) fn operands(
        &self,
        stage: Value<'k, u32>,
        row_block: u32,
        column: u32,
    ) -> impl Iterator<Item = [Encoded<'k>; 2]> + use<'k> {
        let (tile, b_major) = (self.memory.tile, self.b_major);
        let a = self.a.pieces(stage, tile.m * K_BYTES).bytes(row_block * wgmma::ROWS * K_BYTES);
        let b = self.b.pieces(stage, tile.n * K_BYTES).bytes(column * K_BYTES);
        let steps = 0..K_BYTES / wgmma::K_BYTES;
        steps
            .map(move |step| [a.bytes(step * Major::K.k_bytes()), b.bytes(step * b_major.k_bytes())])
            .map(|operands| operands.map(Descriptor::encode))
    }

    /// Starts the products of a stage of e4m3 into a new sum.
    #[track_caller]
    pub(super) fn multiply(
        &self,
        partial: &Accumulator<'k>,
        operands: impl IntoIterator<Item = [Encoded<'k>; 2]>,
    ) {
        self.builder.fence_products();
        self.issue(ElementType::E4m3, partial, operands, false);
        self.builder.commit_products();
    }

    /// Issues the products of a stage into a sum, to which they are added or which they replace.
    #[track_caller]
    pub(super) fn issue(
        &self,
        element: ElementType,
        sum: &Accumulator<'k>,
        operands: impl IntoIterator<Item = [Encoded<'k>; 2]>,
        adds: bool,
    ) {
        for (step, [a, b]) in operands.into_iter().enumerate() {
            sum.multiply_add(element, a, b, self.builder.known(adds || step > 0));
        }
    }

    /// Products, then promotion: the other warpgroup's products run meanwhile.
    ///
    /// `for_each_block` goes through the stages. `start` starts a product of a stage and gets its scales, of which it knows
    /// those of the product before; `scale` is that of a row and column of them.
    #[track_caller]
    pub(super) fn promote_at_once<S>(
        &self,
        sums: &[Vec<Variable<'k, f32>>],
        columns: u32,
        for_each_block: impl FnOnce(&dyn Fn(Place<'k>, Place<'k>)),
        start: impl Fn(&Accumulator<'k>, Value<'k, u32>, u32, Option<S>) -> S,
        scale: impl Fn(&S, u32, u32) -> Value<'k, f32>,
    ) {
        let builder = self.builder;
        let partial = builder.accumulator(columns);
        // The next stage is looked for early: the answer is there when it is needed.
        let ready = Predicate::unset(builder);
        self.cursor.place().look_full(ready);
        for_each_block(&|here, next| {
            here.wait_full_unless(ready);
            let mut scales = None;
            for (product, own) in (0_u32..).zip(sums) {
                let before = scales.take();
                let scales = scales.insert(start(&partial, here.stage(), product, before));
                let is_last = product as usize + 1 == sums.len();
                if is_last {
                    builder.sync_warp();
                }
                builder.wait_products(0);
                if is_last {
                    self.memory.release(here.empty());
                    next.look_full(ready);
                }
                promote(own, &partial, |row, column| scale(scales, row, column));
            }
        });
    }

    /// The scales of the thread's columns among so many, two of each 8.
    #[track_caller]
    pub(super) fn column_scales(
        &self,
        scales: Pointer<'k, Shared, f32>,
        columns: u32,
    ) -> Vec<Value<'k, f32>> {
        let own = scales.at(self.column);
        let pairs = (0..columns).step_by(8).flat_map(|first| own.at(first).load_words(2));
        pairs.map(Value::bits).collect()
    }
}

/// Adds partial sums, each scaled by what belongs to its row and column.
#[track_caller]
pub(super) fn promote<'k>(
    sums: &[Variable<'k, f32>],
    partial: &Accumulator<'k>,
    scale: impl Fn(u32, u32) -> Value<'k, f32>,
) {
    for ((register, value), sum) in (0..).zip(partial.registers()).zip(sums) {
        let (row, column) = wgmma::d_coordinate(0, register);
        sum.add_product(value.peek(), scale(row, column));
    }
}
