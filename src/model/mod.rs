//! Checkpoints in the Hugging Face layout, and text from them.

pub mod cache;
pub mod config;
mod mapped_file;
mod philox;
pub mod sampling;
pub mod weights;
