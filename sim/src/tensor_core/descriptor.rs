//! Operands of `wgmma` in shared memory: the matrix descriptor and the layouts it names (PTX ISA 9.7.15.5.1).
//!
//! The descriptor's fields are start address `[13:0]`, leading byte offset L `[29:16]`, stride byte offset S
//! `[45:32]`, all in units of 16 bytes, base offset `[51:49]` and swizzle `[63:62]`. With a line a row of A or a
//! column of B, and W the width of the swizzle pattern, an element lies at start plus
//!
//! | | |
//! |---|---|
//! | K-major, no swizzle | `line%8 * 16 + line/8 * S + kb/16 * L + kb%16`, with kb the byte along k |
//! | K-major | `line%8 * W + line/8 * S + kb` |
//! | MN-major, no swizzle | `line%8 * 2 + k%8 * 16 + line/8 * S + k/8 * L` |
//! | MN-major | `line%(W/2) * 2 + k%8 * W + k/8 * S + line/(W/2) * L` |
//!
//! and the swizzle then exchanges 16-byte chunks by the absolute address: address bits 4 and up are XORed with bits 7
//! and up, one, two or three of them for W = 32, 64, 128. That is why a kernel can step along k inside a pattern by
//! adding to the start address. A pattern that does not start at a multiple of its size says so in the base offset,
//! which is taken from bits 7 to 9 before the XOR.

use multiversion::multiversion;
use thiserror::Error;

use super::Panel;
use super::accumulation::Precision;
use super::format::Format;

/// Bytes that stay together under every layout and swizzle.
pub const CHUNK: usize = 16;

/// Why a matrix descriptor cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptorError {
    /// Bits without a meaning are set.
    #[error("the matrix descriptor {0:#018x} has reserved bits set")]
    ReservedBits(u64),
    /// Only 16-bit elements can be MN-major.
    #[error("{0:?} operands of wgmma in shared memory must be K-major")]
    Major(Format),
    /// The operand does not lie in shared memory.
    #[error("the wgmma operand reads 16 bytes at {address:#x}, past the {size:#x} bytes of shared memory")]
    OutOfBounds {
        /// Start of the chunk.
        address: u32,
        /// Bytes of shared memory.
        size: usize,
    },
}

/// The swizzle pattern of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swizzle {
    /// Chunks lie in order.
    None,
    /// Pattern rows of 32 bytes.
    B32,
    /// Pattern rows of 64 bytes.
    B64,
    /// Pattern rows of 128 bytes.
    B128,
}

impl Swizzle {
    /// Bytes of a row of the pattern.
    const fn width(self) -> u32 {
        match self {
            Swizzle::None => 16,
            Swizzle::B32 => 32,
            Swizzle::B64 => 64,
            Swizzle::B128 => 128,
        }
    }
}

/// Which index runs through consecutive bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Major {
    /// k.
    K,
    /// The row of A or column of B (`imm-trans` of 1).
    Mn,
}

/// A decoded matrix descriptor. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Address in the shared memory of the block.
    pub start: u32,
    /// Leading dimension byte offset.
    pub leading: u32,
    /// Stride dimension byte offset.
    pub stride: u32,
    /// Rows by which the swizzle pattern is displaced. The meaning of a value other than 0 is documented but has not
    /// been compared with hardware.
    pub base_offset: u32,
    /// Swizzle pattern.
    pub swizzle: Swizzle,
}

impl Descriptor {
    /// Takes a descriptor apart.
    pub const fn decode(bits: u64) -> Result<Self, DescriptorError> {
        const RESERVED: u64 = 0xc000 | 0xc000 << 16 | 0xc000 << 32 | 1 << 48 | 0x3ff << 52;
        if bits & RESERVED != 0 {
            return Err(DescriptorError::ReservedBits(bits));
        }
        Ok(Self {
            start: (bits as u32 & 0x3fff) << 4,
            leading: ((bits >> 16) as u32 & 0x3fff) << 4,
            stride: ((bits >> 32) as u32 & 0x3fff) << 4,
            base_offset: (bits >> 49) as u32 & 7,
            swizzle: match bits >> 62 {
                0 => Swizzle::None,
                1 => Swizzle::B128,
                2 => Swizzle::B64,
                _ => Swizzle::B32,
            },
        })
    }

    /// Where a byte at `offset` from the start, before swizzling, really lies.
    #[inline(always)]
    const fn swizzled(&self, offset: u32) -> u32 {
        let address = self.start + offset;
        let rows = (address >> 7).wrapping_sub(self.base_offset) & (self.swizzle.width() / 16 - 1);
        address ^ rows << 4
    }
}

/// An operand of `wgmma` in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedOperand {
    descriptor: Descriptor,
    major: Major,
    format: Format,
    lines: usize,
    depth: usize,
}

impl SharedOperand {
    /// The operand with `lines` rows of A or columns of B, a multiple of 8, and 32 bytes of k.
    pub const fn new(
        descriptor: Descriptor,
        major: Major,
        format: Format,
        lines: usize,
    ) -> Result<Self, DescriptorError> {
        if matches!(major, Major::Mn) && format.bits() != 16 {
            return Err(DescriptorError::Major(format));
        }
        Ok(Self { descriptor, major, format, lines, depth: 256 / format.bits() as usize })
    }

    /// The address of an element.
    pub const fn address(&self, line: usize, k: usize) -> u32 {
        let size = self.format.bits() / 8;
        let (outer, byte) = match self.major {
            Major::K => (line, k as u32 * size),
            Major::Mn => (k, line as u32 * size),
        };
        self.chunk_address(outer, byte as usize / CHUNK) + byte % CHUNK as u32
    }

