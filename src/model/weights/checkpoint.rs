//! A directory in the Hugging Face layout: which tensors it has and where they lie.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::WeightsError;
use super::header::{self, Dtype, TensorInfo};
use super::index;
use super::matrix::{BLOCK, Bytes, Matrix, Stored, read_elements};
use super::regular_file;
use crate::model::mapped_file::MappedFile;

/// The name of the tensor that holds the block scales of the FP8 weight `tensor`. It says "inverse", but the value
/// multiplies.
pub fn scales_of(tensor: &str) -> String {
    format!("{tensor}_scale_inv")
}

/// The weights of a checkpoint: `model.safetensors`, or the shards named by `model.safetensors.index.json`.
#[derive(Debug)]
pub struct Checkpoint {
    /// The file that says what there is: the only one, or the index.
    root: PathBuf,
    tensors: HashMap<String, (Arc<MappedFile>, TensorInfo)>,
}

impl Checkpoint {
    /// Maps every file of the checkpoint in `directory` and checks their headers against each other.
    ///
    /// A single `model.safetensors` is preferred to an index where both exist. `on_file` is called before each
    /// file with its number and the count of files.
    ///
    /// # Errors
    /// Any [`WeightsError`] of the files themselves; what the network needs is checked when it asks for it.
    pub fn open(directory: &Path, on_file: &mut dyn FnMut(usize, usize)) -> Result<Self, WeightsError> {
        let single = directory.join("model.safetensors");
        if single.exists() {
            on_file(0, 1);
            let (file, tensors) = open_file(&single)?;
            let tensors = tensors.into_iter().map(|(name, info)| (name, (file.clone(), info))).collect();
            return Ok(Self { root: single, tensors });
        }
        let index_path = directory.join("model.safetensors.index.json");
        match regular_file::read(&index_path) {
            Ok(bytes) => Self::open_shards(directory, index_path, &bytes, on_file),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(WeightsError::NotACheckpoint { directory: directory.to_owned() })
            }
            Err(source) => Err(WeightsError::Io { file: index_path, source }),
        }
    }

    fn open_shards(
        directory: &Path,
        index_path: PathBuf,
        index_bytes: &[u8],
        on_file: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, WeightsError> {
        let index = index::parse(index_bytes, &index_path)?;
        let mut by_shard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, shard) in &index {
            by_shard.entry(shard).or_default().push(tensor);
        }
        let mut found: HashMap<String, (Arc<MappedFile>, TensorInfo)> = HashMap::new();
        let count = by_shard.len();
        for (number, (shard, indexed)) in by_shard.into_iter().enumerate() {
            on_file(number, count);
            let path = directory.join(shard);
            if !path.exists() {
                return Err(WeightsError::MissingShard { index: index_path, shard: path });
            }
            let (file, tensors) = open_file(&path)?;
            if let Some(absent) = indexed.into_iter().find(|&tensor| !tensors.contains_key(tensor)) {
                let tensor = absent.to_owned();
                return Err(WeightsError::IndexedTensorAbsent { index: index_path, tensor, shard: path });
            }
            for (name, info) in tensors {
                if let Some((first, _)) = found.get(&name) {
                    let first = first.path().to_owned();
                    return Err(WeightsError::DuplicateTensor { tensor: name, first, second: path });
                }
                found.insert(name, (file.clone(), info));
            }
        }
        Ok(Self { root: index_path, tensors: found })
    }

    /// Whether the checkpoint has a tensor of this name.
    pub fn contains(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// All tensors with their names, in no order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, (_, info))| (name.as_str(), info))
    }

    /// The file that says what there is: the only one, or the index.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The weight `tensor`, `[rows, columns]` row-major, in its stored type. An e4m3 weight takes the scales in
    /// `{tensor}_scale_inv`, f32 `[ceil(rows/128), ceil(columns/128)]`.
    ///
    /// # Errors
    /// A missing tensor, a wrong shape or dtype, and scales that are missing, of the wrong shape, negative or
    /// not finite.
    pub fn matrix(&self, tensor: &str, rows: usize, columns: usize) -> Result<Matrix, WeightsError> {
        let (file, info) = self.tensor(tensor, &[rows, columns])?;
        let stored = match info.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::Bf16,
            Dtype::F8E4M3 => Stored::E4m3 { scales: self.block_scales(tensor, rows, columns)? },
            found => return Err(wrong_dtype(file, tensor, found, "F32, F16, BF16 or F8_E4M3")),
        };
        Ok(Matrix::new(rows, columns, Bytes::Mapped(file.clone(), info.bytes.clone()), stored))
    }

    /// The vector `tensor` of `length` elements, as f32.
    ///
    /// # Errors
    /// A missing tensor, a wrong shape, or a dtype other than f32, f16 and bf16.
    pub fn vector(&self, tensor: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let (file, info) = self.tensor(tensor, &[length])?;
        let stored = match info.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::Bf16,
            found => return Err(wrong_dtype(file, tensor, found, "F32, F16 or BF16")),
        };
        let mut values = vec![0.0; length];
        read_elements(&stored, &file[info.bytes.clone()], &mut values);
        Ok(values)
    }

    fn block_scales(&self, weight: &str, rows: usize, columns: usize) -> Result<Vec<f32>, WeightsError> {
        let tensor = scales_of(weight);
        let grid_columns = columns.div_ceil(BLOCK);
        let shape = [rows.div_ceil(BLOCK), grid_columns];
        let (file, info) = self.tensor(&tensor, &shape)?;
        if info.dtype != Dtype::F32 {
            return Err(wrong_dtype(file, &tensor, info.dtype, "F32"));
        }
        let mut scales = vec![0.0; shape[0] * shape[1]];
        read_elements(&Stored::F32, &file[info.bytes.clone()], &mut scales);
        if let Some(at) = scales.iter().position(|scale| !(scale.is_finite() && *scale >= 0.0)) {
            let (row, column) = (at / grid_columns, at % grid_columns);
            let file = file.path().to_owned();
            return Err(WeightsError::Scale { file, tensor, row, column, found: scales[at] });
        }
        Ok(scales)
    }

    fn tensor(
        &self,
        tensor: &str,
        expected: &[usize],
    ) -> Result<(&Arc<MappedFile>, &TensorInfo), WeightsError> {
        let Some((file, info)) = self.tensors.get(tensor) else {
            return Err(WeightsError::MissingTensor {
                checkpoint: self.root.clone(),
                tensor: tensor.to_owned(),
                expected: expected.to_vec(),
            });
        };
        if info.shape != expected {
            return Err(WeightsError::Shape {
                file: file.path().to_owned(),
                tensor: tensor.to_owned(),
                found: info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok((file, info))
    }
}

fn open_file(path: &Path) -> Result<(Arc<MappedFile>, BTreeMap<String, TensorInfo>), WeightsError> {
    let file = MappedFile::open(path).map_err(|source| WeightsError::Io { file: path.to_owned(), source })?;
    let tensors = header::parse(&file, path)?;
    Ok((Arc::new(file), tensors))
}

fn wrong_dtype(file: &Arc<MappedFile>, tensor: &str, found: Dtype, expected: &'static str) -> WeightsError {
    WeightsError::WrongDtype { file: file.path().to_owned(), tensor: tensor.to_owned(), found, expected }
}
