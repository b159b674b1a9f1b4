//! Counters of a launch: what was issued and moved. The same bytes for the same program, whatever the threads.

/// The lanes of a mask. Most masks are full: those cost no counting of bits.
#[inline]
#[must_use]
pub const fn lane_count(mask: u32) -> u64 {
    if mask == u32::MAX { 32 } else { mask.count_ones() as u64 }
}

/// What a micro-operation counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Integer arithmetic and logic, comparison, selection.
    Integer,
    /// f32 arithmetic.
    Float,
    /// f16 and bf16 arithmetic.
    Half,
    /// f64 arithmetic.
    Double,
    /// Approximations of the special function unit.
    Special,
    /// Conversions.
    Conversion,
    /// Register moves.
    Move,
    /// Loads and stores of global memory, generic addresses included.
    Global,
    /// Loads and stores of shared memory.
    Shared,
    /// Loads and stores of local memory.
    Local,
    /// Loads of parameters and constants.
    Parameter,
    /// Atomics and reductions in memory.
    Atomic,
    /// Asynchronous copies and tensor-map operations.
    AsyncCopy,
    /// Barriers, fences and waits.
    Barrier,
    /// Shuffles, votes, matches and warp reductions.
    Warp,
    /// Matrix products and matrix moves.
    Matrix,
    /// Branches, calls, returns and the rest.
    Control,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 17] = [
        Self::Integer,
        Self::Float,
        Self::Half,
        Self::Double,
        Self::Special,
        Self::Conversion,
        Self::Move,
        Self::Global,
        Self::Shared,
        Self::Local,
        Self::Parameter,
        Self::Atomic,
        Self::AsyncCopy,
        Self::Barrier,
        Self::Warp,
        Self::Matrix,
        Self::Control,
    ];

    /// The name in the counters file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Half => "half",
            Self::Double => "double",
            Self::Special => "special",
            Self::Conversion => "conversion",
            Self::Move => "move",
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Parameter => "parameter",
            Self::Atomic => "atomic",
            Self::AsyncCopy => "async_copy",
            Self::Barrier => "barrier",
            Self::Warp => "warp",
            Self::Matrix => "matrix",
            Self::Control => "control",
        }
    }
}

/// Memory behaviour of one instruction (a PTX line), summed over its executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccessCounters {
    /// Warp-wide requests.
    pub requests: u64,
    /// Bytes asked for by active lanes.
    pub bytes: u64,
    /// Shared memory: passes through the 32 banks.
    pub wavefronts: u64,
    /// Shared memory: passes beyond what the size of the request needs.
    pub conflicts: u64,
    /// Global memory: 32-byte sectors touched.
    pub sectors: u64,
}

impl AccessCounters {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.wavefronts += other.wavefronts;
        self.conflicts += other.conflicts;
        self.sectors += other.sectors;
    }
}

/// What went over a link, one way of using it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// 128-byte lines of loads and stores that a warp made at once, atomics of lanes, bulk and tensor copies.
    pub messages: u64,
    /// Bytes asked for, as in the other counts of bytes.
    pub bytes: u64,
}

/// How a device uses the memory of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkUse {
    /// Loads and `cp.async`.
    Read,
    /// Stores.
    Write,
    /// Atomics and reductions of lanes.
    Atomic,
    /// Bulk and tensor copies to shared memory.
    BulkRead,
    /// Bulk and tensor copies and reductions from shared memory.
    BulkWrite,
}

impl LinkUse {
    /// Every use, with its name in the counters file.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Read, "reads"),
        (Self::Write, "writes"),
        (Self::Atomic, "atomics"),
        (Self::BulkRead, "bulk_reads"),
        (Self::BulkWrite, "bulk_writes"),
    ];
}

/// What kernels of one device did to the memory of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// The device whose kernels access.
    pub from: u32,
    /// The device whose memory they access.
    pub to: u32,
    /// By [`LinkUse`].
    pub uses: [Traffic; LinkUse::ALL.len()],
}

impl LinkCounters {
    /// What went over the link in one way.
    #[must_use]
    pub const fn of(&self, link_use: LinkUse) -> Traffic {
        self.uses[link_use as usize]
    }
}

