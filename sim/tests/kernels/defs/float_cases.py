"""Floating-point arithmetic.  Correctly rounded operations are computed as exact rationals and rounded once."""
from base import *
from scipy import special as sp

N = 211
V = {"f32": f32, "f64": f64, "f16": f16, "bf16": bf16}


def sgn(v): return math.copysign(1.0, v)


def fop(op, fmt, mode, *a):
    """add mul fma div sqrt rsqrt on Python floats (values of fmt), rounded once to fmt."""
    if op == "sub":
        return fop("add", fmt, mode, a[0], -a[1])
    if any(math.isnan(v) for v in a):
        return math.nan
    if op == "add":
        x, y = a
        if math.isinf(x) or math.isinf(y):
            return x + y
        return addz(fr(x) + fr(y), sgn(x) if sgn(x) == sgn(y) else 0, fmt, mode)
    if op == "mul":
        x, y = a
        if math.isinf(x) or math.isinf(y):
            return x * y
        return fr(x) * fr(y) and rfmt(fr(x) * fr(y), fmt, mode) or 0.0 * sgn(x) * sgn(y) if fr(x) * fr(y) == 0 else rfmt(fr(x) * fr(y), fmt, mode)
    if op == "fma":
        x, y, z = a
        if math.isinf(x) or math.isinf(y):
            return x * y + z
        if math.isinf(z):
            return z
        ps = sgn(x) * sgn(y)
        return addz(fr(x) * fr(y) + fr(z), ps if ps == sgn(z) else 0, fmt, mode)
    if op == "div":
        x, y = a
        s = sgn(x) * sgn(y)
        if math.isinf(x):
            return math.nan if math.isinf(y) else math.inf * s
        if math.isinf(y):
            return 0.0 * s
        if y == 0:
            return math.nan if x == 0 else math.inf * s
        return rfmt(fr(x) / fr(y), fmt, mode) if x else 0.0 * s
    if op in ("sqrt", "rsqrt"):
        x, = a
        if x == 0:
            return x if op == "sqrt" else math.inf * sgn(x)
        if x < 0:
            return math.nan
        if math.isinf(x):
            return x if op == "sqrt" else 0.0
        q = fr(x) if op == "sqrt" else 1 / fr(x)
        sh = 1200
        t = (q.numerator << (2 * sh)) // q.denominator
        r = math.isqrt(t)
        v = Fraction(2 * r + (0 if r * r * q.denominator == (q.numerator << (2 * sh)) else 1), 2 << sh)
        return rfmt(v, fmt, mode)
    raise KeyError(op)


def addz(v, same, fmt, mode):
    """same: the common sign of two addends, or 0 where they differ."""
    if v == 0:
        return 0.0 * (same or (-1.0 if mode == "rd" else 1.0))
    return rfmt(v, fmt, mode)


def fmin_(x, y):
    if math.isnan(x): return y
    if math.isnan(y): return x
    return min(x, y) if x != y else (x if sgn(x) < sgn(y) else y)
def fmax_(x, y): return -fmin_(-x, -y)
def nanp(f): return lambda x, y: math.nan if math.isnan(x) or math.isnan(y) else f(x, y)
def sat(v): return 0.0 if math.isnan(v) or v <= 0 else min(v, 1.0)
def relu(v): return v if math.isnan(v) or v > 0 else 0.0
def keep0(f):
    def g(x):
        return x if math.isnan(x) or math.isinf(x) or x == 0 else math.copysign(float(f(x)), x)
    return g
floor_, ceil_, trunc_ = keep0(math.floor), keep0(math.ceil), keep0(math.trunc)
rint_ = keep0(lambda x: round(Fraction(x)))
round_ = keep0(lambda x: math.copysign(math.floor(abs(Fraction(x)) + Fraction(1, 2)), x))


