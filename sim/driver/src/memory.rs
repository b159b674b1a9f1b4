//! Memory of devices, page-locked memory of the host, copies and fills.

use crate::boundary::{Address, HostMemory, Out, OutOrNull};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::graph::Operation;
use crate::handles::Handle;
use rorqual_sim::DevicePointer;
use std::collections::BTreeMap;

/// What was allocated.
#[derive(Debug, Default)]
pub struct Memory {
    /// Of devices, by address.
    allocations: BTreeMap<u64, Allocation>,
    /// Page-locked memory by its address.
    pinned: BTreeMap<usize, Pinned>,
    /// Memory of the caller that was registered: bytes and flags, by its address.
    registered: BTreeMap<usize, (usize, u32)>,
}

/// An allocation of a device.
#[derive(Debug, Clone, Copy)]
pub struct Allocation {
    pub context: Handle,
    /// The pool that it came from, and goes back to.
    pub pool: Option<Handle>,
}

/// Page-locked memory.
#[derive(Debug)]
struct Pinned {
    pages: Vec<Page>,
    bytes: usize,
    flags: u32,
}

/// A page of the host.
#[derive(Debug, Clone)]
#[repr(align(4096))]
struct Page {
    _bytes: [u8; 4096],
}

/// Flags of page-locked memory: portable, mapped, write-combined; of registered memory: portable, mapped, of a device,
/// read-only.
const PINNED_FLAGS: u32 = 7;
const REGISTERED_FLAGS: u32 = 15;

impl Memory {
    /// The addresses that were allocated in a context.
    pub fn of_context(&self, context: Handle) -> Vec<u64> {
        let own = self.allocations.iter().filter(|(_, allocation)| allocation.context == context);
        own.map(|(address, _)| *address).collect()
    }

    /// The addresses that came from a pool.
    pub fn of_pool(&self, pool: Handle) -> Vec<u64> {
        let own = self.allocations.iter().filter(|(_, allocation)| allocation.pool == Some(pool));
        own.map(|(address, _)| *address).collect()
    }

    /// The allocation that begins at an address.
    pub fn allocation(&self, base: u64) -> Option<Allocation> {
        self.allocations.get(&base).copied()
    }

    /// Page-locked or registered memory around an address: where it begins, its bytes and flags.
    pub fn host_range(&self, address: usize) -> Option<(usize, usize, u32)> {
        let pinned = self.pinned.range(..=address).next_back();
        let pinned = pinned.map(|(base, pinned)| (*base, pinned.bytes, pinned.flags));
        let registered = self.registered.range(..=address).next_back();
        let registered = registered.map(|(base, (bytes, flags))| (*base, *bytes, *flags));
        [pinned, registered].into_iter().flatten().find(|(base, bytes, _)| address - base < *bytes)
    }
}

impl Driver {
    /// Allocates in the current context.
    pub fn allocate(&mut self, bytes: usize) -> Result<u64> {
        let current = self.current()?;
        let address =
            self.allocate_on(current.device, bytes, Allocation { context: current.context, pool: None })?;
        for peer in self.contexts.peer_devices(current.context).collect::<Vec<_>>() {
            self.simulator.memory_mut().map_peer(address, peer, true)?;
        }
        Ok(address)
    }

