//! Which rows of A and D, and which weight, a CTA works on.

use super::{Grouping, Plan};
use crate::device_error::GROUPS;
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::warp::{inclusive_sum, reduce_lanes};
use rorqual_codegen::{Builder, Predicate, Value};

/// The rows of a CTA.
pub(super) struct Segment<'k> {
    /// The group or batch.
    pub(super) group: Value<'k, u32>,
    /// The first row, counted over all of A.
    pub(super) first: Value<'k, u64>,
    /// Rows of the group from there on; the CTA takes at most a tile of them.
    pub(super) rows: Value<'k, u32>,
}

/// Finds the rows of the CTA; one without any ends here.
#[track_caller]
pub(super) fn locate<'k>(
    builder: &'k Builder,
    plan: &Plan,
    rows: Value<'k, u32>,
    groups: Pointer<'k, Global, u32>,
    error: Pointer<'k, Global, u32>,
) -> Segment<'k> {
    let start = builder.cta(0) * plan.tile.m;
    let reports = builder.cta(0).equals(0) & builder.cta(1).equals(0);
    match plan.spec.grouping {
        Grouping::Dense => Segment { group: builder.constant(0), first: start.to_u64(), rows: rows - start },
        Grouping::Batched { .. } => {
            Segment { group: builder.cta(2), first: start.to_u64(), rows: rows - start }
        }
        Grouping::Masked { .. } => {
            let group = builder.cta(2);
            let count = groups.at(group).load();
            report(error, reports & count.greater(rows));
            let count = count.min(rows);
            builder.exit_when(start.at_least(count));
            Segment { group, first: group.multiply_wide(rows) + start.to_u64(), rows: count - start }
        }
        Grouping::Prefix { groups: count } => {
            let found = search(builder, plan.tile.m, count, rows, groups, error, reports);
            builder.exit_when(found.rows.equals(0));
            found
        }
    }
}

/// Groups are cut into tiles, and these are numbered through: finds the tile of the CTA. Each lane looks at a group at a
/// time. Groups from the first bad one on count as empty.
#[track_caller]
fn search<'k>(
    builder: &'k Builder,
    tile: u32,
    groups: u32,
    rows: Value<'k, u32>,
    offsets: Pointer<'k, Global, u32>,
    error: Pointer<'k, Global, u32>,
    reports: Predicate<'k>,
) -> Segment<'k> {
    let zero = builder.constant(0_u32);
    let (wanted, lane) = (builder.cta(0), builder.lane());
    // What the lane that finds the tile knows; zero in all others.
    let (found_group, found_first, found_rows) = (zero.variable(), zero.variable(), zero.variable());
    let (tiles_before, broken) = (zero.variable(), zero.variable());
    builder.for_each(0, groups, 32, |round| {
        let group = round + lane;
        let exists = group.less(groups);
        let begin = offsets.at(group).load_or(exists, zero);
        let end = offsets.at(group).at(1).load_or(exists, zero);
        let bad = begin.greater(end) | end.greater(rows);
        report(error, reports & bad);
        let up_to_lane = builder.constant(2_u32).shift_left(lane) - 1;
        let broken_here = broken.peek() | (bad.ballot() & up_to_lane);
        let length = broken_here.equals(0).select(end - begin, zero);
        let tiles = length.ceil_divide(tile);
        let after = inclusive_sum(tiles) + tiles_before.peek();
        let before = after - tiles;
        let here = before.at_most(wanted) & after.greater(wanted);
        let skipped = (wanted - before) * tile;
        found_group.set_when(here, group);
        found_first.set_when(here, begin + skipped);
        found_rows.set_when(here, length - skipped);
        let last = builder.constant(31);
        tiles_before.set(after.shuffle_index(last));
        broken.set(broken_here.shuffle_index(last));
    });
    let of_finder = |value: Value<'k, u32>| reduce_lanes(value, 32, |a, b| a | b);
    Segment {
        group: of_finder(found_group.get()),
        first: of_finder(found_first.get()).to_u64(),
        rows: of_finder(found_rows.get()),
    }
}

#[track_caller]
fn report<'k>(error: Pointer<'k, Global, u32>, bad: Predicate<'k>) {
    let builder = error.builder();
    let bit = builder.constant(GROUPS);
    builder.emit_when(bad, "red.global.or.b32", vec![error.operand(), bit.operand()]);
}
