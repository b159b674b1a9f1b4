//! Whether CTAs of a kernel can depend on one another while they run.
//!
//! If not, clusters run one after the other, on several threads, with the same results. A kernel may wait for others
//! only if it can see what they write: by an atomic that returns a value, or by a load that the ISA allows to race.
//! Floating-point reductions do not wait, but their result depends on the order, so they fix it too.

use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::{AsyncCopy, Atomic, Memory, Opcode};
use rorqual_ptx::types::Space;

/// Whether the instruction lets a CTA see what CTAs outside of its cluster do, or has a result that depends on their
/// order.
#[must_use]
pub fn may_wait_for_others(instruction: &Instruction) -> bool {
    let outside = !matches!(
        instruction.space(),
        Space::Shared | Space::SharedCluster | Space::Local | Space::Param | Space::Const | Space::Reg
    );
    let float = instruction.types().any(|ty| ty.is_float());
    match instruction.opcode() {
        Opcode::Memory(Memory::Ld) => {
            let racy = [Modifier::Volatile, Modifier::Relaxed, Modifier::Acquire, Modifier::Mmio];
            outside && racy.iter().any(|modifier| instruction.has(*modifier))
        }
        Opcode::Atomic(Atomic::Atom) => outside,
        Opcode::Atomic(Atomic::Red) => outside && (float || order_matters(instruction)),
        Opcode::AsyncCopy(AsyncCopy::CpReduceAsyncBulk) => {
            instruction.has(Modifier::Global) && (float || order_matters(instruction))
        }
        // The element type of a tensor reduction is in its map: it may be a float.
        Opcode::AsyncCopy(AsyncCopy::CpReduceAsyncBulkTensor) => true,
        // The text of `printf` comes in the order of clusters either way.
        _ => instruction
            .operands
            .iter()
            .any(|operand| matches!(operand, Operand::Special(special) if is_shared_clock(*special))),
    }
}

fn order_matters(instruction: &Instruction) -> bool {
    instruction.has(Modifier::Inc) || instruction.has(Modifier::Dec) || instruction.has(Modifier::Exch)
}

fn is_shared_clock(special: rorqual_ptx::operand::SpecialRegister) -> bool {
    use rorqual_ptx::operand::SpecialRegister;
    matches!(
        special,
        SpecialRegister::Globaltimer | SpecialRegister::GlobaltimerLo | SpecialRegister::GlobaltimerHi
    )
}
