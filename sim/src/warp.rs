//! A warp: its lanes' registers, and the fragments that they run in.
//!
//! Lanes are independent: a fragment is a set of lanes with one program counter and one call stack. A branch that
//! divides a fragment makes two; fragments that meet merge. Of several that can run, the one deepest in calls and
//! lowest in the code goes first, but none starves: a wait loop may lie below the code that its partners must run.

use crate::memory::local::LocalMemory;
use crate::registers::RegisterFile;

/// Why a fragment does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It runs.
    Ready,
    /// For the other lanes of `need` to execute the same instruction.
    Gather {
        /// The lanes that must come.
        need: u32,
        /// What they must execute: equal for instructions that may meet.
        key: u64,
        /// Whether they must come to the very same instruction (`.aligned`).
        aligned: bool,
    },
    /// For a CTA barrier to complete the generation.
    CtaBarrier {
        /// Barrier number.
        id: u8,
        /// The generation that was current on arrival.
        generation: u64,
    },
    /// For the cluster barrier to complete the phase.
    ClusterBarrier {
        /// The phase of the arrival.
        phase: u64,
    },
    /// For an mbarrier of the own CTA to complete the phase of a parity; wakes with an answer either way.
    Mbarrier {
        /// Shared address.
        address: u32,
        /// The phase number that must have completed.
        phase: u64,
    },
    /// For all but the last `left` bulk groups of the lanes.
    BulkGroups {
        /// Groups that may be under way.
        left: u32,
        /// Whether reading the source is enough.
        read: bool,
    },
    /// For all but the last `left` `cp.async` groups.
    CopyGroups {
        /// Groups that may be under way.
        left: u32,
    },
    /// For all but the last `left` wgmma groups.
    MatrixGroups {
        /// Groups that may be under way.
        left: u32,
    },
    /// For the other warps of the warpgroup to execute the same instruction.
    Warpgroup {
        /// Number of the rendezvous.
        round: u64,
    },
    /// For registers of the CTA's pool.
    RegisterPool {
        /// Registers a thread asked for.
        registers: u32,
    },
    /// For a time.
    Until {
        /// Virtual nanoseconds.
        time: u64,
    },
    /// For anything to change: the fragment has been round a loop without any effect.
    Spin {
        /// The epoch of changes when it was found out.
        epoch: u64,
        /// When the loop looks at the clock again, which may end it; [`u64::MAX`] if it does not look.
        until: u64,
    },
}

/// The frame of a function that a fragment is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Function number.
    pub function: u32,
    /// First register slot.
    pub base: u32,
    /// First predicate slot.
    pub predicate_base: u32,
    /// First byte of local memory.
    pub local_base: u32,
    /// Where to go on in the caller; unused in a kernel's frame.
    pub return_pc: u32,
    /// Bytes of `alloca`.
    pub allocated: u32,
}

/// Lanes with one program counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The next micro-operation.
    pub pc: u32,
    /// The lanes.
    pub lanes: u32,
    /// What it waits for.
    pub wait: Wait,
    /// The current frame.
    pub frame: Frame,
    /// Frames of the callers, outermost first.
    pub callers: Vec<Frame>,
    /// Whether the wait of the current instruction ran out of time instead of being met.
    pub timed_out: bool,
    /// Whether results of a collective instruction lie ready for these lanes.
    pub collected: bool,
    /// Where the last backward jump without effects went, and its fingerprint.
    pub spin: SpinWatch,
}

/// Looks for loops that change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpinWatch {
    /// Backward jumps since the epoch changed.
    pub jumps: u32,
    /// The epoch of changes at the last backward jump.
    pub epoch: u64,
    /// The fingerprint that was taken last, with its jump target.
    pub fingerprint: u64,
    /// Where the jump went.
    pub target: u32,
    /// When the clock was read first since the epoch changed.
    pub clock_read: Option<u64>,
}

impl Fragment {
    /// Whether two fragments can be one.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.pc == other.pc
            && self.frame == other.frame
            && self.callers == other.callers
            && self.collected == other.collected
    }

    /// Runs first if smaller: deeper in calls, then lower in the code.
    #[must_use]
    pub fn order(&self) -> (std::cmp::Reverse<usize>, u32) {
        (std::cmp::Reverse(self.callers.len()), self.pc)
    }
}

/// Operands and results of collective instructions whose lanes come in several fragments.
#[derive(Debug, Clone, Default)]
pub struct Collective {
    /// Up to three operands a lane.
    pub operands: [[u64; 3]; 32],
    /// Lanes whose operands are undefined.
    pub undefined: u32,
    /// Up to two results a lane.
    pub results: [[u64; 2]; 32],
    /// Lanes whose results are undefined.
    pub undefined_results: u32,
}

/// A warp of a CTA.
#[derive(Debug)]
pub struct Warp {
    /// Rank of the CTA in the cluster.
    pub cta: usize,
    /// Number in the CTA.
    pub index: usize,
    /// The lanes that exist: all but in the last warp of an odd CTA.
    pub lanes: u32,
    /// The lanes that have exited.
    pub exited: u32,
    /// Registers.
    pub registers: RegisterFile,
    /// Local memory and call parameters.
    pub local: LocalMemory,
    /// The fragments, at least one until every lane has exited.
    pub fragments: Vec<Fragment>,
    /// Operands of collective instructions.
    pub collective: Collective,
    /// Asynchronous copies and matrix products of the warp.
    pub flight: crate::flight::Flight,
    /// Lanes that have arrived at the cluster barrier and not yet waited.
    pub cluster_arrived: u32,
    /// The cluster barrier's phase in which each of them arrived.
    pub cluster_phases: [u64; 32],
    /// Registers a thread may use, as `setmaxnreg` changes it.
    pub register_limit: u32,
    /// The carry of the condition code: the lanes where it is set.
    pub carry: u32,
    /// The lanes whose carry no instruction has set yet, or an undefined operand has.
    pub undefined_carry: u32,
    /// Thread index in the CTA of each lane: x, y, z.
    pub thread: Box<[[u32; 32]; 3]>,
}

impl Warp {
    /// The bytes of the host that the warp takes more when it has so many register slots and stacks of so many bytes.
    #[must_use]
    pub const fn growth(&self, slots: usize, stack: u64) -> u64 {
        let registers = RegisterFile::host_bytes_of(slots).saturating_sub(self.registers.host_bytes());
        registers + LocalMemory::host_bytes_of(stack).saturating_sub(self.local.host_bytes())
    }

    /// Lanes that exist and have not exited.
    #[inline]
    #[must_use]
    pub fn alive(&self) -> u32 {
        self.lanes & !self.exited
    }
}
