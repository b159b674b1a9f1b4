//! The shared memory of a CTA.

use super::tile::{K_BYTES, Tile};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::mbarrier::Mbarrier;
use rorqual_codegen::pipeline::{Cursor, Ring};
use rorqual_codegen::pointer::{Pointer, Shared};
use rorqual_codegen::{Builder, Predicate, Value};
use std::cell::Cell;

/// Records of tiles that the scheduler is ahead.
const TILES_AHEAD: u32 = 2;
/// Words from a record to the next.
const RECORD_WORDS: u32 = 8;

/// How much a CTA has in shared memory.
#[derive(Clone, Copy)]
pub(super) struct Contents {
    /// The stages: how many, and how many rows of A and of B in each.
    pub(super) tile: Tile,
    /// The parts in which a stage is filled.
    pub(super) parts: u32,
    /// Scales of A and of B in a stage; none in bf16.
    pub(super) scales: [u32; 2],
    /// Elements of staged results.
    pub(super) staged: u32,
}

/// What a CTA has in shared memory. A stage is 128 bytes of K: of the rows of A, in the 128-byte swizzle; of the rows of
/// B, likewise; in FP8 the scales of both.
#[derive(Clone, Copy)]
pub(super) struct SharedMemory<'k> {
    pub(super) builder: &'k Builder,
    /// The tile of the CTA.
    pub(super) tile: Tile,
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
    /// The parts in which a stage is filled.
    parts: u32,
    /// Scales of A and of B in a stage.
    scales: [u32; 2],
}

impl<'k> SharedMemory<'k> {
    #[track_caller]
    pub(super) fn reserve(builder: &'k Builder, contents: Contents) -> Self {
        let Contents { tile, parts, scales, staged } = contents;
        Self {
            builder,
            tile,
            a: builder.shared(tile.stages * tile.m * K_BYTES, 1024),
            b: builder.shared(tile.stages * tile.n * K_BYTES, 1024),
            staged: builder.shared(staged, 128),
            a_scales: builder.shared(tile.stages * scales[0], 128),
            b_scales: builder.shared(tile.stages * scales[1], 8),
            ring: builder.ring_in_parts(tile.stages, parts),
            tiles: TileRing {
                ring: builder.ring(TILES_AHEAD),
                records: builder.shared(TILES_AHEAD * RECORD_WORDS, 16),
            },
            parts,
            scales,
        }
    }

    /// One thread initialises the barriers. Consumers release stages warp by warp; where a copy goes to two CTAs, the
    /// consumers of both.
    #[track_caller]
    pub(super) fn initialize(&self) {
        let Self { tile, parts, scales, .. } = *self;
        let consumers = 4 * tile.consumer_warpgroups();
        // The thread that expects the tensors, and each lane for the scales that it copies.
        let producers = if scales == [0, 0] { 1 } else { 1 + 32 };
        self.ring.initialize(&[producers, 1][..parts as usize], consumers * tile.multicast.cluster());
        self.tiles.ring.initialize(&[1], 1 + consumers);
        self.builder.fence_mbarrier_init();
    }

    /// The side of the stages of a consumer warpgroup.
    #[track_caller]
    pub(super) fn consumer(&self, warpgroup: Value<'k, u32>) -> Cursor<'k> {
        if self.parts > 1 { self.ring.consumer_of(warpgroup) } else { self.ring.consumer() }
    }

    /// A warp of the consumers releases a stage, in a cluster in both CTAs, which fill it together; the warp has met since
    /// it read it last.
    #[track_caller]
    pub(super) fn release(&self, empty: Mbarrier<'k>) {
        let (builder, ctas) = (self.builder, self.tile.multicast.cluster());
        let lane = builder.lane();
        if ctas > 1 {
            builder.when(lane.less(ctas), || empty.arrive_remote(lane));
        } else {
            builder.when(lane.equals(0), || empty.arrive());
        }
    }

    /// The rows of A of a stage.
    #[track_caller]
    pub(super) fn a(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, u8> {
        self.a.at(stage * (self.tile.m * K_BYTES))
    }

    /// The rows of B of a stage.
    #[track_caller]
    pub(super) fn b(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, u8> {
        self.b.at(stage * (self.tile.n * K_BYTES))
    }

    /// The scales of A of a stage.
    #[track_caller]
    pub(super) fn a_scales(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, f32> {
        self.a_scales.at(stage * self.scales[0])
    }

    /// The scales of B of a stage.
    #[track_caller]
    pub(super) fn b_scales(&self, stage: Value<'k, u32>) -> Pointer<'k, Shared, f32> {
        self.b_scales.at(stage * self.scales[1])
    }
}

/// A tile as the scheduler announces it.
pub(super) trait Record<'k>: Copy {
    /// Words of it: 4, and 1, 2 or 4 more, or none.
    const WORDS: usize;

    /// The tile of these words.
    fn of_words(words: &[Value<'k, u32>]) -> Self;

    /// Whether there is none: the end.
    fn is_last(&self) -> Predicate<'k>;
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

    /// The warp of the scheduler announces the record of these words.
    #[track_caller]
    pub(super) fn announce(&self, words: &[Value<'k, u32>]) {
        let builder = self.records.builder();
        self.cursor.place().wait_empty();
        builder.when(builder.lane().equals(0), || {
            for (at, words) in (0_u32..).step_by(4).zip(words.chunks(4)) {
                let words: Vec<_> = words.iter().map(|word| word.bits()).collect();
                self.record().at(at).store_words(&words);
            }
            self.cursor.place().full().arrive();
        });
        self.cursor.advance();
    }

    /// A warp works on all tiles of the CTA.
    #[track_caller]
    pub(super) fn for_each<R: Record<'k>>(&self, body: impl FnOnce(R)) {
        let taken = Cell::new(None);
        let condition = || {
            let tile: R = self.take();
            taken.set(Some(tile));
            !tile.is_last()
        };
        self.records
            .builder()
            .repeat_while(condition, || body(taken.take().expect("the condition comes first")));
    }

    #[track_caller]
    fn take<R: Record<'k>>(&self) -> R {
        self.cursor.place().wait_full();
        let load = |first: usize| self.record().at(first).load_words((R::WORDS - first).min(4));
        let words: Vec<_> = (0..R::WORDS).step_by(4).flat_map(load).map(Value::bits).collect();
        let builder = self.records.builder();
        builder.sync_warp();
        builder.when(builder.lane().equals(0), || self.cursor.place().empty().arrive());
        self.cursor.advance();
        R::of_words(&words)
    }
}
