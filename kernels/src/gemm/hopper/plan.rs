//! A specialisation of any of the families as one type, and what follows from it.

use super::epilogue::Product;
use super::gated::{Activated, Gated};
use super::grouping::Groups;
use super::header;
use super::schedule::{FEW_COLUMNS, FEW_ROWS};
use super::shared_memory::Contents;
use super::spec::HopperGemmSpec;
use super::tile::{Format, K_BYTES, Multicast, PIECE_COLUMNS, PRODUCT_ROWS, Tile};
use crate::gemm::{Order, Output};
use rorqual_codegen::contract::{Extent, SwizzleMode, TensorMap};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::mma::wgmma::Major;
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::tma::{Box2d, TensorMapAddress};
use rorqual_codegen::{Header, Value};
use rorqual_ptx::target::Target;

/// Columns of B that a tensor copy takes where they are contiguous, and rows of K beside them: a span of the swizzle.
pub(crate) const SPAN: u32 = 64;

/// A specialisation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) spec: HopperGemmSpec,
    /// What is made of gate and up instead of D. The weight is then a gate of `n / 2` rows over an up of as many, and a tile
    /// has columns of gate in its first half and those of up that go with them in the second.
    pub(super) gated: Option<Gated>,
}

/// Scales of A, their pitch if column-major, and scales of B.
#[derive(Clone, Copy)]
pub(super) struct Scales<'k> {
    pub(super) a: Pointer<'k, Global, f32>,
    pub(super) a_pitch: Value<'k, u32>,
    pub(super) b: Pointer<'k, Global, f32>,
}

/// The arguments of a kernel, whatever its family.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'k> {
    pub(super) a: TensorMapAddress<'k>,
    pub(super) a_few: TensorMapAddress<'k>,
    pub(super) b: TensorMapAddress<'k>,
    pub(super) b_few: TensorMapAddress<'k>,
    /// In FP8.
    pub(super) scales: Option<Scales<'k>>,
    pub(super) results: Results<'k>,
    pub(super) groups: Pointer<'k, Global, u32>,
    pub(super) error: Pointer<'k, Global, u32>,
    pub(super) rows: Value<'k, u32>,
}

