//! Kernels and a kernel compiler for DeepSeek-style sparse mixture-of-experts models.
//!
//! What is here so far: the number formats ([`num`]), checkpoints ([`model`], feature `model`), and the CPU reference
//! path ([`reference`]): the whole network in plain Rust, which everything else will be judged against.
#![deny(unsafe_code)]

#[cfg(feature = "model")]
mod error;
#[cfg(feature = "model")]
pub mod model;
pub mod num;
#[cfg(feature = "model")]
pub mod reference;

#[cfg(feature = "model")]
pub use error::{Error, Result};
