//! The simulated device: memory, modules, launches. The API that tests and `ptxsim` use.
//!
//! ```
//! use rorqual_sim::{Argument, Device, Launch};
//!
//! let text = "
//!     .version 7.0
//!     .target sm_80
//!     .address_size 64
//!     .visible .entry scale(.param .u64 data, .param .f32 factor) {
//!         .reg .u32 %r<2>; .reg .u64 %rd<4>; .reg .f32 %f<4>;
//!         ld.param.u64 %rd1, [data];
//!         ld.param.f32 %f1, [factor];
//!         mov.u32 %r1, %tid.x;
//!         mul.wide.u32 %rd2, %r1, 4;
//!         add.u64 %rd3, %rd1, %rd2;
//!         ld.global.f32 %f2, [%rd3];
//!         mul.rn.f32 %f3, %f2, %f1;
//!         st.global.f32 [%rd3], %f3;
//!         ret;
//!     }";
//! let mut device = Device::new("sm_80".parse()?)?;
//! let module = device.load(text)?;
//! let data = device.allocate_from("data", &[1.0f32, 2.0, 3.0].map(f32::to_le_bytes).concat())?;
//! let launch = Launch::new(&module, "scale").threads([3, 1, 1]).argument(data).argument(0.5f32);
//! let outcome = device.launch(&launch)?;
//! assert!(outcome.reports.is_empty());
//! assert_eq!(device.read(data, 12)?, [0.5f32, 1.0, 1.5].map(f32::to_le_bytes).concat());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::grid::{EditedMaps, Grid, Options};
use crate::load::{LoadError, load};
use crate::machine::{self, Outcome};
use crate::memory::{GlobalMemory, MemoryError};
use crate::program::{KernelInfo, Program};
use crate::report::{Fault, Rule};
use crate::target_limits::{Limits, MAX_BLOCK, MAX_GRID, MAX_THREADS};
use crate::tensor_core::Generation;
use crate::tensor_map::TensorMap;
use rorqual_ptx::target::Target;
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

/// Why the device refuses something. The program is not run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// The architecture is not simulated.
    #[error("{0} is not simulated, expected sm_80 or later")]
    Architecture(Target),
    /// The text is not PTX.
    #[error(transparent)]
    Parse(#[from] rorqual_ptx::error::ParseError),
    /// The module breaks rules of the PTX ISA.
    #[error(transparent)]
    Verify(#[from] rorqual_ptx::verify::VerifyError),
    /// The module does not fit the device.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Memory that is not there, or too much of it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The module is for other devices.
    #[error("the module is for {module}, the device is {device}")]
    Target {
        /// `.target` of the module.
        module: Target,
        /// The device.
        device: Target,
    },
    /// There is no such kernel.
    #[error("the module has no kernel `{name}`; it has {known}")]
    Kernel {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is no such device.
    #[error("there is no device {device}: there are {devices}, numbered from 0")]
    Ordinal {
        /// What was asked for.
        device: u32,
        /// How many there are.
        devices: u32,
    },
    /// The number of arguments is wrong.
    #[error("kernel `{kernel}` takes {expected} arguments, {given} were given")]
    ArgumentCount {
        /// The kernel.
        kernel: String,
        /// Its parameters.
        expected: usize,
        /// The launch's arguments.
        given: usize,
    },
    /// The size of an argument is wrong.
    #[error("argument {index} (`{name}`) of kernel `{kernel}` has {expected} bytes, {given} were given")]
    ArgumentSize {
        /// The kernel.
        kernel: String,
        /// Number of the argument, from 0.
        index: usize,
        /// The parameter.
        name: String,
        /// Its bytes.
        expected: u32,
        /// The argument's bytes.
        given: usize,
    },
    /// The shape of the launch is wrong.
    #[error("kernel `{kernel}`: {rule}, got {given}")]
    Shape {
        /// The kernel.
        kernel: String,
        /// What must hold.
        rule: String,
        /// What was given.
        given: String,
    },
    /// There is no such CTA to trace.
    #[error(
        "there is no CTA {cta} to trace in launch {launch} (`{kernel}`): there are {ctas}, numbered from 0"
    )]
    Trace {
        /// Number of the launch.
        launch: u64,
        /// The kernel.
        kernel: String,
        /// What was asked for.
        cta: u64,
        /// CTAs of the launch.
        ctas: u64,
    },
}

