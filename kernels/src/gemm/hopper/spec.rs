//! What a product on Hopper is specialised to, and the rules of that.

use super::grouping::Groups;
use super::plan::{Plan, SPAN};
use super::tile::{Format, Multicast, Tile};
use crate::gemm::{LARGEST, Order, Output, Slices, pitch_name};
use crate::quant::ScaleLayout;
use crate::rows::target_name;
use crate::rule::{Rule, require, within};
use rorqual_codegen::contract::TensorMap;
use rorqual_ptx::target::Target;

/// What a product on Hopper is specialised to. The number of rows is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HopperGemmSpec {
    /// Columns of D: outputs of the weight.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// The type of D.
    pub output: Output,
    /// Which weight a row meets.
    pub grouping: Groups,
    /// How B lies; [`Order::OutputMajor`] for fp8.
    pub b_order: Order,
    /// Elements from a row of A to the next, at least `k`; whole chunks of 16 bytes.
    pub a_pitch: u32,
    /// Elements from a row of B to the next, at least `k`, or `n` if [`Order::InputMajor`]; whole chunks of 16 bytes.
    pub b_pitch: u32,
    /// Elements from a row of D to the next, at least `n`; whole chunks of 16 bytes.
    pub d_pitch: u32,
    /// How the scales of A lie, in fp8; column-major ones are copied in the fewest transactions.
    pub a_scales: Option<ScaleLayout>,
    /// Whether the product is added to what D held, before it is rounded.
    pub accumulate: bool,
    /// Whether `bias[j]` is added to column `j`, before what D held.
    pub bias: bool,
    /// What a CTA computes.
    pub tile: Tile,
}

impl HopperGemmSpec {
    /// A dense product with bf16 output and no gaps between rows.
    #[must_use]
    pub const fn new(format: Format, n: u32, k: u32, tile: Tile) -> Self {
        Self {
            n,
            k,
            output: Output::Bf16,
            grouping: Groups::Dense,
            b_order: Order::OutputMajor,
            a_pitch: k,
            b_pitch: k,
            d_pitch: n,
            a_scales: match format {
                Format::Fp8 => Some(ScaleLayout::RowMajor),
                Format::Bf16 => None,
            },
            accumulate: false,
            bias: false,
            tile,
        }
    }

    /// The tensor maps of A at an address, for `rows` as the kernel gets it: for usual tiles, and for groups of few rows.
    #[must_use]
    pub fn a_maps(&self, address: u64, rows: u32) -> [TensorMap; 2] {
        self.plan().a_maps(address, rows)
    }

    /// The tensor maps of B at an address: for usual tiles, and for groups of few rows.
    #[must_use]
    pub fn b_maps(&self, address: u64) -> [TensorMap; 2] {
        self.plan().b_maps(address)
    }

    pub(super) const fn format(&self) -> Format {
        if self.a_scales.is_some() { Format::Fp8 } else { Format::Bf16 }
    }

    pub(super) fn plan(&self) -> Plan {
        Plan { spec: *self, gated: None }
    }

    /// The name of its kernel, of which no other specialisation has the like.
    pub(super) fn name(&self, family: &str, target: Target) -> String {
        let Self { n, k, tile, .. } = *self;
        let option = |is_so: bool, name: &'static str| if is_so { name } else { "" };
        let output = option(self.output == Output::F32, "_f32");
        let order = option(self.b_order == Order::InputMajor, "_inputmajor");
        let columns = option(self.a_scales == Some(ScaleLayout::ColumnMajor), "_col");
        let (adds, bias) = (option(self.accumulate, "_accumulate"), option(self.bias, "_bias"));
        let dense = if self.b_order == Order::OutputMajor { [k, k, n] } else { [k, n, n] };
        let pitch = pitch_name([self.a_pitch, self.b_pitch, self.d_pitch], dense);
        let (grouping, target) = (self.grouping.name(), target_name(target));
        format!(
            "{family}_n{n}_k{k}{output}{order}{columns}{adds}{bias}{grouping}{pitch}_{}_{target}",
            tile.name()
        )
    }
}

// The rules that both families share, in the order in which they are looked at.

