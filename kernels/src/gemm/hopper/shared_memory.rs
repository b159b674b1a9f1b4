//! The shared memory of a CTA.

use super::plan::Plan;
use super::schedule::Tile;
use super::tile::{Format, K_BYTES};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::pipeline::{Cursor, Ring};
use rorqual_codegen::pointer::{Pointer, Shared};
use rorqual_codegen::{Builder, Value};
use std::cell::Cell;

/// Records of tiles that the scheduler is ahead.
const TILES_AHEAD: u32 = 2;
/// Words of a record.
const RECORD_WORDS: u32 = 4;

/// What a CTA has in shared memory. A stage is 128 bytes of K: of the rows of A, in the 128-byte swizzle; of the rows of
/// B, likewise; in FP8 the scales of the rows of A, and of the one or
/// two blocks of 128 columns that the tile has columns of.
#[derive(Clone, Copy)]
pub(super) struct SharedMemory<'k> {
    a: Pointer<'k, Shared, u8>,
    b: Pointer<'k, Shared, u8>,
    a_scales: Pointer<'k, Shared, f32>,
    b_scales: Pointer<'k, Shared, f32>,
    /// Rounded results on their way to D, a piece for each consumer warpgroup.
    pub(super) staged: Pointer<'k, Shared, Bf16>,
    /// The stages.
    pub(super) ring: Ring<'k>,
    /// The tiles.
    pub(super) tiles: TileRing<'k>,
    rows_of_a: u32,
    rows_of_b: u32,
    scale_blocks: u32,
}

impl<'k> SharedMemory<'k> {
    #[track_caller]
    pub(super) fn reserve(builder: &'k Builder, plan: &Plan) -> Self {
        let tile = plan.tile;
        let scales = |count: u32| if plan.format == Format::Fp8 { tile.stages * count } else { 0 };
        Self {
            a: builder.shared(tile.stages * tile.m * K_BYTES, 1024),
            b: builder.shared(tile.stages * tile.n * K_BYTES, 1024),
            staged: builder.shared(tile.consumer_warpgroups() * plan.staged_elements(), 128),
            a_scales: builder.shared(scales(tile.m), 128),
            b_scales: builder.shared(scales(plan.scale_blocks()), 8),
            ring: builder.ring(tile.stages),
            tiles: TileRing {
                ring: builder.ring(TILES_AHEAD),
                records: builder.shared(TILES_AHEAD * RECORD_WORDS, 16),
            },
            rows_of_a: tile.m,
            rows_of_b: tile.n,
            scale_blocks: plan.scale_blocks(),
        }
    }

    /// One thread initialises the barriers. Consumers release stages warp by warp; where a copy goes to two CTAs, the
    /// consumers of both.
    #[track_caller]
    pub(super) fn initialize(&self, plan: &Plan) {
        let consumers = 4 * plan.tile.consumer_warpgroups();
        // The thread that expects the tensors, and in FP8 each lane for the scales that it copies.
        let producers = if plan.format == Format::Fp8 { 1 + 32 } else { 1 };
        self.ring.initialize(producers, consumers * plan.tile.multicast.cluster());
        self.tiles.ring.initialize(1, 1 + consumers);
    }

    /// The rows of A of a stage.
    #[track_caller]
    pub(super) fn a(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, u8> {
        self.a.at(stage * (self.rows_of_a * K_BYTES))
    }

    /// The rows of B of a stage.
    #[track_caller]
    pub(super) fn b(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, u8> {
        self.b.at(stage * (self.rows_of_b * K_BYTES))
    }

    /// The scales of the rows of A of a stage.
    #[track_caller]
    pub(super) fn a_scales(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, f32> {
        self.a_scales.at(stage * self.rows_of_a)
    }

    /// The scales of B of a stage: of the 128 columns in which the tile starts, and of those behind them.
    #[track_caller]
    pub(super) fn b_scales(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, f32> {
        self.b_scales.at(stage * self.scale_blocks)
    }
}

/// The ring of records through which the scheduler announces tiles.
#[derive(Clone, Copy)]
pub(super) struct TileRing<'k> {
    ring: Ring<'k>,
    records: Pointer<'k, Shared, u32>,
}

/// A side of the ring of records.
#[derive(Clone, Copy)]
pub(super) struct TileCursor<'k> {
    cursor: Cursor<'k>,
    records: Pointer<'k, Shared, u32>,
}

impl<'k> TileRing<'k> {
    /// The scheduler's side.
    #[track_caller]
    pub(super) fn scheduler(self) -> TileCursor<'k> {
        TileCursor { cursor: self.ring.producer(), records: self.records }
    }

    /// The side of a warp that works on tiles.
    #[track_caller]
    pub(super) fn worker(self) -> TileCursor<'k> {
        TileCursor { cursor: self.ring.consumer(), records: self.records }
    }
}

impl<'k> TileCursor<'k> {
    #[track_caller]
    fn record(&self) -> Pointer<'k, Shared, u32> {
        self.records.at(self.cursor.place().stage() * RECORD_WORDS)
    }

    /// The warp of the scheduler announces a record.
    #[track_caller]
    pub(super) fn announce(&self, record: [Value<'k, u32>; 4]) {
        let builder = self.records.builder();
        self.cursor.place().wait_empty();
        builder.when(builder.lane().equals(0), || {
            self.record().store_words(&record.map(|word| word.bits()));
            self.cursor.place().full().arrive();
        });
        self.cursor.advance();
    }

    /// A warp works on all tiles of the CTA.
    #[track_caller]
    pub(super) fn for_each(&self, body: impl FnOnce(Tile<'k>)) {
        let taken = Cell::new(None);
        let condition = || {
            let tile = self.take();
            taken.set(Some(tile));
            !tile.is_last
        };
        self.records
            .builder()
            .repeat_while(condition, || body(taken.take().expect("the condition comes first")));
    }

    #[track_caller]
    fn take(&self) -> Tile<'k> {
        self.cursor.place().wait_full();
        let words = self.record().load_words(4);
        let builder = self.records.builder();
        builder.sync_warp();
        builder.when(builder.lane().equals(0), || self.cursor.place().empty().arrive());
        self.cursor.advance();
        Tile::of_record(&[0, 1, 2, 3].map(|word| words[word].bits()))
    }
}
