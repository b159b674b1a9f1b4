//! The multi-token-prediction module (DeepSeek-V3 report, section 2.2): one more block that guesses a token ahead.
//!
//! Row `i` joins the trunk's state at token `i`, after the final norm, with the embedding of token `i + 1`, and
//! predicts token `i + 2`:
//!
//! `h' = block(eh_proj · [enorm(embedding(t[i+1])) ; hnorm(h[i])])`, logits `= head · norm(h')`.
//!
//! The embedding comes first, as the released weights have it (the paper's equation has it second). The row takes the
//! position of its embedded token, `i + 1`. Embedding and head are the trunk's; checkpoints store copies.

use super::Numerics;
use super::linear::{Output, linear};
use super::model::Block;
use super::ops::rms_norm;
use crate::model::weights::Matrix;

/// The multi-token-prediction module.
#[derive(Clone, Debug)]
pub struct Mtp {
    /// `embed_tokens` `[vocab, hidden]`.
    pub embedding: Matrix,
    /// Norm of the embedding, `[hidden]`.
    pub embedding_norm: Vec<f32>,
    /// Norm of the trunk's state, `[hidden]`.
    pub hidden_norm: Vec<f32>,
    /// `eh_proj` `[hidden, 2 * hidden]`.
    pub eh_proj: Matrix,
    /// The block itself.
    pub block: Block,
    /// `shared_head.norm` `[hidden]`.
    pub head_norm: Vec<f32>,
    /// `shared_head.head` `[vocab, hidden]`.
    pub head: Matrix,
}

impl Mtp {
    /// `eh_proj · [enorm(embedded) ; hnorm(hidden)]`: all `[tokens, hidden]`.
    pub fn join(&self, embedded: &[f32], hidden: &[f32], epsilon: f32, numerics: Numerics) -> Vec<f32> {
        let width = self.hidden_norm.len();
        let embedded = rms_norm(embedded, &self.embedding_norm, epsilon, numerics);
        let hidden = rms_norm(hidden, &self.hidden_norm, epsilon, numerics);
        let joined: Vec<f32> =
            embedded.chunks(width).zip(hidden.chunks(width)).flat_map(|(e, h)| [e, h].concat()).collect();
        linear(&joined, &self.eh_proj, Output::Activation, numerics)
    }
}
