//! Global memory as the kernels of one device access it: scalars, atomics, the lanes of a warp, and ranges.

use super::lanes::{Lane, Pattern, active, lane_error, pattern};
use super::{Allocation, GlobalMemory, LANES, LaneError, Loaded, MemoryError, all_defined, byte_mask};

/// The bytes of the widest vector access of a lane.
const MAX_VECTOR: usize = 32;

/// Global memory as the kernels of one device access it.
#[derive(Debug, Clone, Copy)]
pub struct DeviceMemory<'a> {
    memory: &'a GlobalMemory,
    device: u32,
}

impl<'a> DeviceMemory<'a> {
    /// The memory as the device sees it.
    pub(super) const fn new(memory: &'a GlobalMemory, device: u32) -> Self {
        Self { memory, device }
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> u32 {
        self.device
    }

    /// The memory of all devices.
    #[must_use]
    pub const fn memory(&self) -> &'a GlobalMemory {
        self.memory
    }

    /// The allocation that an address is in, if this device may access it.
    ///
    /// # Errors
    /// Says what is at the address instead, or that it is not mapped on this device.
    #[inline]
    pub fn locate(&self, address: u64) -> Result<&'a Allocation, MemoryError> {
        let allocation = self.memory.locate(address)?;
        self.check_mapped(allocation)?;
        Ok(allocation)
    }

    #[inline(always)]
    fn check_mapped(&self, allocation: &Allocation) -> Result<(), MemoryError> {
        if allocation.visible_to >> self.device & 1 == 0 {
            let buffer = allocation.name().clone();
            return Err(MemoryError::NotMapped { buffer, owner: allocation.device(), device: self.device });
        }
        Ok(())
    }

    #[inline(always)]
    fn check_writable(allocation: &Allocation, offset: u64) -> Result<(), MemoryError> {
        if allocation.is_read_only() {
            return Err(MemoryError::ReadOnly { buffer: allocation.name().clone(), offset });
        }
        Ok(())
    }

    /// The allocation and offset of an aligned access.
    #[inline]
    fn access(&self, address: u64, bytes: u32, write: bool) -> Result<(&'a Allocation, u64), MemoryError> {
        if !bytes.is_power_of_two() || bytes > 16 {
            return Err(MemoryError::AccessSize { bytes });
        }
        let found = self.range(address, u64::from(bytes), write)?;
        if !address.is_multiple_of(bytes.into()) {
            return Err(MemoryError::Misaligned { address, align: bytes });
        }
        Ok(found)
    }

    /// The allocation and offset of a range.
    #[inline]
    fn range(&self, address: u64, bytes: u64, write: bool) -> Result<(&'a Allocation, u64), MemoryError> {
        let (allocation, offset) = self.memory.locate_range(address, bytes)?;
        self.check_mapped(allocation)?;
        if write {
            Self::check_writable(allocation, offset)?;
        }
        Ok((allocation, offset))
    }

    /// Loads 1, 2, 4, 8 or 16 bytes, naturally aligned. All 16 bytes are one access.
    ///
    /// # Errors
    /// The access is not aligned, or not in an allocation that this device may read.
    pub fn load(&self, address: u64, bytes: u32) -> Result<Loaded, MemoryError> {
        let (allocation, offset) = self.access(address, bytes, false)?;
        if bytes == 16 {
            return Ok(allocation.load_wide(offset));
        }
        let (value, undefined) = allocation.load(offset, bytes);
        Ok(Loaded { bits: value.into(), defined: byte_mask(bytes) & !undefined })
    }

    /// Stores 1, 2, 4, 8 or 16 bytes, naturally aligned. Bit i of `defined` says whether byte i is defined; `origin`
    /// (the line of the instruction) is remembered for the bytes that are not.
    ///
    /// # Errors
    /// The access is not aligned, or not in an allocation that this device may write.
    pub fn store(
        &self,
        address: u64,
        bytes: u32,
        bits: u128,
        defined: u16,
        origin: u32,
    ) -> Result<(), MemoryError> {
        let (allocation, offset) = self.access(address, bytes, true)?;
        let undefined = byte_mask(bytes) & !defined;
        if bytes == 16 {
            allocation.store_wide(offset, bits, undefined, origin);
        } else {
            allocation.store(offset, bytes, bits as u64, undefined, origin);
        }
        Ok(())
    }

    /// Replaces 1, 2, 4 or 8 bytes by what `update` makes of them, atomically (`update` may be called again when
    /// another thread was faster); what was there. The new bytes are defined if `defined`, which is told whether the
    /// old ones were, says so.
    ///
    /// # Errors
    /// The access is not aligned, or not in an allocation that this device may write.
    pub fn fetch_update(
        &self,
        address: u64,
        bytes: u32,
        origin: u32,
        update: impl FnMut(u64) -> u64,
        defined: impl Fn(bool) -> bool,
    ) -> Result<Loaded, MemoryError> {
        if bytes > 8 {
            return Err(MemoryError::AccessSize { bytes });
        }
        let (allocation, offset) = self.access(address, bytes, true)?;
        let (old, undefined) = allocation.fetch_update(offset, bytes, origin, update, defined);
        Ok(Loaded { bits: old.into(), defined: byte_mask(bytes) & !undefined })
    }

    /// [`Self::fetch_update`] of 16 bytes, atomic with regard to other accesses of 16 bytes.
    ///
    /// # Errors
    /// The access is not aligned, or not in an allocation that this device may write.
    pub fn fetch_update_wide(
        &self,
        address: u64,
        origin: u32,
        update: impl FnMut(u128) -> u128,
        defined: impl Fn(bool) -> bool,
    ) -> Result<Loaded, MemoryError> {
        let (allocation, offset) = self.access(address, 16, true)?;
        Ok(allocation.fetch_update_wide(offset, origin, update, defined))
    }

    /// Loads `BYTES` (1, 2, 4 or 8) for every lane of `mask`, from `addresses[lane] + offset`, zero-extended; the
    /// lanes of `mask` that loaded no undefined byte. Other lanes of `out` stay.
    ///
    /// # Errors
    /// The access of a lane, as [`Self::load`]; `out` is unspecified then.
    #[inline]
    pub fn load_lanes<const BYTES: usize, R: Lane>(
        &self,
        addresses: &[u64; LANES],
        offset: u64,
        mask: u32,
        out: &mut [R; LANES],
    ) -> Result<u32, Box<LaneError>> {
        match pattern::<BYTES, _>(addresses, offset, mask) {
            Pattern::UnitStride(first) if first % BYTES as u64 == 0 => {
                if let Ok((allocation, at)) = self.range(first, (LANES * BYTES) as u64, false) {
                    return Ok(allocation.load_unit_stride::<BYTES, R>(at, out));
                }
            }
            Pattern::Uniform(address) => {
                let loaded = self.load(address, BYTES as u32).map_err(|error| lane_error(0, error))?;
                out.fill(R::from_bits(loaded.low()));
                return Ok(if loaded.is_defined(BYTES as u32) { u32::MAX } else { 0 });
            }
            _ => {}
        }
        let mut last = None;
        let mut defined = 0;
        for lane in active(mask) {
            let address = addresses[lane].wrapping_add(offset);
            let (allocation, at) = self
                .lane_access(address, BYTES as u32, false, &mut last)
                .map_err(|error| lane_error(lane, error))?;
            let (value, undefined) = allocation.load(at, BYTES as u32);
            out[lane] = R::from_bits(value);
            defined |= u32::from(undefined == 0) << lane;
        }
        Ok(defined)
    }

    /// Stores the low `BYTES` (1, 2, 4 or 8) of `values` for every lane of `mask`, at `addresses[lane] + offset`, in
    /// the order of the lanes. Bit i of `defined` says whether the value of lane i is defined.
    ///
    /// # Errors
    /// The access of a lane, as [`Self::store`]; nothing is stored then.
    #[inline]
    pub fn store_lanes<const BYTES: usize, R: Lane>(
        &self,
        addresses: &[u64; LANES],
        offset: u64,
        mask: u32,
        values: &[R; LANES],
        defined: u32,
        origin: u32,
    ) -> Result<(), Box<LaneError>> {
        if let Pattern::UnitStride(first) = pattern::<BYTES, _>(addresses, offset, mask)
            && first % BYTES as u64 == 0
            && let Ok((allocation, at)) = self.range(first, (LANES * BYTES) as u64, true)
        {
            allocation.store_unit_stride::<BYTES, R>(at, values, defined, origin);
            return Ok(());
        }
        let targets = self.targets(addresses, offset, mask, BYTES as u32)?;
        for (lane, (allocation, at)) in active(mask).zip(targets.iter(mask)) {
            let undefined = if defined >> lane & 1 == 0 { byte_mask(BYTES as u32) } else { 0 };
            allocation.store(at, BYTES as u32, values[lane].to_bits(), undefined, origin);
        }
        Ok(())
    }

    /// Stores several components for every lane of `mask`, component k (the low `BYTES` of `values[k]`) at
    /// `addresses[lane] + offset + k * BYTES`; a lane's whole vector of at most 32 bytes must be naturally aligned.
    /// Bit i of `defined[k]` says whether component k of lane i is defined.
    ///
    /// # Errors
    /// The access of a lane, as [`Self::store`]; nothing is stored then.
    pub fn store_vector<const BYTES: usize, R: Lane>(
        &self,
        addresses: &[u64; LANES],
        offset: u64,
        mask: u32,
        values: &[&[R; LANES]],
        defined: &[u32],
        origin: u32,
    ) -> Result<(), Box<LaneError>> {
        let bytes = BYTES * values.len();
        if mask == 0 {
            return Ok(());
        }
        if !bytes.is_power_of_two() || bytes > MAX_VECTOR || defined.len() != values.len() {
            return Err(lane_error(0, MemoryError::AccessSize { bytes: bytes as u32 }));
        }
        let targets = self.targets(addresses, offset, mask, bytes as u32)?;
        let piece = bytes.min(8);
        for (lane, (allocation, at)) in active(mask).zip(targets.iter(mask)) {
            for (index, (values, defined)) in
                values.chunks(piece / BYTES).zip(defined.chunks(piece / BYTES)).enumerate()
            {
                let (mut word, mut undefined) = (0, 0);
                for (position, (values, defined)) in values.iter().zip(defined).enumerate() {
                    let value = values[lane].to_bits() & (u64::MAX >> (64 - 8 * BYTES));
                    word |= value << (8 * BYTES * position);
                    if defined >> lane & 1 == 0 {
                        undefined |= byte_mask(BYTES as u32) << (BYTES * position);
                    }
                }
                allocation.store(at + (index * piece) as u64, piece as u32, word, undefined, origin);
            }
        }
        Ok(())
    }

    /// Checks the access of `bytes` of every active lane; where each of them stores.
    #[inline]
    fn targets(
        &self,
        addresses: &[u64; LANES],
        offset: u64,
        mask: u32,
        bytes: u32,
    ) -> Result<Targets<'a>, Box<LaneError>> {
        let mut targets = Targets { allocations: [None; LANES], offsets: [0; LANES] };
        let mut last = None;
        for lane in active(mask) {
            let address = addresses[lane].wrapping_add(offset);
            let (allocation, at) =
                self.lane_access(address, bytes, true, &mut last).map_err(|error| lane_error(lane, error))?;
            targets.allocations[lane] = Some(allocation);
            targets.offsets[lane] = at;
        }
        Ok(targets)
    }

    /// The allocation and offset of one lane's access, looked for first in the allocation of the lane before.
    #[inline(always)]
    fn lane_access(
        &self,
        address: u64,
        bytes: u32,
        write: bool,
        last: &mut Option<&'a Allocation>,
    ) -> Result<(&'a Allocation, u64), MemoryError> {
        let known =
            last.and_then(|allocation| Some((allocation, allocation.offset_of(address, bytes.into())?)));
        let (allocation, at) = match known {
            Some(found) => found,
            None => self.range(address, bytes.into(), write)?,
        };
        *last = Some(allocation);
        if address & u64::from(bytes - 1) != 0 {
            return Err(MemoryError::Misaligned { address, align: bytes });
        }
        Ok((allocation, at))
    }

    /// Copies a range out; `flags` says of each byte whether it is defined ([`DEFINED`](super::DEFINED) or 0). Whether all are.
    ///
    /// # Errors
    /// The range is not in one allocation that this device may read.
    pub fn read_range(&self, address: u64, data: &mut [u8], flags: &mut [u8]) -> Result<bool, MemoryError> {
        debug_assert_eq!(data.len(), flags.len());
        let (allocation, offset) = self.range(address, data.len() as u64, false)?;
        Ok(allocation.read(offset, data, flags))
    }

    /// Stores a range; `flags` says of each byte whether it is defined (0: it is not).
    ///
    /// # Errors
    /// The range is not in one allocation that this device may write.
    pub fn write_range(
        &self,
        address: u64,
        data: &[u8],
        flags: &[u8],
        origin: u32,
    ) -> Result<(), MemoryError> {
        debug_assert_eq!(data.len(), flags.len());
        let (allocation, offset) = self.range(address, data.len() as u64, true)?;
        if all_defined(flags) {
            allocation.write_defined(offset, data);
        } else {
            allocation.write(offset, data, flags, origin);
        }
        Ok(())
    }

    /// Replaces every element of a range atomically by what `combine` makes of it and of the element of `operands`,
    /// both zero-extended. An element becomes undefined if it or its operand is.
    ///
    /// # Errors
    /// The range is not in one allocation that this device may write, or begins at no multiple of an element.
    pub fn update_range(
        &self,
        address: u64,
        element_bytes: u32,
        operands: &[u8],
        operand_flags: &[u8],
        origin: u32,
        combine: impl Fn(u64, u64) -> u64,
    ) -> Result<(), MemoryError> {
        debug_assert_eq!(operands.len(), operand_flags.len());
        let (allocation, offset) = self.range(address, operands.len() as u64, true)?;
        if !address.is_multiple_of(element_bytes.into()) {
            return Err(MemoryError::Misaligned { address, align: element_bytes });
        }
        let width = element_bytes as usize;
        for (index, (operand, flags)) in
            operands.chunks_exact(width).zip(operand_flags.chunks_exact(width)).enumerate()
        {
            let operand = operand.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            let defined = all_defined(flags);
            let at = offset + (index * width) as u64;
            allocation.fetch_update(
                at,
                element_bytes,
                origin,
                |old| combine(old, operand),
                |old| old && defined,
            );
        }
        Ok(())
    }
}

/// Where the lanes of a warp store.
struct Targets<'a> {
    allocations: [Option<&'a Allocation>; LANES],
    offsets: [u64; LANES],
}

impl<'a> Targets<'a> {
    /// Allocation and offset of the lanes of the mask that was checked, ascending.
    fn iter(&self, mask: u32) -> impl Iterator<Item = (&'a Allocation, u64)> {
        active(mask).filter_map(|lane| Some((self.allocations[lane]?, self.offsets[lane])))
    }
}
