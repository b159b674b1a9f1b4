//! The CUDA driver as a device, through `cudarc`.
//!
//! `cudarc` loads the driver when it is first called and panics if a function is missing; [`preflight`] therefore looks
//! at the driver before. All calls are in `sys.rs`.

pub(super) mod preflight;
mod sys;

pub(super) use sys::{Context, Event, Function, Graph, Memory, Module, Pinned, Stream, Transfer};
