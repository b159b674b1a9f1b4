//! Cases of the families around the matrix products of a mixture of experts.

pub mod combine;
pub mod gate;
pub mod layout;
pub mod permute;
pub mod swiglu;
