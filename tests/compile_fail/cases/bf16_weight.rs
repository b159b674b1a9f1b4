//! A product of FP8 takes no bf16 weight.

use rorqual::driver::{Buffer, Stream};
use rorqual::num::{E4m3, bf16};
use rorqual::ops::Quantized;
use rorqual::ops::gemm::Dense;

fn wrong(stream: &Stream, dense: &Dense<E4m3>, a: &Quantized, weight: &Buffer<bf16>) {
    let _ = dense.run(stream, a, weight);
}

fn main() {}