def gen(seed, fmt, n=N, special=True):
    p, emin, emax = FMT[fmt]
    r = rng(seed)
    out = []
    span = min(emax, 40)
    sp_ = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, math.inf, -math.inf, math.nan,
           float(Fraction(2) ** (emin - p + 1)), -float(Fraction(2) ** (emin - p + 4) * 3), float(Fraction(2) ** emin),
           float((2 - Fraction(2) ** (1 - p)) * Fraction(2) ** emax), 1 + 2.0 ** (1 - p)]
    for i in range(n):
        k = int(r.integers(0, 6))
        if k == 0 and special:
            out.append(sp_[int(r.integers(0, len(sp_)))])
            continue
        m = 1 + int(r.integers(0, 2 ** (p - 1))) / 2 ** (p - 1)
        if k == 1:
            m = 1 + int(r.integers(0, 4)) / 4
        e = int(r.integers(-3, 6)) if k < 4 else int(r.integers(-min(span, -emin), span))
        if k == 5 and special:
            e = int(r.integers(emin, emin + 20)) if r.integers(0, 2) else int(r.integers(emax - 6, emax))
        out.append(float(m * 2.0**e * (1 if r.integers(0, 2) else -1)))
    a = np.array(out, V[fmt])
    return a, [float(v) for v in a]


MODES = ["rn", "rz", "ru", "rd"]


def rounded(fmt, kern, vs):
    @cuda(f"{fmt}_rounded", "float_arith.cu", f"{fmt} add sub mul fma div rcp sqrt in the four rounding modes, min max, rounding to integers", vs)
    def _(c):
        a, A = gen(11, fmt)
        b, B = gen(12, fmt)
        d, D = gen(13, fmt)
        # near-cancelling sums
        for i in range(0, 40, 3):
            b[i] = -a[i]
            B[i] = float(b[i])
        res = []
        for x, y, z in zip(A, B, D):
            r = []
            for op in ("add", "sub", "mul"):
                r += [fop(op, fmt, m, x, y) for m in MODES]
            r += [fop("fma", fmt, m, x, y, z) for m in MODES]
            r += [fop("div", fmt, m, x, y) for m in MODES]
            r += [fop("div", fmt, m, 1.0, x) for m in MODES]
            r += [fop("sqrt", fmt, m, abs(x)) for m in MODES]
            r += [fmin_(x, y), fmax_(x, y), -x, abs(x), math.copysign(x, y), floor_(x), ceil_(x), trunc_(x), rint_(x), round_(x)]
            if fmt == "f32":
                r += [sat(x)]
            r += [float(x < y), float(x == y), float(not x >= y)]
            if fmt == "f32":
                r += [float(x != y), float(math.isnan(x)), float(math.isinf(x))]
            res.append(r)
        c.inp("a", a); c.inp("b", b); c.inp("c", d)
        c.out("o", np.array(res, V[fmt]).T.copy(), exact=True)
        c.launch(kern, 2, 128, ["a", "b", "c", "o", s32(N)])


rounded("f32", "f32_rounded", ("90a.o3", "80.o3", "90a.o0"))
rounded("f64", "f64_rounded", ("90a.o3", "80.o3", "90a.o0"))


