//! Race detection: whether every two conflicting accesses are ordered by what the PTX memory model calls causality
//! (PTX ISA 8), whatever order this run happened to take.
//!
//! Every thread carries two clocks: what happened before it, and what of that lies behind a proxy fence. Barriers,
//! mbarriers, releases and acquires hand clocks over; asynchronous operations are agents of their own that publish only
//! themselves. An access is compared with the last write and the reads since, byte by byte:
//!
//! | earlier | now | ordered if |
//! |---|---|---|
//! | generic | generic | it happened before |
//! | generic | bulk copy, `wgmma` | it lies behind a `fence.proxy.async`, also if the same thread did it |
//! | asynchronous | any | its completion was waited for, by this thread or one that synchronised with it since |
//!
//! Two strong accesses of one size and proxy whose scopes include each other do not race. What the manual leaves open is a
//! [`RacePolicy`].

pub mod clock;
pub mod footprint;
pub mod older;
pub mod record;
pub mod scope;
pub mod shadow;

mod check;
mod message;
mod synchronise;
mod visits;
mod warp_view;

use crate::report::Fault;
use check::{Access, Judge};
use clock::{Agent, AgentKind, Knowledge, Memory};
use record::{Path, Pattern, Record, RecordId, Records};
use scope::{Place, Scope};
use shadow::{Pages, Shadow};
use std::sync::Arc;
use synchronise::Synchronisers;
use visits::{Visit, Visits};
use warp_view::{RECENT, Recent, WarpView};

/// What is done about accesses of lanes of one warp that no `bar.warp.sync` orders while they run convergently: wrong by
/// the memory model, without effect on hardware that runs convergent lanes in lock step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WarpPolicy {
    /// Nothing.
    Ignore,
    /// They are listed apart from the reports and do not make the run wrong.
    #[default]
    Warn,
    /// They are races.
    Report,
}

/// How race detection reads what the manual leaves open. The defaults accept what published kernels rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RacePolicy {
    /// Convergent lanes of one warp.
    pub warp: WarpPolicy,
    /// An arrival at the mbarrier of another CTA with `.cta` scope, which is the default of the instruction, publishes
    /// nothing. By default it publishes to the cluster, as widely used libraries assume.
    pub strict_remote_arrive: bool,
    /// A proxy fence must be executed by the thread that starts the asynchronous operation; fences of threads before it
    /// do not count. By default a fence counts wherever it lies on the path.
    pub strict_proxy_fence: bool,
    /// A generic read needs no proxy fence before an asynchronous write that it happened before. By default it does.
    pub exempt_reads: bool,
    /// A `ld.global.nc` of bytes that the launch has written before is reported, ordered or not.
    pub constant_loads: bool,
}

impl RacePolicy {
    /// What published kernels rely on.
    pub const STANDARD: Self = Self {
        warp: WarpPolicy::Warn,
        strict_remote_arrive: false,
        strict_proxy_fence: false,
        exempt_reads: false,
        constant_loads: true,
    };
}

impl Default for RacePolicy {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// Lanes of a warp that execute an instruction.
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    /// Where they run.
    pub place: Place,
    /// Their warp, by number in the cluster.
    pub warp: u32,
    /// Their warp, by number in its CTA.
    pub warp_of_cta: u32,
    /// The lanes.
    pub lanes: u32,
    /// All lanes that run convergently with them.
    pub convergent: u32,
    /// The PTX line.
    pub line: u32,
}

/// Memory that accesses are followed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The shared memory of a CTA of the cluster, whose data begins at an address.
    Shared {
        /// Rank of the CTA.
        cta: u32,
        /// Address of its first byte.
        base: u32,
    },
    /// Global memory of all devices.
    Global,
}

impl Region {
    const fn memory(self) -> Memory {
        match self {
            Self::Shared { .. } => Memory::Shared,
            Self::Global => Memory::Global,
        }
    }
}

/// What an instruction does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Whether it writes.
    pub write: bool,
    /// The scope of a strong access.
    pub strong: Option<Scope>,
    /// Whether it is a load through the non-coherent path (`ld.global.nc`).
    pub constant: bool,
    /// Whether it compares and swaps.
    pub swaps: bool,
    /// Bytes of each scalar access, of which a vector makes several; 0 if that does not matter.
    pub scalar_bytes: u32,
}

