//! The device API on every device that is here: simulated ones always, GPUs where there is a driver.
//!
//! | module | what it shows |
//! |---|---|
//! | [`memory`] | buffers, views, pinned memory: round trips, shapes, offsets, refusals |
//! | [`kernels`] | launches through contracts: tails, shared memory, clusters, tensor maps |
//! | [`streams`] | order across streams, events, graphs |
//! | [`interop`] | memory and streams of `cudarc` |
//! | [`refused`] | every way to be wrong, with its error |
//!
//! `RORQUAL_CUDA_DRIVER_LIBRARY` names a driver library, so that the CUDA backend runs over the simulator.

mod interop;
mod kernels;
mod memory;
mod programs;
mod refused;
mod streams;

use rorqual::driver::{Device, Error, Target};

fn target(name: &str) -> Target {
    name.parse().expect("a target")
}

fn simulated(name: &str) -> Device {
    Device::simulated(target(name)).expect("a simulated device")
}

/// Every device to run a test on.
fn devices() -> Vec<Device> {
    let mut devices = vec![simulated("sm_80"), simulated("sm_90a")];
    match Device::open(0) {
        Ok(device) => devices.push(device),
        Err(error) => {
            let named = std::env::var_os("RORQUAL_CUDA_DRIVER_LIBRARY");
            assert!(named.is_none(), "the driver that was named: {error}");
            eprintln!("skipped on CUDA: {error}");
        }
    }
    devices
}

/// Those of them that have tensor copies and clusters.
fn hopper_devices() -> impl Iterator<Item = Device> {
    devices().into_iter().filter(|device| target("sm_90a").runs_on(device.target()))
}

#[test]
fn a_device_says_what_it_is() {
    for device in devices() {
        assert!(target("sm_80").runs_on(device.target()), "{device}");
        assert!(device.multiprocessors() > 0 && device.shared_bytes() >= 99 << 10, "{device:?}");
        let memory = device.memory_info().expect("memory");
        assert!(memory.free <= memory.total && memory.free > 0, "{memory:?}");
        device.synchronize().expect("nothing to wait for");
        assert_eq!(device, device.clone());
    }
    assert_ne!(simulated("sm_80"), simulated("sm_80"), "every simulated device is its own");
    assert!(simulated("sm_80").is_simulated());
}

#[test]
fn without_a_driver_opening_is_an_error() {
    match (Device::open(0), Device::installed()) {
        (Ok(device), Ok(installed)) => {
            assert!(installed > 0);
            assert_eq!(Device::best().expect("the GPU"), device);
            let error = Device::open(installed).expect_err("one too many");
            assert_eq!(error, Error::NoDevice { ordinal: installed, devices: installed });
        }
        (Err(Error::NoDriver { reason }), Err(_)) => {
            let named = std::env::var("RORQUAL_CUDA_DRIVER_LIBRARY");
            assert!(
                named.map_or_else(|_| reason.contains("libcuda"), |named| reason.contains(&named)),
                "{reason}"
            );
            assert!(Device::best().expect("a simulated device").is_simulated());
        }
        (Err(Error::NoDevice { devices: 0, .. }), Ok(0)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn targets_that_are_not_simulated_are_refused() {
    let error = Device::simulated(target("sm_75")).expect_err("too old");
    assert!(error.to_string().contains("sm_75 is not simulated"), "{error}");
}

#[test]
fn everything_may_go_to_other_threads() {
    use rorqual::driver::{Buffer, Event, Graph, Kernel, Module, Pinned, Stream, Transfer};
    const fn shared<T: Send + Sync>() {}
    shared::<(Device, Stream, Event, Graph)>();
    shared::<(Module, Kernel, Error)>();
    shared::<(Buffer<f32>, Pinned<f32>, Transfer<f32>)>();
}

/// In a process of its own, since the environment is of the whole process.
#[test]
fn a_library_that_is_no_driver_is_refused() {
    for library in ["libm.so.6", "no/such/library.so"] {
        let test = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "without_a_driver_opening_is_an_error"])
            .env("RORQUAL_CUDA_DRIVER_LIBRARY", library)
            .output()
            .expect("this program runs");
        let output = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success() && output.contains("1 passed"), "{library}: {output}");
    }
}
