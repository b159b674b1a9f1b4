//! The scheduler: one warp of each CTA announces the tiles of D that the CTA computes, with the blocks of tokens that
//! they are sums over.
//!
//! All groups have as many tiles; these are numbered group after group, and a CTA, or a cluster, takes every
//! `gridDim`-th: the tiles of a group with many tokens are shared out among all CTAs. Groups are good up to the first bad
//! offset, which every CTA looks for at the start.

use super::{HopperWeightGradientParameters, HopperWeightGradientSpec};
use crate::gemm::hopper::schedule::{Turns, report};
use crate::gemm::hopper::shared_memory::{Record, SharedMemory};
use rorqual_codegen::{Builder, Predicate, Value};

/// A tile of D as the scheduler announces it.
#[derive(Clone, Copy)]
pub(super) struct Tile<'k> {
    /// Whether there is none: the end.
    is_last: Predicate<'k>,
    /// The group.
    pub(super) group: Value<'k, u32>,
    /// The first row and column, in the gradient of the group.
    pub(super) row: Value<'k, u32>,
    pub(super) column: Value<'k, u32>,
    /// The first block of tokens.
    pub(super) first_block: Value<'k, u32>,
    /// Blocks from there on.
    pub(super) blocks: Value<'k, u32>,
}

/// The lowest bit of a record; the group stands above it.
const LAST: u32 = 1;

impl<'k> Record<'k> for Tile<'k> {
    const WORDS: usize = 5;

    #[track_caller]
    fn of_words(words: &[Value<'k, u32>]) -> Self {
        let [head, row, column, first_block, blocks] = [0, 1, 2, 3, 4].map(|word| words[word]);
        Self { is_last: (head & LAST).differs(0), group: head >> 1, row, column, first_block, blocks }
    }

    fn is_last(&self) -> Predicate<'k> {
        self.is_last
    }
}

/// What the scheduling warp does.
#[track_caller]
pub(super) fn schedule<'k>(
    spec: &HopperWeightGradientSpec,
    memory: &SharedMemory<'k>,
    arguments: &HopperWeightGradientParameters<'k>,
) {
    let (builder, tiles) = (memory.builder, memory.tiles.scheduler());
    let zero = builder.constant(0);
    let [rows, columns] = spec.units();
    let groups = spec.groups.map_or(builder.constant(1), |groups| good_groups(builder, groups, arguments));
    let turns = Turns::new(memory);
    builder.for_each(turns.first, groups * (rows * columns), turns.step, |unit| {
        let (group, unit) = (unit / (rows * columns), unit % (rows * columns));
        let (row, column) = turns.start(unit, builder.constant(rows), columns);
        let (first_block, end) = match spec.groups {
            None => (zero, arguments.k_blocks),
            Some(_) => {
                let offset = arguments.offsets.at(group);
                (offset.load(), offset.at(1).load())
            }
        };
        let blocks = end - first_block;
        // What gains nothing is left as it is.
        let has_gains = if spec.accumulate { blocks.differs(0) } else { builder.known(true) };
        builder.when(has_gains, || tiles.announce(&[group << 1, row, column, first_block, blocks]));
    });
    tiles.announce(&[builder.constant(LAST), zero, zero, zero, zero]);
}

/// Groups in front of the first one with a bad offset; each lane looks at one at a time.
#[track_caller]
fn good_groups<'k>(
    builder: &'k Builder,
    groups: u32,
    arguments: &HopperWeightGradientParameters<'k>,
) -> Value<'k, u32> {
    let (zero, all) = (builder.constant(0), builder.constant(groups));
    let good = all.variable();
    builder.for_each(0, groups, 32, |round| {
        let group = round + builder.lane();
        let (exists, offset) = (group.less(groups), arguments.offsets.at(group));
        let (first, end) = (offset.load_or(exists, zero), offset.at(1).load_or(exists, zero));
        let bad = (first.greater(end) | end.greater(arguments.k_blocks)).ballot();
        let below_lowest = (bad ^ u32::MAX) & (bad - 1);
        let good_here = bad.differs(0).select(round + below_lowest.count_ones(), all);
        good.set(good.peek().min(good_here));
    });
    // Every CTA sees every group.
    let is_first = builder.cta(0).equals(0) & builder.lane().equals(0);
    report(arguments.error, good.peek().less(groups) & is_first);
    good.get()
}
