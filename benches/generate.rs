//! How long a kernel takes from its specialisation to verified PTX, and to the text that a driver gets: for the row of
//! the catalog that is the median, and for all rows.
//!
//! The table on stdout has every row, slowest last.

use criterion::{Criterion, criterion_group, criterion_main};
use rorqual::catalog::{Row, rows};
use rorqual_ptx::target::Target;
use std::hint::black_box;
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

fn generate(criterion: &mut Criterion) {
    let target = Target::from_name("sm_90a").expect("a target");
    let mut timed: Vec<(Duration, Row)> = rows().into_iter().map(|row| (time(&row, target), row)).collect();
    timed.sort_by_key(|(time, _)| *time);
    for (time, row) in &timed {
        println!("{:8.3} ms  {}", time.as_secs_f64() * 1e3, row.spec.to_json());
    }
    let (time, median) = &timed[timed.len() / 2];
    println!("median of {} rows: {:.3} ms", timed.len(), time.as_secs_f64() * 1e3);

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
