//! What a gradient of a weight is specialised to, and the rules of that.

use super::Tile;
use crate::gemm::LARGEST;
use crate::gemm::hopper::header;
use crate::gemm::hopper::shared_memory::Contents;
use crate::gemm::hopper::spec::pitch;
use crate::gemm::hopper::tile::{CONTROL_BYTES, Format, K_BYTES};
use crate::quant::ScaleLayout;
use crate::rows::target_name;
use crate::rule::{Rule, require, within};
use rorqual_codegen::Header;
use rorqual_codegen::contract::{Extent, SwizzleMode, TensorMap};
use rorqual_codegen::element::E4m3;
use rorqual_codegen::tma::Box2d;
use rorqual_ptx::target::Target;

/// The widest tile of so many rows. Of each product in its rows, a consumer's thread has `n / 2` sums; besides, `n / 2`
/// partial sums and `n / 4` scales of columns.
#[must_use]
pub const fn most_columns(m: u32) -> u32 {
    if m == 256 { 112 } else { 160 }
}

/// What a gradient of a weight is specialised to. The number of tokens is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HopperWeightGradientSpec {
    /// Rows of a gradient: outputs of the layer.
    pub m: u32,
    /// Columns of a gradient: inputs of the layer.
    pub n: u32,
    /// Gradients, each of the tokens of its group; `None` for one of all tokens.
    pub groups: Option<u32>,
    /// Elements from a row of D to the next, at least `n`; whole chunks of 16 bytes.
    pub d_pitch: u32,
    /// How the scales of A and B lie; column-major ones are copied in the fewest transactions.
    pub scales: ScaleLayout,
    /// Whether the sums are added to what D held.
    pub accumulate: bool,
    /// What a CTA computes, up to [`most_columns`] wide.
    pub tile: Tile,
}

impl HopperWeightGradientSpec {
    /// The gradient of one weight, without gaps between its rows.
    #[must_use]
    pub const fn new(m: u32, n: u32, tile: Tile) -> Self {
        let scales = ScaleLayout::ColumnMajor;
        Self { m, n, groups: None, d_pitch: n.next_multiple_of(4), scales, accumulate: false, tile }
    }

    /// The tensor map of A, `[m, tokens]` at an address, rows `pitch` elements apart, a multiple of 16. What is behind the
    /// tokens counts as zero.
    #[must_use]
    pub fn a_map(&self, address: u64, tokens: u32, pitch: u32) -> TensorMap {
        self.map([self.m, self.tile.a_box_rows(Format::Fp8)], address, tokens, pitch)
    }

    /// The tensor map of B, `[n, tokens]`; otherwise as that of A.
    #[must_use]
    pub fn b_map(&self, address: u64, tokens: u32, pitch: u32) -> TensorMap {
        self.map([self.n, self.tile.fetched()[1]], address, tokens, pitch)
    }

    fn map(&self, [rows, box_rows]: [u32; 2], address: u64, tokens: u32, pitch: u32) -> TensorMap {
        let boxed = Box2d::swizzled::<E4m3>(box_rows, SwizzleMode::B128);
        boxed.map(address, rows.into(), tokens.max(1).into(), pitch.max(16).into())
    }

    /// How many units are below and beside each other in a gradient.
    pub(super) const fn units(&self) -> [u32; 2] {
        let [rows, columns] = self.tile.unit();
        [self.m.div_ceil(rows), self.n.div_ceil(columns)]
    }

    /// Gradients.
    pub(super) fn gradients(&self) -> u32 {
        self.groups.unwrap_or(1)
    }

    /// What a CTA has in shared memory. Scales are copied by 32 lanes at a time.
    pub(super) const fn contents(&self) -> Contents {
        let scales = [self.tile.m, self.tile.n.next_multiple_of(32)];
        Contents { tile: self.tile, parts: self.tile.parts(Format::Fp8), scales, staged: 0 }
    }

    /// Bytes of shared memory: the stages, and the rest.
    const fn shared_bytes(&self) -> u32 {
        let Contents { tile, scales, .. } = self.contents();
        let stage = (tile.m + tile.n) * K_BYTES + (scales[0] + scales[1]) * 4;
        tile.stages * stage + CONTROL_BYTES
    }

    pub(super) fn header(&self, family: &str, target: Target) -> Header {
        let [rows, columns] = self.units();
        let units = Extent::from(rows * columns * self.gradients());
        header(self.name(family, target), self, target, &self.tile, units)
    }

    /// The name of its kernel, of which no other specialisation has the like.
    fn name(&self, family: &str, target: Target) -> String {
        let Self { m, n, d_pitch, .. } = *self;
        let groups = self.groups.map_or(String::new(), |groups| format!("_groups{groups}"));
        let columns = if self.scales == ScaleLayout::ColumnMajor { "_col" } else { "" };
        let adds = if self.accumulate { "_accumulate" } else { "" };
        let pitch = if d_pitch == n { String::new() } else { format!("_pitch{d_pitch}") };
        let target = target_name(target);
        format!("{family}_m{m}_n{n}{groups}{columns}{adds}{pitch}_{}_{target}", self.tile.name())
    }
}

