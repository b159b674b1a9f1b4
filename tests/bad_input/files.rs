//! Whole files: missing, cut off, too long, of the wrong kind.

use std::fs;
use std::process::Command;

use crate::copy::{Base, WEIGHTS};
use crate::{Row, assert_messages, assert_refused, open};

/// Bytes of the good file that the rows below cut: 8 of length, 14,728 of header, the rest tensors.
const GOOD: u64 = 1_637_104;

#[test]
fn cut_and_extended_files_are_refused() {
    assert_eq!(fs::metadata(Base::Mtp.directory().join(WEIGHTS)).expect("a fixture").len(), GOOD);
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "nothing in the file",
                damage: |copy| copy.set_length(WEIGHTS, 0),
                expected: "DIR/model.safetensors: the file is empty",
            },
            Row {
                name: "cut off within the header length",
                damage: |copy| copy.set_length(WEIGHTS, 7),
                expected: "DIR/model.safetensors: 7 bytes, expected at least 8 for the header length",
            },
            Row {
                name: "cut off behind the header length",
                damage: |copy| copy.set_length(WEIGHTS, 8),
                expected: "DIR/model.safetensors: header length 14728 bytes, expected at most 0 (the rest of the file)",
            },
            Row {
                name: "cut off within the header",
                damage: |copy| copy.set_length(WEIGHTS, 1000),
                expected: "DIR/model.safetensors: header length 14728 bytes, expected at most 992 (the rest of the file)",
            },
            Row {
                name: "cut off behind the header",
                damage: |copy| copy.set_length(WEIGHTS, 8 + 14_728),
                expected: "DIR/model.safetensors: 0 bytes of tensor data, expected 1622368: the file is truncated",
            },
            Row {
                name: "cut off within the tensors",
                damage: |copy| copy.set_length(WEIGHTS, 500_000),
                expected: "DIR/model.safetensors: 485264 bytes of tensor data, expected 1622368: the file is truncated",
            },
            Row {
                name: "the last byte is missing",
                damage: |copy| copy.set_length(WEIGHTS, GOOD - 1),
                expected: "DIR/model.safetensors: 1622367 bytes of tensor data, expected 1622368: the file is truncated",
            },
            Row {
                name: "a byte too many",
                damage: |copy| copy.set_length(WEIGHTS, GOOD + 1),
                expected: "DIR/model.safetensors: 1622369 bytes of tensor data, expected 1622368: the file is too long",
            },
            Row {
                name: "a terabyte too many, which no memory holds",
                damage: |copy| copy.set_length(WEIGHTS, GOOD + (1 << 40)),
                expected: "DIR/model.safetensors: 1099513250144 bytes of tensor data, expected 1622368: the file is too long",
            },
            Row {
                name: "zeros",
                damage: |copy| copy.write(WEIGHTS, [0; 4096]),
                expected: "DIR/model.safetensors: header: EOF while parsing a value at line 1 column 0",
            },
            Row {
                name: "a pointer to the file, as a clone without large files has it",
                damage: |copy| copy.write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
                expected: "DIR/model.safetensors: header length 2336927755350992246 bytes, expected at most 35 (the rest of the file)",
            },
        ],
    );
}

#[test]
fn files_of_the_wrong_kind_are_refused() {
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "no weights",
                damage: |copy| copy.remove(WEIGHTS),
                expected: "DIR: not a checkpoint: expected model.safetensors or model.safetensors.index.json in it",
            },
            Row {
                name: "weights are a directory",
                damage: |copy| {
                    copy.remove(WEIGHTS);
                    fs::create_dir(copy.path(WEIGHTS)).expect("a directory");
                },
                expected: "DIR/model.safetensors: not a regular file",
            },
            Row {
                name: "no configuration",
                damage: |copy| copy.remove("config.json"),
                expected: "DIR: not a checkpoint: expected config.json in it",
            },
            Row {
                name: "an empty directory",
                damage: |copy| {
                    for (path, ..) in copy.listing() {
                        fs::remove_file(path).expect("a removed file");
                    }
                },
                expected: "DIR: not a checkpoint: expected config.json in it",
            },
            Row {
                name: "the configuration is a directory",
                damage: |copy| {
                    copy.remove("config.json");
                    fs::create_dir(copy.path("config.json")).expect("a directory");
                },
                expected: "DIR/config.json: not a regular file",
            },
            Row {
                name: "a terabyte of configuration",
                damage: |copy| copy.set_length("config.json", 1 << 40),
                expected: "DIR/config.json: 1099511627776 bytes, expected at most 100000000",
            },
        ],
    );
}

/// Opening a named pipe would wait for ever for somebody to write to it.
#[cfg(unix)]
#[test]
fn named_pipes_are_refused() {
    fn replace_by_pipe(copy: &crate::copy::Copy, name: &str) {
        copy.remove(name);
        let made = Command::new("mkfifo").arg(copy.path(name)).status().expect("mkfifo runs");
        assert!(made.success());
    }
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "the configuration is a named pipe",
                damage: |copy| replace_by_pipe(copy, "config.json"),
                expected: "DIR/config.json: not a regular file",
            },
            Row {
                name: "weights are a named pipe",
                damage: |copy| replace_by_pipe(copy, WEIGHTS),
                expected: "DIR/model.safetensors: not a regular file",
            },
        ],
    );
}

#[test]
fn what_is_no_directory_is_refused() {
    let copy = Base::Mtp.copy();
    let rows = [
        ("no such directory", "missing", "DIR/missing: not a checkpoint: no such directory"),
        ("a file", "config.json", "DIR/config.json: not a checkpoint: not a directory"),
        (
            "below a file",
            "config.json/missing",
            "DIR/config.json/missing: not a checkpoint: no such directory",
        ),
    ];
    assert_messages(rows.map(|(name, path, expected)| {
        let error = open(&copy.path(path)).expect_err(name);
        (name, expected, copy.anonymous(&error))
    }));
}
