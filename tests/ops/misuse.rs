//! Every kind of mistake is an error that names operation, argument, what was expected and what was given.

use super::{device, numbers, upload, upload_bf16};
use rorqual::num::{E4m3, bf16};
use rorqual::ops::gemm::{Batched, BatchedSpec, Dense, DenseSpec, Grouped, GroupedSpec, Masked, Order};
use rorqual::ops::moe::{
    Gate, GateSpec, GatedProjection, GatedProjectionSpec, Layout, LayoutSpec, Permute, PermuteSpec, Swiglu,
    SwigluSpec,
};
use rorqual::ops::norm::{NormSpec, RmsNorm};
use rorqual::ops::quant::PerTokenGroup;
use rorqual::ops::sample::Argmax;
use rorqual::ops::{Origin, Quantized, Result, ScaleFormat};

#[track_caller]
fn message<T>(result: Result<T>, expected: &str) {
    let Err(error) = result else { panic!("expected an error: {expected}") };
    assert_eq!(error.to_string(), expected);
}

#[test]
fn plans_that_break_a_rule() {
    let (device, _) = device("sm_80");
    message(
        RmsNorm::<bf16>::plan(&device, &NormSpec::new(0, 1e-6)),
        "norm::RmsNorm: `hidden` is 0, expected 1 to 65536",
    );
    message(
        Dense::<bf16>::plan(&device, &DenseSpec::new(8, 0)),
        "gemm::Dense: `k` is 0, expected 1 to 16777216",
    );
    message(
        Grouped::<E4m3>::plan(&device, &GroupedSpec::new(0, 8, 8)),
        "gemm::Grouped: `groups` is 0, expected 1 to 65535",
    );
    message(
        Masked::<bf16>::plan(&device, &GroupedSpec::new(70_000, 8, 8)),
        "gemm::Masked: `groups` is 70000, expected 1 to 65535",
    );
    let spec = BatchedSpec { batches: 1 << 20, n: 8, k: 1 << 13, order: Order::OutputMajor };
    message(
        Batched::<bf16>::plan(&device, &spec),
        "gemm::Batched: `batches * k` is 1048576 * 8192, expected less than 2^32",
    );
    message(
        Gate::plan(&device, &GateSpec { groups: 3, ..GateSpec::deepseek_v3() }),
        "moe::Gate: `groups` is 3, expected a divisor of `experts`, 256, up to 32",
    );
    message(
        Layout::plan(&device, &LayoutSpec { experts: 4, topk: 5 }),
        "moe::Layout: `topk` is 5, expected 1 to `experts`, 4",
    );
    message(Argmax::plan(&device, 0), "sample::Argmax: `vocab` is 0, expected 1 to 262144");
}

