//! Accesses that shadow memory points to: who, where in the code, and which lane touched which byte.

use super::clock::Agent;
use super::scope::Scope;

/// Which lane of an access touches a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Every lane of the record touches every byte.
    Together,
    /// Lane i touches `bytes` bytes from `first + i * stride`.
    Strided {
        /// Address of lane 0, which need not take part.
        first: u64,
        /// Distance of neighbouring lanes, at least `bytes`.
        stride: u32,
        /// Bytes of a lane.
        bytes: u32,
    },
    /// The address of each lane is in the table of scattered accesses.
    Scattered {
        /// Place in the table.
        at: u32,
        /// Bytes of a lane.
        bytes: u32,
    },
}

/// How an access reaches memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// A load, store or atomic of a thread.
    Generic,
    /// `cp.async`, `st.async`, `red.async`: asynchronous, through the generic proxy.
    Asynchronous,
    /// A bulk or tensor copy, through the async proxy.
    Bulk,
    /// An operand of `wgmma`, through the async proxy.
    Matrix,
}

impl Path {
    /// Whether it goes through the async proxy.
    #[must_use]
    pub const fn is_async_proxy(self) -> bool {
        matches!(self, Self::Bulk | Self::Matrix)
    }
}

/// An access of a warp, or of an asynchronous operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Who publishes it.
    pub agent: Agent,
    /// The agent's epoch.
    pub epoch: u32,
    /// Lanes that made the access.
    pub lanes: u32,
    /// Lanes that ran convergently with them.
    pub convergent: u32,
    /// How it reaches memory.
    pub path: Path,
    /// Whether it writes.
    pub write: bool,
    /// The scope of a strong access (PTX ISA 8.3).
    pub strong: Option<Scope>,
    /// Whether it compares and swaps.
    pub swaps: bool,
    /// Bytes of each scalar access; 0 if that does not matter.
    pub scalar_bytes: u32,
    /// Which lane touches what.
    pub pattern: Pattern,
    /// The PTX line.
    pub line: u32,
    /// The PTX line of the warp's last synchronisation before; 0 if there was none.
    pub synchronised: u32,
    /// The warp that issued it, by number in its cluster.
    pub warp: u32,
    /// The same, by number in its CTA.
    pub warp_of_cta: u32,
    /// Its CTA, by rank in the cluster.
    pub cta: u32,
    /// The device that it runs on.
    pub device: u32,
}

/// The number of a record, or of a set of them; 0 is none.
pub type RecordId = u32;

/// Marks the number of a set.
const SET: RecordId = 1 << 30;

/// The records that shadow memory points to, and sets of them.
#[derive(Debug)]
pub struct Records {
    records: Vec<Record>,
    sets: Vec<Vec<RecordId>>,
    scattered: Vec<[u64; 32]>,
}

impl Default for Records {
    fn default() -> Self {
        Self { records: Vec::new(), sets: vec![Vec::new()], scattered: Vec::new() }
    }
}

impl Records {
    /// Adds a record and gives its number.
    pub fn add(&mut self, record: Record) -> RecordId {
        self.records.push(record);
        self.records.len() as RecordId
    }

    /// The number of a record that equals this one, which `recent` may be; adds it if it does not.
    ///
    /// What a warp does again and again between two synchronisations is one record.
    #[inline]
    pub fn intern(&mut self, record: Record, recent: &mut RecordId) -> RecordId {
        if *recent == 0 || self.records.get(*recent as usize - 1) != Some(&record) {
            *recent = self.add(record);
        }
        *recent
    }

    /// Keeps the addresses of a scattered access, unless the record `recent` has the same.
    pub fn scatter_again(&mut self, addresses: &[u64; 32], bytes: u32, recent: RecordId) -> Pattern {
        if let Some(Record { pattern: pattern @ Pattern::Scattered { at, bytes: known }, .. }) =
            self.records.get((recent as usize).wrapping_sub(1))
            && *known == bytes
            && self.scattered[*at as usize] == *addresses
        {
            return *pattern;
        }
        self.scatter(*addresses, bytes)
    }

    /// Keeps the addresses of a scattered access.
    pub fn scatter(&mut self, addresses: [u64; 32], bytes: u32) -> Pattern {
        self.scattered.push(addresses);
        Pattern::Scattered { at: (self.scattered.len() - 1) as u32, bytes }
    }

    /// Says of the record that was added last which of its lanes touch what.
    pub fn refine(&mut self, id: RecordId, lanes: u32, pattern: Pattern) {
        let record = &mut self.records[id as usize - 1];
        (record.lanes, record.pattern) = (lanes, pattern);
    }

    /// A record by number.
    #[inline]
    #[must_use]
    pub fn get(&self, id: RecordId) -> &Record {
        &self.records[id as usize - 1]
    }

