//! Rows in expert order: their layout, how they come there, and what is between the products.

use crate::driver::{Buffer, Device, Stream, View, ViewMut};
use crate::num::bf16;
use crate::ops::call::{Call, Extent, Name, rows_of};
use crate::ops::format::Format;
use crate::ops::plan::{Plan, front};
use crate::ops::{Error, Result};
use rorqual_kernels::ScaleFormat;
use rorqual_kernels::moe::layout::{self, LayoutArguments, LayoutSpec};
use rorqual_kernels::moe::permute::{self, PermuteArguments, RowFormat};
use rorqual_kernels::moe::swiglu::{self, SwigluArguments};
use std::marker::PhantomData;

/// Slots of a layout are below this.
const SLOTS: u64 = (1 << 32) - 256;

/// Rows in expert order: those of expert 0 first, each in ascending slot.
#[derive(Debug)]
pub struct Arrangement {
    /// Rows of each expert, `[experts]`: counts of [`gemm::Masked`](crate::ops::gemm::Masked).
    pub counts: Buffer<u32>,
    /// The first row of each expert, and the number of all rows, `[experts + 1]`: offsets of
    /// [`gemm::Grouped`](crate::ops::gemm::Grouped).
    pub offsets: Buffer<u32>,
    /// `[tokens, topk]`; `u32::MAX` for a slot whose expert does not exist.
    pub row_of_slot: Buffer<u32>,
    /// `[tokens * topk]`; `u32::MAX` for the rows that are left over then, at the end.
    pub slot_of_row: Buffer<u32>,
}

/// [`Arrangement`], to write.
#[derive(Debug)]
pub struct ArrangementViewMut<'a> {
    /// `[experts]`
    pub counts: ViewMut<'a, u32>,
    /// `[experts + 1]`
    pub offsets: ViewMut<'a, u32>,
    /// `[tokens, topk]`
    pub row_of_slot: ViewMut<'a, u32>,
    /// `[tokens * topk]`
    pub slot_of_row: ViewMut<'a, u32>,
}

impl<'a> From<&'a mut Arrangement> for ArrangementViewMut<'a> {
    fn from(arrangement: &'a mut Arrangement) -> Self {
        Self {
            counts: arrangement.counts.view_mut(),
            offsets: arrangement.offsets.view_mut(),
            row_of_slot: arrangement.row_of_slot.view_mut(),
            slot_of_row: arrangement.slot_of_row.view_mut(),
        }
    }
}

/// The layout of rows in expert order.
#[derive(Debug)]
pub struct Layout {
    plan: Plan<layout::Layout>,
}

front!(Layout of Plan<layout::Layout>);

impl Layout {
    const NAME: &'static str = "moe::Layout";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &LayoutSpec) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, spec)? })
    }

    /// The rows of tokens that go to `experts`, `[tokens, topk]`. Without tokens all counts and offsets are 0.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(&self, stream: &Stream, experts: impl Into<View<'a, u32>>) -> Result<Arrangement> {
        let routed = experts.into();
        let LayoutSpec { experts, topk } = *self.plan.spec();
        let (experts, topk, tokens) = (experts as usize, topk as usize, rows_of(routed));
        let allocate = || -> crate::driver::Result<_> {
            Ok(Arrangement {
                counts: stream.allocate(experts)?,
                offsets: stream.allocate(experts + 1)?,
                row_of_slot: stream.allocate([tokens, topk])?,
                slot_of_row: stream.allocate(tokens.saturating_mul(topk))?,
            })
        };
        let mut arrangement = allocate().map_err(Error::of(Self::NAME))?;
        self.run_into(stream, routed, &mut arrangement)?;
        Ok(arrangement)
    }

    /// As [`run`](Self::run), into memory that is there. An expert that does not exist raises
    /// [`EXPERT`](crate::ops::device_error::EXPERT); its slot has no row.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, or overlaps the result; 2^32 - 256 slots or more.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        experts: impl Into<View<'a, u32>>,
        out: impl Into<ArrangementViewMut<'a>>,
    ) -> Result<()> {
        let LayoutSpec { experts: count, topk } = *self.plan.spec();
        let out = out.into();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let slots = [Extent::Any("tokens"), Extent::Is(topk)];
        let (topk_idx, [tokens, _]) = call.read("experts", experts.into(), slots)?;
        let slots = u64::from(tokens) * u64::from(topk);
        call.check("tokens * topk", slots < SLOTS, &format!("less than {SLOTS}"), slots)?;
        let (counts, _) = call.write(Name("out", ".counts"), out.counts, [Extent::Is(count)])?;
        let (offsets, _) = call.write(Name("out", ".offsets"), out.offsets, [Extent::Is(count + 1)])?;
        let (row_of_slot, _) =
            call.write(Name("out", ".row_of_slot"), out.row_of_slot, [tokens, topk].map(Extent::Is))?;
        let (slot_of_row, _) =
            call.write(Name("out", ".slot_of_row"), out.slot_of_row, [Extent::Is(slots as u32)])?;
        let error = call.error;
        let arguments =
            LayoutArguments { topk_idx, counts, offsets, row_of_slot, slot_of_row, error, tokens };
        call.launch(&self.plan, &arguments)
    }
}

/// What a permutation is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermuteSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Experts of a token.
    pub topk: u32,
}

/// Rows of tokens gathered into expert order, as they are; `T` is their format.
#[derive(Debug)]
pub struct Permute<T> {
    plan: Plan<permute::Permute>,
    format: PhantomData<T>,
}

front!(Permute<T> of Plan<permute::Permute>);

