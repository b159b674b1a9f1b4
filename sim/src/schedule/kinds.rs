//! Schedules: how the choices that the PTX ISA leaves open are made, and the stress that brings hidden mistakes out.

/// How the choices that a run leaves open are made. With the seed it decides them all: the same program, input, schedule
/// and seed give the same bytes, counters and reports. Written and read as a specification such as
/// `round-robin,copies=late,elect=highest`.
///
/// Every kind of stress is legal: a kernel that gives other values under it, or stops, is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Who runs next.
    pub order: Order,
    /// When asynchronous copies go on: bulk and tensor copies, `cp.async`, `st.async`.
    pub copies: When,
    /// Whether bulk and tensor copies into shared memory land in shreds of 16 bytes, out of order.
    pub shredded: bool,
    /// When `wgmma` is executed, once all four warps have issued it.
    pub products: When,
    /// Warps that run when no other can.
    pub starved: Option<Starved>,
    /// What runs before everything else for as long as it can.
    pub ahead: Option<Ahead>,
    /// Of a hundred `mbarrier.try_wait` that may wait, those that answer `false` at once; `None` leaves it to the order.
    pub spurious: Option<u8>,
    /// Whether lanes that meet after a branch run together again; else only a `.sync` brings them together.
    pub reconverge: bool,
    /// Whom `elect.sync` chooses.
    pub leader: Leader,
    /// Whether strong loads (relaxed, volatile, acquire) of global and shared memory return older values at times, as far
    /// as the memory model lets them. Takes race detection, which knows what is ordered; without it nothing is older.
    pub stale: bool,
    /// Decisions of a cluster (or of clusters that run together) after which everything goes round robin, without stress.
    pub until: Option<u64>,
}

/// Who runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// By the seed: turns of random length, beginning with a random cluster and warp.
    Random,
    /// Everything in turn: clusters, warps, copies.
    RoundRobin,
    /// Every warp, and the asynchronous work of every cluster, has a priority by the seed; the highest that can run does.
    /// At `changes` synchronising instructions, chosen by the seed, the priority of who runs drops below all others
    /// (probabilistic concurrency testing: Burckhardt et al., ASPLOS 2010, with d = `changes` + 1).
    Priorities {
        /// How often a priority changes.
        changes: u32,
    },
}

/// When asynchronous work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Between turns, as the order says.
    Between,
    /// At once, before the next instruction.
    Early,
    /// At the last moment: when nothing else can run.
    Late,
}

/// Warps of every CTA that run when no other can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Starved {
    /// A warp by its number in the CTA.
    Warp(u32),
    /// Four consecutive warps, by number of the warpgroup in the CTA.
    Warpgroup(u32),
}

/// What runs for as long as it can before anything else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ahead {
    /// A CTA by its rank in its cluster.
    Cta(u32),
    /// A cluster by its number in the grid, among those that run together.
    Cluster(u64),
    /// All kernels of a device.
    Device(u32),
}

/// Whom `elect.sync` chooses. The same lane for the same membermask every time (PTX ISA 9.7.14.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leader {
    /// The lowest lane.
    Lowest,
    /// The highest lane.
    Highest,
    /// A lane by the seed and the membermask.
    Random,
}

impl Schedule {
    /// Seeded order and no stress: the default.
    pub const RANDOM: Self = Self {
        order: Order::Random,
        copies: When::Between,
        shredded: false,
        products: When::Between,
        starved: None,
        ahead: None,
        spurious: None,
        reconverge: true,
        leader: Leader::Lowest,
        stale: false,
        until: None,
    };

    /// The simplest schedule, the same for every seed.
    pub const ROUND_ROBIN: Self = Self { order: Order::RoundRobin, ..Self::RANDOM };

    /// The standard set that tests sweep: every order, every kind of stress alone, and combinations.
    #[must_use]
    pub fn stress() -> Vec<Self> {
        let plain = Self::RANDOM;
        let priorities = |changes| Self { order: Order::Priorities { changes }, ..plain };
        vec![
            plain,
            Self::ROUND_ROBIN,
            priorities(1),
            priorities(2),
            priorities(3),
            Self { copies: When::Late, ..plain },
            Self { copies: When::Early, ..plain },
            Self { shredded: true, ..plain },
            Self { products: When::Late, ..plain },
            Self { products: When::Early, ..plain },
            Self { starved: Some(Starved::Warp(0)), ..plain },
            Self { starved: Some(Starved::Warpgroup(0)), ..plain },
            Self { starved: Some(Starved::Warpgroup(1)), ..plain },
            Self { ahead: Some(Ahead::Cta(0)), ..plain },
            Self { ahead: Some(Ahead::Cta(1)), ..plain },
            Self { ahead: Some(Ahead::Cluster(0)), ..plain },
            Self { ahead: Some(Ahead::Device(0)), ..plain },
            Self { spurious: Some(75), ..plain },
            Self { reconverge: false, ..plain },
            Self { leader: Leader::Highest, ..plain },
            Self { leader: Leader::Random, ..plain },
            Self { stale: true, ..plain },
            Self { stale: true, ..priorities(3) },
            Self { copies: When::Late, shredded: true, products: When::Late, ..plain },
            Self { copies: When::Early, products: When::Late, leader: Leader::Random, ..plain },
            Self { copies: When::Late, products: When::Early, spurious: Some(50), ..priorities(2) },
            Self { reconverge: false, leader: Leader::Highest, shredded: true, ..priorities(3) },
        ]
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::RANDOM
    }
}
