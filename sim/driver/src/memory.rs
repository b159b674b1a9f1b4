//! Memory of devices, page-locked memory of the host, copies and fills.

use crate::boundary::{HostMemory, Out, OutOrNull};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::graph::Operation;
use crate::handles::Handle;
use rorqual_sim::DevicePointer;
use rorqual_sim::memory::{DEVICE_SHIFT, GLOBAL_BASE};
use std::collections::BTreeMap;

/// What was allocated.
#[derive(Debug, Default)]
pub struct Memory {
    /// The context of each allocation of a device.
    allocations: BTreeMap<u64, Handle>,
    /// Page-locked memory by its address.
    pinned: BTreeMap<usize, Vec<Page>>,
}

/// A page of the host.
#[derive(Debug, Clone)]
#[repr(align(4096))]
struct Page {
    _bytes: [u8; 4096],
}

impl Memory {
    /// Takes out the allocations of a context.
    pub fn remove_all(&mut self, context: Handle) -> impl Iterator<Item = DevicePointer> {
        self.allocations
            .extract_if(.., move |_, owner| *owner == context)
            .map(|(address, _)| DevicePointer(address))
    }
}

/// The device that an address belongs to.
const fn device_of(address: u64) -> u32 {
    (address.saturating_sub(GLOBAL_BASE) >> DEVICE_SHIFT) as u32
}

impl Driver {
    fn allocate(&mut self, bytes: usize) -> Result<u64> {
        let current = self.current()?;
        if bytes == 0 {
            return Err(Code::InvalidValue.into());
        }
        let DevicePointer(address) =
            self.simulator.allocate_on(current.device, "allocation", bytes as u64)?;
        self.memory.allocations.insert(address, current.context);
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<()> {
        self.current()?;
        if address == 0 {
            return Ok(());
        }
        self.memory.allocations.remove(&address).ok_or(Code::InvalidValue)?;
        Ok(self.simulator.free(DevicePointer(address))?)
    }

    /// Copies bytes, and whether they are defined.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        let memory = self.simulator.memory();
        if bytes == 0 {
            return Ok(());
        }
        // Before room for the bytes is made.
        let source = memory.locate(from)?;
        if source.base() + source.size() - from < bytes as u64 {
            let message = format!("{bytes} bytes at {from:#x} go beyond the end of their allocation");
            return Err(Code::InvalidValue.because(message));
        }
        let (mut data, mut flags) = (vec![0; bytes], vec![0; bytes]);
        memory.device(device_of(from)).read_range(from, &mut data, &mut flags)?;
        Ok(memory.device(device_of(to)).write_range(to, &data, &flags, 0)?)
    }

    pub fn upload(&self, from: HostMemory, to: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        Ok(from.read(bytes, |data| self.simulator.memory().write(to, data))??)
    }

    pub fn download(&self, from: u64, to: HostMemory, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        Ok(to.write(bytes, |data| self.simulator.memory().read(from, data))??)
    }

    /// Fills with a pattern of 1, 2 or 4 bytes, so many times.
    pub fn fill(&self, to: u64, pattern: &[u8], count: usize) -> Result<()> {
        let memory = self.simulator.memory();
        if count == 0 {
            return Ok(());
        }
        if !to.is_multiple_of(pattern.len() as u64) {
            return Err(Code::InvalidValue.because(format!("{to:#x} is no multiple of {}", pattern.len())));
        }
        let bytes = count.checked_mul(pattern.len()).ok_or(Code::InvalidValue)? as u64;
        // The whole range at once says whether it is there.
        memory.fill(to, bytes, pattern[0])?;
        if pattern.iter().all(|byte| *byte == pattern[0]) {
            return Ok(());
        }
        let block = pattern.repeat(1 << 12);
        let mut offset = 0;
        while offset < bytes {
            let part = (bytes - offset).min(block.len() as u64);
            memory.write(to + offset, &block[..part as usize])?;
            offset += part;
        }
        Ok(())
    }

