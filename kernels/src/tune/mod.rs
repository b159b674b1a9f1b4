//! Which tile a product gets, and why: candidates, a cost model, a choice that can be printed.
//!
//! Nothing here is measured, read or stored: a choice is a function of the problem, the same on every machine. The models
//! count what can be known without machine code, with constants whose origin stands beside them. [`sm90`] is for the
//! products of [`gemm::hopper`](crate::gemm::hopper), and [`hopper`] says which of them serve a portable product; portable
//! products have [`gemm::tile`](crate::gemm::tile::Tile::choose).

pub mod hopper;
pub mod sm90;
