"""Triton kernels: compiled without a GPU, launched as Triton's own launcher would (after the user's arguments come
the global-scratch and the profile-scratch pointers)."""
import os
os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"
import tempfile
os.environ["TRITON_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), "kernels-triton-cache")
import importlib.util
import shutil
from pathlib import Path
from base import *
import base
from mma_cases import dot_tol

HERE = Path(__file__).resolve().parent.parent
_mods = {}


def kernel_module(name):
    import triton                       # noqa: F401  (before the folder of the same name can shadow it)
    if name not in _mods:
        # line information records the file's path: load a copy at a place that does not depend on the checkout
        d = Path(tempfile.gettempdir()) / "kernels"
        d.mkdir(exist_ok=True)
        p = d / f"{name}.py"
        shutil.copy(HERE / "triton" / f"{name}.py", p)
        s = importlib.util.spec_from_file_location("kernels_" + name, p)
        m = importlib.util.module_from_spec(s)
        s.loader.exec_module(m)
        _mods[name] = m
    return _mods[name]


class TD:
    """A tensor descriptor argument over a buffer: shape and strides in elements, outermost first."""
    def __init__(self, buffer, dtype, shape, strides, esize):
        self.buffer, self.dtype, self.shape, self.strides, self.esize = buffer, dtype, shape, strides, esize


HOST_TYPE = {0: "u8", 1: "u16", 2: "u32", 3: "s32", 4: "u64", 5: "s64", 6: "f16", 7: "f32", 8: "f64", 9: "bf16", 11: "tf32"}
DEVICE_TO_HOST = {8: 10, 9: 8, 10: 9}


def tri(name, mod, fn, what, sig, consts, archs=(90, 80, 89), opts=None, lineinfo=False, align=True):
    """sig: argument -> Triton type, in order, without the constexprs.  An i32 written as "i32:16" is known to be a multiple of 16."""
    def deco(fill):
        for n, arch in enumerate(archs):
            c = Case(name if n == 0 else f"{name}.sm{arch}", what)
            if n:
                c.alias = name
            key = f"triton_{name}.sm{arch}"
            c.module = ("triton", key)

            def compile_(c=c, arch=arch):
                if hasattr(c, "compiled"):
                    return c.compiled
                import triton
                from triton.backends.compiler import GPUTarget
                triton.knobs.compilation.disable_line_info = not lineinfo
                f = getattr(kernel_module(mod), fn)
                names = f.arg_names
                full = {a: (sig[a].split(":")[0] if a in sig else "constexpr") for a in names}
                attrs = {}
                for i, a in enumerate(names):
                    if a in sig and align and (sig[a].startswith("*") or sig[a].endswith(":16")):
                        attrs[(i,)] = [["tt.divisibility", 16]]
                src = triton.compiler.ASTSource(fn=f, signature=full, constexprs=dict(consts), attrs=attrs)
                c.compiled = triton.compile(src, target=GPUTarget("cuda", arch, 32), options=dict(opts or {"num_warps": 4}))
                return c.compiled

            def build(path, compile_=compile_):
                path.write_text(compile_().asm["ptx"])

            def fill_(c, compile_=compile_, arch=arch):
                k = compile_()
                md = k.metadata
                def go(grid, args, **kw):
                    out, tds = [], iter(md.tensordesc_meta or [])
                    for a in args:
                        if isinstance(a, TD):
                            if md.tensordesc_meta:
                                t = next(tds)
                                et = DEVICE_TO_HOST.get(t["elem_type"], t["elem_type"])
                                out.append(tmap(a.buffer, HOST_TYPE[et], a.shape[::-1], [s * t["elem_size"] for s in a.strides[:-1]][::-1], t["block_size"][::-1],
                                                ["none", "32B", "64B", "128B"][t["swizzle"]], l2="128B"))
                            else:
                                out += [a.buffer] + [s64(v) for v in (*a.shape, *a.strides)] + [u8(0), u8(0)]
                            out += [s32(v) for v in a.shape] + [s64(v) for v in a.strides]
                        else:
                            out.append(a)
                    g = list(grid) + [1] * (3 - len(grid))
                    for nm, size in (("global_scratch", md.global_scratch_size), ("profile_scratch", md.profile_scratch_size)):
                        if size:
                            out.append(c.scratch(nm, "u8", [size * g[0] * g[1] * g[2] * md.num_ctas]))
                        else:
                            out.append(u64(0))
                    cl = (md.num_ctas, 1, 1)
                    g[0] *= md.num_ctas
                    if md.launch_cooperative_grid or md.launch_pdl:
                        kw["attributes"] = {k: True for k, v in (("pdl", md.launch_pdl), ("cooperative", md.launch_cooperative_grid)) if v}
                    c.launch(md.name, g, md.num_warps * 32, out, smem=md.shared, cluster=cl, **kw)
                c.arch = arch
                fill(c, go)
            c.build, c.fill = build, fill_
            CASES.append(c)
        return fill
    return deco


ALL = (90, 80, 89)


def cdiv(a, b): return -(-a // b)


# ------------------------------------------------------------------ element-wise
def axpy_(name, **kw):
    @tri(name, "elementwise", "axpy", "o = alpha x + y, masked tail" + (" (with line information)" if kw.get("lineinfo") else ""),
         {"x": "*fp32", "y": "*fp32", "o": "*fp32", "alpha": "fp32", "n": "i32"}, {"BLOCK": 256}, **kw)
    def _(c, go):
        n = 1000
        r = rng(501)
        x, y = r.normal(size=n).astype(f32), r.normal(size=n).astype(f32)
        c.inp("x", x); c.inp("y", y)
        # fused or not: two roundings at most
        c.out("o", (f64(f32(0.7)) * x + y).astype(f32), abs=2.0**-24 * 4, rel=2.0**-23, inp=None)
        go([cdiv(n, 256)], ["x", "y", "o", F32(0.7), s32(n)])


axpy_("tri_axpy", archs=ALL)
axpy_("tri_axpy_unaligned", archs=(90,), align=False)
axpy_("tri_axpy_lineinfo", archs=(90,), lineinfo=True)


@tri("tri_math", "elementwise", "mathmix", "transcendental functions and libdevice", {"x": "*fp32", "o": "*fp32", "n": "i32"}, {"BLOCK": 128}, archs=ALL)
def _(c, go):
    from scipy import special as sp
    n = 333
    x = rng(502).uniform(-4, 4, n).astype(f32)
    v = x.astype(f64); p = (np.abs(x) + f32(0.25)).astype(f64)
    w = [np.exp(v), np.log(p), np.sin(v) + np.cos(v), np.sqrt(p) + 1 / np.sqrt(p), sp.erf(v), np.tanh(v), p**v, 1 / (1 + np.exp(-v)), v / p, np.floor(v) + np.ceil(2 * v), np.log1p(p) + np.expm1(v)]
    c.inp("x", x)
    # exp and log go through ex2/lg2.approx: |x| log2 e <= 6, error 6 * 2^-22; the rest a few ulp, sums up to |2|
    c.out("o", np.stack(w).astype(f32), rel=2.0**-18, abs=2.0**-19)
    go([cdiv(n, 128)], ["x", "o", s32(n)])


@tri("tri_integers", "elementwise", "integers", "integer arithmetic", {"a": "*i32", "b": "*i32", "o": "*i32", "n": "i32"}, {"BLOCK": 128}, archs=(90, 80))
def _(c, go):
    from int_cases import S, U, cdiv as qd, cmod, mix, EDGE32
    n = 200
    A, B = mix(503, n, EDGE32[:8], 32), mix(504, n, EDGE32[:8], 32)
    res = []
    for i, (x, y) in enumerate(zip(A, B)):
        if x == -2**31: A[i] = x = 5
        d = y | 1
        res.append([S(v) for v in (x * y + (x ^ y), qd(x, d) if x < y else cmod(x, d), (U(x) * U(y)) >> 32, S(x * y, 64) >> 17,
                                   (x << (y & 15)) | (x >> (y & 7)), ((x & 0xffff) + 6) // 7 + min(x, y) - max(x, y), S(x, 8) + S(y, 16))])
    c.inp("a", np.array(A, np.int32)); c.inp("b", np.array(B, np.int32))
    c.out("o", np.array(res, np.int32).T.copy())
    go([cdiv(n, 128)], ["a", "b", "o", s32(n)])


@tri("tri_softmax", "elementwise", "softmax", "row softmax", {"x": "*fp32", "o": "*fp32", "stride": "i32", "n": "i32"}, {"BLOCK": 512}, archs=ALL)
def _(c, go):
    rows, n, st = 5, 391, 400
    x = (rng(505).normal(size=(rows, st)) * 3).astype(f32)
    e = np.exp(x[:, :n].astype(f64) - x[:, :n].max(1, keepdims=True))
    w = np.zeros((rows, st), f32); w[:, :n] = e / e.sum(1, keepdims=True)
    c.inp("x", x)
    # ex2.approx of arguments down to -30: 30 * 2^-24 + 2^-22, sum of 391 terms, one division
    c.out("o", w, rel=2.0**-17, abs=1e-9, fill=0)
    go([rows], ["x", "o", s32(st), s32(n)])


@tri("tri_layernorm", "elementwise", "layernorm_fwd", "layer norm, looping over the row", {"x": "*fp16", "w": "*fp16", "b": "*fp16", "o": "*fp16", "mean": "*fp32", "rstd": "*fp32", "stride": "i32:16", "n": "i32", "eps": "fp32"},
     {"BLOCK": 128}, archs=ALL)
def _(c, go):
    rows, n, st = 4, 301, 304
    r = rng(506)
    x = r.normal(size=(rows, st)).astype(f16); w, b = r.normal(size=n).astype(f16), r.normal(size=n).astype(f16)
    v = x[:, :n].astype(f64)
    mu = v.mean(1); rs = 1 / np.sqrt(v.var(1) + f64(f32(1e-5)))
    o = np.zeros((rows, st), f16); o[:, :n] = ((v - mu[:, None]) * rs[:, None] * w.astype(f64) + b.astype(f64)).astype(f16)
    c.inp("x", x); c.inp("w", w); c.inp("b", b)
    c.out("o", o, abs=2.0**-16, rel=2.0**-10 * 1.02, fill=0)     # f32 sums of 301 terms may cross one rounding boundary of f16
    c.out("mean", mu.astype(f32), abs=301 * 2.0**-24); c.out("rstd", rs.astype(f32), rel=400 * 2.0**-24)
    go([rows], ["x", "w", "b", "o", "mean", "rstd", s32(st), s32(n), F32(1e-5)])


@tri("tri_layernorm_bwd", "elementwise", "layernorm_bwd", "layer norm backward: spin locks by atomic_cas / atomic_xchg",
     {"x": "*fp32", "w": "*fp32", "dy": "*fp32", "dx": "*fp32", "dw": "*fp32", "db": "*fp32", "lock": "*i32", "mean": "*fp32", "rstd": "*fp32", "stride": "i32", "n": "i32"}, {"GROUPS": 3, "BLOCK": 256}, archs=ALL)
def _(c, go):
    rows, n, g = 10, 200, 3
    r = rng(507)
    x, dy = r.normal(size=(rows, n)).astype(f32), r.normal(size=(rows, n)).astype(f32)
    w = r.normal(size=n).astype(f32)
    mu = x.mean(1, dtype=f64).astype(f32); rs = (1 / x.astype(f64).std(1)).astype(f32)
    h = (x.astype(f64) - mu[:, None]) * rs[:, None]
    wg = dy.astype(f64) * w
    dx = (wg - (h * (h * wg).mean(1, keepdims=True) + wg.mean(1, keepdims=True))) * rs[:, None]
    dw = np.stack([(dy * h)[k::g].sum(0) for k in range(g)]); db = np.stack([dy.astype(f64)[k::g].sum(0) for k in range(g)])
    for k, v in (("x", x), ("w", w), ("dy", dy), ("mean", mu), ("rstd", rs)):
        c.inp(k, v)
    t = 2.0**-16          # a few hundred f32 additions of values below 16
    c.out("dx", dx.astype(f32), abs=t, rel=2.0**-20); c.out("dw", dw.astype(f32), abs=t, rel=2.0**-20, fill=0); c.out("db", db.astype(f32), abs=t, rel=2.0**-20, fill=0)
    c.out("lock", np.array([0] * g + [1] * g, np.int32), fill=0)
    go([rows], ["x", "w", "dy", "dx", "dw", "db", "lock", "mean", "rstd", s32(n), s32(n)])


@tri("tri_argreduce", "elementwise", "argreduce", "argmax, argmin, max, xor_sum along rows of a 2-D tile", {"x": "*fp32", "imax": "*i32", "imin": "*i32", "vmax": "*fp32", "prod": "*i32", "rows": "i32", "n": "i32"},
     {"R": 8, "BLOCK": 128}, archs=ALL)
def _(c, go):
    rows, n = 21, 100
    x = (rng(508).integers(-400, 400, (rows, n)) / 16).astype(f32)     # ties: the first wins
    c.inp("x", x)
    c.out("imax", x.argmax(1).astype(np.int32)); c.out("imin", x.argmin(1).astype(np.int32)); c.out("vmax", x.max(1), exact=True)
    c.out("prod", np.bitwise_xor.reduce((x * 64).astype(np.int32), 1))
    go([cdiv(rows, 8)], ["x", "imax", "imin", "vmax", "prod", s32(rows), s32(n)])


@tri("tri_scans", "elementwise", "scans", "cumsum and a two-operand associative scan", {"x": "*i32", "g": "*fp32", "o": "*fp32", "oi": "*i32", "n": "i32"}, {"BLOCK": 256}, archs=ALL)
def _(c, go):
    rows, n = 3, 230
    r = rng(509)
    x = r.integers(-9, 10, (rows, n)).astype(np.int32); g = r.uniform(0.5, 0.95, (rows, n)).astype(f32)
    h = np.zeros((rows, n)); s = np.zeros(rows)
    for k in range(n):
        s = s * g[:, k].astype(f64) + x[:, k]; h[:, k] = s
    c.inp("x", x); c.inp("g", g)
    c.out("oi", np.cumsum(x, 1).astype(np.int32)); c.out("o", h.astype(f32), abs=16 * 2.0**-24 * 400, rel=2.0**-20)   # log2 256 combining steps of values below 200
    go([rows], ["x", "g", "o", "oi", s32(n)])


@tri("tri_sorting", "elementwise", "sorting", "sort, top-k, flip, histogram with atomics", {"x": "*i32", "o": "*i32", "top": "*i32", "hist": "*i32", "n": "i32"}, {"BLOCK": 256, "K": 16}, archs=ALL)
def _(c, go):
    rows = 3
    x = rng(510).integers(-1000, 1000, (rows, 256)).astype(np.int32)
    c.inp("x", x)
    c.out("o", np.concatenate([np.sort(x, 1), x[:, ::-1]])); c.out("top", np.sort(x, 1)[:, ::-1][:, :16])
    c.out("hist", np.bincount((x & 15).ravel(), minlength=16).astype(np.int32), fill=0)
    go([rows], ["x", "o", "top", "hist", s32(rows)])


@tri("tri_quantise", "elementwise", "quantise", "1 x 128 quantisation to e4m3 with f32 scales", {"x": "*bf16", "q": "*fp8e4nv", "s": "*fp32", "n": "i32"}, {"BLOCK": 4}, archs=(90, 89))
def _(c, go):
    n = 11
    x = (rng(511).normal(size=(n, 128)) * np.exp(rng(512).normal(size=(n, 1)) * 2)).astype(bf16)
    v = x.astype(f32)
    s = (np.maximum(np.abs(v).max(1), f32(1e-10)) / f32(448)).astype(f32)
    # a / 448 may be compiled to a full-range approximate division (2 ulp): values beside a rounding boundary of e4m3 may move one code, 2^-3 relative
    q = (v / s[:, None]).astype(e4m3)
    c.inp("x", x)
    c.out("q", q, rel=2.0**-3, abs=2.0**-9); c.out("s", s, rel=2.0**-22)
    go([cdiv(n, 4)], ["x", "q", "s", s32(n)])


@tri("tri_swiglu", "elementwise", "swiglu", "fused swiglu, bf16", {"gu": "*bf16", "o": "*bf16", "n": "i32"}, {"cols": 100, "BLOCK": 256}, archs=ALL)
def _(c, go):
    n, k = 7, 100
    x = (rng(513).normal(size=(n, 2 * k)) * 2).astype(bf16)
    g, u = x[:, :k].astype(f64), x[:, k:].astype(f64)
    c.inp("gu", x)
    c.out("o", (g / (1 + np.exp(-g)) * u).astype(bf16), rel=2.0**-7 * 1.02, abs=2.0**-20)   # may fall on the other side of one rounding: one bf16 step
    go([cdiv(n * k, 256)], ["gu", "o", s32(n)])


@tri("tri_gather", "elementwise", "gather_sum", "weighted gather of rows by index, absent entries", {"x": "*bf16", "idx": "*i32", "wt": "*fp32", "o": "*fp32", "d": "i32"}, {"K": 4, "BLOCK": 128}, archs=ALL)
def _(c, go):
    r = rng(514)
    rows, t, d = 17, 9, 200
    x = r.normal(size=(rows, d)).astype(bf16); idx = r.integers(-1, rows, (t, 4)).astype(np.int32); w = r.uniform(size=(t, 4)).astype(f32)
    o = ((w.astype(f64) * (idx >= 0))[:, :, None] * x.astype(f64)[np.maximum(idx, 0)]).sum(1)
    c.inp("x", x); c.inp("idx", idx); c.inp("wt", w)
    c.out("o", o.astype(f32), abs=8 * 2.0**-24 * 16)
    go([t, cdiv(d, 128)], ["x", "idx", "wt", "o", s32(d)])


@tri("tri_rope", "elementwise", "rope", "rotary embedding of halves, f16", {"x": "*fp16", "cos": "*fp32", "sin": "*fp32", "o": "*fp16", "heads": "i32"}, {"d": 64}, archs=(90, 80), opts={"num_warps": 1})
def _(c, go):
    r = rng(515)
    t, h, d = 6, 3, 64
    x = r.normal(size=(t, h, d)).astype(f16); an = r.uniform(0, 6, (t, d // 2))
    co, si = np.cos(an).astype(f32), np.sin(an).astype(f32)
    a, b = x[..., :32].astype(f64), x[..., 32:].astype(f64)
    o = np.concatenate([a * co[:, None] - b * si[:, None], b * co[:, None] + a * si[:, None]], -1)
    c.inp("x", x); c.inp("cos", co); c.inp("sin", si)
    c.out("o", o.astype(f16), abs=2.0**-20, rel=2.0**-10 * 1.02)   # one f16 step where the f32 error crosses a rounding boundary
    go([t, h], ["x", "cos", "sin", "o", s32(h)])


# ------------------------------------------------------------------ matrices
TT = {"bf16": ("*bf16", bf16), "f16": ("*fp16", f16), "f32": ("*fp32", f32), "s8": ("*i8", np.int8), "e4m3": ("*fp8e4nv", e4m3), "e5m2": ("*fp8e5", e5m2), "s32": ("*i32", np.int32)}
SZ = {"bf16": 2, "f16": 2, "f32": 4, "s8": 1, "e4m3": 1, "e5m2": 1}


def gen(r, t, shape):
    if t == "s8":
        return r.integers(-128, 128, shape).astype(np.int8)
    return r.normal(size=shape).astype(TT[t][1])


def want(c, A, B, k, tout, ta, tf32=False):
    """C = A B and its tolerance.  tf32 inputs are rounded or truncated to 11 bits: 2^-10 relative a factor."""
    if tout == "s32":
        return (A.astype(np.int64) @ B.astype(np.int64)).astype(np.int32), {}
    a, b = A.astype(f64), B.astype(f64)
    kw = dot_tol(a, b, np.zeros(1), 32, "f32", ta in ("e4m3", "e5m2"))
    if tf32:
        kw["abs"] += 2.0**-9 * 1.01 * float((np.abs(a) @ np.abs(b)).max())
    kw["rel"] = 2 * UNIT[tout] * 1.01 if tout != "f32" else UNIT[tout]       # the f32 error may cross a rounding boundary: one step
    return (a @ b).astype(TT[tout][1]), kw


def mm(name, ta, tout, M, N, K, blocks, archs, prec="ieee", bt=False, opts=None, tb=None):
    tb = tb or ta
    @tri(name, "matrix", "matmul", f"C[{M}x{N}] = A[{M}x{K}] B, {ta} -> {tout}, blocks {blocks}" + (f", {prec}" if ta == "f32" else "") + (", B given transposed" if bt else ""),
         {"a": TT[ta][0], "b": TT[tb][0], "c": TT[tout][0], "M": "i32", "N": "i32", "K": "i32", "sam": "i32:16", "sak": "i32", "sbk": "i32" if bt else "i32:16", "sbn": "i32:16" if bt else "i32", "scm": "i32", "scn": "i32"},
         {"BM": blocks[0], "BN": blocks[1], "BK": blocks[2], "ACC": ACC(tout), "PREC": prec}, archs=archs, opts=opts or {"num_warps": 4, "num_stages": 3})
    def _(c, go):
        r = rng(600 + len(name) + M + K)
        pk, pn = cdiv(K, 16) * 16, cdiv(N, 16) * 16
        A = np.zeros((M, pk), TT[ta][1]); A[:, :K] = gen(r, ta, (M, K))
        B = np.zeros((K, pn), TT[tb][1]); B[:, :N] = gen(r, tb, (K, N))
        w, kw = want(c, A[:, :K], B[:, :N], K, tout, ta, ta == "f32" and prec == "tf32")
        if bt:
            Bt = np.zeros((N, pk), TT[tb][1]); Bt[:, :K] = B[:, :N].T
            B, sbk, sbn = Bt, 1, pk
        else:
            sbk, sbn = pn, 1
        c.inp("a", A); c.inp("b", B)
        c.out("c", w, **kw)
        go([cdiv(M, blocks[0]), cdiv(N, blocks[1])], ["a", "b", "c"] + [s32(v) for v in (M, N, K, pk, 1, sbk, sbn, N, 1)])


def ACC(tout):
    import triton.language as tl
    return tl.int32 if tout == "s32" else tl.float32


mm("tri_mm_bf16", "bf16", "bf16", 100, 90, 150, (64, 64, 32), ALL)
mm("tri_mm_f16", "f16", "f16", 128, 128, 128, (64, 128, 64), ALL, bt=True)
mm("tri_mm_f16_w8", "f16", "f32", 130, 70, 200, (128, 64, 64), (90, 80), opts={"num_warps": 8, "num_stages": 4})
mm("tri_mm_tf32", "f32", "f32", 70, 66, 100, (64, 32, 32), ALL, prec="tf32")
mm("tri_mm_tf32x3", "f32", "f32", 64, 64, 64, (64, 32, 32), (90, 80), prec="tf32x3")
mm("tri_mm_f32", "f32", "f32", 40, 33, 50, (32, 32, 16), (90, 80), prec="ieee")
mm("tri_mm_s8", "s8", "s32", 70, 66, 200, (64, 64, 64), ALL, bt=True)
mm("tri_mm_e4m3", "e4m3", "f32", 70, 66, 200, (64, 64, 64), (90, 89), bt=True)
mm("tri_mm_e5m2", "e5m2", "bf16", 64, 64, 128, (64, 64, 64), ALL, bt=True)
mm("tri_mm_cluster", "f16", "f16", 128, 128, 96, (128, 128, 32), (90,), opts={"num_warps": 4, "num_ctas": 2, "num_stages": 2})


@tri("tri_mm_splitk", "matrix", "matmul_splitk", "split-K product summed with atomics", {"a": "*bf16", "b": "*bf16", "c": "*fp32", "M": "i32", "N": "i32", "K": "i32"}, {"BM": 32, "BN": 32, "BK": 32, "SPLIT": 3}, archs=ALL)
def _(c, go):
    r = rng(620)
    M, N, K = 50, 40, 190
    A, B = gen(r, "bf16", (M, K)), gen(r, "bf16", (K, N))
    w, kw = want(c, A, B, K, "f32", "bf16")
    c.inp("a", A); c.inp("b", B); c.out("c", w, fill=0, **kw)
    go([2, 2, 3], ["a", "b", "c", s32(M), s32(N), s32(K)])


def tma_mm(name, t, archs, blocks, tout=None, opts=None):
    tout = tout or t
    ty, to = TT[t][0][1:], TT[tout][0][1:]
    @tri(name, "matrix", "matmul_tma", f"host tensor descriptors, {t}, blocks {blocks}",
         {"ad": f"tensordesc<{ty}[{blocks[0]},{blocks[2]}]>", "bd": f"tensordesc<{ty}[{blocks[1]},{blocks[2]}]>", "cd": f"tensordesc<{to}[{blocks[0]},{blocks[1]}]>", "K": "i32"},
         {"BM": blocks[0], "BN": blocks[1], "BK": blocks[2]}, archs=archs, opts=opts or {"num_warps": 4, "num_stages": 3})
    def _(c, go):
        r = rng(630 + len(name))
        M, N, K = 100, 88, 208
        A, B = gen(r, t, (M, K)), gen(r, t, (N, K))
        w, kw = want(c, A, B.T, K, tout, t)
        c.inp("a", A); c.inp("b", B); c.out("c", w, **kw)
        go([cdiv(M, blocks[0]), cdiv(N, blocks[1])], [TD("a", t, [M, K], [K, 1], SZ[t]), TD("b", t, [N, K], [K, 1], SZ[t]), TD("c", tout, [M, N], [N, 1], SZ[tout]), s32(K)])


tma_mm("tri_tma_f16", "f16", (90, 80), (64, 64, 64))
tma_mm("tri_tma_bf16", "bf16", (90,), (128, 64, 32), opts={"num_warps": 8, "num_stages": 4})
tma_mm("tri_tma_e4m3", "e4m3", (90,), (64, 64, 64), tout="f16")


def dev(name, ws, archs, opts):
    @tri(name, "matrix", "matmul_devdesc", "persistent product with descriptors made on the device" + (", warp-specialised outer loop" if ws else ""),
         {"a": "*bf16", "b": "*bf16", "c": "*bf16", "M": "i32", "N": "i32:16", "K": "i32:16"}, {"BM": 64, "BN": 64, "BK": 64, "PROGRAMS": 3, "WS": ws}, archs=archs, opts=opts)
    def _(c, go):
        r = rng(640)
        M, N, K = 150, 144, 208
        A, B = gen(r, "bf16", (M, K)), gen(r, "bf16", (N, K))
        w, kw = want(c, A, B.T, K, "bf16", "bf16")
        c.inp("a", A); c.inp("b", B); c.out("c", w, **kw)
        go([3], ["a", "b", "c", s32(M), s32(N), s32(K)])


dev("tri_persistent", False, (90, 80), {"num_warps": 4, "num_stages": 3})
dev("tri_persistent_ws", True, (90,), {"num_warps": 4, "num_stages": 3})


@tri("tri_ws", "matrix", "matmul_ws", "warp-specialised K loop over host descriptors", {"ad": "tensordesc<fp16[64,64]>", "bd": "tensordesc<fp16[64,64]>", "c": "*fp16", "M": "i32", "N": "i32", "K": "i32"},
     {"BM": 64, "BN": 64, "BK": 64}, archs=(90,), opts={"num_warps": 4, "num_stages": 3})
def _(c, go):
    r = rng(650)
    M, N, K = 200, 136, 320
    A, B = gen(r, "f16", (M, K)), gen(r, "f16", (N, K))
    w, kw = want(c, A, B.T, K, "f16", "f16")
    c.inp("a", A); c.inp("b", B); c.out("c", w, **kw)
    go([cdiv(M, 64), cdiv(N, 64)], [TD("a", "f16", [M, K], [K, 1], 2), TD("b", "f16", [N, K], [K, 1], 2), "c", s32(M), s32(N), s32(K)])


@tri("tri_moe", "matrix", "matmul_moe", "grouped product over rows sorted by expert, padding rows",
     {"x": "*bf16", "w": "*bf16", "o": "*bf16", "order": "*i32", "expert_of": "*i32", "M": "i32", "N": "i32", "K": "i32:16"}, {"TOP": 2, "BM": 16, "BN": 32, "BK": 32}, archs=ALL)
def _(c, go):
    r = rng(660)
    tok, top, E, N, K = 23, 2, 4, 70, 80
    x, w = gen(r, "bf16", (tok, K)), gen(r, "bf16", (E, N, K))
    ex = np.stack([r.permutation(E)[:top] for _ in range(tok)]).ravel()
    order, eo = [], []
    for e in range(E):
        rows = [i for i in range(tok * top) if ex[i] == e]
        rows += [tok * top] * (-len(rows) % 16)
        order += rows; eo += [e] * (len(rows) // 16)
    o = np.stack([x[i // top].astype(f64) @ w[ex[i]].astype(f64).T for i in range(tok * top)])
    m = max(float((np.abs(x.astype(f64)) @ np.abs(w[e].astype(f64)).T).max()) for e in range(E))
    c.inp("x", x); c.inp("w", w); c.inp("order", np.array(order, np.int32)); c.inp("expert_of", np.array(eo, np.int32))
    c.out("o", o.astype(bf16), abs=2 * K * 2.0**-24 * m, rel=2.0**-7 * 1.01)
    go([len(eo), cdiv(N, 32)], ["x", "w", "o", "order", "expert_of", s32(tok * top), s32(N), s32(K)])


@tri("tri_scaled", "matrix", "matmul_scaled", "e4m3 product with 1x128 and 128x128 scales", {"a": "*fp8e4nv", "sa": "*fp32", "b": "*fp8e4nv", "sb": "*fp32", "c": "*bf16", "M": "i32", "N": "i32", "K": "i32:16"},
     {"BM": 64, "BN": 64}, archs=(90, 89))
def _(c, go):
    r = rng(670)
    M, N, K = 70, 140, 384
    A, B = gen(r, "e4m3", (M, K)), gen(r, "e4m3", (N, K))
    sa, sb = r.uniform(0.5, 2, (M, K // 128)).astype(f32), r.uniform(0.5, 2, (2, K // 128)).astype(f32)
    a = A.astype(f64) * np.repeat(sa.astype(f64), 128, 1); b = B.astype(f64) * np.repeat(np.repeat(sb.astype(f64), 128, 0)[:N], 128, 1)
    w, kw = want(c, a, b.T, K, "bf16", "e4m3")
    c.inp("a", A); c.inp("sa", sa); c.inp("b", B); c.inp("sb", sb); c.out("c", w, **kw)
    go([2, 3], ["a", "sa", "b", "sb", "c", s32(M), s32(N), s32(K)])


def attn(name, t, causal, D, BM, BN, archs, n=150, warps=4):
    @tri(name, "matrix", "attention", f"flash attention forward, {t}, head size {D}" + (", causal" if causal else ""),
         {"q": TT[t][0], "k": TT[t][0], "v": TT[t][0], "o": TT[t][0], "lse": "*fp32", "n": "i32", "scale": "fp32"}, {"D": D, "BM": BM, "BN": BN, "CAUSAL": causal}, archs=archs, opts={"num_warps": warps, "num_stages": 2})
    def _(c, go):
        r = rng(680 + D + causal)
        H = 2
        q, k, v = (gen(r, t, (H, n, D)) for _ in range(3))
        sc = f64(f32(1 / math.sqrt(D)))
        s = np.einsum("hid,hjd->hij", q.astype(f64), k.astype(f64)) * sc
        if causal:
            s = np.where(np.tril(np.ones((n, n), bool)), s, -np.inf)
        mx = s.max(-1, keepdims=True); p = np.exp(s - mx); den = p.sum(-1, keepdims=True)
        o = (p / den) @ v.astype(f64)
        c.inp("q", q); c.inp("k", k); c.inp("v", v)
        # P is rounded to the input format before P V (its values are at most 1): u * max|v| absolute; then one rounding of the output
        u = UNIT[t]
        c.out("o", o.astype(TT[t][1]), abs=1.1 * u * float(np.abs(v.astype(f64)).max()), rel=2 * u)
        c.out("lse", (mx + np.log(den))[..., 0].astype(f32), abs=2.0**-17, rel=2.0**-20)
        go([cdiv(n, BM), H], ["q", "k", "v", "o", "lse", s32(n), F32(1 / math.sqrt(D))])


attn("tri_attn", "f16", False, 64, 64, 32, ALL)
attn("tri_attn_causal", "bf16", True, 64, 64, 64, ALL)
attn("tri_attn_causal_d128", "f16", True, 128, 64, 64, (90,), n=100)
