//! What an agent knows to have happened: vector clocks over agents, in compressed form.
//!
//! An agent is a warp seen through one of its [kinds](AgentKind) of access, or an mbarrier that counts copies. The clock
//! of an agent says up to which of its epochs everything is known, lane by lane where lanes have been published apart.

use std::sync::Arc;

/// Lanes of a warp.
const LANES: usize = 32;

/// The accesses of a warp that are published together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentKind {
    /// Loads, stores and atomics.
    Generic,
    /// `mbarrier.init`, which a fence of its own publishes.
    Init,
    /// Arrivals at mbarriers of other CTAs.
    Arrival,
    /// `cp.async`, by number of the instruction.
    Copy,
    /// Sources of bulk stores, by bulk group.
    BulkRead,
    /// Destinations of bulk stores, by bulk group.
    BulkWrite,
    /// Operands of `wgmma` in shared memory, by wgmma group; of the first warp of the warpgroup.
    Matrix,
}

impl AgentKind {
    /// How many kinds there are.
    pub const COUNT: u32 = 7;
}

/// An agent: a cluster by number, and a warp with a kind or an mbarrier in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The cluster, a number that no other cluster of the launch has.
    pub cluster: u32,
    /// Its place in the cluster's clocks.
    pub index: u32,
}

impl Agent {
    /// A warp of a cluster, by number.
    #[must_use]
    pub const fn of_warp(cluster: u32, warp: u32, kind: AgentKind) -> Self {
        Self { cluster, index: warp * AgentKind::COUNT + kind as u32 }
    }
}

/// How much of one agent is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// Everything up to this epoch, of all lanes.
    All(u32),
    /// Of each lane everything up to an epoch.
    Lanes(Arc<[u32; LANES]>),
}

impl Entry {
    /// The lanes of a set whose epoch is not known.
    #[inline]
    fn missing(&self, epoch: u32, lanes: u32) -> u32 {
        match self {
            Self::All(known) => {
                if epoch <= *known {
                    0
                } else {
                    lanes
                }
            }
            Self::Lanes(known) => known
                .iter()
                .enumerate()
                .fold(0, |missing, (lane, known)| missing | u32::from(*known < epoch) << lane & lanes),
        }
    }

    fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All(mine), Self::All(theirs)) => *mine = (*mine).max(*theirs),
            (Self::Lanes(mine), Self::Lanes(theirs)) if Arc::ptr_eq(mine, theirs) => {}
            _ => {
                let joined = std::array::from_fn(|lane| self.of_lane(lane).max(other.of_lane(lane)));
                *self = Self::from_lanes(joined);
            }
        }
    }

    fn of_lane(&self, lane: usize) -> u32 {
        match self {
            Self::All(known) => *known,
            Self::Lanes(known) => known[lane],
        }
    }

    fn from_lanes(known: [u32; LANES]) -> Self {
        if known.iter().all(|epoch| *epoch == known[0]) {
            Self::All(known[0])
        } else {
            Self::Lanes(Arc::new(known))
        }
    }

    /// Adds that the epoch of these lanes is known.
    fn raise(&mut self, lanes: u32, epoch: u32) {
        match self {
            Self::All(known) if epoch <= *known => {}
            Self::All(known) if lanes == u32::MAX => *known = epoch,
            _ => {
                let joined = std::array::from_fn(|lane| {
                    let known = self.of_lane(lane);
                    if lanes >> lane & 1 == 1 { known.max(epoch) } else { known }
                });
                *self = Self::from_lanes(joined);
            }
        }
    }
}

/// What is known of the agents of one cluster, by index; agents beyond the end are unknown.
type Part = Arc<Vec<Entry>>;

/// A vector clock over all agents of the launch.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Clusters in ascending order.
    parts: Vec<(u32, Part)>,
}

