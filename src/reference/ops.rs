//! The small operations: embedding, RMSNorm, SwiGLU, residual, softmax.

use super::Numerics;
use crate::model::weights::Matrix;

/// Rows `tokens` of the embedding table `[vocab, hidden]`: `[tokens, hidden]`.
///
/// # Panics
/// If a token is outside the table.
pub fn embedding(table: &Matrix, tokens: &[u32], numerics: Numerics) -> Vec<f32> {
    let mut out = vec![0.0; tokens.len() * table.columns()];
    for (&token, row) in tokens.iter().zip(out.chunks_mut(table.columns())) {
        table.read_row(token as usize, row);
    }
    numerics.round(&mut out);
    out
}

/// RMSNorm of each row: `y = x * rsqrt(mean(x²) + epsilon) * weight`; `x` `[rows, weight.len()]`.
///
/// The squares are summed in f64 in ascending order, so that the sum itself adds no error worth mentioning.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, numerics: Numerics) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks(weight.len().max(1)) {
        let squares: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let mean = squares / weight.len() as f64;
        let inverse = 1.0 / (mean + f64::from(epsilon)).sqrt();
        let inverse = inverse as f32;
        y.extend(row.iter().zip(weight).map(|(v, w)| v * inverse * w));
    }
    numerics.round(&mut y);
    y
}

/// `silu(gate) * up`, element by element, in f32 and not rounded: the product that reads it quantises or rounds.
///
/// `silu(x) = x / (1 + exp(-x))`; at large negative `x` it is -0, at an infinite one NaN, as the formula says.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    gate.iter().zip(up).map(|(&gate, &up)| gate / (1.0 + (-gate).exp()) * up).collect()
}

/// Adds `addend` to the residual stream `stream`.
pub fn add_residual(stream: &mut [f32], addend: &[f32], numerics: Numerics) {
    for (sum, value) in stream.iter_mut().zip(addend) {
        *sum += value;
    }
    numerics.round(stream);
}

/// Softmax of one row, in place: `exp(x - max) / sum`, summed in ascending order.
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().fold(f32::NEG_INFINITY, |max, &value| max.max(value));
    let mut sum = 0.0;
    for value in &mut *row {
        *value = (*value - max).exp();
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}

/// `log p(target)` under the softmax of `logits`, in f64.
///
/// # Panics
/// If `target` is out of range.
pub fn log_probability(logits: &[f32], target: u32) -> f64 {
    let max = f64::from(logits.iter().fold(f32::NEG_INFINITY, |max, &value| max.max(value)));
    let sum: f64 = logits.iter().map(|&value| (f64::from(value) - max).exp()).sum();
    f64::from(logits[target as usize]) - max - sum.ln()
}