/// An address in the memory of the simulated devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevicePointer(pub u64);

impl DevicePointer {
    /// The address so many bytes further.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// One argument of a launch: the bytes of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument(pub Vec<u8>);

macro_rules! arguments {
    ($($ty:ty)*) => {
        $(impl From<$ty> for Argument {
            fn from(value: $ty) -> Self {
                Self(value.to_le_bytes().to_vec())
            }
        })*
    };
}

arguments!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

impl From<DevicePointer> for Argument {
    fn from(pointer: DevicePointer) -> Self {
        pointer.0.into()
    }
}

impl From<&TensorMap> for Argument {
    fn from(map: &TensorMap) -> Self {
        Self(map.to_bytes().to_vec())
    }
}

/// A module on a device.
#[derive(Debug, Clone)]
pub struct Module {
    program: Arc<Program>,
    globals: HashMap<String, (u64, u64)>,
    target: Target,
    device: u32,
}

impl Module {
    /// Names of its kernels, sorted.
    #[must_use]
    pub fn kernels(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.program.kernels.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// What a launch must know of a kernel.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn kernel(&self, name: &str) -> Result<&KernelInfo, DeviceError> {
        self.program.kernels.get(name).ok_or_else(|| {
            let known = self.kernels();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            DeviceError::Kernel { name: name.to_owned(), known }
        })
    }

    /// Address and bytes of a global or constant variable.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<(DevicePointer, u64)> {
        self.globals.get(name).map(|&(address, bytes)| (DevicePointer(address), bytes))
    }

    /// Its `.target`.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.target
    }

    /// PTX line of every instruction that the simulator lacks, and what it lacks: executing one ends the launch with the
    /// verdict [`Unsupported`](crate::Verdict::Unsupported).
    #[must_use]
    pub fn unsupported(&self) -> &[(u32, String)] {
        &self.program.unsupported
    }

    /// The decoded program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }
}

/// A launch to be.
#[derive(Debug, Clone)]
pub struct Launch {
    module: Module,
    kernel: String,
    ctas: [u32; 3],
    threads: [u32; 3],
    cluster: Option<[u32; 3]>,
    dynamic_shared_bytes: u32,
    arguments: Vec<Argument>,
    cooperative: bool,
}

impl Launch {
    /// A launch of one CTA with one thread.
    #[must_use]
    pub fn new(module: &Module, kernel: &str) -> Self {
        Self {
            module: module.clone(),
            kernel: kernel.to_owned(),
            ctas: [1; 3],
            threads: [1; 3],
            cluster: None,
            dynamic_shared_bytes: 0,
            arguments: Vec::new(),
            cooperative: false,
        }
    }

    /// CTAs of the grid.
    #[must_use]
    pub const fn ctas(mut self, ctas: [u32; 3]) -> Self {
        self.ctas = ctas;
        self
    }

    /// Threads of a CTA.
    #[must_use]
    pub const fn threads(mut self, threads: [u32; 3]) -> Self {
        self.threads = threads;
        self
    }

    /// CTAs of a cluster.
    #[must_use]
    pub const fn cluster(mut self, cluster: [u32; 3]) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Bytes of dynamic shared memory.
    #[must_use]
    pub const fn dynamic_shared_bytes(mut self, bytes: u32) -> Self {
        self.dynamic_shared_bytes = bytes;
        self
    }

    /// The next argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<Argument>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// All CTAs are resident together, and a grid barrier has its workspace.
    #[must_use]
    pub const fn cooperative(mut self, cooperative: bool) -> Self {
        self.cooperative = cooperative;
        self
    }
}

/// Bytes of the workspace that a cooperative launch finds through `%envreg1` and `%envreg2`.
const GRID_WORKSPACE_BYTES: u64 = 4096;

/// Simulated devices of one architecture, with their memory.
#[derive(Debug)]
pub struct Device {
    memory: GlobalMemory,
    arch: Target,
    limits: Limits,
    generation: Generation,
    devices: u32,
    options: Options,
    launches: u64,
}

