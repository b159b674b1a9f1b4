//! Races in words: both accesses, their last synchronisation, and the edge that is missing.

use super::Region;
use super::check::are_of_one_size;
use super::clock::{Agent, AgentKind};
use super::record::{Path, Record, Records};
use super::scope::Scope;
use crate::report::{Fault, Rule, lanes as name_lanes};
use std::fmt::Write;

/// A conflict that nothing orders.
pub struct Conflict<'a> {
    /// The records of the run.
    pub records: &'a Records,
    /// The access before.
    pub earlier: &'a Record,
    /// The access now.
    pub now: &'a Record,
    /// The first byte that both touch.
    pub address: u64,
    /// Where it is.
    pub region: Region,
    /// The rank of the CTA that is running.
    pub own_cta: u32,
    /// Whether the earlier one happened before, so that only a proxy fence or another rule is missing.
    pub happened_before: bool,
    /// Whether the order does not matter, because the access is `ld.global.nc`.
    pub constant: bool,
    /// An acquire that found a release out of its scope.
    pub missed: Option<String>,
}

/// The fault of a race.
pub fn race(conflict: &Conflict<'_>) -> Fault {
    let Conflict { records, earlier, now, address, region, .. } = conflict;
    let more = common_bytes(conflict) - 1;
    let place = match (region, more) {
        (Region::Shared { cta, base }, _) => {
            let first = address - u64::from(*base);
            let bytes = if more == 0 {
                format!("byte {first}")
            } else {
                format!("bytes {first} to {}", first + more)
            };
            format!("{bytes} of the shared memory of CTA rank {cta}")
        }
        (Region::Global, 0) => format!("the byte at global address {address:#x}"),
        (Region::Global, _) => format!("the {} bytes at global address {address:#x}", more + 1),
    };
    let mut message = format!(
        "the {} of {place} {} races with the {} {} at line {}",
        kind(now),
        who(records, now, *address),
        kind(earlier),
        whose(conflict),
        earlier.line
    );
    let _ = write!(message, ": {}", missing_edge(conflict));
    if let Some(missed) = &conflict.missed {
        let _ = write!(message, "; {missed}");
    }
    let _ = write!(
        message,
        ". Last synchronisation before: {} and {}",
        synchronisation(now, "here"),
        synchronisation(earlier, "there")
    );
    Fault::new(Rule::Race, message).with_other(earlier.line)
}

/// How many bytes from the first on two accesses have in common, so far as their sizes are known.
fn common_bytes(conflict: &Conflict<'_>) -> u64 {
    let Conflict { earlier, now, address, .. } = conflict;
    let sizes = [now, earlier].map(|record| u64::from(record.scalar_bytes));
    let left = sizes.iter().filter(|bytes| **bytes > 0).map(|bytes| bytes - address % bytes);
    left.min().unwrap_or(1)
}

/// The warning that only lock step orders two accesses of a warp, or nothing a weak read and a compare-and-swap.
pub fn warning(records: &Records, now: &Record, earlier: &Record, address: u64, lock_step: bool) -> Fault {
    let (kind_now, kind_earlier) = (kind(now), kind(earlier));
    let [mine, theirs] = [now, earlier].map(|record| name_lanes(records.lanes_at(record, address)));
    let message = if lock_step {
        format!(
            "the {kind_now} by {mine} and the {kind_earlier} by {theirs} of the same warp touch the same bytes, and only \
             lock step orders them: bar.warp.sync is missing between them"
        )
    } else {
        format!(
            "the {kind_now} by {mine} races with the {kind_earlier} by {theirs}: a loop around a compare-and-swap may begin \
             with a weak read, nothing else may"
        )
    };
    Fault::new(Rule::Race, message).at_line(now.line).with_other(earlier.line)
}

/// What an access is.
pub const fn kind(record: &Record) -> &'static str {
    match (record.path, record.write, record.strong.is_some()) {
        (Path::Generic, false, false) => "read",
        (Path::Generic, true, false) => "write",
        (Path::Generic, false, true) => "strong read",
        (Path::Generic, true, true) => "strong write",
        (Path::Asynchronous, false, _) => "asynchronous read",
        (Path::Asynchronous, true, false) => "asynchronous write",
        (Path::Asynchronous, true, true) => "asynchronous reduction",
        (Path::Bulk, false, _) => "read by a bulk copy",
        (Path::Bulk, true, false) => "write by a bulk copy",
        (Path::Bulk, true, true) => "bulk reduction",
        (Path::Matrix, _, _) => "read by wgmma",
    }
}

fn who(records: &Records, record: &Record, address: u64) -> String {
    let lanes = records.lanes_at(record, address);
    match record.path {
        Path::Generic => format!("by {} of warp {}", name_lanes(lanes), record.warp_of_cta),
        _ => format!("started by warp {}", record.warp_of_cta),
    }
}

