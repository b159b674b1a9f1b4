//! Where the elements of sparse A belong (PTX ISA 9.7.17.6.1).
//!
//! Of every four consecutive elements of a row two are held, and four bits of metadata say at which places, low bits
//! first; of tf32 it is one of two, and the bits count its halves. With `g = lane / 4` and `t = lane % 4`, the metadata
//! of 16- and 32-bit elements lies in the lanes with t = 0 and 1, or 2 and 3 as the selector says: a lane has four
//! groups of row g in its lower half and of row g + 8 in its upper half. For 8-bit elements all lanes take part: a lane
//! has eight groups of row g (t even) or g + 8 (t odd), from the first half of k (t < 2) or the second.

use super::WARP_ROWS;
use crate::tensor_core::Format;

/// How the metadata of a product is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sparsity {
    bits: u32,
    upper_lanes: bool,
}

impl Sparsity {
    /// Of A in this format; `upper_lanes` if the selector is 1.
    pub const fn new(format: Format, upper_lanes: bool) -> Self {
        Self { bits: format.bits(), upper_lanes }
    }

    /// The lanes whose metadata is read.
    pub const fn lanes(self) -> u32 {
        match (self.bits, self.upper_lanes) {
            (8, _) => u32::MAX,
            (_, false) => 0x3333_3333,
            (_, true) => 0xcccc_cccc,
        }
    }

    /// The place in the packed row of the element at `k` of a row; `None` if it is zero. The metadata is that of each
    /// warp.
    pub fn place(self, row: usize, k: usize, metadata: [&[u32; 32]; 4]) -> Option<usize> {
        let group_elements = if self.bits == 32 { 2 } else { 4 };
        let (group, within) = (k / group_elements, k % group_elements);
        let (g, lower) = (row % 8, row % WARP_ROWS / 8);
        let (t, shift) = if self.bits == 8 {
            (lower + 2 * (group / 8), 4 * (group % 8))
        } else {
            (group / 4 + if self.upper_lanes { 2 } else { 0 }, 16 * lower + 4 * (group % 4))
        };
        let indices = metadata[row / WARP_ROWS][4 * g + t] >> shift & 0xf;
        if self.bits == 32 {
            return ((indices & 3) as usize / 2 == within).then_some(group);
        }
        let held = (0..2).find(|index| (indices >> (2 * index) & 3) as usize == within)?;
        Some(2 * group + held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of all elements of a product of `64 * 8 / bits` along k.
    fn places(sparsity: Sparsity, metadata: &[u32; 32]) -> Vec<Option<usize>> {
        let depth = 512 / sparsity.bits as usize;
        (0..64)
            .flat_map(|row| (0..depth).map(move |k| (row, k)))
            .map(|(row, k)| sparsity.place(row, k, [metadata; 4]))
            .collect()
    }

    #[test]
    fn the_lanes_that_are_read_are_those_named() {
        for (format, upper_lanes) in [
            (Format::Bf16, false),
            (Format::Bf16, true),
            (Format::Tf32, false),
            (Format::Tf32, true),
            (Format::E4m3, false),
        ] {
            let sparsity = Sparsity::new(format, upper_lanes);
            let first = places(sparsity, &[0x4444_4444; 32]);
            for lane in 0..32 {
                let mut metadata = [0x4444_4444; 32];
                metadata[lane] = 0xeeee_eeee;
                let read = places(sparsity, &metadata) != first;
                assert_eq!(read, sparsity.lanes() >> lane & 1 == 1, "{format:?}, lane {lane}");
            }
        }
    }
}
