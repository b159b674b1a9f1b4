//! Kernels: their attributes, and how many of their CTAs a multiprocessor would hold.

use crate::boundary::{In, Out};
use crate::device::{RESERVED_SHARED_BYTES, SHARED_BYTES};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::handles::Handle;
use crate::launch::{Configuration, PORTABLE_CLUSTER, volume};
use rorqual_sim::program::KernelInfo;
use rorqual_sim::target_limits::{MAX_THREADS, REGISTERS};

/// Registers are given to a thread in such steps.
const REGISTER_STEP: u32 = 8;
/// Threads of a warp.
const WARP: u32 = 32;

/// A kernel of a module, as it was set up.
#[derive(Debug)]
pub struct Function {
    pub module: Handle,
    pub name: String,
    /// Dynamic shared memory that a launch may ask for, in bytes.
    pub dynamic_shared_bytes: u32,
    /// Whether clusters may be larger than every device has them.
    pub allows_large_clusters: bool,
}

impl Function {
    /// A kernel before anything was asked for.
    pub fn new(module: Handle, name: &str, kernel: &KernelInfo) -> Self {
        Self {
            module,
            name: name.to_owned(),
            dynamic_shared_bytes: SHARED_BYTES.saturating_sub(kernel.static_shared_bytes),
            allows_large_clusters: false,
        }
    }
}

fn max_threads(kernel: &KernelInfo) -> u32 {
    let extents = kernel.required_threads.or(kernel.max_threads);
    extents.map_or(MAX_THREADS, |extents| volume(extents).min(MAX_THREADS))
}

/// Registers of a thread, as a compiler could do.
fn registers(kernel: &KernelInfo) -> u32 {
    let live = u32::try_from(kernel.max_live_registers).unwrap_or(255).clamp(16, 255);
    kernel.max_registers.map_or(live, |most| live.min(most))
}

impl Driver {
    /// A function and what its module says of it.
    pub fn kernel(&self, function: Handle) -> Result<(&Function, &KernelInfo)> {
        let function = self.functions.get(function)?;
        Ok((function, self.modules.get(function.module)?.kernel(&function.name)?))
    }

    fn function_attribute(&self, function: Handle, attribute: u32) -> Result<i32> {
        let (function, kernel) = self.kernel(function)?;
        let cluster = |axis: usize| kernel.required_cluster.map_or(0, |cluster| cluster[axis]);
        let arch = u32::from(self.simulator.arch().sm);
        Ok(match attribute {
            0 => max_threads(kernel),
            1 => kernel.static_shared_bytes,
            2 | 3 => 0,
            4 => registers(kernel),
            5 => u32::from(self.modules.get(function.module)?.target().sm),
            6 => arch,
            7 => 0,
            8 => function.dynamic_shared_bytes,
            // No preference between shared memory and L1.
            9 => return Ok(-1),
            10 => u32::from(kernel.required_cluster.is_some() || kernel.explicit_cluster),
            11..=13 => cluster(attribute as usize - 11),
            14 => u32::from(function.allows_large_clusters),
            15 => 0,
            _ => return Err(Code::InvalidValue.into()),
        } as i32)
    }

    fn set_function_attribute(&mut self, function: Handle, attribute: u32, value: i32) -> Result<()> {
        self.current()?;
        let most = self.simulator.limits().shared_bytes;
        let (_, kernel) = self.kernel(function)?;
        let fixed_bytes = kernel.static_shared_bytes;
        let function = self.functions.get_mut(function)?;
        match attribute {
            8 => {
                let bytes = u32::try_from(value).map_err(|_| Code::InvalidValue)?;
                if u64::from(bytes) + u64::from(fixed_bytes) > u64::from(most) {
                    let message = format!(
                        "`{}`: {bytes} bytes of dynamic and {fixed_bytes} of static shared memory, a CTA has at \
                         most {most}",
                        function.name
                    );
                    return Err(Code::InvalidValue.because(message));
                }
                function.dynamic_shared_bytes = bytes;
            }
            14 => function.allows_large_clusters = value != 0,
            // How shared memory and L1 are divided, and how clusters are spread: without effect.
            9 | 15 => {}
            10..=13 => return Err(Code::NotSupported.because("a cluster is set by the kernel or the launch")),
            _ => return Err(Code::InvalidValue.into()),
        }
        Ok(())
    }

