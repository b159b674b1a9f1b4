//! Tiles for the products of [`gemm::hopper`](crate::gemm::hopper), by a model of a Hopper chip.
//!
//! A multiprocessor multiplies a tile block by block, 128 bytes of K each. A block takes the longest of
//!
//! ```text
//! tensor cores    4 products of 64 rows for every 64 rows of the tile, n / 2 clocks each
//! shared memory   128 bytes a clock: A and B as copies write them and again as products read them, and scales
//! L2              64 bytes a clock: A and B
//! a warpgroup     its own products, and what it does between them while none of its own are under way
//! ```
//!
//! Shared memory bounds most tiles: products read 64 rows of A and all of B for every 64 rows, and what a copy writes
//! takes the same port. Then
//!
//! ```text
//! tile      blocks * clocks of a block + a tile's start and end
//! SM        waves * tile, at 1.85 GHz less what tensor cores take; waves = ceil(tiles / multiprocessors)
//! memory    A, B, scales and D once, at 2600 GB/s
//! time      launch + (SM^16 + memory^16)^(1/16)
//! ```
//!
//! The choice is the shortest time; among tiles within 1 % of it, as long as there is more than one,
//!
//! 1. the least waste, in steps of 5 %: products of rows and columns that D does not have, and of idle multiprocessors;
//! 2. the fewest waves: where memory bounds, the most time to spare;
//! 3. the least shared memory;
//! 4. the least traffic from L2, which is what clusters save;
//! 5. fewer rows, then fewer columns.
//!
//! # What the model does not see
//! Copies are taken to be in time, and warpgroups to spill no registers. Left out are that the CTAs of a cluster wait for
//! each other, the order of tiles, what L2 keeps, and power other than that of tensor cores. Between different tiles,
//! predicted differences below 7 % mean little; they decide because something must.

mod candidates;
mod choice;
mod cost;
mod problem;
mod table;

pub use candidates::candidates;
pub use choice::{Choice, choose};
pub use cost::{BlockClocks, Bound, Estimate};
pub use problem::{Problem, Weights};
