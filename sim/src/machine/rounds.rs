//! Rounds: who gets a turn before whom.

use super::Domain;
use crate::report::Report;
use crate::schedule::{Level, Runner};
use crate::warp::{Wait, Warp};

impl Domain<'_> {
    /// Lets go on what can, of the first level where anything can. False if nothing could.
    pub(super) fn round(&mut self) -> Result<bool, Box<Report>> {
        let mut progressed = false;
        for &level in self.world.scheduler.levels() {
            let instructions = self.world.instructions;
            if progressed && !self.world.scheduler.is_overdue(level, instructions) {
                continue;
            }
            progressed |= self.level_round(level)?;
            self.world.scheduler.serve(level, instructions);
        }
        Ok(progressed)
    }

    fn level_round(&mut self, level: Level) -> Result<bool, Box<Report>> {
        if self.world.scheduler.has_priorities() && level != Level::Late {
            return self.priority_turn(level);
        }
        let mut progressed = false;
        let count = self.residents.len();
        let first = self.world.scheduler.first(count);
        for turn in 0..count {
            let at = (first + turn) % count;
            if level == Level::Late {
                // One piece: what it sets free runs before the next one.
                if self.advance_one(at, true)? {
                    return Ok(true);
                }
            } else {
                progressed |= self.cluster_round(at, level)?;
            }
        }
        Ok(progressed)
    }

    /// Gives every warp of a level in a cluster a turn, and its asynchronous operations a chance to go on.
    fn cluster_round(&mut self, at: usize, level: Level) -> Result<bool, Box<Report>> {
        let count = self.residents[at].cluster.warps.len();
        let first = self.world.scheduler.first(count);
        let mut progressed = false;
        for turn in 0..count {
            let number = (first + turn) % count;
            if self.level_of(at, number) == level {
                progressed |= self.turn(at, number)?;
            }
        }
        if level == Level::Usual {
            progressed |= self.advance_asynchronous(at, false)?;
        } else if level == Level::Ahead {
            // Who is ahead does not wait for its copies.
            while self.has_ahead(at) && self.advance_one(at, false)? {
                progressed = true;
            }
        }
        Ok(progressed)
    }

    /// Gives the warp, or the asynchronous work of a cluster, that has the highest priority of those that can run a turn.
    fn priority_turn(&mut self, level: Level) -> Result<bool, Box<Report>> {
        let mut runners: Vec<Runner> = Vec::new();
        for (at, resident) in self.residents.iter().enumerate() {
            let (grid, cluster) = (resident.grid, resident.cluster.state.index);
            let warps = resident.cluster.warps.iter().enumerate();
            let alive =
                warps.filter(|(number, warp)| warp.alive() != 0 && self.level_of(at, *number) == level);
            runners.extend(alive.map(|(number, _)| (grid, cluster, Some(number))));
            if level == Level::Usual || level == Level::Ahead && self.has_ahead(at) {
                runners.push((grid, cluster, None));
            }
        }
        self.world.scheduler.sort(&mut runners);
        for runner in runners {
            let (grid, cluster, warp) = runner;
            let resident =
                |resident: &super::Resident| resident.grid == grid && resident.cluster.state.index == cluster;
            let at = self.residents.iter().position(resident).expect("a resident cluster");
            let progressed = match warp {
                Some(number) => self.turn(at, number)?,
                None => self.advance_one(at, false)?,
            };
            if progressed {
                let spins = |warp: &Warp| {
                    warp.fragments.iter().any(|fragment| matches!(fragment.wait, Wait::Spin { .. }))
                };
                let spins = warp.is_some_and(|number| spins(&self.residents[at].cluster.warps[number]));
                self.world.scheduler.had_turn(runner, spins);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives a warp a turn, and does what it has issued that is to happen at once.
    fn turn(&mut self, at: usize, number: usize) -> Result<bool, Box<Report>> {
        let progressed = self.warp_turn(at, number)?;
        if self.world.scheduler.take_early() {
            self.advance_early(at)?;
        }
        Ok(progressed)
    }

    /// The level of a warp. Who is starved stays so in a CTA that is ahead.
    fn level_of(&self, at: usize, number: usize) -> Level {
        let resident = &self.residents[at];
        let warp = &resident.cluster.warps[number];
        let scheduler = &self.world.scheduler;
        if scheduler.is_starved(warp.index) {
            Level::Starved
        } else if self.is_ahead(at, warp.cta) {
            Level::Ahead
        } else {
            Level::Usual
        }
    }

    fn is_ahead(&self, at: usize, rank: usize) -> bool {
        let resident = &self.residents[at];
        let device = self.grids[resident.grid].device;
        self.world.scheduler.is_ahead(device, resident.cluster.state.index, rank)
    }

    /// Whether a cluster has a CTA that is to get ahead.
    fn has_ahead(&self, at: usize) -> bool {
        (0..self.residents[at].cluster.state.ctas.len()).any(|rank| self.is_ahead(at, rank))
    }
}
