//! Moves, loads, stores, prefetches and cache policies (PTX ISA 9.7.10.3 to 9.7.10.21, 9.7.19).

use super::form::literal_is;
use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::operand::{Immediate, Operand};
use crate::types::Space;

section! {
    /// Instructions that move data.
    Memory, ExecMemory;

    /// Copies a register, a special register or an address; packs a vector into a register, or unpacks one.
    mov = Mov "mov" "9.7.10.3, 9.7.10.4" {
        "mov.type d=type, a:any | type = b16 b32 b64 u16 u32 u64 s16 s32 s64 f32" since "1.0 sm_10";
        "mov.f64 d=f64, a:any" since "1.0 sm_13";
        "mov.b128 d=b128, a:any" since "8.3 sm_70";
        "mov.pred d=pred, a:pred%" since "1.0 sm_10";
        "mov.type d=any, a:type | type = b16 b32 b64" since "1.0 sm_10";
        "mov.b128 d=any, a:b128" since "8.3 sm_70";
    }

    /// Loads from memory.
    ld = Ld "ld" "9.7.10.8, 9.7.10.9" {
        "ld{.weak}{.global}{.cop}{.level1}{.level2}{.L2::cache_hint}{.prefetch}.v8.type \
         d*vec=type^, [a], cache-policy?L2::cache_hint:u64 \
         | cop = ca cg cs lu cv; type = b32 u32 s32 f32" since "8.8 sm_100"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "ld.global{.cop}.nc{.level1}{.level2}{.L2::cache_hint}{.prefetch}.v8.type d*vec=type^, \
         [a], cache-policy?L2::cache_hint:u64 \
         | cop = ca cg cs; type = b32 u32 s32 f32" since "8.8 sm_100"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "ld.volatile{.global}{.prefetch}.v8.type d*vec=type^, [a] \
         | type = b32 u32 s32 f32" since "8.8 sm_100";
        "ld.sem.scope{.global}{.level1}{.level2}{.L2::cache_hint}{.prefetch}.v8.type d*vec=type^, [a], \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed acquire; type = b32 u32 s32 f32" since "8.8 sm_100";
        "ld{.weak}{.global}{.cop}{.level1}{.level2}{.L2::cache_hint}{.prefetch}.v4.type \
         d*vec=type^, [a], cache-policy?L2::cache_hint:u64 \
         | cop = ca cg cs lu cv; type = b64 u64 s64 f64" since "8.8 sm_100"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "ld.global{.cop}.nc{.level1}{.level2}{.L2::cache_hint}{.prefetch}.v4.type d*vec=type^, \
         [a], cache-policy?L2::cache_hint:u64 \
         | cop = ca cg cs; type = b64 u64 s64 f64" since "8.8 sm_100"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "ld.volatile{.global}{.prefetch}.v4.type d*vec=type^, [a] \
         | type = b64 u64 s64 f64" since "8.8 sm_100";
        "ld.sem.scope{.global}{.level1}{.level2}{.L2::cache_hint}{.prefetch}.v4.type d*vec=type^, [a], \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed acquire; type = b64 u64 s64 f64" since "8.8 sm_100";
        "ld{.weak}{.space}{.cop}{.level1}{.L2::cache_hint}{.prefetch}{.vec}.type d*vec=type^, \
         [a], cache-policy?L2::cache_hint:u64 \
         | space = const global local param param::entry param::func shared shared::cta shared::cluster; \
         cop = ca cg cs lu cv; type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "1.0 sm_10"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching,
                  "cache hints and the like need .global or a generic address" hints_fit_space,
                  "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "ld{.weak}{.space}{.cop}{.level1}{.L2::cache_hint}{.prefetch}.b128 d=b128, [a], \
         cache-policy?L2::cache_hint:u64 \
         | space = const global local param param::entry param::func shared shared::cta shared::cluster; \
         cop = ca cg cs lu cv" since "8.3 sm_70"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching,
                  "cache hints and the like need .global or a generic address" hints_fit_space;
        "ld.global{.cop}.nc{.level1}{.L2::cache_hint}{.prefetch}{.vec}.type d*vec=type^, [a], \
         cache-policy?L2::cache_hint:u64 \
         | cop = ca cg cs; type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "3.1 sm_32"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching,
                  "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "ld.global{.cop}.nc{.level1}{.L2::cache_hint}{.prefetch}.b128 d=b128, [a], \
         cache-policy?L2::cache_hint:u64 \
         | cop = ca cg cs" since "8.3 sm_70"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "ld.volatile{.space}{.prefetch}{.vec}.type d*vec=type^, [a] \
         | space = global local@9.1 shared shared::cta shared::cluster; \
         type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "1.0 sm_10"
            where "a prefetch size needs .global or a generic address" hints_fit_space,
                  "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "ld.volatile{.space}{.prefetch}.b128 d=b128, [a] \
         | space = global local@9.1 shared shared::cta shared::cluster" since "8.3 sm_70"
            where "a prefetch size needs .global or a generic address" hints_fit_space;
        "ld.sem.scope{.space}{.level1}{.L2::cache_hint}{.prefetch}{.vec}.type d*vec=type^, [a], \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed acquire; type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64"
            since "6.0 sm_70"
            where "cache hints and the like need .global or a generic address" hints_fit_space,
                  "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "ld.sem.scope{.space}{.level1}{.L2::cache_hint}{.prefetch}.b128 d=b128, [a], \
         cache-policy?L2::cache_hint:u64 \
         | scope = cta cluster gpu sys@8.4; sem = relaxed acquire" since "8.3 sm_70"
            where "cache hints and the like need .global or a generic address" hints_fit_space;
        "ld.mmio.relaxed.sys{.global}.type d=type^, [a] \
         | type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "8.2 sm_70";
        "ld.mmio.relaxed.sys{.global}.b128 d=b128, [a]" since "8.4 sm_70";
    }

    /// Loads from an address that is the same in all threads of the warp, of memory that nobody writes.
    ldu = Ldu "ldu" "9.7.10.10" {
        "ldu{.global}{.vec}.type d*vec=type^, [a] \
         | type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "2.0 sm_20"
            where "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "ldu{.global}.b128 d=b128, [a]" since "8.3 sm_70";
    }

    /// Stores to memory.
    st = St "st" "9.7.10.11" {
        "st{.weak}{.global}{.cop}{.level1}{.level2}{.L2::cache_hint}.v8.type [a], b*vec:type^, \
         cache-policy?L2::cache_hint:u64 \
         | cop = wb cg cs wt; type = b32 u32 s32 f32" since "8.8 sm_100"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "st.volatile{.global}.v8.type [a], b*vec:type^ | type = b32 u32 s32 f32" since "8.8 sm_100";
        "st.sem.scope{.global}{.level1}{.level2}{.L2::cache_hint}.v8.type [a], b*vec:type^, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; type = b32 u32 s32 f32" since "8.8 sm_100";
        "st{.weak}{.global}{.cop}{.level1}{.level2}{.L2::cache_hint}.v4.type [a], b*vec:type^, \
         cache-policy?L2::cache_hint:u64 \
         | cop = wb cg cs wt; type = b64 u64 s64 f64" since "8.8 sm_100"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching;
        "st.volatile{.global}.v4.type [a], b*vec:type^ | type = b64 u64 s64 f64" since "8.8 sm_100";
        "st.sem.scope{.global}{.level1}{.level2}{.L2::cache_hint}.v4.type [a], b*vec:type^, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; type = b64 u64 s64 f64" since "8.8 sm_100";
        "st{.weak}{.space}{.cop}{.level1}{.L2::cache_hint}{.vec}.type [a], b*vec:type^, \
         cache-policy?L2::cache_hint:u64 \
         | space = global local param param::func shared shared::cta shared::cluster; cop = wb cg cs wt; \
         type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "1.0 sm_10"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching,
                  "cache hints and the like need .global or a generic address" hints_fit_space,
                  "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "st{.weak}{.space}{.cop}{.level1}{.L2::cache_hint}.b128 [a], b:b128, \
         cache-policy?L2::cache_hint:u64 \
         | space = global local param param::func shared shared::cta shared::cluster; cop = wb cg cs wt"
            since "8.3 sm_70"
            where "a cache operator and an L1 eviction priority exclude each other" one_caching,
                  "cache hints and the like need .global or a generic address" hints_fit_space;
        "st.volatile{.space}{.vec}.type [a], b*vec:type^ \
         | space = global local@9.1 shared shared::cta shared::cluster; \
         type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "1.0 sm_10"
            where "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "st.volatile{.space}.b128 [a], b:b128 \
         | space = global local@9.1 shared shared::cta shared::cluster" since "8.3 sm_70";
        "st.sem.scope{.space}{.level1}{.L2::cache_hint}{.vec}.type [a], b*vec:type^, \
         cache-policy?L2::cache_hint:u64 \
         | sem = relaxed release; type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64"
            since "6.0 sm_70"
            where "cache hints and the like need .global or a generic address" hints_fit_space,
                  "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "st.sem.scope{.space}{.level1}{.L2::cache_hint}.b128 [a], b:b128, cache-policy?L2::cache_hint:u64 \
         | scope = cta cluster gpu sys@8.4; sem = relaxed release" since "8.3 sm_70"
            where "cache hints and the like need .global or a generic address" hints_fit_space;
        "st.mmio.relaxed.sys{.global}.type [a], b:type^ \
         | type = b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64" since "8.2 sm_70";
        "st.mmio.relaxed.sys{.global}.b128 [a], b:b128" since "8.4 sm_70";
    }

    /// Stores asynchronously: to shared memory of the cluster, counted on an mbarrier, or to global memory.
    st_async = StAsync "st.async" "9.7.10.12" {
        "st.async{.weak}{.space}.mbarrier::complete_tx::bytes{.vec}.type [a], b*vec:type, [mbar] \
         | space = shared::cta shared::cluster; type = b32 u32 s32 f32 b64 u64 s64 f64" since "8.1 sm_90"
            where "a vector has at most 128 bits" |i| vector_bits(i) <= 128;
        "st.async{.mmio}.release.scope{.global}.type [a], b:type \
         | scope = gpu sys; type = b32 u32 s32 f32 b64 u64 s64 f64" since "8.7 sm_100"
            where ".mmio needs the scope .sys" mmio_is_sys;
    }

    /// Sets `size` bytes of shared memory to 0.
    st_bulk = StBulk "st.bulk" "9.7.10.14" {
        "st.bulk{.weak}{.shared::cta} [a], size:u64, initval:imm(0..0)" since "8.6 sm_100"
            where "the size is a multiple of 8" |i| literal_is(i, "size", |size| size % 8 == 0);
        "st.bulk{.weak}{.shared::cta} [a], size:u32, initval:imm(0..0)" since "9.0 sm_100"
            where "the size is a multiple of 8" |i| literal_is(i, "size", |size| size % 8 == 0);
    }

    /// Brings a cache line, or a tensor map, nearer.
    prefetch = Prefetch "prefetch" "9.7.10.16" {
        "prefetch{.space}.level [a] | space = global local; level = L1 L2" since "2.0 sm_20";
        "prefetch{.global}.level [a] | level = L2::evict_last L2::evict_normal" since "7.4 sm_80";
        "prefetch{.global}.L1::32B.valid_addr [a]" since "9.4 sm_90";
        "prefetch{.space}.tensormap [a] | space = const param" since "8.0 sm_90";
    }

    /// Brings a cache line of a generic address to the uniform cache.
    prefetchu = Prefetchu "prefetchu" "9.7.10.16" {
        "prefetchu.L1 [a]" since "2.0 sm_20";
    }

    /// Changes the eviction priority of 128 bytes.
    applypriority = Applypriority "applypriority" "9.7.10.17" {
        "applypriority{.global}.L2::evict_normal [a], size:imm(128..128)" since "7.4 sm_80";
    }

    /// Drops 128 bytes from the cache without writing them back: their value is undefined from then on.
    discard = Discard "discard" "9.7.10.20" {
        "discard{.global}.L2 [a], size:imm(128..128)" since "7.4 sm_80";
    }

    /// Makes a cache policy for `.L2::cache_hint`.
    createpolicy = Createpolicy "createpolicy" "9.7.10.21" {
        "createpolicy.range{.global}.primary{.secondary}.b64 cache-policy=u64, [a], primary-size:u32, \
         total-size:u32 \
         | primary = L2::evict_last L2::evict_normal L2::evict_first L2::evict_unchanged; \
         secondary = L2::evict_first L2::evict_unchanged" since "7.4 sm_80"
            where "the primary size is at most the total size" primary_in_total;
        "createpolicy.fractional.primary{.secondary}.b64 cache-policy=u64, fraction?:f32 \
         | primary = L2::evict_last L2::evict_normal L2::evict_first L2::evict_unchanged; \
         secondary = L2::evict_first L2::evict_unchanged" since "7.4 sm_80"
            where "the fraction is above 0 and at most 1" fraction_in_range;
        "createpolicy.cvt.L2.b64 cache-policy=u64, access-property:u64" since "7.4 sm_80";
    }

    /// Takes the stack pointer.
    stacksave = Stacksave "stacksave" "9.7.19.1" {
        "stacksave.type d=type | type = u32 u64" since "7.3 sm_52";
    }

    /// Sets the stack pointer, which frees what was allocated since.
    stackrestore = Stackrestore "stackrestore" "9.7.19.2" {
        "stackrestore.type a:type! | type = u32 u64" since "7.3 sm_52";
    }

    /// Allocates local memory until the function returns.
    alloca = Alloca "alloca" "9.7.19.3" {
        "alloca.type ptr=type, size:type, immAlign?:imm | type = u32 u64" since "7.3 sm_52"
            where "the alignment is a power of two"
                |i| literal_is(i, "immAlign", |bytes| bytes > 0 && bytes.count_ones() == 1);
    }
}

