//! A cluster of CTAs at run time: shared memories, barriers, and the asynchronous operations under way.

use crate::barrier::{ClusterBarrier, CtaBarrier, Mbarrier};
use crate::counters::Counters;
use crate::grid::Grid;
use crate::memory::{SHARED_DATA_OFFSET, SHARED_RANK_SHIFT, SharedMemory};
use crate::report::{Fault, Rule};
use crate::warp::Warp;
use rustc_hash::FxHashMap;

/// One CTA.
#[derive(Debug)]
pub struct Cta {
    /// Index in the grid.
    pub index: [u32; 3],
    /// Index in the cluster.
    pub cluster_index: [u32; 3],
    /// Its shared memory.
    pub shared: SharedMemory,
    /// The mbarriers that live in it, by offset in the CTA's window.
    pub mbarriers: FxHashMap<u32, Mbarrier>,
    /// Its sixteen barriers.
    pub barriers: [CtaBarrier; 16],
    /// Threads that have not exited.
    pub threads_left: u32,
    /// Warps that have not ended.
    pub warps_left: u32,
    /// Warps with a thread that has not exited, a bit each.
    pub live_warps: u32,
    /// Registers that `setmaxnreg.dec` gave back and nobody has taken.
    pub free_registers: u32,
    /// Rendezvous of the warpgroups' collective instructions.
    pub warpgroups: Vec<Warpgroup>,
}

/// Four warps that issue matrix products together.
#[derive(Debug, Default)]
pub struct Warpgroup {
    /// Products that all four warps have issued, as far as they have been executed.
    pub executed: u64,
    /// Products that each warp has issued.
    pub issued: [u64; 4],
    /// Issued and not yet executed, oldest first.
    pub queue: std::collections::VecDeque<crate::exec::wgmma::Product>,
    /// How often each warp has come to a collective instruction.
    pub rounds: [u64; 4],
    /// Every `setmaxnreg` so far: its count, whether it is `.inc`, and its PTX line.
    pub register_changes: Vec<(u32, bool, u32)>,
    /// How many of them each warp has executed.
    pub register_changes_made: [usize; 4],
}

/// How far an asynchronous operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has read its source, or part of it has landed; it goes on.
    Read,
    /// It is done.
    Done,
}

/// An asynchronous operation: an agent of its own that goes on when the scheduler says so.
pub trait Asynchronous: Send + std::fmt::Debug {
    /// Does the next part.
    ///
    /// # Errors
    ///
    /// Names the rule that it breaks.
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        grid: &Grid,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>>;
}

/// An asynchronous operation under way.
#[derive(Debug)]
pub struct Operation {
    /// Its number in the cluster.
    pub id: u64,
    /// The warp that issued it, by number in the cluster.
    pub warp: usize,
    /// The PTX line.
    pub line: u32,
    /// What it is.
    pub work: Box<dyn Asynchronous>,
}

/// What the CTAs of a cluster share, all but their warps.
#[derive(Debug)]
pub struct ClusterState {
    /// CTAs by rank.
    pub ctas: Vec<Cta>,
    /// Flat index of the cluster in the grid.
    pub index: u64,
    /// Its number among the clusters that race detection follows.
    pub number: u32,
    /// Index of the cluster in the grid.
    pub coordinates: [u32; 3],
    /// The cluster barrier.
    pub barrier: ClusterBarrier,
    /// Asynchronous operations.
    pub operations: Vec<Operation>,
    /// The number of the next one.
    pub next_operation: u64,
    /// What `printf` wrote.
    pub output: Vec<u8>,
    /// Grows with every change that another warp could see.
    pub epoch: u64,
    /// Decoded operand panels of matrix instructions, reused while shared memory keeps its bytes.
    pub panels: crate::exec::wgmma::PanelCache,
    /// Records what happens, if this is the cluster to trace.
    pub trace: Option<Box<crate::trace::Recorder>>,
}

/// A cluster with its warps.
#[derive(Debug)]
pub struct Cluster {
    /// What the CTAs share.
    pub state: ClusterState,
    /// All warps, CTA by CTA.
    pub warps: Vec<Warp>,
    /// Warps of each CTA.
    pub warps_per_cta: usize,
}

