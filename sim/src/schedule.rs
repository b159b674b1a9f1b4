//! Who runs next, who has to wait, and what to say when nobody can run.
//!
//! A [`Schedule`] says how what the PTX ISA leaves open is decided; its [`Scheduler`] decides it, by the seed.

mod kinds;
mod scheduler;
mod shrink;
mod spec;

use crate::cluster::{Cluster, ClusterState, shared_name};
use crate::context::{Context, World, mix};
use crate::grid::Grid;
use crate::machine::make_report;
use crate::report::{Fault, Report, Rule, lanes as name_lanes, verb};
use crate::warp::{Fragment, Wait, Warp};
use std::fmt::Write;

pub use kinds::{Ahead, Leader, Order, Schedule, Starved, When};
pub use scheduler::{Level, Runner, Scheduler};
pub use shrink::shrink;
pub use spec::ScheduleError;

/// Ends the waits of a warp's fragments that are over.
pub fn wake(warp: &mut Warp, cluster: &ClusterState, world: &World, epoch: u64) {
    let alive = warp.alive();
    for at in 0..warp.fragments.len() {
        let fragment = &warp.fragments[at];
        if fragment.wait != Wait::Ready && is_over(warp, fragment, cluster, world, epoch, alive) {
            let fragment = &mut warp.fragments[at];
            fragment.wait = Wait::Ready;
            fragment.spin.jumps = 0;
        }
    }
}

fn is_over(
    warp: &Warp,
    fragment: &Fragment,
    cluster: &ClusterState,
    world: &World,
    epoch: u64,
    alive: u32,
) -> bool {
    let cta = &cluster.ctas[warp.cta];
    match fragment.wait {
        Wait::Ready => true,
        Wait::Gather { need, .. } => need & alive & !fragment.lanes == 0 || fragment.collected,
        Wait::CtaBarrier { id, generation } => cta.barriers[usize::from(id)].generation > generation,
        Wait::ClusterBarrier { phase } => cluster.barrier.phase > phase,
        Wait::Mbarrier { address, phase } => {
            fragment.timed_out || cta.mbarriers.get(&address).is_none_or(|barrier| barrier.phase > phase)
        }
        Wait::BulkGroups { left, read } => warp.flight.bulk_done(fragment.lanes, left, read),
        Wait::CopyGroups { left } => warp.flight.copies_done(fragment.lanes, left),
        Wait::MatrixGroups { left } => warp.flight.matrices_done(left),
        Wait::Warpgroup { round } => cta.warpgroups[warp.index / 4].rounds.iter().all(|come| *come >= round),
        Wait::RegisterPool { registers } => {
            cta.free_registers >= registers.saturating_sub(warp.register_limit) * warp.lanes.count_ones()
        }
        Wait::Until { time } => world.time >= time,
        Wait::Spin { epoch: then, until } => epoch != then || world.time >= until,
    }
}

/// A fragment that can run: by order, or any if chance decides.
#[must_use]
pub fn choose(warp: &Warp, chance: Option<&mut Scheduler>) -> Option<usize> {
    let mut ready = (0..warp.fragments.len()).filter(|&at| warp.fragments[at].wait == Wait::Ready);
    match chance {
        None => ready.min_by_key(|&at| warp.fragments[at].order()),
        Some(scheduler) => {
            let count = ready.clone().count();
            ready.nth(scheduler.fragment(count))
        }
    }
}

/// Merges the running fragment with those it meets; true if another one should run first.
pub fn gives_way(context: &mut Context<'_>, keep: bool) -> bool {
    let apart = context.world.scheduler.keeps_apart();
    let mut at = 0;
    let mut first = context.fragment.order();
    let mut gives_way = false;
    while at < context.warp.fragments.len() {
        let other = &context.warp.fragments[at];
        let may_merge = match other.wait {
            Wait::Ready => !apart,
            Wait::Gather { .. } => true,
            _ => false,
        };
        if may_merge && context.fragment.meets(other) {
            let other = context.warp.fragments.swap_remove(at);
            context.fragment.lanes |= other.lanes;
            continue;
        }
        if other.wait == Wait::Ready && other.order() < first {
            first = other.order();
            gives_way = true;
        }
        at += 1;
    }
    gives_way && !keep
}

/// Backward jumps without any change after which a loop is examined.
const JUMPS_BEFORE_FINGERPRINT: u32 = 512;

