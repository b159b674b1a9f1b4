//! How the box of a tensor copy is permuted in shared memory (PTX ISA 5.5.7).
//!
//! A swizzle exchanges atoms of 16 bytes (or more) within a span, by address bits above them. It works on bits of the
//! shared address itself: a destination that is no multiple of what the pattern repeats after shifts the pattern.
//!
//! | mode | atom | address bits |
//! |---|---|---|
//! | 32B | 16 | 4 ^= 7 |
//! | 64B | 16 | 5:4 ^= 8:7 |
//! | 128B | 16 | 6:4 ^= 9:7 |
//! | 128B, atom 32B | 32 | 6:5 ^= 8:7 |
//! | 128B, atom 32B with 8B flip | 32 | 6:5 ^= 8:7, 3 ^= 7 |
//! | 128B, atom 64B | 64 | 6 ^= 7 |
//! | 96B | 16 | 4 ^= 7 |

/// The permutation of a box in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Swizzle {
    /// None: rows follow each other.
    None,
    /// Within 32 bytes.
    B32,
    /// Within 64 bytes.
    B64,
    /// Within 128 bytes.
    B128,
    /// Rows of 96 bytes, within 32 (compute capability 10.3; only `tensormap.replace` selects it).
    B96,
    /// Within 128 bytes, atoms of 32.
    B128Atom32,
    /// Within 128 bytes, atoms of 32; loads also exchange the halves of each 16 bytes in odd rows of 128.
    B128Atom32Flip8,
    /// Within 128 bytes, atoms of 64.
    B128Atom64,
}

impl Swizzle {
    /// Every mode.
    pub const ALL: &[Self] = &[
        Self::None,
        Self::B32,
        Self::B64,
        Self::B128,
        Self::B96,
        Self::B128Atom32,
        Self::B128Atom32Flip8,
        Self::B128Atom64,
    ];

    /// The bytes that are permuted among themselves, which a row of the box cannot exceed; 0 without swizzle.
    #[must_use]
    pub const fn span(self) -> u32 {
        match self {
            Self::None => 0,
            Self::B32 => 32,
            Self::B64 => 64,
            Self::B96 => 96,
            Self::B128 | Self::B128Atom32 | Self::B128Atom32Flip8 | Self::B128Atom64 => 128,
        }
    }

    /// The bytes that stay together.
    #[must_use]
    pub const fn unit(self) -> u32 {
        match self {
            Self::None => u32::MAX,
            Self::B128Atom32Flip8 => 8,
            Self::B32 | Self::B64 | Self::B96 | Self::B128 => 16,
            Self::B128Atom32 => 32,
            Self::B128Atom64 => 64,
        }
    }

    /// The address at which the byte lies that would be at `address` without swizzle.
    #[inline]
    #[must_use]
    pub const fn apply(self, address: u32) -> u32 {
        match self {
            Self::None => address,
            Self::B32 | Self::B96 => address ^ address >> 3 & 0x10,
            Self::B64 => address ^ address >> 3 & 0x30,
            Self::B128 => address ^ address >> 3 & 0x70,
            Self::B128Atom32 => address ^ address >> 2 & 0x60,
            Self::B128Atom32Flip8 => address ^ address >> 2 & 0x60 ^ address >> 4 & 0x08,
            Self::B128Atom64 => address ^ address >> 1 & 0x40,
        }
    }

    /// The name in messages and launch files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::B32 => "32B",
            Self::B64 => "64B",
            Self::B128 => "128B",
            Self::B96 => "96B",
            Self::B128Atom32 => "128B_ATOM_32B",
            Self::B128Atom32Flip8 => "128B_ATOM_32B_FLIP_8B",
            Self::B128Atom64 => "128B_ATOM_64B",
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }

    /// The mode with this code of the driver's enumeration.
    #[must_use]
    pub const fn from_driver_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::B32,
            2 => Self::B64,
            3 => Self::B128,
            4 => Self::B128Atom32,
            5 => Self::B128Atom32Flip8,
            6 => Self::B128Atom64,
            _ => return None,
        })
    }

    /// The ISA's codes of swizzle mode and atomicity.
    #[must_use]
    pub const fn isa_codes(self) -> (u32, u32) {
        match self {
            Self::None => (0, 0),
            Self::B32 => (1, 0),
            Self::B64 => (2, 0),
            Self::B128 => (3, 0),
            Self::B96 => (4, 0),
            Self::B128Atom32 => (3, 1),
            Self::B128Atom32Flip8 => (3, 2),
            Self::B128Atom64 => (3, 3),
        }
    }

    /// The mode with these ISA codes of swizzle mode and atomicity. Without swizzle the atomicity means nothing.
    #[must_use]
    pub const fn from_isa_codes(mode: u32, atomicity: u32) -> Option<Self> {
        Some(match (mode, atomicity) {
            (0, 0..=3) => Self::None,
            (1, 0) => Self::B32,
            (2, 0) => Self::B64,
            (3, 0) => Self::B128,
            (4, 0) => Self::B96,
            (3, 1) => Self::B128Atom32,
            (3, 2) => Self::B128Atom32Flip8,
            (3, 3) => Self::B128Atom64,
            _ => return None,
        })
    }
}
