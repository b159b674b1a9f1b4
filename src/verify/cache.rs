//! Records of the latent cache in plain loops, and cases of the families `cache_append` and `cache_gather`.

use super::bytes::{bf16_bytes, f32_bytes, of_bf16, of_f32, of_u32, u32_bytes};
use super::compare::Comparison;
use super::random::{Random, Style};
use super::rope::{rotation, table};
use super::{Failure, Machine, Passed};
use crate::num::{E4m3, round_to_bf16};
use crate::reference::Numerics;
use crate::reference::rope::rotate_pairs;
use rorqual_kernels::attention::RecordFormat;
use rorqual_kernels::attention::append::{CacheAppend, CacheAppendArguments, CacheAppendSpec, NO_SLOT};
use rorqual_kernels::attention::gather::{CacheGather, CacheGatherArguments, CacheGatherSpec};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::device_error::{PAGE, POSITION, SEQUENCE};
use rorqual_kernels::{Registered, ScaleFormat, generate};

/// The bytes of a record: its latent and its rotated key, both bf16 numbers.
pub fn record_bytes(format: RecordFormat, latent: &[f32], key: &[f32]) -> Vec<u8> {
    let RecordFormat::Fp8(scales) = format else {
        return [bf16_bytes(latent), bf16_bytes(key)].concat();
    };
    let scale = |block: &[f32]| {
        let amax = block.iter().fold(0.0_f32, |amax, value| amax.max(value.abs()));
        let scale = (amax / 448.0).max(1e-4);
        match scales {
            ScaleFormat::F32 => scale,
            ScaleFormat::PowerOfTwo if scale.is_finite() => 2.0_f32.powi(scale.log2().ceil() as i32),
            ScaleFormat::PowerOfTwo => scale,
        }
    };
    let blocks: Vec<(&[f32], f32)> = latent.chunks(128).map(|block| (block, scale(block))).collect();
    let codes_of = |(block, scale): &(&[f32], f32)| -> Vec<u8> {
        block.iter().map(|value| E4m3::from_f32(*value / scale).to_bits()).collect()
    };
    let codes: Vec<u8> = blocks.iter().flat_map(codes_of).collect();
    let scales: Vec<f32> = blocks.iter().map(|(_, scale)| *scale).collect();
    [codes, f32_bytes(&scales), bf16_bytes(key)].concat()
}

/// What a record stands for: latent, then key.
pub fn record_values(format: RecordFormat, record: &[u8], latent: usize) -> Vec<f32> {
    let (codes, rest) = record.split_at(latent);
    match format {
        RecordFormat::Bf16 => of_bf16(record),
        RecordFormat::Fp8(_) => {
            let (scales, key) = rest.split_at(latent / 128 * 4);
            let scales = of_f32(scales);
            let value =
                |(at, code): (usize, &u8)| round_to_bf16(E4m3::from_bits(*code).to_f32() * scales[at / 128]);
            codes.iter().enumerate().map(value).chain(of_bf16(key)).collect()
        }
    }
}

/// Draws a format, and widths of latent and key that are multiples of `unit`.
pub fn format(random: &mut Random, unit: usize) -> (RecordFormat, usize, usize) {
    match random.below(6) {
        0 => (RecordFormat::Fp8(ScaleFormat::F32), 512, 64),
        1 => (RecordFormat::Fp8(ScaleFormat::PowerOfTwo), 512, 64),
        2 => (RecordFormat::Bf16, 512, 64),
        _ => (RecordFormat::Bf16, unit * (1 + random.below(9)), unit * random.pick(&[1, 2, 4])),
    }
}

