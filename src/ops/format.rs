//! What activations and weights are made of: bf16, or e4m3 with scales. The format is part of the type of a plan, so that
//! tensors of another do not compile.

use super::call::{Call, Extent, Name};
use super::product::{Addresses, Factors};
use super::{Error, Result};
use crate::driver::{Buffer, DeviceElement, Shape, Stream, View, ViewMut};
use crate::num::{E4m3, bf16};
use rorqual_kernels::gemm::Output;
use rorqual_kernels::moe::permute::RowFormat;
use rorqual_kernels::{BLOCK, ScaleFormat};

/// Activations in e4m3 with one f32 scale per 1x128: `[.., k]` codes, `[.., ceil(k / 128)]` scales.
#[derive(Debug)]
pub struct Quantized {
    /// `[.., k]`
    pub codes: Buffer<E4m3>,
    /// `[.., ceil(k / 128)]`
    pub scales: Buffer<f32>,
}

/// [`Quantized`], to read.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedView<'a> {
    /// `[.., k]`
    pub codes: View<'a, E4m3>,
    /// `[.., ceil(k / 128)]`
    pub scales: View<'a, f32>,
}

/// [`Quantized`], to write.
#[derive(Debug)]
pub struct QuantizedViewMut<'a> {
    /// `[.., k]`
    pub codes: ViewMut<'a, E4m3>,
    /// `[.., ceil(k / 128)]`
    pub scales: ViewMut<'a, f32>,
}

impl<'a> From<&'a Quantized> for QuantizedView<'a> {
    fn from(quantized: &'a Quantized) -> Self {
        Self { codes: quantized.codes.view(), scales: quantized.scales.view() }
    }
}

impl<'a> From<&'a mut Quantized> for QuantizedViewMut<'a> {
    fn from(quantized: &'a mut Quantized) -> Self {
        Self { codes: quantized.codes.view_mut(), scales: quantized.scales.view_mut() }
    }
}

/// Weights in e4m3 with one f32 scale per 128x128: `[.., n, k]` codes, `[.., ceil(n / 128), ceil(k / 128)]` scales.
#[derive(Debug)]
pub struct BlockScaled {
    /// `[.., n, k]`
    pub codes: Buffer<E4m3>,
    /// `[.., ceil(n / 128), ceil(k / 128)]`
    pub scales: Buffer<f32>,
}

/// [`BlockScaled`], to read.
#[derive(Debug, Clone, Copy)]
pub struct BlockScaledView<'a> {
    /// `[.., n, k]`
    pub codes: View<'a, E4m3>,
    /// `[.., ceil(n / 128), ceil(k / 128)]`
    pub scales: View<'a, f32>,
}

/// [`BlockScaled`], to write.
#[derive(Debug)]
pub struct BlockScaledViewMut<'a> {
    /// `[.., n, k]`
    pub codes: ViewMut<'a, E4m3>,
    /// `[.., ceil(n / 128), ceil(k / 128)]`
    pub scales: ViewMut<'a, f32>,
}

impl<'a> From<&'a BlockScaled> for BlockScaledView<'a> {
    fn from(weight: &'a BlockScaled) -> Self {
        Self { codes: weight.codes.view(), scales: weight.scales.view() }
    }
}

impl<'a> From<&'a mut BlockScaled> for BlockScaledViewMut<'a> {
    fn from(weight: &'a mut BlockScaled) -> Self {
        Self { codes: weight.codes.view_mut(), scales: weight.scales.view_mut() }
    }
}

