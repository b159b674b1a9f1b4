//! A warp-specialised matrix product in bf16, D = A * B^T, on the simulator: tensor copies by a producer warp through a
//! ring of stages, products of a warpgroup, registers moved between the roles.

use half::bf16;
use rorqual_codegen::contract::{Arguments, Extent, Out, SwizzleMode};
use rorqual_codegen::element::{Bf16, ElementType};
use rorqual_codegen::mma::wgmma::{self, Major};
use rorqual_codegen::tma::{Box2d, TensorMapParameter};
use rorqual_codegen::{Builder, Header, Kernel, generate};
use rorqual_ptx::target::Target;
use rorqual_sim::mutate::Mutator;
use rorqual_sim::mutate::judge::{Caught, Score, Subject, judge};
use rorqual_sim::race::{RacePolicy, WarpPolicy};
use rorqual_sim::tensor_map::{ElementType as MapElement, Swizzle, TensorMap, TileSpec};
use rorqual_sim::{Device, Launch, Options, Verdict};

const N: u32 = 72;
const TILE_N: u32 = 48;
const TILE_K: u32 = 64;
const STAGES: u32 = 3;

rorqual_codegen::arguments! {
    struct ProductArguments, ProductParameters {
        /// `[m, k]`
        a: TensorMapParameter,
        /// `[n, k]`
        b: TensorMapParameter,
        /// `[m, n]`
        d: Out<f32>,
        m: u32,
        k: u32,
    }
}

fn product(target: Target) -> Kernel {
    let header = Header::new("product", "bf16", target, 256).registers(128).grid(
        N.div_ceil(TILE_N),
        Extent::argument("m").ceil_divide(wgmma::ROWS),
        1,
    );
    generate::<ProductArguments>(header, body).unwrap_or_else(|error| panic!("{error}"))
}

fn body<'k>(builder: &'k Builder, arguments: ProductParameters<'k>) {
    let (a_box, b_box) = boxes();
    let a_tiles = builder.shared::<Bf16>(STAGES * wgmma::ROWS * TILE_K, 1024);
    let b_tiles = builder.shared::<Bf16>(STAGES * TILE_N * TILE_K, 1024);
    let ring = builder.ring(STAGES);
    let thread = builder.thread();
    builder.when(thread.equals(0), || {
        ring.initialize(&[1], 4);
        builder.fence_mbarrier_init();
    });
    builder.sync_threads();
    let (first_n, first_m) = (builder.cta(0) * TILE_N, builder.cta(1) * wgmma::ROWS);
    let steps = arguments.k.ceil_divide(TILE_K);

    builder.role(0, 4, || {
        builder.set_registers(40, false);
        builder.when(thread.equals(0), || {
            let cursor = ring.producer();
            builder.for_each(0, steps, 1, |step| {
                cursor.place().wait_empty();
                cursor.place().full().arrive_expecting(builder.constant(a_box.bytes() + b_box.bytes()));
                let k = (step * TILE_K).to_i32();
                let to = a_tiles.at(cursor.place().stage() * (wgmma::ROWS * TILE_K));
                builder.copy_tensor_to_shared(to, arguments.a, &[k, first_m.to_i32()], cursor.place().full());
                let to = b_tiles.at(cursor.place().stage() * (TILE_N * TILE_K));
                builder.copy_tensor_to_shared(to, arguments.b, &[k, first_n.to_i32()], cursor.place().full());
                cursor.advance();
            });
        });
    });
    builder.role(4, 4, || {
        builder.set_registers(208, true);
        let cursor = ring.consumer();
        let sum = builder.accumulator(TILE_N);
        sum.fill(0.0);
        builder.for_each(0, steps, 1, |_| {
            cursor.place().wait_full();
            let a = builder
                .swizzled_descriptor(a_tiles.at(cursor.place().stage() * (wgmma::ROWS * TILE_K)), Major::K);
            let b =
                builder.swizzled_descriptor(b_tiles.at(cursor.place().stage() * (TILE_N * TILE_K)), Major::K);
            builder.fence_products();
            for k in (0..2 * TILE_K).step_by(wgmma::K_BYTES as usize) {
                sum.multiply_add(
                    ElementType::Bf16,
                    a.bytes(k).encode(),
                    b.bytes(k).encode(),
                    builder.known(true),
                );
            }
            builder.commit_products();
            builder.wait_products(0);
            builder.when(builder.lane().equals(0), || cursor.place().empty().arrive());
            cursor.advance();
        });
        let warp = builder.warp() & 3;
        let row = first_m + warp * 16 + builder.lane() / 4;
        let column = first_n + (builder.lane() & 3) * 2;
        for (register, value) in (0..).zip(sum.registers()) {
            let (down, right) = wgmma::d_coordinate(0, register);
            let inside = (row + down).less(arguments.m) & (column + right).less(N);
            arguments.d.at((row + down).multiply_add(N, column + right)).store_when(inside, value.get());
        }
    });
}

fn boxes() -> (Box2d, Box2d) {
    (
        Box2d::swizzled::<Bf16>(wgmma::ROWS, SwizzleMode::B128),
        Box2d::swizzled::<Bf16>(TILE_N, SwizzleMode::B128),
    )
}

/// The map as the driver would encode it.
fn encode(map: &rorqual_codegen::contract::TensorMap) -> TensorMap {
    let ones = vec![1; map.extents.len()];
    let spec = TileSpec::new(
        MapElement::from_name("bf16").expect("a type"),
        map.address,
        &map.extents,
        &map.strides_bytes,
        &map.box_extents,
        &ones,
    );
    let spec = TileSpec { swizzle: Swizzle::B128, ..spec.expect("a specification") };
    TensorMap::encode(&spec).expect("a tensor map")
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let next = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    let states = std::iter::successors(next(&seed), next);
    states.map(|state| ((state >> 40) % 33) as f32 / 16.0 - 1.0).take(count).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
}

