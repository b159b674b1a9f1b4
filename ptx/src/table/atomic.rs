//! Atomic operations and reductions in memory (PTX ISA 9.7.10.15, 9.7.15.5 to 9.7.15.7).

use super::memory::{is_global, mmio_is_sys, vector_bits};
use crate::instruction::Instruction;
use crate::modifier::Modifier;

section! {
    /// Instructions that read and write memory in one step.
    Atomic, ExecAtomic;

    /// Replaces what memory holds by its combination with `b`, gives what it held.
    atom = Atom "atom" "9.7.15.5" {
        "atom{.sem}{.scope}{.space}.op{.L2::cache_hint}.type d=type, [a], b:type, \
         cache-policy?L2::cache_hint:u64 \
         | op = and or xor exch; type = b32 b64" since "1.1 sm_11"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.add{.L2::cache_hint}.type d=type, [a], b:type, \
         cache-policy?L2::cache_hint:u64 \
         | type = u32 s32 u64 f32" since "1.1 sm_20"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.add{.L2::cache_hint}.f64 d=f64, [a], b:f64, \
         cache-policy?L2::cache_hint:u64" since "5.0 sm_60"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.op{.L2::cache_hint}.u32 d=u32, [a], b:u32, \
         cache-policy?L2::cache_hint:u64 \
         | op = inc dec" since "1.1 sm_20"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.op{.L2::cache_hint}.type d=type, [a], b:type, \
         cache-policy?L2::cache_hint:u64 \
         | op = min max; type = u32 s32 u64 s64" since "1.1 sm_32"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.f32 d=f32, [a], b:f32, \
         cache-policy?L2::cache_hint:u64" since "9.4 sm_90"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.f16x2 d=f16x2, [a], b:f16x2, \
         cache-policy?L2::cache_hint:u64" since "6.2 sm_60"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.f16 d=f16, [a], b:f16, \
         cache-policy?L2::cache_hint:u64" since "6.3 sm_70"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.type d=type, [a], b:type, \
         cache-policy?L2::cache_hint:u64 \
         | type = bf16 bf16x2" since "7.8 sm_90"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.space}.cas.type d=type, [a], b:type, c:type | type = b32 b64" since "1.1 sm_20";
        "atom{.sem}{.scope}{.space}.cas.b16 d=b16, [a], b:b16, c:b16" since "6.3 sm_70";
        "atom{.sem}{.scope}{.space}.cas.b128 d=b128, [a], b:b128, c:b128! \
         | scope = cta cluster gpu sys@8.4" since "8.3 sm_90";
        "atom{.sem}{.scope}{.space}.exch{.L2::cache_hint}.b128 d=b128, [a], b:b128, \
         cache-policy?L2::cache_hint:u64 \
         | scope = cta cluster gpu sys@8.4" since "8.3 sm_90"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "atom{.sem}{.scope}{.global}.add{.L2::cache_hint}.vec.f32 d*vec=f32, [a], b*vec:f32, \
         cache-policy?L2::cache_hint:u64" since "8.1 sm_90";
        "atom{.sem}{.scope}{.global}.add.noftz{.L2::cache_hint}.vec.f32 d*vec=f32, [a], b*vec:f32, \
         cache-policy?L2::cache_hint:u64" since "9.4 sm_90";
        "atom{.sem}{.scope}{.global}.op.noftz{.L2::cache_hint}.vec.type d*vec=type, [a], b*vec:type, \
         cache-policy?L2::cache_hint:u64 \
         | op = add min max; vec = v2 v4 v8; type = f16 bf16" since "8.1 sm_90";
        "atom{.sem}{.scope}{.global}.op.noftz{.L2::cache_hint}.vec.type d*vec=type, [a], b*vec:type, \
         cache-policy?L2::cache_hint:u64 \
         | op = add min max; type = f16x2 bf16x2" since "8.1 sm_90";
    }

    /// Replaces what memory holds by its combination with `b`.
    red = Red "red" "9.7.15.6" {
        "red{.sem}{.scope}{.space}.op{.L2::cache_hint}.type [a], b:type, cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; op = and or xor; type = b32 b64" since "1.2 sm_20"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.add{.L2::cache_hint}.type [a], b:type, cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; type = u32 s32 u64 f32" since "1.1 sm_20"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.add{.L2::cache_hint}.f64 [a], b:f64, cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release" since "5.0 sm_60"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.op{.L2::cache_hint}.u32 [a], b:u32, cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; op = inc dec" since "1.1 sm_20"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.op{.L2::cache_hint}.type [a], b:type, cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; op = min max; type = u32 s32 u64 s64" since "1.1 sm_32"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.f32 [a], b:f32, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release" since "9.4 sm_90"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.f16x2 [a], b:f16x2, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release" since "6.2 sm_60"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.f16 [a], b:f16, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release" since "6.3 sm_70"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.space}.add.noftz{.L2::cache_hint}.type [a], b:type, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; type = bf16 bf16x2" since "7.8 sm_90"
            where "a cache hint needs .global or a generic address" hint_fits_space;
        "red{.sem}{.scope}{.global}.add{.L2::cache_hint}.vec.f32 [a], b*vec:f32, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release" since "8.1 sm_90";
        "red{.sem}{.scope}{.global}.add.noftz{.L2::cache_hint}.vec.f32 [a], b*vec:f32, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release" since "9.4 sm_90";
        "red{.sem}{.scope}{.global}.op.noftz{.L2::cache_hint}.vec.type [a], b*vec:type, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; op = add min max; vec = v2 v4 v8; type = f16 bf16" since "8.1 sm_90";
        "red{.sem}{.scope}{.global}.op.noftz{.L2::cache_hint}.vec.type [a], b*vec:type, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; op = add min max; type = f16x2 bf16x2" since "8.1 sm_90";
    }

    /// Reduces asynchronously: into shared memory of the cluster, counted on an mbarrier, or global memory.
    red_async = RedAsync "red.async" "9.7.15.7" {
        "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes.op.u32 [a], b:u32, [mbar] \
         | op = inc dec" since "8.1 sm_90";
        "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes.op.type [a], b:type, \
         [mbar] \
         | op = min max; type = u32 s32" since "8.1 sm_90";
        "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes.op.b32 [a], b:b32, [mbar] \
         | op = and or xor" since "8.1 sm_90";
        "red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes.add.type [a], b:type, \
         [mbar] \
         | type = u32 s32 u64 s64" since "8.1 sm_90";
        "red.async{.mmio}.release.scope{.global}.op.u32 [a], b:u32 \
         | scope = gpu sys; op = inc dec" since "8.7 sm_100"
            where ".mmio needs the scope .sys" mmio_is_sys;
        "red.async{.mmio}.release.scope{.global}.op.type [a], b:type \
         | scope = gpu sys; op = min max; type = u32 s32" since "8.7 sm_100"
            where ".mmio needs the scope .sys" mmio_is_sys;
        "red.async{.mmio}.release.scope{.global}.op.b32 [a], b:u32 \
         | scope = gpu sys; op = and or xor" since "8.7 sm_100"
            where ".mmio needs the scope .sys" mmio_is_sys;
        "red.async{.mmio}.release.scope{.global}.add.type [a], b:type \
         | scope = gpu sys; type = u32 s32 u64 s64" since "8.7 sm_100"
            where ".mmio needs the scope .sys" mmio_is_sys;
    }

    /// Reduces what the replicas behind a multimem address hold.
    multimem_ld_reduce = MultimemLdReduce "multimem.ld_reduce" "9.7.10.15" {
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.add.type d=type, [a] \
         | sem = relaxed acquire; type = u32 s32 u64" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.op.type d=type, [a] \
         | sem = relaxed acquire; op = min max; type = u32 s32 u64 s64" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.op.type d=type, [a] \
         | sem = relaxed acquire; op = and or xor; type = b32 b64" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.add{.vec}.f32 d*vec=f32, [a] \
         | sem = relaxed acquire" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.add.f64 d=f64, [a] \
         | sem = relaxed acquire" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.op{.vec}.type d*vec=type, [a] \
         | sem = relaxed acquire; op = add min max; vec = v2 v4 v8; type = f16 f16x2 bf16 bf16x2"
            since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered,
                  "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.add.acc::f32{.vec}.type d*vec=type, [a] \
         | sem = relaxed acquire; vec = v2 v4 v8; type = f16 f16x2 bf16 bf16x2" since "8.2 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered,
                  "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.op{.vec}.type d*vec=type, [a] \
         | sem = relaxed acquire; op = add min max; vec = v2 v4 v8; \
         type = e4m3 e4m3x2 e4m3x4 e5m2 e5m2x2 e5m2x4" since "8.6 sm_100f sm_110f sm_120a sm_121a"
            where ".weak and an ordering exclude each other" not_weak_and_ordered,
                  "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
        "multimem.ld_reduce{.weak}{.sem.scope}{.global}.add.acc::f16{.vec}.type d*vec=type, [a] \
         | sem = relaxed acquire; vec = v2 v4 v8; type = e4m3 e4m3x2 e4m3x4 e5m2 e5m2x2 e5m2x4"
            since "8.6 sm_100f sm_110f sm_120a sm_121a"
            where ".weak and an ordering exclude each other" not_weak_and_ordered,
                  "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
    }

    /// Stores to every replica behind a multimem address.
    multimem_st = MultimemSt "multimem.st" "9.7.10.15" {
        "multimem.st{.weak}{.sem.scope}{.global}.type [a], b:type \
         | sem = relaxed release; type = b32 b64 u32 u64 s32 s64 f64" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.st{.weak}{.sem.scope}{.global}{.vec}.f32 [a], b*vec:f32 \
         | sem = relaxed release" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered;
        "multimem.st{.weak}{.sem.scope}{.global}{.vec}.type [a], b*vec:type \
         | sem = relaxed release; vec = v2 v4 v8; type = f16 f16x2 bf16 bf16x2" since "8.1 sm_90"
            where ".weak and an ordering exclude each other" not_weak_and_ordered,
                  "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
        "multimem.st{.weak}{.sem.scope}{.global}{.vec}.type [a], b*vec:type \
         | sem = relaxed release; vec = v2 v4 v8; type = e4m3 e4m3x2 e4m3x4 e5m2 e5m2x2 e5m2x4"
            since "8.6 sm_100f sm_110f sm_120a sm_121a"
            where ".weak and an ordering exclude each other" not_weak_and_ordered,
                  "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
    }

    /// Reduces into every replica behind a multimem address.
    multimem_red = MultimemRed "multimem.red" "9.7.10.15" {
        "multimem.red{.sem.scope}{.global}.add.type [a], b:type \
         | sem = relaxed release; type = u32 s32 u64" since "8.1 sm_90";
        "multimem.red{.sem.scope}{.global}.op.type [a], b:type \
         | sem = relaxed release; op = min max; type = u32 s32 u64 s64" since "8.1 sm_90";
        "multimem.red{.sem.scope}{.global}.op.type [a], b:type \
         | sem = relaxed release; op = and or xor; type = b32 b64" since "8.1 sm_90";
        "multimem.red{.sem.scope}{.global}.add{.vec}.f32 [a], b*vec:f32 \
         | sem = relaxed release" since "8.1 sm_90";
        "multimem.red{.sem.scope}{.global}.add.f64 [a], b:f64 | sem = relaxed release" since "8.1 sm_90";
        "multimem.red{.sem.scope}{.global}.add{.vec}.type [a], b*vec:type \
         | sem = relaxed release; vec = v2 v4 v8; type = f16 f16x2 bf16 bf16x2" since "8.1 sm_90"
            where "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
        "multimem.red{.sem.scope}{.global}.op.vec.type [a], b*vec:type \
         | sem = relaxed release; op = min max; vec = v2 v4 v8; type = f16 f16x2 bf16 bf16x2"
            since "8.1 sm_90"
            where "the vector has 32, 64 or 128 bits" |i| matches!(vector_bits(i), 32 | 64 | 128);
    }
}

fn hint_fits_space(instruction: &Instruction) -> bool {
    !instruction.has(Modifier::L2CacheHint) || is_global(instruction)
}

fn not_weak_and_ordered(instruction: &Instruction) -> bool {
    use Modifier::{Acquire, Relaxed, Release};
    let ordered = [Acquire, Relaxed, Release].iter().any(|order| instruction.has(*order));
    !(ordered && instruction.has(Modifier::Weak))
}
