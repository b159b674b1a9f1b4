//! Rotation, and records into the paged cache and out of it.

use super::{Pairing, RecordFormat};
use crate::driver::{Device, Stream, View, ViewMut};
use crate::num::bf16;
use crate::ops::Result;
use crate::ops::call::{Call, Extent, Name, count};
use crate::ops::plan::{Plan, front};
use rorqual_kernels::attention::append::{self, CacheAppendArguments, CacheAppendSpec};
use rorqual_kernels::attention::gather::{self, CacheGatherArguments, CacheGatherSpec};
use rorqual_kernels::rope::{self, RopeArguments};

/// What a rotation is planned for: elements `offset..offset + width` of each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RopeSpec {
    /// Heads of a token.
    pub heads: u32,
    /// Elements of a head.
    pub head: u32,
    /// First rotated element of a head.
    pub offset: u32,
    /// Elements of a head that are rotated; even.
    pub width: u32,
    /// Which elements are a pair.
    pub pairing: Pairing,
}

/// Rotary positional embedding, in place.
#[derive(Debug)]
pub struct Rope {
    plan: Plan<rope::Rope>,
    head: u32,
}

front!(Rope of Plan<rope::Rope>);

impl Rope {
    const NAME: &'static str = "attention::Rope";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &RopeSpec) -> Result<Self> {
        let RopeSpec { heads, head, offset, width, pairing } = *spec;
        let token_pitch = heads.saturating_mul(head);
        let spec = rope::RopeSpec { width, heads, head_pitch: head, token_pitch, offset, pairing };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)?, head })
    }

    /// Rotates `x`, `[tokens, heads, head]`, of tokens at `positions`, `[tokens]`, with cosines and sines `table`,
    /// `[position_count, width / 2, 2]`. A position behind the table raises
    /// [`POSITION`](crate::ops::device_error::POSITION); its row stays.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps `x`.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        x: impl Into<ViewMut<'a, bf16>>,
        table: impl Into<View<'a, f32>>,
        positions: impl Into<View<'a, u32>>,
    ) -> Result<()> {
        let rope::RopeSpec { width, heads, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let rows = [Extent::Any("tokens"), Extent::Is(heads), Extent::Is(self.head)];
        let (x, [tokens, ..]) = call.write("x", x.into(), rows)?;
        let rows = [Extent::Any("position_count"), Extent::Is(width / 2), Extent::Is(2)];
        let (table, [position_count, ..]) = call.read("table", table.into(), rows)?;
        let (positions, _) = call.read("positions", positions.into(), [Extent::Is(tokens)])?;
        let error = call.error;
        call.launch(&self.plan, &RopeArguments { x, table, positions, error, tokens, position_count })
    }
}

/// A paged cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSpec {
    /// Elements of a latent.
    pub latent: u32,
    /// Elements of the shared key.
    pub rope: u32,
    /// Records of a page.
    pub page_size: u32,
    /// The format of the records.
    pub record: RecordFormat,
}

impl CacheSpec {
    /// The extents of a pool.
    fn pool(&self) -> [Extent; 3] {
        let record_bytes = self.record.bytes(self.latent, self.rope);
        [Extent::Any("pages"), Extent::Is(self.page_size), Extent::Is(record_bytes)]
    }
}

/// What an append reads.
#[derive(Debug, Clone, Copy)]
pub struct AppendInputs<'a> {
    /// Normalised latents, `[tokens, latent]`.
    pub latents: View<'a, bf16>,
    /// Keys, not rotated, `[tokens, rope]`.
    pub keys: View<'a, bf16>,
    /// Cosine and sine, `[position_count, rope / 2, 2]`.
    pub table: View<'a, f32>,
    /// `[tokens]`
    pub positions: View<'a, u32>,
    /// `[tokens]`: `page * page_size + offset`, all different, or [`NO_SLOT`](super::NO_SLOT).
    pub slots: View<'a, u32>,
}

/// Writes the records of new tokens.
#[derive(Debug)]
pub struct CacheAppend {
    plan: Plan<append::CacheAppend>,
    spec: CacheSpec,
}

front!(CacheAppend of Plan<append::CacheAppend>);

