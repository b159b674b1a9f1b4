//! Runs launches: grid, clusters, CTAs, warps, fragments.
//!
//! Clusters whose CTAs cannot depend on other clusters run one after the other, on as many threads as there are; the
//! rest, and all where the L2 cache is modelled, is resident together and takes turns on one thread, as does everything
//! within a cluster. A turn runs a fragment for some instructions; between turns the asynchronous operations go on.
//! Schedule and seed decide the order.

mod asynchronous;
mod rounds;

use crate::cluster::{Cluster, ClusterState, Cta};
use crate::context::{Context, World, mix};
use crate::counters::{Counters, lane_count};
use crate::exec::wgmma;
use crate::flight::Flight;
use crate::grid::Grid;
use crate::l2::L2;
use crate::memory::SharedMemory;
use crate::memory::local::LocalMemory;
use crate::program::Flow;
use crate::race::RaceDetector;
use crate::race::footprint::{Footprint, LaunchFootprint};
use crate::registers::RegisterFile;
use crate::report::{Fault, Report, Rule};
use crate::schedule::{self, Scheduler};
use crate::target_limits::{MAX_THREADS, REGISTERS};
use crate::trace::record::Reading;
use crate::trace::{Recorder, Recording};
use crate::warp::{Collective, Fragment, Frame, SpinWatch, Wait, Warp};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a launch left besides memory.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was found; empty if the kernel is right.
    pub reports: Vec<Report>,
    /// What was counted.
    pub counters: Counters,
    /// What `printf` wrote, in the order of clusters.
    pub output: Vec<u8>,
    /// What is worth a look and does not make the kernel wrong.
    pub warnings: Vec<Report>,
    /// What was recorded of the cluster to trace.
    pub trace: Option<Box<Recording>>,
    /// What a cluster that ran alone did to global memory, until it is compared with the others.
    footprint: Option<Footprint>,
}

/// Runs launches at the same time, each to its end or to the first fault.
#[must_use]
pub fn run(grids: &[Grid<'_>]) -> Outcome {
    let alone = grids.len() == 1
        && grids[0].kernel.interleave.is_none()
        // What one cluster finds in the L2 cache is what others have left there.
        && grids[0].options.l2_bytes.is_none();
    let mut outcome = if alone { run_clusters(&grids[0]) } else { run_together(grids) };
    for grid in grids {
        grid.memory.settle();
        let live = grid.kernel.max_live_registers as u64;
        outcome.counters.max_live_registers = outcome.counters.max_live_registers.max(live);
    }
    outcome
}

/// Clusters one by one, on several threads; results do not depend on how many.
fn run_clusters(grid: &Grid<'_>) -> Outcome {
    let count = grid.cluster_count();
    let threads = match grid.options.threads {
        0 => rayon::current_num_threads(),
        threads => threads,
    };
    let first_fault = AtomicU64::new(u64::MAX);
    let run_one = |index: u64| -> Option<Outcome> {
        // A fault ends the launch: what lies behind it is not run, what lies before it is.
        if index > first_fault.load(Ordering::Relaxed) {
            return None;
        }
        let mut domain = Domain::new(std::slice::from_ref(grid), [(0, index..index + 1)].into());
        let mut outcome = domain.run();
        outcome.footprint = domain.world.race.as_ref().map(|race| race.footprint(index));
        if !outcome.reports.is_empty() {
            first_fault.fetch_min(index, Ordering::Relaxed);
        }
        Some(outcome)
    };
    let mut total = Outcome::default();
    // Blocks bound the memory that outcomes take, and a fault ends the launch soon.
    let block = (threads as u64).saturating_mul(if grid.options.race.is_some() { 8 } else { 64 });
    let mut launch_footprint = LaunchFootprint::default();
    let mut start = 0;
    while start < count && total.reports.is_empty() {
        let end = start.saturating_add(block).min(count);
        let outcomes: Box<dyn Iterator<Item = Option<Outcome>>> = if threads == 1 {
            Box::new((start..end).map(run_one))
        } else {
            Box::new((start..end).into_par_iter().map(run_one).collect::<Vec<_>>().into_iter())
        };
        for outcome in outcomes.flatten() {
            total.counters.add(&outcome.counters);
            total.output.extend(outcome.output);
            total.trace = total.trace.or(outcome.trace);
            total.reports.extend(outcome.reports);
            add_warnings(&mut total.warnings, outcome.warnings);
            if let Some(footprint) = outcome.footprint.filter(|_| total.reports.is_empty())
                && let Err(fault) = launch_footprint.add(&footprint)
            {
                total.reports.push(make_report(grid, &fault, fault.line));
            }
            if total.reports.is_empty() && total.counters.instructions() > grid.options.instruction_budget {
                total.reports.push(budget_report(grid));
            }
            if !total.reports.is_empty() {
                break;
            }
        }
        start = end;
    }
    total
}

/// Adds warnings that are not there yet, up to a number that is still read.
fn add_warnings(all: &mut Vec<Report>, new: Vec<Report>) {
    const MOST: usize = 100;
    for warning in new {
        let known = |old: &Report| (old.line, old.other_line) == (warning.line, warning.other_line);
        if all.len() < MOST && !all.iter().any(known) {
            all.push(warning);
        }
    }
}

fn run_together(grids: &[Grid<'_>]) -> Outcome {
    let queue = grids.iter().enumerate().map(|(number, grid)| (number, 0..grid.cluster_count())).collect();
    Domain::new(grids, queue).run()
}

/// A cluster that has started and not ended.
struct Resident {
    grid: usize,
    cluster: Cluster,
}

/// Clusters that run together on one thread.
struct Domain<'a> {
    grids: &'a [Grid<'a>],
    /// Grids with the clusters that have not started.
    queue: VecDeque<(usize, Range<u64>)>,
    residents: Vec<Resident>,
    world: World,
    counters: Counters,
    output: Vec<(usize, u64, Vec<u8>)>,
    trace: Option<Box<Recording>>,
    /// Grows with every change that a warp could see.
    epoch: u64,
    /// The epoch in which waiters were last told that their time is up.
    timed_out_at: Option<u64>,
    /// Jumps of the clock since the epoch changed.
    idle_jumps: u64,
    recycled: Vec<SharedMemory>,
}

