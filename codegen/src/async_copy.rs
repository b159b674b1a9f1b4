//! Copies from global to shared memory that run behind the thread (PTX ISA 9.7.10.25, `cp.async`; sm_80).

use crate::builder::Builder;
use crate::mbarrier::Mbarrier;
use crate::pointer::{Global, Pointer, Shared};
use crate::value::{Predicate, Value};
use rorqual_ptx::operand::Operand;

impl Builder {
    /// Copies 16 bytes; both addresses are multiples of 16.
    #[track_caller]
    pub fn copy_async_16<T, U>(&self, to: Pointer<'_, Shared, T>, from: Pointer<'_, Global, U>) {
        self.emit("cp.async.cg.shared.global", vec![to.operand(), from.operand(), Operand::int(16)]);
    }

    /// Copies 16 bytes where a predicate holds, and writes 16 zeros elsewhere, without touching the source.
    #[track_caller]
    pub fn copy_async_16_or_zero<T, U>(
        &self,
        when: Predicate<'_>,
        to: Pointer<'_, Shared, T>,
        from: Pointer<'_, Global, U>,
    ) {
        let bytes: Value<'_, u32> = when.select(self.constant(16), self.constant(0));
        let operands = vec![to.operand(), from.operand(), Operand::int(16), bytes.operand()];
        self.emit("cp.async.cg.shared.global", operands);
    }

    /// Copies the first `present` of `size` bytes, 4, 8 or 16, and writes zeros behind them; what is not present is
    /// not touched. Both addresses are multiples of `size`.
    #[track_caller]
    pub fn copy_async_present<'k, T, U>(
        &'k self,
        size: u32,
        present: Value<'k, u32>,
        to: Pointer<'k, Shared, T>,
        from: Pointer<'k, Global, U>,
    ) {
        self.require(matches!(size, 4 | 8 | 16), || format!("a copy of {size} bytes: 4, 8 or 16"));
        // Only copies of 16 bytes can pass by the first-level cache.
        let level = if size == 16 { "cg" } else { "ca" };
        let mut operands = vec![to.operand(), from.operand(), Operand::int(i64::from(size))];
        if present.known() != Some(size) {
            operands.push(present.operand());
        }
        self.emit(&format!("cp.async.{level}.shared.global"), operands);
    }

    /// Closes a group: the copies since the last one.
    #[track_caller]
    pub fn commit_copies(&self) {
        self.emit("cp.async.commit_group", vec![]);
    }

    /// Waits until at most `groups` of the thread's newest groups are under way. What other threads copied is seen
    /// after a barrier.
    #[track_caller]
    pub fn wait_copies(&self, groups: u32) {
        self.emit("cp.async.wait_group", vec![Operand::int(i64::from(groups))]);
    }

    /// Arrives at a barrier when all copies that the thread has started are over; the barrier counts on it as on an
    /// arrival of the thread (PTX ISA 9.7.15.16.12).
    #[track_caller]
    pub fn arrive_when_copied(&self, barrier: Mbarrier<'_>) {
        self.emit("cp.async.mbarrier.arrive.noinc.shared.b64", vec![barrier.pointer().operand()]);
    }
}