impl Touch {
    /// A weak load.
    pub const READ: Self =
        Self { write: false, strong: None, constant: false, swaps: false, scalar_bytes: 0 };
    /// A weak store.
    pub const WRITE: Self = Self { write: true, ..Self::READ };
}

/// An asynchronous operation that is about to be started: an agent of its own.
#[derive(Debug, Clone)]
pub struct Ticket {
    agent: Agent,
    epoch: u32,
    lanes: u32,
    path: Path,
    knowledge: Arc<Knowledge>,
    actor: Actor,
    /// The scope of what it does atomically.
    pub strong: Option<Scope>,
}

/// A CTA, as race detection sees it.
#[derive(Debug)]
struct CtaView {
    shared: Shadow,
    /// Accesses that have written to it.
    writes: u64,
    /// What other CTAs have done there.
    visits: Visits,
}

/// A cluster, as race detection sees it.
#[derive(Debug)]
struct ClusterView {
    warps: Vec<WarpView>,
    ctas: Vec<CtaView>,
    synchronisers: Synchronisers,
}

/// Follows all accesses and synchronisations of the clusters that run together.
#[derive(Debug)]
pub struct RaceDetector {
    policy: RacePolicy,
    records: Records,
    /// Clusters by number; those that have ended are gone.
    clusters: Vec<Option<Box<ClusterView>>>,
    global: Pages,
    /// What strong writes to global memory carry.
    released: synchronise::Releases,
    warnings: Vec<Fault>,
}

