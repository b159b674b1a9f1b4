//! Tiles of the products on Hopper: their sizes, and what they take of a multiprocessor.
//!
//! A CTA is a producer warpgroup, which issues copies, and one or two consumer warpgroups, which multiply and hold the
//! sums of D in registers. Shared memory has
//!
//! ```text
//! stages    times: A [m, 128 bytes], B [n, 128 bytes]; fp8 also scales of A [m] f32 and of B [4] f32
//! D         bf16 output: a piece of 64 rows of 64 bf16 and 16 bytes for each consumer, so that rows begin in different
//!           banks
//! the rest  1024 bytes: barriers, and the ring that hands tiles to the consumers
//! ```

use crate::BLOCK;
use crate::gemm::Output;
use crate::rule::{multiple, require, within};
use std::iter;

/// Bytes of K in a stage, of either format: the 128 e4m3 that share a scale, or 64 bf16.
pub const K_BYTES: u32 = 128;

/// Rows that a warpgroup's product has.
pub const PRODUCT_ROWS: u32 = 64;

/// Stages, at most. Narrow tiles need many to hide the latency of copies.
pub const MOST_STAGES: u32 = 16;

/// Shared memory of a CTA, in bytes, at most (CUDA C++ programming guide, compute capability 9.0: 227 KiB).
pub const MOST_SHARED_BYTES: u32 = 232_448;

/// Registers of a consumer's thread, at most: with two consumers at 240 and the producer at 24, a CTA has 64512 of
/// 65536.
pub const MOST_REGISTERS: u32 = 240;

/// Columns up to which a lone fp8 consumer has two sets of partial sums.
const TWO_PARTIALS_COLUMNS: u32 = 64;

/// Registers of a consumer's thread that hold no sums: addresses, descriptors, scales, the state of the ring.
const OTHER_REGISTERS: u32 = 40;

/// Columns of a piece of 64 rows of D, in bf16, on its way to memory.
pub const PIECE_COLUMNS: u32 = 64;

/// Bytes of a piece, with 16 bytes more for each row.
const PIECE_BYTES: u32 = PRODUCT_ROWS * (2 * PIECE_COLUMNS + 16);

/// Bytes of barriers and of the ring of tiles.
pub(super) const CONTROL_BYTES: u32 = 1024;

/// Scales of B in a stage, at most: a tile has columns of one or two blocks of 128, and arrays start at chunks of 16 bytes.
const B_SCALES_BYTES: u32 = 16;

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Format {
    /// e4m3, with a scale for 1x128 of A and for 128x128 of B: every 128 of K, partial sums are scaled and added.
    Fp8,
    /// bf16: sums stay where the tensor cores add.
    Bf16,
}

impl Format {
    /// Bytes of an element of A or B.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Fp8 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// What a CTA computes of D, and how it is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Tile {
    /// Rows of D. 64: one consumer warpgroup; 128: two of 64 rows each; 256: two of 128 rows each.
    pub m: u32,
    /// Columns of D; a multiple of 8.
    pub n: u32,
    /// Blocks of K that are under way or being multiplied at once.
    pub stages: u32,
    /// What the CTAs of a cluster share.
    pub multicast: Multicast,
}

/// Which operand the two CTAs of a cluster share: each fetches half of it, for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Multicast {
    /// No cluster.
    None,
    /// Rows of A: the tiles are neighbours along n.
    A,
    /// Rows of B: the tiles are neighbours along m.
    B,
}

impl Multicast {
    /// CTAs of a cluster.
    #[must_use]
    pub const fn cluster(self) -> u32 {
        match self {
            Self::None => 1,
            Self::A | Self::B => 2,
        }
    }
}

impl Tile {
    /// That a kernel can be made of it.
    ///
    /// # Errors
    ///
    /// If not: what it has, and what was expected.
    pub fn check(&self, format: Format, output: Output) -> Result<(), String> {
        let &Self { m, n, multicast, .. } = self;
        self.check_sizes(Self::most_columns(m, format), || self.shared_bytes(format, output))?;
        require(format == Format::Bf16 || n <= BLOCK + self.scale_run(), || {
            let run = self.scale_run();
            format!("`n` is {n}, whose largest power of two is {run}, expected at most {}", BLOCK + run)
        })?;
        require(m > 64 || multicast == Multicast::None, || {
            format!("`multicast` is {multicast:?}, expected None with 64 rows")
        })
    }

