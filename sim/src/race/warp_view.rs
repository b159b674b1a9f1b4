//! What the lanes of a warp know, and what of theirs others may know.

use super::clock::{Agent, AgentKind, Knowledge};
use super::record::RecordId;
use super::scope::{Place, Scope};
use std::sync::Arc;

/// Groups of `cp.async` that a wait can leave under way and still be followed exactly.
const COPY_GROUPS: usize = 16;

/// Lines whose latest access a warp remembers.
pub const RECENT: usize = 64;

/// The latest access of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// Its record; 0 if there is none.
    pub record: RecordId,
    /// The address of its first lane, which the record does not tell where all lanes access the same bytes.
    pub first: u64,
    /// Bytes of a lane.
    pub bytes: u32,
    /// If it reads shared memory: the writes to that memory when it was last compared. Until the next write the same
    /// access is known to be ordered.
    pub writes: u64,
}

/// What a strong write carries, for those who acquire it.
#[derive(Debug, Clone)]
pub struct Released {
    /// Where its thread runs.
    pub place: Place,
    /// The scope of the release.
    pub scope: Scope,
    /// What its thread knew, itself included.
    pub knowledge: Arc<Knowledge>,
    /// The PTX line of the release.
    pub line: u32,
}

/// A barrier that lanes have waited at, whose other arrivals they know when they go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debt {
    /// A barrier of the CTA.
    Cta {
        /// Its number.
        id: u32,
    },
    /// The barrier of the cluster.
    Cluster {
        /// Lanes that wait.
        lanes: u32,
        /// The phase that they wait for.
        phase: u64,
    },
}

/// A warp, as race detection sees it.
#[derive(Debug)]
pub struct WarpView {
    cluster: u32,
    number: u32,
    /// Lanes that exist.
    lanes: u32,
    /// The current epoch of the warp's generic accesses.
    epoch: u32,
    /// Whether the current epoch has been published: the next access begins another.
    is_published: bool,
    /// Lanes that know the same, and what.
    pub(super) views: Vec<(u32, Arc<Knowledge>)>,
    /// What lanes knew at their last releasing fence, by scope.
    fences: Vec<(u32, Released)>,
    /// What lanes have read by relaxed loads, until a fence acquires it.
    heard: Vec<(u32, Released)>,
    /// Whether a proxy fence counts only for what its own lane starts, so that nobody learns of it.
    fences_are_private: bool,
    /// What lanes will know when they go on.
    pub debts: Vec<Debt>,
    /// For the last groups of each lane, the `cp.async` instructions of the warp when it was committed.
    copies_committed: Option<Box<[[u32; COPY_GROUPS]; 32]>>,
    /// The latest accesses, by PTX line modulo their number.
    pub recent: Box<[Recent; RECENT]>,
    /// The PTX line of the last synchronisation.
    pub synchronised: u32,
    /// An acquire that found a release of too narrow a scope, in words.
    pub missed: Option<String>,
}

impl WarpView {
    /// A warp that knows nothing; `fences_are_private` if nobody learns of its proxy fences.
    #[must_use]
    pub fn new(cluster: u32, number: u32, lanes: u32, fences_are_private: bool) -> Self {
        Self {
            cluster,
            number,
            lanes,
            epoch: 1,
            is_published: false,
            views: vec![(lanes, Arc::default())],
            fences: Vec::new(),
            heard: Vec::new(),
            fences_are_private,
            debts: Vec::new(),
            copies_committed: None,
            recent: Box::new([Recent::default(); RECENT]),
            synchronised: 0,
            missed: None,
        }
    }

    /// The warp as an agent.
    #[must_use]
    pub const fn agent(&self, kind: AgentKind) -> Agent {
        Agent::of_warp(self.cluster, self.number, kind)
    }

    /// The epoch of an access that is about to be made.
    pub fn access_epoch(&mut self) -> u32 {
        if self.is_published {
            self.epoch += 1;
            self.is_published = false;
        }
        self.epoch
    }

    /// The epoch of what has been done so far, and is known apart from what comes behind it.
    pub fn close_epoch(&mut self) -> u32 {
        let epoch = self.access_epoch();
        self.is_published = true;
        epoch
    }

    /// The lanes of a mask that know the same, and what.
    pub fn views(&self, lanes: u32) -> impl Iterator<Item = (u32, &Arc<Knowledge>)> {
        self.views
            .iter()
            .map(move |(group, knowledge)| (group & lanes, knowledge))
            .filter(|(group, _)| *group != 0)
    }

