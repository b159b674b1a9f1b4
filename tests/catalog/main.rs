//! The catalog: what the build embedded, what is generated beside it, and what ptxas says of all of it.

mod cache;
mod document;
#[cfg(feature = "aot")]
mod machine_code;

use rorqual::catalog::{AnySpec, Artifact, Catalog, embedded, embedded_targets, rows, targets};
use rorqual_kernels::catalog::{MODELS, ModelShape, TARGETS, TINY_R1};
use serde_json::Value;

/// A specialisation that does not ship.
fn uncommon(hidden: u32) -> AnySpec {
    let fields =
        format!(r#"{{"hidden":{hidden},"x_pitch":{hidden},"residual":false,"bf16":true,"fp8":null}}"#);
    AnySpec::from_json(Some("rms_norm"), &fields).expect("all fields")
}

#[test]
fn what_is_embedded_is_what_is_generated() {
    let expected: Vec<&str> = TARGETS
        .iter()
        .filter(|(feature, _)| match *feature {
            "sm80" => cfg!(feature = "sm80"),
            "sm89" => cfg!(feature = "sm89"),
            "sm90" => cfg!(feature = "sm90"),
            "sm100" => cfg!(feature = "sm100"),
            "sm120" => cfg!(feature = "sm120"),
            other => panic!("feature {other} is not tested"),
        })
        .map(|(_, target)| *target)
        .collect();
    let found: Vec<String> = embedded_targets().map(|target| target.to_string()).collect();
    assert_eq!(found, expected);
    for target in targets() {
        for row in rows() {
            let stored = embedded(&row.spec, target);
            if row.spec.serves(target) && embedded_targets().any(|embedded| embedded == target) {
                let fresh = Artifact::from(&row.spec.generate(target).expect("a row"));
                let stored = stored.map(|stored| Artifact { cubin: None, ..stored });
                assert_eq!(stored, Some(fresh), "{:?} for {target}", row.spec);
            } else {
                assert_eq!(stored, None);
            }
        }
    }
    assert_eq!(embedded(&uncommon(136), "sm_80".parse().unwrap()), None);
}

#[test]
fn a_device_gets_the_best_target_that_is_embedded() {
    let catalog = Catalog::new();
    let chosen = |device: &str| catalog.target_for(device.parse().unwrap()).map(|target| target.to_string());
    let embedded: Vec<String> = embedded_targets().map(|target| target.to_string()).collect();
    let preferred: [(&str, &[&str]); 6] = [
        ("sm_80", &["sm_80"]),
        ("sm_86", &["sm_80"]),
        ("sm_89", &["sm_89", "sm_80"]),
        ("sm_90a", &["sm_90a", "sm_89", "sm_80"]),
        ("sm_100a", &["sm_100", "sm_89", "sm_80"]),
        ("sm_120", &["sm_120", "sm_100", "sm_89", "sm_80"]),
    ];
    for (device, preferred) in preferred {
        let best = preferred.iter().find(|target| embedded.iter().any(|embedded| embedded == *target));
        // What is not embedded is generated for the best of all.
        let generated = cfg!(feature = "jit").then(|| preferred[0]);
        assert_eq!(chosen(device).as_deref(), best.copied().or(generated), "{device}");
    }
    assert_eq!(chosen("sm_75"), None);
}

#[test]
fn a_wrong_specialisation_is_an_error() {
    let error = Catalog::new().kernel(&uncommon(0), "sm_80".parse().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("rms_norm: `hidden` is 0, expected 1 to 65536"), "{error}");
    let error = Catalog::new().kernel(&uncommon(8), "sm_75".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("sm_75"), "{error}");
}

#[test]
fn the_shape_of_the_bundled_checkpoint_is_that_of_its_config() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-r1-fp8/config.json");
    let config: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let number = |key: &str| u32::try_from(config[key].as_u64().unwrap_or_else(|| panic!("{key}"))).unwrap();
    let ModelShape { experts: Some(experts), .. } = &TINY_R1 else { panic!("no experts") };
    for (key, value) in [
        ("hidden_size", TINY_R1.hidden),
        ("num_attention_heads", TINY_R1.heads),
        ("q_lora_rank", TINY_R1.q_lora_rank.unwrap()),
        ("kv_lora_rank", TINY_R1.kv_lora_rank),
        ("qk_nope_head_dim", TINY_R1.qk_nope_head_dim),
        ("qk_rope_head_dim", TINY_R1.qk_rope_head_dim),
        ("v_head_dim", TINY_R1.v_head_dim),
        ("intermediate_size", TINY_R1.intermediate.unwrap()),
        ("moe_intermediate_size", experts.intermediate),
        ("n_routed_experts", experts.routed),
        ("n_shared_experts", experts.shared),
        ("num_experts_per_tok", experts.per_token),
        ("n_group", experts.groups),
        ("topk_group", experts.groups_per_token),
        ("vocab_size", TINY_R1.vocab),
    ] {
        assert_eq!(value, number(key), "{key}");
    }
    assert_eq!(config["routed_scaling_factor"].as_f64(), Some(f64::from(experts.scaling_factor)));
    assert_eq!(config["norm_topk_prob"], experts.normalize);
    assert_eq!(config["topk_method"], "noaux_tc");
    assert_eq!(config["num_nextn_predict_layers"] == 1, TINY_R1.mtp);
}

#[test]
fn every_network_needs_something_and_every_row_says_why() {
    for (model, shape) in MODELS {
        assert!(!rorqual::catalog::specs_of(shape).is_empty(), "{model}");
    }
    assert!(rows().iter().all(|row| !row.reason.is_empty() && !row.models.is_empty()));
}