#[test]
fn tensors_that_do_not_suit() {
    let (device, stream) = device("sm_80");
    let norm = RmsNorm::<bf16>::plan(&device, &NormSpec::new(64, 1e-6)).expect("a plan");
    let x = upload_bf16(&stream, [3, 64], &numbers(1, 192));
    let weight = upload(&stream, 64, &[1.0_f32; 64]);
    let narrow = upload_bf16(&stream, [4, 48], &numbers(1, 192));
    let flat = upload_bf16(&stream, 192, &numbers(1, 192));
    let short = upload(&stream, 63, &[1.0_f32; 63]);
    let mut fewer = stream.allocate::<bf16>([2, 64]).expect("room");
    message(
        norm.run(&stream, &narrow, &weight),
        "norm::RmsNorm: `x`: expected shape [tokens, 64], got [4, 48]",
    );
    message(norm.run(&stream, &flat, &weight), "norm::RmsNorm: `x`: expected shape [tokens, 64], got [192]");
    message(norm.run(&stream, &x, &short), "norm::RmsNorm: `weight`: expected shape [64], got [63]");
    message(
        norm.run_into(&stream, &x, &weight, &mut fewer),
        "norm::RmsNorm: `y`: expected shape [3, 64], got [2, 64]",
    );

    let dense = Dense::<E4m3>::plan(&device, &DenseSpec::new(136, 200)).expect("a plan");
    let codes = vec![E4m3::from_f32(1.0); 136 * 200];
    let matrix = stream.upload_block_scaled([136, 200], &codes, &[1.0; 4]).expect("a weight");
    let a = Quantized {
        codes: upload(&stream, [2, 200], &codes[..400]),
        scales: upload(&stream, [2, 1], &[1.0_f32; 2]),
    };
    message(dense.run(&stream, &a, &matrix), "gemm::Dense: `a.scales`: expected shape [2, 2], got [2, 1]");
    let a = Quantized { scales: upload(&stream, [2, 2], &[1.0_f32; 4]), ..a };
    let rotated = stream.upload_block_scaled([200, 136], &codes, &[1.0; 4]).expect("a weight");
    message(
        dense.run(&stream, &a, &rotated),
        "gemm::Dense: `weight.codes`: expected shape [136, 200], got [200, 136]",
    );
    message(
        stream.upload_block_scaled([136, 200], &codes, &[1.0; 3]),
        "upload_block_scaled: `scales`: expected shape [2, 2], got 3 elements",
    );
    message(
        stream.upload_block_scaled(200, &codes[..200], &[1.0; 2]),
        "upload_block_scaled: `shape`: expected shape [.., n, k], got [200]",
    );

    let grouped = Grouped::<bf16>::plan(&device, &GroupedSpec::new(2, 8, 64)).expect("a plan");
    let weights = upload_bf16(&stream, [2, 8, 64], &numbers(1, 1024));
    let offsets = upload(&stream, 2, &[0_u32, 3]);
    message(
        grouped.run(&stream, &x, &weights, &offsets),
        "gemm::Grouped: `offsets`: expected shape [3], got [2]",
    );
}

#[test]
fn arguments_that_are_missing_or_too_many() {
    let (device, stream) = device("sm_80");
    let gate = Gate::plan(&device, &GateSpec::deepseek_v3()).expect("a plan");
    let logits = upload(&stream, [0, 256], &[] as &[f32]);
    message(
        gate.run(&stream, &logits, None),
        "moe::Gate: `bias`: expected a tensor, for which this is planned, got none",
    );
    let swiglu = Swiglu::<bf16>::plan(&device, &SwigluSpec::new(8)).expect("a plan");
    let gate_up = upload_bf16(&stream, [1, 16], &[0.0; 16]);
    let count = upload(&stream, 1, &[1_u32]);
    message(
        swiglu.run(&stream, &gate_up, Some(count.view())),
        "moe::Swiglu: `row_count`: expected no tensor, for which this is planned, got one of shape [1]",
    );
    let permute = Permute::<bf16>::plan(&device, &PermuteSpec { hidden: 16, topk: 2 }).expect("a plan");
    let slots = upload(&stream, 3, &[0_u32, 1, 0]);
    message(
        permute.run(&stream, &gate_up, &slots),
        "moe::Permute: `rows`: expected at most tokens * topk, 2, got 3",
    );
}

#[test]
fn a_kernel_that_the_device_has_not() {
    let spec = GatedProjectionSpec::new(4, 256, 512);
    let (ampere, _) = device("sm_80");
    message(
        GatedProjection::plan(&ampere, &spec),
        "moe::GatedProjection: the target is sm_80, expected sm_90a",
    );
    let (hopper, _) = device("sm_90a");
    let spec = GatedProjectionSpec { inter: 200, ..spec };
    message(
        GatedProjection::plan(&hopper, &spec),
        "moe::GatedProjection: `inter` is 200, expected a multiple of 128 from 128 to 8388608; hopper_gemm_fp8 and \
         moe_swiglu serve other widths",
    );
}

