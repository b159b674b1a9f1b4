//! Hopper products on the simulator's timing model: how often consumers wait for operands when copies take 1 µs, which a
//! ring of stages that is deep enough hides; and the picture of `docs/gemm.md`, which `BLESS=1` rewrites.

use super::dense_bf16;
use rorqual::verify::Machine;
use rorqual::verify::simulated::Simulated;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{
    Format, HopperBf16Gemm, HopperFp8Gemm, HopperFp8GemmArguments, HopperGemmSpec, Multicast, Tile,
};
use rorqual_kernels::generate;
use rorqual_sim::trace::{
    CopyKind, EPILOGUE, Flight, FlightKind, Kind, Lane, MAIN_LOOP, Model, Slice, Timeline, TraceTarget,
    lay_out, svg,
};
use rorqual_sim::{Options, Outcome, Precision};
use std::collections::BTreeSet;

/// Tiles below each other.
const TILES: u32 = 2;

/// A microsecond in clocks.
const MICROSECOND: u64 = (Model::H100.clock_hz / 1e6) as u64;
/// A chip whose copies take that long.
const SLOW: Model = Model { copy_latency: MICROSECOND, global_latency: MICROSECOND, ..Model::H100 };

/// A run of one CTA that computes [`TILES`] tiles.
fn run(format: Format, tile: Tile, k: u32) -> Outcome {
    let target = "sm_90a".parse().expect("a target");
    let trace = Some(TraceTarget { launch: 0, cta: 0 });
    // Seed 0 is a machine with a single multiprocessor.
    let options = Options {
        trace,
        race: None,
        precision: Precision::Exact,
        threads: 1,
        count_accesses: true,
        ..Options::default()
    };
    let mut machine = Simulated::new(target, options).expect("a machine");
    // The tiles of a cluster are neighbours along what they do not share.
    let cluster = |shared| if tile.multicast == shared { 2 } else { 1 };
    let (rows, n) = (TILES * tile.m * cluster(Multicast::B), tile.n * cluster(Multicast::A));
    let spec = HopperGemmSpec::new(format, n, k, tile);
    let elements = |count: u32| vec![0_u8; (count * format.bytes()) as usize];
    let mut upload = |bytes: &[u8]| machine.upload(bytes).expect("memory");
    let (a, b) = (upload(&elements(rows * k)), upload(&elements(n * k)));
    let (d, word) = (upload(&vec![0; (2 * rows * n) as usize]), upload(&[0; 4]));
    let (kernel, arguments) = match format {
        Format::Fp8 => {
            let blocks = k.div_ceil(128);
            let scales = |count: u32| vec![0; 4 * (count * blocks) as usize];
            let ([a, a_few], [b, b_few]) = (spec.a_maps(a, rows), spec.b_maps(b));
            let (a_scales, b_scales) = (upload(&scales(rows)), upload(&scales(n.div_ceil(128))));
            let arguments = HopperFp8GemmArguments {
                a,
                a_few,
                b,
                b_few,
                a_scales,
                a_scale_pitch: 0,
                b_scales,
                bias: word,
                d,
                d_f32: word,
                groups: word,
                error: word,
                rows,
            };
            (generate::<HopperFp8Gemm>(&spec, target), arguments.pack())
        }
        Format::Bf16 => {
            let arguments = dense_bf16::arguments(&spec, [a, b, d, word], rows);
            (generate::<HopperBf16Gemm>(&spec, target), arguments.pack())
        }
    };
    let kernel = kernel.expect("a kernel");
    let outcome = machine.launch(&kernel.text(), &kernel.contract, &arguments).expect("a launch");
    let outcome = outcome.expect("some CTAs");
    assert_eq!(outcome.reports, []);
    outcome
}

fn timeline(format: Format, tile: Tile, k: u32, model: Model) -> Timeline {
    lay_out(&run(format, tile, k).trace.expect("a recording"), model)
}

/// What happens behind the blocks of K that fill the ring for the first time, when copies take a microsecond.
struct Steady {
    /// Of the blocks of all consumer warpgroups the share before whose products the warpgroup waits, for longer than a barrier
    /// that is complete takes, whether or not another one multiplies meanwhile.
    waits: f64,
    /// The share of the blocks for which all consumer warpgroups wait at once, so that nothing is multiplied.
    all_wait: f64,
    /// Bytes of operands that arrive a cycle.
    bytes: f64,
}

