//! FP8: the e4m3 conversions, the two quantisers, and the products.
//!
//! Codes and scales are exact. Products of quantised activations are f32 sums, promoted every 128 of K: 2e-6 times the
//! root mean square of the row, five times what another f32 implementation was off by. Without quantisation a sum is one
//! chain over all of K, twice as long here: 4e-6.

use rorqual::model::config::ScaleFormat;
use rorqual::model::weights::{BLOCK, Checkpoint, Matrix};
use rorqual::num::E4m3;
use rorqual::reference::Numerics;
use rorqual::reference::linear::{Output, linear, linear_quantized};
use rorqual::reference::quantize::{Quantized, quantize_1x128, quantize_128x128};

use crate::oracle::{Tensor, Tensors, assert_close_by, assert_same, fixture, rms};

/// Of a block-scaled product, in units of the row's root mean square.
const PRODUCT: f64 = 2e-6;

/// Of a product with expanded weights, in units of the row's root mean square.
const EXPANDED_PRODUCT: f64 = 4e-6;

const FORMATS: [(&str, ScaleFormat); 2] = [("f32", ScaleFormat::F32), ("ue8m0", ScaleFormat::Ue8m0)];

pub fn cast(units: &Tensors) {
    let x = units.get("fp8.cast_x");
    let one_by_one: Vec<u8> = x.f32s().into_iter().map(|x| E4m3::from_f32(x).to_bits()).collect();
    let mut by_slice = vec![0; one_by_one.len()];
    E4m3::encode_slice(&x.f32s(), &mut by_slice);
    for name in ["fp8.cast_code", "fp8.cast_code_torch"] {
        let expected = &units.get(name).bytes;
        assert_same(name, &x.shape, &one_by_one, expected);
        assert_same(name, &x.shape, &by_slice, expected);
    }
}

pub fn decode(units: &Tensors) {
    let expected = units.get("fp8.decode_f64");
    let codes: Vec<u8> = (0..=255).collect();
    let one_by_one: Vec<f32> = codes.iter().map(|&code| E4m3::from_bits(code).to_f32()).collect();
    let mut by_slice = vec![0.0; codes.len()];
    E4m3::decode_slice(&codes, &mut by_slice);
    for found in [one_by_one, by_slice] {
        assert_close_by("fp8.decode_f64", &expected.shape, &found, &expected.floats(), |_| 0.0);
    }
}

/// The row `one_inf` of `fp8.act.x`.
const INFINITE_ROW: usize = 8;

pub fn activations(units: &Tensors) {
    let x = units.get("fp8.act.x");
    let columns = x.shape[1];
    let ours = quantize_1x128(&x.f32s(), columns, ScaleFormat::F32);
    same_codes(units, "fp8.act.f32.code", &ours.codes);
    same_scales(units.get("fp8.act.f32.scale"), &ours.scales);

    let powers = quantize_1x128(&x.f32s(), columns, ScaleFormat::Ue8m0);
    let (mut codes, mut scales) = (powers.codes, powers.scales);
    let (their_codes, their_scales) = (units.get("fp8.act.ue8m0.code"), units.get("fp8.act.ue8m0.scale"));
    // The row with infinities. No power of two is the scale of their groups. The fixtures' README says of both formats
    // that the scale is infinite, finite elements 0 and the infinity NaN, and so do we; the tensor has a scale of 1,
    // which hides the infinity as 448. So these groups are held to the f32 ones, and the rest to the tensor.
    let infinite: Vec<usize> = (0..scales.len()).filter(|&group| scales[group].is_infinite()).collect();
    assert_eq!(infinite, [2 * INFINITE_ROW, 2 * INFINITE_ROW + 1], "groups with an infinity");
    for group in infinite {
        let elements = group * BLOCK..(group + 1) * BLOCK;
        assert_eq!(codes[elements.clone()], ours.codes[elements.clone()], "group {group}");
        assert_eq!(their_scales.f32s()[group], 1.0, "the tensor says what we say now: remove the exception");
        scales[group] = 1.0;
        codes[elements.clone()].copy_from_slice(&their_codes.bytes[elements]);
    }
    same_codes(units, "fp8.act.ue8m0.code", &codes);
    same_scales(units.get("fp8.act.ue8m0.scale"), &scales);

    // The product with a reciprocal is another function; on these rows both give the same codes.
    let runs = x.f32s();
    let by_reciprocal = runs.chunks(BLOCK).zip(&ours.scales).flat_map(|(run, scale)| {
        let reciprocal = 1.0 / scale;
        run.iter().map(move |value| E4m3::from_f32(value * reciprocal).to_bits())
    });
    same_codes(units, "fp8.act.recip.code", &by_reciprocal.collect::<Vec<u8>>());
}