    /// Address of a chunk: of a line if K-major, of a k if MN-major.
    #[inline(always)]
    const fn chunk_address(&self, outer: usize, chunk: usize) -> u32 {
        let Descriptor { leading, stride, swizzle, .. } = self.descriptor;
        let (outer, chunk) = (outer as u32, chunk as u32);
        let width = swizzle.width();
        let (block, row) = (outer / 8, outer % 8);
        let (span, within) = (chunk * 16 / width, chunk * 16 % width);
        let offset = match (self.major, swizzle) {
            (Major::K, Swizzle::None) => row * 16 + block * stride + chunk * leading,
            (Major::K, _) => row * width + block * stride + chunk * 16,
            (Major::Mn, Swizzle::None) => row * 16 + block * leading + chunk * stride,
            (Major::Mn, _) => row * width + block * stride + span * leading + within,
        };
        self.descriptor.swizzled(offset)
    }

    /// The extents of [`chunk_address`](Self::chunk_address).
    const fn extents(&self) -> (usize, usize) {
        match self.major {
            Major::K => (self.lines, 2),
            Major::Mn => (self.depth, self.lines / 8),
        }
    }

    /// The addresses of all 16-byte chunks that the operand reads.
    pub fn chunks(&self) -> impl Iterator<Item = u32> + use<> {
        let operand = *self;
        let (outer, chunks) = operand.extents();
        (0..outer).flat_map(move |outer| (0..chunks).map(move |chunk| operand.chunk_address(outer, chunk)))
    }

    /// Reads the operand into a panel. `memory` is the shared memory of the block.
    pub fn gather(
        &self,
        panel: &mut Panel,
        memory: &[u8],
        precision: Precision,
    ) -> Result<(), DescriptorError> {
        panel.fill_rows(self.format, self.lines, self.depth, precision, |raw| {
            match (self.major, self.format.bits()) {
                (Major::Mn, _) => self.copy_lines(raw, memory),
                (Major::K, 8) => transpose::<8>(self, raw, memory),
                (Major::K, 16) => transpose::<4>(self, raw, memory),
                (Major::K, _) => transpose::<2>(self, raw, memory),
            }
        })
    }

    #[inline(always)]
    fn chunk<'a>(
        &self,
        memory: &'a [u8],
        outer: usize,
        chunk: usize,
    ) -> Result<&'a [u8; CHUNK], DescriptorError> {
        let address = self.chunk_address(outer, chunk);
        let tail = memory.get(address as usize..).and_then(|tail| tail.first_chunk());
        tail.ok_or(DescriptorError::OutOfBounds { address, size: memory.len() })
    }

    /// MN-major: the elements of a k lie in order.
    fn copy_lines(&self, raw: &mut [u8], memory: &[u8]) -> Result<(), DescriptorError> {
        for (k, row) in raw.chunks_exact_mut(self.lines * 2).enumerate() {
            for (chunk, eight) in row.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
                *eight = *self.chunk(memory, k, chunk)?;
            }
        }
        Ok(())
    }
}

/// K-major: transposes squares of `SIDE` elements of `8 / SIDE` bytes, held in words of 8 bytes, 8 squares at a time.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma"))]
fn transpose<const SIDE: usize>(
    operand: &SharedOperand,
    raw: &mut [u8],
    memory: &[u8],
) -> Result<(), DescriptorError> {
    let row_bytes = operand.lines * (8 / SIDE);
    for first in (0..operand.lines).step_by(SIDE * 8) {
        let squares = ((operand.lines - first) / SIDE).min(8);
        for chunk in 0..2 {
            let mut halves = [[[0_u64; 8]; SIDE]; 2];
            let [low_half, high_half] = &mut halves;
            for (line, (low, high)) in low_half.iter_mut().zip(high_half).enumerate() {
                for (square, (low, high)) in low.iter_mut().zip(high).enumerate().take(squares) {
                    let bytes = operand.chunk(memory, first + square * SIDE + line, chunk)?;
                    *low = u64::from_le_bytes(*bytes.first_chunk().expect("half of a chunk"));
                    *high = u64::from_le_bytes(*bytes.last_chunk().expect("half of a chunk"));
                }
            }
            for (half, words) in halves.iter_mut().enumerate() {
                exchange(words);
                for (k, words) in words.iter().enumerate() {
                    let k = (chunk * 2 + half) * SIDE + k;
                    let row = &mut raw[k * row_bytes + first * (8 / SIDE)..][..squares * 8];
                    for (bytes, word) in row.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                        *bytes = word.to_le_bytes();
                    }
                }
            }
        }
    }
    Ok(())
}

/// Transposes a square of elements in each of 8 columns of words, by exchanging ever smaller off-diagonal blocks.
#[inline(always)]
fn exchange<const SIDE: usize>(words: &mut [[u64; 8]; SIDE]) {
    let mut distance = SIDE / 2;
    let mut shift = 32;
    while distance > 0 {
        let mask = u64::MAX / ((1 << shift) + 1);
        for upper in (0..SIDE).filter(|line| line & distance == 0) {
            let (above, below) = words.split_at_mut(upper + distance);
            for (a, b) in above[upper].iter_mut().zip(&mut below[0]) {
                let differ = (*a >> shift ^ *b) & mask;
                *a ^= differ << shift;
                *b ^= differ;
            }
        }
        distance /= 2;
        shift /= 2;
    }
}

#[cfg(test)]
mod tests;
