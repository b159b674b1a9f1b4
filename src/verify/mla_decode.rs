//! Cases of the family `mla_decode`, whose stretches `mla_combine` merges.

use super::attention::{Attended, attend, softmax_scale};
use super::bytes::{bf16_bytes, of_bf16, of_f32, of_u32, u32_bytes};
use super::cache::{Pool, format, pool};
use super::compare::Comparison;
use super::random::Random;
use super::{Failure, Machine, Passed};
use crate::reference::Numerics;
use crate::reference::mla::{HeadSpec, latent_attention};
use rorqual_kernels::attention::combine::{MlaCombine, MlaCombineArguments, MlaCombineSpec};
use rorqual_kernels::attention::decode::{MlaDecode, MlaDecodeArguments, MlaDecodeSpec};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::device_error::{PAGE, SEQUENCE};
use rorqual_kernels::{Kernel, Registered, generate};

/// Query tokens of a launch.
struct Batch {
    /// `[tokens, heads, latent + rope]`
    queries: Vec<f32>,
    lengths: Vec<u32>,
    sequence_of: Vec<u32>,
    splits: u32,
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
/// If a kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (record, latent, rope) = format(random, 16);
    let (heads, page_size) = (random.pick(&[1, 2, 5, 16, 17, 33, 64, 70]), 1 + random.below(80));
    let chunk = 64 * (1 + random.below(3));
    let spec = MlaDecodeSpec {
        heads: heads as u32,
        latent: latent as u32,
        rope: rope as u32,
        page_size: page_size as u32,
        record,
        chunk: chunk as u32,
    };
    let combine = MlaCombineSpec { heads: spec.heads, latent: spec.latent, chunk: spec.chunk };
    let kernels = [
        generate::<MlaDecode>(&spec, machine.target())?,
        generate::<MlaCombine>(&combine, machine.target())?,
    ];

    let sequences: Vec<usize> = (0..1 + random.below(3)).map(|_| random.size(300)).collect();
    let (style, bad) = (random.style(), random.one_in(4));
    let pool = pool(random, (record, latent, rope), page_size, &sequences, style, bad);
    let tokens = random.below(4);
    let sequence_of: Vec<u32> =
        (0..tokens).map(|_| random.below(sequences.len() + usize::from(bad)) as u32).collect();
    let longest = |sequence: u32| sequences.get(sequence as usize).copied().unwrap_or(100);
    let lengths: Vec<u32> =
        sequence_of.iter().map(|sequence| random.below(longest(*sequence) + 1) as u32).collect();
    let width = latent + rope;
    let queries = random.bf16s(tokens * heads * width, style);
    let needed = lengths.iter().max().map_or(0, |length| length.div_ceil(spec.chunk));
    // Now and then too few stretches for the longest sequence.
    let few = bad && needed > 1 && random.one_in(2);
    let splits = if few { needed - 1 } else { needed + random.below(2) as u32 };
    let batch = Batch { queries, lengths, sequence_of, splits };
    let length = |token: usize| batch.lengths[token].min(splits * spec.chunk) as usize;

    let seen = |token: usize| -> Vec<&[f32]> {
        let keys = pool.keys.get(batch.sequence_of[token] as usize);
        let keys = keys.into_iter().flatten().take(length(token));
        keys.flatten().map(Vec::as_slice).collect()
    };
    let query = |token: usize, head: usize| &batch.queries[(token * heads + head) * width..][..width];
    let pairs = (0..tokens).flat_map(|token| {
        (0..heads).flat_map(move |head| seen(token).into_iter().map(move |key| (query(token, head), key)))
    });
    let scale = softmax_scale(random, pairs);
    let case = format!(
        "lengths {:?} of {:?} of {sequences:?}, {} splits, {style:?} values, scale {scale}, bad: {bad}",
        batch.lengths, batch.sequence_of, batch.splits
    );
    let got = launch(machine, &kernels, (&spec, &pool), &batch, scale)?;

    let kernel = kernels[0].contract.kernel.clone();
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let expected: Vec<Attended> = (0..tokens)
        .flat_map(|token| {
            let keys = seen(token);
            let of_head = move |head| attend(query(token, head), &keys, &keys, latent, scale);
            (0..heads).map(of_head)
        })
        .collect();
    let mut worst = 0.0_f64;
    let shape = [tokens, heads, latent];
    let output: Vec<f32> = expected.iter().flat_map(|row| &row.output).copied().collect();
    let tolerance: Vec<f32> = expected.iter().flat_map(|row| &row.output_tolerance).copied().collect();
    worst = worst.max(compare("output", &shape).within(&got.output, &output, |at| tolerance[at])?);
    let lse: Vec<f32> = expected.iter().map(|row| row.lse).collect();
    let lse_tolerance = |at: usize| expected[at].lse_tolerance;
    worst = worst.max(compare("lse", &shape[..2]).within(&got.lse, &lse, lse_tolerance)?);

