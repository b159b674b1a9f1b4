//! What is written is borrowed mutably.

use rorqual::driver::{Buffer, Stream};
use rorqual::num::bf16;
use rorqual::ops::norm::RmsNorm;

fn wrong(stream: &Stream, norm: &RmsNorm<bf16>, x: &Buffer<bf16>, weight: &Buffer<f32>, y: &Buffer<bf16>) {
    let _ = norm.run_into(stream, x, weight, y);
}

fn main() {}
