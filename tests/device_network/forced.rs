//! Every operation of every layer, fed with what the reference has there.
//!
//! A witness stands around every launch of the network. Before it, the oracle says what the launch must leave, from
//! what is in memory; behind it, what it did leave is compared, element by element, and replaced by what the oracle
//! says. So every launch finds the reference's values and the reference's routing, whatever the one before it made of
//! them: the final states and logits of such a run must be those of the reference bit for bit, which shows that the
//! operations are the network, in number, order and wiring.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rorqual::catalog::CatalogError;
use rorqual::driver::Target;
use rorqual::network::{DeviceNetwork, Launch, Network, Witness};
use rorqual::num::{E4m3, bf16};
use rorqual::reference::Model;
use rorqual::reference::mla::Form;
use rorqual::reference::quantize::Quantized;
use rorqual::verify::compare::Comparison;
use rorqual::verify::quantized;
use rorqual::{Error, Result};
use rorqual_kernels::KernelError;

use crate::checkpoint::{self, BUNDLED, SOFTMAX, Sequence, draft, forward, tokens};
use crate::oracle::{Expected, Format, Fp8, Latents, Rows, expect, read};

/// Why a checkpoint's sizes are not served; `variants/` have latents of 10 elements, or 11.
const ODD_LATENT: &str = "cache_append: `latent` is 10, expected a multiple of 8 from 8 to 1024";

/// Checkpoints whose sizes the families do not serve, which are refused before they are copied, and the rule that says
/// so.
const NOT_SERVED: &[(&str, &str)] = &[
    ("tiny-v2", "mla_prefill: `value` is 20, expected a multiple of 8 from 8 to 192"),
    ("variants/v2-greedy-null-groups", ODD_LATENT),
    ("variants/v2-no-q-lora", ODD_LATENT),
    ("variants/v2-tied", ODD_LATENT),
    ("variants/v3-all-dense", ODD_LATENT),
    ("variants/v3-f16-sharded", ODD_LATENT),
    ("variants/v3-no-norm-topk", ODD_LATENT),
    ("variants/v3-no-shared", ODD_LATENT),
    ("variants/v3-odd-sizes", "cache_append: `latent` is 11, expected a multiple of 8 from 8 to 1024"),
    ("variants/v3-one-group-all-moe", ODD_LATENT),
    ("variants/v3-one-head-no-q-lora", ODD_LATENT),
    ("variants/v3-rope-scaling-null", ODD_LATENT),
    ("variants/v3-tied", ODD_LATENT),
    ("variants/v3-yarn-mscale-all-dim-only", ODD_LATENT),
    ("variants/v3-yarn-mscale-differs", ODD_LATENT),
    ("variants/v3-yarn-no-mscale", ODD_LATENT),
];

/// Checkpoints that are served in the naive form alone, and the rule that refuses the other.
const NAIVE_ONLY: &[(&str, &str)] =
    &[("tiny-v2lite", "mla_decode: `latent` is 40, expected a multiple of 16 from 16 to 1024")];

/// Tokens that the cache has room for.
const CACHE_TOKENS: usize = 256;

/// Checkpoints that are run on Hopper without `RORQUAL_ALL` too.
const ON_HOPPER: &[&str] = &[BUNDLED, "tiny-v3-fp8"];

/// Families of kernels that the network is made of.
const FAMILIES: usize = 18;

/// Every fixture that is a V2 or V3 network, and one that [`checkpoint`] makes.
const CHECKPOINTS: &[&str] = &[
    BUNDLED,
    SOFTMAX,
    "small-v3",
    "tiny-mtp",
    "tiny-v2",
    "tiny-v2lite",
    "tiny-v3",
    "tiny-v3-bf16-sharded",
    "tiny-v3-fp8",
    "variants/v2-greedy-null-groups",
    "variants/v2-no-q-lora",
    "variants/v2-tied",
    "variants/v3-all-dense",
    "variants/v3-f16-sharded",
    "variants/v3-no-norm-topk",
    "variants/v3-no-shared",
    "variants/v3-odd-sizes",
    "variants/v3-one-group-all-moe",
    "variants/v3-one-head-no-q-lora",
    "variants/v3-rope-scaling-null",
    "variants/v3-tied",
    "variants/v3-yarn-mscale-all-dim-only",
    "variants/v3-yarn-mscale-differs",
    "variants/v3-yarn-no-mscale",
];