// The rules, in the order in which they are looked at.

pub(super) const M: Rule<HopperWeightGradientSpec> = Rule::new("m", |spec| within("m", spec.m, 1..=LARGEST));

pub(super) const N: Rule<HopperWeightGradientSpec> = Rule::new("n", |spec| within("n", spec.n, 1..=LARGEST));

pub(super) const D_PITCH: Rule<HopperWeightGradientSpec> =
    Rule::new("d_pitch", |spec| pitch("d_pitch", spec.d_pitch, ("n", spec.n), 4));

pub(super) const TILE: Rule<HopperWeightGradientSpec> = Rule::new("tile", |spec| {
    let check = spec.tile.check_sizes(most_columns(spec.tile.m), || spec.shared_bytes());
    check.map_err(|wrong| format!("`tile`: {wrong}"))
});

/// Rows of D, and tiles, are counted over all groups.
pub(super) const GROUPS: Rule<HopperWeightGradientSpec> = Rule::new("groups", |spec| {
    let (m, [rows, columns], gradients) = (spec.m, spec.units(), spec.gradients());
    within("groups", gradients, 1..=65535)?;
    let in_all = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).product::<u64>();
    require(in_all(&[m, gradients]) < 1 << 31, || {
        format!("`m` is {m} and `groups` {gradients}, expected a product below 2^31")
    })?;
    require(in_all(&[rows, columns, gradients]) < 1 << 31, || {
        format!(
            "`groups` is {gradients}, each of {rows} times {columns} tiles, expected less than 2^31 tiles"
        )
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;
    use crate::gemm::hopper::{HopperWeightGradient, Multicast};

    const TILE: Tile = Tile { m: 128, n: 128, stages: 6, multicast: Multicast::B };

    fn wrong(change: impl FnOnce(&mut HopperWeightGradientSpec)) -> String {
        let mut spec = HopperWeightGradientSpec::new(2048, 7168, TILE);
        assert_eq!(HopperWeightGradient::check(&spec), Ok(()));
        change(&mut spec);
        HopperWeightGradient::check(&spec).expect_err("a gradient without a kernel")
    }

    #[test]
    fn what_has_no_kernel_is_refused_in_words() {
        assert_eq!(wrong(|spec| spec.m = 0), "`m` is 0, expected 1 to 16777216");
        let pitch = "`d_pitch` is 7170, expected a multiple of 4 from 7168 (`n`) to 16777216";
        assert_eq!(wrong(|spec| spec.d_pitch = 7170), pitch);
        assert_eq!(wrong(|spec| spec.tile.m = 192), "`tile`: `m` is 192, expected 64, 128 or 256");
        let halves = "`tile`: `n` is 136, expected a multiple of 16 from 16 to 160";
        assert_eq!(wrong(|spec| spec.tile.n = 136), halves);
        assert_eq!(wrong(|spec| spec.tile.stages = 1), "`tile`: `stages` is 1, expected 2 to 16");
        let bytes =
            "`tile`: `stages` is 7, which takes 237568 bytes of shared memory, expected at most 232448";
        assert_eq!(wrong(|spec| spec.tile.stages = 7), bytes);
        assert_eq!(wrong(|spec| spec.groups = Some(0)), "`groups` is 0, expected 1 to 65535");
    }

    #[test]
    fn rows_and_tiles_of_all_groups_can_be_counted() {
        let rows = wrong(|spec| (spec.m, spec.groups) = (1 << 24, Some(128)));
        assert_eq!(rows, "`m` is 16777216 and `groups` 128, expected a product below 2^31");
        let tiles = wrong(|spec| (spec.m, spec.n, spec.d_pitch) = (1 << 24, 1 << 24, 1 << 24));
        assert_eq!(tiles, "`groups` is 1, each of 65536 times 131072 tiles, expected less than 2^31 tiles");
    }

    #[test]
    fn a_cluster_copies_each_row_that_it_shares_once() {
        let boxes = |multicast| {
            let tile = Tile { multicast, ..TILE };
            let spec = HopperWeightGradientSpec::new(2048, 7168, tile);
            let maps = [spec.a_map(0, 1000, 1024), spec.b_map(0, 1000, 1024)];
            assert_eq!(maps.each_ref().map(|map| &map.extents[..]), [[1000, 2048], [1000, 7168]]);
            maps.map(|map| map.box_extents[1])
        };
        assert_eq!(
            [Multicast::None, Multicast::A, Multicast::B].map(boxes),
            [[128, 128], [64, 128], [128, 64]]
        );
    }
}
