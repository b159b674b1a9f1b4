//! How GPU kernels are written in Rust.
#![forbid(unsafe_code)]

pub mod async_copy;
pub mod barrier;
pub mod builder;
pub mod contract;
pub mod control;
pub mod element;
pub mod error;
pub mod format;
pub mod mma;
pub mod pointer;
pub mod run;
pub mod shared;
pub mod value;
pub mod warp;

pub use builder::{Builder, Header, Kernel, generate};
pub use error::GenerateError;
pub use pointer::{Global, Pointer, Shared};
pub use value::{Predicate, Value, Variable};
