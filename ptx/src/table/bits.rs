//! Comparison and selection, logic, shifts and bit fields (PTX ISA 9.7.1.14 to 9.7.1.22, 9.7.7 to 9.7.9).

use super::form::literal_is;
use crate::operand::Operand;

section! {
    /// Instructions on bits, and those that choose.
    Bits, ExecBits;

    /// Compares: all ones (1.0 in a floating-point destination) where it holds, else 0.
    set = Set "set" "9.7.7.1, 9.7.8.1" {
        "set.bcmp{.bool}.dtype.stype d=dtype, a:stype, b:stype, c?bool:pred \
         | dtype = u32 s32 f32; stype = b16 b32 b64" since "1.0 sm_10";
        "set.ucmp{.bool}.dtype.stype d=dtype, a:stype, b:stype, c?bool:pred \
         | dtype = u32 s32 f32; stype = u16 u32 u64" since "1.0 sm_10";
        "set.icmp{.bool}.dtype.stype d=dtype, a:stype, b:stype, c?bool:pred \
         | dtype = u32 s32 f32; stype = s16 s32 s64" since "1.0 sm_10";
        "set.fcmp{.bool}{.ftz}.dtype.f32 d=dtype, a:f32, b:f32, c?bool:pred \
         | dtype = u32 s32 f32" since "1.0 sm_10";
        "set.fcmp{.bool}.dtype.f64 d=dtype, a:f64, b:f64, c?bool:pred \
         | dtype = u32 s32 f32" since "1.0 sm_13";
        "set.fcmp{.bool}{.ftz}.dtype.f16 d=dtype, a:f16, b:f16, c?bool:pred \
         | dtype = f16 u16@6.5 s16@6.5 u32@6.5 s32@6.5" since "4.2 sm_53";
        "set.fcmp{.bool}{.ftz}.dtype.f16x2 d=dtype, a:f16x2, b:f16x2, c?bool:pred \
         | dtype = f16x2 u32@6.5 s32@6.5" since "4.2 sm_53";
        "set.bcmp{.bool}.dtype.stype d=dtype, a:stype, b:stype, c?bool:pred \
         | dtype = f16 bf16@7.8/sm_90; stype = b16 b32 b64" since "4.2 sm_53";
        "set.ucmp{.bool}.dtype.stype d=dtype, a:stype, b:stype, c?bool:pred \
         | dtype = f16 bf16@7.8/sm_90; stype = u16 u32 u64" since "4.2 sm_53";
        "set.icmp{.bool}.dtype.stype d=dtype, a:stype, b:stype, c?bool:pred \
         | dtype = f16 bf16@7.8/sm_90; stype = s16 s32 s64" since "4.2 sm_53";
        "set.fcmp{.bool}{.ftz}.f16.f32 d=f16, a:f32, b:f32, c?bool:pred" since "4.2 sm_53";
        "set.fcmp{.bool}.f16.f64 d=f16, a:f64, b:f64, c?bool:pred" since "4.2 sm_53";
        "set.fcmp{.bool}.dtype.bf16 d=dtype, a:bf16, b:bf16, c?bool:pred \
         | dtype = bf16 u16 s16 u32 s32" since "7.8 sm_90";
        "set.fcmp{.bool}.dtype.bf16x2 d=dtype, a:bf16x2, b:bf16x2, c?bool:pred \
         | dtype = bf16x2 u32 s32" since "7.8 sm_90";
        "set.fcmp{.bool}.bf16.stype d=bf16, a:stype, b:stype, c?bool:pred \
         | stype = f16 f32 f64" since "7.8 sm_90";
    }

    /// Compares into a predicate, its negation into a second one; of two halves each has its predicate.
    setp = Setp "setp" "9.7.7.2, 9.7.8.2" {
        "setp.bcmp{.bool}.type p{|q}=pred, a:type, b:type, c?bool:pred \
         | type = b16 b32 b64" since "1.0 sm_10";
        "setp.ucmp{.bool}.type p{|q}=pred, a:type, b:type, c?bool:pred \
         | type = u16 u32 u64" since "1.0 sm_10";
        "setp.icmp{.bool}.type p{|q}=pred, a:type, b:type, c?bool:pred \
         | type = s16 s32 s64" since "1.0 sm_10";
        "setp.fcmp{.bool}{.ftz}.f32 p{|q}=pred, a:f32, b:f32, c?bool:pred" since "1.0 sm_10";
        "setp.fcmp{.bool}.f64 p{|q}=pred, a:f64, b:f64, c?bool:pred" since "1.0 sm_13";
        "setp.fcmp{.bool}{.ftz}.f16 p=pred, a:f16, b:f16, c?bool:pred" since "4.2 sm_53";
        "setp.fcmp{.bool}{.ftz}.f16x2 p{|q}=pred, a:f16x2, b:f16x2, c?bool:pred" since "4.2 sm_53";
        "setp.fcmp{.bool}.bf16 p=pred, a:bf16, b:bf16, c?bool:pred" since "7.8 sm_90";
        "setp.fcmp{.bool}.bf16x2 p{|q}=pred, a:bf16x2, b:bf16x2, c?bool:pred" since "7.8 sm_90";
    }

    /// `d = c ? a : b`
    selp = Selp "selp" "9.7.7.3" {
        "selp.type d=type, a:type, b:type, c:pred \
         | type = b16 b32 b64 u16 u32 u64 s16 s32 s64 f32" since "1.0 sm_10";
        "selp.f64 d=f64, a:f64, b:f64, c:pred" since "1.0 sm_13";
    }

    /// `d = c >= 0 ? a : b`
    slct = Slct "slct" "9.7.7.4" {
        "slct.dtype.s32 d=dtype, a:dtype, b:dtype, c:s32 \
         | dtype = b16 b32 b64 u16 u32 u64 s16 s32 s64 f32" since "1.0 sm_10";
        "slct{.ftz}.dtype.f32 d=dtype, a:dtype, b:dtype, c:f32 \
         | dtype = b16 b32 b64 u16 u32 u64 s16 s32 s64 f32" since "1.0 sm_10";
        "slct.f64.s32 d=f64, a:f64, b:f64, c:s32" since "1.0 sm_13";
        "slct{.ftz}.f64.f32 d=f64, a:f64, b:f64, c:f32" since "1.0 sm_13";
    }

    /// `d = a & b`
    and = And "and" "9.7.9.1" {
        "and.type d=type, a:type, b:type | type = b16 b32 b64" since "1.0 sm_10";
        "and.pred d=pred, a:pred, b:pred" since "1.0 sm_10";
    }

    /// `d = a | b`
    or = Or "or" "9.7.9.2" {
        "or.type d=type, a:type, b:type | type = b16 b32 b64" since "1.0 sm_10";
        "or.pred d=pred, a:pred, b:pred" since "1.0 sm_10";
    }

    /// `d = a ^ b`
    xor = Xor "xor" "9.7.9.3" {
        "xor.type d=type, a:type, b:type | type = b16 b32 b64" since "1.0 sm_10";
        "xor.pred d=pred, a:pred, b:pred" since "1.0 sm_10";
    }

    /// `d = ~a`
    not = Not "not" "9.7.9.4" {
        "not.type d=type, a:type | type = b16 b32 b64" since "1.0 sm_10";
        "not.pred d=pred, a:pred" since "1.0 sm_10";
    }

    /// `d = a == 0 ? 1 : 0`
    cnot = Cnot "cnot" "9.7.9.5" {
        "cnot.type d=type, a:type | type = b16 b32 b64" since "1.0 sm_10";
    }

    /// Any bitwise function of three words, by its truth table; `p` is whether it is not 0, joined with `q`.
    lop3 = Lop3 "lop3" "9.7.9.6" {
        "lop3.b32 d=b32, a:b32, b:b32, c:b32, immLut:imm" since "4.3 sm_50";
        "lop3.bool.b32 d{|p}=b32, a:b32, b:b32, c:b32, immLut:imm, q:pred | bool = or and" since "8.2 sm_70"
            where "lop3 with .or or .and writes a pair d|p" |i| is_pair(i.operand("d"));
    }

    /// One half of the 64 bits `b:a`, shifted by `c`.
    shf = Shf "shf" "9.7.9.7" {
        "shf.dir.mode.b32 d=b32, a:b32, b:b32, c:u32 | dir = l r; mode = clamp wrap" since "3.1 sm_32";
    }

    /// `d = a << b`, 0 beyond the width.
    shl = Shl "shl" "9.7.9.8" {
        "shl.type d=type, a:type, b:u32 | type = b16 b32 b64" since "1.0 sm_10";
    }

    /// `d = a >> b`, filled with the sign of a signed number, else with 0.
    shr = Shr "shr" "9.7.9.9" {
        "shr.type d=type, a:type, b:u32 | type = b16 b32 b64 u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
    }

    /// The number of ones.
    popc = Popc "popc" "9.7.1.14" {
        "popc.type d=u32, a:type | type = b32 b64" since "2.0 sm_20";
    }

    /// The number of leading zeros.
    clz = Clz "clz" "9.7.1.15" {
        "clz.type d=u32, a:type | type = b32 b64" since "2.0 sm_20";
    }

    /// The position of the highest bit that is not a copy of the sign; all ones if there is none.
    bfind = Bfind "bfind" "9.7.1.16" {
        "bfind{.shiftamt}.type d=u32, a:type | type = u32 u64 s32 s64" since "2.0 sm_20";
    }

    /// The position of the n-th one of a mask; all ones if there is none.
    fns = Fns "fns" "9.7.1.17" {
        "fns.b32 d=b32, mask:b32, base:b32, offset:s32" since "6.0 sm_30";
    }

    /// The bits in reverse order.
    brev = Brev "brev" "9.7.1.18" {
        "brev.type d=type, a:type | type = b32 b64" since "2.0 sm_20";
    }

    /// The `c` bits of `a` from position `b`, extended.
    bfe = Bfe "bfe" "9.7.1.19" {
        "bfe.type d=type, a:type, b:u32, c:u32 | type = u32 u64 s32 s64" since "2.0 sm_20"
            where "the position is from 0 to 255" |i| literal_is(i, "b", |bit| (0..=255).contains(&bit)),
                  "the length is from 0 to 255" |i| literal_is(i, "c", |bits| (0..=255).contains(&bits));
    }

    /// `b` with the low `d` bits of `a` in place of those from position `c`.
    bfi = Bfi "bfi" "9.7.1.20" {
        "bfi.type f=type, a:type, b:type, c:u32, d:u32 | type = b32 b64" since "2.0 sm_20"
            where "the position is from 0 to 255" |i| literal_is(i, "c", |bit| (0..=255).contains(&bit)),
                  "the length is from 0 to 255" |i| literal_is(i, "d", |bits| (0..=255).contains(&bits));
    }

    /// The low `b` bits of `a`, extended by their sign or by 0.
    szext = Szext "szext" "9.7.1.21" {
        "szext.mode.type d=type, a:type, b:u32 | mode = clamp wrap; type = u32 s32" since "7.6 sm_70";
    }

    /// A mask of `b` ones from position `a`.
    bmsk = Bmsk "bmsk" "9.7.1.22" {
        "bmsk.mode.b32 d=u32, a:u32, b:u32 | mode = clamp wrap" since "7.6 sm_70";
    }
}

fn is_pair(operand: Option<&Operand>) -> bool {
    matches!(operand, Some(Operand::Pair(pair)) if pair[1] != Operand::Sink)
}
