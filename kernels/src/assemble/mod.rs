//! PTX becomes machine code while a crate is built, by `ptxas`.
//!
//! [`Search`] finds the program, [`Assembler`] runs it and keeps what it made, [`Report`] reads what it said. Spilled
//! registers, local memory and serialised products of warpgroups are errors: no kernel that ships may have them.

mod report;
mod search;

pub use report::Report;
pub use search::{Search, VARIABLE};

use crate::artifact::Artifact;
use crate::cubin::Cubin;
use rorqual_ptx::target::Target;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Output};
use std::{fs, io};
use thiserror::Error;

/// Why there is no machine code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AssembleError {
    /// There is no ptxas.
    #[error(
        "no ptxas for feature `aot`: {}. Set RORQUAL_PTXAS to the path of ptxas, which comes with the CUDA toolkit and \
         with the package nvidia-cuda-nvcc of PyPI, or to `none` to build without machine code",
        looked.join("; ")
    )]
    NotFound {
        /// Where it was looked for, and what was there.
        looked: Vec<String>,
    },
    /// The program does not run, or is something else.
    #[error("`{}` is no ptxas that runs: {message}", ptxas.display())]
    Program {
        /// The program.
        ptxas: PathBuf,
        /// What was wrong.
        message: String,
    },
    /// The program is older than the text.
    #[error(
        "{kernel}: ptxas {release} reads PTX up to {newest}, the kernel needs {needed}; use a newer ptxas"
    )]
    OldLanguage {
        /// The kernel.
        kernel: String,
        /// The release of CUDA that ptxas is of.
        release: String,
        /// The newest version of PTX that it reads.
        newest: String,
        /// The version of the text.
        needed: String,
    },
    /// The program does not know the architecture.
    #[error("{kernel}: ptxas {release} does not know {target}; use another ptxas, or leave its feature out")]
    UnknownTarget {
        /// The kernel.
        kernel: String,
        /// The release of CUDA that ptxas is of.
        release: String,
        /// The architecture.
        target: Target,
    },
    /// The program refuses the text, or fails.
    #[error("{kernel}: ptxas {release} fails for {target}: {message}")]
    Refused {
        /// The kernel.
        kernel: String,
        /// The release of CUDA that ptxas is of.
        release: String,
        /// The architecture.
        target: Target,
        /// What it said.
        message: String,
    },
    /// The machine code is what no kernel that ships may be.
    #[error("{kernel}: as ptxas {release} assembles it for {target}: {}", faults.join("; "))]
    Faulty {
        /// The kernel.
        kernel: String,
        /// The release of CUDA that ptxas is of.
        release: String,
        /// The architecture.
        target: Target,
        /// What is wrong.
        faults: Vec<String>,
    },
    /// What the program said or wrote is not what it should be.
    #[error("{kernel}: ptxas {release} for {target}: {message}")]
    Unreadable {
        /// The kernel.
        kernel: String,
        /// The release of CUDA that ptxas is of.
        release: String,
        /// The architecture.
        target: Target,
        /// What was expected and found.
        message: String,
    },
    /// A file cannot be written or read.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// A kernel as machine code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The machine code.
    pub cubin: Cubin,
    /// What ptxas said of it.
    pub report: Report,
}

/// Runs ptxas. What was assembled before, from the same text by the same ptxas, is not assembled again.
#[derive(Debug)]
pub struct Assembler {
    ptxas: PathBuf,
    /// All that it says of its version.
    identity: String,
    /// The release of CUDA that it is of, as `13.5`.
    release: String,
    /// Where results are kept, named by what they were made from.
    directory: PathBuf,
}

impl Assembler {
    /// Asks ptxas for its version; results are kept in a directory, which is made if it is not there. One process may
    /// use a directory at a time.
    ///
    /// # Errors
    ///
    /// [`AssembleError::Program`] if it does not run or is something else; [`AssembleError::File`].
    pub fn new(ptxas: &Path, directory: &Path) -> Result<Self, AssembleError> {
        // A name alone is looked for in `PATH`; a path has to hold in another directory too.
        let ptxas =
            if ptxas.components().count() > 1 { absolute(ptxas).unwrap_or_default() } else { ptxas.into() };
        let wrong = |message: String| AssembleError::Program { ptxas: ptxas.clone(), message };
        let output =
            Command::new(&ptxas).arg("--version").output().map_err(|error| wrong(error.to_string()))?;
        let identity = String::from_utf8_lossy(&output.stdout).into_owned();
        let release = identity.split_once("release ").and_then(|(_, rest)| rest.split(',').next());
        let Some(release) = release.filter(|_| output.status.success() && identity.contains("ptxas")) else {
            let said = identity + &String::from_utf8_lossy(&output.stderr);
            return Err(wrong(format!(
                "with --version it ends with {} and says `{}`, expected `ptxas` and `release`",
                output.status,
                said.lines().next().unwrap_or_default()
            )));
        };
        fs::create_dir_all(directory).map_err(file(directory))?;
        let release = release.to_owned();
        Ok(Self { directory: directory.to_owned(), ptxas, identity, release })
    }

    /// The program, to be watched for changes.
    #[must_use]
    pub fn ptxas(&self) -> &Path {
        &self.ptxas
    }

    /// The version that it says it has, as `13.5.37`: exact figures are of one.
    #[must_use]
    pub fn version(&self) -> &str {
        let version = self.identity.split_once(", V").and_then(|(_, rest)| rest.split_whitespace().next());
        version.unwrap_or(&self.release)
    }

