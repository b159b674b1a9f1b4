//! Memory pools: limits, thresholds and who may access what they give. There is nothing to save by keeping memory: a pool
//! counts what it would reserve.

use crate::boundary::{HostMemory, In, Out};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::{Handle, Table};
use crate::memory::Allocation;
use crate::virtual_memory::{AccessDescription, Location, PINNED, READ_WRITE};
use std::collections::BTreeSet;

/// `CUmemPool_attribute`
mod attribute {
    pub const FIRST_REUSE: u32 = 1;
    pub const LAST_REUSE: u32 = 3;
    pub const RELEASE_THRESHOLD: u32 = 4;
    pub const RESERVED: u32 = 5;
    pub const RESERVED_HIGH: u32 = 6;
    pub const USED: u32 = 7;
    pub const USED_HIGH: u32 = 8;
    pub const ALLOCATION_TYPE: u32 = 9;
    pub const EXPORT_HANDLE_TYPES: u32 = 10;
    pub const LOCATION_ID: u32 = 11;
    pub const LOCATION_TYPE: u32 = 12;
    pub const MAX_SIZE: u32 = 13;
    pub const HARDWARE_DECOMPRESSION: u32 = 14;
}

/// `CUmemPoolProps`
#[derive(Clone, Copy)]
#[repr(C)]
struct Properties {
    allocation_type: u32,
    handle_types: u32,
    location: Location,
    security: usize,
    max_bytes: usize,
    usage: u16,
    _reserved: [u8; 54],
}

const _: () = assert!(size_of::<Properties>() == 88, "as in cuda.h");

/// A pool.
#[derive(Debug)]
pub struct Pool {
    device: u32,
    max_bytes: u64,
    /// How memory may be reused, without effect.
    reuse: [bool; 3],
    release_threshold: u64,
    used: u64,
    used_high: u64,
    reserved: u64,
    reserved_high: u64,
    /// The other devices that may access what it gives.
    peers: BTreeSet<u32>,
    /// It goes once all that it gave has come back.
    is_destroyed: bool,
}

/// The pools of a device: its own, and the one that allocations come from.
#[derive(Debug, Clone, Copy)]
pub struct DevicePools {
    default: Handle,
    current: Handle,
}

impl DevicePools {
    /// A device's own pool, which is current at first.
    pub fn new(device: u32, pools: &mut Table<Pool>) -> Self {
        let default = pools.insert(Handle::NULL, Pool::new(device, 0));
        Self { default, current: default }
    }
}

impl Pool {
    const fn new(device: u32, max_bytes: u64) -> Self {
        Self {
            device,
            max_bytes,
            reuse: [true; 3],
            release_threshold: 0,
            used: 0,
            used_high: 0,
            reserved: 0,
            reserved_high: 0,
            peers: BTreeSet::new(),
            is_destroyed: false,
        }
    }

    fn take(&mut self, bytes: u64) {
        self.used += bytes;
        self.used_high = self.used_high.max(self.used);
        self.reserved = self.reserved.max(self.used);
        self.reserved_high = self.reserved_high.max(self.reserved);
    }

    /// Keeps no more than this beyond what is used.
    fn trim(&mut self, kept: u64) {
        self.reserved = self.used.max(self.reserved.min(kept));
    }

    fn attribute(&self, attribute: u32) -> Result<(u64, usize)> {
        Ok(match attribute {
            attribute::FIRST_REUSE..=attribute::LAST_REUSE => (self.reuse[attribute as usize - 1].into(), 4),
            attribute::RELEASE_THRESHOLD => (self.release_threshold, 8),
            attribute::RESERVED => (self.reserved, 8),
            attribute::RESERVED_HIGH => (self.reserved_high, 8),
            attribute::USED => (self.used, 8),
            attribute::USED_HIGH => (self.used_high, 8),
            attribute::ALLOCATION_TYPE => (PINNED.into(), 4),
            attribute::EXPORT_HANDLE_TYPES | attribute::HARDWARE_DECOMPRESSION => (0, 4),
            attribute::LOCATION_ID => (self.device.into(), 4),
            attribute::LOCATION_TYPE => (Location::DEVICE.into(), 4),
            attribute::MAX_SIZE => (self.max_bytes, 8),
            _ => return Err(Code::InvalidValue.into()),
        })
    }

