//! Memory that is mapped by hand: ranges of addresses, physical memory, and which devices may use what is mapped.

use crate::boundary::{HostMemory, In, Out};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::{Handle, Table};
use crate::sharing::Shared;
use rorqual_sim::memory::{DEVICE_SHIFT, GLOBAL_BASE, GLOBAL_END};
use std::collections::BTreeMap;

/// Sizes and addresses are multiples of this, in bytes.
pub const GRANULARITY: usize = 2 << 20;
/// Where addresses are reserved: the range of the last device, which is never there.
const FIRST: u64 = GLOBAL_END - (1 << DEVICE_SHIFT);
/// `CU_MEM_ALLOCATION_TYPE_PINNED`
pub const PINNED: u32 = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READ` and `.._READWRITE`; 0 is no access.
const READ: u32 = 1;
pub const READ_WRITE: u32 = 3;
/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`
pub const FILE_DESCRIPTOR: u32 = 1;

const _: () = assert!(FIRST > GLOBAL_BASE);

/// `CUmemLocation`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Location {
    kind: u32,
    id: i32,
}

impl Location {
    /// `CU_MEM_LOCATION_TYPE_DEVICE`
    pub const DEVICE: u32 = 1;
    /// The last of `CUmemLocationType`.
    const LAST: u32 = 6;
}

/// `CUmemAllocationProp`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Properties {
    allocation_type: u32,
    handle_types: u32,
    location: Location,
    security: usize,
    compression: u8,
    is_rdma_capable: u8,
    usage: u16,
    reserved: [u8; 4],
}

/// `CUmemAccessDesc`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct AccessDescription {
    pub location: Location,
    pub flags: u32,
}

const _: () = assert!(size_of::<Properties>() == 32 && size_of::<AccessDescription>() == 12, "as in cuda.h");

/// Physical memory.
#[derive(Debug)]
pub struct Physical {
    device: u32,
    bytes: usize,
    properties: Properties,
    /// How many handles there are: it was created, imported or asked for so often, less what was released.
    handles: u32,
    /// Where it is mapped.
    mapped_at: Option<u64>,
    /// What it holds while it is not mapped, and which bytes are defined.
    contents: Option<(Vec<u8>, Vec<u8>)>,
}

/// What is mapped at an address, and which devices may access it.
#[derive(Debug)]
struct Mapping {
    physical: Handle,
    bytes: usize,
    access: BTreeMap<u32, u32>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct VirtualMemory {
    /// Bytes of the reserved ranges, by address.
    reserved: BTreeMap<u64, usize>,
    pub physical: Table<Physical>,
    mappings: BTreeMap<u64, Mapping>,
}

impl VirtualMemory {
    /// Whether a range is in one that is reserved.
    fn is_reserved(&self, address: u64, bytes: usize) -> bool {
        let Some((base, size)) = self.reserved.range(..=address).next_back() else { return false };
        address.checked_add(bytes as u64).is_some_and(|end| end <= base + *size as u64)
    }

    /// Addresses of the mappings that fill a range.
    fn mapped(&self, address: u64, bytes: usize) -> Result<Vec<u64>> {
        let end = address.checked_add(bytes as u64).filter(|_| bytes > 0).ok_or(Code::InvalidValue)?;
        let mut next = address;
        let mut found = Vec::new();
        while next < end {
            let mapping = self.mappings.get(&next).ok_or_else(|| {
                Code::InvalidValue.because(format!("nothing was mapped at {next:#x}, or not from there on"))
            })?;
            found.push(next);
            next += mapping.bytes as u64;
        }
        if next == end { Ok(found) } else { Err(Code::InvalidValue.because("a part of what was mapped")) }
    }

    /// The physical memory at an address.
    pub fn physical_at(&self, address: u64) -> Option<Handle> {
        let (base, mapping) = self.mappings.range(..=address).next_back()?;
        (address - base < mapping.bytes as u64).then_some(mapping.physical)
    }

    /// A handle of what is there; one more.
    pub fn retain(&mut self, physical: Handle) -> Result<()> {
        self.physical.get_mut(physical).map_err(|_| Code::InvalidValue)?.handles += 1;
        Ok(())
    }

