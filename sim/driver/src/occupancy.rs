//! How many CTAs of a kernel a multiprocessor would hold, by the limits of its architecture (CUDA programming guide, table
//! of technical specifications).

use crate::boundary::{In, Out, SharedBytesOfThreads};
use crate::device::RESERVED_SHARED_BYTES;
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use crate::function::{max_threads, registers};
use crate::handles::Handle;
use crate::launch::{Configuration, PORTABLE_CLUSTER, volume};
use rorqual_sim::target_limits::REGISTERS;

/// Registers are given to a warp in such steps.
const REGISTER_STEP: u32 = 256;
/// Shared memory is given in such steps, in bytes.
const SHARED_STEP: u64 = 128;
/// Threads of a warp.
const WARP: u32 = 32;
/// `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE`
const FLAGS: u32 = 1;

impl Driver {
    /// CTAs of a kernel that a multiprocessor holds at once.
    pub fn resident_ctas(
        &mut self,
        function: Handle,
        threads: u32,
        dynamic_shared_bytes: usize,
    ) -> Result<u32> {
        let function = self.function(function)?;
        let (_, kernel) = self.kernel(function)?;
        let limits = self.simulator.limits();
        if threads == 0 || threads > i32::MAX as u32 {
            return Err(Code::InvalidValue.into());
        }
        let own = u64::from(kernel.static_shared_bytes).saturating_add(dynamic_shared_bytes as u64);
        if threads > max_threads(kernel) || own > u64::from(limits.shared_bytes) {
            return Ok(0);
        }
        let warps = threads.div_ceil(WARP);
        let shared = (own + u64::from(RESERVED_SHARED_BYTES)).next_multiple_of(SHARED_STEP);
        let by_shared = u64::from(limits.multiprocessor_shared_bytes) / shared;
        let by_registers = REGISTERS / ((registers(kernel) * WARP).next_multiple_of(REGISTER_STEP) * warps);
        let by_threads = limits.resident_threads / (warps * WARP);
        Ok(by_threads
            .min(by_registers)
            .min(limits.resident_ctas)
            .min(u32::try_from(by_shared).unwrap_or(u32::MAX)))
    }

    /// CTAs of the largest cluster that a kernel may have.
    fn largest_cluster(&mut self, function: Handle) -> Result<u32> {
        let function = self.function(function)?;
        let (function, _) = self.kernel(function)?;
        let most = self.simulator.limits().cluster_ctas;
        Ok(if function.settings.allows_large_clusters { most } else { most.min(PORTABLE_CLUSTER) })
    }

    /// The threads of a CTA with which most threads are resident, the most such; and the CTAs that fill the device.
    fn potential_threads(
        &mut self,
        handle: Handle,
        shared_bytes: impl Fn(u32) -> usize,
        limit: i32,
    ) -> Result<(u32, u32)> {
        let function = self.function(handle)?;
        let most = max_threads(self.kernel(function)?.1);
        let most = if limit > 0 { most.min(limit.cast_unsigned()) } else { most };
        let (mut best, mut threads_of_best, mut ctas_of_best) = (0, 0, 0);
        let warps = most.div_ceil(WARP);
        for threads in (1..=warps).rev().map(|warps| (warps * WARP).min(most)) {
            let ctas = self.resident_ctas(function, threads, shared_bytes(threads))?;
            if ctas * threads > best {
                (best, threads_of_best, ctas_of_best) = (ctas * threads, threads, ctas);
            }
        }
        Ok((ctas_of_best * self.simulator.limits().multiprocessors, threads_of_best))
    }
}

/// Dynamic shared memory by the threads of a CTA, as the caller computes it, before the driver is locked.
fn shared_bytes_by_warps(
    of_threads: SharedBytesOfThreads,
    bytes: usize,
    limit: i32,
) -> impl Fn(u32) -> usize {
    let most = if limit > 0 { limit.cast_unsigned() } else { u32::MAX };
    let by_warps: Vec<usize> =
        (1..=32u32).map(|warps| of_threads.bytes((warps * WARP).min(most)).unwrap_or(bytes)).collect();
    move |threads| by_warps[threads.div_ceil(WARP).clamp(1, 32) as usize - 1]
}

