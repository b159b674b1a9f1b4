//! Rotation, cache and attention.

use super::{BF16, close, devices, download, numbers, to_bf16, upload, upload_bf16};
use rorqual::driver::{Buffer, Device, Stream};
use rorqual::model::weights::Matrix;
use rorqual::num::bf16;
use rorqual::ops::attention::{
    AppendInputs, CacheAppend, CacheGather, CacheSpec, DecodeInputs, DecodeSpec, GatherInputs,
    GatheredViewMut, MlaDecode, MlaPrefill, NO_SLOT, Pairing, PrefillInputs, PrefillSpec, RecordFormat, Rope,
    RopeSpec,
};
use rorqual::ops::device_error;
use rorqual::reference::Numerics;
use rorqual::reference::linear::{Output, linear};
use rorqual::reference::mla::{HeadSpec, latent_attention, naive};
use rorqual::reference::rope::rotate_pairs;

const HEADS: usize = 2;
const LATENT: usize = 32;
const ROPE: usize = 16;
const KEYS: usize = 70;
const PAGES: usize = 6;
const SPEC: CacheSpec = CacheSpec { latent: 32, rope: 16, page_size: 16, record: RecordFormat::Bf16 };
/// The pages of the only sequence, in order.
const TABLE: [u32; 5] = [4, 0, 5, 1, 3];

fn heads(nope: usize, value: usize) -> HeadSpec {
    HeadSpec { heads: HEADS, nope, rope: ROPE, value, latent: LATENT, softmax_scale: 0.25 }
}

/// Cosine and sine of so many positions.
fn table(positions: usize) -> Vec<(f32, f32)> {
    let angle = |at: usize| (at / (ROPE / 2)) as f32 / (1 + at % (ROPE / 2)) as f32;
    (0..positions * ROPE / 2).map(|at| (angle(at).cos(), angle(at).sin())).collect()
}

fn upload_table(stream: &Stream, positions: usize) -> Buffer<f32> {
    let flat: Vec<f32> = table(positions).into_iter().flat_map(|(cos, sin)| [cos, sin]).collect();
    upload(stream, [positions, ROPE / 2, 2], &flat)
}

/// A pool with the records of a sequence, and the records: `[KEYS, latent + rope]`.
fn filled(device: &Device, stream: &Stream) -> (Buffer<u8>, Vec<f32>) {
    let (latents, keys) = (numbers(1, KEYS * LATENT), numbers(2, KEYS * ROPE));
    let positions: Vec<u32> = (0..KEYS as u32).collect();
    let slots: Vec<u32> = positions.iter().map(|key| TABLE[*key as usize / 16] * 16 + key % 16).collect();
    let plan = CacheAppend::plan(device, &SPEC).expect("a plan");
    let latents_on_device = upload_bf16(stream, [KEYS, LATENT], &latents);
    let keys_on_device = upload_bf16(stream, [KEYS, ROPE], &keys);
    let (table_on_device, positions) = (upload_table(stream, KEYS), upload(stream, KEYS, &positions));
    let slots = upload(stream, KEYS, &slots);
    let record_bytes = 2 * (LATENT + ROPE);
    let mut pool = upload(stream, [PAGES, 16, record_bytes], &vec![0_u8; PAGES * 16 * record_bytes]);
    let inputs = AppendInputs {
        latents: latents_on_device.view(),
        keys: keys_on_device.view(),
        table: table_on_device.view(),
        positions: positions.view(),
        slots: slots.view(),
    };
    plan.run_into(stream, inputs, &mut pool).expect("a run");
    assert!(plan.flags(stream).expect("flags").is_empty());

    // Slot 7 is written by nobody, slot 96 is behind the pool.
    let stray = upload(stream, KEYS, &[&[96][..], &[NO_SLOT; KEYS - 1]].concat());
    plan.run_into(stream, AppendInputs { slots: stray.view(), ..inputs }, &mut pool).expect("a run");
    assert_eq!(plan.flags(stream).expect("flags").bits(), device_error::PAGE);

    let mut records = Vec::new();
    for (at, (latent, key)) in latents.chunks(LATENT).zip(keys.chunks(ROPE)).enumerate() {
        let mut key = key.to_vec();
        rotate_pairs(&mut key, &table(KEYS)[at * ROPE / 2..][..ROPE / 2], Numerics::KERNEL);
        records.extend([latent, &key].concat());
    }
    (pool, records)
}

#[test]
fn rotation() {
    for (device, stream) in devices() {
        let spec = RopeSpec { heads: 2, head: 24, offset: 8, width: 16, pairing: Pairing::Interleaved };
        let plan = Rope::plan(&device, &spec).expect("a plan");
        let mut expected = numbers(3, 3 * 2 * 24);
        let mut x = upload_bf16(&stream, [3, 2, 24], &expected);
        let positions = upload(&stream, 3, &[5_u32, 0, 9]);
        plan.run_into(&stream, &mut x, &upload_table(&stream, 8), &positions).expect("a run");
        for (token, position) in [(0, 5), (1, 0)] {
            for head in 0..2 {
                let rotated = &mut expected[(token * 2 + head) * 24 + 8..][..16];
                rotate_pairs(rotated, &table(8)[position * 8..][..8], Numerics::KERNEL);
            }
        }
        close(&download(&stream, &x), &expected, BF16);
        assert_eq!(plan.flags(&stream).expect("flags").bits(), device_error::POSITION);
    }
}

