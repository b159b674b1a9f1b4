//! Races between clusters that ran one by one: what each did to global memory, compared afterwards.
//!
//! Clusters run on several threads only if nothing orders them but the launch, so that every two conflicting accesses
//! of theirs race unless both are strong. The comparison goes in the order of the clusters, whichever ran first.

use super::RaceDetector;
use super::record::{Record, RecordId, Records};
use super::scope::Scope;
use super::shadow::{Cell, GRANULE, PAGE, PAGE_GRANULES};
use crate::report::{Fault, Rule};
use rustc_hash::FxHashMap;

/// Who accessed some bytes last, and whether by strong accesses only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    /// The cluster's index in the grid plus one; 0 if nobody has.
    cluster: u32,
    /// The PTX line, with [`STRONG`], [`SEVERAL`] and [`ASYNC`].
    line: u32,
}

/// The access is strong, of a scope that includes other clusters.
const STRONG: u32 = 1 << 31;
/// Clusters besides the one that is named have done the same.
const SEVERAL: u32 = 1 << 30;
/// The access is of the async proxy.
const ASYNC: u32 = 1 << 29;

impl Mark {
    const fn is_strong(self) -> bool {
        self.line & STRONG != 0
    }

    const fn line(self) -> u32 {
        self.line & !(STRONG | SEVERAL | ASYNC)
    }

    /// Whether two accesses are strong and of one proxy.
    const fn agrees_with(self, other: Self) -> bool {
        self.is_strong() && other.is_strong() && (self.line ^ other.line) & ASYNC == 0
    }

    /// Whether another cluster than this one has done it.
    const fn is_of_others(self, cluster: u32) -> bool {
        self.cluster != 0 && (self.cluster != cluster || self.line & SEVERAL != 0)
    }
}

/// The last write and read of some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Marks {
    write: Mark,
    read: Mark,
}

/// What a cluster did to a page: for each granule that it accessed, the marks of all its bytes, or of each.
#[derive(Debug)]
struct PageFootprint {
    number: u64,
    granules: Vec<(u8, Marks)>,
    bytes: Vec<(u8, Box<[Marks; GRANULE]>)>,
}

/// What a cluster did to global memory.
#[derive(Debug, Default)]
pub struct Footprint {
    pages: Vec<PageFootprint>,
}

/// Accesses of two clusters that nothing orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conflict {
    address: u64,
    now: Mark,
    writes: bool,
    earlier: Mark,
    earlier_writes: bool,
}

impl RaceDetector {
    /// What the only cluster of this detector, with this index in the grid, did to global memory.
    #[must_use]
    pub fn footprint(&self, cluster: u64) -> Footprint {
        let cluster = cluster as u32 + 1;
        let pages = self.global.all().iter().map(|page| {
            let mut footprint =
                PageFootprint { number: page.number, granules: Vec::new(), bytes: Vec::new() };
            for (granule, cells) in page.shadow.cells() {
                let weak = page.weakly_written[granule];
                let marks = |byte: usize, cell: &Cell| Marks {
                    write: mark(&self.records, cluster, cell.write, weak >> byte & 1 == 1),
                    read: mark(&self.records, cluster, cell.read, false),
                };
                match cells {
                    [cell] if weak == 0 || weak == u16::MAX => {
                        footprint.granules.push((granule as u8, marks(0, cell)));
                    }
                    [cell] => {
                        let cells = std::array::from_fn(|byte| marks(byte, cell));
                        footprint.bytes.push((granule as u8, Box::new(cells)));
                    }
                    cells => {
                        let cells = std::array::from_fn(|byte| marks(byte, &cells[byte]));
                        footprint.bytes.push((granule as u8, Box::new(cells)));
                    }
                }
            }
            footprint
        });
        Footprint { pages: pages.collect() }
    }
}

fn mark(records: &Records, cluster: u32, id: RecordId, weak: bool) -> Mark {
    let mut members = records.members(&id).iter().map(|id| records.get(*id));
    let Some(first) = members.next() else { return Mark::default() };
    let strong = |scope: Option<Scope>| scope.is_some_and(|scope| scope >= Scope::Gpu);
    let is_async = first.path.is_async_proxy();
    let alike = |record: &Record| strong(record.strong) && record.path.is_async_proxy() == is_async;
    let all = !weak && alike(first) && members.all(alike);
    let proxy = if is_async { ASYNC } else { 0 };
    Mark { cluster, line: first.line | proxy | if all { STRONG } else { 0 } }
}

/// What the clusters of a launch did to global memory, so far as they have been compared.
#[derive(Debug, Default)]
pub struct LaunchFootprint {
    pages: FxHashMap<u64, Vec<Shared>>,
}

/// Marks of a granule of the launch.
#[derive(Debug, Clone)]
enum Shared {
    Alike(Marks),
    Bytes(Box<[Marks; GRANULE]>),
}

