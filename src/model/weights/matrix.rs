//! A weight matrix in its stored type. Rows become f32 when they are read, never the whole matrix at once.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use multiversion::multiversion;

use crate::model::mapped_file::MappedFile;
use crate::num::E4m3;

/// Side of the square block of an FP8 weight that shares one scale, and length of the run of an FP8 activation
/// that shares one (DeepSeek-V3 report, section 3.3.2).
pub const BLOCK: usize = 128;

/// A weight `[rows, columns]`, row-major: f32, f16, bf16, or e4m3 with one f32 scale per 128x128 block (blocks at
/// the edges are cut off, not padded).
#[derive(Clone, Debug)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    bytes: Bytes,
    stored: Stored,
}

/// Where the elements lie: in a mapped file, or in memory for matrices that callers make.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    Mapped(Arc<MappedFile>, Range<usize>),
    Owned(Arc<[u8]>),
}

/// The element type on disk.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    F32,
    F16,
    Bf16,
    /// Scales are `[ceil(rows/128), ceil(columns/128)]`.
    E4m3 {
        scales: Vec<f32>,
    },
}

impl Stored {
    fn element_bytes(&self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::E4m3 { .. } => 1,
        }
    }
}

impl Matrix {
    pub(super) fn new(rows: usize, columns: usize, bytes: Bytes, stored: Stored) -> Self {
        Self { rows, columns, bytes, stored }
    }

    /// A matrix of f32 values, `[rows, columns]`.
    ///
    /// # Panics
    /// If `values` does not have `rows * columns` elements.
    pub fn from_f32(rows: usize, columns: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * columns, "values of a {rows}x{columns} matrix");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(rows, columns, Bytes::Owned(bytes.into()), Stored::F32)
    }

    /// A matrix of bf16 values, `[rows, columns]`.
    ///
    /// # Panics
    /// If `values` does not have `rows * columns` elements.
    pub fn from_bf16(rows: usize, columns: usize, values: &[bf16]) -> Self {
        assert_eq!(values.len(), rows * columns, "values of a {rows}x{columns} matrix");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(rows, columns, Bytes::Owned(bytes.into()), Stored::Bf16)
    }

    /// A matrix of e4m3 codes, `[rows, columns]`, with scales `[ceil(rows/128), ceil(columns/128)]`.
    ///
    /// # Panics
    /// If `codes` or `scales` do not have the length that the shape asks for.
    pub fn from_e4m3(rows: usize, columns: usize, codes: &[u8], scales: &[f32]) -> Self {
        assert_eq!(codes.len(), rows * columns, "codes of a {rows}x{columns} matrix");
        assert_eq!(
            scales.len(),
            rows.div_ceil(BLOCK) * columns.div_ceil(BLOCK),
            "scales of a {rows}x{columns} matrix"
        );
        Self::new(rows, columns, Bytes::Owned(codes.into()), Stored::E4m3 { scales: scales.to_vec() })
    }

    /// Number of rows: the outputs of a linear layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: the inputs of a linear layer.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether the elements are e4m3 codes with block scales.
    pub fn is_block_scaled(&self) -> bool {
        matches!(self.stored, Stored::E4m3 { .. })
    }

    /// The scale that multiplies the block of `row` and `column_block` (columns `column_block * 128 ..`); 1 for a
    /// matrix without scales.
    pub fn scale(&self, row: usize, column_block: usize) -> f32 {
        match &self.stored {
            Stored::E4m3 { scales } => scales[row / BLOCK * self.columns.div_ceil(BLOCK) + column_block],
            _ => 1.0,
        }
    }

    /// The e4m3 codes `[rows, columns]` and the scales `[ceil(rows/128), ceil(columns/128)]` of a block-scaled matrix.
    pub fn block_scaled(&self) -> Option<(&[u8], &[f32])> {
        match &self.stored {
            Stored::E4m3 { scales } => Some((self.all_bytes(), scales)),
            _ => None,
        }
    }

    fn all_bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(file, range) => &file[range.clone()],
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// Reads row `row` into `out` `[columns]`, scales applied: one f32 rounding for each element of an FP8 weight.
    ///
    /// # Panics
    /// If `row` is out of range or `out` does not have `columns` elements.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns, "a row of {}x{}", self.rows, self.columns);
        for (column_block, run) in out.chunks_mut(BLOCK).enumerate() {
            self.read_block(row, column_block, run);
        }
    }

    /// Reads the elements of row `row` that share a scale, columns `column_block * 128 ..`, into `out` (128 elements,
    /// fewer at the edge), scales applied as by [`Self::read_row`].
    ///
    /// # Panics
    /// If the block is out of range or `out` does not have its length.
    pub fn read_block(&self, row: usize, column_block: usize, out: &mut [f32]) {
        self.read_block_unscaled(row, column_block, out);
        if self.is_block_scaled() {
            let scale = self.scale(row, column_block);
            for value in out {
                *value *= scale;
            }
        }
    }

    /// [`Self::read_block`] with the scale left out: the values of the codes themselves.
    ///
    /// # Panics
    /// If the block is out of range or `out` does not have its length.
    pub fn read_block_unscaled(&self, row: usize, column_block: usize, out: &mut [f32]) {
        let first = column_block * BLOCK;
        assert!(
            row < self.rows && first < self.columns && out.len() == BLOCK.min(self.columns - first),
            "block {column_block} of row {row} of {}x{}",
            self.rows,
            self.columns
        );
        let all = self.all_bytes();
        let element_bytes = self.stored.element_bytes();
        let start = (row * self.columns + first) * element_bytes;
        read_elements(&self.stored, &all[start..][..out.len() * element_bytes], out);
    }
}

/// Converts little-endian elements, which may lie at any address, to f32.
pub(super) fn read_elements(stored: &Stored, bytes: &[u8], out: &mut [f32]) {
    match stored {
        Stored::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Stored::F16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Stored::Bf16 => read_bf16(bytes, out),
        Stored::E4m3 { .. } => E4m3::decode_slice(bytes, out),
    }
}

/// bf16 is the upper half of an f32, so this is a shift; written so that it becomes vector code.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn read_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}
