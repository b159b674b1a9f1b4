//! Bad input: damaged checkpoints and impossible requests, each with the complete message that a user reads.
//!
//! A row of a table is a name, a damage to a copy of a good checkpoint, and the message of the error, in which `DIR`
//! stands for the directory. Every row also checks that nothing was written to the directory. Configurations have
//! tables of their own beside the code that reads them; here are those that take the way through a directory.
//!
//! | module | what is damaged |
//! |---|---|
//! | [`files`] | whole files: missing, cut off, too long, of the wrong kind |
//! | [`headers`] | the header of a safetensors file |
//! | [`tensors`] | tensors that do not fit the configuration, and scales |
//! | [`shards`] | the index of a sharded checkpoint and its shards |
//! | [`settings`] | `config.json`, `generation_config.json`, `tokenizer.json` |
//! | [`requests`] | nothing: a good checkpoint is asked for what it cannot do |
//! | [`random_damage`] | anything, at random |
//! | [`replay`] | nothing: the inputs kept beside the fuzz targets |

mod copy;
mod files;
mod headers;
mod random_damage;
mod replay;
mod requests;
mod safetensors_file;
mod settings;
mod shards;
mod tensors;

use copy::{Base, Copy};
use rorqual::model::{OpenOptions, Pretrained};

/// A damage, and what opening says about it.
struct Row {
    name: &'static str,
    damage: fn(&Copy),
    expected: &'static str,
}

/// Opens a damaged copy of `base` for each row and compares all messages before it fails.
#[track_caller]
fn assert_refused(base: Base, rows: &[Row]) {
    assert_messages(rows.iter().map(|row| {
        let copy = base.copy();
        (row.damage)(&copy);
        let before = copy.listing();
        let found = match copy.open() {
            Ok(_) => "accepted".to_owned(),
            Err(error) => copy.anonymous(&error),
        };
        assert_eq!(copy.listing(), before, "{}: the directory has changed", row.name);
        (row.name, row.expected, found)
    }));
}

/// Compares (name, expected, found) and fails with all that differ.
#[track_caller]
fn assert_messages<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str, String)>) {
    let mut wrong = String::new();
    for (name, expected, found) in rows {
        if found != expected {
            wrong.push_str(&format!("\n{name}\n  expected: {expected}\n  found:    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The copies themselves are good: it is the damage that the tables below are about.
#[test]
fn undamaged_copies_open() {
    for base in Base::ALL {
        let copy = base.copy();
        let before = copy.listing();
        let opened = copy.open().unwrap_or_else(|error| panic!("{base:?}: {error}"));
        opened.tokenizer().unwrap_or_else(|error| panic!("{base:?}: {error}"));
        assert_eq!(copy.listing(), before);
    }
}

/// Rewriting a file without an edit changes nothing that matters.
#[test]
fn rewritten_copies_open() {
    let copy = Base::TrainedFp8.copy();
    copy.edit_weights(|_| {});
    copy.open().expect("a rewritten file opens");
}

fn open(directory: &std::path::Path) -> rorqual::Result<Pretrained> {
    Pretrained::open(directory, OpenOptions::default(), &mut |_| {})
}
