//! Devices and their attributes.

use crate::boundary::{HostMemory, Out, Text};
use crate::driver::{Driver, driver};
use crate::error::{Code, Result};
use rorqual_sim::target_limits::{MAX_BLOCK, MAX_GRID, MAX_THREADS, REGISTERS};

/// Shared memory that a CTA has without asking for more, in bytes.
pub const SHARED_BYTES: u32 = 48 << 10;
/// Shared memory of a CTA that the system keeps, in bytes.
pub const RESERVED_SHARED_BYTES: u32 = 1 << 10;
/// Clocks of a simulated chip, in kHz: no more than plausible.
const CLOCK_KHZ: i32 = 1_500_000;
const MEMORY_CLOCK_KHZ: i32 = 2_000_000;
const MEMORY_BUS_BITS: i32 = 5120;
const L2_BYTES: i32 = 50 << 20;

/// `CUdevice_P2PAttribute`
const PERFORMANCE_RANK: u32 = 1;
const ACCESS: u32 = 2;
const ATOMICS: u32 = 3;
const ARRAY_ACCESS: u32 = 4;

impl Driver {
    /// The number of a device that is there.
    pub fn device(&self, ordinal: i32) -> Result<u32> {
        u32::try_from(ordinal)
            .ok()
            .filter(|device| *device < self.devices)
            .ok_or_else(|| Code::InvalidDevice.into())
    }

    /// Compute capability, major and minor.
    const fn capability(&self) -> [i32; 2] {
        let sm = self.simulator.arch().sm as i32;
        [sm / 10, sm % 10]
    }

    /// An attribute of a device by the number in cuda.h; 0 for what the simulator lacks.
    fn attribute(&self, device: u32, attribute: u32) -> Result<i32> {
        let limits = self.simulator.limits();
        let [major, minor] = self.capability();
        let has_clusters = i32::from(limits.cluster_ctas > 1);
        Ok(match attribute {
            1 => MAX_THREADS as i32,
            2..=4 => MAX_BLOCK[attribute as usize - 2] as i32,
            5..=7 => MAX_GRID[attribute as usize - 5] as i32,
            8 => SHARED_BYTES as i32,
            9 => 64 << 10,
            10 => 32,
            11 => i32::MAX,
            12 | 82 => REGISTERS as i32,
            13 => CLOCK_KHZ,
            14 => 512,
            // Copies beside kernels, several kernels, stream priorities, L1 caches, preemption: all allowed, none faster.
            15 | 31 | 40 | 78 | 79 | 80 | 90 => 1,
            16 => limits.multiprocessors as i32,
            33 => device as i32,
            36 => MEMORY_CLOCK_KHZ,
            37 => MEMORY_BUS_BITS,
            38 => L2_BYTES,
            39 => limits.resident_threads as i32,
            // Unified addresses, cooperative launches, registered memory, memory mapped by hand with handles that are
            // file descriptors, memory pools, stream operations on 64 bits and with NOR, events and memory by handles.
            41 | 95 | 99 | 102 | 103 | 115 | 122 | 123 | 125 => 1,
            75 => major,
            76 => minor,
            81 => limits.multiprocessor_shared_bytes as i32,
            97 => limits.shared_bytes as i32,
            106 => limits.resident_ctas as i32,
            111 => RESERVED_SHARED_BYTES as i32,
            // Domains of fences, as many as hardware has; one node of memory, which has no number.
            126 => {
                if major >= 9 {
                    4
                } else {
                    1
                }
            }
            131 | 134 => -1,
            // Clusters and tensor maps came together.
            120 | 127 => has_clusters,
            17..200 => 0,
            _ => return Err(Code::InvalidValue.into()),
        })
    }
}

/// Writes bytes with a 0 at their end, as many as there is room for.
fn write_text(to: HostMemory, room: usize, text: &str) -> Result<()> {
    let Some(most) = room.checked_sub(1) else { return Err(Code::InvalidValue.into()) };
    let kept = text.len().min(most);
    to.write(kept + 1, |bytes| {
        bytes[..kept].copy_from_slice(&text.as_bytes()[..kept]);
        bytes[kept] = 0;
    })
}

