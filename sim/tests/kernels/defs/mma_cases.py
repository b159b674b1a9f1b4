"""mma.sync and wmma.  abs = 2 K 2^-24 max_ij sum_k |a_ik b_kj| for f32 accumulators (see base.py);
f16 accumulators add one rounding of f16 a step: (K / k + 1) 2^-11 max |d|.  Integers are exact."""
from base import *
from int_cases import S, U


def dot_tol(a, b, c, kk, acc="f32", fp8=False):
    m = float((np.abs(a) @ np.abs(b)).max() + np.abs(c).max())
    K = a.shape[1]
    t = {"abs": 2 * (K + 1) * 2.0**-24 * m}
    if acc == "f16":
        t["abs"] = (K / kk + 1) * 2.0**-11 * m * 1.01
    if acc == "f64":
        t["abs"] = 2 * (K + 1) * 2.0**-53 * m
    if fp8:
        big = max(float(np.abs(a).max() * np.abs(b).max()), m)
        t["hw"] = {"abs": t["abs"] + (K / 32) * 33 * 2.0**-13 * big, "rel": 0.0}
    return t


TY = {"bf16": bf16, "f16": f16, "e4m3": e4m3, "e5m2": e5m2, "s8": np.int8, "u8": np.uint8, "f64": f64}


def tf32v(x):
    b = x.astype(f32).view(np.uint32)
    return ((b + np.uint32(0x1000)) & np.uint32(0xffffe000)).view(f32)


def data(r, t, shape):
    if t == "s8": return r.integers(-128, 128, shape).astype(np.int8)
    if t == "u8": return r.integers(0, 256, shape).astype(np.uint8)
    v = r.normal(size=shape)
    return tf32v(v) if t == "tf32" else v.astype(TY[t])


