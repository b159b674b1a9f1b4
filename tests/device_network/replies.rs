//! The bundled checkpoint, left alone: what it answers, and how far its logits are from those of f32.
//!
//! It was trained to do sums, and its oracle has 200 of them with the tokens and logits of an f32 run.

use rorqual::catalog::AnySpec;
use rorqual::driver::Device;
use rorqual::model::generate;
use rorqual::model::generate::GenerateOptions;
use rorqual::network::{DeviceNetwork, LoadOptions, Network};
use rorqual::reference::Model;
use rorqual::reference::mla::Form;

use crate::checkpoint::{self, BUNDLED, Sequence, fixture, forward, tensor};

/// Of 200 prompts, those whose tokens must be the reference's.
const SAME: usize = 198;

/// Of the differences to the oracle's logits over the positions of the reply, the root of the mean square. Logits
/// themselves have about 4.3; a mistake in the network makes it 0.39 and more.
const LIMIT: f64 = 0.3;

/// Rows of which the oracle has logits.
const ROWS: usize = 8;

/// Prompts that are run unless `RORQUAL_ALL` is set, which takes all.
const SAMPLE: usize = 40;

/// Tokens of a reply, at most.
const LONGEST: usize = 64;

/// Prompts, and tokens of a reply, with the products of Hopper, which take the simulator longer.
const ON_HOPPER: (usize, usize) = (4, 6);

/// A prompt and what the oracle generated.
struct Row {
    prompt: Vec<u32>,
    output: Vec<u32>,
}