/// Called after a jump: whether the fragment goes round a loop in which nothing changes, so that it has to wait.
pub fn spins(context: &mut Context<'_>, epoch: u64) -> bool {
    let now = epoch.wrapping_add(context.cluster.epoch);
    let target = context.fragment.pc;
    let watch = &mut context.fragment.spin;
    if watch.epoch != now {
        *watch = crate::warp::SpinWatch { epoch: now, ..Default::default() };
        return false;
    }
    watch.jumps += 1;
    if watch.jumps < JUMPS_BEFORE_FINGERPRINT {
        return false;
    }
    if let Some(since) = watch.clock_read {
        // It may wait for a time. Looking ever more rarely, it comes soon to any, and the others are not outrun.
        let time = context.world.time;
        let until = time.saturating_add((time - since).max(JUMPS_BEFORE_FINGERPRINT.into()));
        context.fragment.wait = Wait::Spin { epoch, until };
        return true;
    }
    if watch.jumps == JUMPS_BEFORE_FINGERPRINT {
        watch.target = target;
        watch.fingerprint = fingerprint(context.warp, context.fragment.lanes);
        return false;
    }
    if watch.target != target {
        // The jumps of a loop body other than the one that was marked; a mark that is never met again is moved.
        if watch.jumps > 2 * JUMPS_BEFORE_FINGERPRINT {
            watch.jumps = 0;
        }
        return false;
    }
    if fingerprint(context.warp, context.fragment.lanes) != watch.fingerprint {
        watch.jumps = 0;
        return false;
    }
    // Epochs of the domain count the changes of this cluster after the turn; none is outstanding here.
    context.fragment.wait = Wait::Spin { epoch, until: u64::MAX };
    true
}

