//! What a replay gives: slices of each warp, and what is under way beside them, in cycles of the model.

use super::record::{CopyKind, Totals};
use super::role::Role;
use crate::counters::Class;

/// What a warp does or waits for in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Arithmetic, moves, branches.
    Compute,
    /// Issues matrix instructions.
    Matrix,
    /// Shared memory.
    Shared,
    /// Global and local memory, atomics.
    Global,
    /// Issues copies.
    Copy,
    /// Arrivals and fences.
    Barrier,
    /// Waits for a CTA or cluster barrier.
    BarrierWait,
    /// Waits for an mbarrier.
    MbarrierWait,
    /// Waits for copies: `cp.async`, or stores in bulk.
    CopyWait,
    /// Waits for wgmma.
    ProductWait,
    /// Waits for what it has loaded.
    LoadWait,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Compute,
        Self::Matrix,
        Self::Shared,
        Self::Global,
        Self::Copy,
        Self::Barrier,
        Self::BarrierWait,
        Self::MbarrierWait,
        Self::CopyWait,
        Self::ProductWait,
        Self::LoadWait,
    ];

    /// The name in a trace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Matrix => "matrix",
            Self::Shared => "shared memory",
            Self::Global => "global memory",
            Self::Copy => "copy issue",
            Self::Barrier => "arrive, fence",
            Self::BarrierWait => "barrier wait",
            Self::MbarrierWait => "mbarrier wait",
            Self::CopyWait => "copy wait",
            Self::ProductWait => "wgmma wait",
            Self::LoadWait => "load wait",
        }
    }

    /// Whether the warp waits.
    #[must_use]
    pub const fn is_wait(self) -> bool {
        matches!(
            self,
            Self::BarrierWait | Self::MbarrierWait | Self::CopyWait | Self::ProductWait | Self::LoadWait
        )
    }

    /// What instructions of a class are.
    #[must_use]
    pub(super) const fn of(class: Class) -> Self {
        match class {
            Class::Global | Class::Local | Class::Atomic => Self::Global,
            Class::Shared => Self::Shared,
            Class::AsyncCopy => Self::Copy,
            Class::Barrier => Self::Barrier,
            Class::Matrix => Self::Matrix,
            _ => Self::Compute,
        }
    }
}

/// A stretch of a warp's time. The slices of a lane follow each other without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// First cycle.
    pub begin: u64,
    /// One past the last cycle.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
    /// Warp instructions issued.
    pub instructions: u64,
    /// Bytes of global or shared memory that they moved.
    pub bytes: u64,
    /// First and last PTX line.
    pub lines: [u32; 2],
}

/// Part of a lane with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// First cycle.
    pub begin: u64,
    /// One past the last cycle.
    pub end: u64,
    /// [`MAIN_LOOP`] or [`EPILOGUE`].
    pub name: &'static str,
}

/// The name of a phase of products.
pub const MAIN_LOOP: &str = "main loop";
/// The name of a phase of stores behind products.
pub const EPILOGUE: &str = "epilogue";

/// A warp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Rank of its CTA.
    pub cta: u32,
    /// Number in the CTA.
    pub warp: u32,
    /// What it is for.
    pub role: Role,
    /// What it did.
    pub slices: Vec<Slice>,
    /// Main loops, from the first product to the wait for the last one, and epilogues, from there to the last store to
    /// global memory before the next product.
    pub phases: Vec<Phase>,
    /// Whether the next slice is one of its own.
    pub(super) apart: bool,
}

impl Lane {
    /// The name of its track.
    #[must_use]
    pub fn name(&self) -> String {
        format!("warp {}: {}", self.warp, self.role)
    }
}

