//! Barriers of the CTA and of the cluster (PTX ISA 9.7.15.1, 9.7.15.3): the state machines are in
//! [`barrier`](crate::barrier), here is how warps come to them.

use crate::barrier::{Arrival, CtaWarps};
use crate::context::Context;
use crate::decode::PredicateSource;
use crate::program::{Flow, Step};
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule, lanes as name_lanes, verb};
use crate::warp::Wait;

/// What a `.red` gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// The number of ayes.
    Count(Destination),
    /// Whether all are ayes.
    And(u16),
    /// Whether any is.
    Or(u16),
}

/// `bar` or `barrier` with `.sync`, `.arrive` or `.red`, decoded.
#[derive(Debug, Clone, Copy)]
pub struct CtaBarrierInstruction {
    /// Barrier number.
    pub id: Source,
    /// Thread count; all threads of the CTA without.
    pub threads: Option<Source>,
    /// Whether it waits.
    pub waits: bool,
    /// Whether all lanes must come to this very instruction.
    pub aligned: bool,
    /// The predicate of `.red`.
    pub vote: Option<PredicateSource>,
}

impl CtaBarrierInstruction {
    /// Has the warp arrive once all its lanes are there, and wait.
    ///
    /// # Errors
    ///
    /// If lanes disagree, or the barrier is used against its rules.
    pub fn run(&self, context: &mut Context<'_>) -> Step {
        if context.fragment.collected {
            context.fragment.collected = false;
            return Ok(self.wait(context));
        }
        let id = context.uniform_u64(self.id, false, "a barrier number")? as u32;
        if id > 15 {
            return Err(Box::new(Fault::new(
                Rule::Barrier,
                format!("barrier number {id}, expected 0 to 15"),
            )));
        }
        let threads = match self.threads {
            Some(threads) => context.uniform_u64(threads, false, "the thread count of a barrier")? as u32,
            None => 0,
        };
        let all = context.grid.thread_count().next_multiple_of(32);
        let threads = if threads == 0 && (self.waits || self.threads.is_none()) { all } else { threads };
        let (ayes, undefined) = self.vote.map_or((0, 0), |vote| vote.read(context));
        if undefined != 0 {
            return Err(context.undefined_fault(undefined, "the predicate of a barrier"));
        }
        let mask = context.mask;
        context.active().for_each(|lane| {
            context.warp.collective.operands[lane][0] = u64::from(ayes >> lane & 1);
        });
        let alive = context.warp.alive();
        let key = 0xba << 56 | u64::from(id);
        if alive & !mask != 0 && !self.others_have_come(context, alive & !mask, key) {
            return Ok(context.wait(Wait::Gather { need: u32::MAX, key, aligned: self.aligned }));
        }
        let ayes = (0..32)
            .filter(|&lane| alive >> lane & 1 == 1 && context.warp.collective.operands[lane][0] != 0)
            .count();
        let how = match (self.vote, self.waits) {
            (Some(_), _) => Arrival::Reduce { ayes: ayes as u32, lanes: alive.count_ones() },
            (None, true) => Arrival::Sync,
            (None, false) => Arrival::Arrive,
        };
        let (warp, line) = (context.warp.index, context.line);
        let cta = &mut context.cluster.ctas[context.warp.cta];
        let warps = CtaWarps { threads: all, live: cta.live_warps };
        if threads > all {
            return Err(Box::new(Fault::new(
                Rule::Barrier,
                format!("barrier {id}: expects {threads} threads, the CTA has {all}"),
            )));
        }
        let barrier = &mut cta.barriers[id as usize];
        let generation = barrier.generation;
        barrier.arrive(id, warp, threads, warps, how, line)?;
        context.counters.barrier_arrivals += 1;
        let waits = self.waits;
        if let Some((race, actor)) = context.race(alive) {
            race.arrive_at_barrier(&actor, id, generation, waits);
        }
        if let Some(mut trace) = context.trace() {
            trace.barrier(id, generation, waits);
        }
        context.cluster.changed();
        for lane in 0..32 {
            context.warp.collective.results[lane] = [u64::from(id), generation];
        }
        Ok(self.wait(context))
    }

