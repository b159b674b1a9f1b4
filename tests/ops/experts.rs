//! The mixture of experts, each plan on what the one before made.

use super::{BF16, close, codes, device, devices, download, numbers, upload, upload_bf16};
use rorqual::model::config::{Scoring as ReferenceScoring, TopkMethod};
use rorqual::num::{E4m3, bf16};
use rorqual::ops::gemm::{Grouped, GroupedSpec};
use rorqual::ops::moe::{
    AddCombine, Combine, CombineSpec, Gate, GateSpec, GatedProjection, GatedProjectionSpec, GroupMethod,
    Layout, LayoutSpec, Permute, PermuteSpec, Router, RouterSpec, Scoring, Swiglu, SwigluSpec,
};
use rorqual::ops::quant::PerTokenGroup;
use rorqual::ops::{ScaleFormat, device_error};
use rorqual::reference::Numerics;
use rorqual::reference::gate as reference;
use rorqual::reference::moe::combine;
use rorqual::reference::ops::swiglu;

const TOKENS: usize = 5;
const HIDDEN: usize = 136;
const EXPERTS: usize = 8;

#[test]
fn tokens_go_to_experts_and_back() {
    for (device, stream) in devices() {
        let (x, weight, bias) =
            (numbers(1, TOKENS * HIDDEN), numbers(2, EXPERTS * HIDDEN), numbers(3, EXPERTS));
        let x_on_device = upload_bf16(&stream, [TOKENS, HIDDEN], &x);
        let spec = RouterSpec { experts: 8, hidden: 136 };
        let router = Router::<f32>::plan(&device, &spec).expect("a plan");
        let weight_on_device = upload(&stream, [EXPERTS, HIDDEN], &weight);
        let logits = router.run(&stream, &x_on_device, &weight_on_device).expect("a run");
        let given = stream.download(&logits).expect("logits");
        let dot = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let expected: Vec<f32> = (0..TOKENS * EXPERTS)
            .map(|at| dot((&x[at / 8 * HIDDEN..][..HIDDEN], &weight[at % 8 * HIDDEN..][..HIDDEN])))
            .collect();
        close(&given, &expected, 1e-4);

        let spec = GateSpec { experts: 8, groups: 4, topk_groups: 2, topk: 3, ..GateSpec::deepseek_v3() };
        assert_eq!((spec.scoring, spec.method), (Scoring::Sigmoid, GroupMethod::SumOfTwo));
        let gate = Gate::plan(&device, &spec).expect("a plan");
        let bias_on_device = upload(&stream, EXPERTS, &bias);
        let routing = gate.run(&stream, &logits, Some(bias_on_device.view())).expect("a run");
        let rules = reference::GateSpec {
            experts: 8,
            groups: 4,
            topk_groups: 2,
            topk: 3,
            scoring: ReferenceScoring::Sigmoid,
            method: TopkMethod::NoauxTc,
            normalize: true,
            scaling_factor: 2.5,
        };
        let expected = reference::gate(&given, Some(&bias), &rules);
        assert_eq!(stream.download(&routing.experts).expect("experts"), expected.topk_idx);
        let weights = stream.download(&routing.weights).expect("weights");
        close(&weights, &expected.topk_weight, 1e-5);

        let layout = Layout::plan(&device, &LayoutSpec { experts: 8, topk: 3 }).expect("a plan");
        let arrangement = layout.run(&stream, &routing.experts).expect("a run");
        let mut slots: Vec<u32> = (0..TOKENS as u32 * 3).collect();
        slots.sort_by_key(|slot| expected.topk_idx[*slot as usize]);
        assert_eq!(stream.download(&arrangement.slot_of_row).expect("slots"), slots);
        assert_eq!(stream.download(&arrangement.offsets).expect("offsets")[EXPERTS], 15);
        assert!(layout.flags(&stream).expect("flags").is_empty());

        let spec = PermuteSpec { hidden: 136, topk: 3 };
        let permute = Permute::<bf16>::plan(&device, &spec).expect("a plan");
        let rows = permute.run(&stream, &x_on_device, &arrangement.slot_of_row).expect("a run");
        let gathered: Vec<f32> =
            slots.iter().flat_map(|slot| x[*slot as usize / 3 * HIDDEN..][..HIDDEN].to_vec()).collect();
        assert_eq!(download(&stream, &rows), gathered);

        let quantize = PerTokenGroup::<bf16>::plan(&device, 136, ScaleFormat::F32).expect("a plan");
        let permute = Permute::<E4m3>::plan(&device, &spec).expect("a plan");
        let quantized = quantize.run(&stream, &x_on_device).expect("a run");
        let quantized = permute.run(&stream, &quantized, &arrangement.slot_of_row).expect("a run");
        let after = quantize.run(&stream, &rows).expect("a run");
        let [codes, expected] =
            [&quantized.codes, &after.codes].map(|it| stream.download(it).expect("codes"));
        assert_eq!(codes, expected);
        let [scales, expected] =
            [&quantized.scales, &after.scales].map(|it| stream.download(it).expect("scales"));
        assert_eq!(scales, expected);
        let slot_of_row = upload(&stream, 2, &[u32::MAX, 0]);
        let padded = permute.run(&stream, &quantized, &slot_of_row).expect("a run");
        let codes = stream.download(&padded.codes).expect("codes");
        assert!(codes[..HIDDEN].iter().all(|code| code.to_f32() == 0.0));
        assert_eq!(stream.download(&padded.scales).expect("scales")[..2], [1.0; 2]);

        // Each expert multiplies by one: the sum of the weights, 2.5, of each token.
        let spec = CombineSpec { hidden: 136, topk: 3, shared: true };
        let plan = Combine::plan(&device, &spec).expect("a plan");
        let shared = Some(x_on_device.view());
        let out = plan.run(&stream, &rows, &arrangement, &routing, shared).expect("a run");
        let routed: Vec<f32> =
            (0..TOKENS * 3).flat_map(|slot| x[slot / 3 * HIDDEN..][..HIDDEN].to_vec()).collect();
        let expected = combine(&x, &routed, &weights, HIDDEN, Numerics::KERNEL);
        assert_eq!(download(&stream, &out), expected);

        let plan = AddCombine::plan(&device, &CombineSpec { shared: false, ..spec }).expect("a plan");
        let mut residual = upload_bf16(&stream, [TOKENS, HIDDEN], &[0.0; TOKENS * HIDDEN]);
        plan.run_into(&stream, &rows, &arrangement, &routing, None, &mut residual).expect("a run");
        let expected = combine(&[0.0; TOKENS * HIDDEN], &routed, &weights, HIDDEN, Numerics::KERNEL);
        assert_eq!(download(&stream, &residual), expected);
    }
}