fn rows() -> Vec<Row> {
    let oracle = std::fs::read_to_string(fixture(BUNDLED).join("oracle.json")).expect("an oracle");
    let oracle: serde_json::Value = serde_json::from_str(&oracle).expect("JSON");
    let ids = |row: &serde_json::Value, key: &str| -> Vec<u32> {
        serde_json::from_value(row[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
    };
    let rows = oracle["rows"].as_array().expect("a list of rows");
    rows.iter().map(|row| Row { prompt: ids(row, "prompt_ids"), output: ids(row, "output_ids") }).collect()
}

/// Replies to all prompts in one batch.
fn replies<N: Network>(
    network: &N,
    prompts: &[Vec<u32>],
    (stop, longest): (&[u32], usize),
    speculate: bool,
) -> Vec<Vec<u32>> {
    let options = GenerateOptions {
        stop_ids: stop.to_vec(),
        speculate,
        max_new_tokens: longest,
        ..GenerateOptions::default()
    };
    let done =
        generate(network, prompts, &options, &mut (), &mut ()).unwrap_or_else(|error| panic!("{error}"));
    println!("prefill {:?}, decode {:?}, {} passes", done.prefill, done.decode, done.decode_passes);
    done.sequences.into_iter().map(|sequence| sequence.token_ids).collect()
}

#[test]
fn nearly_all_replies_are_those_of_the_reference() {
    compare("sm_80", SAMPLE, LONGEST);
}

#[test]
fn nearly_all_replies_on_hopper_are_those_of_the_reference() {
    let (sample, longest) = if checkpoint::runs_all() { (SAMPLE, LONGEST) } else { ON_HOPPER };
    compare("sm_90a", sample, longest);
}

/// The replies to a sample of the prompts, up to `longest` tokens of each.
fn compare(target: &str, sample: usize, longest: usize) {
    let mut rows = rows();
    assert_eq!(rows.len(), 200);
    if !checkpoint::runs_all() {
        rows.truncate(sample);
    }
    let model = checkpoint::model(BUNDLED);
    let stop = model.config().eos_token_ids.clone();
    let network = checkpoint::load_inexact(&model, target, 64 * rows.len());
    let prompts: Vec<Vec<u32>> = rows.iter().map(|row| row.prompt.clone()).collect();
    let expected = replies(&model, &prompts, (&stop, longest), false);
    let got = replies(&network, &prompts, (&stop, longest), false);
    let pages = network.free_pages();
    let same = expected.iter().zip(&got).filter(|(expected, got)| expected == got).count();
    let right = rows.iter().zip(&got).filter(|(row, got)| row.output.starts_with(got)).count();
    println!(
        "{target}: of {} replies {same} are those of the reference, {right} those of the f32 oracle",
        rows.len()
    );
    assert!(rows.len() - same <= 200 - SAME, "{same} of {} replies are the same", rows.len());

    // Drafts are accepted only where the network would have said the same.
    let few = &prompts[..prompts.len().min(sample / 4)];
    assert_eq!(replies(&network, few, (&stop, longest), true), got[..few.len()]);
    assert_eq!(network.free_pages(), pages);
}

#[test]
fn logits_are_near_the_oracle() {
    let model = checkpoint::model(BUNDLED);
    let network = checkpoint::load_inexact(&model, "sm_89", 64 * ROWS);
    let (of_device, of_reference) = (distance::<DeviceNetwork>(&network), distance::<Model>(&model));
    println!("logits differ by {of_device:.4} on the device, by {of_reference:.4} on the reference path");
    assert!(of_device <= LIMIT, "logits differ by {of_device}");
}

/// How far the logits of replies are from the oracle's: root of the mean square.
fn distance<N: Network>(network: &N) -> f64 {
    let file = std::fs::read(fixture(BUNDLED).join("oracle.safetensors")).expect("an oracle");
    let rows = rows();
    let rows = &rows[..ROWS];
    let mut sequences: Vec<Sequence<N>> = rows.iter().map(|_| Sequence::new(network)).collect();
    let prompts: Vec<(&[u32], Form)> = rows.iter().map(|row| (&row.prompt[..], Form::Naive)).collect();
    let outputs: Vec<(&[u32], Form)> = rows.iter().map(|row| (&row.output[..], Form::Absorbed)).collect();
    forward(network, &mut sequences, &prompts, &mut ()).expect("tokens that fit");
    let states = forward(network, &mut sequences, &outputs, &mut ()).expect("tokens that fit");
    let logits = network.logits(&states).expect("states of the network");
    let vocab = network.config().vocab_size;
    let expected: Vec<f64> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, Row { prompt, .. })| {
            tensor(&file, &format!("{row:03}.all")).split_off(prompt.len() * vocab)
        })
        .collect();
    assert_eq!(logits.len(), expected.len(), "number of logits");
    let squares = logits.iter().zip(&expected).map(|(got, expected)| (f64::from(*got) - expected).powi(2));
    (squares.sum::<f64>() / expected.len() as f64).sqrt()
}

/// What the bundled network runs, of prompts, generated tokens and drafts, is embedded where its targets are.
#[test]
fn the_catalog_has_every_kernel_of_the_bundled_network() {
    let model = checkpoint::model(BUNDLED);
    for target in ["sm_80", "sm_90a"] {
        let device = Device::simulated(target.parse().expect("a target")).expect("a device");
        let network = DeviceNetwork::load(&model, &device, LoadOptions::default(), &mut |_, _| {})
            .unwrap_or_else(|error| panic!("{error}"));
        // Many rows in the prompt, few behind it.
        let prompt = vec![vec![1; 65]];
        let options = GenerateOptions { speculate: true, max_new_tokens: 3, ..GenerateOptions::default() };
        let done = generate(&network, &prompt, &options, &mut (), &mut ());
        done.unwrap_or_else(|error| panic!("{error}"));
        let specs = network.specs();
        let portable = specs.iter().filter(|spec| spec.family().starts_with("gemm_")).count();
        assert!(target == "sm_80" || portable == 0, "{portable} products on Hopper are portable ones");
        let rows = rorqual::catalog::rows();
        let is_missing = |spec: &&AnySpec| rows.iter().all(|row| row.spec != **spec);
        let missing: Vec<String> = specs.iter().filter(is_missing).map(AnySpec::to_json).collect();
        assert!(missing.is_empty(), "{target}: {}", missing.join("\n"));
    }
}
