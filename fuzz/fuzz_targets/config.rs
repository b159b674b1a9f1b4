//! Any bytes as a configuration; see [`rorqual_fuzz::model::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::model::config(bytes));
