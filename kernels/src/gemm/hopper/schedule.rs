//! The scheduler: one warp of each CTA decides which tiles of D the CTA computes, in which order, and tells the producer
//! and the consumers through a ring of records. Nobody else knows of groups, counts and offsets.
//!
//! The grid is as large as the machine. Tiles are numbered group after group; a CTA, or a cluster, takes every
//! `gridDim`-th. Within a group, tiles are numbered in bands of [`BAND`] tiles of rows: CTAs that run at the same time
//! then work on about as many rows of A as of B, and find both in the second-level cache.
//!
//! A group of at most [`FEW_ROWS`] rows is cut into tiles of all its rows by [`FEW_COLUMNS`] columns, whose operands are
//! swapped: the weight fills the 64 rows of a product of a warpgroup, the tokens are its columns. Whether a group is such
//! a one is seen here, from the counts on the device.

use super::grouping::Groups;
use super::plan::{Arguments, Plan};
use super::shared_memory::{Record, SharedMemory, TileCursor};
use super::tile::{self, Multicast};
use crate::device_error::GROUPS;
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::warp::inclusive_sum;
use rorqual_codegen::{Builder, Predicate, Value, Variable};

/// Tiles of rows in a band.
pub(super) const BAND: u32 = 12;
/// The most rows of a group whose operands are swapped.
pub(super) const FEW_ROWS: u32 = 32;
/// Columns of a tile of such a group: 64 for each of two warpgroups.
pub(super) const FEW_COLUMNS: u32 = 128;

/// A tile of D as the scheduler announces it.
#[derive(Clone, Copy)]
pub(super) struct Tile<'k> {
    /// Whether there is none: the end.
    pub(super) is_last: Predicate<'k>,
    /// Whether the operands are swapped.
    pub(super) is_few: Predicate<'k>,
    /// The group or batch.
    pub(super) group: Value<'k, u32>,
    /// The first row, over all of A.
    pub(super) row: Value<'k, u32>,
    /// Rows of the group from there on; a tile takes at most as many as it has.
    pub(super) rows: Value<'k, u32>,
    /// The first column.
    pub(super) column: Value<'k, u32>,
}

/// What the kind of a record is; the group stands above it.
const KIND_BITS: u32 = 2;
const FEW: u32 = 1;
const LAST: u32 = 2;

impl<'k> Record<'k> for Tile<'k> {
    const WORDS: usize = 4;

    #[track_caller]
    fn of_words(words: &[Value<'k, u32>]) -> Self {
        let [head, row, rows, column] = [0, 1, 2, 3].map(|word| words[word]);
        Self {
            is_last: (head & LAST).differs(0),
            is_few: (head & FEW).differs(0),
            group: head >> KIND_BITS,
            row,
            rows,
            column,
        }
    }

    fn is_last(&self) -> Predicate<'k> {
        self.is_last
    }
}

/// Rows that belong together: those of a group, or a run of them.
#[derive(Clone, Copy)]
struct Rows<'k> {
    group: Value<'k, u32>,
    /// The first one, over all of A.
    first: Value<'k, u32>,
    count: Value<'k, u32>,
}

/// The [units](tile::Tile::unit) that a CTA works on, and its tile of each.
#[derive(Clone, Copy)]
pub(super) struct Turns<'k> {
    tile: tile::Tile,
    /// The number of the first one.
    pub(super) first: Value<'k, u32>,
    /// From one to the next.
    pub(super) step: Value<'k, u32>,
    /// The CTA's place in its cluster.
    rank: Value<'k, u32>,
}

impl<'k> Turns<'k> {
    #[track_caller]
    pub(super) fn new(memory: &SharedMemory<'k>) -> Self {
        let SharedMemory { builder, tile, .. } = *memory;
        let (cta, ctas) = (builder.cta(0), builder.ctas(0));
        let (first, step, rank) = match tile.multicast {
            Multicast::None => (cta, ctas, builder.constant(0)),
            Multicast::A | Multicast::B => (cta >> 1, ctas >> 1, cta & 1),
        };
        Self { tile, first, step, rank }
    }

    /// Where the CTA's tile of a unit begins, row and column, by the unit's number among `row_units` by `column_units`.
    #[track_caller]
    pub(super) fn start(
        &self,
        number: Value<'k, u32>,
        row_units: Value<'k, u32>,
        column_units: u32,
    ) -> (Value<'k, u32>, Value<'k, u32>) {
        let (row, column) = place(number, row_units, column_units);
        let [rows, columns] = self.tile.unit();
        let (row, column) = (row * rows, column * columns);
        match self.tile.multicast {
            Multicast::None => (row, column),
            Multicast::A => (row, self.rank.multiply_add(self.tile.n, column)),
            Multicast::B => (self.rank.multiply_add(self.tile.m, row), column),
        }
    }
}

/// The scheduler of a CTA.
pub(super) struct Scheduler<'a, 'k> {
    builder: &'k Builder,
    plan: &'a Plan,
    tiles: TileCursor<'k>,
    turns: Turns<'k>,
    /// The next unit of this CTA.
    next: Variable<'k, u32>,
}

