//! Feed-forward layers of a batch: the dense network, and the mixture of experts; reads like `reference::moe`.

use super::operations::{Activation, Operations};
use super::weights::{GateUp, Linear, to_bf16};
use crate::driver::{Buffer, Stream};
use crate::error::Result;
use crate::model::config::{Scoring as ConfigScoring, TopkMethod};
use crate::model::weights::Matrix;
use crate::num::bf16;
use crate::reference::moe::{Mlp, Moe};
use rorqual_kernels::gemm::router::{Router, RouterArguments, RouterSpec, RouterWeight};
use rorqual_kernels::moe::combine::{Combine, CombineArguments, CombineSpec};
use rorqual_kernels::moe::gate::{Gate, GateArguments, GateSpec, GroupMethod, Scoring};
use rorqual_kernels::moe::layout::{Layout, LayoutArguments, LayoutSpec};
use rorqual_kernels::moe::permute::{Permute, PermuteArguments, PermuteSpec, RowFormat};

/// One SwiGLU network, or as many as there are experts.
#[derive(Debug)]
pub(super) struct DeviceMlp {
    gate_up: GateUp,
    down: Linear,
}

impl DeviceMlp {
    fn upload(stream: &Stream, networks: &[&Mlp]) -> Result<Self> {
        let down: Vec<Vec<&Matrix>> = networks.iter().map(|network| vec![&network.down_proj]).collect();
        Ok(Self { gate_up: GateUp::upload(stream, networks)?, down: Linear::upload_groups(stream, &down)? })
    }

    /// `down(silu(gate(x)) * up(x))`; with `offsets`, of rows in expert order.
    fn forward(
        &self,
        operations: &Operations,
        x: &mut Activation,
        offsets: Option<&Buffer<u32>>,
    ) -> Result<Buffer<bf16>> {
        let mut inner = operations.swiglu(x, &self.gate_up, &self.down, offsets)?;
        let mut out = operations.allocate(x.rows * self.down.n)?;
        let to = super::operations::Destination { buffer: &mut out, pitch: self.down.n, first: 0 };
        operations.product(&mut inner, &self.down, offsets, to)?;
        Ok(out)
    }
}

/// The router's weight, as stored or rounded exactly.
#[derive(Debug)]
enum RouterMatrix {
    F32(Buffer<f32>),
    Bf16(Buffer<bf16>),
}

/// A mixture-of-experts layer on the device.
#[derive(Debug)]
pub(super) struct DeviceMoe {
    gate: GateSpec,
    router: RouterMatrix,
    bias: Option<Buffer<f32>>,
    experts: DeviceMlp,
    shared: Option<DeviceMlp>,
}

/// Where a batch of tokens goes.
#[derive(Debug)]
pub(super) struct DeviceRouting {
    /// `[tokens, experts]`
    pub logits: Buffer<f32>,
    /// `[tokens, topk]`
    pub topk_idx: Buffer<u32>,
    /// `[tokens, topk]`
    pub topk_weight: Buffer<f32>,
}

/// The second half of a block.
#[derive(Debug)]
pub(super) enum DeviceFeedForward {
    /// One SwiGLU network.
    Dense(DeviceMlp),
    /// Routed and shared experts.
    Moe(Box<DeviceMoe>),
}

impl DeviceFeedForward {
    /// Brings a layer to the device.
    pub fn upload(stream: &Stream, layer: &crate::reference::model::FeedForward) -> Result<Self> {
        Ok(match layer {
            crate::reference::model::FeedForward::Dense(mlp) => {
                Self::Dense(DeviceMlp::upload(stream, &[mlp])?)
            }
            crate::reference::model::FeedForward::Moe(moe) => {
                Self::Moe(Box::new(DeviceMoe::upload(stream, moe)?))
            }
        })
    }

    /// Whether a product of its input is an FP8 one.
    pub fn takes_fp8(&self) -> bool {
        match self {
            Self::Dense(mlp) => mlp.gate_up.takes_fp8(),
            Self::Moe(moe) => moe.experts.gate_up.takes_fp8(),
        }
    }

    /// The layer's output for normalised rows `x`: `[rows, hidden]`, and where they went.
    pub fn forward(
        &self,
        operations: &Operations,
        x: &mut Activation,
    ) -> Result<(Buffer<bf16>, Option<DeviceRouting>)> {
        match self {
            Self::Dense(mlp) => Ok((mlp.forward(operations, x, None)?, None)),
            Self::Moe(moe) => {
                let (fed, routing) = moe.forward(operations, x)?;
                Ok((fed, Some(routing)))
            }
        }
    }
}