/// Everything that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Issued warp instructions by [`Class`]: one that waits counts once, one whose guard is false in every lane counts
    /// too. One that the simulator does in several parts (a call, a special register as an operand) counts for each.
    pub issued: [u64; Class::ALL.len()],
    /// Lanes that were active in them, summed, by class.
    pub active_lanes: [u64; Class::ALL.len()],
    /// Per PTX line; empty unless asked for.
    pub accesses: Vec<AccessCounters>,
    /// Bytes read from global memory by loads, `cp.async`, bulk and tensor copies. What is read for several lanes or
    /// CTAs counts for each, here and in every other count of bytes.
    pub global_read_bytes: u64,
    /// Bytes that reads of global memory fetched from the device's memory, by the [model of the L2 cache](crate::l2); 0
    /// unless asked for.
    pub fetched_bytes: u64,
    /// Bytes written to global memory by stores, bulk and tensor copies and reductions.
    pub global_written_bytes: u64,
    /// Bytes read from shared memory by loads and `ldmatrix`.
    pub shared_read_bytes: u64,
    /// Bytes written to shared memory by stores, `stmatrix` and `cp.async`.
    pub shared_written_bytes: u64,
    /// Bytes read from local memory, parameters of calls included.
    pub local_read_bytes: u64,
    /// Bytes written to local memory, parameters of calls included.
    pub local_written_bytes: u64,
    /// Bytes read from the parameters of the kernel.
    pub parameter_read_bytes: u64,
    /// Bytes that atomics and reductions of lanes changed or compared, in any space.
    pub atomic_bytes: u64,
    /// Bulk and tensor copies from global to shared memory; a multicast counts for each CTA that it goes to.
    pub bulk_loads: u64,
    /// Bytes they delivered, filled ones included.
    pub bulk_loaded_bytes: u64,
    /// Bulk and tensor copies and reductions from shared to global memory.
    pub bulk_stores: u64,
    /// Bytes they wrote.
    pub bulk_stored_bytes: u64,
    /// Bulk copies and reductions from the shared memory of one CTA to that of another.
    pub bulk_exchanges: u64,
    /// Bytes they moved.
    pub bulk_exchanged_bytes: u64,
    /// Bytes of boxes that were loaded from outside of their tensors, and filled.
    pub out_of_bounds_bytes: u64,
    /// Arrivals at CTA barriers, by warp.
    pub barrier_arrivals: u64,
    /// Tests of mbarriers, `test_wait` and `try_wait`, that found the phase of every lane complete, at once or after
    /// having blocked.
    pub mbarrier_waits_met: u64,
    /// How often a wait on an mbarrier blocked.
    pub mbarrier_waits_blocked: u64,
    /// Multiply-adds of matrix instructions, useful and padded.
    pub matrix_macs: u64,
    /// Those of them that padding takes: of a row of A or a column of B that holds nothing but zeros over the
    /// instruction's extent of k, as rows beyond the end of a matrix do, whoever filled them. Products of single bits
    /// and of f64 have none. Counted with the accesses, 0 unless asked for.
    pub padded_macs: u64,
    /// Most 32-bit registers of a thread live at once.
    pub max_live_registers: u64,
    /// The links that were used, ascending by their devices; empty where there is one device. What goes to a multicast
    /// object counts for each replica.
    pub links: Vec<LinkCounters>,
}

impl Counters {
    /// Adds what another part of the launch counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.issued.iter_mut().zip(&other.issued) {
            *mine += theirs;
        }
        for (mine, theirs) in self.active_lanes.iter_mut().zip(&other.active_lanes) {
            *mine += theirs;
        }
        if self.accesses.len() < other.accesses.len() {
            self.accesses.resize(other.accesses.len(), AccessCounters::default());
        }
        for (mine, theirs) in self.accesses.iter_mut().zip(&other.accesses) {
            mine.add(theirs);
        }
        self.global_read_bytes += other.global_read_bytes;
        self.fetched_bytes += other.fetched_bytes;
        self.global_written_bytes += other.global_written_bytes;
        self.shared_read_bytes += other.shared_read_bytes;
        self.shared_written_bytes += other.shared_written_bytes;
        self.local_read_bytes += other.local_read_bytes;
        self.local_written_bytes += other.local_written_bytes;
        self.parameter_read_bytes += other.parameter_read_bytes;
        self.atomic_bytes += other.atomic_bytes;
        self.bulk_loads += other.bulk_loads;
        self.bulk_loaded_bytes += other.bulk_loaded_bytes;
        self.bulk_stores += other.bulk_stores;
        self.bulk_stored_bytes += other.bulk_stored_bytes;
        self.bulk_exchanges += other.bulk_exchanges;
        self.bulk_exchanged_bytes += other.bulk_exchanged_bytes;
        self.out_of_bounds_bytes += other.out_of_bounds_bytes;
        self.barrier_arrivals += other.barrier_arrivals;
        self.mbarrier_waits_met += other.mbarrier_waits_met;
        self.mbarrier_waits_blocked += other.mbarrier_waits_blocked;
        self.matrix_macs += other.matrix_macs;
        self.padded_macs += other.padded_macs;
        self.max_live_registers = self.max_live_registers.max(other.max_live_registers);
        for link in &other.links {
            let mine = self.link(link.from, link.to);
            for (mine, theirs) in mine.uses.iter_mut().zip(&link.uses) {
                mine.messages += theirs.messages;
                mine.bytes += theirs.bytes;
            }
        }
    }

    /// The counters of a link.
    pub fn link(&mut self, from: u32, to: u32) -> &mut LinkCounters {
        let at = match self.links.binary_search_by_key(&(from, to), |link| (link.from, link.to)) {
            Ok(at) => at,
            Err(at) => {
                self.links.insert(at, LinkCounters { from, to, ..LinkCounters::default() });
                at
            }
        };
        &mut self.links[at]
    }

    /// Issued warp instructions of all classes.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.issued.iter().sum()
    }
}

