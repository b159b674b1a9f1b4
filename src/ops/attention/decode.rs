//! Attention of few queries in latent space: stretches of each sequence, then their merge.

use super::{Attended, AttendedViewMut};
use crate::driver::{Buffer, Device, Stream, View, ViewMut};
use crate::num::bf16;
use crate::ops::call::{Call, Extent, Name, count, rows_of};
use crate::ops::plan::Plan;
use crate::ops::{DeviceFlags, Error, Result};
use rorqual_kernels::attention::combine::{MlaCombine, MlaCombineArguments, MlaCombineSpec};
use rorqual_kernels::attention::decode::{self, MlaDecodeArguments};
use std::fmt;

pub use rorqual_kernels::attention::decode::MlaDecodeSpec as DecodeSpec;

/// The most stretches of a sequence.
const MOST_SPLITS: u32 = 65535;

/// What a decode reads.
#[derive(Debug, Clone, Copy)]
pub struct DecodeInputs<'a> {
    /// Absorbed queries, rotated: `[tokens, heads, latent + rope]`.
    pub queries: View<'a, bf16>,
    /// `[pages, page_size, record_bytes]`
    pub pool: View<'a, u8>,
    /// `[sequences, max_pages]`
    pub block_table: View<'a, u32>,
    /// How many keys each token sees, `[tokens]`.
    pub lengths: View<'a, u32>,
    /// The sequence of each token, `[tokens]`.
    pub sequence_of: View<'a, u32>,
    /// The longest of `lengths`, or more. What a token sees behind it is left out and raises
    /// [`SEQUENCE`](crate::ops::device_error::SEQUENCE).
    pub longest: usize,
    /// Multiplies the scores.
    pub softmax_scale: f32,
}

/// Attention in latent space over the paged cache.
#[derive(Debug)]
pub struct MlaDecode {
    decode: Plan<decode::MlaDecode>,
    combine: Plan<MlaCombine>,
}

impl MlaDecode {
    const NAME: &'static str = "attention::MlaDecode";

