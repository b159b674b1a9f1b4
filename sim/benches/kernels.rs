//! Time of whole kernels, results checked first: a product of 128 by 4096 by 7168 in e4m3, as a projection of a large
//! language model for a batch of 128 tokens, by a persistent kernel that Triton compiled: tiles come by TMA in three
//! stages that mbarriers announce, two warpgroups multiply them with wgmma, TMA stores the result.
//!
//! `RAYON_NUM_THREADS` says how many cores run it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rorqual_sim::tensor_map::{ElementType, Swizzle, TensorMap, TileSpec};
use rorqual_sim::{Argument, Device, DevicePointer, Launch, Precision};

const ROWS: usize = 128;
const COLUMNS: usize = 4096;
const DEPTH: usize = 7168;
/// Rows and columns of a tile, and how deep a step of the kernel's loop is.
const TILE: usize = 128;
/// Each computes two tiles.
const CTAS: u32 = 16;
/// What the compiler says that the kernel takes.
const SHARED_BYTES: u32 = 131_096;
const THREADS: u32 = 256;

/// The eighths, from -7 to 7, that a factor holds: sums of their products are exact in f32, in any order.
fn eighths(count: usize, seed: u32) -> Vec<i8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) % 15
    };
    (0..count).map(|_| next() as i8 - 7).collect()
}

/// So many eighths in e4m3: 0, or a power of two times 8 to 15 eighths.
fn e4m3(eighths: i8) -> u8 {
    const BIAS: u8 = 7;
    let magnitude = eighths.unsigned_abs();
    let sign = if eighths < 0 { 0x80 } else { 0 };
    if magnitude == 0 {
        return sign;
    }
    let power = magnitude.ilog2() as u8;
    sign | (BIAS - 3 + power) << 3 | (magnitude << (3 - power)) & 7
}

/// The exact product in 64ths, row by row.
fn product(a: &[i8], b: &[i8]) -> Vec<i32> {
    let wide = |bytes: &[i8]| bytes.iter().map(|byte| i16::from(*byte)).collect::<Vec<_>>();
    let (a, b) = (wide(a), wide(b));
    let dot = |x: &[i16], y: &[i16]| x.iter().zip(y).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
    a.chunks_exact(DEPTH).flat_map(|x| b.chunks_exact(DEPTH).map(move |y| dot(x, y))).collect()
}

/// Rounds to bf16, ties to even.
fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// The map of a matrix with boxes of [`TILE`] rows of 128 bytes, and what the kernel takes besides.
fn descriptor(element: ElementType, data: DevicePointer, extents: [usize; 2]) -> [Argument; 5] {
    let [rows, columns] = extents.map(|extent| extent as u64);
    let bytes = u64::from(element.bytes());
    let dims = [columns, rows];
    let spec = TileSpec::new(
        element,
        data.0,
        &dims,
        &[columns * bytes],
        &[128 / bytes as u32, TILE as u32],
        &[1, 1],
    );
    let spec = TileSpec { swizzle: Swizzle::B128, ..spec.expect("two dimensions") };
    let map = TensorMap::encode(&spec).expect("a valid map");
    [(&map).into(), (rows as u32).into(), (columns as u32).into(), columns.into(), 1_u64.into()]
}

/// A device with the factors, and the launch.
struct Gemm {
    device: Device,
    launch: Launch,
    result: DevicePointer,
    a: Vec<i8>,
    b: Vec<i8>,
}

impl Gemm {
    fn new() -> Self {
        let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a simulated target");
        let module =
            device.load(include_str!("kernels/gemm_e4m3.ptx")).unwrap_or_else(|error| panic!("{error}"));
        let (a, b) = (eighths(ROWS * DEPTH, 1), eighths(COLUMNS * DEPTH, 2));
        let mut factor = |name, eighths: &[i8]| {
            let bytes: Vec<u8> = eighths.iter().copied().map(e4m3).collect();
            device.allocate_from(name, &bytes).expect("enough memory")
        };
        let (a_bytes, b_bytes) = (factor("a", &a), factor("b", &b));
        let result = device.allocate("c", (ROWS * COLUMNS * 2) as u64).expect("enough memory");
        let mut launch = Launch::new(&module, "gemm_e4m3")
            .ctas([CTAS, 1, 1])
            .threads([THREADS, 1, 1])
            .dynamic_shared_bytes(SHARED_BYTES);
        let descriptors = [
            descriptor(ElementType::U8, a_bytes, [ROWS, DEPTH]),
            descriptor(ElementType::U8, b_bytes, [COLUMNS, DEPTH]),
            descriptor(ElementType::Bf16, result, [ROWS, COLUMNS]),
        ];
        for argument in descriptors.into_iter().flatten() {
            launch = launch.argument(argument);
        }
        for extent in [ROWS, COLUMNS, DEPTH] {
            launch = launch.argument(extent as u32);
        }
        // Scratch memory that the kernel does not use.
        launch = launch.argument(0_u64).argument(0_u64);
        Self { device, launch, result, a, b }
    }

    fn run(&mut self) {
        let outcome = self.device.launch(&self.launch).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(outcome.reports, []);
        assert_eq!(outcome.counters.matrix_macs, (ROWS * COLUMNS * DEPTH) as u64);
    }

    /// Compares the result with the exact product: in `exact` the same bits, in `hardware`, which cuts what an
    /// addition shifts out beyond 13 bits and here adds 224 times to one accumulator, the same but for a few percent.
    fn check(&self) {
        const HARDWARE_ERROR: f64 = 0.05;
        let bytes = self.device.read(self.result, ROWS * COLUMNS * 2).expect("the result");
        let got = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16));
        let want = product(&self.a, &self.b).into_iter().map(|sum| sum as f32 / 64.0);
        let (mut errors, mut squares) = (0.0, 0.0);
        for (index, (got, want)) in got.zip(want).enumerate() {
            if self.device.options().precision == Precision::Exact {
                assert_eq!(got, bf16(want), "row {}, column {}", index / COLUMNS, index % COLUMNS);
            }
            errors += f64::from(got - want).powi(2);
            squares += f64::from(want).powi(2);
        }
        let error = (errors / squares).sqrt();
        assert!(error < HARDWARE_ERROR, "relative error {error}");
    }
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm_e4m3");
    group.sample_size(10);
    group.throughput(Throughput::Elements((ROWS * COLUMNS * DEPTH) as u64));
    let mut gemm = Gemm::new();
    for precision in [Precision::Exact, Precision::Hardware] {
        gemm.device.options_mut().precision = precision;
        gemm.run();
        gemm.check();
        group.bench_function(format!("{ROWS}x{COLUMNS}x{DEPTH} {precision:?}"), |bencher| {
            bencher.iter(|| gemm.run());
        });
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
