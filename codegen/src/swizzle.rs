//! Swizzles of shared memory: permutations of 16-byte chunks that keep rows apart in the banks (PTX ISA 5.5.7).

use crate::contract::SwizzleMode;
use crate::value::Value;

/// A permutation of byte offsets: `offset ^ ((offset >> shift) & mask)`. Its own inverse, since the bits that are read
/// are not those that are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Swizzle {
    mask: u32,
    shift: u32,
}

impl Swizzle {
    /// Offsets as they are.
    pub const NONE: Self = Self { mask: 0, shift: 0 };

    /// What the hardware does for a mode of tensor copies and wgmma descriptors: chunks of 16 bytes are exchanged
    /// within rows of 32, 64 or 128 bytes by the row's index in a pattern of 2, 4 or 8 rows of 128 bytes.
    #[must_use]
    pub const fn of(mode: SwizzleMode) -> Self {
        match mode {
            SwizzleMode::None => Self::NONE,
            SwizzleMode::B32 => Self { mask: 0x10, shift: 3 },
            SwizzleMode::B64 => Self { mask: 0x30, shift: 3 },
            SwizzleMode::B128 => Self { mask: 0x70, shift: 3 },
        }
    }

    /// Exchanges the chunks of `chunk_bytes` of a row of `row_bytes` by the row's index; both powers of two, at least
    /// two chunks a row.
    #[must_use]
    pub const fn by_row(chunk_bytes: u32, row_bytes: u32) -> Self {
        let chunks = row_bytes / chunk_bytes;
        Self { mask: (chunks - 1) * chunk_bytes, shift: chunks.trailing_zeros() }
    }

    /// The offset after the permutation.
    #[must_use]
    pub const fn apply(self, offset_bytes: u32) -> u32 {
        offset_bytes ^ ((offset_bytes >> self.shift) & self.mask)
    }

    /// The offset after the permutation, computed by the kernel.
    #[must_use]
    #[track_caller]
    pub fn apply_value(self, offset_bytes: Value<'_, u32>) -> Value<'_, u32> {
        if self.mask == 0 {
            return offset_bytes;
        }
        offset_bytes ^ ((offset_bytes >> self.shift) & self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODES: [SwizzleMode; 4] =
        [SwizzleMode::None, SwizzleMode::B32, SwizzleMode::B64, SwizzleMode::B128];

    proptest! {
        #[test]
        fn applied_twice_it_is_nothing(offset in 0_u32..1 << 17, mode in 0_usize..4) {
            let swizzle = Swizzle::of(MODES[mode]);
            prop_assert_eq!(swizzle.apply(swizzle.apply(offset)), offset);
            prop_assert_eq!(swizzle.apply(offset) >> 7, offset >> 7, "it stays in its 128 bytes");
            prop_assert_eq!(swizzle.apply(offset) & 15, offset & 15, "chunks of 16 bytes stay whole");
        }
    }

    #[test]
    fn eight_rows_of_128_bytes_lie_in_different_banks() {
        let swizzle = Swizzle::by_row(16, 128);
        assert_eq!(swizzle, Swizzle::of(SwizzleMode::B128));
        let chunks: Vec<u32> = (0..8).map(|row| swizzle.apply(128 * row) % 128 / 16).collect();
        assert_eq!(chunks, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