    // The plain loop is the reference's attention.
    let head_spec = HeadSpec { heads, nope: 0, rope, value: 0, latent, softmax_scale: scale };
    for token in 0..tokens {
        let cache = seen(token).concat();
        if !cache.is_empty() {
            let rows = token * heads * latent..(token + 1) * heads * latent;
            let queries = &batch.queries[token * heads * width..][..heads * width];
            let (output, _) = latent_attention(queries, &cache, &head_spec, Numerics::KERNEL);
            let tolerance = |at: usize| tolerance[rows.start + at];
            compare("output by the reference", &shape[1..]).within(
                &got.output[rows.clone()],
                &output,
                tolerance,
            )?;
        }
    }

    let lost = |token: usize| {
        let keys = pool.keys.get(batch.sequence_of[token] as usize);
        keys.is_some_and(|keys| keys.iter().take(length(token)).any(Option::is_none))
    };
    let unknown =
        |token: usize| batch.lengths[token] > 0 && batch.sequence_of[token] as usize >= sequences.len();
    let mut error = if few { SEQUENCE } else { 0 };
    for token in 0..tokens {
        error |= if lost(token) { PAGE } else { 0 };
        error |= if unknown(token) { PAGE | SEQUENCE } else { 0 };
    }
    compare("error", &[1]).equal(&[got.error as f32], &[error as f32])?;

    if tokens > 0 {
        let token = random.below(tokens);
        let alone = Batch {
            queries: batch.queries[token * heads * width..][..heads * width].to_vec(),
            lengths: vec![length(token) as u32],
            sequence_of: vec![batch.sequence_of[token]],
            splits: batch.splits + 1,
        };
        let alone = launch(machine, &kernels, (&spec, &pool), &alone, scale)?;
        let rows = &got.output[token * heads * latent..][..heads * latent];
        compare("output alone", &shape[1..]).equal(&alone.output, rows)?;
        compare("lse alone", &shape[1..2]).equal(&alone.lse, &got.lse[token * heads..][..heads])?;
    }
    let specs = vec![MlaDecode::any(&spec), MlaCombine::any(&combine)];
    Ok(Passed { kernel: kernel.clone(), specs, case: case.clone(), worst })
}

/// Runs both kernels.
fn launch(
    machine: &mut dyn Machine,
    [decode, combine]: &[Kernel; 2],
    (spec, pool): (&MlaDecodeSpec, &Pool),
    batch: &Batch,
    softmax_scale: f32,
) -> Result<Results, Failure> {
    let (tokens, heads, latent) = (batch.lengths.len(), spec.heads as usize, spec.latent as usize);
    let partial = tokens * batch.splits as usize * heads;
    let mut poisoned = |bytes: usize| machine.upload(&vec![0xff; bytes]);
    let (partial_outputs, partial_maxima, partial_sums) =
        (poisoned(4 * partial * latent)?, poisoned(4 * partial)?, poisoned(4 * partial)?);
    let (output, lse) = (poisoned(2 * tokens * heads * latent)?, poisoned(4 * tokens * heads)?);
    let lengths = machine.upload(&u32_bytes(&batch.lengths))?;
    let arguments = MlaDecodeArguments {
        queries: machine.upload(&bf16_bytes(&batch.queries))?,
        pool: machine.upload(&pool.bytes)?,
        block_table: machine.upload(&u32_bytes(&pool.block_table))?,
        lengths,
        sequence_of: machine.upload(&u32_bytes(&batch.sequence_of))?,
        partial_outputs,
        partial_maxima,
        partial_sums,
        error: machine.upload(&[0; 4])?,
        tokens: tokens as u32,
        splits: batch.splits,
        pages: pool.pages as u32,
        sequences: pool.keys.len() as u32,
        max_pages: pool.max_pages as u32,
        softmax_scale,
    };
    machine.run(decode, &arguments.pack())?;
    let merge = MlaCombineArguments {
        partial_outputs,
        partial_maxima,
        partial_sums,
        lengths,
        output,
        lse,
        tokens: tokens as u32,
        splits: batch.splits,
    };
    machine.run(combine, &merge.pack())?;
    Ok(Results {
        output: of_bf16(&machine.download(output, 2 * tokens * heads * latent)?),
        lse: of_f32(&machine.download(lse, 4 * tokens * heads)?),
        error: of_u32(&machine.download(arguments.error, 4)?)[0],
    })
}
