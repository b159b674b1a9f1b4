//! Speed of the CPU reference path: whole network and its matrix products.
//!
//! `cargo bench --bench reference` (the checkpoints come with the repository).

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rorqual::model::weights::Matrix;
use rorqual::model::{OpenOptions, Pretrained};
use rorqual::num::bf16;
use rorqual::reference::linear::{Output, linear};
use rorqual::reference::mla::Form;
use rorqual::reference::{Model, Numerics, Precision, Segment};

fn open(checkpoint: &str, precision: Precision) -> Model {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(checkpoint);
    let options = OpenOptions { precision, ..OpenOptions::default() };
    Pretrained::open(&directory, options, &mut |_| {}).expect("a good checkpoint").network
}

/// Prefill of 512 tokens, and one token behind 512.
fn network(criterion: &mut Criterion) {
    for (name, checkpoint) in [("small-v3", "tests/fixtures/small-v3"), ("tiny-r1-fp8", "assets/tiny-r1-fp8")]
    {
        for (precision_name, precision) in [("f32", Precision::F32), ("kernel", Precision::Kernel)] {
            let model = open(checkpoint, precision);
            let vocab = model.config().vocab_size as u32;
            let prompt: Vec<u32> = (0..512_u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab).collect();
            let mut group = criterion.benchmark_group(format!("{name}/{precision_name}"));

            group.throughput(Throughput::Elements(prompt.len() as u64));
            group.bench_function("prefill_512", |bencher| {
                bencher.iter(|| {
                    let mut cache = model.new_cache();
                    let segment = Segment { tokens: &prompt, form: Form::Naive, cache: &mut cache };
                    model.forward(&mut [segment], &mut ()).expect("a good prompt")
                });
            });

            let mut cache = model.new_cache();
            let segment = Segment { tokens: &prompt, form: Form::Naive, cache: &mut cache };
            model.forward(&mut [segment], &mut ()).expect("a good prompt");
            group.throughput(Throughput::Elements(1));
            group.bench_function("decode_at_512", |bencher| {
                bencher.iter(|| {
                    let segment = Segment { tokens: &prompt[..1], form: Form::Absorbed, cache: &mut cache };
                    let state = model.forward(&mut [segment], &mut ()).expect("a good token");
                    cache.truncate(prompt.len());
                    model.logits(&state)
                });
            });
            group.finish();
        }
    }
}

/// `[tokens, 2048] x [2048, 2048]` with bf16 and FP8 weights.
fn matrix_products(criterion: &mut Criterion) {
    let side = 2048;
    let values: Vec<bf16> =
        (0..side * side).map(|i| bf16::from_f32((i % 251) as f32 / 125.0 - 1.0)).collect();
    let codes: Vec<u8> = (0..side * side).map(|i| (i % 127) as u8).collect();
    let weights = [
        ("bf16", Matrix::from_bf16(side, side, &values)),
        ("fp8", Matrix::from_e4m3(side, side, &codes, &[0.01; 256])),
    ];
    for (precision_name, numerics) in [("f32", Numerics::F32), ("kernel", Numerics::KERNEL)] {
        for (stored, weight) in &weights {
            let mut group = criterion.benchmark_group(format!("linear_2048/{precision_name}/{stored}"));
            for tokens in [1, 512] {
                let x: Vec<f32> = (0..tokens * side).map(|i| (i % 17) as f32 - 8.0).collect();
                group.throughput(Throughput::Elements((2 * tokens * side * side) as u64));
                group.bench_function(format!("{tokens}_tokens"), |bencher| {
                    bencher.iter(|| linear(&x, weight, Output::Activation, numerics));
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = network, matrix_products
}
criterion_main!(benches);
