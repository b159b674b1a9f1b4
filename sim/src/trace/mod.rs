//! Traces: when, by a model of the hardware, the warps, copies and matrix products of one cluster run.
//!
//! The interpreter runs warps in turns whose order the seed decides: its clock says nothing about hardware. A trace is
//! made in two passes. The [`Recorder`] notes, per warp and in program order, the instructions of each class and what
//! depends on whom: arrivals and waits (generations of CTA barriers, phases of mbarriers and of the cluster barrier),
//! copies with the phase that they complete or the group that they are in, wgmma products and their groups. Then
//! [`lay_out`] replays that, event by event, on the [`Model`]; from it follow the [`Timeline`], the Chrome trace
//! (`chrome_json`), the [`svg`] picture and the [`roofline`].
//!
//! # The model
//!
//! It is a model: nothing of it was timed, and PTX is not machine code. Each CTA has a multiprocessor to itself.
//!
//! - Four schedulers; warp i is on scheduler i mod 4. A scheduler issues one instruction a cycle, in stretches of 8 from
//!   one warp; classes with narrow units take longer ([`Model::issue_cycles`]).
//! - Loads take their bytes on a port and then their latency. Other loads, integer arithmetic, moves, branches, waits and
//!   the issue of copies and wgmma go on meanwhile; anything else, arrivals among it, waits for the last load. Other
//!   dependencies between registers cost nothing.
//! - A wgmma m64nNk(32 bytes) takes N/2 cycles of the multiprocessor's one tensor-core queue, or what its operands take
//!   to come from shared memory (128 bytes a cycle) if that is longer; it starts when its four warps have issued it. A
//!   queue that was idle takes some cycles to start, and results are there some cycles after the last one.
//! - Copies into shared memory, of any kind, and global loads share a port of 64 bytes a cycle and then take their
//!   latency; copies out share one of 32. A multicast takes the port of each target.
//! - A wait ends some cycles after the last arrival or byte that it is for. Polling is the wait: the instructions of a
//!   loop round a failed `try_wait` are counted, and take no time of their own.
//!
//! Waits for flags in global memory and `nanosleep` are not followed: such loops take the instructions that the
//! interpreter happened to run.

#[cfg(feature = "ptxsim")]
mod chrome;
mod model;
pub(crate) mod record;
mod replay;
mod role;
pub mod roofline;
pub mod svg;
mod timeline;

#[cfg(feature = "ptxsim")]
pub use chrome::chrome_json;
pub use model::Model;
pub use record::{Copy, CopyKind, Recorder, Recording, Totals, Traced};
pub use replay::lay_out;
pub use role::Role;
pub use timeline::{EPILOGUE, Flight, FlightKind, Kind, Lane, MAIN_LOOP, Phase, Slice, Timeline};

/// The cluster to trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceTarget {
    /// Number of the launch, from 0: `%gridid`.
    pub launch: u64,
    /// Flat index in the grid of a CTA of the cluster, x fastest.
    pub cta: u64,
}
