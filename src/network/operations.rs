//! The operations of the network, each one launch or a few: tensors in, tensors out.

use super::executor::Executor;
use super::weights::{GateUp, Linear, Stored};
use crate::driver::{Buffer, Use, View};
use crate::error::{Error, Result};
use crate::model::config::ScaleFormat as ConfigScaleFormat;
use crate::num::{E4m3, bf16};
use crate::ops::product::{Addresses, Factors, Operands};
use rorqual_kernels::ScaleFormat;
use rorqual_kernels::ValueFormat;
use rorqual_kernels::copy::{CopyRows, CopyRowsArguments, CopyRowsSpec};
use rorqual_kernels::device_error::DeviceFlags;
use rorqual_kernels::embedding::{Embedding, EmbeddingArguments, EmbeddingSpec};
use rorqual_kernels::gemm::hopper::{Format, HopperFp8Swiglu, HopperFp8SwigluArguments, HopperSwigluSpec};
use rorqual_kernels::gemm::{GemmSpec, Grouping, Output};
use rorqual_kernels::moe::swiglu::{Swiglu, SwigluArguments, SwigluSpec};
use rorqual_kernels::norm::{RmsNorm, RmsNormArguments, RmsNormSpec};
use rorqual_kernels::quant::{Quantize1x128, Quantize1x128Arguments, Quantize1x128Spec, ScaleLayout};
use rorqual_kernels::tune::hopper::{HopperChoice, fused_swiglu, fuses};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Launches operations in order, and gathers the error bits of all of them.
#[derive(Debug)]
pub(super) struct Operations {
    /// The kernels.
    pub executor: Executor,
    /// The scales of quantised activations.
    pub scale: ScaleFormat,
    error: Mutex<Buffer<u32>>,
    /// The kernels of Hopper for the products that have been launched so far, where there are some.
    on_hopper: Mutex<HashMap<(Format, GemmSpec), Option<HopperChoice>>>,
}

/// Rows `[rows, width]`, as the products that read them need them.
#[derive(Debug)]
pub(super) struct Activation {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// In bf16; empty if there is only the other.
    pub bf16: Buffer<bf16>,
    /// Codes and scales per 1x128.
    pub fp8: Option<(Buffer<E4m3>, Buffer<f32>)>,
}

/// Where a product writes: from a column of a matrix on, whose rows are `pitch` elements apart.
pub(super) struct Destination<'a> {
    /// The matrix.
    pub buffer: &'a mut Buffer<bf16>,
    /// Elements of a row.
    pub pitch: usize,
    /// The first element.
    pub first: usize,
}

impl Operations {
    /// Operations on an executor.
    pub fn new(executor: Executor, scale: ConfigScaleFormat) -> Result<Self> {
        let error = Mutex::new(executor.stream().upload(1, &[0_u32])?);
        let scale = match scale {
            ConfigScaleFormat::F32 => ScaleFormat::F32,
            ConfigScaleFormat::Ue8m0 => ScaleFormat::PowerOfTwo,
        };
        Ok(Self { executor, scale, error, on_hopper: Mutex::default() })
    }

    /// The word that kernels set bits of.
    pub fn error(&self) -> MutexGuard<'_, Buffer<u32>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the device and asks whether any kernel met bad input.
    ///
    /// # Errors
    /// [`Error::DeviceInput`] with the flags, which are cleared.
    pub fn check(&self) -> Result<()> {
        let mut error = self.error();
        let bits = self.executor.stream().download(&*error)?[0];
        if bits == 0 {
            return Ok(());
        }
        self.executor.stream().write(&mut *error, &[0])?;
        Err(Error::DeviceInput { flags: DeviceFlags::from_bits(bits) })
    }

    /// New memory.
    pub fn allocate<T: crate::driver::DeviceElement>(&self, elements: usize) -> Result<Buffer<T>> {
        Ok(self.executor.allocate(elements)?)
    }

    /// Rows `tokens` of a bf16 table `[vocab, hidden]`.
    pub fn embedding(
        &self,
        table: &Buffer<bf16>,
        hidden: usize,
        tokens: &Buffer<u32>,
    ) -> Result<Buffer<bf16>> {
        let mut out = self.allocate(tokens.len() * hidden)?;
        let vocab = table.len() / hidden.max(1);
        let spec = EmbeddingSpec { vocab: vocab as u32, hidden: hidden as u32, table: ValueFormat::Bf16 };
        let mut error = self.error();
        let arguments = EmbeddingArguments {
            ids: tokens.address(),
            table: table.address(),
            table_f32: 0,
            out: out.address(),
            error: error.address(),
            tokens: tokens.len() as u32,
        };
        let uses = [tokens.reads(), table.reads(), out.writes(), error.writes()];
        self.executor.launch::<Embedding>(&spec, &arguments, &uses)?;
        Ok(out)
    }