impl Device {
    /// A device of an architecture.
    ///
    /// # Errors
    ///
    /// If the architecture is not simulated.
    pub fn new(arch: Target) -> Result<Self, DeviceError> {
        let error = DeviceError::Architecture(arch);
        let limits = Limits::of(arch).ok_or_else(|| error.clone())?;
        let generation = Generation::of(u32::from(arch.sm)).ok_or(error)?;
        Ok(Self {
            memory: GlobalMemory::new(),
            arch,
            limits,
            generation,
            devices: 1,
            options: Options::default(),
            launches: 0,
        })
    }

    /// The same with so many devices, which see each other's memory where it is mapped. The functions without a device
    /// number are about device 0.
    #[must_use]
    pub const fn with_devices(mut self, devices: u32) -> Self {
        self.devices = devices;
        self
    }

    /// How launches are run.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// How launches are run, to change.
    pub const fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The architecture.
    #[must_use]
    pub const fn arch(&self) -> Target {
        self.arch
    }

    /// Makes later launches run as on another architecture; memory and modules stay.
    ///
    /// # Errors
    ///
    /// If the architecture is not simulated.
    pub fn set_arch(&mut self, arch: Target) -> Result<(), DeviceError> {
        let Self { limits, generation, .. } = Self::new(arch)?;
        (self.arch, self.limits, self.generation) = (arch, limits, generation);
        Ok(())
    }

    /// What the architecture allows.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The memory of all devices.
    #[must_use]
    pub const fn memory(&self) -> &GlobalMemory {
        &self.memory
    }

    /// The memory of all devices, to map and to protect.
    pub const fn memory_mut(&mut self) -> &mut GlobalMemory {
        &mut self.memory
    }

    /// Parses, verifies and loads a module.
    ///
    /// # Errors
    ///
    /// If the text is wrong, or for another architecture.
    pub fn load(&mut self, text: &str) -> Result<Module, DeviceError> {
        self.load_on(0, text)
    }

    /// As [`load`](Self::load), on a device by number.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load), or if there is no such device.
    pub fn load_on(&mut self, device: u32, text: &str) -> Result<Module, DeviceError> {
        self.check_device(device)?;
        let module = rorqual_ptx::verify::verify(rorqual_ptx::parse(text)?)?;
        let target = module.target;
        if !target.runs_on(self.arch) {
            return Err(DeviceError::Target { module: target, device: self.arch });
        }
        self.memory.set_budget(self.options.memory_budget);
        let loaded = load(&module, &mut self.memory, device)?;
        Ok(Module { program: Arc::new(loaded.program), globals: loaded.globals, target, device })
    }

    /// Frees the variables of a module. Clones of it can no longer use them.
    ///
    /// # Errors
    ///
    /// If that was done before.
    pub fn unload(&mut self, module: Module) -> Result<(), DeviceError> {
        module.globals.values().try_for_each(|(address, _)| Ok(self.memory.free(*address)?))
    }

    fn check_device(&self, device: u32) -> Result<(), DeviceError> {
        if device < self.devices {
            Ok(())
        } else {
            Err(DeviceError::Ordinal { device, devices: self.devices })
        }
    }

    /// Allocates memory whose contents are undefined. The name is for reports.
    ///
    /// # Errors
    ///
    /// If there is not enough.
    pub fn allocate(&mut self, name: &str, bytes: u64) -> Result<DevicePointer, DeviceError> {
        self.allocate_on(0, name, bytes)
    }

    /// As [`allocate`](Self::allocate), on a device by number.
    ///
    /// # Errors
    ///
    /// If there is not enough, or no such device.
    pub fn allocate_on(&mut self, device: u32, name: &str, bytes: u64) -> Result<DevicePointer, DeviceError> {
        self.check_device(device)?;
        self.memory.set_budget(self.options.memory_budget);
        Ok(DevicePointer(self.memory.allocate(device, name, bytes)?))
    }

    /// Lets kernels of another device access an allocation.
    ///
    /// # Errors
    ///
    /// If there is no such device, or no allocation begins at the pointer.
    pub fn map_peer(&mut self, pointer: DevicePointer, device: u32) -> Result<(), DeviceError> {
        self.check_device(device)?;
        Ok(self.memory.map_peer(pointer.0, device, true)?)
    }

