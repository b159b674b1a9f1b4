//! Work in order: allocation, copies, fills, events, and where launches and captures happen.

use super::backend::{self, both, each, wrapped};
use super::buffer::{Buffer, Region, View, ViewMut};
use super::element::{self, DeviceElement};
use super::memory::{Memory, Mode};
use super::{Device, Error, Event, Graph, Pinned, Result, Shape, Transfer};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Work on a device, in order. Clones are the same stream.
#[derive(Clone)]
pub struct Stream {
    state: Arc<StreamState>,
}

/// What a stream is, shared with the memory that it works on.
pub(super) struct StreamState {
    pub device: Device,
    pub backend: backend::Stream,
    /// Set while a graph is captured.
    capture: Mutex<Option<Capture>>,
}

struct Capture {
    /// The end of the work that was submitted before.
    before: backend::Event,
    /// What the graph uses, which lives as long as it.
    kept: Vec<(Arc<Memory>, Mode)>,
    /// What was dropped meanwhile.
    dropped: Vec<Dropped>,
}

/// Memory that nobody needs any more.
pub(super) struct Dropped {
    /// What to free, if it is to be freed.
    pub block: Option<backend::Memory>,
    /// The streams whose work uses it.
    pub users: Vec<Arc<StreamState>>,
}

impl StreamState {
    fn capture(&self) -> MutexGuard<'_, Option<Capture>> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes later work wait for everything that was submitted to another stream.
    pub fn follow(&self, other: &Self) -> Result<()> {
        let wait = |event: &backend::Event| both!("wait"; Stream &self.backend => stream, Event event => event; stream.wait(event));
        match &*other.capture() {
            Some(capture) => wait(&capture.before),
            None => wait(&record(&other.backend, false)?),
        }
    }

    /// Notes a use for the graph that is being captured, if one is.
    pub fn keep(&self, memory: &Arc<Memory>, mode: Mode) -> bool {
        match &mut *self.capture() {
            Some(capture) => {
                capture.kept.push((Arc::clone(memory), mode));
                true
            }
            None => false,
        }
    }

    /// Makes later work wait for everybody who used the memory, then frees it.
    pub fn settle(self: &Arc<Self>, dropped: Dropped) -> Result<()> {
        if let Some(capture) = &mut *self.capture() {
            capture.dropped.push(dropped);
            return Ok(());
        }
        for user in dropped.users.iter().filter(|user| !Arc::ptr_eq(self, user)) {
            self.follow(user)?;
        }
        match dropped.block {
            Some(block) => {
                both!("free"; Stream &self.backend => stream, Memory block => block; stream.release(block))
            }
            None => Ok(()),
        }
    }

    fn refuse_while_captured(&self, operation: &'static str) -> Result<()> {
        if self.capture().is_some() { Err(Error::Capturing { operation }) } else { Ok(()) }
    }
}

fn record(stream: &backend::Stream, timed: bool) -> Result<backend::Event> {
    wrapped!(Stream stream => stream: Event stream.record(timed))
}

impl Stream {
    pub(super) fn new(device: &Device, backend: backend::Stream) -> Self {
        let state = StreamState { device: device.clone(), backend, capture: Mutex::new(None) };
        Self { state: Arc::new(state) }
    }

    pub(super) const fn state(&self) -> &Arc<StreamState> {
        &self.state
    }

    pub(super) fn backend(&self) -> &backend::Stream {
        &self.state.backend
    }

