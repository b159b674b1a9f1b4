//! What other CTAs do in the shared memory of a CTA, and whether all of it comes before the CTA ends: its shared memory is
//! gone when its last thread has exited, whatever order this run happened to take.

use super::clock::{Agent, AgentKind, Clock};
use super::record::Record;
use super::warp_view::WarpView;
use super::{Actor, RaceDetector, message, running};
use crate::report::{Fault, Rule};
use std::ops::Range;

/// An access of a warp, or of an asynchronous operation, to the shared memory of another CTA.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    agent: Agent,
    epoch: u32,
    lanes: u32,
    /// What it is, in words.
    what: &'static str,
    line: u32,
    /// The rank of the CTA whose thread did or started it, and the warp by number there.
    cta: u32,
    warp_of_cta: u32,
}

impl Visit {
    /// A load, a store, or a copy.
    #[must_use]
    pub fn access(record: &Record) -> Self {
        let Record { agent, epoch, lanes, line, cta, warp_of_cta, .. } = *record;
        Self { agent, epoch, lanes, what: message::kind(record), line, cta, warp_of_cta }
    }

    /// An arrival of an actor of this warp at an mbarrier, which the completion of the phase makes known even where the
    /// arrival releases nothing.
    #[must_use]
    pub fn arrival(warp: &mut WarpView, actor: &Actor) -> Self {
        Self {
            agent: warp.agent(AgentKind::Arrival),
            epoch: warp.close_epoch(),
            lanes: actor.lanes,
            what: "signal",
            line: actor.line,
            cta: actor.place.cta,
            warp_of_cta: actor.warp_of_cta,
        }
    }

    /// Makes it known.
    pub fn publish(&self, clock: &mut Clock) {
        clock.raise(self.agent, self.lanes, self.epoch);
    }
}

/// The latest visits of a CTA by each agent, which stand for those before them.
#[derive(Debug, Default)]
pub struct Visits(Vec<Visit>);

impl Visits {
    /// Adds one.
    pub fn add(&mut self, visit: Visit) {
        self.0.retain(|old| old.agent != visit.agent || old.lanes & !visit.lanes != 0);
        self.0.push(visit);
    }
}

impl RaceDetector {
    /// The last thread of the actor's CTA exits, whose warps have these numbers in the cluster.
    ///
    /// # Errors
    ///
    /// If another CTA has accessed its shared memory, and no thread of it knows.
    pub fn end_cta(&mut self, actor: &Actor, warps: Range<u32>) -> Result<(), Box<Fault>> {
        let cluster = running(&mut self.clusters, actor);
        let cta = actor.place.cta;
        let visits = std::mem::take(&mut cluster.ctas[cta as usize].visits);
        if visits.0.is_empty() {
            return Ok(());
        }
        let mut known = Clock::default();
        for warp in warps {
            cluster.settle_debts(&Actor { warp, lanes: u32::MAX, ..*actor });
            cluster.warps[warp as usize].views.iter().for_each(|(_, knowledge)| known.join(&knowledge.seen));
        }
        let is_unknown = |visit: &&Visit| known.missing(visit.agent, visit.epoch, visit.lanes) != 0;
        let Some(visit) = visits.0.iter().find(is_unknown) else { return Ok(()) };
        let message = format!(
            "CTA rank {cta} may have ended before the {} of its shared memory at line {}, by warp {} of CTA rank {}: needs the \
             barrier of the cluster, or a wait for that, before its last thread exits",
            visit.what, visit.line, visit.warp_of_cta, visit.cta
        );
        Err(Box::new(Fault::new(Rule::RemoteShared, message).with_other(visit.line)))
    }
}
