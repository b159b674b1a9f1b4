//! Memory and streams of `cudarc`, where there is a GPU.

use crate::programs::{saxpy, saxpy_arguments};
use crate::{devices, simulated};
use rorqual::driver::Error;
use rorqual::interop::cudarc;

#[test]
fn slices_and_streams_of_cudarc_are_ours_too() {
    for device in devices().into_iter().filter(|device| !device.is_simulated()) {
        let context = cudarc::context(&device).expect("a GPU has one");
        let theirs = context.new_stream().expect("a stream");
        let ours = cudarc::stream(&device, theirs.clone()).expect("of this context");
        assert_eq!(cudarc::cuda_stream(&ours), Some(&theirs));

        let kernel = saxpy(&device);
        let x = theirs.clone_htod(&vec![1.0f32; 1000]).expect("room");
        let mut y = theirs.clone_htod(&vec![2.0f32; 1000]).expect("room");
        {
            let x = cudarc::borrow(&ours, &x, [10, 100]).expect("a buffer");
            let mut y = cudarc::borrow_mut(&ours, &mut y, [10, 100]).expect("a buffer");
            let arguments = saxpy_arguments(x.address(), y.address(), x.len(), 3.0);
            kernel.launch(&ours, &arguments, &[x.reads(), y.writes()]).expect("a right launch");
            // Work on another stream is done before `cudarc` goes on.
            let other = device.stream().expect("a stream");
            kernel.launch(&other, &arguments, &[x.reads(), y.writes()]).expect("a right launch");
        }
        assert_eq!(theirs.clone_dtoh(&y).expect("results"), [8.0; 1000]);

        let error = cudarc::borrow(&ours, &x, [3]).expect_err("another length");
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let simulated = simulated("sm_90a");
        let error = cudarc::stream(&simulated, theirs).expect_err("a simulated device");
        assert!(matches!(error, Error::OtherDevice { .. }), "{error}");
    }
}

#[test]
fn simulated_devices_have_no_context() {
    let device = simulated("sm_80");
    assert!(cudarc::context(&device).is_none());
    assert!(cudarc::cuda_stream(&device.stream().expect("a stream")).is_none());
}