/// What the witness has seen.
#[derive(Debug, Default)]
struct Seen {
    latents: Option<Latents>,
    launches: BTreeMap<&'static str, usize>,
    /// For each family and tensor the worst error in units of its tolerance.
    worst: BTreeMap<(&'static str, &'static str), f64>,
    wrong: Vec<String>,
    /// Whether results are spoilt before they are compared, so that every comparison is seen to fail.
    spoilt: bool,
}

/// Compares what every launch leaves, and puts the reference's in its place.
#[derive(Debug)]
struct Forcing {
    target: Target,
    seen: Arc<Mutex<Seen>>,
}

impl Witness for Forcing {
    fn launch(&mut self, launch: &Launch<'_>, run: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let mut seen = self.seen.lock().expect("no panic before");
        let expected = expect(launch, self.target, &mut seen.latents);
        run()?;
        *seen.launches.entry(launch.family).or_default() += 1;
        let case = format!("{:?} of them before", seen.launches);
        if seen.spoilt {
            expected.iter().try_for_each(|expected| spoil(launch, expected))?;
        }
        for expected in expected {
            let (tensor, compared) = match &expected {
                Expected::Rows(rows) => (rows.tensor, replace_rows(launch, &case, rows)?),
                Expected::Fp8(fp8) => ("codes * scales", replace_fp8(launch, &case, fp8)?),
            };
            match compared {
                Ok(ratio) => {
                    let worst = seen.worst.entry((launch.family, tensor)).or_default();
                    *worst = worst.max(ratio);
                }
                Err(wrong) => seen.wrong.push(wrong),
            }
        }
        Ok(())
    }
}

/// Makes the last number of a result another one.
fn spoil(launch: &Launch<'_>, expected: &Expected) -> Result<()> {
    let (format, address) = match expected {
        Expected::Rows(Rows { addresses, .. }) if addresses.is_empty() => return Ok(()),
        Expected::Rows(rows) => {
            let element = match rows.format {
                Format::F32 | Format::U32 => 4,
                Format::Bf16 | Format::Record => 2,
                Format::E4m3 => 1,
            };
            (rows.format, rows.addresses[rows.addresses.len() - 1] + element * (rows.width as u64 - 1))
        }
        Expected::Fp8(fp8) if fp8.values.is_empty() => return Ok(()),
        Expected::Fp8(fp8) => (Format::E4m3, fp8.codes + fp8.values.len() as u64 - 1),
    };
    let value = read(launch, format, address, 1)[0];
    write(launch, format, address, &[if value.abs() < 8.0 { 64.0 } else { 0.0 }])
}

/// The worst error in units of its tolerance, or what is wrong.
type Compared = Result<f64, String>;

fn replace_rows(launch: &Launch<'_>, case: &str, expected: &Rows) -> Result<Compared> {
    let Rows { tensor, format, addresses, width, values, tolerances } = expected;
    let got: Vec<f32> =
        addresses.iter().flat_map(|address| read(launch, *format, *address, *width)).collect();
    let shape = [addresses.len(), *width];
    let comparison = Comparison { kernel: launch.family, case, tensor, shape: &shape };
    let compared = comparison.within(&got, values, |at| tolerances[at]).map_err(|wrong| wrong.to_string());
    for (address, row) in addresses.iter().zip(values.chunks((*width).max(1))) {
        write(launch, *format, *address, row)?;
    }
    Ok(compared)
}

fn replace_fp8(launch: &Launch<'_>, case: &str, expected: &Fp8) -> Result<Compared> {
    let Fp8 { codes, scales, width, quantized, values, error } = expected;
    let (rows, blocks) = (values.len() / width, width.div_ceil(128));
    let bits = |codes: Vec<f32>| codes.into_iter().map(|code| E4m3::from_f32(code).to_bits()).collect();
    let got = Quantized {
        codes: bits(read(launch, Format::E4m3, *codes, rows * width)),
        scales: read(launch, Format::F32, *scales, rows * blocks),
    };
    let (shape, scale_shape) = ([rows, *width], [rows, blocks]);
    let comparison = |tensor, shape| Comparison { kernel: launch.family, case, tensor, shape };
    let compared = quantized::compare(&comparison, (&shape, &scale_shape), quantized, &got, values, error)
        .map_err(|wrong| wrong.to_string());
    let values: Vec<f32> = quantized.codes.iter().map(|code| E4m3::from_bits(*code).to_f32()).collect();
    write(launch, Format::E4m3, *codes, &values)?;
    write(launch, Format::F32, *scales, &quantized.scales)?;
    Ok(compared)
}

