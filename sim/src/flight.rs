//! What a warp has under way: `cp.async` and bulk copies in their groups, and matrix products.
//!
//! Groups are counted per lane: `open` is the number of the group that the next operation joins, so committed groups
//! are those below it.

use std::collections::VecDeque;
use std::sync::Arc;

/// A `cp.async` of some lanes.
#[derive(Debug, Clone)]
pub struct CopyAsync {
    /// Lanes that have one.
    pub lanes: u32,
    /// Bytes of each: 4, 8 or 16.
    pub bytes: u32,
    /// Bytes read; the rest is zeros.
    pub source_bytes: [u32; 32],
    /// Global addresses.
    pub sources: [u64; 32],
    /// Shared addresses.
    pub destinations: [u32; 32],
    /// Group of each lane.
    pub groups: [u32; 32],
    /// PTX line.
    pub line: u32,
}

/// An arrival that follows the copies before it.
#[derive(Debug, Clone, Copy)]
pub struct CopyArrival {
    /// The lane.
    pub lane: u8,
    /// Copies of the warp that must be done, as a running number.
    pub after: u64,
    /// Shared address of the mbarrier.
    pub mbarrier: u32,
    /// PTX line.
    pub line: u32,
}

/// A bulk operation in a bulk group.
#[derive(Debug, Clone, Copy)]
pub struct BulkFlight {
    /// Its number, unique in the cluster.
    pub id: u64,
    /// The lane that issued it.
    pub lane: u8,
    /// Its group.
    pub group: u32,
    /// Whether its source is still being read.
    pub reading: bool,
}

/// Registers that an instruction holds while it is in flight, as slots of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSet {
    slots: Vec<u16>,
    /// A bit a slot.
    bits: Vec<u64>,
}

impl SlotSet {
    /// The set of these slots, in this order.
    #[must_use]
    pub fn new(slots: Vec<u16>) -> Self {
        let words = slots.iter().max().map_or(0, |most| usize::from(*most) / 64 + 1);
        let mut bits = vec![0; words];
        slots.iter().for_each(|slot| bits[usize::from(*slot) / 64] |= 1 << (slot % 64));
        Self { slots, bits }
    }

    /// The slots in order.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// Whether a slot of the frame is one of them.
    #[must_use]
    pub fn contains(&self, slot: u32) -> bool {
        self.bits.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Whether two sets of the same frame share a slot.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.bits.iter().zip(&other.bits).any(|(mine, theirs)| mine & theirs != 0)
    }
}

/// The registers of a matrix product of the warpgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixRegisters {
    /// What it adds to.
    pub accumulators: SlotSet,
    /// The fragments that it reads.
    pub operands: SlotSet,
}

/// A matrix product of the warpgroup.
#[derive(Debug, Clone)]
pub struct MatrixFlight {
    /// Its group.
    pub group: u32,
    /// Its registers.
    pub registers: Arc<MatrixRegisters>,
    /// First slot of the frame that they are of.
    pub base: u32,
    /// Lanes whose accumulators are undefined, of each: before the product until it is executed, then after it.
    /// `None` if all are defined.
    pub undefined: Option<Box<[u32]>>,
    /// Rows of the warp's part of A that are undefined, as far as registers say.
    pub undefined_rows: u16,
    /// What says which elements of sparse A are not zero.
    pub metadata: Option<Box<[u32; 32]>>,
    /// Whether it has been executed.
    pub executed: bool,
    /// PTX line.
    pub line: u32,
}

impl MatrixFlight {
    /// Whether it writes a slot of the whole register file.
    #[must_use]
    pub fn writes(&self, slot: u32) -> bool {
        slot >= self.base && self.registers.accumulators.contains(slot - self.base)
    }

    /// Whether it reads a fragment from a slot of the whole register file.
    #[must_use]
    pub fn reads(&self, slot: u32) -> bool {
        slot >= self.base && self.registers.operands.contains(slot - self.base)
    }
}

/// Everything under way in a warp.
#[derive(Debug, Clone, Default)]
pub struct Flight {
    /// `cp.async` operations, oldest first.
    pub copies: VecDeque<CopyAsync>,
    /// Copies that have been issued, ever.
    pub copies_issued: u64,
    /// Arrivals that wait for copies.
    pub arrivals: VecDeque<CopyArrival>,
    /// The open `cp.async` group of each lane.
    pub open_copy_group: [u32; 32],
    /// Bulk operations of bulk groups.
    pub bulk: Vec<BulkFlight>,
    /// The open bulk group of each lane.
    pub open_bulk_group: [u32; 32],
    /// Matrix products that the warp has not waited for.
    pub matrices: VecDeque<MatrixFlight>,
    /// The open wgmma group.
    pub open_matrix_group: u32,
    /// Whether the warp has executed a `wgmma.fence`.
    pub matrix_fenced: bool,
    /// Accesses of registers of matrix products that are [watched](crate::unfenced), since the last `wgmma.fence`: their
    /// statements.
    pub unfenced: Vec<usize>,
}

impl Flight {
    /// Whether every `cp.async` group of the lanes but the last `left` is done.
    #[must_use]
    pub fn copies_done(&self, lanes: u32, left: u32) -> bool {
        self.copies.iter().all(|copy| {
            (0..32).all(|lane| {
                (copy.lanes & lanes) >> lane & 1 == 0
                    || copy.groups[lane] + left >= self.open_copy_group[lane]
            })
        })
    }

    /// Whether every bulk group of the lanes but the last `left` is done, or done reading.
    #[must_use]
    pub fn bulk_done(&self, lanes: u32, left: u32, read: bool) -> bool {
        self.bulk.iter().all(|bulk| {
            lanes >> bulk.lane & 1 == 0
                || bulk.group + left >= self.open_bulk_group[usize::from(bulk.lane)]
                || read && !bulk.reading
        })
    }

    /// Whether every wgmma group but the last `left` has been executed.
    #[must_use]
    pub fn matrices_done(&self, left: u32) -> bool {
        self.matrices.iter().all(|matrix| matrix.executed || matrix.group + left >= self.open_matrix_group)
    }

    /// Whether nothing is under way that an exit would cut off.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.copies.is_empty() && self.bulk.iter().all(|bulk| !bulk.reading) && self.matrices.is_empty()
    }
}
