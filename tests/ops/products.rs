//! Matrix products.

use super::{BF16, close, codes, devices, download, numbers, to_bf16, to_f32, upload, upload_bf16};
use rorqual::model::config::ScaleFormat as ReferenceScale;
use rorqual::model::weights::Matrix;
use rorqual::num::{E4m3, bf16};
use rorqual::ops::gemm::{Batched, BatchedSpec, Dense, DenseSpec, Grouped, GroupedSpec, Masked, Order};
use rorqual::ops::{Quantized, device_error};
use rorqual::reference::Numerics;
use rorqual::reference::linear::{Output, linear, linear_quantized};
use rorqual::reference::quantize::{quantize_1x128, quantize_128x128};

/// `a * weight^T` of bf16, f32 sums not rounded.
fn product(a: &[f32], weight: &[f32], k: usize) -> Vec<f32> {
    let weight = Matrix::from_bf16(weight.len() / k, k, &to_bf16(weight));
    linear(a, &weight, Output::F32, Numerics::KERNEL)
}

#[test]
fn dense() {
    for (device, stream) in devices() {
        let (a, weight) = (numbers(1, 5 * 72), numbers(2, 40 * 72));
        let expected = product(&a, &weight, 72);
        let on_device = [upload_bf16(&stream, [5, 72], &a), upload_bf16(&stream, [40, 72], &weight)];
        let [a, weight] = &on_device;
        let plan = Dense::<bf16>::plan(&device, &DenseSpec::new(40, 72)).expect("a plan");
        close(&download(&stream, &plan.run(&stream, a, weight).expect("a run")), &expected, BF16);
        let plan = Dense::<bf16, f32>::plan(&device, &DenseSpec::new(40, 72)).expect("a plan");
        let logits = plan.run(&stream, a, weight).expect("a run");
        close(&stream.download(&logits).expect("logits"), &expected, 1e-5);
    }
}

/// Rows of 200 codes are none that Hopper copies, rows of 208 are.
#[test]
fn dense_of_fp8() {
    for ((device, stream), k) in
        devices().into_iter().flat_map(|device| [(device.clone(), 200), (device, 208)])
    {
        let (rows, n) = (3, 136);
        let a = quantize_1x128(&numbers(3, rows * k), k, ReferenceScale::F32);
        let weight = quantize_128x128(&numbers(4, n * k), n, k, ReferenceScale::F32);
        let expected = linear_quantized(&a, &Matrix::from_e4m3(n, k, &weight.codes, &weight.scales));
        let a = Quantized {
            codes: upload(&stream, [rows, k], &codes(&a.codes)),
            scales: upload(&stream, [rows, 2], &a.scales),
        };
        let weight =
            stream.upload_block_scaled([n, k], &codes(&weight.codes), &weight.scales).expect("a weight");
        let plan = Dense::<E4m3>::plan(&device, &DenseSpec::new(136, k as u32)).expect("a plan");
        close(&download(&stream, &plan.run(&stream, &a, &weight).expect("a run")), &expected, BF16);
    }
}

#[test]
fn grouped() {
    for (device, stream) in devices() {
        let (a, weights) = (numbers(5, 6 * 32), numbers(6, 3 * 24 * 32));
        let mut expected = vec![0.0; 6 * 24];
        for (group, rows) in [(0, 0..2), (2, 2..5)] {
            let weight = &weights[group * 24 * 32..][..24 * 32];
            expected[rows.start * 24..rows.end * 24].copy_from_slice(&product(
                &a[rows.start * 32..rows.end * 32],
                weight,
                32,
            ));
        }
        let plan = Grouped::<bf16>::plan(&device, &GroupedSpec::new(3, 24, 32)).expect("a plan");
        let a = upload_bf16(&stream, [6, 32], &a);
        let weights = upload_bf16(&stream, [3, 24, 32], &weights);
        let offsets = upload(&stream, 4, &[0_u32, 2, 2, 5]);
        let d = plan.run(&stream, &a, &weights, &offsets).expect("a run");
        close(&download(&stream, &d), &expected, BF16);
        assert!(plan.flags(&stream).expect("flags").is_empty());

        let falling = upload(&stream, 4, &[0_u32, 2, 1, 5]);
        plan.run(&stream, &a, &weights, &falling).expect("a run");
        assert_eq!(plan.flags(&stream).expect("flags").bits(), device_error::GROUPS);
    }
}

#[test]
fn masked() {
    for (device, stream) in devices() {
        let (a, weights) = (numbers(7, 2 * 4 * 32), numbers(8, 2 * 24 * 32));
        let plan = Masked::<bf16, f32>::plan(&device, &GroupedSpec::new(2, 24, 32)).expect("a plan");
        let mut expected = vec![0.0; 2 * 4 * 24];
        for (group, count) in [(0, 1), (1, 3)] {
            let rows = &a[group * 4 * 32..][..count * 32];
            let weight = &weights[group * 24 * 32..][..24 * 32];
            expected[group * 4 * 24..][..count * 24].copy_from_slice(&product(rows, weight, 32));
        }
        let a = upload_bf16(&stream, [2, 4, 32], &a);
        let weights = upload_bf16(&stream, [2, 24, 32], &weights);
        let counts = upload(&stream, 2, &[1_u32, 3]);
        let d = plan.run(&stream, &a, &weights, &counts).expect("a run");
        close(&stream.download(&d).expect("results"), &expected, 1e-5);
    }
}

