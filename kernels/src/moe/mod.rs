//! The mixture of experts around its matrix products: gate, layout and permutation of rows, SwiGLU, combine.

pub(crate) mod activation;
pub mod combine;
pub mod gate;
pub mod layout;
pub mod permute;
pub mod swiglu;