/// Jumps of the clock without any change after which nothing is expected to change any more.
const MOST_IDLE_JUMPS: u64 = 20_000;

impl<'a> Domain<'a> {
    fn new(grids: &'a [Grid<'a>], queue: VecDeque<(usize, Range<u64>)>) -> Self {
        let first = queue.front().map_or(0, |(_, clusters)| clusters.start);
        let options = &grids[0].options;
        let scheduler = Scheduler::new(options.schedule, mix(options.seed ^ mix(first)));
        Self {
            grids,
            queue,
            residents: Vec::new(),
            world: World {
                time: 0,
                scheduler,
                instructions: 0,
                memory: 0,
                race: options.race.map(|policy| Box::new(RaceDetector::new(policy))),
                history: (options.schedule.stale && options.race.is_some()).then(Box::default),
                caches: options
                    .l2_bytes
                    .map_or_else(Vec::new, |bytes| (0..grids[0].devices).map(|_| L2::new(bytes)).collect()),
            },
            counters: Counters::default(),
            output: Vec::new(),
            trace: None,
            epoch: 0,
            timed_out_at: None,
            idle_jumps: 0,
            recycled: Vec::new(),
        }
    }

    fn run(&mut self) -> Outcome {
        let reports = self.run_to_end().err().map(|report| *report).into_iter().collect();
        for resident in &mut self.residents {
            let output = std::mem::take(&mut resident.cluster.state.output);
            self.output.push((resident.grid, resident.cluster.state.index, output));
            self.trace = self.trace.take().or(resident.cluster.state.take_trace());
        }
        self.output.sort_by_key(|(grid, index, _)| (*grid, *index));
        let output = self.output.drain(..).flat_map(|(_, _, text)| text).collect();
        let warnings = self.world.race.as_deref_mut().map(RaceDetector::take_warnings).unwrap_or_default();
        let warnings =
            warnings.iter().map(|fault| make_report_of_all(self.grids, fault, fault.line)).collect();
        let (counters, trace) = (std::mem::take(&mut self.counters), self.trace.take());
        Outcome { reports, counters, output, warnings, trace, footprint: None }
    }

    fn run_to_end(&mut self) -> Result<(), Box<Report>> {
        loop {
            self.start_clusters()?;
            if self.residents.is_empty() {
                return Ok(());
            }
            let progressed = self.round()?;
            self.retire();
            if !progressed {
                self.resolve_stall()?;
            }
        }
    }

    /// Starts as many waiting clusters as the multiprocessors of each device hold.
    fn start_clusters(&mut self) -> Result<(), Box<Report>> {
        let mut full = Vec::new();
        let mut at = 0;
        while let Some((number, clusters)) = self.queue.get_mut(at) {
            let number = *number;
            if clusters.is_empty() {
                self.queue.remove(at);
                continue;
            }
            let grid = &self.grids[number];
            let held = self.residents.iter().filter(|resident| resident.grid == number).count() as u64;
            let fits = held == 0 || (held + 1) * u64::from(grid.cluster_size()) <= resident_ctas(grid);
            if !fits || full.contains(&grid.device) {
                full.push(grid.device);
                at += 1;
                continue;
            }
            let index = clusters.start;
            clusters.start += 1;
            let cluster =
                self.new_cluster(number, index).map_err(|fault| Box::new(make_report(grid, &fault, 0)))?;
            self.residents.push(Resident { grid: number, cluster });
        }
        Ok(())
    }

    fn new_cluster(&mut self, number: usize, index: u64) -> Result<Cluster, Box<Fault>> {
        let grid = &self.grids[number];
        let extents = grid.clusters();
        let coordinates = unflatten(index, extents);
        let warps_per_cta = grid.thread_count().div_ceil(32) as usize;
        let function = &grid.program.functions[grid.kernel.function];
        let limit = registers_per_thread(grid);
        self.world.take_memory(cluster_bytes(grid), grid)?;
        let mut ctas = Vec::new();
        let mut warps = Vec::new();
        for rank in 0..grid.cluster_size() {
            let cluster_index = unflatten(u64::from(rank), grid.cluster);
            let mut shared = self.recycled.pop().unwrap_or_else(|| {
                SharedMemory::new(rank, grid.kernel.static_shared_bytes, grid.dynamic_shared_bytes)
            });
            shared.reset(rank);
            ctas.push(Cta {
                index: std::array::from_fn(|axis| {
                    coordinates[axis] * grid.cluster[axis] + cluster_index[axis]
                }),
                cluster_index,
                shared,
                mbarriers: rustc_hash::FxHashMap::default(),
                barriers: std::array::from_fn(|_| crate::barrier::CtaBarrier::default()),
                threads_left: grid.thread_count(),
                warps_left: warps_per_cta as u32,
                live_warps: u32::MAX >> (32 - warps_per_cta),
                free_registers: 0,
                warpgroups: (0..warps_per_cta.div_ceil(4))
                    .map(|_| crate::cluster::Warpgroup::default())
                    .collect(),
            });
            for index in 0..warps_per_cta {
                let mut registers = RegisterFile::default();
                registers.enter(0, function.slots, 0, function.predicates);
                let first_thread = index as u32 * 32;
                let present = (grid.thread_count() - first_thread).min(32);
                let lanes = if present == 32 { u32::MAX } else { (1 << present) - 1 };
                let mut local = LocalMemory::new();
                local
                    .enter(lanes, 0, function.local_bytes)
                    .map_err(|error| Fault::new(Rule::MemoryBudget, error.to_string()))?;
                let mut thread = Box::new([[0; 32]; 3]);
                for lane in 0..32 {
                    let place = unflatten(u64::from(first_thread) + lane as u64, grid.threads);
                    (0..3).for_each(|axis| thread[axis][lane] = place[axis]);
                }
                warps.push(Warp {
                    cta: rank as usize,
                    index,
                    lanes,
                    exited: 0,
                    registers,
                    local,
                    fragments: vec![Fragment {
                        pc: function.entry,
                        lanes,
                        wait: Wait::Ready,
                        frame: Frame {
                            function: grid.kernel.function as u32,
                            base: 0,
                            predicate_base: 0,
                            local_base: 0,
                            return_pc: 0,
                            allocated: 0,
                        },
                        callers: Vec::new(),
                        timed_out: false,
                        collected: false,
                        spin: SpinWatch::default(),
                    }],
                    collective: Collective::default(),
                    flight: Flight::default(),
                    cluster_arrived: 0,
                    cluster_phases: [0; 32],
                    register_limit: limit,
                    carry: 0,
                    undefined_carry: u32::MAX,
                    thread,
                });
            }
        }
        let number = self.world.race.as_deref_mut().map_or(0, |race| {
            let lanes: Vec<u32> = warps.iter().map(|warp| warp.lanes).collect();
            let bytes: Vec<u32> = ctas.iter().map(|cta| cta.shared.size()).collect();
            race.start_cluster(&lanes, &bytes)
        });
        let trace = (grid.traced_cluster() == Some(index)).then(|| {
            let places = warps.iter().map(|warp| (warp.cta, warp.index));
            Box::new(Recorder::new(&grid.name, ctas[0].index, ctas.len() as u32, places))
        });
        let state = ClusterState {
            ctas,
            index,
            number,
            coordinates,
            barrier: crate::barrier::ClusterBarrier::default(),
            operations: Vec::new(),
            next_operation: 0,
            output: Vec::new(),
            epoch: 0,
            panels: wgmma::PanelCache::default(),
            trace,
        };
        Ok(Cluster { state, warps, warps_per_cta })
    }

    /// Runs the fragments of a warp for a turn. False if all of them wait.
    fn warp_turn(&mut self, at: usize, number: usize) -> Result<bool, Box<Report>> {
        let Resident { grid, cluster } = &mut self.residents[at];
        let grid = &self.grids[*grid];
        let warp = &mut cluster.warps[number];
        if warp.alive() == 0 {
            return Ok(false);
        }
        schedule::wake(warp, &cluster.state, &self.world, self.epoch);
        let mut left = self.world.scheduler.turn();
        let mut progressed = false;
        while left > 0 {
            // Mostly the fragment that lets the others catch up, sometimes any: so none starves.
            let any = warp.fragments.len() > 1 && self.world.scheduler.any_fragment();
            let Some(chosen) = schedule::choose(warp, any.then_some(&mut self.world.scheduler)) else {
                break;
            };
            progressed = true;
            let fragment = warp.fragments.swap_remove(chosen);
            warp.registers.select(fragment.frame.base as usize, fragment.frame.predicate_base as usize);
            let epoch = cluster.state.epoch;
            let traced = cluster.state.trace.is_some().then(|| Reading::of(&self.counters));
            let (cta, index) = (cluster.state.ctas[warp.cta].index, warp.index);
            let mut context = Context {
                program: &grid.program,
                grid,
                cluster: &mut cluster.state,
                world: &mut self.world,
                warp,
                warp_number: number,
                fragment,
                mask: 0,
                line: 0,
                counters: &mut self.counters,
            };
            let ran = if traced.is_some() {
                run_fragment::<true>(&mut context, left, any, self.epoch)
            } else {
                run_fragment::<false>(&mut context, left, any, self.epoch)
            };
            let (line, fragment) = (context.line, context.fragment);
            if fragment.lanes != 0 {
                warp.fragments.push(fragment);
            }
            if let (Some(recorder), Some(before)) = (&mut cluster.state.trace, &traced) {
                recorder.account(before, &self.counters);
            }
            if cluster.state.epoch != epoch {
                self.epoch += 1;
                self.idle_jumps = 0;
            }
            match ran {
                Ok(instructions) => {
                    left = left.saturating_sub(instructions.max(1));
                    self.world.instructions += instructions;
                    self.world.time = self.world.time.saturating_add(instructions);
                }
                Err(fault) => return Err(Box::new(make_report(grid, &fault, line).at(cta, index))),
            }
            if warp.alive() == 0 {
                schedule::warp_ended(cluster, number)
                    .map_err(|fault| Box::new(make_report(grid, &fault, line).at(cta, index)))?;
                break;
            }
            schedule::wake(warp, &cluster.state, &self.world, self.epoch);
            if self.world.instructions > grid.options.instruction_budget {
                return Err(Box::new(budget_report(grid)));
            }
            if self.world.scheduler.turn_is_over() {
                break;
            }
        }
        Ok(progressed)
    }

    /// Clusters that have ended make room.
    fn retire(&mut self) {
        let mut at = 0;
        while at < self.residents.len() {
            let cluster = &mut self.residents[at].cluster;
            let ended = cluster.state.ctas.iter().all(|cta| cta.threads_left == 0)
                && cluster.state.operations.is_empty();
            if !ended {
                at += 1;
                continue;
            }
            let Resident { grid, mut cluster } = self.residents.remove(at);
            self.trace = self.trace.take().or(cluster.state.take_trace());
            if let Some(race) = &mut self.world.race {
                race.end_cluster(cluster.state.number);
            }
            self.world.memory = self.world.memory.saturating_sub(cluster.host_bytes());
            let output = cluster.state.output;
            if !output.is_empty() {
                self.output.push((grid, cluster.state.index, output));
            }
            if self.grids.len() == 1 {
                self.recycled.extend(cluster.state.ctas.into_iter().map(|cta| cta.shared));
            }
            self.epoch += 1;
        }
    }

    /// Nothing runs: asynchronous work, time, or a deadlock.
    fn resolve_stall(&mut self) -> Result<(), Box<Report>> {
        let mut progressed = false;
        for at in 0..self.residents.len() {
            progressed |= self.advance_asynchronous(at, true)?;
        }
        if progressed || self.residents.is_empty() {
            return Ok(());
        }
        let clusters = || self.residents.iter().map(|resident| &resident.cluster);
        if let Some(time) = schedule::next_time(clusters()) {
            self.idle_jumps += 1;
            if self.idle_jumps < MOST_IDLE_JUMPS {
                self.world.time = self.world.time.max(time);
                return Ok(());
            }
        }
        if self.timed_out_at != Some(self.epoch) {
            self.timed_out_at = Some(self.epoch);
            let mut woken = false;
            for resident in &mut self.residents {
                woken |= schedule::time_out_waiters(&mut resident.cluster);
            }
            if woken {
                return Ok(());
            }
        }
        let stuck = self.residents.iter().map(|resident| (&self.grids[resident.grid], &resident.cluster));
        Err(Box::new(schedule::diagnose(stuck)))
    }
}