    /// What lanes know together.
    #[must_use]
    pub fn joined(&self, lanes: u32) -> Arc<Knowledge> {
        let mut views = self.views(lanes).map(|(_, knowledge)| knowledge);
        let mut joined = views.next().cloned().unwrap_or_default();
        for knowledge in views {
            Arc::make_mut(&mut joined).join(knowledge);
        }
        joined
    }

    /// What lanes know together, themselves included, for others to know.
    pub fn publish(&mut self, lanes: u32) -> Arc<Knowledge> {
        let mut joined = self.joined(lanes);
        let Knowledge { seen, fenced } = Arc::make_mut(&mut joined);
        if self.fences_are_private {
            *fenced = Default::default();
        }
        for kind in [AgentKind::Generic, AgentKind::Init, AgentKind::Arrival] {
            seen.raise(self.agent(kind), lanes | !self.lanes, self.epoch);
        }
        self.is_published = true;
        joined
    }

    /// What a fence of `mbarrier.init` lets others know.
    pub fn publish_inits(&mut self, lanes: u32) -> Arc<Knowledge> {
        let mut knowledge = Knowledge::default();
        knowledge.seen.raise(self.agent(AgentKind::Init), lanes | !self.lanes, self.epoch);
        self.is_published = true;
        Arc::new(knowledge)
    }

    /// Lanes learn what others knew.
    pub fn learn(&mut self, lanes: u32, knowledge: &Arc<Knowledge>) {
        self.change(lanes, |own| {
            if !Arc::ptr_eq(own, knowledge) {
                Arc::make_mut(own).join(knowledge);
            }
        });
    }

    /// Lanes now know this, which contains what they knew, private fences aside.
    pub fn replace(&mut self, lanes: u32, knowledge: &Arc<Knowledge>) {
        if self.fences_are_private {
            return self.learn(lanes, knowledge);
        }
        self.views.retain_mut(|(group, _)| {
            *group &= !lanes;
            *group != 0
        });
        self.views.push((lanes & self.lanes, Arc::clone(knowledge)));
    }

    /// Changes what lanes know.
    pub fn change(&mut self, lanes: u32, mut change: impl FnMut(&mut Arc<Knowledge>)) {
        let mut changed: Vec<(u32, Arc<Knowledge>)> = Vec::new();
        for (group, knowledge) in &mut self.views {
            let part = *group & lanes;
            if part == 0 {
                continue;
            }
            *group &= !lanes;
            let mut own = if *group == 0 { std::mem::take(knowledge) } else { Arc::clone(knowledge) };
            change(&mut own);
            changed.push((part, own));
        }
        self.views.retain(|(group, _)| *group != 0);
        self.views.extend(changed);
    }

    /// Lanes meet: each knows what all of them know, and did.
    pub fn meet(&mut self, lanes: u32) {
        let knowledge = self.publish(lanes);
        self.replace(lanes, &knowledge);
    }

    /// A fence that orders generic accesses before those of the async proxy, in shared, in global memory.
    pub fn fence_proxy(&mut self, lanes: u32, spaces: [bool; 2]) {
        let (epoch, existing, kinds) =
            (self.epoch, self.lanes, [self.agent(AgentKind::Generic), self.agent(AgentKind::Init)]);
        self.change(lanes, |own| {
            let own = Arc::make_mut(own);
            for (fenced, _) in own.fenced.iter_mut().zip(spaces).filter(|(_, orders)| *orders) {
                *fenced = own.seen.clone();
                // A lane's fence is about its own accesses and those it knows of.
                kinds.iter().for_each(|agent| fenced.raise(*agent, lanes | !existing, epoch));
            }
        });
        self.is_published = true;
    }

    /// A releasing fence: later relaxed writes of the lanes carry what they know now.
    pub fn fence_release(&mut self, lanes: u32, released: Released) {
        self.forget_fences(lanes, released.scope);
        self.fences.push((lanes, released));
    }

    fn forget_fences(&mut self, lanes: u32, scope: Scope) {
        self.fences.retain_mut(|(group, released)| {
            if released.scope <= scope {
                *group &= !lanes;
            }
            *group != 0
        });
    }

    /// What a relaxed write of a lane carries.
    pub fn fenced_release(&self, lane: u32) -> impl Iterator<Item = &Released> {
        self.fences.iter().filter(move |(lanes, _)| lanes >> lane & 1 == 1).map(|(_, released)| released)
    }

    /// Lanes have read a value by a relaxed load: a fence that follows acquires what it carries.
    pub fn hear(&mut self, lane: u32, released: &[Released]) {
        for new in released {
            let known = self
                .heard
                .iter_mut()
                .find(|(_, old)| Arc::ptr_eq(&old.knowledge, &new.knowledge) && old.scope == new.scope);
            match known {
                Some((lanes, _)) => *lanes |= 1 << lane,
                None => self.heard.push((1 << lane, new.clone())),
            }
        }
    }