/// Draws a case of `cache_append` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_append(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (record, latent, rope) = format(random, 8);
    let slack = |random: &mut Random| random.pick(&[0, 0, 5, 64]);
    let (latent_pitch, key_pitch) = (latent + slack(random), rope + slack(random));
    let spec = CacheAppendSpec {
        latent: latent as u32,
        rope: rope as u32,
        latent_pitch: latent_pitch as u32,
        key_pitch: key_pitch as u32,
        record,
    };
    let (tokens, style, position_count) = (random.size(20), random.style(), 1 + random.below(50));
    let slot_count = tokens + random.below(8);
    let table = table(random, rope, position_count);
    let bad = random.one_in(3);
    let positions: Vec<u32> =
        (0..tokens).map(|_| random.below(position_count + usize::from(bad)) as u32).collect();
    // Slots in a random order, some of none, some behind the pool.
    let mut slots: Vec<u32> = (0..slot_count as u32).collect();
    for at in 0..slot_count {
        slots.swap(at, random.below(slot_count));
    }
    slots.truncate(tokens);
    for slot in &mut slots {
        match random.below(8) {
            0 => *slot = NO_SLOT,
            1 if bad => *slot = (slot_count + random.below(1000)) as u32,
            _ => {}
        }
    }
    let kernel = generate::<CacheAppend>(&spec, machine.target())?;
    let case = format!("{tokens} tokens, {slot_count} slots, {position_count} positions, {style:?} values");

    let latents = random.bf16s(tokens * latent_pitch, style);
    let keys = random.bf16s(tokens * key_pitch, style);
    let bytes = record.bytes(spec.latent, spec.rope) as usize;
    let arguments = CacheAppendArguments {
        latents: machine.upload(&bf16_bytes(&latents))?,
        keys: machine.upload(&bf16_bytes(&keys))?,
        table: machine.upload(&f32_bytes(&table))?,
        positions: machine.upload(&u32_bytes(&positions))?,
        slots: machine.upload(&u32_bytes(&slots))?,
        pool: machine.upload(&vec![0xa5; slot_count * bytes])?,
        error: machine.upload(&[0; 4])?,
        tokens: tokens as u32,
        position_count: position_count as u32,
        slot_count: slot_count as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let mut expected = vec![0xa5; slot_count * bytes];
    let mut error = 0;
    for (token, (&slot, &position)) in slots.iter().zip(&positions).enumerate() {
        let (in_pool, in_table) = ((slot as usize) < slot_count, (position as usize) < position_count);
        if slot == NO_SLOT {
            continue;
        }
        error |= if in_pool { 0 } else { PAGE } | if in_table { 0 } else { POSITION };
        if in_pool && in_table {
            let mut key = keys[token * key_pitch..][..rope].to_vec();
            rotate_pairs(&mut key, &rotation(&table, rope, position), Numerics::KERNEL);
            let record = record_bytes(record, &latents[token * latent_pitch..][..latent], &key);
            expected[slot as usize * bytes..][..bytes].copy_from_slice(&record);
        }
    }
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let (records, scale_rows) = ([slot_count, latent + rope], [slot_count, 4]);
    let got = machine.download(arguments.pool, slot_count * bytes)?;
    let values = |pool: &[u8]| -> Vec<f32> {
        pool.chunks(bytes).flat_map(|bytes| record_values(record, bytes, latent)).collect()
    };
    compare("records", &records).equal(&values(&got), &values(&expected))?;
    if let RecordFormat::Fp8(_) = record {
        let scales = |pool: &[u8]| -> Vec<f32> {
            pool.chunks(bytes).flat_map(|bytes| of_f32(&bytes[512..528])).collect()
        };
        compare("scales", &scale_rows).equal(&scales(&got), &scales(&expected))?;
    }
    let got = of_u32(&machine.download(arguments.error, 4)?);
    compare("error", &[1]).equal(&[got[0] as f32], &[error as f32])?;
    Ok(Passed {
        kernel: kernel.clone(),
        specs: vec![CacheAppend::any(&spec)],
        case: case.clone(),
        worst: 0.0,
    })
}

/// A paged pool with the records of some sequences. What no sequence owns is NaN.
#[derive(Debug, Clone)]
pub struct Pool {
    /// `[pages, page_size]` records.
    pub bytes: Vec<u8>,
    /// Pages.
    pub pages: usize,
    /// `[sequences, max_pages]`
    pub block_table: Vec<u32>,
    /// Pages of a row of the block table.
    pub max_pages: usize,
    /// For each sequence what its keys stand for; `None` for a key whose page is not in the pool.
    pub keys: Vec<Vec<Option<Vec<f32>>>>,
}

