"""Matrix products and attention."""
import triton
import triton.language as tl


@triton.jit
def matmul(a, b, c, M, N, K, sam, sak, sbk, sbn, scm, scn, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr, PREC: tl.constexpr):
    pm = tl.program_id(0)
    pn = tl.program_id(1)
    rm = pm * BM + tl.arange(0, BM)
    rn = pn * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    pa = a + rm[:, None] * sam + rk[None, :] * sak
    pb = b + rk[:, None] * sbk + rn[None, :] * sbn
    acc = tl.zeros([BM, BN], ACC)
    for k in range(0, tl.cdiv(K, BK)):
        left = K - k * BK
        x = tl.load(pa, mask=(rm[:, None] < M) & (rk[None, :] < left), other=0.0)
        y = tl.load(pb, mask=(rk[:, None] < left) & (rn[None, :] < N), other=0.0)
        acc = tl.dot(x, y, acc, input_precision=PREC, out_dtype=ACC)
        pa += BK * sak
        pb += BK * sbk
    tl.store(c + rm[:, None] * scm + rn[None, :] * scn, acc.to(c.dtype.element_ty), mask=(rm[:, None] < M) & (rn[None, :] < N))


@triton.jit
def matmul_splitk(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr):
    pm = tl.program_id(0)
    pn = tl.program_id(1)
    pz = tl.program_id(2)
    rm = pm * BM + tl.arange(0, BM)
    rn = pn * BN + tl.arange(0, BN)
    acc = tl.zeros([BM, BN], tl.float32)
    for k in range(pz * BK, K, BK * SPLIT):
        rk = k + tl.arange(0, BK)
        x = tl.load(a + rm[:, None] * K + rk[None, :], mask=(rm[:, None] < M) & (rk[None, :] < K), other=0.0)
        y = tl.load(b + rk[:, None] * N + rn[None, :], mask=(rk[:, None] < K) & (rn[None, :] < N), other=0.0)
        acc += tl.dot(x, y)
    tl.atomic_add(c + rm[:, None] * N + rn[None, :], acc, mask=(rm[:, None] < M) & (rn[None, :] < N))