#[test]
fn batched() {
    for (device, stream) in devices() {
        let (a, weights) = (numbers(9, 3 * 2 * 16), numbers(10, 2 * 8 * 16));
        let mut expected = vec![0.0; 3 * 2 * 8];
        for row in 0..3 {
            for batch in 0..2 {
                let slice = &a[(row * 2 + batch) * 16..][..16];
                let result = product(slice, &weights[batch * 8 * 16..][..8 * 16], 16);
                expected[(row * 2 + batch) * 8..][..8].copy_from_slice(&result);
            }
        }
        let a = upload_bf16(&stream, [3, 2, 16], &a);
        let spec = BatchedSpec { batches: 2, n: 8, k: 16, order: Order::OutputMajor };
        let plan = Batched::<bf16>::plan(&device, &spec).expect("a plan");
        let rows = upload_bf16(&stream, [2, 8, 16], &weights);
        close(&download(&stream, &plan.run(&stream, &a, &rows).expect("a run")), &expected, BF16);

        let transposed: Vec<f32> =
            (0..2 * 16 * 8).map(|at| weights[at / 128 * 128 + at % 8 * 16 + at % 128 / 8]).collect();
        let spec = BatchedSpec { order: Order::InputMajor, ..spec };
        let plan = Batched::<bf16>::plan(&device, &spec).expect("a plan");
        let columns = upload_bf16(&stream, [2, 16, 8], &transposed);
        close(&download(&stream, &plan.run(&stream, &a, &columns).expect("a run")), &expected, BF16);
    }
}

/// On Hopper 64 rows and 65 have kernels of their own.
#[test]
fn a_row_has_the_same_bits_among_few_and_among_many() {
    let (device, stream) = super::device("sm_90a");
    let (n, k, most) = (72, 208, 65);
    let a = numbers(11, most * k);
    let weight = numbers(12, n * k);
    let few_of = |all: &[bf16], row: usize| -> Vec<bf16> { all[..64 * row].to_vec() };

    let rows = |count: usize| upload_bf16(&stream, [count, k], &a[..count * k]);
    let matrix = upload_bf16(&stream, [n, k], &weight);
    let plan = Dense::<bf16>::plan(&device, &DenseSpec::new(72, 208)).expect("a plan");
    assert_eq!(plan.chosen().kernels().len(), 2, "{plan}");
    let run =
        |count| stream.download(&plan.run(&stream, &rows(count), &matrix).expect("a run")).expect("results");
    let all = run(most);
    close(&to_f32(&all), &product(&a, &weight, k), BF16);
    assert_eq!(run(64), few_of(&all, n));

    let weight = quantize_128x128(&weight, n, k, ReferenceScale::F32);
    let matrix = stream.upload_block_scaled([n, k], &codes(&weight.codes), &weight.scales).expect("a weight");
    let plan = Dense::<E4m3>::plan(&device, &DenseSpec::new(72, 208)).expect("a plan");
    assert_eq!(plan.chosen().kernels().len(), 2, "{plan}");
    let run = |count: usize| {
        let a = quantize_1x128(&a[..count * k], k, ReferenceScale::F32);
        let a = Quantized {
            codes: upload(&stream, [count, k], &codes(&a.codes)),
            scales: upload(&stream, [count, 2], &a.scales),
        };
        stream.download(&plan.run(&stream, &a, &matrix).expect("a run")).expect("results")
    };
    let all = run(most);
    assert_eq!(run(64), few_of(&all, n));

    let weights = upload_bf16(&stream, [2, n, 104], &numbers(12, n * k));
    let spec = BatchedSpec { batches: 2, n: 72, k: 104, order: Order::OutputMajor };
    let plan = Batched::<bf16>::plan(&device, &spec).expect("a plan");
    assert_eq!(plan.chosen().kernels().len(), 2, "{plan}");
    let run = |count: usize| {
        let a = upload_bf16(&stream, [count, 2, 104], &a[..count * k]);
        stream.download(&plan.run(&stream, &a, &weights).expect("a run")).expect("results")
    };
    let all = run(most);
    assert_eq!(run(64), few_of(&all, 2 * n));
}

#[test]
fn nothing_is_a_size() {
    for (device, stream) in devices() {
        let plan = Dense::<bf16>::plan(&device, &DenseSpec::new(40, 72)).expect("a plan");
        let a = upload_bf16(&stream, [0, 72], &[]);
        let weight = upload_bf16(&stream, [40, 72], &numbers(1, 2880));
        assert_eq!(plan.run(&stream, &a, &weight).expect("a run").shape(), [0, 40].into());
    }
}
