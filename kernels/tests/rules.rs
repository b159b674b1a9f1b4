//! Specialisations that break a rule are refused with a message that names the field, its value and the expectation.

use rorqual_kernels::embedding::{Embedding, EmbeddingSpec};
use rorqual_kernels::moe::combine::{Combine, CombineSpec};
use rorqual_kernels::moe::gate::{Gate, GateSpec, GroupMethod, Scoring};
use rorqual_kernels::moe::layout::{Layout, LayoutSpec};
use rorqual_kernels::moe::permute::{Permute, PermuteSpec, RowFormat};
use rorqual_kernels::moe::swiglu::{Swiglu, SwigluSpec};
use rorqual_kernels::quant::{Dequantize128x128, Dequantize128x128Spec};
use rorqual_kernels::quant::{Quantize1x128, Quantize1x128Spec, ScaleLayout};
use rorqual_kernels::residual::{Residual, ResidualSpec};
use rorqual_kernels::sample::{Argmax, Sample, SampleSpec};
use rorqual_kernels::transpose::{QuantizeTranspose, QuantizeTransposeSpec};
use rorqual_kernels::{Family, ScaleFormat, ValueFormat, generate};
use rorqual_ptx::target::Target;

/// That a specialisation is refused, with these words.
#[track_caller]
fn refused<F: Family>(spec: &F::Spec, words: &str) {
    let target = Target::from_name("sm_80").expect("a target");
    let message = generate::<F>(spec, target).expect_err("a broken rule").to_string();
    assert!(message.contains(words) && message.starts_with(F::NAME), "{message}");
}

#[test]
fn rows_have_a_length_and_a_pitch() {
    let table = ValueFormat::Bf16;
    refused::<Embedding>(&EmbeddingSpec { vocab: 0, hidden: 8, table }, "`vocab` is 0, expected at least 1");
    refused::<Embedding>(
        &EmbeddingSpec { vocab: 8, hidden: 0, table },
        "`hidden` is 0, expected 1 to 1048576",
    );
    let words = "`x_pitch` is 7, expected at least `hidden`, 8";
    refused::<Residual>(&ResidualSpec { hidden: 8, x_pitch: 7 }, words);
    let spec = Quantize1x128Spec {
        k: 1 << 21,
        x_pitch: 1 << 21,
        input: ValueFormat::F32,
        scale: ScaleFormat::F32,
        scale_layout: ScaleLayout::RowMajor,
    };
    refused::<Quantize1x128>(&spec, "`k` is 2097152, expected 1 to 1048576");
    let spec = QuantizeTransposeSpec {
        columns: 8,
        x_pitch: 7,
        input: ValueFormat::Bf16,
        scale: ScaleFormat::F32,
        scale_layout: ScaleLayout::RowMajor,
        groups: None,
    };
    refused::<QuantizeTranspose>(&spec, "`x_pitch` is 7, expected at least `columns`, 8");
    refused::<Dequantize128x128>(&Dequantize128x128Spec { n: 0, k: 8 }, "`n` is 0, expected 1 to 1048576");
    refused::<Argmax>(&SampleSpec { vocab: 0, pitch: 0 }, "`vocab` is 0, expected 1 to");
    let words = "`vocab` is 262145, expected 1 to 262144";
    refused::<Sample>(&SampleSpec { vocab: (1 << 18) + 1, pitch: 1 << 19 }, words);
}

#[test]
fn experts_are_bounded() {
    let words = "`experts` is 1025, expected 1 to 1024";
    refused::<Layout>(&LayoutSpec { experts: 1025, topk: 8 }, words);
    refused::<Layout>(&LayoutSpec { experts: 4, topk: 5 }, "`topk` is 5, expected 1 to `experts`, 4");
    let format = RowFormat::Fp8;
    refused::<Permute>(&PermuteSpec { hidden: 8, topk: 0, format }, "`topk` is 0, expected at least 1");
    let spec = CombineSpec { hidden: 8, topk: 0, shared: true, residual: false };
    refused::<Combine>(&spec, "`topk` is 0, expected 1 to 1024");
    let spec = SwigluSpec { inter: 8, clamp: false, device_rows: false, bf16: false, fp8: None };
    refused::<Swiglu>(&spec, "neither `bf16` nor `fp8` is asked for");
}

#[test]
fn gates_have_groups_and_candidates() {
    let spec = GateSpec {
        experts: 256,
        groups: 8,
        topk_groups: 4,
        topk: 8,
        scoring: Scoring::Sigmoid,
        method: GroupMethod::SumOfTwo,
        bias: true,
        normalize: true,
        scaling_factor: 2.5,
    };
    assert_eq!(Gate::check(&spec), Ok(()));
    refused::<Gate>(&GateSpec { experts: 0, ..spec }, "`experts` is 0, expected 1 to 1024");
    let words = "`groups` is 7, expected a divisor of `experts`, 256, up to 32";
    refused::<Gate>(&GateSpec { groups: 7, ..spec }, words);
    refused::<Gate>(&GateSpec { topk_groups: 9, ..spec }, "`topk_groups` is 9, expected 1 to `groups`, 8");
    let few = GateSpec { experts: 16, topk_groups: 2, topk: 5, ..spec };
    refused::<Gate>(&few, "`topk` is 5, expected 1 to 4: 4 candidates");
    assert_eq!(Gate::check(&GateSpec { method: GroupMethod::Greedy, ..few }), Ok(()));
}
