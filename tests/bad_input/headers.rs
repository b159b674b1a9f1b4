//! The header of a safetensors file.

use crate::assert_messages;
use crate::copy::{Base, WEIGHTS};
use crate::safetensors_file::file_of;

/// Replaces the weights by each file (header, bytes of data) and compares all messages.
#[track_caller]
fn assert_headers_refused<H: AsRef<[u8]>>(rows: &[(&str, H, usize, &str)]) {
    let copy = Base::Mtp.copy();
    assert_messages(rows.iter().map(|(name, header, data, expected)| {
        copy.write(WEIGHTS, file_of(header, &vec![0; *data]));
        let before = copy.listing();
        let found = copy.open().map_or_else(|error| copy.anonymous(&error), |_| "accepted".to_owned());
        assert_eq!(copy.listing(), before, "{name}: the directory has changed");
        (*name, *expected, found)
    }));
}

#[test]
fn header_lengths_are_checked() {
    let copy = Base::Mtp.copy();
    let rows = [
        (
            "the rest of the file and one more",
            14,
            13,
            "DIR/model.safetensors: header length 14 bytes, expected at most 13 (the rest of the file)",
        ),
        (
            "more than any memory",
            u64::MAX,
            13,
            "DIR/model.safetensors: header length 18446744073709551615 bytes, expected at most 13 (the rest of the file)",
        ),
        (
            "as many bytes as there are, but above the limit",
            100_000_001,
            100_000_001,
            "DIR/model.safetensors: header length 100000001 bytes, expected at most 100000000 (the format's limit)",
        ),
        ("nothing", 0, 0, "DIR/model.safetensors: header: EOF while parsing a value at line 1 column 0"),
    ];
    assert_messages(rows.map(|(name, header_bytes, present, expected): (_, u64, u64, _)| {
        copy.write(WEIGHTS, header_bytes.to_le_bytes());
        copy.set_length(WEIGHTS, 8 + present);
        let error = copy.open().expect_err(name);
        (name, expected, copy.anonymous(&error))
    }));
}

#[test]
fn headers_that_are_no_description_are_refused() {
    assert_headers_refused(&[
        ("not UTF-8", b"{\"a\": \xff}".as_slice(), 0, "DIR/model.safetensors: invalid UTF-8 at byte 14"),
        ("UTF-8 cut off", b"{\"\xe2\x82", 0, "DIR/model.safetensors: invalid UTF-8 at byte 10"),
        ("not JSON", b"weights!", 0, "DIR/model.safetensors: header: expected value at line 1 column 1"),
        (
            "two documents",
            b"{}{}",
            0,
            "DIR/model.safetensors: header: trailing characters at line 1 column 3",
        ),
        (
            "an array",
            b"[]",
            0,
            "DIR/model.safetensors: header: invalid type: sequence, expected a JSON object at line 1 column 0",
        ),
        (
            "null",
            b"null",
            0,
            "DIR/model.safetensors: header: invalid type: null, expected a JSON object at line 1 column 4",
        ),
        (
            "a number for a tensor",
            br#"{"a": 1}"#,
            0,
            "DIR/model.safetensors: header: tensor `a`: invalid type: integer `1`, expected a JSON object at line 1 column 7",
        ),
        (
            "an array for a tensor",
            br#"{"a": ["F32", [1], [0, 4]]}"#,
            4,
            "DIR/model.safetensors: header: tensor `a`: invalid type: sequence, expected a JSON object at line 1 column 6",
        ),
        (
            "a tensor without anything",
            br#"{"a": {}}"#,
            0,
            "DIR/model.safetensors: header: tensor `a`: missing field `dtype` at line 1 column 8",
        ),
        (
            "a tensor without offsets",
            br#"{"a": {"dtype": "F32", "shape": []}}"#,
            0,
            "DIR/model.safetensors: header: tensor `a`: missing field `data_offsets` at line 1 column 35",
        ),
        (
            "a field twice",
            br#"{"a": {"dtype": "F32", "dtype": "F16", "shape": [], "data_offsets": [0, 4]}}"#,
            4,
            "DIR/model.safetensors: header: tensor `a`: duplicate field `dtype` at line 1 column 30",
        ),
        (
            "one offset",
            br#"{"a": {"dtype": "F32", "shape": [], "data_offsets": [0]}}"#,
            4,
            "DIR/model.safetensors: header: tensor `a`: invalid length 1, expected an array of length 2 at line 1 column 55",
        ),
        (
            "three offsets",
            br#"{"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4, 8]}}"#,
            4,
            "DIR/model.safetensors: header: tensor `a`: trailing characters at line 1 column 60",
        ),
        (
            "an extent below zero",
            br#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#,
            4,
            "DIR/model.safetensors: header: tensor `a`: invalid value: integer `-1`, expected u64 at line 1 column 35",
        ),
        (
            "half an element",
            br#"{"a": {"dtype": "F32", "shape": [0.5], "data_offsets": [0, 2]}}"#,
            2,
            "DIR/model.safetensors: header: tensor `a`: invalid type: floating point `0.5`, expected u64 at line 1 column 36",
        ),
        (
            "an extent beyond 64 bits",
            br#"{"a": {"dtype": "F32", "shape": [18446744073709551616], "data_offsets": [0, 4]}}"#,
            4,
            "DIR/model.safetensors: header: tensor `a`: invalid type: floating point `1.8446744073709552e+19`, expected u64 at line 1 column 53",
        ),
    ]);
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert_headers_refused(&[(
        "nested deeply",
        deep.as_str(),
        0,
        "DIR/model.safetensors: header: tensor `a`: invalid type: sequence, expected a JSON object at line 1 column 6",
    )]);
}

