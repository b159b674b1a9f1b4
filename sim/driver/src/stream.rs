//! Streams, which do everything when it is submitted, and what they capture.

use crate::boundary::{Out, OutOrNull};
use crate::context::Current;
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::event::Recorded;
use crate::graph::{Capture, Graph, Operation};
use crate::handles::Handle;

/// The highest priority; the lowest is 0.
pub const GREATEST_PRIORITY: i32 = -5;
/// `CU_STREAM_NON_BLOCKING`, the only flag.
const NON_BLOCKING: u32 = 1;
/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`; null is one of them.
const DEFAULT_STREAMS: [Handle; 3] = [Handle::NULL, Handle(1), Handle(2)];
/// The last of `CUstreamCaptureMode`.
const LAST_CAPTURE_MODE: u32 = 2;

/// A stream.
#[derive(Debug)]
pub struct Stream {
    flags: u32,
    priority: i32,
    /// The capture that it takes part in.
    capture: Option<Handle>,
}

impl Driver {
    /// The current context, of which the stream is.
    fn current_of(&self, stream: Handle) -> Result<Current> {
        let current = self.current()?;
        if !DEFAULT_STREAMS.contains(&stream) && self.streams.context(stream)? != current.context {
            return Err(Code::InvalidHandle.because("the stream is of another context"));
        }
        Ok(current)
    }

    /// The capture that a stream takes part in.
    pub fn capture_of(&self, stream: Handle) -> Result<Option<Handle>> {
        self.current_of(stream)?;
        Ok(self.streams.get(stream).ok().and_then(|stream| stream.capture))
    }

    /// Does an operation, or notes it where the stream is captured.
    pub fn submit(&mut self, stream: Handle, operation: Operation) -> Result<()> {
        let current = self.current_of(stream)?;
        let Some(capture) = self.capture_of(stream)? else {
            return self.perform(current.context, &operation);
        };
        let capture = self.captures.get_mut(capture)?;
        if capture.is_invalid {
            return Err(Code::CaptureInvalidated.into());
        }
        capture.operations.push(operation);
        Ok(())
    }

    /// What a captured stream cannot do, and what ends its capture.
    pub fn check_idle(&mut self, stream: Handle) -> Result<()> {
        let Some(capture) = self.capture_of(stream)? else { return Ok(()) };
        self.captures.get_mut(capture)?.is_invalid = true;
        Err(Code::CaptureUnsupported.into())
    }

    fn create_stream(&mut self, flags: u32, priority: i32) -> Result<Handle> {
        let current = self.current()?;
        if flags > NON_BLOCKING {
            return Err(Code::InvalidValue.into());
        }
        let priority = priority.clamp(GREATEST_PRIORITY, 0);
        Ok(self.streams.insert(current.context, Stream { flags, priority, capture: None }))
    }

    fn begin_capture(&mut self, stream: Handle, mode: u32) -> Result<()> {
        let current = self.current_of(stream)?;
        if mode > LAST_CAPTURE_MODE {
            return Err(Code::InvalidValue.into());
        }
        if DEFAULT_STREAMS.contains(&stream) {
            return Err(Code::CaptureUnsupported.into());
        }
        if self.capture_of(stream)?.is_some() {
            return Err(Code::IllegalState.into());
        }
        let capture = Capture { origin: stream, operations: Vec::new(), is_invalid: false };
        let capture = self.captures.insert(current.context, capture);
        self.streams.get_mut(stream)?.capture = Some(capture);
        Ok(())
    }

    fn end_capture(&mut self, stream: Handle) -> Result<Handle> {
        let current = self.current_of(stream)?;
        let handle = self.capture_of(stream)?.ok_or(Code::IllegalState)?;
        if self.captures.get(handle)?.origin != stream {
            return Err(Code::CaptureUnmatched.into());
        }
        let capture = self.forget_capture(handle)?;
        if capture.is_invalid {
            return Err(Code::CaptureInvalidated.into());
        }
        Ok(self.graphs.insert(current.context, Graph(capture.operations.into())))
    }

    /// Ends a capture for all streams that take part in it.
    fn forget_capture(&mut self, handle: Handle) -> Result<Capture> {
        for stream in self.streams.values_mut().filter(|stream| stream.capture == Some(handle)) {
            stream.capture = None;
        }
        self.captures.remove(handle)
    }

    /// An event that was captured takes the stream that waits for it into the capture.
    fn wait(&mut self, stream: Handle, event: Handle) -> Result<()> {
        let own = self.capture_of(stream)?;
        let Some(Recorded::Captured(capture)) = self.events.get(event)?.recorded else { return Ok(()) };
        self.captures.get(capture).map_err(|_| Code::InvalidValue)?;
        if DEFAULT_STREAMS.contains(&stream) || own.is_some_and(|own| own != capture) {
            return Err(Code::CaptureUnsupported.into());
        }
        self.streams.get_mut(stream)?.capture = Some(capture);
        Ok(())
    }

    /// `CUstreamCaptureStatus`: none, active, invalidated.
    fn capture_status(&self, stream: Handle) -> Result<u32> {
        let Some(capture) = self.capture_of(stream)? else { return Ok(0) };
        Ok(if self.captures.get(capture)?.is_invalid { 2 } else { 1 })
    }
}

driver_functions! {
    fn cuStreamCreate(stream: Out<Handle>, flags: u32) {
        stream.set(driver()?.create_stream(flags, 0)?);
        Ok(())
    }

    fn cuStreamCreateWithPriority(stream: Out<Handle>, flags: u32, priority: i32) {
        stream.set(driver()?.create_stream(flags, priority)?);
        Ok(())
    }

    fn cuStreamDestroy_v2(stream: Handle) {
        let mut driver = driver()?;
        if let Some(capture) = driver.streams.remove(stream)?.capture
            && driver.captures.get(capture)?.origin == stream
        {
            driver.forget_capture(capture)?;
        }
        Ok(())
    }

    fn cuStreamSynchronize(stream: Handle) {
        driver()?.check_idle(stream)
    }

    fn cuStreamQuery(stream: Handle) {
        driver()?.check_idle(stream)
    }

    /// What was before the event has been done.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: u32) {
        driver()?.wait(stream, event)
    }

    fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) {
        let driver = driver()?;
        driver.current_of(stream)?;
        flags.set(driver.streams.get(stream).map_or(0, |stream| stream.flags));
        Ok(())
    }

    fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) {
        let driver = driver()?;
        driver.current_of(stream)?;
        priority.set(driver.streams.get(stream).map_or(0, |stream| stream.priority));
        Ok(())
    }

    fn cuStreamGetCtx(stream: Handle, context: Out<Handle>) {
        let driver = driver()?;
        let current = driver.current()?.context;
        context.set(if DEFAULT_STREAMS.contains(&stream) { current } else { driver.streams.context(stream)? });
        Ok(())
    }

    fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) {
        driver()?.begin_capture(stream, mode)
    }

    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        graph.set(Handle::NULL);
        graph.set(driver()?.end_capture(stream)?);
        Ok(())
    }

    fn cuStreamIsCapturing(stream: Handle, status: Out<u32>) {
        status.set(driver()?.capture_status(stream)?);
        Ok(())
    }

    /// Nothing depends on how a thread may interfere with captures: all that is captured is noted.
    fn cuThreadExchangeStreamCaptureMode(mode: OutOrNull<u32>) {
        mode.set(2);
        Ok(())
    }
}
