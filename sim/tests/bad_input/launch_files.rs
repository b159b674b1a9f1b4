//! Launch files that are none.

use super::Row;
use super::edit::Edit::{File, Missing, Remove, Set};

pub const ROWS: &[Row] = &[
    (
        "a launch file that is not there",
        &[Missing("launch.json")],
        "launch.json: No such file or directory (os error 2)",
    ),
    (
        "an empty launch file",
        &[File("launch.json", b"")],
        "launch.json: EOF while parsing a value at line 1 column 0",
    ),
    (
        "a launch file that ends early",
        &[File("launch.json", b"{\"launches\": [{\"module\": \"kernels.ptx\", ")],
        "launch.json: EOF while parsing a value at line 1 column 40",
    ),
    (
        "a launch file that is not UTF-8",
        &[File("launch.json", b"{\"launches\": []}\xff")],
        "launch.json: stream did not contain valid UTF-8",
    ),
    (
        "a launch file that is PTX",
        &[File("launch.json", b".version 8.7\n.target sm_90a\n")],
        "launch.json: expected value at line 1 column 1",
    ),
    (
        "text after the launch file",
        &[File("launch.json", b"{\"launches\": []} {}")],
        "launch.json: trailing characters at line 1 column 18",
    ),
    (
        "an unknown key of the file",
        &[Set("/buffer", "{}")],
        "launch.json: unknown field `buffer`, expected one of `devices`, `buffers`, `launches` at line 1 column 9",
    ),
    (
        "an unknown key of a launch",
        &[Set("/launches/0/grids", "[1, 1, 1]")],
        "launch.json: unknown field `grids`, expected one of `device`, `module`, `kernel`, `grid`, `block`, `cluster`, `dynamic_smem`, `args`, `arch`, `attributes`, `concurrent` at line 1 column 147",
    ),
    (
        "an unknown key of a buffer",
        &[Set("/buffers/data/type", r#""f32""#)],
        "launch.json: unknown field `type`, expected one of `dtype`, `shape`, `file`, `fill`, `device`, `save`, `pointers`, `peers`, `multicast` at line 1 column 62",
    ),
    (
        "an unknown key of an argument",
        &[Set("/launches/0/args/1", r#"{"f16": 1}"#)],
        "launch.json: unknown field `f16`, expected one of `buffer`, `offset`, `buffer_offset`, `u8`, `u16`, `u32`, `u64`, `s32`, `s64`, `f32`, `f64`, `bytes`, `tensor_map`, `struct` at line 1 column 103",
    ),
    (
        "an unknown launch attribute",
        &[Set("/launches/0/attributes", r#"{"priority": 1}"#)],
        "launch.json: unknown field `priority`, expected `pdl` or `cooperative` at line 1 column 132",
    ),
    ("no launches", &[Remove("/launches")], "launch.json: missing field `launches` at line 1 column 58"),
    (
        "a launch without a module",
        &[Remove("/launches/0/module")],
        "launch.json: missing field `module` at line 1 column 157",
    ),
    (
        "a launch without a kernel",
        &[Remove("/launches/0/kernel")],
        "launch.json: missing field `kernel` at line 1 column 163",
    ),
    (
        "a launch without a grid",
        &[Remove("/launches/0/grid")],
        "launch.json: missing field `grid` at line 1 column 165",
    ),
    (
        "a grid of two extents",
        &[Set("/launches/0/grid", "[1, 1]")],
        "launch.json: invalid length 2, expected an array of length 3 at line 1 column 137",
    ),
    (
        "a negative extent",
        &[Set("/launches/0/block", "[-1, 1, 1]")],
        "launch.json: invalid value: integer `-1`, expected u32 at line 1 column 119",
    ),
    (
        "a grid that is text",
        &[Set("/launches/0/grid", r#""1""#)],
        r#"launch.json: invalid type: string "1", expected an array of length 3 at line 1 column 135"#,
    ),
    ("too many devices", &[Set("/devices", "17")], "17 devices, expected 1 to 16"),
    ("no device", &[Set("/devices", "0")], "0 devices, expected 1 to 16"),
];
