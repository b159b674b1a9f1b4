//! Order across streams, events, graphs.

use crate::devices;
use crate::programs::{saxpy, saxpy_arguments};
use rorqual::driver::{Buffer, Error, Kernel, Stream};

fn add(
    kernel: &Kernel,
    stream: &Stream,
    x: &Buffer<f32>,
    y: &mut Buffer<f32>,
) -> rorqual::driver::Result<()> {
    let arguments = saxpy_arguments(x.address(), y.address(), x.len(), 1.0);
    kernel.launch(stream, &arguments, &[x.reads(), y.writes()])
}

#[test]
fn a_buffer_is_used_in_order_on_several_streams() {
    for device in devices() {
        let kernel = saxpy(&device);
        let streams = [(); 3].map(|()| device.stream().expect("a stream"));
        let ones = streams[0].upload(3000, &[1.0f32; 3000]).expect("room");
        let mut sum = streams[1].upload(3000, &[0.0f32; 3000]).expect("room");
        for round in 0..12 {
            add(&kernel, &streams[round % 3], &ones, &mut sum).expect("a right launch");
        }
        assert_eq!(streams[1].download(&sum).expect("results"), [12.0; 3000], "{device}");
        // Freed while the other streams may be at work; the memory comes back as new.
        drop((ones, sum));
        let zeros = streams[2].upload(3000, &[0.0f32; 3000]).expect("room");
        assert_eq!(streams[0].download(&zeros).expect("zeros"), [0.0; 3000]);
    }
}

#[test]
fn events_order_streams_and_take_time() {
    for device in devices() {
        let kernel = saxpy(&device);
        let (first, second) = (device.stream().expect("a stream"), device.stream().expect("a stream"));
        let start = first.record().expect("an event");
        let x = first.upload(100, &[1.0f32; 100]).expect("room");
        let mut y = first.upload(100, &[1.0f32; 100]).expect("room");
        add(&kernel, &first, &x, &mut y).expect("a right launch");
        let end = first.record().expect("an event");
        second.wait(&end).expect("an order");
        let after = second.record().expect("an event");
        after.synchronize().expect("done");
        assert!(start.is_complete().expect("no failure") && end.is_complete().expect("no failure"));
        assert!(start.elapsed(&end).expect("a time").as_secs() < 60);
        first.synchronize().expect("done");
        device.synchronize().expect("done");
    }
}

#[test]
fn graphs_replay_what_was_captured() {
    for device in devices() {
        let kernel = saxpy(&device);
        let (stream, other) = (device.stream().expect("a stream"), device.stream().expect("a stream"));
        let x = stream.upload(10, &[1.0f32; 10]).expect("room");
        let mut sum = stream.upload(10, &[0.0f32; 10]).expect("room");
        let mut copy = other.upload(10, &[7.0f32; 10]).expect("room");
        let mut graph = stream
            .capture(|stream| {
                add(&kernel, stream, &x, &mut sum)?;
                stream.copy(&sum, &mut copy)?;
                add(&kernel, stream, &x, &mut sum)
            })
            .expect("a graph");
        assert_eq!(stream.download(&copy).expect("as before"), [7.0; 10], "capturing does nothing");
        for _ in 0..3 {
            graph.launch(&stream).expect("a right launch");
        }
        graph.launch(&other).expect("a right launch");
        assert_eq!(other.download(&copy).expect("results"), [7.0; 10], "{device}");
        assert_eq!(stream.download(&sum).expect("results"), [8.0; 10], "{device}");

        // The graph keeps what it uses: memory and module.
        drop((x, copy, kernel));
        let _other = stream.upload(10, &[99.0f32; 10]).expect("room");
        graph.launch(&stream).expect("a right launch");
        assert_eq!(stream.download(&sum).expect("results"), [10.0; 10], "{device}");
    }
}

#[test]
fn what_cannot_be_captured_is_refused() {
    type Work = fn(&Stream, &mut Buffer<f32>) -> rorqual::driver::Result<()>;
    let works: [(&str, Work); 7] = [
        ("allocate", |stream, _| stream.allocate::<f32>(1).map(drop)),
        ("write", |stream, buffer| stream.write(buffer, &[0.0])),
        ("read", |stream, buffer| stream.download(&*buffer).map(drop)),
        ("record an event", |stream, _| stream.record().map(drop)),
        ("synchronize", |stream, _| stream.synchronize()),
        ("capture", |stream, _| stream.capture(|_| Ok(())).map(drop)),
        ("read to pinned memory", |stream, buffer| {
            let host = stream.device().pinned(1)?;
            stream.read_pinned(&*buffer, host).map(drop)
        }),
    ];
    for device in devices() {
        let stream = device.stream().expect("a stream");
        let mut buffer = stream.upload(1, &[5.0f32]).expect("room");
        for (operation, work) in works {
            let error = stream.capture(|stream| work(stream, &mut buffer)).expect_err(operation);
            assert_eq!(error, Error::Capturing { operation }, "{device}");
            assert_eq!(stream.download(&buffer).expect("the capture is over"), [5.0]);
        }
    }
}

#[test]
fn a_capture_ends_with_a_panic_too() {
    for device in devices() {
        let stream = device.stream().expect("a stream");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            stream.capture(|_| panic!("on purpose")).map(drop)
        }));
        assert!(caught.is_err());
        let mut graph = stream.capture(|_| Ok(())).expect("an empty graph");
        graph.launch(&stream).expect("nothing to do");
        stream.synchronize().expect("done");
    }
}

#[test]
fn memory_may_be_dropped_and_used_elsewhere_during_a_capture() {
    for device in devices() {
        let (stream, other) = (device.stream().expect("a stream"), device.stream().expect("a stream"));
        let mut buffer = stream.upload(4, &[1.0f32; 4]).expect("room");
        let shared = stream.upload(4, &[2.0f32; 4]).expect("room");
        let unused = stream.upload(4, &[3.0f32; 4]).expect("room");
        let mut graph = stream
            .capture(|stream| {
                drop(unused);
                assert_eq!(other.download(&shared)?, [2.0; 4], "the other stream is not captured");
                stream.copy(&shared, &mut buffer)
            })
            .expect("a graph");
        graph.launch(&stream).expect("a right launch");
        assert_eq!(stream.download(&buffer).expect("results"), [2.0; 4], "{device}");
    }
}
