//! Kernels of modules: their attributes and parameters.

use crate::boundary::{Out, OutOrNull, Pointer};
use crate::device::SHARED_BYTES;
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;
use crate::launch::volume;
use rorqual_sim::Module;
use rorqual_sim::program::KernelInfo;
use rorqual_sim::target_limits::MAX_THREADS;
use std::ffi::{CString, c_char};

/// `CUfunction_attribute`, those that can be set: dynamic shared memory, how shared memory and L1 are divided, clusters
/// larger than portable ones, how clusters are spread.
const DYNAMIC_SHARED_BYTES: u32 = 8;
const CARVEOUT: u32 = 9;
const LARGE_CLUSTERS: u32 = 14;
const CLUSTER_SCHEDULING: u32 = 15;

/// A kernel of a module, as it was set up.
#[derive(Debug)]
pub struct Function {
    pub module: Handle,
    pub name: CString,
    /// The kernel of a library that it is in this context.
    pub kernel: Option<Handle>,
    pub settings: Settings,
}

/// What was asked for a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Dynamic shared memory that a launch may ask for, in bytes.
    pub dynamic_shared_bytes: u32,
    /// Whether clusters may be larger than every device has them.
    pub allows_large_clusters: bool,
    carveout: i32,
    cluster_scheduling: i32,
}

impl Settings {
    /// Before anything was asked for.
    pub const fn new(kernel: &KernelInfo) -> Self {
        Self {
            dynamic_shared_bytes: SHARED_BYTES.saturating_sub(kernel.static_shared_bytes),
            allows_large_clusters: false,
            carveout: -1,
            cluster_scheduling: 0,
        }
    }

    /// Sets an attribute of a kernel on a device where a CTA has so many bytes of shared memory.
    pub fn set(&mut self, kernel: &KernelInfo, most: u32, attribute: u32, value: i32) -> Result<()> {
        match attribute {
            DYNAMIC_SHARED_BYTES => {
                let bytes = u32::try_from(value).map_err(|_| Code::InvalidValue)?;
                let fixed_bytes = kernel.static_shared_bytes;
                if u64::from(bytes) + u64::from(fixed_bytes) > u64::from(most) {
                    return Err(Code::InvalidValue.because(format!(
                        "{bytes} bytes of dynamic and {fixed_bytes} of static shared memory, a CTA has at most {most}"
                    )));
                }
                self.dynamic_shared_bytes = bytes;
            }
            LARGE_CLUSTERS => self.allows_large_clusters = value != 0,
            CARVEOUT => self.carveout = value,
            CLUSTER_SCHEDULING => self.cluster_scheduling = value,
            10..=13 => return Err(Code::NotSupported.because("a cluster is set by the kernel or the launch")),
            _ => return Err(Code::InvalidValue.into()),
        }
        Ok(())
    }

    /// An attribute of a kernel of a module, on a device of compute capability `arch`.
    pub fn get(&self, module: &Module, kernel: &KernelInfo, arch: u32, attribute: u32) -> Result<i32> {
        let cluster = |axis: usize| kernel.required_cluster.map_or(0, |cluster| cluster[axis]);
        Ok(match attribute {
            0 => max_threads(kernel),
            1 => kernel.static_shared_bytes,
            2 | 3 => 0,
            4 => registers(kernel),
            5 => u32::from(module.target().sm),
            6 => arch,
            7 => 0,
            DYNAMIC_SHARED_BYTES => self.dynamic_shared_bytes,
            CARVEOUT => return Ok(self.carveout),
            10 => u32::from(kernel.required_cluster.is_some() || kernel.explicit_cluster),
            11..=13 => cluster(attribute as usize - 11),
            LARGE_CLUSTERS => u32::from(self.allows_large_clusters),
            CLUSTER_SCHEDULING => return Ok(self.cluster_scheduling),
            _ => return Err(Code::InvalidValue.into()),
        } as i32)
    }
}