/// The counters as the counters file has them; lines of PTX without accesses are left out.
#[cfg(feature = "ptxsim")]
#[must_use]
pub fn to_json(counters: &Counters) -> serde_json::Value {
    use serde_json::{Map, Value, json};
    let by_class = |values: &[u64; Class::ALL.len()]| -> Value {
        let entries = Class::ALL.iter().zip(values).filter(|(_, value)| **value > 0);
        Value::Object(entries.map(|(class, value)| (class.name().to_owned(), json!(value))).collect())
    };
    let mut accesses = Map::new();
    for (line, entry) in counters.accesses.iter().enumerate().filter(|(_, entry)| entry.requests > 0) {
        accesses.insert(
            line.to_string(),
            json!({
                "requests": entry.requests,
                "bytes": entry.bytes,
                "wavefronts": entry.wavefronts,
                "conflicts": entry.conflicts,
                "sectors": entry.sectors,
            }),
        );
    }
    let mut object = json!({
        "issued": by_class(&counters.issued),
        "active_lanes": by_class(&counters.active_lanes),
        "accesses": accesses,
        "global_read_bytes": counters.global_read_bytes,
        "fetched_bytes": counters.fetched_bytes,
        "global_written_bytes": counters.global_written_bytes,
        "shared_read_bytes": counters.shared_read_bytes,
        "shared_written_bytes": counters.shared_written_bytes,
        "local_read_bytes": counters.local_read_bytes,
        "local_written_bytes": counters.local_written_bytes,
        "parameter_read_bytes": counters.parameter_read_bytes,
        "atomic_bytes": counters.atomic_bytes,
        "bulk_loads": counters.bulk_loads,
        "bulk_loaded_bytes": counters.bulk_loaded_bytes,
        "bulk_stores": counters.bulk_stores,
        "bulk_stored_bytes": counters.bulk_stored_bytes,
        "bulk_exchanges": counters.bulk_exchanges,
        "bulk_exchanged_bytes": counters.bulk_exchanged_bytes,
        "out_of_bounds_bytes": counters.out_of_bounds_bytes,
        "barrier_arrivals": counters.barrier_arrivals,
        "mbarrier_waits_met": counters.mbarrier_waits_met,
        "mbarrier_waits_blocked": counters.mbarrier_waits_blocked,
        "matrix_macs": counters.matrix_macs,
        "padded_macs": counters.padded_macs,
        "max_live_registers": counters.max_live_registers,
    });
    if !counters.links.is_empty() {
        object["links"] = counters.links.iter().map(link_to_json).collect();
    }
    object
}

/// The counters of a link as the counters file has them.
#[cfg(feature = "ptxsim")]
#[must_use]
pub fn link_to_json(link: &LinkCounters) -> serde_json::Value {
    use serde_json::json;
    let mut object = json!({ "from": link.from, "to": link.to });
    for (link_use, name) in LinkUse::ALL {
        let Traffic { messages, bytes } = link.of(link_use);
        object[name] = json!({ "messages": messages, "bytes": bytes });
    }
    object
}

impl std::fmt::Display for LinkCounters {
    /// One line, without the uses that there were none of.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "device {} to memory of device {}:", self.from, self.to)?;
        let used = LinkUse::ALL.into_iter().filter(|(link_use, _)| self.of(*link_use) != Traffic::default());
        for (number, (link_use, name)) in used.enumerate() {
            let Traffic { messages, bytes } = self.of(link_use);
            let separator = if number == 0 { " " } else { ", " };
            write!(f, "{separator}{} in {messages} messages of {bytes} bytes", name.replace('_', " "))?;
        }
        Ok(())
    }
}
