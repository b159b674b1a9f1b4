//! Reductions in memory that need no answer (PTX ISA 9.7.15.6, `red`). All of them are of integers: their result does
//! not depend on the order.

use crate::pointer::{Pointer, StateSpace};
use crate::value::{Input, Predicate};

impl<'k, S: StateSpace> Pointer<'k, S, u32> {
    /// Sets the bits of `value` where a predicate holds.
    #[track_caller]
    pub fn atomic_or_when(self, when: Predicate<'k>, value: impl Into<Input<'k, u32>>) {
        let value = value.into().value(self.builder());
        let opcode = format!("red{}.or.b32", S::MODIFIER);
        self.builder().emit_when(when, &opcode, vec![self.operand(), value.operand()]);
    }

    /// Adds `value` where a predicate holds.
    #[track_caller]
    pub fn atomic_add_when(self, when: Predicate<'k>, value: impl Into<Input<'k, u32>>) {
        let value = value.into().value(self.builder());
        let opcode = format!("red{}.add.u32", S::MODIFIER);
        self.builder().emit_when(when, &opcode, vec![self.operand(), value.operand()]);
    }
}

impl<'k, S: StateSpace> Pointer<'k, S, u64> {
    /// Adds `value` where a predicate holds.
    #[track_caller]
    pub fn atomic_add_when(self, when: Predicate<'k>, value: impl Into<Input<'k, u64>>) {
        let value = value.into().value(self.builder());
        let opcode = format!("red{}.add.u64", S::MODIFIER);
        self.builder().emit_when(when, &opcode, vec![self.operand(), value.operand()]);
    }
}