    /// CTAs of a kernel that a multiprocessor holds at once.
    fn resident_ctas(&self, function: Handle, threads: u32, dynamic_shared_bytes: usize) -> Result<u32> {
        let (_, kernel) = self.kernel(function)?;
        let limits = self.simulator.limits();
        if threads == 0 {
            return Err(Code::InvalidValue.into());
        }
        if threads > max_threads(kernel) {
            return Ok(0);
        }
        let threads = threads.next_multiple_of(WARP);
        let shared =
            u64::from(kernel.static_shared_bytes + RESERVED_SHARED_BYTES) + dynamic_shared_bytes as u64;
        let by_shared = u64::from(limits.multiprocessor_shared_bytes) / shared;
        let by_registers = REGISTERS / (registers(kernel).next_multiple_of(REGISTER_STEP) * threads);
        let by_threads = limits.resident_threads / threads;
        Ok(by_threads
            .min(by_registers)
            .min(limits.resident_ctas)
            .min(u32::try_from(by_shared).unwrap_or(u32::MAX)))
    }

    /// CTAs of the largest cluster that a kernel may have.
    fn largest_cluster(&self, function: Handle) -> Result<u32> {
        let (function, _) = self.kernel(function)?;
        let most = self.simulator.limits().cluster_ctas;
        Ok(if function.allows_large_clusters { most } else { most.min(PORTABLE_CLUSTER) })
    }
}

driver_functions! {
    fn cuFuncGetAttribute(value: Out<i32>, attribute: u32, function: Handle) {
        value.set(driver()?.function_attribute(function, attribute)?);
        Ok(())
    }

    fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32) {
        driver()?.set_function_attribute(function, attribute, value)
    }

    /// Without effect.
    fn cuFuncSetCacheConfig(function: Handle, _preference: u32) {
        driver()?.functions.get(function).map(drop)
    }

    fn cuFuncGetModule(module: Out<Handle>, function: Handle) {
        module.set(driver()?.functions.get(function)?.module);
        Ok(())
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        ctas: Out<i32>, function: Handle, threads: u32, dynamic_shared_bytes: usize,
    ) {
        ctas.set(driver()?.resident_ctas(function, threads, dynamic_shared_bytes)? as i32);
        Ok(())
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        ctas: Out<i32>, function: Handle, threads: u32, dynamic_shared_bytes: usize, _flags: u32,
    ) {
        ctas.set(driver()?.resident_ctas(function, threads, dynamic_shared_bytes)? as i32);
        Ok(())
    }

    /// As if every multiprocessor could join any cluster.
    fn cuOccupancyMaxActiveClusters(clusters: Out<i32>, function: Handle, configuration: In<Configuration>) {
        let driver = driver()?;
        let configuration = configuration.get()?;
        let cluster = volume(configuration.attributes()?.cluster.unwrap_or([1; 3])).max(1);
        let ctas = driver.resident_ctas(function, configuration.threads_of_a_cta(), configuration.shared_bytes())?;
        let resident = ctas * driver.simulator.limits().multiprocessors;
        clusters.set(if cluster > driver.largest_cluster(function)? { 0 } else { resident / cluster } as i32);
        Ok(())
    }

    fn cuOccupancyMaxPotentialClusterSize(ctas: Out<i32>, function: Handle, _configuration: In<Configuration>) {
        ctas.set(driver()?.largest_cluster(function)? as i32);
        Ok(())
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: Handle, ctas: i32, _threads: i32) {
        let driver = driver()?;
        let (_, kernel) = driver.kernel(function)?;
        let limits = driver.simulator.limits();
        let ctas = u32::try_from(ctas).ok().filter(|ctas| *ctas > 0).ok_or(Code::InvalidValue)?;
        let share = (limits.multiprocessor_shared_bytes / ctas).min(limits.shared_bytes + RESERVED_SHARED_BYTES);
        bytes.set(share.saturating_sub(kernel.static_shared_bytes + RESERVED_SHARED_BYTES) as usize);
        Ok(())
    }
}
