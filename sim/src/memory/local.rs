//! The local memory of one warp: a stack for each lane, addressed from 0.
//!
//! The words of the 32 lanes are interleaved, so that what compilers emit, every lane at the same offset of its own
//! stack, is contiguous.

use super::lanes::{Lane, active, lane_error};
use super::{LANES, LaneError, MemoryError};

/// The bytes of local memory that a thread can have (CUDA C++ programming guide, compute capabilities).
pub const MAX_LOCAL_BYTES: u32 = 512 << 10;

/// Bit i set: byte i of the word is undefined.
const UNDEFINED_WORD: u8 = 0xf;

/// The local memory of one warp.
#[derive(Debug, Clone, Default)]
pub struct LocalMemory {
    /// Word w of every lane.
    words: Vec<[u32; LANES]>,
    /// The undefined bytes of word w of every lane.
    undefined: Vec<[u8; LANES]>,
    /// The bytes of each lane's stack.
    tops: [u32; LANES],
}

impl LocalMemory {
    /// Empty stacks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes that the stacks of all lanes take on the host.
    #[must_use]
    pub const fn host_bytes(&self) -> u64 {
        Self::host_bytes_of(self.words.len() as u64 * 4)
    }

    /// The bytes that stacks of so many bytes take on the host.
    #[must_use]
    pub const fn host_bytes_of(stack: u64) -> u64 {
        stack.div_ceil(4) * (LANES * (size_of::<u32>() + size_of::<u8>())) as u64
    }

    /// Opens a frame of `bytes` at `base` of the stacks of these lanes. Nothing in it is defined. Frames begin at
    /// multiples of 4.
    ///
    /// # Errors
    /// [`MemoryError::StackOverflow`].
    pub fn enter(&mut self, lanes: u32, base: u32, bytes: u32) -> Result<(), MemoryError> {
        let top = u64::from(base) + u64::from(bytes);
        if top > u64::from(MAX_LOCAL_BYTES) {
            return Err(MemoryError::StackOverflow { bytes: top });
        }
        let words = top.div_ceil(4) as usize;
        if words > self.words.len() {
            self.words.resize(words, [0; LANES]);
            self.undefined.resize(words, [UNDEFINED_WORD; LANES]);
        }
        for word in &mut self.undefined[(base / 4) as usize..words] {
            active(lanes).for_each(|lane| word[lane] = UNDEFINED_WORD);
        }
        active(lanes).for_each(|lane| self.tops[lane] = top as u32);
        Ok(())
    }

    /// Closes the frames at and above `base` of the stacks of these lanes.
    pub fn leave(&mut self, lanes: u32, base: u32) {
        active(lanes).for_each(|lane| self.tops[lane] = base);
    }

    /// Checks the access of one lane.
    #[inline(always)]
    fn check(&self, lane: usize, offset: u32, bytes: u32) -> Result<(), Box<LaneError>> {
        let top = self.tops[lane];
        if offset > top || bytes > top - offset {
            return Err(lane_error(lane, MemoryError::LocalBounds { offset, bytes, top }));
        }
        if !offset.is_multiple_of(bytes) {
            return Err(lane_error(lane, MemoryError::Misaligned { address: offset.into(), align: bytes }));
        }
        Ok(())
    }

    /// Loads `BYTES` (1, 2, 4 or 8) for every lane of `mask`, from `addresses[lane] + offset` of its stack,
    /// zero-extended; the lanes of `mask` that loaded something defined. Structs lie here, and compilers copy them by
    /// words: padding beside a field does not make the word undefined. Other lanes of `out` stay.
    ///
    /// # Errors
    /// A lane's access is not aligned, or not within its stack; `out` is unspecified then.
    #[inline]
    pub fn load_lanes<const BYTES: usize, R: Lane>(
        &self,
        addresses: &[u32; LANES],
        offset: u32,
        mask: u32,
        out: &mut [R; LANES],
    ) -> Result<u32, Box<LaneError>> {
        let mut defined = 0;
        for lane in active(mask) {
            let at = addresses[lane].wrapping_add(offset);
            self.check(lane, at, BYTES as u32)?;
            let (word, shift) = ((at / 4) as usize, at % 4);
            let (mut value, mut undefined) = (u64::from(self.words[word][lane]), self.undefined[word][lane]);
            if BYTES == 8 {
                value |= u64::from(self.words[word + 1][lane]) << 32;
                undefined &= self.undefined[word + 1][lane];
            }
            out[lane] = R::from_bits(value >> (8 * shift) & (u64::MAX >> (64 - 8 * BYTES)));
            defined |= u32::from(undefined >> shift & word_mask(BYTES) != word_mask(BYTES)) << lane;
        }
        Ok(defined)
    }

