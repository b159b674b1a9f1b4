//! How fast PTX is read, verified and printed, in bytes of text: one megabyte as a compiler would write it for a matrix
//! kernel, and the modules that nvcc and Triton compiled for the tests of the simulator.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rorqual_ptx::verify::{Verified, verify};
use rorqual_ptx::{parse, print};
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

const BYTES: usize = 1 << 20;
/// Accumulators of one matrix instruction.
const ACCUMULATORS: usize = 64;

/// A kernel of about [`BYTES`]: blocks of address arithmetic, loads, a barrier loop, a matrix instruction, stores.
fn text() -> String {
    let mut body = String::with_capacity(BYTES);
    let mut block = 0;
    while body.len() < BYTES {
        write_block(&mut body, block).expect("a string takes all");
        block += 1;
    }
    let registers = (block + 1) * 8;
    format!(
        "//\n// One megabyte of PTX.\n//\n.version 8.7\n.target sm_90a\n.address_size 64\n\n\
         .extern .shared .align 1024 .b8 tiles[];\n\n\
         .visible .entry megabyte(\n\t.param .u64 .ptr .global .align 16 megabyte_param_0,\n\
         \t.param .align 64 .b8 megabyte_param_1[128]\n)\n.maxntid 384, 1, 1\n{{\n\
         \t.reg .pred \t%p<{registers}>;\n\t.reg .b32 \t%r<{registers}>;\n\t.reg .f32 \t%f<{ACCUMULATORS}>;\n\
         \t.reg .b64 \t%rd<{registers}>;\n\n\tld.param.u64 \t%rd0, [megabyte_param_0];\n{body}\tret;\n\n}}\n"
    )
}

fn write_block(out: &mut String, block: usize) -> std::fmt::Result {
    let r = |place: usize| format!("%r{}", block * 8 + place);
    let rd = |place: usize| format!("%rd{}", block * 8 + place);
    writeln!(out, "\tmov.u32 \t{}, %tid.x;\n\tshl.b32 \t{}, {}, 4;", r(1), r(2), r(1))?;
    writeln!(out, "\tmad.lo.s32 \t{}, {}, {}, {};", r(3), r(1), r(2), block)?;
    writeln!(out, "\tmul.wide.u32 \t{}, {}, 4;\n\tadd.s64 \t{}, %rd0, {};", rd(1), r(3), rd(2), rd(1))?;
    writeln!(out, "\tld.global.nc.L1::no_allocate.v2.u32 \t{{{}, {}}}, [{}+-16];", r(4), r(5), rd(2))?;
    writeln!(out, "\tsetp.lt.u32 \t%p{}, {}, {};", block * 8, r(4), 0x7f)?;
    writeln!(out, "\t@%p{} bra \t$L__BB0_{block};", block * 8)?;
    writeln!(out, "\t// begin inline asm\n\t{{\n\t.reg .pred P1;\n\tLAB_WAIT:")?;
    writeln!(out, "\tmbarrier.try_wait.parity.shared::cta.b64 P1, [{}], {};", r(5), r(1))?;
    writeln!(out, "\t@P1 bra DONE;\n\tbra LAB_WAIT;\n\tDONE:\n\t}}\n\t// end inline asm")?;
    let accumulators: Vec<_> = (0..ACCUMULATORS).map(|place| format!("%f{place}")).collect();
    writeln!(
        out,
        "\twgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{{}}}, {}, {}, 1, 1, 1, 0, 0;",
        accumulators.join(", "),
        rd(1),
        rd(2)
    )?;
    for place in 0..ACCUMULATORS / 8 {
        writeln!(out, "\tfma.rn.ftz.f32 \t%f{}, %f{place}, 0f3F800000, %f{};", place + 1, place + 2)?;
    }
    for place in 0..4 {
        writeln!(out, "\tst.shared.v2.f32 \t[{}+{}], {{%f{place}, %f{}}};", r(3), 8 * place, place + 1)?;
    }
    writeln!(out, "$L__BB0_{block}:")
}

/// The modules of the simulator's tests, in the order of their names.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/tests/kernels/ptx");
    let entries = std::fs::read_dir(folder).expect("the repository has the simulator's tests");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).expect("PTX is text")).collect()
}

fn read(text: &str) -> Verified {
    let module = parse(text).unwrap_or_else(|error| panic!("{error}"));
    verify(module).unwrap_or_else(|error| panic!("{error}"))
}

fn compiled(criterion: &mut Criterion) {
    let texts = corpus();
    let mut group = criterion.benchmark_group("corpus");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(texts.iter().map(|text| text.len() as u64).sum()));
    group.bench_function("parse and verify", |bencher| {
        bencher.iter(|| texts.iter().map(|text| read(black_box(text)).functions.len()).sum::<usize>());
    });
    group.finish();
}

fn megabyte(criterion: &mut Criterion) {
    let text = text();
    let module = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut group = criterion.benchmark_group("megabyte");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| parse(black_box(&text))));
    group.bench_function("print", |bencher| bencher.iter(|| print(black_box(&module))));
    group.finish();
}

criterion_group!(benches, megabyte, compiled);
criterion_main!(benches);