    /// Lets physical memory go once nothing refers to it.
    fn drop_unused(&mut self, physical: Handle) {
        self.physical.remove_one_if(physical, |found| found.handles == 0 && found.mapped_at.is_none());
    }
}

impl Driver {
    /// The device of a location, which must be one.
    pub fn device_at(&self, location: Location) -> Result<u32> {
        match location.kind {
            Location::DEVICE => self.device(location.id),
            kind if kind <= Location::LAST => {
                Err(Code::NotSupported.because("memory of the host, for devices"))
            }
            _ => Err(Code::InvalidValue.into()),
        }
    }

    fn reserve(&mut self, bytes: usize, alignment: usize, wished: u64) -> Result<u64> {
        let is_right = bytes > 0
            && bytes.is_multiple_of(GRANULARITY)
            && (alignment == 0 || alignment.is_power_of_two())
            && wished.is_multiple_of(GRANULARITY as u64);
        if !is_right {
            return Err(Code::InvalidValue.into());
        }
        let alignment = alignment.max(GRANULARITY) as u64;
        let ranges =
            || self.virtual_memory.reserved.iter().map(|(base, bytes)| (*base, base + *bytes as u64));
        let fits = |base: u64| {
            let end = base.checked_add(bytes as u64).filter(|end| base >= FIRST && *end <= GLOBAL_END);
            end.is_some_and(|end| ranges().all(|(other, other_end)| other_end <= base || end <= other))
        };
        let ends = std::iter::once(FIRST).chain(ranges().map(|(_, end)| end));
        let mut candidates = std::iter::once(wished).chain(ends.map(|end| end.next_multiple_of(alignment)));
        let base = candidates.find(|base| fits(*base)).ok_or(Code::OutOfMemory)?;
        self.virtual_memory.reserved.insert(base, bytes);
        Ok(base)
    }

    fn free_addresses(&mut self, address: u64, bytes: usize) -> Result<()> {
        let memory = &mut self.virtual_memory;
        let end = address.checked_add(bytes as u64).filter(|_| bytes > 0).ok_or(Code::InvalidValue)?;
        let (mut next, mut ranges) = (address, Vec::new());
        while let Some(size) = memory.reserved.get(&next).filter(|_| next < end) {
            ranges.push(next);
            next += *size as u64;
        }
        if next != end {
            return Err(Code::InvalidValue.because("no range that was reserved"));
        }
        if memory.mappings.range(address..end).next().is_some() {
            return Err(Code::InvalidValue.because("something is mapped there"));
        }
        ranges.iter().for_each(|base| _ = memory.reserved.remove(base));
        Ok(())
    }

    fn check_properties(&self, properties: &Properties) -> Result<u32> {
        if properties.allocation_type != PINNED {
            return Err(Code::InvalidValue.into());
        }
        if properties.handle_types & !FILE_DESCRIPTOR != 0 {
            return Err(Code::NotSupported.because("handles other than file descriptors"));
        }
        self.device_at(properties.location)
    }

    fn create_physical(&mut self, bytes: usize, properties: Properties, flags: u64) -> Result<Handle> {
        let device = self.check_properties(&properties)?;
        if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) || flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        if bytes as u64 > self.simulator.options().memory_budget {
            return Err(Code::OutOfMemory.into());
        }
        let physical = Physical { device, bytes, properties, handles: 1, mapped_at: None, contents: None };
        Ok(self.virtual_memory.physical.insert(Handle::NULL, physical))
    }

    fn release_physical(&mut self, handle: Handle) -> Result<()> {
        let physical = self.virtual_memory.physical.get_mut(handle).map_err(|_| Code::InvalidValue)?;
        physical.handles = physical.handles.checked_sub(1).ok_or(Code::InvalidValue)?;
        self.virtual_memory.drop_unused(handle);
        Ok(())
    }

