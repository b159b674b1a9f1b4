//! The values that a strong load may still return although a later write has been made: the memory model lets a load that
//! nothing orders after a write read what was there before (PTX ISA 8.10).
//!
//! Of each location that strong accesses meet, the last writes are kept, with who made them and what they carry. A load
//! may return any write that no later one replaces which the thread knows of, by what race detection follows. No thread
//! goes back: neither behind its own accesses, nor behind a read that happened before, nor, after a `fence.sc` or
//! `membar`, behind the writes made before it.

use super::clock::{Agent, AgentKind};
use super::scope::Semantics;
use super::synchronise::take_over;
use super::warp_view::Released;
use super::{Actor, RaceDetector, Region};
use crate::schedule::Scheduler;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Writes of a location that are kept.
const MOST_WRITES: usize = 4;
/// Reads of a location that are kept; with more of them nothing older is returned any more.
const MOST_READS: usize = 64;
/// Loads that return something older between two writes: every thread is to see a write in the end.
const MOST_STALE: u32 = 64;
/// Bytes of the places that locations are found by; a location lies within one.
const GRANULE: u64 = 16;

/// An access, for those who are to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Cluster and warp.
    warp: (u32, u32),
    agent: Agent,
    epoch: u32,
    lanes: u32,
}

#[derive(Debug)]
struct Write {
    bits: u128,
    number: u64,
    /// Who made it; `None` if everybody knows of it.
    by: Option<Stamp>,
    /// What an acquire of it learns.
    carried: Vec<Released>,
}

#[derive(Debug)]
struct Read {
    by: Stamp,
    /// The number of the write that it returned.
    number: u64,
}

/// Bytes that are accessed together.
#[derive(Debug)]
struct Location {
    address: u64,
    bytes: u32,
    /// The last writes, oldest first; at least one.
    writes: VecDeque<Write>,
    reads: Vec<Read>,
    /// Loads that have returned something older since the last write.
    stale: u32,
}

impl Location {
    fn new(target: &Target, first: Write) -> Self {
        let &Target { address, bytes, .. } = target;
        Self { address, bytes, writes: [first].into(), reads: Vec::new(), stale: 0 }
    }
}

/// An access to one location.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The memory.
    pub region: Region,
    /// The address.
    pub address: u64,
    /// The bytes, at most 16.
    pub bytes: u32,
    /// What memory holds, if that is defined.
    pub bits: Option<u128>,
}

/// What a load returns instead of the last write.
#[derive(Debug, Clone)]
pub struct Older {
    /// The value.
    pub bits: u128,
    /// What an acquire of it learns.
    pub carried: Vec<Released>,
}

/// The last writes of the locations that strong accesses meet.
#[derive(Debug, Default)]
pub struct History {
    /// By cluster, where memory is shared, and granule.
    locations: FxHashMap<(u32, u64), Vec<Location>>,
    writes: u64,
    /// For each warp the writes before its last sequentially consistent fence.
    fences: FxHashMap<(u32, u32), u64>,
}

impl History {
    /// The locations of the granule of an access, without those that overlap it otherwise.
    fn locations(&mut self, actor: &Actor, target: &Target) -> &mut Vec<Location> {
        let locations = self.locations.entry(place_of(actor, target)).or_default();
        locations.retain(|other| {
            let same = (other.address, other.bytes) == (target.address, target.bytes);
            let apart = other.address + u64::from(other.bytes) <= target.address
                || target.address + u64::from(target.bytes) <= other.address;
            // A location whose last write is not what memory holds has been written in a way that is not followed.
            apart || same && other.writes.back().map(|last| last.bits) == target.bits
        });
        locations
    }

    /// A lane is about to write; a location that is not followed yet is from now on if `follow` is set.
    pub fn before_write(&mut self, actor: &Actor, target: &Target, follow: bool) {
        let locations = self.locations(actor, target);
        let known = locations.iter().any(|other| other.address == target.address);
        if let (Some(bits), true, false) = (target.bits, follow, known) {
            let initial = Write { bits, number: 0, by: None, carried: Vec::new() };
            locations.push(Location::new(target, initial));
        }
    }

