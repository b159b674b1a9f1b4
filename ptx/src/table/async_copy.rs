//! Asynchronous copies and tensor maps (PTX ISA 9.4, 9.7.10.28, 9.7.10.29 and 9.7.15.17).

use super::form::literal_is;
use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::types::Type;

section! {
    /// Instructions that copy without waiting, and that edit tensor maps.
    AsyncCopy, ExecAsyncCopy;

    /// Copies 4, 8 or 16 bytes from global to shared memory; bytes past `bytes` (a count, or a predicate that
    /// says that none is to be read) are filled with zeros.
    cp_async = CpAsync "cp.async" "9.7.10.28.3.1" {
        "cp.async.cache.ss.global{.L2::cache_hint}{.prefetch} [dst], [src], size:imm, bytes?:any, \
         policy?L2::cache_hint:u64 | cache = ca cg; prefetch = L2::64B L2::128B L2::256B" since "7.0 sm_80"
            where "cp.async copies 4, 8 or 16 bytes"
                  |i| literal_is(i, "size", |size| matches!(size, 4 | 8 | 16)),
                  "cp.async.cg copies 16 bytes"
                  |i| !i.has(Modifier::Cg) || literal_is(i, "size", |size| size == 16);
    }

    /// Makes a group of the thread's copies by [`cp.async`](AsyncCopy::CpAsync) since the last one.
    cp_async_commit_group = CpAsyncCommitGroup "cp.async.commit_group" "9.7.10.28.3.2" {
        "cp.async.commit_group" since "7.0 sm_80";
    }

    /// Waits until at most `count` groups of the thread's `cp.async` copies are pending.
    cp_async_wait_group = CpAsyncWaitGroup "cp.async.wait_group" "9.7.10.28.3.3" {
        "cp.async.wait_group count:imm" since "7.0 sm_80";
    }

    /// Waits for all of the thread's `cp.async` copies, grouped or not.
    cp_async_wait_all = CpAsyncWaitAll "cp.async.wait_all" "9.7.10.28.3.3" {
        "cp.async.wait_all" since "7.0 sm_80";
    }

    /// Copies a run of bytes between global and shared memory, or to the shared memory of another CTA.
    cp_async_bulk = CpAsyncBulk "cp.async.bulk" "9.7.10.28.4.1" {
        "cp.async.bulk{.weak}.shared::cta.global.mbarrier::complete_tx::bytes{.L2::cache_hint}{.ignore_oob} \
         [dst], [src], size:u32, left?ignore_oob:u32, right?ignore_oob:u32, [mbar], \
         policy?L2::cache_hint:u64 | weak = weak@9.3; ignore_oob = ignore_oob@9.2" since "8.6 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size,
                  "0 to 15 bytes may be ignored on either side" ignores_at_most_15;
        "cp.async.bulk{.weak}.shared::cluster.global.mbarrier::complete_tx::bytes{.multicast::cluster}\
         {.L2::cache_hint} [dst], [src], size:u32, [mbar], mask?multicast::cluster:u16, \
         policy?L2::cache_hint:u64 | weak = weak@9.3" since "8.0 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
        "cp.async.bulk{.weak}.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [dst], [src], \
         size:u32, [mbar] | weak = weak@9.3" since "8.0 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
        "cp.async.bulk{.weak}.global.shared::cta.bulk_group{.L2::cache_hint}{.cp_mask} [dst], [src], \
         size:u32, policy?L2::cache_hint:u64, mask?cp_mask:u16 | weak = weak@9.3; \
         cp_mask = cp_mask@8.6/sm_100" since "8.0 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
        "cp.async.bulk.relaxed.scope.shared::cta.global.mbarrier::complete_tx::bytes{.L2::cache_hint}\
         {.ignore_oob}.b128 [dst], [src], size:u32, left?ignore_oob:u32, right?ignore_oob:u32, [mbar], \
         policy?L2::cache_hint:u64" since "9.3 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size,
                  "0 to 15 bytes may be ignored on either side" ignores_at_most_15;
        "cp.async.bulk.relaxed.scope.shared::cluster.global.mbarrier::complete_tx::bytes\
         {.multicast::cluster}{.L2::cache_hint}.b128 [dst], [src], size:u32, [mbar], \
         mask?multicast::cluster:u16, policy?L2::cache_hint:u64" since "9.3 sm_90a sm_100f sm_110f"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
        "cp.async.bulk.relaxed.scope.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.b128 [dst], \
         [src], size:u32, [mbar] | scope = cta cluster" since "9.3 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
        "cp.async.bulk.relaxed.scope.global.shared::cta.bulk_group{.L2::cache_hint}{.cp_mask}.b128 [dst], \
         [src], size:u32, policy?L2::cache_hint:u64, mask?cp_mask:u16 | cp_mask = cp_mask@8.6/sm_100"
            since "9.3 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
    }

    /// Reduces a run of elements of shared memory into global memory or into the shared memory of another
    /// CTA.
    cp_reduce_async_bulk = CpReduceAsyncBulk "cp.reduce.async.bulk" "9.7.10.28.4.2" {
        "cp.reduce.async.bulk{.relaxed.scope}\
         .shared::cluster.shared::cta.mbarrier::complete_tx::bytes.op.type [dst], [src], size:u32, [mbar] \
         | relaxed = relaxed@9.3; scope = cta cluster; op = and or xor add inc dec min max; type = b32 u32 \
         s32 u64" since "8.0 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size,
                  "into shared memory, and, or, xor take b32, add u32, s32, u64, min, max u32, s32, inc, dec \
                   u32" reduces_shared;
        "cp.reduce.async.bulk{.relaxed.scope}.global.shared::cta.bulk_group{.L2::cache_hint}.op{.noftz}.type \
         [dst], [src], size:u32, policy?L2::cache_hint:u64 | relaxed = relaxed@9.3; op = and or xor add inc \
         dec min max; type = f16 bf16 b32 u32 s32 b64 u64 s64 f32 f64" since "8.0 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size,
                  "into global memory, and, or, xor take b32, b64, add u32, s32, u64, f32, f64, add.noftz \
                   f16, bf16, f32, min, max u32, s32, u64, s64, f16, bf16, inc, dec u32" reduces_global;
    }

    /// Asks for a run of global memory to be brought into the L2 cache.
    cp_async_bulk_prefetch = CpAsyncBulkPrefetch "cp.async.bulk.prefetch" "9.7.10.28.4.3" {
        "cp.async.bulk.prefetch.L2.global{.L2::cache_hint} [src], size:u32, policy?L2::cache_hint:u64"
            since "8.0 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
    }

    /// Copies a run of shared memory to the same place in the memory of every GPU behind a multimem address.
    multimem_cp_async_bulk = MultimemCpAsyncBulk "multimem.cp.async.bulk" "9.7.10.28.4.4" {
        "multimem.cp.async.bulk{.weak}.global.shared::cta.bulk_group{.cp_mask} [dst], [src], size:u32, \
         mask?cp_mask:u16 | weak = weak@9.3; cp_mask = cp_mask@9.1/sm_100" since "9.1 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
        "multimem.cp.async.bulk.relaxed.scope.global.shared::cta.bulk_group{.cp_mask}.b128 [dst], [src], \
         size:u32, mask?cp_mask:u16 | cp_mask = cp_mask@9.3/sm_100" since "9.3 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size;
    }

    /// Reduces a run of elements of shared memory into the memory of every GPU behind a multimem address.
    multimem_cp_reduce_async_bulk = MultimemCpReduceAsyncBulk "multimem.cp.reduce.async.bulk"
        "9.7.10.28.4.5" {
        "multimem.cp.reduce.async.bulk{.relaxed.scope}.global.shared::cta.bulk_group.op{.noftz}.type [dst], \
         [src], size:u32 | relaxed = relaxed@9.3; op = and or xor add inc dec min max; type = f16 bf16 b32 \
         u32 s32 b64 u64 s64 f32 f64" since "9.1 sm_90"
            where "the size must be a multiple of 16 below 1 MiB" is_bulk_size,
                  "into global memory, and, or, xor take b32, b64, add u32, s32, u64, f32, f64, add.noftz \
                   f16, bf16, f32, min, max u32, s32, u64, s64, f16, bf16, inc, dec u32" reduces_global;
    }

    /// Copies a box of a tensor between global and shared memory, as its tensor map says.
    cp_async_bulk_tensor = CpAsyncBulkTensor "cp.async.bulk.tensor" "9.7.10.28.5.3" {
        "cp.async.bulk.tensor.dim.shared::cta.global{.tile}.mbarrier::complete_tx::bytes{.cta_group}\
         {.L2::cache_hint} [dst], [map*dim], [mbar], policy?L2::cache_hint:u64" since "8.6 sm_90";
        "cp.async.bulk.tensor.2d.shared::cta.global.tile::gather4.mbarrier::complete_tx::bytes{.cta_group}\
         {.L2::cache_hint} [dst], [map*5], [mbar], policy?L2::cache_hint:u64" since "8.6 sm_100";
        "cp.async.bulk.tensor.dim.shared::cta.global.im2col.mbarrier::complete_tx::bytes{.cta_group}\
         {.L2::cache_hint} [dst], [map*dim], [mbar], info*im2col:u16, policy?L2::cache_hint:u64 | dim = 3d \
         4d 5d" since "8.6 sm_90";
        "cp.async.bulk.tensor.dim.shared::cta.global.mode.mbarrier::complete_tx::bytes{.cta_group}\
         {.L2::cache_hint} [dst], [map*dim], [mbar], info*2:u16, policy?L2::cache_hint:u64 | dim = 3d 4d 5d; \
         mode = im2col::w im2col::w::128@8.6/sm_100f,sm_110f" since "8.6 sm_100";
        "cp.async.bulk.tensor.dim.shared::cluster.global{.tile}.mbarrier::complete_tx::bytes\
         {.multicast::cluster}{.cta_group}{.L2::cache_hint} [dst], [map*dim], [mbar], \
         mask?multicast::cluster:u16, policy?L2::cache_hint:u64" since "8.0 sm_90";
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile::gather4.mbarrier::complete_tx::bytes\
         {.multicast::cluster}{.cta_group}{.L2::cache_hint} [dst], [map*5], [mbar], \
         mask?multicast::cluster:u16, policy?L2::cache_hint:u64" since "8.6 sm_100f sm_110f";
        "cp.async.bulk.tensor.dim.shared::cluster.global.im2col.mbarrier::complete_tx::bytes\
         {.multicast::cluster}{.cta_group}{.L2::cache_hint} [dst], [map*dim], [mbar], info*im2col:u16, \
         mask?multicast::cluster:u16, policy?L2::cache_hint:u64 | dim = 3d 4d 5d" since "8.0 sm_90";
        "cp.async.bulk.tensor.dim.shared::cluster.global.mode.mbarrier::complete_tx::bytes\
         {.multicast::cluster}{.cta_group}{.L2::cache_hint} [dst], [map*dim], [mbar], info*2:u16, \
         mask?multicast::cluster:u16, policy?L2::cache_hint:u64 | dim = 3d 4d 5d; mode = im2col::w \
         im2col::w::128@8.6/sm_100f,sm_110f" since "8.6 sm_100f sm_110f";
        "cp.async.bulk.tensor.dim.global.shared::cta{.tile}.bulk_group{.L2::cache_hint} [map*dim], [src], \
         policy?L2::cache_hint:u64" since "8.0 sm_90";
        "cp.async.bulk.tensor.2d.global.shared::cta.tile::scatter4.bulk_group{.L2::cache_hint} [map*5], \
         [src], policy?L2::cache_hint:u64" since "8.6 sm_100f sm_110f";
        "cp.async.bulk.tensor.dim.global.shared::cta.im2col_no_offs.bulk_group{.L2::cache_hint} [map*dim], \
         [src], policy?L2::cache_hint:u64 | dim = 3d 4d 5d" since "8.0 sm_90";
    }

    /// Reduces a box of shared memory into a tensor in global memory, as its tensor map says.
    cp_reduce_async_bulk_tensor = CpReduceAsyncBulkTensor "cp.reduce.async.bulk.tensor" "9.7.10.28.5.4" {
        "cp.reduce.async.bulk.tensor.dim.global.shared::cta.op{.tile}.bulk_group{.L2::cache_hint} [map*dim], \
         [src], policy?L2::cache_hint:u64 | op = add min max inc dec and or xor" since "8.0 sm_90";
        "cp.reduce.async.bulk.tensor.dim.global.shared::cta.op.im2col_no_offs.bulk_group{.L2::cache_hint} \
         [map*dim], [src], policy?L2::cache_hint:u64 | dim = 3d 4d 5d; op = add min max inc dec and or xor"
            since "8.0 sm_90";
    }

    /// Asks for a box of a tensor to be brought into the L2 cache.
    cp_async_bulk_prefetch_tensor = CpAsyncBulkPrefetchTensor "cp.async.bulk.prefetch.tensor"
        "9.7.10.28.5.5" {
        "cp.async.bulk.prefetch.tensor.dim.L2.global{.tile}{.L2::cache_hint} [map*dim], \
         policy?L2::cache_hint:u64" since "8.0 sm_90";
        "cp.async.bulk.prefetch.tensor.2d.L2.global.tile::gather4{.L2::cache_hint} [map*5], \
         policy?L2::cache_hint:u64" since "8.6 sm_100f sm_110f";
        "cp.async.bulk.prefetch.tensor.dim.L2.global.im2col{.L2::cache_hint} [map*dim], info*im2col:u16, \
         policy?L2::cache_hint:u64 | dim = 3d 4d 5d" since "8.0 sm_90";
        "cp.async.bulk.prefetch.tensor.dim.L2.global.mode{.L2::cache_hint} [map*dim], info*2:u16, \
         policy?L2::cache_hint:u64 | dim = 3d 4d 5d; mode = im2col::w im2col::w::128"
            since "8.6 sm_100f sm_110f";
    }

    /// Makes a group of the thread's bulk operations with `.bulk_group` since the last one.
    cp_async_bulk_commit_group = CpAsyncBulkCommitGroup "cp.async.bulk.commit_group" "9.7.10.28.6.1" {
        "cp.async.bulk.commit_group" since "8.0 sm_90";
    }

    /// Waits until at most `count` of the thread's bulk groups are pending, with `.read` only until their
    /// sources have been read, with `.sync_restrict::proxy::async` only for what the async proxy sees.
    cp_async_bulk_wait_group = CpAsyncBulkWaitGroup "cp.async.bulk.wait_group" "9.7.10.28.6.2" {
        "cp.async.bulk.wait_group{.read} count:imm" since "8.0 sm_90";
        "cp.async.bulk.wait_group.sync_restrict::proxy::async count:imm" since "9.5 sm_90";
    }

    /// Replaces one field of a tensor map in memory.
    tensormap_replace = TensormapReplace "tensormap.replace" "9.7.10.29" {
        "tensormap.replace.tile.global_address{.space}.b1024.b64 [addr], value:u64 | space = global \
         shared::cta" since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.rank{.space}.b1024.b32 [addr], value:u32 | space = global shared::cta"
            since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.field{.space}.b1024.b32 [addr], ordinal:imm(0..4), value:u32 \
         | field = box_dim global_dim element_stride; space = global shared::cta"
            since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.global_stride{.space}.b1024.b64 [addr], ordinal:imm(0..4), value:u64 \
         | space = global shared::cta" since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.elemtype{.space}.b1024.b32 [addr], value:imm(0..12) | space = global \
         shared::cta" since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.elemtype{.space}.b1024.b32 [addr], value:imm(13..15) | space = global \
         shared::cta" since "8.7 sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.interleave_layout{.space}.b1024.b32 [addr], value:imm(0..2) | space = global \
         shared::cta" since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.swizzle_mode{.space}.b1024.b32 [addr], value:imm(0..3) | space = global \
         shared::cta" since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.swizzle_mode{.space}.b1024.b32 [addr], value:imm(4..4) | space = global \
         shared::cta" since "8.8 sm_103a";
        "tensormap.replace.tile.fill_mode{.space}.b1024.b32 [addr], value:imm(0..1) | space = global \
         shared::cta" since "8.3 sm_90a sm_100f sm_110f sm_120f";
        "tensormap.replace.tile.swizzle_atomicity{.space}.b1024.b32 [addr], value:imm(0..3) | space = global \
         shared::cta" since "8.6 sm_100f sm_110f sm_120f";
    }

    /// Copies a tensor map from shared to global memory and releases it to the tensor map proxy.
    tensormap_cp_fenceproxy = TensormapCpFenceproxy "tensormap.cp_fenceproxy" "9.7.15.17" {
        "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.scope.sync.aligned [dst], \
         [src], size:imm(128..128)" since "8.3 sm_90";
    }
}

