//! Bits of the `error` word of kernels that meet bad input which only the device can see.
//!
//! A kernel sets bits and clears none. The caller zeroes the word, and reads it when it waits for the device anyway.

/// A token is not in the vocabulary; its row is zero.
pub const TOKEN: u32 = 1;
/// An expert does not exist; the slot is left out.
pub const EXPERT: u32 = 1 << 1;
/// A slot or a row does not exist; it is left out.
pub const SLOT: u32 = 1 << 2;
/// A logit is NaN; the token is `u32::MAX`.
pub const LOGIT_NAN: u32 = 1 << 3;
/// A logit is positive infinity; the token is `u32::MAX`.
pub const LOGIT_INFINITE: u32 = 1 << 4;
/// No logit is above negative infinity; the token is `u32::MAX`.
pub const NO_TOKEN: u32 = 1 << 5;
/// A setting of the sampling is out of its range; the token is `u32::MAX`.
pub const SETTING: u32 = 1 << 6;
/// A position is behind the table of rotations; its row is not rotated, or not written.
pub const POSITION: u32 = 1 << 7;
/// A slot or a page number lies outside the pool of the cache; there is no record.
pub const PAGE: u32 = 1 << 8;
/// A sequence does not exist, or its extent does not fit the tensors; what does not fit is left out.
pub const SEQUENCE: u32 = 1 << 9;
