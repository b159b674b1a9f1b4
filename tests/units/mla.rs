//! Multi-head latent attention in both forms, and the absorbed form step by step.
//!
//! A result is a sum of products of either sign, so that a small element may be as wrong as a large one: tolerances are
//! absolute. Another f32 implementation was off by 1.7e-6, with outputs of about 0.7; twice that is allowed. Absorbed
//! queries are shorter sums: 1e-6 of their root mean square.

use half::bf16;
use rorqual::model::weights::Matrix;
use rorqual::reference::Numerics;
use rorqual::reference::mla::{Attended, HeadSpec, absorb, absorbed, latent_attention, naive};

use crate::oracle::{Tensors, assert_close, rms};

const CASES: [&str; 3] = ["small", "real_prefill", "real_decode"];

/// Of an output, or the logarithm of a sum.
const OUTPUT: f64 = 2.0 * 1.7e-6;

/// Of an absorbed query, in units of the root mean square.
const ABSORBED_QUERY: f64 = 1e-6;

pub fn mla(units: &Tensors) {
    for case in CASES {
        check(units, case);
    }
}

fn check(units: &Tensors, case: &str) {
    let parameters = &crate::parameters()["mla"][case];
    let number = |key: &str| parameters[key].as_u64().expect("a number") as usize;
    let spec = HeadSpec {
        heads: number("heads"),
        nope: number("qk_nope"),
        rope: number("qk_rope"),
        value: number("v"),
        latent: number("kv_lora"),
        softmax_scale: parameters["softmax_scale"].as_f64().expect("a number") as f32,
    };
    let tensor = |part: &str| units.get(&format!("mla.{case}.{part}"));
    let side_by_side = |a: &str, a_width: usize, b: &str, b_width: usize| -> Vec<f32> {
        let (a, b) = (tensor(a).f32s(), tensor(b).f32s());
        a.chunks(a_width).zip(b.chunks(b_width)).flat_map(|(a, b)| [a, b].concat()).collect()
    };
    let queries = side_by_side("q_nope", spec.nope, "q_pe", spec.rope);
    let cache = side_by_side("ckv", spec.latent, "kpe", spec.rope);
    let weight = tensor("wkv_b");
    let weights: Vec<bf16> = weight.f32s().into_iter().map(bf16::from_f32).collect();
    let kv_b = Matrix::from_bf16(weight.shape[0], weight.shape[1], &weights);

    let close = |part: &str, of: &str, found: &[f32]| {
        let expected = tensor(part);
        let tolerance = match part {
            "q_absorbed_f64" => ABSORBED_QUERY * rms(&expected.floats()),
            _ => OUTPUT,
        };
        let what = format!("mla.{case}.{part}, {of}");
        let worst = assert_close(&what, &expected.shape, found, &expected.floats(), tolerance);
        println!("{what}: worst at {worst:.3} of {tolerance:.1e}");
    };
    let Attended { output, lse } = naive(&queries, &cache, &kv_b, &spec, Numerics::F32);
    close("out_naive_f64", "naive", &output);
    close("lse_f64", "naive", &lse);
    let Attended { output, lse } = absorbed(&queries, &cache, &kv_b, &spec, Numerics::F32);
    close("out_absorbed_f64", "absorbed", &output);
    close("lse_f64", "absorbed", &lse);

    let absorbed_queries = absorb(&queries, &kv_b, &spec, Numerics::F32);
    let in_latent_space: Vec<f32> =
        absorbed_queries.chunks(spec.cache_row()).flat_map(|row| &row[..spec.latent]).copied().collect();
    close("q_absorbed_f64", "absorb", &in_latent_space);
    let (latent_out, lse) = latent_attention(&absorbed_queries, &cache, &spec, Numerics::F32);
    close("latent_out_f64", "latent_attention", &latent_out);
    close("lse_f64", "latent_attention", &lse);
}
