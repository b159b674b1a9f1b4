//! A roofline estimate of the traced cluster: the least time that its arithmetic and its bytes take, each by itself.

use super::model::Model;
use super::timeline::Timeline;

/// What a kernel is bound by, going by its rooflines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The tensor cores.
    TensorCore,
    /// The device's memory, if nothing that is read is in the L2 cache.
    Memory,
    /// The way from the L2 cache.
    Port,
}

impl Bound {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TensorCore => "tensor cores",
            Self::Memory => {
                "device memory, if all multiprocessors do the same and nothing is in the L2 cache"
            }
            Self::Port => "the port of the multiprocessor to the L2 cache",
        }
    }
}

/// Cycles of a multiprocessor. It is an estimate, for numbers of the [`Model`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofline {
    /// Multiply-adds of a CTA.
    pub macs: u64,
    /// Those of them that do not multiply padding; all of them if padding is not counted.
    pub useful_macs: u64,
    /// Bytes of global memory that a CTA reads and writes; what is read twice counts twice.
    pub bytes: u64,
    /// Cycles of the tensor cores at their peak.
    pub tensor_cycles: f64,
    /// Cycles of the multiprocessor's share of the device's memory.
    pub memory_cycles: f64,
    /// Cycles of its port.
    pub port_cycles: f64,
    /// Cycles of the timeline.
    pub cycles: u64,
}

impl Roofline {
    /// The estimate for a timeline. With several CTAs it is of their mean.
    #[must_use]
    pub fn of(timeline: &Timeline, model: &Model) -> Self {
        let ctas = u64::from(timeline.ctas).max(1);
        let totals = &timeline.totals;
        let (read, written) = (totals.global_read_bytes / ctas, totals.global_written_bytes / ctas);
        let read_cycles = read as f64 / model.load_bytes as f64;
        let written_cycles = written as f64 / model.store_bytes as f64;
        Self {
            macs: totals.matrix_macs / ctas,
            useful_macs: (totals.matrix_macs - totals.padded_macs) / ctas,
            bytes: read + written,
            tensor_cycles: timeline.tensor_cycles as f64 / ctas as f64,
            memory_cycles: (read + written) as f64 / model.memory_bytes(),
            port_cycles: read_cycles.max(written_cycles),
            cycles: timeline.cycles,
        }
    }

    /// The longest of the three.
    #[must_use]
    pub fn bound(&self) -> Bound {
        if self.tensor_cycles >= self.memory_cycles.max(self.port_cycles) {
            Bound::TensorCore
        } else if self.memory_cycles >= self.port_cycles {
            Bound::Memory
        } else {
            Bound::Port
        }
    }

    /// Useful multiply-adds for each byte.
    #[must_use]
    pub fn intensity(&self) -> f64 {
        self.useful_macs as f64 / self.bytes.max(1) as f64
    }

    /// The part of the time of the timeline for which the tensor cores would be busy at their peak.
    #[must_use]
    pub fn tensor_share(&self) -> f64 {
        self.tensor_cycles / self.cycles.max(1) as f64
    }
}
