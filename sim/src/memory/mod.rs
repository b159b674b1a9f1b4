//! The memory of simulated devices: global memory shared by all threads of the simulation, the shared memory of a CTA
//! and the local memory of a warp, and the generic address space they are windows of.
//!
//! Every byte knows whether its value is defined. Reading an undefined byte is no error here: a load says which lanes
//! are defined, and the machine reports when an undefined value reaches an address, a branch or an output.
//!
//! | generic addresses | window |
//! |---|---|
//! | [`SHARED_WINDOW_BASE`] + `shared::cluster` address | shared memory of the CTAs of the cluster |
//! | [`LOCAL_WINDOW_BASE`] + offset | local memory of the executing thread |
//! | [`PARAM_WINDOW_BASE`] + offset | parameters of the kernel |
//! | [`MULTICAST_BASE`] ... | multicast objects: memory of several devices at once, for `multimem` instructions |
//! | [`GLOBAL_BASE`] + (device << 36) ... | global memory, one range a device |

mod allocation;
mod device;
mod error;
mod global;
mod lanes;
pub mod local;
mod shared;

pub use allocation::Allocation;
pub use device::DeviceMemory;
pub use error::{LaneError, MemoryError};
pub use global::{GlobalMemory, UndefinedWrite};
pub use lanes::{Address, Lane, check_alignment, classify_lanes};
pub use local::{LocalMemory, MAX_LOCAL_BYTES};
pub use shared::{SharedMemory, lanes_of_rank, shared_rank};

/// The lanes of a warp.
pub(crate) const LANES: usize = 32;

/// First generic address of the shared window. The window is 2^32 bytes; its low 32 bits are `shared::cluster`
/// addresses, so that address arithmetic on the CTA rank works on generic addresses too.
pub const SHARED_WINDOW_BASE: u64 = 0x0000_6000_0000_0000;
/// First generic address of the local window of 2^32 bytes.
pub const LOCAL_WINDOW_BASE: u64 = 0x0000_6001_0000_0000;
/// First generic address of the window of kernel parameters, of 2^32 bytes.
pub const PARAM_WINDOW_BASE: u64 = 0x0000_6002_0000_0000;
/// First address of global memory, that of device 0.
pub const GLOBAL_BASE: u64 = 0x0000_7f00_0000_0000;
/// The address after global memory.
pub const GLOBAL_END: u64 = 0x0000_8000_0000_0000;
/// First address of multicast objects.
pub const MULTICAST_BASE: u64 = 0x0000_7e00_0000_0000;
/// The address after multicast objects.
pub const MULTICAST_END: u64 = 0x0000_7e80_0000_0000;
/// Binary logarithm of the address range of a device.
pub const DEVICE_SHIFT: u32 = 36;
/// The devices that have an address range.
pub const MAX_DEVICES: u32 = ((GLOBAL_END - GLOBAL_BASE) >> DEVICE_SHIFT) as u32;
/// Offset of a CTA's data in its shared memory: the first 1 KiB belongs to the system.
pub const SHARED_DATA_OFFSET: u32 = 0x400;
/// Where the rank of the CTA in its cluster begins in a shared address.
pub const SHARED_RANK_SHIFT: u32 = 24;

/// The flag of a defined byte, where definedness is kept one byte a byte. An undefined byte has flag 0.
pub const DEFINED: u8 = 0xff;

/// The state space that a generic address points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// Global memory (constants included), at the same address.
    Global,
    /// Shared memory, at this `shared::cluster` address.
    Shared(u32),
    /// Local memory of the executing thread, at this offset.
    Local(u32),
    /// Parameters of the kernel, at this offset.
    Param(u32),
    /// A multicast object, at the same address.
    Multicast,
    /// No window at all.
    None,
}

