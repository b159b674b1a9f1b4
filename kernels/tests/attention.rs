//! Specialisations of attention and rotation that must be refused, and the rule that each names.

use rorqual_kernels::attention::RecordFormat;
use rorqual_kernels::attention::append::{CacheAppend, CacheAppendSpec};
use rorqual_kernels::attention::combine::{MlaCombine, MlaCombineSpec};
use rorqual_kernels::attention::decode::{MlaDecode, MlaDecodeSpec};
use rorqual_kernels::attention::gather::{CacheGather, CacheGatherSpec};
use rorqual_kernels::attention::prefill::{MlaPrefill, MlaPrefillSpec};
use rorqual_kernels::rope::{Pairing, Rope, RopeSpec};
use rorqual_kernels::{Family, KernelError, ScaleFormat, generate};
use rorqual_ptx::target::Target;

const ROPE: RopeSpec = RopeSpec {
    width: 64,
    heads: 2,
    head_pitch: 192,
    token_pitch: 384,
    offset: 128,
    pairing: Pairing::Halves,
};
const APPEND: CacheAppendSpec =
    CacheAppendSpec { latent: 512, rope: 64, latent_pitch: 576, key_pitch: 576, record: RecordFormat::Bf16 };
const GATHER: CacheGatherSpec = CacheGatherSpec {
    latent: 512,
    rope: 64,
    page_size: 64,
    record: RecordFormat::Fp8(ScaleFormat::PowerOfTwo),
};
const DECODE: MlaDecodeSpec = MlaDecodeSpec {
    heads: 128,
    latent: 512,
    rope: 64,
    page_size: 64,
    record: RecordFormat::Bf16,
    chunk: 512,
};
const COMBINE: MlaCombineSpec = MlaCombineSpec { heads: 128, latent: 512, chunk: 512 };
const PREFILL: MlaPrefillSpec = MlaPrefillSpec { heads: 128, nope: 128, rope: 64, value: 128, lse: true };

/// The rule that a specialisation breaks.
fn rule<F: Family>(spec: &F::Spec) -> String {
    let target = Target::from_name("sm_80").expect("a target");
    match generate::<F>(spec, target) {
        Err(KernelError::Spec { family, rule, .. }) => {
            assert_eq!(family, F::NAME);
            rule
        }
        other => panic!("{spec:?}: {other:?}"),
    }
}

#[test]
fn wrong_specialisations_name_the_rule() {
    let fp8 = RecordFormat::Fp8(ScaleFormat::F32);
    let rules = [
        (
            rule::<Rope>(&RopeSpec { width: 63, ..ROPE }),
            "`width` is 63, expected an even number from 2 to 4096",
        ),
        (rule::<Rope>(&RopeSpec { heads: 0, ..ROPE }), "`heads` is 0, expected at least 1"),
        (
            rule::<Rope>(&RopeSpec { offset: 129, ..ROPE }),
            "`head_pitch` is 192, expected at least `offset + width`, 129 + 64",
        ),
        (
            rule::<Rope>(&RopeSpec { heads: 3, ..ROPE }),
            "`token_pitch` is 384, expected at least `heads * head_pitch`, 3 * 192",
        ),
        (
            rule::<CacheAppend>(&CacheAppendSpec { rope: 12, ..APPEND }),
            "`rope` is 12, expected a multiple of 8 from 8 to 1024",
        ),
        (
            rule::<CacheAppend>(&CacheAppendSpec { latent_pitch: 511, ..APPEND }),
            "`latent_pitch` is 511, expected at least `latent`, 512",
        ),
        (
            rule::<CacheAppend>(&CacheAppendSpec { key_pitch: 63, ..APPEND }),
            "`key_pitch` is 63, expected at least `rope`, 64",
        ),
        (
            rule::<CacheAppend>(&CacheAppendSpec { latent: 256, record: fp8, ..APPEND }),
            "`latent` and `rope` are 256 and 64, expected 512 and 64 of an FP8 record",
        ),
        (
            rule::<CacheGather>(&CacheGatherSpec { page_size: 0, ..GATHER }),
            "`page_size` is 0, expected at least 1",
        ),
        (
            rule::<MlaDecode>(&MlaDecodeSpec { latent: 24, ..DECODE }),
            "`latent` is 24, expected a multiple of 16 from 16 to 1024",
        ),
        (
            rule::<MlaDecode>(&MlaDecodeSpec { rope: 128, ..DECODE }),
            "`latent + rope` is 512 + 128, expected at most 608",
        ),
        (rule::<MlaDecode>(&MlaDecodeSpec { heads: 0, ..DECODE }), "`heads` is 0, expected 1 to 65535"),
        (
            rule::<MlaDecode>(&MlaDecodeSpec { page_size: 0, ..DECODE }),
            "`page_size` is 0, expected at least 1",
        ),
        (
            rule::<MlaDecode>(&MlaDecodeSpec { chunk: 96, ..DECODE }),
            "`chunk` is 96, expected a multiple of 64 from 64 to 65536",
        ),
        (
            rule::<MlaCombine>(&MlaCombineSpec { heads: 1 << 16, ..COMBINE }),
            "`heads` is 65536, expected 1 to 65535",
        ),
        (
            rule::<MlaCombine>(&MlaCombineSpec { latent: 0, ..COMBINE }),
            "`latent` is 0, expected a multiple of 16 from 16 to 1024",
        ),
        (rule::<MlaCombine>(&MlaCombineSpec { chunk: 0, ..COMBINE }), "`chunk` is 0, expected at least 1"),
        (rule::<MlaPrefill>(&MlaPrefillSpec { heads: 0, ..PREFILL }), "`heads` is 0, expected 1 to 65535"),
        (
            rule::<MlaPrefill>(&MlaPrefillSpec { value: 100, ..PREFILL }),
            "`value` is 100, expected a multiple of 8 from 8 to 192",
        ),
        (
            rule::<MlaPrefill>(&MlaPrefillSpec { nope: 192, rope: 128, ..PREFILL }),
            "`nope + rope` is 192 + 128, expected at most 256",
        ),
    ];
    for (rule, expected) in rules {
        assert_eq!(rule, expected);
    }
}

#[test]
fn deepseek_v3_fits_every_target() {
    for target in ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_120"] {
        let target = Target::from_name(target).expect("a target");
        for record in [RecordFormat::Bf16, RecordFormat::Fp8(ScaleFormat::PowerOfTwo)] {
            generate::<CacheAppend>(&CacheAppendSpec { record, ..APPEND }, target).expect("a kernel");
            generate::<CacheGather>(&CacheGatherSpec { record, ..GATHER }, target).expect("a kernel");
            generate::<MlaDecode>(&MlaDecodeSpec { record, ..DECODE }, target).expect("a kernel");
        }
        generate::<Rope>(&ROPE, target).expect("a kernel");
        generate::<MlaCombine>(&COMBINE, target).expect("a kernel");
        generate::<MlaPrefill>(&PREFILL, target).expect("a kernel");
    }
}