    /// RMSNorm of `rows` rows of `x`, `pitch` elements apart; quantised too if `fp8`. With `residual`, `x` is first added
    /// to that stream.
    pub fn rms_norm(
        &self,
        x: View<'_, bf16>,
        pitch: usize,
        residual: Option<&mut Buffer<bf16>>,
        weight: &Buffer<f32>,
        (rows, epsilon, fp8): (usize, f32, bool),
    ) -> Result<Activation> {
        let hidden = weight.len();
        let spec = RmsNormSpec {
            hidden: hidden as u32,
            x_pitch: pitch as u32,
            residual: residual.is_some(),
            bf16: true,
            fp8: fp8.then_some(self.scale),
        };
        let mut y = self.allocate(rows * hidden)?;
        let mut quantized = fp8.then(|| self.quantized(rows, hidden)).transpose()?;
        let arguments = RmsNormArguments {
            x: x.address(),
            residual: residual.as_ref().map_or(0, |residual| residual.address()),
            weight: weight.address(),
            y: y.address(),
            codes: quantized.as_ref().map_or(0, |(codes, _)| codes.address()),
            scales: quantized.as_ref().map_or(0, |(_, scales)| scales.address()),
            tokens: rows as u32,
            epsilon,
        };
        let mut uses = vec![x.reads(), weight.reads(), y.writes()];
        uses.extend(residual.map(Buffer::writes));
        if let Some((codes, scales)) = &mut quantized {
            uses.extend([codes.writes(), scales.writes()]);
        }
        self.executor.launch::<RmsNorm>(&spec, &arguments, &uses)?;
        drop(uses);
        Ok(Activation { rows, width: hidden, bf16: y, fp8: quantized })
    }

    /// Memory for quantised rows.
    pub fn quantized(&self, rows: usize, width: usize) -> Result<(Buffer<E4m3>, Buffer<f32>)> {
        Ok((self.allocate(rows * width)?, self.allocate(rows * width.div_ceil(128))?))
    }

    /// Quantises an activation, if that has not been done.
    pub fn quantize(&self, x: &mut Activation) -> Result<()> {
        if x.fp8.is_some() {
            return Ok(());
        }
        let (mut codes, mut scales) = self.quantized(x.rows, x.width)?;
        let spec = Quantize1x128Spec {
            k: x.width as u32,
            x_pitch: x.width as u32,
            input: ValueFormat::Bf16,
            scale: self.scale,
            scale_layout: ScaleLayout::RowMajor,
        };
        let arguments = Quantize1x128Arguments {
            x: x.bf16.address(),
            x_f32: 0,
            codes: codes.address(),
            scales: scales.address(),
            tokens: x.rows as u32,
            scale_pitch: x.rows as u32,
        };
        let uses = [x.bf16.reads(), codes.writes(), scales.writes()];
        self.executor.launch::<Quantize1x128>(&spec, &arguments, &uses)?;
        x.fp8 = Some((codes, scales));
        Ok(())
    }

    /// `x * w^T`, in bf16.
    pub fn linear(&self, x: &mut Activation, w: &Linear) -> Result<Buffer<bf16>> {
        let mut out = self.allocate(x.rows * w.n)?;
        let to = Destination { buffer: &mut out, pitch: w.n, first: 0 };
        self.product(x, w, None, to)?;
        Ok(out)
    }