pub fn blocks(units: &Tensors) {
    let w = units.get("fp8.block.w");
    let (rows, columns) = (w.shape[0], w.shape[1]);
    for (name, format) in FORMATS {
        let found = quantize_128x128(&w.f32s(), rows, columns, format);
        same_codes(units, &format!("fp8.block.{name}.code"), &found.codes);
        same_scales(units.get(&format!("fp8.block.{name}.scale_inv")), &found.scales);

        let matrix = Matrix::from_e4m3(rows, columns, &found.codes, &found.scales);
        let mut expanded = vec![0.0; rows * columns];
        for (row, values) in expanded.chunks_mut(columns).enumerate() {
            matrix.read_row(row, values);
        }
        let expected = units.get(&format!("fp8.block.{name}.dequant_f32"));
        assert_close_by(&expected.name, &expected.shape, &expanded, &expected.floats(), |_| 0.0);
    }
}

pub fn gemm(units: &Tensors) {
    let (weight, codes) = (units.get("fp8.gemm.wq"), units.get("fp8.gemm.xq"));
    let scales = units.get("fp8.gemm.ws").f32s();
    let weight = Matrix::from_e4m3(weight.shape[0], weight.shape[1], &weight.bytes, &scales);
    let x = Quantized { codes: codes.bytes.clone(), scales: units.get("fp8.gemm.xs").f32s() };
    let worst = close_to_rows(units.get("fp8.gemm.y_f64"), &linear_quantized(&x, &weight), PRODUCT);
    println!("fp8.gemm.y_f64: worst at {worst:.3} of {PRODUCT:e} times the row's rms");
}

/// Every FP8 linear layer of one checkpoint, with quantised activations and without.
#[test]
fn linear_layers_of_a_checkpoint() {
    let directory = fixture("tiny-v3-fp8");
    let oracle = Tensors::open(&directory.join("fp8_linear.safetensors"));
    let checkpoint = Checkpoint::open(&directory, &mut |_, _| ()).expect("a checkpoint");

    let inputs: Vec<&Tensor> =
        oracle.names().filter(|name| name.starts_with("x.K")).map(|name| oracle.get(name)).collect();
    for x in &inputs {
        let columns = x.shape[1];
        let found = quantize_1x128(&x.f32s(), columns, ScaleFormat::F32);
        same_codes(&oracle, &format!("xq.K{columns}"), &found.codes);
        same_scales(oracle.get(&format!("xs.K{columns}")), &found.scales);
    }

    let (mut worst, mut worst_unquantised, mut layers) = (0.0_f64, 0.0_f64, 0);
    for name in oracle.names().filter_map(|name| name.strip_prefix("y.")) {
        let y = oracle.get(&format!("y.{name}"));
        let weight_name = format!("{name}.weight");
        let mut weights = inputs
            .iter()
            .filter_map(|x| Some((x, checkpoint.matrix(&weight_name, y.shape[1], x.shape[1]).ok()?)));
        let (x, weight) = weights.next().expect("a weight that fits one of the inputs");
        assert!(weight.is_block_scaled(), "{name} is FP8");
        worst =
            worst.max(close_to_rows(y, &linear(&x.f32s(), &weight, Output::F32, Numerics::KERNEL), PRODUCT));
        let y = oracle.get(&format!("y_noactq.{name}"));
        let found = linear(&x.f32s(), &weight, Output::F32, Numerics::F32);
        worst_unquantised = worst_unquantised.max(close_to_rows(y, &found, EXPANDED_PRODUCT));
        layers += 1;
    }
    println!(
        "{layers} layers: worst at {worst:.3} of {PRODUCT:e} times the row's rms; at {worst_unquantised:.3} of \
         {EXPANDED_PRODUCT:e} where activations are not quantised"
    );
    assert_eq!(oracle.unread(), [""; 0], "tensors that nothing was compared with");
}

#[track_caller]
fn same_codes(oracle: &Tensors, name: &str, found: &[u8]) {
    let expected = oracle.get(name);
    assert_same(name, &expected.shape, found, &expected.bytes);
}

/// Scales by their bits, so that infinite ones count.
#[track_caller]
fn same_scales(expected: &Tensor, found: &[f32]) {
    let bits = |scales: &[f32]| -> Vec<u32> { scales.iter().map(|scale| scale.to_bits()).collect() };
    assert_same(&expected.name, &expected.shape, &bits(found), &bits(&expected.f32s()));
}

/// Holds a product `[tokens, outputs]` against float64, within `relative` of each row's root mean square.
#[track_caller]
fn close_to_rows(expected: &Tensor, found: &[f32], relative: f64) -> f64 {
    let (width, values) = (expected.shape[1], expected.floats());
    let tolerances: Vec<f64> = values.chunks(width).map(|row| relative * rms(row)).collect();
    assert_close_by(&expected.name, &expected.shape, found, &values, |at| tolerances[at / width])
}
