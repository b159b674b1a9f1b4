//! The table: which instructions are mutated, how, and past what they are moved.

use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use std::fmt;

/// One change of one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mutation {
    /// It is left out; of a wait, the whole loop.
    Deleted,
    /// It comes before the last thing before it that it orders.
    Earlier,
    /// It comes behind the next thing that it orders.
    Later,
    /// A wait for groups lets one more be pending.
    Deeper,
    /// A wait takes the other parity.
    OtherParity,
    /// So many bytes more, or less, are expected.
    Bytes(i64),
    /// So many arrivals or threads more, or less, are counted.
    Count(i64),
    /// It no longer acquires or releases.
    Relaxed,
    /// Its scope is the CTA.
    Narrowed,
    /// It only waits until the sources have been read.
    ReadOnly,
    /// All threads do it, not those of its guard.
    Unguarded,
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => write!(f, "deleted"),
            Self::Earlier => write!(f, "moved up"),
            Self::Later => write!(f, "moved down"),
            Self::Deeper => write!(f, "one group deeper"),
            Self::OtherParity => write!(f, "other parity"),
            Self::Bytes(by) => write!(f, "bytes {by:+}"),
            Self::Count(by) => write!(f, "count {by:+}"),
            Self::Relaxed => write!(f, "relaxed"),
            Self::Narrowed => write!(f, "scope narrowed"),
            Self::ReadOnly => write!(f, "reads only"),
            Self::Unguarded => write!(f, "guard dropped"),
        }
    }
}

/// What an instruction is moved past, in one direction: the nearest of these in its basic block. In the other direction
/// a move would only make it stronger, and is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing: it is not moved that way.
    Nothing,
    /// Accesses of memory that other threads may see, and instructions of the table that order such accesses.
    Memory,
    /// Instructions of the table that order accesses of memory.
    Synchronisation,
    /// Instructions whose names begin with one of these.
    Names(&'static [&'static str]),
    /// Accesses of the matrices in registers of products of a warpgroup, by other instructions.
    ProductRegisters,
    /// Both.
    MemoryOrProductRegisters,
}

/// A row of the table: instructions that are treated alike.
#[derive(Debug)]
pub struct Kind {
    /// Names of rows of the PTX table.
    pub names: &'static [&'static str],
    /// Past what they are moved up.
    pub up: Past,
    /// Past what they are moved down.
    pub down: Past,
    /// Their other mutations. One that an instruction has nothing for (a count that is not written, say) is not made.
    pub mutations: &'static [Mutation],
}

use Mutation::{Bytes, Count, Deeper, Deleted, Narrowed, OtherParity, ReadOnly, Relaxed, Unguarded};
use Past::{Memory, MemoryOrProductRegisters, Names, Nothing, ProductRegisters, Synchronisation};

const BULK: &[&str] = &["cp.async.bulk", "cp.reduce.async.bulk", "cp.async.bulk.tensor"];

