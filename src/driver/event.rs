//! Points in the work of streams.

use super::backend::{self, both, each};
use super::{Device, Result};
use std::time::Duration;

/// A point in the work of a stream, made by [`Stream::record`](super::Stream::record).
#[derive(Debug)]
pub struct Event {
    device: Device,
    backend: backend::Event,
}

impl Event {
    pub(super) fn new(device: &Device, backend: backend::Event) -> Self {
        Self { device: device.clone(), backend }
    }

    pub(super) const fn backend(&self) -> &backend::Event {
        &self.backend
    }

    /// Its device.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the work before it has been done.
    ///
    /// # Errors
    ///
    /// If work failed.
    pub fn is_complete(&self) -> Result<bool> {
        each!(Event &self.backend => event: event.is_complete())
    }

    /// Waits until the work before it has been done.
    ///
    /// # Errors
    ///
    /// If work failed.
    pub fn synchronize(&self) -> Result<()> {
        each!(Event &self.backend => event: event.synchronize())
    }

    /// The time from this event to a later one, when both have happened. On the simulator it is the host's time, which
    /// says nothing about a GPU.
    ///
    /// # Errors
    ///
    /// If the other event is of another device, or work failed.
    pub fn elapsed(&self, later: &Self) -> Result<Duration> {
        self.device.check_same(&later.device, "time between events")?;
        both!("time between events"; Event &self.backend => event, Event &later.backend => later; event.elapsed(later))
    }
}