#[test]
fn element_types_must_exist() {
    assert_headers_refused(&[
        (
            "a type that does not exist",
            r#"{"a": {"dtype": "F31", "shape": [], "data_offsets": [0, 4]}}"#,
            4,
            r#"DIR/model.safetensors: tensor `a`: unknown dtype "F31""#,
        ),
        (
            "a type in small letters",
            r#"{"a": {"dtype": "f32", "shape": [], "data_offsets": [0, 4]}}"#,
            4,
            r#"DIR/model.safetensors: tensor `a`: unknown dtype "f32""#,
        ),
        (
            "a type that would clear the screen",
            r#"{"a\n": {"dtype": "\u001b[2J", "shape": [], "data_offsets": [0, 4]}}"#,
            4,
            r#"DIR/model.safetensors: tensor `a\n`: unknown dtype "\u{1b}[2J""#,
        ),
    ]);
    let name = "x".repeat(1_000_000);
    let header = format!(r#"{{"{name}": {{"dtype": "F31", "shape": [], "data_offsets": [0, 4]}}}}"#);
    let expected = format!("DIR/model.safetensors: tensor `{}...`: unknown dtype \"F31\"", "x".repeat(200));
    assert_headers_refused(&[("a name longer than any page", header, 4, &expected)]);
}

#[test]
fn shapes_and_offsets_must_agree() {
    assert_headers_refused(&[
        (
            "reversed",
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#,
            4,
            "DIR/model.safetensors: tensor `a`: data offsets 4..0, expected 4 bytes for its shape and dtype",
        ),
        (
            "too few bytes",
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
            4,
            "DIR/model.safetensors: tensor `a`: data offsets 0..4, expected 8 bytes for its shape and dtype",
        ),
        (
            "too many bytes",
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 12]}}"#,
            12,
            "DIR/model.safetensors: tensor `a`: data offsets 0..12, expected 8 bytes for its shape and dtype",
        ),
        (
            "past the end",
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#,
            4,
            "DIR/model.safetensors: 4 bytes of tensor data, expected 8: the file is truncated",
        ),
        (
            "far past the end",
            r#"{"a": {"dtype": "F32", "shape": [4611686018427387903], "data_offsets": [0, 18446744073709551612]}}"#,
            4,
            "DIR/model.safetensors: tensor `a`: shape [4611686018427387903] overflows",
        ),
        (
            "the end of the address space",
            r#"{"a": {"dtype": "U8", "shape": [1], "data_offsets": [18446744073709551614, 18446744073709551615]}}"#,
            4,
            "DIR/model.safetensors: tensor `a`: data offsets 18446744073709551614..18446744073709551615, expected 1 bytes for its shape and dtype",
        ),
        (
            "a product beyond 64 bits",
            r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}"#,
            0,
            "DIR/model.safetensors: tensor `a`: shape [4294967296, 4294967296] overflows",
        ),
        (
            "more bits than 64 bits count",
            r#"{"a": {"dtype": "F32", "shape": [1152921504606846976], "data_offsets": [0, 0]}}"#,
            0,
            "DIR/model.safetensors: tensor `a`: shape [1152921504606846976] overflows",
        ),
        (
            "a product beyond 64 bits, of many",
            r#"{"a": {"dtype": "F32", "shape": [999999999,999999999,999999999,1,2,3,4,5,6,7], "data_offsets": [0, 0]}}"#,
            0,
            "DIR/model.safetensors: tensor `a`: shape [999999999, 999999999, 999999999, 1, 2, 3, 4, 5] (the first of 10 extents) overflows",
        ),
        (
            "half a byte",
            r#"{"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}"#,
            2,
            "DIR/model.safetensors: tensor `a`: data offsets 0..2, expected 1 bytes for its shape and dtype",
        ),
    ]);
}

#[test]
fn tensors_must_lie_end_to_end() {
    assert_headers_refused(&[
        (
            "overlapping",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}"#,
            6,
            "DIR/model.safetensors: tensor `b`: data starts at 2, expected 4 (no holes, no overlaps)",
        ),
        (
            "the same bytes",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}"#,
            4,
            "DIR/model.safetensors: tensor `b`: data starts at 0, expected 4 (no holes, no overlaps)",
        ),
        (
            "a hole at the start",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}"#,
            6,
            "DIR/model.safetensors: tensor `a`: data starts at 2, expected 0 (no holes, no overlaps)",
        ),
        (
            "a hole between",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [6, 10]}}"#,
            10,
            "DIR/model.safetensors: tensor `b`: data starts at 6, expected 4 (no holes, no overlaps)",
        ),
        (
            "bytes behind the last",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}"#,
            6,
            "DIR/model.safetensors: 6 bytes of tensor data, expected 4: the file is too long",
        ),
        (
            "a tensor twice",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}"#,
            8,
            "tensor `a` is in DIR/model.safetensors and again in DIR/model.safetensors",
        ),
        (
            "the same name spelled in two ways",
            r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "\u0061": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}"#,
            8,
            "tensor `a` is in DIR/model.safetensors and again in DIR/model.safetensors",
        ),
        (
            "no tensor at all",
            "{}",
            0,
            "DIR/model.safetensors: tensor `model.embed_tokens.weight` is missing, expected shape [512, 64]",
        ),
        (
            "nothing but metadata",
            r#"{"__metadata__": {"format": "pt"}}"#,
            0,
            "DIR/model.safetensors: tensor `model.embed_tokens.weight` is missing, expected shape [512, 64]",
        ),
    ]);
}