/// Runs a fragment until it waits, ends, gives way to another, or has used up its turn. Gives the instructions issued.
/// A traced one is told to the recorder instruction by instruction.
fn run_fragment<const TRACED: bool>(
    context: &mut Context<'_>,
    turn: u64,
    keep: bool,
    epoch: u64,
) -> Result<u64, Box<Fault>> {
    let program = context.program;
    let watched = context.world.scheduler.watches();
    let mut instructions = 0;
    // Its last turn may have ended where others wait for it.
    if !context.warp.fragments.is_empty() {
        schedule::gives_way(context, true);
    }
    loop {
        let op = &program.code[context.fragment.pc as usize];
        context.line = op.line;
        context.mask = match op.guard.predicate() {
            None => context.fragment.lanes,
            Some((index, negated)) => {
                let lanes = context.fragment.lanes;
                let undefined = context.warp.registers.undefined_predicate(index) & lanes;
                if undefined != 0 && context.grid.options.check_initialized {
                    return Err(context.undefined_fault(undefined, "the guard of an instruction"));
                }
                let value = context.warp.registers.predicate(index);
                (if negated { !value } else { value }) & lanes
            }
        };
        instructions += 1;
        let lanes = lane_count(context.mask);
        let before = TRACED.then(|| Reading::of(context.counters));
        let flow = if lanes == 0 { Flow::Next } else { (op.run)(context, op)? };
        // What waits runs again, and counts then.
        let mut turn_ends = false;
        if flow != Flow::Blocked {
            context.counters.issued[op.class as usize] += 1;
            context.counters.active_lanes[op.class as usize] += lanes;
            if let (Some(recorder), Some(before)) = (&mut context.cluster.trace, &before) {
                recorder.issue(context.warp_number, op.class, op.line, before, context.counters);
            }
            turn_ends = watched && lanes != 0 && context.world.scheduler.after(op.class);
        }
        match flow {
            Flow::Next => context.fragment.pc += 1,
            Flow::Jumped => {}
            Flow::Looped => {
                if schedule::spins(context, epoch) {
                    return Ok(instructions);
                }
            }
            Flow::Blocked => return Ok(instructions),
            Flow::BlockedAfter => {
                context.fragment.pc += 1;
                return Ok(instructions);
            }
            Flow::Exited => {
                if context.fragment.lanes == 0 {
                    return Ok(instructions);
                }
                context.fragment.pc += 1;
            }
        }
        if instructions >= turn || turn_ends {
            return Ok(instructions);
        }
        if !context.warp.fragments.is_empty() && schedule::gives_way(context, keep) {
            return Ok(instructions);
        }
    }
}