    fn map(&mut self, address: u64, bytes: usize, offset: usize, handle: Handle, flags: u64) -> Result<()> {
        let memory = &mut self.virtual_memory;
        let physical = memory.physical.get_mut(handle).map_err(|_| Code::InvalidValue)?;
        if physical.handles == 0 || offset != 0 || flags != 0 || !address.is_multiple_of(GRANULARITY as u64) {
            return Err(Code::InvalidValue.into());
        }
        if bytes != physical.bytes {
            return Err(Code::InvalidValue.because("physical memory is mapped as a whole"));
        }
        if physical.mapped_at.is_some() {
            return Err(Code::NotSupported.because("physical memory at two addresses at once"));
        }
        let contents = physical.contents.take();
        physical.mapped_at = Some(address);
        let device = physical.device;
        let is_free = memory.is_reserved(address, bytes);
        let placed = match is_free {
            true => self.simulator.memory_mut().allocate_at(address, device, "mapped memory", bytes as u64),
            false => {
                return self.unmap_failed(
                    handle,
                    contents,
                    Code::InvalidValue.because("addresses not reserved"),
                );
            }
        };
        if let Err(error) = placed {
            return self.unmap_failed(handle, contents, error.into());
        }
        if let Some((data, defined)) = contents {
            self.simulator.memory_mut().map_for(address, device, true)?;
            self.simulator.memory().device(device).write_range(address, &data, &defined, 0)?;
            self.simulator.memory_mut().map_for(address, device, false)?;
        }
        let mapping = Mapping { physical: handle, bytes, access: BTreeMap::new() };
        self.virtual_memory.mappings.insert(address, mapping);
        Ok(())
    }

    /// Takes a mapping back that could not be made.
    fn unmap_failed(
        &mut self,
        handle: Handle,
        contents: Option<(Vec<u8>, Vec<u8>)>,
        error: crate::error::Error,
    ) -> Result<()> {
        let physical = self.virtual_memory.physical.get_mut(handle)?;
        (physical.mapped_at, physical.contents) = (None, contents);
        Err(error)
    }

    fn unmap(&mut self, address: u64, bytes: usize) -> Result<()> {
        for base in self.virtual_memory.mapped(address, bytes)? {
            let Some(Mapping { physical: handle, bytes, .. }) = self.virtual_memory.mappings.remove(&base)
            else {
                continue;
            };
            let physical = self.virtual_memory.physical.get_mut(handle)?;
            physical.mapped_at = None;
            if physical.handles > 0 {
                let (mut data, mut defined) = (vec![0; bytes], vec![0; bytes]);
                self.simulator.memory_mut().map_for(base, physical.device, true)?;
                self.simulator.memory().device(physical.device).read_range(base, &mut data, &mut defined)?;
                physical.contents = Some((data, defined));
            }
            self.simulator.memory_mut().free(base)?;
            self.virtual_memory.drop_unused(handle);
        }
        Ok(())
    }

    fn set_access(&mut self, address: u64, bytes: usize, descriptions: &[AccessDescription]) -> Result<()> {
        let bases = self.virtual_memory.mapped(address, bytes)?;
        for AccessDescription { location, flags } in descriptions {
            let device = self.device_at(*location)?;
            if ![0, READ, READ_WRITE].contains(flags) {
                return Err(Code::InvalidValue.into());
            }
            for base in &bases {
                let Some(mapping) = self.virtual_memory.mappings.get_mut(base) else { continue };
                let mut access = mapping.access.clone();
                access.insert(device, *flags);
                let is_read_only = access.values().any(|flags| *flags == READ);
                if is_read_only && access.values().any(|flags| *flags == READ_WRITE) {
                    return Err(
                        Code::NotSupported.because("a mapping that one device reads and another writes")
                    );
                }
                mapping.access = access;
                let memory = self.simulator.memory_mut();
                memory.map_for(*base, device, *flags != 0)?;
                memory.set_read_only(*base, is_read_only)?;
            }
        }
        Ok(())
    }
}