/// The rows. What is not here is not mutated: shuffles and votes carry values rather than order, `setmaxnreg` is
/// about registers.
pub const TABLE: &[Kind] = &[
    Kind {
        names: &["bar.sync", "barrier.sync", "bar.red", "barrier.red"],
        up: Memory,
        down: Memory,
        mutations: &[Deleted, Count(32), Count(-32)],
    },
    Kind {
        names: &["bar.arrive", "barrier.arrive"],
        up: Memory,
        down: Synchronisation,
        mutations: &[Deleted, Count(32), Count(-32)],
    },
    Kind { names: &["bar.warp.sync"], up: Memory, down: Memory, mutations: &[Deleted] },
    Kind {
        names: &["barrier.cluster.arrive"],
        up: Memory,
        down: Synchronisation,
        mutations: &[Deleted, Relaxed],
    },
    Kind { names: &["barrier.cluster.wait"], up: Synchronisation, down: Memory, mutations: &[Deleted] },
    Kind { names: &["membar", "fence"], up: Memory, down: Memory, mutations: &[Deleted, Narrowed] },
    Kind {
        names: &["fence.mbarrier_init"],
        up: Names(&["mbarrier.init"]),
        down: Synchronisation,
        mutations: &[Deleted],
    },
    Kind {
        names: &[
            "fence.proxy.async",
            "fence.proxy.async::generic",
            "fence.proxy.alias",
            "fence.proxy.tensormap::generic",
        ],
        up: Memory,
        down: Memory,
        mutations: &[Deleted],
    },
    Kind {
        names: &["mbarrier.init"],
        up: Nothing,
        down: Names(&["bar.sync", "barrier.sync", "barrier.cluster.arrive"]),
        mutations: &[Deleted, Count(1), Count(-1), Unguarded],
    },
    Kind {
        names: &["mbarrier.arrive", "mbarrier.arrive_drop"],
        up: Memory,
        down: Synchronisation,
        mutations: &[Deleted, Bytes(16), Bytes(-16), Count(1), Count(-1), Relaxed, Narrowed, Unguarded],
    },
    Kind {
        names: &["mbarrier.expect_tx", "mbarrier.complete_tx"],
        up: Nothing,
        down: Synchronisation,
        mutations: &[Deleted, Bytes(16), Bytes(-16), Unguarded],
    },
    Kind {
        names: &["cp.async.mbarrier.arrive"],
        up: Names(&["cp.async.ca", "cp.async.cg", "cp.async"]),
        down: Synchronisation,
        mutations: &[Deleted],
    },
    Kind {
        names: &["mbarrier.try_wait", "mbarrier.test_wait"],
        up: Synchronisation,
        down: Memory,
        mutations: &[Deleted, OtherParity, Relaxed],
    },
    Kind {
        names: &["cp.async.commit_group"],
        up: Names(&["cp.async"]),
        down: Names(&["cp.async.wait_group"]),
        mutations: &[Deleted],
    },
    Kind {
        names: &["cp.async.wait_group"],
        up: Names(&["cp.async.commit_group"]),
        down: Memory,
        mutations: &[Deleted, Deeper],
    },
    Kind { names: &["cp.async.wait_all"], up: Names(&["cp.async"]), down: Memory, mutations: &[Deleted] },
    Kind {
        names: &["cp.async.bulk.commit_group"],
        up: Names(BULK),
        down: Names(&["cp.async.bulk.wait_group"]),
        mutations: &[Deleted],
    },
    Kind {
        names: &["cp.async.bulk.wait_group"],
        up: Names(&["cp.async.bulk.commit_group"]),
        down: Memory,
        mutations: &[Deleted, Deeper, ReadOnly],
    },
    Kind {
        names: &["wgmma.fence"],
        up: ProductRegisters,
        down: Names(&["wgmma.mma_async"]),
        mutations: &[Deleted],
    },
    Kind {
        names: &["wgmma.commit_group"],
        up: Names(&["wgmma.mma_async"]),
        down: Names(&["wgmma.wait_group"]),
        mutations: &[Deleted],
    },
    Kind {
        names: &["wgmma.wait_group"],
        up: Names(&["wgmma.commit_group"]),
        down: MemoryOrProductRegisters,
        mutations: &[Deleted, Deeper],
    },
];

impl Kind {
    /// Whether these order accesses of memory; a `wgmma.fence` orders registers.
    #[must_use]
    pub fn orders_memory(&self) -> bool {
        self.names != ["wgmma.fence"]
    }
}

/// The row of accesses that acquire or release.
pub const ORDERED_ACCESS: Kind =
    Kind { names: &["ld", "st", "atom", "red"], up: Nothing, down: Nothing, mutations: &[Relaxed, Narrowed] };

/// The row that an instruction belongs to.
#[must_use]
pub fn kind(instruction: &Instruction) -> Option<&'static Kind> {
    let is_ordered =
        [Modifier::Acquire, Modifier::Release, Modifier::AcqRel].iter().any(|sem| instruction.has(*sem));
    if is_ordered && ORDERED_ACCESS.names.contains(&instruction.form.name) {
        return Some(&ORDERED_ACCESS);
    }
    TABLE.iter().find(|kind| kind.names.contains(&instruction.form.name))
}
