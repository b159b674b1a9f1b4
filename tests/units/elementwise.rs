//! RMSNorm and SwiGLU. Both are products of a few factors, so errors are relative to each element.

use rorqual::reference::Numerics;
use rorqual::reference::ops;

use crate::oracle::{Tensors, assert_close_by};

/// Relative error of an f32 result: a few roundings.
const F32: f64 = 1e-6;

/// Relative error of two bf16 results of the same bf16 inputs: transformers rounds the normed value and its product
/// with the weight, ours is rounded once.
const BF16: f64 = 3.0 / 256.0;

/// Below this f32 loses bits.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64;

pub fn rms_norm(units: &Tensors) {
    let (x, weight) = (units.get("rmsnorm.x"), units.get("rmsnorm.weight"));
    for (name, numerics, relative) in [
        ("rmsnorm.y_f64", Numerics::F32, F32),
        ("rmsnorm.y_hf_f32", Numerics::F32, F32),
        ("rmsnorm.y_hf_bf16", Numerics::KERNEL, BF16),
    ] {
        let (mut values, mut weight) = (x.f32s(), weight.f32s());
        numerics.round(&mut values);
        numerics.round(&mut weight);
        let found = ops::rms_norm(&values, &weight, 1e-6, numerics);
        let expected = units.get(name).floats();
        let worst = assert_close_by(name, &x.shape, &found, &expected, |at| relative * expected[at].abs());
        println!("{name}: worst at {worst:.3} of {relative:e}, relative");
    }
}

pub fn swiglu(units: &Tensors) {
    let (gate, up) = (units.get("swiglu.gate"), units.get("swiglu.up").f32s());
    let found = ops::swiglu(&gate.f32s(), &up);
    for name in ["swiglu.y_f64", "swiglu.y_hf_f32"] {
        let expected = units.get(name).floats();
        let tolerance = |at: usize| F32 * expected[at].abs() + UNDERFLOW;
        let worst = assert_close_by(name, &gate.shape, &found, &expected, tolerance);
        println!("{name}: worst at {worst:.3} of {F32:e}, relative");
    }
}