fn steady(format: Format, tile: Tile, k: u32) -> Steady {
    let timeline = timeline(format, tile, k, SLOW);
    let blocks = TILES * (k * format.bytes()).div_ceil(128);
    let products = timeline.products.iter().filter(|product| product.cta == 0);
    let first = products.clone().map(|product| product.begin).min().expect("products");
    let last = products.clone().map(|product| product.end).max().expect("products");
    // As long as the first stages take, data that was not asked for before the kernel began is waited for.
    let begin = first + (last - first) * u64::from(tile.stages) / u64::from(blocks);
    // The first warp of a warpgroup stands for it.
    let is_consumer = |lane: &&Lane| lane.cta == 0 && lane.warp >= 4 && lane.warp.is_multiple_of(4);
    let consumers: Vec<_> = timeline.lanes.iter().filter(is_consumer).collect();
    let waits_of = |lane: &Lane| -> Vec<Slice> {
        let is_wait = |slice: &&Slice| {
            let length = slice.end - slice.begin;
            slice.kind == Kind::MbarrierWait && slice.begin > begin && length > Model::H100.barrier_latency
        };
        lane.slices.iter().filter(is_wait).cloned().collect()
    };
    // A block may be waited for at two barriers: what tells blocks apart is how many products are behind.
    let blocks_waited_for = |lane: &&Lane| {
        let is_own = |product: &&Flight| match product.what {
            FlightKind::Product { warpgroup, .. } => warpgroup == lane.warp / 4,
            _ => false,
        };
        let own: Vec<_> = products.clone().filter(is_own).collect();
        let products_behind = |wait: Slice| own.iter().filter(|product| product.begin < wait.begin).count();
        waits_of(lane).into_iter().map(products_behind).collect::<BTreeSet<_>>().len()
    };
    let waits = consumers.iter().map(blocks_waited_for).sum::<usize>() as f64;
    let of_all = consumers.iter().flat_map(|lane| waits_of(lane));
    let mut changes: Vec<(u64, i32)> = of_all.flat_map(|wait| [(wait.begin, 1), (wait.end, -1)]).collect();
    changes.sort_unstable();
    let (mut waiting, mut all_wait) = (0, 0);
    for (_, change) in changes {
        waiting += change;
        all_wait += u32::from(change == 1 && waiting as usize == consumers.len());
    }
    let arrived = timeline.copies.iter().filter(|copy| copy.cta == 0 && (begin..last).contains(&copy.end));
    let bytes: u64 = arrived
        .map(|copy| match copy.what {
            FlightKind::Copy { kind: CopyKind::Load, bytes, .. } => bytes,
            _ => 0,
        })
        .sum();
    let blocks = f64::from(blocks - tile.stages);
    Steady {
        waits: waits / (blocks * consumers.len() as f64),
        all_wait: f64::from(all_wait) / blocks,
        bytes: bytes as f64 / (last - begin) as f64,
    }
}

const fn tile(m: u32, n: u32, stages: u32, multicast: Multicast) -> Tile {
    Tile { m, n, stages, multicast }
}

#[test]
fn consumers_of_hopper_products_hardly_wait_for_data_that_takes_a_microsecond() {
    for (format, tile) in [
        (Format::Fp8, tile(128, 192, 5, Multicast::None)),
        (Format::Fp8, tile(128, 192, 5, Multicast::B)),
        (Format::Fp8, tile(256, 128, 4, Multicast::A)),
        (Format::Fp8, tile(128, 144, 6, Multicast::B)),
        (Format::Bf16, tile(128, 144, 6, Multicast::B)),
        (Format::Bf16, tile(128, 192, 5, Multicast::B)),
        (Format::Bf16, tile(128, 256, 4, Multicast::None)),
        (Format::Bf16, tile(128, 256, 4, Multicast::B)),
        (Format::Bf16, tile(256, 128, 4, Multicast::None)),
    ] {
        let Steady { waits, all_wait, .. } = steady(format, tile, 7168 / format.bytes());
        let name = format!("{format:?} {}", tile.name());
        println!(
            "{name}: consumers wait for {:.1} % of their blocks, all {:.1} %",
            100.0 * waits,
            100.0 * all_wait
        );
        // Where halves of B come from a neighbour, its lateness is waited for too, while others multiply.
        let limit = if tile.multicast == Multicast::B { 0.12 } else { 0.05 };
        assert!(waits < limit, "{name}: {waits}");
        assert!(all_wait < 0.05, "{name}: {all_wait}");
        // A stage less is what this costs: the measure tells rings apart.
        if tile.multicast == Multicast::None {
            let shallow = Tile { stages: tile.stages - 1, ..tile };
            let Steady { waits, all_wait, .. } = steady(format, shallow, 7168 / format.bytes());
            let name = format!("{format:?} {}", shallow.name());
            println!(
                "{name}: consumers wait for {:.1} % of their blocks, all {:.1} %",
                100.0 * waits,
                100.0 * all_wait
            );
            assert!(all_wait > 0.1, "{name}: {all_wait}");
        }
    }
}