@cuda("f32_ptx", "float_arith.cu", "f32 ftz, sat, NaN and xorsign minimum, set, testp, slct, copysign", ("90a.o3",))
def _(c):
    a, A = gen(14, "f32"); b, B = gen(15, "f32"); d, D = gen(16, "f32")
    tiny = 2.0**-126
    def fz(v): return math.copysign(0.0, v) if abs(v) < tiny else v
    def fzo(op, mode, *q):
        v = fop(op, "f32", mode, *[fz(t) for t in q])
        return fz(v)
    def xs(f):
        def g(x, y):
            v = f(abs(x), abs(y))
            return math.nan if math.isnan(v) else math.copysign(v, sgn(x) * sgn(y))
        return g
    # NaN operands of xorsign forms carry a sign the ISA leaves open: keep them out of a
    for i in range(N):
        if math.isnan(A[i]):
            a[i] = A[i] = 3.0
        if math.isnan(D[i]):
            d[i] = D[i] = -1.0
        if math.isnan(B[i]):
            a[i] = A[i] = abs(A[i]); 
    res = []
    for x, y, z in zip(A, B, D):
        zf = fz(z)
        nan = math.isnan(x) or math.isnan(y)
        res.append([
            fzo("add", "rn", x, y), fzo("sub", "rz", x, y), fzo("mul", "rn", x, y), fzo("fma", "rn", x, y, z),
            sat(fop("fma", "f32", "rn", x, y, z)), sat(fop("add", "f32", "rn", x, y)), sat(fop("mul", "f32", "rz", x, y)), fzo("div", "rn", x, y),
            fz(fmin_(fz(x), fz(y))), nanp(fmax_)(x, y), nanp(fmin_)(x, y),
            xs(fmax_)(x, y) if not math.isnan(y) else abs(x), xs(nanp(fmin_))(x, y),
            fz(abs(x)), fz(-x), fop("sqrt", "f32", "rn", fz(abs(x))),
            float(fz(x) > fz(y)), float(nan or x < y), float(not nan),
            float(x != 0 and abs(x) < tiny), float(x == 0 or not math.isinf(x) and abs(x) >= tiny),  # zeros count as normal
            float(not math.isinf(x) and not math.isnan(x)),
            x if z >= 0 else y, math.copysign(y, x)])
    r = np.array(res, f32).T.copy()
    c.inp("a", a); c.inp("b", b); c.inp("c", d)
    c.out("o", r, exact=True)
    c.launch("f32_ptx", 2, 128, ["a", "b", "c", "o", s32(N)])


def half(fmt, vs):
    @cuda(f"{fmt}_ops", "float_arith.cu", f"{fmt} scalar and packed arithmetic, saturation, relu, min/max with and without NaN, comparisons", vs)
    def _(c):
        a, A = gen(21, fmt); b, B = gen(22, fmt); d, D = gen(23, fmt)
        def f(op, *q): return fop(op, fmt, "rn", *q)
        res = []
        for x, y, z in zip(A, B, D):
            nan = math.isnan(x) or math.isnan(y)
            mx, mn = fmax_, nanp(fmin_)
            r = [f("add", x, y), f("sub", x, y), f("mul", x, y), f("fma", x, y, z),
                 sat(f("add", x, y)), sat(f("mul", x, y)), sat(f("fma", x, y, z)), relu(f("fma", x, y, z)),
                 fmin_(x, y), fmax_(x, y), nanp(fmin_)(x, y), nanp(fmax_)(x, y), -x, abs(x),
                 float(x < y), float(x == y), float(nan or x >= y), float(math.isnan(x)),
                 floor_(x), ceil_(x), trunc_(x), rint_(x),
                 f("fma", x, y, z), f("fma", y, x, x), f("add", x, z), f("add", y, x), f("sub", x, z), f("sub", y, x),
                 f("mul", x, z), f("mul", y, x), mx(x, z), mx(y, x), mn(x, z), mn(y, x), float(x > z), float(y > x), -x, -y]
            res.append(r)
        c.inp("a", a); c.inp("b", b); c.inp("c", d)
        c.out("o", np.array(res, f64).astype(V[fmt]).T.copy(), exact=True)
        c.launch(f"{fmt}_ops", 2, 128, ["a", "b", "c", "o", s32(N)])

    @cuda(f"{fmt}_funcs", "float_arith.cu", f"{fmt} division, roots, exponentials, logarithms, sine and cosine from the CUDA headers", vs)
    def _(c):
        r = rng(24)
        a = r.uniform(-4, 4, N).astype(V[fmt]); b = r.uniform(0.1, 6, N).astype(V[fmt])
        x, y = a.astype(f64), b.astype(f64)
        w = np.stack([x / y, np.sqrt(y), 1 / np.sqrt(y), 1 / y, np.exp(x), np.exp2(x), np.log(y), np.log2(y), np.sin(x), np.cos(x)])
        c.inp("a", a); c.inp("b", b)
        # the headers promise 1 ulp (2 for hexp); the result is one rounding of a value good to 2^-11 or better
        u = UNIT[fmt]
        c.out("o", w.astype(V[fmt]), rel=4 * u, abs=2 * u * 2.0**-4)
        c.launch(f"{fmt}_funcs", 2, 128, ["a", "b", "o", s32(N)])


