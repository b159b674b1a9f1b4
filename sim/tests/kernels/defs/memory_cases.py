from base import *
from int_cases import S, U

ALL = ("90a.o3", "80.o3", "90a.o0")


# ------------------------------------------------------------------ atomics
def tot(xs):
    """The counters after totals() on xs."""
    I = [0, 0, 2**31 - 1, -2**31, -1, 0, 0, 2**32 - 1, 0, 0, 0]
    Q = [0, 2**63 - 1, -2**63, 2**64 - 1, 0, 2**64 - 1, 0, 0]
    f = 0.0
    for x in xs:
        I[0] += x; I[1] -= x; I[2] = min(I[2], x); I[3] = max(I[3], x); I[4] &= x | 0xff00; I[5] |= x & 0xf0f; I[6] ^= x * 77
        I[7] = min(I[7], U(x)); I[8] = max(I[8], U(x)); I[9] = 0 if I[9] >= 12 else I[9] + 1; I[10] = 9 if I[10] == 0 or I[10] > 9 else I[10] - 1
        Q[0] += x * 0x100000001; Q[1] = min(Q[1], x << 33); Q[2] = max(Q[2], x << 33); Q[3] = min(Q[3], U(x << 33, 64)); Q[4] = max(Q[4], U(x << 33, 64))
        Q[5] &= ~((x & 31) << 36); Q[6] |= 1 << (x & 63); Q[7] ^= U(x) << 15
        f += x
    return [S(v) for v in I], [U(v, 64) for v in Q], f * 0.25, f * 0.125


@cuda("atomics", "atomics.cu", "atomic add sub min max and or xor inc dec on 32/64-bit integers, f32, f64, in global and shared memory", ALL)
def _(c):
    n, g, b = 777, 3, 128
    a = rng(81).integers(-1000, 1000, n).astype(np.int32)
    A = [int(x) for x in a]
    i0, q0, _, _ = tot([])
    I, Q, f, d = tot(A)
    c.inp("a", a)
    c.out("gi", np.array(I, np.int32), inp=np.array(i0, np.int32)); c.out("gu", np.array(Q, np.uint64), inp=np.array(q0, np.uint64))
    c.out("gf", np.array([f], f32), exact=True, fill=0); c.out("gd", np.array([d]), exact=True, fill=0)
    blk = [tot([A[k] for s in range(k0 * b, n, g * b) for k in range(s, min(s + b, n))]) for k0 in range(g)]
    c.out("si", np.array([t[0] for t in blk], np.int32)); c.out("su", np.array([t[1] for t in blk], np.uint64))
    c.out("sf", np.array([t[2] for t in blk], f32), exact=True); c.out("sd", np.array([t[3] for t in blk]), exact=True)
    c.launch("atom_totals", g, b, ["a", "gi", "gu", "gf", "gd", "si", "su", "sf", "sd", s32(n)])


