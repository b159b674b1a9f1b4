//! The next token from a row of logits: the most likely one, or one at random within a nucleus.
//!
//! The random numbers are those of `model::sampling`: a function of seed, sequence and position.

use super::call::{Call, Extent, rows_of};
use super::plan::{Plan, front};
use super::{Error, Result};
use crate::driver::{Buffer, Device, Stream, View, ViewMut};
use rorqual_kernels::sample::{self, ArgmaxArguments, SampleArguments, SampleSpec};

/// The most likely token, of equal ones the lowest.
#[derive(Debug)]
pub struct Argmax {
    plan: Plan<sample::Argmax>,
}

front!(Argmax of Plan<sample::Argmax>);

impl Argmax {
    const NAME: &'static str = "sample::Argmax";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, vocab: u32) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, &SampleSpec { vocab, pitch: vocab })? })
    }

    /// The tokens of `logits`, `[tokens, vocab]`: `[tokens]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(&self, stream: &Stream, logits: impl Into<View<'a, f32>>) -> Result<Buffer<u32>> {
        let logits = logits.into();
        let mut out = stream.allocate(rows_of(logits)).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, logits, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there. NaN, positive infinity and nothing but negative infinity raise a
    /// flag and give `u32::MAX`.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        logits: impl Into<View<'a, f32>>,
        out: impl Into<ViewMut<'a, u32>>,
    ) -> Result<()> {
        let vocab = Extent::Is(self.plan.spec().vocab);
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (logits, [tokens, _]) = call.read("logits", logits.into(), [Extent::Any("tokens"), vocab])?;
        let (out, _) = call.write("out", out.into(), [Extent::Is(tokens)])?;
        let error = call.error;
        call.launch(&self.plan, &ArgmaxArguments { logits, out, error, tokens })
    }
}

/// How tokens are chosen, each of `[tokens]`.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// What the logits are divided by: finite and at least 0, where 0 takes the most likely token.
    pub temperature: View<'a, f32>,
    /// How many of the most likely tokens stay candidates: at least 1; `u32::MAX` for all.
    pub top_k: View<'a, u32>,
    /// The probability at which the rest is dropped: in (0, 1].
    pub top_p: View<'a, f32>,
    /// The key of the random numbers.
    pub seed: View<'a, u64>,
    /// The sequence that the row belongs to.
    pub sequence: View<'a, u64>,
    /// The position in the sequence.
    pub position: View<'a, u64>,
}

/// A token at random.
#[derive(Debug)]
pub struct Sample {
    plan: Plan<sample::Sample>,
}

front!(Sample of Plan<sample::Sample>);

impl Sample {
    const NAME: &'static str = "sample::Sample";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, vocab: u32) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, &SampleSpec { vocab, pitch: vocab })? })
    }

    /// The tokens of `logits`, `[tokens, vocab]`: `[tokens]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        logits: impl Into<View<'a, f32>>,
        settings: Settings<'a>,
    ) -> Result<Buffer<u32>> {
        let logits = logits.into();
        let mut out = stream.allocate(rows_of(logits)).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, logits, settings, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there. Bad logits and settings raise a flag and give `u32::MAX`.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        logits: impl Into<View<'a, f32>>,
        settings: Settings<'a>,
        out: impl Into<ViewMut<'a, u32>>,
    ) -> Result<()> {
        let vocab = Extent::Is(self.plan.spec().vocab);
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (logits, [tokens, _]) = call.read("logits", logits.into(), [Extent::Any("tokens"), vocab])?;
        let each = [Extent::Is(tokens)];
        let arguments = SampleArguments {
            logits,
            temperature: call.read("settings.temperature", settings.temperature, each)?.0,
            top_k: call.read("settings.top_k", settings.top_k, each)?.0,
            top_p: call.read("settings.top_p", settings.top_p, each)?.0,
            seed: call.read("settings.seed", settings.seed, each)?.0,
            sequence: call.read("settings.sequence", settings.sequence, each)?.0,
            position: call.read("settings.position", settings.position, each)?.0,
            out: call.write("out", out.into(), each)?.0,
            error: call.error,
            tokens,
        };
        call.launch(&self.plan, &arguments)
    }
}
