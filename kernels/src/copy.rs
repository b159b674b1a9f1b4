//! Copies rows of bf16 from one pitch to another: parts of rows that are put side by side.
//!
//! ```text
//! to[row * to_pitch + i] = from[row * from_pitch + i]      i < width
//! ```
//!
//! A thread copies a run of 8 elements. What lies between rows of `to` is not touched.

use crate::Family;
use crate::rows::target_name;
use crate::rule::{Rule, at_least, within};
use rorqual_codegen::contract::{Extent, In, Out};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, generate};
use rorqual_ptx::target::Target;

const RUN: u32 = 8;
const THREADS: u32 = 128;

/// What a copy is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CopyRowsSpec {
    /// Elements of a row.
    pub width: u32,
    /// Elements from one row of the source to the next, at least `width`.
    pub from_pitch: u32,
    /// Elements from one row of the result to the next, at least `width`.
    pub to_pitch: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`CopyRows`].
    pub struct CopyRowsArguments, CopyRowsParameters {
        /// `[rows, width]`, rows `from_pitch` apart.
        from: In<Bf16>,
        /// `[rows, width]`, rows `to_pitch` apart.
        to: Out<Bf16>,
        /// Rows.
        rows: u32,
    }
}

/// The copy; see the [module](self).
#[derive(Debug)]
pub struct CopyRows;

impl Family for CopyRows {
    const NAME: &'static str = "copy_rows";
    type Spec = CopyRowsSpec;
    type Arguments = CopyRowsArguments;

    const RULES: &[Rule<CopyRowsSpec>] = &[
        Rule::new("width", |spec| within("width", spec.width, 1..=1 << 20)),
        Rule::new("from_pitch", |spec| at_least("from_pitch", spec.from_pitch, "width", spec.width)),
        Rule::new("to_pitch", |spec| at_least("to_pitch", spec.to_pitch, "width", spec.width)),
    ];

    fn emit(spec: &CopyRowsSpec, target: Target) -> Result<Kernel, GenerateError> {
        let CopyRowsSpec { width, from_pitch, to_pitch } = *spec;
        let short = target_name(target);
        let name = format!("copy_rows_w{width}_p{from_pitch}_p{to_pitch}_{short}");
        let runs = width.div_ceil(RUN);
        let rows_a_cta = THREADS.div_ceil(runs).max(1);
        let header = Header::new(name, spec, target, THREADS);
        let rows = Extent::argument("rows").ceil_divide(rows_a_cta);
        let header = header.grid(rows, (runs * rows_a_cta).div_ceil(THREADS), 1);
        generate::<CopyRowsArguments>(header, |builder, arguments| {
            copy(builder, spec, rows_a_cta, arguments);
        })
    }
}

fn copy<'k>(builder: &'k Builder, spec: &CopyRowsSpec, rows_a_cta: u32, arguments: CopyRowsParameters<'k>) {
    let CopyRowsSpec { width, from_pitch, to_pitch } = *spec;
    let runs = width.div_ceil(RUN);
    let index = builder.cta(1) * THREADS + builder.thread();
    let row_of_cta = index / runs;
    let row = builder.cta(0) * rows_a_cta + row_of_cta;
    let first = (index % runs) * RUN;
    let inside = row.less(arguments.rows) & row_of_cta.less(rows_a_cta);
    let remaining = inside.select(builder.constant(width) - first, builder.constant(0));
    // The rows may start anywhere within wider ones: element by element.
    let layout = RunLayout { elements: RUN as usize, whole: false };
    let values = layout.load(arguments.from.at(row.multiply_wide(from_pitch)).at(first), remaining);
    layout.store(arguments.to.at(row.multiply_wide(to_pitch)).at(first), remaining, &values);
}
