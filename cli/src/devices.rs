//! `rorqual devices`: what can run the network here.

use std::io::{Write, stdout};

use rorqual::catalog::Target;
use rorqual::driver::{self, Device};
use serde_json::{Value, json};

use crate::arguments::DevicesArguments;
use crate::failure::Failure;

/// Lists the devices.
pub fn run(arguments: &DevicesArguments) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let vectors = vector_extension();
    let targets = simulated_targets();
    let gpus = Device::installed().map(|count| (0..count).map(Device::open).collect::<Vec<_>>());
    let mut out = stdout().lock();
    if arguments.json {
        let mut devices = vec![
            json!({"device": "reference", "threads": threads, "vectors": vectors}),
            json!({"device": "sim", "targets": targets}),
        ];
        let opened = gpus.as_ref().map_or(&[][..], Vec::as_slice);
        devices.extend(opened.iter().enumerate().map(|(ordinal, gpu)| gpu_to_json(ordinal, gpu)));
        let reason = gpus.as_ref().err().map(ToString::to_string);
        writeln!(out, "{}", json!({"devices": devices, "no_cuda_because": reason}))?;
        return Ok(());
    }
    writeln!(out, "reference  the CPU, {threads} threads, {vectors} vectors")?;
    writeln!(out, "sim        a simulated GPU, --target {}", targets.join(", "))?;
    match gpus {
        Ok(gpus) if gpus.is_empty() => writeln!(out, "cuda       none: the driver has no devices")?,
        Ok(gpus) => {
            for (ordinal, gpu) in gpus.iter().enumerate() {
                writeln!(out, "{:10} {}", format!("cuda:{ordinal}"), gpu_in_words(gpu))?;
            }
        }
        Err(reason) => writeln!(out, "cuda       none: {reason}")?,
    }
    Ok(())
}

/// The targets that a simulated device can have, oldest first.
fn simulated_targets() -> Vec<String> {
    let simulated = |target: &Target| Device::simulated(*target).is_ok();
    Target::known().filter(simulated).map(|target| target.to_string()).collect()
}

/// A GPU, or why it cannot be used.
fn gpu_to_json(ordinal: usize, gpu: &driver::Result<Device>) -> Value {
    let device = format!("cuda:{ordinal}");
    match gpu {
        Ok(gpu) => json!({
            "device": device,
            "name": gpu.name(),
            "target": gpu.target().to_string(),
            "multiprocessors": gpu.multiprocessors(),
            "memory_bytes": gpu.memory_info().ok().map(|memory| memory.total),
        }),
        Err(reason) => json!({"device": device, "unusable_because": reason.to_string()}),
    }
}

fn gpu_in_words(gpu: &driver::Result<Device>) -> String {
    match gpu {
        Ok(gpu) => {
            let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let memory = gpu.memory_info().map_or_else(
                |error| error.to_string(),
                |memory| format!("{:.1} of {:.1} GiB free", gibibytes(memory.free), gibibytes(memory.total)),
            );
            let (name, target, multiprocessors) = (gpu.name(), gpu.target(), gpu.multiprocessors());
            format!("{name}, {target}, {multiprocessors} multiprocessors, {memory}")
        }
        Err(reason) => format!("cannot be used: {reason}"),
    }
}

/// The widest vector instructions that the reference path uses on this CPU.
pub fn vector_extension() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            "AVX-512"
        } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            "AVX2"
        } else {
            "SSE2"
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        "NEON"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "no"
    }
}