    /// Stores the low `BYTES` (1, 2, 4 or 8) of `values` for every lane of `mask`, at `addresses[lane] + offset` of
    /// its stack. Bit i of `defined` says whether the value of lane i is defined.
    ///
    /// # Errors
    /// A lane's access is not aligned, or not within its stack; nothing is stored then.
    #[inline]
    pub fn store_lanes<const BYTES: usize, R: Lane>(
        &mut self,
        addresses: &[u32; LANES],
        offset: u32,
        mask: u32,
        values: &[R; LANES],
        defined: u32,
    ) -> Result<(), Box<LaneError>> {
        for lane in active(mask) {
            self.check(lane, addresses[lane].wrapping_add(offset), BYTES as u32)?;
        }
        for lane in active(mask) {
            let at = addresses[lane].wrapping_add(offset);
            let (word, shift) = ((at / 4) as usize, at % 4);
            let value = values[lane].to_bits();
            let undefined = if defined >> lane & 1 == 0 { word_mask(BYTES) } else { 0 };
            if BYTES >= 4 {
                self.words[word][lane] = value as u32;
                self.undefined[word][lane] = undefined;
                if BYTES == 8 {
                    self.words[word + 1][lane] = (value >> 32) as u32;
                    self.undefined[word + 1][lane] = undefined;
                }
            } else {
                let mask = ((1u32 << (8 * BYTES)) - 1) << (8 * shift);
                let old = self.words[word][lane];
                self.words[word][lane] = old & !mask | (value as u32) << (8 * shift) & mask;
                let old = self.undefined[word][lane];
                self.undefined[word][lane] = old & !(word_mask(BYTES) << shift) | undefined << shift;
            }
        }
        Ok(())
    }
}

/// The mask of the bytes of a word that an access of `bytes` covers.
#[inline(always)]
const fn word_mask(bytes: usize) -> u8 {
    if bytes >= 4 { UNDEFINED_WORD } else { (1 << bytes) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = u32::MAX;

    #[test]
    fn every_width_against_bytes() {
        let mut memory = LocalMemory::new();
        memory.enter(ALL, 0, 64).unwrap();
        let addresses: [u32; LANES] = std::array::from_fn(|lane| (lane as u32 % 4) * 8);
        let values: [u64; LANES] =
            std::array::from_fn(|lane| 0x0123_4567_89ab_cdef ^ (lane as u64) << 32 ^ lane as u64);
        memory.store_lanes::<8, u64>(&addresses, 16, ALL, &values, ALL).unwrap();
        let mut out = [0u64; LANES];
        for byte in 0..8 {
            assert_eq!(memory.load_lanes::<1, u64>(&addresses, 16 + byte, ALL, &mut out), Ok(ALL));
            for lane in 0..LANES {
                assert_eq!(out[lane], values[lane] >> (8 * byte) & 0xff);
            }
        }
        memory.store_lanes::<2, u32>(&addresses, 18, 0xff00, &[0xbeef; LANES], 0).unwrap();
        assert_eq!(memory.load_lanes::<2, u64>(&addresses, 18, ALL, &mut out), Ok(!0xff00));
        assert_eq!(
            memory.load_lanes::<8, u64>(&addresses, 16, ALL, &mut out),
            Ok(ALL),
            "padding beside fields"
        );
        assert_eq!(out[9], values[9] & !0xffff_0000 | 0xbeef_0000);
        assert_eq!(memory.load_lanes::<4, u64>(&addresses, 20, ALL, &mut out), Ok(ALL));
        assert_eq!(out[31], values[31] >> 32);
        let mut narrow = [7u32; LANES];
        assert_eq!(memory.load_lanes::<4, u32>(&addresses, 16, 1, &mut narrow), Ok(1));
        assert_eq!((narrow[0], narrow[1]), (values[0] as u32, 7));
    }

    #[test]
    fn frames_are_undefined_and_bounded_by_lane() {
        let mut memory = LocalMemory::new();
        let mut out = [0u32; LANES];
        memory.enter(0b11, 0, 8).unwrap();
        assert_eq!(memory.load_lanes::<4, u32>(&[0; LANES], 0, 0b11, &mut out), Ok(0));
        memory.store_lanes::<4, u32>(&[0; LANES], 4, 0b11, &[5; LANES], ALL).unwrap();
        assert_eq!(memory.load_lanes::<4, u32>(&[0; LANES], 4, 0b11, &mut out), Ok(0b11));
        let error = memory.load_lanes::<4, u32>(&[0; LANES], 0, 0b111, &mut out).unwrap_err();
        assert_eq!((error.lane, error.error), (2, MemoryError::LocalBounds { offset: 0, bytes: 4, top: 0 }));
        assert!(memory.store_lanes::<4, u32>(&[0; LANES], 8, 1, &[5; LANES], ALL).is_err());
        assert!(memory.load_lanes::<4, u32>(&[0; LANES], 2, 1, &mut out).unwrap_err().error.is_alignment());
        memory.enter(0b01, 4, 8).unwrap();
        assert_eq!(memory.load_lanes::<4, u32>(&[0; LANES], 4, 0b11, &mut out), Ok(0b10));
        memory.leave(0b01, 4);
        assert!(memory.load_lanes::<4, u32>(&[0; LANES], 4, 0b01, &mut out).is_err());
        assert_eq!(
            memory.enter(1, MAX_LOCAL_BYTES, 4),
            Err(MemoryError::StackOverflow { bytes: u64::from(MAX_LOCAL_BYTES) + 4 })
        );
    }
}