impl<'a, 'k> Scheduler<'a, 'k> {
    #[track_caller]
    pub(super) fn new(plan: &'a Plan, memory: &SharedMemory<'k>) -> Self {
        let tiles = memory.tiles.scheduler();
        let turns = Turns::new(memory);
        Self { builder: memory.builder, plan, tiles, turns, next: turns.first.variable() }
    }

    /// What the scheduling warp does.
    #[track_caller]
    pub(super) fn run(&self, arguments: &Arguments<'k>) {
        let builder = self.builder;
        let Arguments { groups, error, rows, .. } = *arguments;
        match self.plan.spec.grouping {
            Groups::Dense => {
                let all = Rows { group: builder.constant(0), first: builder.constant(0), count: rows };
                let units = self.units(all);
                self.announce_below(|| units, |unit| (all, unit));
            }
            Groups::Batched { batches, .. } => {
                let of = |group| Rows { group, first: builder.constant(0), count: rows };
                let units = self.units(of(builder.constant(0)));
                let all = units * batches;
                self.announce_below(|| all, |unit| (of(unit / units), unit % units));
            }
            Groups::Prefix { groups: count } => {
                self.run_groups(count, error, |group, exists| {
                    let zero = builder.constant(0);
                    let first = groups.at(group).load_or(exists, zero);
                    let end = groups.at(group).at(1).load_or(exists, zero);
                    let bad = first.greater(end) | end.greater(rows);
                    (Rows { group, first, count: end - first }, bad, true)
                });
            }
            Groups::Masked { groups: count } => {
                self.run_groups(count, error, |group, exists| {
                    let given = groups.at(group).load_or(exists, builder.constant(0));
                    let rows_of = Rows { group, first: group * rows, count: given.min(rows) };
                    (rows_of, given.greater(rows), false)
                });
            }
            Groups::Indexed { groups: count } => self.run_indexed(count, groups, error, rows),
        }
        self.announce(builder.constant(LAST), [builder.constant(0); 3]);
    }

    /// Groups in rounds of 32, a lane each. `rows_of` says which rows a group has, whether that is bad, and whether all
    /// groups behind a bad one are left out too.
    #[track_caller]
    fn run_groups(
        &self,
        groups: u32,
        error: Pointer<'k, Global, u32>,
        rows_of: impl Fn(Value<'k, u32>, Predicate<'k>) -> (Rows<'k>, Predicate<'k>, bool),
    ) {
        let builder = self.builder;
        let (lane, last_lane) = (builder.lane(), builder.constant(31));
        let (units_before, broken) = (builder.constant(0).variable(), builder.constant(0).variable());
        builder.for_each(0, groups, 32, |round| {
            let (own, bad, ends) = rows_of(round + lane, (round + lane).less(groups));
            // Every CTA sees every group.
            report(error, bad & builder.cta(0).equals(0));
            let mut own = own;
            if ends {
                let up_to_lane = builder.constant(2_u32).shift_left(lane) - 1;
                let broken_here = broken.peek() | (bad.ballot() & up_to_lane);
                own.count = broken_here.equals(0).select(own.count, builder.constant(0));
                broken.set(broken_here.shuffle_index(last_lane));
            }
            let units = self.units(own);
            let after = inclusive_sum(units) + units_before.peek();
            let before = after - units;
            // Asked for anew at each turn: this warp has few registers.
            let end = || after.shuffle_index(last_lane);
            self.announce_below(end, |unit| {
                let owner = after.at_most(unit).ballot().count_ones();
                let first = own.first.shuffle_index(owner);
                let rows = Rows { group: round + owner, first, count: own.count.shuffle_index(owner) };
                (rows, unit - before.shuffle_index(owner))
            });
            units_before.set(end());
        });
    }

    /// Blocks of as many rows as a tile has, and in each of them the runs of rows of the same group.
    #[track_caller]
    fn run_indexed(
        &self,
        groups: u32,
        index: Pointer<'k, Global, u32>,
        error: Pointer<'k, Global, u32>,
        rows: Value<'k, u32>,
    ) {
        let (builder, plan) = (self.builder, self.plan);
        let columns = plan.column_units();
        let blocks = rows.ceil_divide(plan.spec.tile.m);
        let next = self.next;
        builder.repeat_while(
            || next.peek().less(blocks * columns),
            || {
                let (block, column) = place(next.peek(), blocks, columns);
                let start = block * plan.spec.tile.m;
                let end = (start + plan.spec.tile.m).min(rows);
                let first = start.variable();
                builder.repeat_while(
                    || first.peek().less(end),
                    || {
                        let group = index.at(first.peek()).load();
                        let run_end = self.end_of_run(index, group, first.get(), end);
                        let exists = group.less(groups);
                        report(error, !exists & group.differs(u32::MAX));
                        let run = Rows { group, first: first.get(), count: run_end - first.peek() };
                        builder.when(exists, || self.announce_run(run, column));
                        first.set(run_end);
                    },
                );
                next.add(self.turns.step);
            },
        );
    }

