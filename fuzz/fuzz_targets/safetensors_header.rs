//! Any bytes as a safetensors file; see [`rorqual_fuzz::model::safetensors_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::model::safetensors_header(bytes));
