//! Speed of the interpreter on one core, in warp instructions a second: a loop of shared-memory loads and f32
//! multiply-adds, all default checks on.
//!
//! `fma` has no loads, `fma_load` a load for each multiply-add: of consecutive words, of one word for the whole warp,
//! and, in `fma_load_scattered`, of words in no order.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rorqual_sim::{Device, DevicePointer, Launch, Outcome};
use std::fmt::Write;

/// Multiply-adds of a turn of the loop.
const UNROLLED: usize = 16;
const TURNS: u32 = 2000;
const THREADS: u32 = 256;

/// Where the loads of a kernel read.
#[derive(Clone, Copy, PartialEq)]
enum Loads {
    None,
    /// Lane i word i, and every lane the same word, in turn.
    Regular,
    /// Lane i word 13 i modulo 32 of a row, which no fast path for consecutive words takes.
    Scattered,
}

/// A kernel that fills 8 KiB of shared memory, goes round the loop and stores a sum for each thread.
fn text(loads: Loads) -> String {
    let mut body = String::new();
    for step in 0..UNROLLED {
        let address = if loads == Loads::Regular && step % 2 == 1 { "%r5" } else { "%r4" };
        if loads != Loads::None {
            writeln!(body, "ld.shared.f32 %f{}, [{address}+{}];", step + 2, step * 128)
                .expect("a string takes all");
        }
        let (from, to) = (step + 2, 32 + step % 8);
        writeln!(body, "fma.rn.f32 %f{to}, %f{from}, %f1, %f{to};").expect("a string takes all");
    }
    let lane = if loads == Loads::Scattered { "mul.lo.u32 %r6, %r6, 13; and.b32 %r6, %r6, 31;" } else { "" };
    let sums: String = (33..40).map(|sum| format!("add.f32 %f32, %f32, %f{sum};\n")).collect();
    let begin: String = (2..40).map(|register| format!("mov.f32 %f{register}, 0f3e800000;\n")).collect();
    format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n\
         .visible .entry loop_kernel(.param .u64 sums) {{\n\
         .shared .align 128 .b8 tile[8192];\n\
         .reg .pred %p<2>; .reg .b32 %r<8>; .reg .f32 %f<40>; .reg .b64 %rd<4>;\n\
         mov.u32 %r1, %tid.x; mov.u32 %r2, tile; shl.b32 %r3, %r1, 2; add.u32 %r3, %r3, %r2;\n\
         mov.f32 %f1, 0f3f400000;\n{begin}\
         st.shared.f32 [%r3], %f1; st.shared.f32 [%r3+1024], %f1; st.shared.f32 [%r3+2048], %f1;\n\
         st.shared.f32 [%r3+3072], %f1; st.shared.f32 [%r3+4096], %f1; st.shared.f32 [%r3+5120], %f1;\n\
         st.shared.f32 [%r3+6144], %f1; st.shared.f32 [%r3+7168], %f1; bar.sync 0;\n\
         and.b32 %r6, %r1, 31; {lane} shl.b32 %r6, %r6, 2; add.u32 %r4, %r2, %r6; mov.u32 %r5, %r2;\n\
         mov.u32 %r7, {TURNS};\n\
         again:\n{body}\
         sub.u32 %r7, %r7, 1; setp.ne.u32 %p1, %r7, 0; @%p1 bra again;\n{sums}\
         ld.param.u64 %rd1, [sums]; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2;\n\
         st.global.f32 [%rd3], %f32; ret;\n}}\n"
    )
}

/// A device with the kernel, one thread of the host, and how to launch it.
fn prepare(loads: Loads) -> (Device, Launch) {
    let mut device = Device::new("sm_80".parse().expect("a target")).expect("a simulated target");
    device.options_mut().threads = 1;
    let module = device.load(&text(loads)).unwrap_or_else(|error| panic!("{error}"));
    let sums: DevicePointer = device.allocate("sums", u64::from(THREADS) * 4).expect("enough memory");
    let launch = Launch::new(&module, "loop_kernel").threads([THREADS, 1, 1]).argument(sums);
    (device, launch)
}

fn run(device: &mut Device, launch: &Launch) -> Outcome {
    let outcome = device.launch(launch).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome.reports, []);
    outcome
}

fn interpreter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("interpreter");
    for (name, loads) in
        [("fma", Loads::None), ("fma_load", Loads::Regular), ("fma_load_scattered", Loads::Scattered)]
    {
        let (mut device, launch) = prepare(loads);
        let instructions = run(&mut device, &launch).counters.instructions();
        group.throughput(Throughput::Elements(instructions));
        group.bench_function(name, |bencher| bencher.iter(|| run(&mut device, &launch)));
    }
    group.finish();
}

criterion_group!(benches, interpreter);
criterion_main!(benches);
