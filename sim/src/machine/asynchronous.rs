//! Asynchronous work goes on: bulk and tensor copies, `cp.async`, and matrix products of warpgroups.

use super::{Domain, Resident, make_report};
use crate::cluster::Progress;
use crate::exec::{async_copy, wgmma};
use crate::report::Report;
use crate::schedule::When;
use crate::trace::record::Reading;

/// A piece of asynchronous work of a cluster.
#[derive(Debug, Clone, Copy)]
enum Item {
    /// A bulk or tensor copy, by its place in the list.
    Operation(usize),
    /// The oldest `cp.async` of a warp, or arrivals that waited for it.
    Copies(usize),
    /// The oldest matrix product of a warpgroup of a CTA.
    Product(usize, usize),
}

impl Domain<'_> {
    /// Lets asynchronous work between turns go on: some of it, or all there is if `force` is set.
    pub(super) fn advance_asynchronous(&mut self, at: usize, force: bool) -> Result<bool, Box<Report>> {
        let scheduler = &self.world.scheduler;
        let [copies, products] =
            [scheduler.copies(), scheduler.products()].map(|when| force || when != When::Late);
        self.advance_kinds(at, copies, products, force)
    }

    /// Does what is to happen as soon as it is issued.
    pub(super) fn advance_early(&mut self, at: usize) -> Result<(), Box<Report>> {
        let scheduler = &self.world.scheduler;
        let [copies, products] = [scheduler.copies(), scheduler.products()].map(|when| when == When::Early);
        while self.advance_kinds(at, copies, products, true)? {}
        Ok(())
    }

    /// Lets one piece of work go on: of that which is late, or of the rest. False if there is none.
    pub(super) fn advance_one(&mut self, at: usize, late: bool) -> Result<bool, Box<Report>> {
        let scheduler = &self.world.scheduler;
        let [copies, products] =
            [scheduler.copies(), scheduler.products()].map(|when| (when == When::Late) == late);
        let mut items = Vec::new();
        let cluster = &self.residents[at].cluster;
        if copies {
            items.extend((0..cluster.state.operations.len()).map(Item::Operation));
            items
                .extend((0..cluster.warps.len()).filter(|warp| self.has_copies(at, *warp)).map(Item::Copies));
        }
        if products {
            for (cta, block) in cluster.state.ctas.iter().enumerate() {
                let groups = block.warpgroups.iter().enumerate();
                let ready =
                    groups.filter(|(_, group)| group.issued.iter().all(|issued| *issued > group.executed));
                items.extend(ready.map(|(group, _)| Item::Product(cta, group)));
            }
        }
        if items.is_empty() {
            return Ok(false);
        }
        let item = items[self.world.scheduler.operation(items.len())];
        let progressed = self.perform(at, item)?;
        self.note_progress(at, progressed);
        Ok(progressed)
    }

    fn has_copies(&self, at: usize, warp: usize) -> bool {
        let flight = &self.residents[at].cluster.warps[warp].flight;
        !(flight.copies.is_empty() && flight.arrivals.is_empty())
    }

    fn advance_kinds(
        &mut self,
        at: usize,
        copies: bool,
        products: bool,
        force: bool,
    ) -> Result<bool, Box<Report>> {
        let mut progressed = false;
        if copies {
            for _ in 0..self.residents[at].cluster.state.operations.len() {
                if !(force || self.world.scheduler.goes_on()) {
                    continue;
                }
                let count = self.residents[at].cluster.state.operations.len();
                let chosen = self.world.scheduler.operation(count);
                progressed |= self.perform(at, Item::Operation(chosen))?;
            }
            for warp in 0..self.residents[at].cluster.warps.len() {
                if self.has_copies(at, warp) && (force || self.world.scheduler.goes_on()) {
                    progressed |= self.perform(at, Item::Copies(warp))?;
                }
            }
        }
        if products {
            for cta in 0..self.residents[at].cluster.state.ctas.len() {
                for group in 0..self.residents[at].cluster.state.ctas[cta].warpgroups.len() {
                    let queue = &self.residents[at].cluster.state.ctas[cta].warpgroups[group].queue;
                    if !queue.is_empty() && (force || self.world.scheduler.goes_on()) {
                        progressed |= self.perform(at, Item::Product(cta, group))?;
                    }
                }
            }
        }
        self.note_progress(at, progressed);
        Ok(progressed)
    }

    /// Tells everyone who waits that something has changed.
    fn note_progress(&mut self, at: usize, progressed: bool) {
        if progressed {
            self.residents[at].cluster.state.changed();
            self.epoch += 1;
            self.idle_jumps = 0;
        }
    }

    /// Does a piece of work. False if it cannot go on yet.
    fn perform(&mut self, at: usize, item: Item) -> Result<bool, Box<Report>> {
        let before = Reading::of(&self.counters);
        let performed = self.perform_untraced(at, item);
        if let Some(recorder) = &mut self.residents[at].cluster.state.trace {
            recorder.account(&before, &self.counters);
        }
        performed
    }

    fn perform_untraced(&mut self, at: usize, item: Item) -> Result<bool, Box<Report>> {
        let Resident { grid, cluster } = &mut self.residents[at];
        let grid = &self.grids[*grid];
        match item {
            Item::Operation(chosen) => {
                let mut operation = cluster.state.operations.swap_remove(chosen);
                let warp = &mut cluster.warps[operation.warp];
                let cta = cluster.state.ctas[warp.cta].index;
                let progress = operation.work.advance(&mut cluster.state, grid, &mut self.counters).map_err(
                    |fault| Box::new(make_report(grid, &fault, operation.line).at(cta, warp.index)),
                )?;
                let flight = &mut warp.flight;
                match progress {
                    Progress::Read => {
                        flight
                            .bulk
                            .iter_mut()
                            .filter(|bulk| bulk.id == operation.id)
                            .for_each(|bulk| bulk.reading = false);
                        cluster.state.operations.push(operation);
                    }
                    Progress::Done => flight.bulk.retain(|bulk| bulk.id != operation.id),
                }
                Ok(true)
            }
            Item::Copies(number) => {
                let warp = &mut cluster.warps[number];
                let advanced = async_copy::advance_copies(warp, &mut cluster.state, grid, &mut self.counters);
                advanced.map_err(|(fault, line)| {
                    let cta = cluster.state.ctas[warp.cta].index;
                    Box::new(make_report(grid, &fault, line).at(cta, warp.index))
                })
            }
            Item::Product(cta, group) => {
                let advanced = wgmma::advance(cluster, cta, group, grid, &mut self.counters);
                advanced.map_err(|(fault, line)| {
                    Box::new(make_report(grid, &fault, line).at(cluster.state.ctas[cta].index, group * 4))
                })
            }
        }
    }
}
