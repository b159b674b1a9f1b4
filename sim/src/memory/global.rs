//! The global memory of all devices, in one address space, as the host sees it: allocations, their names and states.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Allocation, DEVICE_SHIFT, DeviceMemory, GLOBAL_BASE, MAX_DEVICES, MemoryError, Window, classify,
};

/// Allocations begin at multiples of this, and this many bytes at least lie between two of them.
const GRANULE: u64 = 512;
/// An access this close behind an allocation is reported as beyond its end, a farther one as in no allocation.
const NEAR: u64 = 1 << 20;
/// The freed ranges that are remembered; the lowest are forgotten first.
const FREED: usize = 4096;

/// A range that was freed.
#[derive(Debug)]
struct Freed {
    name: Arc<str>,
    size: u64,
}

/// Bytes of global memory that hold an undefined value which an instruction wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndefinedWrite {
    /// The name of the allocation.
    pub allocation: Arc<str>,
    /// The address of the first byte.
    pub address: u64,
    /// The offset of the first byte in the allocation.
    pub offset: u64,
    /// The bytes.
    pub len: u64,
    /// What the store said it was, the line of the instruction; 0 if it was not remembered.
    pub origin: u32,
}

/// The global memory of all devices. The host allocates and frees while no kernel runs; everything else is shared
/// by the threads of the simulation.
#[derive(Debug, Default)]
pub struct GlobalMemory {
    /// The base of every allocation, ascending.
    bases: Vec<u64>,
    /// The allocations, in the order of `bases`.
    allocations: Vec<Allocation>,
    freed: BTreeMap<u64, Freed>,
    /// Where the next allocation of each device is tried first.
    next: [u64; MAX_DEVICES as usize],
    live_bytes: u64,
    budget: Option<u64>,
    exclusive: bool,
    /// Ascending by address.
    multicasts: Vec<multicast::Multicast>,
}

impl GlobalMemory {
    /// Memory without allocations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory whose allocations have at most this many bytes together.
    #[must_use]
    pub fn with_budget(bytes: u64) -> Self {
        Self { budget: Some(bytes), ..Self::default() }
    }

    /// Limits what later allocations may have together with those that are there.
    pub const fn set_budget(&mut self, bytes: u64) {
        self.budget = Some(bytes);
    }

    /// Says whether several threads access memory at once, as is assumed at first. A single thread need not pay for
    /// atomic updates when it stores less than a word.
    pub fn set_concurrent(&mut self, concurrent: bool) {
        self.exclusive = !concurrent;
        for allocation in &mut self.allocations {
            allocation.concurrent = concurrent;
        }
    }

    /// Allocates memory on a device; the address. What it holds is poison, and undefined.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`], [`MemoryError::UnknownDevice`].
    pub fn allocate(&mut self, device: u32, name: &str, bytes: u64) -> Result<u64, MemoryError> {
        let address = self.allocate_zeroed(device, name, bytes)?;
        self.poison(address, bytes)?;
        Ok(address)
    }