half("f16", ("90a.o3", "80.o3", "90a.o0"))
half("bf16", ("90a.o3", "80.o3", "90a.o0"))


def ab(seed, t):
    r = rng(seed)
    return r.uniform(-6, 6, N).astype(t), np.exp(r.uniform(-3, 3, N)).astype(t)


@cuda("f32_approx", "float_math.cu", "div/rcp/sqrt/rsqrt/sin/cos/lg2/ex2/tanh .approx and the fast intrinsics built on them", ("90a.o3", "80.o3", "90a.ftz"))
def _(c):
    a, b = ab(31, f32)
    x, p = a.astype(f64), b.astype(f64)
    c.inp("a", a); c.inp("b", b)
    q = (f32(0.25) * a).astype(f64)
    t = (f32(0.2) * a).astype(f64)
    # 2 ulp of div/ex2 is 2 * 2^-23; the others are tighter
    c.out("tight", np.stack([x / p, x / p, 1 / p, np.sqrt(p), 1 / np.sqrt(p), np.exp2(x), 1 / np.sqrt(p)]).astype(f32), rel=2.5 * 2.0**-23)
    # sin/cos 2^-20.5 absolute over +-2 pi; lg2 2^-22 absolute or relative, |log2| < 5
    c.out("absol", np.stack([np.sin(x), np.cos(x), np.log2(p), np.log(p), np.log10(p), np.sin(x), np.cos(x)]).astype(f32), abs=2.0**-20.4, rel=2.0**-21)
    # __expf: 2 + floor(1.16|x|) ulp, __exp10f similar (x up to 6: 2 + 2.95*6 ulp); __powf: ex2 of y*lg2 p, error 1.5*2^-21.5*... < 2^-18
    c.out("loose", np.stack([np.exp(x), 10.0**x, p**q, np.tan(t)]).astype(f32), rel=2.0**-18, abs=2.0**-20)
    c.out("coarse", np.tanh(x)[None].astype(f32), rel=2.0**-10.9)   # tanh.approx.f32: relative 2^-11
    c.launch("f32_approx", 2, 128, ["a", "b", "tight", "absol", "loose", "coarse", s32(N)])


def math_case(name, vs, rel, absol):
    @cuda(name, "float_math.cu", "ordinary f32 math functions" + ("" if name == "f32_math" else " under -use_fast_math"), vs)
    def _(c):
        a, b = ab(32, f32)
        x, p = a.astype(f64), b.astype(f64)
        t = (f32(0.2) * a).astype(f64)
        c.inp("a", a); c.inp("b", b)
        c.out("o", np.stack([np.sin(x), np.cos(x), np.tan(t), np.exp(x), np.exp2(x), 10.0**x, np.expm1(x), np.log(p), np.log2(p), np.log10(p), np.log1p(p),
                             p**x, np.tanh(x), np.sinh(x), np.cosh(x), x / p, np.sqrt(p), 1 / np.sqrt(p), 1 / p, x * p + 1, x * p + 1]).astype(f32),
              rel=rel, abs=absol)
        c.launch("f32_math", 2, 128, ["a", "b", "o", s32(N)])


# at most 4 ulp (powf, tanf), doubled; x*p+1 may be contracted or not: 2^-24 * |x p| <= 120 * 2^-24 absolute
math_case("f32_math", ("90a.o3", "80.o3", "90a.o0", "90a.nofma", "90a.approx"), 8 * 2.0**-23, 2.0**-17)
# __powf with |x log2 p| <= 26: ex2's argument is wrong by 26 * 2^-22, relative 2^-17; doubled; tanh.approx 2^-11 is the widest
math_case("f32_fastmath", ("90a.fm",), 2.0**-10.9, 2.0**-17)


