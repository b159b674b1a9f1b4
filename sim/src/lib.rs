//! A simulator that runs PTX kernels on the CPU: the text that ships, with wgmma, TMA, mbarriers and clusters, strictly.
//!
//! [`Device`] is the way in. A module is parsed and verified by `rorqual-ptx`, [decoded](decode) to micro-operations
//! over slot-allocated registers, and [run](machine) warp by warp. What a kernel does wrong is a [report] with
//! the PTX line; what the simulator lacks is one too, with another verdict.
#![forbid(unsafe_code)]

pub mod barrier;
pub mod bulk;
pub mod cluster;
pub mod context;
pub mod control_flow;
pub mod counters;
pub mod decode;
pub mod dependence;
pub mod device;
pub mod exec;
pub mod flight;
pub mod grid;
pub mod l2;
#[cfg(feature = "ptxsim")]
pub mod launch_file;
pub mod liveness;
pub mod load;
pub mod machine;
pub mod memory;
pub mod mutate;
pub mod program;
pub mod race;
pub mod registers;
pub mod report;
pub mod scalar;
pub mod schedule;
pub mod target_limits;
pub mod tensor_core;
pub mod tensor_map;
pub mod trace;
pub mod unfenced;
pub mod warp;

pub use device::{Argument, Device, DeviceError, DevicePointer, Launch, Module};
pub use grid::Options;
pub use machine::Outcome;
pub use report::{Place, Report, Rule, Verdict};
pub use schedule::Schedule;
pub use tensor_core::Precision;
