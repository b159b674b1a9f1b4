//! Embeds the catalog: every row for every architecture that a feature asks for and that it serves, generated, with
//! feature `aot` also assembled, compressed and indexed.
//!
//! What ships is decided in `kernels/src/catalog.rs`, how it is assembled in `kernels/src/assemble/`; here is only the
//! loop. `src/catalog/embedded.rs` reads the result.

use miniz_oxide::deflate::compress_to_vec;
use rorqual_kernels::artifact::Artifact;
use rorqual_kernels::catalog::{self, TARGETS};
use rorqual_kernels::parallel::in_parallel;
use rorqual_kernels::{AnySpec, VERSION};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Of deflate: higher ones take longer and save little.
const COMPRESSION_LEVEL: u8 = 6;
/// Kernels that cannot be made are named up to this number.
const NAMED_FAILURES: usize = 8;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A row for a target.
struct Job {
    target: &'static str,
    json: String,
    spec: AnySpec,
}

/// Bytes to embed.
struct Packed {
    compressed: Vec<u8>,
    /// How many they are otherwise.
    bytes: usize,
}

/// A kernel to embed.
struct Stored {
    artifact: Artifact,
    text: Packed,
    cubin: Option<Packed>,
}

fn main() {
    if let Err(error) = embed() {
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
}

fn embed() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let asked = |feature: &str| env::var_os(format!("CARGO_FEATURE_{}", feature.to_uppercase())).is_some();
    let targets: Vec<&str> =
        TARGETS.iter().filter(|(feature, _)| asked(feature)).map(|(_, target)| *target).collect();
    let mut jobs: Vec<Job> = Vec::new();
    for target in targets.iter().copied() {
        let specs = catalog::rows_for(target.parse()?).into_iter().map(|row| row.spec);
        jobs.extend(specs.map(|spec| Job { target, json: spec.to_json(), spec }));
    }
    // The order in which the index is searched.
    jobs.sort_by(|a, b| (a.target, &a.json).cmp(&(b.target, &b.json)));

    let stored = machine_code::store(&jobs, &out)?;
    let mut blob = Vec::new();
    let mut put = |packed: &Packed| {
        let start = blob.len();
        blob.extend(&packed.compressed);
        format!("Stored {{ at: {start}..{}, bytes: {} }}", blob.len(), packed.bytes)
    };
    let texts: Vec<String> = stored.iter().map(|stored| put(&stored.text)).collect();
    let cubins: Vec<Option<String>> =
        stored.iter().map(|stored| stored.cubin.as_ref().map(&mut put)).collect();
    let mut index = String::new();
    for (Job { target, json, .. }, (text, cubin)) in jobs.iter().zip(texts.iter().zip(&cubins)) {
        let cubin = cubin.as_ref().map_or_else(|| "None".to_owned(), |cubin| format!("Some({cubin})"));
        writeln!(index, "    Row {{ target: {target:?}, spec: {json:?}, text: {text}, cubin: {cubin} }},")?;
    }

    fs::write(out.join("catalog.bin"), &blob)?;
    let fingerprint = fingerprint(&stored)?;
    let index = format!(
        "const TARGETS: &[&str] = &{targets:?};\nconst FINGERPRINT: &str = {fingerprint:?};\n\
         static ROWS: &[Row] = &[\n{index}];\n"
    );
    fs::write(out.join("catalog.rs"), index)?;
    Ok(())
}

/// Without feature `aot`: the kernels as text.
#[cfg(not(feature = "aot"))]
mod machine_code {
    use super::{Job, Path, Result, Stored, in_parallel, stored_text, together};

    pub fn store(jobs: &[Job], _out: &Path) -> Result<Vec<Stored>> {
        together(in_parallel(jobs, stored_text))
    }
}

/// With feature `aot`: the kernels as text and as machine code.
#[cfg(feature = "aot")]
mod machine_code {
    use super::{Job, Path, Result, Stored, env, in_parallel, packed, stored_text, together};
    use rorqual_kernels::assemble::{Assembled, Assembler, Search};

    pub fn store(jobs: &[Job], out: &Path) -> Result<Vec<Stored>> {
        let Some(assembler) = assembler(out)? else { return together(in_parallel(jobs, stored_text)) };
        let assembled = |job: &Job| {
            let stored = stored_text(job)?;
            let Assembled { cubin, report } = assembler.assemble(&stored.artifact)?;
            for warning in report.warnings {
                println!("cargo::warning={}: {warning}", stored.artifact.contract.kernel);
            }
            Ok(Stored { cubin: Some(packed(cubin.bytes())), ..stored })
        };
        let stored = together(in_parallel(jobs, assembled))?;
        assembler.keep_only(stored.iter().map(|stored| &stored.artifact))?;
        Ok(stored)
    }

    /// What assembles, if anything shall: docs.rs has no ptxas, and needs none to build the documentation.
    fn assembler(out: &Path) -> Result<Option<Assembler>> {
        println!("cargo::rerun-if-env-changed=DOCS_RS");
        if env::var_os("DOCS_RS").is_some() {
            return Ok(None);
        }
        let search = Search::in_environment();
        for variable in search.variables {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let Some(ptxas) = search.ptxas? else { return Ok(None) };
        let assembler = Assembler::new(&ptxas, &out.join("machine-code"))?;
        if assembler.ptxas().is_absolute() {
            println!("cargo::rerun-if-changed={}", assembler.ptxas().display());
        }
        Ok(Some(assembler))
    }
}

/// The kernel of a row as text.
fn stored_text(job: &Job) -> Result<Stored> {
    let target = job.target.parse().expect("the catalog has known targets");
    let artifact = Artifact::from(&job.spec.generate(target)?);
    let text = packed(artifact.to_text().as_bytes());
    Ok(Stored { artifact, text, cubin: None })
}

fn packed(bytes: &[u8]) -> Packed {
    Packed { compressed: compress_to_vec(bytes, COMPRESSION_LEVEL), bytes: bytes.len() }
}

/// All results, or what is wrong with the first of those that failed.
fn together(results: Vec<Result<Stored>>) -> Result<Vec<Stored>> {
    let (right, wrong): (Vec<_>, Vec<_>) = results.into_iter().partition(std::result::Result::is_ok);
    let wrong: Vec<String> = wrong.into_iter().filter_map(|result| Some(result.err()?.to_string())).collect();
    if wrong.is_empty() {
        return right.into_iter().collect();
    }
    let mut message = wrong.iter().take(NAMED_FAILURES).map(String::as_str).collect::<Vec<_>>().join("\n");
    if wrong.len() > NAMED_FAILURES {
        write!(message, "\nand {} other kernels", wrong.len() - NAMED_FAILURES)?;
    }
    Err(message.into())
}

/// Tells generators apart: caches on disk are keyed by it. In a checkout it changes with every line of their code.
fn fingerprint(stored: &[Stored]) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(VERSION);
    for Stored { artifact, .. } in stored {
        hash.update(artifact.to_text());
    }
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