impl DeviceMoe {
    fn upload(stream: &Stream, moe: &Moe) -> Result<Self> {
        let spec = &moe.spec;
        let gate = GateSpec {
            experts: spec.experts as u32,
            groups: spec.groups as u32,
            topk_groups: spec.topk_groups as u32,
            topk: spec.topk as u32,
            scoring: match spec.scoring {
                ConfigScoring::Sigmoid => Scoring::Sigmoid,
                ConfigScoring::Softmax => Scoring::Softmax,
            },
            method: match spec.method {
                TopkMethod::Greedy => GroupMethod::Greedy,
                TopkMethod::GroupLimitedGreedy => GroupMethod::Best,
                TopkMethod::NoauxTc => GroupMethod::SumOfTwo,
            },
            bias: moe.bias.is_some(),
            normalize: spec.normalize,
            scaling_factor: spec.scaling_factor,
        };
        let rounded = to_bf16(&moe.router);
        let mut exact = vec![0.0; rounded.len()];
        for (row, values) in exact.chunks_mut(moe.router.columns()).enumerate() {
            moe.router.read_row(row, values);
        }
        let is_bf16 =
            exact.iter().zip(&rounded).all(|(exact, rounded)| exact.to_bits() == rounded.to_f32().to_bits());
        let router = if is_bf16 {
            RouterMatrix::Bf16(stream.upload(rounded.len(), &rounded)?)
        } else {
            RouterMatrix::F32(stream.upload(exact.len(), &exact)?)
        };
        let experts: Vec<&Mlp> = moe.experts.iter().collect();
        Ok(Self {
            gate,
            router,
            bias: moe.bias.as_ref().map(|bias| stream.upload(bias.len(), bias)).transpose()?,
            experts: DeviceMlp::upload(stream, &experts)?,
            shared: moe.shared.as_ref().map(|shared| DeviceMlp::upload(stream, &[shared])).transpose()?,
        })
    }

    /// `shared(x) + sum of weight_j * expert_j(x)`.
    fn forward(&self, operations: &Operations, x: &mut Activation) -> Result<(Buffer<bf16>, DeviceRouting)> {
        let routing = self.route(operations, x)?;
        let slots = x.rows * self.gate.topk as usize;
        let experts = self.gate.experts as usize;
        let mut counts: Buffer<u32> = operations.allocate(experts)?;
        let mut offsets: Buffer<u32> = operations.allocate(experts + 1)?;
        let mut row_of_slot: Buffer<u32> = operations.allocate(slots)?;
        let mut slot_of_row: Buffer<u32> = operations.allocate(slots)?;
        {
            let spec = LayoutSpec { experts: self.gate.experts, topk: self.gate.topk };
            let mut error = operations.error();
            let arguments = LayoutArguments {
                topk_idx: routing.topk_idx.address(),
                counts: counts.address(),
                offsets: offsets.address(),
                row_of_slot: row_of_slot.address(),
                slot_of_row: slot_of_row.address(),
                error: error.address(),
                tokens: x.rows as u32,
            };
            let uses = [
                routing.topk_idx.reads(),
                counts.writes(),
                offsets.writes(),
                row_of_slot.writes(),
                slot_of_row.writes(),
                error.writes(),
            ];
            operations.executor.launch::<Layout>(&spec, &arguments, &uses)?;
        }
        let mut permuted = self.permute(operations, x, &slot_of_row)?;
        let expert_out = self.experts.forward(operations, &mut permuted, Some(&offsets))?;
        let shared = match &self.shared {
            Some(shared) => Some(shared.forward(operations, x, None)?),
            None => None,
        };
        let mut out = operations.allocate(x.rows * x.width)?;
        let spec = CombineSpec {
            hidden: x.width as u32,
            topk: self.gate.topk,
            shared: shared.is_some(),
            residual: false,
        };
        let mut error = operations.error();
        let arguments = CombineArguments {
            expert_out: expert_out.address(),
            row_of_slot: row_of_slot.address(),
            weight: routing.topk_weight.address(),
            shared: shared.as_ref().map_or(0, Buffer::address),
            out: out.address(),
            stream: 0,
            error: error.address(),
            rows: slots as u32,
            tokens: x.rows as u32,
        };
        let mut uses = vec![
            expert_out.reads(),
            row_of_slot.reads(),
            routing.topk_weight.reads(),
            out.writes(),
            error.writes(),
        ];
        uses.extend(shared.as_ref().map(Buffer::reads));
        operations.executor.launch::<Combine>(&spec, &arguments, &uses)?;
        Ok((out, routing))
    }

