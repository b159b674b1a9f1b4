//! Shadow memory: for every byte the last write and the reads since then, by number of their [record](super::record).
//!
//! Sixteen bytes that were accessed alike share one cell, since that is how kernels access memory; where bytes differ,
//! the cell is divided.

use super::record::RecordId;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// Bytes of a granule.
pub const GRANULE: usize = 16;
/// Bytes of a page of global memory.
pub const PAGE: u64 = 4096;
/// Granules of a page.
pub const PAGE_GRANULES: usize = PAGE as usize / GRANULE;

/// The last write of a byte and the reads since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// The last write, or the unordered strong writes.
    pub write: RecordId,
    /// The reads since.
    pub read: RecordId,
}

/// Marks a granule whose bytes differ; `read` is then the place of its cells.
const DIVIDED: RecordId = 1 << 31;

/// Shadow of consecutive granules.
#[derive(Debug, Clone)]
pub struct Shadow {
    granules: Vec<Cell>,
    divided: Vec<[Cell; GRANULE]>,
    free: Vec<RecordId>,
}

impl Shadow {
    /// Shadow of so many bytes that nobody has accessed.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            granules: vec![Cell::default(); bytes.div_ceil(GRANULE)],
            divided: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Replaces the cells of a range by what `update` makes of them. It is told which bytes a cell is of, counted from the
    /// beginning of the shadow. A range beyond the end is cut off.
    ///
    /// # Errors
    ///
    /// The first error of `update`.
    #[inline]
    pub fn update<E>(
        &mut self,
        start: usize,
        bytes: usize,
        mut update: impl FnMut(Range<usize>, Cell) -> Result<Cell, E>,
    ) -> Result<(), E> {
        let end = start.saturating_add(bytes).min(self.granules.len() * GRANULE);
        let mut at = start;
        while at < end {
            let granule = at / GRANULE;
            let next = ((granule + 1) * GRANULE).min(end);
            let cell = self.granules[granule];
            if cell.write != DIVIDED && next - at == GRANULE {
                self.granules[granule] = update(at..next, cell)?;
            } else {
                self.update_bytes(granule, at % GRANULE..next - granule * GRANULE, &mut update)?;
            }
            at = next;
        }
        Ok(())
    }

    fn update_bytes<E>(
        &mut self,
        granule: usize,
        range: Range<usize>,
        update: &mut impl FnMut(Range<usize>, Cell) -> Result<Cell, E>,
    ) -> Result<(), E> {
        let cell = self.granules[granule];
        let place = if cell.write == DIVIDED {
            cell.read as usize
        } else {
            let cells = [cell; GRANULE];
            let place = match self.free.pop() {
                Some(place) => {
                    self.divided[place as usize] = cells;
                    place
                }
                None => {
                    self.divided.push(cells);
                    (self.divided.len() - 1) as RecordId
                }
            };
            self.granules[granule] = Cell { write: DIVIDED, read: place };
            place as usize
        };
        for byte in range.clone() {
            let at = granule * GRANULE + byte;
            self.divided[place][byte] = update(at..at + 1, self.divided[place][byte])?;
        }
        let cells = &self.divided[place];
        if range.len() == GRANULE && cells.iter().all(|cell| *cell == cells[0]) {
            self.granules[granule] = cells[0];
            self.free.push(place as RecordId);
        }
        Ok(())
    }

    /// Shows every record number in it.
    pub fn visit(&mut self, see: &mut dyn FnMut(&mut RecordId)) {
        for cell in &mut self.granules {
            if cell.write != DIVIDED {
                see(&mut cell.write);
                see(&mut cell.read);
            }
        }
        for place in &self.free {
            self.divided[*place as usize] = [Cell::default(); GRANULE];
        }
        for cell in self.divided.iter_mut().flatten() {
            see(&mut cell.write);
            see(&mut cell.read);
        }
    }

