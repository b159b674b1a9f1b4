//! Buffers, views and pinned memory.

use crate::{devices, simulated};
use rorqual::driver::{DeviceElement, Error, Shape};
use rorqual::num::{E4m3, E5m2, bf16, f16};

fn round_trip<T: DeviceElement + PartialEq>(value: impl Fn(usize) -> T) {
    for device in devices() {
        let stream = device.stream().expect("a stream");
        for shape in
            [Shape::from([]), 1.into(), [3, 5, 7].into(), [1, 4097].into(), [2, 1, 1, 1, 1, 3].into()]
        {
            let count = shape.elements().expect("a small shape");
            let values: Vec<T> = (0..count).map(&value).collect();
            let buffer = stream.upload(shape, &values).expect("room");
            assert_eq!((buffer.shape(), buffer.len(), buffer.device()), (shape, count, &device));
            assert!(buffer.address().is_multiple_of(16), "{:#x}", buffer.address());
            assert_eq!(stream.download(&buffer).expect("what was written"), values, "{shape} on {device}");
        }
    }
}

#[test]
fn every_element_type_comes_back() {
    round_trip(|at| bf16::from_bits(at as u16 & 0x7f7f));
    round_trip(|at| f16::from_bits(at as u16 & 0x7bff));
    round_trip(|at| at as f32 - 0.5);
    round_trip(|at| E4m3::from_bits(at as u8));
    round_trip(|at| E5m2::from_bits(at as u8));
    round_trip(|at| at as u8);
    round_trip(|at| (at as u32).wrapping_mul(0x0101_0101));
    round_trip(|at| -(at as i32));
    round_trip(|at| (at as u64) << 33);
}

#[test]
fn nothing_is_something_too() {
    for device in devices() {
        let stream = device.stream().expect("a stream");
        let mut empty = stream.upload::<f32>([3, 0, 5], &[]).expect("no bytes");
        assert!(empty.is_empty());
        assert_eq!(empty.address(), 0);
        stream.zero(&mut empty).expect("nothing to do");
        stream.poison(&mut empty).expect("nothing to do");
        let copy = stream.allocate::<f32>(0).expect("no bytes");
        stream.copy(&copy, &mut empty).expect("nothing to do");
        assert_eq!(stream.download(&empty).expect("nothing"), [0.0f32; 0]);
        let pinned = device.pinned::<f32>(0).expect("no bytes");
        let pinned = stream.write_pinned(&mut empty, pinned).expect("nothing to do").wait().expect("done");
        assert!(pinned.is_empty());
    }
}

#[test]
fn views_are_parts_of_a_buffer() {
    for device in devices() {
        let stream = device.stream().expect("a stream");
        let mut buffer = stream.upload([4, 3], &(0..12).collect::<Vec<u32>>()).expect("room");
        let row = buffer.slice(6, [3]).expect("the third row");
        assert_eq!(row.address(), buffer.address() + 24);
        assert_eq!(stream.download(row).expect("a row"), [6, 7, 8]);
        assert_eq!(stream.download(row.slice(1, []).expect("an element")).expect("a value"), [7]);

        stream.write(buffer.slice_mut(3, [2]).expect("two"), &[30, 40]).expect("room");
        stream.zero(buffer.slice_mut(9, 3).expect("the last row")).expect("done");
        let (head, tail) = buffer.view_mut().split(3).expect("two parts");
        stream
            .copy(tail.as_view().slice(0, 2).expect("two"), head.slice_mut(1, 2).expect("two"))
            .expect("done");
        assert_eq!(stream.download(&buffer).expect("all"), [0, 30, 40, 30, 40, 5, 6, 7, 8, 0, 0, 0]);

        let buffer = buffer.reshape([2, 6]).expect("as many elements");
        assert_eq!(buffer.shape(), [2, 6].into());
        let error = buffer.reshape([5]).expect_err("fewer elements");
        assert_eq!(error.to_string(), "reshape: expected as many elements as [2, 6], got [5]");
    }
}

#[test]
fn views_do_not_reach_beyond_the_end() {
    let stream = simulated("sm_80").stream().expect("a stream");
    let mut buffer = stream.allocate::<u8>([4, 3]).expect("room");
    for (first, shape) in
        [(10, 3.into()), (13, 0.into()), (usize::MAX, 2.into()), (0, Shape::from([usize::MAX, 3]))]
    {
        let error = buffer.slice(first, shape).expect_err("beyond the end");
        assert!(matches!(error, Error::Shape { operation: "slice", .. }), "{error}");
        assert!(buffer.slice_mut(first, shape).is_err());
    }
    assert!(buffer.slice(12, 0).is_ok(), "nothing at the end");
    assert!(buffer.view_mut().split(13).is_err());
}

