//! Traces: the golden trace of a tiny kernel, rules that every trace keeps, and totals equal to the counters.
//!
//! `BLESS=1` rewrites `trace/tiny.json` and `docs/timeline.svg`.
#![cfg(feature = "ptxsim")]

use rorqual_sim::launch_file::{self, FileOutcome, LaunchFile};
use rorqual_sim::trace::{
    CopyKind, EPILOGUE, FlightKind, Kind, MAIN_LOOP, Model, Timeline, TraceTarget, chrome_json, lay_out, svg,
};
use rorqual_sim::{Device, DeviceError, Launch, Options};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// Kernels with one cluster or more: warp-specialised, clusters, every kind of copy.
const CASES: [&str; 9] = [
    "tri_ws",
    "tri_tma_e4m3",
    "tri_attn",
    "tma_multicast",
    "tma_red_add_f32",
    "cluster_ptx",
    "cp_async",
    "mbarrier",
    "libcu_pipeline",
];

fn case(name: &str) -> PathBuf {
    Path::new(TESTS).join("kernels/cases").join(name)
}

fn run(folder: &Path, options: &Options) -> FileOutcome {
    let file = LaunchFile::read(&folder.join("launch.json")).unwrap_or_else(|error| panic!("{error}"));
    let outcome = launch_file::run(&file, folder, options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome.reports, [], "{}", folder.display());
    outcome
}

fn options(cta: u64) -> Options {
    Options { trace: Some(TraceTarget { launch: 0, cta }), ..Options::default() }
}

fn timeline(folder: &Path, options: &Options) -> Timeline {
    lay_out(&run(folder, options).trace.expect("a recording"), Model::H100)
}

/// Compares a file with what it should be, or rewrites it.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(path).expect("the golden file");
    assert!(expected == text, "{} is not what is written now; BLESS=1 rewrites it", path.display());
}

#[test]
fn the_trace_of_a_tiny_kernel() {
    let folder = Path::new(TESTS).join("trace");
    let timeline = timeline(&folder, &options(0));
    golden(&folder.join("tiny.json"), &chrome_json(&timeline));
    // Both warps are released by the mbarrier at the same time, the latency of its phase after the copy.
    let copy = &timeline.copies[0];
    let bytes = 256;
    assert_eq!(copy.end - copy.begin, bytes / Model::H100.load_bytes + Model::H100.copy_latency);
    for lane in &timeline.lanes {
        let wait = lane.slices.iter().find(|slice| slice.kind == Kind::MbarrierWait).expect("a wait");
        assert_eq!(wait.end, copy.end + Model::H100.barrier_latency);
    }
    // One trip through shared memory, one pass of 128 bytes.
    let load = timeline.lanes[0].slices.iter().find(|slice| slice.kind == Kind::LoadWait).expect("a wait");
    assert!(load.end - load.begin <= Model::H100.shared_latency + 1);
}

#[test]
fn events_are_balanced_and_nested() {
    for name in CASES {
        let timeline = timeline(&case(name), &options(0));
        let text = chrome_json(&timeline);
        let trace: Value = serde_json::from_str(&text).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        let mut open: BTreeMap<(u64, String, u64), u64> = BTreeMap::new();
        let mut threads: BTreeMap<(u64, u64), Vec<[u64; 2]>> = BTreeMap::new();
        for event in events {
            let number =
                |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{name}: {key} of {event}"));
            let key = || (number("pid"), event["cat"].as_str().expect("a category").to_owned(), number("id"));
            match event["ph"].as_str().expect("a phase") {
                "M" => {}
                "X" => {
                    let thread = threads.entry((number("pid"), number("tid"))).or_default();
                    thread.push([number("ts"), number("ts") + number("dur")]);
                }
                "b" => assert_eq!(open.insert(key(), number("ts")), None, "{name}: twice"),
                "e" => {
                    let begin = open.remove(&key()).unwrap_or_else(|| panic!("{name}: {event} ends nothing"));
                    assert!(begin <= number("ts"), "{name}: {event} ends before it begins");
                }
                other => panic!("{name}: an event of phase {other}"),
            }
        }
        assert!(open.is_empty(), "{name}: {open:?} never end");
        for (thread, mut slices) in threads {
            // Of two slices one holds the other, or they are apart.
            slices.sort_by_key(|[begin, end]| (*begin, u64::MAX - end));
            let mut outer: Vec<u64> = Vec::new();
            for [begin, end] in slices {
                assert!(begin < end, "{name}: an empty slice at {begin} in {thread:?}");
                outer.retain(|outer| *outer > begin);
                assert!(
                    outer.iter().all(|outer| end <= *outer),
                    "{name}: {begin}-{end} overlaps in {thread:?}"
                );
                outer.push(end);
            }
        }
        for lane in &timeline.lanes {
            let gaps = lane.slices.windows(2).filter(|pair| pair[0].end != pair[1].begin);
            assert_eq!(gaps.count(), 0, "{name}: gaps in warp {}", lane.warp);
            assert!(lane.slices.first().is_none_or(|slice| slice.begin == 0), "{name}");
        }
    }
}

