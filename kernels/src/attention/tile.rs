//! Tiles of bf16 in shared memory, read as fragments of mma.sync.
//!
//! Rows are as wide as a multiple of 16 elements, and 8 elements further apart: 16-byte columns of 8 neighbouring rows
//! lie in different banks, so that ldmatrix has no conflicts.

use rorqual_codegen::element::{B32, Bf16};
use rorqual_codegen::{Builder, Pointer, Shared, Value};

/// A tile, row-major.
#[derive(Clone, Copy)]
pub(super) struct Tile<'k> {
    base: Pointer<'k, Shared, Bf16>,
    /// Elements from one row to the next.
    pitch: u32,
}

/// Elements from one row to the next of a tile of this width.
const fn pitch(width: u32) -> u32 {
    width.next_multiple_of(16) + 8
}

/// Bytes of a tile.
pub(super) const fn tile_bytes(rows: u32, width: u32) -> u32 {
    2 * rows * pitch(width)
}

impl<'k> Tile<'k> {
    /// Declares a tile.
    #[track_caller]
    pub(super) fn reserve(builder: &'k Builder, rows: u32, width: u32) -> Self {
        let pitch = pitch(width);
        Self { base: builder.shared::<Bf16>(rows * pitch, 16), pitch }
    }

    /// The tile without its first rows.
    #[track_caller]
    pub(super) fn skip_rows(self, row: Value<'k, u32>) -> Self {
        Self { base: self.base.at(row * self.pitch), ..self }
    }

    /// The tile without its first columns.
    #[track_caller]
    pub(super) fn skip_columns(self, column: Value<'k, u32>) -> Self {
        Self { base: self.base.at(column), ..self }
    }

    /// An element.
    #[track_caller]
    pub(super) fn at(self, row: u32, column: u32) -> Pointer<'k, Shared, Bf16> {
        self.base.at(row * self.pitch + column)
    }

    /// The tile as this lane reads fragments of rows against columns, for A and for a transposed B.
    #[track_caller]
    pub(super) fn across(self) -> Self {
        let lane = self.base.builder().lane();
        Self { base: self.base.at((lane & 15) * self.pitch + (lane >> 4) * 8), ..self }
    }

    /// The tile as this lane reads fragments of B whose columns are the tile's rows.
    #[track_caller]
    pub(super) fn along(self) -> Self {
        let lane = self.base.builder().lane();
        let row = (lane & 7) + (lane >> 4) * 8;
        Self { base: self.base.at(row * self.pitch + ((lane >> 3) & 1) * 8), ..self }
    }

    /// The fragment of A at 16 rows and 16 columns; of a tile [`across`](Self::across).
    #[track_caller]
    pub(super) fn rows_fragment(self, row: u32, column: u32) -> [Value<'k, B32>; 4] {
        self.base.builder().load_matrices(self.at(row, column))
    }

    /// Two fragments of B whose 8 columns each are 16 rows of the tile, `column` on the way of the products; of a tile
    /// [`along`](Self::along).
    #[track_caller]
    pub(super) fn column_fragments(self, row: u32, column: u32) -> [[Value<'k, B32>; 2]; 2] {
        let [a, b, c, d] = self.base.builder().load_matrices(self.at(row, column));
        [[a, b], [c, d]]
    }

    /// Two fragments of B whose 8 columns each are 16 columns of the tile, its rows on the way of the products; of a
    /// tile [`across`](Self::across).
    #[track_caller]
    pub(super) fn transposed_fragments(self, row: u32, column: u32) -> [[Value<'k, B32>; 2]; 2] {
        let [a, b, c, d] = self.base.builder().load_matrices_transposed(self.at(row, column));
        [[a, b], [c, d]]
    }
}
