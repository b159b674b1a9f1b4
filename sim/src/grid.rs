//! A launch: the kernel, its grid, its arguments, and how it is to be run.

use crate::memory::{DeviceMemory, GlobalMemory};
use crate::program::{KernelInfo, Program};
use crate::race::RacePolicy;
use crate::schedule::Schedule;
use crate::target_limits::Limits;
use crate::tensor_core::{Generation, Precision};
use crate::trace::TraceTarget;
use rorqual_ptx::target::Target;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a launch is run. The defaults are what users want: every check that is built, exact matrix products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Decides, by the schedule, what the PTX ISA leaves open.
    pub seed: u64,
    /// How the order of warps and asynchronous operations and other choices that the PTX ISA leaves open are decided.
    pub schedule: Schedule,
    /// How matrix products are added up.
    pub precision: Precision,
    /// Whether approximations are moved within their documented error, by the seed.
    pub perturb_approximations: bool,
    /// Whether undefined values that reach an address, a branch or an output are faults.
    pub check_initialized: bool,
    /// How races are looked for; `None` looks for none.
    pub race: Option<RacePolicy>,
    /// The cluster whose trace is recorded, if any.
    pub trace: Option<TraceTarget>,
    /// Whether accesses are counted per PTX line, and multiply-adds of padding.
    pub count_accesses: bool,
    /// The bytes of the [model of the L2 cache](crate::l2) that counts what reads fetch from memory, if it is asked for. The
    /// launch then runs on one thread.
    pub l2_bytes: Option<u64>,
    /// Warp instructions that a launch may issue.
    pub instruction_budget: u64,
    /// Bytes of the host's memory that global memory may take, and again registers, local and shared memory of the
    /// clusters that run together.
    pub memory_budget: u64,
    /// Threads of the host that run CTAs; 0 takes all cores.
    pub threads: usize,
    /// A tensor copy to global memory may not start at a negative coordinate, as the manual asks; else it is clipped.
    pub strict_store_start: bool,
    /// Integer division by zero is a fault rather than all ones.
    pub report_division_by_zero: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            schedule: Schedule::default(),
            precision: Precision::Exact,
            perturb_approximations: false,
            check_initialized: true,
            race: Some(RacePolicy::default()),
            trace: None,
            count_accesses: false,
            l2_bytes: None,
            instruction_budget: 20_000_000_000,
            memory_budget: 16 << 30,
            threads: 0,
            strict_store_start: false,
            report_division_by_zero: true,
        }
    }
}

/// One kernel launch.
#[derive(Debug)]
pub struct Grid<'a> {
    /// The decoded module.
    pub program: Arc<Program>,
    /// The kernel's name.
    pub name: String,
    /// The kernel.
    pub kernel: KernelInfo,
    /// CTAs.
    pub ctas: [u32; 3],
    /// Threads of a CTA.
    pub threads: [u32; 3],
    /// CTAs of a cluster.
    pub cluster: [u32; 3],
    /// Whether the launch or the kernel names a cluster.
    pub explicit_cluster: bool,
    /// Dynamic shared memory in bytes.
    pub dynamic_shared_bytes: u32,
    /// The parameter space.
    pub parameters: Vec<u8>,
    /// The device.
    pub device: u32,
    /// The devices that there are.
    pub devices: u32,
    /// All devices' memory.
    pub memory: &'a GlobalMemory,
    /// The architecture that runs it.
    pub arch: Target,
    /// Its limits.
    pub limits: Limits,
    /// How its tensor cores add up.
    pub generation: Generation,
    /// Workspace of a cooperative launch, as `%envreg1` (high) and `%envreg2` (low) give it; 0 without.
    pub grid_workspace: u64,
    /// Tensor maps in global memory that the launch has edited, and that no thread has acquired since.
    pub edited_maps: EditedMaps,
    /// How it is run.
    pub options: Options,
    /// Number of the launch, `%gridid`.
    pub number: u64,
}

/// Addresses of tensor maps and the PTX lines that wrote them. Tensor copies read maps through a proxy of their own: a
/// map that a kernel writes is theirs to use after `fence.proxy.tensormap::generic.acquire` (PTX ISA 8.6).
#[derive(Debug, Default)]
pub struct EditedMaps(Mutex<FxHashMap<u64, u32>>);

impl EditedMaps {
    /// A map is written.
    pub fn edit(&self, address: u64, line: u32) {
        self.maps().insert(address, line);
    }

    /// A map is acquired, by any thread: who orders it with whom is not followed.
    pub fn acquire(&self, address: u64) {
        self.maps().remove(&address);
    }

    /// The line that wrote a map which nobody has acquired.
    #[must_use]
    pub fn not_acquired(&self, address: u64) -> Option<u32> {
        self.maps().get(&address).copied()
    }

    fn maps(&self) -> MutexGuard<'_, FxHashMap<u64, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grid<'_> {
    /// Global memory as the device sees it.
    #[must_use]
    pub fn global(&self) -> DeviceMemory<'_> {
        self.memory.device(self.device)
    }

    /// Threads of a CTA.
    #[must_use]
    pub fn thread_count(&self) -> u32 {
        self.threads.iter().product()
    }

    /// CTAs of a cluster.
    #[must_use]
    pub fn cluster_size(&self) -> u32 {
        self.cluster.iter().product()
    }

    /// Clusters of the grid, by axis.
    #[must_use]
    pub fn clusters(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.ctas[axis] / self.cluster[axis])
    }

    /// The flat index of the cluster to trace, if it is of this launch.
    #[must_use]
    pub fn traced_cluster(&self) -> Option<u64> {
        let target = self.options.trace.filter(|target| target.launch == self.number)?;
        let [x, y, _] = self.ctas.map(u64::from);
        let cta = [target.cta % x, target.cta / x % y, target.cta / x / y];
        let [x, y, z] = std::array::from_fn(|axis| cta[axis] / u64::from(self.cluster[axis]));
        let [width, height, _] = self.clusters().map(u64::from);
        Some((z * height + y) * width + x)
    }

    /// Clusters of the grid.
    #[must_use]
    pub fn cluster_count(&self) -> u64 {
        self.clusters().iter().map(|extent| u64::from(*extent)).product()
    }
}