impl RaceDetector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(policy: RacePolicy) -> Self {
        Self {
            policy,
            records: Records::default(),
            clusters: Vec::new(),
            global: Pages::default(),
            released: synchronise::Releases::default(),
            warnings: Vec::new(),
        }
    }

    /// A cluster starts, with the existing lanes of each warp and the bytes of shared memory of each CTA. Its number.
    pub fn start_cluster(&mut self, warps: &[u32], shared_bytes: &[u32]) -> u32 {
        let number = self.clusters.len() as u32;
        let warps = warps.iter().enumerate();
        let strict = self.policy.strict_proxy_fence;
        let warps = warps.map(|(index, lanes)| WarpView::new(number, index as u32, *lanes, strict));
        let warps = warps.collect::<Vec<_>>();
        let first_free = warps.len() as u32 * AgentKind::COUNT;
        let ctas = shared_bytes
            .iter()
            .map(|bytes| CtaView {
                shared: Shadow::new(*bytes as usize),
                writes: 0,
                visits: Visits::default(),
            })
            .collect();
        let synchronisers = Synchronisers::new(first_free);
        self.clusters.push(Some(Box::new(ClusterView { warps, ctas, synchronisers })));
        number
    }

    /// A cluster has ended.
    pub fn end_cluster(&mut self, number: u32) {
        self.clusters[number as usize] = None;
    }

    /// What is worth a look and does not make the run wrong.
    pub fn take_warnings(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.warnings)
    }

    /// The warp of an actor, after it has learnt what it waited for.
    fn warp(&mut self, actor: &Actor) -> &mut WarpView {
        let cluster = running(&mut self.clusters, actor);
        cluster.settle_debts(actor);
        &mut cluster.warps[actor.warp as usize]
    }

    /// The lanes of an actor access `bytes` bytes each. `keeps` says of a byte that is about to be stored whether it
    /// holds that value already.
    ///
    /// # Errors
    ///
    /// A race, with both parties.
    pub fn access_lanes(
        &mut self,
        actor: &Actor,
        region: Region,
        addresses: &[u64; 32],
        bytes: u32,
        touch: Touch,
        keeps: &dyn Fn(u64) -> bool,
    ) -> Result<(), Box<Fault>> {
        self.compact_if_crowded();
        let Self { records, clusters, global, policy, warnings, .. } = self;
        let cluster = running(clusters, actor);
        cluster.settle_debts(actor);
        let ClusterView { warps, ctas, .. } = cluster;
        let warp = &mut warps[actor.warp as usize];
        let epoch = warp.access_epoch();
        let (agent, synchronised) = (warp.agent(AgentKind::Generic), warp.synchronised);
        for (group, knowledge) in &warp.views {
            let lanes = group & actor.lanes;
            if lanes == 0 {
                continue;
            }
            let recent = &mut warp.recent[actor.line as usize % RECENT];
            let record = Record {
                agent,
                epoch,
                lanes,
                convergent: actor.convergent,
                path: Path::Generic,
                write: touch.write,
                strong: touch.strong,
                swaps: touch.swaps,
                scalar_bytes: touch.scalar_bytes,
                pattern: pattern(records, addresses, lanes, bytes, recent.record),
                line: actor.line,
                synchronised,
                warp: actor.warp,
                warp_of_cta: actor.warp_of_cta,
                cta: actor.place.cta,
                device: actor.place.device,
            };
            if let Region::Shared { cta, .. } = region
                && cta != actor.place.cta
            {
                ctas[cta as usize].visits.add(Visit::access(&record));
            }
            let last = recent.record;
            let access =
                Access { id: records.intern(record, &mut recent.record), constant: touch.constant, keeps };
            if let (Region::Shared { cta, .. }, false) = (region, touch.write) {
                let writes = ctas[cta as usize].writes;
                let now = Recent {
                    record: access.id,
                    first: addresses[lanes.trailing_zeros() as usize],
                    bytes,
                    writes,
                };
                if (Recent { record: last, ..*recent }) == now {
                    continue;
                }
                *recent = now;
            }
            let runs = Runs::new(addresses, lanes, bytes, &record.pattern);
            let mut judge = Judge::new(records, *policy, region, knowledge, &access);
            let judged = judge.judge(ctas, global, region, runs);
            let (warning, missed) = (judge.warning(), &warp.missed);
            if let Err(conflict) = judged {
                return Err(Box::new(conflict.fault(
                    records,
                    actor,
                    region,
                    knowledge,
                    &record,
                    missed.clone(),
                )));
            }
            if let Some(conflict) = warning {
                conflict.warn(records, &record, warnings);
            }
        }
        Ok(())
    }

    /// An asynchronous operation of lanes, which comes after what they have done before.
    fn ticket_of_lanes(&mut self, actor: &Actor, agent: Agent, epoch: u32, lanes: u32, path: Path) -> Ticket {
        let mut ticket = self.ticket(actor, agent, epoch, lanes, path);
        let warp = self.warp(actor);
        let (own, epoch) = (warp.agent(AgentKind::Generic), warp.access_epoch());
        Arc::make_mut(&mut ticket.knowledge).seen.raise(own, actor.lanes, epoch);
        ticket
    }

    /// An asynchronous operation of the lanes of an actor, with what they know.
    fn ticket(&mut self, actor: &Actor, agent: Agent, epoch: u32, lanes: u32, path: Path) -> Ticket {
        self.compact_if_crowded();
        let knowledge = self.warp(actor).joined(actor.lanes);
        Ticket { agent, epoch, lanes, path, knowledge, actor: *actor, strong: None }
    }

    /// A bulk store of a lane, as a member of a bulk group: an agent for its source, and one for its destination.
    pub fn bulk_store(&mut self, actor: &Actor, group: u32) -> [Ticket; 2] {
        let (cluster, warp) = (actor.place.cluster, actor.warp);
        [AgentKind::BulkRead, AgentKind::BulkWrite].map(|kind| {
            let agent = Agent::of_warp(cluster, warp, kind);
            self.ticket_of_lanes(actor, agent, group + 1, actor.lanes, Path::Bulk)
        })
    }

    /// A copy that an mbarrier counts in its current phase; `generic` if it is of the generic proxy (`st.async`).
    pub fn counted_copy(&mut self, actor: &Actor, mbarrier: u32, phase: u64, generic: bool) -> Ticket {
        let cluster = running(&mut self.clusters, actor);
        let index = cluster.synchronisers.mbarrier(mbarrier).agent;
        let agent = Agent { cluster: actor.place.cluster, index };
        let path = if generic { Path::Asynchronous } else { Path::Bulk };
        self.ticket_of_lanes(actor, agent, phase as u32 + 1, u32::MAX, path)
    }

    /// `cp.async` of the actor's lanes, the warp's `number`-th.
    pub fn copy(&mut self, actor: &Actor, number: u32) -> Ticket {
        let agent = Agent::of_warp(actor.place.cluster, actor.warp, AgentKind::Copy);
        self.ticket(actor, agent, number, actor.lanes, Path::Asynchronous)
    }

    /// What the warp of an actor gives to a matrix product of its warpgroup.
    pub fn matrix_knowledge(&mut self, actor: &Actor) -> Arc<Knowledge> {
        self.compact_if_crowded();
        let warp = self.warp(actor);
        let mut knowledge = warp.joined(u32::MAX);
        // The warp executes the instruction as one, and each lane knows what it did itself.
        let (own, epoch) = (warp.agent(AgentKind::Generic), warp.close_epoch());
        Arc::make_mut(&mut knowledge).seen.raise(own, u32::MAX, epoch);
        knowledge
    }

    /// A matrix product of the warpgroup whose first warp has this number, with what its warps know together.
    #[must_use]
    pub fn matrix_product(&self, actor: &Actor, first: u32, group: u32, knowledge: Arc<Knowledge>) -> Ticket {
        let agent = Agent::of_warp(actor.place.cluster, first, AgentKind::Matrix);
        Ticket {
            agent,
            epoch: group + 1,
            lanes: u32::MAX,
            path: Path::Matrix,
            knowledge,
            actor: *actor,
            strong: None,
        }
    }

    /// A record of what an asynchronous operation does to memory.
    fn record(&mut self, ticket: &Ticket, write: bool) -> RecordId {
        let actor = &ticket.actor;
        let synchronised = self.warp(actor).synchronised;
        self.records.add(Record {
            agent: ticket.agent,
            epoch: ticket.epoch,
            lanes: ticket.lanes,
            convergent: actor.convergent,
            path: ticket.path,
            write,
            strong: ticket.strong,
            swaps: false,
            scalar_bytes: 0,
            pattern: Pattern::Together,
            line: actor.line,
            synchronised,
            warp: actor.warp,
            warp_of_cta: actor.warp_of_cta,
            cta: actor.place.cta,
            device: actor.place.device,
        })
    }

    /// A lane accesses consecutive bytes.
    ///
    /// # Errors
    ///
    /// A race, with both parties.
    pub fn access_span(
        &mut self,
        actor: &Actor,
        region: Region,
        (start, bytes): (u64, u64),
        touch: Touch,
    ) -> Result<(), Box<Fault>> {
        let mut addresses = [0; 32];
        addresses[actor.lanes.trailing_zeros() as usize] = start;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.access_lanes(actor, region, &addresses, bytes, touch, &CHANGES)
    }

    /// An asynchronous operation reads or writes ranges, by start and bytes.
    ///
    /// # Errors
    ///
    /// A race, with both parties.
    pub fn access_ranges(
        &mut self,
        ticket: &Ticket,
        write: bool,
        region: Region,
        ranges: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), Box<Fault>> {
        let id = self.record(ticket, write);
        self.touch(&ticket.actor, &ticket.knowledge, id, region, ranges)
    }

    /// `cp.async` of lanes reads or writes `bytes` bytes of each.
    ///
    /// # Errors
    ///
    /// A race, with both parties.
    pub fn copy_lanes(
        &mut self,
        ticket: &Ticket,
        write: bool,
        region: Region,
        addresses: &[u64; 32],
        (lanes, bytes): (u32, u32),
    ) -> Result<(), Box<Fault>> {
        if lanes == 0 || bytes == 0 {
            return Ok(());
        }
        let id = self.record(ticket, write);
        let pattern = pattern(&mut self.records, addresses, lanes, bytes, 0);
        self.records.refine(id, lanes, pattern);
        let runs = Runs::new(addresses, lanes, bytes, &pattern);
        self.touch(&ticket.actor, &ticket.knowledge, id, region, runs)
    }

    fn compact_if_crowded(&mut self) {
        if !self.records.is_crowded() {
            return;
        }
        let Self { records, clusters, global, .. } = self;
        records.compact(|see| {
            global.visit(see);
            for cluster in clusters.iter_mut().flatten() {
                cluster.ctas.iter_mut().for_each(|cta| cta.shared.visit(see));
                cluster.warps.iter_mut().for_each(|warp| warp.recent.fill(Recent::default()));
            }
        });
    }
}

