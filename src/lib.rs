//! Kernels and a kernel compiler for DeepSeek-style sparse mixture-of-experts models.
//!
//! What is here:
//! - [`catalog`]: kernels by specialisation and target, embedded or generated.
//! - [`driver`] (features `cuda`, `sim`): devices, memory, streams and launches, on a GPU or on the simulator;
//!   `interop` shares them with `cudarc`.
//! - [`num`]: the number formats, e4m3, e5m2, ue8m0, bf16, f16.
//! - [`ops`] (features `cuda`, `sim`): the operations of a network as plans that are checked once and run many times.
//! - [`model`] (feature `model`): checkpoints in the Hugging Face layout, and generation; with feature `tokenizer` also
//!   text in and out.
//! - [`mod@reference`] (feature `model`): the CPU reference path, the whole network in plain Rust.
//! - [`network`] (feature `model`): what generation needs of a network, and with `cuda` or `sim` a checkpoint on a device.
//! - [`verify`] (feature `model`): every kernel family against the reference, on random cases.
//!
//! ```
//! # #[cfg(feature = "tokenizer")]
//! # fn main() -> rorqual::Result<()> {
//! use rorqual::model::generate::GenerateOptions;
//! use rorqual::model::{OpenOptions, Pretrained, generate};
//!
//! let directory = std::path::Path::new("assets/tiny-r1-fp8"); // a small DeepSeek-V3 that was trained to add
//! let checkpoint = Pretrained::open(directory, OpenOptions::default(), &mut |_| {})?;
//! let tokenizer = checkpoint.tokenizer()?;
//!
//! let prompts = [tokenizer.encode("538+347=", true)?, tokenizer.encode("997-8=", true)?];
//! let options =
//!     GenerateOptions { stop_ids: checkpoint.stop_ids.clone(), speculate: true, ..GenerateOptions::default() };
//! let done = generate(&checkpoint.network, &prompts, &options, &mut (), &mut ())?;
//!
//! let text = tokenizer.decode(&done.sequences[0].token_ids, true)?;
//! assert_eq!(text, "<think>8+7=15,3+4+1=08,5+3+0=08</think>885\n");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "tokenizer"))]
//! # fn main() {}
//! ```
#![deny(unsafe_code)]

pub mod catalog;
#[cfg(any(feature = "cuda", feature = "sim"))]
pub mod driver;
#[cfg(feature = "model")]
mod error;
#[cfg(feature = "cuda")]
pub mod interop;
#[cfg(feature = "model")]
pub mod model;
#[cfg(feature = "model")]
pub mod network;
pub mod num;
#[cfg(any(feature = "cuda", feature = "sim"))]
pub mod ops;
#[cfg(feature = "model")]
pub mod reference;
#[cfg(feature = "model")]
pub mod verify;

#[cfg(feature = "model")]
pub use error::{Error, Result};
