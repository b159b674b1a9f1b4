//! The weighted combine of what the experts made of each token.
//!
//! ```text
//! acc = shared[token]                                          with `shared`, else 0
//! acc = fma(weight[slot], expert_out[row_of_slot[slot]], acc)  in ascending slot
//! out = bf16(acc)                                              without `residual`
//! stream = bf16(stream + bf16(acc))                            with `residual`
//! ```
//!
//! A thread takes a run of 8 elements of a token. A slot whose row is `u32::MAX` is left out; another row that does not
//! exist is left out too and sets [`device_error::SLOT`]. Oracle: the reference's `combine`, of which every bit is met.

use crate::rows::{self, RUN, round_to_bf16, target_name};
use crate::rule::{Rule, within};
use crate::{Family, device_error};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Value, Variable, generate};
use rorqual_ptx::target::Target;

/// The most experts of a token.
const MOST_SLOTS: u32 = 1024;
/// Slots whose loads are under way together.
const SLOTS_AT_ONCE: u32 = 8;

/// What a combine is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CombineSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Experts of a token.
    pub topk: u32,
    /// Whether the sum starts from `shared`.
    pub shared: bool,
    /// Whether the result is added to `stream`, rather than written to `out`.
    pub residual: bool,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Combine`].
    pub struct CombineArguments, CombineParameters {
        /// `[rows, hidden]`, in expert order.
        expert_out: In<Bf16>,
        /// `[tokens, topk]`, as of `moe_layout`.
        row_of_slot: In<u32>,
        /// `[tokens, topk]`
        weight: In<f32>,
        /// `[tokens, hidden]`; not touched without `shared`.
        shared: In<Bf16>,
        /// `[tokens, hidden]`; not touched with `residual`.
        out: Out<Bf16>,
        /// The residual stream, `[tokens, hidden]`; not touched without `residual`.
        stream: InOut<Bf16>,
        /// `[1]`: bits of `device_error`.
        error: InOut<u32>,
        /// Rows of `expert_out`.
        rows: u32,
        /// Rows of the result.
        tokens: u32,
    }
}

/// Combine; see the [module](self).
#[derive(Debug)]
pub struct Combine;

impl Family for Combine {
    const NAME: &'static str = "moe_combine";
    type Spec = CombineSpec;
    type Arguments = CombineArguments;

    const RULES: &[Rule<CombineSpec>] = &[
        Rule::new("topk", |spec| within("topk", spec.topk, 1..=MOST_SLOTS)),
        Rule::new("hidden", |spec| within("hidden", spec.hidden, 1..=rows::LONGEST_ROW)),
    ];

    fn emit(spec: &CombineSpec, target: Target) -> Result<Kernel, GenerateError> {
        let CombineSpec { hidden, topk, shared, residual } = *spec;
        let shared = if shared { "_shared" } else { "" };
        let residual = if residual { "_residual" } else { "" };
        let name = format!("moe_combine_h{hidden}_k{topk}{shared}{residual}_{}", target_name(target));
        let grid = rows::grid(Extent::argument("tokens"), hidden);
        let header = Header::new(name, spec, target, rows::THREADS).grid(grid, 1, 1);
        generate::<CombineArguments>(header, |builder, arguments| body(builder, spec, arguments))
    }
}

/// A slot in the registers of a thread.
struct Slot<'k> {
    row: Value<'k, u32>,
    weight: Value<'k, f32>,
}

fn body<'k>(builder: &'k Builder, spec: &CombineSpec, arguments: CombineParameters<'k>) {
    let hidden = spec.hidden;
    let layout = RunLayout::of_rows::<Bf16>(RUN as usize, hidden, hidden);
    let run = rows::run(builder, arguments.tokens, hidden);
    let present = run.remaining.greater(0);
    let start = run.row.multiply_wide(hidden);
    let start_values = if spec.shared {
        layout.load(arguments.shared.at(start).at(run.first), run.remaining)
    } else {
        vec![builder.constant(0.0); RUN as usize]
    };
    let sums: Vec<Variable<'k, f32>> = start_values.into_iter().map(Value::variable).collect();
    let first_slot = run.row.multiply_wide(spec.topk);
    let (rows, weights) = (arguments.row_of_slot.at(first_slot), arguments.weight.at(first_slot));
    builder.for_each(0, spec.topk, SLOTS_AT_ONCE, |first| {
        let slots: Vec<Slot<'k>> = (0..SLOTS_AT_ONCE.min(spec.topk))
            .map(|offset| {
                let slot = first + offset;
                let present = present & slot.less(spec.topk);
                Slot {
                    row: rows.at(slot).load_or(present, builder.constant(u32::MAX)),
                    weight: weights.at(slot).load_or(present, builder.constant(0.0)),
                }
            })
            .collect();
        let load = |slot: &Slot<'k>| {
            let remaining = slot.row.less(arguments.rows).select(run.remaining, builder.constant(0));
            let row = arguments.expert_out.at(slot.row.multiply_wide(hidden));
            layout.load(row.at(run.first), remaining)
        };
        // All of them are loaded before the first is used.
        let values: Vec<Vec<Value<'k, f32>>> = slots.iter().map(load).collect();
        for (slot, values) in slots.iter().zip(values) {
            let exists = slot.row.less(arguments.rows);
            for (sum, value) in sums.iter().zip(values) {
                sum.set_when(exists, slot.weight.fma(value, sum.get()));
            }
        }
        for slot in &slots {
            let unknown = run.leads & slot.row.at_least(arguments.rows) & slot.row.differs(u32::MAX);
            arguments.error.atomic_or_when(unknown, device_error::SLOT);
        }
    });
    let sums: Vec<Value<'k, f32>> = sums.into_iter().map(Variable::get).collect();
    if spec.residual {
        let stream = arguments.stream.at(start).at(run.first);
        let before = layout.load(stream, run.remaining);
        let sums: Vec<Value<'k, f32>> =
            before.into_iter().zip(sums).map(|(stream, sum)| stream + round_to_bf16(sum)).collect();
        layout.store(stream, run.remaining, &sums);
    } else {
        layout.store(arguments.out.at(start).at(run.first), run.remaining, &sums);
    }
}