def mma(name, ta, tb, M, k, acc, vs, K=64, what=None):
    @cuda(name, "mma.cu", what or f"mma.sync m{M}n8k{k} {ta} x {tb} + {acc}", vs)
    def _(c):
        r = rng(100 + len(name))
        n = 24
        a, b = data(r, ta, (M, K)), data(r, tb, (n, K))
        if acc == "s32":
            cc = r.integers(-1000, 1000, (M, n)).astype(np.int32)
            want = a.astype(np.int64) @ b.astype(np.int64).T + cc
            kw = {}
            want = want.astype(np.int32)
        else:
            T = {"f32": f32, "f16": f16, "f64": f64}[acc]
            cc = r.normal(size=(M, n)).astype(T)
            A, B = a.astype(f64), b.astype(f64)
            w = A @ B.T + cc.astype(f64)
            kw = dot_tol(A, B.T, cc.astype(f64), k, acc, ta in ("e4m3", "e5m2"))
            want = w.astype(T)
            kw["rel"] = UNIT[acc] * 1.01
        c.inp("a", a); c.inp("b", b); c.inp("c", cc)
        c.out("d", want, **kw)
        c.launch(name, n // 8, 32, ["a", "b", "c", "d", s32(K), s32(n)])


B3 = ("90a.o3", "80.o3", "90a.o0")
mma("mma_bf16_k16", "bf16", "bf16", 16, 16, "f32", B3)
mma("mma_bf16_k8", "bf16", "bf16", 16, 8, "f32", ("90a.o3",))
mma("mma_f16_k16", "f16", "f16", 16, 16, "f32", B3)
mma("mma_f16_k8", "f16", "f16", 16, 8, "f32", ("90a.o3",))
mma("mma_f16acc_k16", "f16", "f16", 16, 16, "f16", ("90a.o3", "80.o3"))
mma("mma_f16acc_k8", "f16", "f16", 16, 8, "f16", ("90a.o3",))
mma("mma_tf32_k8", "tf32", "tf32", 16, 8, "f32", ("90a.o3", "80.o3"))
mma("mma_tf32_k4", "tf32", "tf32", 16, 4, "f32", ("90a.o3",))
mma("mma_s8_k32", "s8", "s8", 16, 32, "s32", ("90a.o3", "80.o3"), 96)
mma("mma_u8s8_k16", "u8", "s8", 16, 16, "s32", ("90a.o3",))
mma("mma_u8_k16", "u8", "u8", 8, 16, "s32", ("90a.o3",))
mma("mma_f64_k4", "f64", "f64", 8, 4, "f64", ("90a.o3", "80.o3"))
mma("mma_e4m3", "e4m3", "e4m3", 16, 32, "f32", ("89.o3", "90a.o3"), 96)
mma("mma_e5m2_e4m3", "e5m2", "e4m3", 16, 32, "f32", ("89.o3", "90a.o3"), 96)
mma("mma_f64_m16k4", "f64", "f64", 16, 4, "f64", ("90a.o3",))
mma("mma_f64_m16k8", "f64", "f64", 16, 8, "f64", ("90a.o3",))


def wmma(name, t, M, N, k, acc, la, lb, double=True):
    @cuda(name, "mma.cu", f"nvcuda::wmma m{M}n{N}k{k} {t}, A {la}-major, B {lb}-major", ("90a.o3", "80.o3"))
    def _(c):
        r = rng(200 + len(name) + M)
        K, n = k * 4, N * 2
        if t == "tf32":
            a, b = r.normal(size=(M, K)).astype(f32), r.normal(size=(n, K)).astype(f32)
            A, B = tf32v(a).astype(f64), tf32v(b).astype(f64)
        else:
            a, b = data(r, t, (M, K)), data(r, t, (n, K))
            A, B = (a.astype(np.int64), b.astype(np.int64)) if acc == "s32" else (a.astype(f64), b.astype(f64))
        if acc == "s32":
            cc = r.integers(-999, 999, (M, n)).astype(np.int32)
            kw, want = {}, (2 * (A @ B.T + cc)).astype(np.int32)
        else:
            T = {"f32": f32, "f16": f16, "f64": f64}[acc]
            cc = r.normal(size=(M, n)).astype(T)
            kw = dot_tol(A, B.T, cc.astype(f64), k, acc)
            kw["abs"] *= 2
            kw["rel"] = UNIT[acc] * 2.02
            want = ((2 if double else 1) * (A @ B.T + cc.astype(f64))).astype(T)
        c.inp("a", a if la == "row" else a.T.copy()); c.inp("b", b if lb == "col" else b.T.copy()); c.inp("c", cc)
        c.out("d", want, **kw)
        c.launch(name, 2, 32, ["a", "b", "c", "d", s32(K), s32(K if la == "row" else M), s32(K if lb == "col" else n), s32(n)])


wmma("wmma_f16", "f16", 16, 16, 16, "f32", "row", "col")
wmma("wmma_f16_rr", "f16", 8, 32, 16, "f32", "row", "row")
wmma("wmma_f16acc", "f16", 16, 16, 16, "f16", "col", "col")
wmma("wmma_bf16", "bf16", 8, 32, 16, "f32", "row", "col")
wmma("wmma_s8", "s8", 16, 16, 16, "s32", "row", "col")
wmma("wmma_u8", "u8", 16, 16, 16, "s32", "col", "row")
wmma("wmma_f64", "f64", 8, 8, 4, "f64", "row", "col")
wmma("wmma_tf32", "tf32", 16, 16, 8, "f32", "row", "col", False)


def moves(c, st):
    a = rng(210).integers(0, 65536, (16, 64)).astype(np.uint16)
    g, t = np.arange(32) // 4, np.arange(32) % 4
    pk = lambda lo, hi: lo.astype(np.uint32) | hi.astype(np.uint32) << 16
    def ld(m, tr=False):
        m = m.T if tr else m
        return pk(m[g, 2 * t], m[g, 2 * t + 1])
    # matrix j of .x4: rows at lanes 8j..8j+7: (row 0-7, col 0), (row 8-15, col 0), (row 0-7, col 8), (row 8-15, col 8)
    q = lambda c0: [a[0:8, c0:c0 + 8], a[8:16, c0:c0 + 8], a[0:8, c0 + 8:c0 + 16], a[8:16, c0 + 8:c0 + 16]]
    rows = [ld(m) for m in q(0)] + [ld(m, True) for m in q(16)]
    rows.append(ld(q(16)[1]))                       # transposed twice
    rows += [ld(m) for m in q(32)[:2]] + [ld(q(48)[0], True)]
    c.inp("a", a)
    c.out("o", np.array(rows, np.uint32))
    if st:
        l = np.arange(32, dtype=np.uint32)
        v0, v1 = l * 0x10001, l * 0x20002 + 1
        v2, v3 = ~v0, v1 << 3
        def mat(v):
            m = np.zeros((8, 8), np.uint16)
            m[g, 2 * t] = v & 0xffff; m[g, 2 * t + 1] = v >> 16
            return m
        d = np.full(2048, 0xffff, np.uint16)
        for j, v in enumerate((v0, v1, v2, v3)): d[j * 64:j * 64 + 64] = mat(v).ravel()
        for j, v in enumerate((v0, v1)): d[512 + j * 64:512 + j * 64 + 64] = mat(v).T.ravel()
        d[1024:1088] = mat(v3).ravel()
        c.out("st", d[:1536])
    else:
        c.scratch("st", "u16", [1536])
    c.launch("matrix_moves", 1, 32, ["a", "o", "st"])


@cuda("matrix_moves", "mma.cu", "ldmatrix x1 x2 x4 and .trans, movmatrix, stmatrix x1 x2 x4 and .trans", ("90a.o3", "90a.o0"))
def _(c): moves(c, True)


@cuda("matrix_moves_sm80", "mma.cu", "ldmatrix x1 x2 x4 and .trans, movmatrix", ("80.o3",))
def _(c): moves(c, False)
