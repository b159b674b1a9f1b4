//! Any bytes, or PTX with changes, as PTX; see [`rorqual_fuzz::ptx::ptx_parse`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::ptx::ptx_parse(bytes));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    rorqual_fuzz::sim::mutate_bytes(data, size, max_size, seed, libfuzzer_sys::fuzzer_mutate)
});
