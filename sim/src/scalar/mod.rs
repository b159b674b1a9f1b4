//! What PTX arithmetic does to one lane, bit for bit: pure functions of numbers or raw bits.
//!
//! Nothing here knows of warps, registers or instructions, so every function is a statement that a test can check on
//! its own. Two layers:
//!
//! * the exact layer ([`exact`], [`mod@format`]): a real number before rounding, and the rounding of it to any binary
//!   format in any direction. It is slow and obviously right;
//! * the instruction layer: one function an instruction, with its modifiers as arguments. What kernels execute most
//!   (round-to-nearest binary32, integers, narrowing to 16 and 8 bits) is branch-free and inlined, so that a loop over
//!   32 lanes becomes vector code; everything else goes through the exact layer.
//!
//! Where the PTX manual leaves a result open (payloads of NaN, random bits of stochastic rounding), the functions say
//! which choice they make and why.

pub mod approximate;
pub mod atomic;
pub mod bits;
pub mod compare;
pub mod convert;
pub mod exact;
pub mod float32;
pub mod float64;
pub mod format;
pub mod half;
pub mod integer;
pub mod packed;

#[cfg(test)]
mod testing;

/// How a number that the destination cannot hold is rounded (PTX ISA 9.7.3, 9.7.9.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// `.rn`: to the nearest, ties to the even significand.
    #[default]
    Nearest,
    /// `.rna`: to the nearest, ties away from zero.
    NearestAway,
    /// `.rz`: toward zero.
    Zero,
    /// `.rm`: toward negative infinity.
    Down,
    /// `.rp`: toward positive infinity.
    Up,
    /// `.rs`: away from zero when the discarded fraction, truncated to `bits` bits, and `random` carry out of them.
    Stochastic {
        /// How many random bits there are.
        bits: u8,
        /// Their value, below 2^`bits`.
        random: u16,
    },
}

impl Rounding {
    /// Whether a magnitude is rounded up, away from zero, given its sign, whether the kept part is odd, and how the
    /// discarded part compares with half a unit. Nothing is discarded where `half` is [`Discarded::Nothing`].
    const fn away_from_zero(self, negative: bool, odd: bool, discarded: Discarded) -> bool {
        match (self, discarded) {
            (_, Discarded::Nothing) => false,
            (Self::Nearest, Discarded::Half) => odd,
            (Self::NearestAway, Discarded::Half) => true,
            (Self::Nearest | Self::NearestAway, _) => matches!(discarded, Discarded::AboveHalf),
            (Self::Zero | Self::Stochastic { .. }, _) => false,
            (Self::Down, _) => negative,
            (Self::Up, _) => !negative,
        }
    }

    /// Whether a magnitude beyond the largest finite one becomes infinity; otherwise it becomes the largest.
    const fn overflows_to_infinity(self, negative: bool) -> bool {
        match self {
            Self::Nearest | Self::NearestAway | Self::Stochastic { .. } => true,
            Self::Zero => false,
            Self::Down => negative,
            Self::Up => !negative,
        }
    }
}

/// The part of a significand that rounding drops, compared with half a unit of what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discarded {
    Nothing,
    BelowHalf,
    Half,
    AboveHalf,
}

/// How a floating-point number is rounded to an integer (PTX ISA 9.7.9.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerRounding {
    /// `.rni`: to the nearest, ties to the even integer.
    Nearest,
    /// `.rzi`: toward zero.
    Zero,
    /// `.rmi`: toward negative infinity.
    Down,
    /// `.rpi`: toward positive infinity.
    Up,
}

/// Modifiers of a floating-point instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FloatMode {
    /// `.rn`, `.rz`, `.rm` or `.rp`.
    pub rounding: Rounding,
    /// `.ftz`: subnormal inputs and results become zero of the same sign.
    pub ftz: bool,
    /// `.sat`: the result is clamped to [0, 1], NaN becomes +0.
    pub sat: bool,
}

/// Modifiers of a floating-point minimum or maximum (PTX ISA 9.7.3.11, 9.7.3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct MinMaxMode {
    /// `.ftz`: subnormal inputs become zero of the same sign.
    pub ftz: bool,
    /// `.NaN`: the result is NaN if any input is; otherwise NaN only if all are.
    pub nan: bool,
    /// `.abs`: the magnitudes are compared.
    pub abs: bool,
    /// `.xorsign`: the sign is the exclusive or of the inputs' signs.
    pub xorsign: bool,
}
