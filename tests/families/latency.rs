//! How often consumers of Hopper products wait for operands, by the simulator's timing model, when copies take 1 µs: a
//! ring of stages that is deep enough hides that.

use rorqual::verify::Machine;
use rorqual::verify::simulated::Simulated;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{
    Format, HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments, HopperGemmSpec,
    Multicast, Tile,
};
use rorqual_kernels::generate;
use rorqual_sim::trace::{Kind, Model, Timeline, TraceTarget, lay_out};
use rorqual_sim::{Options, Precision};

/// Tiles below each other.
const TILES: u32 = 2;

/// The timeline of one CTA that computes [`TILES`] tiles.
fn timeline(format: Format, tile: Tile, k: u32) -> Timeline {
    let target = "sm_90a".parse().expect("a target");
    let trace = Some(TraceTarget { launch: 0, cta: 0 });
    // Seed 0 is a machine with a single multiprocessor.
    let options =
        Options { trace, race: None, precision: Precision::Exact, threads: 1, ..Options::default() };
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
    let microsecond = (Model::H100.clock_hz / 1e6) as u64;
    let model = Model { copy_latency: microsecond, global_latency: microsecond, ..Model::H100 };
    lay_out(&outcome.trace.expect("a recording"), model)
}

/// The share of the blocks of K for which a consumer warp waits, once the ring has been filled for the first time.
fn blocked(format: Format, tile: Tile, k: u32) -> f64 {
    let timeline = timeline(format, tile, k);
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
