//! Router and gate.

use crate::driver::{Buffer, Device, DeviceElement, Stream, View, ViewMut};
use crate::num::bf16;
use crate::ops::call::{Call, Extent, Name, rows_of};
use crate::ops::plan::{Plan, front};
use crate::ops::{Error, Result};
use rorqual_kernels::gemm::router;
use rorqual_kernels::moe::gate::{self, GateArguments, GateSpec};
use std::marker::PhantomData;

mod sealed {
    /// The kernels' name of a type of weights.
    pub trait Sealed {
        const FORMAT: rorqual_kernels::gemm::router::RouterWeight;
    }
}

/// A type of a router's weights: `f32` or [`bf16`].
pub trait RouterWeight: DeviceElement + sealed::Sealed {}

impl sealed::Sealed for f32 {
    const FORMAT: router::RouterWeight = router::RouterWeight::F32;
}

impl RouterWeight for f32 {}

impl sealed::Sealed for bf16 {
    const FORMAT: router::RouterWeight = router::RouterWeight::Bf16;
}

impl RouterWeight for bf16 {}

/// What a router is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterSpec {
    /// Routed experts.
    pub experts: u32,
    /// Elements of a token.
    pub hidden: u32,
}

/// Router logits in f32, without tensor cores; `W` is the type of the weight.
#[derive(Debug)]
pub struct Router<W = f32> {
    plan: Plan<router::Router>,
    weight: PhantomData<W>,
}

front!(Router<W> of Plan<router::Router>);

impl<W: RouterWeight> Router<W> {
    const NAME: &'static str = "moe::Router";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &RouterSpec) -> Result<Self> {
        let spec = router::RouterSpec { experts: spec.experts, k: spec.hidden, weight: W::FORMAT };
        Ok(Self { plan: Plan::new(Self::NAME, device, &spec)?, weight: PhantomData })
    }

    /// The logits of `x`, `[tokens, hidden]`, with `weight`, `[experts, hidden]`: `[tokens, experts]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, bf16>>,
        weight: impl Into<View<'a, W>>,
    ) -> Result<Buffer<f32>> {
        let (x, weight) = (x.into(), weight.into());
        let extents = [rows_of(x), self.plan.spec().experts as usize];
        let mut logits = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, x, weight, &mut logits)?;
        Ok(logits)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; too many
    /// tokens for a grid.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        x: impl Into<View<'a, bf16>>,
        weight: impl Into<View<'a, W>>,
        logits: impl Into<ViewMut<'a, f32>>,
    ) -> Result<()> {
        let router::RouterSpec { experts, k, .. } = *self.plan.spec();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (x, [tokens, _]) = call.read("x", x.into(), [Extent::Any("tokens"), Extent::Is(k)])?;
        let (weight, _) = call.read("weight", weight.into(), [experts, k].map(Extent::Is))?;
        let (logits, _) = call.write("logits", logits.into(), [tokens, experts].map(Extent::Is))?;
        let [weight, weight_bf16] = match W::FORMAT {
            router::RouterWeight::F32 => [weight, 0],
            router::RouterWeight::Bf16 => [0, weight],
        };
        call.launch(&self.plan, &router::RouterArguments { x, weight, weight_bf16, logits, tokens })
    }
}

/// Where tokens go.
#[derive(Debug)]
pub struct Routing {
    /// The experts of each token, best first, `[tokens, topk]`.
    pub experts: Buffer<u32>,
    /// Their weights, `[tokens, topk]`.
    pub weights: Buffer<f32>,
}

/// [`Routing`], to write.
#[derive(Debug)]
pub struct RoutingViewMut<'a> {
    /// `[tokens, topk]`
    pub experts: ViewMut<'a, u32>,
    /// `[tokens, topk]`
    pub weights: ViewMut<'a, f32>,
}

impl<'a> From<&'a mut Routing> for RoutingViewMut<'a> {
    fn from(routing: &'a mut Routing) -> Self {
        Self { experts: routing.experts.view_mut(), weights: routing.weights.view_mut() }
    }
}

/// Which experts a token goes to, and with what weight.
#[derive(Debug)]
pub struct Gate {
    plan: Plan<gate::Gate>,
}

front!(Gate of Plan<gate::Gate>);

impl Gate {
    const NAME: &'static str = "moe::Gate";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &GateSpec) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, spec)? })
    }

    /// The experts of tokens with `logits`, `[tokens, experts]`, and where the specialisation says so `bias`, `[experts]`.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        logits: impl Into<View<'a, f32>>,
        bias: Option<View<'a, f32>>,
    ) -> Result<Routing> {
        let logits = logits.into();
        let extents = [rows_of(logits), self.plan.spec().topk as usize];
        let experts = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        let weights = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        let mut routing = Routing { experts, weights };
        self.run_into(stream, logits, bias, &mut routing)?;
        Ok(routing)
    }

    /// As [`run`](Self::run), into memory that is there.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; a bias that is
    /// missing or not planned for.
    pub fn run_into<'a>(
        &self,
        stream: &Stream,
        logits: impl Into<View<'a, f32>>,
        bias: Option<View<'a, f32>>,
        out: impl Into<RoutingViewMut<'a>>,
    ) -> Result<()> {
        let spec = self.plan.spec();
        let (experts, out) = (Extent::Is(spec.experts), out.into());
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (logits, [tokens, _]) = call.read("logits", logits.into(), [Extent::Any("tokens"), experts])?;
        let bias = call.read_if("bias", spec.bias, bias, [experts])?;
        let slots = [tokens, spec.topk].map(Extent::Is);
        let (topk_idx, _) = call.write(Name("out", ".experts"), out.experts, slots)?;
        let (topk_weight, _) = call.write(Name("out", ".weights"), out.weights, slots)?;
        call.launch(&self.plan, &GateArguments { logits, bias, topk_idx, topk_weight, tokens })
    }
}