/// The cluster of an actor.
#[inline]
fn running<'a>(clusters: &'a mut [Option<Box<ClusterView>>], actor: &Actor) -> &'a mut ClusterView {
    clusters[actor.place.cluster as usize].as_deref_mut().expect("a running cluster")
}

/// How the lanes of an access lie; `recent` is a record that may have the same addresses.
fn pattern(
    records: &mut Records,
    addresses: &[u64; 32],
    lanes: u32,
    bytes: u32,
    recent: RecordId,
) -> Pattern {
    if lanes.is_power_of_two() {
        return Pattern::Together;
    }
    let first_lane = lanes.trailing_zeros() as usize;
    let second_lane = (lanes & (lanes - 1)).trailing_zeros() as usize;
    let first = addresses[first_lane];
    let stride = addresses[second_lane].wrapping_sub(first) / (second_lane - first_lane) as u64;
    let origin = first.wrapping_sub(stride.wrapping_mul(first_lane as u64));
    let may_be = stride == 0 || stride >= u64::from(bytes) && stride < 1 << 31;
    if may_be && is_regular(addresses, lanes, origin, stride) {
        return match stride {
            0 => Pattern::Together,
            _ => Pattern::Strided { first: origin, stride: stride as u32, bytes },
        };
    }
    records.scatter_again(addresses, bytes, recent)
}

