//! Virtual time: when work would have been done by devices of a plain, stated speed.
//!
//! Everything is done when it is called, and how long the simulator took says nothing of a device. So every stream has a
//! clock that its operations move on, and the host has one that submitting and waiting move on. The durations are a rule
//! of thumb, no estimate of a chip: they are positive, grow with the work, and are the same in every run of the same
//! program. Programs that divide by the time between events get a number; nobody should compare it with hardware.

use crate::handles::Handle;
use rorqual_sim::counters::Counters;
use std::collections::BTreeMap;

/// What the host needs to submit an operation, in nanoseconds.
const SUBMIT: u64 = 1_000;
/// What every kernel takes, and every copy and fill.
const KERNEL: u64 = 2_000;
const COPY: u64 = 1_000;
/// Bytes in a nanosecond: to and from the host, to another device, in a device.
const HOST_BYTES: u64 = 25;
const PEER_BYTES: u64 = 450;
const DEVICE_BYTES: u64 = 2_000;
/// Warp instructions that a multiprocessor issues in 2 nanoseconds: 4 a clock at 1.5 GHz.
const ISSUED_IN_TWO: u64 = 12;

/// Nanoseconds of a kernel, by what it issued and moved, on as many multiprocessors as it has CTAs for.
pub fn of_kernel(counters: &Counters, multiprocessors: u64) -> u64 {
    let issued: u64 = counters.issued.iter().sum();
    let bytes = counters.global_read_bytes + counters.global_written_bytes + counters.atomic_bytes;
    let issuing = (2 * issued).div_ceil(ISSUED_IN_TWO * multiprocessors.max(1));
    KERNEL + issuing.max(bytes.div_ceil(DEVICE_BYTES))
}

/// Nanoseconds of a copy between host and device.
pub const fn of_host_copy(bytes: usize) -> u64 {
    COPY + (bytes as u64).div_ceil(HOST_BYTES)
}

/// Nanoseconds of a copy from a device to itself or to another.
pub const fn of_device_copy(bytes: usize, is_peer: bool) -> u64 {
    COPY + (bytes as u64).div_ceil(if is_peer { PEER_BYTES } else { DEVICE_BYTES })
}

/// The clocks, in nanoseconds since the driver was initialised.
#[derive(Debug, Default)]
pub struct Clocks {
    host: u64,
    /// When all that was submitted is done, by context and stream; the legacy stream is null.
    streams: BTreeMap<(Handle, Handle), u64>,
}

impl Clocks {
    /// When all of a stream is done: what was recorded in it now happens then.
    pub fn end(&self, context: Handle, stream: Handle) -> u64 {
        self.streams.get(&(context, stream)).copied().unwrap_or(0).max(self.host)
    }

    /// An operation of so many nanoseconds, after what is before it in its stream and in those that it waits for.
    pub fn run(
        &mut self,
        context: Handle,
        stream: Handle,
        others: impl Iterator<Item = Handle>,
        duration: u64,
    ) {
        let start = others.map(|other| self.end(context, other)).fold(self.end(context, stream), u64::max);
        self.streams.insert((context, stream), start + duration);
        self.host += SUBMIT;
    }

    /// Nothing more of a stream begins before this.
    pub fn delay(&mut self, context: Handle, stream: Handle, until: u64) {
        let end = self.end(context, stream).max(until);
        self.streams.insert((context, stream), end);
    }

    /// The host waits until then.
    pub fn wait(&mut self, until: u64) {
        self.host = self.host.max(until);
    }

    /// The host waits for all of a context.
    pub fn wait_for_context(&mut self, context: Handle) {
        let ends = self.streams.iter().filter(|((of, _), _)| *of == context).map(|(_, end)| *end);
        self.host = ends.fold(self.host, u64::max);
    }

    /// Forgets what was of a context.
    pub fn remove_context(&mut self, context: Handle) {
        self.streams.retain(|(of, _), _| *of != context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_run_beside_each_other_and_the_host_waits() {
        let (context, one, other) = (Handle(16), Handle(32), Handle(48));
        let mut clocks = Clocks::default();
        clocks.run(context, one, std::iter::empty(), 10_000);
        clocks.run(context, other, std::iter::empty(), 20_000);
        assert_eq!((clocks.end(context, one), clocks.end(context, other)), (10_000, 21_000));
        clocks.run(context, one, [other].into_iter(), 5_000);
        assert_eq!(clocks.end(context, one), 26_000, "after the other");
        clocks.delay(context, other, 30_000);
        clocks.wait_for_context(context);
        assert_eq!(clocks.end(Handle(64), one), 30_000);
    }

    #[test]
    fn more_work_takes_longer() {
        let mut counters = Counters::default();
        assert_eq!(of_kernel(&counters, 1), KERNEL);
        counters.issued[0] = 6_000;
        assert_eq!(of_kernel(&counters, 1), KERNEL + 1_000);
        assert_eq!(of_kernel(&counters, 10), KERNEL + 100);
        counters.global_read_bytes = 10_000_000;
        assert_eq!(of_kernel(&counters, 10), KERNEL + 5_000);
        assert_eq!(of_host_copy(250), COPY + 10);
    }
}
