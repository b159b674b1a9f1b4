//! Graphs by capture: what is submitted to a stream becomes the nodes of a graph, with their dependencies.

use crate::boundary::{In, InOut, Out, OutOrNull, Pointer};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::event::Recorded;
use crate::graph::{Graph, Operation};
use crate::handles::Handle;
use crate::stream::Capturing;
use std::cell::Cell;

/// The last of `CUstreamCaptureMode`.
const LAST_MODE: u32 = 2;

thread_local! {
    /// `CUstreamCaptureMode` of this thread, global at first; without effect.
    static MODE: Cell<u32> = const { Cell::new(0) };
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    /// The stream that it began and must end on.
    pub origin: Handle,
    /// The graph that grows.
    pub graph: Handle,
    /// Whether something was asked of one of its streams that cannot be captured.
    is_invalid: bool,
    /// The nodes that a stream's next one depends on, as they were listed last for the caller.
    listed: Vec<Handle>,
}

/// The capture of a stream: its number, its graph, where the nodes are that the next one depends on, and how many.
type Information = (u64, Handle, Pointer<Handle>, usize);

impl Driver {
    /// The part of a capture that a stream has.
    pub fn capturing(&self, stream: Handle) -> Option<&Capturing> {
        self.streams.get(stream).ok()?.capture.as_ref()
    }

    fn capture_of(&mut self, stream: Handle) -> Result<Option<&mut Capture>> {
        let Some(Capturing { capture, .. }) = self.capturing(stream) else { return Ok(None) };
        let capture = *capture;
        self.captures.get_mut(capture).map(Some)
    }

    /// What a captured stream cannot do, and what ends its capture.
    pub fn refuse_capture(&mut self, stream: Handle) -> Result<()> {
        if let Some(capture) = self.capture_of(stream)? {
            capture.is_invalid = true;
        }
        Err(Code::CaptureUnsupported.into())
    }

    /// The capture of a blocking stream, for which the legacy stream would have to wait.
    fn implicit_capture(&self, context: Handle, stream: Handle) -> Option<Handle> {
        let of_context = |stream: &Handle| self.streams.context(*stream).is_ok_and(|of| of == context);
        let mut captured = self.streams.iter().filter(|(_, stream)| stream.is_blocking());
        let captured = captured.find_map(|(stream, found)| Some((stream, found.capture.as_ref()?.capture)));
        captured
            .filter(|(captured, _)| stream == Handle::NULL && of_context(captured))
            .map(|(_, capture)| capture)
    }

    /// That the legacy stream, if it is that, need not wait for what is captured; else the capture ends.
    pub fn check_no_implicit_capture(&mut self, context: Handle, stream: Handle) -> Result<()> {
        let Some(capture) = self.implicit_capture(context, stream) else { return Ok(()) };
        self.captures.get_mut(capture)?.is_invalid = true;
        Err(Code::CaptureImplicit.into())
    }

    /// Makes an operation a node of the graph that a stream is captured into.
    pub fn note(&mut self, stream: Handle, operation: Operation) -> Result<()> {
        let Some(capture) = self.capture_of(stream)? else { return Err(Code::IllegalState.into()) };
        if capture.is_invalid {
            return Err(Code::CaptureInvalidated.into());
        }
        let graph = capture.graph;
        let Some(capturing) = &mut self.streams.get_mut(stream)?.capture else { return Ok(()) };
        let graph = self.graphs.get_mut(graph)?;
        let node = graph.add(operation, std::mem::take(&mut capturing.frontier));
        capturing.frontier.push(node);
        Ok(())
    }

