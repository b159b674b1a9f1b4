//! Whether an access is ordered after those that it conflicts with.

use super::clock::{Agent, AgentKind, Clock, Knowledge, Memory};
use super::message;
use super::record::{Path, Pattern, Record, RecordId, Records};
use super::scope::Place;
use super::shadow::{Cell, PAGE, Pages};
use super::visits::Visit;
use super::{Actor, ClusterView, CtaView, RaceDetector, RacePolicy, Region, WarpPolicy, running};
use crate::report::Fault;
use std::ops::Range;

/// How an earlier access lies to one that is made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It is ordered before, whatever the byte.
    Always,
    /// It is ordered before, at these bytes.
    Here,
    /// Only the lock step of convergent lanes orders it, at this address.
    LockStep(u64),
    /// Nothing orders a weak read and a compare-and-swap, whose loop begins with such a read.
    SwapLoop(u64),
    /// Nothing orders it, at this address.
    Race(u64),
}

/// An access to ranges of memory, by its record.
pub struct Access<'a> {
    /// The record.
    pub id: RecordId,
    /// Whether it is a load through the non-coherent path.
    pub constant: bool,
    /// Whether a byte holds what is about to be stored already.
    pub keeps: &'a dyn Fn(u64) -> bool,
}

/// A conflict that nothing orders.
#[derive(Debug, Clone, Copy)]
pub struct Conflict {
    earlier: RecordId,
    address: u64,
    order: Order,
}

impl Conflict {
    /// The fault of an access.
    #[cold]
    pub fn fault(
        &self,
        records: &Records,
        actor: &Actor,
        region: Region,
        knowledge: &Knowledge,
        now: &Record,
        missed: Option<String>,
    ) -> Fault {
        let earlier = records.get(self.earlier);
        message::race(&message::Conflict {
            records,
            earlier,
            now,
            address: self.address,
            region,
            own_cta: actor.place.cta,
            happened_before: knowledge.seen.missing(earlier.agent, earlier.epoch, earlier.lanes) == 0,
            constant: self.order == Order::Here,
            missed,
        })
    }

    /// Adds the warning of an access, once for two lines.
    #[cold]
    pub fn warn(&self, records: &Records, now: &Record, warnings: &mut Vec<Fault>) {
        let earlier = records.get(self.earlier);
        let lock_step = matches!(self.order, Order::LockStep(_));
        let fault = message::warning(records, now, earlier, self.address, lock_step);
        let known = |other: &Fault| (other.line, other.other_line) == (fault.line, fault.other_line);
        if !warnings.iter().any(known) {
            warnings.push(fault);
        }
    }
}

/// Judges one access against what lies in shadow memory.
pub struct Judge<'a> {
    records: &'a mut Records,
    policy: RacePolicy,
    memory: Memory,
    knowledge: &'a Knowledge,
    now: Record,
    id: RecordId,
    /// The last record or set that was found to be ordered whatever the byte.
    ordered: RecordId,
    /// The last set of readers that this access was added to, and what came of it.
    joined: (RecordId, RecordId),
    /// The first conflict that is only worth a warning.
    warning: Option<Conflict>,
    /// Whether an earlier write is wrong although it is ordered.
    constant: bool,
    /// Whether a byte holds what is about to be stored already.
    keeps: &'a dyn Fn(u64) -> bool,
}

impl RaceDetector {
    /// The accesses of a record to ranges, by start and bytes: compares, and leaves its mark.
    pub(super) fn touch(
        &mut self,
        actor: &Actor,
        knowledge: &Knowledge,
        id: RecordId,
        region: Region,
        ranges: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), Box<Fault>> {
        let Self { records, clusters, global, policy, warnings, .. } = self;
        let ClusterView { warps, ctas, .. } = running(clusters, actor);
        let access = Access { id, constant: false, keeps: &super::CHANGES };
        let mut judge = Judge::new(records, *policy, region, knowledge, &access);
        let judged = judge.judge(ctas, global, region, ranges);
        let (now, warning) = (judge.now, judge.warning());
        if let Region::Shared { cta, .. } = region
            && cta != actor.place.cta
        {
            ctas[cta as usize].visits.add(Visit::access(&now));
        }
        if let Err(conflict) = judged {
            let missed = warps[actor.warp as usize].missed.clone();
            return Err(Box::new(conflict.fault(records, actor, region, knowledge, &now, missed)));
        }
        if let Some(conflict) = warning {
            conflict.warn(records, &now, warnings);
        }
        Ok(())
    }
}

impl<'a> Judge<'a> {
    /// The judge of an access.
    #[inline]
    pub fn new(
        records: &'a mut Records,
        policy: RacePolicy,
        region: Region,
        knowledge: &'a Knowledge,
        access: &Access<'a>,
    ) -> Self {
        let now = *records.get(access.id);
        Self {
            records,
            policy,
            memory: region.memory(),
            knowledge,
            now,
            id: access.id,
            ordered: 0,
            joined: (0, 0),
            warning: None,
            constant: access.constant && policy.constant_loads,
            keeps: access.keeps,
        }
    }

