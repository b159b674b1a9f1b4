//! Cases of the families `argmax` and `sample`.
//!
//! The token is the reference's wherever the running sum of its probabilities is further than the bound
//! `(2 n + 64) * 2^-24` for `n` candidates from what it is compared with. The reference adds `n` weights and then `n`
//! probabilities in f32, which is the first term; the kernel's exponential is off by 2^-21, of a weight and of their
//! sum, which with the rounding of the product is less than the second one.

use super::bytes::{f32_bytes, of_u32, u32_bytes};
use super::compare::{Comparison, Mismatch};
use super::random::{Random, Style};
use super::{Failure, Machine, Passed};
use crate::model::philox::uniform;
use crate::model::sampling::{Sampling, SamplingError};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::sample::{Argmax, ArgmaxArguments, Sample, SampleArguments, SampleSpec};
use rorqual_kernels::{Registered, device_error, generate};

/// A vocabulary; one in eight is so large that a thread has several runs of it.
fn draw_vocab(random: &mut Random) -> usize {
    if random.one_in(8) { 4000 + random.size(6000) } else { random.size(1500).max(1) }
}

/// Rows of logits: many ties, tokens that are ruled out, and where `bad` rows that cannot be used.
fn draw_logits(random: &mut Random, tokens: usize, pitch: usize, bad: bool) -> Vec<f32> {
    let mut logits = Vec::with_capacity(tokens * pitch);
    for _ in 0..tokens {
        let style = random.pick(&[Style::Normal, Style::Normal, Style::Wide, Style::Sparse]);
        let mut row = random.f32s(pitch, style);
        let (coarse, none) = (random.one_in(2), random.below(20));
        for logit in &mut row {
            if coarse {
                *logit = (*logit * 2.0).round() / 2.0;
            }
            if random.below(20) < none {
                *logit = f32::NEG_INFINITY;
            }
        }
        if bad && random.one_in(2) {
            match random.below(3) {
                0 => row.fill(f32::NEG_INFINITY),
                1 => row[random.below(pitch)] = f32::NAN,
                _ => row[random.below(pitch)] = f32::INFINITY,
            }
        }
        logits.extend(row);
    }
    logits
}

