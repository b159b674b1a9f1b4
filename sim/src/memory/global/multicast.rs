//! Multicast objects: one range of addresses that stands for memory of several devices, for `multimem` instructions.

use super::{GlobalMemory, NEAR};
use crate::memory::{DeviceMemory, MAX_DEVICES, MULTICAST_BASE, MULTICAST_END, MemoryError};
use std::sync::Arc;

/// Objects begin at multiples of this, and this many bytes at least lie between two of them.
const GRANULE: u64 = 512;
/// What an object stands for begins at a multiple of this: the widest access of a lane, and the unit of bulk copies.
const ALIGN: u64 = 16;

/// A multicast object.
#[derive(Debug)]
pub struct Multicast {
    name: Arc<str>,
    base: u64,
    size: u64,
    /// Each device that takes part, and where its replica begins; ascending by device.
    replicas: Vec<(u32, u64)>,
}

/// Where a range of a multicast object leads.
#[derive(Debug, Clone, Copy)]
pub struct Replicas<'a> {
    object: &'a Multicast,
    offset: u64,
}

impl Replicas<'_> {
    /// Each device that takes part, ascending, and the address of the range in its replica.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.object.replicas.iter().map(|(device, base)| (*device, base + self.offset))
    }
}

impl GlobalMemory {
    /// Makes a multicast object of ranges that begin at these addresses, each in an allocation of another device; its
    /// address. The devices of the ranges may use it.
    ///
    /// # Errors
    /// [`MemoryError::Multicast`] if there is no range or several are of one device, [`MemoryError::Misaligned`],
    /// [`MemoryError::OutOfMemory`], or that a range is not in one allocation.
    pub fn create_multicast(&mut self, name: &str, bytes: u64, replicas: &[u64]) -> Result<u64, MemoryError> {
        let wrong = |rule: String| MemoryError::Multicast { object: name.into(), rule };
        let mut devices = Vec::new();
        for &address in replicas {
            let (allocation, _) = self.locate_range(address, bytes)?;
            if !address.is_multiple_of(ALIGN) {
                return Err(MemoryError::Misaligned { address, align: ALIGN as u32 });
            }
            let device = allocation.device();
            if devices.iter().any(|(other, _)| *other == device) {
                return Err(wrong(format!(
                    "`{}` is a second replica on device {device}, expected one a device",
                    allocation.name()
                )));
            }
            devices.push((device, address));
        }
        if devices.is_empty() {
            return Err(wrong(format!("no replicas, expected 1 to {MAX_DEVICES}")));
        }
        devices.sort_unstable();
        let base = self
            .multicasts
            .last()
            .map_or(MULTICAST_BASE, |last| (last.base + last.size + GRANULE).next_multiple_of(GRANULE));
        if bytes > MULTICAST_END - base {
            let available = MULTICAST_END - base;
            return Err(MemoryError::OutOfMemory { buffer: name.into(), bytes, available });
        }
        self.multicasts.push(Multicast { name: name.into(), base, size: bytes, replicas: devices });
        Ok(base)
    }

    /// Removes a multicast object; its replicas stay.
    ///
    /// # Errors
    /// [`MemoryError::NotMulticast`] if none begins at the address.
    pub fn free_multicast(&mut self, address: u64) -> Result<(), MemoryError> {
        let at = self.multicasts.iter().position(|object| object.base == address);
        self.multicasts.remove(at.ok_or(MemoryError::NotMulticast { address })?);
        Ok(())
    }
}

impl<'a> DeviceMemory<'a> {
    /// Where a range of a multicast object leads, if this device takes part in it.
    ///
    /// # Errors
    /// [`MemoryError::NotMulticast`], [`MemoryError::OutOfBounds`], or [`MemoryError::Multicast`] on another device.
    pub fn replicas(&self, address: u64, bytes: u64) -> Result<Replicas<'a>, MemoryError> {
        let objects = &self.memory().multicasts;
        let below = objects.partition_point(|object| object.base <= address).checked_sub(1);
        let object = below.map(|index| &objects[index]);
        let object = object.filter(|object| address - object.base < object.size + NEAR);
        let object = object.ok_or(MemoryError::NotMulticast { address })?;
        let offset = address - object.base;
        if bytes > object.size.saturating_sub(offset) {
            let buffer = object.name.clone();
            return Err(MemoryError::OutOfBounds { buffer, size: object.size, offset, bytes });
        }
        if object.replicas.iter().all(|(device, _)| *device != self.device()) {
            let rule = format!("device {} has no replica", self.device());
            return Err(MemoryError::Multicast { object: object.name.clone(), rule });
        }
        Ok(Replicas { object, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_leads_to_every_replica() {
        let mut memory = GlobalMemory::new();
        let [first, second] = [0, 2].map(|device| memory.allocate(device, "replica", 1024).unwrap());
        let object = memory.create_multicast("object", 512, &[second + 256, first]).unwrap();
        let other = memory.create_multicast("other", 16, &[first]).unwrap();
        assert!(other >= object + 1024 && other.is_multiple_of(GRANULE));
        let replicas = |device, address, bytes| {
            memory.device(device).replicas(address, bytes).map(|replicas| replicas.iter().collect::<Vec<_>>())
        };
        assert_eq!(replicas(2, object + 16, 496).unwrap(), [(0, first + 16), (2, second + 272)]);
        assert_eq!(replicas(0, other, 16).unwrap(), [(0, first)]);
        let message = |result: Result<_, MemoryError>| result.unwrap_err().to_string();
        assert_eq!(
            message(replicas(0, object + 500, 16)),
            "access at offset 500 of 16 bytes is beyond the end of buffer `object` of 512 bytes"
        );
        assert_eq!(message(replicas(1, object, 4)), "multicast object `object`: device 1 has no replica");
        assert!(message(replicas(0, first, 4)).contains("is in no multicast object"));
        assert!(message(memory.device(0).load(object, 4).map(|_| Vec::new())).contains("a multicast object"));
        memory.free_multicast(object).unwrap();
        assert!(memory.device(0).replicas(object, 4).is_err());
        assert!(memory.free_multicast(object).is_err());
    }

    #[test]
    fn what_an_object_must_be_made_of() {
        let mut memory = GlobalMemory::new();
        let [first, second] = ["a", "b"].map(|name| memory.allocate(1, name, 1024).unwrap());
        let mut message =
            |bytes, replicas: &[u64]| memory.create_multicast("m", bytes, replicas).unwrap_err().to_string();
        assert_eq!(
            message(512, &[first, second]),
            "multicast object `m`: `b` is a second replica on device 1, expected one a device"
        );
        assert_eq!(message(512, &[]), "multicast object `m`: no replicas, expected 1 to 16");
        assert!(message(2048, &[first]).contains("beyond the end of buffer `a`"));
        assert!(message(512, &[first + 8]).contains("no multiple of 16"));
    }
}
