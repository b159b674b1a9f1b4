//! Layouts are values: functions from coordinates to offsets, built from extents and strides.
//!
//! A [`Layout`] has dimensions; a dimension has modes, the fastest first, each with an extent and a stride in elements.
//! The coordinate of a dimension is taken apart into indices of its modes, the offset is the sum of index times stride.
//! With the index along a dimension of several modes, a tile of a tile is a layout like any other.
//!
//! One value gives the address code of a kernel ([`Layout::offset_value`]), the box of a tensor map
//! ([`tile`](crate::tile)), the arrangement of host data ([`Layout::arrange`]) and the passes that a warp's access needs
//! ([`wavefronts`]). Each operation is documented by what holds afterwards, and tested by just that.
//!
//! Source of the algebra: the layouts of CuTe (NVIDIA), restricted to what divides evenly.

use crate::builder::Builder;
use crate::value::Value;
use std::fmt;
use thiserror::Error;

/// Neighbours along a mode lie `stride` elements apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode {
    /// Indices: 0 to `extent - 1`.
    pub extent: u32,
    /// Elements between neighbours.
    pub stride: u32,
}

/// A function from coordinates to offsets in elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    dimensions: Vec<Vec<Mode>>,
}

/// Layouts that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// A tile that does not divide what it tiles.
    #[error("a tile of {tile} does not divide {layout} along dimension {dimension}")]
    Tile {
        /// The extent of the tile.
        tile: u32,
        /// What is divided.
        layout: String,
        /// The dimension.
        dimension: usize,
    },
    /// A composition whose inner layout steps across the modes of the outer one unevenly, or leaves it.
    #[error("{inner} cannot be composed with {outer}")]
    Composition {
        /// What is applied first.
        inner: String,
        /// What is applied to it.
        outer: String,
    },
}

impl fmt::Display for Layout {
    /// Extents, then strides, as `(64,(8,2)):(16,(1,512))`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: fn(&Mode) -> u32| {
            let dimension = |modes: &Vec<Mode>| {
                let numbers: Vec<String> = modes.iter().map(|mode| of(mode).to_string()).collect();
                if numbers.len() == 1 { numbers.concat() } else { format!("({})", numbers.join(",")) }
            };
            self.dimensions.iter().map(dimension).collect::<Vec<_>>().join(",")
        };
        write!(f, "({}):({})", list(|mode| mode.extent), list(|mode| mode.stride))
    }
}

impl Layout {
    /// One mode a dimension.
    #[must_use]
    pub fn strided(extents: &[u32], strides: &[u32]) -> Self {
        let mode = |(&extent, &stride): (&u32, &u32)| vec![Mode { extent, stride }];
        Self { dimensions: extents.iter().zip(strides).map(mode).collect() }
    }

    /// Dense, the last coordinate fastest: `offset(c) = (c0 * e1 + c1) * e2 + ..`.
    #[must_use]
    pub fn row_major(extents: &[u32]) -> Self {
        let mut stride = 1;
        let mut dimensions: Vec<Vec<Mode>> = extents
            .iter()
            .rev()
            .map(|&extent| {
                let mode = Mode { extent, stride };
                stride *= extent;
                vec![mode]
            })
            .collect();
        dimensions.reverse();
        Self { dimensions }
    }

    /// The dimensions, each with its modes, the fastest first.
    #[must_use]
    pub fn dimensions(&self) -> &[Vec<Mode>] {
        &self.dimensions
    }

    /// The extent of a dimension: the product of those of its modes.
    #[must_use]
    pub fn extent(&self, dimension: usize) -> u32 {
        self.dimensions[dimension].iter().map(|mode| mode.extent).product()
    }

    /// Coordinates in the domain.
    #[must_use]
    pub fn size(&self) -> u32 {
        (0..self.dimensions.len()).map(|dimension| self.extent(dimension)).product()
    }

    /// One more than the largest offset; 0 for an empty domain.
    #[must_use]
    pub fn span(&self) -> u32 {
        if self.size() == 0 {
            return 0;
        }
        self.dimensions.iter().flatten().map(|mode| (mode.extent - 1) * mode.stride).sum::<u32>() + 1
    }

    /// The offset of a coordinate inside the domain.
    #[must_use]
    pub fn offset(&self, coordinate: &[u32]) -> u32 {
        self.dimensions.iter().zip(coordinate).map(|(modes, &index)| offset_along(modes, index)).sum()
    }