impl Stream {
    /// A block-scaled weight `[n, k]`, or as many as the extents before say, `[.., n, k]`; scales
    /// `[.., ceil(n / 128), ceil(k / 128)]`, row-major.
    ///
    /// # Errors
    ///
    /// If there are fewer than two extents, or another number of codes or scales; as of [`Stream::upload`].
    pub fn upload_block_scaled(
        &self,
        shape: impl Into<Shape>,
        codes: &[E4m3],
        scales: &[f32],
    ) -> Result<BlockScaled> {
        let operation = "upload_block_scaled";
        let shape = shape.into();
        let mut grid = shape.extents().to_vec();
        let [.., n, k] = grid.as_mut_slice() else {
            return Err(Error::Shape {
                operation,
                argument: "shape".to_owned(),
                expected: "[.., n, k]".to_owned(),
                given: shape.to_string(),
            });
        };
        (*n, *k) = (n.div_ceil(BLOCK as usize), k.div_ceil(BLOCK as usize));
        let grid = Shape::try_from(grid.as_slice()).map_err(Error::of(operation))?;
        for (argument, expected, given) in [("codes", shape, codes.len()), ("scales", grid, scales.len())] {
            if expected.elements() != Some(given) {
                return Err(Error::Shape {
                    operation,
                    argument: argument.to_owned(),
                    expected: expected.to_string(),
                    given: format!("{given} elements"),
                });
            }
        }
        let codes = self.upload(shape, codes).map_err(Error::of(operation))?;
        let scales = self.upload(grid, scales).map_err(Error::of(operation))?;
        Ok(BlockScaled { codes, scales })
    }
}

pub(super) mod sealed {
    use super::*;

    /// How a plan handles tensors of a format.
    pub trait Tensors: DeviceElement + Factors {
        const ROWS: RowFormat;
    }

    /// How a plan handles results of a type.
    pub trait Results: DeviceElement {
        const OUTPUT: Output;
    }
}

/// A format of activations and weights: [`bf16`], or [`E4m3`] with scales.
pub trait Format: sealed::Tensors {
    /// Activations, `[.., k]`.
    type Rows;
    /// Activations, to read.
    type RowsView<'a>: Copy;
    /// Activations, to write.
    type RowsViewMut<'a>: From<&'a mut Self::Rows>;
    /// Weights, `[.., n, k]`, to read.
    type WeightView<'a>: Copy;

    /// The scales that results of this format have, if those of a specialisation are `scale`.
    fn scales(scale: ScaleFormat) -> Option<ScaleFormat>;

    /// The extents of activations.
    fn shape(rows: Self::RowsView<'_>) -> Shape;

    /// New activations.
    ///
    /// # Errors
    ///
    /// As of [`Stream::allocate`].
    fn allocate<const N: usize>(
        stream: &Stream,
        operation: &'static str,
        extents: [usize; N],
    ) -> Result<Self::Rows>;

    /// Overwrites activations with what padding has: zeros, and scales of 1.
    ///
    /// # Errors
    ///
    /// As of [`Stream::write`].
    fn fill_zeros(stream: &Stream, operation: &'static str, rows: &mut Self::Rows) -> Result<()>;

    #[doc(hidden)]
    fn read_rows<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        rows: Self::RowsView<'a>,
        extents: [Extent; N],
    ) -> Result<(Addresses, [u32; N])>;

    #[doc(hidden)]
    fn write_rows<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        rows: Self::RowsViewMut<'a>,
        extents: [Extent; N],
    ) -> Result<Addresses>;

    #[doc(hidden)]
    fn read_weight<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        weight: Self::WeightView<'a>,
        extents: [u32; N],
    ) -> Result<Addresses>;
}

/// The type of the elements of a product: [`bf16`] activations, or `f32` logits.
pub trait ProductElement: sealed::Results {}

impl sealed::Results for bf16 {
    const OUTPUT: Output = Output::Bf16;
}

impl ProductElement for bf16 {}

impl sealed::Results for f32 {
    const OUTPUT: Output = Output::F32;
}

impl ProductElement for f32 {}

impl sealed::Tensors for bf16 {
    const ROWS: RowFormat = RowFormat::Bf16;
}

impl Format for bf16 {
    type Rows = Buffer<Self>;
    type RowsView<'a> = View<'a, Self>;
    type RowsViewMut<'a> = ViewMut<'a, Self>;
    type WeightView<'a> = View<'a, Self>;

    fn scales(_: ScaleFormat) -> Option<ScaleFormat> {
        None
    }

    fn shape(rows: View<'_, Self>) -> Shape {
        rows.shape()
    }

    fn allocate<const N: usize>(
        stream: &Stream,
        operation: &'static str,
        extents: [usize; N],
    ) -> Result<Buffer<Self>> {
        stream.allocate(extents).map_err(Error::of(operation))
    }

