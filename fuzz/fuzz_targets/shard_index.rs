//! Any bytes as the index of a sharded checkpoint; see [`rorqual_fuzz::model::shard_index`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rorqual_fuzz::model::shard_index(bytes));
