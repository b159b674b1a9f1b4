//! The residual stream: `stream = bf16(stream + x)`.
//!
//! A thread adds a run of 8 elements in f32. Oracle: the reference's `add_residual`.

use crate::Family;
use crate::rows::{self, RUN, pitch_name, target_name};
use crate::rule::{Rule, at_least, within};
use rorqual_codegen::contract::{Extent, In, InOut};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{GenerateError, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;

/// What a residual addition is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ResidualSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Elements from one row of `x` to the next, at least `hidden`.
    pub x_pitch: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Residual`].
    pub struct ResidualArguments, ResidualParameters {
        /// `[tokens, hidden]`: gains `x`.
        stream: InOut<Bf16>,
        /// `[tokens, hidden]`, rows `x_pitch` apart.
        x: In<Bf16>,
        /// Rows.
        tokens: u32,
    }
}

/// Addition to the residual stream; see the [module](self).
#[derive(Debug)]
pub struct Residual;

impl Family for Residual {
    const NAME: &'static str = "residual";
    type Spec = ResidualSpec;
    type Arguments = ResidualArguments;

    const RULES: &[Rule<ResidualSpec>] = &[
        Rule::new("hidden", |spec| within("hidden", spec.hidden, 1..=rows::LONGEST_ROW)),
        Rule::new("x_pitch", |spec| at_least("x_pitch", spec.x_pitch, "hidden", spec.hidden)),
    ];

    fn emit(spec: &ResidualSpec, target: Target) -> Result<Kernel, GenerateError> {
        let ResidualSpec { hidden, x_pitch } = *spec;
        let name = format!("residual_h{hidden}{}_{}", pitch_name(hidden, x_pitch), target_name(target));
        let grid = rows::grid(Extent::argument("tokens"), hidden);
        let header = Header::new(name, spec, target, rows::THREADS).grid(grid, 1, 1);
        generate::<ResidualArguments>(header, |builder, arguments| {
            let run = rows::run(builder, arguments.tokens, hidden);
            let layout = RunLayout::of_rows::<Bf16>(RUN as usize, hidden, hidden);
            let stream = arguments.stream.at(run.row.multiply_wide(hidden)).at(run.first);
            let x = arguments.x.at(run.row.multiply_wide(x_pitch)).at(run.first);
            let x = RunLayout::of_rows::<Bf16>(RUN as usize, hidden, x_pitch).load(x, run.remaining);
            let sums: Vec<Value<'_, f32>> =
                layout.load(stream, run.remaining).into_iter().zip(x).map(|(stream, x)| stream + x).collect();
            layout.store(stream, run.remaining, &sums);
        })
    }
}