fn is_bulk_size(instruction: &Instruction) -> bool {
    literal_is(instruction, "size", |size| (0..1 << 20).contains(&size) && size % 16 == 0)
}

fn ignores_at_most_15(instruction: &Instruction) -> bool {
    ["left", "right"].iter().all(|side| literal_is(instruction, side, |bytes| (0..=15).contains(&bytes)))
}

/// Whether a bulk reduction into shared memory has the operation for the type.
fn reduces_shared(instruction: &Instruction) -> bool {
    let Some(ty) = instruction.ty() else { return false };
    let has = |modifiers: &[Modifier]| modifiers.iter().any(|modifier| instruction.has(*modifier));
    match ty {
        Type::B32 => has(&[Modifier::And, Modifier::Or, Modifier::Xor]),
        Type::U32 => has(&[Modifier::Add, Modifier::Min, Modifier::Max, Modifier::Inc, Modifier::Dec]),
        Type::S32 => has(&[Modifier::Add, Modifier::Min, Modifier::Max]),
        _ => has(&[Modifier::Add]),
    }
}

/// Whether a bulk reduction into global memory has the operation for the type.
fn reduces_global(instruction: &Instruction) -> bool {
    let Some(ty) = instruction.ty() else { return false };
    let has = |modifiers: &[Modifier]| modifiers.iter().any(|modifier| instruction.has(*modifier));
    let noftz = instruction.has(Modifier::Noftz);
    match ty {
        Type::F16 | Type::Bf16 => has(if noftz { &[Modifier::Add] } else { &[Modifier::Min, Modifier::Max] }),
        Type::F32 => has(&[Modifier::Add]),
        _ if noftz => false,
        Type::B32 | Type::B64 => has(&[Modifier::And, Modifier::Or, Modifier::Xor]),
        Type::U32 => has(&[Modifier::Add, Modifier::Min, Modifier::Max, Modifier::Inc, Modifier::Dec]),
        Type::S32 | Type::U64 => has(&[Modifier::Add, Modifier::Min, Modifier::Max]),
        Type::S64 => has(&[Modifier::Min, Modifier::Max]),
        _ => has(&[Modifier::Add]),
    }
}
