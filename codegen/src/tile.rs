//! A tile of shared memory: rows of elements, swizzled. One value gives the address code, the plan by which threads copy
//! it, the box of a tensor map, the arrangement of host data, and the passes that `ldmatrix` needs.

use crate::contract::SwizzleMode;
use crate::element::{Element, ElementType};
use crate::layout::{Layout, wavefronts};
use crate::pointer::{Global, Pointer, Shared};
use crate::swizzle::Swizzle;
use crate::tma::Box2d;
use crate::value::Value;

/// Bytes that a thread copies at once.
const CHUNK_BYTES: u32 = 16;

/// `rows` rows of `columns` elements, row after row, each as long as the swizzle's pattern or a multiple of 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// The type of the elements.
    pub element: ElementType,
    /// How chunks of 16 bytes are exchanged.
    pub swizzle: SwizzleMode,
}

impl Tile {
    /// Rows of `columns` elements without a swizzle; a multiple of 16 bytes.
    #[must_use]
    pub const fn plain<T: Element>(rows: u32, columns: u32) -> Self {
        Self { rows, columns, element: T::ELEMENT, swizzle: SwizzleMode::None }
    }

    /// Rows as long as the swizzle's pattern: 32, 64 or 128 bytes.
    #[must_use]
    pub const fn swizzled<T: Element>(rows: u32, swizzle: SwizzleMode) -> Self {
        let bytes = match swizzle {
            SwizzleMode::None => CHUNK_BYTES,
            SwizzleMode::B32 => 32,
            SwizzleMode::B64 => 64,
            SwizzleMode::B128 => 128,
        };
        Self { rows, columns: bytes / T::ELEMENT.bytes(), element: T::ELEMENT, swizzle }
    }

    /// Bytes of a row.
    #[must_use]
    pub const fn row_bytes(self) -> u32 {
        self.columns * self.element.bytes()
    }