    /// Allocates on a device, whoever it is for.
    pub fn allocate_on(&mut self, device: u32, bytes: usize, allocation: Allocation) -> Result<u64> {
        if bytes == 0 {
            return Err(Code::InvalidValue.into());
        }
        let DevicePointer(address) = self.simulator.allocate_on(device, "allocation", bytes as u64)?;
        self.memory.allocations.insert(address, allocation);
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<()> {
        self.current()?;
        if address == 0 { Ok(()) } else { self.release_allocation(address) }
    }

    /// Frees memory, whatever is current.
    pub fn release_allocation(&mut self, address: u64) -> Result<()> {
        let allocation = self.memory.allocations.remove(&address).ok_or(Code::InvalidValue)?;
        let bytes = self.simulator.memory().locate(address)?.size();
        self.simulator.free(DevicePointer(address))?;
        match allocation.pool {
            Some(pool) => self.give_back_to_pool(pool, bytes),
            None => Ok(()),
        }
    }

    /// Makes the memory of a context visible to the devices of its peers, and to no other.
    pub fn map_peers(&mut self, owner: Handle) -> Result<()> {
        let peers: Vec<u32> = self.contexts.peer_devices(owner).collect();
        for address in self.memory.of_context(owner) {
            if self.memory.allocation(address).is_some_and(|allocation| allocation.pool.is_none()) {
                for device in 0..self.devices {
                    self.simulator.memory_mut().map_peer(address, device, peers.contains(&device))?;
                }
            }
        }
        Ok(())
    }

    /// The device whose memory an address is in.
    pub fn device_of(&self, address: u64) -> Result<u32> {
        Ok(self.simulator.memory().locate(address)?.device())
    }

    /// Whether an address is one of a device: addresses of the host are not told apart by their range.
    pub fn is_on_device(&self, address: u64) -> bool {
        self.simulator.memory().locate(address).is_ok()
    }

    /// A range cut into parts that lie in one allocation each: what is mapped side by side is one range to a caller.
    fn parts(&self, address: u64, bytes: usize) -> Result<Vec<(u64, usize)>> {
        let mut parts = Vec::new();
        let mut done = 0;
        while done < bytes {
            let from = address.checked_add(done as u64).ok_or(Code::InvalidValue)?;
            let allocation = self.simulator.memory().locate(from).map_err(|error| {
                Code::InvalidValue.because(format!("{bytes} bytes at {address:#x}: {error}"))
            })?;
            let part = (allocation.base() + allocation.size() - from).min((bytes - done) as u64) as usize;
            parts.push((from, part));
            done += part;
        }
        Ok(parts)
    }

    /// Copies bytes, and whether they are defined.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        let memory = self.simulator.memory();
        // Before room for the bytes is made.
        let (sources, targets) = (self.parts(from, bytes)?, self.parts(to, bytes)?);
        let (mut data, mut flags) = (vec![0; bytes], vec![0; bytes]);
        let mut at = 0;
        for (from, part) in sources {
            let device = memory.device(self.device_of(from)?);
            device.read_range(from, &mut data[at..at + part], &mut flags[at..at + part])?;
            at += part;
        }
        at = 0;
        for (to, part) in targets {
            let device = memory.device(self.device_of(to)?);
            device.write_range(to, &data[at..at + part], &flags[at..at + part], 0)?;
            at += part;
        }
        Ok(())
    }

    /// A copy between addresses that say by themselves where they are.
    pub fn unified_copy(&self, to: Address, from: Address, bytes: usize) -> Operation {
        let (is_to, is_from) = (self.is_on_device(to.value()), self.is_on_device(from.value()));
        match (is_to, is_from) {
            (true, true) => Operation::Copy { from: from.value(), to: to.value(), bytes },
            (true, false) => Operation::Upload { from: from.on_host(), to: to.value(), bytes },
            (false, true) => Operation::Download { from: from.value(), to: to.on_host(), bytes },
            (false, false) => Operation::Move { from: from.on_host(), to: to.on_host(), bytes },
        }
    }

    pub fn upload(&self, from: HostMemory, to: u64, bytes: usize) -> Result<()> {
        let parts = self.parts(to, bytes)?;
        from.read(bytes, |data| {
            let mut rest = data;
            for (to, part) in parts {
                let (first, others) = rest.split_at(part);
                self.simulator.memory().write(to, first)?;
                rest = others;
            }
            Ok(())
        })?
    }

    pub fn download(&self, from: u64, to: HostMemory, bytes: usize) -> Result<()> {
        let parts = self.parts(from, bytes)?;
        to.write(bytes, |data| {
            let mut rest = data;
            for (from, part) in parts {
                let (first, others) = rest.split_at_mut(part);
                self.simulator.memory().read(from, first)?;
                rest = others;
            }
            Ok(())
        })?
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
        let bytes = count.checked_mul(pattern.len()).ok_or(Code::InvalidValue)?;
        let is_uniform = pattern.iter().all(|byte| *byte == pattern[0]);
        let block = pattern.repeat(1 << 12);
        // Allocations begin at multiples of a pattern.
        for (address, part) in self.parts(to, bytes)? {
            if is_uniform {
                memory.fill(address, part as u64, pattern[0])?;
                continue;
            }
            for offset in (0..part).step_by(block.len()) {
                memory.write(address + offset as u64, &block[..block.len().min(part - offset)])?;
            }
        }
        Ok(())
    }

