//! The arguments of a product in bf16 on Hopper that is measured: dense, without a bias, with results in bf16.

use rorqual_kernels::gemm::hopper::{HopperBf16GemmArguments, HopperGemmSpec};

/// For operands and results at these addresses; `word` is one of which nothing is asked.
pub fn arguments(spec: &HopperGemmSpec, [a, b, d, word]: [u64; 4], rows: u32) -> HopperBf16GemmArguments {
    let ([a, a_few], [b, b_few]) = (spec.a_maps(a, rows), spec.b_maps(b));
    let (bias, d_f32, groups, error) = (word, word, word, word);
    HopperBf16GemmArguments { a, a_few, b, b_few, bias, d, d_f32, groups, error, rows }
}
