//! A warp-specialised product of FP8 matrices with block scales, D = A * B^T: a producer warp copies tiles and scales of
//! A through a ring of stages, two warpgroups take turns at whole tiles of D, so that the epilogue of one overlaps with
//! the products of the other. Every 128 of k the partial sum is promoted: D += scale_a * scale_b * partial.
//!
//! Hazard: a phase of `full` two rounds later has the same parity, so a warpgroup may wait for its own stages only when
//! the other one has passed those before them. Named barriers 1 and 2 hand the turn over.
//!
//! Its text is `sim/tests/trace/gemm_fp8/gemm_fp8.ptx`, of which the simulator draws `docs/timeline.svg`; `BLESS=1`
//! rewrites it.

use rorqual_codegen::contract::{Arguments, In, Out, SwizzleMode};
use rorqual_codegen::element::{E4m3, ElementType};
use rorqual_codegen::mma::wgmma::{self, Major};
use rorqual_codegen::tma::{Box2d, TensorMapParameter};
use rorqual_codegen::{Builder, Header, Kernel, generate};
use rorqual_ptx::target::Target;
use rorqual_sim::tensor_map::{ElementType as MapElement, Swizzle, TensorMap, TileSpec};
use rorqual_sim::{Device, Launch, Options};

const M: u32 = 256;
const N: u32 = 256;
const K: u32 = 1024;
const TILE_N: u32 = 128;
/// Along k; also the length of a scale's block.
const TILE_K: u32 = 128;
const STEPS: u32 = K / TILE_K;
const STAGES: u32 = 4;
const CTAS: u32 = 2;
const ROW_TILES: u32 = M / wgmma::ROWS;
const TILES: u32 = ROW_TILES * (N / TILE_N);

/// The other warpgroup's steps are double rounds of the ring: a cursor that leaves them out stays where it is.
const _: () = assert!(STEPS.is_multiple_of(2 * STAGES));

rorqual_codegen::arguments! {
    struct ProductArguments, ProductParameters {
        /// `[m, k]`
        a: TensorMapParameter,
        /// `[n, k]`
        b: TensorMapParameter,
        /// `[k / 128, m]`
        a_scales: TensorMapParameter,
        /// `[n / 128, k / 128]`
        b_scales: In<f32>,
        /// `[m, n]`
        d: Out<f32>,
    }
}

/// Boxes of A, B and the scales of A.
fn boxes() -> [Box2d; 3] {
    [
        Box2d::swizzled::<E4m3>(wgmma::ROWS, SwizzleMode::B128),
        Box2d::swizzled::<E4m3>(TILE_N, SwizzleMode::B128),
        Box2d { element: ElementType::F32, rows: 1, columns: wgmma::ROWS, swizzle: SwizzleMode::None },
    ]
}

fn product(target: Target) -> Kernel {
    let header = Header::new("gemm_fp8", "e4m3", target, 384).registers(168).grid(CTAS, 1, 1);
    generate::<ProductArguments>(header, body).unwrap_or_else(|error| panic!("{error}"))
}

