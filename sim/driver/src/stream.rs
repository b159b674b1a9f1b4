//! Streams, which do everything when it is submitted.

use crate::boundary::{
    HostCall, HostFunction, HostMemory, In, Out, OutOrNull, StreamCallback, is_null_stream_of_thread,
};
use crate::context::Current;
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::graph::Operation;
use crate::handles::Handle;
use std::collections::BTreeMap;
use std::thread::ThreadId;

/// The highest priority; the lowest is 0.
pub const GREATEST_PRIORITY: i32 = -5;
/// `CU_STREAM_NON_BLOCKING`, the only flag.
const NON_BLOCKING: u32 = 1;
/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`; null is one of them.
const LEGACY: Handle = Handle(1);
const PER_THREAD: Handle = Handle(2);
/// Attributes of a stream that can be set: L2 windows, how to wait, priority, domains of fences and their map.
const ATTRIBUTES: [u32; 5] = [1, 3, 8, 9, 10];
/// `CU_LAUNCH_ATTRIBUTE_PRIORITY`
const PRIORITY: u32 = 8;

/// A stream.
#[derive(Debug, Default)]
pub struct Stream {
    flags: u32,
    priority: i32,
    attributes: BTreeMap<u32, AttributeValue>,
    /// The capture that it takes part in, and the nodes that its next one depends on.
    pub capture: Option<Capturing>,
}

/// A stream's part of a capture.
#[derive(Debug, Clone)]
pub struct Capturing {
    pub capture: Handle,
    pub frontier: Vec<usize>,
}

/// `CUlaunchAttributeValue`, of which a stream's attributes are.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(8))]
struct AttributeValue([u32; 16]);

impl Stream {
    /// Whether it and the legacy stream wait for each other.
    pub const fn is_blocking(&self) -> bool {
        self.flags & NON_BLOCKING == 0
    }
}

/// The streams of the threads that have used theirs, by thread and context.
pub type ThreadStreams = Vec<(ThreadId, Handle, Handle)>;

impl Driver {
    /// The stream that a handle means, null for the legacy one, with its context: that of the handle, else the current one.
    pub fn stream(&mut self, given: Handle) -> Result<(Current, Handle)> {
        let current = self.current()?;
        match given {
            Handle::NULL if !is_null_stream_of_thread() => Ok((current, Handle::NULL)),
            LEGACY => Ok((current, Handle::NULL)),
            Handle::NULL | PER_THREAD => Ok((current, self.stream_of_thread(current.context))),
            stream => Ok((self.sound(self.streams.context(stream)?)?, stream)),
        }
    }

    fn stream_of_thread(&mut self, context: Handle) -> Handle {
        let thread = std::thread::current().id();
        let known = self.thread_streams.iter().find(|(of, within, _)| (*of, *within) == (thread, context));
        if let Some((_, _, stream)) = known {
            return *stream;
        }
        let stream = self.streams.insert(context, Stream::default());
        self.thread_streams.push((thread, context, stream));
        stream
    }

    /// Does an operation, or notes it where the stream is captured.
    pub fn submit(&mut self, given: Handle, operation: Operation) -> Result<()> {
        let (current, stream) = self.stream(given)?;
        if self.capturing(stream).is_some() {
            return self.note(stream, operation);
        }
        self.check_no_implicit_capture(current.context, stream)?;
        let duration = self.perform(current.context, &operation)?;
        self.take_time(current.context, stream, duration);
        Ok(())
    }

    /// An operation took so long. The legacy stream and blocking ones wait for each other.
    fn take_time(&mut self, context: Handle, stream: Handle, duration: u64) {
        let others: Vec<Handle> = match self.streams.get(stream) {
            Ok(own) if own.is_blocking() => vec![Handle::NULL],
            Ok(_) => Vec::new(),
            Err(_) => {
                self.streams.iter().filter(|(_, stream)| stream.is_blocking()).map(|(it, _)| it).collect()
            }
        };
        self.clocks.run(context, stream, others.into_iter(), duration);
    }

    /// Has a function of the caller called, or notes the call where the stream is captured. Not under the lock of the
    /// driver.
    pub fn call_host(given: Handle, call: HostCall) -> Result<()> {
        let mut driver = driver()?;
        let (current, stream) = driver.stream(given)?;
        if driver.capturing(stream).is_some() {
            return match call {
                HostCall::Function(..) => driver.note(stream, Operation::Call(call)),
                HostCall::Callback(..) => driver.refuse_capture(stream),
            };
        }
        driver.check_no_implicit_capture(current.context, stream)?;
        driver.take_time(current.context, stream, 0);
        drop(driver);
        call.run();
        Ok(())
    }

    /// The host waits for a stream. A captured one cannot be waited for, and its capture ends.
    pub fn synchronize(&mut self, given: Handle) -> Result<()> {
        let (current, stream) = self.stream(given)?;
        if self.capturing(stream).is_some() {
            return self.refuse_capture(stream);
        }
        let end = self.clocks.end(current.context, stream);
        self.clocks.wait(end);
        Ok(())
    }

    fn create_stream(&mut self, flags: u32, priority: i32) -> Result<Handle> {
        let current = self.current()?;
        if flags > NON_BLOCKING {
            return Err(Code::InvalidValue.into());
        }
        let priority = priority.clamp(GREATEST_PRIORITY, 0);
        Ok(self.streams.insert(current.context, Stream { flags, priority, ..Stream::default() }))
    }

    fn destroy_stream(&mut self, stream: Handle) -> Result<()> {
        if self.thread_streams.iter().any(|(_, _, of_thread)| *of_thread == stream) {
            return Err(Code::InvalidHandle.into());
        }
        if let Some(Capturing { capture, .. }) = self.streams.remove(stream)?.capture
            && self.captures.get(capture)?.origin == stream
        {
            self.end_capture_of(capture)?;
        }
        Ok(())
    }

    /// The number of a stream, which no other in the process has.
    fn stream_id(&mut self, given: Handle) -> Result<u64> {
        let (current, stream) = self.stream(given)?;
        // Handles are given once.
        Ok(if stream == Handle::NULL { current.context.0 + 1 } else { stream.0 } as u64)
    }

    fn check_attribute(attribute: u32) -> Result<()> {
        if ATTRIBUTES.contains(&attribute) { Ok(()) } else { Err(Code::InvalidValue.into()) }
    }

    /// Waits until a word of memory is as asked: at once, or never, since all that was submitted before is done.
    fn wait_for_value(
        &mut self,
        given: Handle,
        address: u64,
        value: u64,
        flags: u32,
        bytes: u32,
    ) -> Result<()> {
        let (current, stream) = self.stream(given)?;
        if self.capturing(stream).is_some() {
            return self.refuse_capture(stream);
        }
        if !address.is_multiple_of(u64::from(bytes)) {
            return Err(Code::InvalidValue.into());
        }
        let mut found = [0; 8];
        self.simulator.memory().read(address, &mut found[..bytes as usize])?;
        let found = u64::from_le_bytes(found);
        let mask = u64::MAX >> (64 - 8 * bytes);
        let value = value & mask;
        let is_met = match flags & 3 {
            // A signed distance of that many bytes that is not negative.
            0 => found.wrapping_sub(value) & mask <= mask >> 1,
            1 => found == value,
            2 => found & value != 0,
            _ => !(found | value) & mask != 0,
        };
        if is_met {
            return Ok(());
        }
        let message =
            format!("{address:#x} holds {found}, and nothing that could change it was submitted before");
        self.contexts.set_fault(current.context, Code::LaunchTimeout);
        Err(Code::LaunchTimeout.because(message))
    }

    fn write_value(&mut self, given: Handle, address: u64, value: u64, bytes: usize) -> Result<()> {
        if !address.is_multiple_of(bytes as u64) {
            return Err(Code::InvalidValue.into());
        }
        self.submit(
            given,
            Operation::Fill { to: address, pattern: value.to_le_bytes()[..bytes].to_vec(), count: 1 },
        )
    }
}

driver_functions! {
    fn cuStreamCreate[2000](stream: Out<Handle>, flags: u32) {
        stream.set(driver()?.create_stream(flags, 0)?);
        Ok(())
    }

    /// A priority has no effect.
    fn cuStreamCreateWithPriority[5050](stream: Out<Handle>, flags: u32, priority: i32) {
        stream.set(driver()?.create_stream(flags, priority)?);
        Ok(())
    }

    fn cuStreamDestroy_v2[4000](stream: Handle) {
        driver()?.destroy_stream(stream)
    }

    fn cuStreamSynchronize[2000 _ptsz](stream: Handle) {
        driver()?.synchronize(stream)
    }

    /// Everything has always been done.
    fn cuStreamQuery[2000 _ptsz](stream: Handle) {
        driver()?.synchronize(stream)
    }

    fn cuStreamGetFlags[5050 _ptsz](stream: Handle, flags: Out<u32>) {
        let mut driver = driver()?;
        let (_, stream) = driver.stream(stream)?;
        flags.set(driver.streams.get(stream).map_or(0, |stream| stream.flags));
        Ok(())
    }

    fn cuStreamGetPriority[5050 _ptsz](stream: Handle, priority: Out<i32>) {
        let mut driver = driver()?;
        let (_, stream) = driver.stream(stream)?;
        priority.set(driver.streams.get(stream).map_or(0, |stream| stream.priority));
        Ok(())
    }

    fn cuStreamGetId[12000 _ptsz](stream: Handle, id: Out<u64>) {
        id.set(driver()?.stream_id(stream)?);
        Ok(())
    }

    fn cuStreamGetDevice[12080 _ptsz](stream: Handle, device: Out<i32>) {
        device.set(driver()?.stream(stream)?.0.device as i32);
        Ok(())
    }

    fn cuStreamGetCtx[9020 _ptsz](stream: Handle, context: Out<Handle>) {
        context.set(driver()?.stream(stream)?.0.context);
        Ok(())
    }

    /// There are no green contexts.
    fn cuStreamGetCtx_v2[12050 _ptsz](stream: Handle, context: OutOrNull<Handle>, green: OutOrNull<Handle>) {
        context.set(driver()?.stream(stream)?.0.context);
        green.set(Handle::NULL);
        Ok(())
    }

    /// What was set last; without effect on what runs.
    fn cuStreamGetAttribute[11000 _ptsz](stream: Handle, attribute: u32, value: Out<AttributeValue>) {
        let mut driver = driver()?;
        let (_, stream) = driver.stream(stream)?;
        Driver::check_attribute(attribute)?;
        let found = driver.streams.get(stream).ok();
        let mut known = found.and_then(|stream| stream.attributes.get(&attribute).copied()).unwrap_or_default();
        if attribute == PRIORITY {
            known.0[0] = found.map_or(0, |stream| stream.priority).cast_unsigned();
        }
        value.set(known);
        Ok(())
    }

    /// Without effect on what runs.
    fn cuStreamSetAttribute[11000 _ptsz](stream: Handle, attribute: u32, value: In<AttributeValue>) {
        let mut driver = driver()?;
        let (_, stream) = driver.stream(stream)?;
        Driver::check_attribute(attribute)?;
        let value = value.get()?;
        let stream = driver.streams.get_mut(stream)?;
        if attribute == PRIORITY {
            stream.priority = value.0[0].cast_signed().clamp(GREATEST_PRIORITY, 0);
        }
        stream.attributes.insert(attribute, value);
        Ok(())
    }

    fn cuStreamCopyAttributes[11000 _ptsz](to: Handle, from: Handle) {
        let mut driver = driver()?;
        let ((_, to), (_, from)) = (driver.stream(to)?, driver.stream(from)?);
        let attributes = driver.streams.get(from)?.attributes.clone();
        driver.streams.get_mut(to)?.attributes = attributes;
        Ok(())
    }

    /// The function is called before this returns, on this thread.
    fn cuLaunchHostFunc[10000 _ptsz](stream: Handle, function: HostFunction, data: HostMemory) {
        Driver::call_host(stream, HostCall::Function(function, data))
    }

    /// The function is called before this returns, on this thread.
    fn cuStreamAddCallback[5000 _ptsz](stream: Handle, function: StreamCallback, data: HostMemory, flags: u32) {
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        Driver::call_host(stream, HostCall::Callback(function, stream, data))
    }

    /// What is not so already will never be: then it is `CUDA_ERROR_LAUNCH_TIMEOUT`, and the context is lost.
    fn cuStreamWaitValue32_v2[11070 _ptsz](stream: Handle, address: u64, value: u32, flags: u32) {
        driver()?.wait_for_value(stream, address, value.into(), flags, 4)
    }

    /// As of 32 bits.
    fn cuStreamWaitValue64_v2[11070 _ptsz](stream: Handle, address: u64, value: u64, flags: u32) {
        driver()?.wait_for_value(stream, address, value, flags, 8)
    }

    fn cuStreamWriteValue32_v2[11070 _ptsz](stream: Handle, address: u64, value: u32, _flags: u32) {
        driver()?.write_value(stream, address, value.into(), 4)
    }

    fn cuStreamWriteValue64_v2[11070 _ptsz](stream: Handle, address: u64, value: u64, _flags: u32) {
        driver()?.write_value(stream, address, value, 8)
    }
}
