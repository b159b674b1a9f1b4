//! Text to token ids and back, as a checkpoint's `tokenizer.json` says, through the `tokenizers` crate.

use std::path::{Path, PathBuf};

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
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Utf8`] when the file is missing or no text, [`Error::Tokenizer`] when it is not
    /// valid.
    pub fn from_file(file: &Path) -> Result<Self> {
        let text = read_text(file)?;
        let inner = tokenizers::Tokenizer::from_bytes(text).map_err(|e| tokenizer_error(file, e))?;
        Ok(Self { file: file.to_owned(), inner })
    }

    /// The ids of `text`. With `add_special_tokens`, what the file's post-processor adds around a text, such as the
    /// token that begins it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be processed, or holds a character that no token stands for.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        self.check_characters(text)?;
        let encoding =
            self.inner.encode(text, add_special_tokens).map_err(|e| tokenizer_error(&self.file, e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Refuses a text that would lose characters: a byte-pair model without a token for unknown characters leaves
    /// them out without a word, and then `3×4` means `34`.
    fn check_characters(&self, text: &str) -> Result<()> {
        let failed = |e| tokenizer_error(&self.file, e);
        let (model, added) = (self.inner.get_model(), self.inner.get_added_vocabulary());
        let mut pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
        }
        for (piece, _, added_token) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            if added_token.is_some() {
                continue;
            }
            // Tokens lie end to end, so what is lost is missing at the end.
            let tokens = model.tokenize(piece).map_err(failed)?;
            if tokens.last().map_or(0, |token| token.offsets.1) >= piece.len() {
                continue;
            }
            let is_lost = |c: &char| model.tokenize(c.encode_utf8(&mut [0; 4])).is_ok_and(|t| t.is_empty());
            let lost = piece.chars().find(is_lost).map_or_else(|| piece.to_owned(), String::from);
            let message = format!("no token for {lost:?}, which is in the text");
            return Err(Error::Tokenizer { file: self.file.clone(), message });
        }
        Ok(())
    }

    /// The text of `ids`. Special tokens are left out with `skip_special_tokens`; ids that the tokeniser does not
    /// have, as in an embedding padded beyond the vocabulary, always are.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the ids cannot be processed.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.inner.decode(ids, skip_special_tokens).map_err(|e| tokenizer_error(&self.file, e))
    }
}

fn tokenizer_error(file: &Path, error: tokenizers::Error) -> Error {
    Error::Tokenizer { file: file.to_owned(), message: error.to_string() }
}