fn fingerprint(warp: &Warp, lanes: u32) -> u64 {
    warp.registers.words().fold(mix(u64::from(lanes)), |hash, word| {
        (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

/// Every lane of a warp has exited.
///
/// # Errors
///
/// If work of the warp is still under way that its exit cuts off.
pub fn warp_ended(cluster: &mut Cluster, number: usize) -> Result<(), Box<Fault>> {
    let warp = &cluster.warps[number];
    if let Some(matrix) = warp.flight.matrices.front() {
        return Err(Box::new(
            Fault::new(
                Rule::ExitInFlight,
                format!(
                    "warp {} exits while its wgmma is in flight: no wgmma.wait_group has retired it",
                    warp.index
                ),
            )
            .with_other(matrix.line),
        ));
    }
    let cta = warp.cta;
    cluster.state.changed();
    let state = &mut cluster.state.ctas[cta];
    state.warps_left -= 1;
    if state.warps_left > 0 {
        return Ok(());
    }
    let warps = cta * cluster.warps_per_cta..(cta + 1) * cluster.warps_per_cta;
    check_register_changes(&cluster.state, cta, cluster.warps_per_cta)?;
    for warp in &cluster.warps[warps.clone()] {
        if let Some(bulk) = warp.flight.bulk.iter().find(|bulk| bulk.reading) {
            let line = cluster
                .state
                .operations
                .iter()
                .find(|operation| operation.id == bulk.id)
                .map_or(0, |op| op.line);
            return Err(Box::new(
                Fault::new(
                    Rule::ExitInFlight,
                    format!(
                        "CTA rank {cta} ends while a bulk copy of lane {} of warp {} still reads its shared memory: \
                         cp.async.bulk.wait_group.read 0 is missing",
                        bulk.lane, warp.index
                    ),
                )
                .with_other(line),
            ));
        }
    }
    let busy = cluster.state.ctas[cta].mbarriers.iter().filter(|(_, barrier)| barrier.in_flight > 0);
    if let Some((address, _)) = busy.min_by_key(|(address, _)| **address) {
        return Err(Box::new(Fault::new(
            Rule::ExitInFlight,
            format!(
                "CTA rank {cta} ends while a copy into it is under way that signals the mbarrier at {}",
                shared_name(*address)
            ),
        )));
    }
    Ok(())
}

/// Demands that the warps of each warpgroup of a CTA have all executed the same number of `setmaxnreg`.
fn check_register_changes(state: &ClusterState, cta: usize, warps: usize) -> Result<(), Box<Fault>> {
    for (number, group) in state.ctas[cta].warpgroups.iter().enumerate() {
        let members = number * 4..warps.min(number * 4 + 4);
        for warp in members {
            let Some(&(registers, _, line)) =
                group.register_changes.get(group.register_changes_made[warp % 4])
            else {
                continue;
            };
            return Err(Box::new(
                Fault::new(
                    Rule::RegisterPool,
                    format!(
                        "warp {warp} of CTA rank {cta} has not executed the setmaxnreg to {registers} registers that \
                         another warp of its warpgroup has: all four warps must"
                    ),
                )
                .with_other(line),
            ));
        }
    }
    Ok(())
}

/// The earliest time that a sleeping fragment waits for.
pub fn next_time<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> Option<u64> {
    clusters
        .flat_map(|cluster| &cluster.warps)
        .flat_map(|warp| &warp.fragments)
        .filter_map(|fragment| match fragment.wait {
            Wait::Until { time } => Some(time),
            Wait::Spin { until, .. } if until != u64::MAX => Some(until),
            _ => None,
        })
        .min()
}

/// Tells every waiter on an mbarrier that its time is up; false if there is none.
pub fn time_out_waiters(cluster: &mut Cluster) -> bool {
    let mut woken = false;
    for fragment in cluster.warps.iter_mut().flat_map(|warp| &mut warp.fragments) {
        if matches!(fragment.wait, Wait::Mbarrier { .. }) {
            fragment.timed_out = true;
            woken = true;
        }
    }
    woken
}

/// Nothing can run any more: says who waits for what.
pub fn diagnose<'a, 'g: 'a>(stuck: impl Iterator<Item = (&'a Grid<'g>, &'a Cluster)> + Clone) -> Report {
    for (grid, cluster) in stuck.clone() {
        for warp in &cluster.warps {
            if let Some(report) = misuse(grid, warp) {
                return report.at(cluster.state.ctas[warp.cta].index, warp.index);
            }
        }
    }
    let mut message = String::from("no warp can go on");
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut cause: Option<(u32, &Grid<'_>, u32)> = None;
    for (grid, cluster) in stuck.clone() {
        for warp in &cluster.warps {
            for fragment in &warp.fragments {
                let rank = cause_rank(fragment.wait);
                if cause.is_none_or(|(other, _, _)| rank < other) {
                    cause = Some((rank, grid, wait_line(grid, fragment)));
                }
                let waits = wait_in_words(grid, cluster, warp, fragment);
                let [x, y, z] = cluster.state.ctas[warp.cta].index;
                let who = format!(
                    "warp {}{} of CTA ({x}, {y}, {z}){}",
                    warp.index,
                    if fragment.lanes == warp.lanes {
                        String::new()
                    } else {
                        format!(" {}", name_lanes(fragment.lanes))
                    },
                    if grid.devices > 1 { format!(" on device {}", grid.device) } else { String::new() },
                );
                match rows.iter_mut().find(|(text, _)| *text == waits) {
                    Some((_, names)) => names.push(who),
                    None => rows.push((waits, vec![who])),
                }
            }
        }
    }
    const MOST_ROWS: usize = 40;
    for (waits, names) in rows.iter().take(MOST_ROWS) {
        let more = if names.len() > 4 { format!(" and {} more", names.len() - 4) } else { String::new() };
        let _ = write!(message, "\n  {}{more}: {waits}", names[..names.len().min(4)].join(", "));
    }
    if rows.len() > MOST_ROWS {
        let _ = write!(message, "\n  and {} other waits", rows.len() - MOST_ROWS);
    }
    let (_, grid, line) = cause.expect("something waits");
    make_report(grid, &Fault::new(Rule::Deadlock, message), line)
}

/// Waits that are likely to be why others wait come first: those at barriers wait for warps that are stuck elsewhere.
const fn cause_rank(wait: Wait) -> u32 {
    match wait {
        Wait::CtaBarrier { .. } => 1,
        Wait::ClusterBarrier { .. } => 2,
        _ => 0,
    }
}

/// The PTX line of the instruction that waits.
fn wait_line(grid: &Grid<'_>, fragment: &Fragment) -> u32 {
    let begun_before = matches!(
        fragment.wait,
        Wait::CtaBarrier { .. }
            | Wait::ClusterBarrier { .. }
            | Wait::BulkGroups { .. }
            | Wait::CopyGroups { .. }
            | Wait::Until { .. }
    );
    // These waits go on with the next instruction; they were begun by the one before.
    grid.program.code[fragment.pc.saturating_sub(begun_before.into()) as usize].line
}

/// Lanes that wait for partners that will not come to the same instruction.
fn misuse(grid: &Grid<'_>, warp: &Warp) -> Option<Report> {
    let gathers = warp.fragments.iter().filter_map(|fragment| match fragment.wait {
        Wait::Gather { need, aligned, .. } => Some((fragment, need, aligned)),
        _ => None,
    });
    // Of several, the instruction that is the strictest, and the first in the code.
    let (fragment, need, aligned) = gathers.min_by_key(|(fragment, _, aligned)| (!aligned, fragment.pc))?;
    let line = grid.program.code[fragment.pc as usize].line;
    let missing = need & warp.alive() & !fragment.lanes;
    let other = warp.fragments.iter().find(|other| other.lanes & missing != 0);
    let other_line = other.map(|other| grid.program.code[other.pc as usize].line);
    let rule = if aligned {
        "an .aligned instruction needs all lanes of the warp together"
    } else {
        "a .sync instruction needs all lanes of its mask"
    };
    let mut fault = Fault::new(
        Rule::Convergence,
        format!(
            "{rule}: {} {} here, {} {} at line {}",
            name_lanes(fragment.lanes),
            verb(fragment.lanes, "waits", "wait"),
            name_lanes(missing),
            verb(missing, "is", "are"),
            other_line.unwrap_or(0),
        ),
    );
    fault.other_line = other_line;
    Some(make_report(grid, &fault, line))
}

fn wait_in_words(grid: &Grid<'_>, cluster: &Cluster, warp: &Warp, fragment: &Fragment) -> String {
    let line = wait_line(grid, fragment);
    let cta = &cluster.state.ctas[warp.cta];
    match fragment.wait {
        Wait::Ready => format!("line {line}: ready"),
        Wait::Gather { need, .. } => {
            format!("line {line}: waits for {} to execute it too", name_lanes(need & !fragment.lanes))
        }
        Wait::CtaBarrier { id, .. } => {
            let barrier = &cta.barriers[usize::from(id)];
            let come: Vec<String> = barrier.warps.iter().map(|(warp, _)| warp.to_string()).collect();
            let absent: Vec<String> = (0..cluster.warps_per_cta)
                .filter(|index| !barrier.warps.iter().any(|(warp, _)| warp == index))
                .map(|index| {
                    let warp = &cluster.warps[warp.cta * cluster.warps_per_cta + index];
                    if warp.alive() == 0 { format!("{index} (exited)") } else { index.to_string() }
                })
                .collect();
            format!(
                "line {line}: waits at barrier {id}, {} of {} threads have come (warps {}; not warps {})",
                barrier.arrived,
                barrier.expected,
                come.join(","),
                absent.join(",")
            )
        }
        Wait::ClusterBarrier { phase } => format!(
            "line {line}: waits at the cluster barrier, phase {phase}, {} of {} live threads have arrived",
            cluster.state.barrier.arrived,
            cluster.state.ctas.iter().map(|cta| cta.threads_left).sum::<u32>()
        ),
        Wait::Mbarrier { address, phase } => {
            let state = cta.mbarriers.get(&address).map_or_else(
                || "which is gone".to_owned(),
                |barrier| {
                    let last = match barrier.last_arrival {
                        0 => "nobody has arrived".to_owned(),
                        line => format!("the last arrival was at line {line}"),
                    };
                    format!("{}; initialised at line {}, {last}", barrier.deficit(), barrier.line)
                },
            );
            format!(
                "line {line}: waits for phase {phase} of the mbarrier at {}: {state}",
                shared_name(address)
            )
        }
        Wait::BulkGroups { left, .. } => format!("line {line}: waits for all but {left} bulk groups"),
        Wait::CopyGroups { left } => format!("line {line}: waits for all but {left} cp.async groups"),
        Wait::MatrixGroups { left } => {
            let group = &cta.warpgroups[warp.index / 4];
            let absent: Vec<String> = (0..4)
                .filter(|&index| group.issued[index] <= group.executed)
                .map(|index| (warp.index / 4 * 4 + index).to_string())
                .collect();
            format!(
                "line {line}: waits for all but {left} wgmma groups; warps {} of its warpgroup have not issued the product",
                absent.join(",")
            )
        }
        Wait::Warpgroup { .. } => {
            let rounds = &cta.warpgroups[warp.index / 4].rounds;
            let absent: Vec<String> = (0..4)
                .filter(|&index| rounds[index] < rounds[warp.index % 4])
                .map(|index| (warp.index / 4 * 4 + index).to_string())
                .collect();
            format!("line {line}: waits for warps {} of its warpgroup to execute it too", absent.join(","))
        }
        Wait::RegisterPool { registers } => format!(
            "line {line}: waits for {registers} registers a thread (it has {}), the CTA's pool holds {} in all",
            warp.register_limit, cta.free_registers
        ),
        Wait::Until { .. } => format!("line {line}: sleeps again and again while nothing changes"),
        Wait::Spin { .. } => format!("line {line}: goes round a loop in which nothing changes"),
    }
}