/// Runs a text as the product of `m` rows and sums of length `k`; what is wrong with it.
fn run(kernel: &Kernel, text: &str, (m, k): (u32, u32), options: Options) -> Result<(), (Caught, String)> {
    let mut device = Device::new(Target::from_name("sm_90a").expect("a target")).expect("a device");
    *device.options_mut() = options;
    let module = device.load(text).expect("a module");
    let (a, b) = (random((m * k) as usize, 1), random((N * k) as usize, 2));
    let a_memory = device.allocate_from("a", &bytes(&a)).expect("memory");
    let b_memory = device.allocate_from("b", &bytes(&b)).expect("memory");
    let d = device.allocate("d", u64::from(4 * m * N)).expect("memory");
    let (a_box, b_box) = boxes();
    let arguments = ProductArguments {
        a: a_box.map(a_memory.0, m.into(), k.into(), k.into()),
        b: b_box.map(b_memory.0, N.into(), k.into(), k.into()),
        d: d.0,
        m,
        k,
    };
    let grid = kernel.contract.grid(&arguments.pack(), 1).expect("a grid");
    let launch = Launch::new(&module, "product").ctas(grid).threads([256, 1, 1]);
    let launch = launch.dynamic_shared_bytes(kernel.contract.shared_bytes);
    let launch = launch.argument(&encode(&arguments.a)).argument(&encode(&arguments.b));
    let launch = launch.argument(d).argument(m).argument(k);
    let outcome = device.launch(&launch).expect("a launch");
    if let Some(report) = outcome.reports.first() {
        let is_limit = report.rule.verdict() == Verdict::Limit;
        let caught = if is_limit { Caught::NoEnd } else { Caught::Report(report.rule) };
        return Err((caught, report.to_string()));
    }
    let got = device.read(d, (4 * m * N) as usize).map_err(|error| (Caught::Unwritten, error.to_string()))?;
    for (at, got) in got.as_chunks().0.iter().enumerate() {
        let (row, column) = (at / N as usize, at % N as usize);
        let dot = |i: u32| a[row * k as usize + i as usize] * b[column * k as usize + i as usize];
        let (got, expected): (f32, f32) = (f32::from_le_bytes(*got), (0..k).map(dot).sum());
        if got != expected {
            let message = format!("row {row}, column {column} is {got}, expected {expected}");
            return Err((Caught::WrongValue, message));
        }
    }
    Ok(())
}

#[test]
fn a_warp_specialised_product_is_right_under_every_schedule() {
    let kernel = product(Target::from_name("sm_90a").expect("a target"));
    for (seed, shape) in (0..).zip([(64, 64), (1, 8), (130, 200), (65, 512)]) {
        let options = Options { seed, ..Options::default() };
        if let Err((_, message)) = run(&kernel, &kernel.text(), shape, options) {
            panic!("(m, k) {shape:?}: {message}");
        }
    }
}

/// Shapes and schedules that mutants are run with: tails in some, and in some so many rounds of the ring that arrivals
/// which are one too many in each add up to a phase.
const TRIALS: [((u32, u32), u64); 4] = [((5, 328), 0), ((70, 456), 1), ((64, 1600), 2), ((5, 1600), 3)];

/// Warp instructions of a mutant, some twenty times what the product needs.
const PATIENCE: u64 = 2_000_000;

struct Product(Kernel);

impl Subject for Product {
    fn trials(&self) -> usize {
        TRIALS.len()
    }

    fn run(&self, text: &str, trial: usize) -> Result<(), Caught> {
        let (shape, seed) = TRIALS[trial];
        let race = Some(RacePolicy { warp: WarpPolicy::Report, ..RacePolicy::default() });
        let options = Options { seed, race, instruction_budget: PATIENCE, ..Options::default() };
        run(&self.0, text, shape, options).map_err(|(caught, _)| caught)
    }
}

/// Whatever is left out, moved or weakened of the barriers, waits, fences and groups of the product is noticed.
#[test]
fn mutants_of_a_warp_specialised_product_are_caught() {
    let product = Product(product(Target::from_name("sm_90a").expect("a target")));
    let text = product.0.text();
    for trial in 0..product.trials() {
        assert_eq!(product.run(&text, trial), Ok(()), "trial {trial} of the original");
    }
    let mutator = Mutator::new(&text).expect("PTX");
    let mut score = Score::default();
    for mutant in mutator.mutants() {
        let fate = judge(&mutator, &mutant, &product);
        println!("{mutant}: {fate:?}");
        score.count(&mutator, &mutant, fate);
    }
    println!("{} mutants, {:?}, equivalent {:?}", score.mutants(), score.caught, score.equivalent);
    assert!(score.contradictions.is_empty(), "caught though equivalent: {:?}", score.contradictions);
    assert!(score.mutants() >= 35, "only {} mutants", score.mutants());
    // What the producer's arrival would release is nothing: bytes publish themselves, and the thread writes no others.
    let harmless = |name: &String| name.ends_with("mbarrier.arrive.expect_tx.shared.b64 relaxed");
    let alive = score.alive.iter().map(|(mutant, _)| mutant.to_string());
    let alive: Vec<String> = alive.filter(|name| !harmless(name)).collect();
    assert!(score.ratio() >= 0.95, "the score is {}", score.ratio());
    assert!(alive.is_empty(), "alive:\n{}", alive.join("\n"));
}
