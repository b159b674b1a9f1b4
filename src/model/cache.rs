//! The latent cache: what attention remembers of the tokens it has seen.
//!
//! Multi-head latent attention keeps one row for each token and layer, shared by all heads: the normalised latent
//! and, behind it, the rotated positional key (DeepSeek-V2 report, section 2.1).

/// The latent cache of one sequence, all layers of a network.
#[derive(Clone, Debug)]
pub struct LatentCache {
    /// For each layer `[tokens, latent + rope]`, row-major.
    layers: Vec<Vec<f32>>,
    width: usize,
    tokens: usize,
}

impl LatentCache {
    /// An empty cache for `layers` layers whose rows have `width` elements: `kv_lora_rank + qk_rope_head_dim`.
    pub fn new(layers: usize, width: usize) -> Self {
        Self { layers: vec![Vec::new(); layers], width, tokens: 0 }
    }

    /// Number of tokens that every layer remembers.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Elements of one row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows of one layer, `[tokens, width]`: the latent (after its norm), then the rotated key (pairs
    /// adjacent). While a forward pass is under way a layer may be ahead of [`Self::tokens`].
    pub fn rows(&self, layer: usize) -> &[f32] {
        &self.layers[layer]
    }

    /// Appends rows `[new tokens, width]` to one layer.
    ///
    /// # Panics
    /// If `rows` is no whole number of rows.
    pub fn append(&mut self, layer: usize, rows: &[f32]) {
        assert_eq!(rows.len() % self.width, 0, "whole rows of {}", self.width);
        self.layers[layer].extend_from_slice(rows);
    }

    /// Declares `count` appended tokens complete: every layer has their rows.
    ///
    /// # Panics
    /// If a layer lacks rows.
    pub fn advance(&mut self, count: usize) {
        self.tokens += count;
        for rows in &self.layers {
            assert_eq!(rows.len(), self.tokens * self.width, "every layer remembers every token");
        }
    }

    /// Forgets all tokens from `tokens` on, such as drafts that were not accepted.
    pub fn truncate(&mut self, tokens: usize) {
        for rows in &mut self.layers {
            rows.truncate(tokens * self.width);
        }
        self.tokens = self.tokens.min(tokens);
    }

    /// Bytes that the rows take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|rows| size_of_val(rows.as_slice())).sum()
    }
}