    /// A stream that submits to one of `cudarc`, which is of the device's context.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_cuda(device: &Device, stream: Arc<::cudarc::driver::CudaStream>) -> Self {
        Self::new(device, backend::Stream::Cuda(super::cuda::Stream::new(stream)))
    }

    /// The stream of `cudarc`.
    #[cfg(feature = "cuda")]
    pub(crate) fn cuda_stream(&self) -> Option<&Arc<::cudarc::driver::CudaStream>> {
        match self.backend() {
            backend::Stream::Cuda(stream) => Some(stream.cuda_stream()),
            #[cfg(feature = "sim")]
            backend::Stream::Simulated(_) => None,
        }
    }

    /// Its device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.state.device
    }

    /// Memory for a tensor, whose contents are undefined. No elements take no memory, and have address 0.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; a shape without a size; a stream that is being captured.
    pub fn allocate<T: DeviceElement>(&self, shape: impl Into<Shape>) -> Result<Buffer<T>> {
        let shape = shape.into();
        let (_, bytes) = shape.size("allocate", size_of::<T>())?;
        self.state.refuse_while_captured("allocate")?;
        let block = match bytes as u64 {
            0 => None,
            bytes => {
                let block = wrapped!(Stream self.backend() => stream: Memory stream.allocate(bytes)?);
                Some(block.ok_or_else(|| self.device().out_of_memory(bytes))?)
            }
        };
        Ok(Buffer::new(Memory::new(&self.state, block, true), shape))
    }

    /// A new tensor with these elements in row-major order.
    ///
    /// # Errors
    ///
    /// As of [`allocate`](Self::allocate), and if the shape has another number of elements.
    pub fn upload<T: DeviceElement>(&self, shape: impl Into<Shape>, values: &[T]) -> Result<Buffer<T>> {
        let shape = shape.into();
        check_count("upload", shape.size("upload", size_of::<T>())?.0, values.len())?;
        let mut buffer = self.allocate(shape)?;
        self.write(&mut buffer, values)?;
        Ok(buffer)
    }

    /// Overwrites a tensor. The values may be changed when this returns.
    ///
    /// # Errors
    ///
    /// If the tensor has another number of elements or is of another device; a stream that is being captured.
    pub fn write<'a, T: DeviceElement>(&self, to: impl Into<ViewMut<'a, T>>, values: &[T]) -> Result<()> {
        let to = to.into().region();
        check_count("write", to.elements(), values.len())?;
        self.state.refuse_while_captured("write")?;
        let Some(block) = self.order(to.memory, Mode::Write, "write")? else { return Ok(()) };
        let bytes = element::bytes(values);
        both!("write"; Stream self.backend() => stream, Memory block => block; stream.upload(block, to.offset, bytes))
    }

    /// The elements of a tensor in row-major order, when the work before has been done.
    ///
    /// # Errors
    ///
    /// If the tensor is of another device, or work before failed; a stream that is being captured.
    pub fn download<'a, T: DeviceElement>(&self, from: impl Into<View<'a, T>>) -> Result<Vec<T>> {
        let from = from.into();
        let mut values = element::zeros(from.len());
        self.read(from, &mut values)?;
        Ok(values)
    }

    /// As [`download`](Self::download), into memory that is there.
    ///
    /// # Errors
    ///
    /// As of [`download`](Self::download), and if the lengths differ.
    pub fn read<'a, T: DeviceElement>(&self, from: impl Into<View<'a, T>>, values: &mut [T]) -> Result<()> {
        let from = from.into().region();
        check_count("read", from.elements(), values.len())?;
        self.state.refuse_while_captured("read")?;
        let Some(block) = self.order(from.memory, Mode::Read, "read")? else { return Ok(()) };
        let bytes = element::bytes_mut(values);
        both!("read"; Stream self.backend() => stream, Memory block => block; stream.download(block, from.offset, bytes))
    }

    /// Overwrites a tensor from pinned memory, while the host goes on.
    ///
    /// # Errors
    ///
    /// As of [`write`](Self::write); the pinned memory is gone then.
    pub fn write_pinned<'a, T: DeviceElement>(
        &self,
        to: impl Into<ViewMut<'a, T>>,
        values: Pinned<T>,
    ) -> Result<Transfer<T>> {
        self.transfer("write from pinned memory", to.into().region(), Mode::Write, values)
    }

    /// Copies the elements of a tensor to pinned memory, while the host goes on.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read); the pinned memory is gone then.
    pub fn read_pinned<'a, T: DeviceElement>(
        &self,
        from: impl Into<View<'a, T>>,
        values: Pinned<T>,
    ) -> Result<Transfer<T>> {
        self.transfer("read to pinned memory", from.into().region(), Mode::Read, values)
    }

    fn transfer<T: DeviceElement>(
        &self,
        operation: &'static str,
        region: Region<'_>,
        mode: Mode,
        values: Pinned<T>,
    ) -> Result<Transfer<T>> {
        check_count(operation, region.elements(), values.len())?;
        self.state.refuse_while_captured(operation)?;
        self.device().check_same(values.device(), operation)?;
        let Some(block) = self.order(region.memory, mode, operation)? else {
            return Ok(Transfer::done(values));
        };
        let count = values.len();
        let transfer = match (self.backend(), block, values.into_backend()) {
            #[cfg(feature = "cuda")]
            (
                backend::Stream::Cuda(stream),
                backend::Memory::Cuda(block),
                Some(backend::Pinned::Cuda(pinned)),
            ) => backend::Transfer::Cuda(stream.transfer(
                block,
                region.offset,
                region.bytes as usize,
                pinned,
                mode,
            )?),
            #[cfg(feature = "sim")]
            (
                backend::Stream::Simulated(stream),
                backend::Memory::Simulated(block),
                Some(backend::Pinned::Simulated(pinned)),
            ) => backend::Transfer::Simulated(stream.transfer(
                block,
                region.offset,
                region.bytes as usize,
                pinned,
                mode,
            )?),
            _ => return Err(backend::mixed(operation)),
        };
        Ok(Transfer::under_way(self.device(), count, transfer))
    }

    /// Copies a tensor to one with the same number of elements.
    ///
    /// # Errors
    ///
    /// If the numbers of elements differ, or one is of another device.
    pub fn copy<'a, 'b, T: DeviceElement>(
        &self,
        from: impl Into<View<'a, T>>,
        to: impl Into<ViewMut<'b, T>>,
    ) -> Result<()> {
        let (from, to) = (from.into().region(), to.into().region());
        check_count("copy", to.elements(), from.elements())?;
        let Some(source) = self.order(from.memory, Mode::Read, "copy")? else { return Ok(()) };
        let Some(target) = self.order(to.memory, Mode::Write, "copy")? else { return Ok(()) };
        both!("copy"; Stream self.backend() => stream, Memory source => source, Memory target => target;
            stream.copy(source, from.offset, target, to.offset, from.bytes))
    }

    /// Overwrites a tensor with zeros.
    ///
    /// # Errors
    ///
    /// If it is of another device.
    pub fn zero<'a, T: DeviceElement>(&self, tensor: impl Into<ViewMut<'a, T>>) -> Result<()> {
        let to = tensor.into().region();
        let Some(block) = self.order(to.memory, Mode::Write, "zero")? else { return Ok(()) };
        both!("zero"; Stream self.backend() => stream, Memory block => block; stream.zero(block, to.offset, to.bytes))
    }

    /// Makes the contents of a tensor useless: on the simulator undefined, so that a kernel that uses them is
    /// reported; on a GPU all bits set, which is NaN in every float format.
    ///
    /// # Errors
    ///
    /// If it is of another device.
    pub fn poison<'a, T: DeviceElement>(&self, tensor: impl Into<ViewMut<'a, T>>) -> Result<()> {
        let to = tensor.into().region();
        let Some(block) = self.order(to.memory, Mode::Write, "poison")? else { return Ok(()) };
        both!("poison"; Stream self.backend() => stream, Memory block => block;
            stream.poison(block, to.offset, to.bytes))
    }

    /// Checks the device and orders the stream behind other uses; the block to work on, if there are any bytes.
    fn order<'m>(
        &self,
        memory: &'m Arc<Memory>,
        mode: Mode,
        operation: &'static str,
    ) -> Result<Option<&'m backend::Memory>> {
        self.device().check_same(memory.device(), operation)?;
        memory.order(&self.state, mode)?;
        Ok(memory.block())
    }

    /// A point after the work that was submitted so far.
    ///
    /// # Errors
    ///
    /// If the driver reports one; a stream that is being captured.
    pub fn record(&self) -> Result<Event> {
        self.state.refuse_while_captured("record an event")?;
        Ok(Event::new(self.device(), record(self.backend(), true)?))
    }

    /// Makes later work wait for an event of any stream of the device; the host goes on.
    ///
    /// # Errors
    ///
    /// If the event is of another device; a stream that is being captured.
    pub fn wait(&self, event: &Event) -> Result<()> {
        self.state.refuse_while_captured("wait for an event")?;
        self.device().check_same(event.device(), "wait for an event")?;
        both!("wait for an event"; Stream self.backend() => stream, Event event.backend() => event; stream.wait(event))
    }

    /// That the stream is not being captured.
    pub(super) fn refuse_while_captured(&self, operation: &'static str) -> Result<()> {
        self.state.refuse_while_captured(operation)
    }

    /// Waits until the work that was submitted so far has been done.
    ///
    /// # Errors
    ///
    /// If work failed; a stream that is being captured.
    pub fn synchronize(&self) -> Result<()> {
        self.state.refuse_while_captured("synchronize")?;
        each!(Stream self.backend() => stream: stream.synchronize())
    }

    /// Captures what `work` submits to this stream, without doing it: copies on the device, fills and launches. The
    /// graph keeps the memory that they use.
    ///
    /// # Errors
    ///
    /// If `work` fails, or does what cannot be captured; a stream that is being captured already.
    pub fn capture(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<Graph> {
        /// Ends the capture also where `work` panics.
        struct Guard<'a>(&'a Stream);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                // Without an end of its own the capture is thrown away, and so is what it made.
                let _discarded = self.0.end_capture();
            }
        }

        {
            let mut capture = self.state.capture();
            if capture.is_some() {
                return Err(Error::Capturing { operation: "capture" });
            }
            let before = record(self.backend(), false)?;
            each!(Stream self.backend() => stream: stream.begin_capture())?;
            *capture = Some(Capture { before, kept: Vec::new(), dropped: Vec::new() });
        }
        let guard = Guard(self);
        work(self)?;
        std::mem::forget(guard);
        let (graph, kept) = self.end_capture()?;
        Ok(Graph::new(self.device(), graph, kept))
    }

    #[expect(clippy::type_complexity, reason = "a pair that one caller takes apart")]
    fn end_capture(&self) -> Result<(backend::Graph, Vec<(Arc<Memory>, Mode)>)> {
        let Some(capture) = self.state.capture().take() else {
            return Err(Error::Capturing { operation: "end a capture that has ended" });
        };
        let graph = wrapped!(Stream self.backend() => stream: Graph stream.end_capture());
        for dropped in capture.dropped {
            self.state.settle(dropped)?;
        }
        Ok((graph?, capture.kept))
    }
}

fn check_count(operation: &'static str, expected: usize, given: usize) -> Result<()> {
    if expected == given {
        return Ok(());
    }
    Err(Error::Shape { operation, expected: format!("{expected} elements"), given: format!("{given}") })
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl fmt::Debug for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("device", &self.device).field("backend", &self.backend).finish()
    }
}