fn body<'k>(builder: &'k Builder, arguments: ProductParameters<'k>) {
    let a_tiles = builder.shared::<E4m3>(STAGES * wgmma::ROWS * TILE_K, 1024);
    let b_tiles = builder.shared::<E4m3>(STAGES * TILE_N * TILE_K, 1024);
    let scales = builder.shared::<f32>(STAGES * wgmma::ROWS, 128);
    let ring = builder.ring(STAGES);
    let thread = builder.thread();
    // A thread of each warp of the warpgroup that used a stage releases it.
    builder.when(thread.equals(0), || {
        ring.initialize(&[1], 4);
        builder.fence_mbarrier_init();
    });
    builder.sync_threads();

    builder.role(0, 4, || {
        builder.set_registers(40, false);
        builder.when(thread.equals(0), || {
            let cursor = ring.producer();
            let bytes = boxes().iter().map(Box2d::bytes).sum::<u32>();
            builder.for_each(builder.cta(0), TILES, CTAS, |tile| {
                let (first_m, first_n) = ((tile % ROW_TILES) * wgmma::ROWS, (tile / ROW_TILES) * TILE_N);
                builder.for_each(0, STEPS, 1, |step| {
                    cursor.place().wait_empty();
                    cursor.place().full().arrive_expecting(builder.constant(bytes));
                    let (stage, k) = (cursor.place().stage(), (step * TILE_K).to_i32());
                    let to = a_tiles.at(stage * (wgmma::ROWS * TILE_K));
                    builder.copy_tensor_to_shared(
                        to,
                        arguments.a,
                        &[k, first_m.to_i32()],
                        cursor.place().full(),
                    );
                    let to = b_tiles.at(stage * (TILE_N * TILE_K));
                    builder.copy_tensor_to_shared(
                        to,
                        arguments.b,
                        &[k, first_n.to_i32()],
                        cursor.place().full(),
                    );
                    let (to, at) = (scales.at(stage * wgmma::ROWS), [first_m.to_i32(), step.to_i32()]);
                    builder.copy_tensor_to_shared(to, arguments.a_scales, &at, cursor.place().full());
                    cursor.advance();
                });
            });
        });
    });
    builder.role(4, 8, || {
        builder.set_registers(232, true);
        let warpgroup = (thread >> 7) - 1;
        let cursor = ring.consumer();
        let partial = builder.accumulator(TILE_N);
        let sums: Vec<_> = partial.registers().iter().map(|_| builder.constant(0.0f32).variable()).collect();
        let row = (builder.warp() & 3) * 16 + builder.lane() / 4;
        let column = (builder.lane() & 3) * 2;
        builder.for_each(warpgroup.multiply_add(CTAS, builder.cta(0)), TILES, 2 * CTAS, |tile| {
            let (first_m, tile_n) = ((tile % ROW_TILES) * wgmma::ROWS, tile / ROW_TILES);
            sums.iter().for_each(|sum| sum.set(builder.constant(0.0)));
            // A lane holds the scale of B of each step.
            let scale = arguments.b_scales.at(tile_n * STEPS + builder.lane());
            let b_scales = scale.load_or(builder.lane().less(STEPS), builder.constant(0.0));
            let first = warpgroup.equals(0);
            builder.when(tile.at_least(CTAS), || {
                builder.when_else(first, || builder.sync_named(1, 256), || builder.sync_named(2, 256));
            });
            builder.for_each(0, STEPS, 1, |step| {
                cursor.place().wait_full();
                let stage = cursor.place().stage();
                let a = builder.swizzled_descriptor(a_tiles.at(stage * (wgmma::ROWS * TILE_K)), Major::K);
                let b = builder.swizzled_descriptor(b_tiles.at(stage * (TILE_N * TILE_K)), Major::K);
                builder.fence_products();
                for k in (0..TILE_K).step_by(wgmma::K_BYTES as usize) {
                    partial.multiply_add(
                        ElementType::E4m3,
                        a.bytes(k).encode(),
                        b.bytes(k).encode(),
                        builder.known(k > 0),
                    );
                }
                builder.commit_products();
                let b_scale = b_scales.shuffle_index(step);
                let scale = |down: u32| scales.at(stage * wgmma::ROWS + row + down).load() * b_scale;
                let row_scales = [scale(0), scale(8)];
                builder.wait_products(0);
                // The scales were read by addresses; the copy that overwrites them goes by the asynchronous proxy.
                builder.fence_async_shared();
                builder.sync_warp();
                builder.when(builder.lane().equals(0), || cursor.place().empty().arrive());
                for ((register, value), sum) in (0..).zip(partial.registers()).zip(&sums) {
                    let (down, _) = wgmma::d_coordinate(0, register);
                    sum.add_product(value.peek(), row_scales[down as usize / 8]);
                }
                cursor.advance();
            });
            builder.when((tile + CTAS).less(TILES), || {
                builder.when_else(first, || builder.arrive_named(2, 256), || builder.arrive_named(1, 256));
            });
            for (pair, register) in sums.chunks_exact(2).zip((0..).step_by(2)) {
                let (down, right) = wgmma::d_coordinate(0, register);
                let (row, column) = (first_m + row + down, tile_n * TILE_N + column + right);
                let words = [pair[0].peek().bits(), pair[1].peek().bits()];
                arguments.d.at(row.multiply_add(N, column)).store_words(&words);
            }
        });
    });
}

/// The map as the driver would encode it.
fn encode(map: &rorqual_codegen::contract::TensorMap, element: &str) -> TensorMap {
    let ones = vec![1; map.extents.len()];
    let element = MapElement::from_name(element).expect("a type");
    let spec = TileSpec::new(element, map.address, &map.extents, &map.strides_bytes, &map.box_extents, &ones);
    let swizzle = if map.swizzle == SwizzleMode::B128 { Swizzle::B128 } else { Swizzle::None };
    TensorMap::encode(&TileSpec { swizzle, ..spec.expect("a specification") }).expect("a tensor map")
}

