//! Barriers, mbarriers, fences, releases and acquires: who hands what he knows to whom.

use super::clock::{Agent, AgentKind, Knowledge};
use super::scope::{Scope, Semantics};
use super::visits::Visit;
use super::warp_view::{Debt, Released, WarpView};
use super::{Actor, ClusterView, RaceDetector, Region, running};
use crate::report::{Fault, Rule};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Arrivals of the generation that a barrier is in.
#[derive(Debug, Default)]
struct Arrivals {
    generation: u64,
    knowledge: Arc<Knowledge>,
    /// Warps that go on with it, by number in the cluster, and their lanes.
    waiters: Vec<(u32, u32)>,
}

/// What is published to those who wait for a phase to complete.
#[derive(Debug, Default)]
struct Phases {
    /// The phase of the latest arrivals, and what they publish.
    open: (u64, Knowledge),
    /// What was published in phases before.
    settled: Arc<Knowledge>,
}

impl Phases {
    /// Phases below `phase` have completed.
    fn settle(&mut self, phase: u64) {
        if self.open.0 < phase {
            Arc::make_mut(&mut self.settled).join(&self.open.1);
            self.open = (phase, Knowledge::default());
        }
    }
}

/// An mbarrier.
#[derive(Debug)]
pub struct MbarrierView {
    /// The index of the agent that stands for the copies it counts.
    pub agent: u32,
    phases: Phases,
    /// Who initialised it: agent, epoch, lanes, PTX line.
    init: Option<(Agent, u32, u32, u32)>,
}

/// What threads of a cluster synchronise by.
#[derive(Debug)]
pub struct Synchronisers {
    /// By rank of the CTA and barrier number.
    barriers: FxHashMap<(u32, u32), Arrivals>,
    /// The barrier of the cluster.
    cluster: Phases,
    mbarriers: FxHashMap<u32, MbarrierView>,
    first_free_agent: u32,
    /// What strong writes to shared memory carry.
    released: Releases,
}

impl Synchronisers {
    /// Of a cluster whose warps are the agents below a number.
    #[must_use]
    pub fn new(first_free_agent: u32) -> Self {
        Self {
            barriers: FxHashMap::default(),
            cluster: Phases::default(),
            mbarriers: FxHashMap::default(),
            first_free_agent,
            released: Releases::default(),
        }
    }

    /// The mbarrier at a shared address.
    pub fn mbarrier(&mut self, address: u32) -> &mut MbarrierView {
        let next = &mut self.first_free_agent;
        self.mbarriers.entry(address).or_insert_with(|| {
            *next += 1;
            MbarrierView { agent: *next - 1, phases: Phases::default(), init: None }
        })
    }
}

impl ClusterView {
    /// What the lanes of an actor waited for has come: they know it.
    pub(super) fn settle_debts(&mut self, actor: &Actor) {
        let number = actor.warp as usize;
        if self.warps[number].debts.is_empty() {
            return;
        }
        for debt in std::mem::take(&mut self.warps[number].debts) {
            match debt {
                Debt::Cta { id } => self.settle_barrier(actor.place.cta, id),
                Debt::Cluster { lanes, phase } if lanes & actor.lanes != 0 => {
                    let barrier = &mut self.synchronisers.cluster;
                    barrier.settle(phase + 1);
                    let settled = Arc::clone(&barrier.settled);
                    self.warps[number].learn(lanes, &settled);
                }
                other => self.warps[number].debts.push(other),
            }
        }
    }

    /// The warps that wait at a barrier of a CTA go on.
    fn settle_barrier(&mut self, cta: u32, id: u32) {
        let Some(arrivals) = self.synchronisers.barriers.get_mut(&(cta, id)) else { return };
        let knowledge = std::mem::take(&mut arrivals.knowledge);
        for (number, lanes) in std::mem::take(&mut arrivals.waiters) {
            let warp = &mut self.warps[number as usize];
            warp.debts.retain(|debt| *debt != Debt::Cta { id });
            warp.replace(lanes, &knowledge);
        }
    }
}

/// What strong writes carry, by address.
#[derive(Debug, Default)]
pub struct Releases(FxHashMap<u64, Vec<Released>>);

impl Releases {
    /// A strong write that replaces what was there, or adds to it if it is a read-modify-write.
    fn write(&mut self, address: u64, adds: bool, released: impl Iterator<Item = Released>) {
        let mut released = released.peekable();
        if !adds {
            if released.peek().is_none() {
                self.0.remove(&address);
                return;
            }
            self.0.insert(address, Vec::new());
        } else if released.peek().is_none() {
            return;
        }
        let carried = self.0.entry(address).or_default();
        for new in released {
            match carried.iter_mut().find(|old| old.place == new.place && old.scope == new.scope) {
                Some(old) => {
                    Arc::make_mut(&mut old.knowledge).join(&new.knowledge);
                    old.line = new.line;
                }
                None => carried.push(new),
            }
        }
    }
}

