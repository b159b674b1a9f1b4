//! The permutation: rows of tokens gathered into expert order.
//!
//! ```text
//! out[row] = x[slot_of_row[row] / topk]
//! ```
//!
//! bf16 rows, or FP8 codes with their 1x128 scales; bytes are copied as they are. A thread copies a run of 8 elements.
//! A row without a slot (`u32::MAX`) is not touched; a slot that does not exist leaves its row untouched too and sets
//! [`device_error::SLOT`].

use crate::rows::{self, target_name};
use crate::rule::{Rule, positive, within};
use crate::{BLOCK, Family, device_error};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, generate};
use rorqual_ptx::target::Target;

/// What rows hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RowFormat {
    /// bfloat16.
    Bf16,
    /// e4m3 with an f32 scale per 1x128.
    Fp8,
}

/// What a permutation is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PermuteSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Experts of a token.
    pub topk: u32,
    /// What rows hold.
    pub format: RowFormat,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Permute`].
    pub struct PermuteArguments, PermuteParameters {
        /// `[tokens, hidden]`; not touched with FP8 rows.
        x: In<Bf16>,
        /// `[tokens, hidden]`; not touched with bf16 rows.
        codes: In<E4m3>,
        /// `[tokens, ceil(hidden / 128)]`; not touched with bf16 rows.
        scales: In<f32>,
        /// `[rows]`, as of `moe_layout`.
        slot_of_row: In<u32>,
        /// `[rows, hidden]`; not touched with FP8 rows.
        out: Out<Bf16>,
        /// `[rows, hidden]`; not touched with bf16 rows.
        out_codes: Out<E4m3>,
        /// `[rows, ceil(hidden / 128)]`; not touched with bf16 rows.
        out_scales: Out<f32>,
        /// `[1]`: bits of `device_error`.
        error: InOut<u32>,
        /// Tokens.
        tokens: u32,
        /// Rows, at most `tokens * topk`.
        rows: u32,
    }
}

/// Permutation into expert order; see the [module](self).
#[derive(Debug)]
pub struct Permute;

impl Family for Permute {
    const NAME: &'static str = "moe_permute";
    type Spec = PermuteSpec;
    type Arguments = PermuteArguments;

    const RULES: &[Rule<PermuteSpec>] = &[
        Rule::new("topk", |spec| positive("topk", spec.topk)),
        Rule::new("hidden", |spec| within("hidden", spec.hidden, 1..=rows::LONGEST_ROW)),
    ];

    fn emit(spec: &PermuteSpec, target: Target) -> Result<Kernel, GenerateError> {
        let PermuteSpec { hidden, topk, format } = *spec;
        let format = match format {
            RowFormat::Bf16 => "bf16",
            RowFormat::Fp8 => "fp8",
        };
        let name = format!("moe_permute_{format}_h{hidden}_k{topk}_{}", target_name(target));
        let grid = rows::grid(Extent::argument("rows"), hidden);
        let header = Header::new(name, spec, target, rows::THREADS).grid(grid, 1, 1);
        generate::<PermuteArguments>(header, |builder, arguments| body(builder, spec, arguments))
    }
}

fn body<'k>(builder: &'k Builder, spec: &PermuteSpec, arguments: PermuteParameters<'k>) {
    let hidden = spec.hidden;
    let run = rows::run(builder, arguments.rows, hidden);
    let none = builder.constant(u32::MAX);
    let slot = arguments.slot_of_row.at(run.row).load_or(run.remaining.greater(0), none);
    let token = slot / spec.topk;
    let exists = token.less(arguments.tokens) & slot.differs(u32::MAX);
    arguments.error.atomic_or_when(run.leads & !exists & slot.differs(u32::MAX), device_error::SLOT);
    let remaining = exists.select(run.remaining, builder.constant(0));
    let (from, to) = (token.multiply_wide(hidden), run.row.multiply_wide(hidden));
    match spec.format {
        RowFormat::Bf16 => {
            let (x, out) = (arguments.x.at(from).at(run.first), arguments.out.at(to).at(run.first));
            rows::copy(x, out, hidden, remaining);
        }
        RowFormat::Fp8 => {
            let codes = arguments.codes.at(from).at(run.first);
            rows::copy(codes, arguments.out_codes.at(to).at(run.first), hidden, remaining);
            let blocks = hidden.div_ceil(BLOCK);
            let leads = run.leads & exists;
            let scale = arguments.scales.at(token.multiply_wide(blocks)).at(run.block);
            let scale = scale.load_or(leads, builder.constant(1.0));
            arguments.out_scales.at(run.row.multiply_wide(blocks)).at(run.block).store_when(leads, scale);
        }
    }
}
