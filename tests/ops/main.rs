//! Plans on simulated devices.
//!
//! | module | what it shows |
//! |---|---|
//! | [`rows`], [`products`], [`experts`], [`attention`] | every plan against the reference, for one shape |
//! | [`misuse`] | every kind of mistake, with its message |
//! | [`graphs`] | `run_into` captured and replayed |

mod attention;
mod experts;
mod graphs;
mod misuse;
mod products;
mod rows;

use rorqual::driver::{Buffer, Device, DeviceElement, Shape, Stream};
use rorqual::num::{E4m3, bf16};

/// Devices of two generations, each with a stream.
fn devices() -> Vec<(Device, Stream)> {
    ["sm_80", "sm_90a"].map(device).into()
}

fn device(target: &str) -> (Device, Stream) {
    let device = Device::simulated(target.parse().expect("a target")).expect("a device");
    let stream = device.stream().expect("a stream");
    (device, stream)
}

/// So many numbers of bf16 between -1 and 1, always the same ones for a seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // A linear congruential generator (Knuth, MMIX), of which the high bits are good.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bf16::from_f32((state >> 40) as f32 / (1 << 23) as f32 - 1.0).to_f32()
    };
    (0..count).map(|_| next()).collect()
}

fn to_bf16(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|value| bf16::from_f32(*value)).collect()
}

fn to_f32(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

fn codes(bits: &[u8]) -> Vec<E4m3> {
    bits.iter().map(|bits| E4m3::from_bits(*bits)).collect()
}

fn upload<T: DeviceElement>(stream: &Stream, shape: impl Into<Shape>, values: &[T]) -> Buffer<T> {
    stream.upload(shape, values).expect("room")
}

fn upload_bf16(stream: &Stream, shape: impl Into<Shape>, values: &[f32]) -> Buffer<bf16> {
    upload(stream, shape, &to_bf16(values))
}

fn download(stream: &Stream, buffer: &Buffer<bf16>) -> Vec<f32> {
    to_f32(&stream.download(buffer).expect("results"))
}

/// That values are within a relative distance, of the largest expected one where they are smaller.
#[track_caller]
fn close(given: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(given.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (index, (given, expected)) in given.iter().zip(expected).enumerate() {
        let bound = tolerance * expected.abs().max(largest / 16.0);
        assert!(
            (given - expected).abs() <= bound,
            "element {index}: {given}, expected {expected} +- {bound}"
        );
    }
}

/// Two units in the last place of bf16: the sums in f32 differ by their order.
const BF16: f32 = 1.0 / 128.0;