    /// Whether the other lanes wait at the same barrier; then they go on to wait for it with the warp.
    fn others_have_come(&self, context: &mut Context<'_>, missing: u32, key: u64) -> bool {
        if self.aligned {
            return false;
        }
        let waits =
            |wait: Wait| matches!(wait, Wait::Gather { key: other, aligned: false, .. } if other == key);
        let fragments = &mut context.warp.fragments;
        let there = fragments
            .iter()
            .filter(|fragment| waits(fragment.wait))
            .fold(0, |set, fragment| set | fragment.lanes);
        if missing & !there != 0 {
            return false;
        }
        for fragment in fragments.iter_mut().filter(|fragment| waits(fragment.wait)) {
            fragment.collected = true;
            fragment.wait = Wait::Ready;
        }
        true
    }

    fn wait(&self, context: &mut Context<'_>) -> Flow {
        let [id, generation] =
            context.warp.collective.results[context.fragment.lanes.trailing_zeros() as usize];
        if self.waits && context.cluster.ctas[context.warp.cta].barriers[id as usize].generation <= generation
        {
            return context.wait_then_next(Wait::CtaBarrier { id: id as u8, generation });
        }
        Flow::Next
    }
}

/// After the wait of a `.red`: its result.
///
/// # Errors
///
/// If the destination belongs to a matrix product in flight.
pub fn write_reduction(context: &mut Context<'_>, reduce: Reduce) -> Step {
    let [id, generation] = context.warp.collective.results[context.mask.trailing_zeros() as usize];
    let (ayes, voters) = context.cluster.ctas[context.warp.cta].barriers[id as usize].result(generation);
    match reduce {
        Reduce::Count(to) => context.write_u32(to, &[ayes; 32], 0)?,
        Reduce::And(to) => context.write_predicate(to, if ayes == voters { u32::MAX } else { 0 }, 0),
        Reduce::Or(to) => context.write_predicate(to, if ayes > 0 { u32::MAX } else { 0 }, 0),
    }
    Ok(Flow::Next)
}

/// `barrier.cluster.arrive`
///
/// # Errors
///
/// If a thread arrives twice without waiting, or an aligned one not with its whole warp.
pub fn cluster_arrive(context: &mut Context<'_>, aligned: bool, releases: bool) -> Step {
    if aligned && let Some(flow) = context.gather(u32::MAX, true) {
        return Ok(flow);
    }
    let mask = context.mask;
    let twice = context.warp.cluster_arrived & mask;
    if twice != 0 {
        return Err(Box::new(Fault::new(
            Rule::ClusterBarrier,
            format!(
                "{} {} at the cluster barrier twice without waiting in between",
                name_lanes(twice),
                verb(twice, "arrives", "arrive")
            ),
        )));
    }
    context.warp.cluster_arrived |= mask;
    let phase = context.cluster.barrier.phase;
    if let Some((race, actor)) = context.race(mask) {
        race.arrive_at_cluster(&actor, phase, releases);
    }
    if let Some(mut trace) = context.trace() {
        trace.arrive_at_cluster(phase);
    }
    context.warp.cluster_phase = context.cluster.barrier.phase;
    context.cluster.barrier.arrived += mask.count_ones();
    context.cluster.complete_cluster_barrier();
    context.cluster.changed();
    Ok(Flow::Next)
}

/// `barrier.cluster.wait`
///
/// # Errors
///
/// If a thread waits without having arrived, or an aligned one not with its whole warp.
pub fn cluster_wait(context: &mut Context<'_>, aligned: bool) -> Step {
    if aligned && let Some(flow) = context.gather(u32::MAX, true) {
        return Ok(flow);
    }
    let absent = context.mask & !context.warp.cluster_arrived;
    if absent != 0 {
        return Err(Box::new(Fault::new(
            Rule::ClusterBarrier,
            format!(
                "{} {} at the cluster barrier without having arrived",
                name_lanes(absent),
                verb(absent, "waits", "wait")
            ),
        )));
    }
    let phase = context.warp.cluster_phase;
    context.warp.cluster_arrived &= !context.mask;
    if let Some((race, actor)) = context.race(context.mask) {
        race.wait_at_cluster(&actor, phase);
    }
    if let Some(mut trace) = context.trace() {
        trace.wait_for_cluster(phase);
    }
    if context.cluster.barrier.phase > phase {
        return Ok(Flow::Next);
    }
    Ok(context.wait_then_next(Wait::ClusterBarrier { phase }))
}