    /// A lane has written what memory now holds.
    pub fn after_write(&mut self, race: &mut RaceDetector, actor: &Actor, target: &Target, follow: bool) {
        self.writes += 1;
        let number = self.writes;
        let Some(locations) = self.locations.get_mut(&place_of(actor, target)) else { return };
        let known = locations.iter().position(|other| other.address == target.address);
        let Some(bits) = target.bits else {
            known.map(|at| locations.swap_remove(at));
            return;
        };
        if known.is_none() && !follow {
            return;
        }
        let (by, carried) = (Some(race.stamp(actor)), race.carried(actor, target.region, target.address));
        let write = Write { bits, number, by, carried };
        let Some(at) = known else {
            // What was there before was undefined.
            locations.push(Location::new(target, write));
            return;
        };
        let location = &mut locations[at];
        location.writes.push_back(write);
        if location.writes.len() > MOST_WRITES {
            location.writes.pop_front();
        }
        location.stale = 0;
    }

    /// A lane reads; what it returns if that is not the last write.
    pub fn read(
        &mut self,
        race: &mut RaceDetector,
        scheduler: &mut Scheduler,
        actor: &Actor,
        target: &Target,
    ) -> Option<Older> {
        let by = race.stamp(actor);
        let fence = self.fences.get(&by.warp).copied().unwrap_or(0);
        let location =
            self.locations(actor, target).iter_mut().find(|other| other.address == target.address)?;
        // Lanes of one warp may know of each other in ways that are not followed.
        let mut knows = |other: &Stamp| other.warp == by.warp || race.knows(actor, other);
        let last = location.writes.len() - 1;
        let is_known = |write: &Write, knows: &mut dyn FnMut(&Stamp) -> bool| {
            write.number <= fence || write.by.as_ref().is_none_or(knows)
        };
        let known = location.writes.iter().rposition(|write| is_known(write, &mut knows));
        let read = location.reads.iter().filter(|read| knows(&read.by)).map(|read| read.number).max();
        let behind = location.writes.iter().rposition(|write| Some(write.number) <= read);
        let oldest = known.unwrap_or(0).max(behind.unwrap_or(0));
        let mut chosen = last;
        if oldest < last && location.stale < MOST_STALE && scheduler.reads_older() {
            chosen = oldest + scheduler.operation(last - oldest);
        }
        let number = location.writes[chosen].number;
        match location.reads.iter_mut().find(|read| read.by == by) {
            Some(read) => read.number = read.number.max(number),
            None => location.reads.push(Read { by, number }),
        }
        let older = (chosen < last).then(|| {
            location.stale += 1;
            let write = &location.writes[chosen];
            Older { bits: write.bits, carried: write.carried.clone() }
        });
        if location.reads.len() > MOST_READS {
            // What is forgotten must not be needed: only the last write is left to read.
            location.reads.clear();
            location.writes.drain(..last);
        }
        older
    }

    /// Lanes of a warp execute a sequentially consistent fence.
    pub fn fence(&mut self, actor: &Actor) {
        self.fences.insert((actor.place.cluster, actor.warp), self.writes);
    }
}

/// The cluster whose memory a target is in, or none, and its granule.
const fn place_of(actor: &Actor, target: &Target) -> (u32, u64) {
    let memory = match target.region {
        Region::Shared { .. } => actor.place.cluster,
        Region::Global => u32::MAX,
    };
    (memory, target.address / GRANULE)
}

impl RaceDetector {
    /// An access that an actor makes now.
    fn stamp(&mut self, actor: &Actor) -> Stamp {
        let warp = self.warp(actor);
        let (agent, epoch) = (warp.agent(AgentKind::Generic), warp.access_epoch());
        Stamp { warp: (actor.place.cluster, actor.warp), agent, epoch, lanes: actor.lanes }
    }

    /// Whether an actor knows of an access.
    fn knows(&mut self, actor: &Actor, other: &Stamp) -> bool {
        let known = self.warp(actor).joined(actor.lanes);
        known.seen.missing(other.agent, other.epoch, other.lanes) == 0
    }

    /// A lane has read what an earlier write left.
    pub fn strong_read_older(&mut self, actor: &Actor, older: &Older, semantics: Semantics) {
        if let Some(scope) = semantics.strong {
            take_over(self.warp(actor), actor, &older.carried, scope, semantics.acquire);
        }
    }
}