fn write(launch: &Launch<'_>, format: Format, address: u64, values: &[f32]) -> Result<()> {
    let values = || values.iter().copied();
    let is_written = match format {
        Format::Bf16 => launch.write(address, &values().map(bf16::from_f32).collect::<Vec<_>>())?,
        Format::F32 => launch.write(address, &values().collect::<Vec<f32>>())?,
        Format::E4m3 => launch.write(address, &values().map(E4m3::from_f32).collect::<Vec<_>>())?,
        Format::U32 => launch.write(address, &values().map(|value| value as u32).collect::<Vec<_>>())?,
        Format::Record => {
            let bytes = values().flat_map(|value| bf16::from_f32(value).to_le_bytes());
            launch.write(address, &bytes.collect::<Vec<u8>>())?
        }
    };
    assert!(is_written || values().len() == 0, "{} writes {format:?} at {address:#x}", launch.family);
    Ok(())
}

/// What one checkpoint's run gives, on the reference or on the device: everything that comes out of the network.
///
/// Three sequences of 13, 1 and 20 tokens; then the first goes on with a chunk of its prompt, and the others with
/// one and with three generated tokens. Where there is a draft module, it follows in the same batches.
/// With [`Form::Naive`] nothing is generated.
fn outputs<N: Network>(network: &N, generated: Form) -> Result<Vec<(&'static str, Vec<f32>)>> {
    let vocab = network.config().vocab_size;
    let all: Vec<Vec<u32>> = (0..3).map(|sequence| tokens(vocab, 32, sequence)).collect();
    let mut sequences: Vec<Sequence<N>> = (0..3).map(|_| Sequence::new(network)).collect();
    let mut outputs = vec![];
    let ends = [[0, 13, 18], [0, 1, 2], [0, 20, 23]];
    for pass in 0..2 {
        let form = |sequence| if pass == 0 || sequence == 0 { Form::Naive } else { generated };
        let batch = |shift: usize| -> Vec<(&[u32], Form)> {
            let tokens = |sequence: usize| {
                &all[sequence][ends[sequence][pass] + shift..ends[sequence][pass + 1] + shift]
            };
            (0..3).map(|sequence| (tokens(sequence), form(sequence))).collect()
        };
        let states = forward(network, &mut sequences, &batch(0), &mut ())?;
        outputs.push(("logits", network.logits(&states)?));
        if network.has_mtp() {
            let drafts = draft(network, &mut sequences, &batch(1), &states)?;
            outputs.push(("draft logits", network.draft_logits(&drafts)?));
            outputs.push(("draft states", drafts));
        }
        outputs.push(("states", states));
    }
    Ok(outputs)
}

/// The rule of a family that does not serve a network.
fn rule_of(name: &str, error: &Error) -> String {
    match error {
        Error::Catalog(CatalogError::Kernel(KernelError::Spec { family, rule, .. })) => {
            format!("{family}: {rule}")
        }
        error => panic!("{name}: {error}"),
    }
}

/// Runs a network with every launch forced to the reference's results. The rule of a family that does not serve it.
fn force(
    name: &str,
    (model, network): (&Model, DeviceNetwork),
    generated: Form,
    spoilt: bool,
) -> Result<Seen, String> {
    let target = network.device().target();
    let seen = Arc::new(Mutex::new(Seen { spoilt, ..Seen::default() }));
    let witness = Forcing { target, seen: Arc::clone(&seen) };
    network.executor().set_witness(Some(Box::new(witness)));
    let got = match outputs::<DeviceNetwork>(&network, generated) {
        Ok(got) => got,
        Err(error) => return Err(rule_of(name, &error)),
    };
    drop(network);
    let seen = Arc::into_inner(seen).expect("the witness is gone").into_inner().expect("no panic before");
    for ((tensor, expected), (_, got)) in outputs(model, generated).expect("tokens that fit").iter().zip(&got)
    {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        assert!(bits(expected) == bits(got), "{name}: {tensor} of the forced run are not the reference's");
    }
    Ok(seen)
}

fn assert_right(name: &str, seen: &Seen) {
    let wrong = &seen.wrong;
    assert!(wrong.is_empty(), "{name}: {} tensors are wrong, the first: {}", wrong.len(), wrong[0]);
}

