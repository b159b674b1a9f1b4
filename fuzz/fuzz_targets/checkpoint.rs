//! Any header before a little data, as a checkpoint on disk; see [`rorqual_fuzz::model::checkpoint`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::model::checkpoint(bytes));
