//! Programs made from the table of instructions; see [`rorqual_fuzz::sim::random_program`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::sim::random_program(bytes));