    /// The records that a number stands for.
    #[inline]
    #[must_use]
    pub fn members<'a>(&'a self, id: &'a RecordId) -> &'a [RecordId] {
        if *id & SET != 0 {
            &self.sets[(*id & !SET) as usize]
        } else if *id == 0 {
            &[]
        } else {
            std::slice::from_ref(id)
        }
    }

    /// The number of a set; of its only member if it has one.
    pub fn set(&mut self, members: Vec<RecordId>) -> RecordId {
        match members.as_slice() {
            [] => 0,
            [one] => *one,
            _ => {
                self.sets.push(members);
                SET | (self.sets.len() - 1) as RecordId
            }
        }
    }

    /// The lanes of a record that touch a byte.
    #[must_use]
    pub fn lanes_at(&self, record: &Record, address: u64) -> u32 {
        match record.pattern {
            Pattern::Together => record.lanes,
            Pattern::Strided { first, stride, bytes } => {
                let distance = address.wrapping_sub(first);
                let lane = distance / u64::from(stride.max(1));
                if lane < 32 && distance % u64::from(stride.max(1)) < u64::from(bytes) {
                    record.lanes & 1 << lane
                } else {
                    0
                }
            }
            Pattern::Scattered { at, bytes } => {
                self.scattered[at as usize].iter().enumerate().fold(0, |lanes, (lane, start)| {
                    let touches = address.wrapping_sub(*start) < u64::from(bytes);
                    lanes | u32::from(touches) << lane
                }) & record.lanes
            }
        }
    }

    /// Whether there are so many records that those which nothing points to should be dropped.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.records.len() + 4 * self.sets.len() + 8 * self.scattered.len() > CROWD
    }

    /// Drops every record that `visit` does not show, and renumbers the others.
    pub fn compact(&mut self, mut visit: impl FnMut(&mut dyn FnMut(&mut RecordId))) {
        let old = std::mem::take(self);
        let mut records = vec![0; old.records.len() + 1];
        let mut sets = vec![0; old.sets.len()];
        visit(&mut |id: &mut RecordId| {
            *id = match *id {
                0 => 0,
                set if set & SET != 0 => {
                    let at = (set & !SET) as usize;
                    if sets[at] == 0 {
                        let members =
                            old.sets[at].iter().map(|id| self.keep(&old, &mut records, *id)).collect();
                        sets[at] = self.set(members);
                    }
                    sets[at]
                }
                id => self.keep(&old, &mut records, id),
            };
        });
    }

    fn keep(&mut self, old: &Self, numbers: &mut [RecordId], id: RecordId) -> RecordId {
        if numbers[id as usize] == 0 {
            let mut record = *old.get(id);
            if let Pattern::Scattered { at, bytes } = record.pattern {
                record.pattern = self.scatter(old.scattered[at as usize], bytes);
            }
            numbers[id as usize] = self.add(record);
        }
        numbers[id as usize]
    }
}

/// About the size of a record table at which it is compacted.
const CROWD: usize = 1 << 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pattern: Pattern, lanes: u32) -> Record {
        Record {
            agent: Agent { cluster: 0, index: 0 },
            epoch: 1,
            lanes,
            convergent: lanes,
            path: Path::Generic,
            write: false,
            strong: None,
            swaps: false,
            scalar_bytes: 0,
            pattern,
            line: 1,
            synchronised: 0,
            warp: 0,
            warp_of_cta: 0,
            cta: 0,
            device: 0,
        }
    }

    #[test]
    fn patterns_tell_the_lane_of_a_byte() {
        let mut records = Records::default();
        let strided = record(Pattern::Strided { first: 100, stride: 8, bytes: 4 }, 0xff);
        assert_eq!(records.lanes_at(&strided, 100), 1);
        assert_eq!(records.lanes_at(&strided, 111), 1 << 1);
        assert_eq!(records.lanes_at(&strided, 105), 0, "between two lanes");
        assert_eq!(records.lanes_at(&strided, 164), 0, "lane 8 takes no part");
        let mut addresses = [0; 32];
        (addresses[3], addresses[4]) = (64, 64);
        let pattern = records.scatter(addresses, 2);
        let scattered = record(pattern, 0b11000);
        assert_eq!(records.lanes_at(&scattered, 65), 0b11000);
        assert_eq!(records.lanes_at(&scattered, 0), 0, "inactive lanes");
    }

    #[test]
    fn compaction_keeps_what_is_shown() {
        let mut records = Records::default();
        let ids: Vec<_> =
            (0..4).map(|line| records.add(Record { line, ..record(Pattern::Together, 1) })).collect();
        let mut single = ids[3];
        let mut set = records.set(vec![ids[1], ids[3]]);
        let mut nothing = 0;
        records.compact(|see| {
            see(&mut single);
            see(&mut set);
            see(&mut nothing);
        });
        assert_eq!(records.get(single).line, 3);
        let lines: Vec<_> = records.members(&set).iter().map(|id| records.get(*id).line).collect();
        assert_eq!(lines, [1, 3]);
        assert_eq!(nothing, 0);
        assert_eq!(records.records.len(), 2);
    }
}
