//! Arithmetic on integers and floating-point numbers (PTX ISA 9.7.1 to 9.7.5).

section! {
    /// Arithmetic instructions.
    Arith, ExecArith;

    /// `d = a + b`
    add = Add "add" "9.7.1.1, 9.7.2.1, 9.7.3.3, 9.7.4.1, 9.7.5.1" {
        "add.type d=type, a:type, b:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "add.sat.s32 d=s32, a:s32, b:s32" since "1.0 sm_10";
        "add.cc.type d=type, a:type, b:type | type = u32 s32 u64 s64" since "1.2 sm_10";
        "add.type d=type, a:type, b:type | type = u16x2 s16x2" since "8.0 sm_90";
        "add.sat.type d=type, a:type, b:type | type = u32 u16x2 s16x2" since "9.2 sm_120f";
        "add{.sat}.type d=type, a:type, b:type | type = u8x4 s8x4" since "9.2 sm_120f";
        "add{.rnd}{.ftz}{.sat}.f32 d=f32, a:f32, b:f32" since "1.0 sm_10";
        "add{.rnd}.f64 d=f64, a:f64, b:f64" since "1.0 sm_13";
        "add{.rnd}{.ftz}.f32x2 d=f32x2, a:f32x2, b:f32x2" since "8.6 sm_100";
        "add{.rn}{.ftz}{.sat}.type d=type, a:type, b:type | type = f16 f16x2" since "4.2 sm_53";
        "add{.rn}.type d=type, a:type, b:type | type = bf16 bf16x2" since "7.8 sm_90";
        "add{.rnd}{.sat}.f32.atype d=f32, a:atype, c:f32 | atype = f16 bf16" since "8.6 sm_100";
    }

    /// `d = a + b + carry`
    addc = Addc "addc" "9.7.2.2" {
        "addc{.cc}.type d=type, a:type, b:type | type = u32 s32 u64 s64" since "1.2 sm_10";
    }

    /// `d = a - b`
    sub = Sub "sub" "9.7.1.2, 9.7.2.3, 9.7.3.4, 9.7.4.2, 9.7.5.2" {
        "sub.type d=type, a:type, b:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "sub.sat.s32 d=s32, a:s32, b:s32" since "1.0 sm_10";
        "sub.cc.type d=type, a:type, b:type | type = u32 s32 u64 s64" since "1.2 sm_10";
        "sub{.sat}.type d=type, a:type, b:type | type = u8x4 s8x4" since "9.2 sm_120f";
        "sub{.rnd}{.ftz}{.sat}.f32 d=f32, a:f32, b:f32" since "1.0 sm_10";
        "sub{.rnd}.f64 d=f64, a:f64, b:f64" since "1.0 sm_13";
        "sub{.rnd}{.ftz}.f32x2 d=f32x2, a:f32x2, b:f32x2" since "8.6 sm_100";
        "sub{.rn}{.ftz}{.sat}.type d=type, a:type, b:type | type = f16 f16x2" since "4.2 sm_53";
        "sub{.rn}.type d=type, a:type, b:type | type = bf16 bf16x2" since "7.8 sm_90";
        "sub{.rnd}{.sat}.f32.atype d=f32, a:atype, c:f32 | atype = f16 bf16" since "8.6 sm_100";
    }

    /// `d = a - (b + borrow)`
    subc = Subc "subc" "9.7.2.4" {
        "subc{.cc}.type d=type, a:type, b:type | type = u32 s32 u64 s64" since "1.2 sm_10";
    }

    /// `d = a * b`: of an integer product the low half, the high half or all of it.
    mul = Mul "mul" "9.7.1.3, 9.7.3.5, 9.7.4.3" {
        "mul.mode.type d=type, a:type, b:type \
         | mode = hi lo; type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "mul.wide.type d=wide(type), a:type, b:type | type = u16 u32 s16 s32" since "1.0 sm_10";
        "mul{.rnd}{.ftz}{.sat}.f32 d=f32, a:f32, b:f32" since "1.0 sm_10";
        "mul{.rnd}.f64 d=f64, a:f64, b:f64" since "1.0 sm_13";
        "mul{.rnd}{.ftz}.f32x2 d=f32x2, a:f32x2, b:f32x2" since "8.6 sm_100";
        "mul{.rn}{.ftz}{.sat}.type d=type, a:type, b:type | type = f16 f16x2" since "4.2 sm_53";
        "mul{.rn}.type d=type, a:type, b:type | type = bf16 bf16x2" since "7.8 sm_90";
    }

    /// `d = a * b + c`; for floating point the same as `fma`.
    mad = Mad "mad" "9.7.1.4, 9.7.2.5, 9.7.3.7" {
        "mad.mode.type d=type, a:type, b:type, c:type \
         | mode = hi lo; type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "mad.wide.type d=wide(type), a:type, b:type, c:wide(type) | type = u16 u32 s16 s32" since "1.0 sm_10";
        "mad.hi.sat.s32 d=s32, a:s32, b:s32, c:s32" since "1.0 sm_10";
        "mad.mode.cc.type d=type, a:type, b:type, c:type \
         | mode = hi lo; type = u32 s32 u64 s64" since "3.0 sm_20";
        "mad.rnd{.ftz}{.sat}.f32 d=f32, a:f32, b:f32, c:f32" since "2.0 sm_20";
        "mad.rnd.f64 d=f64, a:f64, b:f64, c:f64" since "1.0 sm_13";
    }

    /// `d = a * b + c + carry`, of the product one half.
    madc = Madc "madc" "9.7.2.6" {
        "madc.mode{.cc}.type d=type, a:type, b:type, c:type \
         | mode = hi lo; type = u32 s32 u64 s64" since "3.0 sm_20";
    }

    /// `d = a * b + c`, rounded once.
    fma = Fma "fma" "9.7.3.6, 9.7.4.4, 9.7.5.3" {
        "fma.rnd{.ftz}{.sat}.f32 d=f32, a:f32, b:f32, c:f32" since "2.0 sm_20";
        "fma.rnd.f64 d=f64, a:f64, b:f64, c:f64" since "1.4 sm_13";
        "fma.rnd{.ftz}.f32x2 d=f32x2, a:f32x2, b:f32x2, c:f32x2" since "8.6 sm_100";
        "fma.rn{.ftz}{.sat}.type d=type, a:type, b:type, c:type | type = f16 f16x2" since "4.2 sm_53";
        "fma.rn{.ftz}.relu.type d=type, a:type, b:type, c:type | type = f16 f16x2" since "7.0 sm_80";
        "fma.rn{.relu}.type d=type, a:type, b:type, c:type | type = bf16 bf16x2" since "7.0 sm_80";
        "fma.rn.oob{.relu}.type d=type, a:type, b:type, c:type \
         | type = f16 f16x2 bf16 bf16x2" since "8.1 sm_90";
        "fma.rnd{.sat}.f32.abtype d=f32, a:abtype, b:abtype, c:f32 | abtype = f16 bf16" since "8.6 sm_100";
    }

    /// `d = a * b`, of the 48-bit product of two 24-bit numbers one half.
    mul24 = Mul24 "mul24" "9.7.1.5" {
        "mul24.mode.type d=type, a:type, b:type | mode = hi lo; type = u32 s32" since "1.0 sm_10";
    }

    /// `d = a * b + c`, of the 48-bit product of two 24-bit numbers one half.
    mad24 = Mad24 "mad24" "9.7.1.6" {
        "mad24.mode.type d=type, a:type, b:type, c:type | mode = hi lo; type = u32 s32" since "1.0 sm_10";
        "mad24.hi.sat.s32 d=s32, a:s32, b:s32, c:s32" since "1.0 sm_10";
    }

    /// `d = |a - b| + c`
    sad = Sad "sad" "9.7.1.7" {
        "sad.type d=type, a:type, b:type, c:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
    }

    /// `d = a / b`
    div = Div "div" "9.7.1.8, 9.7.3.8" {
        "div.type d=type, a:type, b:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "div.mode{.ftz}.f32 d=f32, a:f32, b:f32 | mode = approx full" since "1.4 sm_10";
        "div.rnd{.ftz}.f32 d=f32, a:f32, b:f32" since "2.0 sm_20";
        "div.rnd.f64 d=f64, a:f64, b:f64" since "2.0 sm_20";
    }

    /// `d = a mod b`, with the sign of `a`.
    rem = Rem "rem" "9.7.1.9" {
        "rem.type d=type, a:type, b:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
    }

    /// `d = |a|`
    abs = Abs "abs" "9.7.1.10, 9.7.3.9, 9.7.4.6" {
        "abs.type d=type, a:type | type = s16 s32 s64" since "1.0 sm_10";
        "abs{.ftz}.f32 d=f32, a:f32" since "1.0 sm_10";
        "abs.f64 d=f64, a:f64" since "1.0 sm_13";
        "abs{.ftz}.type d=type, a:type | type = f16 f16x2" since "6.5 sm_53";
        "abs.type d=type, a:type | type = bf16 bf16x2" since "7.0 sm_80";
    }

    /// `d = -a`
    neg = Neg "neg" "9.7.1.11, 9.7.3.10, 9.7.4.5" {
        "neg.type d=type, a:type | type = s16 s32 s64" since "1.0 sm_10";
        "neg.s8x4 d=s8x4, a:s8x4" since "9.2 sm_120f";
        "neg{.ftz}.f32 d=f32, a:f32" since "1.0 sm_10";
        "neg.f64 d=f64, a:f64" since "1.0 sm_13";
        "neg{.ftz}.type d=type, a:type | type = f16 f16x2" since "6.0 sm_53";
        "neg.type d=type, a:type | type = bf16 bf16x2" since "7.0 sm_80";
    }

    /// The smallest of two or three numbers.
    min = Min "min" "9.7.1.12, 9.7.3.11, 9.7.4.7" {
        "min.type d=type, a:type, b:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "min.type d=type, a:type, b:type | type = u16x2 s16x2" since "8.0 sm_90";
        "min.relu.type d=type, a:type, b:type | type = s16x2 s32" since "8.0 sm_90";
        "min.u8x4 d=u8x4, a:u8x4, b:u8x4" since "9.2 sm_120f";
        "min{.relu}.s8x4 d=s8x4, a:s8x4, b:s8x4" since "9.2 sm_120f";
        "min{.ftz}.f32 d=f32, a:f32, b:f32" since "1.0 sm_10";
        "min{.ftz}{.NaN}{.xorsign.abs}.f32 d=f32, a:f32, b:f32" since "7.0 sm_80";
        "min{.ftz}{.NaN}{.abs}.f32 d=f32, a:f32, b:f32, c:f32" since "8.8 sm_100";
        "min.f64 d=f64, a:f64, b:f64" since "1.0 sm_13";
        "min{.ftz}{.NaN}{.xorsign.abs}.type d=type, a:type, b:type | type = f16 f16x2" since "7.0 sm_80";
        "min{.NaN}{.xorsign.abs}.type d=type, a:type, b:type | type = bf16 bf16x2" since "7.0 sm_80";
    }

    /// The largest of two or three numbers.
    max = Max "max" "9.7.1.13, 9.7.3.12, 9.7.4.8" {
        "max.type d=type, a:type, b:type | type = u16 u32 u64 s16 s32 s64" since "1.0 sm_10";
        "max.type d=type, a:type, b:type | type = u16x2 s16x2" since "8.0 sm_90";
        "max.relu.type d=type, a:type, b:type | type = s16x2 s32" since "8.0 sm_90";
        "max.u8x4 d=u8x4, a:u8x4, b:u8x4" since "9.2 sm_120f";
        "max{.relu}.s8x4 d=s8x4, a:s8x4, b:s8x4" since "9.2 sm_120f";
        "max{.ftz}.f32 d=f32, a:f32, b:f32" since "1.0 sm_10";
        "max{.ftz}{.NaN}{.xorsign.abs}.f32 d=f32, a:f32, b:f32" since "7.0 sm_80";
        "max{.ftz}{.NaN}{.abs}.f32 d=f32, a:f32, b:f32, c:f32" since "8.8 sm_100";
        "max.f64 d=f64, a:f64, b:f64" since "1.0 sm_13";
        "max{.ftz}{.NaN}{.xorsign.abs}.type d=type, a:type, b:type | type = f16 f16x2" since "7.0 sm_80";
        "max{.NaN}{.xorsign.abs}.type d=type, a:type, b:type | type = bf16 bf16x2" since "7.0 sm_80";
    }

    /// `d = c +` the dot product of the four bytes of `a` and `b`.
    dp4a = Dp4a "dp4a" "9.7.1.23" {
        "dp4a.atype.btype d=u32, a:u32, b:u32, c:u32 | atype = u32 s32; btype = u32 s32" since "5.0 sm_61";
    }

    /// `d = c +` the dot product of the two halves of `a` and two bytes of `b`.
    dp2a = Dp2a "dp2a" "9.7.1.24" {
        "dp2a.mode.atype.btype d=u32, a:u32, b:u32, c:u32 \
         | mode = lo hi; atype = u32 s32; btype = u32 s32" since "5.0 sm_61";
    }

    /// `d = a + b`, of two halves; `.add` adds them all to `c`.
    vadd2 = VAdd2 "vadd2" "9.7.17.2" {
        "vadd2.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vadd2.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = a + b`, of four bytes; `.add` adds them all to `c`.
    vadd4 = VAdd4 "vadd4" "9.7.17.3" {
        "vadd4.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vadd4.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = a - b`, of two halves; `.add` adds them all to `c`.
    vsub2 = VSub2 "vsub2" "9.7.17.2" {
        "vsub2.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vsub2.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = a - b`, of four bytes; `.add` adds them all to `c`.
    vsub4 = VSub4 "vsub4" "9.7.17.3" {
        "vsub4.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vsub4.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = (a + b) / 2`, rounded up if the sum is not negative, of two halves; `.add` adds them all to `c`.
    vavrg2 = VAvrg2 "vavrg2" "9.7.17.2" {
        "vavrg2.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vavrg2.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = (a + b) / 2`, rounded up if the sum is not negative, of four bytes; `.add` adds them all to `c`.
    vavrg4 = VAvrg4 "vavrg4" "9.7.17.3" {
        "vavrg4.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vavrg4.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = |a - b|`, of two halves; `.add` adds them all to `c`.
    vabsdiff2 = VAbsdiff2 "vabsdiff2" "9.7.17.2" {
        "vabsdiff2.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vabsdiff2.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// `d = |a - b|`, of four bytes; `.add` adds them all to `c`.
    vabsdiff4 = VAbsdiff4 "vabsdiff4" "9.7.17.3" {
        "vabsdiff4.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vabsdiff4.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// The smaller of `a` and `b`, of two halves; `.add` adds them all to `c`.
    vmin2 = VMin2 "vmin2" "9.7.17.2" {
        "vmin2.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vmin2.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// The smaller of `a` and `b`, of four bytes; `.add` adds them all to `c`.
    vmin4 = VMin4 "vmin4" "9.7.17.3" {
        "vmin4.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vmin4.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// The larger of `a` and `b`, of two halves; `.add` adds them all to `c`.
    vmax2 = VMax2 "vmax2" "9.7.17.2" {
        "vmax2.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vmax2.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// The larger of `a` and `b`, of four bytes; `.add` adds them all to `c`.
    vmax4 = VMax4 "vmax4" "9.7.17.3" {
        "vmax4.dtype.atype.btype{.sat} d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vmax4.dtype.atype.btype.add d=u32, a:u32!, b:u32!, c:u32! \
         | dtype = u32 s32; atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// 1 where `a cmp b` holds, else 0, of two halves; `.add` adds them all to `c`.
    vset2 = VSet2 "vset2" "9.7.17.2" {
        "vset2.atype.btype.icmp d=u32, a:u32!, b:u32!, c:u32! | atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vset2.atype.btype.icmp.add d=u32, a:u32!, b:u32!, c:u32! | atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }

    /// 1 where `a cmp b` holds, else 0, of four bytes; `.add` adds them all to `c`.
    vset4 = VSet4 "vset4" "9.7.17.3" {
        "vset4.atype.btype.icmp d=u32, a:u32!, b:u32!, c:u32! | atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
        "vset4.atype.btype.icmp.add d=u32, a:u32!, b:u32!, c:u32! | atype = u32 s32; btype = u32 s32" since "3.0 sm_30";
    }
}
