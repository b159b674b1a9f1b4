//! Single operations against `units.safetensors` and the FP8 products of one checkpoint: numbers in float64, or of
//! transformers and torch, for inputs that models rarely have (zeros, infinities, ties, far positions).
//!
//! [`CHECKS`] says for each family of tensors how it is covered. A check asks the file for what it compares, and the
//! file remembers; so [`every_tensor_is_compared_with_something`] fails for a tensor that no check has asked for,
//! unless it is on the list [`NOT_YET`].

mod elementwise;
mod fp8;
mod gate;
mod mla;
#[path = "../network/oracle.rs"]
mod oracle;
mod rope;

use oracle::{Tensors, fixture};

/// A family of tensors, how it is covered, and the check.
type Check = (&'static str, &'static str, fn(&Tensors));

const CHECKS: &[Check] = &[
    ("rmsnorm.", "rms_norm against float64 and transformers, in f32 and bf16", elementwise::rms_norm),
    ("swiglu.", "swiglu against float64 and transformers", elementwise::swiglu),
    (
        "rope.",
        "frequencies, rotations, factors of six configurations; pairs, halves, both layouts",
        rope::rope,
    ),
    ("gate.", "scores, kept groups, experts and weights of six kinds of logits", gate::gate),
    (
        "mla.",
        "naive and absorbed outputs, absorbed queries, latent outputs, sums; all but sparse_*",
        mla::mla,
    ),
    ("fp8.cast_", "encoding f32 to e4m3, one by one and by slice", fp8::cast),
    ("fp8.decode_", "decoding all 256 codes", fp8::decode),
    (
        "fp8.act.",
        "1x128 quantisation, both scale formats; the reciprocal variant is told apart",
        fp8::activations,
    ),
    ("fp8.block.", "128x128 quantisation and its inverse, both scale formats", fp8::blocks),
    ("fp8.gemm.", "the block-scaled product of given codes and scales", fp8::gemm),
];

/// Tensors that nothing here computes yet, by a part of their names.
const NOT_YET: &[&str] = &["grpo.", "sparse_"];

fn units() -> Tensors {
    Tensors::open(&fixture("units").join("units.safetensors"))
}

/// `units.json`, the parameters.
fn parameters() -> serde_json::Value {
    oracle::json(&fixture("units").join("units.json"))
}

fn run(family: &str) {
    let (_, _, check) = CHECKS.iter().find(|(name, ..)| *name == family).expect("a check");
    check(&units());
}

#[test]
fn rms_norm() {
    run("rmsnorm.");
}

#[test]
fn swiglu() {
    run("swiglu.");
}

#[test]
fn rope_and_yarn() {
    run("rope.");
}

#[test]
fn gates() {
    run("gate.");
}

#[test]
fn attention() {
    run("mla.");
}

#[test]
fn e4m3_encoding() {
    run("fp8.cast_");
}

#[test]
fn e4m3_decoding() {
    run("fp8.decode_");
}

#[test]
fn activation_quantisation() {
    run("fp8.act.");
}

#[test]
fn weight_quantisation() {
    run("fp8.block.");
}

#[test]
fn block_scaled_product() {
    run("fp8.gemm.");
}

#[test]
fn every_tensor_is_compared_with_something() {
    let units = units();
    assert_eq!(units.names().count(), 218);
    for (family, how, check) in CHECKS {
        let before = units.unread().len();
        check(&units);
        let covered = before - units.unread().len();
        let of_family = units.names().filter(|name| name.starts_with(family) && !not_yet(name)).count();
        println!("{family}*: {covered} tensors: {how}");
        assert_eq!(covered, of_family, "{family}: tensors compared");
    }
    let missed: Vec<&str> = units.unread().into_iter().filter(|name| !not_yet(name)).collect();
    assert_eq!(missed, [""; 0], "tensors that nothing was compared with");
    let stale: Vec<&str> =
        units.names().filter(|name| not_yet(name) && !units.unread().contains(name)).collect();
    assert_eq!(stale, [""; 0], "tensors that are compared: take them off NOT_YET");
}

fn not_yet(name: &str) -> bool {
    NOT_YET.iter().any(|part| name.contains(part))
}
