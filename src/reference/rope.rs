//! Rotary positional embedding with YaRN: a rotation of pairs of elements by an angle that grows with the position.
//!
//! Sources: YaRN (Peng et al., 2023), sections 3.2 to 3.4; the published code of DeepSeek-V2 and V3. Angles are
//! computed in f64: at position 163,839 an angle in f32 is already off by 1e-3.

use std::f64::consts::PI;

use super::Numerics;
use crate::model::config::{Config, Yarn};

/// Where YaRN's attention factor goes when `mscale` and `mscale_all_dim` differ. Equal values, as all published
/// checkpoints have, make the conventions agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MscaleConvention {
    /// As in Hugging Face transformers: the square of the factor of `mscale_all_dim` multiplies the scores, the
    /// ratio of both factors multiplies cosine and sine. Where one of the two is zero or absent, the factor of 1
    /// stands for the ratio, and an absent `mscale_all_dim` multiplies no scores.
    #[default]
    HuggingFace,
    /// As in DeepSeek's inference code: the square of the factor of `mscale` multiplies the scores, nothing
    /// multiplies cosine and sine. An absent `mscale` is 1.
    DeepSeek,
}

/// The frequencies of a rotation and the factors that go with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position of each pair, `[width / 2]`.
    pub inverse_frequencies: Vec<f64>,
    /// Multiplies cosine and sine.
    pub magnitude: f64,
    /// Multiplies the scores, beside `1 / sqrt(qk_head_dim)`.
    pub softmax_multiplier: f64,
}

impl Rope {
    /// The rotation of `width` elements (even) with base `theta`, stretched by `yarn`.
    pub fn new(width: usize, theta: f64, yarn: Option<&Yarn>, convention: MscaleConvention) -> Self {
        let plain = (0..width / 2).map(|pair| theta.powf(-2.0 * pair as f64 / width as f64));
        let Some(yarn) = yarn else {
            return Self { inverse_frequencies: plain.collect(), magnitude: 1.0, softmax_multiplier: 1.0 };
        };
        // The pair that turns `rotations` times within the original positions.
        let pair_of = |rotations: f64| {
            let positions = yarn.original_max_position_embeddings;
            width as f64 * (positions / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln())
        };
        let low = pair_of(yarn.beta_fast).floor().max(0.0);
        let mut high = pair_of(yarn.beta_slow).ceil().min(width as f64 - 1.0);
        if low == high {
            high += 0.001;
        }
        let inverse_frequencies = plain
            .enumerate()
            .map(|(pair, frequency)| {
                let stretched = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                frequency / yarn.factor * stretched + frequency * (1.0 - stretched)
            })
            .collect();
        let factor =
            |mscale: f64| if yarn.factor <= 1.0 { 1.0 } else { 0.1 * mscale * yarn.factor.ln() + 1.0 };
        let (magnitude, softmax_multiplier) = match convention {
            MscaleConvention::DeepSeek => (1.0, factor(yarn.mscale.unwrap_or(1.0)).powi(2)),
            MscaleConvention::HuggingFace => {
                let all_dim = Some(yarn.mscale_all_dim).filter(|mscale| *mscale != 0.0).map(factor);
                let mscale = yarn.mscale.filter(|mscale| *mscale != 0.0).map(factor);
                let magnitude = mscale.zip(all_dim).map_or(factor(1.0), |(mscale, all_dim)| mscale / all_dim);
                (magnitude, all_dim.map_or(1.0, |all_dim| all_dim.powi(2)))
            }
        };
        Self { inverse_frequencies, magnitude, softmax_multiplier }
    }

    /// The rotation that a configuration describes.
    pub fn from_config(config: &Config, convention: MscaleConvention) -> Self {
        Self::new(config.qk_rope_head_dim, config.rope_theta, config.rope_scaling.as_ref(), convention)
    }

    /// What the scores are multiplied with: `qk_head_dim^-1/2`, times YaRN's multiplier.
    pub fn softmax_scale(&self, qk_head_dim: usize) -> f32 {
        (self.softmax_multiplier / (qk_head_dim as f64).sqrt()) as f32
    }

    /// Cosine and sine of each pair at `position`, magnitude included: `[width / 2]`.
    pub fn rotation(&self, position: usize) -> Vec<(f32, f32)> {
        let rotate = |frequency: &f64| {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            ((cos * self.magnitude) as f32, (sin * self.magnitude) as f32)
        };
        self.inverse_frequencies.iter().map(rotate).collect()
    }
}

/// Rotates one head, `[width]`, whose pairs lie side by side: `(x[2i], x[2i+1])`. Queries and the shared key of MLA.
pub fn rotate_pairs(head: &mut [f32], rotation: &[(f32, f32)], numerics: Numerics) {
    for (pair, &(cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(rotation) {
        let [a, b] = *pair;
        *pair = [a * cos - b * sin, a * sin + b * cos];
    }
    numerics.round(head);
}

/// Rotates one head, `[width]`, whose pairs lie half a head apart: `(x[i], x[i + width/2])`.
pub fn rotate_halves(head: &mut [f32], rotation: &[(f32, f32)], numerics: Numerics) {
    let (first, second) = head.split_at_mut(rotation.len());
    for ((a, b), &(cos, sin)) in first.iter_mut().zip(second).zip(rotation) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
    numerics.round(head);
}
