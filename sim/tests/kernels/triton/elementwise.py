"""Element-wise kernels, row reductions, normalisation, quantisation, sorting, random numbers."""
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def axpy(x, y, o, alpha, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m = i < n
    tl.store(o + i, alpha * tl.load(x + i, mask=m, other=0.0) + tl.load(y + i, mask=m, other=0.0), mask=m)


@triton.jit
def mathmix(x, o, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m = i < n
    v = tl.load(x + i, mask=m, other=1.0)
    p = tl.abs(v) + 0.25
    tl.store(o + i, tl.exp(v), mask=m)
    tl.store(o + n + i, tl.log(p), mask=m)
    tl.store(o + 2 * n + i, tl.sin(v) + tl.cos(v), mask=m)
    tl.store(o + 3 * n + i, tl.sqrt(p) + tl.rsqrt(p), mask=m)
    tl.store(o + 4 * n + i, tl.erf(v), mask=m)
    tl.store(o + 5 * n + i, libdevice.tanh(v), mask=m)
    tl.store(o + 6 * n + i, libdevice.pow(p, v), mask=m)
    tl.store(o + 7 * n + i, tl.sigmoid(v), mask=m)
    tl.store(o + 8 * n + i, tl.div_rn(v, p), mask=m)
    tl.store(o + 9 * n + i, tl.floor(v) + tl.ceil(v * 2.0), mask=m)
    tl.store(o + 10 * n + i, libdevice.log1p(p) + libdevice.expm1(v), mask=m)


@triton.jit
def integers(a, b, o, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m = i < n
    x = tl.load(a + i, mask=m, other=1)
    y = tl.load(b + i, mask=m, other=1)
    tl.store(o + i, x * y + (x ^ y), mask=m)
    tl.store(o + n + i, tl.where(x < y, x // (y | 1), x % (y | 1)), mask=m)
    tl.store(o + 2 * n + i, tl.umulhi(x.to(tl.uint32), y.to(tl.uint32)).to(tl.int32, bitcast=True), mask=m)
    tl.store(o + 3 * n + i, (x.to(tl.int64) * y.to(tl.int64) >> 17).to(tl.int32), mask=m)
    tl.store(o + 4 * n + i, (x << (y & 15)) | (x >> (y & 7)), mask=m)
    tl.store(o + 5 * n + i, tl.cdiv(x & 0xffff, 7) + tl.minimum(x, y) - tl.maximum(x, y), mask=m)
    tl.store(o + 6 * n + i, x.to(tl.int8).to(tl.int32) + y.to(tl.int16).to(tl.int32), mask=m)


@triton.jit
def softmax(x, o, stride, n, BLOCK: tl.constexpr):
    r = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    m = c < n
    v = tl.load(x + r * stride + c, mask=m, other=-float("inf")).to(tl.float32)
    v = tl.exp(v - tl.max(v, 0))
    tl.store(o + r * stride + c, v / tl.sum(v, 0), mask=m)


@triton.jit
def layernorm_fwd(x, w, b, o, mean, rstd, stride, n, eps, BLOCK: tl.constexpr):
    r = tl.program_id(0)
    acc = tl.zeros([BLOCK], tl.float32)
    for k in range(0, n, BLOCK):
        c = k + tl.arange(0, BLOCK)
        acc += tl.load(x + r * stride + c, mask=c < n, other=0.0).to(tl.float32)
    mu = tl.sum(acc, 0) / n
    acc = tl.zeros([BLOCK], tl.float32)
    for k in range(0, n, BLOCK):
        c = k + tl.arange(0, BLOCK)
        d = tl.where(c < n, tl.load(x + r * stride + c, mask=c < n, other=0.0).to(tl.float32) - mu, 0.0)
        acc += d * d
    rs = 1 / tl.sqrt(tl.sum(acc, 0) / n + eps)
    tl.store(mean + r, mu)
    tl.store(rstd + r, rs)
    for k in range(0, n, BLOCK):
        c = k + tl.arange(0, BLOCK)
        m = c < n
        v = (tl.load(x + r * stride + c, mask=m, other=0.0).to(tl.float32) - mu) * rs
        tl.store(o + r * stride + c, v * tl.load(w + c, mask=m) + tl.load(b + c, mask=m), mask=m)


@triton.jit
def layernorm_bwd(x, w, dy, dx, dw, db, lock, mean, rstd, stride, n, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    """dw and db gather in GROUPS rows, each behind a spin lock; the first to come stores, the others add."""
    r = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    m = c < n
    mu = tl.load(mean + r)
    rs = tl.load(rstd + r)
    g = tl.load(dy + r * stride + c, mask=m, other=0.0).to(tl.float32)
    h = tl.where(m, (tl.load(x + r * stride + c, mask=m, other=0.0).to(tl.float32) - mu) * rs, 0.0)
    wg = g * tl.load(w + c, mask=m, other=0.0).to(tl.float32)
    s1 = tl.sum(h * wg, 0) / n
    s2 = tl.sum(wg, 0) / n
    tl.store(dx + r * stride + c, (wg - (h * s1 + s2)) * rs, mask=m)
    slot = r % GROUPS
    pw = g * h
    pb = g
    while tl.atomic_cas(lock + slot, 0, 1) == 1:
        pass
    seen = tl.load(lock + GROUPS + slot)
    if seen == 0:
        tl.atomic_xchg(lock + GROUPS + slot, 1)
    else:
        pw += tl.load(dw + slot * n + c, mask=m)
        pb += tl.load(db + slot * n + c, mask=m)
    tl.store(dw + slot * n + c, pw, mask=m)
    tl.store(db + slot * n + c, pb, mask=m)
    tl.debug_barrier()
    tl.atomic_xchg(lock + slot, 0)


@triton.jit
def argreduce(x, imax, imin, vmax, prod, rows, n, R: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.program_id(0) * R + tl.arange(0, R)
    c = tl.arange(0, BLOCK)
    m = (r < rows)[:, None] & (c < n)[None, :]
    v = tl.load(x + r[:, None] * n + c[None, :], mask=m, other=-float("inf"))
    tl.store(imax + r, tl.argmax(v, 1), mask=r < rows)
    tl.store(vmax + r, tl.max(v, 1), mask=r < rows)
    u = tl.where(m, v, float("inf"))
    tl.store(imin + r, tl.argmin(u, 1), mask=r < rows)
    tl.store(prod + r, tl.xor_sum(tl.where(m, (v * 64).to(tl.int32), 0), 1), mask=r < rows)


@triton.jit
def _first_order(a1, b1, a2, b2):
    return a1 * a2, b1 * a2 + b2


@triton.jit
def scans(x, g, o, oi, n, BLOCK: tl.constexpr):
    r = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    m = c < n
    v = tl.load(x + r * n + c, mask=m, other=0)
    tl.store(oi + r * n + c, tl.cumsum(v, 0), mask=m)
    a = tl.load(g + r * n + c, mask=m, other=0.0)
    _, h = tl.associative_scan((a, v.to(tl.float32)), 0, _first_order)
    tl.store(o + r * n + c, h, mask=m)


@triton.jit
def sorting(x, o, top, hist, n, BLOCK: tl.constexpr, K: tl.constexpr):
    r = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    v = tl.load(x + r * BLOCK + c)
    tl.store(o + r * BLOCK + c, tl.sort(v))
    tl.store(top + r * K + tl.arange(0, K), tl.topk(v, K))
    h = tl.histogram((v & 15), 16)
    tl.atomic_add(hist + tl.arange(0, 16), h)
    tl.store(o + (n + r) * BLOCK + c, tl.flip(v, 0))


@triton.jit
def quantise(x, q, s, n, BLOCK: tl.constexpr):
    """Rows of 1 x 128 to e4m3 with one f32 scale each."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, 128)
    m = (i < n)[:, None]
    v = tl.load(x + i[:, None] * 128 + c[None, :], mask=m, other=0.0).to(tl.float32)
    a = tl.maximum(tl.max(tl.abs(v), 1), 1e-10)
    sc = a / 448.0
    tl.store(q + i[:, None] * 128 + c[None, :], tl.div_rn(v, sc[:, None]).to(q.dtype.element_ty), mask=m)
    tl.store(s + i, sc, mask=i < n)


@triton.jit
def swiglu(gu, o, n, cols: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m = i < n * cols
    r = i // cols
    c = i % cols
    g = tl.load(gu + r * 2 * cols + c, mask=m).to(tl.float32)
    u = tl.load(gu + r * 2 * cols + cols + c, mask=m).to(tl.float32)
    tl.store(o + i, (g * tl.sigmoid(g) * u).to(tl.bfloat16), mask=m)


@triton.jit
def gather_sum(x, idx, wt, o, d, K: tl.constexpr, BLOCK: tl.constexpr):
    """o[t] = sum over k of wt[t, k] x[idx[t, k]]; a negative index is left out."""
    t = tl.program_id(0)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(K):
        j = tl.load(idx + t * K + k)
        if j >= 0:
            acc += tl.load(wt + t * K + k) * tl.load(x + j * d + c, mask=c < d, other=0.0).to(tl.float32)
    tl.store(o + t * d + c, acc, mask=c < d)


@triton.jit
def rope(x, cos, sin, o, heads, d: tl.constexpr):
    t = tl.program_id(0)
    h = tl.program_id(1)
    c = tl.arange(0, d // 2)
    base = (t * heads + h) * d
    a = tl.load(x + base + c).to(tl.float32)
    b = tl.load(x + base + d // 2 + c).to(tl.float32)
    co = tl.load(cos + t * (d // 2) + c)
    si = tl.load(sin + t * (d // 2) + c)
    tl.store(o + base + c, (a * co - b * si).to(o.dtype.element_ty))
    tl.store(o + base + d // 2 + c, (b * co + a * si).to(o.dtype.element_ty))