#[test]
fn wrong_counts_are_refused() {
    let stream = simulated("sm_80").stream().expect("a stream");
    let error = stream.upload::<f32>([2, 2], &[1.0; 3]).expect_err("too few");
    assert_eq!(error.to_string(), "upload: expected 4 elements, got 3");
    let mut buffer = stream.upload::<f32>([2, 2], &[1.0; 4]).expect("room");
    assert!(stream.write(&mut buffer, &[0.0; 5]).is_err());
    assert!(stream.read(&buffer, &mut [0.0; 3]).is_err());
    let other = stream.allocate::<f32>(3).expect("room");
    let error = stream.copy(&other, &mut buffer).expect_err("another length");
    assert_eq!(error.to_string(), "copy: expected 4 elements, got 3");
    let error = stream.allocate::<u64>([usize::MAX, 2]).expect_err("no size");
    assert!(matches!(error, Error::Shape { operation: "allocate", .. }), "{error}");
}

#[test]
fn pinned_memory_comes_back() {
    for device in devices() {
        let stream = device.stream().expect("a stream");
        let mut host = device.pinned::<bf16>(1001).expect("host memory");
        assert!(host.iter().all(|value| value.to_bits() == 0));
        for (at, value) in host.iter_mut().enumerate() {
            *value = bf16::from_bits(at as u16);
        }
        let mut buffer = stream.allocate::<bf16>([7, 143]).expect("room");
        let host = stream.write_pinned(&mut buffer, host).expect("under way").wait().expect("done");
        let back = device.pinned::<bf16>(1001).expect("host memory");
        let back = stream.read_pinned(&buffer, back).expect("under way").wait().expect("done");
        assert_eq!(back[..], host[..]);
        let _dropped_under_way = stream.read_pinned(&buffer, back).expect("under way");
        let short = device.pinned::<bf16>(3).expect("host memory");
        assert!(matches!(stream.write_pinned(&mut buffer, short), Err(Error::Shape { .. })));
    }
}

#[test]
fn too_little_memory_is_an_error() {
    for device in devices() {
        let stream = device.stream().expect("a stream");
        let total = device.memory_info().expect("memory").total;
        let error = stream.allocate::<u8>(total as usize + 1).expect_err("more than there is");
        let Error::OutOfMemory { bytes, total: reported, .. } = &error else { panic!("{error}") };
        assert_eq!((*bytes, *reported), (total + 1, total));
        stream.upload(3, &[1u8, 2, 3]).expect("the device still works");
    }
}

#[test]
fn freed_memory_is_free_again() {
    let device = simulated("sm_80");
    let stream = device.stream().expect("a stream");
    let before = device.memory_info().expect("memory").free;
    let buffer = stream.allocate::<u64>(1000).expect("room");
    assert_eq!(device.memory_info().expect("memory").free, before - 8000);
    drop(buffer);
    assert_eq!(device.memory_info().expect("memory").free, before);
}

/// A place that wraps around is not in the memory.
#[test]
fn a_use_reaches_no_further_than_its_memory() {
    let stream = simulated("sm_80").stream().expect("a stream");
    let mut buffer = stream.upload(4, &[1u32, 2, 3, 4]).expect("room");
    let address = buffer.address();
    let given = buffer.writes();
    let read = |address, elements| given.read_at::<u32>(&stream, address, elements).expect("a device");
    assert_eq!(read(address + 8, 2), Some(vec![3, 4]));
    for (address, elements) in [
        (address + 8, 3),
        (address - 4, 1),
        (u64::MAX, 1),
        (address, usize::MAX),
        (address, usize::MAX / 4 + 1),
        (address + 8, usize::MAX / 4),
    ] {
        assert_eq!(read(address, elements), None, "{elements} at {address:#x}");
    }
    assert!(given.write_at(&stream, address + 8, &[5u32, 6]).expect("a device"));
    assert!(!given.write_at(&stream, u64::MAX, &[5u32, 6]).expect("a device"));
    assert_eq!(read(address, 4), Some(vec![1, 2, 5, 6]));
}
