//! Text to token ids and back, as a checkpoint's `tokenizer.json` says, through the `tokenizers` crate.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use tokenizers::{Model, OffsetReferential, OffsetType, PreTokenizer};

use super::pretrained::read_text;
use crate::error::{Error, Result};

/// The tokeniser of a checkpoint.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    file: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. Truncation and padding that it may ask for are for training, and left out here.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Utf8`] when the file is missing or no text, [`Error::Tokenizer`] when it is not
    /// valid.
    pub fn from_file(file: &Path) -> Result<Self> {
        let text = read_text(file)?;
        // What is not even JSON is reported better by the parser itself.
        serde_json::from_str::<IgnoredAny>(&text).map_err(|e| tokenizer_error(file, e.into()))?;
        let mut inner = guarded(file, || tokenizers::Tokenizer::from_bytes(text))?;
        inner.with_padding(None).with_truncation(None).map_err(|e| tokenizer_error(file, e))?;
        Ok(Self { file: file.to_owned(), inner })
    }

    /// The ids of `text`. With `add_special_tokens`, what the file's post-processor adds around a text, such as the
    /// token that begins it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be processed, or holds a character that no token stands for.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let lost = guarded(&self.file, || self.lost_characters(text))?;
        if let Some(lost) = lost {
            let message = format!("no token for {lost:?}, which is in the text");
            return Err(Error::Tokenizer { file: self.file.clone(), message });
        }
        let encoding = guarded(&self.file, || self.inner.encode(text, add_special_tokens))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// What no token stands for: a byte-pair model without a token for unknown characters leaves them out without a
    /// word, and `3×4` would come to mean `34`.
    fn lost_characters(&self, text: &str) -> tokenizers::Result<Option<String>> {
        let (model, added) = (self.inner.get_model(), self.inner.get_added_vocabulary());
        let mut pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        for (piece, _, added_token) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            if added_token.is_some() {
                continue;
            }
            // Tokens lie end to end, so what is lost is missing at the end.
            let covered = model.tokenize(piece)?.last().map_or(0, |token| token.offsets.1);
            if covered < piece.len() {
                let is_lost =
                    |c: &char| model.tokenize(c.encode_utf8(&mut [0; 4])).is_ok_and(|t| t.is_empty());
                let lost = piece.chars().find(is_lost);
                return Ok(Some(lost.map_or_else(|| piece.to_owned(), String::from)));
            }
        }
        Ok(None)
    }

    /// The text of `ids`. Special tokens are left out with `skip_special_tokens`; ids that the tokeniser does not
    /// have, as in an embedding padded beyond the vocabulary, always are.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the ids cannot be processed.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        guarded(&self.file, || self.inner.decode(ids, skip_special_tokens))
    }
}

/// Calls into the `tokenizers` crate, which panics on some files that it cannot read.
fn guarded<T>(file: &Path, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // The call's own state is given up with the error.
    let panicked = |_| Err("the tokenizers crate panicked on it".into());
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(panicked).map_err(|e| tokenizer_error(file, e))
}

fn tokenizer_error(file: &Path, error: tokenizers::Error) -> Error {
    Error::Tokenizer { file: file.to_owned(), message: error.to_string() }
}