    fn fill_zeros(stream: &Stream, operation: &'static str, rows: &mut Buffer<Self>) -> Result<()> {
        stream.zero(rows).map_err(Error::of(operation))
    }

    fn read_rows<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        rows: View<'a, Self>,
        extents: [Extent; N],
    ) -> Result<(Addresses, [u32; N])> {
        let (elements, extents) = call.read(name, rows, extents)?;
        Ok((Addresses { elements, scales: 0 }, extents))
    }

    fn write_rows<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        rows: ViewMut<'a, Self>,
        extents: [Extent; N],
    ) -> Result<Addresses> {
        Ok(Addresses { elements: call.write(name, rows, extents)?.0, scales: 0 })
    }

    fn read_weight<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        weight: View<'a, Self>,
        extents: [u32; N],
    ) -> Result<Addresses> {
        Ok(Addresses { elements: call.read(name, weight, extents.map(Extent::Is))?.0, scales: 0 })
    }
}

impl sealed::Tensors for E4m3 {
    const ROWS: RowFormat = RowFormat::Fp8;
}

impl Format for E4m3 {
    type Rows = Quantized;
    type RowsView<'a> = QuantizedView<'a>;
    type RowsViewMut<'a> = QuantizedViewMut<'a>;
    type WeightView<'a> = BlockScaledView<'a>;

    fn scales(scale: ScaleFormat) -> Option<ScaleFormat> {
        Some(scale)
    }

    fn shape(rows: QuantizedView<'_>) -> Shape {
        rows.codes.shape()
    }

    fn allocate<const N: usize>(
        stream: &Stream,
        operation: &'static str,
        extents: [usize; N],
    ) -> Result<Quantized> {
        let mut blocks = extents;
        if let Some(last) = blocks.last_mut() {
            *last = last.div_ceil(BLOCK as usize);
        }
        let codes = stream.allocate(extents).map_err(Error::of(operation))?;
        let scales = stream.allocate(blocks).map_err(Error::of(operation))?;
        Ok(Quantized { codes, scales })
    }

    fn fill_zeros(stream: &Stream, operation: &'static str, rows: &mut Quantized) -> Result<()> {
        stream.zero(&mut rows.codes).map_err(Error::of(operation))?;
        let scales = vec![1.0; rows.scales.len()];
        stream.write(&mut rows.scales, &scales).map_err(Error::of(operation))
    }

    fn read_rows<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        rows: QuantizedView<'a>,
        extents: [Extent; N],
    ) -> Result<(Addresses, [u32; N])> {
        let (elements, extents) = call.read(Name(name, ".codes"), rows.codes, extents)?;
        let blocks = blocks_of_last(extents, 1).map(Extent::Is);
        let (scales, _) = call.read(Name(name, ".scales"), rows.scales, blocks)?;
        Ok((Addresses { elements, scales }, extents))
    }

    fn write_rows<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        rows: QuantizedViewMut<'a>,
        extents: [Extent; N],
    ) -> Result<Addresses> {
        let (elements, extents) = call.write(Name(name, ".codes"), rows.codes, extents)?;
        let blocks = blocks_of_last(extents, 1).map(Extent::Is);
        let (scales, _) = call.write(Name(name, ".scales"), rows.scales, blocks)?;
        Ok(Addresses { elements, scales })
    }

    fn read_weight<'c, 'a: 'c, const N: usize>(
        call: &mut Call<'c>,
        name: &'static str,
        weight: BlockScaledView<'a>,
        extents: [u32; N],
    ) -> Result<Addresses> {
        let (elements, _) = call.read(Name(name, ".codes"), weight.codes, extents.map(Extent::Is))?;
        let blocks = blocks_of_last(extents, 2).map(Extent::Is);
        let (scales, _) = call.read(Name(name, ".scales"), weight.scales, blocks)?;
        Ok(Addresses { elements, scales })
    }
}

/// Extents, of which the last `count` are in blocks of 128.
pub(super) fn blocks_of_last<const N: usize>(mut extents: [u32; N], count: usize) -> [u32; N] {
    for extent in extents.iter_mut().rev().take(count) {
        *extent = extent.div_ceil(BLOCK);
    }
    extents
}
