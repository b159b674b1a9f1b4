//! The operations of a network as plans: checked once, run many times.
//!
//! ```
//! # #[cfg(feature = "sim")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use rorqual::driver::Device;
//! use rorqual::num::{E4m3, bf16};
//! use rorqual::ops::moe::{GateSpec, LayoutSpec, PermuteSpec, RouterSpec};
//! use rorqual::ops::{ScaleFormat, gemm, moe, quant};
//!
//! let device = Device::simulated("sm_90a".parse()?)?; // or Device::open(0)?: the same kernels
//! let stream = device.stream()?;
//! let (tokens, hidden, n, experts, topk) = (3, 256, 64, 8, 2);
//!
//! let x = stream.upload([tokens, hidden], &vec![bf16::from_f32(0.5); tokens * hidden])?;
//! let router_weight = stream.upload([experts, hidden], &vec![0.01f32; experts * hidden])?;
//! let codes = vec![E4m3::from_f32(1.5); experts * n * hidden];
//! let weights = stream.upload_block_scaled([experts, n, hidden], &codes, &vec![0.25; experts * 2])?;
//!
//! // Rules are checked and kernels are loaded here, once.
//! let spec = GateSpec { experts: 8, groups: 4, topk_groups: 2, topk: 2, bias: false, ..GateSpec::deepseek_v3() };
//! let router = moe::Router::<f32>::plan(&device, &RouterSpec { experts: 8, hidden: 256 })?;
//! let gate = moe::Gate::plan(&device, &spec)?;
//! let layout = moe::Layout::plan(&device, &LayoutSpec { experts: 8, topk: 2 })?;
//! let quantize = quant::PerTokenGroup::<bf16>::plan(&device, 256, ScaleFormat::F32)?;
//! let permute = moe::Permute::<E4m3>::plan(&device, &PermuteSpec { hidden: 256, topk: 2 })?;
//! let up = gemm::Grouped::<E4m3>::plan(&device, &gemm::GroupedSpec::new(8, 64, 256))?;
//!
//! let logits = router.run(&stream, &x, &router_weight)?; // [tokens, experts]
//! let route = gate.run(&stream, &logits, None)?;
//! let rows = layout.run(&stream, &route.experts)?;
//! let xq = quantize.run(&stream, &x)?; // e4m3, a scale per 1x128
//! let xq = permute.run(&stream, &xq, &rows.slot_of_row)?; // in expert order
//! let y = up.run(&stream, &xq, &weights, &rows.offsets)?; // bf16
//!
//! assert_eq!(y.shape(), [tokens * topk, n].into());
//! assert_eq!(stream.download(&y)?, vec![bf16::from_f32(0.5 * 1.5 * 0.25 * 256.0); tokens * topk * n]);
//! assert!(up.flags(&stream)?.is_empty());
//! println!("{up}"); // the kernel that was chosen, and why
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sim"))]
//! # fn main() {}
//! ```
//!
//! | module | plans |
//! |---|---|
//! | [`embedding`] | [`Embedding`](embedding::Embedding) |
//! | [`norm`] | [`RmsNorm`](norm::RmsNorm), [`AddRmsNorm`](norm::AddRmsNorm) |
//! | [`quant`] | [`PerTokenGroup`](quant::PerTokenGroup), [`PerBlock`](quant::PerBlock), [`Dequantize`](quant::Dequantize) |
//! | [`gemm`] | [`Dense`](gemm::Dense), [`Grouped`](gemm::Grouped), [`Masked`](gemm::Masked), [`Batched`](gemm::Batched) |
//! | [`moe`] | [`Router`](moe::Router), [`Gate`](moe::Gate), [`Layout`](moe::Layout), [`Permute`](moe::Permute), [`Swiglu`](moe::Swiglu), [`GatedProjection`](moe::GatedProjection), [`Combine`](moe::Combine), [`AddCombine`](moe::AddCombine) |
//! | [`attention`] | [`Rope`](attention::Rope), [`CacheAppend`](attention::CacheAppend), [`CacheGather`](attention::CacheGather), [`MlaDecode`](attention::MlaDecode), [`MlaPrefill`](attention::MlaPrefill) |
//! | [`sample`] | [`Argmax`](sample::Argmax), [`Sample`](sample::Sample) |
//!
//! Any other family of kernels runs as a bare [`Plan`].
//!
//! **Running.** `plan` checks the specialisation and loads the kernel. `run` makes room for its results; `run_into` takes
//! them, and neither allocates nor waits: it can be [captured](capture) in a graph. Both check every argument before
//! anything is launched, and say in an [`Error`] which one is wrong, what was expected and what was given: shape, device,
//! alignment, overlap. Element types are checked by the compiler.
//!
//! **Tensors** are row-major without gaps. Numbers start at a multiple of 16 bytes, as every buffer does; a
//! [`View`](crate::driver::View) may start anywhere, and is an error where it starts elsewhere. Indices start anywhere.
//!
//! **No rows** are as good as any number: nothing is launched, and results without elements are results. Where a result
//! has elements nonetheless, its function says which.
//!
//! **Bad input that only the device can see**, such as an expert or a page that does not exist, has a defined result and
//! raises a flag in the plan. [`Plan::flags`], which every operation has as `flags`, tells and clears them.

pub mod attention;
mod call;
pub mod embedding;
mod error;
mod format;
pub mod gemm;
pub mod moe;
pub mod norm;
mod plan;
pub(crate) mod product;
pub mod quant;
pub mod sample;

pub use error::{Error, Result};
pub use format::{
    BlockScaled, BlockScaledView, BlockScaledViewMut, Format, ProductElement, Quantized, QuantizedView,
    QuantizedViewMut,
};
pub use plan::{Origin, Plan};
pub use product::ProductPlan;
pub use rorqual_kernels as spec;
pub use rorqual_kernels::ScaleFormat;
pub use rorqual_kernels::device_error::{self, DeviceFlags};

use crate::driver::{self, Graph, Stream};

/// Captures what `work` runs on the stream, without doing it: [`Stream::capture`] for work that ends in an [`Error`] of
/// operations.
///
/// # Errors
///
/// If `work` fails, or does what cannot be captured, such as allocating; a stream that is being captured already.
pub fn capture(stream: &Stream, work: impl FnOnce(&Stream) -> Result<()>) -> Result<Graph> {
    const OPERATION: &str = "ops::capture";
    let mut failed = None;
    let graph = stream.capture(|stream| {
        work(stream).map_err(|error| {
            failed = Some(error);
            // What the capture is ended with; the caller gets the error that was met.
            driver::Error::Capturing { operation: OPERATION }
        })
    });
    graph.map_err(|error| failed.unwrap_or_else(|| Error::of(OPERATION)(error)))
}
