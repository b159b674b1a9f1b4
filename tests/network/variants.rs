//! Settings that the other fixtures do not have: very small checkpoints written by transformers, and what it computes
//! from them. `tests/fixtures/variants/make_variants.py` makes them, with margins for which expert and which token.

use std::fs;
use std::panic::catch_unwind;

use rorqual::reference::Precision;
use rorqual::reference::mla::Form;
use rorqual::reference::model::Segment;

use crate::oracle::{Tensors, assert_close, assert_same, fixture, rms};
use crate::run;

const VARIANTS: [&str; 15] = [
    "v2-greedy-null-groups",
    "v2-no-q-lora",
    "v2-tied",
    "v3-all-dense",
    "v3-f16-sharded",
    "v3-no-norm-topk",
    "v3-no-shared",
    "v3-odd-sizes",
    "v3-one-group-all-moe",
    "v3-one-head-no-q-lora",
    "v3-rope-scaling-null",
    "v3-tied",
    "v3-yarn-mscale-all-dim-only",
    "v3-yarn-mscale-differs",
    "v3-yarn-no-mscale",
];

/// Of a logit, where the root mean square of all is 2.
const LOGITS: f64 = 1.5e-4;

#[test]
fn every_variant_is_listed() {
    let mut found: Vec<String> = fs::read_dir(fixture("variants"))
        .expect("the folder of variants")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    found.sort();
    assert_eq!(found, VARIANTS);
}

/// All of them, so that one mistake does not hide another.
#[test]
fn variants_agree_with_transformers() {
    let wrong: Vec<&str> =
        VARIANTS.into_iter().filter(|name| catch_unwind(|| check(name)).is_err()).collect();
    assert!(wrong.is_empty(), "see above for each of {wrong:?}");
}

fn check(name: &str) {
    let directory = fixture("variants").join(name);
    let oracle = Tensors::open(&directory.join("oracle.safetensors"));
    let prompt = oracle.get("input_ids").integers();
    let logits = oracle.get("logits");
    let greedy = oracle.get("greedy_ids");
    assert_eq!(oracle.unread(), Vec::<&str>::new(), "{name}: tensors that nothing was compared with");

    let model = run::load(&directory, Precision::F32);
    let expected = logits.floats();
    let tolerance = LOGITS * rms(&expected) / 2.0;
    let mut worst = Vec::new();
    for form in [Form::Naive, Form::Absorbed] {
        let mut cache = model.new_cache();
        let segment = Segment { tokens: &prompt, form, cache: &mut cache };
        let found = model.logits(&model.forward(&mut [segment], &mut ()).expect("tokens that fit"));
        let what = format!("{name}: logits, {form:?}");
        worst.push(assert_close(&what, &logits.shape, &found, &expected, tolerance));
    }
    let sequences = run::greedy(&model, &[prompt], greedy.shape[0], &[]);
    let what = format!("{name}: greedy tokens");
    assert_same(&what, &greedy.shape, &sequences[0].generated, &greedy.integers());
    println!("{name}: logits within {:.3} and {:.3} of the tolerance {tolerance:.1e}", worst[0], worst[1]);
}
