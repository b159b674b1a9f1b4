//! Conversion between types and between address spaces (PTX ISA 9.7.10.7, 9.7.10.22 to 9.7.10.27).

use crate::instruction::Instruction;
use crate::modifier::Modifier;
use crate::types::{Kind, Type};

section! {
    /// Conversion instructions.
    Convert, ExecConvert;

    /// Converts a number to another type; of two sources the first becomes the upper half.
    cvt = Cvt "cvt" "9.7.10.24" {
        "cvt{.sat}.dtype.atype d=dtype^, a:atype^% \
         | dtype = u8 u16 u32 u64 s8 s16 s32 s64; atype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_10"
            where ".sat needs a source that may not fit the destination" sat_may_act;
        "cvt.irnd{.ftz}{.sat}.dtype.f32 d=dtype^, a:f32 \
         | dtype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_10";
        "cvt.irnd{.sat}.dtype.f64 d=dtype^, a:f64 | dtype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_13";
        "cvt.irnd{.sat}.dtype.f16 d=dtype^, a:f16 | dtype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_10";
        "cvt.irnd.dtype.bf16 d=dtype, a:bf16 | dtype = u16 u32 u64 s16 s32 s64" since "7.8 sm_90";
        "cvt.rnd{.ftz}{.sat}.f32.atype d=f32, a:atype^ \
         | atype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_10";
        "cvt.rnd{.sat}.f64.atype d=f64, a:atype^ | atype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_13";
        "cvt.rnd{.sat}.f16.atype d=f16, a:atype^ | atype = u8 u16 u32 u64 s8 s16 s32 s64" since "1.0 sm_10";
        "cvt.rnd.bf16.atype d=bf16, a:atype | atype = u16 u32 u64 s16 s32 s64" since "7.8 sm_90";
        "cvt.rnd{.ftz}{.sat}.f32.f64 d=f32, a:f64" since "1.0 sm_13";
        "cvt.rnd{.sat}.f16.f64 d=f16, a:f64" since "1.0 sm_13";
        "cvt.rnd{.ftz}{.sat}.f16.f32 d=f16, a:f32" since "1.0 sm_10";
        "cvt.rnd.relu.f16.f32 d=f16, a:f32 | rnd = rn rz" since "7.0 sm_80";
        "cvt.rnd{.relu}.satfinite.f16.f32 d=f16, a:f32 | rnd = rn rz" since "8.1 sm_80";
        "cvt.rnd{.relu}.bf16.f32 d=bf16, a:f32 | rnd = rn rz" since "7.0 sm_80";
        "cvt.rnd{.relu}.satfinite.bf16.f32 d=bf16, a:f32 | rnd = rn rz" since "8.1 sm_80";
        "cvt.rnd{.ftz}.bf16.f32 d=bf16, a:f32" since "7.8 sm_90";
        "cvt.rnd.bf16.f64 d=bf16, a:f64" since "7.8 sm_90";
        "cvt{.rnd}.dtype.f16 d=dtype, a:f16 | dtype = bf16" since "7.8 sm_90";
        "cvt{.rnd}.dtype.bf16 d=dtype, a:bf16 | dtype = f16 f64" since "7.8 sm_90";
        "cvt{.ftz}{.sat}.f32.f16 d=f32, a:f16" since "1.0 sm_10";
        "cvt.f32.bf16 d=f32, a:bf16" since "7.1 sm_80";
        "cvt{.rnd}{.ftz}.f32.bf16 d=f32, a:bf16" since "7.8 sm_90";
        "cvt{.ftz}{.sat}.f64.f32 d=f64, a:f32" since "1.0 sm_13";
        "cvt{.sat}.f64.f16 d=f64, a:f16" since "1.0 sm_13";
        "cvt{.irnd}{.ftz}{.sat}.f32.f32 d=f32, a:f32" since "1.0 sm_10";
        "cvt{.irnd}{.sat}.f64.f64 d=f64, a:f64" since "1.0 sm_13";
        "cvt{.irnd}{.sat}.f16.f16 d=f16, a:f16" since "1.0 sm_10";
        "cvt{.irnd}.bf16.bf16 d=bf16, a:bf16" since "7.8 sm_90";
        "cvt.rnd{.relu}.dtype.f32 d=dtype, a:f32, b:f32 \
         | rnd = rn rz; dtype = f16x2 bf16x2" since "7.0 sm_80";
        "cvt.rnd{.relu}.satfinite.dtype.f32 d=dtype, a:f32, b:f32 \
         | rnd = rn rz; dtype = f16x2 bf16x2" since "8.1 sm_80";
        "cvt.rs{.relu}{.satfinite}.dtype.f32 d=dtype, a:f32, b:f32, rbits:b32! \
         | dtype = f16x2 bf16x2" since "8.7 sm_100a sm_103a";
        "cvt.rna.tf32.f32 d=tf32, a:f32!" since "7.0 sm_80";
        "cvt.rna.satfinite.tf32.f32 d=tf32, a:f32!" since "8.1 sm_80";
        "cvt.rnd{.relu}.tf32.f32 d=tf32, a:f32 | rnd = rn rz" since "7.8 sm_90";
        "cvt.rnd.satfinite{.relu}.tf32.f32 d=tf32, a:f32 | rnd = rn rz" since "8.6 sm_100";
        "cvt.rn.satfinite{.relu}.dtype.f32 d=dtype, a:f32, b:f32 | dtype = e4m3x2 e5m2x2" since "8.1 sm_89";
        "cvt.rn.satfinite{.relu}.dtype.f16x2 d=dtype, a:f16x2 | dtype = e4m3x2 e5m2x2" since "8.1 sm_89";
        "cvt.rn{.relu}.f16x2.atype d=f16x2, a:atype | atype = e4m3x2 e5m2x2" since "8.1 sm_89";
        "cvt.rn.satfinite{.relu}.dtype.f32 d=dtype, a:f32, b:f32 \
         | dtype = e2m3x2 e3m2x2 e2m1x2" since "8.6 sm_100f sm_110f sm_120f";
        "cvt.rn{.relu}.f16x2.atype d=f16x2, a:atype \
         | atype = e2m3x2 e3m2x2 e2m1x2" since "8.6 sm_100f sm_110f sm_120f";
        "cvt.rn.satfinite{.relu}.dtype.f16x2 d=dtype, a:f16x2 \
         | dtype = e2m3x2 e3m2x2 e2m1x2" since "9.1 sm_100f sm_110f sm_120f";
        "cvt.rn.satfinite{.relu}.dtype.bf16x2 d=dtype, a:bf16x2 \
         | dtype = e4m3x2 e5m2x2 e2m3x2 e3m2x2 e2m1x2" since "9.1 sm_100f sm_110f sm_120f";
        "cvt.rn{.satfinite}{.relu}.bf16x2.atype d=bf16x2, a:atype \
         | atype = e4m3x2 e5m2x2 e2m3x2 e3m2x2 e2m1x2" since "9.2 sm_100f sm_110f sm_120f";
        "cvt.rn{.satfinite}{.relu}.scaled::n2::ue8m0.bf16x2.atype d=bf16x2, a:atype, scale:ue8m0x2 \
         | atype = e4m3x2 e5m2x2 e2m3x2 e3m2x2 e2m1x2" since "9.2 sm_100f sm_110f sm_120f";
        "cvt.rs{.relu}.satfinite.dtype.f32 d=dtype, a*4:f32, rbits:b32! \
         | dtype = e4m3x4 e5m2x4 e2m3x4 e3m2x4 e2m1x4" since "8.7 sm_100a sm_103a";
        "cvt.rnd{.satfinite}.ue8m0x2.f32 d=ue8m0x2, a:f32, b:f32 \
         | rnd = rz rp" since "8.6 sm_100f sm_110f sm_120f";
        "cvt.rnd{.satfinite}.ue8m0x2.bf16x2 d=ue8m0x2, a:bf16x2 \
         | rnd = rz rp" since "8.6 sm_100f sm_110f sm_120f";
        "cvt.rn.bf16x2.ue8m0x2 d=bf16x2, a:ue8m0x2" since "8.6 sm_100f sm_110f sm_120f";
        "cvt.rn.satfinite{.relu}.s2f6x2.f32 d=s2f6x2, a:f32, b:f32"
            since "9.1 sm_100a sm_103a sm_110a sm_120a sm_121a";
        "cvt.rn.satfinite{.relu}.scaled::n2::ue8m0.s2f6x2.f32 d=s2f6x2, a:f32, b:f32, scale:ue8m0x2"
            since "9.1 sm_100a sm_103a sm_110a sm_120a sm_121a";
        "cvt.rn.satfinite{.relu}.s2f6x2.bf16x2 d=s2f6x2, a:bf16x2"
            since "9.1 sm_100a sm_103a sm_110a sm_120a sm_121a";
        "cvt.rn.satfinite{.relu}.scaled::n2::ue8m0.s2f6x2.bf16x2 d=s2f6x2, a:bf16x2, scale:ue8m0x2"
            since "9.1 sm_100a sm_103a sm_110a sm_120a sm_121a";
        "cvt.rn{.satfinite}{.relu}.bf16x2.s2f6x2 d=bf16x2, a:s2f6x2"
            since "9.1 sm_100a sm_103a sm_110a sm_120a sm_121a";
        "cvt.rn{.satfinite}{.relu}.scaled::n2::ue8m0.bf16x2.s2f6x2 d=bf16x2, a:s2f6x2, scale:ue8m0x2"
            since "9.1 sm_100a sm_103a sm_110a sm_120a sm_121a";
    }

    /// Saturates two integers to a narrow type and packs them, above the low bits of `c` where there is one.
    cvt_pack = CvtPack "cvt.pack" "9.7.10.25" {
        "cvt.pack.sat.dtype.s32 d=u32, a:s32, b:s32 | dtype = u16 s16" since "6.5 sm_72";
        "cvt.pack.sat.dtype.s32.b32 d=u32, a:s32, b:s32, c:u32 | dtype = u8 s8" since "6.5 sm_72";
        "cvt.pack.sat.dtype.s32.b32 d=u32, a:s32, b:s32, c:u32 | dtype = u4 s4 u2 s2" since "6.5 sm_75";
    }

    /// Converts an address in a state space to a generic one, or with `.to` the other way round.
    cvta = Cvta "cvta" "9.7.10.23" {
        "cvta.space.size p=size, a:size@ \
         | space = const global local shared shared::cta shared::cluster param@7.7/sm_70 \
         param::entry@8.3/sm_70; size = u32 u64" since "2.0 sm_20"
            where "generic addresses have 64 bits" |i| i.ty() == Some(Type::U64);
        "cvta.to.space.size p=size, a:size \
         | space = const global local shared shared::cta shared::cluster param@7.7/sm_70 \
         param::entry@8.3/sm_70; size = u32 u64" since "2.0 sm_20"
            where "generic addresses have 64 bits" |i| i.ty() == Some(Type::U64);
    }

    /// Whether a generic address lies in the window of a state space.
    isspacep = Isspacep "isspacep" "9.7.10.22" {
        "isspacep.space p=pred, a:u32^ \
         | space = const@3.1 global local shared shared::cta shared::cluster param@7.7/sm_70 \
         param::entry@8.3/sm_70" since "2.0 sm_20";
    }

    /// The shared memory address of CTA `b` of the cluster that corresponds to the own address `a`.
    mapa = Mapa "mapa" "9.7.10.26" {
        "mapa{.shared::cluster}.type d=type, a:type@, b:u32 | type = u32 u64" since "7.8 sm_90";
    }

    /// The rank of the CTA to whose shared memory an address belongs.
    getctarank = Getctarank "getctarank" "9.7.10.27" {
        "getctarank{.shared::cluster}.type d=u32, a:type@ | type = u32 u64" since "7.8 sm_90";
    }

    /// Picks four of the eight bytes of `b:a`.
    prmt = Prmt "prmt" "9.7.10.7" {
        "prmt.b32{.mode} d=b32, a:b32, b:b32, c:b32 | mode = f4e b4e rc8 ecl ecr rc16" since "2.0 sm_20";
    }
}

/// Between integers, `.sat` is refused where every value of the source type is one of the destination type.
fn sat_may_act(instruction: &Instruction) -> bool {
    let mut types = instruction.types();
    let (Some(to), Some(from)) = (types.next(), types.next()) else { return true };
    let always_fits = match (to.kind(), from.kind()) {
        (Kind::Unsigned, Kind::Signed) => false,
        (Kind::Signed, Kind::Unsigned) => to.bits() > from.bits(),
        _ => to.bits() >= from.bits(),
    };
    !instruction.has(Modifier::Sat) || !always_fits
}