    fn set_attribute(&mut self, attribute: u32, value: HostMemory) -> Result<()> {
        let number = |bytes| {
            value.read(bytes, |bytes| bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
        };
        match attribute {
            attribute::FIRST_REUSE..=attribute::LAST_REUSE => {
                self.reuse[attribute as usize - 1] = number(4)? != 0;
            }
            attribute::RELEASE_THRESHOLD => self.release_threshold = number(8)?,
            // High-water marks are set back alone.
            attribute::RESERVED_HIGH if number(8)? == 0 => self.reserved_high = self.reserved,
            attribute::USED_HIGH if number(8)? == 0 => self.used_high = self.used,
            _ => return Err(Code::InvalidValue.into()),
        }
        Ok(())
    }
}

impl Driver {
    /// A pool that can be used.
    fn pool(&self, pool: Handle) -> Result<&Pool> {
        let found = self.pools.get(pool).map_err(|_| Code::InvalidValue)?;
        if found.is_destroyed { Err(Code::InvalidValue.into()) } else { Ok(found) }
    }

    fn pool_mut(&mut self, pool: Handle) -> Result<&mut Pool> {
        self.pool(pool)?;
        self.pools.get_mut(pool)
    }

    fn create_pool(&mut self, properties: &Properties) -> Result<Handle> {
        if properties.allocation_type != PINNED {
            return Err(Code::NotSupported.because("pools of managed memory"));
        }
        if properties.handle_types != 0 {
            return Err(Code::NotSupported.because("pools whose memory other processes use"));
        }
        let device = self.device_at(properties.location)?;
        Ok(self.pools.insert(Handle::NULL, Pool::new(device, properties.max_bytes as u64)))
    }

    fn destroy_pool(&mut self, pool: Handle) -> Result<()> {
        if self.device_pools.iter().any(|pools| pools.default == pool) {
            return Err(Code::InvalidValue.because("a device's own pool stays"));
        }
        let found = self.pool_mut(pool)?;
        found.is_destroyed = true;
        if found.used == 0 {
            self.pools.remove(pool)?;
        }
        for pools in &mut self.device_pools {
            if pools.current == pool {
                pools.current = pools.default;
            }
        }
        Ok(())
    }

    fn allocate_from(&mut self, pool: Handle, bytes: usize) -> Result<u64> {
        let context = self.current()?.context;
        let Pool { device, max_bytes, used, .. } = *self.pool(pool)?;
        if max_bytes > 0 && used.saturating_add(bytes as u64) > max_bytes {
            return Err(Code::OutOfMemory.into());
        }
        let address = self.allocate_on(device, bytes, Allocation { context, pool: Some(pool) })?;
        let found = self.pools.get_mut(pool)?;
        found.take(bytes as u64);
        for peer in &found.peers {
            self.simulator.memory_mut().map_peer(address, *peer, true)?;
        }
        Ok(address)
    }

    /// What a pool gave has come back.
    pub fn give_back_to_pool(&mut self, pool: Handle, bytes: u64) -> Result<()> {
        let found = self.pools.get_mut(pool)?;
        found.used = found.used.saturating_sub(bytes);
        found.trim(found.release_threshold);
        if found.is_destroyed && found.used == 0 {
            self.pools.remove(pool)?;
        }
        Ok(())
    }

    /// Who may access what a pool gave, and will give.
    fn set_pool_access(&mut self, pool: Handle, descriptions: &[AccessDescription]) -> Result<()> {
        self.pool(pool)?;
        for AccessDescription { location, flags } in descriptions {
            let device = self.device_at(*location)?;
            let found = self.pool_mut(pool)?;
            let is_own = found.device == device;
            match *flags {
                READ_WRITE if is_own => continue,
                READ_WRITE => _ = found.peers.insert(device),
                0 if !is_own => _ = found.peers.remove(&device),
                // A pool's own device keeps access; libraries try without harm.
                0 => return Err(Code::InvalidDevice.into()),
                _ => return Err(Code::NotSupported.because("reading without writing")),
            }
            for address in self.memory.of_pool(pool) {
                self.simulator.memory_mut().map_peer(address, device, *flags == READ_WRITE)?;
            }
        }
        Ok(())
    }

