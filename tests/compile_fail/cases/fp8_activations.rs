//! A product of bf16 takes no FP8 activations.

use rorqual::driver::{Buffer, Stream};
use rorqual::num::bf16;
use rorqual::ops::Quantized;
use rorqual::ops::gemm::Dense;

fn wrong(stream: &Stream, dense: &Dense<bf16>, a: &Quantized, weight: &Buffer<bf16>) {
    let _ = dense.run(stream, a, weight);
}

fn main() {}
