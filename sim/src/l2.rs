//! A model of the L2 cache: what reads of global memory fetch from the device's memory. Off unless a launch asks for it
//! (`l2_bytes` of [`Options`](crate::Options)).
//!
//! The cache holds lines of [`LINE_BYTES`], filled by sectors of [`SECTOR_BYTES`], and gives up the line that was used
//! longest ago. A read fetches the sectors that are not there, and bytes are counted by whole sectors; atomics and
//! reductions read what they change. A write makes room for its line and fetches nothing. Each launch starts with an empty
//! cache; each device has one, for its own memory.
//!
//! Accesses come in the order in which they are issued, copies too; a multicast is one read. Clusters run as the
//! multiprocessors hold them, all together on one thread of the host: schedule and seed decide how evenly they go on, and
//! the same seed counts the same bytes.
//!
//! What a chip has besides: sets of few lines, two halves that may hold the same line, hints of eviction, an L1 cache in
//! front of loads. The model has none of these, prefetches do nothing, and constants and parameters of kernels do not
//! pass through it.

use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Bytes of the L2 cache of an H100 (NVIDIA H100 whitepaper: 50 MB).
pub const H100_BYTES: u64 = 50 << 20;
/// Bytes of a line.
pub const LINE_BYTES: u64 = 128;
/// Bytes of a sector.
pub const SECTOR_BYTES: u64 = 32;

/// A line in the cache.
#[derive(Debug, Default)]
struct Line {
    /// When it was used last.
    used: u64,
    /// A bit for each sector that is there.
    sectors: u8,
}

/// The L2 cache of a device.
///
/// ```
/// use rorqual_sim::l2::L2;
///
/// let mut cache = L2::new(256);
/// assert_eq!(cache.read(0, 4), 32, "a sector");
/// assert_eq!(cache.read(0, 128), 96, "the rest of its line");
/// assert_eq!(cache.read(0, 128), 0);
/// ```
#[derive(Debug)]
pub struct L2 {
    /// Lines that it holds at most.
    capacity: usize,
    /// By their addresses, in lines.
    lines: FxHashMap<u64, Line>,
    /// The same by when they were used last.
    order: BTreeMap<u64, u64>,
    /// Grows with every use of a line other than the last one. A line that is new was used at 0.
    time: u64,
}

impl L2 {
    /// An empty cache of so many bytes, at least a line.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let capacity = usize::try_from(bytes / LINE_BYTES).unwrap_or(usize::MAX).max(1);
        Self { capacity, lines: FxHashMap::default(), order: BTreeMap::new(), time: 1 }
    }

    /// Reads a range; the bytes that it fetches.
    pub fn read(&mut self, address: u64, bytes: u64) -> u64 {
        self.take_in(address, bytes)
    }

    /// Writes a range.
    pub fn write(&mut self, address: u64, bytes: u64) {
        self.take_in(address, bytes);
    }

    /// Makes the sectors of a range be there; the bytes of those that were not.
    fn take_in(&mut self, address: u64, bytes: u64) -> u64 {
        let end = address.saturating_add(bytes);
        let (mut start, mut absent) = (address, 0);
        while start < end {
            let number = start / LINE_BYTES;
            let next = (number + 1).saturating_mul(LINE_BYTES).min(end);
            let [first, last] = [start, next - 1].map(|at| at % LINE_BYTES / SECTOR_BYTES);
            let sectors = (first..=last).fold(0, |set, sector| set | 1 << sector);
            absent += SECTOR_BYTES * u64::from(self.use_line(number, sectors));
            start = next;
        }
        absent
    }

    /// Uses sectors of a line; how many were not there.
    fn use_line(&mut self, number: u64, sectors: u8) -> u32 {
        let line = self.lines.entry(number).or_default();
        let absent = (sectors & !line.sectors).count_ones();
        line.sectors |= sectors;
        if line.used != self.time {
            self.time += 1;
            self.order.remove(&std::mem::replace(&mut line.used, self.time));
            self.order.insert(self.time, number);
        }
        if self.lines.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.lines.remove(&oldest);
        }
        absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: u64 = LINE_BYTES;

    /// A cache of so many lines.
    fn cache(lines: u64) -> L2 {
        L2::new(lines * LINE)
    }

    #[test]
    fn reads_fetch_whole_sectors_once() {
        let mut cache = cache(8);
        assert_eq!(cache.read(30, 4), 64, "two sectors");
        assert_eq!(cache.read(0, 64), 0);
        assert_eq!(cache.read(0, 128), 64, "the others of the line");
        assert_eq!(cache.read(120, 300), 32 * 10, "bytes 128 to 419, of lines 1 to 3");
        assert_eq!(cache.read(420, 0), 0);
    }

    #[test]
    fn the_line_used_longest_ago_goes() {
        let mut cache = cache(2);
        let mut fetched =
            |lines: &[u64]| lines.iter().map(|line| cache.read(line * LINE, LINE) / LINE).collect::<Vec<_>>();
        assert_eq!(fetched(&[0, 1, 0, 2]), [1, 1, 0, 1], "2 takes the place of 1");
        assert_eq!(fetched(&[0, 2, 1, 0]), [0, 0, 1, 1], "1 takes the place of 0, 0 of 2");
        assert_eq!(fetched(&[3, 4, 5, 3, 4, 5]), [1; 6], "a cycle of a line more than there is room for");
    }

    #[test]
    fn writes_take_room_and_fetch_nothing() {
        let mut cache = cache(2);
        cache.write(0, 32);
        assert_eq!(cache.read(0, 32), 0, "what was written is there");
        assert_eq!(cache.read(0, LINE), 96, "and no more of the line");
        cache.write(LINE, 2 * LINE);
        assert_eq!(cache.read(0, LINE), LINE, "two lines were written since");
    }

    #[test]
    fn the_least_cache_has_a_line() {
        let mut cache = L2::new(0);
        assert_eq!(
            [cache.read(0, 32), cache.read(0, 32), cache.read(LINE, 32), cache.read(0, 32)],
            [32, 0, 32, 32]
        );
    }
}
