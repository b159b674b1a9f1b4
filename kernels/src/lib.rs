//! The kernel families of a DeepSeek-style network, each a function from a specialisation to verified PTX.
//!
//! A family is a [`Family`]: a `Spec` of named fields, the rules that it obeys, the arguments of its kernel, and the
//! generator. Shapes that belong to the model are in the `Spec`; the number of tokens is an argument. Every family is
//! total: whatever obeys its rules has a kernel, and every number of tokens a result, none too. Most families take any
//! width. Attention does not:
//!
//! | family | widths |
//! |---|---|
//! | `mla_prefill` | `nope`, `rope` and `value` multiples of 8 up to 192, `nope + rope` up to 256 |
//! | `mla_decode` | `latent` and `rope` multiples of 16 up to 1024, and together what fits shared memory |
//! | `mla_combine` | `latent` a multiple of 16 up to 1024 |
//! | `cache_append`, `cache_gather` | `latent` and `rope` multiples of 8 up to 1024; in FP8 512 and 64 |
//!
//! [`Family::TARGETS`] says where a family has kernels: most are portable and run on every target from sm_80 on.
#![forbid(unsafe_code)]

pub mod any;
#[cfg(feature = "serde")]
pub mod artifact;
#[cfg(feature = "assemble")]
pub mod assemble;
pub mod attention;
pub mod catalog;
pub mod copy;
pub mod cubin;
pub mod device_error;
pub mod embedding;
pub mod gemm;
pub mod moe;
pub mod norm;
pub mod parallel;
pub mod quant;
pub mod residual;
pub mod rope;
mod rows;
pub mod rule;
pub mod sample;
mod targets;
pub mod transpose;
pub mod tune;

pub use any::{AnySpec, Registered};
pub use rorqual_codegen::contract;
pub use rorqual_codegen::element::ElementType;
pub use rorqual_codegen::{GenerateError, Kernel};
pub use rows::ValueFormat;
pub use targets::Targets;

use crate::rule::Rule;
use rorqual_codegen::contract::Arguments;
use rorqual_ptx::target::Target;
use std::fmt;
use thiserror::Error;

/// The version of the generators.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A family of kernels.
pub trait Family {
    /// Its name, the first part of the names of its kernels.
    const NAME: &'static str;
    /// What a kernel is specialised to.
    type Spec: Clone + fmt::Debug + PartialEq + 'static;
    /// The arguments of a kernel.
    type Arguments: Arguments + 'static;
    /// The targets that it has kernels for.
    const TARGETS: Targets = Targets::Portable;

    /// The rules of a specialisation, in the order in which they are looked at.
    const RULES: &'static [Rule<Self::Spec>];

    /// The first rule that a specialisation breaks, in words.
    ///
    /// # Errors
    ///
    /// If there is one.
    fn check(spec: &Self::Spec) -> Result<(), String> {
        Self::RULES.iter().try_for_each(|rule| rule.check(spec))
    }

    /// Generates the kernel of a specialisation that passed [`check`](Self::check).
    ///
    /// # Errors
    ///
    /// If the generator is wrong, or the target lacks what it needs.
    fn emit(spec: &Self::Spec, target: Target) -> Result<Kernel, GenerateError>;
}

/// Why there is no kernel for a specialisation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// The specialisation breaks a rule.
    #[error("{family}: {rule}, in {spec}")]
    Spec {
        /// The family.
        family: &'static str,
        /// The specialisation.
        spec: String,
        /// The rule, and what was found.
        rule: String,
    },
    /// The family has no kernels for the target.
    #[error("{family}: {target} is not served, expected {expected}")]
    Target {
        /// The family.
        family: &'static str,
        /// The target.
        target: Target,
        /// The targets that it has kernels for.
        expected: Targets,
    },
    /// The generator made a mistake.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// Checks a specialisation and generates its kernel.
///
/// # Errors
///
/// If the specialisation breaks a rule, the target is not served, or the generator makes a mistake.
pub fn generate<F: Family>(spec: &F::Spec, target: Target) -> Result<Kernel, KernelError> {
    F::check(spec).map_err(|rule| KernelError::Spec { family: F::NAME, spec: format!("{spec:?}"), rule })?;
    if !F::TARGETS.serve(target) {
        return Err(KernelError::Target { family: F::NAME, target, expected: F::TARGETS });
    }
    Ok(F::emit(spec, target)?)
}

/// The format of the scales of FP8 activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ScaleFormat {
    /// Any f32.
    F32,
    /// The next power of two, stored as f32.
    PowerOfTwo,
}

impl ScaleFormat {
    /// The part of a kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::PowerOfTwo => "pow2",
        }
    }
}

/// Elements of a block of FP8 values with one scale: 1x128 of activations, 128x128 of weights.
pub const BLOCK: u32 = 128;