@cuda("atomic_results", "atomics.cu", "atomics whose results are used: tickets, wrap-around inc/dec, exchange, 64- and 16-bit CAS loops, float maximum by CAS", ALL)
def _(c):
    n = 500
    s, dec = 0, [0] * 5
    for _ in range(n):
        dec[s] += 1
        s = 4 if s == 0 or s > 4 else s - 1
    inc = [len(range(j, n, 7)) for j in range(7)] + [0] + dec
    c.out("ctr", np.array([n, n % 7, s], np.int32), fill=0)
    c.out("seen", np.ones(n, np.int32), fill=0)
    c.out("chain", np.array([0, n * (n + 1) // 2, n], np.uint64), fill=0)
    c.out("h", np.array([(3 * n) % 65536, 0], np.uint16), fill=0)
    c.out("fmax", np.array([(n - 1) * 0.5], f32), fill=0)
    c.out("inc", np.array(inc, np.int32), fill=0)
    c.launch("atom_results", 4, 128, ["ctr", "seen", "chain", "h", "fmax", "inc", s32(n)])
    c.launch("atom_fold", 1, 1, ["chain", s32(0), s32(1)])


@cuda("atomic_half", "atomics.cu", "atomicAdd on f16, f16x2, bf16, bf16x2 (values whose sums are exact)", ALL)
def _(c):
    n = 200
    a = rng(82).integers(-2, 3, n).astype(f32)
    b = a[::-1].copy()
    v4 = [sum(b[k::4]) for k in range(4)]
    c.inp("a", a.astype(f16)); c.inp("b", b.astype(bf16))
    def p2(x): return [v for k in range(2) for v in (sum(x[k::2]), sum(x[::-1][k::2]))]
    c.out("oh", np.array([sum(a[k::4]) for k in range(4)], f16), exact=True, fill=0); c.out("oh2", np.array(p2(a), f16), exact=True, fill=0)
    c.out("ob", np.array(v4, f32).astype(bf16), exact=True, fill=0); c.out("ob2", np.array(p2(b), f32).astype(bf16), exact=True, fill=0)
    c.launch("atom_half", 2, 128, ["a", "oh", "oh2", "b", "ob", "ob2", s32(n)])


@cuda("atomic_vector", "atomics.cu", "vector f32 and f16x2/bf16x2 atomics and reductions", ("90a.o3", "90a.o0"))
def _(c):
    n = 180
    a = rng(83).integers(-9, 10, n).astype(f32)
    c.inp("a", a)
    e, o = a[::2].sum(), a[1::2].sum()
    h = n / 2
    c.out("o2", np.array([e, h, o, h], f32), exact=True, fill=0)
    c.out("o4", np.array([e, h, -e, n, o, h, -o, n], f32), exact=True, fill=0)
    c.out("oa", np.array([a.sum(), a.sum(), n, n, 0], f32), exact=True, fill=0)
    one = int(np.array(n, f16).view(np.uint16))
    c.out("oh", np.array([one] * 8 + [0x3c07, 0x3c00] * 2 + [0x3f80] * 4, np.uint16), inp=np.array([0] * 12 + [0x4000] * 4, np.uint16))
    c.launch("atom_vec", 2, 128, ["a", "o2", "o4", "oa", "oh", s32(n)])


@cuda("atomic_128", "atomics.cu", "128-bit compare-and-swap and exchange (.b128 registers)", ("90a.o3",))
def _(c):
    n = 100
    t = sum(0xffffffffffffff01 + (i << 64) for i in range(n))
    c.out("p", np.array([U(t, 64), U(t >> 64, 64)], np.uint64), fill=0)
    k = n * (n + 1) // 2
    c.out("x", np.array([0, 0, k, 2 * k], np.uint64), fill=0)
    c.launch("cas128", 2, 64, ["p", "x", s32(n)])
    c.launch("atom_fold", 1, 1, ["x", s32(0), s32(2)])
    c.launch("atom_fold", 1, 1, ["x", s32(1), s32(3)])


@cuda("atomic_scopes", "atomics.cu", "cuda::atomic and atomic_ref with block, device and system scope and all orders, fences", ALL)
def _(c):
    b, t = 3, 96
    n = b * t
    c.out("g", np.array([4 * n, -n, n, n] + [2 * t] * b, np.int32), fill=0)
    c.out("u", np.array([2**64 - 1], np.uint64), fill=0)
    c.launch("atom_scopes", b, t, ["g", "u", s32(n)])


@cuda("spin_lock", "atomics.cu", "one lock taken by every lane of several blocks", ALL)
def _(c):
    c.out("lock", np.zeros(1, np.int32), fill=0)
    c.out("sum", np.array([sum(t + b * 1000 for b in range(3) for t in range(64))], np.int32), fill=0)
    c.scratch("last", "s32", [1])
    c.launch("spin_lock", 3, 64, ["lock", "sum", "last"])


@cuda("spin_lock_lane", "atomics.cu", "while (CAS) {} : needs forward progress of each lane", ALL)
def _(c):
    c.out("lock", np.zeros(1, np.int32), fill=0)
    c.out("sum", np.array([2 * sum(range(1, 65))], np.int32), fill=0)
    c.launch("spin_lock_lane", 2, 64, ["lock", "sum"])


@cuda("lane_chain", "atomics.cu", "lanes of one warp wait on volatile values their neighbours write", ALL)
def _(c):
    n = 64
    c.out("box", np.array([1 + sum(range(k)) for k in range(n + 1)], np.int32), inp=np.array([1] + [0] * n, np.int32))
    c.launch("lane_chain", 1, n, ["box"])


@cuda("producer_consumer", "atomics.cu", "two blocks exchange through a ring with acquire/release flags", ALL)
def _(c):
    n, w = 13, 64
    a = rng(84).integers(-1000, 1000, (n, w)).astype(np.int32)
    s = [0] * w
    for k in range(n):
        s = [S(s[t] * 3 + int(a[k, t ^ 1]) * 2 + k) for t in range(w)]
    c.inp("a", a); c.scratch("q", "s32", [4 * w]); c.scratch("flag", "s32", [4])
    c.out("o", np.array(s, np.int32))
    c.launch("producer_consumer", 2, w, ["a", "q", "flag", "o", s32(n)])


# ------------------------------------------------------------------ memory
@cuda("vectors", "memory.cu", "float4 longlong2 char4 short2 double2 uchar3 loads and stores", ALL)
def _(c):
    n = 133
    r = rng(85)
    f = r.normal(size=(n, 4)).astype(f32); l = r.integers(-2**62, 2**62, (n, 2)); ch = r.integers(-128, 128, (n, 4)).astype(np.int8)
    s = r.integers(-2**15, 2**15, (n, 2)).astype(np.int16); d = r.normal(size=(n, 2)); u = r.integers(0, 256, (n, 3)).astype(np.uint8)
    for k, v in (("f4", f), ("l2", l), ("c4", ch), ("s2", s), ("d2", d), ("u3", u)):
        c.inp(k, v)
    c.out("of", np.stack([f[:, 3], f[:, 0] + f32(1), f[:, 2] * f32(2), f[:, 1]], 1)[::-1], exact=True)
    with np.errstate(over="ignore"):
        c.out("ol", np.stack([l[:, 1] - l[:, 0], l[:, 0] ^ l[:, 1]], 1))
        c.out("oc", np.stack([ch[:, 1], ch[:, 0], -ch[:, 2], ch[:, 3] + np.int8(1)], 1))
        c.out("os", np.stack([s[:, 1], s[:, 0] * np.int16(3)], 1))
        c.out("ou", np.stack([u[:, 2], u[:, 0], u[:, 1] + np.uint8(1)], 1))
    c.out("od", np.stack([d[:, 0] * d[:, 1], -d[:, 0]], 1), exact=True)
    c.launch("vectors", 2, 96, ["f4", "l2", "c4", "s2", "d2", "u3", "of", "ol", "oc", "os", "od", "ou", s32(n)])


@cuda("cache_ops", "memory.cu", "ldg ldcg ldcs ldlu ldcv st.cs .cg .wb .wt volatile prefetch createpolicy cache hints eviction priorities", ("90a.o3", "80.o3"))
def _(c):
    n = 1024
    a = rng(86).integers(-1000, 1000, n).astype(np.int32)
    i = np.arange(n)
    s = sum(a[(i + k) % n] * (k + 1) for k in range(6))
    q = a[(i % (n // 4)) * 4 + np.arange(4)[:, None]]
    o = np.concatenate([s, s + 1, s + 2, s + 3, np.stack([q[0] ^ q[2], q[1] ^ q[3]], 1).ravel(), a, a + 1, a * 2, a * 3, a, a, a,
                        a.view(np.int8)[:n].astype(np.int32), a.view(np.uint8)[3::4].astype(np.int32)]).astype(np.int32)
    c.inp("a", a)
    c.out("o", o); c.out("v", (i + 5).astype(np.int32))
    c.launch("cache_ops", 8, 128, ["a", "o", "v", s32(n)])


@cuda("generic_ptr", "memory.cu", "generic pointers into global, shared, local and constant memory, isspacep, cvta", ALL)
def _(c):
    n = 128
    a = rng(87).integers(0, 1000, n).astype(np.int32)
    o, k, s = [], [], [t * 7 for t in range(n)]
    for t in range(n):
        j = int(a[t]) & 3
        o.append([int(a[t]), ((t + 1) & 127) * 7, ((t >> 2) & 3) * 11 + t, (t & 3) * 100 + 100][j])
        k.append([2, 1, 4, 8][j])
    for t in range(n):
        if int(a[t]) & 3 == 1: s[(t + 1) & 127] = -t
    # another thread may read s[t + 1] only through its own slot, so reads and generic stores do not meet
    c.inp("a", a); c.out("o", np.array(o + k + s, np.int32))
    c.launch("generic_ptr", 1, n, ["a", "o", s32(n)])


@cuda("transpose", "memory.cu", "transposition through dynamic shared memory beside a static array, ragged edges", ALL + ("90a.g",))
def _(c):
    r, k = 70, 45
    a = rng(88).integers(-100, 100, (r, k)).astype(f32)
    c.inp("a", a); c.out("o", (a.T * 3 - 4).astype(f32), exact=True)
    c.launch("transpose", (2, 3), (32, 8), ["a", "o", s32(r), s32(k)], smem=32 * 33 * 4)


@cuda("shared_bytes", "memory.cu", "8-, 16- and 128-bit views of one dynamic shared allocation", ALL)
def _(c):
    a = rng(89).integers(0, 256, 256).astype(np.uint8)
    t = np.arange(256)
    c.inp("a", a); c.out("o", (a[t ^ 5].astype(int) + a[(t + 3) & 255]).astype(np.uint8))
    c.launch("shared_bytes", 1, 256, ["a", "o", s32(256)], smem=1280)


# ------------------------------------------------------------------ block-level synchronisation
@cuda("barrier_votes", "sync.cu", "__syncthreads_count/and/or, barrier.red with an id", ALL)
def _(c):
    n = 256
    a = rng(90).integers(-50, 50, n).astype(np.int32)
    a[128:] |= 1; a[128:] = np.minimum(a[128:], 45)
    rows = [[], [], [], [], []]
    for b in (a[:128], a[128:]):
        for k, v in enumerate([int((b & 1).sum()), 1, int((b > 45).any()), int((b & 1).all()), int((b > 0).sum())]):
            rows[k] += [v] * 128
    c.inp("a", a); c.out("o", np.array(rows, np.int32))
    c.launch("barrier_votes", 2, 128, ["a", "o", s32(n)])


@cuda("named_barriers", "sync.cu", "bar.sync and bar.arrive with ids from a register, two groups of warps", ALL)
def _(c):
    n = 7
    a = rng(91).integers(-500, 500, (n, 64)).astype(np.int32)
    c.inp("a", a); c.out("o", (a[:, ::-1] + np.arange(n)[:, None]).astype(np.int32))
    c.launch("named_barriers", 1, 128, ["a", "o", s32(n)])


@cuda("grid_sync", "sync.cu", "cooperative groups grid barrier (cooperative launch; reads %envreg1/%envreg2)", ("90a.o3", "80.o3"))
def _(c):
    n, rounds = 384, 5
    a = rng(92).integers(-5, 6, n).astype(np.int32)
    x, y = a.copy(), np.zeros(n, np.int32)
    for r in range(rounds):
        s = x if r % 2 == 0 else y
        d = s + np.roll(s, -37)
        if r % 2 == 0: y = d
        else: x = d
    c.out("a", x, inp=a); c.out("b", y, fill=0)
    c.launch("grid_sync", 3, 128, ["a", "b", s32(rounds)], attributes={"cooperative": True})


@cuda("libcu_barrier", "sync.cu", "cuda::barrier and cuda::memcpy_async", ALL)
def _(c):
    n, b = 5, 128
    a = rng(93).integers(-1000, 1000, (n, b)).astype(np.int32)
    t = np.arange(b)
    c.inp("a", a); c.out("o", sum(a[k, (t * 5 + k) % b] for k in range(n)).astype(np.int32))
    c.launch("libcu_barrier", 1, b, ["a", "o", s32(n)])


@cuda("libcu_pipeline", "sync.cu", "cuda::pipeline of three stages", ALL)
def _(c):
    n = 8
    a = rng(94).integers(-100, 100, (n, 128)).astype(f32)
    c.inp("a", a); c.out("o", sum(a[k, ::-1] * (k + 1) for k in range(n)).astype(f32), exact=True)
    c.launch("libcu_pipeline", 1, 128, ["a", "o", s32(n)])


@cuda("cg_memcpy", "sync.cu", "cooperative_groups::memcpy_async, wait_prior", ALL)
def _(c):
    n = 6
    a = rng(95).integers(-100, 100, (n, 128)).astype(np.int32)
    acc = np.zeros(128, np.int64)
    for k in range(n):
        acc = acc * 3 + a[k, np.arange(128) ^ 3]
    c.inp("a", a); c.out("o", acc.astype(np.int32))
    c.launch("cg_memcpy", 1, 128, ["a", "o", s32(n)])


@cuda("cp_async", "sync.cu", "cp.async of 4, 8, 16 bytes, short source sizes, ignore-source predicate, groups", ALL)
def _(c):
    n = 470
    a = rng(96).integers(-1000, 1000, n).astype(np.int32)
    z = np.concatenate([a, np.zeros(512 - n, np.int32)])
    m = np.concatenate([a, np.full(512 - n, -1, np.int32)]).reshape(128, 4)[:, ::-1].ravel()
    t = np.arange(128)
    # s[2]: even threads ignore the source of the first 8 bytes (zeros), odd ones take a[0], a[1]; the next 8 bytes are a[2], a[3]
    s2 = np.array([[0 if k % 2 == 0 else a[0], 0 if k % 2 == 0 else a[1], a[2], a[3]] for k in range(128)])
    c.inp("a", a)
    c.out("o", np.concatenate([z[(t * 4 + 5) & 511], m[(t * 4 + 9) & 511], s2[(t + 1) & 127, 0] + s2[t, 3]]).astype(np.int32))
    c.launch("cp_async", 1, 128, ["a", "o", s32(n)])


@cuda("mbarrier", "sync.cu", "mbarrier phases, cp.async arrivals, noComplete, pending_count, test_wait by parity and by token", ALL)
def _(c):
    n = 5
    a = rng(97).integers(-1000, 1000, (n, 128)).astype(np.int32)
    acc = np.zeros(128, np.int64)
    for k in range(n):
        acc = acc * 5 + a[k, ::-1]
    c.inp("a", a); c.out("o", np.concatenate([acc, np.full(128, n)]).astype(np.int32))
    c.launch("mbarrier", 1, 128, ["a", "o", s32(n)])


@cuda("pdl", "sync.cu", "programmatic dependent launch: griddepcontrol.launch_dependents and .wait", ("90a.o3",))
def _(c):
    n = 1000
    c.scratch("a", "s32", [n])
    c.out("o", (np.arange(n)[::-1] * 3 + 1).astype(np.int32))
    c.launch("pdl_first", 8, 128, ["a", s32(n)])
    c.launch("pdl_second", 8, 128, ["a", "o", s32(n)], attributes={"pdl": True})