    /// `x * w^T` into part of a matrix; with `offsets`, rows `offsets[g]..offsets[g + 1]` meet weight `g`.
    pub fn product(
        &self,
        x: &mut Activation,
        w: &Linear,
        offsets: Option<&Buffer<u32>>,
        to: Destination<'_>,
    ) -> Result<()> {
        if w.is_fp8() {
            self.quantize(x)?;
        }
        let grouping = match offsets {
            Some(_) => Grouping::Prefix { groups: w.groups as u32 },
            None => Grouping::Dense,
        };
        let spec = GemmSpec { grouping, d_pitch: to.pitch as u32, ..GemmSpec::new(w.n as u32, w.k as u32) };
        let mut error = self.error();
        let operands = |a, b| Operands {
            a,
            b,
            d: to.buffer.address() + 2 * to.first as u64,
            groups: offsets.map_or(0, Buffer::address),
            error: error.address(),
            rows: x.rows as u32,
        };
        match (&w.stored, &x.fp8) {
            (Stored::Fp8 { codes, scales }, Some((x_codes, x_scales))) => {
                let operands = operands(scaled(x_codes, x_scales), scaled(codes, scales));
                let mut uses = vec![x_codes.reads(), x_scales.reads(), codes.reads(), scales.reads()];
                uses.extend(offsets.map(Buffer::reads));
                uses.extend([error.writes(), to.buffer.writes()]);
                self.multiply::<E4m3>(&spec, &operands, &uses)
            }
            (Stored::Bf16(weight), _) => {
                let operands = operands(plain(&x.bf16), plain(weight));
                let mut uses = vec![x.bf16.reads(), weight.reads()];
                uses.extend(offsets.map(Buffer::reads));
                uses.extend([error.writes(), to.buffer.writes()]);
                self.multiply::<bf16>(&spec, &operands, &uses)
            }
            (Stored::Fp8 { .. }, None) => Err(Error::MixedWeights),
        }
    }

    /// Launches a product: the kernel of Hopper for its rows where there is one, else the portable one.
    pub fn multiply<T: Factors>(&self, spec: &GemmSpec, operands: &Operands, uses: &[Use<'_>]) -> Result<()> {
        match self.on_hopper::<T>(spec) {
            Some(choice) if operands.suit_hopper(spec.grouping).is_ok() => {
                let spec = choice.for_rows(operands.rows);
                self.executor.launch::<T::Hopper>(spec, &T::on_hopper(spec, operands), uses)
            }
            _ => self.executor.launch::<T::Portable>(spec, &T::portable(spec, operands), uses),
        }
    }

    /// The kernels of Hopper for a product, if the device has them.
    fn on_hopper<T: Factors>(&self, spec: &GemmSpec) -> Option<HopperChoice> {
        let mut known = self.on_hopper.lock().unwrap_or_else(PoisonError::into_inner);
        let choose = || HopperChoice::new(T::FORMAT, spec, self.executor.target()).ok();
        *known.entry((T::FORMAT, *spec)).or_insert_with(choose)
    }

    /// Logits `x * head^T` in f32; the head is in bf16, `[vocab, hidden]`.
    pub fn head(&self, x: &Buffer<bf16>, head: &Buffer<bf16>, hidden: usize) -> Result<Buffer<f32>> {
        let (rows, vocab) = (x.len() / hidden, head.len() / hidden);
        let mut logits = self.allocate(rows * vocab)?;
        let spec = GemmSpec { output: Output::F32, ..GemmSpec::new(vocab as u32, hidden as u32) };
        let mut error = self.error();
        let operands = Operands {
            a: plain(x),
            b: plain(head),
            d: logits.address(),
            groups: 0,
            error: error.address(),
            rows: rows as u32,
        };
        let uses = [x.reads(), head.reads(), logits.writes(), error.writes()];
        self.multiply::<bf16>(&spec, &operands, &uses)?;
        Ok(logits)
    }

    /// `silu(gate) * up` of the projections of `x`, for a product with `down`; with `offsets`, of grouped rows.
    pub fn swiglu(
        &self,
        x: &mut Activation,
        projections: &GateUp,
        down: &Linear,
        offsets: Option<&Buffer<u32>>,
    ) -> Result<Activation> {
        let (rows, inter) = (x.rows, projections.inter);
        if let Some((spec, projection)) = self.fused(rows, projections, down, offsets.is_some()) {
            return self.fused_swiglu(x, &spec, projection, offsets);
        }
        let mut gate_up = self.allocate(rows * 2 * inter)?;
        for (part, first) in &projections.parts {
            let to = Destination { buffer: &mut gate_up, pitch: 2 * inter, first: *first };
            self.product(x, part, offsets, to)?;
        }
        let fp8 = down.is_fp8();
        let spec = SwigluSpec {
            inter: inter as u32,
            clamp: false,
            device_rows: offsets.is_some(),
            bf16: !fp8,
            fp8: fp8.then_some(self.scale),
        };
        let mut out = self.allocate(if fp8 { 0 } else { rows * inter })?;
        let mut quantized = fp8.then(|| self.quantized(rows, inter)).transpose()?;
        let count = offsets.map(|offsets| offsets.slice(offsets.len() - 1, 1)).transpose()?;
        let arguments = SwigluArguments {
            gate_up: gate_up.address(),
            row_count: count.map_or(0, |count| count.address()),
            out: out.address(),
            codes: quantized.as_ref().map_or(0, |(codes, _)| codes.address()),
            scales: quantized.as_ref().map_or(0, |(_, scales)| scales.address()),
            rows: rows as u32,
            limit: 0.0,
        };
        let mut uses = vec![gate_up.reads(), out.writes()];
        uses.extend(count.map(View::reads));
        if let Some((codes, scales)) = &mut quantized {
            uses.extend([codes.writes(), scales.writes()]);
        }
        self.executor.launch::<Swiglu>(&spec, &arguments, &uses)?;
        drop(uses);
        Ok(Activation { rows, width: inter, bf16: out, fp8: quantized })
    }

    /// The kernel of Hopper for projections and activation at once, where the device and the widths have one and there are
    /// rows enough, and the weight it takes. It has the bits of the launches that it takes the place of.
    fn fused<'a>(
        &self,
        rows: usize,
        projections: &'a GateUp,
        down: &Linear,
        is_grouped: bool,
    ) -> Option<(HopperSwigluSpec, &'a Linear)> {
        let [(weight, _)] = projections.parts.as_slice() else { return None };
        if !weight.is_fp8() || !down.is_fp8() {
            return None;
        }
        let grouping =
            if is_grouped { Grouping::Prefix { groups: weight.groups as u32 } } else { Grouping::Dense };
        let (inter, k, target) = (projections.inter as u32, weight.k as u32, self.executor.target());
        let spec = fused_swiglu(inter, k, grouping, self.scale, target).ok()?;
        fuses(&spec, rows as u32).then_some((spec, weight))
    }

