//! Copies of good checkpoints in temporary directories, and ways to damage them.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rorqual::model::Pretrained;
use serde_json::Value;
use tempfile::TempDir;

use crate::safetensors_file::SafetensorsFile;

/// The file that holds the weights of a checkpoint with one file.
pub const WEIGHTS: &str = "model.safetensors";
/// The index of a checkpoint with shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// A good checkpoint.
#[derive(Clone, Copy, Debug)]
pub enum Base {
    /// f32 in one file, with a multi-token-prediction module.
    Mtp,
    /// bf16 in three shards.
    Sharded,
    /// FP8 with ragged scale grids.
    Fp8,
    /// FP8 with a multi-token-prediction module, real head sizes and a vocabulary of digits.
    TrainedFp8,
}

impl Base {
    pub const ALL: [Self; 4] = [Self::Mtp, Self::Sharded, Self::Fp8, Self::TrainedFp8];

    /// Where the checkpoint lies.
    pub fn directory(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(match self {
            Self::Mtp => "tests/fixtures/tiny-mtp",
            Self::Sharded => "tests/fixtures/tiny-v3-bf16-sharded",
            Self::Fp8 => "tests/fixtures/tiny-v3-fp8",
            Self::TrainedFp8 => "assets/tiny-r1-fp8",
        })
    }

    /// A copy of the files that make the checkpoint, without the oracle's.
    pub fn copy(self) -> Copy {
        let temporary = TempDir::new().expect("a temporary directory");
        for entry in fs::read_dir(self.directory()).expect("the fixture's directory") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name");
            let is_part = name.starts_with("model")
                || ["config.json", "generation_config.json", "tokenizer.json"].contains(&name);
            if is_part {
                fs::copy(&path, temporary.path().join(name)).expect("a copied file");
            }
        }
        Copy { temporary }
    }
}

/// A copy of a checkpoint, removed when it goes out of scope.
pub struct Copy {
    temporary: TempDir,
}

impl Copy {
    pub fn directory(&self) -> &Path {
        self.temporary.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    pub fn open(&self) -> rorqual::Result<Pretrained> {
        crate::open(self.directory())
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a readable file")
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a written file");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a removed file");
    }

    /// Makes a file this long, with zeros behind what it holds.
    pub fn set_length(&self, name: &str, length: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.path(name)).expect("a writable file");
        file.set_len(length).expect("a file of the new length");
    }

    /// Rewrites the tensors of one file.
    pub fn edit_tensors(&self, name: &str, edit: impl FnOnce(&mut SafetensorsFile)) {
        let mut file = SafetensorsFile::parse(&self.read(name));
        edit(&mut file);
        self.write(name, file.to_bytes());
    }

    /// [`Self::edit_tensors`] of a checkpoint with one file.
    pub fn edit_weights(&self, edit: impl FnOnce(&mut SafetensorsFile)) {
        self.edit_tensors(WEIGHTS, edit);
    }

    /// Sets a field of a JSON file, given as a pointer: `/weight_map/lm_head.weight`; null takes it away.
    pub fn set(&self, name: &str, pointer: &str, value: Value) {
        let mut document: Value = serde_json::from_slice(&self.read(name)).expect("a good document");
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = document.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        if value.is_null() {
            parent.remove(field).expect("a field to take away");
        } else {
            parent.insert(field.to_owned(), value);
        }
        self.write(name, document.to_string());
    }

    /// Every file with its length and the time it was last written.
    pub fn listing(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let mut files: Vec<_> = fs::read_dir(self.directory())
            .expect("a readable directory")
            .map(|entry| {
                let path = entry.expect("a readable entry").path();
                let metadata = fs::symlink_metadata(&path).expect("the file's metadata");
                (path, metadata.len(), metadata.modified().expect("a time of writing"))
            })
            .collect();
        files.sort();
        files
    }

    /// A message with `DIR` for this directory.
    pub fn anonymous(&self, message: &dyn Display) -> String {
        message.to_string().replace(self.directory().to_str().expect("a UTF-8 path"), "DIR")
    }
}
