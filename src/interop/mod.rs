//! Working with other libraries on the same device.

pub mod cudarc;
