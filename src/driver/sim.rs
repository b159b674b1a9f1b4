//! The simulator as a device: every operation is done when it is submitted, or noted while a graph is captured.

use super::backend::LaunchShape;
use super::contract::{Argument, Contract, SwizzleMode, TensorMap};
use super::device::{MemoryInfo, Properties};
use super::memory::Mode;
use super::{ArgumentError, ElementType, Error, Result, Target};
use rorqual_kernels::cubin::Cubin;
use rorqual_sim::memory::MemoryError;
use rorqual_sim::tensor_map::{self, TileSpec};
use rorqual_sim::{Device, DeviceError, DevicePointer};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

pub use rorqual_sim::Options as SimulatorOptions;

/// A simulated device.
#[derive(Debug, Clone)]
pub(super) struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    device: Mutex<Device>,
    /// The threads that launches run on. They are the device's own: a thread of the caller's pool that waited for its
    /// launch would go on with other work of that pool, which may want the same device.
    pool: rayon::ThreadPool,
}

/// Numbers devices, so that no two are the same.
static DEVICES: AtomicU64 = AtomicU64::new(0);

impl Context {
    pub fn new(target: Target, options: SimulatorOptions) -> Result<(Self, u64, Properties)> {
        let failed = |source| simulator("open a simulated device", source);
        if target.architecture().is_none() {
            return Err(failed(DeviceError::Architecture(target)));
        }
        let mut device = Device::new(target).map_err(failed)?;
        let limits = *device.limits();
        let properties = Properties {
            name: format!("simulated {target}"),
            target,
            multiprocessors: limits.multiprocessors,
            shared_bytes: limits.shared_bytes,
        };
        let threads = if options.threads == 0 { rayon::current_num_threads() } else { options.threads };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
            Error::UnsupportedDevice { device: properties.name.clone(), reason: error.to_string() }
        })?;
        *device.options_mut() = options;
        let shared = Arc::new(Shared { device: Mutex::new(device), pool });
        Ok((Self { shared }, DEVICES.fetch_add(1, Ordering::Relaxed), properties))
    }

    pub fn memory_info(&self) -> Result<MemoryInfo> {
        let device = self.shared.device();
        let total = device.options().memory_budget;
        let used: u64 = device.memory().allocations().map(|allocation| allocation.size()).sum();
        Ok(MemoryInfo { free: total.saturating_sub(used), total })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub const fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn stream(&self) -> Result<Stream> {
        Ok(Stream { shared: Arc::clone(&self.shared), captured: Mutex::new(None) })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn pinned(&self, bytes: usize) -> Result<Pinned> {
        Ok(Pinned(vec![0; bytes.div_ceil(8)]))
    }

    /// The text: what runs here is never machine code.
    pub fn load(&self, ptx: &str, _cubin: Option<&Cubin>, _kernels: &[String]) -> Result<Module> {
        self.shared.device().load(ptx).map(Module).map_err(|source| simulator("load", source))
    }
}

impl Shared {
    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a launch on the threads of the device.
    fn launch(&self, launch: &rorqual_sim::Launch) -> Result<rorqual_sim::Outcome, DeviceError> {
        let device = &mut *self.device();
        let mut run = || self.pool.install(|| device.launch(launch));
        if rayon::current_thread_index().is_none() {
            return run();
        }
        // A thread of a pool would do other work of its pool while it waits, with the device locked.
        std::thread::scope(|scope| {
            scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn perform(&self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Copy { from, to, bytes } => self.copy(*from, *to, *bytes),
            Operation::Zero { address, bytes } => {
                memory("zero", self.device().memory().fill(*address, *bytes, 0))
            }
            Operation::Poison { address, bytes } => {
                memory("poison", self.device().memory().poison(*address, *bytes))
            }
            Operation::Launch { kernel, launch } => {
                let outcome = self.launch(launch).map_err(|source| simulator("launch", source))?;
                print_output(&outcome.output);
                if outcome.reports.is_empty() {
                    return Ok(());
                }
                Err(Error::Simulated { kernel: kernel.clone(), reports: outcome.reports })
            }
        }
    }

    /// Copies bytes, and whether they are defined.
    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()> {
        let device = self.device();
        let memory_of_device = device.memory().device(0);
        let (mut data, mut flags) = (vec![0; bytes as usize], vec![0; bytes as usize]);
        memory("copy", memory_of_device.read_range(from, &mut data, &mut flags))?;
        memory("copy", memory_of_device.write_range(to, &data, &flags, 0))
    }
}

/// What kernels printed goes where a driver prints it.
fn print_output(output: &[u8]) {
    if let Err(error) = io::stdout().write_all(output) {
        tracing::warn!(%error, "the output of a kernel was not printed");
    }
}

fn simulator(operation: &'static str, source: DeviceError) -> Error {
    match source {
        DeviceError::Parse(error) => error.into(),
        DeviceError::Verify(error) => error.into(),
        source => Error::Simulator { operation, source: Box::new(source) },
    }
}

fn memory<T>(operation: &'static str, result: Result<T, MemoryError>) -> Result<T> {
    result.map_err(|error| simulator(operation, error.into()))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

/// Operations are done when they are submitted: all streams of a device are one.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<Shared>,
    /// What was submitted since the capture began.
    captured: Mutex<Option<Vec<Operation>>>,
}

/// What a graph can do again.
#[derive(Debug)]
enum Operation {
    Copy { from: u64, to: u64, bytes: u64 },
    Zero { address: u64, bytes: u64 },
    Poison { address: u64, bytes: u64 },
    Launch { kernel: String, launch: Box<rorqual_sim::Launch> },
}

impl Stream {
    fn captured(&self) -> MutexGuard<'_, Option<Vec<Operation>>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, operation: Operation) -> Result<()> {
        if let Some(operations) = &mut *self.captured() {
            operations.push(operation);
            return Ok(());
        }
        self.shared.perform(&operation)
    }

    /// Undefined memory; `None` if there is not enough.
    pub fn allocate(&self, bytes: u64) -> Result<Option<Memory>> {
        match self.shared.device().allocate("buffer", bytes) {
            Ok(DevicePointer(address)) => Ok(Some(Memory { address })),
            Err(DeviceError::Memory(error)) if error.is_limit() => Ok(None),
            Err(source) => Err(simulator("allocate", source)),
        }
    }

    pub fn release(&self, memory: Memory) -> Result<()> {
        let freed = self.shared.device().free(DevicePointer(memory.address));
        freed.map_err(|source| simulator("free", source))
    }

    /// Memory of somebody else.
    pub fn adopt(&self, address: u64, bytes: u64) -> Result<Memory> {
        memory("borrow memory", self.shared.device().memory().is_defined(address, bytes))?;
        Ok(Memory { address })
    }

    pub fn upload(&self, to: &Memory, offset: u64, bytes: &[u8]) -> Result<()> {
        memory("write", self.shared.device().memory().write(to.address + offset, bytes))
    }

    pub fn download(&self, from: &Memory, offset: u64, bytes: &mut [u8]) -> Result<()> {
        memory("read", self.shared.device().memory().read(from.address + offset, bytes))
    }

    pub fn transfer(
        &self,
        block: &Memory,
        offset: u64,
        bytes: usize,
        mut pinned: Pinned,
        mode: Mode,
    ) -> Result<Transfer> {
        match mode {
            Mode::Write => self.upload(block, offset, &pinned.bytes()[..bytes])?,
            Mode::Read => self.download(block, offset, &mut pinned.bytes_mut()[..bytes])?,
        }
        Ok(Transfer(pinned))
    }

    pub fn copy(
        &self,
        from: &Memory,
        from_offset: u64,
        to: &Memory,
        to_offset: u64,
        bytes: u64,
    ) -> Result<()> {
        self.submit(Operation::Copy { from: from.address + from_offset, to: to.address + to_offset, bytes })
    }

    pub fn zero(&self, block: &Memory, offset: u64, bytes: u64) -> Result<()> {
        self.submit(Operation::Zero { address: block.address + offset, bytes })
    }

    pub fn poison(&self, block: &Memory, offset: u64, bytes: u64) -> Result<()> {
        self.submit(Operation::Poison { address: block.address + offset, bytes })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn record(&self, _timed: bool) -> Result<Event> {
        Ok(Event(Instant::now()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub const fn wait(&self, _event: &Event) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub const fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    pub fn launch(&self, function: &Function, shape: &LaunchShape, arguments: &[Argument]) -> Result<()> {
        let mut launch = rorqual_sim::Launch::new(&function.module, &function.name)
            .ctas(shape.grid)
            .threads([shape.threads, 1, 1])
            .dynamic_shared_bytes(shape.shared_bytes);
        if let Some(cluster) = shape.cluster {
            launch = launch.cluster(cluster);
        }
        for (index, argument) in arguments.iter().enumerate() {
            launch = match argument {
                Argument::Address(value) | Argument::U64(value) => launch.argument(*value),
                Argument::U32(value) => launch.argument(*value),
                Argument::F32(value) => launch.argument(*value),
                Argument::TensorMap(map) => {
                    let encoded = encode(map).map_err(|source| Error::Argument {
                        kernel: function.name.clone(),
                        parameter: index.to_string(),
                        source,
                    })?;
                    launch.argument(&encoded)
                }
            };
        }
        self.submit(Operation::Launch { kernel: function.name.clone(), launch: Box::new(launch) })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn begin_capture(&self) -> Result<()> {
        *self.captured() = Some(Vec::new());
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn end_capture(&self) -> Result<Graph> {
        Ok(Graph(self.captured().take().unwrap_or_default()))
    }

    pub fn launch_graph(&self, graph: &Graph) -> Result<()> {
        graph.0.iter().try_for_each(|operation| self.shared.perform(operation))
    }
}

/// The map as the simulator reads it.
///
/// # Errors
///
/// If it breaks a rule of tensor maps.
pub(crate) fn encode(map: &TensorMap) -> Result<tensor_map::TensorMap, ArgumentError> {
    let element = match map.element {
        ElementType::Bf16 => tensor_map::ElementType::Bf16,
        ElementType::F16 => tensor_map::ElementType::F16,
        ElementType::F32 => tensor_map::ElementType::F32,
        ElementType::E4m3 | ElementType::E5m2 | ElementType::U8 => tensor_map::ElementType::U8,
        ElementType::U32 => tensor_map::ElementType::U32,
        ElementType::I32 => tensor_map::ElementType::S32,
        ElementType::U64 => tensor_map::ElementType::U64,
    };
    let swizzle = match map.swizzle {
        SwizzleMode::None => tensor_map::Swizzle::None,
        SwizzleMode::B32 => tensor_map::Swizzle::B32,
        SwizzleMode::B64 => tensor_map::Swizzle::B64,
        SwizzleMode::B128 => tensor_map::Swizzle::B128,
    };
    let ones = vec![1; map.extents.len()];
    TileSpec::new(element, map.address, &map.extents, &map.strides_bytes, &map.box_extents, &ones)
        .and_then(|spec| tensor_map::TensorMap::encode(&TileSpec { swizzle, ..spec }))
        .map_err(|error| ArgumentError::TensorMap { rule: error.to_string(), given: format!("{map:?}") })
}

/// Memory of the device.
#[derive(Debug)]
pub(super) struct Memory {
    address: u64,
}

impl Memory {
    pub const fn address(&self) -> u64 {
        self.address
    }
}

/// When it was recorded, which is when the work before had been done.
#[derive(Debug)]
pub(super) struct Event(Instant);

impl Event {
    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub const fn is_complete(&self) -> Result<bool> {
        Ok(true)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub const fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn elapsed(&self, later: &Self) -> Result<Duration> {
        Ok(later.0.duration_since(self.0))
    }
}

/// A loaded module.
#[derive(Debug)]
pub(super) struct Module(rorqual_sim::Module);

impl Module {
    #[expect(clippy::unused_self, reason = "the other backend has both kinds")]
    pub const fn is_machine_code(&self) -> bool {
        false
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn function(&self, contract: &Contract) -> Result<Function> {
        Ok(Function { module: self.0.clone(), name: contract.kernel.clone() })
    }
}

/// A kernel of a module.
#[derive(Debug)]
pub(super) struct Function {
    module: rorqual_sim::Module,
    name: String,
}

/// Operations in order.
#[derive(Debug)]
pub(super) struct Graph(Vec<Operation>);

/// Ordinary memory, aligned to 8 bytes.
#[derive(Debug)]
pub(super) struct Pinned(Vec<u64>);

impl Pinned {
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
    }
}

/// A copy that was done when it began.
#[derive(Debug)]
pub(super) struct Transfer(Pinned);

impl Transfer {
    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub fn wait(self) -> Result<Pinned> {
        Ok(self.0)
    }
}
