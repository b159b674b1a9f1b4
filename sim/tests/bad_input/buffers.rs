//! Buffers that cannot be made.

use super::Row;
use super::edit::Edit::{File, Remove, Set};

pub const ROWS: &[Row] = &[
    ("a buffer without a type", &[Remove("/buffers/data/dtype")], "buffer `data`: `dtype` is missing"),
    (
        "a buffer of an unknown type",
        &[Set("/buffers/data/dtype", r#""float""#)],
        "buffer `data`: dtype `float`, expected one of u8 s8 u16 s16 u32 s32 u64 s64 f16 bf16 f32 f64 f8e4m3 f8e5m2",
    ),
    ("a buffer without a shape", &[Remove("/buffers/data/shape")], "buffer `data`: `shape` is missing"),
    (
        "a buffer that is larger than any memory",
        &[Set("/buffers/data/shape", "[4294967296, 4294967296]")],
        "buffer `data`: shape [4294967296, 4294967296] of f32 is more than 17179869184 bytes",
    ),
    (
        "a fill that the type cannot hold",
        &[Set("/buffers/data", r#"{"dtype": "u8", "shape": [4], "fill": 256}"#)],
        "buffer `data`: fill 256 is no u8",
    ),
    (
        "a fill that is an unknown word",
        &[Set("/buffers/data/fill", r#""zero""#)],
        r#"buffer `data`: fill `zero`, expected a number, "poison" or {"random": seed}"#,
    ),
    (
        "a fill and a file",
        &[Set("/buffers/data/file", r#""data.bin""#)],
        "buffer `data`: `file` and `fill` exclude each other",
    ),
    (
        "a file that is not there",
        &[Set("/buffers/data", r#"{"dtype": "f32", "shape": [32], "file": "data.bin"}"#)],
        "data.bin: No such file or directory (os error 2)",
    ),
    (
        "a file of another size",
        &[
            Set("/buffers/data", r#"{"dtype": "f32", "shape": [32], "file": "data.bin"}"#),
            File("data.bin", b"0123"),
        ],
        "buffer `data`: data.bin has 4 bytes, shape [32] of f32 is 128",
    ),
    (
        "pointers with a type",
        &[Set("/buffers/list", r#"{"dtype": "u64", "pointers": [{"buffer": "data"}]}"#)],
        "buffer `list`: `pointers` excludes `dtype`, `shape`, `file` and `fill`",
    ),
    (
        "a pointer to no buffer",
        &[Set("/buffers/list", r#"{"pointers": [{"buffer": "date"}]}"#)],
        "there is no buffer `date`",
    ),
    (
        "a pointer beyond a buffer",
        &[Set("/buffers/list", r#"{"pointers": [{"buffer": "data", "offset": 256}]}"#)],
        "buffer `list`: offset 256 in buffer `data` of 128 bytes",
    ),
    (
        "a buffer on a device that is not there",
        &[Set("/buffers/data/device", "1")],
        "buffer `data`: there is no device 1: there are 1, numbered from 0",
    ),
    (
        "a buffer that cannot be saved",
        &[Set("/buffers/data/save", r#""missing/data.bin""#)],
        "cannot write missing/data.bin: No such file or directory (os error 2)",
    ),
];
