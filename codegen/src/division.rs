//! Division by a number that is known while a kernel is generated, as a product.
//!
//! The assembler keeps a general division for `div.u32` by a constant: a reciprocal in f32, held in a register around
//! loops, and two corrections. For `n < 2^31` and `2^(s-1) < d <= 2^s`, with `m = ceil(2^(31+s) / d)`, which has 32 bits,
//! `n / d = n * m / 2^(31+s)`: `m * d` exceeds the power by less than `2^s`, which `n` times is less than `2^(31+s)`.
//!
//! Source: Granlund and Montgomery, Division by Invariant Integers using Multiplication (PLDI 1994), theorem 4.2.

use crate::value::Value;

/// Factor and shift behind the upper half of the product, for a divisor of at least 2.
const fn reciprocal(divisor: u32) -> (u32, u32) {
    let bits = u32::BITS - (divisor - 1).leading_zeros();
    let factor = (1_u64 << (31 + bits)).div_ceil(divisor as u64);
    (factor as u32, bits - 1)
}

impl<'k> Value<'k, u32> {
    /// The quotient of a value below 2^31 and a divisor from 1 to 2^31; of larger values any number.
    #[must_use]
    #[track_caller]
    pub fn divide_by_known(self, divisor: u32) -> Self {
        if divisor <= 1 || self.known().is_some() {
            return self / divisor;
        }
        let builder = self.builder();
        let (factor, shift) = reciprocal(divisor);
        let factor = builder.constant(factor);
        builder.compute::<u32>("mul.hi.u32", &[self.operand(), factor.operand()]) >> shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quotient(value: u32, divisor: u32) -> u32 {
        let (factor, shift) = reciprocal(divisor);
        (((u64::from(value) * u64::from(factor)) >> 32) >> shift) as u32
    }

    #[test]
    fn quotients_are_exact_at_the_ends() {
        for divisor in (2..2000).chain([(1 << 16) - 1, 1 << 16, (1 << 16) + 1, i32::MAX as u32, 1 << 31]) {
            for multiple in [0, divisor, i32::MAX as u32 / divisor * divisor] {
                for value in [multiple.saturating_sub(1), multiple, multiple + 1, i32::MAX as u32] {
                    let value = value.min(i32::MAX as u32);
                    assert_eq!(quotient(value, divisor), value / divisor, "{value} / {divisor}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn quotients_are_exact(value in 0..1_u32 << 31, bits in 1..31_u32, low in any::<u32>()) {
            let divisor = (1 << bits | (low & ((1 << bits) - 1))).max(2);
            prop_assert_eq!(quotient(value, divisor), value / divisor);
        }
    }
}