/// Whether the address of each lane i of a mask is `origin + i * stride`.
#[inline]
fn is_regular(addresses: &[u64; 32], lanes: u32, origin: u64, stride: u64) -> bool {
    if lanes == u32::MAX {
        // All lanes are compared without a branch.
        let steps = addresses.iter().zip(&addresses[1..]);
        return steps.fold(0, |differ, (address, next)| differ | (next.wrapping_sub(*address) ^ stride)) == 0;
    }
    (0..32usize)
        .filter(|lane| lanes >> lane & 1 == 1)
        .all(|lane| addresses[lane] == origin.wrapping_add(stride.wrapping_mul(lane as u64)))
}

/// Of a store that is taken to change what it overwrites.
pub const CHANGES: fn(u64) -> bool = |_| false;

/// The bytes that lanes access as few ranges: start and bytes.
struct Runs<'a> {
    addresses: &'a [u64; 32],
    /// Lanes that are not in a range yet.
    lanes: u32,
    bytes: u64,
    /// All of them in one range.
    whole: Option<(u64, u64)>,
    /// The words behind an address that lanes in no order access, a bit each, where they lie close.
    words: (u64, u128),
}

impl<'a> Runs<'a> {
    fn new(addresses: &'a [u64; 32], lanes: u32, bytes: u32, pattern: &Pattern) -> Self {
        let mut runs = Self { addresses, lanes, bytes: bytes.into(), whole: None, words: (0, 0) };
        match pattern {
            Pattern::Strided { first, stride, .. } if lanes == u32::MAX && *stride == bytes => {
                runs.whole = Some((*first, 32 * u64::from(bytes)));
                runs.lanes = 0;
            }
            Pattern::Scattered { .. } if bytes.is_multiple_of(4) => runs.gather_words(),
            _ => {}
        }
        runs
    }

    /// Brings accesses of whole words that lie close, in whatever order, into few ranges.
    fn gather_words(&mut self) {
        let active = || (0..32).filter(|lane| self.lanes >> lane & 1 == 1).map(|lane| self.addresses[lane]);
        let first = active().min().unwrap_or(0);
        let last = active().max().unwrap_or(0);
        let words = self.bytes / 4;
        if !first.is_multiple_of(4) || last - first > 4 * (128 - words) {
            return;
        }
        let each = (1_u128 << words) - 1;
        self.words = (first, active().fold(0, |set, address| set | each << ((address - first) / 4)));
        self.lanes = 0;
    }
}

impl Iterator for Runs<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if let Some(whole) = self.whole.take() {
            return Some(whole);
        }
        let (first, words) = self.words;
        if words != 0 {
            let start = words.trailing_zeros();
            let count = (!(words >> start)).trailing_zeros();
            self.words.1 = if start + count == 128 { 0 } else { words >> (start + count) << (start + count) };
            return Some((first + 4 * u64::from(start), 4 * u64::from(count)));
        }
        if self.lanes == 0 {
            return None;
        }
        let start = self.addresses[self.lanes.trailing_zeros() as usize];
        let mut length = self.bytes;
        self.lanes &= self.lanes - 1;
        while self.lanes != 0 {
            let next = self.addresses[self.lanes.trailing_zeros() as usize].wrapping_sub(start);
            if next == length {
                length += self.bytes;
            } else if next != length - self.bytes {
                break;
            }
            self.lanes &= self.lanes - 1;
        }
        Some((start, length))
    }
}