    /// The offset of a coordinate, computed by the kernel; what is known while it is generated is folded.
    #[must_use]
    #[track_caller]
    pub fn offset_value<'k>(&self, builder: &'k Builder, coordinate: &[Value<'k, u32>]) -> Value<'k, u32> {
        let mut offset = builder.constant(0_u32);
        for (modes, &index) in self.dimensions.iter().zip(coordinate) {
            let mut rest = index;
            for (at, mode) in modes.iter().enumerate() {
                let last = at + 1 == modes.len();
                let own = if last { rest } else { rest % mode.extent };
                offset = own.multiply_add(mode.stride, offset);
                rest = if last { rest } else { rest / mode.extent };
            }
        }
        offset
    }

    /// Every coordinate, the first dimension fastest.
    pub fn coordinates(&self) -> impl Iterator<Item = Vec<u32>> + '_ {
        (0..self.size()).map(|linear| self.coordinate(linear))
    }

    /// The coordinate of an index that counts with the first dimension fastest.
    #[must_use]
    pub fn coordinate(&self, linear: u32) -> Vec<u32> {
        let mut rest = linear;
        let split = |dimension| {
            let extent = self.extent(dimension).max(1);
            let index = rest % extent;
            rest /= extent;
            index
        };
        (0..self.dimensions.len()).map(split).collect()
    }

    /// Afterwards dimension `i` is what dimension `order[i]` was.
    #[must_use]
    pub fn permute(&self, order: &[usize]) -> Self {
        Self { dimensions: order.iter().map(|&dimension| self.dimensions[dimension].clone()).collect() }
    }

    /// Divides each dimension into tiles. Afterwards, with `n` dimensions,
    /// `divided(w0, .., t0, ..) = self(w0 + t0 * tile0, ..)`: `n` coordinates within a tile, then `n` of tiles.
    ///
    /// # Errors
    ///
    /// If a tile does not divide its dimension along its modes.
    pub fn divide(&self, tile: &[u32]) -> Result<Self, LayoutError> {
        let (mut within, mut across) = (Vec::new(), Vec::new());
        for (dimension, (modes, &tile)) in self.dimensions.iter().zip(tile).enumerate() {
            let split = split(modes, tile);
            let (inner, outer) =
                split.ok_or_else(|| LayoutError::Tile { tile, layout: self.to_string(), dimension })?;
            within.push(inner);
            across.push(outer);
        }
        within.extend(across);
        Ok(Self { dimensions: within })
    }

    /// Afterwards `composed(c) = self(inner(c))`, `self` taken as a function of one index that counts with its first
    /// dimension fastest.
    ///
    /// # Errors
    ///
    /// If `inner` leaves the domain of `self`, or steps across its modes unevenly.
    pub fn compose(&self, inner: &Self) -> Result<Self, LayoutError> {
        let error = || LayoutError::Composition { inner: inner.to_string(), outer: self.to_string() };
        if inner.span() > self.size() {
            return Err(error());
        }
        let outer: Vec<Mode> = self.dimensions.iter().flatten().copied().collect();
        let compose = |modes: &Vec<Mode>| -> Option<Vec<Mode>> {
            let parts: Option<Vec<Vec<Mode>>> = modes.iter().map(|mode| through(&outer, *mode)).collect();
            let modes = parts?.concat();
            Some(if modes.is_empty() { vec![Mode { extent: 1, stride: 0 }] } else { modes })
        };
        let dimensions: Option<Vec<Vec<Mode>>> = inner.dimensions.iter().map(compose).collect();
        let composed = Self { dimensions: dimensions.ok_or_else(error)? };
        // Modes of `inner` may carry into one another in `self`; then the sum of offsets is not the offset of the sum.
        if carries(&outer, inner) { Err(error()) } else { Ok(composed) }
    }

    /// Host data in the order of this layout: afterwards `arranged[self.offset(c)]` is element `c` of `source`, which is
    /// dense with the last coordinate fastest; what the layout leaves out is `fill`.
    ///
    /// # Panics
    ///
    /// If `source` does not have an element for each coordinate.
    #[must_use]
    pub fn arrange<T: Copy>(&self, source: &[T], fill: T) -> Vec<T> {
        assert_eq!(source.len(), self.size() as usize, "an element for each coordinate of {self}");
        let extents: Vec<u32> = (0..self.dimensions.len()).map(|dimension| self.extent(dimension)).collect();
        let dense = Self::row_major(&extents);
        let mut arranged = vec![fill; self.span() as usize];
        for coordinate in self.coordinates() {
            arranged[self.offset(&coordinate) as usize] = source[dense.offset(&coordinate) as usize];
        }
        arranged
    }
}

