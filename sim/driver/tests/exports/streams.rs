//! Streams: functions of the host, virtual time, capture into graphs.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

const NOT_PERMITTED: u32 = 800;
const CAPTURE_MERGE: u32 = 902;
const CAPTURE_UNJOINED: u32 = 904;
const CAPTURE_ISOLATION: u32 = 905;
const CAPTURE_IMPLICIT: u32 = 906;
const UPDATE_FAILURE: u32 = 910;

fn event() -> Handle {
    let mut event = 0;
    done!(cuEventCreate(&mut event => &mut Handle, 0 => u32));
    event
}

fn record(event: Handle, stream: Handle) -> u32 {
    call!(cuEventRecord(event => Handle, stream => Handle))
}

fn wait(stream: Handle, event: Handle) -> u32 {
    call!(cuStreamWaitEvent(stream => Handle, event => Handle, 0 => u32))
}

/// What the functions below saw.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// Notes the value at its argument, and what the driver says to a call from here.
extern "C" fn look(value: &AtomicU32) {
    let mut count = 0;
    assert_eq!(call!(cuDeviceGetCount(&mut count => &mut i32)), NOT_PERMITTED);
    // Another thread may call the driver meanwhile.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut count = 0;
        sender.send(call!(cuDeviceGetCount(&mut count => &mut i32)))
    });
    assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(10)), Ok(SUCCESS));
    SEEN.store(value.load(Ordering::SeqCst), Ordering::SeqCst);
    value.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn called_back(_stream: Handle, code: u32, value: &AtomicU32) {
    assert_eq!(code, SUCCESS);
    look(value);
}

#[test]
fn functions_of_the_host_are_called_in_their_turn() {
    context();
    let (stream, data, host) = (stream(), upload(&[5]), AtomicU32::new(0));
    let work = || {
        done!(cuMemcpyDtoHAsync_v2(host.as_ptr() => *mut u32, data => u64, 4 => usize, stream => Handle));
        done!(cuLaunchHostFunc(stream => Handle, look => extern "C" fn(&AtomicU32), &host => &AtomicU32));
        done!(cuMemcpyHtoDAsync_v2(data => u64, host.as_ptr() => *const u32, 4 => usize, stream => Handle));
    };
    work();
    assert_eq!((SEEN.load(Ordering::SeqCst), download(data, 1)), (5, vec![6]));
    let (code, graph) = capture(stream, work);
    assert_eq!(code, SUCCESS);
    let mut executable = 0;
    done!(cuGraphInstantiateWithFlags(&mut executable => &mut Handle, graph => Handle, 0 => u64));
    for expected in 6..9 {
        done!(cuGraphLaunch(executable => Handle, stream => Handle));
        assert_eq!((SEEN.load(Ordering::SeqCst), download(data, 1)), (expected, vec![expected + 1]));
    }
    done!(cuStreamAddCallback(
        stream => Handle, called_back => extern "C" fn(Handle, u32, &AtomicU32), &host => &AtomicU32, 0 => u32,
    ));
    assert_eq!(host.load(Ordering::SeqCst), 10);
    let null = call!(cuLaunchHostFunc(stream => Handle, ptr::null() => *const c_void, &host => &AtomicU32));
    assert_eq!(null, INVALID_VALUE);
}

/// Milliseconds of virtual time for an addition, alone in its process.
fn measure() -> f32 {
    let (stream, add, data) = (stream(), function(load(ADD), c"add"), upload(&[0; 32]));
    let (start, end, mut time) = (event(), event(), 0.0);
    assert_eq!(record(start, stream), SUCCESS);
    assert_eq!(launch(add, 32, 0, stream, data, 1), SUCCESS);
    assert_eq!(record(end, stream), SUCCESS);
    done!(cuEventElapsedTime(&mut time => &mut f32, start => Handle, end => Handle));
    time
}

#[test]
fn time_is_a_function_of_the_work() {
    if !is_alone("streams::time_is_a_function_of_the_work", &[], "") {
        return;
    }
    context();
    // 2 microseconds, and 13 instructions of one warp at 6 in a nanosecond.
    let first = measure();
    assert!((first - 0.002_003).abs() < 1e-6, "{first} ms");
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(first.to_bits(), measure().to_bits(), "the host's time does not matter");
    // A stream that waits for an event of another ends after it.
    let (one, other, events) = (stream(), stream(), [event(), event()]);
    let mut time = 0.0;
    done!(cuMemsetD8Async(upload(&[0; 4096]) => u64, 0 => u8, 16384 => usize, one => Handle));
    assert_eq!(record(events[0], one), SUCCESS);
    assert_eq!(wait(other, events[0]), SUCCESS);
    assert_eq!(record(events[1], other), SUCCESS);
    done!(cuEventElapsedTime(&mut time => &mut f32, events[0] => Handle, events[1] => Handle));
    assert_eq!(time, 0.0);
}