fn unflatten(index: u64, extents: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = extents.map(|extent| u64::from(extent.max(1)));
    [(index % x) as u32, (index / x % y) as u32, (index / x / y) as u32]
}

/// CTAs that all multiprocessors together hold.
fn resident_ctas(grid: &Grid<'_>) -> u64 {
    let limits = &grid.limits;
    let by_threads = limits.resident_threads / grid.thread_count().max(1).next_multiple_of(32);
    let shared = grid.kernel.static_shared_bytes + grid.dynamic_shared_bytes + 1024;
    let by_shared = limits.multiprocessor_shared_bytes / shared;
    let each = by_threads.min(by_shared).min(limits.resident_ctas).max(1);
    u64::from(each) * u64::from(limits.multiprocessors)
}

/// The bytes of the host that a cluster takes when it starts.
fn cluster_bytes(grid: &Grid<'_>) -> u64 {
    let function = &grid.program.functions[grid.kernel.function];
    let shared = u64::from(grid.kernel.static_shared_bytes) + u64::from(grid.dynamic_shared_bytes);
    let warp =
        RegisterFile::host_bytes_of(function.slots) + LocalMemory::host_bytes_of(function.local_bytes.into());
    let warps = u64::from(grid.thread_count().div_ceil(32));
    u64::from(grid.cluster_size()) * (SharedMemory::host_bytes_of(shared) + warps * warp)
}

