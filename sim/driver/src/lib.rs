//! The CUDA driver API over the PTX simulator: programs made for a GPU run without one.
//!
//! The library is to be loaded by its path before anything asks the loader for `libcuda.so`, or to be put in place of it
//! on a search path of one's own. Everything is done when it is called: a stream is an order that holds already, and a
//! kernel that waits for one that is launched later waits for ever, which is reported. Events tell a virtual time.
//!
//! | variable | meaning | without it |
//! |---|---|---|
//! | `PTXSIM_ARCH` | architecture of the devices | `sm_90a` |
//! | `PTXSIM_DEVICES` | how many devices there are, up to 15 | 1 |
//! | `PTXSIM_SEED` | the seed that orders warps and asynchronous operations | 0 |
//! | `PTXSIM_PRECISION` | matrix products `exact` or as the `hardware` adds | `exact` |
//! | `CUDA_LAUNCH_BLOCKING` | 1: a launch returns its own fault | the next call does |
//!
//! A kernel that goes wrong leaves its device's context unusable, as on hardware, with the simulator's report on stderr.
//! What a function means is in the CUDA driver API reference under its name; its comment here says what differs.
#![deny(unsafe_code)]

#[macro_use]
mod boundary;

mod capture;
mod context;
mod device;
mod driver;
mod entry_point;
mod error;
mod event;
mod function;
mod graph;
mod handles;
mod launch;
mod library;
mod link;
mod memory;
mod module;
mod occupancy;
mod pitched;
mod pointer;
mod pool;
mod sharing;
mod stream;
mod tensor_map;
mod time;
mod unsupported;
mod user_object;
mod virtual_memory;