    /// The machine code of a kernel for exactly its target. The text that is refused stays in the directory, under the
    /// name of the kernel.
    ///
    /// # Errors
    ///
    /// All but [`AssembleError::NotFound`] and [`AssembleError::Program`], with the name of the kernel.
    pub fn assemble(&self, artifact: &Artifact) -> Result<Assembled, AssembleError> {
        let entry = self.entry(artifact);
        let kept = fs::read(&entry).ok().and_then(|kept| self.assembled(artifact, &kept).ok());
        if let Some(assembled) = kept {
            return Ok(assembled);
        }
        let made = self.run(artifact)?;
        let assembled = self.assembled(artifact, &made)?;
        let partial = entry.with_extension("partial");
        fs::write(&partial, &made).map_err(file(&partial))?;
        fs::rename(&partial, &entry).map_err(file(&entry))?;
        Ok(assembled)
    }

    /// Removes the results that none of these kernels has.
    ///
    /// # Errors
    ///
    /// [`AssembleError::File`].
    pub fn keep_only<'a>(
        &self,
        artifacts: impl IntoIterator<Item = &'a Artifact>,
    ) -> Result<(), AssembleError> {
        let kept: Vec<PathBuf> = artifacts.into_iter().map(|artifact| self.entry(artifact)).collect();
        for found in fs::read_dir(&self.directory).map_err(file(&self.directory))? {
            let path = found.map_err(file(&self.directory))?.path();
            if !kept.contains(&path) {
                fs::remove_file(&path).map_err(file(&path))?;
            }
        }
        Ok(())
    }

    /// The file of a result.
    fn entry(&self, artifact: &Artifact) -> PathBuf {
        let mut hash = Sha256::new();
        for part in [&self.identity, &artifact.contract.target.to_string(), &artifact.ptx] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(name)
    }

    /// What ptxas says and writes, with a NUL between.
    fn run(&self, artifact: &Artifact) -> Result<Vec<u8>, AssembleError> {
        let contract = &artifact.contract;
        // Names without directories make messages short, and the machine code the same wherever it is made.
        let [text, code] = ["ptx", "cubin"].map(|extension| format!("{}.{extension}", contract.kernel));
        let [text_path, code_path] = [&text, &code].map(|name| self.directory.join(name));
        fs::write(&text_path, &artifact.ptx).map_err(file(&text_path))?;
        let mut command = Command::new(&self.ptxas);
        command.current_dir(&self.directory).args([
            "-v",
            &format!("-arch={}", contract.target),
            "-o",
            &code,
            &text,
        ]);
        let output = command.output().map_err(file(&self.ptxas))?;
        if !output.status.success() {
            return Err(self.refusal(artifact, &output));
        }
        let cubin = fs::read(&code_path).map_err(file(&code_path))?;
        for path in [&text_path, &code_path] {
            fs::remove_file(path).map_err(file(path))?;
        }
        Ok([&output.stderr, [0].as_slice(), &cubin].concat())
    }

    /// Why ptxas failed, from its own words.
    fn refusal(&self, artifact: &Artifact, output: &Output) -> AssembleError {
        let (kernel, target) = (artifact.contract.kernel.clone(), artifact.contract.target);
        let release = self.release.clone();
        let said = [&output.stderr, &output.stdout].map(|said| String::from_utf8_lossy(said)).concat();
        // `Unsupported .version 9.9; current version is '9.5'`
        let versions = said.split_once("Unsupported .version ").and_then(|(_, rest)| {
            let (needed, rest) = rest.split_once(';')?;
            Some((needed.to_owned(), rest.split('\'').nth(1)?.to_owned()))
        });
        if let Some((needed, newest)) = versions {
            return AssembleError::OldLanguage { kernel, release, newest, needed };
        }
        // `Value 'sm_70' is not defined for option 'gpu-name'`
        if said.contains(&format!("Value '{target}' is not defined")) {
            return AssembleError::UnknownTarget { kernel, release, target };
        }
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let message = if said.is_empty() { output.status.to_string() } else { said.join("; ") };
        AssembleError::Refused { kernel, release, target, message }
    }

    /// What was said and written, read and judged.
    fn assembled(&self, artifact: &Artifact, made: &[u8]) -> Result<Assembled, AssembleError> {
        let (kernel, target) = (artifact.contract.kernel.clone(), artifact.contract.target);
        let release = self.release.clone();
        let unreadable = |message: String| {
            let (kernel, release) = (kernel.clone(), release.clone());
            AssembleError::Unreadable { kernel, release, target, message }
        };
        let end = made.iter().position(|byte| *byte == 0).unwrap_or(made.len());
        let said = String::from_utf8_lossy(&made[..end]);
        let missing =
            |figure| unreadable(format!("expected a number of {figure} in what it says: {}", said.trim()));
        let report = Report::parse(&said).map_err(missing)?;
        let faults = report.faults();
        if !faults.is_empty() {
            return Err(AssembleError::Faulty { kernel, release, target, faults });
        }
        let cubin = Cubin::new(made.get(end + 1..).unwrap_or_default());
        let cubin = cubin.map_err(|error| unreadable(error.to_string()))?;
        if cubin.sm() != target.sm || !cubin.functions().contains(&kernel) {
            return Err(unreadable(format!("expected machine code of the kernel, found {cubin:?}")));
        }
        Ok(Assembled { cubin, report })
    }
}

/// Names the file of an error.
fn file(path: &Path) -> impl Fn(io::Error) -> AssembleError {
    let path = path.to_owned();
    move |error| AssembleError::File { path: path.clone(), message: error.to_string() }
}

#[cfg(all(test, unix))]
mod tests;
