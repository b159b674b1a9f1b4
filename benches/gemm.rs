//! The products for Hopper, shape by shape: the tile that is chosen and what the model says of it, and how long the kernel
//! takes from its specialisation to verified PTX, and with `RORQUAL_PTXAS` from there to machine code.
//!
//! Nothing here ran on a GPU: what is called modelled is the model of `rorqual_kernels::tune::sm90`.

use criterion::{Criterion, criterion_group, criterion_main};
use rorqual_kernels::gemm::hopper::{Format, Groups, HopperBf16Gemm, HopperFp8Gemm, HopperGemmSpec, Tile};
use rorqual_kernels::gemm::{Order, Output};
use rorqual_kernels::tune::sm90::{Choice, Problem, Weights, choose};
use rorqual_kernels::{Kernel, generate};
use rorqual_ptx::target::Target;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// `n x k` of the dense products of DeepSeek-V3.
const SHAPES: [(u32, u32); 6] =
    [(2112, 7168), (24576, 1536), (32768, 512), (7168, 16384), (4096, 7168), (7168, 2048)];
/// Rows of dense products.
const ROWS: [u32; 6] = [1, 8, 32, 64, 128, 4096];
/// Groups, rows in all and `n x k` of grouped products.
const GROUPED: [(u32, u32, u32, u32); 6] = [
    (4, 32768, 4096, 7168),
    (8, 32768, 4096, 7168),
    (4, 32768, 7168, 2048),
    (8, 32768, 7168, 2048),
    (256, 256, 4096, 7168),
    (256, 8192, 7168, 2048),
];

fn spec(format: Format, groups: u32, n: u32, k: u32, tile: Tile) -> HopperGemmSpec {
    let grouping = if groups > 1 { Groups::Prefix { groups } } else { Groups::Dense };
    HopperGemmSpec { grouping, ..HopperGemmSpec::new(format, n, k, tile) }
}

fn kernel(format: Format, spec: &HopperGemmSpec) -> Kernel {
    let target = Target::from_name("sm_90a").expect("a target");
    let kernel = match format {
        Format::Fp8 => generate::<HopperFp8Gemm>(spec, target),
        Format::Bf16 => generate::<HopperBf16Gemm>(spec, target),
    };
    kernel.expect("a kernel of a choice")
}

/// The shortest of some generations.
fn time_to_ptx(format: Format, spec: &HopperGemmSpec) -> Duration {
    let once = || {
        let start = Instant::now();
        std::hint::black_box(kernel(format, spec));
        start.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

/// From the text to machine code, where `RORQUAL_PTXAS` names an assembler.
fn time_to_machine_code(kernel: &Kernel) -> Option<Duration> {
    let ptxas = std::env::var_os("RORQUAL_PTXAS")?;
    let folder = tempfile::tempdir().expect("a folder");
    let (source, machine_code) = (folder.path().join("kernel.ptx"), folder.path().join("kernel.cubin"));
    fs::write(&source, kernel.text()).expect("a file");
    let start = Instant::now();
    let output = Command::new(ptxas).arg("-arch=sm_90a").arg(&source).arg("-o").arg(machine_code).output();
    let output = output.expect("RORQUAL_PTXAS names a program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(start.elapsed())
}

fn print(format: Format, groups: u32, rows: u32, n: u32, k: u32) {
    let weights = if groups > 1 { Weights::Groups(groups) } else { Weights::Dense };
    let problem = Problem {
        format,
        rows,
        n,
        k,
        weights,
        b_order: Order::OutputMajor,
        output: Output::Bf16,
        multiprocessors: 132,
    };
    let Choice { tile, estimate, .. } = choose(&problem);
    let spec = spec(format, groups, n, k, tile);
    let ptx = time_to_ptx(format, &spec);
    let machine_code = time_to_machine_code(&kernel(format, &spec));
    println!(
        "{format:?} {groups:3} groups {rows:6} x {n:5} x {k:5}  {:20} modelled {:8.1} us  PTX {:6.2} ms  machine code {}",
        tile.name(),
        estimate.microseconds,
        ptx.as_secs_f64() * 1e3,
        machine_code.map_or("not measured".to_owned(), |time| format!("{:.3} s", time.as_secs_f64())),
    );
}

fn gemm(criterion: &mut Criterion) {
    for format in [Format::Fp8, Format::Bf16] {
        for (n, k) in SHAPES {
            ROWS.into_iter().for_each(|rows| print(format, 1, rows, n, k));
        }
        GROUPED.into_iter().for_each(|(groups, rows, n, k)| print(format, groups, rows, n, k));
    }
    let problem = Problem {
        format: Format::Fp8,
        rows: 4096,
        n: 4096,
        k: 7168,
        weights: Weights::Dense,
        b_order: Order::OutputMajor,
        output: Output::Bf16,
        multiprocessors: 132,
    };
    criterion.bench_function("choice of a tile", |bencher| bencher.iter(|| choose(&problem)));
    let spec = spec(Format::Fp8, 1, 4096, 7168, choose(&problem).tile);
    criterion.bench_function("specialisation to verified PTX", |bencher| {
        bencher.iter(|| kernel(Format::Fp8, &spec));
    });
}

criterion_group!(benches, gemm);
criterion_main!(benches);
