//! The mixture of experts around its matrix products.
//!
//! ```text
//! Router   logits of each token                              x, weight            -> [tokens, experts]
//! Gate     which experts a token goes to, and how much       logits, bias         -> Routing
//! Layout   rows in expert order, one for each slot           routing.experts      -> Arrangement
//! Permute  rows of tokens gathered into expert order         x, arrangement       -> [rows, hidden]
//!          gemm::Grouped with arrangement.offsets
//! Swiglu   silu(gate) * up                                   [rows, 2 * inter]    -> [rows, inter]
//!          gemm::Grouped with arrangement.offsets
//! Combine  the weighted sum of a token's experts             rows, arrangement    -> [tokens, hidden]
//! ```
//!
//! On Hopper, [`GatedProjection`] is the first product and [`Swiglu`] in one kernel.
//!
//! A *slot* is a token and one of its experts: `token * topk + rank`.

mod combine;
mod gate;
mod gated;
mod rows;

pub use combine::{AddCombine, Combine, CombineSpec};
pub use gate::{Gate, Router, RouterSpec, RouterWeight, Routing, RoutingViewMut};
pub use gated::{GatedProjection, GatedProjectionSpec};
pub use rorqual_kernels::moe::gate::{GateSpec, GroupMethod, Scoring};
pub use rorqual_kernels::moe::layout::LayoutSpec;
pub use rows::{Arrangement, ArrangementViewMut, Layout, Permute, PermuteSpec, Swiglu, SwigluSpec};
