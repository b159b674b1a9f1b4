//! A product whose tile is sought.

use crate::gemm::hopper::tile::{Format, K_BYTES, PRODUCT_ROWS, Tile};
use crate::gemm::{Order, Output};

/// Which weights rows meet. 0 counts as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weights {
    /// One for all.
    Dense,
    /// So many, among which rows are expected to be shared out evenly.
    Groups(u32),
    /// So many products side by side, of equally many rows.
    Batches(u32),
}

impl Weights {
    /// How many there are.
    pub(super) fn count(self) -> u32 {
        match self {
            Self::Dense => 1,
            Self::Groups(count) | Self::Batches(count) => count.max(1),
        }
    }
}

/// A product whose tile is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is multiplied.
    pub format: Format,
    /// Rows of A and D that are expected, those of all weights together. 0 counts as 1, here and below.
    pub rows: u32,
    /// Columns of D.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Which weights the rows meet.
    pub weights: Weights,
    /// How B lies.
    pub b_order: Order,
    /// The type of D.
    pub output: Output,
    /// Multiprocessors of the chip: 132 of an H100 SXM.
    pub multiprocessors: u32,
}

impl Problem {
    /// Zeros replaced by ones.
    pub(super) fn at_least_one(self) -> Self {
        Self {
            rows: self.rows.max(1),
            n: self.n.max(1),
            k: self.k.max(1),
            multiprocessors: self.multiprocessors.max(1),
            ..self
        }
    }

    /// Groups that have rows.
    pub(super) fn filled_groups(&self) -> u32 {
        self.weights.count().min(self.rows)
    }

    /// Rows of a group that has any.
    pub(super) fn rows_of_group(&self) -> u32 {
        self.rows.div_ceil(self.filled_groups())
    }

    /// Tiles below and beside each other.
    pub(super) fn tiles(&self, tile: &Tile) -> [u64; 2] {
        let below = u64::from(self.filled_groups()) * u64::from(self.rows_of_group().div_ceil(tile.m));
        [below, u64::from(self.n.div_ceil(tile.n))]
    }

    /// Blocks of K.
    pub(super) fn blocks(&self) -> u64 {
        (u64::from(self.k) * u64::from(self.format.bytes())).div_ceil(u64::from(K_BYTES))
    }

    /// Elements of D, the rows of each group filled up to whole products, which no tile can do without.
    pub(super) fn elements(&self) -> f64 {
        let rows = f64::from(self.rows_of_group().div_ceil(PRODUCT_ROWS)) * f64::from(PRODUCT_ROWS);
        f64::from(self.filled_groups()) * rows * f64::from(self.n)
    }

    /// Floating-point operations that the result needs.
    pub(super) fn operations(&self) -> f64 {
        2.0 * f64::from(self.rows) * f64::from(self.n) * f64::from(self.k)
    }

    /// Bytes that memory moves: each operand and D once.
    pub(super) fn memory_bytes(&self) -> f64 {
        let [rows, n, k] = [self.rows, self.n, self.k].map(f64::from);
        let weights = f64::from(self.filled_groups());
        let operands = (rows + weights * n) * k * f64::from(self.format.bytes());
        let scales = match self.format {
            Format::Fp8 => 4.0 * (rows + weights * n / 128.0) * k / 128.0,
            Format::Bf16 => 0.0,
        };
        operands + scales + rows * n * output_bytes(self.output)
    }
}

/// Bytes of an element of D.
pub(super) const fn output_bytes(output: Output) -> f64 {
    match output {
        Output::Bf16 => 2.0,
        Output::F32 => 4.0,
    }
}

#[cfg(test)]
impl Problem {
    /// A dense product in FP8 on an H100 SXM.
    pub(super) const FP8: Self = Self {
        format: Format::Fp8,
        rows: 4096,
        n: 4096,
        k: 7168,
        weights: Weights::Dense,
        b_order: Order::OutputMajor,
        output: Output::Bf16,
        multiprocessors: 132,
    };
}