    /// That a family has tiles of these sizes, up to so many columns, and shared memory for them.
    pub(super) fn check_sizes(
        &self,
        most_columns: u32,
        shared_bytes: impl FnOnce() -> u32,
    ) -> Result<(), String> {
        let &Self { m, n, stages, multicast } = self;
        require(matches!(m, 64 | 128 | 256), || format!("`m` is {m}, expected 64, 128 or 256"))?;
        // Half of a shared operand is whole groups of 8 rows, in which its bytes are permuted.
        let unit = if multicast == Multicast::B { 16 } else { 8 };
        multiple("n", n, unit, most_columns)?;
        within("stages", stages, 2..=MOST_STAGES)?;
        let bytes = shared_bytes();
        require(bytes <= MOST_SHARED_BYTES, || {
            format!(
                "`stages` is {stages}, which takes {bytes} bytes of shared memory, expected at most {MOST_SHARED_BYTES}"
            )
        })
    }

    /// The widest tile of `m` rows. In fp8 sums and partial sums fill the registers; in bf16 products have at most 256
    /// columns, and with 256 rows of more than 128 columns D would leave too few stages.
    #[must_use]
    pub const fn most_columns(m: u32, format: Format) -> u32 {
        match (m, format) {
            (256, _) => 128,
            (_, Format::Fp8) => 192,
            (_, Format::Bf16) => 256,
        }
    }