/// Something under way besides the warps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Rank of the CTA.
    pub cta: u32,
    /// First cycle.
    pub begin: u64,
    /// One past the last cycle.
    pub end: u64,
    /// PTX line.
    pub line: u32,
    /// What it is.
    pub what: FlightKind,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlightKind {
    /// A bulk or tensor copy, from issue to completion.
    Copy {
        /// Which way it goes.
        kind: CopyKind,
        /// Bytes.
        bytes: u64,
        /// The warp that issued it, by number in the cluster.
        warp: u32,
    },
    /// A group of products, from its commit to the end of the wait for it.
    Group {
        /// Warpgroup in the CTA.
        warpgroup: u32,
        /// Products.
        products: u32,
    },
    /// A product on the tensor cores.
    Product {
        /// Warpgroup in the CTA.
        warpgroup: u32,
        /// Multiply-adds.
        macs: u64,
    },
}

/// When a cluster's warps, copies and products run, by the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The kernel.
    pub kernel: String,
    /// Index of the first CTA of the cluster in the grid.
    pub cta: [u32; 3],
    /// CTAs of the cluster.
    pub ctas: u32,
    /// Cycles until everything is done.
    pub cycles: u64,
    /// Warps by CTA and number.
    pub lanes: Vec<Lane>,
    /// Bulk and tensor copies in the order of issue.
    pub copies: Vec<Flight>,
    /// Groups of products in the order of their first commit.
    pub groups: Vec<Flight>,
    /// Products in the order of their first issue.
    pub products: Vec<Flight>,
    /// What was counted.
    pub totals: Totals,
    /// Cycles at the tensor cores' peak that the matrix instructions of all CTAs take.
    pub tensor_cycles: u64,
    /// Whether there was more to record than a recording holds.
    pub truncated: bool,
}

impl Timeline {
    /// The warps of a CTA, those of a role together; roles in the order of their first warps.
    pub fn by_role(&self, cta: u32) -> impl Iterator<Item = &Lane> {
        let mut lanes: Vec<&Lane> = self.lanes.iter().filter(|lane| lane.cta == cta).collect();
        let first = lanes.clone();
        lanes.sort_by_key(|lane| first.iter().position(|other| other.role == lane.role));
        lanes.into_iter()
    }
}

impl Lane {
    /// Adds a slice, or makes the last one longer.
    pub(super) fn add(&mut self, slice: Slice) {
        let apart = std::mem::take(&mut self.apart);
        match self.slices.last_mut() {
            Some(last)
                if !apart
                    && last.kind == slice.kind
                    && (!slice.kind.is_wait() || last.lines == slice.lines) =>
            {
                last.end = slice.end;
                last.instructions += slice.instructions;
                last.bytes += slice.bytes;
                last.lines = [last.lines[0].min(slice.lines[0]), last.lines[1].max(slice.lines[1])];
            }
            _ => self.slices.push(slice),
        }
    }

    /// The main loop goes on until `end`, or one begins.
    pub(super) fn extend_main_loop(&mut self, begin: u64, end: u64) {
        match self.phases.last_mut() {
            Some(phase) if phase.name == MAIN_LOOP => phase.end = end,
            _ => {
                self.apart = true;
                self.phases.push(Phase { begin, end, name: MAIN_LOOP });
            }
        }
    }

    /// The epilogue goes on until `end`, or one begins where the main loop ended; without a main loop there is none.
    pub(super) fn extend_epilogue(&mut self, end: u64) {
        match self.phases.last_mut() {
            Some(phase) if phase.name == EPILOGUE => phase.end = end,
            Some(phase) => {
                let begin = phase.end;
                self.phases.push(Phase { begin, end, name: EPILOGUE });
            }
            None => {}
        }
    }

    /// Makes phases end where slices do, so that every slice is in one phase or in none.
    pub(super) fn round_phases(&mut self) {
        let round = |time: u64| {
            let at = self.slices.partition_point(|slice| slice.end < time);
            self.slices.get(at).map_or(time, |slice| slice.end)
        };
        for phase in &mut self.phases {
            phase.end = round(phase.end);
            if phase.name == EPILOGUE {
                phase.begin = round(phase.begin);
            }
        }
    }
}
