//! Devices: memory, streams, events, graphs and kernel launches, on a CUDA driver or on the simulator.
//!
//! [`Device`] is the way in. Everything behind it behaves the same on both backends: what runs is the same PTX, loaded
//! from text, described by a [`Contract`](contract::Contract).
//!
//! | file | what it is |
//! |---|---|
//! | `device.rs` | [`Device`]: opening one, and what it offers |
//! | `stream.rs`, `event.rs` | [`Stream`]: work in order; [`Event`]: a point in it |
//! | `buffer.rs`, `memory.rs` | [`Buffer`], [`View`], [`ViewMut`]: typed memory with a shape, ordered across streams |
//! | `pinned.rs` | [`Pinned`]: host memory that copies without stopping the host |
//! | `module.rs`, `kernel.rs`, `launch.rs` | PTX becomes a [`Module`], with a contract a [`Kernel`], with arguments a launch |
//! | `tensor_map.rs` | the rules of tensor maps |
//! | `graph.rs` | [`Graph`]: work that is captured once and replayed |
//! | `raw.rs` | entry points for those who own their memory: raw addresses, `unsafe` |
//! | `backend.rs`, `cuda/`, `sim.rs` | the two backends, and how a call finds its own |
//!
//! ```
//! # #[cfg(feature = "sim")]
//! # fn main() -> rorqual::driver::Result<()> {
//! use rorqual::driver::Device;
//!
//! let device = Device::simulated("sm_80".parse().expect("a target"))?; // or Device::open(0)?
//! let stream = device.stream()?;
//! let mut y = stream.allocate::<f32>([2, 3])?;
//! stream.zero(&mut y)?;
//! let x = stream.upload([2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! stream.copy(x.slice(3, [3])?, y.slice_mut(0, [3])?)?;
//! assert_eq!(stream.download(&y)?, [4.0, 5.0, 6.0, 0.0, 0.0, 0.0]);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sim"))]
//! # fn main() {}
//! ```
//!
//! **Order.** A stream runs its work in order. A buffer that is used on a second stream makes that stream wait for the
//! work before, and its memory is freed after all of it: readers wait for the last writer, writers for everybody.
//!
//! **What is safe.** A safe launch checks every argument against the contract: its type, whether the kernel may write
//! it, the device, that what is written overlaps nothing else. That a kernel stays within the memory that it was given
//! is the kernel's promise; the simulator checks it, a GPU does not. Whoever loads PTX vouches for it, as whoever links
//! a library does.

mod backend;
mod buffer;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod element;
mod error;
mod event;
mod graph;
mod kernel;
mod launch;
mod memory;
mod module;
mod pinned;
mod raw;
mod shape;
#[cfg(feature = "sim")]
pub(crate) mod sim;
mod stream;
mod tensor_map;

pub use buffer::{Buffer, Use, View, ViewMut};
pub use device::{Device, MemoryInfo};
pub use element::DeviceElement;
pub use error::{ArgumentError, Error, Result};
pub use event::Event;
pub use graph::Graph;
pub use kernel::Kernel;
pub use module::Module;
pub use pinned::{Pinned, Transfer};
pub use rorqual_kernels::ElementType;
pub use rorqual_kernels::contract;
pub use rorqual_ptx::target::Target;
pub use shape::Shape;
#[cfg(feature = "sim")]
pub use sim::SimulatorOptions;
pub use stream::Stream;