driver_functions! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor[6050](
        ctas: Out<i32>, function: Handle, threads: u32, dynamic_shared_bytes: usize,
    ) {
        ctas.set(driver()?.resident_ctas(function, threads, dynamic_shared_bytes)? as i32);
        Ok(())
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags[7000](
        ctas: Out<i32>, function: Handle, threads: u32, dynamic_shared_bytes: usize, flags: u32,
    ) {
        if flags & !FLAGS != 0 {
            return Err(Code::InvalidValue.into());
        }
        ctas.set(driver()?.resident_ctas(function, threads, dynamic_shared_bytes)? as i32);
        Ok(())
    }

    fn cuOccupancyMaxPotentialBlockSize[6050](
        ctas: Out<i32>, threads: Out<i32>, function: Handle, of_threads: SharedBytesOfThreads,
        dynamic_shared_bytes: usize, limit: i32,
    ) {
        let shared_bytes = shared_bytes_by_warps(of_threads, dynamic_shared_bytes, limit);
        let (most_ctas, best) = driver()?.potential_threads(function, shared_bytes, limit)?;
        ctas.set(most_ctas as i32);
        threads.set(best as i32);
        Ok(())
    }

    fn cuOccupancyMaxPotentialBlockSizeWithFlags[7000](
        ctas: Out<i32>, threads: Out<i32>, function: Handle, of_threads: SharedBytesOfThreads,
        dynamic_shared_bytes: usize, limit: i32, flags: u32,
    ) {
        if flags & !FLAGS != 0 {
            return Err(Code::InvalidValue.into());
        }
        let shared_bytes = shared_bytes_by_warps(of_threads, dynamic_shared_bytes, limit);
        let (most_ctas, best) = driver()?.potential_threads(function, shared_bytes, limit)?;
        ctas.set(most_ctas as i32);
        threads.set(best as i32);
        Ok(())
    }

    /// As if every multiprocessor could join any cluster.
    fn cuOccupancyMaxActiveClusters[11070](
        clusters: Out<i32>, function: Handle, configuration: In<Configuration>,
    ) {
        let mut driver = driver()?;
        let configuration = configuration.get()?;
        let cluster = volume(configuration.attributes()?.cluster.unwrap_or([1; 3])).max(1);
        let ctas = driver.resident_ctas(function, configuration.threads_of_a_cta(), configuration.shared_bytes())?;
        let resident = ctas * driver.simulator.limits().multiprocessors;
        clusters.set(if cluster > driver.largest_cluster(function)? { 0 } else { resident / cluster } as i32);
        Ok(())
    }

    fn cuOccupancyMaxPotentialClusterSize[11070](
        ctas: Out<i32>, function: Handle, _configuration: In<Configuration>,
    ) {
        ctas.set(driver()?.largest_cluster(function)? as i32);
        Ok(())
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock[10020](bytes: Out<usize>, function: Handle, ctas: i32, threads: i32) {
        let mut driver = driver()?;
        let function = driver.function(function)?;
        let (_, kernel) = driver.kernel(function)?;
        let limits = driver.simulator.limits();
        let positive = |number: i32| u32::try_from(number).ok().filter(|number| *number > 0).ok_or(Code::InvalidValue);
        let ctas = positive(ctas)?;
        positive(threads)?;
        let share = (limits.multiprocessor_shared_bytes / ctas).min(limits.shared_bytes + RESERVED_SHARED_BYTES);
        bytes.set(share.saturating_sub(kernel.static_shared_bytes + RESERVED_SHARED_BYTES) as usize);
        Ok(())
    }
}