impl LaunchFootprint {
    /// Adds a cluster, after comparing it with those before.
    ///
    /// # Errors
    ///
    /// A race between two clusters.
    pub fn add(&mut self, footprint: &Footprint) -> Result<(), Box<Fault>> {
        for page in &footprint.pages {
            let granules = self
                .pages
                .entry(page.number)
                .or_insert_with(|| vec![Shared::Alike(Marks::default()); PAGE_GRANULES]);
            for (granule, marks) in &page.granules {
                let address = page.number * PAGE + u64::from(*granule) * GRANULE as u64;
                match &mut granules[usize::from(*granule)] {
                    Shared::Alike(own) => merge(own, marks, address)?,
                    Shared::Bytes(own) => {
                        for (byte, own) in own.iter_mut().enumerate() {
                            merge(own, marks, address + byte as u64)?;
                        }
                    }
                }
            }
            for (granule, marks) in &page.bytes {
                let address = page.number * PAGE + u64::from(*granule) * GRANULE as u64;
                let shared = &mut granules[usize::from(*granule)];
                if let Shared::Alike(own) = shared {
                    *shared = Shared::Bytes(Box::new([*own; GRANULE]));
                }
                if let Shared::Bytes(own) = shared {
                    for (byte, (own, marks)) in own.iter_mut().zip(marks.iter()).enumerate() {
                        merge(own, marks, address + byte as u64)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn merge(own: &mut Marks, new: &Marks, address: u64) -> Result<(), Box<Fault>> {
    let conflicts = [
        (new.write, true, own.write, true),
        (new.write, true, own.read, false),
        (new.read, false, own.write, true),
    ];
    for (now, writes, earlier, earlier_writes) in conflicts {
        let both = now.cluster != 0 && earlier.is_of_others(now.cluster);
        if both && !now.agrees_with(earlier) {
            return Err(Box::new(fault(&Conflict { address, now, writes, earlier, earlier_writes })));
        }
    }
    let several = |own: Mark, new: Mark| {
        if new.cluster == 0 {
            return own;
        }
        // A weak access is the one that conflicts with more.
        let strong = if own.cluster == 0 { STRONG } else { own.line & STRONG };
        let line = if own.cluster != 0 && own.line & STRONG == 0 { own.line } else { new.line };
        let flags = if own.is_of_others(new.cluster) { SEVERAL } else { 0 };
        Mark { cluster: new.cluster, line: line & !(STRONG | SEVERAL) | new.line & strong | flags }
    };
    own.write = several(own.write, new.write);
    own.read = several(own.read, new.read);
    Ok(())
}

fn fault(conflict: &Conflict) -> Fault {
    let Conflict { address, now, writes, earlier, earlier_writes } = conflict;
    let kind = |writes: bool| if writes { "write" } else { "read" };
    let strength = |mark: &Mark| match (mark.is_strong(), mark.line & ASYNC != 0) {
        (true, true) => "atomic asynchronous ",
        (true, false) => "strong ",
        (false, true) => "asynchronous ",
        (false, false) => "",
    };
    let message = format!(
        "{}{} at line {} of global address {address:#x} by cluster {} races with the {}{} at line {} by {}: nothing orders \
         CTAs of different clusters, but a release and an acquire of .gpu scope",
        strength(now),
        kind(*writes),
        now.line(),
        now.cluster - 1,
        strength(earlier),
        kind(*earlier_writes),
        earlier.line(),
        if earlier.line & SEVERAL != 0 {
            "several others".to_owned()
        } else {
            format!("cluster {}", earlier.cluster - 1)
        },
    );
    Fault::new(Rule::Race, message).at_line(now.line()).with_other(earlier.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(accesses: &[(u32, bool, u32)]) -> Result<Marks, Box<Fault>> {
        let mut own = Marks::default();
        for &(cluster, writes, line) in accesses {
            let mark = Mark { cluster, line };
            let marks = if writes {
                Marks { write: mark, ..Marks::default() }
            } else {
                Marks { read: mark, ..Marks::default() }
            };
            merge(&mut own, &marks, 64)?;
        }
        Ok(own)
    }

    #[test]
    fn clusters_may_read_alike_and_update_atomically() {
        let own = merged(&[(1, false, 5), (2, false, 5), (2, false, 6)]).unwrap();
        assert_eq!((own.read.cluster, own.read.line & SEVERAL), (2, SEVERAL));
        assert!(merged(&[(1, true, 5 | STRONG), (2, true, 5 | STRONG), (3, false, 7 | STRONG)]).is_ok());
        assert!(merged(&[(1, false, 4), (1, true, 5)]).is_ok(), "a cluster alone is followed elsewhere");
    }

    #[test]
    fn atomics_of_two_proxies_conflict() {
        const BULK: u32 = STRONG | ASYNC;
        assert!(merged(&[(1, true, 5 | BULK), (2, true, 5 | BULK), (3, true, 6 | BULK)]).is_ok());
        let fault = merged(&[(1, true, 5 | BULK), (2, true, 6 | STRONG)]).unwrap_err();
        assert!(fault.message.starts_with("strong write at line 6 "), "{}", fault.message);
        assert!(fault.message.contains("the atomic asynchronous write at line 5"), "{}", fault.message);
    }

    #[test]
    fn conflicts_name_both() {
        let fault = merged(&[(1, true, 5), (2, true, 6)]).unwrap_err();
        assert_eq!(fault.other_line, Some(5));
        assert!(
            fault.message.contains("write at line 6") && fault.message.contains("by cluster 0"),
            "{}",
            fault.message
        );
        assert!(merged(&[(1, false, 5), (2, true, 6)]).is_err());
        assert!(merged(&[(1, true, 5), (2, false, 6)]).is_err());
        assert!(
            merged(&[(1, true, 5 | STRONG), (2, false, 6)]).is_err(),
            "a weak read of what others update"
        );
        assert!(merged(&[(1, false, 5), (2, false, 5), (1, true, 7)]).is_err(), "several have read");
        assert!(
            merged(&[(1, true, 5), (1, true, 6 | STRONG), (2, true, 6 | STRONG)]).is_err(),
            "weak before strong"
        );
    }
}
