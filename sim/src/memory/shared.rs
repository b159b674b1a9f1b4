//! The shared memory of one CTA.
//!
//! A shared address is `(rank of the CTA in its cluster << 24) | offset`, as machine code forms it; the data begins at
//! offset 1024. Next to each byte lies a flag, so that a warp's access of consecutive bytes is two slice operations.
//! Blocks of 1 KiB carry the time of their newest write, for those who keep something computed from them.

use super::lanes::{Lane, Pattern, active, lane_error, pattern};
use super::{
    DEFINED, LANES, LaneError, Loaded, MemoryError, SHARED_DATA_OFFSET, SHARED_RANK_SHIFT, all_defined,
    byte_mask, poison_word,
};

/// Binary logarithm of the bytes that share a time of writing.
const BLOCK_SHIFT: u32 = 10;
const OFFSET_MASK: u32 = (1 << SHARED_RANK_SHIFT) - 1;

/// The rank in the cluster that a shared address names.
#[inline]
#[must_use]
pub const fn shared_rank(address: u32) -> u32 {
    address >> SHARED_RANK_SHIFT
}

/// The active lanes whose address names the CTA of this rank.
#[must_use]
pub fn lanes_of_rank(addresses: &[u32; LANES], offset: u32, mask: u32, rank: u32) -> u32 {
    let lanes = addresses.iter().enumerate().fold(0, |lanes, (lane, address)| {
        lanes | u32::from(shared_rank(address.wrapping_add(offset)) == rank) << lane
    });
    lanes & mask
}

/// The shared memory of one CTA.
#[derive(Debug, Clone)]
pub struct SharedMemory {
    rank: u32,
    static_bytes: u32,
    data: Vec<u8>,
    /// Of each byte, whether it is defined.
    flags: Vec<u8>,
    /// Of each block, the time of its newest write.
    written: Vec<u64>,
    /// Counts the writes.
    clock: u64,
}

impl SharedMemory {
    /// The shared memory of the CTA with this rank in its cluster; nothing in it is defined.
    #[must_use]
    pub fn new(rank: u32, static_bytes: u32, dynamic_bytes: u32) -> Self {
        let size = (static_bytes + dynamic_bytes) as usize;
        let blocks = size.div_ceil(1 << BLOCK_SHIFT);
        let (data, flags) = (vec![0; size], vec![0; size]);
        let mut memory = Self { rank, static_bytes, data, flags, written: vec![0; blocks], clock: 0 };
        memory.reset(rank);
        memory
    }

    /// Makes everything undefined, for the next CTA of the launch. Times of writing go on.
    pub fn reset(&mut self, rank: u32) {
        self.rank = rank;
        self.flags.fill(0);
        for (index, word) in self.data.chunks_mut(8).enumerate() {
            word.copy_from_slice(&poison_word(index as u64).to_le_bytes()[..word.len()]);
        }
        self.clock += 1;
        self.written.fill(self.clock);
    }

    /// The bytes that the memory takes on the host.
    #[must_use]
    pub const fn host_bytes(&self) -> u64 {
        Self::host_bytes_of(self.data.len() as u64)
    }

    /// The bytes that so many bytes of shared memory take on the host: a flag is beside each.
    #[must_use]
    pub const fn host_bytes_of(bytes: u64) -> u64 {
        2 * bytes
    }