    /// `silu(gate) * up` of the projections of `x`, quantised, by one kernel.
    fn fused_swiglu(
        &self,
        x: &mut Activation,
        spec: &HopperSwigluSpec,
        weight: &Linear,
        offsets: Option<&Buffer<u32>>,
    ) -> Result<Activation> {
        self.quantize(x)?;
        let (Stored::Fp8 { codes: b, scales: b_scales }, Some((a, a_scales))) = (&weight.stored, &x.fp8)
        else {
            return Err(Error::MixedWeights);
        };
        let (rows, inter) = (x.rows, spec.inter as usize);
        let (mut codes, mut scales) = self.quantized(rows, inter)?;
        let mut error = self.error();
        let arguments = HopperFp8SwigluArguments {
            a: spec.a_map(a.address(), rows as u32),
            b: spec.b_map(b.address()),
            a_scales: a_scales.address(),
            a_scale_pitch: 0,
            b_scales: b_scales.address(),
            row_weights: 0,
            codes: codes.address(),
            scales: scales.address(),
            scale_pitch: 0,
            groups: offsets.map_or(0, Buffer::address),
            error: error.address(),
            rows: rows as u32,
            limit: 0.0,
            alpha: 0.0,
            beta: 0.0,
        };
        let mut uses = vec![a.reads(), a_scales.reads(), b.reads(), b_scales.reads()];
        uses.extend([codes.writes(), scales.writes(), error.writes()]);
        uses.extend(offsets.map(Buffer::reads));
        self.executor.launch::<HopperFp8Swiglu>(spec, &arguments, &uses)?;
        drop(uses);
        drop(error);
        Ok(Activation { rows, width: inter, bf16: self.allocate(0)?, fp8: Some((codes, scales)) })
    }

    /// Copies `rows` rows of `width` elements from one pitch to another.
    pub fn copy_rows(
        &self,
        from: View<'_, bf16>,
        from_pitch: usize,
        to: Destination<'_>,
        (rows, width): (usize, usize),
    ) -> Result<()> {
        let spec =
            CopyRowsSpec { width: width as u32, from_pitch: from_pitch as u32, to_pitch: to.pitch as u32 };
        let arguments = CopyRowsArguments {
            from: from.address(),
            to: to.buffer.address() + 2 * to.first as u64,
            rows: rows as u32,
        };
        self.executor.launch::<CopyRows>(&spec, &arguments, &[from.reads(), to.buffer.writes()])
    }
}

/// The address of elements without scales.
pub(super) fn plain(elements: &Buffer<bf16>) -> Addresses {
    Addresses { elements: elements.address(), scales: 0 }
}

/// The addresses of codes and their scales.
fn scaled(codes: &Buffer<E4m3>, scales: &Buffer<f32>) -> Addresses {
    Addresses { elements: codes.address(), scales: scales.address() }
}
