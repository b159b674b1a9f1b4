//! The weighted sum of what the experts made of each token.

use super::gate::Routing;
use super::rows::Arrangement;
use crate::driver::{Buffer, Device, Stream, View, ViewMut};
use crate::num::bf16;
use crate::ops::call::{Call, Extent};
use crate::ops::plan::{Plan, front};
use crate::ops::{Error, Result};
use rorqual_kernels::moe::combine::{self, CombineArguments};

/// What a combine is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CombineSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Experts of a token.
    pub topk: u32,
    /// Whether the sum starts from the rows of shared experts.
    pub shared: bool,
}

/// `[shared +] sum over slots of weight * expert_out[row of slot]`, in f32, in ascending slot.
#[derive(Debug)]
pub struct Combine {
    plan: Plan<combine::Combine>,
}

front!(Combine of Plan<combine::Combine>);

impl Combine {
    const NAME: &'static str = "moe::Combine";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &CombineSpec) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, &kernel_spec(spec, false))? })
    }

    /// The sums of rows `expert_out`, `[rows, hidden]`, and where the specialisation says so `shared`, `[tokens, hidden]`:
    /// `[tokens, hidden]`. A token without rows gets `shared`, or zeros.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        expert_out: impl Into<View<'a, bf16>>,
        arrangement: &Arrangement,
        routing: &Routing,
        shared: Option<View<'a, bf16>>,
    ) -> Result<Buffer<bf16>> {
        let tokens = routing.weights.shape().extents().first().copied().unwrap_or(0);
        let extents = [tokens, self.plan.spec().hidden as usize];
        let mut out = stream.allocate(extents).map_err(Error::of(Self::NAME))?;
        self.run_into(stream, expert_out.into(), arrangement, routing, shared, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there. A row that does not exist raises
    /// [`SLOT`](crate::ops::device_error::SLOT) and is left out.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; shared rows
    /// that are missing or not planned for.
    pub fn run_into<'a, 'o>(
        &self,
        stream: &Stream,
        expert_out: impl Into<View<'a, bf16>>,
        arrangement: &Arrangement,
        routing: &Routing,
        shared: Option<View<'a, bf16>>,
        out: impl Into<ViewMut<'o, bf16>>,
    ) -> Result<()> {
        run(&self.plan, stream, (expert_out.into(), arrangement, routing, shared), ("out", out.into()))
    }
}

/// As [`Combine`], with the sum rounded to bf16 and added to a residual stream.
#[derive(Debug)]
pub struct AddCombine {
    plan: Plan<combine::Combine>,
}

front!(AddCombine of Plan<combine::Combine>);

impl AddCombine {
    const NAME: &'static str = "moe::AddCombine";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn plan(device: &Device, spec: &CombineSpec) -> Result<Self> {
        Ok(Self { plan: Plan::new(Self::NAME, device, &kernel_spec(spec, true))? })
    }

    /// Adds the sums to `residual`, `[tokens, hidden]`; other arguments as of [`Combine::run`].
    ///
    /// # Errors
    ///
    /// As of [`Combine::run_into`].
    pub fn run_into<'a, 'o>(
        &self,
        stream: &Stream,
        expert_out: impl Into<View<'a, bf16>>,
        arrangement: &Arrangement,
        routing: &Routing,
        shared: Option<View<'a, bf16>>,
        residual: impl Into<ViewMut<'o, bf16>>,
    ) -> Result<()> {
        let inputs = (expert_out.into(), arrangement, routing, shared);
        run(&self.plan, stream, inputs, ("residual", residual.into()))
    }
}

fn kernel_spec(spec: &CombineSpec, residual: bool) -> combine::CombineSpec {
    let CombineSpec { hidden, topk, shared } = *spec;
    combine::CombineSpec { hidden, topk, shared, residual }
}

/// Rows of experts, where they are, their weights, and rows of shared experts.
type Inputs<'a> = (View<'a, bf16>, &'a Arrangement, &'a Routing, Option<View<'a, bf16>>);

fn run(
    plan: &Plan<combine::Combine>,
    stream: &Stream,
    (expert_out, arrangement, routing, shared): Inputs<'_>,
    (name, to): (&'static str, ViewMut<'_, bf16>),
) -> Result<()> {
    let combine::CombineSpec { hidden, topk, residual, .. } = *plan.spec();
    let mut word = plan.word();
    let mut call = Call::new(plan, stream, &mut word)?;
    let width = Extent::Is(hidden);
    let (expert_out, [rows, _]) = call.read("expert_out", expert_out, [Extent::Any("rows"), width])?;
    let slots = [Extent::Any("tokens"), Extent::Is(topk)];
    let (weight, [tokens, _]) = call.read("routing.weights", routing.weights.view(), slots)?;
    let slots = [tokens, topk].map(Extent::Is);
    let (row_of_slot, _) = call.read("arrangement.row_of_slot", arrangement.row_of_slot.view(), slots)?;
    let shared = call.read_if("shared", plan.spec().shared, shared, [Extent::Is(tokens), width])?;
    let (to, _) = call.write(name, to, [Extent::Is(tokens), width])?;
    let [out, stream] = if residual { [0, to] } else { [to, 0] };
    let error = call.error;
    let arguments =
        CombineArguments { expert_out, row_of_slot, weight, shared, out, stream, error, rows, tokens };
    call.launch(plan, &arguments)
}
