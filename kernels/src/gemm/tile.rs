//! Tiles: their sizes by specialisation, how they lie in shared memory, and how they get there.
//!
//! A row of a shared tile is a power of two of chunks of 16 bytes. Chunk `c` of row `r` lies at place `c ^ s(r)` of its
//! row, where `s` runs through all places of 128 bytes of rows: the 8 chunks that a phase of `ldmatrix` reads, and those
//! that a phase of a copy writes, are in different banks.

use rorqual_codegen::element::{B16, B32, Bf16};
use rorqual_codegen::format::{Format, join};
use rorqual_codegen::pointer::{Global, Pointer, Shared};
use rorqual_codegen::{Builder, Value};

/// Bytes of a chunk: what a lane of `ldmatrix` points to, and the widest copy.
pub(super) const CHUNK_BYTES: u32 = 16;
/// Bytes of K in a tile: 64 bf16, or the 128 e4m3 that share a scale.
pub(super) const K_BYTES: u32 = 128;
/// Tiles that are under way at once. Three of the largest fit the shared memory of sm_86 and sm_89.
pub(super) const STAGES: u32 = 3;
/// Threads of a CTA.
pub(super) const THREADS: u32 = 128;

/// What a CTA computes, and how its four warps share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows of D.
    pub m: u32,
    /// Columns of D; divides 128, so that a tile has one scale of a block-scaled weight.
    pub n: u32,
    /// Warps side by side along n; the others lie along m.
    pub warps_n: u32,
}

/// What the choice is made from.
pub const CANDIDATES: [Tile; 3] = [
    Tile { m: 64, n: 128, warps_n: 2 },
    Tile { m: 64, n: 64, warps_n: 2 },
    Tile { m: 64, n: 32, warps_n: 1 },
];

impl Tile {
    /// The tile for weights of `n` outputs: the least work for a full tile of rows, padding included. It does not depend
    /// on the number of rows, so that the kernel is the same for every batch.
    #[must_use]
    pub fn choose(n: u32) -> Self {
        CANDIDATES.into_iter().min_by_key(|tile| tile.cost(n)).unwrap_or(CANDIDATES[0])
    }

    /// Products, padding included, and the bytes that must be loaded for them, weighed 32 products a byte: the ratio of
    /// the tensor cores' speed to that of the second-level cache on sm_80.
    fn cost(self, n: u32) -> u64 {
        let work = self.m * self.n + 32 * (self.m + self.n);
        u64::from(n.div_ceil(self.n)) * u64::from(work)
    }

    /// Rows of D of a warp.
    #[must_use]
    pub const fn warp_m(self) -> u32 {
        self.m / (THREADS / 32 / self.warps_n)
    }

    /// Columns of D of a warp.
    #[must_use]
    pub const fn warp_n(self) -> u32 {
        self.n / self.warps_n
    }
}

/// A tile in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedTile {
    pub(super) rows: u32,
    /// Chunks of a row: 4, 8 or 16.
    pub(super) chunks: u32,
}

impl SharedTile {
    /// Bytes of a row.
    pub(super) const fn row_bytes(self) -> u32 {
        self.chunks * CHUNK_BYTES
    }

    /// Bytes of the tile.
    pub(super) const fn bytes(self) -> u32 {
        self.rows * self.row_bytes()
    }

    /// Where a chunk is. Rows that differ by a multiple of 8 have the same order of chunks; the bits of the chunk are
    /// those from `CHUNK_BYTES` on, so that `offset ^ (CHUNK_BYTES * c)` is where chunk `chunk ^ c` is.
    #[track_caller]
    pub(super) fn offset<'k>(self, row: Value<'k, u32>, chunk: Value<'k, u32>) -> Value<'k, u32> {
        let turn = if self.chunks >= 8 { row & 7 } else { (row >> 1) & (self.chunks - 1) };
        row * self.row_bytes() + (chunk ^ turn) * CHUNK_BYTES
    }
}

/// The part of a thread in bringing tiles of one matrix to shared memory: a column of chunks, every so many rows.
pub(super) struct Loader<'k> {
    tile: SharedTile,
    /// Bytes from a row of the matrix to the next.
    pitch_bytes: u32,
    /// Bytes moved at once: 16, 8 or 4 by asynchronous copies, 2 or 1 through registers.
    width: u32,
    /// The thread's first row in a tile.
    row: Value<'k, u32>,
    /// Its first byte in the rows.
    column_bytes: Value<'k, u32>,
    /// Where its first chunk goes.
    target: Value<'k, u32>,
}