    /// Allocates memory and writes bytes to it.
    ///
    /// # Errors
    ///
    /// If there is not enough.
    pub fn allocate_from(&mut self, name: &str, bytes: &[u8]) -> Result<DevicePointer, DeviceError> {
        let pointer = self.allocate(name, bytes.len() as u64)?;
        self.write(pointer, bytes)?;
        Ok(pointer)
    }

    /// Frees an allocation; later accesses are faults that say so.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn free(&mut self, pointer: DevicePointer) -> Result<(), DeviceError> {
        Ok(self.memory.free(pointer.0)?)
    }

    /// Copies to the device.
    ///
    /// # Errors
    ///
    /// If the range is not allocated.
    pub fn write(&self, to: DevicePointer, bytes: &[u8]) -> Result<(), DeviceError> {
        Ok(self.memory.write(to.0, bytes)?)
    }

    /// Copies from the device.
    ///
    /// # Errors
    ///
    /// If the range is not allocated.
    pub fn read(&self, from: DevicePointer, bytes: usize) -> Result<Vec<u8>, DeviceError> {
        let mut data = vec![0; bytes];
        self.memory.read(from.0, &mut data)?;
        Ok(data)
    }

    /// Runs a launch to its end. What is wrong with the program is in the reports of the outcome.
    ///
    /// # Errors
    ///
    /// If the launch does not suit the kernel or the device; nothing is run then.
    pub fn launch(&mut self, launch: &Launch) -> Result<Outcome, DeviceError> {
        self.launch_together(std::slice::from_ref(launch))
    }

    /// Runs launches at the same time, so that they may wait for each other.
    ///
    /// # Errors
    ///
    /// If one of them does not suit its kernel or the device; nothing is run then.
    pub fn launch_together(&mut self, launches: &[Launch]) -> Result<Outcome, DeviceError> {
        let mut workspaces = Vec::new();
        for launch in launches {
            let device = launch.module.device;
            workspaces.push(if launch.cooperative {
                self.memory.allocate_zeroed(device, "workspace of the grid barrier", GRID_WORKSPACE_BYTES)?
            } else {
                0
            });
        }
        let outcome = self.run(launches, &workspaces);
        for workspace in workspaces.into_iter().filter(|workspace| *workspace != 0) {
            self.memory.free(workspace)?;
        }
        self.launches += launches.len() as u64;
        outcome
    }

    fn run(&self, launches: &[Launch], workspaces: &[u64]) -> Result<Outcome, DeviceError> {
        let grids = launches
            .iter()
            .zip(workspaces)
            .zip(self.launches..)
            .map(|((launch, workspace), number)| self.grid(launch, *workspace, number))
            .collect::<Result<Vec<_>, _>>()?;
        let before = self.memory.undefined_writes();
        let mut outcome = machine::run(&grids);
        if outcome.reports.is_empty() && grids.iter().all(|grid| grid.options.check_initialized) {
            let left = self.memory.undefined_writes().into_iter().filter(|write| !before.contains(write));
            outcome.reports = left
                .map(|write| {
                    let message = format!(
                        "bytes {} to {} of `{}` hold an undefined value: what was stored depends on a register or \
                         memory that was never written",
                        write.offset,
                        write.offset + write.len - 1,
                        write.allocation
                    );
                    let fault = Fault::new(Rule::UninitializedOutput, message);
                    machine::make_report_of_all(&grids, &fault, write.origin)
                })
                .collect();
        }
        Ok(outcome)
    }

    fn grid(&self, launch: &Launch, workspace: u64, number: u64) -> Result<Grid<'_>, DeviceError> {
        let kernel = launch.module.kernel(&launch.kernel)?.clone();
        let cluster = launch.cluster.or(kernel.required_cluster).unwrap_or([1; 3]);
        self.check_shape(launch, &kernel, cluster)?;
        let ctas = launch.ctas.iter().map(|extent| u64::from(*extent)).product();
        if let Some(target) =
            self.options.trace.filter(|target| target.launch == number && target.cta >= ctas)
        {
            let (kernel, cta) = (launch.kernel.clone(), target.cta);
            return Err(DeviceError::Trace { launch: number, kernel, cta, ctas });
        }
        Ok(Grid {
            program: Arc::clone(&launch.module.program),
            name: launch.kernel.clone(),
            parameters: parameters(launch, &kernel)?,
            ctas: launch.ctas,
            threads: launch.threads,
            cluster,
            explicit_cluster: launch.cluster.is_some()
                || kernel.required_cluster.is_some()
                || kernel.explicit_cluster,
            dynamic_shared_bytes: launch.dynamic_shared_bytes,
            device: launch.module.device,
            devices: self.devices,
            memory: &self.memory,
            arch: self.arch,
            limits: self.limits,
            generation: self.generation,
            grid_workspace: workspace,
            edited_maps: EditedMaps::default(),
            options: self.options.clone(),
            number,
            kernel,
        })
    }

    fn check_shape(
        &self,
        launch: &Launch,
        kernel: &KernelInfo,
        cluster: [u32; 3],
    ) -> Result<(), DeviceError> {
        let check = |holds: bool, rule: String, given: String| {
            if holds {
                Ok(())
            } else {
                Err(DeviceError::Shape { kernel: launch.kernel.clone(), rule, given })
            }
        };
        let within =
            |extents: [u32; 3], most: [u32; 3]| (0..3).all(|axis| (1..=most[axis]).contains(&extents[axis]));
        let product = |extents: [u32; 3]| extents.iter().fold(1, |a: u64, b| a.saturating_mul((*b).into()));
        let (ctas, threads) = (launch.ctas, launch.threads);
        check(within(ctas, MAX_GRID), format!("the grid has 1 to {MAX_GRID:?} CTAs"), format!("{ctas:?}"))?;
        check(
            within(threads, MAX_BLOCK),
            format!("a CTA has 1 to {MAX_BLOCK:?} threads"),
            format!("{threads:?}"),
        )?;
        let count = product(threads);
        check(
            count <= u64::from(MAX_THREADS),
            format!("a CTA has at most {MAX_THREADS} threads"),
            count.to_string(),
        )?;
        if let Some(required) = kernel.required_threads {
            check(
                threads == required,
                format!(".reqntid asks for {required:?} threads"),
                format!("{threads:?}"),
            )?;
        }
        if let Some(most) = kernel.max_threads {
            check(
                count <= product(most),
                format!(".maxntid allows {} threads a CTA", product(most)),
                count.to_string(),
            )?;
        }
        let most = kernel
            .max_cluster_rank
            .map_or(self.limits.cluster_ctas, |rank| rank.min(self.limits.cluster_ctas));
        check(
            within(cluster, [most; 3]) && product(cluster) <= u64::from(most),
            format!("a cluster has 1 to {most} CTAs"),
            format!("{cluster:?}"),
        )?;
        if let Some(required) = kernel.required_cluster {
            check(
                cluster == required,
                format!(".reqnctapercluster asks for {required:?} CTAs"),
                format!("{cluster:?}"),
            )?;
        }
        check(
            (0..3).all(|axis| ctas[axis] % cluster[axis] == 0),
            format!("the grid is a multiple of the cluster {cluster:?}"),
            format!("{ctas:?}"),
        )?;
        let shared = u64::from(kernel.static_shared_bytes) + u64::from(launch.dynamic_shared_bytes);
        check(
            shared <= u64::from(self.limits.shared_bytes),
            format!("a CTA on {} has at most {} bytes of shared memory", self.arch, self.limits.shared_bytes),
            format!(
                "{shared} ({} static, {} dynamic)",
                kernel.static_shared_bytes, launch.dynamic_shared_bytes
            ),
        )
    }
}

fn parameters(launch: &Launch, kernel: &KernelInfo) -> Result<Vec<u8>, DeviceError> {
    if launch.arguments.len() != kernel.parameters.len() {
        return Err(DeviceError::ArgumentCount {
            kernel: launch.kernel.clone(),
            expected: kernel.parameters.len(),
            given: launch.arguments.len(),
        });
    }
    let mut bytes = vec![0; kernel.parameter_bytes as usize];
    for (index, (argument, parameter)) in launch.arguments.iter().zip(&kernel.parameters).enumerate() {
        if argument.0.len() != parameter.bytes as usize {
            return Err(DeviceError::ArgumentSize {
                kernel: launch.kernel.clone(),
                index,
                name: parameter.name.clone(),
                expected: parameter.bytes,
                given: argument.0.len(),
            });
        }
        bytes[parameter.offset as usize..][..argument.0.len()].copy_from_slice(&argument.0);
    }
    Ok(bytes)
}