#[test]
fn every_operation_of_every_checkpoint_is_within_its_tolerance() {
    let (mut not_served, mut naive_only) = (vec![], vec![]);
    let mut worst: BTreeMap<(&str, &str), (f64, &str)> = BTreeMap::new();
    for name in CHECKPOINTS {
        let start = std::time::Instant::now();
        let model = checkpoint::model(name);
        let load = || checkpoint::try_load(&model, "sm_80", CACHE_TOKENS);
        let network = match load() {
            Ok(network) => network,
            Err(error) => {
                let rule = rule_of(name, &error);
                println!("{name} is not served: {rule}");
                not_served.push((*name, rule));
                continue;
            }
        };
        let seen = match force(name, (&model, network), Form::Absorbed, false) {
            Ok(seen) => seen,
            Err(rule) => {
                println!("{name} is served in the naive form alone: {rule}");
                naive_only.push((*name, rule));
                let network = load().expect("a network that is served");
                force(name, (&model, network), Form::Naive, false).expect("sizes that are served")
            }
        };
        let launches: usize = seen.launches.values().sum();
        println!("{name}: {launches} launches in {:.1?}", start.elapsed());
        assert_right(name, &seen);
        for (operation, ratio) in seen.worst {
            let known = worst.entry(operation).or_default();
            *known = if ratio >= known.0 { (ratio, name) } else { *known };
        }
    }
    for ((family, tensor), (ratio, name)) in &worst {
        println!("{family} {tensor}: worst at {ratio:.3} of its tolerance, in {name}");
    }
    let of_list = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(name, rule)| (name.to_string(), rule.to_string())).collect()
    };
    let found = |list: Vec<(&str, String)>| -> Vec<(String, String)> {
        list.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect()
    };
    assert_eq!(found(not_served), of_list(NOT_SERVED));
    assert_eq!(found(naive_only), of_list(NAIVE_ONLY));
}

/// The same with the products of Hopper, of the checkpoints that have sizes for them.
#[test]
fn every_operation_on_hopper_is_within_its_tolerance() {
    for name in [BUNDLED, "tiny-v3-fp8", SOFTMAX, "small-v3", "tiny-mtp", "tiny-v3-bf16-sharded"] {
        if !ON_HOPPER.contains(&name) && !checkpoint::runs_all() {
            continue;
        }
        let model = checkpoint::model(name);
        let network = checkpoint::load(&model, "sm_90a", CACHE_TOKENS);
        let seen = force(name, (&model, network), Form::Absorbed, false).expect("sizes that are served");
        println!("{name}: {:?}", seen.launches);
        assert_right(name, &seen);
        let launches = |family: &str| seen.launches.get(family).copied().unwrap_or(0);
        assert!(
            launches("hopper_gemm_fp8") + launches("hopper_gemm_bf16") > 0,
            "{name}: no product of Hopper"
        );
        if name == BUNDLED {
            assert_eq!(launches("gemm_fp8") + launches("gemm_bf16"), 0, "products that are portable ones");
        }
    }
}

#[test]
fn every_operation_is_within_its_tolerance_where_arithmetic_is_not_exact() {
    for target in ["sm_80", "sm_89", "sm_90a"] {
        for name in [BUNDLED, "tiny-v3-fp8", SOFTMAX] {
            let model = checkpoint::model(name);
            let network = checkpoint::load_inexact(&model, target, CACHE_TOKENS);
            let seen = force(name, (&model, network), Form::Absorbed, false).expect("sizes that are served");
            let off = seen.worst.iter().filter(|(_, ratio)| **ratio > 0.0).collect::<Vec<_>>();
            println!("{name} on {target}: {off:.3?}");
            assert_right(name, &seen);
        }
    }
}

/// One wrong number in any result of any launch is found, and the results behind it are still the reference's.
#[test]
fn wrong_numbers_are_found() {
    let model = checkpoint::model(BUNDLED);
    let network = checkpoint::load(&model, "sm_80", CACHE_TOKENS);
    let seen = force(BUNDLED, (&model, network), Form::Absorbed, true);
    let seen = seen.expect("sizes that are served");
    assert_eq!(seen.launches.len(), FAMILIES, "{:?}", seen.launches);
    assert!(seen.worst.is_empty(), "passed with a wrong number: {:?}", seen.worst);
    for (family, launches) in seen.launches {
        // A decode is compared behind its combine.
        let expected = if family == "mla_decode" { 0 } else { launches };
        let wrong = seen.wrong.iter().filter(|wrong| wrong.starts_with(&format!("{family} "))).count();
        assert!(wrong >= expected, "{family}: {wrong} wrong tensors of {launches} launches");
    }
}