fn one_caching(instruction: &Instruction) -> bool {
    let operator = instruction.find(|modifier| {
        use Modifier::{Ca, Cg, Cs, Cv, Lu, Wb, Wt};
        matches!(modifier, Ca | Cg | Cs | Cv | Lu | Wb | Wt).then_some(())
    });
    operator.is_none() || instruction.find(|modifier| is_l1_priority(modifier).then_some(())).is_none()
}

fn is_l1_priority(modifier: Modifier) -> bool {
    use Modifier::{L1EvictFirst, L1EvictLast, L1EvictNormal, L1EvictUnchanged, L1NoAllocate};
    matches!(modifier, L1EvictFirst | L1EvictLast | L1EvictNormal | L1EvictUnchanged | L1NoAllocate)
}

fn hints_fit_space(instruction: &Instruction) -> bool {
    use Modifier::{L2CacheHint, L264B, L2128B, L2256B};
    let hint = |modifier| {
        let hint = is_l1_priority(modifier) || matches!(modifier, L264B | L2128B | L2256B | L2CacheHint);
        hint.then_some(())
    };
    is_global(instruction) || instruction.find(hint).is_none()
}

pub(super) fn is_global(instruction: &Instruction) -> bool {
    matches!(instruction.space(), Space::Global | Space::Generic)
}

pub(super) fn mmio_is_sys(instruction: &Instruction) -> bool {
    !instruction.has(Modifier::Mmio) || instruction.has(Modifier::Sys)
}

pub(super) fn vector_bits(instruction: &Instruction) -> usize {
    instruction.vector() * instruction.ty().map_or(0, |ty| ty.bits() as usize)
}

fn primary_in_total(instruction: &Instruction) -> bool {
    let literal = |name| match instruction.operand(name) {
        Some(Operand::Immediate(Immediate::Integer { value, .. })) => Some(*value),
        _ => None,
    };
    literal("primary-size").zip(literal("total-size")).is_none_or(|(primary, total)| primary <= total)
}

fn fraction_in_range(instruction: &Instruction) -> bool {
    let fraction = match instruction.operand("fraction") {
        Some(Operand::Immediate(Immediate::F32(bits))) => f64::from(f32::from_bits(*bits)),
        Some(Operand::Immediate(Immediate::F64(bits))) => f64::from_bits(*bits),
        _ => return true,
    };
    fraction > 0.0 && fraction <= 1.0
}