    /// Its part of the names of kernels.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { m, n, stages, multicast } = *self;
        let shared = match multicast {
            Multicast::None => "",
            Multicast::A => "_sharea",
            Multicast::B => "_shareb",
        };
        format!("t{m}x{n}_s{stages}{shared}")
    }

    /// Rows and columns of a unit of work: the tiles of a cluster, which lie beside or below each other.
    #[must_use]
    pub const fn unit(&self) -> [u32; 2] {
        match self.multicast {
            Multicast::None => [self.m, self.n],
            Multicast::A => [self.m, 2 * self.n],
            Multicast::B => [2 * self.m, self.n],
        }
    }

    /// Rows of A and of B that a CTA fetches for a stage: of an operand that the CTAs of a cluster share, half.
    #[must_use]
    pub const fn fetched(&self) -> [u32; 2] {
        match self.multicast {
            Multicast::None => [self.m, self.n],
            Multicast::A => [self.m / 2, self.n],
            Multicast::B => [self.m, self.n / 2],
        }
    }

    /// Rows of A that are a consumer warpgroup's.
    pub(super) const fn own_rows(&self) -> u32 {
        self.m / self.consumer_warpgroups()
    }

    /// Parts that a stage is filled in, each with a barrier of its own. In bf16 the first consumer warpgroup does not wait
    /// for the second one's rows of A; in fp8 another barrier would cost more than that saves.
    pub(super) const fn parts(&self, format: Format) -> u32 {
        match format {
            Format::Fp8 => 1,
            Format::Bf16 => self.consumer_warpgroups(),
        }
    }

    /// Rows of A, or of the weight in its place, that a tensor copy brings.
    pub(super) const fn a_box_rows(&self, format: Format) -> u32 {
        match self.multicast {
            Multicast::A => self.m / 2,
            Multicast::None | Multicast::B => self.m / self.parts(format),
        }
    }

    /// Bytes of tensors in the parts of a stage: rows of A and all of B, then, in a second part, the other rows of A.
    pub(super) fn part_bytes(&self, format: Format) -> Vec<u32> {
        let parts = self.parts(format);
        let of_a = self.m / parts * K_BYTES;
        iter::once(of_a + self.n * K_BYTES).chain((1..parts).map(|_| of_a)).collect()
    }

    /// Warpgroups that multiply.
    #[must_use]
    pub const fn consumer_warpgroups(&self) -> u32 {
        if self.m == PRODUCT_ROWS { 1 } else { 2 }
    }

    /// Threads of a CTA: the producer warpgroup and the consumers.
    #[must_use]
    pub const fn threads(&self) -> u32 {
        128 * (1 + self.consumer_warpgroups())
    }

    /// Products that lie below each other in the rows of a consumer.
    #[must_use]
    pub const fn products(&self) -> u32 {
        self.own_rows() / PRODUCT_ROWS
    }

    /// Columns that surely have one scale of B, wherever the tile starts: a tile starts at a multiple of its columns, and
    /// has columns of at most two blocks of 128.
    #[must_use]
    pub const fn scale_run(&self) -> u32 {
        let run = 1 << self.n.trailing_zeros();
        if run < BLOCK { run } else { BLOCK }
    }

    /// Whether a consumer issues the products of the next block before it scales the partial sums of this one.
    #[must_use]
    pub const fn has_two_partials(&self, format: Format) -> bool {
        matches!(format, Format::Fp8) && self.m == PRODUCT_ROWS && self.n <= TWO_PARTIALS_COLUMNS
    }

    /// Registers that a thread of a consumer needs: of each product `n / 2` sums; in fp8 `n / 2` partial sums, which the
    /// products of a consumer use in turn; and the rest.
    #[must_use]
    pub const fn registers(&self, format: Format) -> u32 {
        let partials = match format {
            Format::Fp8 if self.has_two_partials(format) => 2,
            Format::Fp8 => 1,
            Format::Bf16 => 0,
        };
        (self.products() + partials) * self.n / 2 + OTHER_REGISTERS
    }

    /// Bytes of a stage.
    #[must_use]
    pub const fn stage_bytes(&self, format: Format) -> u32 {
        let scales = match format {
            Format::Fp8 => 4 * self.m + B_SCALES_BYTES,
            Format::Bf16 => 0,
        };
        (self.m + self.n) * K_BYTES + scales
    }

    /// Bytes of shared memory, as the [module](self) lists them.
    #[must_use]
    pub const fn shared_bytes(&self, format: Format, output: Output) -> u32 {
        let staged = match output {
            Output::Bf16 => PIECE_BYTES * self.consumer_warpgroups(),
            Output::F32 => 0,
        };
        self.stages * self.stage_bytes(format) + staged + CONTROL_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Tile = Tile { m: 128, n: 192, stages: 4, multicast: Multicast::B };

    #[test]
    fn a_multiprocessor_is_shared_out() {
        let tall = Tile { m: 256, n: 128, stages: 3, multicast: Multicast::A };
        let small = Tile { m: 64, n: 16, stages: 8, multicast: Multicast::None };
        let threads = [WIDE, tall, small].map(|tile| tile.threads());
        assert_eq!(threads, [384, 384, 256]);
        let registers = [WIDE, tall, small].map(|tile| tile.registers(Format::Fp8));
        assert_eq!(registers, [96 + 96 + 40, 2 * 64 + 64 + 40, 8 + 2 * 8 + 40]);
        let bytes = [WIDE, tall, small].map(|tile| tile.shared_bytes(Format::Fp8, Output::Bf16));
        let staged = [2 * 64 * 144, 2 * 64 * 144, 64 * 144];
        let stages = [4 * (320 * 128 + 528), 3 * (384 * 128 + 1040), 8 * (80 * 128 + 272)];
        assert_eq!(bytes, [0, 1, 2].map(|i| staged[i] + stages[i] + 1024));
        assert_eq!(WIDE.shared_bytes(Format::Bf16, Output::F32), 4 * 320 * 128 + 1024);
    }

    #[test]
    fn the_parts_of_a_stage_are_all_of_it() {
        for (m, multicast) in
            [(64, Multicast::None), (128, Multicast::None), (256, Multicast::A), (128, Multicast::B)]
        {
            let tile = Tile { m, n: 96, stages: 3, multicast };
            for format in [Format::Fp8, Format::Bf16] {
                let bytes = tile.part_bytes(format);
                assert_eq!(bytes.len() as u32, tile.parts(format));
                assert_eq!(bytes.iter().sum::<u32>(), tile.stage_bytes(Format::Bf16));
            }
        }
        let rows = |m, multicast| {
            [Format::Fp8, Format::Bf16].map(|format| Tile { m, multicast, ..WIDE }.a_box_rows(format))
        };
        assert_eq!(rows(64, Multicast::None), [64, 64]);
        assert_eq!(rows(128, Multicast::None), [128, 64]);
        assert_eq!(rows(256, Multicast::B), [256, 128]);
        assert_eq!(rows(256, Multicast::A), [128, 128]);
    }

    #[test]
    fn the_widest_tiles_fit_the_registers() {
        for format in [Format::Fp8, Format::Bf16] {
            for m in [64, 128, 256] {
                let tile =
                    Tile { m, n: Tile::most_columns(m, format), stages: 2, multicast: Multicast::None };
                assert!(tile.registers(format) <= MOST_REGISTERS, "{tile:?} {format:?}");
            }
        }
    }

    #[test]
    fn a_tile_without_a_kernel_is_refused_in_words() {
        let wrong = |tile: Tile| tile.check(Format::Fp8, Output::Bf16).expect_err("a tile without a kernel");
        assert_eq!(WIDE.check(Format::Fp8, Output::Bf16), Ok(()));
        assert_eq!(wrong(Tile { m: 192, ..WIDE }), "`m` is 192, expected 64, 128 or 256");
        let halves = "`n` is 136, expected a multiple of 16 from 16 to 192";
        assert_eq!(wrong(Tile { n: 136, ..WIDE }), halves);
        assert_eq!(wrong(Tile { m: 256, ..WIDE }), "`n` is 192, expected a multiple of 16 from 16 to 128");
        assert_eq!(wrong(Tile { stages: u32::MAX, ..WIDE }), "`stages` is 4294967295, expected 2 to 16");
        assert_eq!(wrong(Tile { m: 64, ..WIDE }), "`multicast` is B, expected None with 64 rows");
        assert_eq!(
            wrong(Tile { stages: 6, ..WIDE }),
            "`stages` is 6, which takes 268384 bytes of shared memory, expected at most 232448"
        );
    }
}
