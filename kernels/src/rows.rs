//! How row-wise kernels divide their rows: a thread takes a run of 8 neighbouring elements, 16 neighbouring lanes a
//! block of 128, and a CTA 16 blocks of any rows.

use crate::BLOCK;
use rorqual_codegen::contract::Extent;
use rorqual_codegen::element::Bf16;
use rorqual_codegen::format::Format;
use rorqual_codegen::pointer::Global;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, Pointer, Value};
use rorqual_ptx::target::Target;

/// Elements of a run.
pub(crate) const RUN: u32 = 8;
/// Threads of a CTA.
pub(crate) const THREADS: u32 = 256;
const BLOCKS_PER_CTA: u32 = THREADS * RUN / BLOCK;

/// The format of values that a kernel reads or gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ValueFormat {
    /// bfloat16.
    Bf16,
    /// IEEE binary32.
    F32,
}

impl ValueFormat {
    /// The part of a kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }
}

/// The run of a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'k> {
    pub(crate) row: Value<'k, u32>,
    /// The block of 128 in the row.
    pub(crate) block: Value<'k, u32>,
    /// The first element in the row.
    pub(crate) first: Value<'k, u32>,
    /// Elements of the row from there on; 0 behind its end, and behind the last row.
    pub(crate) remaining: Value<'k, u32>,
    /// Whether the thread has the first run of a block that exists.
    pub(crate) leads: rorqual_codegen::Predicate<'k>,
}

/// CTAs for `rows` of `length` elements.
pub(crate) fn grid(rows: Extent, length: u32) -> Extent {
    rows.times(length.div_ceil(BLOCK)).ceil_divide(BLOCKS_PER_CTA)
}

/// The run of the thread, of `rows` of `length` elements.
#[track_caller]
pub(crate) fn run<'k>(builder: &'k Builder, rows: Value<'k, u32>, length: u32) -> Run<'k> {
    let runs = BLOCK / RUN;
    let index = builder.cta(0) * BLOCKS_PER_CTA + builder.thread() / runs;
    let blocks = length.div_ceil(BLOCK);
    let row = index / blocks;
    let block = index - row * blocks;
    let place = builder.thread() & (runs - 1);
    let first = block * BLOCK + place * RUN;
    let present = row.less(rows) & first.less(length);
    let remaining = present.select(builder.constant(length) - first, builder.constant(0));
    Run { row, block, first, remaining, leads: place.equals(0) & present }
}

/// Loads a run of bf16 or f32.
#[track_caller]
pub(crate) fn load<'k>(
    format: ValueFormat,
    bf16: Pointer<'k, Global, Bf16>,
    f32: Pointer<'k, Global, f32>,
    (length, pitch): (u32, u32),
    remaining: Value<'k, u32>,
) -> Vec<Value<'k, f32>> {
    match format {
        ValueFormat::Bf16 => RunLayout::of_rows::<Bf16>(RUN as usize, length, pitch).load(bf16, remaining),
        ValueFormat::F32 => RunLayout::of_rows::<f32>(RUN as usize, length, pitch).load(f32, remaining),
    }
}

/// Copies a run of rows of `length` elements as it is.
#[track_caller]
pub(crate) fn copy<'k, T: Format>(
    from: Pointer<'k, Global, T>,
    to: Pointer<'k, Global, T>,
    length: u32,
    remaining: Value<'k, u32>,
) {
    if length.is_multiple_of(RUN) {
        let present = remaining.greater(0);
        let words = (RUN * T::ELEMENT.bytes() / 4) as usize;
        to.store_words_when(present, &from.load_words_or_zero(present, words));
        return;
    }
    let nothing = T::of_f32(from.builder().constant(0.0));
    for index in 0..RUN {
        let present = remaining.greater(index);
        to.at(index).store_when(present, from.at(index).load_or(present, nothing));
    }
}

/// The nearest bf16, as f32.
#[track_caller]
pub(crate) fn round_to_bf16(value: Value<'_, f32>) -> Value<'_, f32> {
    Bf16::to_f32(Bf16::of_f32(value))
}

/// The end of a kernel's name.
pub(crate) fn target_name(target: Target) -> String {
    target.to_string().replace('_', "")
}

/// The part of a kernel's name that says the pitch, where it is not the length.
pub(crate) fn pitch_name(length: u32, pitch: u32) -> String {
    if pitch == length { String::new() } else { format!("_p{pitch}") }
}

/// The longest row that these kernels serve, in elements.
pub(crate) const LONGEST_ROW: u32 = 1 << 20;