    /// Router logits, the chosen experts and their weights.
    fn route(&self, operations: &Operations, x: &Activation) -> Result<DeviceRouting> {
        let (experts, topk) = (self.gate.experts as usize, self.gate.topk as usize);
        let mut logits = operations.allocate(x.rows * experts)?;
        let (weight, f32_weight, bf16_weight) = match &self.router {
            RouterMatrix::F32(weight) => (RouterWeight::F32, weight.address(), 0),
            RouterMatrix::Bf16(weight) => (RouterWeight::Bf16, 0, weight.address()),
        };
        let spec = RouterSpec { experts: self.gate.experts, k: x.width as u32, weight };
        let arguments = RouterArguments {
            x: x.bf16.address(),
            weight: f32_weight,
            weight_bf16: bf16_weight,
            logits: logits.address(),
            tokens: x.rows as u32,
        };
        let weight = match &self.router {
            RouterMatrix::F32(weight) => weight.reads(),
            RouterMatrix::Bf16(weight) => weight.reads(),
        };
        let uses = [x.bf16.reads(), weight, logits.writes()];
        operations.executor.launch::<Router>(&spec, &arguments, &uses)?;

        let mut topk_idx = operations.allocate(x.rows * topk)?;
        let mut topk_weight = operations.allocate(x.rows * topk)?;
        let arguments = GateArguments {
            logits: logits.address(),
            bias: self.bias.as_ref().map_or(0, Buffer::address),
            topk_idx: topk_idx.address(),
            topk_weight: topk_weight.address(),
            tokens: x.rows as u32,
        };
        let mut uses = vec![logits.reads(), topk_idx.writes(), topk_weight.writes()];
        uses.extend(self.bias.as_ref().map(Buffer::reads));
        operations.executor.launch::<Gate>(&self.gate, &arguments, &uses)?;
        drop(uses);
        Ok(DeviceRouting { logits, topk_idx, topk_weight })
    }

    /// The rows in expert order, in each format that the experts read.
    fn permute(
        &self,
        operations: &Operations,
        x: &mut Activation,
        slot_of_row: &Buffer<u32>,
    ) -> Result<Activation> {
        let (rows, width) = (slot_of_row.len(), x.width);
        let (fp8, bf16) = (self.experts.gate_up.takes_fp8(), self.experts.gate_up.takes_bf16());
        let mut permuted = Activation {
            rows,
            width: x.width,
            bf16: operations.allocate(if bf16 { rows * x.width } else { 0 })?,
            fp8: None,
        };
        let spec = |format| PermuteSpec { hidden: width as u32, topk: self.gate.topk, format };
        let mut error = operations.error();
        let arguments = PermuteArguments {
            x: x.bf16.address(),
            codes: 0,
            scales: 0,
            slot_of_row: slot_of_row.address(),
            out: permuted.bf16.address(),
            out_codes: 0,
            out_scales: 0,
            error: error.address(),
            tokens: x.rows as u32,
            rows: rows as u32,
        };
        if bf16 {
            let uses = [x.bf16.reads(), slot_of_row.reads(), permuted.bf16.writes(), error.writes()];
            operations.executor.launch::<Permute>(&spec(RowFormat::Bf16), &arguments, &uses)?;
        }
        if fp8 {
            drop(error);
            operations.quantize(x)?;
            let (mut codes, mut scales) = operations.quantized(rows, x.width)?;
            if let Some((x_codes, x_scales)) = &x.fp8 {
                error = operations.error();
                let arguments = PermuteArguments {
                    x: 0,
                    codes: x_codes.address(),
                    scales: x_scales.address(),
                    out: 0,
                    out_codes: codes.address(),
                    out_scales: scales.address(),
                    ..arguments
                };
                let uses = [
                    x_codes.reads(),
                    x_scales.reads(),
                    slot_of_row.reads(),
                    codes.writes(),
                    scales.writes(),
                    error.writes(),
                ];
                operations.executor.launch::<Permute>(&spec(RowFormat::Fp8), &arguments, &uses)?;
            }
            permuted.fp8 = Some((codes, scales));
        }
        Ok(permuted)
    }
}
