from base import *
from int_cases import S, U
from mma_cases import data, dot_tol, TY

V = ("90a.o3", "90a.o0")


@cuda("cluster_dsmem", "hopper.cu", "cooperative groups cluster: map_shared_rank, remote atomics, cluster barrier", V)
def _(c):
    g, n = 8, 4
    a = rng(301).integers(-500, 500, (g, 64)).astype(np.int32)
    o, o2, hist = [], [], np.zeros((g // n, 8), np.int32)
    t = np.arange(64)
    for b in range(g):
        base_, r = b // n * n, b % n
        s = np.zeros(64, np.int64)
        for k in range(n):
            s = s * 3 + a[base_ + (r + k) % n][(t + k) & 63]
        o.append(s)
        o2.append(np.full(64, (r + 1) % n * 100 + r))
        for v in a[b]: hist[b // n, int(v) & 7] += 1
    c.inp("a", a)
    c.out("o", np.array(o + o2, dtype=np.int32)); c.out("hist", hist)
    c.launch("dsmem", g, 64, ["a", "o", "hist"], cluster=(n, 1, 1))


@cuda("cluster_ptx", "hopper.cu", "mapa, shared::cluster loads and atomics, split cluster barrier, remote mbarrier arrive, st.async, red.async, .reqnctapercluster", V)
def _(c):
    o = []
    for b in range(4):
        p = (b % 2) ^ 1
        s = [t + p * 1000 if t < 64 else -1 for t in range(128)]
        s[100:104] = [11, 22, 33, 44 + p]
        s[127] += sum(range(96, 128)) + 133 * 10000 + p
        o.append(s)
    c.out("o", np.array(o, np.int32))
    c.launch("cluster_ptx", 4, 128, ["o"], cluster=(2, 1, 1))


@cuda("bulk_copy", "hopper.cu", "cp.async.bulk both ways, bulk groups, cp.reduce.async.bulk add and max, L2 prefetch", V)
def _(c):
    g, n = 2, 3
    a = rng(302).integers(-500, 500, (g * n, 256)).astype(np.int32)
    d = a[:, ::-1] * 2
    acc = np.zeros(512, np.int32)
    acc[:252] = d[:, :252].sum(0); acc[256:] = np.maximum(d.max(0), 0)
    c.inp("a", a); c.out("o", d); c.out("acc", acc, fill=0)
    c.out("facc", a[:, :64].sum(0).astype(f32), exact=True, fill=0)
    c.launch("bulk", g, 256, ["a", "o", "acc", "facc", s32(n)])


@cuda("bulk_cluster", "hopper.cu", "cp.async.bulk from one block's shared memory into another's", V)
def _(c):
    a = rng(303).integers(-500, 500, (4, 128)).astype(np.int32)
    c.inp("a", a); c.out("o", a[[1, 0, 3, 2]] + 1)
    c.launch("bulk_cluster", 4, 128, ["a", "o"], cluster=(2, 1, 1))


def swz(raw, mode):
    """Bytes as they lie in shared memory (1024-byte aligned) after the swizzle."""
    m = {"none": 0, "32B": 1, "64B": 3, "128B": 7}[mode]
    off = np.arange(len(raw))
    out = np.zeros_like(raw)
    out[off ^ ((off >> 7 & m) << 4)] = raw
    return out


def tma(name, kern, t, dims, box, coords, swizzle="none", es=None, red=None, pad=0, off=0):
    """dims, box, coords innermost first."""
    @cuda(name, "hopper.cu", f"TMA {len(dims)}-D {t} box {'x'.join(map(str, box))} of {'x'.join(map(str, dims))} at {coords}, swizzle {swizzle}"
          + (f", element strides {es}" if es else "") + (f", reduction {red}" if red else ""), ("90a.o3",))
    def _(c):
        r = rng(310 + len(name) + sum(dims))
        T = {"u8": np.uint8, "s32": np.int32, "u32": np.uint32, "f32": f32, "f16": f16, "bf16": bf16, "u16": np.uint16, "u64": np.uint64, "f64": f64}[t]
        sz = np.dtype(T).itemsize
        nd = len(dims)
        # each outer pitch is rounded up to 16 bytes, plus `pad` more in the first
        pitch = [sz]
        for i in range(nd - 1):
            p = pitch[i] * dims[i] if i else sz * dims[0]
            pitch.append((p + 15) // 16 * 16 + (pad if i == 0 else 0))
        total = pitch[-1] * dims[-1]
        total = (total + 15) // 16 * 16
        def arr():
            v = r.integers(-20, 20, total // sz)
            return (v & 255 if t == "u8" else v & 0xffffffff if t in ("u32",) else v & 0xffff if t == "u16" else np.abs(v) if t == "u64" else v).astype(T)
        a, o = arr(), arr()
        e = es or [1] * nd
        cnt = [-(-b // s) for b, s in zip(box, e)]
        tile = np.zeros(cnt[::-1], T)
        where = {}
        for idx in np.ndindex(*cnt[::-1]):
            pos = [coords[i] + idx[nd - 1 - i] * e[i] for i in range(nd)]
            if all(0 <= p < d for p, d in zip(pos, dims)):
                tile[idx] = a[sum(p * q for p, q in zip(pos, pitch)) // sz]
            # the store uses element strides of one and the box that is in shared memory
            q = [coords[i] + idx[nd - 1 - i] for i in range(nd)]
            if all(0 <= p < d for p, d in zip(q, dims)):
                where[idx] = sum(p * w for p, w in zip(q, pitch)) // sz
        want = o.copy()
        f = {None: lambda x, y: y, "add": lambda x, y: x + y, "min": min, "max": max, "xor": lambda x, y: x ^ y, "or": lambda x, y: x | y}[red]
        for idx, w in where.items():
            want[w] = f(want[w], tile[idx])
        raw = swz(np.frombuffer(tile.tobytes(), np.uint8), swizzle)
        c.inp("a", a)
        c.out("o", want, inp=o, exact=True)
        c.out("raw", raw.view(np.uint32))
        tm = lambda buf, bx, es_: tmap(buf, t, dims, pitch[1:], bx, swizzle, es=es_)
        c.launch(kern, 1, 64, [tm("a", box, e), tm("o", cnt, [1] * nd), "raw", s32(len(raw))] + [s32(v) for v in (list(coords) + [0] * 5)[:5]], smem=(len(raw) + 1023) // 1024 * 1024)


tma("tma_1d_u8", "tma_1d", "u8", [300], [256], [64])
tma("tma_1d_f64", "tma_1d", "f64", [70], [64], [-9])
tma("tma_2d_none", "tma_2d", "f32", [37, 29], [20, 12], [24, 20], pad=16)
tma("tma_2d_32B", "tma_2d", "f16", [40, 33], [16, 24], [8, 16], "32B")
tma("tma_2d_64B", "tma_2d", "bf16", [70, 33], [32, 24], [48, -5], "64B")
tma("tma_2d_128B", "tma_2d", "u8", [200, 50], [128, 32], [96, 30], "128B")
tma("tma_2d_s32", "tma_2d", "s32", [40, 20], [16, 16], [4, 2], "none")
tma("tma_2d_estride", "tma_2d", "f32", [40, 60], [32, 24], [3, 9], "128B", es=[1, 3])
tma("tma_3d", "tma_3d", "s32", [20, 9, 6], [8, 4, 3], [-3, 6, 4])
tma("tma_3d_128B", "tma_3d", "bf16", [96, 7, 5], [64, 4, 4], [40, 5, 3], "128B")
tma("tma_4d", "tma_4d", "f16", [24, 6, 5, 4], [16, 3, 2, 2], [9, 2, -1, 1], "32B")
tma("tma_5d", "tma_5d", "u16", [16, 5, 4, 3, 3], [8, 2, 2, 2, 2], [4, 3, 1, 2, -1])
tma("tma_red_add_f32", "tma_red_add", "f32", [40, 20], [32, 16], [12, 8], "128B", red="add")
tma("tma_red_add_bf16", "tma_red_add", "bf16", [70, 20], [32, 8], [40, -3], "64B", red="add")
tma("tma_red_add_s32", "tma_red_add", "s32", [40, 20], [8, 16], [-4, 8], red="add")
tma("tma_red_min_s32", "tma_red_min", "s32", [40, 20], [8, 16], [35, 0], red="min")
tma("tma_red_max_f16", "tma_red_max", "f16", [40, 20], [16, 16], [1, 2], "32B", red="max")
tma("tma_red_xor_u32", "tma_red_xor", "u32", [40, 20], [8, 8], [1, 2], red="xor")
tma("tma_red_or_u64", "tma_red_or", "u64", [20, 20], [4, 8], [1, 15], red="or")


@cuda("tma_multicast", "hopper.cu", "TMA multicast to the two blocks of a cluster", V)
def _(c):
    a = rng(304).integers(-500, 500, (64, 32)).astype(np.int32)
    c.inp("a", a); c.out("o", np.stack([a + b for b in range(4)]))
    c.launch("tma_multicast", 4, 64, [tmap("a", "s32", [32, 64], [128], [32, 32]), "o"], cluster=(2, 1, 1))


@cuda("tensormap_replace", "hopper.cu", "tensormap.replace of every field in shared memory, cp_fenceproxy, acquire fence, use from global memory", V)
def _(c):
    w, h, g = 24, 20, 3
    a = rng(305).integers(-500, 500, (g, h, w)).astype(np.int32)
    o = []
    for b in range(g):
        t = np.zeros((16, 16), np.int32)
        for y in range(16):
            for x in range(16):
                if x + 4 < w and y + 8 < h - 3: t[y, x] = a[b, y + 8, x + 4]
        o.append(swz(np.frombuffer(t.tobytes(), np.uint8), "64B").view(np.int32))
    c.inp("a", a); c.scratch("maps", "u64", [g * 16], 0)
    c.out("o", np.array(o))
    # the prototype describes something else (another type, size and box)
    c.launch("tensormap_replace", g, 64, [tmap("a", "u8", [64, 4], [64], [32, 2], "32B"), "maps", "a", "o", s32(w), s32(h)])


@cuda("warp_specialised", "hopper.cu", "setmaxnreg, one producer and two consumer warpgroups over a ring of full/empty mbarriers fed by TMA", V)
def _(c):
    g, tiles = 2, 11
    a = rng(306).integers(-50, 50, (tiles * 32 - 7, g * 32)).astype(f32)
    z = np.concatenate([a, np.zeros((7, g * 32), f32)]).reshape(tiles, 32, g, 32)
    o = np.zeros((g, 2, 32), f32)
    o[:, 0] = z.sum((0, 1)); o[:, 1] = (z * np.arange(1, tiles + 1)[:, None, None, None]).sum((0, 1))
    c.inp("a", a); c.out("o", o, exact=True, fill=0)
    c.launch("specialised", g, 384, [tmap("a", "f32", [g * 32, tiles * 32 - 7], [g * 128], [32, 32], "none"), "o", s32(tiles)], smem=16384)


# ------------------------------------------------------------------ wgmma
def wg(name, ta, tb, N, kb, acc, what, sa=1, sb=1, keep=True, k_step=16):
    @cuda(name, "wgmma.cu", f"wgmma m64n{N} {ta} x {tb} -> {acc}, {what}", ("90a.o3",))   # unoptimised code copies accumulators while they are in flight
    def _(c):
        r = rng(400 + len(name) + N)
        es = {"bf16": 2, "f16": 2, "tf32": 4}.get(ta, 1)
        K = kb // es
        a, b = data(r, ta, (64, K)), data(r, tb, (N, K))
        if acc == "s32":
            cc = r.integers(-1000, 1000, (64, N)).astype(np.int32)
            kw, want = {}, (a.astype(np.int64) @ b.astype(np.int64).T + cc).astype(np.int32)
        else:
            T = {"f32": f32, "f16": f16}[acc]
            cc = r.normal(size=(64, N)).astype(T)
            A, B, C = sa * a.astype(f64), sb * b.astype(f64), cc.astype(f64) * keep
            kw = dot_tol(A, B.T, C, 32 // es, acc, ta in ("e4m3", "e5m2"))
            kw["rel"] = UNIT[acc] * 1.01
            want = (A @ B.T + C).astype(T)
        c.inp("a", a); c.inp("b", b); c.inp("c", cc)
        c.out("d", want, **kw)
        c.launch(name, 1, 128, ["a", "b", "c", "d"])


wg("wgmma_bf16_n32", "bf16", "bf16", 32, 128, "f32", "128-byte swizzle")
wg("wgmma_f16_n8", "f16", "f16", 8, 64, "f32", "no swizzle")
wg("wgmma_f16_sw32", "f16", "f16", 16, 32, "f32", "32-byte swizzle, scale-d 0, A negated", sa=-1, keep=False)
wg("wgmma_f16acc", "f16", "f16", 32, 64, "f16", "64-byte swizzle")
wg("wgmma_tf32", "tf32", "tf32", 32, 128, "f32", "128-byte swizzle, B negated", sb=-1)
wg("wgmma_e4m3", "e4m3", "e4m3", 32, 128, "f32", "128-byte swizzle")
wg("wgmma_e5m2", "e5m2", "e4m3", 16, 64, "f32", "64-byte swizzle")
wg("wgmma_e4m3_f16acc", "e4m3", "e5m2", 32, 128, "f16", "128-byte swizzle")
wg("wgmma_s8", "s8", "s8", 32, 128, "s32", "128-byte swizzle")
wg("wgmma_u8", "u8", "s8", 24, 64, "s32", "no swizzle, satfinite")
wg("wgmma_a_regs", "bf16", "bf16", 32, 128, "f32", "A in registers")


@cuda("wgmma_mn_major", "wgmma.cu", "wgmma m64n64k16 f16 with both operands MN-major, 128-byte swizzle", ("90a.o3",))
def _(c):
    r = rng(450)
    a, b = data(r, "f16", (64, 64)), data(r, "f16", (64, 64))      # [k][m], [k][n]
    cc = r.normal(size=(64, 64)).astype(f32)
    A, B = a.astype(f64).T, b.astype(f64)
    c.inp("a", a); c.inp("b", b); c.inp("c", cc)
    c.out("d", (A @ B + cc).astype(f32), rel=2.0**-24 * 1.01, **dot_tol(A, B, cc.astype(f64), 16))
    c.launch("wgmma_mn_major", 1, 128, ["a", "b", "c", "d"])