    /// What is worth a warning.
    pub const fn warning(&self) -> Option<Conflict> {
        self.warning
    }

    /// Compares the access with what lies in the shadow of ranges, and leaves its mark there.
    #[inline]
    pub fn judge(
        &mut self,
        ctas: &mut [CtaView],
        global: &mut Pages,
        region: Region,
        mut ranges: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), Conflict> {
        match region {
            Region::Shared { cta, base } => {
                let view = &mut ctas[cta as usize];
                view.writes += u64::from(self.now.write);
                let (shadow, base) = (&mut view.shared, u64::from(base));
                ranges.try_for_each(|(start, bytes)| {
                    let first = start.wrapping_sub(base) as usize;
                    shadow.update(first, bytes as usize, |range, cell| self.cell(base, range, cell))
                })
            }
            Region::Global => ranges.try_for_each(|(start, bytes)| {
                let (mut at, end) = (start, start.saturating_add(bytes));
                while at < end {
                    let page_start = at / PAGE * PAGE;
                    let length = (page_start + PAGE).min(end) - at;
                    let page = global.page(at);
                    let first = (at - page_start) as usize;
                    if self.now.write && self.now.strong.is_none() {
                        page.note_weak_write(first, length as usize);
                    }
                    page.shadow
                        .update(first, length as usize, |range, cell| self.cell(page_start, range, cell))?;
                    at += length;
                }
                Ok(())
            }),
        }
    }

    /// Compares the access with the earlier ones of a cell; what the cell holds afterwards.
    #[inline]
    fn cell(&mut self, base: u64, range: Range<usize>, cell: Cell) -> Result<Cell, Conflict> {
        let range = base + range.start as u64..base + range.end as u64;
        if cell.write != 0 && self.constant {
            let earlier = self.records.members(&cell.write)[0];
            return Err(Conflict { earlier, address: range.start, order: Order::Here });
        }
        if !self.now.write {
            if cell.write != 0 {
                self.compare(cell.write, &range)?;
            }
            return Ok(Cell { read: self.with_this(cell.read), ..cell });
        }
        let compared = [cell.write, cell.read].into_iter().try_for_each(|earlier| match earlier {
            0 => Ok(()),
            earlier => self.compare(earlier, &range),
        });
        if let Err(conflict) = compared {
            // A store of what is there already changes nothing, whatever its order; any of the stores can be the last.
            if self.now.strong.is_none() && range.clone().all(|address| (self.keeps)(address)) {
                return Ok(Cell { write: self.with_this(cell.write), ..cell });
            }
            return Err(conflict);
        }
        // Strong writes need not be ordered among themselves: all of them can be the last.
        let write = if self.now.strong.is_some() { self.with_this(cell.write) } else { self.id };
        Ok(Cell { write, read: 0 })
    }

    /// Compares the access with an earlier one, or with each of a set.
    #[inline]
    fn compare(&mut self, earlier: RecordId, range: &Range<u64>) -> Result<(), Conflict> {
        if earlier == self.ordered {
            return Ok(());
        }
        let members = self.records.members(&earlier);
        let is_weak_write = |id: &RecordId| {
            let record = self.records.get(*id);
            record.write && record.strong.is_none()
        };
        // Unordered stores of the same value: who is ordered after one of them reads it.
        let any = !self.now.write && members.len() > 1 && members.iter().all(is_weak_write);
        let (mut always, mut first) = (true, None);
        let mut warning = None;
        for &member in members {
            let order = self.order(self.records.get(member), range);
            always &= order == Order::Always;
            match order {
                Order::Always | Order::Here if any => return Ok(()),
                Order::Always | Order::Here => {}
                Order::LockStep(_) if self.policy.warp == WarpPolicy::Ignore => {}
                Order::LockStep(address) | Order::SwapLoop(address)
                    if !(matches!(order, Order::LockStep(_)) && self.policy.warp == WarpPolicy::Report) =>
                {
                    warning = Some(Conflict { earlier: member, address, order });
                    if any {
                        return Ok(());
                    }
                }
                Order::LockStep(address) | Order::SwapLoop(address) | Order::Race(address) => {
                    first.get_or_insert(Conflict { earlier: member, address, order });
                }
            }
        }
        self.warning = self.warning.take().or(warning);
        match first {
            Some(conflict) => Err(conflict),
            None => {
                if always {
                    self.ordered = earlier;
                }
                Ok(())
            }
        }
    }