/// The window that a generic address is in.
#[inline]
#[must_use]
pub const fn classify(generic: u64) -> Window {
    const SHARED: u64 = SHARED_WINDOW_BASE >> 32;
    const LOCAL: u64 = LOCAL_WINDOW_BASE >> 32;
    const PARAM: u64 = PARAM_WINDOW_BASE >> 32;
    if generic >= GLOBAL_BASE && generic < GLOBAL_END {
        return Window::Global;
    }
    if generic >= MULTICAST_BASE && generic < MULTICAST_END {
        return Window::Multicast;
    }
    let offset = generic as u32;
    match generic >> 32 {
        SHARED => Window::Shared(offset),
        LOCAL => Window::Local(offset),
        PARAM => Window::Param(offset),
        _ => Window::None,
    }
}

/// What a load of at most 16 bytes found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// The bytes, little-endian, zero-extended.
    pub bits: u128,
    /// The bytes that are defined: bit i is byte i.
    pub defined: u16,
}

impl Loaded {
    /// Whether the first `bytes` bytes are defined.
    #[must_use]
    pub const fn is_defined(&self, bytes: u32) -> bool {
        let all = byte_mask(bytes);
        self.defined & all == all
    }

    /// The low 64 bits.
    #[must_use]
    pub const fn low(&self) -> u64 {
        self.bits as u64
    }
}

/// The mask of the first `bytes` bytes of an access of at most 16.
#[inline]
#[must_use]
pub const fn byte_mask(bytes: u32) -> u16 {
    if bytes >= 16 { u16::MAX } else { (1 << bytes) - 1 }
}

/// Whether every flag says "defined". Branch-free, as the flags nearly always do.
#[inline(always)]
pub(crate) fn all_defined(flags: &[u8]) -> bool {
    flags.iter().fold(DEFINED, |all, flag| all & flag) == DEFINED
}

/// What memory holds that nothing was ever written to: NaN in every float format of 16 bits and more, and different
/// from word to word, so that a program that uses it computes visible nonsense.
pub(crate) const fn poison_word(index: u64) -> u64 {
    let mixed = (index ^ index >> 17).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    0x7ff0_7ff0_7ff0_7ff0 | mixed >> 32 & 0x000f_000f_000f_000f | 0x0001_0001_0001_0001
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap_and_keep_the_low_bits() {
        assert_eq!(classify(SHARED_WINDOW_BASE + 0x0100_0400), Window::Shared(0x0100_0400));
        assert_eq!(classify((SHARED_WINDOW_BASE + 0x0100_0400) ^ 0x0100_0000), Window::Shared(0x0400));
        assert_eq!(classify(SHARED_WINDOW_BASE - 1), Window::None);
        assert_eq!(classify(LOCAL_WINDOW_BASE), Window::Local(0));
        assert_eq!(classify(LOCAL_WINDOW_BASE - 1), Window::Shared(u32::MAX));
        assert_eq!(classify(PARAM_WINDOW_BASE + 8), Window::Param(8));
        assert_eq!(classify(PARAM_WINDOW_BASE + (1 << 32)), Window::None);
        assert_eq!(classify(GLOBAL_BASE), Window::Global);
        assert_eq!(classify(GLOBAL_END), Window::None);
        assert_eq!(classify(MULTICAST_BASE), Window::Multicast);
        assert_eq!(classify(MULTICAST_BASE - 1), Window::None);
        assert_eq!(classify(0), Window::None);
        assert_eq!(MAX_DEVICES, 16);
    }

    #[test]
    fn poison_is_not_a_number() {
        for index in 0..1000 {
            let word = poison_word(index);
            assert!(f64::from_bits(word).is_nan());
            assert!(f32::from_bits(word as u32).is_nan() && f32::from_bits((word >> 32) as u32).is_nan());
            for half in 0..4 {
                let bits = (word >> (16 * half)) as u16;
                assert!(bits & 0x7f80 == 0x7f80 && bits & 0x7f != 0 && bits & 0x3ff != 0, "{bits:#x}");
            }
        }
        assert_ne!(poison_word(1), poison_word(2));
    }
}
