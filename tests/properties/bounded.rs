//! A float64 value with a bound on how far f32 arithmetic may be from it.

use std::ops::{Add, Div, Mul, Neg, Sub};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rorqual::num::round_to_bf16;
use rorqual::reference::{Numerics, Precision};

/// Half a unit in the last place of an f32, relative.
pub const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// The smallest positive f32: what a subnormal result may be off by.
pub const SUBNORMAL: f64 = 1.401_298_464_324_817e-45;

const LARGEST: f64 = f32::MAX as f64;

/// What f32 arithmetic gives is within `error` of `value`. An infinity or NaN has error 0: it must come out the same.
/// An infinite error allows everything: a sum may or may not overflow, depending on its order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

impl Bounded {
    pub const ZERO: Self = Self { value: 0.0, error: 0.0 };
    const ANYTHING: Self = Self { value: 0.0, error: f64::INFINITY };

    pub fn exact(value: f32) -> Self {
        Self { value: f64::from(value), error: 0.0 }
    }

    /// `value`, but for an error that is infinite or NaN because of its own operands.
    fn new(value: f64, error: f64) -> Self {
        match (value.is_finite(), error.is_finite()) {
            (false, _) => Self { value, error: 0.0 },
            (true, false) => Self::ANYTHING,
            (true, true) => Self { value, error },
        }
    }

    fn is_anything(self) -> bool {
        self.error.is_infinite()
    }

    /// Whether it may be zero, or of either sign, without being an exact zero.
    fn is_of_doubtful_sign(self) -> bool {
        self.error > 0.0 && self.error >= self.value.abs()
    }

    /// Computed in f32 by operations that are off by `relative` together.
    pub fn computed(self, relative: f64) -> Self {
        if self.is_anything() || !self.value.is_finite() {
            return self;
        }
        let error = self.error + relative * self.value.abs() + SUBNORMAL;
        if self.value.abs() - error > LARGEST {
            return Self { value: self.value.signum() * f64::INFINITY, error: 0.0 };
        }
        if self.value.abs() + error > LARGEST { Self::ANYTHING } else { Self { error, ..self } }
    }

    /// Both ends of what it may be, as f32.
    pub fn ends(self) -> (f32, f32) {
        ((self.value - self.error) as f32, (self.value + self.error) as f32)
    }

    /// The image under a rounding that never reverses an order.
    pub fn rounded(self, round: impl Fn(f32) -> f32) -> Self {
        if self.is_anything() {
            return self;
        }
        let value = f64::from(round(self.value as f32));
        let (low, high) = self.ends();
        let (low, high) = (f64::from(round(low)), f64::from(round(high)));
        if low == high || self.error == 0.0 {
            return Self { value, error: 0.0 };
        }
        let error = (high - value).max(value - low);
        if error.is_finite() { Self { value, error } } else { Self::ANYTHING }
    }

    pub fn bf16(self) -> Self {
        self.rounded(round_to_bf16)
    }

    /// What an activation is stored as.
    pub fn stored(self, numerics: Numerics) -> Self {
        match numerics.precision {
            Precision::F32 => self,
            Precision::Kernel => self.bf16(),
        }
    }

    /// `exp`, of a number that is not positive but for its error.
    pub fn exp(self) -> Self {
        if self.is_anything() {
            return self;
        }
        let value = self.value.exp();
        Self::new(value, value * self.error.exp_m1()).computed(4.0 * ROUNDING)
    }

    pub fn abs(self) -> Self {
        Self { value: self.value.abs(), ..self }
    }

    fn admits(self, found: f32) -> bool {
        let found = f64::from(found);
        if self.is_anything() {
            return true;
        }
        match self.value.is_finite() {
            true => (found - self.value).abs() <= self.error,
            false => found == self.value || (found.is_nan() && self.value.is_nan()),
        }
    }
}

