//! Makes the decisions of a run, by schedule and seed.

use super::{Ahead, Leader, Order, Schedule, Starved, When};
use crate::context::{Random, mix};
use crate::counters::Class;
use rustc_hash::FxHashMap;

/// Instructions of a turn.
const TURN: u64 = 256;
/// Instructions of a turn by priority: who runs is not to change but at a change of priorities.
const PRIORITY_TURN: u64 = 4096;
/// Turns in a row after which whoever runs by priority lets the others run, as it may wait for them in a loop.
const MOST_TURNS: u32 = 64;
/// Instructions after which what is held back goes on although others can run, as they may wait for it in a loop.
const PATIENCE: u64 = 1 << 17;
/// Change points lie below a power of two with at most this exponent.
const MOST_CHANGE_BITS: u64 = 16;

/// What runs before what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What is to get far ahead.
    Ahead,
    /// Most warps, and asynchronous work.
    Usual,
    /// Starved warps.
    Starved,
    /// Asynchronous work at the last moment.
    Late,
}

/// Someone that priorities are given to: grid, cluster, and warp in the cluster; the asynchronous work of the cluster
/// has no warp.
pub type Runner = (usize, u64, Option<usize>);

/// The decisions of clusters that run together.
#[derive(Debug)]
pub struct Scheduler {
    schedule: Schedule,
    seed: u64,
    random: Random,
    decisions: u64,
    until: u64,
    /// Choices between fragments of a warp.
    fragment_choices: u64,
    /// Instructions when each level had its last round.
    served: [u64; 4],
    /// Synchronising instructions after which a priority changes, the next one last.
    changes: Vec<u64>,
    synchronisations: u64,
    /// Priorities that have changed: the number of the change.
    demoted: FxHashMap<Runner, u64>,
    /// Who had the last turns by priority, and how many.
    last: Option<(Runner, u32)>,
    /// Whether the running warp has met a change point.
    change_is_due: bool,
    /// Whether the running warp has issued what is to happen at once.
    early_is_due: bool,
}

impl Scheduler {
    /// The decisions of a schedule and a seed.
    #[must_use]
    pub fn new(schedule: Schedule, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut changes = Vec::new();
        if let Order::Priorities { changes: count } = schedule.order {
            // The length of the run is not known: all magnitudes are as likely.
            changes.extend((0..count).map(|_| {
                let bits = random.below(MOST_CHANGE_BITS) + 1;
                1 + random.below(1 << bits)
            }));
            changes.sort_unstable();
            changes.dedup();
            changes.reverse();
        }
        Self {
            schedule,
            seed,
            random,
            decisions: 0,
            fragment_choices: 0,
            until: schedule.until.unwrap_or(u64::MAX),
            served: [0; 4],
            changes,
            synchronisations: 0,
            demoted: FxHashMap::default(),
            last: None,
            change_is_due: false,
            early_is_due: false,
        }
    }

    /// Counts a decision; those after the last that may deviate are made round robin.
    #[inline]
    fn decide(&mut self) {
        if self.decisions == self.until {
            self.schedule = Schedule::ROUND_ROBIN;
            self.changes.clear();
            self.change_is_due = false;
        }
        self.decisions = self.decisions.wrapping_add(1);
    }

    fn is_round_robin(&self) -> bool {
        self.schedule.order == Order::RoundRobin
    }

    /// One of `count` that a round begins with.
    pub fn first(&mut self, count: usize) -> usize {
        self.decide();
        if self.is_round_robin() { 0 } else { self.random.below(count as u64) as usize }
    }

    /// Instructions of the next turn.
    pub fn turn(&mut self) -> u64 {
        self.decide();
        match self.schedule.order {
            Order::Random => TURN / 2 + self.random.below(TURN),
            Order::RoundRobin => TURN,
            Order::Priorities { .. } => PRIORITY_TURN,
        }
    }

    /// Whether any fragment of a warp may run, rather than the one that lets the others catch up.
    pub fn any_fragment(&mut self) -> bool {
        self.decide();
        self.fragment_choices += 1;
        if self.is_round_robin() {
            self.fragment_choices.is_multiple_of(4)
        } else {
            self.random.below(4) == 0
        }
    }

    /// Which of `count` fragments that can run does.
    pub fn fragment(&mut self, count: usize) -> usize {
        self.decide();
        if self.is_round_robin() {
            (self.fragment_choices / 4 % count.max(1) as u64) as usize
        } else {
            self.random.below(count as u64) as usize
        }
    }

    /// Whether asynchronous work goes on between turns.
    pub fn goes_on(&mut self) -> bool {
        self.decide();
        self.is_round_robin() || self.random.below(2) == 0
    }

    /// Which of `count` pieces of asynchronous work goes on.
    pub fn operation(&mut self, count: usize) -> usize {
        self.decide();
        if self.is_round_robin() { 0 } else { self.random.below(count as u64) as usize }
    }

