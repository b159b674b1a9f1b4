//! Whether there are kernels for the sizes of a network, asked before its weights are brought to a device.

use crate::catalog::{AnySpec, CatalogError};
use crate::error::Result;
use crate::model::config::{Config, ScaleFormat as ConfigScaleFormat, TopkMethod};
use crate::reference::Model;
use rorqual_kernels::catalog::{ExpertShape, GateMethod, ModelShape, specs_of};
use rorqual_kernels::gemm::{GemmSpec, Grouping};
use rorqual_kernels::{KernelError, ScaleFormat};

/// That the kernels which prompts need serve the sizes of a network and of its cache. Some sizes are served in the naive
/// form of attention alone: what generated tokens need beside it is told by their first pass.
///
/// # Errors
/// [`CatalogError::Kernel`] with the first rule that is broken.
pub(super) fn check(model: &Model, page_size: usize) -> Result<()> {
    for (mut spec, _) in specs_of(&shape(model)) {
        if let AnySpec::CacheGather(gather) = &mut spec {
            gather.page_size = page_size as u32;
        }
        if is_needed(&spec) {
            let wrong = |rule| KernelError::Spec { family: spec.family(), spec: format!("{spec:?}"), rule };
            spec.check().map_err(|rule| CatalogError::Kernel(wrong(rule)))?;
        }
    }
    Ok(())
}

/// Whether the pass of a prompt has it: not the absorbed form of attention, nor what is done with the results.
fn is_needed(spec: &AnySpec) -> bool {
    !matches!(
        spec,
        AnySpec::MlaDecode(_)
            | AnySpec::MlaCombine(_)
            | AnySpec::Bf16Gemm(GemmSpec { grouping: Grouping::Batched { .. }, .. })
            | AnySpec::Residual(_)
            | AnySpec::Argmax(_)
            | AnySpec::Sample(_)
    )
}

/// The sizes; the limits of a configuration are below 2^32.
fn shape(model: &Model) -> ModelShape {
    let config = model.config();
    let has_dense = config.first_k_dense_replace > 0;
    let has_experts = config.first_k_dense_replace < config.num_hidden_layers || model.has_mtp();
    ModelShape {
        hidden: config.hidden_size as u32,
        heads: config.num_attention_heads as u32,
        q_lora_rank: config.q_lora_rank.map(|rank| rank as u32),
        kv_lora_rank: config.kv_lora_rank as u32,
        qk_nope_head_dim: config.qk_nope_head_dim as u32,
        qk_rope_head_dim: config.qk_rope_head_dim as u32,
        v_head_dim: config.v_head_dim as u32,
        intermediate: has_dense.then_some(config.intermediate_size as u32),
        experts: has_experts.then(|| experts(config)),
        vocab: config.vocab_size as u32,
        fp8: config.quantization.map(|_| match model.numerics.activation_scale {
            ConfigScaleFormat::F32 => ScaleFormat::F32,
            ConfigScaleFormat::Ue8m0 => ScaleFormat::PowerOfTwo,
        }),
        mtp: model.has_mtp(),
    }
}

fn experts(config: &Config) -> ExpertShape {
    ExpertShape {
        routed: config.n_routed_experts as u32,
        shared: config.n_shared_experts as u32,
        per_token: config.num_experts_per_tok as u32,
        intermediate: config.moe_intermediate_size as u32,
        groups: config.n_group as u32,
        groups_per_token: config.topk_group as u32,
        gate: match config.topk_method {
            TopkMethod::Greedy => GateMethod::Greedy,
            TopkMethod::GroupLimitedGreedy => GateMethod::GroupLimitedGreedy,
            TopkMethod::NoauxTc => GateMethod::NoAuxTc,
        },
        normalize: config.norm_topk_prob,
        scaling_factor: config.routed_scaling_factor,
    }
}
