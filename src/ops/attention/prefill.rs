//! Causal attention of many queries over expanded keys and values.

use super::{Attended, AttendedViewMut};
use crate::driver::{Device, Stream, View};
use crate::num::bf16;
use crate::ops::Result;
use crate::ops::call::{Call, Extent, Name, count, rows_of};
use crate::ops::plan::{Plan, front};
use rorqual_kernels::attention::prefill::{self, MlaPrefillArguments, MlaPrefillSpec};

/// The most sequences of a launch.
const MOST_SEQUENCES: u32 = 65535;

/// What a prefill is planned for; extents but `heads` are multiples of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillSpec {
    /// Heads.
    pub heads: u32,
    /// Elements of a query that are not rotated.
    pub nope: u32,
    /// Elements of a query that are rotated.
    pub rope: u32,
    /// Elements of a value.
    pub value: u32,
}

/// What a prefill reads.
#[derive(Debug, Clone, Copy)]
pub struct PrefillInputs<'a> {
    /// `[tokens, heads, nope + rope]`, rotated.
    pub queries: View<'a, bf16>,
    /// Expanded latents, `[keys, heads, nope + value]`.
    pub expanded: View<'a, bf16>,
    /// `[keys, rope]`, rotated.
    pub shared_keys: View<'a, bf16>,
    /// The first query of each sequence, and the end of the last one, `[sequences + 1]`.
    pub query_offsets: View<'a, u32>,
    /// The first key of each sequence, and the end of the last one, `[sequences + 1]`.
    pub key_offsets: View<'a, u32>,
    /// Queries of the longest sequence, or more. A sequence with more raises
    /// [`SEQUENCE`](crate::ops::device_error::SEQUENCE).
    pub longest: usize,
    /// Multiplies the scores.
    pub softmax_scale: f32,
}

/// Causal attention of sequences of any lengths; the queries of a sequence are its last tokens.
#[derive(Debug)]
pub struct MlaPrefill {
    plan: Plan<prefill::MlaPrefill>,
}

front!(MlaPrefill of Plan<prefill::MlaPrefill>);

impl MlaPrefill {
    const NAME: &'static str = "attention::MlaPrefill";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &PrefillSpec) -> Result<Self> {
        let PrefillSpec { heads, nope, rope, value } = *spec;
        let spec = MlaPrefillSpec { heads, nope, rope, value, lse: true };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)? })
    }

    /// Weighted sums of values, `[tokens, heads, value]`; queries of no sequence, and of sequences that do not fit, see
    /// nothing.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run(&self, stream: &Stream, inputs: PrefillInputs<'_>) -> Result<Attended> {
        let MlaPrefillSpec { heads, value, .. } = *self.plan.spec();
        let extents = [rows_of(inputs.queries), heads as usize, value as usize];
        let mut out = Attended::nothing(stream, Self::NAME, extents)?;
        self.run_into(stream, inputs, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there; what is of no sequence is not touched. A sequence whose rows are
    /// not within the tensors, or with more queries than keys, raises [`SEQUENCE`](crate::ops::device_error::SEQUENCE); its
    /// rows are not touched.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; more than
    /// 65535 sequences.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        inputs: PrefillInputs<'a>,
        out: impl Into<AttendedViewMut<'a>>,
    ) -> Result<()> {
        let MlaPrefillSpec { heads, nope, rope, value, .. } = *self.plan.spec();
        let (out, longest) = (out.into(), count(Self::NAME, "longest", inputs.longest)?);
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let rows = [Extent::Any("tokens"), Extent::Is(heads), Extent::Is(nope + rope)];
        let (queries, [tokens, ..]) = call.read("queries", inputs.queries, rows)?;
        let rows = [Extent::Any("keys"), Extent::Is(heads), Extent::Is(nope + value)];
        let (expanded, [keys, ..]) = call.read("expanded", inputs.expanded, rows)?;
        let (shared_keys, _) = call.read("shared_keys", inputs.shared_keys, [keys, rope].map(Extent::Is))?;
        let ends = [Extent::Any("sequences + 1")];
        let (query_offsets, [offsets]) = call.read("query_offsets", inputs.query_offsets, ends)?;
        let (key_offsets, _) = call.read("key_offsets", inputs.key_offsets, [Extent::Is(offsets)])?;
        let range = format!("1 to {}", MOST_SEQUENCES + 1);
        call.check("sequences + 1", (1..=MOST_SEQUENCES + 1).contains(&offsets), &range, offsets)?;
        let (output, _) =
            call.write(Name("out", ".output"), out.output, [tokens, heads, value].map(Extent::Is))?;
        let (lse, _) = call.write(Name("out", ".lse"), out.lse, [tokens, heads].map(Extent::Is))?;
        let arguments = MlaPrefillArguments {
            queries,
            expanded,
            shared_keys,
            query_offsets,
            key_offsets,
            output,
            lse,
            error: call.error,
            tokens,
            keys,
            sequences: offsets - 1,
            longest,
            softmax_scale: inputs.softmax_scale,
        };
        call.launch(&self.plan, &arguments)
    }
}
