//! RMSNorm: `y = x * rsqrt(mean(x^2) + epsilon) * weight`, of rows of bf16, to bf16 or quantised to FP8.
//!
//! The type of the plan says what it writes: [`RmsNorm<bf16>`](RmsNorm) or [`RmsNorm<E4m3>`](RmsNorm).

use super::Result;
use super::call::{Call, Extent, rows_of};
use super::format::Format;
use super::plan::{Plan, front};
use crate::driver::{Device, Stream, View, ViewMut};
use crate::num::bf16;
use rorqual_kernels::ScaleFormat;
use rorqual_kernels::norm::{self, RmsNormArguments};
use std::marker::PhantomData;

/// What a norm is planned for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Added to the mean of the squares.
    pub epsilon: f32,
    /// The scales of an FP8 result.
    pub scale: ScaleFormat,
}

impl NormSpec {
    /// Rows of `hidden` elements, with f32 scales where the result is FP8.
    #[must_use]
    pub const fn new(hidden: u32, epsilon: f32) -> Self {
        Self { hidden, epsilon, scale: ScaleFormat::F32 }
    }
}

/// RMSNorm of rows `[tokens, hidden]`; `T` is the format of the result.
#[derive(Debug)]
pub struct RmsNorm<T> {
    plan: Plan<norm::RmsNorm>,
    epsilon: f32,
    format: PhantomData<T>,
}

front!(RmsNorm<T> of Plan<norm::RmsNorm>);

impl<T: Format> RmsNorm<T> {
    const NAME: &'static str = "norm::RmsNorm";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &NormSpec) -> Result<Self> {
        let plan = Plan::new(Self::NAME, device, &kernel_spec::<T>(spec, false))?;
        Ok(Self { plan, epsilon: spec.epsilon, format: PhantomData })
    }

    /// The norm of `x`, `[tokens, hidden]`, with `weight`, `[hidden]`: `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, bf16>>,
        weight: impl Into<View<'a, f32>>,
    ) -> Result<T::Rows> {
        let (x, weight) = (x.into(), weight.into());
        let mut y = T::allocate(stream, Self::NAME, [rows_of(x), self.plan.spec().hidden as usize])?;
        self.run_into(stream, x, weight, &mut y)?;
        Ok(y)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, bf16>>,
        weight: impl Into<View<'a, f32>>,
        y: impl Into<T::RowsViewMut<'a>>,
    ) -> Result<()> {
        run::<T>(&self.plan, stream, (x.into(), None, weight.into()), y.into(), self.epsilon)
    }
}

/// RMSNorm of a residual stream to which `x` is added first; `T` is the format of the result.
#[derive(Debug)]
pub struct AddRmsNorm<T> {
    plan: Plan<norm::RmsNorm>,
    epsilon: f32,
    format: PhantomData<T>,
}

front!(AddRmsNorm<T> of Plan<norm::RmsNorm>);

impl<T: Format> AddRmsNorm<T> {
    const NAME: &'static str = "norm::AddRmsNorm";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &NormSpec) -> Result<Self> {
        let plan = Plan::new(Self::NAME, device, &kernel_spec::<T>(spec, true))?;
        Ok(Self { plan, epsilon: spec.epsilon, format: PhantomData })
    }

    /// Adds `x`, `[tokens, hidden]`, to `residual`, `[tokens, hidden]`; the norm of the sum with `weight`, `[hidden]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, bf16>>,
        residual: impl Into<ViewMut<'a, bf16>>,
        weight: impl Into<View<'a, f32>>,
    ) -> Result<T::Rows> {
        let (x, residual, weight) = (x.into(), residual.into(), weight.into());
        let mut y = T::allocate(stream, Self::NAME, [rows_of(x), self.plan.spec().hidden as usize])?;
        self.run_into(stream, x, residual, weight, &mut y)?;
        Ok(y)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result or `residual`.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, bf16>>,
        residual: impl Into<ViewMut<'a, bf16>>,
        weight: impl Into<View<'a, f32>>,
        y: impl Into<T::RowsViewMut<'a>>,
    ) -> Result<()> {
        let inputs = (x.into(), Some(residual.into()), weight.into());
        run::<T>(&self.plan, stream, inputs, y.into(), self.epsilon)
    }
}

fn kernel_spec<T: Format>(spec: &NormSpec, residual: bool) -> norm::RmsNormSpec {
    let fp8 = T::scales(spec.scale);
    norm::RmsNormSpec { hidden: spec.hidden, x_pitch: spec.hidden, residual, bf16: fp8.is_none(), fp8 }
}

fn run<T: Format>(
    plan: &Plan<norm::RmsNorm>,
    stream: &Stream,
    (x, residual, weight): (View<'_, bf16>, Option<ViewMut<'_, bf16>>, View<'_, f32>),
    y: T::RowsViewMut<'_>,
    epsilon: f32,
) -> Result<()> {
    let hidden = Extent::Is(plan.spec().hidden);
    let mut word = plan.word();
    let mut call = Call::new(plan, stream, &mut word)?;
    let (x, [tokens, _]) = call.read("x", x, [Extent::Any("tokens"), hidden])?;
    let rows = [Extent::Is(tokens), hidden];
    let residual = residual.map(|residual| call.write("residual", residual, rows)).transpose()?;
    let (weight, _) = call.read("weight", weight, [hidden])?;
    let y = T::write_rows(&mut call, "y", y, rows)?;
    let is_bf16 = plan.spec().bf16;
    let arguments = RmsNormArguments {
        x,
        residual: residual.map_or(0, |(address, _)| address),
        weight,
        y: if is_bf16 { y.elements } else { 0 },
        codes: if is_bf16 { 0 } else { y.elements },
        scales: y.scales,
        tokens,
        epsilon,
    };
    call.launch(plan, &arguments)
}
