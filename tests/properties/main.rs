//! Operations of the reference network on random shapes and values, against the formula in float64.
//!
//! The formulas stand here once more, as naively as they can be written, and share nothing with `src/reference` but
//! the number formats. [`bounded`] carries a float64 value together with the error that f32 arithmetic may have made
//! by then, so that tolerances follow from the format and the length of a sum, and a rounding to bf16 is exact
//! wherever it is not in doubt. [`draw`] makes the inputs: odd sizes, ragged ends and empty batches, zeros of both
//! signs, subnormal, huge and infinite values and NaN.

mod attention;
mod bounded;
mod draw;
mod elementwise;
mod gate;
mod join;
mod linear;
mod mixture;
mod quantize;
mod split;
mod sums;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rorqual::model::config::ScaleFormat;
use rorqual::reference::{Numerics, Precision, Sums};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn numerics() -> impl Strategy<Value = Numerics> {
    let precision = prop_oneof![Just(Precision::F32), Just(Precision::Kernel)];
    (precision, scale_format()).prop_map(|(precision, activation_scale)| Numerics {
        precision,
        activation_scale,
        sums: Sums::F32,
    })
}

fn scale_format() -> impl Strategy<Value = ScaleFormat> {
    prop_oneof![Just(ScaleFormat::F32), Just(ScaleFormat::Ue8m0)]
}

/// The same bits, where one NaN is as good as another.
fn expect_same_bits(found: &[f32], expected: &[f32]) -> TestCaseResult {
    prop_assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        prop_assert!(same, "element {at}: {found:e}, expected the bits of {expected:e}");
    }
    Ok(())
}