/// What the timelines of all clusters add up to is what the launch counted.
#[test]
fn totals_are_the_counters() {
    for name in CASES {
        let file = LaunchFile::read(&case(name).join("launch.json")).expect("a launch file");
        let ctas: u64 = file.launches[0].grid.iter().map(|extent| u64::from(*extent)).product();
        let base = Options { count_accesses: true, ..options(0) };
        let counters = run(&case(name), &base).counters.swap_remove(0).1;
        let (mut clusters, mut cta) = (Vec::new(), 0);
        // CTAs of a cluster lie along x in all these cases.
        while cta < ctas {
            let options = Options { trace: Some(TraceTarget { launch: 0, cta }), ..base.clone() };
            clusters.push(timeline(&case(name), &options));
            cta += u64::from(clusters[clusters.len() - 1].ctas);
        }
        let sum = |of: &dyn Fn(&Timeline) -> u64| clusters.iter().map(of).sum::<u64>();
        let instructions = sum(&|timeline| {
            let slices = timeline.lanes.iter().flat_map(|lane| &lane.slices);
            slices.map(|slice| slice.instructions).sum::<u64>() + timeline.totals.polled.iter().sum::<u64>()
        });
        assert_eq!(instructions, counters.instructions(), "{name}: instructions");
        for class in 0..counters.issued.len() {
            let issued = sum(&|timeline| timeline.totals.issued[class]);
            assert_eq!(issued, counters.issued[class], "{name}: class {class}");
        }
        let bytes = |wanted: CopyKind| {
            sum(&|timeline| {
                let copies = timeline.copies.iter().map(|copy| match copy.what {
                    FlightKind::Copy { kind, bytes, .. } if kind == wanted => bytes,
                    _ => 0,
                });
                copies.sum()
            })
        };
        assert_eq!(bytes(CopyKind::Load), counters.bulk_loaded_bytes, "{name}: loads");
        assert_eq!(bytes(CopyKind::Store), counters.bulk_stored_bytes, "{name}: stores");
        let totals = [
            (sum(&|timeline| timeline.totals.global_read_bytes), counters.global_read_bytes),
            (sum(&|timeline| timeline.totals.global_written_bytes), counters.global_written_bytes),
            (sum(&|timeline| timeline.totals.matrix_macs), counters.matrix_macs),
            (sum(&|timeline| timeline.totals.padded_macs), counters.padded_macs),
        ];
        for (at, (sum, counted)) in totals.into_iter().enumerate() {
            assert_eq!(sum, counted, "{name}: total {at}");
        }
    }
}

/// A trace depends on the program and the seed alone, and changes nothing.
#[test]
fn traces_are_deterministic_and_do_not_disturb() {
    for name in ["tri_ws", "cluster_ptx"] {
        let folder = case(name);
        let text = |threads| chrome_json(&timeline(&folder, &Options { threads, ..options(1) }));
        let first = text(1);
        for threads in [1, 2] {
            assert!(text(threads) == first, "{name} on {threads} threads");
        }
        let with = run(&folder, &options(0));
        let without = run(&folder, &Options::default());
        assert!(without.trace.is_none());
        assert_eq!(with.saved, without.saved, "{name}");
        assert_eq!(with.counters, without.counters, "{name}");
    }
}

/// The interpreter's order of turns is not that of the timeline: it takes the same time under every seed.
#[test]
fn the_order_of_turns_does_not_show() {
    for name in ["tri_ws", "tri_tma_e4m3"] {
        let cycles = |seed| timeline(&case(name), &Options { seed, ..options(0) }).cycles;
        let first = cycles(0);
        assert!((1..5).all(|seed| cycles(seed) == first), "{name}");
    }
}

#[test]
fn roles_are_named() {
    let timeline = timeline(&case("tri_ws"), &options(0));
    let role = |warp: usize| timeline.lanes[warp].role.name;
    assert_eq!(role(0), "TMA producer");
    assert_eq!(role(1), "no copies, no products");
    assert!((4..12).all(|warp| role(warp) == "wgmma consumer and epilogue"));
    assert_eq!(timeline.lanes[4].role, timeline.lanes[7].role, "warps of a warpgroup share their role");
}

