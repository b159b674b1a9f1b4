//! Checkpoints, devices, and runs that are the same on every network.

use std::path::{Path, PathBuf};

use rorqual::driver::{Device, SimulatorOptions};
use rorqual::model::config::Config;
use rorqual::model::weights::Checkpoint;
use rorqual::network::{Cache, DeviceNetwork, DraftSegment, LoadOptions, Network, Segment};
use rorqual::reference::mla::Form;
use rorqual::reference::rope::MscaleConvention;
use rorqual::reference::{Model, Observer, Precision};
use safetensors::{Dtype, SafeTensors};

/// The checkpoint that comes with the program.
pub const BUNDLED: &str = "tiny-r1-fp8";

/// A checkpoint that [`softmax`] makes.
pub const SOFTMAX: &str = "tiny-v3 with the gate of V2";

/// Whether everything is run, with `RORQUAL_ALL`: also what takes long, above all products of Hopper.
pub fn runs_all() -> bool {
    std::env::var_os("RORQUAL_ALL").is_some()
}

/// The targets on which a checkpoint is run: with the products of Hopper under `RORQUAL_ALL` alone.
pub fn targets() -> &'static [&'static str] {
    if runs_all() { &["sm_80", "sm_90a"] } else { &["sm_80"] }
}

/// A folder of fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn directory(name: &str) -> PathBuf {
    match name {
        BUNDLED => Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-r1-fp8"),
        SOFTMAX => softmax(),
        name => fixture(name),
    }
}

/// The weights of `tiny-v3` as a V2 network: scores by softmax, groups judged by their best expert, no bias. The
/// fixtures of V2 have sizes that the families do not serve.
fn softmax() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("softmax");
    std::fs::create_dir_all(&directory).expect("a folder");
    let from = fixture("tiny-v3");
    let config = std::fs::read(from.join("config.json")).expect("a configuration");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    config["model_type"] = "deepseek_v2".into();
    config["topk_method"] = "group_limited_greedy".into();
    config["scoring_func"] = "softmax".into();
    config["norm_topk_prob"] = false.into();
    let file = std::fs::read(from.join("model.safetensors")).expect("weights");
    let tensors = SafeTensors::deserialize(&file).expect("a file of tensors");
    let tensors = tensors.iter().filter(|(name, _)| !name.ends_with("e_score_correction_bias"));
    let weights = safetensors::serialize(tensors, None).expect("tensors");
    // Tests that run at the same time write the same bytes, each to a file that then takes the place of the others'.
    for (name, bytes) in [("config.json", config.to_string().into_bytes()), ("model.safetensors", weights)] {
        let own = directory.join(format!("{name}.{:?}", std::thread::current().id()));
        std::fs::write(&own, bytes).expect("room");
        std::fs::rename(&own, directory.join(name)).expect("a file");
    }
    directory
}

/// The weights of a checkpoint, named by its folder.
pub fn weights(name: &str) -> Checkpoint {
    Checkpoint::open(&directory(name), &mut |_, _| ()).expect("a checkpoint")
}

/// The network of a checkpoint, with the rounding points of the kernels.
pub fn model(name: &str) -> Model {
    let config = std::fs::read_to_string(directory(name).join("config.json")).expect("a configuration");
    let config = Config::from_json(&config).expect("a configuration that is supported");
    let mscale = MscaleConvention::HuggingFace;
    Model::load(config, &weights(name), Precision::Kernel, mscale, &mut |_, _| ()).expect("weights that fit")
}

/// A network on a simulated device whose arithmetic is exact.
pub fn load(model: &Model, target: &str, cache_tokens: usize) -> DeviceNetwork {
    try_load(model, target, cache_tokens).unwrap_or_else(|error| panic!("{error}"))
}

