//! Tensor maps that cannot be encoded.

use super::Row;
use super::edit::Edit::Map;

pub const ROWS: &[Row] = &[
    (
        "a tensor map of no buffer",
        &[Map(r#"{"buffer": "date"}"#)],
        "launch 0 (`tiled`), argument 0: there is no buffer `date`",
    ),
    (
        "a tensor map with an unknown key",
        &[Map(r#"{"swizzles": "32B"}"#)],
        "launch.json: unknown field `swizzles`, expected one of `buffer`, `offset`, `dtype`, `dims`, `strides`, `box`, `element_strides`, `interleave`, `swizzle`, `l2_promotion`, `oob_fill` at line 1 column 174",
    ),
    (
        "a tensor map of an unknown type",
        &[Map(r#"{"dtype": "float"}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: dtype `float` is not known",
    ),
    (
        "a tensor map of six dimensions",
        &[Map(r#"{"dims": [4, 1, 1, 1, 1, 1], "strides": [16, 16, 16, 16, 16], "box": [4, 1, 1, 1, 1, 1]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: tensorRank is 6: it must be in 1..=5",
    ),
    (
        "a tensor map with too few strides",
        &[Map(r#"{"strides": []}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: globalStrides has 0 elements: a tensor of 2 dimensions needs 1",
    ),
    (
        "a tensor map with a box of another rank",
        &[Map(r#"{"box": [8]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: boxDim has 1 elements: a tensor of 2 dimensions needs 2",
    ),
    (
        "a tensor map with an empty dimension",
        &[Map(r#"{"dims": [8, 0]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: globalDim[1] is 0: it must be in 1..=4294967296",
    ),
    (
        "a tensor map with a stride that is no multiple of 16",
        &[Map(r#"{"strides": [36]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: globalStrides[0] is 36: with interleave none it must be a multiple of 16",
    ),
    (
        "a tensor map with a box that is too large",
        &[Map(r#"{"box": [8, 257]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: boxDim[1] is 257: it must be in 1..=256",
    ),
    (
        "a tensor map with an empty box",
        &[Map(r#"{"box": [8, 0]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: boxDim[1] is 0: it must be in 1..=256",
    ),
    (
        "a tensor map with rows that are no multiple of 16 bytes",
        &[Map(r#"{"box": [3, 2]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: boxDim[0] is 3 elements of 4 bytes: a row must be a multiple of 16 bytes",
    ),
    (
        "a tensor map with an element stride that is too large",
        &[Map(r#"{"element_strides": [1, 9]}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: elementStrides[1] is 9: it must be in 1..=8",
    ),
    (
        "a tensor map with an unknown swizzle",
        &[Map(r#"{"swizzle": "256B"}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: swizzle `256B` is not known",
    ),
    (
        "a tensor map with rows longer than its swizzle",
        &[Map(r#"{"dims": [16, 2], "strides": [64], "box": [16, 2], "swizzle": "32B"}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: boxDim[0] is 64 bytes: with swizzle 32B a row has at most 32 bytes",
    ),
    (
        "a tensor map that fills integers with NaN",
        &[Map(r#"{"dtype": "u32", "oob_fill": "nan"}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: oobFill is nan: tensorDataType u32 is no floating-point type",
    ),
    (
        "a tensor map with an interleave of two dimensions",
        &[Map(r#"{"interleave": "16B"}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: tensorRank is 2: with interleave 16B it must be at least 3",
    ),
    (
        "a tensor map that is not aligned",
        &[Map(r#"{"offset": 8}"#)],
        "launch 0 (`tiled`), argument 0: tensor map: globalAddress is 0x7f0000000008: with interleave none it must be a multiple of 16",
    ),
    (
        "a tensor map that is larger than its buffer",
        &[Map(r#"{"dims": [8, 5]}"#)],
        "launch 0 (`tiled`), argument 0: the tensor map reaches to byte 160 of buffer `data`, which has 128 bytes",
    ),
    (
        "a tensor map whose size overflows",
        &[Map(r#"{"dims": [8, 4294967296], "strides": [1099511627760]}"#)],
        "launch 0 (`tiled`), argument 0: the tensor map reaches to byte 2^64 of buffer `data`, which has 128 bytes",
    ),
];
