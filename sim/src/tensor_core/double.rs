//! f64 matrix instructions: a chain of fused multiply-adds, on the chip as here.

use multiversion::multiversion;

/// What a NaN result is; its bits are not documented, but must not depend on the host.
const NAN: f64 = f64::from_bits(0xfff8_0000_0000_0000);

/// Adds the product of f64 tiles, `a[k][row]` and `b[k][column]`, to row-major `accumulators`: a chain of fused
/// multiply-adds, ascending k, rounded to nearest even.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn multiply_accumulate_double(
    a: &[f64],
    b: &[f64],
    rows: usize,
    columns: usize,
    accumulators: &mut [f64],
) {
    for (a, b) in a.chunks_exact(rows).zip(b.chunks_exact(columns)) {
        for (&a, accumulators) in a.iter().zip(accumulators.chunks_exact_mut(columns)) {
            for (accumulator, &b) in accumulators.iter_mut().zip(b) {
                *accumulator = a.mul_add(b, *accumulator);
            }
        }
    }
    for accumulator in accumulators {
        if accumulator.is_nan() {
            *accumulator = NAN;
        }
    }
}
