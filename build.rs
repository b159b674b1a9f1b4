//! Embeds the catalog: every row for every architecture that a feature asks for, generated, compressed and indexed.
//!
//! What ships is decided in `kernels/src/catalog.rs`; here is only the loop. `src/catalog/embedded.rs` reads the result.

use miniz_oxide::deflate::compress_to_vec;
use rorqual_kernels::artifact::Artifact;
use rorqual_kernels::catalog::{self, TARGETS};
use rorqual_kernels::{AnySpec, KernelError, VERSION};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, io, thread};

/// Of deflate: higher ones take longer and save little.
const COMPRESSION_LEVEL: u8 = 6;

/// A row for a target.
struct Job {
    target: &'static str,
    json: String,
    spec: AnySpec,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let asked = |feature: &str| env::var_os(format!("CARGO_FEATURE_{}", feature.to_uppercase())).is_some();
    let targets: Vec<&str> =
        TARGETS.iter().filter(|(feature, _)| asked(feature)).map(|(_, target)| *target).collect();
    let rows = catalog::rows();
    let row_jobs = |target| rows.iter().map(move |row| (target, row.spec.clone()));
    let jobs = targets.iter().copied().flat_map(row_jobs);
    let mut jobs: Vec<Job> = jobs.map(|(target, spec)| Job { target, json: spec.to_json(), spec }).collect();
    // The order in which the index is searched.
    jobs.sort_by(|a, b| (a.target, &a.json).cmp(&(b.target, &b.json)));

    let mut blob = Vec::new();
    let mut index = String::new();
    for (job, compressed) in jobs.iter().zip(in_parallel(&jobs, compressed)) {
        let Job { target, json, .. } = job;
        let (compressed, bytes) = compressed?;
        let (start, end) = (blob.len(), blob.len() + compressed.len());
        writeln!(
            index,
            "    Row {{ target: {target:?}, spec: {json:?}, stored: {start}..{end}, bytes: {bytes} }},"
        )?;
        blob.extend(compressed);
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(out.join("catalog.bin"), &blob)?;
    let fingerprint = fingerprint(&blob)?;
    let index = format!(
        "const TARGETS: &[&str] = &{targets:?};\nconst FINGERPRINT: &str = {fingerprint:?};\n\
         static ROWS: &[Row] = &[\n{index}];\n"
    );
    fs::write(out.join("catalog.rs"), index)?;
    Ok(())
}

/// The kernel of a row, compressed, and how many bytes it has otherwise.
fn compressed(job: &Job) -> Result<(Vec<u8>, usize), KernelError> {
    let target = job.target.parse().expect("the catalog has known targets");
    let text = Artifact::from(&job.spec.generate(target)?).to_text();
    Ok((compress_to_vec(text.as_bytes(), COMPRESSION_LEVEL), text.len()))
}

/// The results of all jobs in order, computed on all cores.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((index, job)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, jobs.get(i)?)))
        {
            done.push((index, run(job)));
        }
        done
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a generator does not panic")).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Tells generators apart: caches on disk are keyed by it. In a checkout it changes with every line of their code.
fn fingerprint(blob: &[u8]) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(VERSION);
    hash.update(blob);
    for member in ["kernels", "codegen", "ptx"] {
        let mut files = Vec::new();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(member).join("src");
        if sources.is_dir() {
            list(&sources, &mut files)?;
        }
        files.sort();
        for file in files {
            hash.update(fs::read(file)?);
        }
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