    /// Allocates memory of defined zeros on a device; the address. The cheapest way to make a buffer that the host
    /// then fills.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`], [`MemoryError::UnknownDevice`].
    pub fn allocate_zeroed(&mut self, device: u32, name: &str, bytes: u64) -> Result<u64, MemoryError> {
        if device >= MAX_DEVICES {
            return Err(MemoryError::UnknownDevice { device });
        }
        let buffer: Arc<str> = name.into();
        let left = self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.live_bytes));
        let out_of_memory = |available| MemoryError::OutOfMemory { buffer: buffer.clone(), bytes, available };
        if bytes > left.min(1 << DEVICE_SHIFT) {
            return Err(out_of_memory(left.min(1 << DEVICE_SHIFT)));
        }
        let base = self.find_gap(device, bytes).ok_or_else(|| out_of_memory(0))?;
        let mut allocation =
            Allocation::zeroed(buffer.clone(), base, bytes, device).ok_or_else(|| out_of_memory(0))?;
        allocation.concurrent = !self.exclusive;
        let end = base + bytes;
        self.freed.retain(|freed_base, freed| freed_base + freed.size <= base || *freed_base >= end);
        let at = self.bases.partition_point(|other| *other < base);
        self.bases.insert(at, base);
        self.allocations.insert(at, allocation);
        self.next[device as usize] = (end + GRANULE).next_multiple_of(GRANULE);
        self.live_bytes += bytes;
        Ok(base)
    }

    /// A base for a new allocation: behind the last one, so that addresses are not reused soon, else the first gap.
    fn find_gap(&self, device: u32, bytes: u64) -> Option<u64> {
        let first = GLOBAL_BASE + (u64::from(device) << DEVICE_SHIFT);
        let end = first + (1 << DEVICE_SHIFT);
        let fits = |base: u64, limit: u64| base + bytes + GRANULE <= limit;
        let next = self.next[device as usize].max(first);
        let own =
            self.bases.partition_point(|base| *base < first)..self.bases.partition_point(|base| *base < end);
        if self.allocations[own.clone()].iter().all(|other| other.base() < next) && fits(next, end) {
            return Some(next);
        }
        let mut candidate = first;
        for other in &self.allocations[own] {
            if fits(candidate, other.base()) {
                return Some(candidate);
            }
            candidate = (other.base() + other.size() + GRANULE).next_multiple_of(GRANULE);
        }
        fits(candidate, end).then_some(candidate)
    }

    /// Frees an allocation. Later accesses to its addresses say so.
    ///
    /// # Errors
    /// [`MemoryError::NotABase`], or that the address is in no allocation.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let index = self.index_of_base(address)?;
        self.bases.remove(index);
        let allocation = self.allocations.remove(index);
        self.live_bytes -= allocation.size();
        self.freed.insert(address, Freed { name: allocation.name().clone(), size: allocation.size() });
        if self.freed.len() > FREED {
            self.freed.pop_first();
        }
        Ok(())
    }

    /// Makes an allocation constant memory for kernels, or ordinary memory again.
    ///
    /// # Errors
    /// [`MemoryError::NotABase`], or that the address is in no allocation.
    pub fn set_read_only(&mut self, address: u64, read_only: bool) -> Result<(), MemoryError> {
        let index = self.index_of_base(address)?;
        self.allocations[index].read_only = read_only;
        Ok(())
    }

    /// Maps an allocation on another device, or unmaps it. Its own device always sees it.
    ///
    /// # Errors
    /// [`MemoryError::UnknownDevice`], [`MemoryError::NotABase`], or that the address is in no allocation.
    pub fn map_peer(&mut self, address: u64, device: u32, mapped: bool) -> Result<(), MemoryError> {
        if device >= MAX_DEVICES {
            return Err(MemoryError::UnknownDevice { device });
        }
        let index = self.index_of_base(address)?;
        let allocation = &mut self.allocations[index];
        if mapped {
            allocation.visible_to |= 1 << device;
        } else if device != allocation.device() {
            allocation.visible_to &= !(1 << device);
        }
        Ok(())
    }

    /// The position of the allocation that begins at the address.
    fn index_of_base(&self, address: u64) -> Result<usize, MemoryError> {
        self.bases.binary_search(&address).map_err(|_| match self.locate(address) {
            Ok(found) => MemoryError::NotABase {
                address,
                buffer: found.name().clone(),
                offset: address - found.base(),
            },
            Err(error) => error,
        })
    }

    /// The memory as kernels of a device access it.
    #[must_use]
    pub const fn device(&self, device: u32) -> DeviceMemory<'_> {
        DeviceMemory::new(self, device)
    }

    /// The allocation that an address is in.
    ///
    /// # Errors
    /// Says what is at the address instead.
    #[inline]
    pub fn locate(&self, address: u64) -> Result<&Allocation, MemoryError> {
        let below = self.bases.partition_point(|base| *base <= address);
        match below.checked_sub(1).map(|index| &self.allocations[index]) {
            Some(allocation) if address - allocation.base() < allocation.size() => Ok(allocation),
            nearest => Err(self.not_found(address, nearest)),
        }
    }

    /// What is wrong with an address that is in no allocation; `nearest` is the one that begins below it.
    #[cold]
    fn not_found(&self, address: u64, nearest: Option<&Allocation>) -> MemoryError {
        if classify(address) != Window::Global {
            return MemoryError::WrongWindow { address, expected: "global memory", found: classify(address) };
        }
        if let Some((base, freed)) = self.freed.range(..=address).next_back()
            && address - base < freed.size
        {
            let (buffer, size) = (freed.name.clone(), freed.size);
            return MemoryError::Freed { address, buffer, size, offset: address - base };
        }
        let Some(nearest) = nearest else { return MemoryError::Unallocated { address, nearest: None } };
        let beyond = address - nearest.base() - nearest.size();
        if beyond < NEAR {
            return nearest.out_of_bounds(address, 1);
        }
        MemoryError::Unallocated { address, nearest: Some((nearest.name().clone(), beyond)) }
    }

    /// The allocation that a whole range is in, and the range's offset. An empty range is in whatever its address is
    /// in, or at the end of.
    #[inline]
    pub(super) fn locate_range(&self, address: u64, bytes: u64) -> Result<(&Allocation, u64), MemoryError> {
        let below = self.bases.partition_point(|base| *base <= address);
        let nearest = below.checked_sub(1).map(|index| &self.allocations[index]);
        match nearest.and_then(|allocation| Some((allocation, allocation.offset_of(address, bytes)?))) {
            Some(found) => Ok(found),
            None => Err(self.range_not_found(address, bytes, nearest)),
        }
    }

    /// What is wrong with a range that is not in one allocation; `nearest` is the one that begins below it.
    #[cold]
    fn range_not_found(&self, address: u64, bytes: u64, nearest: Option<&Allocation>) -> MemoryError {
        if let Some(nearest) = nearest
            && address - nearest.base() < nearest.size()
        {
            return nearest.out_of_bounds(address, bytes);
        }
        match self.not_found(address, nearest) {
            MemoryError::OutOfBounds { buffer, size, offset, .. } => {
                MemoryError::OutOfBounds { buffer, size, offset, bytes }
            }
            other => other,
        }
    }

    /// The allocations, by address.
    pub fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.allocations.iter()
    }

    /// Copies bytes to the host, defined or not.
    ///
    /// # Errors
    /// The range is not in one allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let (allocation, offset) = self.locate_range(address, out.len() as u64)?;
        allocation.read_data(offset, out);
        Ok(())
    }

    /// Copies bytes from the host; they become defined.
    ///
    /// # Errors
    /// The range is not in one allocation.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let (allocation, offset) = self.locate_range(address, data.len() as u64)?;
        allocation.write_defined(offset, data);
        Ok(())
    }

    /// Sets bytes to a value; they become defined.
    ///
    /// # Errors
    /// The range is not in one allocation.
    pub fn fill(&self, address: u64, bytes: u64, value: u8) -> Result<(), MemoryError> {
        let (allocation, offset) = self.locate_range(address, bytes)?;
        allocation.fill(offset, bytes, value);
        Ok(())
    }

    /// Makes bytes what they are after [`Self::allocate`]: poison, and undefined.
    ///
    /// # Errors
    /// The range is not in one allocation.
    pub fn poison(&self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        let (allocation, offset) = self.locate_range(address, bytes)?;
        allocation.poison(offset, bytes);
        Ok(())
    }

    /// Whether every byte of a range is defined.
    ///
    /// # Errors
    /// The range is not in one allocation.
    pub fn is_defined(&self, address: u64, bytes: u64) -> Result<bool, MemoryError> {
        let (allocation, offset) = self.locate_range(address, bytes)?;
        Ok(allocation.is_defined(offset, bytes))
    }

    /// The bytes whose last write was of an undefined value, by address.
    #[must_use]
    pub fn undefined_writes(&self) -> Vec<UndefinedWrite> {
        let mut writes = Vec::new();
        for allocation in &self.allocations {
            allocation.undefined_writes(|offset, len, origin| {
                let (name, address) = (allocation.name().clone(), allocation.base() + offset);
                writes.push(UndefinedWrite { allocation: name, address, offset, len, origin });
            });
        }
        writes
    }

    /// Looks which allocations have become fully defined, which makes later accesses to them cheaper. To be called
    /// between launches.
    pub fn settle(&self) {
        self.allocations.iter().for_each(Allocation::settle);
    }
}

mod multicast;
mod placed;
#[cfg(test)]
mod tests;