    /// The bytes, static and dynamic.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.data.len() as u32
    }

    /// The static bytes; dynamic shared memory follows them.
    #[must_use]
    pub const fn static_size(&self) -> u32 {
        self.static_bytes
    }

    /// The rank of the CTA in its cluster.
    #[must_use]
    pub const fn rank(&self) -> u32 {
        self.rank
    }

    /// The shared address of the first byte of data.
    #[must_use]
    pub const fn base(&self) -> u32 {
        self.rank << SHARED_RANK_SHIFT | SHARED_DATA_OFFSET
    }

    /// Where an access lies in the data.
    #[inline(always)]
    fn index(&self, address: u32, bytes: u32) -> Result<usize, MemoryError> {
        let index = address.wrapping_sub(self.base()) as usize;
        if index <= self.data.len() && bytes as usize <= self.data.len() - index {
            return Ok(index);
        }
        Err(self.outside(address, bytes))
    }

    /// Why an access does not lie in the data.
    #[cold]
    fn outside(&self, address: u32, bytes: u32) -> MemoryError {
        let (rank, own) = (shared_rank(address), self.rank);
        if rank != own {
            return MemoryError::OtherCta { address, rank, own };
        }
        let below = address & OFFSET_MASK < SHARED_DATA_OFFSET;
        MemoryError::SharedBounds { address, bytes, size: self.size(), below }
    }

    /// Where an aligned access lies in the data.
    #[inline(always)]
    fn aligned_index(&self, address: u32, bytes: u32) -> Result<usize, MemoryError> {
        let index = self.index(address, bytes)?;
        if !address.is_multiple_of(bytes) {
            return Err(MemoryError::Misaligned { address: address.into(), align: bytes });
        }
        Ok(index)
    }

    /// Where the aligned accesses of all lanes lie in the data; `None` if one of them is wrong.
    #[inline(always)]
    fn indices<const BYTES: usize>(&self, addresses: &[u32; LANES], offset: u32) -> Option<[u32; LANES]> {
        let last = self.data.len().checked_sub(BYTES)? as u32;
        let (mut indices, mut low_bits, mut outside) = ([0; LANES], 0, false);
        for (index, address) in indices.iter_mut().zip(addresses) {
            let address = address.wrapping_add(offset);
            *index = address.wrapping_sub(self.base());
            low_bits |= address;
            outside |= *index > last;
        }
        (low_bits.is_multiple_of(BYTES as u32) && !outside).then_some(indices)
    }

    /// Notes a write of at least one byte.
    #[inline(always)]
    fn touch(&mut self, index: usize, bytes: usize) {
        self.clock += 1;
        let clock = self.clock;
        if bytes > 0 {
            self.written[index >> BLOCK_SHIFT..=(index + bytes - 1) >> BLOCK_SHIFT].fill(clock);
        }
    }

    /// Loads 1, 2, 4, 8 or 16 bytes, naturally aligned.
    ///
    /// # Errors
    /// The access is not aligned, or not within the CTA's shared memory.
    pub fn load(&self, address: u32, bytes: u32) -> Result<Loaded, MemoryError> {
        check_size(bytes)?;
        let index = self.aligned_index(address, bytes)?;
        Ok(self.loaded(index, bytes as usize))
    }

    fn loaded(&self, index: usize, bytes: usize) -> Loaded {
        let mut bits = [0; 16];
        bits[..bytes].copy_from_slice(&self.data[index..index + bytes]);
        let flags = &self.flags[index..index + bytes];
        let defined =
            flags.iter().enumerate().fold(0, |mask, (byte, flag)| mask | u16::from(*flag != 0) << byte);
        Loaded { bits: u128::from_le_bytes(bits), defined }
    }

    /// Stores 1, 2, 4, 8 or 16 bytes, naturally aligned. Bit i of `defined` says whether byte i is defined.
    ///
    /// # Errors
    /// The access is not aligned, or not within the CTA's shared memory.
    pub fn store(&mut self, address: u32, bytes: u32, bits: u128, defined: u16) -> Result<(), MemoryError> {
        check_size(bytes)?;
        let index = self.aligned_index(address, bytes)?;
        let bytes = bytes as usize;
        self.data[index..index + bytes].copy_from_slice(&bits.to_le_bytes()[..bytes]);
        for (byte, flag) in self.flags[index..index + bytes].iter_mut().enumerate() {
            *flag = if defined >> byte & 1 == 0 { 0 } else { DEFINED };
        }
        self.touch(index, bytes);
        Ok(())
    }

    /// Replaces 1, 2, 4, 8 or 16 bytes by what `update` makes of them; what was there. The new bytes are defined if
    /// `defined`, which is told whether the old ones were, says so.
    ///
    /// # Errors
    /// The access is not aligned, or not within the CTA's shared memory.
    pub fn fetch_update(
        &mut self,
        address: u32,
        bytes: u32,
        update: impl FnOnce(u128) -> u128,
        defined: impl FnOnce(bool) -> bool,
    ) -> Result<Loaded, MemoryError> {
        let old = self.load(address, bytes)?;
        let now = if defined(old.is_defined(bytes)) { byte_mask(bytes) } else { 0 };
        self.store(address, bytes, update(old.bits), now)?;
        Ok(old)
    }

    /// Loads `BYTES` (1, 2, 4 or 8) for every lane of `mask`, from `addresses[lane] + offset`, zero-extended; the
    /// lanes of `mask` that loaded no undefined byte. Other lanes of `out` stay.
    ///
    /// # Errors
    /// The access of a lane, as [`Self::load`]; `out` is unspecified then.
    #[inline]
    pub fn load_lanes<const BYTES: usize, R: Lane>(
        &self,
        addresses: &[u32; LANES],
        offset: u32,
        mask: u32,
        out: &mut [R; LANES],
    ) -> Result<u32, Box<LaneError>> {
        match pattern::<BYTES, _>(addresses, offset, mask) {
            Pattern::UnitStride(first) if first % BYTES as u32 == 0 => {
                if let Ok(index) = self.index(first, (LANES * BYTES) as u32) {
                    let data = &self.data[index..index + LANES * BYTES];
                    for (out, bytes) in out.iter_mut().zip(data.chunks_exact(BYTES)) {
                        *out = R::from_bits(value_of::<BYTES>(bytes));
                    }
                    return Ok(defined_lanes::<BYTES>(&self.flags[index..index + LANES * BYTES]));
                }
            }
            Pattern::Uniform(address) => {
                let index =
                    self.aligned_index(address, BYTES as u32).map_err(|error| lane_error(0, error))?;
                out.fill(R::from_bits(value_of::<BYTES>(&self.data[index..index + BYTES])));
                return Ok(if all_defined(&self.flags[index..index + BYTES]) { u32::MAX } else { 0 });
            }
            Pattern::Scattered if mask == u32::MAX => {
                if let Some(indices) = self.indices::<BYTES>(addresses, offset) {
                    let mut flags = u64::MAX;
                    for (out, index) in out.iter_mut().zip(indices) {
                        let range = index as usize..index as usize + BYTES;
                        *out = R::from_bits(value_of::<BYTES>(&self.data[range.clone()]));
                        flags &= value_of::<BYTES>(&self.flags[range]);
                    }
                    if flags == u64::MAX >> (64 - 8 * BYTES) {
                        return Ok(u32::MAX);
                    }
                }
            }
            _ => {}
        }
        let mut defined = 0;
        for lane in active(mask) {
            let address = addresses[lane].wrapping_add(offset);
            let index = self.aligned_index(address, BYTES as u32).map_err(|error| lane_error(lane, error))?;
            out[lane] = R::from_bits(value_of::<BYTES>(&self.data[index..index + BYTES]));
            defined |= u32::from(all_defined(&self.flags[index..index + BYTES])) << lane;
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
        &mut self,
        addresses: &[u32; LANES],
        offset: u32,
        mask: u32,
        values: &[R; LANES],
        defined: u32,
    ) -> Result<(), Box<LaneError>> {
        if let Pattern::UnitStride(first) = pattern::<BYTES, _>(addresses, offset, mask)
            && first % BYTES as u32 == 0
            && let Ok(index) = self.index(first, (LANES * BYTES) as u32)
        {
            let data = &mut self.data[index..index + LANES * BYTES];
            for (value, bytes) in values.iter().zip(data.chunks_exact_mut(BYTES)) {
                bytes.copy_from_slice(&value.to_bits().to_le_bytes()[..BYTES]);
            }
            let flags = &mut self.flags[index..index + LANES * BYTES];
            if defined == u32::MAX {
                flags.fill(DEFINED);
            } else {
                for (lane, flags) in flags.chunks_exact_mut(BYTES).enumerate() {
                    flags.fill(flag_of(defined, lane));
                }
            }
            self.touch(index, LANES * BYTES);
            return Ok(());
        }
        let mut indices = [0; LANES];
        for lane in active(mask) {
            let address = addresses[lane].wrapping_add(offset);
            indices[lane] =
                self.aligned_index(address, BYTES as u32).map_err(|error| lane_error(lane, error))?;
        }
        self.clock += 1;
        for lane in active(mask) {
            let index = indices[lane];
            self.data[index..index + BYTES].copy_from_slice(&values[lane].to_bits().to_le_bytes()[..BYTES]);
            self.flags[index..index + BYTES].fill(flag_of(defined, lane));
            self.written[index >> BLOCK_SHIFT] = self.clock;
        }
        Ok(())
    }

    /// A range of the data, and the flag of each of its bytes ([`DEFINED`] or 0).
    ///
    /// # Errors
    /// The range is not within the CTA's shared memory.
    #[inline]
    pub fn range(&self, address: u32, bytes: u32) -> Result<(&[u8], &[u8]), MemoryError> {
        let index = self.index(address, bytes)?;
        let range = index..index + bytes as usize;
        Ok((&self.data[range.clone()], &self.flags[range]))
    }

    /// A range of the data and its flags, to write; it counts as written.
    ///
    /// # Errors
    /// The range is not within the CTA's shared memory.
    #[inline]
    pub fn range_mut(&mut self, address: u32, bytes: u32) -> Result<(&mut [u8], &mut [u8]), MemoryError> {
        let index = self.index(address, bytes)?;
        let range = index..index + bytes as usize;
        self.touch(index, bytes as usize);
        Ok((&mut self.data[range.clone()], &mut self.flags[range]))
    }

    /// Stores a range and the flags of its bytes.
    ///
    /// # Errors
    /// The range is not within the CTA's shared memory.
    #[inline]
    pub fn write_range(&mut self, address: u32, data: &[u8], flags: &[u8]) -> Result<(), MemoryError> {
        let (to_data, to_flags) = self.range_mut(address, data.len() as u32)?;
        to_data.copy_from_slice(data);
        to_flags.copy_from_slice(flags);
        Ok(())
    }

    /// Sets a range to one value; it becomes defined.
    ///
    /// # Errors
    /// The range is not within the CTA's shared memory.
    pub fn fill_defined(&mut self, address: u32, bytes: u32, value: u8) -> Result<(), MemoryError> {
        let (data, flags) = self.range_mut(address, bytes)?;
        data.fill(value);
        flags.fill(DEFINED);
        Ok(())
    }

    /// The time of the newest write to the blocks that a range touches, 0 for a range outside. What was computed from
    /// the range when [`Self::clock`] was at least this is still right.
    #[must_use]
    pub fn generation(&self, address: u32, bytes: u32) -> u64 {
        let first = address.wrapping_sub(self.base()) as usize;
        let blocks = first >> BLOCK_SHIFT..(first + bytes as usize).div_ceil(1 << BLOCK_SHIFT);
        self.written.iter().skip(blocks.start).take(blocks.len()).copied().max().unwrap_or(0)
    }

    /// The time: it advances with every write.
    #[must_use]
    pub const fn clock(&self) -> u64 {
        self.clock
    }
}

fn check_size(bytes: u32) -> Result<(), MemoryError> {
    if !bytes.is_power_of_two() || bytes > 16 {
        return Err(MemoryError::AccessSize { bytes });
    }
    Ok(())
}

/// `BYTES` bytes, zero-extended.
#[inline(always)]
fn value_of<const BYTES: usize>(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..BYTES].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[inline(always)]
const fn flag_of(defined: u32, lane: usize) -> u8 {
    if defined >> lane & 1 == 0 { 0 } else { DEFINED }
}

/// The lanes whose flags are all set, of 32 lanes of `BYTES` flags.
#[inline(always)]
fn defined_lanes<const BYTES: usize>(flags: &[u8]) -> u32 {
    if all_defined(flags) {
        return u32::MAX;
    }
    flags
        .chunks_exact(BYTES)
        .enumerate()
        .fold(0, |lanes, (lane, flags)| lanes | u32::from(all_defined(flags)) << lane)
}

#[cfg(test)]
mod tests;
