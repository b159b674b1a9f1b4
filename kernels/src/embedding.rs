//! Embedding: rows of the table by token.
//!
//! ```text
//! out[i] = bf16(table[ids[i]])
//! ```
//!
//! A thread copies a run of 8 elements. A token that is not in the table gives a row of zeros and sets
//! [`device_error::TOKEN`]. Oracle: the reference's `embedding`.

use crate::rows::{self, RUN, ValueFormat, target_name};
use crate::rule::{Rule, positive, within};
use crate::{Family, device_error};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, generate};
use rorqual_ptx::target::Target;

/// What an embedding is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct EmbeddingSpec {
    /// Rows of the table.
    pub vocab: u32,
    /// Elements of a row.
    pub hidden: u32,
    /// The format of the table.
    pub table: ValueFormat,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Embedding`].
    pub struct EmbeddingArguments, EmbeddingParameters {
        /// Tokens, `[tokens]`.
        ids: In<u32>,
        /// `[vocab, hidden]`; read where the table is bf16.
        table: In<Bf16>,
        /// `[vocab, hidden]`; read where the table is f32.
        table_f32: In<f32>,
        /// `[tokens, hidden]`
        out: Out<Bf16>,
        /// `[1]`: bits of `device_error`.
        error: InOut<u32>,
        /// Rows of `out`.
        tokens: u32,
    }
}

/// Embedding; see the [module](self).
#[derive(Debug)]
pub struct Embedding;

impl Family for Embedding {
    const NAME: &'static str = "embedding";
    type Spec = EmbeddingSpec;
    type Arguments = EmbeddingArguments;

    const RULES: &[Rule<EmbeddingSpec>] = &[
        Rule::new("vocab", |spec| positive("vocab", spec.vocab)),
        Rule::new("hidden", |spec| within("hidden", spec.hidden, 1..=rows::LONGEST_ROW)),
    ];

    fn emit(spec: &EmbeddingSpec, target: Target) -> Result<Kernel, GenerateError> {
        let EmbeddingSpec { vocab, hidden, table } = *spec;
        let name = format!("embedding_{}_v{vocab}_h{hidden}_{}", table.name(), target_name(target));
        let grid = rows::grid(Extent::argument("tokens"), hidden);
        let header = Header::new(name, spec, target, rows::THREADS).grid(grid, 1, 1);
        generate::<EmbeddingArguments>(header, |builder, arguments| copy(builder, spec, arguments))
    }
}

fn copy<'k>(builder: &'k Builder, spec: &EmbeddingSpec, arguments: EmbeddingParameters<'k>) {
    let hidden = spec.hidden;
    let run = rows::run(builder, arguments.tokens, hidden);
    let present = run.remaining.greater(0);
    let token = arguments.ids.at(run.row).load_or(present, builder.constant(0));
    let known = token.less(spec.vocab);
    arguments.error.atomic_or_when(run.leads & !known, device_error::TOKEN);
    // What is not loaded is zero.
    let loaded = known.select(run.remaining, builder.constant(0));
    let start = token.multiply_wide(hidden);
    let (bf16, f32) = (arguments.table.at(start).at(run.first), arguments.table_f32.at(start).at(run.first));
    let values = rows::load(spec.table, bf16, f32, (hidden, hidden), loaded);
    let out = arguments.out.at(run.row.multiply_wide(hidden)).at(run.first);
    RunLayout::of_rows::<Bf16>(RUN as usize, hidden, hidden).store(out, run.remaining, &values);
}