pub(super) const N: Rule<HopperGemmSpec> = Rule::new("n", |spec| within("n", spec.n, 1..=LARGEST));

pub(super) const K: Rule<HopperGemmSpec> = Rule::new("k", |spec| within("k", spec.k, 1..=LARGEST));

pub(super) const TILE: Rule<HopperGemmSpec> = Rule::new("tile", |spec| {
    spec.tile.check(spec.format(), spec.output).map_err(|wrong| format!("`tile`: {wrong}"))
});

/// The tiles of a cluster meet the same weight.
pub(super) const CLUSTER: Rule<HopperGemmSpec> = Rule::new("cluster", |spec| {
    let is_cluster = spec.tile.multicast.cluster() > 1;
    require(!is_cluster || spec.grouping == Groups::Dense, || {
        format!("`tile.multicast` is {:?}, expected None unless `grouping` is Dense", spec.tile.multicast)
    })
});

pub(super) const A_PITCH: Rule<HopperGemmSpec> =
    Rule::new("a_pitch", |spec| pitch("a_pitch", spec.a_pitch, ("k", spec.k), spec.format().bytes()));

pub(super) const B_PITCH: Rule<HopperGemmSpec> = Rule::new("b_pitch", |spec| {
    let row = if spec.b_order == Order::OutputMajor { ("k", spec.k) } else { ("n", spec.n) };
    pitch("b_pitch", spec.b_pitch, row, spec.format().bytes())
});

pub(super) const D_PITCH: Rule<HopperGemmSpec> = Rule::new("d_pitch", |spec| {
    let bytes = if spec.output == Output::F32 { 4 } else { 2 };
    pitch("d_pitch", spec.d_pitch, ("n", spec.n), bytes)
});

/// That a pitch is at least the length of its rows, and whole chunks of 16 bytes.
pub(super) fn pitch(name: &str, pitch: u32, (row, least): (&str, u32), bytes: u32) -> Result<(), String> {
    let unit = 16 / bytes;
    require((least..=LARGEST).contains(&pitch) && pitch.is_multiple_of(unit), || {
        format!("`{name}` is {pitch}, expected a multiple of {unit} from {least} (`{row}`) to {LARGEST}")
    })
}

/// Where columns of B are contiguous, a tile is whole copies of them, and these go to one CTA.
pub(super) const SPANS: Rule<HopperGemmSpec> = Rule::new("spans", |spec| {
    let Tile { n, multicast, .. } = spec.tile;
    let fits = n.is_multiple_of(SPAN) && multicast != Multicast::B;
    require(spec.b_order == Order::OutputMajor || fits, || {
        format!(
            "`tile` is {}, expected columns in multiples of {SPAN} and no sharing of B with `b_order` InputMajor",
            spec.tile.name()
        )
    })
});

/// Coordinates of tensor copies have 31 bits.
pub(super) const WEIGHTS: Rule<HopperGemmSpec> = Rule::new("weights", |spec| {
    let name = if matches!(spec.grouping, Groups::Batched { .. }) { "batches" } else { "groups" };
    let weights = spec.grouping.weights();
    within(name, weights, 1..=65535)?;
    let rows = u64::from(spec.n) * u64::from(weights);
    require(rows < 1 << 31, || {
        format!("`n` is {} and `{name}` {weights}, expected a product below 2^31", spec.n)
    })
});

/// Slices start at whole chunks of 16 bytes, and no element of D is of two of them.
pub(super) const SLICES: Rule<HopperGemmSpec> = Rule::new("slices", |spec| {
    let Groups::Batched { batches, a, b, d } = spec.grouping else { return Ok(()) };
    let output_bytes = if spec.output == Output::F32 { 4 } else { 2 };
    for (name, slices, bytes) in [("a", a, 2), ("b", b, 2), ("d", d, output_bytes)] {
        let unit = 16 / bytes;
        let Slices { first, stride } = slices;
        require(first.is_multiple_of(unit) && stride.is_multiple_of(unit), || {
            format!("`{name}` starts at {first}, {stride} apart, expected multiples of {unit}")
        })?;
    }
    d.are_apart(batches, spec.n, spec.d_pitch)
});
