//! Allocations at addresses that the host chooses, as memory that is mapped by hand has.

use super::{Allocation, GlobalMemory};
use crate::memory::{MAX_DEVICES, MemoryError, Window, classify};

impl GlobalMemory {
    /// Allocates memory of a device at an address of global memory; no device sees it before
    /// [`map_for`](Self::map_for). What it holds is poison, and undefined.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`], also where another allocation is in the way, [`MemoryError::UnknownDevice`],
    /// [`MemoryError::WrongWindow`].
    pub fn allocate_at(&mut self, base: u64, device: u32, name: &str, bytes: u64) -> Result<(), MemoryError> {
        if device >= MAX_DEVICES {
            return Err(MemoryError::UnknownDevice { device });
        }
        let end = base.saturating_add(bytes);
        for address in [base, end.saturating_sub(1)] {
            if classify(address) != Window::Global {
                let found = classify(address);
                return Err(MemoryError::WrongWindow { address, expected: "global memory", found });
            }
        }
        let at = self.bases.partition_point(|other| *other < base);
        let is_free = at.checked_sub(1).is_none_or(|below| {
            let below = &self.allocations[below];
            below.base() + below.size() <= base
        }) && self.bases.get(at).is_none_or(|above| *above >= end);
        let left = self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.live_bytes));
        let available = if is_free { left } else { 0 };
        let out_of_memory = || MemoryError::OutOfMemory { buffer: name.into(), bytes, available };
        if bytes > available {
            return Err(out_of_memory());
        }
        let mut allocation =
            Allocation::zeroed(name.into(), base, bytes, device).ok_or_else(out_of_memory)?;
        allocation.concurrent = !self.exclusive;
        allocation.visible_to = 0;
        self.freed.retain(|freed_base, freed| freed_base + freed.size <= base || *freed_base >= end);
        self.bases.insert(at, base);
        self.allocations.insert(at, allocation);
        self.live_bytes += bytes;
        self.poison(base, bytes)
    }

    /// Says whether a device sees an allocation, its own device included.
    ///
    /// # Errors
    /// [`MemoryError::UnknownDevice`], [`MemoryError::NotABase`], or that the address is in no allocation.
    pub fn map_for(&mut self, address: u64, device: u32, mapped: bool) -> Result<(), MemoryError> {
        if device >= MAX_DEVICES {
            return Err(MemoryError::UnknownDevice { device });
        }
        let index = self.index_of_base(address)?;
        let visible_to = &mut self.allocations[index].visible_to;
        *visible_to = *visible_to & !(1 << device) | u32::from(mapped) << device;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{DEVICE_SHIFT, GLOBAL_BASE};

    #[test]
    fn memory_lies_where_it_was_put_and_is_seen_where_it_was_mapped() {
        let mut memory = GlobalMemory::new();
        let base = GLOBAL_BASE + (15 << DEVICE_SHIFT);
        memory.allocate_at(base, 2, "first", 4096).unwrap();
        memory.allocate_at(base + 4096, 1, "second", 4096).unwrap();
        for taken in [base - 1, base, base + 4095, base + 4096] {
            let error = memory.allocate_at(taken, 0, "third", 512).unwrap_err();
            assert!(matches!(error, MemoryError::OutOfMemory { .. }), "{taken:#x}: {error}");
        }
        assert!(memory.allocate_at(16, 0, "third", 512).is_err(), "no global memory");
        assert_eq!((memory.locate(base + 4096).unwrap().device(), memory.allocations().count()), (1, 2));
        memory.write(base, &[7; 8]).unwrap();
        assert!(memory.device(2).load(base, 8).is_err(), "not even its own device");
        memory.map_for(base, 2, true).unwrap();
        assert_eq!(memory.device(2).load(base, 1).unwrap().bits, 7);
        assert!(memory.device(0).load(base, 8).is_err());
        memory.map_for(base, 2, false).unwrap();
        assert!(memory.device(2).load(base, 8).is_err());
        memory.free(base).unwrap();
        memory.allocate_at(base, 0, "again", 4096).unwrap();
    }
}
