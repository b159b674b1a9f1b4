//! What a micro-operation sees while it runs: its warp's registers, its cluster, the launch.
//!
//! Every access of a kernel to memory and every synchronisation passes through here: what race detection must know of
//! them is told by [`observe`](crate::exec::observe).

use crate::cluster::ClusterState;
use crate::counters::Counters;
use crate::grid::Grid;
use crate::l2::L2;
use crate::program::Program;
use crate::registers::{Destination, LANES, Source, as_pair};
use crate::report::{Fault, Rule, lanes as name_lanes, verb};
use crate::warp::{Fragment, Wait, Warp};

/// A seeded sequence of numbers (SplitMix64): the only source of chance in a run.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound.max(1)
    }
}

/// Spreads the bits of a number over all 64.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Time and chance, shared by the clusters that run together.
#[derive(Debug)]
pub struct World {
    /// Virtual nanoseconds, also cycles.
    pub time: u64,
    /// Decides what the PTX ISA leaves open.
    pub scheduler: crate::schedule::Scheduler,
    /// Warp instructions issued.
    pub instructions: u64,
    /// Bytes that registers, local and shared memory take on the host.
    pub memory: u64,
    /// Looks for races, if the launch asks for it.
    pub race: Option<Box<crate::race::RaceDetector>>,
    /// What strong loads may still return, if the schedule has them return it.
    pub history: Option<Box<crate::race::older::History>>,
    /// The L2 cache of each device; none unless the launch asks for them.
    pub caches: Vec<L2>,
}

impl World {
    /// Takes memory of the host, before it is allocated.
    ///
    /// # Errors
    ///
    /// If that exceeds the budget.
    pub fn take_memory(&mut self, bytes: u64, grid: &Grid<'_>) -> Result<(), Box<Fault>> {
        self.memory = self.memory.saturating_add(bytes);
        let budget = grid.options.memory_budget;
        if self.memory <= budget {
            return Ok(());
        }
        Err(Box::new(Fault::new(
            Rule::MemoryBudget,
            format!(
                "registers, local and shared memory of the CTAs that run together take more than {budget} bytes"
            ),
        )))
    }
}

/// The state that a micro-operation works on.
#[derive(Debug)]
pub struct Context<'a> {
    /// The decoded module.
    pub program: &'a Program,
    /// The launch.
    pub grid: &'a Grid<'a>,
    /// The cluster.
    pub cluster: &'a mut ClusterState,
    /// Time and chance.
    pub world: &'a mut World,
    /// The warp.
    pub warp: &'a mut Warp,
    /// The number of the warp in the cluster.
    pub warp_number: usize,
    /// The fragment that runs; not among the warp's while it does. Its `pc` is that of the current micro-operation.
    pub fragment: Fragment,
    /// The lanes that take part in the current micro-operation.
    pub mask: u32,
    /// The PTX line of the current micro-operation.
    pub line: u32,
    /// Counters.
    pub counters: &'a mut Counters,
}

