//! The meaning of every instruction, one file a section of the table: a method decodes the instruction into
//! micro-operations, whose code stands beside it.

pub mod access;
pub mod arith;
pub mod async_copy;
pub mod atomic;
pub mod barrier;
pub mod bits;
pub mod bulk_copy;
pub mod cached;
pub mod call;
pub mod collective;
pub mod control;
pub mod convert;
pub mod elementwise;
pub mod float;
pub mod float_arith;
pub mod landing;
pub mod link;
pub mod map_edit;
pub mod matrix_move;
pub mod matrix_operand;
pub mod mbarrier;
pub mod memory;
pub mod mma;
pub mod multimem;
pub mod observe;
pub mod observe_copies;
pub mod older;
pub mod printf;
pub mod special;
pub mod sync;
pub mod tcgen05;
pub mod wgmma;

use crate::decode::{Decoded, Decoder};
use rorqual_ptx::table::Exec;

impl Exec for Decoder<'_> {
    type Result = Decoded;
}
