//! Tensor memory and its instructions (PTX ISA 9.7.18): parsed and verified, not simulated.

use crate::decode::{Decoded, Decoder, Unsupported};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::table::ExecTcgen05;

fn unsupported() -> Decoded {
    Err(Unsupported::new("tensor memory is not simulated"))
}

impl ExecTcgen05 for Decoder<'_> {
    type Output = Decoded;

    fn tcgen05_alloc(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_dealloc(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_relinquish_alloc_permit(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_ld(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_ld_red(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_st(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_wait_ld(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_wait_st(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_cp(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_shift(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_mma(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_mma_sp(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_mma_ws(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_mma_ws_sp(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_fence_before_thread_sync(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_fence_after_thread_sync(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }

    fn tcgen05_commit(&mut self, _: &Instruction) -> Decoded {
        unsupported()
    }
}
