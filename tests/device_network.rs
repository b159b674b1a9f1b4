//! The network on a simulated device, against the reference path on the bundled checkpoint.

use rorqual::driver::Device;
use rorqual::model::generate::GenerateOptions;
use rorqual::model::{OpenOptions, Pretrained, generate};
use rorqual::network::{DeviceNetwork, LoadOptions};
use rorqual::reference::Precision;

fn bundled() -> Pretrained {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-r1-fp8");
    let options = OpenOptions { precision: Precision::Kernel, ..OpenOptions::default() };
    Pretrained::open(&directory, options, &mut |_| {}).expect("the bundled checkpoint")
}

#[test]
fn the_bundled_network_replies_as_the_reference_does() {
    let checkpoint = bundled();
    let device = Device::simulated("sm_90a".parse().expect("a target")).expect("a device");
    let network = DeviceNetwork::load(&checkpoint.network, &device, LoadOptions::default(), &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"));
    let tokenizer = checkpoint.tokenizer().expect("a tokeniser");
    let prompts: Vec<Vec<u32>> = ["2+7=", "538+347=", "882-355=", "35+965="]
        .iter()
        .map(|prompt| tokenizer.encode(prompt, true).expect("tokens"))
        .collect();
    for speculate in [false, true] {
        let options = GenerateOptions {
            stop_ids: checkpoint.stop_ids.clone(),
            speculate,
            ..GenerateOptions::default()
        };
        let expected = generate(&checkpoint.network, &prompts, &options, &mut (), &mut ()).expect("replies");
        let got = generate(&network, &prompts, &options, &mut (), &mut ())
            .unwrap_or_else(|error| panic!("{error}"));
        println!("prefill {:?}, decode {:?}, {} passes", got.prefill, got.decode, got.decode_passes);
        for (got, expected) in got.sequences.iter().zip(&expected.sequences) {
            assert_eq!(got.token_ids, expected.token_ids);
        }
    }
}

#[test]
fn the_catalog_has_every_kernel_of_the_bundled_network() {
    let checkpoint = bundled();
    let device = Device::simulated("sm_80".parse().expect("a target")).expect("a device");
    let network = DeviceNetwork::load(&checkpoint.network, &device, LoadOptions::default(), &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"));
    let prompt = vec![vec![0, 10, 17, 9, 18]];
    let options = GenerateOptions { speculate: true, max_new_tokens: 6, ..GenerateOptions::default() };
    generate(&network, &prompt, &options, &mut (), &mut ()).unwrap_or_else(|error| panic!("{error}"));
    let rows = rorqual::catalog::rows();
    let missing: Vec<String> = network
        .specs()
        .into_iter()
        .filter(|spec| rows.iter().all(|row| row.spec != *spec))
        .map(|spec| spec.to_json())
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
