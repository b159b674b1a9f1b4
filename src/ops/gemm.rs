//! Matrix products `D = A * B^T` of activations and weights, f32 sums: bf16, or FP8 with block scales.
//!
//! The type of the plan says the format of the factors: `Dense<bf16>`, `Dense<E4m3>`; products end in bf16, or in f32 as
//! `Dense<bf16, f32>`. A row has the same bits whatever rows surround it.
//!
//! | plan | rows | weight |
//! |---|---|---|
//! | [`Dense`] | `[rows, k]` | `[n, k]` |
//! | [`Grouped`] | `[rows, k]`, of which `offsets[g]..offsets[g + 1]` meet weight `g` | `[groups, n, k]` |
//! | [`Masked`] | `[groups, rows, k]`, of each the first `counts[g]` | `[groups, n, k]` |
//! | [`Batched`] | `[rows, batches, k]`, bf16 | `[batches, n, k]` or `[batches, k, n]` |

use super::call::{Extent, rows_of};
use super::format::{Format, ProductElement};
use super::plan::front;
use super::product::{Addresses, Operands, ProductPlan};
use super::{Error, Result};
use crate::driver::{Buffer, Device, Stream, View, ViewMut};
use crate::num::bf16;
use rorqual_kernels::gemm::{GemmSpec, Grouping, Slices};
use std::marker::PhantomData;

pub use rorqual_kernels::gemm::Order;

/// A product of one weight `[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseSpec {
    /// Outputs of the weight.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
}

impl DenseSpec {
    /// Of these extents.
    #[must_use]
    pub const fn new(n: u32, k: u32) -> Self {
        Self { n, k }
    }
}

/// Products of weights `[groups, n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupedSpec {
    /// Weights.
    pub groups: u32,
    /// Outputs of a weight.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
}

impl GroupedSpec {
    /// Of these extents.
    #[must_use]
    pub const fn new(groups: u32, n: u32, k: u32) -> Self {
        Self { groups, n, k }
    }
}

/// Products side by side, each of its own slice of a row and its own weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchedSpec {
    /// Products.
    pub batches: u32,
    /// Outputs of a weight.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// How a weight lies: `[n, k]`, or `[k, n]` if [`Order::InputMajor`].
    pub order: Order,
}

/// The product of rows with one weight; `T` is the format of both, `O` the type of the result.
#[derive(Debug)]
pub struct Dense<T: Format, O = bf16> {
    plan: ProductPlan<T>,
    element: PhantomData<O>,
}

front!(Dense<T, O> of ProductPlan<T>, T: Format);

impl<T: Format, O: ProductElement> Dense<T, O> {
    const NAME: &'static str = "gemm::Dense";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`](super::Plan::new).
    pub fn plan(device: &Device, spec: &DenseSpec) -> Result<Self> {
        let spec = GemmSpec { output: O::OUTPUT, ..GemmSpec::new(spec.n, spec.k) };
        Ok(Self { plan: ProductPlan::new(Self::NAME, device, &spec)?, element: PhantomData })
    }

    /// `a`, `[rows, k]`, times `weight`, `[n, k]`: `[rows, n]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        a: impl Into<T::RowsView<'a>>,
        weight: impl Into<T::WeightView<'a>>,
    ) -> Result<Buffer<O>> {
        let (a, weight) = (a.into(), weight.into());
        let extents = [T::shape(a).extents().first().copied().unwrap_or(0), self.plan.spec().n as usize];
        let mut d = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, a, weight, &mut d)?;
        Ok(d)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; too many rows
    /// for a grid.
    pub fn run_into<'a, 'd>(
        &self,
        stream: &Stream,
        a: impl Into<T::RowsView<'a>>,
        weight: impl Into<T::WeightView<'a>>,
        d: impl Into<ViewMut<'d, O>>,
    ) -> Result<()> {
        let GemmSpec { n, k, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = self.plan.call(stream, &mut word)?;
        let (a, [rows, _]) = T::read_rows(&mut call, "a", a.into(), [Extent::Any("rows"), Extent::Is(k)])?;
        let b = T::read_weight(&mut call, "weight", weight.into(), [n, k])?;
        let (d, _) = call.write("d", d.into(), [rows, n].map(Extent::Is))?;
        self.plan.launch(&call, &Operands { a, b, d, groups: 0, error: call.error, rows })
    }
}

/// Products of rows in groups: the rows of a group follow those of the group before.
#[derive(Debug)]
pub struct Grouped<T: Format, O = bf16> {
    plan: ProductPlan<T>,
    groups: u32,
    element: PhantomData<O>,
}