    /// Whether an earlier access is ordered before this one.
    fn order(&self, earlier: &Record, range: &Range<u64>) -> Order {
        let now = &self.now;
        if are_morally_strong(earlier, now) {
            return Order::Always;
        }
        let through_async = now.path.is_async_proxy() && earlier.path == Path::Generic;
        let exempt = self.policy.exempt_reads && !earlier.write;
        let missing_in = |clock: &Clock| clock.missing(earlier.agent, earlier.epoch, earlier.lanes);
        let mut missing = missing_in(&self.knowledge.seen);
        if through_async && !exempt {
            // Lanes that execute a proxy fence together share what it fences, and need not know of each other.
            missing |= missing_in(&self.knowledge.fenced[self.memory as usize]);
        }
        if missing == 0 {
            return Order::Always;
        }
        let is_weak_read = |record: &Record| !record.write && record.strong.is_none();
        if earlier.swaps && is_weak_read(now) || now.swaps && is_weak_read(earlier) {
            return Order::SwapLoop(range.start);
        }
        let own = Agent::of_warp(now.agent.cluster, now.warp, AgentKind::Generic);
        let same_warp = earlier.agent == own && !now.path.is_async_proxy();
        if same_warp && is_same_lane_everywhere(earlier, now) {
            return Order::Always;
        }
        for address in range.clone() {
            let theirs = self.records.lanes_at(earlier, address) & missing;
            if theirs == 0 {
                continue;
            }
            if !same_warp {
                return Order::Race(address);
            }
            let mine = self.records.lanes_at(now, address);
            if mine == theirs && mine.is_power_of_two() {
                continue;
            }
            let convergent = mine & !earlier.convergent == 0 && theirs & !now.convergent == 0;
            return if convergent { Order::LockStep(address) } else { Order::Race(address) };
        }
        Order::Here
    }

    /// The set of accesses with this one, less those that it stands for.
    fn with_this(&mut self, others: RecordId) -> RecordId {
        if others == 0 || others == self.id {
            return self.id;
        }
        if self.joined.0 == others {
            return self.joined.1;
        }
        if self.records.members(&others).contains(&self.id) {
            self.joined = (others, others);
            return others;
        }
        let mut members: Vec<RecordId> = self
            .records
            .members(&others)
            .iter()
            .copied()
            .filter(|&other| !self.stands_for(self.records.get(other)))
            .collect();
        // Accesses of one warp in one epoch differ only in their lanes: the latest few are enough.
        let alike = |id: &RecordId, records: &Records| {
            let other = records.get(*id);
            other.agent == self.now.agent && other.epoch == self.now.epoch
        };
        if members.iter().filter(|id| alike(id, self.records)).count() >= MOST_ALIKE
            && let Some(at) = members.iter().position(|id| alike(id, self.records))
        {
            members.remove(at);
        }
        members.push(self.id);
        let set = self.records.set(members);
        self.joined = (others, set);
        set
    }

    /// Whether everybody who is ordered after this access is ordered after an earlier one of the same kind too.
    fn stands_for(&self, earlier: &Record) -> bool {
        let now = &self.now;
        if earlier.strong != now.strong {
            return false;
        }
        if earlier.agent == now.agent {
            return earlier.lanes & !now.lanes == 0;
        }
        !now.path.is_async_proxy()
            && self.knowledge.seen.missing(earlier.agent, earlier.epoch, earlier.lanes) == 0
    }
}

/// Reads of one warp in one epoch that are remembered for a byte.
const MOST_ALIKE: usize = 4;

/// Whether both are strong, of one proxy and one size, and their scopes include each other (PTX ISA 8.7).
///
/// Accesses are aligned to their size: those of one size overlap completely or not at all.
fn are_morally_strong(a: &Record, b: &Record) -> bool {
    let (Some(mine), Some(theirs)) = (a.strong, b.strong) else { return false };
    let place =
        |record: &Record| Place { device: record.device, cluster: cluster_of(record), cta: record.cta };
    let (a_place, b_place) = (place(a), place(b));
    a.path.is_async_proxy() == b.path.is_async_proxy()
        && are_of_one_size(a, b)
        && mine.includes(a_place, b_place)
        && theirs.includes(b_place, a_place)
}

/// Whether scalar accesses have the same size, so far as it is known.
pub const fn are_of_one_size(a: &Record, b: &Record) -> bool {
    a.scalar_bytes == b.scalar_bytes || a.scalar_bytes == 0 || b.scalar_bytes == 0
}

const fn cluster_of(record: &Record) -> u32 {
    record.agent.cluster
}

/// Whether every byte that both touch is touched by one and the same lane.
fn is_same_lane_everywhere(a: &Record, b: &Record) -> bool {
    match (a.pattern, b.pattern) {
        (Pattern::Together, Pattern::Together) => a.lanes == b.lanes && a.lanes.is_power_of_two(),
        (Pattern::Strided { .. }, Pattern::Strided { .. }) => a.pattern == b.pattern,
        _ => false,
    }
}
