//! Every kernel family against the CPU reference, on random shapes and values.
//!
//! A family has a file here: it draws a case from a seed, runs its kernel on a [`Machine`], a simulated or a real GPU,
//! and compares what came out with the oracle, element by element. The tests and the command `rorqual verify` run the
//! same cases.

pub mod attention;
pub mod bytes;
pub mod cache;
pub mod compare;
pub mod copy;
pub mod embedding;
pub mod gemm;
pub mod mla_combine;
pub mod mla_decode;
pub mod mla_prefill;
pub mod moe;
#[cfg(feature = "sim")]
pub mod mutation;
pub mod norm;
#[cfg(any(feature = "cuda", feature = "sim"))]
pub mod on_device;
pub mod quant;
pub mod quantized;
pub mod random;
pub mod residual;
pub mod rope;
pub mod rules;
pub mod sample;
#[cfg(feature = "sim")]
pub mod simulated;
pub mod tensor_core;
pub mod transpose;

use crate::verify::compare::Mismatch;
use crate::verify::random::Random;
use rorqual_kernels::contract::Argument;
use rorqual_kernels::{AnySpec, Kernel, KernelError};
use rorqual_ptx::target::Target;
use thiserror::Error;

/// Something that runs kernels: memory by address, and launches that are over when they return.
pub trait Machine {
    /// What kernels are generated for.
    fn target(&self) -> Target;

    /// New memory with these bytes.
    ///
    /// # Errors
    /// If there is no room.
    fn upload(&mut self, bytes: &[u8]) -> Result<u64, MachineError>;

    /// The bytes from an address on.
    ///
    /// # Errors
    /// If they are not all there, or not all written.
    fn download(&mut self, address: u64, bytes: usize) -> Result<Vec<u8>, MachineError>;

    /// Runs a kernel.
    ///
    /// # Errors
    /// If it cannot be launched, or does something wrong.
    fn run(&mut self, kernel: &Kernel, arguments: &[Argument]) -> Result<(), MachineError>;
}

/// What a machine says went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MachineError {
    /// The kernel or its launch is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The machine cannot tell: it lacks something that the kernel uses, or a budget ran out.
    #[error("{0}")]
    Inconclusive(String),
}

/// Why a case failed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Failure {
    /// There is no kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The machine refused, or reports a mistake of the kernel.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A result is wrong.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// A case that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// The kernel's entry.
    pub kernel: String,
    /// What the kernels that ran are specialised to.
    pub specs: Vec<AnySpec>,
    /// Shapes and values, for people.
    pub case: String,
    /// The worst error of an element, in units of its tolerance: at most 1.
    pub worst: f64,
}

/// A family's cases.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Draws a case and runs it.
    pub run: fn(&mut Random, &mut dyn Machine) -> Result<Passed, Failure>,
}

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family { name: "rms_norm", run: norm::run },
    Family { name: "copy_rows", run: copy::run },
    Family { name: "gemm_bf16", run: gemm::run_bf16 },
    Family { name: "gemm_fp8", run: gemm::run_fp8 },
    Family { name: "router", run: gemm::run_router },
    Family { name: "quantize_1x128", run: quant::run_1x128 },
    Family { name: "quantize_128x128", run: quant::run_128x128 },
    Family { name: "dequantize_128x128", run: quant::run_dequantize },
    Family { name: "quantize_transpose", run: transpose::run },
    Family { name: "embedding", run: embedding::run },
    Family { name: "residual", run: residual::run },
    Family { name: "moe_gate", run: moe::gate::run },
    Family { name: "moe_layout", run: moe::layout::run },
    Family { name: "moe_permute", run: moe::permute::run },
    Family { name: "moe_swiglu", run: moe::swiglu::run },
    Family { name: "moe_combine", run: moe::combine::run },
    Family { name: "argmax", run: sample::run_argmax },
    Family { name: "sample", run: sample::run_sample },
    Family { name: "rope", run: rope::run },
    Family { name: "cache_append", run: cache::run_append },
    Family { name: "cache_gather", run: cache::run_gather },
    Family { name: "mla_decode", run: mla_decode::run },
    Family { name: "mla_combine", run: mla_combine::run },
    Family { name: "mla_prefill", run: mla_prefill::run },
];
