//! Kernels by specialisation and target: from the catalog that the build embedded, else generated on the spot.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use rorqual::catalog::{AnySpec, Catalog};
//!
//! let fields = r#"{"hidden": 7168, "x_pitch": 7168, "residual": true, "bf16": true, "fp8": null}"#;
//! let spec = AnySpec::from_json(Some("rms_norm"), fields)?;
//! let catalog = Catalog::new();
//! let target = catalog.target_for("sm_86".parse()?).ok_or("too old a device")?;
//! let kernel = catalog.kernel(&spec, target)?;
//! assert_eq!(kernel.contract.kernel, "rms_norm_h7168_residual_bf16_sm80");
//! # Ok(())
//! # }
//! ```
//!
//! Features `sm80` to `sm120` say which architectures are embedded, feature `aot` that their kernels are embedded as
//! machine code too, so that a driver need not compile them. With feature `jit`, which is on by default, what is not
//! embedded is generated and kept in memory, and where [`Catalog::with_directory`] says so, on disk; without it an error
//! names the row that is missing.

mod disk;
mod embedded;

pub use rorqual_kernels::any::{AnySpec, ReadSpecError, Registered};
pub use rorqual_kernels::artifact::Artifact;
pub use rorqual_kernels::catalog::{ModelShape, Row, rows, rows_for, specs_of, targets};
pub use rorqual_kernels::cubin::{Cubin, CubinError};
pub use rorqual_kernels::{GenerateError, KernelError, Targets, contract};
pub use rorqual_ptx::target::Target;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use thiserror::Error;

/// Why there is no kernel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CatalogError {
    /// The specialisation breaks a rule, or cannot be generated.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It is not embedded, and nothing is generated without feature `jit`.
    #[error(
        "no kernel of {spec} for {target}: expected a row of the catalog for {}, or feature `jit`",
        if embedded.is_empty() { "no target".to_owned() } else { embedded.join(", ") }
    )]
    Missing {
        /// The specialisation that is missing, as JSON.
        spec: String,
        /// The target.
        target: Target,
        /// The targets that the build embedded kernels for.
        embedded: Vec<String>,
    },
}

/// The kernel of one specialisation and target, found or generated once.
type Slot = Arc<OnceLock<Result<Arc<Artifact>, CatalogError>>>;

/// Finds kernels, and keeps what it found. Many threads may ask at the same time; a kernel is generated once.
#[derive(Debug, Default)]
pub struct Catalog {
    directory: Option<PathBuf>,
    slots: Mutex<HashMap<(Target, String), Slot>>,
}

impl Catalog {
    /// A catalog that keeps what it generates in memory alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, which also keeps what it generates in a directory and looks there first. Other processes may use the
    /// directory at the same time; damaged files in it are generated anew. Where the directory cannot be written, the
    /// kernel is there nonetheless, with a warning through `tracing`.
    #[must_use]
    pub fn with_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), ..self }
    }

    /// The target whose kernels a device gets: of those that are embedded the best for it, else, with feature `jit`,
    /// of all [`targets`]. `None` if there is none for it.
    #[must_use]
    pub fn target_for(&self, device: Target) -> Option<Target> {
        let embedded: Vec<Target> = embedded::targets().collect();
        let best = Target::best_for(device, &embedded);
        let all = || Target::best_for(device, &targets().collect::<Vec<_>>());
        best.or_else(|| if cfg!(feature = "jit") { all() } else { None })
    }

    /// The kernel of a specialisation.
    ///
    /// # Errors
    ///
    /// If the specialisation breaks a rule or the target is not served; without feature `jit` if it is not embedded.
    pub fn kernel(&self, spec: &AnySpec, target: Target) -> Result<Arc<Artifact>, CatalogError> {
        let json = spec.to_json();
        // A thread that panicked has left whole slots.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((target, json.clone())).or_default().clone();
        drop(slots);
        slot.get_or_init(|| match embedded::find(&json, target) {
            Some(artifact) => Ok(Arc::new(artifact)),
            None => self.not_embedded(spec, &json, target).map(Arc::new),
        })
        .clone()
    }

    /// The kernel of a specialisation of a family.
    ///
    /// # Errors
    ///
    /// As of [`kernel`](Self::kernel).
    pub fn kernel_of<F: Registered>(
        &self,
        spec: &F::Spec,
        target: Target,
    ) -> Result<Arc<Artifact>, CatalogError> {
        self.kernel(&F::any(spec), target)
    }

    fn not_embedded(&self, spec: &AnySpec, json: &str, target: Target) -> Result<Artifact, CatalogError> {
        if !cfg!(feature = "jit") {
            let embedded = embedded::targets().map(|target| target.to_string()).collect();
            return Err(CatalogError::Missing { spec: json.to_owned(), target, embedded });
        }
        let key = format!("{} {target} {json}", embedded::GENERATOR);
        if let Some(found) = self.directory.as_ref().and_then(|directory| disk::read(directory, &key)) {
            return Ok(found);
        }
        let _span = tracing::debug_span!("generate", family = spec.family(), %target, spec = json).entered();
        let artifact = Artifact::from(&spec.generate(target)?);
        if let Some(directory) = &self.directory
            && let Err(error) = disk::write(directory, &key, &artifact)
        {
            tracing::warn!(directory = %directory.display(), %error, "a generated kernel is not kept on disk");
        }
        Ok(artifact)
    }
}

/// The kernel of a specialisation if the build embedded it for this target.
#[must_use]
pub fn embedded(spec: &AnySpec, target: Target) -> Option<Artifact> {
    embedded::find(&spec.to_json(), target)
}

/// The targets that the build embedded kernels for, oldest first.
pub fn embedded_targets() -> impl Iterator<Item = Target> {
    embedded::targets()
}

/// The SHA-256 of a kernel's text, in hexadecimal digits.
#[must_use]
pub fn text_hash(artifact: &Artifact) -> String {
    disk::sha256(artifact.ptx.as_bytes())
}
