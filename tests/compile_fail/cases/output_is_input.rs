//! What is written is not read at the same time.

use rorqual::driver::{Buffer, Stream};
use rorqual::num::bf16;
use rorqual::ops::norm::RmsNorm;

fn wrong(stream: &Stream, norm: &RmsNorm<bf16>, x: &mut Buffer<bf16>, weight: &Buffer<f32>) {
    let _ = norm.run_into(stream, &*x, weight, &mut *x);
}

fn main() {}
