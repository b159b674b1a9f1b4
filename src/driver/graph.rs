//! Work that is captured once and replayed many times.

use super::backend::{self, both};
use super::memory::{Memory, Mode};
use super::{Device, Result, Stream};
use std::sync::Arc;

/// Captured work of a stream, made by [`Stream::capture`]. It keeps the memory that the work uses, at the same addresses;
/// to give it other input, overwrite the buffers between launches.
#[derive(Debug)]
pub struct Graph {
    device: Device,
    backend: backend::Graph,
    kept: Vec<(Arc<Memory>, Mode)>,
}

impl Graph {
    pub(super) fn new(device: &Device, backend: backend::Graph, kept: Vec<(Arc<Memory>, Mode)>) -> Self {
        Self { device: device.clone(), backend, kept }
    }

    /// Does the captured work once, in the order of the stream.
    ///
    /// # Errors
    ///
    /// If the stream is of another device or is being captured; on the simulator also if a kernel fails.
    pub fn launch(&mut self, stream: &Stream) -> Result<()> {
        let operation = "launch a graph";
        stream.device().check_same(&self.device, operation)?;
        stream.refuse_while_captured(operation)?;
        for (memory, mode) in &self.kept {
            memory.order(stream.state(), *mode)?;
        }
        both!(operation; Stream stream.backend() => stream, Graph &self.backend => graph; stream.launch_graph(graph))
    }
}
