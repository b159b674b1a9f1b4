//! Matrix instructions of warps and warpgroups (PTX ISA 9.4, 9.7.16 and 9.7.17).
//!
//! Operands of type or count `frag` are fragments; [`fragment`](crate::fragment) knows their registers by the
//! name of the operand: `a`, `b`, `c` and `d` are the matrices of D = A * B + C, `r` is what a load or store
//! moves.

use super::form::literal_is;
use crate::instruction::Instruction;
use crate::types::Type;

section! {
    /// Matrix instructions.
    Mma, ExecMma;

    /// Loads 8x8 or 16x16 matrices from shared memory, one row address a lane.
    ldmatrix = Ldmatrix "ldmatrix" "9.7.16.5.15" {
        "ldmatrix.sync.aligned.m8n8.num{.trans}{.ss}.b16 r*frag=b32, [p] | num = x1 x2 x4" since "6.5 sm_75";
        "ldmatrix.sync.aligned.m16n16.num.trans{.ss}.b8 r*frag=b32, [p] | num = x1 x2"
            since "8.6 sm_100f sm_110f sm_120f";
        "ldmatrix.sync.aligned.m8n16.num{.ss}.b8x16.from r*frag=b32, [p] | num = x1 x2 x4; from = b6x16_p32 \
         b4x16_p64" since "8.6 sm_100f sm_110f sm_120f";
        "ldmatrix.sync.aligned.m16n16.num.trans{.ss}.b8x16.from r*frag=b32, [p] | num = x1 x2; \
         from = b6x16_p32 b4x16_p64" since "8.6 sm_100f sm_110f sm_120f";
        "ldmatrix.sync.aligned.m8n16.num{.ss}.s8.s4 r*frag=b32, [p] | num = x1 x2 x4"
            since "9.4 sm_90a sm_100f sm_110f sm_120f";
    }

    /// Stores 8x8 or 16x8 matrices to shared memory, one row address a lane.
    stmatrix = Stmatrix "stmatrix" "9.7.16.5.16" {
        "stmatrix.sync.aligned.m8n8.num{.trans}{.ss}.b16 [p], r*frag:b32 | num = x1 x2 x4" since "7.8 sm_90";
        "stmatrix.sync.aligned.m16n8.num.trans{.ss}.b8 [p], r*frag:b32 | num = x1 x2 x4"
            since "8.6 sm_100f sm_110f sm_120f";
    }

    /// Transposes an 8x8 matrix held by a warp.
    movmatrix = Movmatrix "movmatrix" "9.7.16.5.17" {
        "movmatrix.sync.aligned.m8n8.trans.b16 d=b32, a:b32!" since "7.8 sm_75";
    }

    /// Loads the matrix A of [`wmma.mma`](Mma::WmmaMma).
    wmma_load_a = WmmaLoadA "wmma.load.a" "9.7.16.4.3" {
        "wmma.load.a.sync.aligned.layout.shape{.space}.f16 a=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta" since "6.0 sm_70";
        "wmma.load.a.sync.aligned.layout.shape{.space}.type a=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta; type = s8 u8" since "6.3 sm_72";
        "wmma.load.a.sync.aligned.layout.shape{.space}.bf16 a=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta" since "7.0 sm_80";
        "wmma.load.a.sync.aligned.layout.m16n16k8{.space}.tf32 a=frag, [p], stride?:u32 | space = global \
         shared shared::cta" since "7.0 sm_80";
        "wmma.load.a.sync.aligned.layout.m8n8k4{.space}.f64 a=frag, [p], stride?:u32 | space = global shared \
         shared::cta" since "7.0 sm_80";
        "wmma.load.a.sync.aligned.row.m8n8k32{.space}.type a=frag, [p], stride?:u32 | space = global shared \
         shared::cta; type = s4 u4" since "6.3 sm_75";
        "wmma.load.a.sync.aligned.row.m8n8k128{.space}.b1 a=frag, [p], stride?:u32 | space = global shared \
         shared::cta" since "6.3 sm_75";
    }

    /// Loads the matrix B of [`wmma.mma`](Mma::WmmaMma).
    wmma_load_b = WmmaLoadB "wmma.load.b" "9.7.16.4.3" {
        "wmma.load.b.sync.aligned.layout.shape{.space}.f16 b=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta" since "6.0 sm_70";
        "wmma.load.b.sync.aligned.layout.shape{.space}.type b=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta; type = s8 u8" since "6.3 sm_72";
        "wmma.load.b.sync.aligned.layout.shape{.space}.bf16 b=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta" since "7.0 sm_80";
        "wmma.load.b.sync.aligned.layout.m16n16k8{.space}.tf32 b=frag, [p], stride?:u32 | space = global \
         shared shared::cta" since "7.0 sm_80";
        "wmma.load.b.sync.aligned.layout.m8n8k4{.space}.f64 b=frag, [p], stride?:u32 | space = global shared \
         shared::cta" since "7.0 sm_80";
        "wmma.load.b.sync.aligned.col.m8n8k32{.space}.type b=frag, [p], stride?:u32 | space = global shared \
         shared::cta; type = s4 u4" since "6.3 sm_75";
        "wmma.load.b.sync.aligned.col.m8n8k128{.space}.b1 b=frag, [p], stride?:u32 | space = global shared \
         shared::cta" since "6.3 sm_75";
    }

    /// Loads the matrix C of [`wmma.mma`](Mma::WmmaMma).
    wmma_load_c = WmmaLoadC "wmma.load.c" "9.7.16.4.3" {
        "wmma.load.c.sync.aligned.layout.shape{.space}.type c=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta; type = f16 f32" since "6.0 sm_70";
        "wmma.load.c.sync.aligned.layout.shape{.space}.s32 c=frag, [p], stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta" since "6.3 sm_72";
        "wmma.load.c.sync.aligned.layout.m16n16k8{.space}.f32 c=frag, [p], stride?:u32 | space = global \
         shared shared::cta" since "7.0 sm_80";
        "wmma.load.c.sync.aligned.layout.m8n8k4{.space}.f64 c=frag, [p], stride?:u32 | space = global shared \
         shared::cta" since "7.0 sm_80";
        "wmma.load.c.sync.aligned.layout.shape{.space}.s32 c=frag, [p], stride?:u32 | shape = m8n8k32 \
         m8n8k128; space = global shared shared::cta" since "6.3 sm_75";
    }

    /// Stores the matrix D of [`wmma.mma`](Mma::WmmaMma).
    wmma_store_d = WmmaStoreD "wmma.store.d" "9.7.16.4.4" {
        "wmma.store.d.sync.aligned.layout.shape{.space}.type [p], d:frag, stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta; type = f16 f32" since "6.0 sm_70";
        "wmma.store.d.sync.aligned.layout.shape{.space}.s32 [p], d:frag, stride?:u32 | shape = m16n16k16 \
         m8n32k16 m32n8k16; space = global shared shared::cta" since "6.3 sm_72";
        "wmma.store.d.sync.aligned.layout.m16n16k8{.space}.f32 [p], d:frag, stride?:u32 | space = global \
         shared shared::cta" since "7.0 sm_80";
        "wmma.store.d.sync.aligned.layout.m8n8k4{.space}.f64 [p], d:frag, stride?:u32 | space = global \
         shared shared::cta" since "7.0 sm_80";
        "wmma.store.d.sync.aligned.layout.shape{.space}.s32 [p], d:frag, stride?:u32 | shape = m8n8k32 \
         m8n8k128; space = global shared shared::cta" since "6.3 sm_75";
    }

    /// D = A * B + C over a warp, fragments loaded by `wmma.load`.
    wmma_mma = WmmaMma "wmma.mma" "9.7.16.4.5" {
        "wmma.mma.sync.aligned.alayout.blayout.shape.dtype.ctype d=frag, a:frag, b:frag, c:frag \
         | shape = m16n16k16 m8n32k16 m32n8k16; dtype = f16 f32; ctype = f16 f32" since "6.0 sm_70";
        "wmma.mma.sync.aligned.alayout.blayout.shape.s32.type.type.s32{.satfinite} d=frag, a:frag, b:frag, \
         c:frag | shape = m16n16k16 m8n32k16 m32n8k16; type = s8 u8" since "6.3 sm_72"
            where "A and B must have the same type" |i| same(i, 1, 2);
        "wmma.mma.sync.aligned.alayout.blayout.shape.f32.bf16.bf16.f32 d=frag, a:frag, b:frag, c:frag \
         | shape = m16n16k16 m8n32k16 m32n8k16" since "7.0 sm_80";
        "wmma.mma.sync.aligned.alayout.blayout.m16n16k8.f32.tf32.tf32.f32 d=frag, a:frag, b:frag, c:frag"
            since "7.0 sm_80";
        "wmma.mma.sync.aligned.alayout.blayout.m8n8k4{.rnd}.f64.f64.f64.f64 d=frag, a:frag, b:frag, c:frag \
         | rnd = rn rz rm rp" since "7.0 sm_80";
        "wmma.mma.sync.aligned.row.col.m8n8k32.s32.type.type.s32{.satfinite} d=frag, a:frag, b:frag, c:frag \
         | type = s4 u4" since "6.3 sm_75"
            where "A and B must have the same type" |i| same(i, 1, 2);
        "wmma.mma.xor.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32 d=frag, a:frag, b:frag, c:frag"
            since "6.3 sm_75";
        "wmma.mma.and.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32 d=frag, a:frag, b:frag, c:frag"
            since "7.1 sm_80";
    }

    /// D = A * B + C over a warp.
    mma = Mma "mma" "9.7.16.5.14" {
        "mma.sync.aligned.m8n8k4.alayout.blayout.dtype.f16.f16.ctype d=frag, a:frag, b:frag, c:frag \
         | dtype = f16 f32; ctype = f16 f32" since "6.4 sm_70"
            where "f32 C needs f32 D"
                  |i| i.types().next() == Some(Type::F32) || i.types().last() == Some(Type::F16);
        "mma.sync.aligned.m16n8k8.row.col.dtype.f16.f16.ctype d=frag, a:frag, b:frag, c:frag | dtype = f16 \
         f32; ctype = f16 f32" since "6.5 sm_75"
            where "C and D must have the same type" |i| same(i, 0, 3);
        "mma.sync.aligned.m16n8k16.row.col.dtype.f16.f16.ctype d=frag, a:frag, b:frag, c:frag | dtype = f16 \
         f32; ctype = f16 f32" since "7.0 sm_80"
            where "C and D must have the same type" |i| same(i, 0, 3);
        "mma.sync.aligned.shape.row.col.f32.tf32.tf32.f32 d=frag, a:frag, b:frag, c:frag | shape = m16n8k4 \
         m16n8k8" since "7.0 sm_80";
        "mma.sync.aligned.shape.row.col.f32.bf16.bf16.f32 d=frag, a:frag, b:frag, c:frag | shape = m16n8k8 \
         m16n8k16" since "7.0 sm_80";
        "mma.sync.aligned.m16n8k32.row.col.f32.atype.btype.f32 d=frag, a:frag, b:frag, c:frag | atype = e4m3 \
         e5m2; btype = e4m3 e5m2" since "8.4 sm_89";
        "mma.sync.aligned.shape.row.col.dtype.atype.btype.ctype d=frag, a:frag, b:frag, c:frag \
         | shape = m16n8k16 m16n8k32; dtype = f16 f32; atype = e4m3 e5m2; btype = e4m3 e5m2; ctype = f16 f32"
            since "8.7 sm_89"
            where "C and D must have the same type" |i| same(i, 0, 3);
        "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.dtype.atype.btype.ctype d=frag, a:frag, b:frag, \
         c:frag | dtype = f16 f32; atype = e4m3 e5m2 e3m2 e2m3 e2m1; btype = e4m3 e5m2 e3m2 e2m3 e2m1; \
         ctype = f16 f32" since "8.7 sm_120f"
            where "C and D must have the same type" |i| same(i, 0, 3);
        "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale{.scale_vec::2X}.f32.e2m1.e2m1.f32.ue8m0 \
         d=frag, a:frag, b:frag, c:frag, scale_a:b32!, select_a*2:u16, scale_b:b32!, select_b*2:u16"
            since "8.7 sm_120f";
        "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0 \
         d=frag, a:frag, b:frag, c:frag, scale_a:b32!, select_a*2:u16, scale_b:b32!, select_b*2:u16"
            since "8.7 sm_120f";
        "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.stype \
         d=frag, a:frag, b:frag, c:frag, scale_a:b32!, select_a*2:u16, scale_b:b32!, select_b*2:u16 \
         | stype = ue4m3 ue8m0@9.1" since "8.7 sm_120f";
        "mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale{.scale_vec::1X}\
         .f32.atype.btype.f32.ue8m0 d=frag, a:frag, b:frag, c:frag, scale_a:b32!, select_a*2:u16, \
         scale_b:b32!, select_b*2:u16 | atype = e4m3 e5m2 e3m2 e2m3 e2m1; btype = e4m3 e5m2 e3m2 e2m3 e2m1"
            since "8.7 sm_120f";
        "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 d=frag, a:frag, b:frag, c:frag" since "7.0 sm_80";
        "mma.sync.aligned.shape.row.col{.rnd}.f64.f64.f64.f64 d=frag, a:frag, b:frag, c:frag \
         | shape = m16n8k4 m16n8k8 m16n8k16; rnd = rn rz rm rp" since "7.8 sm_90";
        "mma.sync.aligned.m8n8k16.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, b:frag, c:frag \
         | atype = u8 s8; btype = u8 s8" since "6.5 sm_75";
        "mma.sync.aligned.shape.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, b:frag, c:frag \
         | shape = m16n8k16 m16n8k32; atype = u8 s8; btype = u8 s8" since "7.0 sm_80";
        "mma.sync.aligned.m8n8k32.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, b:frag, c:frag \
         | atype = u4 s4; btype = u4 s4" since "6.5 sm_75";
        "mma.sync.aligned.shape.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, b:frag, c:frag \
         | shape = m16n8k32 m16n8k64; atype = u4 s4; btype = u4 s4" since "7.0 sm_80";
        "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc d=frag, a:frag, b:frag, c:frag"
            since "7.0 sm_75";
        "mma.sync.aligned.shape.row.col.s32.b1.b1.s32.op.popc d=frag, a:frag, b:frag, c:frag \
         | shape = m8n8k128 m16n8k128 m16n8k256; op = and xor" since "7.1 sm_80";
    }

    /// D = A * B + C over a warp, A sparse: `e` says which elements are not zero, `f` which lanes hold `e`.
    mma_sp = MmaSp "mma.sp" "9.7.16.6.3" {
        "mma.sp.sync.aligned.shape.row.col.dtype.f16.f16.ctype d=frag, a:frag, b:frag, c:frag, e:b32!, \
         f:imm(0..3) | shape = m16n8k16 m16n8k32; dtype = f16 f32; ctype = f16 f32" since "7.1 sm_80"
            where "C and D must have the same type" |i| same(i, 0, 3),
                  "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp.sync.aligned.shape.row.col.f32.bf16.bf16.f32 d=frag, a:frag, b:frag, c:frag, e:b32!, \
         f:imm(0..3) | shape = m16n8k16 m16n8k32" since "7.1 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp.sync.aligned.shape.row.col.f32.tf32.tf32.f32 d=frag, a:frag, b:frag, c:frag, e:b32!, \
         f:imm(0..3) | shape = m16n8k8 m16n8k16" since "7.1 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp.sync.aligned.m16n8k64.row.col.f32.atype.btype.f32 d=frag, a:frag, b:frag, c:frag, e:b32!, \
         f:imm(0..3) | atype = e4m3 e5m2; btype = e4m3 e5m2" since "8.4 sm_89"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp.sync.aligned.shape.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, b:frag, c:frag, \
         e:b32!, f:imm(0..3) | shape = m16n8k32 m16n8k64; atype = u8 s8; btype = u8 s8" since "7.1 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp.sync.aligned.shape.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, b:frag, c:frag, \
         e:b32!, f:imm(0..3) | shape = m16n8k64 m16n8k128; atype = u4 s4; btype = u4 s4" since "7.1 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
    }

    /// [`mma.sp`](Mma::MmaSp) whose metadata is in ascending order.
    mma_sp_ordered_metadata = MmaSpOrderedMetadata "mma.sp::ordered_metadata" "9.7.16.6.3" {
        "mma.sp::ordered_metadata.sync.aligned.shape.row.col.dtype.f16.f16.ctype d=frag, a:frag, b:frag, \
         c:frag, e:b32!, f:imm(0..3) | shape = m16n8k16 m16n8k32; dtype = f16 f32; ctype = f16 f32"
            since "8.5 sm_80"
            where "C and D must have the same type" |i| same(i, 0, 3),
                  "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp::ordered_metadata.sync.aligned.shape.row.col.f32.bf16.bf16.f32 d=frag, a:frag, b:frag, \
         c:frag, e:b32!, f:imm(0..3) | shape = m16n8k16 m16n8k32" since "8.5 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp::ordered_metadata.sync.aligned.shape.row.col.f32.tf32.tf32.f32 d=frag, a:frag, b:frag, \
         c:frag, e:b32!, f:imm(0..3) | shape = m16n8k8 m16n8k16" since "8.5 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.f32.atype.btype.f32 d=frag, a:frag, b:frag, \
         c:frag, e:b32!, f:imm(0..3) | atype = e4m3 e5m2; btype = e4m3 e5m2" since "8.5 sm_89"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.kind::f8f6f4.dtype.atype.btype.ctype d=frag, \
         a:frag, b:frag, c:frag, e:b32!, f:imm(0..0) | dtype = f16 f32; atype = e4m3 e5m2 e3m2 e2m3 e2m1; \
         btype = e4m3 e5m2 e3m2 e2m3 e2m1; ctype = f16 f32" since "8.7 sm_120f"
            where "C and D must have the same type" |i| same(i, 0, 3);
        "mma.sp::ordered_metadata.sync.aligned.m16n8k128.row.col.kind::mxf4.block_scale{.scale_vec::2X}\
         .f32.e2m1.e2m1.f32.ue8m0 d=frag, a:frag, b:frag, c:frag, e:b32!, f:imm(0..0), scale_a:b32!, \
         select_a*2:u16, scale_b:b32!, select_b*2:u16" since "8.7 sm_120a sm_121a";
        "mma.sp::ordered_metadata.sync.aligned.m16n8k128.row.col.kind::mxf4nvf4.block_scale\
         .scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0 d=frag, a:frag, b:frag, c:frag, e:b32!, f:imm(0..0), \
         scale_a:b32!, select_a*2:u16, scale_b:b32!, select_b*2:u16" since "8.7 sm_120a sm_121a";
        "mma.sp::ordered_metadata.sync.aligned.m16n8k128.row.col.kind::mxf4nvf4.block_scale\
         .scale_vec::4X.f32.e2m1.e2m1.f32.stype d=frag, a:frag, b:frag, c:frag, e:b32!, f:imm(0..0), \
         scale_a:b32!, select_a*2:u16, scale_b:b32!, select_b*2:u16 | stype = ue4m3 ue8m0@9.1"
            since "8.7 sm_120a sm_121a";
        "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.kind::mxf8f6f4.block_scale{.scale_vec::1X}\
         .f32.atype.btype.f32.ue8m0 d=frag, a:frag, b:frag, c:frag, e:b32!, f:imm(0..0), scale_a:b32!, \
         select_a*2:u16, scale_b:b32!, select_b*2:u16 | atype = e4m3 e5m2 e3m2 e2m3 e2m1; btype = e4m3 e5m2 \
         e3m2 e2m3 e2m1" since "8.7 sm_120f";
        "mma.sp::ordered_metadata.sync.aligned.shape.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, \
         b:frag, c:frag, e:b32!, f:imm(0..3) | shape = m16n8k32 m16n8k64; atype = u8 s8; btype = u8 s8"
            since "8.5 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
        "mma.sp::ordered_metadata.sync.aligned.shape.row.col{.satfinite}.s32.atype.btype.s32 d=frag, a:frag, \
         b:frag, c:frag, e:b32!, f:imm(0..3) | shape = m16n8k64 m16n8k128; atype = u4 s4; btype = u4 s4"
            since "8.5 sm_80"
            where "the sparsity selector must be 0 to 3, for long rows 0 to 1 or 0" selects;
    }

    /// Orders register accesses of the warpgroup before those of the multiplications that follow.
    wgmma_fence = WgmmaFence "wgmma.fence" "9.7.17.7.1" {
        "wgmma.fence.sync.aligned" since "8.0 sm_90a";
    }

    /// Makes a group of the warpgroup's multiplications since the last one.
    wgmma_commit_group = WgmmaCommitGroup "wgmma.commit_group" "9.7.17.7.2" {
        "wgmma.commit_group.sync.aligned" since "8.0 sm_90a";
    }

    /// Waits until at most `count` of the warpgroup's groups are pending.
    wgmma_wait_group = WgmmaWaitGroup "wgmma.wait_group" "9.7.17.7.3" {
        "wgmma.wait_group.sync.aligned count:imm(0..4294967295)" since "8.0 sm_90a";
    }

    /// Starts D = A * B + D (D = A * B if `scale_d` is false) over a warpgroup; B, and A unless it is in
    /// registers, lie in shared memory as their descriptors say.
    wgmma_mma_async = WgmmaMmaAsync "wgmma.mma_async" "9.7.17.5.2" {
        "wgmma.mma_async.sync.aligned.shape.dtype.f16.f16 d+frag, a_desc:u64, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1), trans_a:imm(0..1), trans_b:imm(0..1) \
         | shape = m64n8..256:8k16; dtype = f16 f32" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.dtype.f16.f16 d+frag, a:frag, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1), trans_b:imm(0..1) | shape = m64n8..256:8k16; dtype = f16 \
         f32" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.f32.bf16.bf16 d+frag, a_desc:u64, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1), trans_a:imm(0..1), trans_b:imm(0..1) \
         | shape = m64n8..256:8k16" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.f32.bf16.bf16 d+frag, a:frag, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1), trans_b:imm(0..1) | shape = m64n8..256:8k16"
            since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.f32.tf32.tf32 d+frag, a_desc:u64, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k8" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.f32.tf32.tf32 d+frag, a:frag, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k8" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.dtype.atype.btype d+frag, a_desc:u64, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k32; dtype = f16 f32; atype = e4m3 \
         e5m2; btype = e4m3 e5m2" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.dtype.atype.btype d+frag, a:frag, b_desc:u64, scale_d:pred, \
         scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k32; dtype = f16 f32; atype = e4m3 \
         e5m2; btype = e4m3 e5m2" since "8.0 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a_desc:u64, b_desc:u64, \
         scale_d:pred | shape = m64n8k32 m64n24k32 m64n16..256:16k32; atype = s8 u8; btype = s8 u8"
            since "8.0 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d,
                  "A and B must have the same type before PTX 8.4" |i| same(i, 1, 2);
        "wgmma.mma_async.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a_desc:u64, b_desc:u64, \
         scale_d:pred | shape = m64n8k32 m64n24k32 m64n16..256:16k32; atype = s8 u8; btype = s8 u8"
            since "8.4 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a:frag, b_desc:u64, \
         scale_d:pred | shape = m64n8k32 m64n24k32 m64n16..256:16k32; atype = s8 u8; btype = s8 u8"
            since "8.0 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d,
                  "A and B must have the same type before PTX 8.4" |i| same(i, 1, 2);
        "wgmma.mma_async.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a:frag, b_desc:u64, \
         scale_d:pred | shape = m64n8k32 m64n24k32 m64n16..256:16k32; atype = s8 u8; btype = s8 u8"
            since "8.4 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.s32.b1.b1.and.popc d+frag, a_desc:u64, b_desc:u64, scale_d:pred \
         | shape = m64n8k256 m64n24k256 m64n16..256:16k256" since "8.0 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sync.aligned.shape.s32.b1.b1.and.popc d+frag, a:frag, b_desc:u64, scale_d:pred \
         | shape = m64n8k256 m64n24k256 m64n16..256:16k256" since "8.0 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d;
    }

    /// [`wgmma.mma_async`](Mma::WgmmaMmaAsync) with sparse A: `meta` says which elements are not zero,
    /// `select` which lanes hold it.
    wgmma_mma_async_sp = WgmmaMmaAsyncSp "wgmma.mma_async.sp" "9.7.17.6.3" {
        "wgmma.mma_async.sp.sync.aligned.shape.dtype.f16.f16 d+frag, a_desc:u64, b_desc:u64, meta:b32!, \
         select:imm(0..1), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1), trans_a:imm(0..1), \
         trans_b:imm(0..1) | shape = m64n8..256:8k32; dtype = f16 f32" since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.dtype.f16.f16 d+frag, a:frag, b_desc:u64, meta:b32!, \
         select:imm(0..1), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1), trans_b:imm(0..1) \
         | shape = m64n8..256:8k32; dtype = f16 f32" since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.f32.bf16.bf16 d+frag, a_desc:u64, b_desc:u64, meta:b32!, \
         select:imm(0..1), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1), trans_a:imm(0..1), \
         trans_b:imm(0..1) | shape = m64n8..256:8k32" since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.f32.bf16.bf16 d+frag, a:frag, b_desc:u64, meta:b32!, \
         select:imm(0..1), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1), trans_b:imm(0..1) \
         | shape = m64n8..256:8k32" since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.f32.tf32.tf32 d+frag, a_desc:u64, b_desc:u64, meta:b32!, \
         select:imm(0..1), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k16"
            since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.f32.tf32.tf32 d+frag, a:frag, b_desc:u64, meta:b32!, \
         select:imm(0..1), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k16"
            since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.dtype.atype.btype d+frag, a_desc:u64, b_desc:u64, meta:b32!, \
         select:imm(0..0), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k64; \
         dtype = f16 f32; atype = e4m3 e5m2; btype = e4m3 e5m2" since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape.dtype.atype.btype d+frag, a:frag, b_desc:u64, meta:b32!, \
         select:imm(0..0), scale_d:pred, scale_a:imm(-1..1), scale_b:imm(-1..1) | shape = m64n8..256:8k64; \
         dtype = f16 f32; atype = e4m3 e5m2; btype = e4m3 e5m2" since "8.2 sm_90a"
            where "the signs of A and B must be 1 or -1" signs,
                  "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a_desc:u64, b_desc:u64, \
         meta:b32!, select:imm(0..0), scale_d:pred | shape = m64n8k64 m64n24k64 m64n16..256:16k64; \
         atype = s8 u8; btype = s8 u8" since "8.2 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d,
                  "A and B must have the same type before PTX 8.4" |i| same(i, 1, 2);
        "wgmma.mma_async.sp.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a_desc:u64, b_desc:u64, \
         meta:b32!, select:imm(0..0), scale_d:pred | shape = m64n8k64 m64n24k64 m64n16..256:16k64; \
         atype = s8 u8; btype = s8 u8" since "8.4 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d;
        "wgmma.mma_async.sp.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a:frag, b_desc:u64, \
         meta:b32!, select:imm(0..0), scale_d:pred | shape = m64n8k64 m64n24k64 m64n16..256:16k64; \
         atype = s8 u8; btype = s8 u8" since "8.2 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d,
                  "A and B must have the same type before PTX 8.4" |i| same(i, 1, 2);
        "wgmma.mma_async.sp.sync.aligned.shape{.satfinite}.s32.atype.btype d+frag, a:frag, b_desc:u64, \
         meta:b32!, select:imm(0..0), scale_d:pred | shape = m64n8k64 m64n24k64 m64n16..256:16k64; \
         atype = s8 u8; btype = s8 u8" since "8.4 sm_90a"
            where "a literal scale_d must be 0 or 1" scales_d;
    }
}