driver_functions! {
    /// A wish for an address is met where it lies among those that the simulator gives to mappings.
    fn cuMemAddressReserve[10020](address: Out<u64>, bytes: usize, alignment: usize, wished: u64, flags: u64) {
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        address.set(driver()?.reserve(bytes, alignment, wished)?);
        Ok(())
    }

    /// Ranges side by side may be freed as one.
    fn cuMemAddressFree[10020](address: u64, bytes: usize) {
        driver()?.free_addresses(address, bytes)
    }

    /// Memory of devices.
    fn cuMemCreate[10020](handle: Out<Handle>, bytes: usize, properties: In<Properties>, flags: u64) {
        handle.set(driver()?.create_physical(bytes, properties.get()?, flags)?);
        Ok(())
    }

    fn cuMemRelease[10020](handle: Handle) {
        driver()?.release_physical(handle)
    }

    /// As a whole, and at one address at a time. A kernel sees two mappings side by side as two buffers: no single access
    /// nor tensor copy crosses from one to the other.
    fn cuMemMap[10020](address: u64, bytes: usize, offset: usize, handle: Handle, flags: u64) {
        driver()?.map(address, bytes, offset, handle, flags)
    }

    fn cuMemUnmap[10020](address: u64, bytes: usize) {
        driver()?.unmap(address, bytes)
    }

    /// Whole mappings; not reading for one device and writing for another.
    fn cuMemSetAccess[10020](address: u64, bytes: usize, descriptions: In<AccessDescription>, count: usize) {
        let descriptions = descriptions.several(count)?;
        driver()?.set_access(address, bytes, &descriptions)
    }

    fn cuMemGetAccess[10020](flags: Out<u64>, location: In<Location>, address: u64) {
        let driver = driver()?;
        let device = driver.device_at(location.get()?)?;
        let mapping = driver.virtual_memory.mappings.range(..=address).next_back();
        let mapping = mapping.filter(|(base, mapping)| address - **base < mapping.bytes as u64);
        let (_, mapping) = mapping.ok_or(Code::InvalidValue)?;
        flags.set(mapping.access.get(&device).copied().unwrap_or(0).into());
        Ok(())
    }

    fn cuMemGetAllocationGranularity[10020](bytes: Out<usize>, properties: In<Properties>, option: u32) {
        driver()?.check_properties(&properties.get()?)?;
        if option > 1 {
            return Err(Code::InvalidValue.into());
        }
        bytes.set(GRANULARITY);
        Ok(())
    }

    fn cuMemGetAllocationPropertiesFromHandle[10020](properties: Out<Properties>, handle: Handle) {
        let driver = driver()?;
        properties.set(driver.virtual_memory.physical.get(handle).map_err(|_| Code::InvalidValue)?.properties);
        Ok(())
    }

    fn cuMemRetainAllocationHandle[11000](handle: Out<Handle>, address: u64) {
        let mut driver = driver()?;
        let physical = driver.virtual_memory.physical_at(address).ok_or(Code::InvalidValue)?;
        driver.virtual_memory.retain(physical)?;
        handle.set(physical);
        Ok(())
    }

    /// A file descriptor that this process alone can import.
    fn cuMemExportToShareableHandle[10020](to: HostMemory, handle: Handle, kind: u32, flags: u64) {
        let driver = driver()?;
        let physical = driver.virtual_memory.physical.get(handle).map_err(|_| Code::InvalidValue)?;
        if flags != 0 || kind & physical.properties.handle_types != kind {
            return Err(Code::InvalidValue.because("memory that was not created for such handles"));
        }
        let descriptor = Shared::new(handle.0 as u64, 0).into_descriptor()?;
        to.write(4, |to| to.copy_from_slice(&descriptor.to_le_bytes()))
    }

    /// Of this process alone.
    fn cuMemImportFromShareableHandle[10020](handle: Out<Handle>, from: HostMemory, kind: u32) {
        let mut driver = driver()?;
        if kind != FILE_DESCRIPTOR {
            return Err(Code::NotSupported.because("handles other than file descriptors"));
        }
        // The descriptor stands in the place of a pointer.
        let physical = Handle(Shared::from_descriptor(from.address())?.numbers()?.0 as usize);
        driver.virtual_memory.retain(physical)?;
        handle.set(physical);
        Ok(())
    }
}