    /// The pool of a device, its own or the current one.
    fn pool_of(&self, location: Location, allocation_type: u32, is_default: bool) -> Result<Handle> {
        if allocation_type != PINNED {
            return Err(Code::NotSupported.because("pools of managed memory"));
        }
        let pools = self.device_pools[self.device_at(location)? as usize];
        Ok(if is_default { pools.default } else { pools.current })
    }

    fn set_pool(&mut self, device: u32, pool: Handle) -> Result<()> {
        if self.pool(pool)?.device != device {
            return Err(Code::InvalidValue.because("the pool is of another device"));
        }
        self.device_pools[device as usize].current = pool;
        Ok(())
    }
}

driver_functions! {
    /// Pools of device memory without handles for other processes.
    fn cuMemPoolCreate[11020](pool: Out<Handle>, properties: In<Properties>) {
        pool.set(driver()?.create_pool(&properties.get()?)?);
        Ok(())
    }

    fn cuMemPoolDestroy[11020](pool: Handle) {
        driver()?.destroy_pool(pool)
    }

    fn cuMemPoolGetAttribute[11020](pool: Handle, attribute: u32, value: HostMemory) {
        let driver = driver()?;
        let (number, bytes) = driver.pool(pool)?.attribute(attribute)?;
        value.write(bytes, |value| value.copy_from_slice(&number.to_le_bytes()[..bytes]))
    }

    fn cuMemPoolSetAttribute[11020](pool: Handle, attribute: u32, value: HostMemory) {
        driver()?.pool_mut(pool)?.set_attribute(attribute, value)
    }

    fn cuMemPoolSetAccess[11020](pool: Handle, descriptions: In<AccessDescription>, count: usize) {
        let descriptions = descriptions.several(count)?;
        driver()?.set_pool_access(pool, &descriptions)
    }

    fn cuMemPoolGetAccess[11020](flags: Out<u32>, pool: Handle, location: In<Location>) {
        let driver = driver()?;
        let device = driver.device_at(location.get()?)?;
        let pool = driver.pool(pool)?;
        flags.set(if pool.device == device || pool.peers.contains(&device) { READ_WRITE } else { 0 });
        Ok(())
    }

    fn cuMemPoolTrimTo[11020](pool: Handle, kept: usize) {
        driver()?.pool_mut(pool)?.trim(kept as u64);
        Ok(())
    }

    fn cuDeviceGetDefaultMemPool[11020](pool: Out<Handle>, device: i32) {
        let driver = driver()?;
        pool.set(driver.device_pools[driver.device(device)? as usize].default);
        Ok(())
    }

    fn cuDeviceGetMemPool[11020](pool: Out<Handle>, device: i32) {
        let driver = driver()?;
        pool.set(driver.device_pools[driver.device(device)? as usize].current);
        Ok(())
    }

    fn cuDeviceSetMemPool[11020](device: i32, pool: Handle) {
        let mut driver = driver()?;
        let device = driver.device(device)?;
        driver.set_pool(device, pool)
    }

    fn cuMemGetDefaultMemPool[13000](pool: Out<Handle>, location: In<Location>, allocation_type: u32) {
        pool.set(driver()?.pool_of(location.get()?, allocation_type, true)?);
        Ok(())
    }

    fn cuMemGetMemPool[13000](pool: Out<Handle>, location: In<Location>, allocation_type: u32) {
        pool.set(driver()?.pool_of(location.get()?, allocation_type, false)?);
        Ok(())
    }

    fn cuMemSetMemPool[13000](location: In<Location>, allocation_type: u32, pool: Handle) {
        let mut driver = driver()?;
        let location = location.get()?;
        driver.pool_of(location, allocation_type, true)?;
        let device = driver.device_at(location)?;
        driver.set_pool(device, pool)
    }

    fn cuMemAllocAsync[11020 _ptsz](address: Out<u64>, bytes: usize, stream: Handle) {
        let mut driver = driver()?;
        driver.check_not_captured(stream)?;
        let device = driver.stream(stream)?.0.device;
        let pool = driver.device_pools[device as usize].current;
        address.set(driver.allocate_from(pool, bytes)?);
        Ok(())
    }

    fn cuMemAllocFromPoolAsync[11020 _ptsz](address: Out<u64>, bytes: usize, pool: Handle, stream: Handle) {
        let mut driver = driver()?;
        driver.check_not_captured(stream)?;
        address.set(driver.allocate_from(pool, bytes)?);
        Ok(())
    }
}