fn offset_along(modes: &[Mode], index: u32) -> u32 {
    let mut rest = index;
    let mut offset = 0;
    for (at, mode) in modes.iter().enumerate() {
        let own = if at + 1 == modes.len() { rest } else { rest % mode.extent.max(1) };
        offset += own * mode.stride;
        rest /= mode.extent.max(1);
    }
    offset
}

/// The modes of the first `tile` indices, and those of the steps by `tile`.
fn split(modes: &[Mode], tile: u32) -> Option<(Vec<Mode>, Vec<Mode>)> {
    let (mut inner, mut outer, mut rest) = (Vec::new(), Vec::new(), tile);
    for &Mode { extent, stride } in modes {
        if rest == 1 {
            outer.push(Mode { extent, stride });
        } else if rest >= extent && rest.is_multiple_of(extent) {
            inner.push(Mode { extent, stride });
            rest /= extent;
        } else if rest > 0 && extent.is_multiple_of(rest) {
            inner.push(Mode { extent: rest, stride });
            outer.push(Mode { extent: extent / rest, stride: stride * rest });
            rest = 1;
        } else {
            return None;
        }
    }
    let one = |modes: Vec<Mode>| if modes.is_empty() { vec![Mode { extent: 1, stride: 0 }] } else { modes };
    (rest == 1).then(|| (one(inner), one(outer)))
}

/// What the indices `0, stride, 2 * stride, ..` of `mode` become when they run through `outer`, a list of modes that is
/// indexed with the first fastest.
fn through(outer: &[Mode], mode: Mode) -> Option<Vec<Mode>> {
    if mode.extent <= 1 || mode.stride == 0 {
        return Some(vec![Mode { extent: mode.extent, stride: 0 }]);
    }
    let (mut step, mut left, mut modes) = (mode.stride, mode.extent, Vec::new());
    for (at, &Mode { extent, stride }) in outer.iter().enumerate() {
        let last = at + 1 == outer.len();
        if left == 1 {
            break;
        }
        if !last && step.is_multiple_of(extent) {
            step /= extent;
            continue;
        }
        // The step falls into this mode; the steps that stay in it, then on to the next.
        let here =
            if last { left } else { extent.checked_div(step).filter(|_| extent.is_multiple_of(step))? };
        let taken = here.min(left);
        if !left.is_multiple_of(taken) {
            return None;
        }
        modes.push(Mode { extent: taken, stride: stride * step });
        left /= taken;
        step = 1;
    }
    (left == 1).then_some(modes)
}

/// Whether indices of different modes of `inner` meet in one mode of `outer` and overflow it together.
fn carries(outer: &[Mode], inner: &Layout) -> bool {
    let modes: Vec<Mode> = inner.dimensions.iter().flatten().copied().collect();
    let mut base = 1_u32;
    for (at, mode) in outer.iter().enumerate() {
        let last = at + 1 == outer.len();
        let digit = |index: u32| if last { index / base } else { index / base % mode.extent };
        let largest =
            |mode: &Mode| (0..mode.extent).map(|index| digit(index * mode.stride)).max().unwrap_or(0);
        if modes.iter().map(largest).sum::<u32>() >= mode.extent.max(1) {
            return true;
        }
        base = base.saturating_mul(mode.extent);
    }
    false
}

