//! Both projections of gated experts with their activation and its quantisation, in one kernel. Hopper alone has it.

use crate::driver::{Device, Stream, View};
use crate::num::E4m3;
use crate::ops::call::{Call, Extent, rows_of};
use crate::ops::format::{BlockScaledView, Format, Quantized, QuantizedView, QuantizedViewMut};
use crate::ops::plan::{CATALOG, Plan, front, target_of};
use crate::ops::{Error, Result};
use rorqual_kernels::ScaleFormat;
use rorqual_kernels::gemm::Grouping;
use rorqual_kernels::gemm::hopper::{HopperFp8Swiglu, HopperFp8SwigluArguments, HopperSwigluSpec};
use rorqual_kernels::tune::hopper::fused_swiglu;

/// What gated projections are planned for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatedProjectionSpec {
    /// Experts.
    pub experts: u32,
    /// Elements of gate and of up; a multiple of 128.
    pub inter: u32,
    /// Length of the sums.
    pub hidden: u32,
    /// Where to clamp the inputs of the activation: gate from above, up from both sides.
    pub limit: Option<f32>,
    /// The scales of the result.
    pub scale: ScaleFormat,
}

impl GatedProjectionSpec {
    /// Of these extents, without clamp, with f32 scales.
    #[must_use]
    pub const fn new(experts: u32, inter: u32, hidden: u32) -> Self {
        Self { experts, inter, hidden, limit: None, scale: ScaleFormat::F32 }
    }
}

/// [`gemm::Grouped`](crate::ops::gemm::Grouped) over gate and up with [`Swiglu`](super::Swiglu) behind it, to the bit,
/// without writing and reading `[rows, 2 * inter]` in bf16. Its tiles have 128 rows: it is meant for more than 64 rows an
/// expert, and the network takes the two operations for fewer. Devices but Hopper have no such kernel, which the plan's
/// error says. Source: [`HopperFp8Swiglu`].
#[derive(Debug)]
pub struct GatedProjection {
    plan: Plan<HopperFp8Swiglu>,
    experts: u32,
    limit: f32,
}

front!(GatedProjection of Plan<HopperFp8Swiglu>);

impl GatedProjection {
    const NAME: &'static str = "moe::GatedProjection";

    /// Checks the specialisation and loads the kernel.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`], and [`Error::Spec`] if the device is not Hopper.
    pub fn plan(device: &Device, spec: &GatedProjectionSpec) -> Result<Self> {
        let GatedProjectionSpec { experts, inter, hidden, limit, scale } = *spec;
        let target = target_of(&CATALOG, Self::NAME, device)?;
        let kernel = fused_swiglu(inter, hidden, Grouping::Prefix { groups: experts }, scale, target);
        let kernel = kernel.map_err(|rule| Error::Spec { operation: Self::NAME, rule })?;
        let kernel = HopperSwigluSpec { clamp: limit.is_some(), ..kernel };
        let plan = Plan::new(Self::NAME, device, &kernel)?;
        Ok(Self { plan, experts, limit: limit.unwrap_or(0.0) })
    }

    /// Rows `offsets[e]..offsets[e + 1]` of `x`, `[rows, hidden]`, times gate and up of expert `e` of `weights`,
    /// `[experts, 2 * inter, hidden]`, gate first; then `silu(gate) * up`, quantised: `[rows, inter]`. `offsets`,
    /// `[experts + 1]`, rise, and end at `rows` at most; other rows of the result are zero.
    ///
    /// # Errors
    ///
    /// As of [`run_into`](Self::run_into), and if there is no memory for the result.
    pub fn run<'a>(
        &self,
        stream: &Stream,
        x: impl Into<QuantizedView<'a>>,
        weights: impl Into<BlockScaledView<'a>>,
        offsets: impl Into<View<'a, u32>>,
    ) -> Result<Quantized> {
        let x = x.into();
        let mut out =
            E4m3::allocate(stream, Self::NAME, [rows_of(x.codes), self.plan.spec().inter as usize])?;
        E4m3::fill_zeros(stream, Self::NAME, &mut out)?;
        self.run_into(stream, x, weights, offsets, &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory that is there; rows outside of all experts' are not touched. Offsets that fall
    /// or lead behind the last row raise [`GROUPS`](crate::ops::device_error::GROUPS): the experts from there on are left
    /// out.
    ///
    /// # Errors
    ///
    /// If a tensor has another shape, is of another device, not aligned to 16 bytes, or overlaps the result; 2^31 rows or
    /// more.
    pub fn run_into<'a, 'o>(
        &self,
        stream: &Stream,
        x: impl Into<QuantizedView<'a>>,
        weights: impl Into<BlockScaledView<'a>>,
        offsets: impl Into<View<'a, u32>>,
        out: impl Into<QuantizedViewMut<'o>>,
    ) -> Result<()> {
        let spec = self.plan.spec();
        let mut word = self.plan.word();
        let mut call = Call::new(&self.plan, stream, &mut word)?;
        let (a, [rows, _]) =
            E4m3::read_rows(&mut call, "x", x.into(), [Extent::Any("rows"), Extent::Is(spec.k)])?;
        let b =
            E4m3::read_weight(&mut call, "weights", weights.into(), [self.experts, 2 * spec.inter, spec.k])?;
        let (groups, _) = call.read("offsets", offsets.into(), [Extent::Is(self.experts + 1)])?;
        let out = E4m3::write_rows(&mut call, "out", out.into(), [rows, spec.inter].map(Extent::Is))?;
        call.check("rows", rows < 1 << 31, "less than 2^31", rows)?;
        let arguments = HopperFp8SwigluArguments {
            a: spec.a_map(a.elements, rows),
            b: spec.b_map(b.elements),
            a_scales: a.scales,
            // Scales are row-major.
            a_scale_pitch: 0,
            b_scales: b.scales,
            row_weights: 0,
            codes: out.elements,
            scales: out.scales,
            scale_pitch: 0,
            groups,
            error: call.error,
            rows,
            limit: self.limit,
            alpha: 0.0,
            beta: 0.0,
        };
        call.launch(&self.plan, &arguments)
    }
}
