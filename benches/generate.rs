//! How long a kernel takes from its specialisation to verified PTX, to the text that a driver gets, and to machine code:
//! for the row of the catalog that is the median, and for all rows that sm_90a gets.
//!
//! The table on stdout has every row, slowest last. Machine code is made by the ptxas that `RORQUAL_PTXAS` names, a
//! process for each kernel; without it, that is not measured.

use criterion::{Criterion, criterion_group, criterion_main};
use rorqual::catalog::{Row, rows_for};
use rorqual_ptx::target::Target;
use std::ffi::OsStr;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Generations of a row for the table, of which the fastest counts.
const REPEATS: usize = 5;

fn time(row: &Row, target: Target) -> Duration {
    let once = || {
        let start = Instant::now();
        black_box(row.spec.generate(target).expect("a row of the catalog"));
        start.elapsed()
    };
    (0..REPEATS).map(|_| once()).min().unwrap_or_default()
}

/// From the specialisation to the machine code, as `ptxas` writes it to a file.
fn time_to_machine_code(row: &Row, target: Target, ptxas: &OsStr, folder: &Path) -> Duration {
    let (source, machine_code) = (folder.join("kernel.ptx"), folder.join("kernel.cubin"));
    let start = Instant::now();
    let kernel = row.spec.generate(target).expect("a row of the catalog");
    fs::write(&source, kernel.text()).expect("a file");
    let assembled =
        Command::new(ptxas).arg(format!("-arch={target}")).arg(&source).arg("-o").arg(&machine_code).output();
    let assembled = assembled.expect("RORQUAL_PTXAS names a program");
    let time = start.elapsed();
    assert!(assembled.status.success(), "{}", String::from_utf8_lossy(&assembled.stderr));
    time
}

/// Prints the median over all rows.
fn machine_code(target: Target) {
    let Some(ptxas) = std::env::var_os("RORQUAL_PTXAS") else {
        println!("to machine code: not measured, RORQUAL_PTXAS names no ptxas");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut times: Vec<Duration> =
        rows_for(target).iter().map(|row| time_to_machine_code(row, target, &ptxas, folder.path())).collect();
    times.sort();
    let [median, slowest] = [times[times.len() / 2], times[times.len() - 1]].map(|time| time.as_secs_f64());
    println!("to machine code: median of {} rows {median:.3} s, slowest {slowest:.3} s", times.len());
}

fn generate(criterion: &mut Criterion) {
    let target = Target::from_name("sm_90a").expect("a target");
    let mut timed: Vec<(Duration, Row)> =
        rows_for(target).into_iter().map(|row| (time(&row, target), row)).collect();
    timed.sort_by_key(|(time, _)| *time);
    for (time, row) in &timed {
        println!("{:8.3} ms  {}", time.as_secs_f64() * 1e3, row.spec.to_json());
    }
    let (time, median) = &timed[timed.len() / 2];
    println!("to verified PTX: median of {} rows {:.3} ms", timed.len(), time.as_secs_f64() * 1e3);
    machine_code(target);

    let mut group = criterion.benchmark_group("generate");
    group.bench_function("median row, verified", |bencher| {
        bencher.iter(|| median.spec.generate(target).expect("a row of the catalog"));
    });
    group.bench_function("median row, text", |bencher| {
        bencher.iter(|| median.spec.generate(target).expect("a row of the catalog").text());
    });
    group.finish();
}

criterion_group!(benches, generate);
criterion_main!(benches);
