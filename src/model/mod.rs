//! Checkpoints in the Hugging Face layout, and tokens from them.
//!
//! [`Pretrained::open`] reads a directory, [`generate()`] continues prompts, `Tokenizer` (feature `tokenizer`) turns
//! text into tokens and back.

pub mod cache;
pub mod config;
pub mod generate;
mod mapped_file;
pub mod philox;
mod pretrained;
pub mod sampling;
#[cfg(feature = "tokenizer")]
mod tokenizer;
pub mod weights;

pub use generate::generate;
pub use pretrained::{OpenOptions, OpenStep, Pretrained};
#[cfg(feature = "tokenizer")]
pub use tokenizer::Tokenizer;
