//! Speed of the tensor-core arithmetic on one core, in multiply-accumulates a second.
//!
//! `wgmma` times decoded panels with the accumulators brought from and back to the registers of four warps;
//! `gather` the decoding of operands in shared memory (elements a second); `mma` a whole warp-level instruction, from
//! registers to registers.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rorqual_sim::tensor_core::descriptor::{Descriptor, Major, SharedOperand};
use rorqual_sim::tensor_core::fragment::{Fragment, Register, Strides};
use rorqual_sim::tensor_core::{
    Arithmetic, Format, Generation, Instruction, Panel, Precision, multiply_accumulate,
};

/// Bytes whose values as elements are finite and of common size in every format.
fn bytes(format: Format, count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as u8
    };
    (0..count)
        .map(|index| match format.bits() {
            8 => next() & 0x8f | 0x30,
            16 if index % 2 == 1 => next() & 0x83 | 0x3c,
            32 if index % 4 == 3 => next() & 0x80 | 0x3f,
            _ => next(),
        })
        .collect()
}

/// A tile of the 128-byte pattern, or of the 32-byte one if its rows are no longer.
fn operand(format: Format, lines: usize) -> SharedOperand {
    const SWIZZLE_32: u64 = 3 << 62;
    let descriptor = Descriptor::decode(16 << 32 | SWIZZLE_32).expect("a valid descriptor");
    SharedOperand::new(descriptor, Major::K, format, lines).expect("a valid operand")
}

fn panel(format: Format, lines: usize, precision: Precision) -> Panel {
    let mut panel = Panel::new();
    operand(format, lines)
        .gather(&mut panel, &bytes(format, lines * 32), precision)
        .expect("the operand is in memory");
    panel
}

fn wgmma(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wgmma");
    for (format, columns, precision) in [
        (Format::E4m3, 128, Precision::Exact),
        (Format::E4m3, 128, Precision::Hardware),
        (Format::E4m3, 112, Precision::Hardware),
        (Format::Bf16, 128, Precision::Exact),
        (Format::Bf16, 128, Precision::Hardware),
        (Format::Tf32, 128, Precision::Hardware),
    ] {
        let (a, b) = (panel(format, 64, precision), panel(format, columns, precision));
        let arithmetic =
            Arithmetic::new(precision, Generation::Hopper, Instruction::Wgmma, format, a.depth(), false);
        let fragment = Fragment::accumulator(16, columns, 32);
        let strides = Strides { line: columns, place: 1 };
        let mut registers = vec![[0; 32]; 4 * fragment.registers()];
        let mut matrix = vec![0.0; 64 * columns];
        group.throughput(Throughput::Elements((64 * columns * a.depth()) as u64));
        group.bench_function(format!("m64n{columns}k{} {format:?} {precision:?}", a.depth()), |bencher| {
            bencher.iter(|| {
                let warps =
                    registers.chunks_exact(fragment.registers()).zip(matrix.chunks_exact_mut(16 * columns));
                for (registers, matrix) in warps {
                    fragment.load(matrix, strides, |number| &registers[number], f32::from_bits);
                }
                multiply_accumulate(&a, &b, &mut matrix, arithmetic);
                let warps =
                    registers.chunks_exact_mut(fragment.registers()).zip(matrix.chunks_exact(16 * columns));
                for (registers, matrix) in warps {
                    fragment.store(matrix, strides, |number, words| registers[number] = *words, f32::to_bits);
                }
            });
        });
    }
    group.finish();
}

fn gather(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gather");
    for (format, precision) in [
        (Format::E4m3, Precision::Exact),
        (Format::E4m3, Precision::Hardware),
        (Format::Bf16, Precision::Exact),
        (Format::Bf16, Precision::Hardware),
    ] {
        let operand = operand(format, 128);
        let memory = bytes(format, 128 * 32);
        let mut panel = Panel::new();
        group.throughput(Throughput::Elements(128 * 256 / u64::from(format.bits())));
        group.bench_function(format!("128 lines {format:?} {precision:?}"), |bencher| {
            bencher
                .iter(|| operand.gather(&mut panel, &memory, precision).expect("the operand is in memory"));
        });
    }
    group.finish();
}

fn mma(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mma");
    for (format, depth, generation, precision) in [
        (Format::Bf16, 16, Generation::Hopper, Precision::Exact),
        (Format::Bf16, 16, Generation::Hopper, Precision::Hardware),
        (Format::Bf16, 16, Generation::Ampere, Precision::Hardware),
        (Format::E4m3, 32, Generation::Ada, Precision::Hardware),
    ] {
        let arithmetic = Arithmetic::new(precision, generation, Instruction::Mma, format, depth, false);
        let a_fragment = Fragment::operand(16, depth, format.bits());
        let b_fragment = Fragment::operand(8, depth, format.bits());
        let d_fragment = Fragment::accumulator(16, 8, 32);
        let raw = bytes(format, 128 * 6);
        let words: Vec<u32> = raw.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let registers = words.as_chunks::<32>().0;
        let (mut a, mut b) = (Panel::new(), Panel::new());
        let mut accumulators: [Register; 4] = [[0; 32]; 4];
        let mut matrix = [0.0; 128];
        // The transpose is computed: the 16 rows of A are the wider side.
        let strides = Strides { line: 1, place: 16 };
        group.throughput(Throughput::Elements(128 * depth as u64));
        group.bench_function(format!("m16n8k{depth} {format:?} {generation:?} {precision:?}"), |bencher| {
            bencher.iter(|| {
                a.fill_fragment(format, a_fragment, 1, precision, |_, number| &registers[number]);
                b.fill_fragment(format, b_fragment, 1, precision, |_, number| &registers[4 + number]);
                d_fragment.load(&mut matrix, strides, |number| &accumulators[number], f32::from_bits);
                multiply_accumulate(&b, &a, &mut matrix, arithmetic);
                d_fragment.store(
                    &matrix,
                    strides,
                    |number, words| accumulators[number] = *words,
                    f32::to_bits,
                );
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wgmma, gather, mma);
criterion_main!(benches);
