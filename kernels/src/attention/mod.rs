//! Multi-head latent attention (DeepSeek-V2 report, section 2.1) and its cache.
//!
//! A token leaves a *record* in the cache: its latent (after the norm) and one rotated key, shared by all heads. Records
//! lie in pages of a pool; a sequence has a row of page numbers in a block table.
//!
//! | family | what it does |
//! |---|---|
//! | [`append`] | writes the records of new tokens |
//! | [`gather`] | reads the records of sequences, for the expansion to keys and values |
//! | [`decode`] | attention of few queries, in latent space, over the pool |
//! | [`combine`] | merges what `decode` made of stretches of a sequence |
//! | [`prefill`] | attention of many queries over expanded keys and values |
//!
//! # What does not show in a result
//! Keys are taken in blocks of [`KEY_BLOCK`] counted from the start of the sequence, and in `decode` in stretches of a
//! fixed length: a query's result has the same bits whatever queries and sequences are around it. What lies in a key
//! that a query does not see, NaN included, has no influence.

pub mod append;
pub mod combine;
pub mod decode;
pub mod gather;
pub mod prefill;
mod record;
mod tile;

pub use record::RecordFormat;

/// Keys are scored and summed in blocks of this many.
pub const KEY_BLOCK: u32 = 64;

/// `log2(e)`: `exp(x) = exp2(x * LOG2_E)`.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln(2)`: `ln(x) = log2(x) * LN_2`.
const LN_2: f32 = std::f32::consts::LN_2;
