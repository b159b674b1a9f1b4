//! Timelines as Chrome traces, which <https://ui.perfetto.dev> and `chrome://tracing` show.
//!
//! A CTA is a process, a warp a thread; copies and groups of products are asynchronous events. A cycle is shown as a
//! microsecond.

use super::timeline::{Flight, FlightKind, Lane, Slice, Timeline};
use serde_json::{Value, json};
use std::fmt::Write;

/// The thread that stands for the tensor cores; warps are numbered below it.
const TENSOR_CORES: u32 = 1000;

/// A timeline as a Chrome trace, an event a line.
#[must_use]
pub fn chrome_json(timeline: &Timeline) -> String {
    let mut events = Vec::new();
    name_tracks(timeline, &mut events);
    for lane in &timeline.lanes {
        events.extend(lane.phases.iter().map(|phase| {
            slice_event(lane.cta, lane.warp, phase.name, "phase", [phase.begin, phase.end], json!({}))
        }));
        events.extend(lane.slices.iter().map(|slice| warp_event(lane, slice)));
    }
    for product in &timeline.products {
        let FlightKind::Product { warpgroup, macs } = product.what else { continue };
        let name = format!("wgmma of warpgroup {warpgroup}");
        let arguments = json!({ "macs": macs, "line": product.line });
        events.push(slice_event(
            product.cta,
            TENSOR_CORES,
            &name,
            "tensor cores",
            [product.begin, product.end],
            arguments,
        ));
    }
    for (number, flight) in timeline.copies.iter().chain(&timeline.groups).enumerate() {
        events.extend(flight_events(number, flight));
    }
    let totals = &timeline.totals;
    let other = json!({
        "kernel": timeline.kernel,
        "first_cta": timeline.cta,
        "ctas": timeline.ctas,
        "time": "a timing model of an H100, not a measurement; 1 us shown is 1 cycle",
        "cycles": timeline.cycles,
        "instructions": totals.issued.iter().sum::<u64>(),
        "polling_instructions": totals.polled.iter().sum::<u64>(),
        "global_read_bytes": totals.global_read_bytes,
        "global_written_bytes": totals.global_written_bytes,
        "matrix_macs": totals.matrix_macs,
        "truncated": timeline.truncated,
    });
    let mut text = format!("{{\"displayTimeUnit\":\"ns\",\"otherData\":{other},\"traceEvents\":[\n");
    for (number, event) in events.iter().enumerate() {
        let comma = if number + 1 < events.len() { "," } else { "" };
        let _ = writeln!(text, "{event}{comma}");
    }
    text.push_str("]}\n");
    text
}

/// Names and order of processes and threads: warps of a role stand together.
fn name_tracks(timeline: &Timeline, events: &mut Vec<Value>) {
    let mut meta = |cta: u32, thread: u32, what: &str, arguments: Value| {
        events.push(json!({ "ph": "M", "pid": cta, "tid": thread, "name": what, "args": arguments }));
    };
    for cta in 0..timeline.ctas {
        meta(cta, 0, "process_name", json!({ "name": format!("CTA rank {cta}: {}", timeline.kernel) }));
        for (place, lane) in timeline.by_role(cta).enumerate() {
            meta(cta, lane.warp, "thread_name", json!({ "name": lane.name() }));
            meta(cta, lane.warp, "thread_sort_index", json!({ "sort_index": place }));
        }
        if timeline.products.iter().any(|product| product.cta == cta) {
            meta(cta, TENSOR_CORES, "thread_name", json!({ "name": "tensor cores" }));
            meta(cta, TENSOR_CORES, "thread_sort_index", json!({ "sort_index": TENSOR_CORES }));
        }
    }
}

fn slice_event(
    cta: u32,
    thread: u32,
    name: &str,
    category: &str,
    [begin, end]: [u64; 2],
    arguments: Value,
) -> Value {
    json!({
        "ph": "X",
        "pid": cta,
        "tid": thread,
        "ts": begin,
        "dur": end - begin,
        "name": name,
        "cat": category,
        "args": arguments,
    })
}

fn warp_event(lane: &Lane, slice: &Slice) -> Value {
    let lines = if slice.lines[0] == slice.lines[1] {
        format!("{}", slice.lines[0])
    } else {
        format!("{}-{}", slice.lines[0], slice.lines[1])
    };
    let (category, arguments) = if slice.kind.is_wait() {
        ("wait", json!({ "lines": lines }))
    } else {
        ("issue", json!({ "instructions": slice.instructions, "bytes": slice.bytes, "lines": lines }))
    };
    slice_event(lane.cta, lane.warp, slice.kind.name(), category, [slice.begin, slice.end], arguments)
}

/// Begin and end of a copy or a group of products.
fn flight_events(number: usize, flight: &Flight) -> [Value; 2] {
    let (category, name, arguments) = match flight.what {
        FlightKind::Copy { kind, bytes, warp } => (
            "copies",
            format!("bulk {}", kind.name()),
            json!({ "bytes": bytes, "issuer": warp, "line": flight.line }),
        ),
        FlightKind::Group { warpgroup, products } => (
            "wgmma groups",
            format!("wgmma groups of warpgroup {warpgroup}"),
            json!({ "products": products, "line": flight.line }),
        ),
        FlightKind::Product { warpgroup, macs } => {
            ("products", format!("wgmma of warpgroup {warpgroup}"), json!({ "macs": macs }))
        }
    };
    let event = |phase: &str, time: u64| {
        json!({
            "ph": phase,
            "pid": flight.cta,
            "tid": 0,
            "id": number,
            "ts": time,
            "name": name,
            "cat": category,
            "args": arguments,
        })
    };
    [event("b", flight.begin), event("e", flight.end)]
}