impl Clock {
    /// The lanes of a set whose accesses of an epoch are not known.
    #[inline]
    #[must_use]
    pub fn missing(&self, agent: Agent, epoch: u32, lanes: u32) -> u32 {
        let part = match self.parts.first() {
            Some((cluster, part)) if *cluster == agent.cluster => Some(part),
            _ => self
                .parts
                .binary_search_by_key(&agent.cluster, |(cluster, _)| *cluster)
                .ok()
                .map(|at| &self.parts[at].1),
        };
        part.and_then(|part| part.get(agent.index as usize))
            .map_or(lanes, |entry| entry.missing(epoch, lanes))
    }

    /// Adds that the epoch of these lanes of an agent is known.
    pub fn raise(&mut self, agent: Agent, lanes: u32, epoch: u32) {
        let at = match self.parts.binary_search_by_key(&agent.cluster, |(cluster, _)| *cluster) {
            Ok(at) => at,
            Err(at) => {
                self.parts.insert(at, (agent.cluster, Part::default()));
                at
            }
        };
        let part = Arc::make_mut(&mut self.parts[at].1);
        let index = agent.index as usize;
        if part.len() <= index {
            part.resize(index + 1, Entry::All(0));
        }
        part[index].raise(lanes, epoch);
    }

    /// Adds everything that another clock knows.
    pub fn join(&mut self, other: &Self) {
        for (cluster, theirs) in &other.parts {
            match self.parts.binary_search_by_key(cluster, |(cluster, _)| *cluster) {
                Ok(at) => join_parts(&mut self.parts[at].1, theirs),
                Err(at) => self.parts.insert(at, (*cluster, Arc::clone(theirs))),
            }
        }
    }
}

fn join_parts(mine: &mut Part, theirs: &Part) {
    if Arc::ptr_eq(mine, theirs) {
        return;
    }
    let mine = Arc::make_mut(mine);
    if mine.len() < theirs.len() {
        mine.resize(theirs.len(), Entry::All(0));
    }
    mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| mine.join(theirs));
}

/// The memory that a proxy fence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Shared memory of the cluster.
    Shared,
    /// Global memory.
    Global,
}

/// What a thread knows: what happened before it, and what of that lies behind a proxy fence.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// Everything that happened before.
    pub seen: Clock,
    /// Generic accesses before a `fence.proxy.async` that orders accesses of shared, of global memory.
    pub fenced: [Clock; 2],
}

impl Knowledge {
    /// Adds everything that another thread knew.
    pub fn join(&mut self, other: &Self) {
        self.seen.join(&other.seen);
        self.fenced.iter_mut().zip(&other.fenced).for_each(|(mine, theirs)| mine.join(theirs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Agent = Agent::of_warp(3, 2, AgentKind::Generic);

    #[test]
    fn lanes_are_known_apart_until_all_are() {
        let mut clock = Clock::default();
        assert_eq!(clock.missing(AGENT, 1, 0b11), 0b11);
        clock.raise(AGENT, 0b01, 4);
        assert_eq!(clock.missing(AGENT, 4, 0b11), 0b10);
        assert_eq!(clock.missing(AGENT, 5, 0b11), 0b11);
        clock.raise(AGENT, !0b01, 4);
        assert_eq!(clock.missing(AGENT, 4, u32::MAX), 0);
    }

    #[test]
    fn a_join_knows_what_either_knew() {
        let (mut a, mut b) = (Clock::default(), Clock::default());
        let other = Agent { cluster: 1, index: 40 };
        a.raise(AGENT, 1, 7);
        b.raise(AGENT, 2, 9);
        b.raise(other, u32::MAX, 1);
        a.join(&b);
        assert_eq!(a.missing(AGENT, 7, 0b111), 0b100);
        assert_eq!(a.missing(AGENT, 9, 0b11), 0b01);
        assert_eq!(a.missing(other, 1, 1), 0);
        assert_eq!(b.missing(AGENT, 7, 1), 1, "the other clock stays");
    }
}