fn whose(conflict: &Conflict<'_>) -> String {
    let Conflict { records, earlier, now, address, .. } = conflict;
    let lanes = name_lanes(records.lanes_at(earlier, *address));
    let started =
        if earlier.path == Path::Generic { format!("by {lanes} of") } else { "started by".to_owned() };
    let warp = if earlier.device != now.device {
        format!("warp {} of device {}", earlier.warp_of_cta, earlier.device)
    } else if earlier.agent.cluster != now.agent.cluster {
        format!("warp {} of another cluster", earlier.warp_of_cta)
    } else if earlier.cta != now.cta {
        format!("warp {} of CTA rank {}", earlier.warp_of_cta, earlier.cta)
    } else if earlier.warp == now.warp {
        "the same warp".to_owned()
    } else {
        format!("warp {}", earlier.warp_of_cta)
    };
    format!("{started} {warp}")
}

/// What would order the two.
fn missing_edge(conflict: &Conflict<'_>) -> String {
    let Conflict { earlier, now, region, happened_before, .. } = conflict;
    let line = earlier.line;
    if let (Some(mine), Some(theirs)) = (now.strong, earlier.strong) {
        return format!("{}: {}", why_not_atomic(now, earlier, mine, theirs), missing_order(conflict));
    }
    if conflict.constant {
        return "ld.global.nc needs memory that nobody writes during the launch".to_owned();
    }
    match earlier.path {
        Path::Generic if now.path.is_async_proxy() => {
            let fence = format!("fence.proxy.async.{} after line {line}", space(region, conflict.own_cta));
            if *happened_before {
                format!("it happened before, but needs {fence}")
            } else {
                format!("{}, and {fence}", missing_order(conflict))
            }
        }
        _ => missing_order(conflict),
    }
}

/// Why two strong accesses are not atomic to each other.
fn why_not_atomic(now: &Record, earlier: &Record, mine: Scope, theirs: Scope) -> String {
    if now.path.is_async_proxy() != earlier.path.is_async_proxy() {
        "reductions of bulk copies and atomics of threads are of different proxies, not atomic to each other"
            .to_owned()
    } else if !are_of_one_size(now, earlier) {
        format!(
            "the accesses are of {} and {} bytes, and only those of one size are atomic to each other",
            now.scalar_bytes, earlier.scalar_bytes
        )
    } else {
        format!("the scopes {} and {} do not include each other", mine.name(), theirs.name())
    }
}

fn space(region: &Region, own_cta: u32) -> &'static str {
    match region {
        Region::Shared { cta, .. } if *cta == own_cta => "shared::cta",
        Region::Shared { .. } => "shared::cluster",
        Region::Global => "global",
    }
}

/// What would let the earlier one happen before.
fn missing_order(conflict: &Conflict<'_>) -> String {
    let Conflict { earlier, now, region, .. } = conflict;
    let line = earlier.line;
    match earlier.path {
        Path::Generic if earlier.warp == now.warp && earlier.agent.cluster == now.agent.cluster => {
            "the lanes run apart: needs bar.warp.sync between them".to_owned()
        }
        Path::Generic if earlier.device != now.device => {
            "nothing orders the two devices: needs a release and an acquire of .sys scope between them"
                .to_owned()
        }
        Path::Generic if earlier.agent.cluster != now.agent.cluster => {
            "nothing orders the two CTAs: needs a release and an acquire of .gpu scope between them"
                .to_owned()
        }
        Path::Generic if earlier.cta != now.cta => format!(
            "nothing orders them: needs the barrier of the cluster, or an arrival of .cluster scope after line {line} \
             that is waited for, between them"
        ),
        Path::Generic => format!(
            "nothing orders them: needs a barrier, or an arrival after line {line} that is waited for, between them"
        ),
        Path::Asynchronous if is_copy_of_thread(earlier) => format!(
            "needs cp.async.wait_group or the mbarrier that it signals to be waited for after line {line}, and a \
             barrier if another thread waits"
        ),
        Path::Bulk | Path::Asynchronous if earlier.write && matches!(region, Region::Shared { .. }) => {
            format!("needs a wait on the mbarrier that line {line} signals, for all the bytes that it counts")
        }
        Path::Bulk if earlier.device != now.device => format!(
            "needs a wait for the copy of line {line}, then a release and an acquire of .sys scope between the two devices"
        ),
        Path::Bulk if matches!(region, Region::Global) && !earlier.write => {
            format!("needs a wait on the mbarrier that the copy of line {line} signals")
        }
        Path::Bulk => format!(
            "needs cp.async.bulk.wait_group{} after line {line} by the thread that started it, and a barrier if \
             another one goes on",
            if earlier.write { " without .read" } else { ".read" }
        ),
        Path::Asynchronous => format!("needs a wait on the mbarrier that line {line} signals"),
        Path::Matrix => format!(
            "needs wgmma.wait_group for the product of line {line}, and a barrier if another warp goes on"
        ),
    }
}

/// Whether it is `cp.async`, and not an operation that an mbarrier counts.
fn is_copy_of_thread(record: &Record) -> bool {
    record.agent == Agent::of_warp(record.agent.cluster, record.warp, AgentKind::Copy)
}

fn synchronisation(record: &Record, here: &str) -> String {
    match record.synchronised {
        0 => format!("none {here}"),
        line => format!("line {line} {here}"),
    }
}