front!(Grouped<T, O> of ProductPlan<T>, T: Format);

impl<T: Format, O: ProductElement> Grouped<T, O> {
    const NAME: &'static str = "gemm::Grouped";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`](super::Plan::new).
    pub fn plan(device: &Device, spec: &GroupedSpec) -> Result<Self> {
        let GroupedSpec { groups, n, k } = *spec;
        let grouping = Grouping::Prefix { groups };
        let spec = GemmSpec { output: O::OUTPUT, grouping, ..GemmSpec::new(n, k) };
        Ok(Self { plan: ProductPlan::new(Self::NAME, device, &spec)?, groups, element: PhantomData })
    }

    /// Rows `offsets[g]..offsets[g + 1]` of `a`, `[rows, k]`, times weight `g` of `weights`, `[groups, n, k]`:
    /// `[rows, n]`. `offsets`, `[groups + 1]`, rise, and end at `rows` at most; other rows of the result are zero.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        a: impl Into<T::RowsView<'a>>,
        weights: impl Into<T::WeightView<'a>>,
        offsets: impl Into<View<'a, u32>>,
    ) -> Result<Buffer<O>> {
        let (a, weights, offsets) = (a.into(), weights.into(), offsets.into());
        let extents = [T::shape(a).extents().first().copied().unwrap_or(0), self.plan.spec().n as usize];
        let mut d = zeros(stream, Self::NAME, extents)?;
        self.run_into(stream, a, weights, offsets, &mut d)?;
        Ok(d)
    }

    /// As [`run`](Self::run), into memory that is there; rows outside of all groups are not touched. Offsets that fall
    /// or lead behind the last row raise [`GROUPS`](super::device_error::GROUPS): the groups from there on are left out.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; too many rows
    /// for a grid.
    pub fn run_into<'a, 'd>(
        &self,
        stream: &Stream,
        a: impl Into<T::RowsView<'a>>,
        weights: impl Into<T::WeightView<'a>>,
        offsets: impl Into<View<'a, u32>>,
        d: impl Into<ViewMut<'d, O>>,
    ) -> Result<()> {
        let GemmSpec { n, k, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = self.plan.call(stream, &mut word)?;
        let (a, [rows, _]) = T::read_rows(&mut call, "a", a.into(), [Extent::Any("rows"), Extent::Is(k)])?;
        let b = T::read_weight(&mut call, "weights", weights.into(), [self.groups, n, k])?;
        let (groups, _) = call.read("offsets", offsets.into(), [Extent::Is(self.groups + 1)])?;
        let (d, _) = call.write("d", d.into(), [rows, n].map(Extent::Is))?;
        self.plan.launch(&call, &Operands { a, b, d, groups, error: call.error, rows })
    }
}

/// Products of rows in groups: each group has room for the same number of rows, and the device knows how many it has.
#[derive(Debug)]
pub struct Masked<T: Format, O = bf16> {
    plan: ProductPlan<T>,
    groups: u32,
    element: PhantomData<O>,
}

front!(Masked<T, O> of ProductPlan<T>, T: Format);

impl<T: Format, O: ProductElement> Masked<T, O> {
    const NAME: &'static str = "gemm::Masked";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`](super::Plan::new).
    pub fn plan(device: &Device, spec: &GroupedSpec) -> Result<Self> {
        let GroupedSpec { groups, n, k } = *spec;
        let grouping = Grouping::Masked { groups };
        let spec = GemmSpec { output: O::OUTPUT, grouping, ..GemmSpec::new(n, k) };
        Ok(Self { plan: ProductPlan::new(Self::NAME, device, &spec)?, groups, element: PhantomData })
    }

