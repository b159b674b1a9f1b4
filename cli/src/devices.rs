//! `rorqual devices`: what can run the network here.

use std::io::{Write, stdout};

use serde_json::json;

use crate::arguments::DevicesArguments;
use crate::failure::Failure;

/// Lists the devices.
pub fn run(arguments: &DevicesArguments) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let vectors = vector_extension();
    let mut out = stdout().lock();
    if arguments.json {
        let device = json!({"device": "reference", "threads": threads, "vectors": vectors});
        writeln!(out, "{}", json!({"devices": [device]}))?;
    } else {
        writeln!(out, "reference  the CPU, {threads} threads, {vectors} vectors")?;
    }
    Ok(())
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
