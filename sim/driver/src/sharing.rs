//! What is given from hand to hand: memory and events by handles that any process can receive, but only this one can open,
//! since the simulator's memory is that of its process.

use crate::boundary::{IpcHandle, Out};
use crate::driver::{Driver, driver};
use crate::error::{Code, Error, Result};
use crate::handles::Handle;
use std::fs::{File, OpenOptions, remove_file};
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// How handles begin.
const MAGIC: [u8; 8] = *b"ptxsim01";

/// What a handle says: the process that gave it, and two numbers of that process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    process: u64,
    numbers: (u64, u64),
}

/// A number that no other process has.
fn process() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    *PROCESS.get_or_init(|| {
        let nanoseconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        nanoseconds ^ u64::from(std::process::id()) << 40
    })
}

impl Shared {
    /// Two numbers of this process.
    pub fn new(first: u64, second: u64) -> Self {
        Self { process: process(), numbers: (first, second) }
    }

    fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let words = [self.process, self.numbers.0, self.numbers.1];
        bytes[..8].copy_from_slice(&MAGIC);
        for (place, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; 64]) -> Result<Self> {
        let word = |index: usize| {
            bytes[8 * index..].iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        if bytes[..8] != MAGIC {
            return Err(Code::InvalidValue.because("no handle of the simulator"));
        }
        Ok(Self { process: word(1), numbers: (word(2), word(3)) })
    }

    /// The numbers, if the handle is of this process.
    pub fn numbers(self) -> Result<(u64, u64)> {
        if self.process == process() {
            return Ok(self.numbers);
        }
        Err(Code::NotSupported.because("the memory of another process cannot be simulated in this one"))
    }

    /// A file without a name that holds the handle.
    pub fn into_descriptor(self) -> Result<i32> {
        let failed =
            |error: std::io::Error| Code::OutOfMemory.because(format!("a file for a handle: {error}"));
        let path = std::env::temp_dir().join(format!("ptxsim-{:x}-{:x}", self.process, Handle::fresh().0));
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        let written = file.write_all(&self.to_bytes());
        remove_file(&path).map_err(failed)?;
        written.map_err(failed)?;
        Ok(file.into_raw_fd())
    }

    /// What the file behind a descriptor of this process holds.
    pub fn from_descriptor(descriptor: usize) -> Result<Self> {
        let wrong = |_| Error::from(Code::InvalidValue);
        let descriptor = i32::try_from(descriptor).map_err(|_| Code::InvalidValue)?;
        // Opened anew: the descriptor's own position stays.
        let mut file = File::open(format!("/proc/self/fd/{descriptor}")).map_err(wrong)?;
        let mut bytes = [0; 64];
        file.read_exact(&mut bytes).map_err(wrong)?;
        Self::from_bytes(&bytes)
    }
}

impl Driver {
    /// The memory that a handle names, made visible to the device of the current context.
    fn open(&mut self, handle: IpcHandle) -> Result<u64> {
        let current = self.current()?;
        let (base, kind) = Shared::from_bytes(&handle.0)?.numbers()?;
        if kind != 0 || self.memory.allocation(base).is_none() {
            return Err(Code::InvalidValue.because("the memory was freed, or the handle is of an event"));
        }
        self.simulator.memory_mut().map_peer(base, current.device, true)?;
        Ok(base)
    }
}

driver_functions! {
    /// A handle that this process alone can open.
    fn cuIpcGetMemHandle[4010](handle: Out<IpcHandle>, address: u64) {
        let driver = driver()?;
        driver.current()?;
        let base = driver.simulator.memory().locate(address).map_err(|_| Code::InvalidValue)?.base();
        let allocation = driver.memory.allocation(base).filter(|allocation| allocation.pool.is_none());
        allocation.ok_or_else(|| Code::InvalidValue.because("memory of a pool, or mapped by hand"))?;
        handle.set(IpcHandle(Shared::new(base, 0).to_bytes()));
        Ok(())
    }

    /// In the process that gave the handle, which a driver refuses; the same address. In others
    /// `CUDA_ERROR_NOT_SUPPORTED`.
    fn cuIpcOpenMemHandle_v2[11000](address: Out<u64>, handle: IpcHandle, _flags: u32) {
        address.set(driver()?.open(handle)?);
        Ok(())
    }

    fn cuIpcCloseMemHandle[4010](address: u64) {
        let driver = driver()?;
        driver.current()?;
        driver.memory.allocation(address).map(drop).ok_or_else(|| Code::InvalidValue.into())
    }

    /// A handle that this process alone can open.
    fn cuIpcGetEventHandle[4010](handle: Out<IpcHandle>, event: Handle) {
        let driver = driver()?;
        driver.events.get(event)?;
        handle.set(IpcHandle(Shared::new(event.0 as u64, 1).to_bytes()));
        Ok(())
    }

    /// In the process that gave the handle; the same event.
    fn cuIpcOpenEventHandle[4010](event: Out<Handle>, handle: IpcHandle) {
        let driver = driver()?;
        let (number, kind) = Shared::from_bytes(&handle.0)?.numbers()?;
        let handle = Handle(number as usize);
        if kind != 1 || driver.events.get(handle).is_err() {
            return Err(Code::InvalidValue.because("the event was destroyed, or the handle is of memory"));
        }
        event.set(handle);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_opened_by_its_process_alone() {
        let shared = Shared::new(5, 6);
        assert_eq!(Shared::from_bytes(&shared.to_bytes()).unwrap().numbers().unwrap(), (5, 6));
        let other = Shared { process: process() + 1, ..shared };
        assert_eq!(
            Shared::from_bytes(&other.to_bytes()).unwrap().numbers().unwrap_err().code,
            Code::NotSupported
        );
        assert_eq!(Shared::from_bytes(&[0; 64]).unwrap_err().code, Code::InvalidValue);
    }

    #[test]
    fn a_descriptor_keeps_its_handle() {
        let descriptor = Shared::new(7, 0).into_descriptor().unwrap();
        for _ in 0..2 {
            assert_eq!(Shared::from_descriptor(descriptor as usize).unwrap(), Shared::new(7, 0));
        }
        assert!(Shared::from_descriptor(usize::MAX).is_err());
        assert!(Shared::from_descriptor(987_654).is_err());
    }
}