/// What is read and written once the sums of a tile are there.
#[derive(Clone, Copy)]
pub(super) enum Results<'k> {
    /// D.
    Product(Product<'k>),
    /// What is made of gate and up.
    Activated(Activated<'k>),
}

impl Plan {
    pub(super) fn header(&self, name: String, spec: &impl std::fmt::Debug, target: Target) -> Header {
        let rows = Extent::argument("rows");
        let columns = self.column_units();
        let few = if self.swaps_few_rows() { self.spec.n.div_ceil(FEW_COLUMNS) } else { 0 };
        let [unit_rows, _] = self.spec.tile.unit();
        let below = rows.clone().ceil_divide(unit_rows);
        let units = match self.spec.grouping {
            Groups::Dense | Groups::Indexed { .. } => below.times(columns),
            Groups::Batched { batches, .. } => below.times(columns).times(batches),
            Groups::Masked { groups } => below.times(columns.max(few)).times(groups),
            // A group that is not empty begins at most one tile more than its rows fill.
            Groups::Prefix { groups } => below.plus(rows.at_most(groups)).times(columns.max(few)),
        };
        header(name, spec, target, &self.spec.tile, units)
    }

    /// Clusters beside each other.
    pub(super) const fn column_units(&self) -> u32 {
        let [_, columns] = self.spec.tile.unit();
        self.spec.n.div_ceil(columns)
    }

    /// Elements of K in a stage.
    pub(super) const fn k_block(&self) -> u32 {
        K_BYTES / self.spec.format().bytes()
    }

    /// Stages that a tile takes.
    pub(super) const fn k_blocks(&self) -> u32 {
        self.spec.k.div_ceil(self.k_block())
    }

    /// Products of a consumer warpgroup, and their columns: products of a tile lie below each other, those with gate and up
    /// side by side.
    pub(super) const fn products(&self) -> (u32, u32) {
        match self.gated {
            None => (self.spec.tile.products(), self.spec.tile.n),
            Some(_) => (2, self.spec.tile.n / 2),
        }
    }

    /// Where a product lies: its block of 64 rows among those of the warpgroup, and its first column.
    pub(super) const fn place(&self, product: u32) -> (u32, u32) {
        match self.gated {
            None => (product, 0),
            Some(_) => (0, product * (self.spec.tile.n / 2)),
        }
    }

    /// Whether groups of few rows get their operands swapped.
    pub(super) const fn swaps_few_rows(&self) -> bool {
        let HopperGemmSpec { tile, grouping, b_order, .. } = self.spec;
        let grouped = self.gated.is_none() && !matches!(grouping, Groups::Dense | Groups::Batched { .. });
        let fits = tile.m == FEW_COLUMNS && tile.n >= FEW_ROWS;
        grouped && fits && matches!((tile.multicast, b_order), (Multicast::None, Order::OutputMajor))
    }

    /// Elements from one row of a staged piece to the next. An odd number of chunks of 16 bytes: then the 8 rows of a
    /// matrix are in different banks.
    pub(super) const fn staged_pitch(&self) -> u32 {
        let n = self.spec.tile.n;
        let columns = if n < PIECE_COLUMNS && !self.swaps_few_rows() { n } else { PIECE_COLUMNS };
        8 * (columns / 8 + 1 - columns / 8 % 2)
    }

    /// Elements of a staged piece.
    pub(super) const fn staged_elements(&self) -> u32 {
        match self.spec.output {
            Output::Bf16 => PRODUCT_ROWS * self.staged_pitch(),
            Output::F32 => 0,
        }
    }

    /// What a stage has in a usual tile, or in one of few rows.
    pub(super) const fn staged_tile(&self, few: bool) -> Tile {
        if few { Tile { n: FEW_ROWS, ..self.spec.tile } } else { self.spec.tile }
    }

    /// What a CTA has in shared memory.
    pub(super) const fn contents(&self) -> Contents {
        let tile = self.spec.tile;
        let scales = match self.spec.format() {
            Format::Fp8 => [tile.m, self.scale_blocks()],
            Format::Bf16 => [0, 0],
        };
        let parts = tile.parts(self.spec.format());
        Contents { tile, parts, scales, staged: tile.consumer_warpgroups() * self.staged_elements() }
    }

    /// Runs of columns of a tile that surely have one scale of B.
    pub(super) const fn scale_runs(&self) -> u32 {
        self.spec.tile.n / self.spec.tile.scale_run()
    }

    /// Blocks of 128 columns, each with a scale of B, that a tile has columns of.
    pub(super) const fn scale_blocks(&self) -> u32 {
        if self.scale_runs() == 1 { 1 } else { 2 }
    }

    fn matrix(&self, rows: u32) -> Box2d {
        match self.spec.format() {
            Format::Fp8 => Box2d::swizzled::<E4m3>(rows, SwizzleMode::B128),
            Format::Bf16 => Box2d::swizzled::<Bf16>(rows, SwizzleMode::B128),
        }
    }

    /// Tensor maps of A for usual tiles and for those of few rows, with `rows` as the kernel gets it.
    pub(super) fn a_maps(&self, address: u64, rows: u32) -> [TensorMap; 2] {
        let map = |box_rows| {
            let boxed = self.matrix(box_rows);
            let (k, pitch) = (u64::from(self.spec.k), u64::from(self.spec.a_pitch));
            match self.spec.grouping {
                Groups::Batched { batches, a, .. } => {
                    let slice = (u64::from(a.first), u64::from(a.stride));
                    batched(&boxed, address, [k, rows.max(1).into()], pitch, batches, slice)
                }
                Groups::Masked { groups } => {
                    boxed.map(address, (u64::from(rows) * u64::from(groups)).max(1), k, pitch)
                }
                _ => boxed.map(address, rows.max(1).into(), k, pitch),
            }
        };
        [map(self.spec.tile.a_box_rows(self.spec.format())), map(FEW_ROWS)]
    }

    /// How B lies in a stage: as in memory.
    pub(super) const fn b_major(&self) -> Major {
        match self.spec.b_order {
            Order::OutputMajor => Major::K,
            Order::InputMajor => Major::Mn { next_bytes: SPAN * K_BYTES },
        }
    }

    /// Whether tensors of B have a dimension for the weight. Where rows of B are those of K, those behind the last one
    /// must not be rows of the next weight.
    pub(super) const fn b_has_weights(&self) -> bool {
        matches!(self.spec.grouping, Groups::Batched { .. }) || matches!(self.spec.b_order, Order::InputMajor)
    }

    /// Tensor maps of B for usual tiles and for those of few rows.
    pub(super) fn b_maps(&self, address: u64) -> [TensorMap; 2] {
        let [_, rows] = self.spec.tile.fetched();
        let share = if self.spec.b_order == Order::OutputMajor { rows } else { SPAN };
        let map = |box_rows| {
            let boxed = self.matrix(box_rows);
            let [k, n, pitch] = [self.spec.k, self.spec.n, self.spec.b_pitch].map(u64::from);
            let (columns, rows) = if self.spec.b_order == Order::OutputMajor { (k, n) } else { (n, k) };
            let weights = self.spec.grouping.weights();
            let slice = match self.spec.grouping {
                Groups::Batched { b, .. } => (u64::from(b.first), u64::from(b.stride)),
                _ => (0, rows * pitch),
            };
            if self.b_has_weights() {
                batched(&boxed, address, [columns, rows], pitch, weights, slice)
            } else {
                boxed.map(address, rows * u64::from(weights), columns, pitch)
            }
        };
        // There the weight is in the place of A.
        [map(share), map(self.staged_tile(true).a_box_rows(self.spec.format()))]
    }

    /// The tensor map of gates and ups: a box has rows of a gate, and the rows of its up that go with them.
    pub(super) fn gate_up_map(&self, address: u64) -> TensorMap {
        let boxed = self.matrix(self.spec.tile.n / 2);
        let [k, rows, pitch] = [self.spec.k, self.spec.n / 2, self.spec.b_pitch].map(u64::from);
        let halves = 2 * self.spec.grouping.weights();
        let mut map = batched(&boxed, address, [k, rows], pitch, halves, (0, rows * pitch));
        map.box_extents[2] = 2;
        map
    }
}

/// The map of matrices `[rows, columns]` in slices, of which the first starts at an element, and others so many further.
fn batched(
    boxed: &Box2d,
    address: u64,
    [columns, rows]: [u64; 2],
    pitch: u64,
    batches: u32,
    (first, stride): (u64, u64),
) -> TensorMap {
    let bytes = u64::from(boxed.element.bytes());
    let mut map = boxed.map(address + first * bytes, rows, columns, pitch);
    map.extents.push(batches.into());
    // A single slice has no distance to the next one.
    let stride = if batches == 1 { pitch } else { stride };
    map.strides_bytes.push(stride * bytes);
    map.box_extents.push(1);
    map
}
