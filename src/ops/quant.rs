//! FP8 block scaling: activations by 1x128, weights by 128x128, and weights back to bf16.
//!
//! `scale = max(amax, 1e-4) / 448`, or the next power of two; `code = e4m3(x / scale)`.

use super::call::{Call, Extent, Name, rows_of};
use super::format::{BlockScaled, BlockScaledView, BlockScaledViewMut, Format, Quantized, QuantizedViewMut};
use super::plan::{Plan, front};
use super::{Error, Result};
use crate::driver::{Buffer, Device, DeviceElement, Stream, View, ViewMut};
use crate::num::{E4m3, bf16};
use rorqual_kernels::quant::{
    Dequantize128x128, Dequantize128x128Arguments, Dequantize128x128Spec, Quantize1x128,
    Quantize1x128Arguments, Quantize1x128Spec, Quantize128x128, Quantize128x128Arguments,
    Quantize128x128Spec, ScaleLayout,
};
use rorqual_kernels::{BLOCK, ScaleFormat, ValueFormat};
use std::marker::PhantomData;

mod sealed {
    /// The kernels' name of a type of values.
    pub trait Sealed {
        const FORMAT: super::ValueFormat;
    }
}

/// A type of values that are quantised: [`bf16`] or `f32`.
pub trait Value: DeviceElement + sealed::Sealed {}

impl sealed::Sealed for bf16 {
    const FORMAT: ValueFormat = ValueFormat::Bf16;
}

impl Value for bf16 {}

impl sealed::Sealed for f32 {
    const FORMAT: ValueFormat = ValueFormat::F32;
}

impl Value for f32 {}

/// The address for the parameter of bf16 values, and that for f32 ones.
pub(super) fn by_format<T: Value>(address: u64) -> [u64; 2] {
    match T::FORMAT {
        ValueFormat::Bf16 => [address, 0],
        ValueFormat::F32 => [0, address],
    }
}

/// Quantises rows of `k` elements of type `T`, with a scale per 1x128.
#[derive(Debug)]
pub struct PerTokenGroup<T = bf16> {
    plan: Plan<Quantize1x128>,
    value: PhantomData<T>,
}

front!(PerTokenGroup<T> of Plan<Quantize1x128>);

impl<T: Value> PerTokenGroup<T> {
    const NAME: &'static str = "quant::PerTokenGroup";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, k: u32, scale: ScaleFormat) -> Result<Self> {
        let spec =
            Quantize1x128Spec { k, x_pitch: k, input: T::FORMAT, scale, scale_layout: ScaleLayout::RowMajor };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)?, value: PhantomData })
    }

    /// `x`, `[tokens, k]`, quantised.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(&self, stream: &Stream, x: impl Into<View<'a, T>>) -> Result<Quantized> {
        let x = x.into();
        let mut out = E4m3::allocate(stream, Self::NAME, [rows_of(x), self.plan.spec().k as usize])?;
        self.run_into(stream, x, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, T>>,
        out: impl Into<QuantizedViewMut<'a>>,
    ) -> Result<()> {
        let k = Extent::Is(self.plan.spec().k);
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (x, [tokens, _]) = call.read("x", x.into(), [Extent::Any("tokens"), k])?;
        let out = E4m3::write_rows(&mut call, "out", out.into(), [Extent::Is(tokens), k])?;
        let [x, x_f32] = by_format::<T>(x);
        let (codes, scales) = (out.elements, out.scales);
        let arguments = Quantize1x128Arguments { x, x_f32, codes, scales, tokens, scale_pitch: tokens };
        call.launch(&self.plan, &arguments)
    }
}

/// Quantises a weight `[n, k]` of type `T`, with a scale per 128x128.
#[derive(Debug)]
pub struct PerBlock<T = bf16> {
    plan: Plan<Quantize128x128>,
    value: PhantomData<T>,
}

front!(PerBlock<T> of Plan<Quantize128x128>);

impl<T: Value> PerBlock<T> {
    const NAME: &'static str = "quant::PerBlock";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, n: u32, k: u32, scale: ScaleFormat) -> Result<Self> {
        let spec = Quantize128x128Spec { n, k, input: T::FORMAT, scale };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)?, value: PhantomData })
    }

    /// `weight`, `[n, k]`, quantised.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(&self, stream: &Stream, weight: impl Into<View<'a, T>>) -> Result<BlockScaled> {
        let weight = weight.into();
        let [n, k] = [self.plan.spec().n, self.plan.spec().k].map(|extent| extent as usize);
        let block = BLOCK as usize;
        let codes = stream.allocate([n, k]).map_err(Error::of(Self::NAME))?;
        let scales =
            stream.allocate([n.div_ceil(block), k.div_ceil(block)]).map_err(Error::of(Self::NAME))?;
        let mut out = BlockScaled { codes, scales };
        self.run_into(stream, weight, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        weight: impl Into<View<'a, T>>,
        out: impl Into<BlockScaledViewMut<'a>>,
    ) -> Result<()> {
        let extents = [self.plan.spec().n, self.plan.spec().k];
        let out = out.into();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (weight, _) = call.read("weight", weight.into(), extents.map(Extent::Is))?;
        let (codes, _) = call.write(Name("out", ".codes"), out.codes, extents.map(Extent::Is))?;
        let blocks = extents.map(|extent| Extent::Is(extent.div_ceil(BLOCK)));
        let (scales, _) = call.write(Name("out", ".scales"), out.scales, blocks)?;
        let [weight, weight_f32] = by_format::<T>(weight);
        call.launch(&self.plan, &Quantize128x128Arguments { weight, weight_f32, codes, scales })
    }
}

/// Turns a block-scaled weight `[n, k]` to bf16.
#[derive(Debug)]
pub struct Dequantize {
    plan: Plan<Dequantize128x128>,
}

front!(Dequantize of Plan<Dequantize128x128>);

impl Dequantize {
    const NAME: &'static str = "quant::Dequantize";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, n: u32, k: u32) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, &Dequantize128x128Spec { n, k })? })
    }

    /// `weight`, `[n, k]`, as bf16.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(&self, stream: &Stream, weight: impl Into<BlockScaledView<'a>>) -> Result<Buffer<bf16>> {
        let weight = weight.into();
        let extents = [self.plan.spec().n, self.plan.spec().k].map(|extent| extent as usize);
        let mut out = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, weight, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        weight: impl Into<BlockScaledView<'a>>,
        out: impl Into<ViewMut<'a, bf16>>,
    ) -> Result<()> {
        let extents = [self.plan.spec().n, self.plan.spec().k];
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let weight = E4m3::read_weight(&mut call, "weight", weight.into(), extents)?;
        let (out, _) = call.write("out", out.into(), extents.map(Extent::Is))?;
        let (codes, scales) = (weight.elements, weight.scales);
        call.launch(&self.plan, &Dequantize128x128Arguments { codes, scales, weight: out })
    }
}
