//! Decoded operand tiles.

use multiversion::multiversion;

use super::accumulation::Precision;
use super::format::{Format, decode_row};

/// Exponent of a zero element: far enough down that no sum with another exponent looks like a product.
const ZERO: i16 = -1000;

/// No sum of two exponents of non-zero elements is as low as this.
pub(super) const ABSENT: i16 = -500;

/// An operand tile of a matrix instruction, decoded to f32 and laid out for the kernels.
///
/// A has a lane for each row, B one for each column; both are stored k by k, lanes contiguous. A panel can be
/// multiplied any number of times, and refilled without allocating once it has held a tile as large.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    lanes: usize,
    depth: usize,
    minimum_exponent: i16,
    values: Vec<f32>,
    /// Exponents of the values as tensor cores align them; empty unless [`prepare`](Self::prepare)d.
    exponents: Vec<i16>,
    raw: Vec<u8>,
}

impl Panel {
    /// An empty panel.
    pub const fn new() -> Self {
        Self { lanes: 0, depth: 0, minimum_exponent: 0, values: vec![], exponents: vec![], raw: vec![] }
    }

    /// Rows of A or columns of B.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The extent of k.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The decoded elements, `[k][lane]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The rows of A or columns of B that hold nothing but zeros.
    pub fn zero_lanes(&self) -> usize {
        let column = |lane| self.values[lane..].iter().step_by(self.lanes);
        (0..self.lanes).filter(|&lane| column(lane).all(|value| *value == 0.0)).count()
    }

    /// The exponents of the elements, `[k][lane]`.
    pub(super) fn exponents(&self) -> &[i16] {
        &self.exponents
    }

    /// Smallest exponent of a normal element.
    pub(super) fn minimum_exponent(&self) -> i16 {
        self.minimum_exponent
    }

    /// Whether every element is finite and has its exponent at hand.
    pub(super) fn is_prepared(&self) -> bool {
        self.exponents.len() == self.values.len()
    }

    /// Fills the panel with the raw elements that `element(lane, k)` gives.
    pub fn fill(
        &mut self,
        format: Format,
        lanes: usize,
        depth: usize,
        precision: Precision,
        mut element: impl FnMut(usize, usize) -> u32,
    ) {
        self.reset(format, lanes, depth);
        for (k, values) in self.values.chunks_exact_mut(lanes.max(1)).enumerate() {
            for (lane, value) in values.iter_mut().enumerate() {
                *value = format.decode(element(lane, k));
            }
        }
        self.prepare(precision);
    }

    /// Fills the panel with packed little-endian elements in rows of one k, which `copy` writes to an array of
    /// `[k][lane]` elements.
    pub(super) fn fill_rows<E>(
        &mut self,
        format: Format,
        lanes: usize,
        depth: usize,
        precision: Precision,
        copy: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = (format.bits() as usize).div_ceil(8);
        self.reset(format, lanes, depth);
        self.raw.resize(lanes * depth * size, 0);
        copy(&mut self.raw)?;
        decode_row(format, &self.raw, &mut self.values);
        self.prepare(precision);
        Ok(())
    }

    /// Changes the sign of every element, as `imm-scale-a` or `imm-scale-b` of -1 asks.
    pub fn negate(&mut self) {
        for value in &mut self.values {
            *value = -*value;
        }
    }

    fn reset(&mut self, format: Format, lanes: usize, depth: usize) {
        self.lanes = lanes;
        self.depth = depth;
        self.minimum_exponent = format.minimum_exponent();
        self.values.resize(lanes * depth, 0.0);
    }

    /// Works out the exponents if the precision needs them. A tile with a non-finite element goes without: its
    /// products take the integer path.
    fn prepare(&mut self, precision: Precision) {
        self.exponents.clear();
        if precision == Precision::Hardware {
            self.exponents.resize(self.values.len(), 0);
            if !exponents(&self.values, self.minimum_exponent, &mut self.exponents) {
                self.exponents.clear();
            }
        }
    }
}

/// Writes the exponent of each value; false if one is not finite.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn exponents(values: &[f32], minimum: i16, exponents: &mut [i16]) -> bool {
    let mut largest = 0;
    for (exponent, value) in exponents.iter_mut().zip(values) {
        let field = (value.to_bits() >> 23 & 0xff) as i16;
        largest = field.max(largest);
        *exponent = if *value == 0.0 { ZERO } else { (field.max(1) - 127).max(minimum) };
    }
    largest < 0xff
}
