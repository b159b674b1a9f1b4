//! Memory of a device and the order of its uses: who wrote it last, who reads it since.

use super::backend;
use super::stream::{Dropped, StreamState};
use super::{Device, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// What work does with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

/// An allocation. It is freed in the order of the streams that used it.
#[derive(Debug)]
pub(super) struct Memory {
    /// The stream that it was allocated on and is freed on.
    home: Arc<StreamState>,
    /// `None` for no bytes at all.
    block: Option<backend::Memory>,
    /// Whether to free it.
    owned: bool,
    usage: Mutex<Usage>,
}

/// The streams that a use must wait for.
///
/// A stream is among the readers once it is ordered behind the writer. Work is submitted after it was entered here, by
/// whoever borrows the buffer; a writer borrows it alone, so what readers submitted is there when it waits for them.
#[derive(Debug)]
struct Usage {
    writer: Arc<StreamState>,
    readers: Vec<Arc<StreamState>>,
}

impl Memory {
    /// Memory that work on `stream` made, or that belongs to others.
    pub fn new(stream: &Arc<StreamState>, block: Option<backend::Memory>, owned: bool) -> Self {
        let usage = Mutex::new(Usage { writer: Arc::clone(stream), readers: Vec::new() });
        Self { home: Arc::clone(stream), block, owned, usage }
    }

    pub fn device(&self) -> &Device {
        &self.home.device
    }

    pub const fn block(&self) -> Option<&backend::Memory> {
        self.block.as_ref()
    }

    /// Where it starts; 0 for no bytes.
    pub fn address(&self) -> u64 {
        self.block.as_ref().map_or(0, |block| backend::each!(Memory block => memory: memory.address()))
    }

    /// Makes the stream wait for what comes before such a use of the memory. A captured use waits when its graph is
    /// launched.
    pub fn order(self: &Arc<Self>, stream: &Arc<StreamState>, mode: Mode) -> Result<()> {
        if self.block.is_none() || stream.keep(self, mode) { Ok(()) } else { self.follow(stream, mode) }
    }

    fn follow(&self, stream: &Arc<StreamState>, mode: Mode) -> Result<()> {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let Usage { writer, readers } = &mut *usage;
        match mode {
            Mode::Read => {
                let ordered = |other: &Arc<StreamState>| Arc::ptr_eq(other, stream);
                if !ordered(writer) && !readers.iter().any(ordered) {
                    stream.follow(writer)?;
                    readers.push(Arc::clone(stream));
                }
            }
            Mode::Write => {
                for other in readers.iter().chain([&*writer]).filter(|other| !Arc::ptr_eq(other, stream)) {
                    stream.follow(other)?;
                }
                *writer = Arc::clone(stream);
                readers.clear();
            }
        }
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let block = self.block.take().filter(|_| self.owned);
        let usage = self.usage.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut users = std::mem::take(&mut usage.readers);
        users.push(Arc::clone(&usage.writer));
        if let Err(error) = self.home.settle(Dropped { block, users }) {
            tracing::warn!(%error, "memory was not freed");
        }
    }
}
