//! A norm takes bf16 rows, not f32 ones.

use rorqual::driver::{Buffer, Stream};
use rorqual::num::bf16;
use rorqual::ops::norm::RmsNorm;

fn wrong(stream: &Stream, norm: &RmsNorm<bf16>, x: &Buffer<f32>, weight: &Buffer<f32>) {
    let _ = norm.run(stream, x, weight);
}

fn main() {}
