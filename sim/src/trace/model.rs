//! The numbers of the timing model: an H100 SXM, in cycles of a multiprocessor.

use crate::counters::Class;

/// What the model assumes. Specified by the vendor where "(specified)"; published measurements, rounded, where
/// "(measured)"; the rest is assumed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Multiprocessors (specified).
    pub multiprocessors: u64,
    /// Cycles a second of the data sheet's peak figures (specified).
    pub clock_hz: f64,
    /// Bytes a second of the device's memory (specified).
    pub memory_bytes_per_second: f64,
    /// Bytes a cycle that a multiprocessor gets from the L2 cache (measured).
    pub load_bytes: u64,
    /// Bytes a cycle that it writes there.
    pub store_bytes: u64,
    /// Bytes a cycle of shared memory (specified).
    pub shared_bytes: u64,
    /// From the issue of a load to its result, besides its bytes (measured: a hit of the L2 cache to a miss).
    pub global_latency: u64,
    /// The same of shared memory (measured).
    pub shared_latency: u64,
    /// From the last byte of a bulk copy on the port to the mbarrier's update.
    pub copy_latency: u64,
    /// From the last byte that a bulk store has read to its completion.
    pub store_latency: u64,
    /// From the last byte of a copy between CTAs of a cluster to the mbarrier's update (measured).
    pub exchange_latency: u64,
    /// From the last arrival to the waiter's next instruction.
    pub barrier_latency: u64,
    /// From the issue of a wgmma to its first cycle, if the queue is idle.
    pub product_start: u64,
    /// From the last cycle of a wgmma to the end of the wait for it.
    pub product_drain: u64,
    /// Multiply-adds a cycle of `mma.sync` on one of the four tensor cores, whatever the type.
    pub warp_macs: u64,
}

impl Model {
    /// The H100 SXM.
    pub const H100: Self = Self {
        multiprocessors: 132,
        clock_hz: 1.83e9,
        memory_bytes_per_second: 3.352e12,
        load_bytes: 64,
        store_bytes: 32,
        shared_bytes: 128,
        global_latency: 500,
        shared_latency: 30,
        copy_latency: 600,
        store_latency: 700,
        exchange_latency: 200,
        barrier_latency: 28,
        product_start: 24,
        product_drain: 32,
        warp_macs: 256,
    };

    /// Cycles that the unit of a class is busy with one warp instruction: 32 lanes over its lanes a scheduler.
    #[must_use]
    pub const fn issue_cycles(class: Class) -> u64 {
        match class {
            Class::Integer | Class::Double | Class::Conversion | Class::Warp => 2,
            Class::Special => 8,
            _ => 1,
        }
    }

    /// Cycles of a wgmma: the tensor core's, or those of its operands in shared memory.
    #[must_use]
    pub fn product_cycles(&self, tensor_cycles: u64, operand_bytes: u64) -> u64 {
        tensor_cycles.max(operand_bytes.div_ceil(self.shared_bytes))
    }

    /// Bytes of the device's memory that a multiprocessor gets a cycle when all of them ask.
    #[must_use]
    pub fn memory_bytes(&self) -> f64 {
        self.memory_bytes_per_second / self.clock_hz / self.multiprocessors as f64
    }
}