    fn begin_capture(&mut self, given: Handle, mode: u32) -> Result<()> {
        let (current, stream) = self.stream(given)?;
        if mode > LAST_MODE {
            return Err(Code::InvalidValue.into());
        }
        if stream == Handle::NULL {
            return Err(Code::CaptureUnsupported.because("the legacy stream cannot be captured"));
        }
        if self.capturing(stream).is_some() {
            return Err(Code::IllegalState.into());
        }
        let graph = self.graphs.insert(current.context, Graph::default());
        let capture = Capture { origin: stream, graph, is_invalid: false, listed: Vec::new() };
        let capture = self.captures.insert(current.context, capture);
        self.streams.get_mut(stream)?.capture = Some(Capturing { capture, frontier: Vec::new() });
        Ok(())
    }

    fn end_capture(&mut self, given: Handle) -> Result<Handle> {
        let (_, stream) = self.stream(given)?;
        let Some(Capturing { capture, frontier }) = self.capturing(stream).cloned() else {
            return Err(Code::IllegalState.into());
        };
        if self.captures.get(capture)?.origin != stream {
            return Err(Code::CaptureUnmatched.into());
        }
        let Capture { graph, is_invalid, .. } = self.end_capture_of(capture)?;
        let error = if is_invalid {
            Code::CaptureInvalidated
        } else if !self.graphs.get(graph)?.all_lead_to(&frontier) {
            Code::CaptureUnjoined
        } else {
            return Ok(graph);
        };
        self.graphs.remove(graph)?;
        Err(error.into())
    }

    /// Ends a capture for all streams that take part in it.
    pub fn end_capture_of(&mut self, handle: Handle) -> Result<Capture> {
        for stream in self.streams.values_mut() {
            stream.capture.take_if(|capturing| capturing.capture == handle);
        }
        self.captures.remove(handle)
    }

