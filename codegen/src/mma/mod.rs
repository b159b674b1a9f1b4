//! Matrix atoms: an instruction, and which element each register of each thread holds.

pub mod matrix_store;
pub mod mma_sync;
pub mod wgmma;
