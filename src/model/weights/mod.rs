//! Weights as they lie on disk: safetensors files, single or sharded, memory-mapped and expanded on demand.
//!
//! - [`Checkpoint`] opens a directory in the Hugging Face layout and knows where every tensor lies.
//! - [`Matrix`] is a two-dimensional weight in its stored type (f32, f16, bf16, or e4m3 with one scale per
//!   128x128 block); rows become f32 only when they are read.
//! - [`header`] and [`index`] read the two descriptions, of a file and of a set of shards, from untrusted bytes.
//!
//! Every length is checked against the bytes present before anything is allocated for it.

mod checkpoint;
mod error;
pub mod header;
pub mod index;
mod matrix;
pub(super) mod regular_file;

pub use checkpoint::{Checkpoint, scales_of};
pub use error::WeightsError;
pub use header::{Dtype, TensorInfo};
pub use matrix::{BLOCK, Matrix};