    /// A stream waits for an event. One that was captured takes the stream into the capture.
    fn wait(&mut self, given: Handle, event: Handle) -> Result<()> {
        let (current, stream) = self.stream(given)?;
        let own = self.capturing(stream).map(|own| own.capture);
        match self.events.get(event)?.recorded.clone() {
            Some(Recorded::Captured(Capturing { capture, frontier })) => {
                self.captures.get(capture).map_err(|_| Code::InvalidValue)?;
                if stream == Handle::NULL {
                    return Err(Code::CaptureImplicit.into());
                }
                if own.is_some_and(|own| own != capture) {
                    return Err(Code::CaptureMerge.into());
                }
                let stream = self.streams.get_mut(stream)?;
                let capturing =
                    stream.capture.get_or_insert_with(|| Capturing { capture, frontier: Vec::new() });
                capturing.frontier.extend(frontier);
                capturing.frontier.sort_unstable();
                capturing.frontier.dedup();
                Ok(())
            }
            // A graph would have to wait for what is outside of it.
            Some(Recorded::At(_)) if own.is_some() => Err(Code::CaptureIsolation.into()),
            Some(Recorded::At(time)) => {
                self.clocks.delay(current.context, stream, time);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// `CUstreamCaptureStatus`: none, active, invalidated.
    fn capture_status(&mut self, given: Handle) -> Result<u32> {
        let (current, stream) = self.stream(given)?;
        if self.implicit_capture(current.context, stream).is_some() {
            return Err(Code::CaptureImplicit.into());
        }
        Ok(self.capture_of(stream)?.map_or(0, |capture| if capture.is_invalid { 2 } else { 1 }))
    }

    /// The capture of a stream, if it takes part in one.
    fn capture_info(&mut self, given: Handle) -> Result<Option<Information>> {
        let (_, stream) = self.stream(given)?;
        let Some(Capturing { capture: number, frontier }) = self.capturing(stream).cloned() else {
            return Ok(None);
        };
        let graph = self.captures.get(number)?.graph;
        let nodes = &self.graphs.get(graph)?.nodes;
        let listed: Vec<Handle> = frontier.iter().map(|index| nodes[*index].handle).collect();
        let capture = self.captures.get_mut(number)?;
        capture.listed = listed;
        Ok(Some((number.0 as u64, graph, Pointer::to(&capture.listed), capture.listed.len())))
    }

    /// Replaces or extends what a stream's next node depends on.
    fn update_dependencies(&mut self, given: Handle, nodes: &[Handle], flags: u32) -> Result<()> {
        let (_, stream) = self.stream(given)?;
        let Some(Capturing { capture, frontier }) = self.capturing(stream).cloned() else {
            return Err(Code::IllegalState.into());
        };
        let graph = self.graphs.get(self.captures.get(capture)?.graph)?;
        let added = nodes.iter().map(|node| graph.index(*node)).collect::<Result<Vec<_>>>()?;
        let frontier = match flags {
            0 => frontier
                .into_iter()
                .filter(|node| !added.contains(node))
                .chain(added.iter().copied())
                .collect(),
            1 => added,
            _ => return Err(Code::InvalidValue.into()),
        };
        self.streams.get_mut(stream)?.capture = Some(Capturing { capture, frontier });
        Ok(())
    }
}

driver_functions! {
    /// Modes are alike: nothing that other threads do ends a capture.
    fn cuStreamBeginCapture_v2[10010 _ptsz](stream: Handle, mode: u32) {
        driver()?.begin_capture(stream, mode)
    }

    fn cuStreamEndCapture[10000 _ptsz](stream: Handle, graph: Out<Handle>) {
        graph.set(Handle::NULL);
        graph.set(driver()?.end_capture(stream)?);
        Ok(())
    }

    fn cuStreamIsCapturing[10000 _ptsz](stream: Handle, status: Out<u32>) {
        status.set(driver()?.capture_status(stream)?);
        Ok(())
    }

    /// What is listed stays until the next call for the stream.
    fn cuStreamGetCaptureInfo_v2[11030 _ptsz](
        stream: Handle, status: Out<u32>, id: OutOrNull<u64>, graph: OutOrNull<Handle>,
        dependencies: OutOrNull<Pointer<Handle>>, count: OutOrNull<usize>,
    ) {
        let mut driver = driver()?;
        status.set(driver.capture_status(stream)?);
        if let Some((number, of, first, listed)) = driver.capture_info(stream)? {
            id.set(number);
            graph.set(of);
            dependencies.set(first);
            count.set(listed);
        }
        Ok(())
    }

    /// As version 2: no edge carries data.
    fn cuStreamGetCaptureInfo_v3[12030 _ptsz](
        stream: Handle, status: Out<u32>, id: OutOrNull<u64>, graph: OutOrNull<Handle>,
        dependencies: OutOrNull<Pointer<Handle>>, edges: OutOrNull<Pointer<u8>>, count: OutOrNull<usize>,
    ) {
        let mut driver = driver()?;
        status.set(driver.capture_status(stream)?);
        if let Some((number, of, first, listed)) = driver.capture_info(stream)? {
            id.set(number);
            graph.set(of);
            dependencies.set(first);
            edges.set(Pointer::to(&[]));
            count.set(listed);
        }
        Ok(())
    }

    fn cuStreamUpdateCaptureDependencies[11030 _ptsz](
        stream: Handle, nodes: In<Handle>, count: usize, flags: u32,
    ) {
        driver()?.update_dependencies(stream, &nodes.several(count)?, flags)
    }

    /// Data of edges have no effect.
    fn cuStreamUpdateCaptureDependencies_v2[12030 _ptsz](
        stream: Handle, nodes: In<Handle>, _edges: In<[u8; 8]>, count: usize, flags: u32,
    ) {
        driver()?.update_dependencies(stream, &nodes.several(count)?, flags)
    }

    /// Nothing depends on how a thread may interfere with captures.
    fn cuThreadExchangeStreamCaptureMode[10010](mode: InOut<u32>) {
        drop(driver()?);
        let new = mode.get();
        if new > LAST_MODE {
            return Err(Code::InvalidValue.into());
        }
        mode.set(MODE.replace(new));
        Ok(())
    }

    fn cuStreamWaitEvent[3020 _ptsz](stream: Handle, event: Handle, _flags: u32) {
        driver()?.wait(stream, event)
    }
}