    /// Memory is not allocated, nor freed, by a graph.
    fn check_not_captured(&self, stream: Handle) -> Result<()> {
        match self.capture_of(stream)? {
            Some(_) => Err(Code::CaptureUnsupported.because("memory is not allocated or freed by a graph")),
            None => Ok(()),
        }
    }

    /// Page-locked memory, which is memory like any other here.
    fn allocate_host(&mut self, bytes: usize) -> Result<usize> {
        self.current()?;
        if bytes == 0 {
            return Err(Code::InvalidValue.into());
        }
        let count = bytes.div_ceil(size_of::<Page>());
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| Code::OutOfMemory)?;
        pages.resize(count, Page { _bytes: [0; 4096] });
        // The caller writes through the address: its provenance is given away, and the pages are not touched again.
        let address = pages.as_mut_ptr().expose_provenance();
        self.memory.pinned.insert(address, pages);
        Ok(address)
    }
}

driver_functions! {
    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) {
        address.set(driver()?.allocate(bytes)?);
        Ok(())
    }

    fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) {
        let mut driver = driver()?;
        driver.check_not_captured(stream)?;
        address.set(driver.allocate(bytes)?);
        Ok(())
    }

    fn cuMemFree_v2(address: u64) {
        driver()?.free(address)
    }

    fn cuMemFreeAsync(address: u64, stream: Handle) {
        let mut driver = driver()?;
        driver.check_not_captured(stream)?;
        driver.free(address)
    }

    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let driver = driver()?;
        driver.current()?;
        let budget = driver.simulator.options().memory_budget;
        let used: u64 = driver.simulator.memory().allocations().map(|allocation| allocation.size()).sum();
        free.set(budget.saturating_sub(used) as usize);
        total.set(budget as usize);
        Ok(())
    }

    fn cuMemGetAddressRange_v2(base: OutOrNull<u64>, bytes: OutOrNull<usize>, address: u64) {
        let driver = driver()?;
        driver.current()?;
        let allocation = driver.simulator.memory().locate(address).map_err(|_| Code::NotFound)?;
        base.set(allocation.base());
        bytes.set(allocation.size() as usize);
        Ok(())
    }

    fn cuMemAllocHost_v2(address: Out<usize>, bytes: usize) {
        address.set(driver()?.allocate_host(bytes)?);
        Ok(())
    }

    /// Kernels cannot use it, whatever the flags.
    fn cuMemHostAlloc(address: Out<usize>, bytes: usize, _flags: u32) {
        address.set(driver()?.allocate_host(bytes)?);
        Ok(())
    }

    fn cuMemFreeHost(address: HostMemory) {
        let mut driver = driver()?;
        let pages = driver.memory.pinned.remove(&address.address());
        pages.map(drop).ok_or_else(|| Code::InvalidValue.into())
    }

    fn cuMemcpyHtoD_v2(to: u64, from: HostMemory, bytes: usize) {
        driver()?.submit(Handle::NULL, Operation::Upload { from, to, bytes })
    }

    fn cuMemcpyHtoDAsync_v2(to: u64, from: HostMemory, bytes: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Upload { from, to, bytes })
    }

    fn cuMemcpyDtoH_v2(to: HostMemory, from: u64, bytes: usize) {
        driver()?.submit(Handle::NULL, Operation::Download { from, to, bytes })
    }

    fn cuMemcpyDtoHAsync_v2(to: HostMemory, from: u64, bytes: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Download { from, to, bytes })
    }

    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        driver()?.submit(Handle::NULL, Operation::Copy { from, to, bytes })
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Copy { from, to, bytes })
    }

    fn cuMemcpyPeerAsync(
        to: u64, _to_context: Handle, from: u64, _from_context: Handle, bytes: usize, stream: Handle,
    ) {
        driver()?.submit(stream, Operation::Copy { from, to, bytes })
    }

    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        driver()?.submit(Handle::NULL, Operation::Fill { to, pattern: vec![value], count })
    }

    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Fill { to, pattern: vec![value], count })
    }

    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        driver()?.submit(Handle::NULL, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }

    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }

    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        driver()?.submit(Handle::NULL, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }

    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }
}
