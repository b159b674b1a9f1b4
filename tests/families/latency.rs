//! Hopper products on the simulator's timing model: how often consumers wait for operands when copies take 1 µs, which a
//! ring of stages that is deep enough hides; and the picture of `docs/gemm.md`, which `BLESS=1` rewrites.

use rorqual::verify::Machine;
use rorqual::verify::simulated::Simulated;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{
    Format, HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments, HopperGemmSpec,
    Multicast, Tile,
};
use rorqual_kernels::generate;
use rorqual_sim::trace::{EPILOGUE, Kind, MAIN_LOOP, Model, Timeline, TraceTarget, lay_out, svg};
use rorqual_sim::{Options, Outcome, Precision};

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
    let (spec, rows) = (HopperGemmSpec::new(format, tile.n, k, tile), TILES * tile.m);
    let elements = |count: u32| vec![0_u8; (count * format.bytes()) as usize];
    let mut upload = |bytes: &[u8]| machine.upload(bytes).expect("memory");
    let (a, b) = (upload(&elements(rows * k)), upload(&elements(tile.n * k)));
    let (d, word) = (upload(&vec![0; (2 * rows * tile.n) as usize]), upload(&[0; 4]));
    let ([a, a_few], [b, b_few]) = (spec.a_maps(a, rows), spec.b_maps(b));
    let (kernel, arguments) = match format {
        Format::Fp8 => {
            let blocks = k.div_ceil(128);
            let scales = |count: u32| vec![0; 4 * (count * blocks) as usize];
            let (a_scales, b_scales) = (upload(&scales(rows)), upload(&scales(tile.n.div_ceil(128))));
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
            let arguments = HopperBf16GemmArguments {
                a,
                a_few,
                b,
                b_few,
                bias: word,
                d,
                d_f32: word,
                groups: word,
                error: word,
                rows,
            };
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

/// The share of the blocks of K for which a consumer warp waits, once the ring has been filled for the first time.
fn blocked(format: Format, tile: Tile, k: u32) -> f64 {
    let timeline = timeline(format, tile, k, SLOW);
    let blocks = (k * format.bytes()).div_ceil(128);
    let first = timeline.products.iter().map(|product| product.begin).min().expect("products");
    let last = timeline.products.iter().map(|product| product.end).max().expect("products");
    // As long as the first stages take, data that was not asked for before the kernel began is waited for.
    let steady = first + (last - first) * u64::from(tile.stages) / u64::from(TILES * blocks);
    let consumers = timeline.lanes.iter().filter(|lane| lane.warp >= 4);
    let waits = consumers.clone().flat_map(|lane| &lane.slices).filter(|slice| {
        let length = slice.end - slice.begin;
        slice.kind == Kind::MbarrierWait && slice.begin > steady && length > Model::H100.barrier_latency
    });
    let per_warp = waits.count() as f64 / consumers.count() as f64;
    per_warp / f64::from(TILES * blocks - tile.stages)
}

#[test]
fn consumers_of_hopper_products_hardly_wait_for_data_that_takes_a_microsecond() {
    let tile = |m, n, stages| Tile { m, n, stages, multicast: Multicast::None };
    for tile in [tile(128, 192, 5), tile(256, 128, 4)] {
        let share = blocked(Format::Fp8, tile, 7168);
        println!("fp8, {}: waits for {:.1} % of the blocks", tile.name(), 100.0 * share);
        assert!(share < 0.05, "{}", tile.name());
    }
    // A stage less is what this costs: the measure tells rings apart.
    assert!(blocked(Format::Fp8, tile(128, 192, 4), 7168) > 0.2);
    assert!(blocked(Format::Bf16, tile(128, 256, 3), 3584) > 0.2);
}

#[test]
fn shared_memory_is_accessed_without_conflicts_and_global_memory_no_more_than_the_tiles_need() {
    let (k, tile) = (1280, |m, n, stages| Tile { m, n, stages, multicast: Multicast::None });
    for (format, tile) in [
        (Format::Fp8, tile(128, 192, 5)),
        (Format::Fp8, tile(256, 128, 4)),
        (Format::Fp8, tile(64, 56, 10)),
        (Format::Bf16, tile(128, 256, 4)),
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