    /// The first row from `first` on, below `end`, that is of another group; each lane looks at one at a time.
    #[track_caller]
    fn end_of_run(
        &self,
        index: Pointer<'k, Global, u32>,
        group: Value<'k, u32>,
        first: Value<'k, u32>,
        end: Value<'k, u32>,
    ) -> Value<'k, u32> {
        let builder = self.builder;
        let (start, others) = (first.variable(), builder.constant(0).variable());
        builder.repeat_while(
            || {
                let row = start.peek() + builder.lane();
                let other = index.at(row).load_or(row.less(end), group ^ u32::MAX);
                others.set(other.differs(group).ballot());
                others.peek().equals(0)
            },
            || start.add(32),
        );
        let others = others.get();
        let below_lowest = (others ^ u32::MAX) & (others - 1);
        start.get() + below_lowest.count_ones()
    }

    /// The part of a run in one tile of columns; with few rows, the narrower tiles that start within it.
    #[track_caller]
    fn announce_run(&self, run: Rows<'k>, column: Value<'k, u32>) {
        let (builder, plan) = (self.builder, self.plan);
        let first = column * plan.spec.tile.n;
        let whole = || self.announce(run.group << KIND_BITS, [run.first, run.count, first]);
        if !plan.swaps_few_rows() {
            return whole();
        }
        let few = || {
            let end = (first + plan.spec.tile.n).min(plan.spec.n);
            builder.for_each(first.ceil_divide(FEW_COLUMNS) * FEW_COLUMNS, end, FEW_COLUMNS, |column| {
                self.announce(run.group << KIND_BITS | FEW, [run.first, run.count, column]);
            });
        };
        builder.when_else(run.count.at_most(FEW_ROWS), few, whole);
    }

    /// Units of rows that lie below each other.
    #[track_caller]
    fn row_units(&self, rows: Rows<'k>) -> Value<'k, u32> {
        let [unit_rows, _] = self.plan.spec.tile.unit();
        rows.count.ceil_divide(unit_rows)
    }

    /// Units of rows, tiles of few of them counted as such.
    #[track_caller]
    fn units(&self, rows: Rows<'k>) -> Value<'k, u32> {
        let many = self.row_units(rows) * self.plan.column_units();
        if !self.plan.swaps_few_rows() {
            return many;
        }
        let few = rows
            .count
            .equals(0)
            .select(self.builder.constant(0), self.builder.constant(self.plan.spec.n.div_ceil(FEW_COLUMNS)));
        rows.count.at_most(FEW_ROWS).select(few, many)
    }

    /// Announces this CTA's units below `end`; `find` says whose a unit is, and its number among those of its rows.
    #[track_caller]
    fn announce_below(
        &self,
        end: impl Fn() -> Value<'k, u32>,
        find: impl Fn(Value<'k, u32>) -> (Rows<'k>, Value<'k, u32>),
    ) {
        let (builder, plan, next) = (self.builder, self.plan, self.next);
        builder.repeat_while(
            || next.peek().less(end()),
            || {
                let (rows, unit) = find(next.get());
                let many = || {
                    let (skipped, column) = self.turns.start(unit, self.row_units(rows), plan.column_units());
                    // The second tile of a cluster may lie behind the last row.
                    let left = rows.count - skipped.min(rows.count);
                    self.announce(rows.group << KIND_BITS, [rows.first + skipped, left, column]);
                };
                if plan.swaps_few_rows() {
                    let column = unit * FEW_COLUMNS;
                    let few =
                        || self.announce(rows.group << KIND_BITS | FEW, [rows.first, rows.count, column]);
                    builder.when_else(rows.count.at_most(FEW_ROWS), few, many);
                } else {
                    many();
                }
                next.add(self.turns.step);
            },
        );
    }

    #[track_caller]
    fn announce(&self, head: Value<'k, u32>, place: [Value<'k, u32>; 3]) {
        self.tiles.announce(&[head, place[0], place[1], place[2]]);
    }
}

/// Row and column of a tile by its number, among `row_tiles` by `column_tiles`.
#[track_caller]
fn place<'k>(
    number: Value<'k, u32>,
    row_tiles: Value<'k, u32>,
    column_tiles: u32,
) -> (Value<'k, u32>, Value<'k, u32>) {
    let of_band = BAND * column_tiles;
    // There are fewer than 2^31.
    let band = number.divide_by_known(of_band);
    let number = number - band * of_band;
    let first = band * BAND;
    let height = (row_tiles - first).min(BAND);
    (first + number % height, number / height)
}

/// Says where groups are bad.
#[track_caller]
pub(super) fn report<'k>(error: Pointer<'k, Global, u32>, bad: Predicate<'k>) {
    let builder = error.builder();
    let bit = builder.constant(GROUPS);
    builder.emit_when(bad, "red.global.or.b32", vec![error.operand(), bit.operand()]);
}
