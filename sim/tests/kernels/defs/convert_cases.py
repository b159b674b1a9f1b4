"""Conversions: exact rationals rounded once; PTX's rules for NaN and out-of-range values."""
from base import *
from float_cases import gen, MODES, V, sgn
from int_cases import S, U, mix, EDGE64

N = 199


def to_int(x, lo, hi, mode, wide):
    """float -> integer.  NaN gives 0, or the top bit alone where source or destination is 64-bit."""
    if math.isnan(x):
        w = (hi - lo + 1).bit_length() - 1
        return (1 << (w - 1)) if wide else 0
    if math.isinf(x):
        return hi if x > 0 else lo
    q = Fraction(x)
    v = {"rn": round(q), "rz": math.trunc(q), "ru": math.ceil(q), "rd": math.floor(q)}[mode]
    return max(lo, min(hi, v))


def rng_of(w, s): return (-(1 << (w - 1)), (1 << (w - 1)) - 1) if s else (0, (1 << w) - 1)


def conv(x, fmt, mode="rn"):
    """float -> float format, with overflow by rounding mode."""
    if math.isnan(x) or math.isinf(x) or x == 0:
        return x
    return rfmt(fr(x), fmt, mode)


def fgen(seed, t):
    r = rng(seed)
    v = []
    sp = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, math.inf, -math.inf, math.nan, 2.0**31, -2.0**31, 2.0**32, 2.0**63, -2.0**63, 2.0**64, 1e30, -1e30, 1e-40, 65504.0, 65520.0, 65519.0,
          448.0, 464.0, 480.0, -465.0, 57344.0, 61440.0, 2.0**-24, 2.0**-25, 2.0**-10, 2.0**-9, 3 * 2.0**-10, 3.3895313892515355e38]
    for i in range(N):
        if i < len(sp) * 2:
            v.append(sp[i % len(sp)] * (1 if i < len(sp) else 1 - 2.0**-20))
        else:
            v.append(float(r.normal()) * 2.0 ** float(r.integers(-20, 66 if i % 2 else 12)))
    a = np.array(v).astype(t)
    return a, [float(x) for x in a]


@cuda("cvt_float_to_int", "convert.cu", "f32/f64 to 32/64-bit integers in four roundings, saturation, NaN", ("90a.o3", "89.o3", "90a.o0"))
def _(c):
    a, A = fgen(41, f32); b, B = fgen(42, f64)
    res = []
    for x, y in zip(A, B):
        r = []
        for w, s in ((32, 1), (32, 0), (64, 1), (64, 0)):
            r += [to_int(x, *rng_of(w, s), m, w == 64) for m in MODES]
        r[0:4] = [S(v) for v in r[0:4]]
        for w, s in ((32, 1), (32, 0), (64, 1), (64, 0)):
            r += [S(to_int(y, *rng_of(w, s), m, True)) if (w, s) == (32, 1) else to_int(y, *rng_of(w, s), m, True) for m in MODES]
        bits = int(np.array(y).view(np.uint64)); fb = int(np.array(x, f32).view(np.uint32))
        r += [S(bits >> 32), S(bits), bits, fb]
        res.append([S(v, 64) for v in r])
    c.inp("a", a); c.inp("b", b)
    c.out("o", np.array(res, np.int64).T.copy())
    c.launch("f_to_int", 2, 128, ["a", "b", "o", s32(N)])


@cuda("cvt_int_to_float", "convert.cu", "8 to 64-bit integers to f32/f64 in four roundings", ("90a.o3", "90a.o0"))
def _(c):
    A = mix(43, N, [0, 1, -1, 2**24 + 1, -(2**24) - 1, 2**31 - 1, -2**31, 2**25 + 3], 32)
    B = mix(44, N, EDGE64 + [2**24 + 1, 2**54 + 2, -(2**53) - 1, 2**63 - 513], 64)
    r32, r64 = [], []
    for x, y in zip(A, B):
        r = []
        for v in (x, U(x), y, U(y, 64)):
            r += [rfmt(v, "f32", m) for m in MODES]
        r32.append(r + [S(x, 8), U(x, 8), S(x, 16), U(x, 16)])
        q = [float(x), float(U(x))]
        for v in (y, U(y, 64)):
            q += [rfmt(v, "f64", m) for m in MODES]
        hl = float(np.array((U(x) & 0x3fffffff) << 32 | U(y), np.uint64).view(f64))
        r64.append(q + [S(x, 8), U(x, 16), hl])
    c.inp("a", np.array(A, np.int32)); c.inp("b", np.array(B, np.int64))
    c.out("o32", np.array(r32, f32).T.copy(), exact=True)
    c.out("o64", np.array(r64, f64).T.copy(), exact=True)
    c.launch("int_to_f", 2, 128, ["a", "b", "o32", "o64", s32(N)])


