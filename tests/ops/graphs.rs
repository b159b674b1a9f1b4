//! Graphs of operations.

use super::{devices, download, numbers, upload, upload_bf16};
use rorqual::num::bf16;
use rorqual::ops::gemm::{Dense, DenseSpec};
use rorqual::ops::norm::{NormSpec, RmsNorm};
use rorqual::ops::{Error, capture};

#[test]
fn runs_are_captured_and_replayed() {
    for (device, stream) in devices() {
        let norm = RmsNorm::<bf16>::plan(&device, &NormSpec::new(64, 1e-6)).expect("a plan");
        let dense = Dense::<bf16>::plan(&device, &DenseSpec::new(16, 64)).expect("a plan");
        let weight = upload(&stream, 64, &[1.0_f32; 64]);
        let matrix = upload_bf16(&stream, [16, 64], &numbers(1, 16 * 64));
        let inputs = [numbers(2, 2 * 64), numbers(3, 2 * 64)];
        let expected = inputs.clone().map(|x| {
            let x = upload_bf16(&stream, [2, 64], &x);
            let y = norm.run(&stream, &x, &weight).expect("a run");
            download(&stream, &dense.run(&stream, &y, &matrix).expect("a run"))
        });

        let mut x = upload_bf16(&stream, [2, 64], &[0.0; 128]);
        let mut y = stream.allocate::<bf16>([2, 64]).expect("room");
        let mut out = upload_bf16(&stream, [2, 16], &[7.0; 32]);
        let mut graph = capture(&stream, |stream| {
            norm.run_into(stream, &x, &weight, &mut y)?;
            dense.run_into(stream, &y, &matrix, &mut out)
        })
        .expect("a graph");
        assert_eq!(download(&stream, &out), [7.0; 32], "a capture does nothing");
        for (input, expected) in inputs.iter().zip(&expected) {
            stream.write(&mut x, &super::to_bf16(input)).expect("a copy");
            graph.launch(&stream).expect("a launch");
            assert_eq!(&download(&stream, &out), expected);
        }
        assert!(dense.flags(&stream).expect("flags").is_empty());
    }
}

#[test]
fn what_allocates_is_not_captured() {
    let (device, stream) = super::device("sm_80");
    let norm = RmsNorm::<bf16>::plan(&device, &NormSpec::new(64, 1e-6)).expect("a plan");
    let weight = upload(&stream, 64, &[1.0_f32; 64]);
    let x = upload_bf16(&stream, [2, 64], &[0.0; 128]);
    let error = capture(&stream, |stream| norm.run(stream, &x, &weight).map(drop)).expect_err("it allocates");
    assert!(matches!(error, Error::Driver { operation: "norm::RmsNorm", .. }), "{error}");
    assert!(error.to_string().contains("allocate: cannot be captured in a graph"), "{error}");
    norm.run(&stream, &x, &weight).expect("the stream works again");
}