driver_functions! {
    fn cuDeviceGetCount[2000](count: Out<i32>) {
        count.set(driver()?.devices as i32);
        Ok(())
    }

    fn cuDeviceGet[2000](device: Out<i32>, ordinal: i32) {
        device.set(driver()?.device(ordinal)? as i32);
        Ok(())
    }

    fn cuDeviceGetName[2000](name: HostMemory, room: i32, device: i32) {
        let driver = driver()?;
        driver.device(device)?;
        let room = usize::try_from(room).map_err(|_| Code::InvalidValue)?;
        write_text(name, room, &format!("PTX simulator {}", driver.simulator.arch()))
    }

    /// What the simulator lacks is 0; clocks and caches are plausible numbers.
    fn cuDeviceGetAttribute[2000](value: Out<i32>, attribute: u32, device: i32) {
        let driver = driver()?;
        let device = driver.device(device)?;
        value.set(driver.attribute(device, attribute)?);
        Ok(())
    }

    fn cuDeviceComputeCapability[2000](major: Out<i32>, minor: Out<i32>, device: i32) {
        let driver = driver()?;
        driver.device(device)?;
        let capability = driver.capability();
        major.set(capability[0]);
        minor.set(capability[1]);
        Ok(())
    }

    /// All devices share one budget.
    fn cuDeviceTotalMem_v2[3020](bytes: Out<usize>, device: i32) {
        let driver = driver()?;
        driver.device(device)?;
        bytes.set(driver.simulator.options().memory_budget as usize);
        Ok(())
    }

    fn cuDeviceGetUuid[9020](uuid: Out<[u8; 16]>, device: i32) {
        uuid.set(uuid_of(driver()?.device(device)?));
        Ok(())
    }

    fn cuDeviceGetUuid_v2[11040](uuid: Out<[u8; 16]>, device: i32) {
        uuid.set(uuid_of(driver()?.device(device)?));
        Ok(())
    }

    fn cuDeviceCanAccessPeer[4000](can: Out<i32>, device: i32, peer: i32) {
        let driver = driver()?;
        can.set((driver.device(device)? != driver.device(peer)?).into());
        Ok(())
    }

    /// All devices see each other, with atomics.
    fn cuDeviceGetP2PAttribute[8000](value: Out<i32>, attribute: u32, device: i32, peer: i32) {
        let driver = driver()?;
        if driver.device(device)? == driver.device(peer)? {
            return Err(Code::InvalidDevice.into());
        }
        value.set(match attribute {
            PERFORMANCE_RANK | ARRAY_ACCESS => 0,
            ACCESS | ATOMICS => 1,
            _ => return Err(Code::InvalidValue.into()),
        });
        Ok(())
    }

    /// The number of a device as that of a bus.
    fn cuDeviceGetPCIBusId[4010](text: HostMemory, room: i32, device: i32) {
        let device = driver()?.device(device)?;
        let room = usize::try_from(room).map_err(|_| Code::InvalidValue)?;
        write_text(text, room, &bus_id(device))
    }

    fn cuDeviceGetByPCIBusId[4010](device: Out<i32>, text: Text) {
        let driver = driver()?;
        let text = text.text()?.to_ascii_lowercase();
        let found = (0..driver.devices).find(|device| {
            let id = bus_id(*device);
            text == id || text == id[5..] || text == id[..id.len() - 2]
        });
        device.set(found.ok_or(Code::InvalidDevice)? as i32);
        Ok(())
    }

    /// No device runs a context on a part of itself.
    fn cuDeviceGetExecAffinitySupport[11040](is_supported: Out<i32>, kind: u32, device: i32) {
        driver()?.device(device)?;
        if kind != 0 {
            return Err(Code::InvalidValue.into());
        }
        is_supported.set(0);
        Ok(())
    }
}

/// Domain, bus, device and function of a device, as `cuDeviceGetPCIBusId` writes them.
fn bus_id(device: u32) -> String {
    format!("0000:{device:02x}:00.0")
}

/// The number of a device among bytes that no chip has.
fn uuid_of(device: u32) -> [u8; 16] {
    let mut uuid = *b"ptx-simulator\0\0\0";
    uuid[15] = device as u8;
    uuid
}
