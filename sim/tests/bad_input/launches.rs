//! Launches that do not suit their kernel.

use super::Row;
use super::edit::Edit::{File, Remove, Set};

pub const ROWS: &[Row] = &[
    (
        "a kernel that is not in the module",
        &[Set("/launches/0/kernel", r#""scal""#)],
        "launch 0 (`scal`), module kernels.ptx: the module has no kernel `scal`; it has blocks, bounded, forget, hang, im2col, paired, scale, skip, speak, tiled",
    ),
    (
        "a module without kernels",
        &[File("kernels.ptx", b".version 8.7\n.target sm_90a\n.address_size 64\n")],
        "launch 0 (`scale`), module kernels.ptx: the module has no kernel `scale`; it has none",
    ),
    (
        "a float that its type cannot hold",
        &[Set("/launches/0/args/1", r#"{"f32": 1e39}"#)],
        "launch 0 (`scale`), argument 1: 1e39 is beyond the range of f32",
    ),
    (
        "a float that is neither a number nor a string",
        &[Set("/launches/0/args/1", r#"{"f32": [1]}"#)],
        "launch.json: a float is a number or a string of hex digits at line 1 column 108",
    ),
    (
        "an argument that is no object",
        &[Set("/launches/0/args/1", "5")],
        "launch.json: invalid type: integer `5`, expected an argument, an object such as {\"u32\": 1} at line 1 column 98",
    ),
    (
        "too few arguments",
        &[Remove("/launches/0/args/1")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale` takes 2 arguments, 1 were given",
    ),
    (
        "too many arguments",
        &[Set("/launches/0/args/2", r#"{"u32": 1}"#)],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale` takes 2 arguments, 3 were given",
    ),
    (
        "an argument of the wrong size",
        &[Set("/launches/0/args/1", r#"{"f64": 1}"#)],
        "launch 0 (`scale`), module kernels.ptx: argument 1 (`factor`) of kernel `scale` has 4 bytes, 8 were given",
    ),
    (
        "an argument of two values",
        &[Set("/launches/0/args/1", r#"{"f32": 1, "u32": 1}"#)],
        "launch 0 (`scale`), argument 1: an argument has one of buffer, u8, u16, u32, u64, s32, s64, f32, f64, bytes, tensor_map, struct; this has 2",
    ),
    (
        "an argument without a value",
        &[Set("/launches/0/args/1", "{}")],
        "launch 0 (`scale`), argument 1: an argument has one of buffer, u8, u16, u32, u64, s32, s64, f32, f64, bytes, tensor_map, struct; this has 0",
    ),
    (
        "an offset without a buffer",
        &[Set("/launches/0/args/1", r#"{"offset": 4, "f32": 1}"#)],
        "launch 0 (`scale`), argument 1: `offset` without `buffer`",
    ),
    (
        "a buffer that is not there",
        &[Set("/launches/0/args/0", r#"{"buffer": "date"}"#)],
        "launch 0 (`scale`), argument 0: there is no buffer `date`",
    ),
    (
        "an offset beyond a buffer",
        &[Set("/launches/0/args/0", r#"{"buffer": "data", "offset": 129}"#)],
        "launch 0 (`scale`), argument 0: offset 129 in buffer `data` of 128 bytes",
    ),
    (
        "a number that its type cannot hold",
        &[Set("/launches/0/args/1", r#"{"u8": 256}"#)],
        "launch.json: invalid value: integer `256`, expected u8 at line 1 column 106",
    ),
    (
        "a fraction for an integer",
        &[Set("/launches/0/args/1", r#"{"u32": 0.5}"#)],
        "launch.json: invalid type: floating point `0.5`, expected u32 at line 1 column 107",
    ),
    (
        "bits with too many digits",
        &[Set("/launches/0/args/1", r#"{"f32": "0x3f8000000"}"#)],
        "launch 0 (`scale`), argument 1: `0x3f8000000`, expected at most 8 hex digits",
    ),
    (
        "bits that are not hexadecimal",
        &[Set("/launches/0/args/1", r#"{"f32": "one"}"#)],
        "launch 0 (`scale`), argument 1: `one`, expected at most 8 hex digits",
    ),
    (
        "half a byte",
        &[Set("/launches/0/args/1", r#"{"bytes": "0000803"}"#)],
        "launch 0 (`scale`), argument 1: `bytes` is not an even number of hex digits",
    ),
    (
        "bytes that are not hexadecimal",
        &[Set("/launches/0/args/1", r#"{"bytes": "0000803g"}"#)],
        "launch 0 (`scale`), argument 1: `bytes` is not an even number of hex digits",
    ),
    (
        "a struct that is too large",
        &[Set("/launches/0/args/1", r#"{"struct": {"size": 65537, "fields": []}}"#)],
        "launch 0 (`scale`), argument 1: a struct of 65537 bytes, at most 65536",
    ),
    (
        "a field without an offset",
        &[Set("/launches/0/args/1", r#"{"struct": {"size": 4, "fields": [{"u32": 1}]}}"#)],
        "launch 0 (`scale`), argument 1: field 0 of the struct has no `offset`",
    ),
    (
        "a field outside of its struct",
        &[Set("/launches/0/args/1", r#"{"struct": {"size": 4, "fields": [{"u32": 1, "offset": 2}]}}"#)],
        "launch 0 (`scale`), argument 1: field 0 of 4 bytes at 2 is outside of the struct's 4",
    ),
    (
        "a grid of no CTAs",
        &[Set("/launches/0/grid", "[1, 0, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: the grid has 1 to [2147483647, 65535, 65535] CTAs, got [1, 0, 1]",
    ),
    (
        "a grid that is too high",
        &[Set("/launches/0/grid", "[1, 65536, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: the grid has 1 to [2147483647, 65535, 65535] CTAs, got [1, 65536, 1]",
    ),
    (
        "a CTA of no threads",
        &[Set("/launches/0/block", "[0, 1, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: a CTA has 1 to [1024, 1024, 64] threads, got [0, 1, 1]",
    ),
    (
        "a CTA that is too deep",
        &[Set("/launches/0/block", "[1, 1, 65]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: a CTA has 1 to [1024, 1024, 64] threads, got [1, 1, 65]",
    ),
    (
        "a CTA of too many threads",
        &[Set("/launches/0/block", "[32, 33, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: a CTA has at most 1024 threads, got 1056",
    ),
    (
        "threads that .reqntid excludes",
        &[
            Set("/launches/0/kernel", r#""blocks""#),
            Set("/launches/0/args", "[]"),
            Set("/launches/0/block", "[128, 1, 1]"),
        ],
        "launch 0 (`blocks`), module kernels.ptx: kernel `blocks`: .reqntid asks for [64, 1, 1] threads, got [128, 1, 1]",
    ),
    (
        "threads that .maxntid excludes",
        &[
            Set("/launches/0/kernel", r#""bounded""#),
            Set("/launches/0/args", "[]"),
            Set("/launches/0/block", "[65, 1, 1]"),
        ],
        "launch 0 (`bounded`), module kernels.ptx: kernel `bounded`: .maxntid allows 64 threads a CTA, got 65",
    ),
    (
        "a cluster that is too large",
        &[Set("/launches/0/cluster", "[17, 1, 1]"), Set("/launches/0/grid", "[17, 1, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: a cluster has 1 to 16 CTAs, got [17, 1, 1]",
    ),
    (
        "a cluster of no CTAs",
        &[Set("/launches/0/cluster", "[0, 1, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: a cluster has 1 to 16 CTAs, got [0, 1, 1]",
    ),
    (
        "a grid that is no multiple of its cluster",
        &[Set("/launches/0/cluster", "[2, 1, 1]"), Set("/launches/0/grid", "[3, 1, 1]")],
        "launch 0 (`scale`), module kernels.ptx: kernel `scale`: the grid is a multiple of the cluster [2, 1, 1], got [3, 1, 1]",
    ),
    (
        "a cluster that .reqnctapercluster excludes",
        &[
            Set("/launches/0/kernel", r#""paired""#),
            Set("/launches/0/args", "[]"),
            Set("/launches/0/cluster", "[4, 1, 1]"),
            Set("/launches/0/grid", "[4, 1, 1]"),
        ],
        "launch 0 (`paired`), module kernels.ptx: kernel `paired`: .reqnctapercluster asks for [2, 1, 1] CTAs, got [4, 1, 1]",
    ),
    (
        "a cluster on an architecture that has none",
        &[
            Set("/launches/0/cluster", "[2, 1, 1]"),
            Set("/launches/0/grid", "[2, 1, 1]"),
            Set("/launches/0/module", r#""plain.ptx""#),
            File(
                "plain.ptx",
                b".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry scale()\n{\n    ret;\n}\n",
            ),
            Set("/launches/0/args", "[]"),
        ],
        "launch 0 (`scale`), module plain.ptx: kernel `scale`: a cluster has 1 to 1 CTAs, got [2, 1, 1]",
    ),
    (
        "more shared memory than a CTA can have",
        &[
            Set("/launches/0/kernel", r#""bounded""#),
            Set("/launches/0/args", "[]"),
            Set("/launches/0/block", "[32, 1, 1]"),
            Set("/launches/0/dynamic_smem", "231425"),
        ],
        "launch 0 (`bounded`), module kernels.ptx: kernel `bounded`: a CTA on sm_90a has at most 232448 bytes of shared memory, got 232449 (1024 static, 231425 dynamic)",
    ),
    (
        "a launch on a device that is not there",
        &[Set("/launches/0/device", "1")],
        "launch 0 (`scale`), module kernels.ptx: there is no device 1: there are 1, numbered from 0",
    ),
];