    /// Whether an `mbarrier.try_wait` that may wait gives up at once.
    pub fn gives_up(&mut self) -> bool {
        self.decide();
        match self.schedule.spurious {
            Some(percent) => self.random.below(100) < u64::from(percent),
            None => !self.is_round_robin() && self.random.below(16) == 0,
        }
    }

    /// Whether a strong load that may return something older does.
    pub fn reads_older(&mut self) -> bool {
        self.decide();
        self.schedule.stale && self.random.below(2) == 0
    }

    /// Nanoseconds that `nanosleep` takes: at most twice what is asked for (PTX ISA 9.7.14.4).
    pub fn sleep(&mut self, asked: u32) -> u64 {
        self.decide();
        if self.is_round_robin() { asked.into() } else { self.random.below(2 * u64::from(asked) + 1) }
    }

    /// The lane that `elect.sync` chooses of a membermask.
    #[must_use]
    pub fn leader(&self, members: u32) -> u32 {
        match self.schedule.leader {
            Leader::Lowest => members.trailing_zeros(),
            Leader::Highest => 31 - members.leading_zeros(),
            Leader::Random => {
                let chosen = mix(self.seed ^ mix(members.into())) % u64::from(members.count_ones().max(1));
                let above = (0..chosen).fold(members, |left, _| left & (left - 1));
                above.trailing_zeros()
            }
        }
    }

    /// Whether lanes that meet after a branch stay apart.
    #[inline]
    #[must_use]
    pub const fn keeps_apart(&self) -> bool {
        !self.schedule.reconverge
    }

    /// Whether the round is one of priorities.
    #[must_use]
    pub const fn has_priorities(&self) -> bool {
        matches!(self.schedule.order, Order::Priorities { .. })
    }

    /// The order in which the shreds of a copy land, if it lands in shreds.
    pub fn shreds(&mut self) -> Option<Random> {
        self.schedule.shredded.then(|| {
            self.decide();
            Random::new(self.random.word())
        })
    }

    /// When asynchronous copies go on.
    #[must_use]
    pub const fn copies(&self) -> When {
        self.schedule.copies
    }

    /// When matrix products of warpgroups are executed.
    #[must_use]
    pub const fn products(&self) -> When {
        self.schedule.products
    }

