//! Multi-head latent attention over a paged cache of latents.
//!
//! A token leaves a record in the cache: its latent and a rotated key, shared by all heads. Records lie in the pages of a
//! pool, `[pages, page_size, record_bytes]`, where [`RecordFormat::bytes`] are the bytes of a record; row `s` of a block
//! table, `[sequences, max_pages]`, has the pages of sequence `s` in order.
//!
//! | plan | what it does |
//! |---|---|
//! | [`Rope`] | rotates heads in place |
//! | [`CacheAppend`] | writes the records of new tokens |
//! | [`CacheGather`] | reads the records of sequences into rows |
//! | [`MlaDecode`] | attention of few queries, in latent space, over the pool |
//! | [`MlaPrefill`] | causal attention of many queries over expanded keys and values |

mod cache;
mod decode;
mod prefill;

pub use cache::{
    AppendInputs, CacheAppend, CacheGather, CacheSpec, GatherInputs, GatheredViewMut, Rope, RopeSpec,
};
pub use decode::{DecodeInputs, DecodeSpec, MlaDecode};
pub use prefill::{MlaPrefill, PrefillInputs, PrefillSpec};
pub use rorqual_kernels::attention::RecordFormat;
pub use rorqual_kernels::attention::append::NO_SLOT;
pub use rorqual_kernels::rope::Pairing;

use crate::driver::{Buffer, Stream, ViewMut};
use crate::num::bf16;
use crate::ops::{Error, Result};

/// What queries saw.
#[derive(Debug)]
pub struct Attended {
    /// `[tokens, heads, width]`, where `width` is that of a latent or of a value.
    pub output: Buffer<bf16>,
    /// Natural logarithms of the sums of `exp(score)`, `[tokens, heads]`; negative infinity where no key was seen.
    pub lse: Buffer<f32>,
}

impl Attended {
    /// What queries saw that saw nothing, for `[tokens, heads, width]`.
    fn nothing(stream: &Stream, operation: &'static str, [tokens, heads, width]: [usize; 3]) -> Result<Self> {
        let allocate = || -> crate::driver::Result<_> {
            let mut output = stream.allocate([tokens, heads, width])?;
            stream.zero(&mut output)?;
            let lse = stream.upload([tokens, heads], &vec![f32::NEG_INFINITY; tokens * heads])?;
            Ok(Self { output, lse })
        };
        allocate().map_err(Error::of(operation))
    }
}

/// [`Attended`], to write.
#[derive(Debug)]
pub struct AttendedViewMut<'a> {
    /// `[tokens, heads, width]`
    pub output: ViewMut<'a, bf16>,
    /// `[tokens, heads]`
    pub lse: ViewMut<'a, f32>,
}

impl<'a> From<&'a mut Attended> for AttendedViewMut<'a> {
    fn from(attended: &'a mut Attended) -> Self {
        Self { output: attended.output.view_mut(), lse: attended.lse.view_mut() }
    }
}
