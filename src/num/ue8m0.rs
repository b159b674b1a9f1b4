//! The 8-bit power of two that scales a block of quantised values.

/// An unsigned power of two: code `c` is 2^(`c` - 127), and code 255 is NaN.
///
/// The format is E8M0 of the OCP Microscaling Formats (MX) Specification 1.0, `float8_e8m0fnu` in
/// PyTorch and `ue8m0` in PTX. There is no zero and no sign. Equality and hashing are of the code,
/// so NaN equals itself.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ue8m0(u8);

code_type!(Ue8m0);

impl Ue8m0 {
    /// The smallest value, 2^-127, which as an f32 is subnormal.
    pub const MIN: Self = Self(0x00);
    /// The value 1.
    pub const ONE: Self = Self(0x7f);
    /// The largest value, 2^127.
    pub const MAX: Self = Self(0xfe);
    /// The only NaN.
    pub const NAN: Self = Self(0xff);

    /// The smallest power of two that is at least `x`, for a scale that must cover `x`.
    ///
    /// Zero, negative values and everything else below 2^-127 give [`Ue8m0::MIN`], values above
    /// 2^127 give [`Ue8m0::MAX`], and NaN gives [`Ue8m0::NAN`].
    #[inline]
    pub const fn from_f32_ceil(x: f32) -> Self {
        if x.is_nan() {
            return Self::NAN;
        }
        let bits = x.max(0.0).to_bits();
        let exponent = (bits >> 23) as u8;
        let mantissa = bits & 0x7f_ffff;
        // A binade starts at an all-zero mantissa, except that 2^-127 is half of the subnormals'.
        let power_of_two = if exponent == 0 { 0x40_0000 } else { 0 };
        let code = exponent.saturating_add((mantissa > power_of_two) as u8);
        if code > Self::MAX.0 { Self::MAX } else { Self(code) }
    }

    /// The value equal to `x`, if `x` is a power of two from 2^-127 to 2^127.
    #[inline]
    pub fn from_f32_exact(x: f32) -> Option<Self> {
        let candidate = Self::from_f32_ceil(x);
        (candidate.to_f32() == x).then_some(candidate)
    }

    /// The exact value as an f32; NaN gives [`f32::NAN`].
    #[inline]
    pub const fn to_f32(self) -> f32 {
        match self {
            Self::NAN => f32::NAN,
            Self::MIN => f32::from_bits(0x40_0000),
            Self(code) => f32::from_bits((code as u32) << 23),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every code that is a number, in ascending order of value.
    fn numbers() -> impl Iterator<Item = Ue8m0> {
        (0..=0xfe).map(Ue8m0::from_bits)
    }

    #[test]
    fn every_code_decodes_to_its_formula_and_back() {
        for x in numbers() {
            let formula = 2f64.powi(i32::from(x.to_bits()) - 127);
            assert_eq!(f64::from(x.to_f32()), formula);
            assert_eq!(Ue8m0::from_f32_ceil(x.to_f32()), x);
            assert_eq!(Ue8m0::from_f32_exact(x.to_f32()), Some(x));
        }
        assert!(Ue8m0::NAN.to_f32().is_nan());
    }

    #[test]
    fn ceil_steps_up_just_above_each_power_of_two() {
        for x in numbers() {
            let value = x.to_f32();
            let next = Ue8m0::from_bits(x.to_bits() + 1);
            let above = if x == Ue8m0::MAX { Ue8m0::MAX } else { next };
            assert_eq!(Ue8m0::from_f32_ceil(value.next_up()), above, "{x:e}", x = value);
            assert_eq!(Ue8m0::from_f32_ceil(value.next_down()), x, "{x:e}", x = value);
        }
    }

    #[test]
    fn ceil_clamps_at_both_ends() {
        for x in [0.0, -0.0, -1.0, f32::MIN, f32::NEG_INFINITY, f32::from_bits(1)] {
            assert_eq!(Ue8m0::from_f32_ceil(x), Ue8m0::MIN, "{x:e}");
        }
        for x in [f32::MAX, f32::INFINITY] {
            assert_eq!(Ue8m0::from_f32_ceil(x), Ue8m0::MAX, "{x:e}");
        }
        assert_eq!(Ue8m0::from_f32_ceil(f32::NAN), Ue8m0::NAN);
        assert_eq!(Ue8m0::from_f32_ceil(-f32::NAN), Ue8m0::NAN);
    }

    #[test]
    fn exact_rejects_everything_else() {
        let half_of_smallest = f32::from_bits(0x20_0000);
        for x in [0.0, -0.0, -1.0, 3.0, 1.5, half_of_smallest, f32::MAX, f32::INFINITY, f32::NAN] {
            assert_eq!(Ue8m0::from_f32_exact(x), None, "{x:e}");
        }
    }

    #[test]
    fn constants_and_display() {
        assert_eq!(f32::from(Ue8m0::ONE), 1.0);
        assert_eq!(f32::from(Ue8m0::MIN), 2f32.powi(-127));
        assert_eq!(f32::from(Ue8m0::MAX), 2f32.powi(127));
        assert_eq!(Ue8m0::from_bits(125).to_string(), "0.25");
        assert_eq!(Ue8m0::NAN.to_string(), "NaN");
    }

    proptest! {
        #[test]
        fn ceil_is_the_smallest_cover_by_brute_force(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            let expected = if x.is_nan() {
                Ue8m0::NAN
            } else {
                numbers().find(|scale| scale.to_f32() >= x).unwrap_or(Ue8m0::MAX)
            };
            prop_assert_eq!(Ue8m0::from_f32_ceil(x), expected, "{:e}", x);
            let exact = numbers().find(|scale| scale.to_f32() == x);
            prop_assert_eq!(Ue8m0::from_f32_exact(x), exact, "{:e}", x);
        }
    }
}