#[test]
fn records_are_gathered() {
    for (device, stream) in devices() {
        let (pool, records) = filled(&device, &stream);
        let plan = CacheGather::plan(&device, &SPEC).expect("a plan");
        let (table, offsets) = (upload(&stream, [1, 5], &TABLE), upload(&stream, 2, &[0, KEYS as u32]));
        let mut latents = stream.allocate::<bf16>([KEYS, LATENT]).expect("room");
        let mut shared_keys = stream.allocate::<bf16>([KEYS, ROPE]).expect("room");
        let inputs = GatherInputs {
            pool: pool.view(),
            block_table: table.view(),
            key_offsets: offsets.view(),
            longest: KEYS,
        };
        let out = GatheredViewMut { latents: latents.view_mut(), shared_keys: shared_keys.view_mut() };
        plan.run_into(&stream, inputs, out).expect("a run");
        let (latents, keys) = (download(&stream, &latents), download(&stream, &shared_keys));
        let rows = latents.chunks(LATENT).zip(keys.chunks(ROPE));
        let given: Vec<f32> = rows.flat_map(|(latent, key)| [latent, key].concat()).collect();
        close(&given, &records, BF16);
        assert!(plan.flags(&stream).expect("flags").is_empty());
    }
}

#[test]
fn decode() {
    for (device, stream) in devices() {
        let (pool, records) = filled(&device, &stream);
        let queries = numbers(4, 2 * HEADS * (LATENT + ROPE));
        let spec = DecodeSpec {
            heads: 2,
            latent: 32,
            rope: 16,
            page_size: 16,
            record: RecordFormat::Bf16,
            chunk: 64,
        };
        let plan = MlaDecode::plan(&device, &spec).expect("a plan");
        let on_device = upload_bf16(&stream, [2, HEADS, LATENT + ROPE], &queries);
        let block_table = upload(&stream, [1, 5], &TABLE);
        let lengths = upload(&stream, 2, &[KEYS as u32 - 1, KEYS as u32]);
        let sequence_of = upload(&stream, 2, &[0_u32, 0]);
        let inputs = DecodeInputs {
            queries: on_device.view(),
            pool: pool.view(),
            block_table: block_table.view(),
            lengths: lengths.view(),
            sequence_of: sequence_of.view(),
            longest: KEYS,
            softmax_scale: 0.25,
        };
        let out = plan.run(&stream, inputs).expect("a run");
        let (expected, lse) = latent_attention(&queries, &records, &heads(32, 32), Numerics::KERNEL);
        close(&download(&stream, &out.output), &expected, 4.0 * BF16);
        close(&stream.download(&out.lse).expect("lse"), &lse, 1e-3);
        assert!(plan.flags(&stream).expect("flags").is_empty());
        assert_eq!(plan.workspace_bytes(2, KEYS).expect("bytes"), 2 * 2 * HEADS * (LATENT + 2) * 4);

        let nobody = upload(&stream, 2, &[0_u32, 1]);
        let inputs = DecodeInputs { sequence_of: nobody.view(), ..inputs };
        plan.run(&stream, inputs).expect("a run");
        let expected = device_error::SEQUENCE | device_error::PAGE;
        assert_eq!(plan.flags(&stream).expect("flags").bits(), expected);
    }
}

#[test]
fn prefill() {
    for (device, stream) in devices() {
        let (nope, value, tokens) = (16, 24, 5);
        let cache = numbers(5, KEYS * (LATENT + ROPE));
        let (latents, shared_keys): (Vec<f32>, Vec<f32>) = {
            let part = |range: std::ops::Range<usize>| {
                cache.chunks(LATENT + ROPE).flat_map(|record| record[range.clone()].to_vec()).collect()
            };
            (part(0..LATENT), part(LATENT..LATENT + ROPE))
        };
        let kv_b = Matrix::from_bf16(HEADS * 40, LATENT, &to_bf16(&numbers(6, HEADS * 40 * LATENT)));
        let expanded = linear(&latents, &kv_b, Output::Activation, Numerics::KERNEL);
        let queries = numbers(7, tokens * HEADS * (nope + ROPE));
        let expected = naive(&queries, &cache, &kv_b, &heads(nope, value), Numerics::KERNEL);

        let spec = PrefillSpec { heads: 2, nope: 16, rope: 16, value: 24 };
        let plan = MlaPrefill::plan(&device, &spec).expect("a plan");
        let queries = upload_bf16(&stream, [tokens, HEADS, nope + ROPE], &queries);
        let expanded = upload_bf16(&stream, [KEYS, HEADS, nope + value], &expanded);
        let shared_keys = upload_bf16(&stream, [KEYS, ROPE], &shared_keys);
        let query_offsets = upload(&stream, 2, &[0, tokens as u32]);
        let key_offsets = upload(&stream, 2, &[0, KEYS as u32]);
        let inputs = PrefillInputs {
            queries: queries.view(),
            expanded: expanded.view(),
            shared_keys: shared_keys.view(),
            query_offsets: query_offsets.view(),
            key_offsets: key_offsets.view(),
            longest: tokens,
            softmax_scale: 0.25,
        };
        let out = plan.run(&stream, inputs).expect("a run");
        close(&download(&stream, &out.output), &expected.output, 4.0 * BF16);
        close(&stream.download(&out.lse).expect("lse"), &expected.lse, 1e-3);
        assert!(plan.flags(&stream).expect("flags").is_empty());

        // A query behind the last sequence.
        let query_offsets = upload(&stream, 2, &[0, tokens as u32 - 1]);
        let out = plan.run(&stream, PrefillInputs { query_offsets: query_offsets.view(), ..inputs });
        let out = out.expect("a run");
        let (output, lse) = (download(&stream, &out.output), stream.download(&out.lse).expect("lse"));
        assert_eq!(output[(tokens - 1) * HEADS * value..], [0.0; HEADS * 24]);
        assert_eq!(lse[(tokens - 1) * HEADS..], [f32::NEG_INFINITY; HEADS]);
    }
}