/// Registers that a thread starts with: `.maxnreg`, or what the launch bounds leave.
fn registers_per_thread(grid: &Grid<'_>) -> u32 {
    const MOST: u64 = 255;
    let kernel = &grid.kernel;
    if let Some(registers) = kernel.max_registers {
        return registers.min(MOST as u32);
    }
    let extents = kernel.required_threads.or(kernel.max_threads).unwrap_or(grid.threads);
    let threads = extents.iter().fold(1, |product: u64, extent| product.saturating_mul((*extent).into()));
    let threads = threads.clamp(1, MAX_THREADS.into()).next_multiple_of(128);
    let ctas = u64::from(kernel.min_ctas_per_multiprocessor.unwrap_or(1).max(1));
    (u64::from(REGISTERS) / (threads * ctas) / 8 * 8).clamp(24, MOST) as u32
}

/// A fault with kernel, line and source.
pub(crate) fn make_report(grid: &Grid<'_>, fault: &Fault, line: u32) -> Report {
    Report {
        rule: fault.rule,
        kernel: grid.name.clone(),
        line,
        other_line: fault.other_line,
        source: grid.program.source(line),
        place: None,
        device: (grid.devices > 1).then_some(grid.device),
        message: fault.message.clone(),
    }
}

/// The same of launches that ran together, any of which it may be about.
pub(crate) fn make_report_of_all(grids: &[Grid<'_>], fault: &Fault, line: u32) -> Report {
    let mut report = make_report(&grids[0], fault, line);
    report.device = report.device.filter(|first| grids.iter().all(|grid| grid.device == *first));
    report
}

fn budget_report(grid: &Grid<'_>) -> Report {
    let message =
        format!("the launch issued more than {} warp instructions", grid.options.instruction_budget);
    make_report(grid, &Fault::new(Rule::InstructionBudget, message), 0)
}