/// Whether a shared address is of another CTA than the actor's.
fn is_remote(actor: &Actor, address: u32) -> bool {
    crate::cluster::rank_of(address) as u32 != actor.place.cta
}

/// Lanes learn what a write that they have read carries: at once if they acquire, else at their next acquiring fence.
pub(super) fn take_over(
    warp: &mut WarpView,
    actor: &Actor,
    carried: &[Released],
    scope: Scope,
    acquires: bool,
) {
    if acquires {
        for released in carried {
            warp.acquire(actor.lanes, scope, actor.place, released, actor.line);
        }
    } else {
        warp.hear(actor.lanes.trailing_zeros(), carried);
    }
}

impl RaceDetector {
    /// Lanes of a warp meet (`bar.warp.sync`).
    pub fn meet(&mut self, actor: &Actor) {
        let warp = self.warp(actor);
        warp.meet(actor.lanes);
        warp.synchronised = actor.line;
    }

    /// The warp of an actor comes to a barrier of its CTA, in a generation, and waits or goes on.
    pub fn arrive_at_barrier(&mut self, actor: &Actor, id: u32, generation: u64, waits: bool) {
        let knowledge = {
            let warp = self.warp(actor);
            warp.synchronised = actor.line;
            warp.publish(actor.lanes)
        };
        let cluster = running(&mut self.clusters, actor);
        let key = (actor.place.cta, id);
        let current = cluster.synchronisers.barriers.get(&key).map(|arrivals| arrivals.generation);
        if current != Some(generation) {
            cluster.settle_barrier(actor.place.cta, id);
            let fresh = Arrivals { generation, knowledge, waiters: Vec::new() };
            cluster.synchronisers.barriers.insert(key, fresh);
        } else if let Some(arrivals) = cluster.synchronisers.barriers.get_mut(&key) {
            Arc::make_mut(&mut arrivals.knowledge).join(&knowledge);
        }
        let arrivals = cluster.synchronisers.barriers.get_mut(&key).expect("inserted above");
        if waits {
            arrivals.waiters.push((actor.warp, actor.lanes));
            cluster.warps[actor.warp as usize].debts.push(Debt::Cta { id });
        }
    }

    /// Lanes arrive at the barrier of the cluster, in a phase; `releases` unless they said `.relaxed`.
    pub fn arrive_at_cluster(&mut self, actor: &Actor, phase: u64, releases: bool) {
        let warp = self.warp(actor);
        warp.synchronised = actor.line;
        let mut published = Vec::new();
        if releases {
            published.push(warp.publish(actor.lanes));
        } else {
            for lane in (0..32).filter(|lane| actor.lanes >> lane & 1 == 1) {
                published.extend(warp.fenced_release(lane).map(|released| Arc::clone(&released.knowledge)));
            }
        }
        let cluster = running(&mut self.clusters, actor);
        let barrier = &mut cluster.synchronisers.cluster;
        barrier.settle(phase);
        published.iter().for_each(|knowledge| barrier.open.1.join(knowledge));
    }

    /// Lanes wait at the barrier of the cluster for the completion of a phase.
    pub fn wait_at_cluster(&mut self, actor: &Actor, phase: u64) {
        let warp = self.warp(actor);
        warp.synchronised = actor.line;
        warp.debts.push(Debt::Cluster { lanes: actor.lanes, phase });
    }

    /// A lane initialises the mbarrier at a shared address.
    pub fn init_mbarrier(&mut self, actor: &Actor, address: u32) {
        let warp = self.warp(actor);
        let init = (warp.agent(AgentKind::Init), warp.access_epoch(), actor.lanes, actor.line);
        let cluster = running(&mut self.clusters, actor);
        // Copies that an earlier mbarrier here counted are not those of this one.
        cluster.synchronisers.mbarriers.remove(&address);
        cluster.synchronisers.mbarrier(address).init = Some(init);
    }