/// Passes through the 32 banks of shared memory that the accesses of a warp need: `offsets_bytes` of the lanes that
/// take part, each of `bytes` bytes, 4, 8 or 16. Accesses of 8 and 16 bytes go by half and quarter warps.
#[must_use]
pub fn wavefronts(offsets_bytes: &[u32], bytes: u32) -> u32 {
    let lanes_together = match bytes {
        16 => 8,
        8 => 16,
        _ => 32,
    };
    let passes = |lanes: &[u32]| {
        let words = lanes.iter().flat_map(|offset| (0..bytes.div_ceil(4)).map(move |word| offset / 4 + word));
        let mut words: Vec<u32> = words.collect();
        words.sort_unstable();
        words.dedup();
        (0..32).map(|bank| words.iter().filter(|word| *word % 32 == bank).count() as u32).max().unwrap_or(0)
    };
    offsets_bytes.chunks(lanes_together).map(passes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout() -> impl Strategy<Value = Layout> {
        let mode = (
            prop::sample::select(vec![1_u32, 2, 3, 4, 8]),
            prop::sample::select(vec![0_u32, 1, 2, 5, 16, 64]),
        );
        let dimension = prop::collection::vec(mode, 1..3);
        let dimensions = prop::collection::vec(dimension, 1..4);
        dimensions.prop_map(|dimensions| {
            let modes = |modes: Vec<(u32, u32)>| {
                modes.into_iter().map(|(extent, stride)| Mode { extent, stride }).collect()
            };
            Layout { dimensions: dimensions.into_iter().map(modes).collect() }
        })
    }

    proptest! {
        #[test]
        fn row_major_is_dense(extents in prop::collection::vec(1_u32..6, 1..4)) {
            let layout = Layout::row_major(&extents);
            let mut offsets: Vec<u32> = layout.coordinates().map(|c| layout.offset(&c)).collect();
            offsets.sort_unstable();
            prop_assert_eq!(offsets, (0..layout.size()).collect::<Vec<_>>());
            prop_assert_eq!(layout.span(), layout.size());
        }

        #[test]
        fn the_span_bounds_every_offset(layout in layout()) {
            let most = layout.coordinates().map(|c| layout.offset(&c)).max().unwrap_or(0);
            prop_assert_eq!(layout.span(), most + 1);
        }

        #[test]
        fn a_divided_layout_is_the_same_function(layout in layout(), exponents in prop::collection::vec(0_u32..4, 4)) {
            let rank = layout.dimensions.len();
            let tile: Vec<u32> = exponents[..rank].iter().map(|exponent| 1 << exponent).collect();
            let Ok(divided) = layout.divide(&tile) else { return Ok(()) };
            for coordinate in divided.coordinates() {
                let (within, across) = coordinate.split_at(rank);
                let whole: Vec<u32> =
                    (0..rank).map(|dimension| within[dimension] + across[dimension] * tile[dimension]).collect();
                prop_assert_eq!(divided.offset(&coordinate), layout.offset(&whole), "{} by {:?}", layout, tile);
            }
        }

        #[test]
        fn a_composition_is_one_after_the_other(outer in layout(), inner in layout()) {
            let Ok(composed) = outer.compose(&inner) else { return Ok(()) };
            for coordinate in inner.coordinates() {
                let between = outer.coordinate(inner.offset(&coordinate));
                prop_assert_eq!(composed.offset(&coordinate), outer.offset(&between), "{} o {}", outer, inner);
            }
        }

        #[test]
        fn arranged_data_is_found_where_the_layout_says(extents in prop::collection::vec(1_u32..5, 2..4)) {
            let dense = Layout::row_major(&extents);
            let order: Vec<usize> = (0..extents.len()).rev().collect();
            let source: Vec<u32> = (0..dense.size()).collect();
            let reversed: Vec<u32> = extents.iter().rev().copied().collect();
            let layout = Layout::row_major(&reversed).permute(&order);
            let arranged = layout.arrange(&source, u32::MAX);
            for coordinate in layout.coordinates() {
                prop_assert_eq!(arranged[layout.offset(&coordinate) as usize], dense.offset(&coordinate));
            }
        }
    }

    #[test]
    fn compositions_that_people_write_are_possible() {
        // Every fourth element of a row of eight, in a matrix whose rows are padded to ten.
        let outer = Layout::strided(&[8, 6], &[1, 10]);
        let composed = outer.compose(&Layout::strided(&[2, 6], &[4, 8])).unwrap();
        assert_eq!(composed.to_string(), "(2,6):(4,10)");
        let error = outer.compose(&Layout::strided(&[7, 7], &[1, 7])).unwrap_err();
        assert_eq!(error.to_string(), "(7,7):(1,7) cannot be composed with (8,6):(1,10)");
        let error = outer.divide(&[3, 2]).unwrap_err();
        assert_eq!(error.to_string(), "a tile of 3 does not divide (8,6):(1,10) along dimension 0");
    }

    #[test]
    fn a_column_of_words_conflicts_and_padding_helps() {
        let column = |pitch: u32| (0..32).map(|row| row * pitch).collect::<Vec<_>>();
        assert_eq!(wavefronts(&column(128), 4), 32);
        assert_eq!(wavefronts(&column(132), 4), 1);
        assert_eq!(wavefronts(&column(4), 4), 1);
        assert_eq!(wavefronts(&[0; 32], 4), 1, "a broadcast");
        assert_eq!(wavefronts(&column(16), 16), 4, "a quarter warp at a time");
    }
}
