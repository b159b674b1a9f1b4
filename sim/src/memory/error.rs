//! What can be wrong with an access to memory.

use std::fmt;
use std::sync::Arc;

use super::{MAX_LOCAL_BYTES, Window};

/// Why an access cannot be made. The text says what was accessed, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The address belongs to no allocation.
    #[error("address {address:#x} is in no allocation{}", NearText(.nearest))]
    Unallocated {
        /// The address.
        address: u64,
        /// The allocation below it, and how far beyond its end the address is.
        nearest: Option<(Arc<str>, u64)>,
    },
    /// The address belonged to an allocation that was freed.
    #[error(
        "address {address:#x} is at offset {offset} of buffer `{buffer}` of {size} bytes, which was freed"
    )]
    Freed {
        /// The address.
        address: u64,
        /// The name of the buffer that was there.
        buffer: Arc<str>,
        /// Its bytes.
        size: u64,
        /// The offset of the access.
        offset: u64,
    },
    /// The access begins or ends beyond the end of the allocation.
    #[error(
        "access at offset {offset} of {bytes} bytes is beyond the end of buffer `{buffer}` of {size} bytes"
    )]
    OutOfBounds {
        /// The name of the buffer.
        buffer: Arc<str>,
        /// Its bytes.
        size: u64,
        /// Where the access begins.
        offset: u64,
        /// The bytes of the access.
        bytes: u64,
    },
    /// The address is no multiple of what the access needs.
    #[error("address {address:#x} is no multiple of {align}, as this access needs")]
    Misaligned {
        /// The address.
        address: u64,
        /// The alignment that the access needs, in bytes.
        align: u32,
    },
    /// A write to constant memory.
    #[error("write at offset {offset} of the read-only buffer `{buffer}`")]
    ReadOnly {
        /// The name of the buffer.
        buffer: Arc<str>,
        /// Where the access begins.
        offset: u64,
    },
    /// The memory is on another device and not mapped on this one.
    #[error("buffer `{buffer}` of device {owner} is not mapped on device {device}")]
    NotMapped {
        /// The name of the buffer.
        buffer: Arc<str>,
        /// The device it is on.
        owner: u32,
        /// The device that accesses it.
        device: u32,
    },
    /// The address is in no multicast object.
    #[error("address {address:#x} is in no multicast object, as multimem instructions need")]
    NotMulticast {
        /// The address.
        address: u64,
    },
    /// A multicast object cannot be made, or is of other devices.
    #[error("multicast object `{object}`: {rule}")]
    Multicast {
        /// Its name.
        object: Arc<str>,
        /// What is wrong, and what was expected.
        rule: String,
    },
    /// The address is in another state space than the instruction accesses.
    #[error("address {address:#x} is in {}, not in {expected}", WindowText(*.found))]
    WrongWindow {
        /// The generic address.
        address: u64,
        /// The state space that the instruction accesses, as in "global memory".
        expected: &'static str,
        /// The window that the address is in.
        found: Window,
    },
    /// The access is not within the CTA's shared memory.
    #[error(
        "access at shared address {address:#x} of {bytes} bytes is {} the {size} bytes of the CTA's shared memory",
        if *.below { "below" } else { "beyond" }
    )]
    SharedBounds {
        /// The shared address, with the CTA's rank.
        address: u32,
        /// The bytes of the access.
        bytes: u32,
        /// The bytes of shared memory, static and dynamic.
        size: u32,
        /// Whether it begins in the reserved range below the data.
        below: bool,
    },
    /// The shared address belongs to another CTA of the cluster.
    #[error("shared address {address:#x} is of CTA {rank} of the cluster, and this is CTA {own}")]
    OtherCta {
        /// The shared address.
        address: u32,
        /// The rank in it.
        rank: u32,
        /// The rank of the CTA that was to be accessed.
        own: u32,
    },
    /// The access is not within the thread's stack.
    #[error(
        "access at local offset {offset:#x} of {bytes} bytes is outside of the thread's stack of {top} bytes"
    )]
    LocalBounds {
        /// The offset.
        offset: u32,
        /// The bytes of the access.
        bytes: u32,
        /// The bytes of the thread's stack.
        top: u32,
    },
    /// A thread's stack would become too large.
    #[error("a stack of {bytes} bytes is beyond the {MAX_LOCAL_BYTES} bytes of local memory of a thread")]
    StackOverflow {
        /// The bytes that the stack would have.
        bytes: u64,
    },
    /// An allocation does not fit the budget, the device's address range, or this computer.
    #[error("{bytes} bytes for buffer `{buffer}`: {available} bytes are left")]
    OutOfMemory {
        /// The name of the buffer.
        buffer: Arc<str>,
        /// The bytes asked for.
        bytes: u64,
        /// The bytes that are left.
        available: u64,
    },
    /// The device has no address range.
    #[error("device {device} does not exist: there are at most {}", super::MAX_DEVICES)]
    UnknownDevice {
        /// The device.
        device: u32,
    },
    /// The address to free is not the beginning of an allocation.
    #[error("address {address:#x} is at offset {offset} of buffer `{buffer}`, not at its beginning")]
    NotABase {
        /// The address.
        address: u64,
        /// The name of the buffer.
        buffer: Arc<str>,
        /// The offset in it.
        offset: u64,
    },
    /// No access has this many bytes.
    #[error("an access of {bytes} bytes: it must be of 1, 2, 4, 8 or 16")]
    AccessSize {
        /// The bytes.
        bytes: u32,
    },
}

impl MemoryError {
    /// Whether the address is not aligned as the access needs.
    #[must_use]
    pub const fn is_alignment(&self) -> bool {
        matches!(self, Self::Misaligned { .. })
    }

    /// Whether a budget ran out, rather than the program being wrong.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::StackOverflow { .. })
    }
}

/// What is wrong with the access of one lane. Nothing was accessed for any lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct LaneError {
    /// The lane, the lowest if several are wrong.
    pub lane: u32,
    /// What is wrong.
    pub error: MemoryError,
}

/// Says which buffer an address is behind.
struct NearText<'a>(&'a Option<(Arc<str>, u64)>);

impl fmt::Display for NearText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((buffer, distance)) => {
                write!(f, "; it is {distance} bytes behind the end of buffer `{buffer}`")
            }
            None => Ok(()),
        }
    }
}

/// Names a window.
struct WindowText(Window);

impl fmt::Display for WindowText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Window::Global => "global memory",
            Window::Shared(_) => "shared memory",
            Window::Local(_) => "local memory",
            Window::Param(_) => "the kernel's parameters",
            Window::Multicast => "a multicast object, which only multimem instructions access",
            Window::None => "no state space",
        })
    }
}