    /// Bytes of the tile.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.rows * self.row_bytes()
    }

    /// What the tile's address must be a multiple of, so that the swizzle, which reads address bits, is that of the
    /// offset.
    #[must_use]
    pub const fn alignment_bytes(self) -> u32 {
        match self.swizzle {
            SwizzleMode::None => CHUNK_BYTES,
            SwizzleMode::B32 => 256,
            SwizzleMode::B64 => 512,
            SwizzleMode::B128 => 1024,
        }
    }

    /// Where elements lie, swizzle left out: `(row, column)` to elements.
    #[must_use]
    pub fn layout(self) -> Layout {
        Layout::row_major(&[self.rows, self.columns])
    }

    /// Where an element lies, in bytes.
    #[must_use]
    pub fn offset_bytes(self, row: u32, column: u32) -> u32 {
        Swizzle::of(self.swizzle).apply(self.layout().offset(&[row, column]) * self.element.bytes())
    }

    /// The address of an element of the tile that starts at `tile`.
    #[must_use]
    #[track_caller]
    pub fn at<'k, T: Element>(
        self,
        tile: Pointer<'k, Shared, T>,
        row: Value<'k, u32>,
        column: Value<'k, u32>,
    ) -> Pointer<'k, Shared, T> {
        let builder = tile.builder();
        let elements = self.layout().offset_value(builder, &[row, column]);
        tile.bytes(Swizzle::of(self.swizzle).apply_value(elements * self.element.bytes()))
    }

    /// Rounds in which `threads` threads copy the tile, 16 bytes each: chunk `round * threads + thread` is the thread's,
    /// counted along rows.
    #[must_use]
    pub const fn copy_rounds(self, threads: u32) -> u32 {
        (self.bytes() / CHUNK_BYTES).div_ceil(threads)
    }

    /// Copies rows from global memory, `pitch` elements apart, behind the threads of the CTA; what is not among the first
    /// `rows_present` rows becomes zero. Rows of the source start at multiples of 16 bytes and are as long as the
    /// tile's. A group of copies is to be committed and waited for.
    #[track_caller]
    pub fn copy_async<'k, T: Element>(
        self,
        tile: Pointer<'k, Shared, T>,
        source: Pointer<'k, Global, T>,
        pitch: Value<'k, u32>,
        rows_present: Value<'k, u32>,
    ) {
        let builder = tile.builder();
        builder.require(self.element == T::ELEMENT && self.row_bytes().is_multiple_of(CHUNK_BYTES), || {
            format!("a tile of {} rows of {} bytes, of {}", self.rows, self.row_bytes(), T::ELEMENT)
        });
        let chunks_per_row = self.row_bytes() / CHUNK_BYTES;
        let elements = CHUNK_BYTES / self.element.bytes();
        for round in 0..self.copy_rounds(builder.threads()) {
            let chunk = builder.thread() + round * builder.threads();
            let (row, column) = (chunk / chunks_per_row, chunk % chunks_per_row * elements);
            let copy = || {
                let from = source.at(row.multiply_wide(pitch)).at(column);
                let present = row.less(rows_present);
                builder.copy_async_16_or_zero(present, self.at(tile, row, column), from);
            };
            let chunks = self.bytes() / CHUNK_BYTES;
            if (round + 1) * builder.threads() <= chunks {
                copy();
            } else {
                builder.when(chunk.less(chunks), copy);
            }
        }
    }

    /// The box by which a tensor copy fills the tile; `None` if rows are longer than the swizzle's pattern, or a copy has
    /// not that many rows.
    #[must_use]
    pub fn tensor_box(self) -> Option<Box2d> {
        let Self { rows, columns, element, swizzle } = self;
        let fits = match swizzle {
            SwizzleMode::None => true,
            SwizzleMode::B32 => self.row_bytes() <= 32,
            SwizzleMode::B64 => self.row_bytes() <= 64,
            SwizzleMode::B128 => self.row_bytes() <= 128,
        };
        (fits && rows <= 256 && columns <= 256).then_some(Box2d { element, rows, columns, swizzle })
    }

    /// Host data `[rows, columns]` as it lies in the tile.
    ///
    /// # Panics
    ///
    /// If `source` does not have an element for each place.
    #[must_use]
    pub fn arrange<E: Copy>(self, source: &[E]) -> Vec<E> {
        assert_eq!(
            source.len(),
            (self.rows * self.columns) as usize,
            "an element for each place of {self:?}"
        );
        let mut arranged = source.to_vec();
        for coordinate in self.layout().coordinates() {
            let to = self.offset_bytes(coordinate[0], coordinate[1]) / self.element.bytes();
            arranged[to as usize] = source[self.layout().offset(&coordinate) as usize];
        }
        arranged
    }

    /// Passes through the banks that `ldmatrix` needs for the 16 bytes of 8 neighbouring rows, at the worst place; 1 is
    /// the least.
    #[must_use]
    pub fn matrix_wavefronts(self) -> u32 {
        let elements = CHUNK_BYTES / self.element.bytes();
        let passes = |row: u32, column: u32| {
            let offsets: Vec<u32> = (row..row + 8).map(|row| self.offset_bytes(row, column)).collect();
            wavefronts(&offsets, CHUNK_BYTES)
        };
        let rows = (0..self.rows / 8).map(|row| 8 * row);
        rows.flat_map(|row| (0..self.columns / elements).map(move |chunk| (row, chunk * elements)))
            .map(|(row, column)| passes(row, column))
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::{Bf16, E4m3};

    #[test]
    fn every_place_of_a_tile_is_used_once() {
        for mode in [SwizzleMode::None, SwizzleMode::B32, SwizzleMode::B64, SwizzleMode::B128] {
            let tile = Tile::swizzled::<Bf16>(24, mode);
            let offset = |coordinate: Vec<u32>| tile.offset_bytes(coordinate[0], coordinate[1]);
            let mut offsets: Vec<u32> = tile.layout().coordinates().map(offset).collect();
            offsets.sort_unstable();
            let dense: Vec<u32> = (0..tile.rows * tile.columns).map(|element| 2 * element).collect();
            assert_eq!(offsets, dense, "{mode:?}");
        }
    }

    #[test]
    fn host_data_is_arranged_as_addresses_say() {
        let tile = Tile::swizzled::<E4m3>(16, SwizzleMode::B64);
        let source: Vec<u32> = (0..tile.bytes()).collect();
        let arranged = tile.arrange(&source);
        assert_eq!(arranged[tile.offset_bytes(5, 17) as usize], 5 * 64 + 17);
    }

    #[test]
    fn swizzles_spare_ldmatrix_its_conflicts() {
        assert_eq!(Tile::plain::<Bf16>(8, 64).matrix_wavefronts(), 8);
        assert_eq!(Tile::swizzled::<Bf16>(64, SwizzleMode::B128).matrix_wavefronts(), 1);
        assert_eq!(Tile::swizzled::<Bf16>(64, SwizzleMode::B64).matrix_wavefronts(), 1);
        assert_eq!(Tile::swizzled::<Bf16>(64, SwizzleMode::B32).matrix_wavefronts(), 1);
        assert_eq!(Tile::plain::<Bf16>(8, 72).matrix_wavefronts(), 1, "padding does too");
    }

    #[test]
    fn boxes_are_those_that_tensor_copies_can_move() {
        let tile = Tile::swizzled::<E4m3>(64, SwizzleMode::B128);
        let expected =
            Box2d { element: ElementType::E4m3, rows: 64, columns: 128, swizzle: SwizzleMode::B128 };
        assert_eq!(tile.tensor_box(), Some(expected));
        assert_eq!(Tile { rows: 300, ..tile }.tensor_box(), None);
        assert_eq!(Tile { columns: 256, ..tile }.tensor_box(), None);
    }
}
