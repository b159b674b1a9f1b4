//! What an address is: attributes of pointers.

use crate::boundary::{Arguments, HostMemory, In};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;

/// `CUpointer_attribute`
mod attribute {
    pub const CONTEXT: u32 = 1;
    pub const MEMORY_TYPE: u32 = 2;
    pub const DEVICE_POINTER: u32 = 3;
    pub const HOST_POINTER: u32 = 4;
    pub const SYNC_MEMOPS: u32 = 6;
    pub const BUFFER_ID: u32 = 7;
    pub const IS_MANAGED: u32 = 8;
    pub const DEVICE_ORDINAL: u32 = 9;
    pub const IS_IPC_CAPABLE: u32 = 10;
    pub const RANGE_START: u32 = 11;
    pub const RANGE_SIZE: u32 = 12;
    pub const MAPPED: u32 = 13;
    pub const ALLOWED_HANDLE_TYPES: u32 = 14;
    pub const IS_RDMA_CAPABLE: u32 = 15;
    pub const ACCESS_FLAGS: u32 = 16;
    pub const POOL: u32 = 17;
    pub const MAPPING_SIZE: u32 = 18;
    pub const MAPPING_BASE: u32 = 19;
    pub const MEMORY_BLOCK_ID: u32 = 20;
    pub const IS_DECOMPRESSION_CAPABLE: u32 = 21;
}

/// `CU_MEMORYTYPE_HOST` and `CU_MEMORYTYPE_DEVICE`
const HOST: u64 = 1;
const DEVICE: u64 = 2;

/// Bytes of an attribute's value; `None` of one that there is not.
const fn bytes_of(attribute: u32) -> Option<usize> {
    use attribute::{
        ACCESS_FLAGS, ALLOWED_HANDLE_TYPES, BUFFER_ID, CONTEXT, DEVICE_ORDINAL, DEVICE_POINTER, HOST_POINTER,
        IS_DECOMPRESSION_CAPABLE, IS_IPC_CAPABLE, IS_MANAGED, IS_RDMA_CAPABLE, MAPPED, MAPPING_BASE,
        MAPPING_SIZE, MEMORY_BLOCK_ID, MEMORY_TYPE, POOL, RANGE_SIZE, RANGE_START, SYNC_MEMOPS,
    };
    match attribute {
        SYNC_MEMOPS | IS_MANAGED | IS_IPC_CAPABLE | MAPPED | IS_RDMA_CAPABLE | IS_DECOMPRESSION_CAPABLE => {
            Some(1)
        }
        MEMORY_TYPE | DEVICE_ORDINAL | ACCESS_FLAGS => Some(4),
        CONTEXT | DEVICE_POINTER | HOST_POINTER | BUFFER_ID | RANGE_START | RANGE_SIZE
        | ALLOWED_HANDLE_TYPES | POOL | MAPPING_SIZE | MAPPING_BASE | MEMORY_BLOCK_ID => Some(8),
        _ => None,
    }
}

impl Driver {
    /// An attribute of an address; `None` where the address has none of the kind.
    fn pointer_attribute(&self, attribute: u32, address: u64) -> Option<u64> {
        let Ok(found) = self.simulator.memory().locate(address) else {
            let (base, bytes, _) = self.memory.host_range(address as usize)?;
            return match attribute {
                attribute::MEMORY_TYPE => Some(HOST),
                attribute::HOST_POINTER => Some(address),
                attribute::RANGE_START | attribute::MAPPING_BASE | attribute::BUFFER_ID => Some(base as u64),
                attribute::RANGE_SIZE | attribute::MAPPING_SIZE => Some(bytes as u64),
                attribute::DEVICE_ORDINAL => Some(0),
                attribute::MAPPED => Some(1),
                // Kernels cannot use memory of the host.
                attribute::DEVICE_POINTER | attribute::CONTEXT | attribute::POOL => None,
                _ => Some(0),
            };
        };
        let allocation = self.memory.allocation(found.base());
        let is_mapped_by_hand = self.virtual_memory.physical_at(address).is_some();
        Some(match attribute {
            attribute::CONTEXT => allocation?.context.0 as u64,
            attribute::MEMORY_TYPE => DEVICE,
            attribute::DEVICE_POINTER => address,
            attribute::HOST_POINTER => return None,
            attribute::DEVICE_ORDINAL => found.device().into(),
            attribute::RANGE_START | attribute::MAPPING_BASE | attribute::BUFFER_ID => found.base(),
            attribute::RANGE_SIZE | attribute::MAPPING_SIZE => found.size(),
            attribute::MEMORY_BLOCK_ID => found.base(),
            attribute::IS_IPC_CAPABLE => {
                allocation.is_some_and(|allocation| allocation.pool.is_none()).into()
            }
            attribute::MAPPED => 1,
            attribute::ALLOWED_HANDLE_TYPES => is_mapped_by_hand.into(),
            attribute::ACCESS_FLAGS => 3,
            attribute::POOL => allocation?.pool?.0 as u64,
            _ => 0,
        })
    }

    fn write_attribute(value: HostMemory, bytes: usize, number: u64) -> Result<()> {
        value.write(bytes, |value| value.copy_from_slice(&number.to_le_bytes()[..bytes]))
    }
}

driver_functions! {
    /// Of memory of the host, only what was allocated or registered here is known.
    fn cuPointerGetAttribute[4000](value: HostMemory, attribute: u32, address: u64) {
        let driver = driver()?;
        let bytes = bytes_of(attribute).ok_or(Code::InvalidValue)?;
        let number = driver.pointer_attribute(attribute, address).ok_or(Code::InvalidValue)?;
        Driver::write_attribute(value, bytes, number)
    }

    /// As of one attribute.
    fn cuPointerGetAttributes[7000](count: u32, attributes: In<u32>, values: Arguments, address: u64) {
        // The ordinal of no device.
        const NO_DEVICE: u64 = u32::MAX as u64 - 1;
        let driver = driver()?;
        if count == 0 {
            return Err(Code::InvalidValue.into());
        }
        for (index, attribute) in attributes.several(count as usize)?.into_iter().enumerate() {
            let bytes = bytes_of(attribute).ok_or(Code::InvalidValue)?;
            let otherwise = if attribute == attribute::DEVICE_ORDINAL { NO_DEVICE } else { Handle::NULL.0 as u64 };
            let number = driver.pointer_attribute(attribute, address).unwrap_or(otherwise);
            Driver::write_attribute(values.at(index)?, bytes, number)?;
        }
        Ok(())
    }

    /// Synchronous operations are so anyway; nothing else can be set.
    fn cuPointerSetAttribute[6000](value: HostMemory, attribute: u32, address: u64) {
        let driver = driver()?;
        if attribute != attribute::SYNC_MEMOPS || value.address() == 0 || !driver.is_on_device(address) {
            return Err(Code::InvalidValue.into());
        }
        Ok(())
    }
}