#[test]
fn swiglu_of_both_formats() {
    for (device, stream) in devices() {
        let gate_up = numbers(4, 3 * 2 * 40);
        let expected: Vec<f32> = gate_up.chunks(80).flat_map(|row| swiglu(&row[..40], &row[40..])).collect();
        let on_device = upload_bf16(&stream, [3, 80], &gate_up);
        let plan = Swiglu::<bf16>::plan(&device, &SwigluSpec::new(40)).expect("a plan");
        let out = plan.run(&stream, &on_device, None).expect("a run");
        close(&download(&stream, &out), &expected, BF16);

        let spec = SwigluSpec { device_rows: true, ..SwigluSpec::new(40) };
        let plan = Swiglu::<E4m3>::plan(&device, &spec).expect("a plan");
        let row_count = upload(&stream, 1, &[2_u32]);
        let out = plan.run(&stream, &on_device, Some(row_count.view())).expect("a run");
        let scales = stream.download(&out.scales).expect("scales");
        let codes = stream.download(&out.codes).expect("codes");
        let given: Vec<f32> =
            codes.iter().enumerate().map(|(at, code)| code.to_f32() * scales[at / 40]).collect();
        close(&given[..80], &expected[..80], 1.0 / 8.0);
        assert_eq!(given[80..], [0.0; 40]);
        assert_eq!(scales[2], 1.0, "the scale of a row that is padding");
    }
}

