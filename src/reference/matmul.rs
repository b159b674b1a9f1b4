//! Matrix product of f32 slices, the same bits for a row whatever rows stand beside it.
//!
//! The product itself is the `gemm` crate's, called so that the order of every sum depends on the length of the sum
//! alone:
//! - sums are cut into runs of 128 here, since the crate's own cut, never below 512, depends on the other extents;
//!   short runs also keep the rounding error small;
//! - a single row is computed twice over, since the crate has another kernel for vectors;
//! - the columns of `b` are contiguous, since the crate has another kernel for small products where they are not.
//!
//! One thread computes one product; callers spread independent products over threads.
#![allow(unsafe_code, reason = "the gemm crate takes raw pointers; this module checks every extent first")]

use gemm::Parallelism;

/// The longest sum that is left to the `gemm` crate, which never cuts below 512.
const SUM_RUN: usize = 128;

/// A read-only matrix in a slice: element `(i, j)` is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix whose rows start `row_stride` elements apart.
    ///
    /// # Panics
    /// If `data` is too short for the last element.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let needed = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(
            data.len() >= needed,
            "a {rows}x{columns} view of {} elements, row stride {row_stride}",
            data.len()
        );
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// A copy of the elements, row-major and dense.
    pub fn to_rows(&self) -> Vec<f32> {
        let row = |i: usize| {
            (0..self.columns).map(move |j| self.data[i * self.row_stride + j * self.column_stride])
        };
        (0..self.rows).flat_map(row).collect()
    }

    /// The transposed matrix: the same elements, rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The submatrix of `count` columns from `first`.
    ///
    /// # Panics
    /// If the columns are out of range.
    pub fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns, "columns {first}..{} of {}", first + count, self.columns);
        let start = (first * self.column_stride).min(self.data.len());
        Self { data: &self.data[start..], columns: count, ..self }
    }

    /// The submatrix of `count` rows from `first`.
    ///
    /// # Panics
    /// If the rows are out of range.
    pub fn rows(self, first: usize, count: usize) -> Self {
        self.transposed().columns(first, count).transposed()
    }
}

/// `out = a · b`, or `out += a · b` with `accumulate`: `a` `[m, k]`, `b` `[k, n]` with contiguous columns, `out`
/// `[m, n]` row-major.
///
/// # Panics
/// If the extents do not agree.
pub fn matmul(a: View<'_>, b: View<'_>, out: &mut [f32], accumulate: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(b.rows, k, "inner extents of a product");
    assert_eq!(out.len(), m * n, "a product of {m}x{n}");
    assert_eq!(b.column_stride, 1, "the second factor's columns are contiguous");
    if !accumulate {
        out.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    if n == 1 {
        // The crate's kernels for vectors sum in another order for other lengths of the vector.
        for (i, sum) in out.iter_mut().enumerate() {
            for j in 0..k {
                let product = a.data[i * a.row_stride + j * a.column_stride] * b.data[j * b.row_stride];
                *sum += product;
            }
        }
        return;
    }
    if m == 1 {
        let mut twice = [&*out, &*out].concat();
        let same_row_twice = View { rows: 2, row_stride: 0, ..a };
        accumulate_runs(same_row_twice, b, &mut twice);
        out.copy_from_slice(&twice[..n]);
        return;
    }
    accumulate_runs(a, b, out);
}

/// `out += a · b`, cut into sums of at most [`SUM_RUN`].
fn accumulate_runs(a: View<'_>, b: View<'_>, out: &mut [f32]) {
    for start in (0..a.columns).step_by(SUM_RUN) {
        let run = SUM_RUN.min(a.columns - start);
        let (a, b) = (a.columns(start, run), b.rows(start, run));
        let in_bounds = |view: View<'_>| {
            (view.rows - 1) * view.row_stride + (view.columns - 1) * view.column_stride < view.data.len()
        };
        assert!(in_bounds(a) && in_bounds(b) && out.len() == a.rows * b.columns);
        // SAFETY: strides are non-negative and all three extents at least one, so the assertion above bounds every
        // element that is read or written; `out` is borrowed mutably and thus apart from `a` and `b`.
        unsafe {
            gemm::gemm(
                a.rows,
                b.columns,
                run,
                out.as_mut_ptr(),
                1,
                b.columns as isize,
                true,
                a.data.as_ptr(),
                a.column_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr(),
                b.column_stride as isize,
                b.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    proptest! {
        #[test]
        fn agrees_with_a_float64_sum(m in 0_usize..20, n in 0_usize..40, k in 0_usize..1100, seed: u64) {
            let (a, b) = (values(m * k, seed), values(k * n, !seed));
            let mut out = vec![0.5; m * n];
            matmul(View::new(&a, m, k, k), View::new(&b, k, n, n), &mut out, true);
            for i in 0..m {
                for j in 0..n {
                    let exact: f64 = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum();
                    let error = (f64::from(out[i * n + j]) - 0.5 - exact).abs();
                    prop_assert!(error <= 1e-6 * (k as f64 + 1.0), "({i}, {j}): {error}");
                }
            }
        }

        #[test]
        fn a_row_has_the_same_bits_alone_and_among_others(
            m in 1_usize..150, n in 1_usize..150, k in 1_usize..1200, seed: u64,
        ) {
            let (a, b) = (values(m * k, seed), values(k * n, !seed));
            let mut all = vec![0.0; m * n];
            matmul(View::new(&a, m, k, k), View::new(&b, k, n, n), &mut all, false);
            for row in [0, m / 2, m - 1] {
                let mut alone = vec![0.0; n];
                matmul(View::new(&a[row * k..], 1, k, k), View::new(&b, k, n, n), &mut alone, false);
                prop_assert_eq!(&alone, &all[row * n..][..n]);
            }
        }

        #[test]
        fn a_column_has_the_same_bits_in_any_multiple_of_sixteen(
            m in 1_usize..40, blocks in 1_usize..10, k in 1_usize..700, seed: u64,
        ) {
            let n = 16 * blocks;
            let (a, b) = (values(m * k, seed), values(k * n, !seed));
            let mut all = vec![0.0; m * n];
            matmul(View::new(&a, m, k, k), View::new(&b, k, n, n), &mut all, false);
            let mut first = vec![0.0; m * 16];
            matmul(View::new(&a, m, k, k), View::new(&b, k, 16, n), &mut first, false);
            for i in 0..m {
                prop_assert_eq!(&first[i * 16..][..16], &all[i * n..][..16]);
            }
        }
    }
}