@triton.jit
def matmul_tma(ad, bd, cd, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """Host descriptors; B is N x K."""
    m = tl.program_id(0) * BM
    n = tl.program_id(1) * BN
    acc = tl.zeros([BM, BN], tl.float32)
    for k in range(0, K, BK):
        x = ad.load([m, k])
        y = bd.load([n, k])
        acc = tl.dot(x, y.T, acc)
    cd.store([m, n], acc.to(cd.dtype))


@triton.jit
def matmul_devdesc(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PROGRAMS: tl.constexpr, WS: tl.constexpr):
    """Persistent; the descriptors are made on the device (in the launch's scratch memory)."""
    ad = tl.make_tensor_descriptor(a, shape=[M, K], strides=[K, 1], block_shape=[BM, BK])
    bd = tl.make_tensor_descriptor(b, shape=[N, K], strides=[K, 1], block_shape=[BN, BK])
    cd = tl.make_tensor_descriptor(c, shape=[M, N], strides=[N, 1], block_shape=[BM, BN])
    tn = tl.cdiv(N, BN)
    tiles = tl.cdiv(M, BM) * tn
    for t in tl.range(tl.program_id(0), tiles, PROGRAMS, warp_specialize=WS, flatten=False):
        m = t // tn * BM
        n = t % tn * BN
        acc = tl.zeros([BM, BN], tl.float32)
        for k in range(0, tl.cdiv(K, BK)):
            acc = tl.dot(ad.load([m, k * BK]), bd.load([n, k * BK]).T, acc)
        cd.store([m, n], acc.to(c.dtype.element_ty))


@triton.jit
def matmul_ws(ad, bd, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """The K loop itself is split between a loading and a computing group of warps."""
    m = tl.program_id(0) * BM
    n = tl.program_id(1) * BN
    acc = tl.zeros([BM, BN], tl.float32)
    for k in tl.range(0, tl.cdiv(K, BK), warp_specialize=True, num_stages=3):
        acc = tl.dot(ad.load([m, k * BK]), bd.load([n, k * BK]).T, acc)
    rm = m + tl.arange(0, BM)
    rn = n + tl.arange(0, BN)
    tl.store(c + rm[:, None] * N + rn[None, :], acc.to(c.dtype.element_ty), mask=(rm[:, None] < M) & (rn[None, :] < N))


@triton.jit
def matmul_moe(x, w, o, order, expert_of, M, N, K, TOP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """Rows sorted by expert: block row i multiplies rows order[i BM ..] (TOP entries a token; >= M is padding) with expert_of[i]'s weights N x K."""
    pm = tl.program_id(0)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    e = tl.load(expert_of + pm)
    row = tl.load(order + pm * BM + tl.arange(0, BM))
    ok = row < M
    rk = tl.arange(0, BK)
    acc = tl.zeros([BM, BN], tl.float32)
    for k in range(0, K, BK):
        a = tl.load(x + (row // TOP)[:, None] * K + (k + rk)[None, :], mask=ok[:, None] & (k + rk < K)[None, :], other=0.0)
        b = tl.load(w + e * N * K + rn[None, :] * K + (k + rk)[:, None], mask=(rn < N)[None, :] & (k + rk < K)[:, None], other=0.0)
        acc = tl.dot(a, b, acc)
    tl.store(o + row[:, None] * N + rn[None, :], acc.to(o.dtype.element_ty), mask=ok[:, None] & (rn < N)[None, :])


@triton.jit
def matmul_scaled(a, sa, b, sb, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr):
    """e4m3 with 1 x 128 scales of A and 128 x 128 scales of B, f32 partial sums scaled a block of 128 at a time."""
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.arange(0, 128)
    acc = tl.zeros([BM, BN], tl.float32)
    for k in range(0, K // 128):
        x = tl.load(a + rm[:, None] * K + (k * 128 + rk)[None, :], mask=(rm < M)[:, None], other=0.0)
        y = tl.load(b + rn[None, :] * K + (k * 128 + rk)[:, None], mask=(rn < N)[None, :], other=0.0)
        s = tl.load(sa + rm * (K // 128) + k, mask=rm < M, other=0.0)
        t = tl.load(sb + (rn // 128) * (K // 128) + k, mask=rn < N, other=0.0)
        acc += tl.dot(x, y) * s[:, None] * t[None, :]
    tl.store(c + rm[:, None] * N + rn[None, :], acc.to(c.dtype.element_ty), mask=(rm < M)[:, None] & (rn < N)[None, :])


@triton.jit
def attention(q, k, v, o, lse, n, scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr):
    h = tl.program_id(1)
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rd = tl.arange(0, D)
    rn = tl.arange(0, BN)
    off = h * n * D
    x = tl.load(q + off + rm[:, None] * D + rd[None, :], mask=(rm < n)[:, None], other=0.0)
    mx = tl.full([BM], -float("inf"), tl.float32)
    den = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)
    end = n
    if CAUSAL:
        end = tl.minimum(n, (tl.program_id(0) + 1) * BM)
    for j in range(0, end, BN):
        c = j + rn
        kk = tl.load(k + off + c[None, :] * D + rd[:, None], mask=(c < n)[None, :], other=0.0)
        s = tl.dot(x, kk) * (scale * 1.44269504)
        keep = (c < n)[None, :]
        if CAUSAL:
            keep = keep & (c[None, :] <= rm[:, None])
        s = tl.where(keep, s, -float("inf"))
        new = tl.maximum(mx, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        al = tl.exp2(mx - new)
        den = den * al + tl.sum(p, 1)
        vv = tl.load(v + off + c[:, None] * D + rd[None, :], mask=(c < n)[:, None], other=0.0)
        acc = tl.dot(p.to(v.dtype.element_ty), vv, acc * al[:, None])
        mx = new
    tl.store(o + off + rm[:, None] * D + rd[None, :], (acc / den[:, None]).to(o.dtype.element_ty), mask=(rm < n)[:, None])
    tl.store(lse + h * n + rm, mx * 0.69314718 + tl.log(den), mask=rm < n)