#[test]
fn gated_projections_have_the_bits_of_a_product_and_swiglu() {
    const INTER: usize = 128;
    let (device, stream) = device("sm_90a");
    // The second expert has no rows, the last row has no expert.
    let (rows, experts, hidden) = (150, 3, 256);
    let offsets = upload(&stream, 4, &[0_u32, 140, 140, 149]);
    let x = upload_bf16(&stream, [rows, hidden], &numbers(5, rows * hidden));
    let quantize = PerTokenGroup::<bf16>::plan(&device, 256, ScaleFormat::F32).expect("a plan");
    let x = quantize.run(&stream, &x).expect("a run");
    let bits: Vec<u8> = (0..experts * 2 * INTER * hidden).map(|at| (at * 7 % 113) as u8).collect();
    let scales: Vec<f32> = (0..experts * 2 * 2).map(|at| 0.01 * (at + 1) as f32).collect();
    let weights = stream.upload_block_scaled([experts, 2 * INTER, hidden], &codes(&bits), &scales);
    let weights = weights.expect("room");
    for limit in [None, Some(0.5)] {
        let product = Grouped::<E4m3>::plan(&device, &GroupedSpec::new(3, 256, 256)).expect("a plan");
        let gate_up = product.run(&stream, &x, &weights, &offsets).expect("a run");
        let spec = SwigluSpec { limit, ..SwigluSpec::new(128) };
        let activation = Swiglu::<E4m3>::plan(&device, &spec).expect("a plan");
        let expected = activation.run(&stream, &gate_up, None).expect("a run");

        let spec = GatedProjectionSpec { limit, ..GatedProjectionSpec::new(3, 128, 256) };
        let plan = GatedProjection::plan(&device, &spec).expect("a plan");
        let out = plan.run(&stream, &x, &weights, &offsets).expect("a run");
        let [got, wanted] = [&out.codes, &expected.codes].map(|it| stream.download(it).expect("codes"));
        assert!(wanted.iter().any(|code| code.to_f32() != 0.0));
        assert_eq!(got, wanted, "limit {limit:?}");
        let [got, wanted] = [&out.scales, &expected.scales].map(|it| stream.download(it).expect("scales"));
        assert_eq!(got[..149], wanted[..149], "limit {limit:?}");
        assert_eq!(got[149], 1.0, "the scale of a row without an expert");
        assert!(plan.flags(&stream).expect("flags").is_empty());

        let none = quantize.run(&stream, &upload_bf16(&stream, [0, hidden], &[])).expect("a run");
        let no_rows = upload(&stream, 4, &[0_u32; 4]);
        let out = plan.run(&stream, &none, &weights, &no_rows).expect("a run");
        assert_eq!(out.codes.shape(), [0, INTER].into());

        let falling = upload(&stream, 4, &[0_u32, 140, 130, 149]);
        plan.run(&stream, &x, &weights, &falling).expect("a run");
        assert_eq!(plan.flags(&stream).expect("flags").bits(), device_error::GROUPS);
    }
}

#[test]
fn experts_that_do_not_exist_are_left_out() {
    for (device, stream) in devices() {
        let layout = Layout::plan(&device, &LayoutSpec { experts: 4, topk: 2 }).expect("a plan");
        let experts = upload(&stream, [2, 2], &[3_u32, 9, 0, 1]);
        let arrangement = layout.run(&stream, &experts).expect("a run");
        assert_eq!(stream.download(&arrangement.row_of_slot).expect("rows"), [2, u32::MAX, 0, 1]);
        assert_eq!(layout.flags(&stream).expect("flags").bits(), device_error::EXPERT);

        let none = upload::<u32>(&stream, [0, 2], &[]);
        let arrangement = layout.run(&stream, &none).expect("a run");
        assert_eq!(stream.download(&arrangement.offsets).expect("offsets"), [0; 5]);
    }
}