/// Whether two of the type modifiers are equal.
fn same(instruction: &Instruction, first: usize, second: usize) -> bool {
    instruction.types().nth(first) == instruction.types().nth(second)
}

/// Whether the literals that multiply A and B are 1 or -1.
fn signs(instruction: &Instruction) -> bool {
    ["scale_a", "scale_b"].iter().all(|name| literal_is(instruction, name, |sign| sign != 0))
}

fn scales_d(instruction: &Instruction) -> bool {
    literal_is(instruction, "scale_d", |scale| matches!(scale, 0 | 1))
}

/// Whether the selector of sparse A names lanes that can hold the metadata: the more of it, the more lanes
/// hold it.
fn selects(instruction: &Instruction) -> bool {
    let k = instruction.shape().map_or(0, |shape| shape.k);
    match (instruction.types().nth(1), k) {
        (Some(Type::F16 | Type::Bf16), 16) | (Some(Type::Tf32), 8) => true,
        (Some(Type::F16 | Type::Bf16 | Type::Tf32), _)
        | (Some(Type::U8 | Type::S8), 32)
        | (Some(Type::U4 | Type::S4), 64) => literal_is(instruction, "f", |selector| selector < 2),
        _ => literal_is(instruction, "f", |selector| selector == 0),
    }
}