#[test]
fn another_device() {
    let ((device, stream), (other, other_stream)) = (device("sm_80"), device("sm_90a"));
    let norm = RmsNorm::<bf16>::plan(&device, &NormSpec::new(64, 1e-6)).expect("a plan");
    let x = upload_bf16(&stream, [1, 64], &[0.0; 64]);
    let weight = upload(&other_stream, 64, &[1.0_f32; 64]);
    let text = |argument| format!("norm::RmsNorm: `{argument}`: expected on {device}, got on {other}");
    message(norm.run(&stream, &x, &weight), &text("weight"));
    let mut y = stream.allocate::<bf16>([1, 64]).expect("room");
    message(norm.run_into(&other_stream, &x, &weight, &mut y), &text("stream"));
}

#[test]
fn places_that_do_not_suit() {
    let (device, stream) = device("sm_80");
    let plan = PerTokenGroup::<bf16>::plan(&device, 8, ScaleFormat::F32).expect("a plan");
    let x = upload_bf16(&stream, 20, &[0.0; 20]);
    let error = plan.run(&stream, x.slice(1, [2, 8]).expect("a part")).expect_err("a crooked address");
    let expected = format!(
        "quant::PerTokenGroup: `x`: expected an address that is a multiple of 16, got {:#x}",
        x.address() + 2
    );
    assert_eq!(error.to_string(), expected);
    plan.run(&stream, x.slice(8, [1, 8]).expect("a part")).expect("a straight address");
}

#[test]
fn a_plan_says_what_was_chosen_and_why() {
    let (device, _) = device("sm_90a");
    let plan = Grouped::<bf16>::plan(&device, &GroupedSpec::new(2, 24, 40)).expect("a plan");
    let text = plan.to_string();
    assert!(text.starts_with("gemm::Grouped: hopper_gemm_bf16_n24_k40_prefix2_t128x32_s"), "{text}");
    assert!(text.contains("generated for sm_90a") && text.contains(&device.to_string()), "{text}");
    assert!(text.ends_with(" x 1 x 1; for any number of rows"), "{text}");

    let plan = Dense::<bf16>::plan(&device, &DenseSpec::new(24, 40)).expect("a plan");
    let text = plan.to_string();
    let [few, many] = text.split('\n').collect::<Vec<_>>().try_into().expect("two kernels");
    assert!(few.starts_with("gemm::Dense: hopper_gemm_bf16_n24_k40_t64x8_s16_sm90a, "), "{few}");
    assert!(few.ends_with("; for up to 64 rows"), "{few}");
    assert!(
        many.starts_with("gemm::Dense: hopper_gemm_bf16_n24_k40_t") && many.ends_with("; for more rows"),
        "{many}"
    );
    assert_eq!(plan.chosen().kernels().len(), 2);

    let plan = Grouped::<bf16>::plan(&device, &GroupedSpec::new(2, 24, 41)).expect("a plan");
    let text = plan.to_string();
    assert!(text.starts_with("gemm::Grouped: gemm_bf16_n24_k41_prefix2_sm90a, generated for "), "{text}");
    let rule = "`a_pitch` is 41, expected a multiple of 8 from 41 (`k`) to 16777216";
    assert!(
        text.ends_with(&format!("grid (ceil(rows / 64) + min(rows, 2)) x 1 x 1; portable: {rule}")),
        "{text}"
    );
    assert_eq!(plan.chosen().kernels().len(), 1);

    let (other, _) = super::device("sm_80");
    let plan = Dense::<bf16>::plan(&other, &DenseSpec::new(24, 40)).expect("a plan");
    let text = plan.to_string();
    assert!(text.ends_with("; portable: the target is sm_80, expected sm_90a"), "{text}");

    let plan = RmsNorm::<bf16>::plan(&device, &NormSpec::new(40, 1e-6)).expect("a plan");
    assert_eq!(plan.chosen().origin(), Origin::Generated, "{plan}");
    let plan = Gate::plan(&device, &GateSpec::deepseek_v3()).expect("a plan");
    assert_eq!(plan.chosen().origin(), Origin::Embedded, "{plan}");
}