    /// Memory is not allocated, nor freed, by a graph.
    pub fn check_not_captured(&mut self, given: Handle) -> Result<()> {
        let (_, stream) = self.stream(given)?;
        match self.capturing(stream) {
            Some(_) => Err(Code::NotSupported.because("memory is not allocated or freed by a graph")),
            None => Ok(()),
        }
    }

    /// Does an operation in the null stream, for a host that waits for it.
    fn submit_and_wait(&mut self, operation: Operation) -> Result<()> {
        self.submit(Handle::NULL, operation)?;
        self.synchronize(Handle::NULL)
    }

    /// Page-locked memory, which is memory like any other here.
    fn allocate_host(&mut self, bytes: usize, flags: u32) -> Result<usize> {
        self.current()?;
        if bytes == 0 || flags & !PINNED_FLAGS != 0 {
            return Err(Code::InvalidValue.into());
        }
        let count = bytes.div_ceil(size_of::<Page>());
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| Code::OutOfMemory)?;
        pages.resize(count, Page { _bytes: [0; 4096] });
        // The caller writes through the address: its provenance is given away, and the pages are not touched again.
        let address = pages.as_mut_ptr().expose_provenance();
        self.memory.pinned.insert(address, Pinned { pages, bytes, flags });
        Ok(address)
    }

    fn register(&mut self, address: usize, bytes: usize, flags: u32) -> Result<()> {
        self.current()?;
        let end = address
            .checked_add(bytes)
            .filter(|_| address != 0 && bytes > 0 && flags & !REGISTERED_FLAGS == 0);
        let end = end.ok_or(Code::InvalidValue)?;
        let overlaps = |base: usize, bytes: usize| base < end && address < base + bytes;
        let pinned = self.memory.pinned.iter().map(|(base, pinned)| (*base, pinned.bytes));
        let registered = self.memory.registered.iter().map(|(base, (bytes, _))| (*base, *bytes));
        if pinned.chain(registered).any(|(base, bytes)| overlaps(base, bytes)) {
            return Err(Code::HostMemoryAlreadyRegistered.into());
        }
        self.memory.registered.insert(address, (bytes, flags));
        Ok(())
    }
}