    /// The levels that there are, first those that run before the others.
    #[must_use]
    pub fn levels(&self) -> &'static [Level] {
        use Level::{Ahead, Late, Starved, Usual};
        let schedule = &self.schedule;
        let late = schedule.copies == When::Late || schedule.products == When::Late;
        match (schedule.ahead.is_some(), schedule.starved.is_some(), late) {
            (false, false, false) => &[Usual],
            (true, false, false) => &[Ahead, Usual],
            (false, true, false) => &[Usual, Starved],
            (false, false, true) => &[Usual, Late],
            (true, true, false) => &[Ahead, Usual, Starved],
            (true, false, true) => &[Ahead, Usual, Late],
            (false, true, true) => &[Usual, Starved, Late],
            (true, true, true) => &[Ahead, Usual, Starved, Late],
        }
    }

    /// Whether a level has been held back for so long that it has a round although others could go on.
    #[must_use]
    pub const fn is_overdue(&self, level: Level, instructions: u64) -> bool {
        instructions - self.served[level as usize] > PATIENCE
    }

    /// A level has had a round.
    pub const fn serve(&mut self, level: Level, instructions: u64) {
        self.served[level as usize] = instructions;
    }

    /// Whether CTAs of this rank, cluster and device are to get far ahead.
    #[must_use]
    pub fn is_ahead(&self, device: u32, cluster: u64, rank: usize) -> bool {
        match self.schedule.ahead {
            None => false,
            Some(Ahead::Cta(ahead)) => rank == ahead as usize,
            Some(Ahead::Cluster(ahead)) => cluster == ahead,
            Some(Ahead::Device(ahead)) => device == ahead,
        }
    }

    /// Whether warps of this number in their CTA are starved.
    #[must_use]
    pub const fn is_starved(&self, warp: usize) -> bool {
        match self.schedule.starved {
            None => false,
            Some(Starved::Warp(starved)) => warp == starved as usize,
            Some(Starved::Warpgroup(starved)) => warp / 4 == starved as usize,
        }
    }

    /// Whether [`after`](Self::after) must be told of instructions.
    #[must_use]
    pub fn watches(&self) -> bool {
        !self.changes.is_empty()
            || self.schedule.copies == When::Early
            || self.schedule.products == When::Early
    }

    /// A warp has executed an instruction of this class; true if its turn ends with it.
    pub fn after(&mut self, class: Class) -> bool {
        let is_early = match class {
            Class::AsyncCopy => self.schedule.copies == When::Early,
            Class::Matrix => self.schedule.products == When::Early,
            _ => false,
        };
        self.early_is_due |= is_early;
        if matches!(class, Class::Barrier | Class::Atomic | Class::AsyncCopy) {
            self.synchronisations += 1;
            while self.changes.pop_if(|change| *change <= self.synchronisations).is_some() {
                self.change_is_due = true;
            }
        }
        is_early || self.change_is_due
    }

    /// Whether the turn ends for what must happen at once, or for a change of priorities.
    #[must_use]
    pub const fn turn_is_over(&self) -> bool {
        self.early_is_due || self.change_is_due
    }

    /// Whether asynchronous work is to go on at once.
    pub const fn take_early(&mut self) -> bool {
        std::mem::replace(&mut self.early_is_due, false)
    }

    /// Sorts those that could run, the highest priority first.
    pub fn sort(&mut self, runners: &mut [Runner]) {
        self.decide();
        let key = |runner: &Runner| match self.demoted.get(runner) {
            Some(change) => (*change, 0),
            None => {
                let (grid, cluster, warp) = *runner;
                let warp = warp.map_or(u64::MAX, |warp| warp as u64);
                (0, mix(self.seed ^ mix(warp ^ mix(cluster ^ mix(grid as u64)))))
            }
        };
        runners.sort_by_cached_key(key);
    }

    /// Someone has had a turn by priority, which may cost it its place: a loop that waits for others lets them run first.
    pub fn had_turn(&mut self, runner: Runner, waits_in_loop: bool) {
        let turns = match self.last {
            Some((last, turns)) if last == runner => turns + 1,
            _ => 1,
        };
        self.last = Some((runner, turns));
        if std::mem::replace(&mut self.change_is_due, false) || waits_in_loop || turns >= MOST_TURNS {
            self.demoted.insert(runner, self.decisions);
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_leader_is_a_member_and_stays_the_leader() {
        let schedule = Schedule { leader: Leader::Random, ..Schedule::RANDOM };
        let mut chosen = [false; 32];
        for seed in 0..200 {
            let scheduler = Scheduler::new(schedule, seed);
            for members in [u32::MAX, 1, 1 << 31, 0x8001_0010] {
                let leader = scheduler.leader(members);
                assert!(members >> leader & 1 == 1);
                assert_eq!(leader, scheduler.leader(members));
            }
            chosen[scheduler.leader(u32::MAX) as usize] = true;
        }
        assert!(chosen.iter().filter(|chosen| **chosen).count() > 16);
    }

    /// The decisions of a while, as text.
    fn decisions(schedule: Schedule, seed: u64) -> String {
        let mut scheduler = Scheduler::new(schedule, seed);
        let mut runners: Vec<Runner> = (0..8).map(|warp| (0, 0, Some(warp))).collect();
        (0..50).fold(String::new(), |text, _| {
            scheduler.sort(&mut runners);
            let numbers =
                (scheduler.first(7), scheduler.turn(), scheduler.operation(5), scheduler.sleep(100));
            let answers = (scheduler.any_fragment(), scheduler.gives_up(), scheduler.goes_on());
            format!("{text}{numbers:?}{answers:?}")
        })
    }

    #[test]
    fn round_robin_is_the_same_for_every_seed_and_others_are_not() {
        assert_eq!(decisions(Schedule::ROUND_ROBIN, 1), decisions(Schedule::ROUND_ROBIN, 2));
        assert_eq!(decisions(Schedule::RANDOM, 1), decisions(Schedule::RANDOM, 1));
        assert_ne!(decisions(Schedule::RANDOM, 1), decisions(Schedule::RANDOM, 2));
    }

    #[test]
    fn after_the_last_decision_that_may_deviate_everything_goes_round_robin() {
        let limited = |until| decisions(Schedule { until: Some(until), ..Schedule::RANDOM }, 3);
        let (free, none) = (decisions(Schedule::RANDOM, 3), limited(0));
        assert_ne!(none, free);
        assert_eq!(limited(10_000), free);
        let half = limited(200);
        assert_eq!(half[..half.len() / 3], free[..half.len() / 3]);
        assert_eq!(half[half.len() - 100..], none[none.len() - 100..]);
    }

    #[test]
    fn a_change_of_priorities_puts_who_runs_last() {
        let schedule = Schedule { order: Order::Priorities { changes: 2 }, ..Schedule::RANDOM };
        let mut scheduler = Scheduler::new(schedule, 4);
        let mut runners: Vec<Runner> = (0..8).map(|warp| (0, 0, Some(warp))).collect();
        scheduler.sort(&mut runners);
        let (first, second) = (runners[0], runners[1]);
        while !scheduler.after(Class::Barrier) {}
        scheduler.had_turn(first, false);
        scheduler.sort(&mut runners);
        assert_eq!((runners[0], runners[7]), (second, first));
        scheduler.had_turn(second, false);
        scheduler.sort(&mut runners);
        assert_eq!((runners[0], runners[7]), (second, first), "no change, no other order");
    }
}
