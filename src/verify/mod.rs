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
pub mod hopper_gemm;
pub mod hopper_swiglu;
pub mod hopper_weight_gradient;
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
use rorqual_kernels::attention::append::CacheAppend;
use rorqual_kernels::attention::combine::MlaCombine;
use rorqual_kernels::attention::decode::MlaDecode;
use rorqual_kernels::attention::gather::CacheGather;
use rorqual_kernels::attention::prefill::MlaPrefill;
use rorqual_kernels::contract::Argument;
use rorqual_kernels::copy::CopyRows;
use rorqual_kernels::embedding::Embedding;
use rorqual_kernels::gemm::hopper::{HopperBf16Gemm, HopperFp8Gemm, HopperFp8Swiglu, HopperWeightGradient};
use rorqual_kernels::gemm::router::Router;
use rorqual_kernels::gemm::{Bf16Gemm, Fp8Gemm};
use rorqual_kernels::moe::combine::Combine;
use rorqual_kernels::moe::gate::Gate;
use rorqual_kernels::moe::layout::Layout;
use rorqual_kernels::moe::permute::Permute;
use rorqual_kernels::moe::swiglu::Swiglu;
use rorqual_kernels::norm::RmsNorm;
use rorqual_kernels::quant::{Dequantize128x128, Quantize1x128, Quantize128x128};
use rorqual_kernels::residual::Residual;
use rorqual_kernels::rope::Rope;
use rorqual_kernels::sample::{Argmax, Sample};
use rorqual_kernels::transpose::QuantizeTranspose;
use rorqual_kernels::{AnySpec, Kernel, KernelError, Registered, Targets};
use rorqual_ptx::target::Target;
use thiserror::Error;

/// Something that runs kernels: memory by address, and launches that are over when they return.
pub trait Machine {
    /// What kernels are generated for.
    fn target(&self) -> Target;

    /// New memory with these bytes and nothing behind them. Its address is a multiple of 256, on simulated devices of 512:
    /// a tensor map may start there.
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
    /// The targets of the machines that its cases run on.
    pub targets: Targets,
    /// Draws a case and runs it.
    pub run: fn(&mut Random, &mut dyn Machine) -> Result<Passed, Failure>,
}

impl Family {
    /// The cases of a family of the register.
    const fn of<F: Registered>(run: fn(&mut Random, &mut dyn Machine) -> Result<Passed, Failure>) -> Self {
        Self { name: F::NAME, targets: F::TARGETS, run }
    }
}

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family::of::<RmsNorm>(norm::run),
    Family::of::<CopyRows>(copy::run),
    Family::of::<Bf16Gemm>(gemm::run_bf16),
    Family::of::<Fp8Gemm>(gemm::run_fp8),
    Family::of::<Router>(gemm::run_router),
    Family::of::<Quantize1x128>(quant::run_1x128),
    Family::of::<Quantize128x128>(quant::run_128x128),
    Family::of::<Dequantize128x128>(quant::run_dequantize),
    Family::of::<QuantizeTranspose>(transpose::run),
    Family::of::<Embedding>(embedding::run),
    Family::of::<Residual>(residual::run),
    Family::of::<Gate>(moe::gate::run),
    Family::of::<Layout>(moe::layout::run),
    Family::of::<Permute>(moe::permute::run),
    Family::of::<Swiglu>(moe::swiglu::run),
    Family::of::<Combine>(moe::combine::run),
    Family::of::<Argmax>(sample::run_argmax),
    Family::of::<Sample>(sample::run_sample),
    Family::of::<Rope>(rope::run),
    Family::of::<CacheAppend>(cache::run_append),
    Family::of::<CacheGather>(cache::run_gather),
    Family::of::<MlaDecode>(mla_decode::run),
    Family::of::<MlaCombine>(mla_combine::run),
    Family::of::<MlaPrefill>(mla_prefill::run),
    Family::of::<HopperFp8Gemm>(hopper_gemm::run_fp8),
    Family::of::<HopperBf16Gemm>(hopper_gemm::run_bf16),
    Family::of::<HopperFp8Swiglu>(hopper_swiglu::run),
    Family::of::<HopperWeightGradient>(hopper_weight_gradient::run),
];