    /// A lane uses the mbarrier at a shared address, whose initialisation it must know of.
    ///
    /// # Errors
    ///
    /// If nothing orders the initialisation before.
    pub fn use_mbarrier(&mut self, actor: &Actor, address: u32) -> Result<(), Box<Fault>> {
        let cluster = running(&mut self.clusters, actor);
        cluster.settle_debts(actor);
        let Some((agent, epoch, lanes, line)) = cluster.synchronisers.mbarrier(address).init else {
            return Ok(());
        };
        let warp = &cluster.warps[actor.warp as usize];
        let is_own = agent == warp.agent(AgentKind::Init);
        for (group, knowledge) in warp.views(actor.lanes) {
            let unknown = knowledge.seen.missing(agent, epoch, lanes);
            // Convergent lanes of the initialising warp see it in lock step, which is what elections rely on.
            let in_step = is_own && (unknown & !actor.convergent == 0 || group == lanes);
            if unknown != 0 && !in_step {
                let message = format!(
                    "the mbarrier at {} is used where nothing orders its mbarrier.init at line {line} before: needs a \
                     barrier of the CTA, or fence.mbarrier_init.release.cluster and the barrier of the cluster",
                    crate::cluster::shared_name(address)
                );
                return Err(Box::new(Fault::new(Rule::Race, message).with_other(line)));
            }
        }
        Ok(())
    }

    /// A lane arrives at an mbarrier that is in a phase.
    pub fn arrive_at_mbarrier(&mut self, actor: &Actor, address: u32, phase: u64, semantics: Semantics) {
        let strict = self.policy.strict_remote_arrive;
        let remote = is_remote(actor, address);
        let unheard = strict && remote && semantics.strong == Some(Scope::Cta);
        if remote {
            self.visit_mbarrier(actor, address, phase);
        }
        let warp = self.warp(actor);
        warp.synchronised = actor.line;
        let mut published = Vec::new();
        if semantics.release && !unheard {
            published.push(warp.publish(actor.lanes));
        } else if !unheard {
            for lane in (0..32).filter(|lane| actor.lanes >> lane & 1 == 1) {
                published.extend(warp.fenced_release(lane).map(|released| Arc::clone(&released.knowledge)));
            }
        }
        let cluster = running(&mut self.clusters, actor);
        let mbarrier = cluster.synchronisers.mbarrier(address);
        mbarrier.phases.settle(phase);
        published.iter().for_each(|knowledge| mbarrier.phases.open.1.join(knowledge));
    }

    /// A lane changes the bytes that an mbarrier in a phase waits for, without an arrival.
    pub fn count_bytes(&mut self, actor: &Actor, address: u32, phase: u64) {
        if is_remote(actor, address) {
            self.visit_mbarrier(actor, address, phase);
        }
    }

    /// A lane signals the mbarrier of another CTA, which must not end before: who finds the phase complete knows.
    fn visit_mbarrier(&mut self, actor: &Actor, address: u32, phase: u64) {
        let visit = Visit::arrival(self.warp(actor), actor);
        let cluster = running(&mut self.clusters, actor);
        cluster.ctas[crate::cluster::rank_of(address)].visits.add(visit);
        let phases = &mut cluster.synchronisers.mbarrier(address).phases;
        phases.settle(phase);
        visit.publish(&mut phases.open.1.seen);
    }

    /// `cp.async.mbarrier.arrive`: the mbarrier's phase publishes the lane's `cp.async` up to the warp's `number`-th.
    pub fn arrive_after_copies(&mut self, actor: &Actor, address: u32, phase: u64, number: u32) {
        let agent = Agent::of_warp(actor.place.cluster, actor.warp, AgentKind::Copy);
        self.warp(actor).synchronised = actor.line;
        let cluster = running(&mut self.clusters, actor);
        let mbarrier = cluster.synchronisers.mbarrier(address);
        mbarrier.phases.settle(phase);
        mbarrier.phases.open.1.seen.raise(agent, actor.lanes, number);
    }

    /// Lanes have found the phases of an mbarrier below `phase` complete, and with those below `copied` their copies.
    pub fn pass_mbarrier(
        &mut self,
        actor: &Actor,
        address: u32,
        (phase, copied): (u64, u64),
        semantics: Semantics,
    ) {
        if !semantics.acquire {
            return;
        }
        self.warp(actor).synchronised = actor.line;
        let cluster = running(&mut self.clusters, actor);
        let mbarrier = cluster.synchronisers.mbarrier(address);
        mbarrier.phases.settle(phase);
        let agent = Agent { cluster: actor.place.cluster, index: mbarrier.agent };
        if mbarrier.phases.settled.seen.missing(agent, copied as u32, 1) != 0 {
            Arc::make_mut(&mut mbarrier.phases.settled).seen.raise(agent, u32::MAX, copied as u32);
        }
        let settled = Arc::clone(&mbarrier.phases.settled);
        cluster.warps[actor.warp as usize].learn(actor.lanes, &settled);
    }