impl Context<'_> {
    /// A 32-bit operand.
    #[inline]
    #[must_use]
    pub fn u32(&self, source: Source) -> &[u32; LANES] {
        if source.is_constant() {
            &self.program.constants[source.index()].0
        } else {
            self.warp.registers.slot(source.index())
        }
    }

    /// A 64-bit operand.
    #[inline]
    #[must_use]
    pub fn u64(&self, source: Source) -> &[u64; LANES] {
        if source.is_constant() {
            as_pair(&self.program.constants[source.index()..source.index() + 2])
        } else {
            self.warp.registers.pair(source.index())
        }
    }

    /// The two 64-bit halves of a 128-bit operand, low half first.
    #[inline]
    #[must_use]
    pub fn u128(&self, source: Source) -> [&[u64; LANES]; 2] {
        [self.u64(source), self.u64(Source(source.0 + 2))]
    }

    /// A float operand, as bits of a 32-bit register.
    #[inline]
    #[must_use]
    pub fn f32(&self, source: Source) -> &[f32; LANES] {
        bytemuck::cast_ref(self.u32(source))
    }

    /// A float operand, as bits of a 64-bit register.
    #[inline]
    #[must_use]
    pub fn f64(&self, source: Source) -> &[f64; LANES] {
        bytemuck::cast_ref(self.u64(source))
    }

    /// The active lanes whose operand is undefined.
    ///
    /// # Errors
    ///
    /// If the operand belongs to a matrix product in flight.
    #[inline]
    pub fn taint(&self, source: Source) -> Result<u32, Box<Fault>> {
        if source.is_constant() {
            return Ok(0);
        }
        let undefined = self.warp.registers.undefined(source.index()) & self.mask;
        if undefined != 0 && !self.warp.flight.matrices.is_empty() {
            self.check_not_in_flight(source.index(), "reads")?;
        }
        Ok(undefined)
    }

    fn check_not_in_flight(&self, slot: usize, does: &str) -> Result<(), Box<Fault>> {
        let slot = self.fragment.frame.base + u32::try_from(slot).expect("a slot number");
        for matrix in &self.warp.flight.matrices {
            if matrix.writes(slot) {
                return Err(Box::new(
                    Fault::new(
                        Rule::InFlight,
                        format!("{does} an accumulator of a wgmma that no wgmma.wait_group has retired"),
                    )
                    .with_other(matrix.line),
                ));
            }
            if does == "writes" && matrix.reads(slot) {
                return Err(Box::new(
                    Fault::new(
                        Rule::InFlight,
                        format!("{does} an operand register of a wgmma that no wgmma.wait_group has retired"),
                    )
                    .with_other(matrix.line),
                ));
            }
        }
        Ok(())
    }

    /// Demands that an operand is defined in all active lanes; `what` says what it is.
    ///
    /// # Errors
    ///
    /// If it is not.
    #[inline]
    pub fn require_defined(&self, source: Source, what: &str) -> Result<(), Box<Fault>> {
        let undefined = self.taint(source)?;
        if undefined == 0 || !self.grid.options.check_initialized {
            return Ok(());
        }
        Err(self.undefined_fault(undefined, what))
    }

    /// The fault of an undefined operand.
    #[cold]
    #[must_use]
    pub fn undefined_fault(&self, undefined: u32, what: &str) -> Box<Fault> {
        Box::new(Fault::new(
            Rule::Uninitialized,
            format!(
                "{what} depends on a register or memory that was never written, in {}",
                name_lanes(undefined)
            ),
        ))
    }

    /// Writes a 32-bit register in the active lanes.
    ///
    /// # Errors
    ///
    /// If the register belongs to a matrix product in flight.
    #[inline]
    pub fn write_u32(
        &mut self,
        to: Destination,
        values: &[u32; LANES],
        undefined: u32,
    ) -> Result<(), Box<Fault>> {
        let index = usize::from(to.0);
        self.prepare_write(index)?;
        let mask = self.mask;
        let slot = self.warp.registers.slot_mut(index);
        if mask == u32::MAX {
            *slot = *values;
        } else {
            for lane in 0..LANES {
                slot[lane] = if mask >> lane & 1 == 1 { values[lane] } else { slot[lane] };
            }
        }
        let flags = self.warp.registers.undefined_mut(index);
        *flags = *flags & !mask | undefined & mask;
        Ok(())
    }

    /// Writes a 64-bit register in the active lanes.
    ///
    /// # Errors
    ///
    /// If the register belongs to a matrix product in flight.
    #[inline]
    pub fn write_u64(
        &mut self,
        to: Destination,
        values: &[u64; LANES],
        undefined: u32,
    ) -> Result<(), Box<Fault>> {
        let index = usize::from(to.0);
        self.prepare_write(index)?;
        let mask = self.mask;
        let pair = self.warp.registers.pair_mut(index);
        if mask == u32::MAX {
            *pair = *values;
        } else {
            for lane in 0..LANES {
                pair[lane] = if mask >> lane & 1 == 1 { values[lane] } else { pair[lane] };
            }
        }
        let flags = self.warp.registers.undefined_mut(index);
        *flags = *flags & !mask | undefined & mask;
        Ok(())
    }

    #[inline]
    fn prepare_write(&self, index: usize) -> Result<(), Box<Fault>> {
        if self.warp.flight.matrices.is_empty() { Ok(()) } else { self.check_not_in_flight(index, "writes") }
    }

    /// A predicate: the active lanes where it is true.
    #[inline]
    #[must_use]
    pub fn predicate(&self, index: u16) -> u32 {
        self.warp.registers.predicate(usize::from(index)) & self.mask
    }

    /// The active lanes whose predicate is undefined.
    #[inline]
    #[must_use]
    pub fn predicate_taint(&self, index: u16) -> u32 {
        self.warp.registers.undefined_predicate(usize::from(index)) & self.mask
    }

    /// Writes a predicate in the active lanes.
    #[inline]
    pub fn write_predicate(&mut self, index: u16, value: u32, undefined: u32) {
        self.warp.registers.set_predicate(usize::from(index), self.mask, value, undefined);
    }

    /// The active lanes, lowest first.
    pub fn active(&self) -> impl Iterator<Item = usize> + use<> {
        let mask = self.mask;
        (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
    }

    /// The value of an operand that must be the same and defined in every active lane.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn uniform_u64(&self, source: Source, wide: bool, what: &str) -> Result<u64, Box<Fault>> {
        self.require_defined(source, what)?;
        let first = self.mask.trailing_zeros() as usize;
        let (value, others) = if wide {
            let values = self.u64(source);
            (values[first], lanes_unlike(values, first))
        } else {
            let values = self.u32(source);
            (u64::from(values[first]), lanes_unlike(values, first))
        };
        let others = others & self.mask;
        if others == 0 {
            return Ok(value);
        }
        let lane = others.trailing_zeros() as usize;
        let other = if wide { self.u64(source)[lane] } else { u64::from(self.u32(source)[lane]) };
        Err(Box::new(Fault::new(
            Rule::Convergence,
            format!(
                "{what} differs between the lanes: {value:#x} in lane {first}, {other:#x} in lane {lane}"
            ),
        )))
    }

    /// Waits: the same micro-operation runs again when the wait is over.
    pub fn wait(&mut self, wait: Wait) -> crate::program::Flow {
        self.fragment.wait = wait;
        crate::program::Flow::Blocked
    }

    /// Waits, and goes on with the next micro-operation when the wait is over.
    pub fn wait_then_next(&mut self, wait: Wait) -> crate::program::Flow {
        self.fragment.wait = wait;
        crate::program::Flow::BlockedAfter
    }

    /// Whether every lane of `need` that has not exited executes this micro-operation now; else the fragment has to
    /// wait for them: the caller returns the flow.
    ///
    /// `aligned` demands that they come to this very instruction.
    pub fn gather(&mut self, need: u32, aligned: bool) -> Option<crate::program::Flow> {
        let need = need & self.warp.alive();
        if need & !self.mask == 0 {
            return None;
        }
        let key = u64::from(self.fragment.pc);
        Some(self.wait(Wait::Gather { need, key, aligned }))
    }

    /// Demands that all 32 lanes of the warp are there and convergent, for instructions that a lane's exit makes
    /// undefined. `Ok(Some(flow))` has the fragment wait for the others.
    ///
    /// # Errors
    ///
    /// If lanes have exited or never existed.
    pub fn whole_warp(&mut self, what: &str) -> Result<Option<crate::program::Flow>, Box<Fault>> {
        let missing = !self.warp.lanes | self.warp.exited;
        if missing != 0 {
            return Err(Box::new(Fault::new(
                Rule::Convergence,
                format!(
                    "{what} needs all 32 lanes of the warp, {} {} or {} not exist",
                    name_lanes(missing),
                    verb(missing, "has exited", "have exited"),
                    verb(missing, "does", "do")
                ),
            )));
        }
        Ok(self.gather(u32::MAX, true))
    }
}

/// The lanes whose value is not that of lane `first`.
fn lanes_unlike<T: Copy + PartialEq>(values: &[T; LANES], first: usize) -> u32 {
    let value = values[first];
    values.iter().enumerate().fold(0, |lanes, (lane, other)| lanes | u32::from(*other != value) << lane)
}