impl CacheAppend {
    const NAME: &'static str = "attention::CacheAppend";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &CacheSpec) -> Result<Self> {
        let CacheSpec { latent, rope, record, .. } = *spec;
        let kernel = CacheAppendSpec { latent, rope, latent_pitch: latent, key_pitch: rope, record };
        Ok(Self { plan: Plan::new(Self::NAME, device, &kernel)?, spec: *spec })
    }

    /// Writes records into `pool`, `[pages, page_size, record_bytes]`. A slot outside of it raises
    /// [`PAGE`](crate::ops::device_error::PAGE), a position behind the table
    /// [`POSITION`](crate::ops::device_error::POSITION); there is no record then.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the pool; 2^32 records or
    /// more.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        inputs: AppendInputs<'a>,
        pool: impl Into<ViewMut<'a, u8>>,
    ) -> Result<()> {
        let CacheSpec { latent, rope, page_size, .. } = self.spec;
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let rows = [Extent::Any("tokens"), Extent::Is(latent)];
        let (latents, [tokens, _]) = call.read("latents", inputs.latents, rows)?;
        let (keys, _) = call.read("keys", inputs.keys, [tokens, rope].map(Extent::Is))?;
        let rows = [Extent::Any("position_count"), Extent::Is(rope / 2), Extent::Is(2)];
        let (table, [position_count, ..]) = call.read("table", inputs.table, rows)?;
        let (positions, _) = call.read("positions", inputs.positions, [Extent::Is(tokens)])?;
        let (slots, _) = call.read("slots", inputs.slots, [Extent::Is(tokens)])?;
        let (pool, [pages, ..]) = call.write("pool", pool.into(), self.spec.pool())?;
        let slot_count = u64::from(pages) * u64::from(page_size);
        let most = u64::from(u32::MAX);
        call.check("pages * page_size", slot_count <= most, &format!("at most {most}"), slot_count)?;
        let arguments = CacheAppendArguments {
            latents,
            keys,
            table,
            positions,
            slots,
            pool,
            error: call.error,
            tokens,
            position_count,
            slot_count: slot_count as u32,
        };
        call.launch(&self.plan, &arguments)
    }
}

/// What a gather reads.
#[derive(Debug, Clone, Copy)]
pub struct GatherInputs<'a> {
    /// `[pages, page_size, record_bytes]`
    pub pool: View<'a, u8>,
    /// `[sequences, max_pages]`
    pub block_table: View<'a, u32>,
    /// The first row of each sequence, and the end of the last one, `[sequences + 1]`.
    pub key_offsets: View<'a, u32>,
    /// Keys of the longest sequence, or more. A sequence with more raises
    /// [`SEQUENCE`](crate::ops::device_error::SEQUENCE).
    pub longest: usize,
}

/// Records as rows, to write.
#[derive(Debug)]
pub struct GatheredViewMut<'a> {
    /// `[keys, latent]`
    pub latents: ViewMut<'a, bf16>,
    /// `[keys, rope]`, rotated.
    pub shared_keys: ViewMut<'a, bf16>,
}

/// Reads the records of sequences into rows, for the expansion to keys and values.
#[derive(Debug)]
pub struct CacheGather {
    plan: Plan<gather::CacheGather>,
    spec: CacheSpec,
}

front!(CacheGather of Plan<gather::CacheGather>);

impl CacheGather {
    const NAME: &'static str = "attention::CacheGather";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &CacheSpec) -> Result<Self> {
        let CacheSpec { latent, rope, page_size, record } = *spec;
        let kernel = CacheGatherSpec { latent, rope, page_size, record };
        Ok(Self { plan: Plan::new(Self::NAME, device, &kernel)?, spec: *spec })
    }

    /// Rows `key_offsets[s]..key_offsets[s + 1]` of the result become the records of sequence `s`; others are not touched.
    /// A page outside of the pool raises [`PAGE`](crate::ops::device_error::PAGE) and gives zeros.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; more sequences
    /// than a grid has.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        inputs: GatherInputs<'a>,
        out: GatheredViewMut<'a>,
    ) -> Result<()> {
        let CacheSpec { latent, rope, .. } = self.spec;
        let longest = count(Self::NAME, "longest", inputs.longest)?;
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (pool, [pages, ..]) = call.read("pool", inputs.pool, self.spec.pool())?;
        let table = [Extent::Any("sequences"), Extent::Any("max_pages")];
        let (block_table, [sequences, max_pages]) = call.read("block_table", inputs.block_table, table)?;
        let offsets = [Extent::Is(sequences.saturating_add(1))];
        let (key_offsets, _) = call.read("key_offsets", inputs.key_offsets, offsets)?;
        let rows = [Extent::Any("keys"), Extent::Is(latent)];
        let (latents, [keys, _]) = call.write(Name("out", ".latents"), out.latents, rows)?;
        let rows = [keys, rope].map(Extent::Is);
        let (shared_keys, _) = call.write(Name("out", ".shared_keys"), out.shared_keys, rows)?;
        let arguments = CacheGatherArguments {
            pool,
            block_table,
            key_offsets,
            latents,
            shared_keys,
            error: call.error,
            pages,
            sequences,
            max_pages,
            keys,
            longest,
        };
        call.launch(&self.plan, &arguments)
    }
}