@cuda("f32_libdevice", "float_math.cu", "heavy f32 libdevice functions, large-argument trigonometry (local arrays, constant tables)", ("90a.o3", "90a.o0"))
def _(c):
    a, b = ab(33, f32)
    x, p = a.astype(f64), b.astype(f64)
    u32_ = (a * f32(1.0 / 6.5)).astype(f32)
    u = u32_.astype(f64)
    x3 = (a * f32(1000)).astype(f32).astype(f64)
    m, e = np.frexp(a)
    w = [np.arcsin(u), np.arccos(u), np.arctan(x), np.arctan2(x, p), np.arcsinh(x), np.arccosh((f32(1) + b).astype(f64)), np.arctanh(u),
         sp.erf(x), sp.erfc(x), sp.erfcx(x), sp.gamma(p), sp.gammaln((b + f32(3)).astype(f64)), np.cbrt(x), 1 / np.cbrt(p),
         np.hypot(x, p), sp.ndtr(x), sp.erfinv(u), sinpi(x), cospi(x), sp.j0((b * f32(0.1)).astype(f64)), 1 / np.hypot(x, p), np.sqrt(x * x + p * p + u * u),
         np.fmod(x3, p), np.array([math.remainder(float(s), float(t)) for s, t in zip(x3, p)]), np.maximum(x - p, 0),
         np.ldexp(x, b.astype(np.int32) - 10), m.astype(f64), e.astype(f64), np.floor(np.log2(p)), np.floor(np.log2(p)), np.nextafter(a, f32(100)).astype(f64),
         np.sin((a * f32(1e6)).astype(f64)), np.cos((a * f32(1e9)).astype(f64)), np.tan((b * f32(1e5)).astype(f64))]
    c.inp("a", a); c.inp("b", b)
    # at most 6 ulp outside lgamma's and j0's zeros (tgamma 5, normcdf 5, erfcx 4): doubled, plus a floor for values near 0
    c.out("o", np.stack(w).astype(f32), rel=12 * 2.0**-23, abs=2.0**-24)
    c.launch("f32_libdevice", 2, 128, ["a", "b", "o", s32(N)])


def sinpi(x):
    r = x - 2 * np.round(x / 2)
    return np.where(np.abs(r) > 0.5, np.sign(r) * np.sin(np.pi * (1 - np.abs(r))), np.sin(np.pi * r))
def cospi(x):
    r = np.abs(x - 2 * np.round(x / 2))
    return np.where(np.abs(r - 0.5) < 0.25, np.sin(np.pi * (0.5 - r)), np.where(r > 0.5, -np.cos(np.pi * (1 - r)), np.cos(np.pi * r)))


@cuda("f64_libdevice", "float_math.cu", "f64 libdevice functions", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    x, p = ab(34, f64)
    u = x * (1.0 / 6.5)
    x3 = x * 1000.0
    m, e = np.frexp(x)
    w = [np.sin(x), np.cos(x), np.tan(x * 0.2), np.exp(x), np.exp2(x), np.expm1(x), np.log(p), np.log2(p), np.log10(p), np.log1p(p), p**x, np.tanh(x), np.sinh(x),
         np.cosh(x), np.arcsin(u), np.arccos(u), np.arctan(x), np.arctan2(x, p), np.arcsinh(x), np.arctanh(u), sp.erf(x), sp.erfc(x), sp.gamma(p), sp.gammaln(p + 3),
         np.cbrt(x), np.hypot(x, p), 1 / np.sqrt(p), sinpi(x), np.fmod(x3, p), np.array([math.remainder(float(s), float(t)) for s, t in zip(x3, p)]), m, e.astype(f64),
         np.sin(x * 1e6), x / p, np.sqrt(p), np.sin(x), np.cos(x)]
    c.inp("a", x); c.inp("b", p)
    # device at most 10 ulp (tgamma), scipy's gamma and erfc about as much again
    c.out("o", np.stack(w), rel=64 * 2.0**-53, abs=2.0**-52)
    c.launch("f64_libdevice", 2, 128, ["a", "b", "o", s32(N)])
