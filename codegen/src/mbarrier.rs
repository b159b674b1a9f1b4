//! Mbarriers: barriers in shared memory that count arrivals and bytes (PTX ISA 9.7.15.16; sm_90).

use crate::builder::Builder;
use crate::pointer::{Pointer, Shared};
use crate::value::{Predicate, Value};
use rorqual_ptx::operand::Operand;

/// An mbarrier in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Mbarrier<'k> {
    address: Pointer<'k, Shared, u64>,
}

impl Builder {
    /// Reserves `count` mbarriers side by side; see [`Mbarriers::at`].
    #[must_use]
    #[track_caller]
    pub fn mbarriers(&self, count: u32) -> Mbarriers<'_> {
        Mbarriers { first: self.shared::<u64>(count, 8), count }
    }

    /// Makes what this thread did to new mbarriers known to the cluster and to asynchronous copies. A barrier of the
    /// CTA, or of the cluster, follows before anyone else uses them.
    #[track_caller]
    pub fn fence_mbarrier_init(&self) {
        self.emit("fence.mbarrier_init.release.cluster", vec![]);
    }
}

/// Mbarriers side by side.
#[derive(Debug, Clone, Copy)]
pub struct Mbarriers<'k> {
    first: Pointer<'k, Shared, u64>,
    count: u32,
}

impl<'k> Mbarriers<'k> {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// The one of this index.
    #[must_use]
    #[track_caller]
    pub fn at(self, index: Value<'k, u32>) -> Mbarrier<'k> {
        Mbarrier { address: self.first.at(index) }
    }

    /// Those from `part * count` on, `count` of them.
    #[must_use]
    #[track_caller]
    pub(crate) fn part(self, part: Value<'k, u32>, count: u32) -> Self {
        Self { first: self.first.at(part * count), count }
    }

    /// Initialises all of them: every phase is over after so many arrivals. One thread does it.
    #[track_caller]
    pub fn initialize(self, arrivals: u32) {
        let builder = self.first.builder();
        for index in 0..self.count {
            let operands = vec![self.first.at(index).operand(), Operand::int(i64::from(arrivals))];
            builder.emit("mbarrier.init.shared.b64", operands);
        }
    }
}

impl<'k> Mbarrier<'k> {
    /// Its address.
    #[must_use]
    pub fn pointer(self) -> Pointer<'k, Shared, u64> {
        self.address
    }

    /// Arrives; what the thread did before is seen by those that wait.
    #[track_caller]
    pub fn arrive(self) {
        self.address
            .builder()
            .emit("mbarrier.arrive.shared.b64", vec![Operand::Sink, self.address.operand()]);
    }

    /// Arrives, and lets the phase wait for so many bytes of asynchronous copies.
    #[track_caller]
    pub fn arrive_expecting(self, bytes: Value<'k, u32>) {
        let operands = vec![Operand::Sink, self.address.operand(), bytes.operand()];
        self.address.builder().emit("mbarrier.arrive.expect_tx.shared.b64", operands);
    }

    /// Arrives at the barrier at the same place in the CTA of this rank of the cluster, to give back what has been read:
    /// reads that have completed need no fence. What this thread has written, threads of other CTAs do not see by this: a
    /// release to the whole cluster would be a fence of the whole device's memory in machine code, for every stage.
    #[track_caller]
    pub fn arrive_remote(self, rank: Value<'k, u32>) {
        let builder = self.address.builder();
        let own = Operand::Register(self.address.address().in_register());
        let remote: Value<'_, u32> = builder.compute("mapa.shared::cluster.u32", &[own, rank.operand()]);
        let remote = Operand::at(remote.in_register(), 0);
        builder.emit("mbarrier.arrive.shared::cluster.b64", vec![Operand::Sink, remote]);
    }

    /// Waits until the phase of this parity, 0 or 1, is over. The first phase has parity 0; for a barrier that is new,
    /// the phase of parity 1 counts as over.
    #[track_caller]
    pub fn wait(self, parity: Value<'k, u32>) {
        let builder = self.address.builder();
        let over = Predicate::fresh(builder);
        builder.repeat_while(
            || {
                self.test(parity, over);
                !over
            },
            || {},
        );
    }

    /// Looks whether the phase of this parity is over, and sets a predicate of the caller's, a
    /// [new](Predicate::unset) one, to the answer.
    #[track_caller]
    pub fn test(self, parity: Value<'k, u32>, over: Predicate<'k>) {
        self.test_when(self.address.builder().known(true), parity, over);
    }

    /// The same where a predicate holds; elsewhere `over` stays as it is.
    #[track_caller]
    pub fn test_when(self, when: Predicate<'k>, parity: Value<'k, u32>, over: Predicate<'k>) {
        let operands = vec![over.operand(), self.address.operand(), parity.operand()];
        self.address.builder().emit_when(when, "mbarrier.try_wait.parity.shared.b64", operands);
    }
}