/// The picture of the documentation: a warp-specialised FP8 product, in which everything overlaps.
#[test]
fn the_timeline_of_the_documentation() {
    let folder = Path::new(TESTS).join("trace/gemm_fp8");
    let timeline = timeline(&folder, &Options { count_accesses: true, ..options(0) });
    let phases = |name: &str, warpgroup: u32| {
        let lanes = timeline.lanes.iter().filter(move |lane| lane.warp == 4 * warpgroup);
        let name = name.to_owned();
        lanes.flat_map(|lane| &lane.phases).filter(move |phase| phase.name == name).collect::<Vec<_>>()
    };
    let meet = |a: [u64; 2], b: [u64; 2]| a[0] < b[1] && b[0] < a[1];
    for (own, other) in [(1, 2), (2, 1)] {
        assert_eq!(phases(MAIN_LOOP, own).len(), 2, "two tiles each");
        let overlap = phases(EPILOGUE, own).iter().any(|epilogue| {
            let during = [epilogue.begin, epilogue.end];
            phases(MAIN_LOOP, other).iter().any(|products| meet(during, [products.begin, products.end]))
                && timeline.copies.iter().any(|copy| meet(during, [copy.begin, copy.end]))
        });
        assert!(overlap, "no epilogue of warpgroup {own} overlaps with products and copies");
    }
    golden(&Path::new(TESTS).join("../../docs/timeline.svg"), &svg::svg(&timeline, &Model::H100));
}

fn ptxsim(arguments: &[&str]) -> Output {
    let folder = Path::new(TESTS).join("trace");
    Command::new(env!("CARGO_BIN_EXE_ptxsim"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("ptxsim runs")
}

#[test]
fn bad_requests() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.svg");
    let out = out.to_str().expect("a path in UTF-8");
    for (arguments, message) in [
        (
            &["run", "launch.json", "--trace", "/dev/null", "--trace-cta", "1"] as &[&str],
            "there is no CTA 1 to trace in launch 0 (`tiny`): there are 1, numbered from 0",
        ),
        (
            &["run", "launch.json", "--trace", "/dev/null", "--trace-launch", "3"],
            "there is no launch 3 to trace: the file has 1, numbered from 0",
        ),
        (
            &["run", "launch.json", "--trace", "no/such/folder/trace.json"],
            "cannot write no/such/folder/trace.json",
        ),
        (&["report", "launch.json", "--out", "report.png"], "a report is a file that ends in .svg or .html"),
        (&["report", "missing.json", "--out", out], "missing.json"),
        (&["report", "launch.json"], "--out"),
    ] {
        let run = ptxsim(arguments);
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

#[test]
fn a_device_traces_the_cta_that_is_asked_for() {
    let text = ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry nothing() { ret; }\n";
    let with_target = |cta| {
        let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a simulated target");
        device.options_mut().trace = Some(TraceTarget { launch: 0, cta });
        let module = device.load(text).expect("a module");
        let launch = Launch::new(&module, "nothing").ctas([2, 1, 1]);
        (device, launch)
    };
    let (mut device, launch) = with_target(2);
    let error = device.launch(&launch).expect_err("there are CTAs 0 and 1");
    assert_eq!(error, DeviceError::Trace { launch: 0, kernel: "nothing".to_owned(), cta: 2, ctas: 2 });
    let (mut device, launch) = with_target(1);
    let outcome = device.launch(&launch).expect("a launch");
    let timeline = lay_out(&outcome.trace.expect("a recording"), Model::H100);
    assert_eq!((timeline.cta, timeline.lanes.len()), ([1, 0, 0], 1));
    let outcome = device.launch(&launch).expect("another launch");
    assert!(outcome.trace.is_none(), "launch 1 is not the one to trace");
}

#[test]
fn pictures_hold_everything_themselves() {
    let timeline = timeline(&case("tma_multicast"), &options(0));
    let (picture, page) = (svg::svg(&timeline, &Model::H100), svg::html(&timeline, &Model::H100));
    assert!(page.contains(&picture));
    for text in [&picture, &page] {
        for outside in ["<script", "href", "url(", "src=", "@import"] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert!(text.contains("timing model") && text.contains("Roofline estimate"));
    }
    assert_eq!(picture.matches('<').count(), picture.matches('>').count());
    assert!(picture.contains("CTA rank 1"));
}
