//! The layout of rows in expert order: a stable counting sort of the slots by expert.
//!
//! A slot is `token * topk + rank`. The rows of an expert follow those of the experts before it, in ascending slot.
//! CTA `e` makes the rows of expert `e` alone: it counts the slots of lower experts, which is where its rows start, and
//! numbers its own. No CTA waits for another and nothing depends on a schedule. The last CTA has the slots whose expert
//! does not exist: they get row `u32::MAX` and set [`device_error::EXPERT`], and the rows that are left over at the end
//! get slot `u32::MAX`.
//!
//! Warps take neighbouring segments of the slots: they count theirs, meet, and number what they counted by ballots.

use crate::rows::target_name;
use crate::rule::{Rule, require, within};
use crate::{Family, device_error};
use rorqual_codegen::contract::{In, InOut, Out};
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Predicate, Value, generate};
use rorqual_ptx::target::Target;

const THREADS: u32 = 256;
/// The most experts.
pub(crate) const MOST_EXPERTS: u32 = 1024;

/// What a layout is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LayoutSpec {
    /// Routed experts.
    pub experts: u32,
    /// Experts of a token.
    pub topk: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Layout`].
    pub struct LayoutArguments, LayoutParameters {
        /// The experts of each token, `[tokens, topk]`.
        topk_idx: In<u32>,
        /// Rows of each expert, `[experts]`.
        counts: Out<u32>,
        /// The first row of each expert, and behind the last one the number of all rows, `[experts + 1]`.
        offsets: Out<u32>,
        /// `[tokens, topk]`; `u32::MAX` for a slot without a row.
        row_of_slot: Out<u32>,
        /// `[tokens * topk]`; `u32::MAX` for a row without a slot.
        slot_of_row: Out<u32>,
        /// `[1]`: bits of `device_error`.
        error: InOut<u32>,
        /// Tokens; `tokens * topk` is below 2^32 - 256.
        tokens: u32,
    }
}

/// Layout in expert order; see the [module](self).
#[derive(Debug)]
pub struct Layout;

impl Family for Layout {
    const NAME: &'static str = "moe_layout";
    type Spec = LayoutSpec;
    type Arguments = LayoutArguments;

    const RULES: &[Rule<LayoutSpec>] = &[
        Rule::new("experts", |spec| within("experts", spec.experts, 1..=MOST_EXPERTS)),
        Rule::new("topk", |spec| {
            require((1..=spec.experts).contains(&spec.topk), || {
                format!("`topk` is {}, expected 1 to `experts`, {}", spec.topk, spec.experts)
            })
        }),
    ];

    fn emit(spec: &LayoutSpec, target: Target) -> Result<Kernel, GenerateError> {
        let LayoutSpec { experts, topk } = *spec;
        let name = format!("moe_layout_e{experts}_k{topk}_{}", target_name(target));
        let header = Header::new(name, spec, target, THREADS).grid(experts + 1, 1, 1);
        generate::<LayoutArguments>(header, |builder, arguments| body(builder, spec, arguments))
    }
}

fn body<'k>(builder: &'k Builder, spec: &LayoutSpec, arguments: LayoutParameters<'k>) {
    let experts = spec.experts;
    let (warps, lane, warp) = (builder.warps(), builder.lane(), builder.warp());
    let own_counts = builder.shared::<u32>(warps, 4);
    let lower_counts = builder.shared::<u32>(warps, 4);
    let expert = builder.cta(0);
    let slots = arguments.tokens * spec.topk;
    let segment = slots.ceil_divide(THREADS) * 32;
    let start = (warp * segment).min(slots);
    let end = slots.min(start + segment);
    // An expert that does not exist counts as the one of the last CTA; a slot behind the end as none.
    let expert_of = |slot: Value<'k, u32>| {
        let in_segment = slot.less(end);
        let found = arguments.topk_idx.at(slot).load_or(in_segment, builder.constant(0));
        (in_segment, found.min(experts))
    };

    let (own, lower) = (builder.constant(0_u32).variable(), builder.constant(0_u32).variable());
    builder.for_each(start + lane, end, 32, |slot| {
        let (_, found) = expert_of(slot);
        own.add(found.equals(expert).to_u32());
        lower.add(found.less(expert).to_u32());
    });
    let first_lane = lane.equals(0);
    let sum = |count: Value<'k, u32>| reduce_lanes(count, 32, |a, b| a + b);
    own_counts.at(warp).store_when(first_lane, sum(own.get()));
    lower_counts.at(warp).store_when(first_lane, sum(lower.get()));
    builder.sync_threads();
    let zero = builder.constant(0_u32);
    let total = |counts: rorqual_codegen::Pointer<'k, _, u32>, below: Value<'k, u32>| {
        (0..warps).fold(zero, |sum, other| {
            let counted: Predicate<'k> = below.greater(other);
            sum + counted.select(counts.at(other).load(), zero)
        })
    };
    let all = builder.constant(warps);
    let (count, offset) = (total(own_counts, all), total(lower_counts, all));
    let first_thread = builder.thread().equals(0);
    arguments.offsets.at(expert).store_when(first_thread, offset);
    arguments.counts.at(expert).store_when(first_thread & expert.less(experts), count);

    let next_row = (offset + total(own_counts, warp)).variable();
    builder.for_each(start, end, 32, |base| {
        let slot = base + lane;
        let (in_segment, found) = expert_of(slot);
        let mine = in_segment & found.equals(expert);
        let ballot = mine.ballot();
        let row = next_row.get() + (ballot & builder.lanes_below()).count_ones();
        let exists = mine & expert.less(experts);
        // Behind the rows of the last expert are as many without a slot as there are slots without a row.
        let none = builder.constant(u32::MAX);
        arguments.row_of_slot.at(slot).store_when(mine, exists.select(row, none));
        arguments.slot_of_row.at(row).store_when(mine, exists.select(slot, none));
        arguments.error.atomic_or_when(mine & !exists, device_error::EXPERT);
        next_row.add(ballot.count_ones());
    });
}
