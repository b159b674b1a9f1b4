//! Races in words: both accesses, their last synchronisation, and the edge that is missing.

use super::Region;
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
    /// A byte that both touch.
    pub address: u64,
    /// Where it is.
    pub region: Region,
    /// The rank of the CTA that is running.
    pub own_cta: u32,
    /// Whether the earlier one happened before, so that only a proxy fence or another rule is missing.
    pub happened_before: bool,
    /// An acquire that found a release out of its scope.
    pub missed: Option<String>,
}

/// The fault of a race.
pub fn race(conflict: &Conflict<'_>) -> Fault {
    let Conflict { records, earlier, now, address, region, .. } = conflict;
    let place = match region {
        Region::Shared { cta, base } => {
            format!("byte {} of the shared memory of CTA rank {cta}", address - u64::from(*base))
        }
        Region::Global => format!("global address {address:#x}"),
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

const fn kind(record: &Record) -> &'static str {
    match (record.path, record.write, record.strong.is_some()) {
        (Path::Generic, false, false) => "read",
        (Path::Generic, true, false) => "write",
        (Path::Generic, false, true) => "strong read",
        (Path::Generic, true, true) => "strong write",
        (Path::Asynchronous, false, _) => "asynchronous read",
        (Path::Asynchronous, true, _) => "asynchronous write",
        (Path::Bulk, false, _) => "read by a bulk copy",
        (Path::Bulk, true, _) => "write by a bulk copy",
        (Path::Matrix, _, _) => "read by wgmma",
    }
}

fn who(records: &Records, record: &Record, address: u64) -> String {
    let lanes = records.lanes_at(record, address);
    match record.path {
        Path::Generic => format!("by {} of warp {}", name_lanes(lanes), record.warp),
        _ => format!("started by warp {}", record.warp),
    }
}

fn whose(conflict: &Conflict<'_>) -> String {
    let Conflict { records, earlier, now, address, .. } = conflict;
    let lanes = name_lanes(records.lanes_at(earlier, *address));
    let started =
        if earlier.path == Path::Generic { format!("by {lanes} of") } else { "started by".to_owned() };
    let warp = if earlier.device != now.device {
        format!("warp {} of device {}", earlier.warp, earlier.device)
    } else if earlier.agent.cluster != now.agent.cluster {
        format!("warp {} of another cluster", earlier.warp)
    } else if earlier.cta != now.cta {
        format!("warp {} of CTA rank {}", earlier.warp, earlier.cta)
    } else if earlier.warp == now.warp {
        "the same warp".to_owned()
    } else {
        format!("warp {}", earlier.warp)
    };
    format!("{started} {warp}")
}

/// What would order the two.
fn missing_edge(conflict: &Conflict<'_>) -> String {
    let Conflict { earlier, now, region, happened_before, .. } = conflict;
    let space = match region {
        Region::Shared { cta, .. } if *cta == conflict.own_cta => "shared::cta",
        Region::Shared { .. } => "shared::cluster",
        Region::Global => "global",
    };
    let line = earlier.line;
    if let (Path::Generic, Path::Generic, Some(narrow)) = (earlier.path, now.path, narrow_scope(earlier, now))
    {
        return narrow;
    }
    match earlier.path {
        Path::Generic if now.path.is_async_proxy() && *happened_before => {
            format!("it happened before, but needs fence.proxy.async.{space} after line {line}")
        }
        Path::Generic if now.path.is_async_proxy() && earlier.warp == now.warp && earlier.cta == now.cta => {
            format!("needs fence.proxy.async.{space} after line {line}")
        }
        Path::Generic if *happened_before => {
            "ld.global.nc needs memory that nobody writes during the launch".to_owned()
        }
        Path::Generic if earlier.agent == now.agent => {
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
        Path::Generic => format!(
            "nothing orders them: needs a barrier, or an arrival after line {line} that is waited for, between them"
        ),
        Path::Asynchronous => format!(
            "needs cp.async.wait_group or the mbarrier that it signals to be waited for after line {line}, and a \
             barrier if another thread waits"
        ),
        Path::Bulk if earlier.write && matches!(region, Region::Shared { .. }) => {
            format!("needs a wait on the mbarrier that the copy of line {line} signals")
        }
        Path::Bulk if earlier.write => {
            format!(
                "needs cp.async.bulk.wait_group without .read after line {line}, by the thread that started it"
            )
        }
        Path::Bulk if earlier.device != now.device => format!(
            "needs a wait for the copy of line {line}, then a release and an acquire of .sys scope between the two devices"
        ),
        Path::Bulk => format!(
            "needs the copy of line {line} to be waited for by the thread that started it \
             (cp.async.bulk.wait_group.read for a store, its mbarrier for a load)"
        ),
        Path::Matrix => format!("needs wgmma.wait_group for the product of line {line}"),
    }
}

/// Of two strong accesses, the one whose scope leaves out the thread of the other.
fn narrow_scope(earlier: &Record, now: &Record) -> Option<String> {
    let (mine, theirs) = (now.strong?, earlier.strong?);
    let (scope, line) = if theirs <= mine { (theirs, earlier.line) } else { (mine, now.line) };
    let (far, needed) = if earlier.device != now.device {
        ("on another device", Scope::Sys)
    } else if earlier.agent.cluster != now.agent.cluster {
        ("in another cluster", Scope::Gpu)
    } else {
        ("in another CTA", Scope::Cluster)
    };
    let (scope, needed) = (scope.name(), needed.name());
    Some(format!("the scope of line {line} is {scope}, and the other thread is {far}: needs {needed}"))
}

fn synchronisation(record: &Record, here: &str) -> String {
    match record.synchronised {
        0 => format!("none {here}"),
        line => format!("line {line} {here}"),
    }
}
