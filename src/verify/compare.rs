//! Comparison, element by element: what must be equal, what may differ, and by how much.

use thiserror::Error;

/// A result that is wrong.
#[derive(Debug, Clone, PartialEq, Error)]
#[error(
    "{kernel} ({case}): {tensor}{coordinate:?} is {got}, expected {expected} within {tolerance:e}; {wrong} of {elements} elements are wrong"
)]
pub struct Mismatch {
    /// The kernel.
    pub kernel: String,
    /// Shapes and values.
    pub case: String,
    /// The tensor.
    pub tensor: &'static str,
    /// Where the worst element is.
    pub coordinate: Vec<usize>,
    /// What is there.
    pub got: f32,
    /// What should be.
    pub expected: f32,
    /// How far off it may be.
    pub tolerance: f32,
    /// Elements that are wrong.
    pub wrong: usize,
    /// Elements.
    pub elements: usize,
}

/// A result of a case, and what its elements must be.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The kernel.
    pub kernel: &'a str,
    /// Shapes and values.
    pub case: &'a str,
    /// The tensor.
    pub tensor: &'static str,
    /// Its shape.
    pub shape: &'a [usize],
}

impl Comparison<'_> {
    /// Compares elements of which each has its own tolerance; NaN must be NaN, an infinity the same infinity. The worst
    /// error in units of its tolerance.
    ///
    /// # Errors
    /// The worst element, if any is further off than its tolerance.
    pub fn within(
        &self,
        got: &[f32],
        expected: &[f32],
        tolerance: impl Fn(usize) -> f32,
    ) -> Result<f64, Mismatch> {
        let elements = self.shape.iter().product();
        assert!(
            got.len() == elements && expected.len() == elements,
            "{} elements of {}",
            elements,
            self.tensor
        );
        let (mut worst, mut worst_at, mut wrong) = (0.0_f64, None, 0);
        for (at, (&got, &expected)) in got.iter().zip(expected).enumerate() {
            let ratio = ratio(got, expected, tolerance(at));
            wrong += usize::from(ratio > 1.0);
            if ratio > worst {
                (worst, worst_at) = (ratio, Some(at));
            }
        }
        match worst_at {
            Some(at) if wrong > 0 => Err(Mismatch {
                kernel: self.kernel.to_owned(),
                case: self.case.to_owned(),
                tensor: self.tensor,
                coordinate: self.coordinate(at),
                got: got[at],
                expected: expected[at],
                tolerance: tolerance(at),
                wrong,
                elements,
            }),
            _ => Ok(worst),
        }
    }

    /// Compares elements that must be the same, zeros of either sign and all NaNs alike.
    ///
    /// # Errors
    /// The first element that differs.
    pub fn equal(&self, got: &[f32], expected: &[f32]) -> Result<(), Mismatch> {
        self.within(got, expected, |_| 0.0).map(|_| ())
    }

    fn coordinate(&self, at: usize) -> Vec<usize> {
        let mut rest = at;
        let mut coordinate: Vec<usize> = self
            .shape
            .iter()
            .rev()
            .map(|extent| {
                let index = rest % extent.max(&1);
                rest /= extent.max(&1);
                index
            })
            .collect();
        coordinate.reverse();
        coordinate
    }
}

/// The error in units of the tolerance; infinite if an element is not finite where the other is, or not equal where
/// nothing is tolerated.
fn ratio(got: f32, expected: f32, tolerance: f32) -> f64 {
    if got == expected || (got.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !expected.is_finite() {
        return f64::INFINITY;
    }
    let error = (f64::from(got) - f64::from(expected)).abs();
    if error <= f64::from(tolerance) {
        error / f64::from(tolerance)
    } else {
        (error / f64::from(tolerance)).max(2.0)
    }
}

/// One unit in the last place of bf16 at this value.
pub fn bf16_ulp(value: f32) -> f32 {
    let exponent = (value.abs().to_bits() >> 23).max(1) as i32 - 127;
    // In f64: the power of a denormal would come out as 1 / infinity.
    2.0_f64.powi((exponent - 7).max(-133)) as f32
}