impl<'k> Loader<'k> {
    /// The calling thread's part. `alignment` divides the address of every row, and `pitch_bytes`.
    #[track_caller]
    pub(super) fn new(builder: &'k Builder, tile: SharedTile, pitch_bytes: u32, alignment: u32) -> Self {
        let row = builder.thread() / tile.chunks;
        let chunk = builder.thread() % tile.chunks;
        let target = tile.offset(row, chunk);
        Self { tile, pitch_bytes, width: alignment, row, column_bytes: chunk * CHUNK_BYTES, target }
    }

    /// Whether it takes asynchronous copies.
    pub(super) const fn is_asynchronous(&self) -> bool {
        self.width >= 4
    }

    /// The builder that it writes with.
    pub(super) fn builder(&self) -> &'k Builder {
        self.row.builder()
    }

    /// The thread's first byte of the tile that starts at `tile`.
    #[track_caller]
    pub(super) fn source(&self, tile: Pointer<'k, Global, u8>) -> Pointer<'k, Global, u8> {
        tile.bytes(self.row.multiply_wide(self.pitch_bytes)).bytes(self.column_bytes)
    }

    /// Of `rows` that a tile has, those from the thread's first on.
    #[track_caller]
    pub(super) fn rows_left(&self, rows: Value<'k, u32>) -> Value<'k, u32> {
        saturating_difference(rows, self.row)
    }

    /// Of `bytes` that a tile's rows have, those from the thread's first on.
    #[track_caller]
    pub(super) fn bytes_left(&self, bytes: Value<'k, u32>) -> Value<'k, u32> {
        saturating_difference(bytes, self.column_bytes)
    }

    /// Brings the thread's part of a tile from `source` to `stage`; what lies behind the rows and bytes left is zero.
    #[track_caller]
    pub(super) fn load(
        &self,
        stage: Pointer<'k, Shared, u8>,
        source: Pointer<'k, Global, u8>,
        rows_left: Value<'k, u32>,
        bytes_left: Value<'k, u32>,
    ) {
        let builder = stage.builder();
        let step = THREADS / self.tile.chunks;
        let target = stage.bytes(self.target);
        if !self.is_asynchronous() {
            builder.for_each(0, self.tile.rows, step, |row| {
                let present = rows_left.greater(row).select(bytes_left, builder.constant(0));
                let words = self.gather(source.bytes(row.multiply_wide(self.pitch_bytes)), present);
                target.bytes(row * self.tile.row_bytes()).store_words(&words);
            });
            return;
        }
        for row in (0..self.tile.rows).step_by(step as usize) {
            let from = source.bytes(row as usize * self.pitch_bytes as usize);
            let to = target.bytes(row * self.tile.row_bytes());
            for first in (0..CHUNK_BYTES).step_by(self.width as usize) {
                let present = saturating_difference(bytes_left, builder.constant(first)).min(self.width);
                let present = match rows_left.known() {
                    Some(rows) if rows > row => present,
                    _ => rows_left.greater(row).select(present, builder.constant(0)),
                };
                builder.copy_async_present(self.width, present, to.bytes(first), from.bytes(first));
            }
        }
    }

    /// A chunk of which `present` bytes are there, element by element.
    #[track_caller]
    fn gather(&self, source: Pointer<'k, Global, u8>, present: Value<'k, u32>) -> Vec<Value<'k, B32>> {
        let builder = source.builder();
        let word = |first: u32| -> Value<'k, B32> {
            if self.width == 2 {
                let zero = Bf16::of_f32(builder.constant(0.0));
                let half = |at: u32| -> Value<'k, B16> {
                    source.bytes(at).cast::<Bf16>().load_or(present.greater(at), zero).bits()
                };
                return join(half(first), half(first + 2));
            }
            let zero = builder.constant(0);
            let byte =
                |at: u32| source.bytes(first + at).load_or(present.greater(first + at), zero) << (8 * at);
            (byte(0) | byte(1) | byte(2) | byte(3)).bits()
        };
        (0..CHUNK_BYTES).step_by(4).map(word).collect()
    }
}

/// `a - b`, or 0 if that is negative.
#[track_caller]
pub(super) fn saturating_difference<'k>(a: Value<'k, u32>, b: Value<'k, u32>) -> Value<'k, u32> {
    // From a number that no other exceeds, all remain.
    if a.known() == Some(u32::MAX) { a } else { a - b.min(a) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_weights_get_narrow_tiles() {
        assert_eq!(Tile::choose(1).n, 32);
        assert_eq!(Tile::choose(64).n, 64);
        assert_eq!(Tile::choose(4096).n, 128);
        for n in 1..600 {
            let tile = Tile::choose(n);
            assert!(128_u32.is_multiple_of(tile.n) && tile.warp_n().is_multiple_of(32), "{tile:?}");
        }
    }
}
