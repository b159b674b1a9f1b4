//! Rotation and YaRN, at positions up to 163,839.
//!
//! Our angles are f64, so cosine and sine are within one f32 rounding of float64. Those of transformers come from an
//! f32 frequency and an f32 product: an error of the angle of up to two roundings, times the position.
//!
//! transformers reads adjacent pairs but writes `[evens | odds]`; ours leaves pairs in place.

use rorqual::model::config::Yarn;
use rorqual::reference::Numerics;
use rorqual::reference::rope::{MscaleConvention, Rope, rotate_halves, rotate_pairs};
use serde_json::Value;

use crate::oracle::{Tensor, Tensors, assert_close, assert_close_by};

const CONFIGURATIONS: [&str; 6] = ["real", "plain", "v2lite", "mscale_ne", "no_all_dim", "theta500k"];

const WIDTH: usize = 64;

/// Elements of a query or key head in the published models, which the scale of the scores in `units.json` is for.
const QK_HEAD: usize = 192;

/// Half a unit in the last place of an f32 in `1..2`: one rounding, relative.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// A rotated element is two products and a sum, and cosine and sine are rounded: relative to the length of the pair.
const ROTATED: f64 = 1e-6;

pub fn rope(units: &Tensors) {
    let positions = units.get("rope.positions").integers();
    for name in CONFIGURATIONS {
        configuration(units, name, &positions);
    }
    rotated(units, &positions);
}

fn configuration(units: &Tensors, name: &str, positions: &[u32]) {
    let parameters = &crate::parameters()["rope"][name];
    let rope = from_parameters(parameters);
    let tensor = |part: &str| units.get(&format!("rope.{name}.{part}"));

    let frequencies = tensor("inv_freq_f64").floats();
    assert_eq!(rope.inverse_frequencies.len(), frequencies.len());
    let of_transformers = tensor("inv_freq_hf_f32").floats();
    for (pair, (found, expected)) in rope.inverse_frequencies.iter().zip(&frequencies).enumerate() {
        let error = (found / expected - 1.0).abs();
        assert!(error <= 1e-13, "{name}, frequency of pair {pair}: {found} instead of {expected}");
        let error = (of_transformers[pair] / expected - 1.0).abs();
        assert!(error <= 1e-6, "{name}, transformers' frequency of pair {pair} is off by {error}");
    }
    let same = |what: &str, found: f64, key: &str| {
        let expected = parameters[key].as_f64().expect("a number");
        let error = (found / expected - 1.0).abs();
        assert!(error <= 1e-7, "{name}, {what}: {found} instead of {expected}");
    };
    same("factor of cosine and sine", rope.magnitude, "cos_sin_multiplier");
    same("transformers' factor of cosine and sine", rope.magnitude, "hf_attention_scaling");
    same("factor of the scores", rope.softmax_multiplier, "softmax_multiplier");
    same("scale of the scores", f64::from(rope.softmax_scale(QK_HEAD)), "softmax_scale_qk192");

    let rotations: Vec<(f32, f32)> = positions.iter().flat_map(|&p| rope.rotation(p as usize)).collect();
    let (cos, sin): (Vec<f32>, Vec<f32>) = rotations.into_iter().unzip();
    let pairs = WIDTH / 2;
    let angle = |at: usize| f64::from(positions[at / pairs]) * frequencies[at % pairs];
    for (part, found) in [("cos", cos), ("sin", sin)] {
        let exact = tensor(&format!("{part}_f64"));
        let what = format!("rope.{name}.{part}");
        // The angle itself is f64 on both sides; at 163,839 radians its last place is 3e-11.
        let rounding = rope.magnitude * 1.01 * ROUNDING;
        let worst = assert_close(&what, &exact.shape, &found, &exact.floats(), rounding);
        let f32_angle = |at: usize| rope.magnitude * (4.0 * ROUNDING * angle(at) + 4.0 * ROUNDING);
        let expected = tensor(&format!("{part}_hf_f32")).floats();
        let hf = assert_close_by(&format!("{what}_hf_f32"), &exact.shape, &found, &expected, f32_angle);
        println!("{what}: worst at {worst:.3} of one rounding; {hf:.3} of transformers' own");
    }
}

fn from_parameters(parameters: &Value) -> Rope {
    let theta = parameters["theta"].as_f64().expect("theta");
    let scaling = &parameters["rope_scaling"];
    let number = |key: &str| scaling[key].as_f64().unwrap_or_else(|| panic!("{key} in {scaling}"));
    let yarn = scaling.is_object().then(|| Yarn {
        factor: number("factor"),
        original_max_position_embeddings: number("original_max_position_embeddings"),
        beta_fast: number("beta_fast"),
        beta_slow: number("beta_slow"),
        mscale: Some(number("mscale")),
        mscale_all_dim: number("mscale_all_dim"),
    });
    Rope::new(WIDTH, theta, yarn.as_ref(), MscaleConvention::HuggingFace)
}

/// Queries of two heads and the shared key, under the published configuration.
fn rotated(units: &Tensors, positions: &[u32]) {
    let rope = from_parameters(&crate::parameters()["rope"]["real"]);
    for name in ["rope.q", "rope.k"] {
        let x = units.get(name);
        let values = x.floats();
        // In each layout, which pair an element belongs to; in the first also which elements a pair has.
        let pair_length = |row: usize, first: usize, second: usize| {
            values[row * WIDTH + first].hypot(values[row * WIDTH + second])
        };
        let half = WIDTH / 2;
        let adjacent = |at: usize| pair_length(at / WIDTH, at % WIDTH / 2 * 2, at % WIDTH / 2 * 2 + 1);
        let apart = |at: usize| pair_length(at / WIDTH, at % half, at % half + half);

        let pairs = rotate(x, positions, &rope, rotate_pairs);
        let what = format!("{name}_pairs_f64");
        let expected = units.get(&what).floats();
        let worst = assert_close_by(&what, &x.shape, &pairs, &expected, |at| ROTATED * adjacent(at));
        println!("{what}: worst at {worst:.3} of {ROTATED:e} of the pair");

        let what = format!("{name}_halves_f64");
        let (halves, expected) = (rotate(x, positions, &rope, rotate_halves), units.get(&what).floats());
        let worst = assert_close_by(&what, &x.shape, &halves, &expected, |at| ROTATED * apart(at));
        println!("{what}: worst at {worst:.3} of {ROTATED:e} of the pair");

        // transformers' layout, out of ours: all even elements of a head, then all odd ones.
        let what = format!("{name}_hf_f32");
        let from = |at: usize| at / WIDTH * WIDTH + at % half * 2 + at % WIDTH / half;
        let permuted: Vec<f32> = (0..pairs.len()).map(|at| pairs[from(at)]).collect();
        let (expected, of_pair) = (units.get(&what).floats(), |at: usize| ROTATED * adjacent(from(at)));
        let worst = assert_close_by(&what, &x.shape, &permuted, &expected, of_pair);
        println!("{what}: worst at {worst:.3} of {ROTATED:e} of the pair");
    }
}

/// Rotates `[heads, positions, width]`.
fn rotate(
    x: &Tensor,
    positions: &[u32],
    rope: &Rope,
    rotate: impl Fn(&mut [f32], &[(f32, f32)], Numerics),
) -> Vec<f32> {
    let mut values = x.f32s();
    for (row, head) in values.chunks_mut(WIDTH).enumerate() {
        let position = positions[row % positions.len()] as usize;
        rotate(head, &rope.rotation(position), Numerics::F32);
    }
    values
}