    /// `fence.proxy.async` of lanes, for shared memory, for global memory.
    pub fn fence_proxy(&mut self, actor: &Actor, spaces: [bool; 2]) {
        self.warp(actor).fence_proxy(actor.lanes, spaces);
    }

    /// `fence.mbarrier_init` of lanes.
    pub fn fence_inits(&mut self, actor: &Actor) {
        let place = actor.place;
        let warp = self.warp(actor);
        let knowledge = warp.publish_inits(actor.lanes);
        let released = Released { place, scope: Scope::Cluster, knowledge, line: actor.line };
        warp.fence_release(actor.lanes, released);
    }

    /// `fence` and `membar` of lanes.
    pub fn fence(&mut self, actor: &Actor, semantics: Semantics) {
        let Some(scope) = semantics.strong else { return };
        let place = actor.place;
        let warp = self.warp(actor);
        warp.synchronised = actor.line;
        if semantics.acquire {
            warp.fence_acquire(actor.lanes, scope, place, actor.line);
        }
        if semantics.release {
            let knowledge = warp.publish(actor.lanes);
            warp.fence_release(actor.lanes, Released { place, scope, knowledge, line: actor.line });
        }
    }

    /// A lane has read a location by a strong access.
    pub fn strong_read(&mut self, actor: &Actor, region: Region, address: u64, semantics: Semantics) {
        let Some(scope) = semantics.strong else { return };
        self.warp(actor);
        let cluster = running(&mut self.clusters, actor);
        let releases = match region {
            Region::Shared { .. } => &cluster.synchronisers.released,
            Region::Global => &self.released,
        };
        let Some(carried) = releases.0.get(&address) else { return };
        take_over(&mut cluster.warps[actor.warp as usize], actor, carried, scope, semantics.acquire);
    }

    /// What the last strong writes of a location carry.
    pub(super) fn carried(&self, actor: &Actor, region: Region, address: u64) -> Vec<Released> {
        let releases = match region {
            Region::Shared { .. } => {
                let cluster = self.clusters.get(actor.place.cluster as usize).and_then(Option::as_deref);
                cluster.map(|cluster| &cluster.synchronisers.released)
            }
            Region::Global => Some(&self.released),
        };
        releases.and_then(|releases| releases.0.get(&address)).cloned().unwrap_or_default()
    }

    /// A lane is about to write a location by a strong access, or a read-modify-write.
    pub fn strong_write(
        &mut self,
        actor: &Actor,
        region: Region,
        address: u64,
        semantics: Semantics,
        is_update: bool,
    ) {
        let Some(scope) = semantics.strong else { return };
        let place = actor.place;
        let warp = self.warp(actor);
        warp.synchronised = actor.line;
        let released: Vec<Released> = if semantics.release {
            vec![Released { place, scope, knowledge: warp.publish(actor.lanes), line: actor.line }]
        } else {
            let narrower =
                |released: &Released| Released { scope: released.scope.min(scope), ..released.clone() };
            warp.fenced_release(actor.lanes.trailing_zeros()).map(narrower).collect()
        };
        let releases = match region {
            Region::Shared { .. } => {
                let cluster = running(&mut self.clusters, actor);
                &mut cluster.synchronisers.released
            }
            Region::Global => &mut self.released,
        };
        releases.write(address, is_update, released.into_iter());
    }

    /// Lanes commit a group of `cp.async`.
    pub fn commit_copies(&mut self, actor: &Actor, groups: &[u32; 32], issued: u32) {
        self.warp(actor).commit_copies(actor.lanes, groups, issued);
    }

    /// Lanes have waited for all but the last `left` groups of `cp.async`.
    pub fn wait_copies(&mut self, actor: &Actor, open: &[u32; 32], left: u32) {
        let warp = self.warp(actor);
        warp.wait_copies(actor.lanes, open, left);
        warp.synchronised = actor.line;
    }

    /// Lanes have waited for their bulk groups below a number.
    pub fn wait_bulk(&mut self, actor: &Actor, below: &[u32; 32], read: bool) {
        let warp = self.warp(actor);
        warp.learn_bulk(actor.lanes, below, read);
        warp.synchronised = actor.line;
    }

    /// A warp has waited for the matrix products of its warpgroup in groups below a number; `first` is the warpgroup's
    /// first warp.
    pub fn wait_matrices(&mut self, actor: &Actor, first: u32, below: u32) {
        let warp = self.warp(actor);
        warp.learn_matrices(first, below);
        warp.synchronised = actor.line;
    }
}