/// Narrow tiles multiply faster than their operands arrive, however early these are asked for; what bounds them is the
/// device's memory.
#[test]
fn narrow_tiles_take_more_than_memory_gives_when_data_takes_a_microsecond() {
    for (n, stages) in [(8, 16), (16, 14), (32, 14), (56, 14)] {
        let tile = tile(64, n, stages, Multicast::None);
        let (taken, given) = (steady(Format::Fp8, tile, 7168).bytes, SLOW.memory_bytes());
        println!("fp8 {}: takes {taken:.1} bytes a cycle, memory gives {given:.1}", tile.name());
        assert!(taken > 3.0 * given, "{}: {taken} bytes a cycle", tile.name());
    }
}

/// This tile has operands of 64 bytes a cycle for its products: what its consumers wait for is the L2 cache's bytes.
#[test]
fn a_square_tile_takes_what_the_cache_gives_when_data_takes_a_microsecond() {
    let tile = tile(128, 128, 6, Multicast::None);
    let Steady { waits, all_wait, bytes } = steady(Format::Fp8, tile, 7168);
    let (share, given) = (100.0 * waits, SLOW.load_bytes);
    println!("fp8 {}: waits for {share:.1} % of the blocks, takes {bytes:.1} of {given} bytes", tile.name());
    assert!(bytes > 0.85 * given as f64, "{}: {bytes} bytes a cycle", tile.name());
    assert!(waits < 0.3, "{}: {waits}", tile.name());
    assert!(all_wait < 0.05, "{}: {all_wait}", tile.name());
}

#[test]
fn shared_memory_is_accessed_without_conflicts_and_global_memory_no_more_than_the_tiles_need() {
    let k = 1280;
    for (format, tile) in [
        (Format::Fp8, tile(128, 192, 5, Multicast::None)),
        (Format::Fp8, tile(256, 128, 4, Multicast::None)),
        (Format::Fp8, tile(64, 56, 10, Multicast::None)),
        (Format::Bf16, tile(128, 256, 4, Multicast::None)),
    ] {
        let counters = run(format, tile, k).counters;
        let conflicts: Vec<_> = counters.accesses.iter().filter(|access| access.conflicts > 0).collect();
        assert!(conflicts.is_empty(), "{format:?} {}: {conflicts:?}", tile.name());
        let operands = TILES * (tile.m + tile.n) * k * format.bytes();
        let scales = match format {
            Format::Fp8 => TILES * (tile.m + 2) * 4 * k.div_ceil(128),
            Format::Bf16 => 0,
        };
        let results = TILES * tile.m * tile.n * 2;
        let least = f64::from(operands + scales + results);
        let moved = (counters.global_read_bytes + counters.global_written_bytes) as f64;
        println!("{format:?} {}: {:.3} of the bytes that its tiles need", tile.name(), moved / least);
        assert!(moved <= 1.02 * least, "{format:?} {}: {moved} bytes, {least} needed", tile.name());
    }
}

#[test]
fn the_picture_of_a_product() {
    let tile = Tile { m: 128, n: 192, stages: 5, multicast: Multicast::None };
    let timeline = timeline(Format::Fp8, tile, 1280, Model::H100);
    let consumers: Vec<_> = timeline.lanes.iter().filter(|lane| lane.warp >= 4).collect();
    let phases = |name: &str| {
        consumers.iter().flat_map(|lane| &lane.phases).filter(|phase| phase.name == name).count()
    };
    assert!(phases(MAIN_LOOP) >= consumers.len(), "each warp multiplies");
    assert!(phases(EPILOGUE) >= consumers.len(), "and stores");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gemm.svg");
    let picture = svg::svg(&timeline, &Model::H100);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &picture).expect("the picture can be written");
    }
    assert!(std::fs::read_to_string(path).expect("the picture") == picture, "BLESS=1 rewrites {path}");
}