    /// Checks the specialisation and loads both kernels.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &DecodeSpec) -> Result<Self> {
        let DecodeSpec { heads, latent, chunk, .. } = *spec;
        let decode = Plan::new(Self::NAME, device, spec)?;
        let combine = Plan::new(Self::NAME, device, &MlaCombineSpec { heads, latent, chunk })?;
        Ok(Self { decode, combine })
    }

    /// The kernels that were chosen.
    #[must_use]
    pub const fn chosen(&self) -> (&Plan<decode::MlaDecode>, &Plan<MlaCombine>) {
        (&self.decode, &self.combine)
    }

    /// As [`Plan::flags`].
    ///
    /// # Errors
    ///
    /// As of [`Plan::flags`].
    pub fn flags(&self, stream: &Stream) -> Result<DeviceFlags> {
        self.decode.flags(stream)
    }

    /// Elements of the workspace for so many tokens and a longest length.
    ///
    /// # Errors
    ///
    /// If there is no number for that.
    pub fn workspace_elements(&self, tokens: usize, longest: usize) -> Result<usize> {
        let DecodeSpec { heads, latent, .. } = *self.decode.spec();
        let of_head = latent as usize + 2;
        let splits = self.splits(longest)? as usize;
        let elements = tokens
            .checked_mul(splits)
            .and_then(|stretches| stretches.checked_mul(heads as usize))
            .and_then(|rows| rows.checked_mul(of_head));
        elements.ok_or_else(|| Error::Range {
            operation: Self::NAME,
            argument: "tokens".to_owned(),
            expected: "a workspace of less than 2^64 elements".to_owned(),
            given: tokens.to_string(),
        })
    }

    /// Bytes of the workspace for so many tokens and a longest length.
    ///
    /// # Errors
    ///
    /// As of [`workspace_elements`](Self::workspace_elements).
    pub fn workspace_bytes(&self, tokens: usize, longest: usize) -> Result<usize> {
        Ok(self.workspace_elements(tokens, longest)?.saturating_mul(size_of::<f32>()))
    }

    /// The workspace for so many tokens and a longest length; it also serves smaller ones.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn workspace(&self, stream: &Stream, tokens: usize, longest: usize) -> Result<Buffer<f32>> {
        stream.allocate(self.workspace_elements(tokens, longest)?).map_err(Error::of(Self::NAME))
    }

    /// Weighted sums of latents, `[tokens, heads, latent]`. A token without keys gets zeros.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run(&self, stream: &Stream, inputs: DecodeInputs<'_>) -> Result<Attended> {
        let tokens = rows_of(inputs.queries);
        let DecodeSpec { heads, latent, .. } = *self.decode.spec();
        let mut out = Attended::nothing(stream, Self::NAME, [tokens, heads as usize, latent as usize])?;
        let mut workspace = self.workspace(stream, tokens, inputs.longest)?;
        self.run_into(stream, inputs, &mut out, &mut workspace)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there. A page outside of the pool raises
    /// [`PAGE`](crate::ops::device_error::PAGE), a sequence that does not exist
    /// [`SEQUENCE`](crate::ops::device_error::SEQUENCE) too: there are no keys then.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; a workspace
    /// that is too small; more than 65535 stretches.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        inputs: DecodeInputs<'a>,
        out: impl Into<AttendedViewMut<'a>>,
        workspace: impl Into<ViewMut<'a, f32>>,
    ) -> Result<()> {
        let DecodeSpec { heads, latent, rope, page_size, record, .. } = *self.decode.spec();
        let (out, splits) = (out.into(), self.splits(inputs.longest)?);
        let mut word = self.decode.word();
        let mut call = Call::new(&self.decode, stream, &mut word)?;
        let rows = [Extent::Any("tokens"), Extent::Is(heads), Extent::Is(latent + rope)];
        let (queries, [tokens, ..]) = call.read("queries", inputs.queries, rows)?;
        let pool = [Extent::Any("pages"), Extent::Is(page_size), Extent::Is(record.bytes(latent, rope))];
        let (pool, [pages, ..]) = call.read("pool", inputs.pool, pool)?;
        let table = [Extent::Any("sequences"), Extent::Any("max_pages")];
        let (block_table, [sequences, max_pages]) = call.read("block_table", inputs.block_table, table)?;
        let (lengths, _) = call.read("lengths", inputs.lengths, [Extent::Is(tokens)])?;
        let (sequence_of, _) = call.read("sequence_of", inputs.sequence_of, [Extent::Is(tokens)])?;
        let (output, _) =
            call.write(Name("out", ".output"), out.output, [tokens, heads, latent].map(Extent::Is))?;
        let (lse, _) = call.write(Name("out", ".lse"), out.lse, [tokens, heads].map(Extent::Is))?;
        let needed = self.workspace_elements(tokens as usize, inputs.longest)?;
        let workspace = workspace.into();
        let given = workspace.len();
        call.check("workspace", given >= needed, &format!("at least {needed} elements"), given)?;
        let (partial_outputs, _) = call.write_flat("workspace", workspace)?;

        let bytes = size_of::<f32>() as u64;
        let stretches = u64::from(tokens) * u64::from(splits) * u64::from(heads);
        let partial_maxima = partial_outputs + stretches * u64::from(latent) * bytes;
        let partial_sums = partial_maxima + stretches * bytes;
        let arguments = MlaDecodeArguments {
            queries,
            pool,
            block_table,
            lengths,
            sequence_of,
            partial_outputs,
            partial_maxima,
            partial_sums,
            error: call.error,
            tokens,
            splits,
            pages,
            sequences,
            max_pages,
            softmax_scale: inputs.softmax_scale,
        };
        call.launch(&self.decode, &arguments)?;
        let arguments = MlaCombineArguments {
            partial_outputs,
            partial_maxima,
            partial_sums,
            lengths,
            output,
            lse,
            tokens,
            splits,
        };
        call.launch(&self.combine, &arguments)
    }

    /// Stretches of a sequence of this length; at least one, so that longer lengths are noticed.
    fn splits(&self, longest: usize) -> Result<u32> {
        let splits = count(Self::NAME, "longest", longest)?.div_ceil(self.decode.spec().chunk).max(1);
        if splits <= MOST_SPLITS {
            return Ok(splits);
        }
        Err(Error::Range {
            operation: Self::NAME,
            argument: "longest".to_owned(),
            expected: format!("at most {MOST_SPLITS} stretches of {} keys", self.decode.spec().chunk),
            given: longest.to_string(),
        })
    }
}

impl fmt::Display for MlaDecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.decode, self.combine)
    }
}