driver_functions! {
    fn cuMemAlloc_v2[3020](address: Out<u64>, bytes: usize) {
        address.set(driver()?.allocate(bytes)?);
        Ok(())
    }

    fn cuMemFree_v2[3020](address: u64) {
        driver()?.free(address)
    }

    fn cuMemFreeAsync[11020 _ptsz](address: u64, stream: Handle) {
        let mut driver = driver()?;
        driver.check_not_captured(stream)?;
        driver.free(address)
    }

    fn cuMemGetInfo_v2[3020](free: Out<usize>, total: Out<usize>) {
        let driver = driver()?;
        driver.current()?;
        let budget = driver.simulator.options().memory_budget;
        let used: u64 = driver.simulator.memory().allocations().map(|allocation| allocation.size()).sum();
        free.set(budget.saturating_sub(used) as usize);
        total.set(budget as usize);
        Ok(())
    }

    fn cuMemGetAddressRange_v2[3020](base: OutOrNull<u64>, bytes: OutOrNull<usize>, address: u64) {
        let driver = driver()?;
        driver.current()?;
        let allocation = driver.simulator.memory().locate(address).map_err(|_| Code::NotFound)?;
        base.set(allocation.base());
        bytes.set(allocation.size() as usize);
        Ok(())
    }

    fn cuMemAllocHost_v2[3020](address: Out<usize>, bytes: usize) {
        address.set(driver()?.allocate_host(bytes, 0)?);
        Ok(())
    }

    /// Kernels cannot use it, whatever the flags.
    fn cuMemHostAlloc[2020](address: Out<usize>, bytes: usize, flags: u32) {
        address.set(driver()?.allocate_host(bytes, flags)?);
        Ok(())
    }

    fn cuMemFreeHost[2000](address: HostMemory) {
        let mut driver = driver()?;
        let Some(pinned) = driver.memory.pinned.remove(&address.address()) else {
            return Err(Code::InvalidValue.into());
        };
        drop(pinned.pages);
        Ok(())
    }

    fn cuMemHostGetFlags[2030](flags: Out<u32>, address: HostMemory) {
        let driver = driver()?;
        let range = driver.memory.host_range(address.address()).ok_or(Code::InvalidValue)?;
        flags.set(range.2);
        Ok(())
    }

    /// Noted alone: kernels cannot use it, whatever the flags.
    fn cuMemHostRegister_v2[6050](address: HostMemory, bytes: usize, flags: u32) {
        driver()?.register(address.address(), bytes, flags)
    }

    fn cuMemHostUnregister[4000](address: HostMemory) {
        let mut driver = driver()?;
        driver.current()?;
        let removed = driver.memory.registered.remove(&address.address());
        removed.map(drop).ok_or_else(|| Code::HostMemoryNotRegistered.into())
    }

    fn cuMemcpyHtoD_v2[3020 _ptds](to: u64, from: HostMemory, bytes: usize) {
        driver()?.submit_and_wait(Operation::Upload { from, to, bytes })
    }

    fn cuMemcpyHtoDAsync_v2[3020 _ptsz](to: u64, from: HostMemory, bytes: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Upload { from, to, bytes })
    }

    fn cuMemcpyDtoH_v2[3020 _ptds](to: HostMemory, from: u64, bytes: usize) {
        driver()?.submit_and_wait(Operation::Download { from, to, bytes })
    }

    fn cuMemcpyDtoHAsync_v2[3020 _ptsz](to: HostMemory, from: u64, bytes: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Download { from, to, bytes })
    }

    fn cuMemcpyDtoD_v2[3020 _ptds](to: u64, from: u64, bytes: usize) {
        driver()?.submit_and_wait(Operation::Copy { from, to, bytes })
    }

    fn cuMemcpyDtoDAsync_v2[3020 _ptsz](to: u64, from: u64, bytes: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Copy { from, to, bytes })
    }

    fn cuMemcpyPeer[4000 _ptds](to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize) {
        let mut driver = driver()?;
        driver.sound(to_context)?;
        driver.sound(from_context)?;
        driver.submit(Handle::NULL, Operation::Copy { from, to, bytes })
    }

    fn cuMemcpyPeerAsync[4000 _ptsz](
        to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle,
    ) {
        let mut driver = driver()?;
        driver.sound(to_context)?;
        driver.sound(from_context)?;
        driver.submit(stream, Operation::Copy { from, to, bytes })
    }

    /// An address that is in no allocation of a device is one of the host.
    fn cuMemcpy[4000 _ptds](to: Address, from: Address, bytes: usize) {
        let mut driver = driver()?;
        let operation = driver.unified_copy(to, from, bytes);
        driver.submit_and_wait(operation)
    }

    /// An address that is in no allocation of a device is one of the host.
    fn cuMemcpyAsync[4000 _ptsz](to: Address, from: Address, bytes: usize, stream: Handle) {
        let mut driver = driver()?;
        let operation = driver.unified_copy(to, from, bytes);
        driver.submit(stream, operation)
    }

    fn cuMemsetD8_v2[3020 _ptds](to: u64, value: u8, count: usize) {
        driver()?.submit(Handle::NULL, Operation::Fill { to, pattern: vec![value], count })
    }

    fn cuMemsetD8Async[3020 _ptsz](to: u64, value: u8, count: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Fill { to, pattern: vec![value], count })
    }

    fn cuMemsetD16_v2[3020 _ptds](to: u64, value: u16, count: usize) {
        driver()?.submit(Handle::NULL, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }

    fn cuMemsetD16Async[3020 _ptsz](to: u64, value: u16, count: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }

    fn cuMemsetD32_v2[3020 _ptds](to: u64, value: u32, count: usize) {
        driver()?.submit(Handle::NULL, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }

    fn cuMemsetD32Async[3020 _ptsz](to: u64, value: u32, count: usize, stream: Handle) {
        driver()?.submit(stream, Operation::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    }
}
