//! A checkpoint directory in the Hugging Face layout, opened: configuration, network, tokens that end a text.

use std::io;
use std::path::{Path, PathBuf};

use super::config::{Config, ConfigError, stop_ids_from_generation_config};
use super::weights::{Checkpoint, regular_file};
use crate::error::{Error, Result};
use crate::reference::rope::MscaleConvention;
use crate::reference::{Model, Precision};

/// How a checkpoint is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Where values are rounded.
    pub precision: Precision,
    /// Where YaRN's attention factor goes.
    pub mscale: MscaleConvention,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { precision: Precision::F32, mscale: MscaleConvention::default() }
    }
}

/// How far opening has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenStep {
    /// Reading the header of file `number` of `count`.
    File {
        /// From zero.
        number: usize,
        /// All files.
        count: usize,
    },
    /// Looking up the weights of layer `number` of `count`.
    Layer {
        /// From zero.
        number: usize,
        /// All layers, the multi-token-prediction module included.
        count: usize,
    },
}

/// An opened checkpoint.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// The network.
    pub network: Model,
    /// Tokens that end a text: those of `generation_config.json`, else those of `config.json`.
    pub stop_ids: Vec<u32>,
    directory: PathBuf,
}

impl Pretrained {
    /// Opens the checkpoint in `directory`: `config.json`, `generation_config.json` where there is one, and the
    /// weights. `on_step` hears how far it has come.
    ///
    /// # Errors
    /// Anything that is missing, malformed, contradictory or not supported; see [`Error`].
    pub fn open(directory: &Path, options: OpenOptions, on_step: &mut dyn FnMut(OpenStep)) -> Result<Self> {
        let _span = tracing::info_span!("open", directory = %directory.display()).entered();
        let config_file = directory.join("config.json");
        let config = match read_text(&config_file) {
            Ok(text) => parse_config(&config_file, Config::from_json(&text))?,
            Err(Error::Read { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                let reason = if !directory.exists() {
                    "no such directory"
                } else if !directory.is_dir() {
                    "not a directory"
                } else {
                    "expected config.json in it"
                };
                return Err(Error::NotACheckpoint {
                    directory: directory.to_owned(),
                    reason: reason.to_owned(),
                });
            }
            Err(error) => return Err(error),
        };
        let stop_ids = stop_ids(directory, &config)?;
        let checkpoint =
            Checkpoint::open(directory, &mut |number, count| on_step(OpenStep::File { number, count }))?;
        let on_layer = &mut |number, count| on_step(OpenStep::Layer { number, count });
        let network = Model::load(config, &checkpoint, options.precision, options.mscale, on_layer)?;
        Ok(Self { network, stop_ids, directory: directory.to_owned() })
    }

    /// Where the checkpoint lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The tokeniser of the checkpoint, `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    #[cfg(feature = "tokenizer")]
    pub fn tokenizer(&self) -> Result<super::tokenizer::Tokenizer> {
        super::tokenizer::Tokenizer::from_file(&self.directory.join("tokenizer.json"))
    }
}

fn stop_ids(directory: &Path, config: &Config) -> Result<Vec<u32>> {
    let file = directory.join("generation_config.json");
    let ids = match read_text(&file) {
        Ok(text) => parse_config(&file, stop_ids_from_generation_config(&text))?,
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    if let Some(id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        let expected = format!("less than the vocabulary of {}", config.vocab_size);
        let source =
            ConfigError::OutOfRange { field: "eos_token_id".to_owned(), value: id.to_string(), expected };
        return Err(Error::Config { file, source });
    }
    Ok(if ids.is_empty() { config.eos_token_ids.clone() } else { ids })
}

fn parse_config<T>(file: &Path, parsed: Result<T, ConfigError>) -> Result<T> {
    parsed.map_err(|source| Error::Config { file: file.to_owned(), source })
}

pub(super) fn read_text(file: &Path) -> Result<String> {
    let bytes = regular_file::read(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
    String::from_utf8(bytes)
        .map_err(|e| Error::Utf8 { file: file.to_owned(), offset: e.utf8_error().valid_up_to() })
}