impl Neg for Bounded {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

/// The operators are exact: they carry errors on and add none. [`Bounded::computed`] adds that of f32.
impl Add for Bounded {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        if self.is_anything() || other.is_anything() {
            return Self::ANYTHING;
        }
        Self::new(self.value + other.value, self.error + other.error)
    }
}

impl Sub for Bounded {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Bounded {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let doubtful = |a: Self, b: Self| a.value.is_infinite() && b.is_of_doubtful_sign();
        if self.is_anything() || other.is_anything() || doubtful(self, other) || doubtful(other, self) {
            return Self::ANYTHING;
        }
        let error =
            self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Self::new(self.value * other.value, error)
    }
}

impl Div for Bounded {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        if self.is_anything() || other.is_anything() || other.is_of_doubtful_sign() {
            return Self::ANYTHING;
        }
        let value = self.value / other.value;
        Self::new(value, (self.error + value.abs() * other.error) / (other.value.abs() - other.error))
    }
}

/// The sum of products, in f32 and in any order.
pub fn dot(pairs: impl IntoIterator<Item = (Bounded, Bounded)>) -> Bounded {
    let (mut sum, mut magnitude, mut terms) = (Bounded::ZERO, 0.0, 0.0);
    for (a, b) in pairs {
        let product = a * b;
        sum = sum + product;
        if product.value.is_finite() {
            magnitude += product.value.abs() + product.error;
        }
        terms += 1.0;
    }
    // A rounding for each product and each sum; the network cuts long sums and adds the pieces.
    let error = (1.1 * terms + 3.0) * (ROUNDING * magnitude + SUBNORMAL);
    if sum.is_anything() || magnitude + error > LARGEST {
        return Bounded::ANYTHING;
    }
    Bounded::new(sum.value, sum.error + error)
}

pub fn exact(values: &[f32]) -> Vec<Bounded> {
    values.iter().map(|&value| Bounded::exact(value)).collect()
}

/// Fails at the first element that is further off than its bound.
pub fn expect_within(found: &[f32], expected: &[Bounded]) -> TestCaseResult {
    prop_assert_eq!(found.len(), expected.len());
    for (at, (&found, expected)) in found.iter().zip(expected).enumerate() {
        prop_assert!(expected.admits(found), "element {at}: {found:e}, expected {expected:?}");
    }
    Ok(())
}

#[test]
fn a_bound_admits_what_is_in_it_and_nothing_else() {
    let third = Bounded { value: 1.0 / 3.0, error: ROUNDING };
    assert!(third.admits(1.0 / 3.0) && !third.admits(0.334) && !third.admits(f32::NAN));
    let infinity = Bounded::exact(f32::INFINITY);
    assert!(infinity.admits(f32::INFINITY) && !infinity.admits(f32::NEG_INFINITY));
    assert!(!infinity.admits(f32::NAN) && !infinity.admits(f32::MAX));
    assert!(Bounded::exact(f32::NAN).admits(f32::NAN) && !Bounded::exact(f32::NAN).admits(0.0));
}

#[test]
fn a_rounding_is_exact_unless_it_is_in_doubt() {
    let clear = Bounded { value: 1.001, error: 1e-6 }.bf16();
    assert_eq!(clear, Bounded { value: 1.0, error: 0.0 });
    let midpoint = Bounded { value: 1.0 + 1.0 / 256.0, error: 1e-6 }.bf16();
    assert!(midpoint.admits(1.0) && midpoint.admits(1.0 + 1.0 / 128.0) && !midpoint.admits(1.0 + 1.0 / 64.0));
}

#[test]
fn infinite_products_are_in_doubt_only_where_a_zero_is() {
    let infinity = Bounded::exact(f32::INFINITY);
    assert!((infinity * Bounded::ZERO).value.is_nan());
    assert_eq!(infinity * Bounded { value: 1.0, error: 0.1 }, infinity);
    assert!((infinity * Bounded { value: 0.1, error: 0.2 }).is_anything());
    let huge = Bounded::exact(f32::MAX);
    assert!(dot([(huge, huge), (huge, -huge)]).is_anything());
}