    /// The first `counts[g]` rows of group `g` of `a`, `[groups, rows, k]`, times weight `g` of `weights`,
    /// `[groups, n, k]`: `[groups, rows, n]`. Other rows of the result are zero.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        a: impl Into<T::RowsView<'a>>,
        weights: impl Into<T::WeightView<'a>>,
        counts: impl Into<View<'a, u32>>,
    ) -> Result<Buffer<O>> {
        let (a, weights, counts) = (a.into(), weights.into(), counts.into());
        let rows = T::shape(a).extents().get(1).copied().unwrap_or(0);
        let extents = [self.groups as usize, rows, self.plan.spec().n as usize];
        let mut d = zeros(stream, Self::NAME, extents)?;
        self.run_into(stream, a, weights, counts, &mut d)?;
        Ok(d)
    }

    /// As [`run`](Self::run), into memory that is there; rows from `counts[g]` on are not touched. A count above `rows`
    /// raises [`GROUPS`](super::device_error::GROUPS) and counts as `rows`.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; too many rows
    /// for a grid.
    pub fn run_into<'a, 'd>(
        &self,
        stream: &Stream,
        a: impl Into<T::RowsView<'a>>,
        weights: impl Into<T::WeightView<'a>>,
        counts: impl Into<View<'a, u32>>,
        d: impl Into<ViewMut<'d, O>>,
    ) -> Result<()> {
        let GemmSpec { n, k, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = self.plan.call(stream, &mut word)?;
        let extents = [Extent::Is(self.groups), Extent::Any("rows"), Extent::Is(k)];
        let (a, [_, rows, _]) = T::read_rows(&mut call, "a", a.into(), extents)?;
        let b = T::read_weight(&mut call, "weights", weights.into(), [self.groups, n, k])?;
        let (groups, _) = call.read("counts", counts.into(), [Extent::Is(self.groups)])?;
        let (d, _) = call.write("d", d.into(), [self.groups, rows, n].map(Extent::Is))?;
        self.plan.launch(&call, &Operands { a, b, d, groups, error: call.error, rows })
    }
}

/// Products of bf16 side by side: what the heads of a token do.
#[derive(Debug)]
pub struct Batched<O = bf16> {
    plan: ProductPlan<bf16>,
    spec: BatchedSpec,
    element: PhantomData<O>,
}

front!(Batched<O> of ProductPlan<bf16>);

impl<O: ProductElement> Batched<O> {
    const NAME: &'static str = "gemm::Batched";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`](super::Plan::new).
    pub fn plan(device: &Device, spec: &BatchedSpec) -> Result<Self> {
        let BatchedSpec { batches, n, k, order } = *spec;
        let product = |argument: &str, a: u32, b: u32| {
            a.checked_mul(b).ok_or_else(|| Error::Spec {
                operation: Self::NAME,
                rule: format!("`{argument}` is {a} * {b}, expected less than 2^32"),
            })
        };
        let kernel = GemmSpec {
            output: O::OUTPUT,
            grouping: Grouping::Batched {
                batches,
                a: Slices { first: 0, stride: k },
                b: Slices { first: 0, stride: product("n * k", n, k)? },
                d: Slices { first: 0, stride: n },
            },
            b_order: order,
            a_pitch: product("batches * k", batches, k)?,
            b_pitch: if order == Order::OutputMajor { k } else { n },
            d_pitch: product("batches * n", batches, n)?,
            ..GemmSpec::new(n, k)
        };
        let plan = ProductPlan::new(Self::NAME, device, &kernel)?;
        Ok(Self { plan, spec: *spec, element: PhantomData })
    }

    /// Slice `b` of each row of `a`, `[rows, batches, k]`, times weight `b` of `weights`, `[batches, n, k]` or
    /// `[batches, k, n]`: `[rows, batches, n]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        a: impl Into<View<'a, bf16>>,
        weights: impl Into<View<'a, bf16>>,
    ) -> Result<Buffer<O>> {
        let (a, weights) = (a.into(), weights.into());
        let extents = [rows_of(a), self.spec.batches as usize, self.spec.n as usize];
        let mut d = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, a, weights, &mut d)?;
        Ok(d)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; too many rows
    /// for a grid.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        a: impl Into<View<'a, bf16>>,
        weights: impl Into<View<'a, bf16>>,
        d: impl Into<ViewMut<'a, O>>,
    ) -> Result<()> {
        let BatchedSpec { batches, n, k, order } = self.spec;
        let mut word = self.plan.word();
        let mut call = self.plan.call(stream, &mut word)?;
        let extents = [Extent::Any("rows"), Extent::Is(batches), Extent::Is(k)];
        let (a, [rows, ..]) = call.read("a", a.into(), extents)?;
        let weight = if order == Order::OutputMajor { [batches, n, k] } else { [batches, k, n] };
        let (b, _) = call.read("weights", weights.into(), weight.map(Extent::Is))?;
        let (d, _) = call.write("d", d.into(), [rows, batches, n].map(Extent::Is))?;
        let (a, b) = (Addresses { elements: a, scales: 0 }, Addresses { elements: b, scales: 0 });
        self.plan.launch(&call, &Operands { a, b, d, groups: 0, error: call.error, rows })
    }
}

/// A new tensor of zeros: what rows of no group are.
fn zeros<O: ProductElement, const N: usize>(
    stream: &Stream,
    operation: &'static str,
    extents: [usize; N],
) -> Result<Buffer<O>> {
    let mut tensor = stream.allocate(extents).map_err(Error::of(operation))?;
    stream.zero(&mut tensor).map_err(Error::of(operation))?;
    Ok(tensor)
}
