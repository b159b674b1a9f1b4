//! The activation of gated experts, as every kernel computes it.
//!
//! ```text
//! gate = min(gate, limit), up = max(-limit, min(up, limit))      with a limit; NaN stays NaN
//! y = gate / (1 + exp(-gate)) * up                               SwiGLU
//! y = gate / (1 + exp(-(alpha * gate))) * (up + beta)            with a shape of its own
//! ```
//!
//! Source: Shazeer, GLU Variants Improve Transformer (2020).

use rorqual_codegen::Value;

/// Above, the exponential is infinite or nothing beside 1.
const LARGEST: f32 = 100.0;
/// What an f32 lacks of log2(e).
const LOG2_E_LOW: f32 = 1.925_963e-8;

/// An activation of pairs of gate and up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activation<'k> {
    /// The bound of the inputs, if there is one.
    pub(crate) limit: Option<Value<'k, f32>>,
    /// Its shape, if it is not SwiGLU.
    pub(crate) shape: Option<Shape<'k>>,
}

/// The shape of an activation: SwiGLU has an alpha of 1 and a beta of 0, but for the sign of zeros.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'k> {
    pub(crate) alpha: Value<'k, f32>,
    pub(crate) beta: Value<'k, f32>,
}

impl<'k> Activation<'k> {
    /// The activation of a pair.
    #[track_caller]
    pub(crate) fn of(&self, gate: Value<'k, f32>, up: Value<'k, f32>) -> Value<'k, f32> {
        let (mut gate, mut up) = (gate, up);
        if let Some(limit) = self.limit {
            gate = at_most(gate, limit);
            up = -at_most(-at_most(up, limit), limit);
        }
        let (exponent, factor) = match self.shape {
            None => (gate, up),
            Some(Shape { alpha, beta }) => (alpha * gate, up + beta),
        };
        gate * 0.25 * quarter_sum(exponent).reciprocal_flushed() * factor
    }
}

/// `(1 + exp(-x)) / 4`, off by less than 2^-21: a quarter, since its reciprocal is then never denormal.
///
/// `exp(-x) = 2^y * 2^rest`, where `y` is the rounded product of `-x` with the logarithm and `rest` what it lacks.
#[track_caller]
fn quarter_sum(x: Value<'_, f32>) -> Value<'_, f32> {
    let negated = -x.max_nan(-LARGEST).min_nan(LARGEST);
    let y = negated * std::f32::consts::LOG2_E;
    let rest = negated.fma(LOG2_E_LOW, negated.fma(std::f32::consts::LOG2_E, -y));
    let exponential = y.exp2_flushed() * rest.fma(std::f32::consts::LN_2, 1.0);
    exponential.fma(0.25, 0.25)
}

/// The smaller of a value and a bound; NaN stays NaN.
#[track_caller]
fn at_most<'k>(value: Value<'k, f32>, bound: Value<'k, f32>) -> Value<'k, f32> {
    value.greater(bound).select(bound, value)
}
