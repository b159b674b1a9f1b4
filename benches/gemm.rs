//! The products for Hopper, shape by shape: the tile that is chosen and what the model says of it, and how long the kernel
//! takes from its specialisation to verified PTX, and with `RORQUAL_PTXAS` from there to machine code. With `RORQUAL_NVCC`
//! too, a product of like kind in CUDA C++, `nvcc/gemm_fp8.cu`, is compiled beside.
//!
//! Nothing here ran on a GPU: what is called modelled is the model of `rorqual_kernels::tune::sm90`.

use criterion::{Criterion, criterion_group, criterion_main};
use rorqual_kernels::assemble::Search;
use rorqual_kernels::gemm::hopper::{
    Format, Groups, HopperBf16Gemm, HopperFp8Gemm, HopperGemmSpec, Multicast, Tile,
};
use rorqual_kernels::gemm::{Order, Output};
use rorqual_kernels::tune::sm90::{Choice, Problem, Weights, choose};
use rorqual_kernels::{Kernel, generate};
use rorqual_ptx::target::Target;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

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

/// The variable that names nvcc.
const COMPILER_VARIABLE: &str = "RORQUAL_NVCC";
/// The product in CUDA C++.
const CUDA_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/nvcc/gemm_fp8.cu");
/// `n x k` of it, and stages.
const CUDA_SHAPE: (u32, u32, u32) = (4096, 7168, 4);
/// Rows of its tiles, which have 128 columns.
const CUDA_TILE_ROWS: [u32; 2] = [128, 256];
/// The headers by which CUDA's programming guide writes tensor copies and barriers. The product does without.
const CUDA_HEADERS: [&str; 4] = ["cuda.h", "cuda_bf16.h", "cuda/barrier", "cuda/ptx"];

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

/// The shortest of some times that it takes.
fn shortest(mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..5).map(once).min().unwrap_or_default()
}

/// From the specialisation to verified PTX.
fn time_to_ptx(format: Format, spec: &HopperGemmSpec) -> Duration {
    shortest(|| {
        std::hint::black_box(kernel(format, spec).text());
    })
}

/// Runs a compiler, which must have nothing to say.
fn compile(compiler: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) {
    let output = Command::new(compiler).args(arguments).output().expect("a compiler that runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", compiler.display());
}

/// From the text to machine code.
fn time_to_machine_code(ptxas: &Path, kernel: &Kernel) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let [text, code] = ["kernel.ptx", "kernel.cubin"].map(|name| folder.path().join(name));
    fs::write(&text, kernel.text()).expect("a file");
    let arguments = ["-arch=sm_90a".as_ref(), text.as_os_str(), "-o".as_ref(), code.as_os_str()];
    shortest(|| compile(ptxas, arguments))
}

/// From CUDA C++ to machine code, behind some headers.
fn time_of_nvcc(nvcc: &Path, tile_rows: u32, headers: &[&str]) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let (n, k, stages) = CUDA_SHAPE;
    let macros = [("COLUMNS", n), ("DEPTH", k), ("TILE_ROWS", tile_rows), ("STAGES", stages)];
    let mut arguments: Vec<String> =
        ["-std=c++17", "-arch=sm_90a", "-O3", "-Werror", "all-warnings", "-cubin"]
            .map(str::to_owned)
            .to_vec();
    arguments.extend(macros.map(|(name, value)| format!("-D{name}={value}")));
    arguments.extend(headers.iter().flat_map(|header| ["-include".to_owned(), (*header).to_owned()]));
    let code = folder.path().join("kernel.cubin");
    arguments.extend([CUDA_SOURCE.to_owned(), "-o".to_owned(), code.display().to_string()]);
    shortest(|| compile(nvcc, &arguments))
}

fn print(ptxas: Option<&Path>, format: Format, groups: u32, rows: u32, n: u32, k: u32) {
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
    let machine_code = ptxas.map(|ptxas| time_to_machine_code(ptxas, &kernel(format, &spec)));
    println!(
        "{format:?} {groups:3} groups {rows:6} x {n:5} x {k:5}  {:20} modelled {:8.1} us  PTX {:6.2} ms  machine code {}",
        tile.name(),
        estimate.microseconds,
        ptx.as_secs_f64() * 1e3,
        machine_code.map_or("not measured".to_owned(), |time| format!("{:.3} s", time.as_secs_f64())),
    );
}

/// The products in CUDA C++ beside those of the same tiles.
fn print_side_by_side(ptxas: Option<&Path>) {
    let nvcc = env::var_os(COMPILER_VARIABLE);
    let (Some(ptxas), Some(nvcc)) = (ptxas, nvcc) else {
        println!(
            "beside nvcc: not measured, RORQUAL_PTXAS and {COMPILER_VARIABLE} do not name both programs"
        );
        return;
    };
    let (n, k, stages) = CUDA_SHAPE;
    for m in CUDA_TILE_ROWS {
        let spec = spec(Format::Fp8, 1, n, k, Tile { m, n: 128, stages, multicast: Multicast::None });
        let ptx = time_to_ptx(Format::Fp8, &spec).as_secs_f64();
        let own = ptx + time_to_machine_code(ptxas, &kernel(Format::Fp8, &spec)).as_secs_f64();
        println!("{n} x {k}, tiles of {m} x 128: PTX {:.2} ms, machine code {own:.3} s", ptx * 1e3);
        for (headers, what) in [(&[][..], "without headers"), (&CUDA_HEADERS[..], "with those for copies")] {
            let time = time_of_nvcc(nvcc.as_ref(), m, headers).as_secs_f64();
            println!("  nvcc, {what}: machine code {time:.3} s, {:.1} times as long", time / own);
        }
    }
}

fn gemm(criterion: &mut Criterion) {
    let ptxas = Search::named();
    print_side_by_side(ptxas.as_deref());
    for format in [Format::Fp8, Format::Bf16] {
        for (n, k) in SHAPES {
            ROWS.into_iter().for_each(|rows| print(ptxas.as_deref(), format, 1, rows, n, k));
        }
        let print = |(groups, rows, n, k)| print(ptxas.as_deref(), format, groups, rows, n, k);
        GROUPED.into_iter().for_each(print);
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
