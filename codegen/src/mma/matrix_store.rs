//! Stores of 8x8 matrices of 16-bit elements from the registers of a warp to shared memory (PTX ISA 9.7.16.5.16,
//! `stmatrix`; sm_90).
//!
//! A word of lane `l` holds elements `(l / 4, 2 * (l % 4))` and `(l / 4, 2 * (l % 4) + 1)` of a matrix: the fragments of
//! D of every product, rounded to 16 bits.

use crate::builder::Builder;
use crate::element::B32;
use crate::pointer::{Pointer, Shared, vector};
use crate::value::Value;

impl Builder {
    /// Stores 1, 2 or 4 matrices, one for each word. Lanes `8 * i` to `8 * i + 7` give in `row` the addresses of the 8
    /// rows of matrix `i`, each of 16 bytes at a multiple of 16. If `transposed`, of its 8 columns.
    #[track_caller]
    pub fn store_matrices<T>(&self, row: Pointer<'_, Shared, T>, words: &[Value<'_, B32>], transposed: bool) {
        let transposed = if transposed { ".trans" } else { "" };
        let opcode = format!("stmatrix.sync.aligned.m8n8.x{}{transposed}.shared.b16", words.len());
        self.emit(&opcode, vec![row.operand(), vector(words)]);
    }
}