/// Draws a pool for sequences of these lengths. With `bad`, a page number of one of them is wrong.
pub fn pool(
    random: &mut Random,
    (format, latent, rope): (RecordFormat, usize, usize),
    page_size: usize,
    lengths: &[usize],
    style: Style,
    bad: bool,
) -> Pool {
    let max_pages = lengths.iter().max().map_or(0, |length| length.div_ceil(page_size)) + random.below(2);
    let used: usize = lengths.iter().map(|length| length.div_ceil(page_size)).sum();
    let pages = used + random.below(3);
    let mut order: Vec<u32> = (0..pages as u32).collect();
    for at in 0..pages {
        order.swap(at, random.below(pages));
    }
    let record = format.bytes(latent as u32, rope as u32) as usize;
    let mut pool = Pool {
        bytes: vec![0xff; pages * page_size * record],
        pages,
        block_table: vec![u32::MAX; lengths.len() * max_pages],
        max_pages,
        keys: Vec::new(),
    };
    for (sequence, length) in lengths.iter().enumerate() {
        let mut keys = Vec::new();
        let wrong = if bad { random.below(2 * length.div_ceil(page_size) + 1) } else { usize::MAX };
        for key in 0..*length {
            let entry = key / page_size;
            let number = &mut pool.block_table[sequence * max_pages + entry];
            if entry == wrong {
                *number = (pages + sequence) as u32;
                keys.push(None);
                continue;
            }
            if key % page_size == 0 {
                *number = order.pop().unwrap_or(0);
            }
            let slot = *number as usize * page_size + key % page_size;
            let bytes = record_bytes(format, &random.bf16s(latent, style), &random.bf16s(rope, style));
            keys.push(Some(record_values(format, &bytes, latent)));
            pool.bytes[slot * record..][..record].copy_from_slice(&bytes);
        }
        pool.keys.push(keys);
    }
    pool
}

/// Draws a case of `cache_gather` and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run_gather(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (record, latent, rope) = format(random, 8);
    let page_size = 1 + random.below(20);
    let spec =
        CacheGatherSpec { latent: latent as u32, rope: rope as u32, page_size: page_size as u32, record };
    let lengths: Vec<usize> = (0..random.below(4)).map(|_| random.size(70)).collect();
    let (style, bad) = (random.style(), random.one_in(3));
    let pool = pool(random, (record, latent, rope), page_size, &lengths, style, bad);
    let offsets: Vec<u32> =
        (0..=lengths.len()).map(|end| lengths[..end].iter().sum::<usize>() as u32).collect();
    let total: usize = lengths.iter().sum();
    // Too few rows for the last sequences now and then.
    let keys = if random.one_in(6) { total.saturating_sub(1 + random.below(20)) } else { total };
    let kernel = generate::<CacheGather>(&spec, machine.target())?;
    let case =
        format!("lengths {lengths:?}, {keys} rows, {} pages, {style:?} values, bad: {bad}", pool.pages);

    let arguments = CacheGatherArguments {
        pool: machine.upload(&pool.bytes)?,
        block_table: machine.upload(&u32_bytes(&pool.block_table))?,
        key_offsets: machine.upload(&u32_bytes(&offsets))?,
        latents: machine.upload(&vec![0xa5; 2 * keys * latent])?,
        shared_keys: machine.upload(&vec![0xa5; 2 * keys * rope])?,
        error: machine.upload(&[0; 4])?,
        pages: pool.pages as u32,
        sequences: lengths.len() as u32,
        max_pages: pool.max_pages as u32,
        keys: keys as u32,
        longest: lengths.iter().max().map_or(0, |longest| (longest + random.below(40)) as u32),
    };
    machine.run(&kernel, &arguments.pack())?;

    let untouched = of_bf16(&[0xa5; 2])[0];
    let (mut latents, mut shared) = (vec![untouched; keys * latent], vec![untouched; keys * rope]);
    let mut error = 0;
    for (sequence, offset) in pool.keys.iter().zip(&offsets) {
        if *offset as usize + sequence.len() > keys {
            // Nobody is there to notice if every sequence is empty.
            error |= if arguments.longest > 0 { SEQUENCE } else { 0 };
            continue;
        }
        for (row, values) in (*offset as usize..).zip(sequence) {
            error |= if values.is_none() { PAGE } else { 0 };
            let values = values.clone().unwrap_or_else(|| vec![0.0; latent + rope]);
            latents[row * latent..][..latent].copy_from_slice(&values[..latent]);
            shared[row * rope..][..rope].copy_from_slice(&values[latent..]);
        }
    }
    let kernel = kernel.contract.kernel;
    let compare = |tensor, shape| Comparison { kernel: &kernel, case: &case, tensor, shape };
    let (latent_rows, key_rows) = ([keys, latent], [keys, rope]);
    let got = of_bf16(&machine.download(arguments.latents, 2 * keys * latent)?);
    compare("latents", &latent_rows).equal(&got, &latents)?;
    let got = of_bf16(&machine.download(arguments.shared_keys, 2 * keys * rope)?);
    compare("shared_keys", &key_rows).equal(&got, &shared)?;
    let got = of_u32(&machine.download(arguments.error, 4)?);
    compare("error", &[1]).equal(&[got[0] as f32], &[error as f32])?;
    Ok(Passed {
        kernel: kernel.clone(),
        specs: vec![CacheGather::any(&spec)],
        case: case.clone(),
        worst: 0.0,
    })
}