impl Cluster {
    /// The bytes that registers, local and shared memory take on the host.
    #[must_use]
    pub fn host_bytes(&self) -> u64 {
        let shared = self.state.ctas.iter().map(|cta| cta.shared.host_bytes());
        shared
            .chain(self.warps.iter().map(|warp| warp.registers.host_bytes() + warp.local.host_bytes()))
            .sum()
    }
}

/// Splits a shared address into the rank of the CTA and the address in its window.
#[must_use]
pub const fn rank_of(address: u32) -> usize {
    (address >> SHARED_RANK_SHIFT) as usize
}

impl ClusterState {
    /// The CTA that a shared address belongs to.
    ///
    /// # Errors
    ///
    /// If there is no such CTA, or it has ended.
    pub fn cta_of(&mut self, address: u32) -> Result<&mut Cta, Box<Fault>> {
        let (rank, count) = (rank_of(address), self.ctas.len());
        let Some(cta) = self.ctas.get_mut(rank) else {
            return Err(Box::new(Fault::new(
                Rule::RemoteShared,
                format!("shared address {address:#x} is of CTA rank {rank}, the cluster has {count}"),
            )));
        };
        if cta.threads_left == 0 {
            return Err(Box::new(Fault::new(
                Rule::RemoteShared,
                format!("shared address {address:#x} is of CTA rank {rank}, which has ended"),
            )));
        }
        Ok(cta)
    }

    /// The mbarrier at a shared address.
    ///
    /// # Errors
    ///
    /// If the address is misaligned, of a CTA that is gone, or holds no initialised mbarrier.
    pub fn mbarrier(&mut self, address: u32) -> Result<&mut Mbarrier, Box<Fault>> {
        if !address.is_multiple_of(8) {
            return Err(Box::new(Fault::new(
                Rule::Alignment,
                format!("mbarrier at shared address {address:#x}, expected a multiple of 8"),
            )));
        }
        if !self.cta_of(address)?.mbarriers.contains_key(&address) {
            let known = self.nearest_mbarrier(address);
            let message = format!("no mbarrier is initialised at {}{known}", shared_name(address));
            return Err(Box::new(Fault::new(Rule::Mbarrier, message)));
        }
        Ok(self.ctas[rank_of(address)].mbarriers.get_mut(&address).expect("it is there"))
    }

    fn nearest_mbarrier(&self, address: u32) -> String {
        let nearest = self
            .ctas
            .get(rank_of(address))
            .and_then(|cta| cta.mbarriers.keys().min_by_key(|other| (other.abs_diff(address), **other)));
        nearest.map_or(String::new(), |other| format!(", the nearest one is at {}", shared_name(*other)))
    }

    /// Adds an asynchronous operation and gives its number.
    pub fn submit(&mut self, warp: usize, line: u32, work: Box<dyn Asynchronous>) -> u64 {
        let id = self.next_operation;
        self.next_operation += 1;
        self.operations.push(Operation { id, warp, line, work });
        id
    }

    /// Completes the phase of the cluster barrier if every thread that is left has arrived.
    pub fn complete_cluster_barrier(&mut self) {
        let left: u32 = self.ctas.iter().map(|cta| cta.threads_left).sum();
        if self.barrier.arrived > 0 && self.barrier.arrived >= left {
            self.barrier.phase += 1;
            self.barrier.arrived = 0;
        }
    }

    /// What was recorded, if this is the cluster to trace.
    pub fn take_trace(&mut self) -> Option<Box<crate::trace::Recording>> {
        self.trace.take().map(|recorder| Box::new(recorder.finish()))
    }

    /// Tells waiting warps that something changed.
    pub fn changed(&mut self) {
        self.epoch += 1;
    }
}

/// A shared address in words.
#[must_use]
pub fn shared_name(address: u32) -> String {
    let offset = (address & ((1 << SHARED_RANK_SHIFT) - 1)).wrapping_sub(SHARED_DATA_OFFSET);
    format!("shared address {address:#x} (byte {} of CTA rank {})", offset.cast_signed(), rank_of(address))
}
