//! Cases of the family `mla_prefill`.

use super::attention::{Attended, attend, softmax_scale};
use super::bytes::{bf16_bytes, of_bf16, of_f32, of_u32, u32_bytes};
use super::compare::Comparison;
use super::random::Random;
use super::{Failure, Machine, Passed};
use rorqual_kernels::attention::prefill::{MlaPrefill, MlaPrefillArguments, MlaPrefillSpec};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::device_error::SEQUENCE;
use rorqual_kernels::{Kernel, Registered, generate};

/// What a launch reads: sequences one after another.
struct Batch {
    /// `[tokens, heads, nope + rope]`
    queries: Vec<f32>,
    /// `[keys, heads, nope + value]`
    expanded: Vec<f32>,
    /// `[keys, rope]`
    shared_keys: Vec<f32>,
    query_offsets: Vec<u32>,
    key_offsets: Vec<u32>,
    longest: u32,
}

/// What a launch left.
struct Results {
    output: Vec<f32>,
    lse: Vec<f32>,
    error: u32,
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let widths = [(8, 8, 8), (16, 16, 16), (24, 8, 40), (64, 32, 48), (40, 16, 72), (128, 64, 128)];
    let (nope, rope, value) = random.pick(&widths);
    let heads = 1 + random.below(3);
    let spec = MlaPrefillSpec {
        heads: heads as u32,
        nope: nope as u32,
        rope: rope as u32,
        value: value as u32,
        lse: random.one_in(2),
    };
    let kernel = generate::<MlaPrefill>(&spec, machine.target())?;
    let sequences: Vec<(usize, usize)> = (0..random.below(4))
        .map(|_| {
            let queries = random.size(100);
            (queries, queries + if random.one_in(2) { random.size(150) } else { 0 })
        })
        .collect();
    let offsets = |lengths: Vec<usize>| -> Vec<u32> {
        (0..=lengths.len()).map(|end| lengths[..end].iter().sum::<usize>() as u32).collect()
    };
    let query_offsets = offsets(sequences.iter().map(|sequence| sequence.0).collect());
    let mut key_offsets = offsets(sequences.iter().map(|sequence| sequence.1).collect());
    let tokens = *query_offsets.last().unwrap_or(&0) as usize;
    let keys = *key_offsets.last().unwrap_or(&0) as usize;
    // Now and then the last sequence has more keys than there are rows, or fewer than queries.
    let bad = random.one_in(6) && sequences.last().is_some_and(|sequence| sequence.0 > 0);
    if let (true, [.., start, end]) = (bad, &mut key_offsets[..]) {
        let few = *start + sequences.last().map_or(0, |sequence| sequence.0 as u32) - 1;
        *end = random.pick(&[keys as u32 + 1, few]);
    }
    let style = random.style();
    let batch = Batch {
        queries: random.bf16s(tokens * heads * (nope + rope), style),
        expanded: random.bf16s(keys * heads * (nope + value), style),
        shared_keys: random.bf16s(keys * rope, style),
        query_offsets,
        key_offsets,
        longest: sequences
            .iter()
            .map(|sequence| sequence.0)
            .max()
            .map_or(0, |longest| (longest + random.below(70)) as u32),
    };
    let good = sequences.len() - usize::from(bad);

    // Keys and values of a head, rows of every key.
    let key_rows: Vec<Vec<Vec<f32>>> = (0..heads)
        .map(|head| {
            let row = |key: usize| {
                let expanded = &batch.expanded[(key * heads + head) * (nope + value)..][..nope];
                [expanded, &batch.shared_keys[key * rope..][..rope]].concat()
            };
            (0..keys).map(row).collect()
        })
        .collect();
    let value_row =
        |key: usize, head: usize| &batch.expanded[(key * heads + head) * (nope + value) + nope..][..value];
    let query =
        |token: usize, head: usize| &batch.queries[(token * heads + head) * (nope + rope)..][..nope + rope];
    // For each query of a good sequence its row and the keys that it sees.
    let rows = || {
        sequences[..good].iter().enumerate().flat_map(|(sequence, &(queries, keys))| {
            let (first, key) = (batch.query_offsets[sequence] as usize, batch.key_offsets[sequence] as usize);
            (0..queries).map(move |at| (first + at, key..key + keys - queries + at + 1))
        })
    };
    let pairs = rows().step_by(7).flat_map(|(token, seen)| {
        let key_rows = &key_rows;
        let of_head =
            move |head: usize| seen.clone().map(move |key| (query(token, head), &key_rows[head][key][..]));
        (0..heads).flat_map(of_head)
    });
    let scale = softmax_scale(random, pairs);
    let case = format!("(queries, keys) {sequences:?}, {style:?} values, scale {scale}, bad: {bad}");
    let got = launch(machine, &kernel, &spec, &batch, scale)?;