#[test]
fn streams_have_attributes() {
    context();
    let (mut stream, mut priority, mut value) = (0, 0, [0u64; 8]);
    done!(cuStreamCreateWithPriority(&mut stream => &mut Handle, 1 => u32, -99 => i32));
    done!(cuStreamGetPriority(stream => Handle, &mut priority => &mut i32));
    assert_eq!(priority, -5);
    done!(cuStreamSetAttribute(stream => Handle, 9 => u32, &[7u64; 8] => &[u64; 8]));
    done!(cuStreamGetAttribute(stream => Handle, 9 => u32, &mut value => &mut [u64; 8]));
    assert_eq!(value, [7; 8]);
    assert_eq!(
        call!(cuStreamGetAttribute(stream => Handle, 2 => u32, &mut value => &mut [u64; 8])),
        INVALID_VALUE
    );
    let mut ids = [0u64; 3];
    for (id, stream) in ids.iter_mut().zip([stream, 1, 2]) {
        done!(cuStreamGetId(stream => Handle, id => &mut u64));
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    assert_eq!(call!(cuStreamDestroy_v2(2 => Handle)), INVALID_HANDLE, "the thread's own");
}

#[test]
fn words_are_written_and_waited_for() {
    if !is_alone(
        "streams::words_are_written_and_waited_for",
        &[],
        "holds 7, and nothing that could change it",
    ) {
        return;
    }
    context();
    let (stream, data) = (stream(), upload(&[0; 2]));
    done!(cuStreamWriteValue32_v2(stream => Handle, data => u64, 7 => u32, 0 => u32));
    let waited = |value: u32, flags: u32| call!(cuStreamWaitValue32_v2(stream => Handle, data => u64, value => u32, flags => u32));
    assert_eq!([waited(7, 0), waited(6, 0), waited(7, 1), waited(3, 2)], [SUCCESS; 4]);
    assert_eq!(
        call!(cuStreamWriteValue64_v2(stream => Handle, data + 4 => u64, 7 => u64, 0 => u32)),
        INVALID_VALUE
    );
    assert_eq!(waited(8, 0), LAUNCH_TIMEOUT);
    assert_eq!(call!(cuCtxSynchronize()), LAUNCH_TIMEOUT, "the stream stands still for ever");
}

#[test]
fn captures_that_cannot_be_graphs_are_refused() {
    context();
    let add = function(load(ADD), c"add");
    let data = upload(&[0]);
    let (main, side, fork, join) = (stream(), stream(), event(), event());
    let (code, _) = capture(main, || {
        assert_eq!(record(fork, main), SUCCESS);
        assert_eq!(wait(side, fork), SUCCESS);
        assert_eq!(launch(add, 1, 0, side, data, 1), SUCCESS);
    });
    assert_eq!(code, CAPTURE_UNJOINED);

    assert_eq!(record(fork, side), SUCCESS);
    let (code, _) = capture(main, || {
        assert_eq!(wait(main, fork), CAPTURE_ISOLATION, "recorded before");
        assert_eq!(record(join, main), SUCCESS);
        let (code, _) = capture(side, || assert_eq!(wait(side, join), CAPTURE_MERGE));
        assert_eq!(code, SUCCESS);
        assert_eq!(call!(cuEventSynchronize(join => Handle)), 907);
    });
    assert_eq!(code, SUCCESS);

    let mut blocking = 0;
    done!(cuStreamCreate(&mut blocking => &mut Handle, 0 => u32));
    let (code, _) = capture(blocking, || assert_eq!(launch(add, 1, 0, 0, data, 1), CAPTURE_IMPLICIT));
    assert_eq!(code, CAPTURE_INVALIDATED);
    let mut graph = 0;
    assert_eq!(call!(cuStreamEndCapture(main => Handle, &mut graph => &mut Handle)), 401);
    assert_eq!(call!(cuStreamBeginCapture_v2(1 => Handle, 0 => u32)), CAPTURE_UNSUPPORTED);
}

#[test]
fn graphs_list_their_nodes_and_take_new_parameters() {
    context();
    let add = function(load(ADD), c"add");
    let data = upload(&[0; 2]);
    let main = stream();
    let work = |value: u32| {
        capture(main, || {
            done!(cuMemsetD32Async(data => u64, 1 => u32, 2 => usize, main => Handle));
            assert_eq!(launch(add, 2, 0, main, data, value), SUCCESS);
        })
    };
    let (graph, other) = (work(10).1, work(20).1);
    let (mut nodes, mut count) = ([0usize; 4], 4usize);
    done!(cuGraphGetNodes(graph => Handle, nodes.as_mut_ptr() => *mut Handle, &mut count => &mut usize));
    let kinds = [nodes[0], nodes[1]].map(|node| {
        let mut kind = 99;
        done!(cuGraphNodeGetType(node => Handle, &mut kind => &mut u32));
        kind
    });
    assert_eq!((count, kinds), (2, [2, 0]));
    let (mut from, mut to, mut edges) = ([0; 2], [0; 2], 2);
    done!(cuGraphGetEdges(
        graph => Handle, &mut from => &mut [Handle; 2], &mut to => &mut [Handle; 2], &mut edges => &mut usize,
    ));
    assert_eq!((edges, from[0], to[0]), (1, nodes[0], nodes[1]));
    done!(cuGraphGetRootNodes(graph => Handle, ptr::null_mut() => *mut Handle, &mut count => &mut usize));
    assert_eq!(count, 1);

    let (mut executable, mut result) = (0, [0usize; 3]);
    done!(cuGraphInstantiateWithFlags(&mut executable => &mut Handle, graph => Handle, 0 => u64));
    done!(cuGraphExecUpdate_v2(
        executable => Handle, other => Handle, &mut result => &mut [usize; 3],
    ));
    done!(cuGraphDestroy(other => Handle));
    assert_eq!(call!(cuGraphDestroy(other => Handle)), INVALID_VALUE);
    done!(cuGraphLaunch(executable => Handle, main => Handle));
    assert_eq!(download(data, 2), [21, 21]);
    let mut empty = 0;
    done!(cuGraphCreate(&mut empty => &mut Handle, 0 => u32));
    let updated = call!(cuGraphExecUpdate_v2(
        executable => Handle, empty => Handle, &mut result => &mut [usize; 3],
    ));
    assert_eq!((updated, result[0] as u32), (UPDATE_FAILURE, 2));
}

#[test]
fn the_stream_of_a_thread_is_captured_under_its_own_names() {
    context();
    let data = upload(&[0]);
    // The null stream of these names is that of the thread; the legacy one is not captured.
    done!(cuStreamBeginCapture_v2_ptsz(0 => Handle, 2 => u32));
    done!(cuMemsetD32Async_ptsz(data => u64, 5 => u32, 1 => usize, 0 => Handle));
    let (mut status, mut id, mut graph) = (0, 0, 0);
    let (mut nodes, mut count) = (ptr::null::<Handle>(), 0);
    done!(cuStreamGetCaptureInfo_v2(
        2 => Handle, &mut status => &mut u32, &mut id => &mut u64, &mut graph => &mut Handle,
        &mut nodes => &mut *const Handle, &mut count => &mut usize,
    ));
    let mut ended = 0;
    done!(cuStreamEndCapture_ptsz(0 => Handle, &mut ended => &mut Handle));
    assert_eq!((status, count, ended, download(data, 1)), (1, 1, graph, vec![0]));
}

#[test]
fn graphs_keep_objects_of_the_caller() {
    context();
    static ENDED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn end(value: &AtomicU32) {
        value.fetch_add(1, Ordering::SeqCst);
    }
    let (mut object, mut graph, mut executable) = (0, 0, 0);
    done!(cuGraphCreate(&mut graph => &mut Handle, 0 => u32));
    done!(cuUserObjectCreate(
        &mut object => &mut Handle, &ENDED => &AtomicU32, end => extern "C" fn(&AtomicU32), 1 => u32, 1 => u32,
    ));
    done!(cuGraphRetainUserObject(graph => Handle, object => Handle, 1 => u32, 1 => u32));
    assert_eq!(call!(cuUserObjectRelease(object => Handle, 1 => u32)), INVALID_VALUE, "it was moved");
    done!(cuGraphInstantiateWithFlags(&mut executable => &mut Handle, graph => Handle, 0 => u64));
    done!(cuGraphDestroy(graph => Handle));
    assert_eq!(ENDED.load(Ordering::SeqCst), 0);
    done!(cuGraphExecDestroy(executable => Handle));
    assert_eq!(ENDED.load(Ordering::SeqCst), 1);
}
