//! The addresses of a warp's access: what a lane's address and value are, and the patterns worth a fast path.

use std::ops::{BitOr, BitXor};

use super::{LANES, LaneError, MemoryError, Window, classify};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// The register of one lane that a load fills or a store reads: 32 or 64 bits.
pub trait Lane: Copy + sealed::Sealed {
    /// The register that holds these bits; those beyond its width are dropped.
    fn from_bits(bits: u64) -> Self;
    /// The register's bits, zero-extended.
    fn to_bits(self) -> u64;
}

impl Lane for u32 {
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        bits as Self
    }
    #[inline(always)]
    fn to_bits(self) -> u64 {
        u64::from(self)
    }
}

impl Lane for u64 {
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        bits
    }
    #[inline(always)]
    fn to_bits(self) -> u64 {
        self
    }
}

/// The address of one lane: 32 bits (shared, local) or 64 bits (global, generic).
pub trait Address: Lane + Eq + BitXor<Output = Self> + BitOr<Output = Self> {
    /// The sum, modulo the width of an address.
    #[must_use]
    fn plus(self, offset: Self) -> Self;
}

impl Address for u32 {
    #[inline(always)]
    fn plus(self, offset: Self) -> Self {
        self.wrapping_add(offset)
    }
}

impl Address for u64 {
    #[inline(always)]
    fn plus(self, offset: Self) -> Self {
        self.wrapping_add(offset)
    }
}

/// How the addresses of a warp's access lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern<A> {
    /// Every lane is active and at this address.
    Uniform(A),
    /// Every lane is active and lane i is i elements behind this address.
    UnitStride(A),
    /// Anything else.
    Scattered,
}

/// The pattern of an access of `BYTES` bytes a lane. Alignment and bounds are the caller's to check.
#[inline(always)]
pub(super) fn pattern<const BYTES: usize, A: Address>(
    addresses: &[A; LANES],
    offset: A,
    mask: u32,
) -> Pattern<A> {
    if mask != u32::MAX {
        return Pattern::Scattered;
    }
    // The second lane tells which of the two patterns is possible; all lanes are then compared without a branch.
    let first = addresses[0];
    if lies::<0, A>(addresses) {
        Pattern::Uniform(first.plus(offset))
    } else if lies::<BYTES, A>(addresses) {
        Pattern::UnitStride(first.plus(offset))
    } else {
        Pattern::Scattered
    }
}

/// Whether each address is `STEP` bytes behind the one before.
#[inline(always)]
fn lies<const STEP: usize, A: Address>(addresses: &[A; LANES]) -> bool {
    let first = addresses[0];
    if addresses[1] != first.plus(A::from_bits(STEP as u64)) {
        return false;
    }
    let mut difference = A::from_bits(0);
    for (lane, &address) in addresses.iter().enumerate() {
        difference = difference | (address ^ first.plus(A::from_bits((lane * STEP) as u64)));
    }
    difference == A::from_bits(0)
}

/// The lanes of a mask, ascending.
#[inline(always)]
pub(super) fn active(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        (left != 0).then(|| {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            lane
        })
    })
}

/// Boxes the error of a lane.
#[cold]
pub(super) fn lane_error(lane: usize, error: MemoryError) -> Box<LaneError> {
    Box::new(LaneError { lane: lane as u32, error })
}

/// Checks that the addresses of the active lanes are multiples of `align`, a power of two: the natural alignment of
/// a whole vector, where the lane methods check only that of a component (PTX ISA, 6.4.1).
///
/// # Errors
/// [`MemoryError::Misaligned`], with the lowest lane that is not aligned.
#[inline]
pub fn check_alignment<A: Address>(
    addresses: &[A; LANES],
    offset: A,
    mask: u32,
    align: u32,
) -> Result<(), Box<LaneError>> {
    let low = u64::from(align) - 1;
    let mut wrong = 0;
    for (lane, address) in addresses.iter().enumerate() {
        wrong |= u32::from(address.plus(offset).to_bits() & low != 0) << lane;
    }
    if wrong & mask == 0 {
        return Ok(());
    }
    let lane = (wrong & mask).trailing_zeros() as usize;
    let address = addresses[lane].plus(offset).to_bits();
    Err(lane_error(lane, MemoryError::Misaligned { address, align }))
}

/// The active lanes by window, in the order global, shared, local, parameters, none.
#[must_use]
pub fn classify_lanes(addresses: &[u64; LANES], offset: u64, mask: u32) -> [u32; 5] {
    let mut lanes = [0; 5];
    for lane in active(mask) {
        let window = match classify(addresses[lane].wrapping_add(offset)) {
            Window::Global => 0,
            Window::Shared(_) => 1,
            Window::Local(_) => 2,
            Window::Param(_) => 3,
            Window::Multicast | Window::None => 4,
        };
        lanes[window] |= 1 << lane;
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{GLOBAL_BASE, LOCAL_WINDOW_BASE, SHARED_WINDOW_BASE};

    #[test]
    fn patterns() {
        let unit: [u32; LANES] = std::array::from_fn(|lane| 100 + 4 * lane as u32);
        assert_eq!(pattern::<4, _>(&unit, 8, u32::MAX), Pattern::UnitStride(108));
        assert_eq!(pattern::<8, _>(&unit, 8, u32::MAX), Pattern::Scattered);
        assert_eq!(pattern::<4, _>(&unit, 8, 1), Pattern::Scattered);
        assert_eq!(pattern::<2, _>(&[7u64; LANES], u64::MAX, u32::MAX), Pattern::Uniform(6));
        for lane in 0..LANES {
            let mut odd = unit;
            odd[lane] += 4;
            assert_eq!(pattern::<4, _>(&odd, 0, u32::MAX), Pattern::Scattered, "{lane}");
        }
    }

    #[test]
    fn alignment_names_the_lowest_active_lane() {
        let mut addresses = [0u64; LANES];
        addresses[3] = 8;
        addresses[5] = 4;
        assert!(check_alignment(&addresses, 0, u32::MAX, 4).is_ok());
        assert!(check_alignment(&addresses, 0, !0x28, 16).is_ok());
        let error = check_alignment(&addresses, 0, u32::MAX, 16).unwrap_err();
        assert_eq!(error.lane, 3);
        assert!(error.error.is_alignment());
        assert_eq!(check_alignment(&addresses, 0, 0x20, 8).unwrap_err().lane, 5);
        assert!(check_alignment(&[12u32; LANES], 4, u32::MAX, 16).is_ok());
    }

    #[test]
    fn lanes_by_window() {
        let mut addresses = [GLOBAL_BASE; LANES];
        addresses[1] = SHARED_WINDOW_BASE;
        addresses[2] = LOCAL_WINDOW_BASE;
        addresses[3] = 12;
        assert_eq!(classify_lanes(&addresses, 4, 0xff), [0xf1, 2, 4, 0, 8]);
    }
}