    let untouched = of_bf16(&[0xff; 2])[0];
    let nothing = Attended {
        output: vec![untouched; value],
        lse: f32::NAN,
        output_tolerance: vec![0.0; value],
        lse_tolerance: 0.0,
    };
    let mut expected = vec![nothing; tokens * heads];
    for (token, seen) in rows() {
        for head in 0..heads {
            let keys: Vec<&[f32]> = key_rows[head][seen.clone()].iter().map(Vec::as_slice).collect();
            let values: Vec<&[f32]> = seen.clone().map(|key| value_row(key, head)).collect();
            expected[token * heads + head] = attend(query(token, head), &keys, &values, value, scale);
        }
    }
    let name = kernel.contract.kernel.clone();
    let compare = |tensor, shape| Comparison { kernel: &name, case: &case, tensor, shape };
    let shape = [tokens, heads, value];
    let output: Vec<f32> = expected.iter().flat_map(|row| &row.output).copied().collect();
    let tolerance: Vec<f32> = expected.iter().flat_map(|row| &row.output_tolerance).copied().collect();
    let mut worst = compare("output", &shape).within(&got.output, &output, |at| tolerance[at])?;
    let lse: Vec<f32> = expected.iter().map(|row| if spec.lse { row.lse } else { f32::NAN }).collect();
    let lse_tolerance = |at: usize| expected[at].lse_tolerance;
    worst = worst.max(compare("lse", &shape[..2]).within(&got.lse, &lse, lse_tolerance)?);
    let error = if bad && batch.longest > 0 { SEQUENCE } else { 0 };
    compare("error", &[1]).equal(&[got.error as f32], &[error as f32])?;

    let (sequence, chunk) = match good {
        0 => (0, 0),
        _ => {
            let sequence = random.below(good);
            (sequence, random.below(sequences[sequence].0 + 1))
        }
    };
    let chunk_shape = [chunk, heads, value];
    if good > 0 {
        // The last queries of a sequence as a chunk of their own.
        let (queries, key_count) = sequences[sequence];
        let (first, key) = (batch.query_offsets[sequence] as usize, batch.key_offsets[sequence] as usize);
        let first = first + queries - chunk;
        let alone = Batch {
            queries: batch.queries[first * heads * (nope + rope)..][..chunk * heads * (nope + rope)].to_vec(),
            expanded: batch.expanded[key * heads * (nope + value)..][..key_count * heads * (nope + value)]
                .to_vec(),
            shared_keys: batch.shared_keys[key * rope..][..key_count * rope].to_vec(),
            query_offsets: vec![0, chunk as u32],
            key_offsets: vec![0, key_count as u32],
            longest: chunk as u32,
        };
        let alone = launch(machine, &kernel, &spec, &alone, scale)?;
        let rows = &got.output[first * heads * value..][..chunk * heads * value];
        compare("output alone", &chunk_shape).equal(&alone.output, rows)?;
        compare("lse alone", &chunk_shape[..2])
            .equal(&alone.lse, &got.lse[first * heads..][..chunk * heads])?;
    }
    Ok(Passed { kernel: name.clone(), specs: vec![MlaPrefill::any(&spec)], case: case.clone(), worst })
}

fn launch(
    machine: &mut dyn Machine,
    kernel: &Kernel,
    spec: &MlaPrefillSpec,
    batch: &Batch,
    softmax_scale: f32,
) -> Result<Results, Failure> {
    let MlaPrefillSpec { heads, rope, value, .. } = *spec;
    let (heads, rope, value) = (heads as usize, rope as usize, value as usize);
    let keys = batch.shared_keys.len() / rope;
    let tokens = batch.queries.len() / (heads * (spec.nope as usize + rope));
    let arguments = MlaPrefillArguments {
        queries: machine.upload(&bf16_bytes(&batch.queries))?,
        expanded: machine.upload(&bf16_bytes(&batch.expanded))?,
        shared_keys: machine.upload(&bf16_bytes(&batch.shared_keys))?,
        query_offsets: machine.upload(&u32_bytes(&batch.query_offsets))?,
        key_offsets: machine.upload(&u32_bytes(&batch.key_offsets))?,
        output: machine.upload(&vec![0xff; 2 * tokens * heads * value])?,
        lse: machine.upload(&vec![0xff; 4 * tokens * heads])?,
        error: machine.upload(&[0; 4])?,
        tokens: tokens as u32,
        keys: keys as u32,
        sequences: batch.query_offsets.len() as u32 - 1,
        longest: batch.longest,
        softmax_scale,
    };
    machine.run(kernel, &arguments.pack())?;
    Ok(Results {
        output: of_bf16(&machine.download(arguments.output, 2 * tokens * heads * value)?),
        lse: of_f32(&machine.download(arguments.lse, 4 * tokens * heads)?),
        error: of_u32(&machine.download(arguments.error, 4)?)[0],
    })
}