def tf32(x):
    if math.isnan(x) or math.isinf(x) or x == 0:
        return x
    b = int(np.array(abs(x), f32).view(np.uint32))
    b = (b + 0x1000) & ~0x1fff            # nearest, ties away
    return math.copysign(float(np.array(b, np.uint32).view(f32)), x)


@cuda("cvt_float_to_float", "convert.cu", "f64/f32 to f32, tf32, f16, bf16 in four roundings, packed forms", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    a, A = fgen(45, f32); b, B = fgen(46, f64)
    r32, r64, rh, rb = [], [], [], []
    for x, y in zip(A, B):
        fl = conv(y, "f32")
        r32.append([conv(y, "f32", m) for m in MODES] + [tf32(x), math.copysign(0.0, fl) if 0 < abs(fl) < 2.0**-126 else fl, conv(x, "f16"), conv(x, "bf16")])
        r64.append([x, conv(x, "f16", "rz")])
        rh.append([conv(x, "f16", m) for m in MODES] + [conv(y, "f16"), conv(x, "f16"), conv(-x, "f16")])
        rb.append([conv(x, "bf16", m) for m in MODES] + [conv(y, "bf16"), conv(x, "bf16"), conv(-x, "bf16")])
    c.inp("a", a); c.inp("b", b)
    c.out("o32", np.array(r32, f32).T.copy(), exact=True)
    c.out("o64", np.array(r64, f64).T.copy(), exact=True)
    c.out("oh", np.array(rh, f64).astype(f16).T.copy(), exact=True)
    c.out("ob", np.array(rb, f64).astype(bf16).T.copy(), exact=True)
    c.launch("f_to_f", 2, 128, ["a", "b", "o32", "o64", "oh", "ob", s32(N)])


def half_int(fmt):
    @cuda(f"cvt_{fmt}_int", "convert.cu", f"{fmt} to and from integers", ("90a.o3", "80.o3"))
    def _(c):
        a, A = gen(47, fmt, N)
        B = mix(48, N, [0, 1, -1, 2049, 65504, 65519, 65520, -65520, 257, 259, 2**31 - 1], 32)
        C = mix(49, N, EDGE64 + [2049, 65520], 64)
        # NaN: the headers of bf16 go through f32 and define their own results; leave it to the f32 case
        for i in range(N):
            if math.isnan(A[i]):
                a[i] = A[i] = 7.5
        oi, ol, oh = [], [], []
        for x, y, z in zip(A, B, C):
            I = lambda w, s, m: to_int(x, *rng_of(w, s), m, w == 64)
            oi.append([I(32, 1, m) for m in MODES] + [S(I(32, 0, "rz")), S(I(32, 0, "ru")), I(16, 1, "rn"), I(16, 1, "rz"), I(16, 0, "rd"), I(16, 0, "ru")])
            ol.append([S(v, 64) for v in (I(64, 1, "rz"), I(64, 1, "ru"), I(64, 0, "rn"))])
            oh.append([rfmt(y, fmt, m) for m in MODES] + [rfmt(U(y), fmt), rfmt(S(y, 16), fmt), rfmt(U(y, 16), fmt, "rz"), rfmt(z, fmt), rfmt(U(z, 64), fmt, "rd")])
        c.inp("a", a); c.inp("b", np.array(B, np.int32)); c.inp("c", np.array(C, np.int64))
        c.out("oi", np.array(oi, np.int32).T.copy())
        c.out("ol", np.array(ol, np.int64).T.copy())
        c.out("oh", np.array(oh, f64).astype(V[fmt]).T.copy(), exact=True)
        c.launch(f"{fmt}_int", 2, 128, ["a", "b", "c", "oi", "ol", "oh", s32(N)])


half_int("f16")
half_int("bf16")


def to8(x, fmt, relu=False):
    """satfinite encoding, to the code's byte."""
    t, p, emin, big, bias = (e4m3, 4, -6, 448.0, 7) if fmt == "e4m3" else (e5m2, 3, -14, 57344.0, 15)
    if math.isnan(x):
        return 0x7f
    if relu and (x < 0 or (x == 0 and sgn(x) < 0)):
        return 0
    v = math.copysign(big, x) if math.isinf(x) or abs(x) > big else (x if x == 0 else rnd(fr(x), p, emin, 1000))
    if abs(v) > big:
        v = math.copysign(big, v)
    return int(np.array(v).astype(t).view(np.uint8))


@cuda("cvt_fp8_decode", "convert.cu", "every e4m3 and e5m2 code to f16", ("90a.o3", "89.o3", "80.o3"))
def _(c):
    a = np.arange(256, dtype=np.uint8)
    d4, d5 = a.view(e4m3).astype(f16), a.view(e5m2).astype(f16)
    c.inp("a", a)
    c.out("o", np.stack([d4, d5, d4, np.full(256, (np.array(0x3c, np.uint8).view(e4m3)).astype(f16))]), exact=True)
    c.launch("fp8_decode", 2, 128, ["a", "o", s32(256)])


def enc(name, vs, asm):
    @cuda(name, "convert.cu", "f32, f16 and f64 to e4m3 and e5m2, saturating" + (", relu" if asm else " (software path)"), vs)
    def _(c):
        a, A = fgen(50, f32)
        r = rng(51)
        for i in range(90, N):
            a[i] = f32(r.normal() * 2.0 ** r.integers(-12, 12)); A[i] = float(a[i])
        for i in range(N):                      # relu of -0 is left open
            if A[i] == 0: a[i] = A[i] = 0.25
        if not asm:   # the software path gives NaN its own sign
            for i in range(N):
                if math.isnan(A[i]): a[i] = A[i] = 1.0
        res = []
        for x in A:
            h = conv(x, "f16")
            hs = h
            row = [to8(x, "e4m3"), to8(x, "e5m2"), to8(hs, "e4m3"), to8(hs, "e5m2"), to8(-x if False else x, "e4m3") if False else to8(-x, "e4m3"), to8(x, "e4m3")]
            if asm:
                row += [to8(-x, "e4m3", True), to8(x, "e4m3", True), to8(-x, "e5m2", True), to8(x, "e5m2", True)]
            res.append(row)
        c.inp("a", a)
        c.out("o", np.array(res, np.uint8).T.copy())
        c.launch("fp8_encode", 2, 128, ["a", "o", s32(N)])


enc("cvt_fp8_encode", ("90a.o3", "89.o3"), True)
enc("cvt_fp8_encode_soft", ("80.o3",), False)


@cuda("cvt_int_to_int", "convert.cu", "integer narrowing, widening, saturation, cvt.pack, mov packing", ("90a.o3",))
def _(c):
    A = mix(52, N, EDGE64 + [127, 128, -128, -129, 255, 256, 32767, 32768, -32769, 65535, 65536], 64)
    cl = lambda v, w, s: max(rng_of(w, s)[0], min(rng_of(w, s)[1], v))
    res = []
    for x in A:
        i, hi = S(x), S(x >> 32)
        ux = U(x)
        res.append([S(v, 64) for v in (
            cl(x, 32, 1), cl(x, 32, 0), cl(x, 16, 1), cl(i, 16, 0), cl(i, 8, 1), cl(i, 8, 0), cl(ux, 32, 1), S(i, 8), U(i, 8), S(x, 16), S(x, 8), U(x, 16), cl(i, 64, 0),
            # cvt.pack: a goes to the upper half
            S(U(cl(i, 16, 1), 16) << 16 | U(cl(hi, 16, 1), 16)), S((0x12345678 << 16 | cl(i, 8, 0) << 8 | cl(hi, 8, 0))),
            S(ux << 16 | ux >> 16), U(x, 64) >> 32 | ux << 32)])
    c.inp("a", np.array(A, np.int64))
    c.out("o", np.array(res, np.int64).T.copy())
    c.launch("int_int", 2, 128, ["a", "o", s32(N)])


@cuda("cvt_ue8m0", "ue8m0.cu", "f32 to ue8m0x2, rounding up and to zero (sm_100a only)", ("100a.o3",))
def _(c):
    r = rng(53)
    a = np.concatenate([np.array([1, 1.0000001, 2, 0.75, 3e38, 2.0**-126, 1.5 * 2.0**-126, 2.0**127], f32), np.exp(r.uniform(-80, 80, 120)).astype(f32)])
    n = len(a)
    def e(x, up):
        m, ex = math.frexp(float(x))          # x = m * 2^ex, m in [0.5, 1)
        k = ex - 1 + (1 if up and m != 0.5 else 0)
        return max(0, min(254, k + 127))
    want = [[e(a[i], u) << 8 | e(a[n - 1 - i], u) for i in range(n)] for u in (True, False)]
    c.inp("a", a)
    c.out("o", np.array(want, np.uint16))
    c.launch("ue8m0", 1, 128, ["a", "o", s32(n)])


@cuda("cvt_ue8m0_decode", "ue8m0.cu", "ue8m0x2 to bf16x2 (sm_100a only)", ("100a.o3",))
def _(c):
    i = np.arange(255, dtype=np.uint32)
    a = (i | ((i * 7) % 255) << 8).astype(np.uint16)
    def b(v):
        return np.where(v == 0, 0x0040, v << 7).astype(np.uint32)     # 2^-127 is the bf16 subnormal 0x0040
    c.inp("a", a)
    c.out("o", (b(i) | b((i * 7) % 255) << 16).astype(np.uint32))
    c.launch("ue8m0_decode", 2, 128, ["a", "o", s32(255)])