    /// The cells of every granule that was accessed: its number, and either one cell for all bytes or one each.
    pub fn cells(&self) -> impl Iterator<Item = (usize, &[Cell])> {
        self.granules.iter().enumerate().filter_map(|(number, cell)| {
            if cell.write == DIVIDED {
                Some((number, &self.divided[cell.read as usize][..]))
            } else {
                (*cell != Cell::default()).then(|| (number, std::slice::from_ref(cell)))
            }
        })
    }
}

/// Shadow of global memory, page by page as it is accessed.
#[derive(Debug, Default)]
pub struct Pages {
    numbers: FxHashMap<u64, usize>,
    pages: Vec<Page>,
    last: Option<(u64, usize)>,
}

/// Shadow of a page of global memory.
#[derive(Debug)]
pub struct Page {
    /// The page's first address divided by its size.
    pub number: u64,
    /// Its shadow.
    pub shadow: Shadow,
    /// The bytes of each granule that weak writes have touched.
    pub weakly_written: Vec<u16>,
}

impl Pages {
    /// The page of an address.
    #[inline]
    pub fn page(&mut self, address: u64) -> &mut Page {
        let number = address / PAGE;
        if let Some((last, place)) = self.last
            && last == number
        {
            return &mut self.pages[place];
        }
        let Self { numbers, pages, .. } = self;
        let place = *numbers.entry(number).or_insert_with(|| {
            pages.push(Page {
                number,
                shadow: Shadow::new(PAGE as usize),
                weakly_written: vec![0; PAGE_GRANULES],
            });
            pages.len() - 1
        });
        self.last = Some((number, place));
        &mut self.pages[place]
    }

    /// Every page.
    #[must_use]
    pub fn all(&self) -> &[Page] {
        &self.pages
    }

    /// Shows every record number in it.
    pub fn visit(&mut self, see: &mut dyn FnMut(&mut RecordId)) {
        self.pages.iter_mut().for_each(|page| page.shadow.visit(see));
    }
}

impl Page {
    /// Notes a weak write to a range of the page.
    #[inline]
    pub fn note_weak_write(&mut self, start: usize, bytes: usize) {
        let end = start + bytes;
        for granule in start / GRANULE..end.div_ceil(GRANULE) {
            let from = start.max(granule * GRANULE) - granule * GRANULE;
            let to = end.min((granule + 1) * GRANULE) - granule * GRANULE;
            self.weakly_written[granule] |= ((1_u32 << to) - (1 << from)) as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Writes, and gives for each cell its bytes and who wrote them before.
    fn write(shadow: &mut Shadow, start: usize, bytes: usize, id: RecordId) -> Vec<(Range<usize>, RecordId)> {
        let mut seen = Vec::new();
        let result: Result<(), Infallible> = shadow.update(start, bytes, |range, cell| {
            seen.push((range, cell.write));
            Ok(Cell { write: id, read: 0 })
        });
        let Ok(()) = result;
        seen
    }

    #[test]
    fn neighbouring_bytes_are_kept_apart() {
        let mut shadow = Shadow::new(64);
        assert_eq!(write(&mut shadow, 0, 32, 1), [(0..16, 0), (16..32, 0)]);
        assert_eq!(write(&mut shadow, 4, 1, 2), [(4..5, 1)]);
        let before = write(&mut shadow, 0, 16, 3);
        assert_eq!(before.len(), 16);
        assert_eq!(before[3..6], [(3..4, 1), (4..5, 2), (5..6, 1)]);
        assert_eq!(write(&mut shadow, 0, 16, 4), [(0..16, 3)], "joined again");
        assert_eq!(write(&mut shadow, 16, 16, 5), [(16..32, 1)]);
        assert!(write(&mut shadow, 64, 16, 6).is_empty(), "beyond the end");
    }

    #[test]
    fn weak_writes_are_noted_by_byte() {
        let mut pages = Pages::default();
        let page = pages.page(PAGE * 3 + 5);
        page.note_weak_write(14, 20);
        assert_eq!(page.weakly_written[..4], [0xc000, 0xffff, 0x3, 0]);
        assert_eq!(pages.page(PAGE * 3).number, 3);
        assert_eq!(pages.all().len(), 1);
    }
}
