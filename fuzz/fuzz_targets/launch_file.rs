//! Any bytes as a launch file; see [`rorqual_fuzz::sim::launch_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::sim::launch_file(bytes));