/// The bits of the error word that stand for the errors of the reference.
fn fault_of(logits: &[f32], chosen: Result<u32, SamplingError>) -> u32 {
    let nan = logits.iter().any(|logit| logit.is_nan());
    let infinite = logits.contains(&f32::INFINITY);
    let none = logits.iter().all(|logit| *logit == f32::NEG_INFINITY);
    let setting = matches!(
        chosen,
        Err(SamplingError::Temperature { .. } | SamplingError::TopK { .. } | SamplingError::TopP { .. })
    );
    [
        (nan, device_error::LOGIT_NAN),
        (infinite, device_error::LOGIT_INFINITE),
        (none, device_error::NO_TOKEN),
        (setting, device_error::SETTING),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .fold(0, |fault, (_, bit)| fault | bit)
}

/// Draws a case of `argmax` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_argmax(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (vocab, tokens, bad) = (draw_vocab(random), random.size(6), random.one_in(3));
    let pitch = vocab + if random.one_in(3) { random.below(9) } else { 0 };
    let spec = SampleSpec { vocab: vocab as u32, pitch: pitch as u32 };
    let case = format!("{spec:?}, {tokens} tokens, bad rows: {bad}");
    let kernel = generate::<Argmax>(&spec, machine.target())?;
    let logits = draw_logits(random, tokens, pitch, bad);
    let arguments = ArgmaxArguments {
        logits: machine.upload(&f32_bytes(&logits))?,
        out: machine.upload(&vec![0xa5; 4 * tokens])?,
        error: machine.upload(&u32_bytes(&[0]))?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let rows: Vec<&[f32]> = logits.chunks(pitch).map(|row| &row[..vocab]).collect();
    let chosen: Vec<_> = rows.iter().map(|row| Sampling::default().choose(row, 0, 0)).collect();
    let fault = rows.iter().zip(&chosen).fold(0, |fault, (row, chosen)| fault | fault_of(row, *chosen));
    let expected: Vec<f32> = chosen.iter().map(|chosen| chosen.unwrap_or(u32::MAX) as f32).collect();
    let got: Vec<f32> =
        of_u32(&machine.download(arguments.out, 4 * tokens)?).into_iter().map(|id| id as f32).collect();
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let shape = [tokens];
    compare("out", &shape).equal(&got, &expected)?;
    compare("error", &[1]).equal(&[error as f32], &[fault as f32])?;
    Ok(Passed { kernel: kernel.clone(), specs: vec![Argmax::any(&spec)], case: case.clone(), worst: 0.0 })
}

/// How far the sums are from making `token` the answer, in units of the bound; 0 where they do.
fn distance(sampling: &Sampling, logits: &[f32], number: f32, token: u32) -> f64 {
    let mut ranked: Vec<usize> =
        (0..logits.len()).filter(|&token| logits[token] > f32::NEG_INFINITY).collect();
    ranked.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal));
    ranked.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let highest = logits[ranked[0]];
    let weights: Vec<f64> = ranked
        .iter()
        .map(|&token| f64::from((logits[token] - highest) / sampling.temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .iter()
        .map(|weight| {
            sum += weight / total;
            sum
        })
        .collect();
    let bound = (2 * ranked.len() + 64) as f64 * 2.0_f64.powi(-24);
    let last = ranked.len() - 1;
    let kept = |top_p: f64| match sampling.top_p {
        1.0 => last,
        _ => sums.iter().position(|sum| *sum >= top_p).unwrap_or(last),
    };
    let top_p = f64::from(sampling.top_p);
    let (fewest, most) = (kept(top_p - bound), kept(top_p + bound));
    let Some(rank) = ranked.iter().position(|ranked| *ranked == token as usize) else { return f64::INFINITY };
    if rank > most {
        return f64::INFINITY;
    }
    let number = f64::from(number);
    let below = if rank == 0 { 0.0 } else { sums[rank - 1] };
    let short = number * sums[fewest] - sums[rank];
    let over = below - number * sums[most];
    short.max(over).max(0.0) / bound
}

/// Draws a case of `sample` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_sample(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (vocab, tokens, bad) = (draw_vocab(random), random.size(5), random.one_in(4));
    let pitch = vocab + if random.one_in(3) { random.below(9) } else { 0 };
    let spec = SampleSpec { vocab: vocab as u32, pitch: pitch as u32 };
    let kernel = generate::<Sample>(&spec, machine.target())?;
    let logits = draw_logits(random, tokens, pitch, bad);
    let sampling = |random: &mut Random| Sampling {
        temperature: match random.below(8) {
            0 => 0.0,
            1 if bad => random.pick(&[-1.0, f32::NAN, f32::INFINITY]),
            2 => random.pick(&[f32::from_bits(1), 1e-3, f32::MAX]),
            _ => 0.1 + random.below(30) as f32 / 10.0,
        },
        top_k: match random.below(4) {
            0 => None,
            1 if bad => Some(0),
            _ => Some(1 + random.below(vocab + 5)),
        },
        top_p: match random.below(6) {
            0 | 1 => 1.0,
            2 if bad => random.pick(&[0.0, 1.5, f32::NAN]),
            3 => f32::MIN_POSITIVE,
            _ => (1 + random.below(99)) as f32 / 100.0,
        },
        seed: random.bits(),
    };
    let settings: Vec<Sampling> = (0..tokens).map(|_| sampling(random)).collect();
    let (sequences, positions): (Vec<u64>, Vec<u64>) =
        (0..tokens).map(|_| (random.bits(), random.bits() >> random.below(64))).unzip();
    let case = format!("{spec:?}, {settings:?}");
    let u64_bytes = |values: &[u64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let floats = |of: &dyn Fn(&Sampling) -> f32| f32_bytes(&settings.iter().map(of).collect::<Vec<f32>>());
    let top_k = |settings: &Sampling| settings.top_k.map_or(u32::MAX, |top_k| top_k as u32);
    let arguments = SampleArguments {
        logits: machine.upload(&f32_bytes(&logits))?,
        temperature: machine.upload(&floats(&|settings| settings.temperature))?,
        top_k: machine.upload(&u32_bytes(&settings.iter().map(top_k).collect::<Vec<u32>>()))?,
        top_p: machine.upload(&floats(&|settings| settings.top_p))?,
        seed: machine
            .upload(&u64_bytes(&settings.iter().map(|settings| settings.seed).collect::<Vec<u64>>()))?,
        sequence: machine.upload(&u64_bytes(&sequences))?,
        position: machine.upload(&u64_bytes(&positions))?,
        out: machine.upload(&vec![0xa5; 4 * tokens])?,
        error: machine.upload(&u32_bytes(&[0]))?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let out = of_u32(&machine.download(arguments.out, 4 * tokens)?);
    let (mut worst, mut fault) = (0.0_f64, 0);
    let kernel = kernel.contract.kernel;
    for (row, (logits, settings)) in logits.chunks(pitch).zip(&settings).enumerate() {
        let logits = &logits[..vocab];
        let chosen = settings.choose(logits, sequences[row], positions[row]);
        fault |= fault_of(logits, chosen);
        let (got, expected) = (out[row], chosen.unwrap_or(u32::MAX));
        if got == expected {
            continue;
        }
        let number = uniform(settings.seed, sequences[row], positions[row]);
        let distance = match chosen {
            Ok(_) if !settings.is_greedy() => distance(settings, logits, number, got),
            _ => f64::INFINITY,
        };
        worst = worst.max(distance);
        if distance > 1.0 {
            let (got, expected) = (got as f32, expected as f32);
            let (tensor, coordinate) = ("out", vec![row]);
            let wrong = Mismatch {
                kernel,
                case,
                tensor,
                coordinate,
                got,
                expected,
                tolerance: 0.0,
                wrong: 1,
                elements: tokens,
            };
            return Err(wrong.into());
        }
    }
    let error = of_u32(&machine.download(arguments.error, 4)?)[0];
    Comparison { kernel: &kernel, case: &case, tensor: "error", shape: &[1] }
        .equal(&[error as f32], &[fault as f32])?;
    Ok(Passed { kernel, specs: vec![Sample::any(&spec)], case, worst })
}