/// The same, or why it is refused: nothing is copied then.
pub fn try_load(model: &Model, target: &str, cache_tokens: usize) -> rorqual::Result<DeviceNetwork> {
    let mut layers = 0;
    let network = load_as(model, target, cache_tokens, SimulatorOptions::default(), &mut |_, _| layers += 1);
    assert_eq!(layers > 0, network.is_ok(), "a network that is refused is not copied");
    network
}

/// A network on a simulated device whose tensor cores add as those of the chip do, and whose approximations are
/// anywhere within their documented error.
pub fn load_inexact(model: &Model, target: &str, cache_tokens: usize) -> DeviceNetwork {
    let options = SimulatorOptions {
        precision: rorqual_sim::Precision::Hardware,
        perturb_approximations: true,
        ..SimulatorOptions::default()
    };
    load_as(model, target, cache_tokens, options, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn load_as(
    model: &Model,
    target: &str,
    cache_tokens: usize,
    options: SimulatorOptions,
    on_layer: &mut dyn FnMut(usize, usize),
) -> rorqual::Result<DeviceNetwork> {
    let target = target.parse().expect("a target");
    let device = Device::simulated_with(target, options).expect("a device");
    let options = LoadOptions { cache_tokens, page_size: 16 };
    DeviceNetwork::load(model, &device, options, on_layer)
}

/// Tokens that look random, the same on every run.
pub fn tokens(vocab: usize, count: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    (0..count).map(|_| (next() % vocab) as u32).collect()
}

/// The tensor `name` of a file of fixtures.
pub fn tensor(file: &[u8], name: &str) -> Vec<f64> {
    let tensors = SafeTensors::deserialize(file).expect("a file of tensors");
    let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let bytes = view.data();
    match view.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        Dtype::I64 => bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect(),
        Dtype::I32 => bytes.as_chunks().0.iter().map(|bytes| f64::from(i32::from_le_bytes(*bytes))).collect(),
        other => panic!("{name} has elements of {other:?}"),
    }
}

/// A sequence on some network: its cache, and that of the draft module.
pub struct Sequence<N: Network> {
    /// Of the trunk.
    pub cache: N::Cache,
    /// Of the draft module.
    pub draft_cache: N::Cache,
}

impl<N: Network> Sequence<N> {
    /// Nothing yet.
    pub fn new(network: &N) -> Self {
        Self { cache: network.new_cache(), draft_cache: network.new_draft_cache() }
    }
}

/// New tokens of some sequences, by their index, in one pass: final states.
pub fn forward<N: Network>(
    network: &N,
    sequences: &mut [Sequence<N>],
    batch: &[(&[u32], Form)],
    observer: &mut dyn Observer,
) -> rorqual::Result<Vec<f32>> {
    let mut segments: Vec<Segment<'_, N::Cache>> = sequences
        .iter_mut()
        .zip(batch)
        .map(|(sequence, &(tokens, form))| Segment { tokens, form, cache: &mut sequence.cache })
        .collect();
    network.forward(&mut segments, observer)
}

/// The same through the draft module; `states` are those of the tokens before.
pub fn draft<N: Network>(
    network: &N,
    sequences: &mut [Sequence<N>],
    batch: &[(&[u32], Form)],
    states: &[f32],
) -> rorqual::Result<Vec<f32>> {
    let width = network.config().hidden_size;
    let mut rest = states;
    let mut segments: Vec<DraftSegment<'_, N::Cache>> = sequences
        .iter_mut()
        .zip(batch)
        .map(|(sequence, &(tokens, form))| {
            let (hidden, others) = rest.split_at(tokens.len() * width);
            rest = others;
            DraftSegment { tokens, hidden, form, cache: &mut sequence.draft_cache }
        })
        .collect();
    network.draft(&mut segments, &mut ())
}

/// Forgets all tokens but the first ones.
pub fn truncate<N: Network>(sequence: &mut Sequence<N>, tokens: usize) {
    sequence.cache.truncate(tokens);
    sequence.draft_cache.truncate(tokens);
}
