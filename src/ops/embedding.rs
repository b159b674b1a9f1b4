//! Embedding: rows of a table.

use super::call::{Call, Extent};
use super::plan::{Plan, front};
use super::quant::{Value, by_format};
use super::{Error, Result};
use crate::driver::{Buffer, Device, Stream, View, ViewMut};
use crate::num::bf16;
use rorqual_kernels::embedding::{self, EmbeddingArguments};
use std::marker::PhantomData;

/// What an embedding is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingSpec {
    /// Rows of the table.
    pub vocab: u32,
    /// Elements of a row.
    pub hidden: u32,
}

/// Rows of a table with elements of type `T`, as bf16.
#[derive(Debug)]
pub struct Embedding<T = bf16> {
    plan: Plan<embedding::Embedding>,
    value: PhantomData<T>,
}

front!(Embedding<T> of Plan<embedding::Embedding>);

impl<T: Value> Embedding<T> {
    const NAME: &'static str = "embedding::Embedding";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &EmbeddingSpec) -> Result<Self> {
        let EmbeddingSpec { vocab, hidden } = *spec;
        let spec = embedding::EmbeddingSpec { vocab, hidden, table: T::FORMAT };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)?, value: PhantomData })
    }

    /// Rows `ids`, `[tokens]`, of `table`, `[vocab, hidden]`: `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        ids: impl Into<View<'a, u32>>,
        table: impl Into<View<'a, T>>,
    ) -> Result<Buffer<bf16>> {
        let (ids, table) = (ids.into(), table.into());
        let extents = [ids.len(), self.plan.spec().hidden as usize];
        let mut out = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, ids, table, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there. A token that is not in the vocabulary raises
    /// [`TOKEN`](super::device_error::TOKEN); its row is zero.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        ids: impl Into<View<'a, u32>>,
        table: impl Into<View<'a, T>>,
        out: impl Into<ViewMut<'a, bf16>>,
    ) -> Result<()> {
        let embedding::EmbeddingSpec { vocab, hidden, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (ids, [tokens]) = call.read("ids", ids.into(), [Extent::Any("tokens")])?;
        let (table, _) = call.read("table", table.into(), [vocab, hidden].map(Extent::Is))?;
        let (out, _) = call.write("out", out.into(), [tokens, hidden].map(Extent::Is))?;
        let [table, table_f32] = by_format::<T>(table);
        let error = call.error;
        call.launch(&self.plan, &EmbeddingArguments { ids, table, table_f32, out, error, tokens })
    }
}
