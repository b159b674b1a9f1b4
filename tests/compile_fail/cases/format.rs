//! There are products of bf16 and of E4m3, and of nothing else.

use rorqual::driver::Device;
use rorqual::ops::gemm::{Dense, DenseSpec};

fn wrong(device: &Device) {
    let _ = Dense::<f32>::plan(device, &DenseSpec::new(64, 64));
}

fn main() {}