/// Threads of a CTA that a kernel allows.
pub fn max_threads(kernel: &KernelInfo) -> u32 {
    let extents = kernel.required_threads.or(kernel.max_threads);
    extents.map_or(MAX_THREADS, |extents| volume(extents).min(MAX_THREADS))
}

/// Registers of a thread, as a compiler could do.
pub fn registers(kernel: &KernelInfo) -> u32 {
    let live = u32::try_from(kernel.max_live_registers).unwrap_or(255).clamp(16, 255);
    kernel.max_registers.map_or(live, |most| live.min(most))
}

/// Offset and bytes of a parameter.
pub fn parameter(kernel: &KernelInfo, index: usize) -> Result<(usize, usize)> {
    let parameter = kernel.parameters.get(index).ok_or(Code::InvalidValue)?;
    Ok((parameter.offset as usize, parameter.bytes as usize))
}

/// A name as modules have it.
pub fn name_of(name: &std::ffi::CStr) -> Result<&str> {
    name.to_str().map_err(|_| Code::InvalidValue.into())
}

impl Driver {
    /// A function and what its module says of it.
    pub fn kernel(&self, function: Handle) -> Result<(&Function, &KernelInfo)> {
        let function = self.functions.get(function)?;
        Ok((function, self.modules.get(function.module)?.kernel(name_of(&function.name)?)?))
    }

    /// Compute capability as one number.
    pub fn arch(&self) -> u32 {
        self.simulator.arch().sm.into()
    }

    fn function_attribute(&self, handle: Handle, attribute: u32) -> Result<i32> {
        let (function, kernel) = self.kernel(handle)?;
        function.settings.get(self.modules.get(function.module)?, kernel, self.arch(), attribute)
    }

    fn set_function_attribute(&mut self, handle: Handle, attribute: u32, value: i32) -> Result<()> {
        self.current()?;
        let most = self.simulator.limits().shared_bytes;
        let (function, kernel) = self.kernel(handle)?;
        let mut settings = function.settings;
        settings.set(kernel, most, attribute, value)?;
        self.functions.get_mut(handle)?.settings = settings;
        Ok(())
    }
}

driver_functions! {
    /// Registers are a guess from those that are live at once; there is no local memory to count.
    fn cuFuncGetAttribute[2020](value: Out<i32>, attribute: u32, function: Handle) {
        let mut driver = driver()?;
        let function = driver.function(function)?;
        value.set(driver.function_attribute(function, attribute)?);
        Ok(())
    }

    /// Clusters are set by the kernel or the launch.
    fn cuFuncSetAttribute[9000](function: Handle, attribute: u32, value: i32) {
        let mut driver = driver()?;
        let function = driver.function(function)?;
        driver.set_function_attribute(function, attribute, value)
    }

    /// Without effect.
    fn cuFuncSetCacheConfig[3000](function: Handle, _preference: u32) {
        driver()?.functions.get(function).map(drop)
    }

    /// Without effect.
    fn cuFuncSetSharedMemConfig[4020](function: Handle, _preference: u32) {
        driver()?.functions.get(function).map(drop)
    }

    fn cuFuncGetModule[11000](module: Out<Handle>, function: Handle) {
        module.set(driver()?.functions.get(function)?.module);
        Ok(())
    }

    /// The text stays as long as the module.
    fn cuFuncGetName[12030](name: Out<Pointer<c_char>>, function: Handle) {
        name.set(Pointer::to_text(&driver()?.functions.get(function)?.name));
        Ok(())
    }

    fn cuFuncGetParamInfo[12040](
        function: Handle, index: usize, offset: Out<usize>, bytes: OutOrNull<usize>,
    ) {
        let driver = driver()?;
        let (place, size) = parameter(driver.kernel(function)?.1, index)?;
        offset.set(place);
        bytes.set(size);
        Ok(())
    }

    /// Nothing is loaded late.
    fn cuFuncIsLoaded[12040](state: Out<u32>, function: Handle) {
        driver()?.functions.get(function)?;
        state.set(1);
        Ok(())
    }

    fn cuFuncLoad[12040](function: Handle) {
        driver()?.functions.get(function).map(drop)
    }
}