impl<T: Format> Permute<T> {
    const NAME: &'static str = "moe::Permute";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &PermuteSpec) -> Result<Self> {
        let PermuteSpec { hidden, topk } = *spec;
        let spec = permute::PermuteSpec { hidden, topk, format: T::ROWS };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)?, format: PhantomData })
    }

    /// Rows `slot_of_row[row] / topk` of `x`, `[tokens, hidden]`, for `slot_of_row`, `[rows]`: `[rows, hidden]`. A row
    /// without a slot (`u32::MAX`) is zero.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        x: impl Into<T::RowsView<'a>>,
        slot_of_row: impl Into<View<'a, u32>>,
    ) -> Result<T::Rows> {
        let slot_of_row = slot_of_row.into();
        let extents = [slot_of_row.len(), self.plan.spec().hidden as usize];
        let mut out = T::allocate(stream, Self::NAME, extents)?;
        T::fill_zeros(stream, Self::NAME, &mut out)?;
        self.run_into(stream, x.into(), slot_of_row, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there; rows without a slot are not touched. A slot that does not exist
    /// raises [`SLOT`](crate::ops::device_error::SLOT); its row is not touched.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; more rows than
    /// slots.
    pub fn run_into<'a, 'o>(
        &self,
        stream: &Stream,
        x: impl Into<T::RowsView<'a>>,
        slot_of_row: impl Into<View<'a, u32>>,
        out: impl Into<T::RowsViewMut<'o>>,
    ) -> Result<()> {
        let permute::PermuteSpec { hidden, topk, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let width = Extent::Is(hidden);
        let (x, [tokens, _]) = T::read_rows(&mut call, "x", x.into(), [Extent::Any("tokens"), width])?;
        let (slot_of_row, [rows]) = call.read("slot_of_row", slot_of_row.into(), [Extent::Any("rows")])?;
        let slots = u64::from(tokens) * u64::from(topk);
        call.check("rows", u64::from(rows) <= slots, &format!("at most tokens * topk, {slots}"), rows)?;
        let to = T::write_rows(&mut call, "out", out.into(), [Extent::Is(rows), width])?;
        let is_bf16 = T::ROWS == RowFormat::Bf16;
        let by_format = |elements: u64| if is_bf16 { [elements, 0] } else { [0, elements] };
        let ([bf16, codes], [out, out_codes]) = (by_format(x.elements), by_format(to.elements));
        let arguments = PermuteArguments {
            x: bf16,
            codes,
            scales: x.scales,
            slot_of_row,
            out,
            out_codes,
            out_scales: to.scales,
            error: call.error,
            tokens,
            rows,
        };
        call.launch(&self.plan, &arguments)
    }
}

/// What a SwiGLU is planned for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwigluSpec {
    /// Elements of gate and of up.
    pub inter: u32,
    /// Where to clamp the inputs: gate from above, up from both sides.
    pub limit: Option<f32>,
    /// Whether the number of rows is read on the device.
    pub device_rows: bool,
    /// The scales of an FP8 result.
    pub scale: ScaleFormat,
}

impl SwigluSpec {
    /// Without clamp, of as many rows as there are, with f32 scales where the result is FP8.
    #[must_use]
    pub const fn new(inter: u32) -> Self {
        Self { inter, limit: None, device_rows: false, scale: ScaleFormat::F32 }
    }
}

/// `gate / (1 + exp(-gate)) * up` of the two projections; `T` is the format of the result.
#[derive(Debug)]
pub struct Swiglu<T> {
    plan: Plan<swiglu::Swiglu>,
    limit: f32,
    format: PhantomData<T>,
}

front!(Swiglu<T> of Plan<swiglu::Swiglu>);

impl<T: Format> Swiglu<T> {
    const NAME: &'static str = "moe::Swiglu";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &SwigluSpec) -> Result<Self> {
        let SwigluSpec { inter, limit, device_rows, scale } = *spec;
        let fp8 = T::scales(scale);
        let clamp = limit.is_some();
        let kernel = swiglu::SwigluSpec { inter, clamp, device_rows, bf16: fp8.is_none(), fp8 };
        let plan = Plan::new(Self::NAME, device, &kernel)?;
        Ok(Self { plan, limit: limit.unwrap_or(0.0), format: PhantomData })
    }

    /// Of `gate_up`, `[rows, 2 * inter]`, gate first: `[rows, inter]`. With `device_rows` the first `row_count`, `[1]`,
    /// rows; the others are zero.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        gate_up: impl Into<View<'a, bf16>>,
        row_count: Option<View<'a, u32>>,
    ) -> Result<T::Rows> {
        let gate_up = gate_up.into();
        let spec = self.plan.spec();
        let mut out = T::allocate(stream, Self::NAME, [rows_of(gate_up), spec.inter as usize])?;
        if spec.device_rows {
            T::fill_zeros(stream, Self::NAME, &mut out)?;
        }
        self.run_into(stream, gate_up, row_count, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there; rows from `row_count` on are not touched.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; a row count
    /// that is missing or not planned for.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        gate_up: impl Into<View<'a, bf16>>,
        row_count: Option<View<'a, u32>>,
        out: impl Into<T::RowsViewMut<'a>>,
    ) -> Result<()> {
        let swiglu::SwigluSpec { inter, device_rows, bf16, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let both = [Extent::Any("rows"), Extent::Is(2 * inter)];
        let (gate_up, [rows, _]) = call.read("gate_up", gate_up.into(), both)?;
        let row_count = call.read_if("row_count", device_rows, row_count, [Extent::Is(1)])?;
        let to = T::write_rows(&mut call, "out", out.into(), [rows, inter].map(Extent::Is))?;
        let [out, codes] = if bf16 { [to.elements, 0] } else { [0, to.elements] };
        let (scales, limit) = (to.scales, self.limit);
        call.launch(&self.plan, &SwigluArguments { gate_up, row_count, out, codes, scales, rows, limit })
    }
}