/// Integers from -4 to 4, as such and in e4m3.
fn integers(count: u32, seed: u32) -> (Vec<f32>, Vec<u8>) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i32 % 9 - 4
    };
    let codes = [0x00, 0x38, 0x40, 0x44, 0x48];
    let code = |value: i32| codes[value.unsigned_abs() as usize] | if value < 0 { 0x80 } else { 0 };
    (0..count).map(|_| next()).map(|value| (value as f32, code(value))).unzip()
}

/// Powers of two: every sum is exact.
fn scales(count: u32, seed: u32) -> Vec<f32> {
    (0..count).map(|at| [0.25, 0.5, 1.0, 2.0][((at * 7 + seed) % 4) as usize]).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn two_warpgroups_that_take_turns_are_right_under_every_schedule() {
    let target = Target::from_name("sm_90a").expect("a target");
    let kernel = product(target);
    let ((a, a_codes), (b, b_codes)) = (integers(M * K, 1), integers(N * K, 2));
    let (a_scales, b_scales) = (scales(STEPS * M, 1), scales(N / TILE_N * STEPS, 3));
    for seed in 0..4 {
        let mut device = Device::new(target).expect("a device");
        *device.options_mut() = Options { seed, ..Options::default() };
        let module = device.load(&kernel.text()).expect("a module");
        let mut allocate = |name, bytes: &[u8]| device.allocate_from(name, bytes).expect("memory");
        let (a_memory, b_memory) = (allocate("a", &a_codes), allocate("b", &b_codes));
        let (a_scale_memory, b_scale_memory) =
            (allocate("a_scales", &bytes(&a_scales)), allocate("b_scales", &bytes(&b_scales)));
        let d = device.allocate("d", u64::from(4 * M * N)).expect("memory");
        let [a_box, b_box, scale_box] = boxes();
        let arguments = ProductArguments {
            a: a_box.map(a_memory.0, M.into(), K.into(), K.into()),
            b: b_box.map(b_memory.0, N.into(), K.into(), K.into()),
            a_scales: scale_box.map(a_scale_memory.0, STEPS.into(), M.into(), M.into()),
            b_scales: b_scale_memory.0,
            d: d.0,
        };
        let grid = kernel.contract.grid(&arguments.pack(), 1).expect("a grid");
        let launch = Launch::new(&module, "gemm_fp8").ctas(grid).threads([384, 1, 1]);
        let launch = launch.dynamic_shared_bytes(kernel.contract.shared_bytes);
        let launch = launch.argument(&encode(&arguments.a, "u8")).argument(&encode(&arguments.b, "u8"));
        let launch =
            launch.argument(&encode(&arguments.a_scales, "f32")).argument(b_scale_memory).argument(d);
        let outcome = device.launch(&launch).expect("a launch");
        assert!(outcome.reports.is_empty(), "seed {seed}: {}", outcome.reports[0]);
        let got = device.read(d, (4 * M * N) as usize).expect("memory");
        for (at, got) in (0..).zip(got.as_chunks().0) {
            let (row, column) = (at / N, at % N);
            let expected: f32 = (0..STEPS)
                .map(|block| {
                    let dot = |k: u32| a[(row * K + k) as usize] * b[(column * K + k) as usize];
                    let partial: f32 = (block * TILE_K..(block + 1) * TILE_K).map(dot).sum();
                    let scale = a_scales[(block * M + row) as usize]
                        * b_scales[(column / TILE_N * STEPS + block) as usize];
                    partial * scale
                })
                .sum();
            assert_eq!(f32::from_le_bytes(*got), expected, "seed {seed}, row {row}, column {column}");
        }
    }
}

#[test]
fn the_text_is_the_one_that_the_timeline_is_of() {
    let kernel = product(Target::from_name("sm_90a").expect("a target"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/tests/trace/gemm_fp8/gemm_fp8.ptx");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, kernel.text()).expect("the file can be written");
    }
    assert!(std::fs::read_to_string(path).expect("the file") == kernel.text(), "BLESS=1 rewrites {path}");
    println!("shared memory: {} bytes", kernel.contract.shared_bytes);
}
