//! How a call finds its backend: one enum for each kind of object, with a variant for each backend.

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "sim")]
use super::sim;

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub(in crate::driver) enum $name {
            #[cfg(feature = "cuda")]
            Cuda(cuda::$name),
            #[cfg(feature = "sim")]
            Simulated(sim::$name),
        })*
    };
}

objects! {
    /// A device.
    Context
    /// Work in order.
    Stream
    /// Memory of a device; one that is dropped rather than released is never freed.
    Memory
    /// A point in the work of a stream.
    Event
    /// A loaded module.
    Module
    /// A kernel, ready to be launched.
    Function
    /// Captured work.
    Graph
    /// Host memory for asynchronous copies.
    Pinned
    /// An asynchronous copy under way, with the host memory that it uses.
    Transfer
}

/// Evaluates an expression with the object of either backend under its name.
macro_rules! each {
    ($kind:ident $value:expr => $name:ident: $body:expr) => {
        match $value {
            #[cfg(feature = "cuda")]
            $crate::driver::backend::$kind::Cuda($name) => $body,
            #[cfg(feature = "sim")]
            $crate::driver::backend::$kind::Simulated($name) => $body,
        }
    };
}

/// As [`each!`] for objects that are of the same backend, or it is an error of the operation.
macro_rules! both {
    ($operation:expr; $($kind:ident $value:expr => $name:ident),+; $body:expr) => {
        match ($($value,)+) {
            #[cfg(feature = "cuda")]
            ($($crate::driver::backend::$kind::Cuda($name),)+) => $body,
            #[cfg(feature = "sim")]
            ($($crate::driver::backend::$kind::Simulated($name),)+) => $body,
            #[cfg(all(feature = "cuda", feature = "sim"))]
            _ => Err($crate::driver::backend::mixed($operation)),
        }
    };
}

/// The same, wrapped again as an object of that backend.
macro_rules! wrapped {
    ($kind:ident $value:expr => $name:ident: $result:ident $body:expr) => {
        match $value {
            #[cfg(feature = "cuda")]
            $crate::driver::backend::$kind::Cuda($name) => $body.map($crate::driver::backend::$result::Cuda),
            #[cfg(feature = "sim")]
            $crate::driver::backend::$kind::Simulated($name) => {
                $body.map($crate::driver::backend::$result::Simulated)
            }
        }
    };
}

pub(in crate::driver) use {both, each, wrapped};

/// What it means that objects are of different backends.
pub(in crate::driver) fn mixed(operation: &'static str) -> super::Error {
    super::Error::OtherDevice {
        operation,
        expected: "one backend".to_owned(),
        given: "the simulator and CUDA".to_owned(),
    }
}

/// Shape and attributes of a launch, apart from its arguments.
#[derive(Debug, Clone, Copy)]
pub(in crate::driver) struct LaunchShape {
    /// CTAs by axis; none is 0.
    pub grid: [u32; 3],
    /// Threads of a CTA.
    pub threads: u32,
    /// CTAs of a cluster.
    pub cluster: Option<[u32; 3]>,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Whether the kernel may start before the one before it has ended (programmatic dependent launch).
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the simulator runs kernels one by one"))]
    pub programmatic: bool,
}
