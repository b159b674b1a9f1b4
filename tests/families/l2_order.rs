//! The order of the tiles of Hopper products, by the simulator's model of the L2 cache: what a product fetches from memory
//! when the cache is small beside its operands, next to what other orders fetch through the same model.

use super::dense_bf16;
use rorqual::verify::Machine;
use rorqual::verify::simulated::Simulated;
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::gemm::hopper::{Format, HopperBf16Gemm, HopperGemmSpec, Multicast, Tile};
use rorqual_kernels::generate;
use rorqual_sim::l2::{L2, LINE_BYTES};
use rorqual_sim::{Options, Schedule};

/// CTAs that run at the same time: one on each multiprocessor of an H100.
const WAVE: u32 = 132;
/// Rows and columns of a tile.
const TILE: u32 = 64;
/// Blocks of K, 64 bf16 each.
const BLOCKS: u32 = 4;
/// Tiles below each other, and beside each other.
const SIDE: u32 = 48;

/// Bytes of a tile's rows in a block of K, and of a tile of D in bf16: 64 lines of the cache.
const PIECE_BYTES: u64 = TILE as u64 * LINE_BYTES;

/// Bytes of A, and of B.
const fn operand_bytes() -> u64 {
    (SIDE * BLOCKS) as u64 * PIECE_BYTES
}

/// What a product fetches with such a cache.
fn fetched(cache_bytes: u64, schedule: Schedule) -> u64 {
    let target = "sm_90a".parse().expect("a target");
    let options = Options { schedule, race: None, l2_bytes: Some(cache_bytes), ..Options::default() };
    let mut machine = Simulated::new(target, options).expect("a machine").with_multiprocessors(WAVE);
    let (rows, k) = (SIDE * TILE, BLOCKS * 64);
    let tile = Tile { m: TILE, n: TILE, stages: BLOCKS, multicast: Multicast::None };
    let spec = HopperGemmSpec::new(Format::Bf16, rows, k, tile);
    let mut upload = |bytes: u64| machine.upload(&vec![0; bytes as usize]).expect("memory");
    let (a, b) = (upload(operand_bytes()), upload(operand_bytes()));
    let (d, word) = (upload(u64::from(SIDE * SIDE) * PIECE_BYTES), upload(4));
    let arguments = dense_bf16::arguments(&spec, [a, b, d, word], rows);
    let kernel = generate::<HopperBf16Gemm>(&spec, target).expect("a kernel");
    let outcome = machine.launch(&kernel.text(), &kernel.contract, &arguments.pack()).expect("a launch");
    let outcome = outcome.expect("some CTAs");
    assert_eq!(outcome.reports, []);
    outcome.counters.fetched_bytes
}

/// What CTAs in step fetch if tiles are numbered in bands of so many tiles of rows: one is row by row, [`SIDE`] column by
/// column. A line of this cache stands for a piece, which is accessed as a whole.
fn fetched_by_bands(height: u32, cache_bytes: u64) -> u64 {
    let mut cache = L2::new(cache_bytes / PIECE_BYTES * LINE_BYTES);
    let tile = |number: u32| {
        let (band, number) = (number / (height * SIDE), number % (height * SIDE));
        let first = band * height;
        let height = height.min(SIDE - first);
        (first + number % height, number / height)
    };
    let [a, b, d] = [0, 1, 2].map(|matrix: u64| matrix << 32);
    let place = |number: u32| u64::from(number) * LINE_BYTES;
    let mut fetched = 0;
    for start in (0..SIDE * SIDE).step_by(WAVE as usize) {
        let wave: Vec<_> = (start..(start + WAVE).min(SIDE * SIDE)).map(tile).collect();
        for block in 0..BLOCKS {
            for &(row, column) in &wave {
                fetched += cache.read(a + place(row * BLOCKS + block), LINE_BYTES);
                fetched += cache.read(b + place(column * BLOCKS + block), LINE_BYTES);
            }
        }
        wave.iter().for_each(|&(row, column)| cache.write(d + place(row * SIDE + column), LINE_BYTES));
    }
    fetched / LINE_BYTES * PIECE_BYTES
}

/// The least that an order by bands fetches, and the height of these.
fn least_by_bands(cache_bytes: u64) -> (u64, u32) {
    let by_height = (1..=SIDE).map(|height| (fetched_by_bands(height, cache_bytes), height));
    by_height.min().expect("some heights")
}

#[test]
fn tiles_of_hopper_products_are_in_an_order_that_finds_operands_in_the_cache() {
    // What a wave needs at least: the operands of 12 x 11 tiles, and room for its results.
    let cache = (u64::from((12 + 11) * BLOCKS) + u64::from(WAVE)) * PIECE_BYTES;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let print = |order: &str, bytes: u64| println!("{order}: {:.1} MiB", mebibytes(bytes));
    let [in_step, at_random] = ["round-robin", "random"].map(|name| name.parse().expect("a schedule"));
    println!("a cache of {:.1} MiB, operands of {:.1} MiB", mebibytes(cache), mebibytes(2 * operand_bytes()));
    let (best, height) = least_by_bands(cache);
    let plain = fetched_by_bands(1, cache).min(fetched_by_bands(SIDE, cache));
    print(&format!("bands of {height} tiles of rows, the best"), best);
    print("row by row or column by column", plain);
    for (schedule, over_best) in [(in_step, 1.05), (at_random, 1.25)] {
        let bytes = fetched(cache, schedule);
        print(&format!("the product, schedule {schedule}"), bytes);
        assert!(
            bytes as f64 <= over_best * best as f64,
            "{schedule}: {bytes} bytes, {best} by the best order"
        );
        assert!(5 * bytes <= 2 * plain, "{schedule}: {bytes} bytes, {plain} row by row");
    }
    let larger = cache * 4 / 3;
    println!("a cache of {:.1} MiB", mebibytes(larger));
    let (best, height) = least_by_bands(larger);
    print(&format!("bands of {height} tiles of rows, the best"), best);
    let bytes = fetched(larger, in_step);
    print(&format!("the product, schedule {in_step}"), bytes);
    assert!(3 * bytes <= plain, "{bytes} bytes, {plain} row by row with the smaller cache");
}