    /// An acquiring fence: the lanes' relaxed loads so far acquire.
    pub fn fence_acquire(&mut self, lanes: u32, scope: Scope, own: Place, line: u32) {
        let heard = std::mem::take(&mut self.heard);
        for (group, released) in heard {
            let part = group & lanes;
            if part != 0 {
                self.acquire(part, scope, own, &released, line);
            }
            if group & !lanes != 0 {
                self.heard.push((group & !lanes, released));
            }
        }
    }

    /// Lanes acquire what a write carries, if the scopes include each other.
    pub fn acquire(&mut self, lanes: u32, scope: Scope, own: Place, released: &Released, line: u32) {
        if scope.includes(own, released.place) && released.scope.includes(released.place, own) {
            let knowledge = Arc::clone(&released.knowledge);
            self.learn(lanes, &knowledge);
            self.synchronised = line;
            return;
        }
        let narrow = if scope.includes(own, released.place) {
            format!("the release at line {} is {}", released.line, released.scope.name())
        } else {
            format!("the acquire at line {line} is {}", scope.name())
        };
        let far = if own.device != released.place.device {
            "on another device"
        } else if own.cluster != released.place.cluster {
            "in another cluster"
        } else {
            "in another CTA"
        };
        self.missed = Some(format!("{narrow}, and the other thread is {far}"));
    }

    /// Lanes commit their `cp.async` so far as the group of each, of which `issued` instructions have been.
    pub fn commit_copies(&mut self, lanes: u32, groups: &[u32; 32], issued: u32) {
        let committed = self.copies_committed.get_or_insert_with(|| Box::new([[0; COPY_GROUPS]; 32]));
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            committed[lane][groups[lane] as usize % COPY_GROUPS] = issued;
        }
    }

    /// Lanes know their own `cp.async` up to an instruction.
    pub fn learn_copies(&mut self, lanes: u32, number: u32) {
        let agent = self.agent(AgentKind::Copy);
        self.change(lanes, |own| {
            if own.seen.missing(agent, number, lanes) != 0 {
                Arc::make_mut(own).seen.raise(agent, lanes, number);
            }
        });
    }

    /// Lanes have waited for all but the last `left` groups of those below `open`.
    pub fn wait_copies(&mut self, lanes: u32, open: &[u32; 32], left: u32) {
        let Some(committed) = self.copies_committed.take() else { return };
        let mut rest = lanes;
        while rest != 0 {
            let number_of = |lane: usize| match open[lane].checked_sub(left + 1) {
                Some(group) if left < COPY_GROUPS as u32 => committed[lane][group as usize % COPY_GROUPS],
                _ => 0,
            };
            let number = number_of(rest.trailing_zeros() as usize);
            let alike = (0..32).filter(|&lane| rest >> lane & 1 == 1 && number_of(lane) == number);
            let alike = alike.fold(0, |lanes, lane| lanes | 1 << lane);
            self.learn_copies(alike, number);
            rest &= !alike;
        }
        self.copies_committed = Some(committed);
    }

    /// Lanes know their own bulk groups below a number, and not those of the lanes that wait with them.
    pub fn learn_bulk(&mut self, lanes: u32, below: &[u32; 32], read: bool) {
        let agents = [self.agent(AgentKind::BulkRead), self.agent(AgentKind::BulkWrite)];
        let agents = &agents[..if read { 1 } else { 2 }];
        for lane in (0..32).filter(|&lane| lanes >> lane & 1 == 1 && below[lane] > 0) {
            let (bit, number) = (1 << lane, below[lane]);
            let is_new =
                |own: &Knowledge| agents.iter().any(|agent| own.seen.missing(*agent, number, bit) != 0);
            // A lane that learns nothing stays with those that know the same.
            if self.views(bit).any(|(_, own)| is_new(own)) {
                self.change(bit, |own| {
                    let seen = &mut Arc::make_mut(own).seen;
                    agents.iter().for_each(|agent| seen.raise(*agent, bit, number));
                });
            }
        }
    }

    /// The warp knows the matrix products of its warpgroup in groups below a number.
    ///
    /// `first` is the number of the warpgroup's first warp.
    pub fn learn_matrices(&mut self, first: u32, below: u32) {
        let agent = Agent::of_warp(self.cluster, first, AgentKind::Matrix);
        self.change(self.lanes, |own| {
            if own.seen.missing(agent, below, 1) != 0 {
                Arc::make_mut(own).seen.raise(agent, u32::MAX, below);
            }
        });
    }
}
