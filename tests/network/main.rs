//! The reference network against numbers that other software computed, and against itself for equal bits.
//!
//! | module | what it holds the network to |
//! |---|---|
//! | [`checkpoints`] | every fixture checkpoint: logits, states, cache, routing, probabilities, greedy tokens, drafts |
//! | [`trained`] | the bundled checkpoint: the tokens of 200 prompts, and the size of the differences between logits |
//! | [`planted`] | that each mistake in a list is caught by those same measures |
//! | [`variants`] | settings that those fixtures do not have: logits, greedy tokens |
//! | [`same_bits`] | the same bits in a batch as alone, in chunks as whole, on two threads as on one |
//!
//! Who computed what: transformers (`DeepseekV3ForCausalLM`, `DeepseekV2ForCausalLM`, in f32), and an independent
//! float64 implementation for the multi-token-prediction module and for FP8 activations. DeepSeek's inference code
//! agrees with both where it can express the checkpoint.

mod checkpoints;
mod oracle;
mod planted;
mod run;
mod same_bits;
mod trained;
mod variants;
