from base import *
from int_cases import S, U, popc

N = 256


def lanes(fn, A):
    """fn(warp's values) -> rows of 32 -> array [rows, N]."""
    out = [fn(A[w:w + 32]) for w in range(0, len(A), 32)]
    return np.concatenate([np.array(o, dtype=object) for o in out], axis=1)


def to(a, t):
    w = np.dtype(t).itemsize * 8
    f = S if np.dtype(t).kind == "i" else U
    return np.array([[f(int(v), w) for v in r] for r in a], t)


def src(l, mode, b, c, ):
    """PTX shfl.sync: source lane and predicate."""
    seg, cl = (c >> 8) & 31, c & 31
    b &= 31
    mx = (l & seg) | (cl & ~seg & 31)
    mn = l & seg
    if mode == "up": j = l - b; p = j >= mx
    elif mode == "down": j = l + b; p = j <= mx
    elif mode == "bfly": j = l ^ b; p = j <= mx
    else: j = mn | (b & ~seg & 31); p = j <= mx
    return (j if p else l), int(p)


@cuda("shuffles", "warp.cu", "shfl.sync in every mode, widths, predicates, partial masks, 64-bit", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    a = rng(71).integers(-1000, 1000, N).astype(np.int32)
    def f(v):
        v = [int(t) for t in v]
        L = range(32)
        g = lambda j: [v[k] for k in j]
        rows = [g([5] * 32), g([(l * 7 + 3) & 31 for l in L]), g([(l & ~7) | (l + 1) & 7 for l in L]), g([5] * 32),
                g([l - 1 if l else 0 for l in L]), g([l - 5 if l % 16 >= 5 else l for l in L]), g([l + 3 if l + 3 < 32 else l for l in L]), g([l + 2 if l % 4 + 2 < 4 else l for l in L]),
                g([l ^ 16 for l in L]), g([l ^ 3 for l in L])]
        # __shfl_xor with width 4: c = (32-4)<<8 | 0x1f
        rows.append(g([src(l, "bfly", 9, 28 << 8 | 31)[0] for l in L]))
        rows += [g([l ^ 1 for l in L]), [l ^ 1 for l in L], g([l + 4 if l + 4 < 32 else l for l in L])]
        for mode, b, cc in (("up", lambda l: 4, 0x800), ("idx", lambda l: l * 3, 0x1c03), ("down", lambda l: 6, 0x101f), ("bfly", lambda l: 12, 0x1007)):
            s = [src(l, mode, b(l), cc) for l in L]
            rows += [g([j for j, _ in s]), [p for _, p in s]]
        rows.append([v[(l + 2) & 31 | 1] if l & 1 else -1 for l in L])
        return rows
    c.inp("a", a)
    c.out("o", to(lanes(f, a), np.int32))
    c.launch("shuffles", 2, 128, ["a", "o", s32(N)])


@cuda("votes", "warp.cu", "vote, match, redux, activemask, partial masks in divergent branches, lane masks", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    a = rng(72).integers(-50, 50, N).astype(np.int32)
    a[32:64] = a[32]
    def f(v):
        v = [int(t) for t in v]
        L = range(32)
        bal = lambda p: sum(1 << l for l in L if p(v[l]))
        rep = lambda x: [x] * 32
        ux = [U(x) for x in v]
        import functools, operator
        red = lambda op: functools.reduce(op, ux)
        mall = lambda k: U(-1) if len({k(x) for x in v}) == 1 else 0
        rows = [rep(int(all(x > -100 for x in v))), rep(int(all(x > 0 for x in v))), rep(int(any(x > 40 for x in v))), rep(0),
                rep(bal(lambda x: x & 1)), rep(1), rep(int(len({x > 0 for x in v}) == 1)),
                [bal(lambda y: y & 7 == x & 7) for x in v], rep(U(-1)), rep(1), rep(mall(lambda x: x & 3)), rep(int(mall(lambda x: x & 3) != 0)),
                [bal(lambda y: y & 3 == x & 3) for x in v], rep(sum(v)), rep(min(v)), rep(max(v)), rep(min(ux)), rep(max(ux)),
                rep(red(operator.and_)), rep(red(operator.or_)), rep(red(operator.xor)),
                [sum(1 << j for j in range(11) if v[j] & 2) if l < 11 else sum(v[11:20]) if l < 20 else sum(1 << j for j in range(20, 32) if v[j] & 1 == v[l] & 1) for l in L],
                [3 if x & 1 else 0 for x in v],
                [(1 << l) - 1 for l in L], [(2 << l) - 1 for l in L], [1 << l for l in L], [U(-1 << l) for l in L], [U(-2 << l) for l in L]]
        return rows
    c.inp("a", a)
    c.out("o", to(lanes(f, a), np.uint32))
    c.launch("votes", 2, 128, ["a", "o", s32(N)])


@cuda("elect", "warp.cu", "elect.sync on full and partial masks (any leader counts)", ("90a.o3",))
def _(c):
    c.out("o", np.full(64, 3, np.int32))
    c.launch("elect", 1, 64, ["o"])


@cuda("reduce_scan", "warp.cu", "block sum and scan over shuffles and shared memory, __syncwarp exchange between half warps", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    r = rng(73)
    n = 1003
    a = r.normal(size=(3, n)).astype(f32)
    b = r.integers(-100, 100, (3, 256)).astype(np.int32)
    c.inp("a", a); c.inp("b", b)
    # n additions in f32
    c.out("sum", a.astype(f64).sum(1).astype(f32), abs=n * 2.0**-24 * float(np.abs(a).sum(1).max()) / 8, rel=2.0**-23)
    q = np.cumsum(b, 1).reshape(3, 8, 2, 16)
    for step in range(4):                      # half `step & 1` writes, the other adds
        w = step & 1
        q[:, :, 1 - w] += q[:, :, w] + step
    c.out("scan", q.reshape(3, 256).astype(np.int32))
    c.launch("reduce_scan", 3, 256, ["a", "b", "sum", "scan", s32(n)])


@cuda("diverge", "warp.cu", "nested divergence: goto out of a loop, early return, continue, fall-through", ("90a.o3", "80.o3", "90a.o1", "90a.o0"))
def _(c):
    n = 250
    a = rng(74).integers(0, 120, n).astype(np.int32)
    o = np.full(n, -12345, np.int32)
    for i in range(n):
        x, lane, r, jump = int(a[i]), i % 32, 0, False
        if x & 1:
            if x & 2:
                for k in range(x & 15):
                    r += k * x
                    if r > 5000: jump = True; break
            else:
                k = lane
                while True:
                    r ^= k * 3; k -= 1
                    if k != 7: r += 2
                    if not k > 0: break
            if not jump: r += 1
        elif x % 3 == 0: r = -x
        else:
            m = x % 5
            if m == 0: r = 1
            elif m == 1: r = x + 2
            elif m == 2: r = 2
            else:
                if x > 50: continue
                r = 99
        o[i] = r if jump else S(r * 2)
    c.inp("a", a)
    c.out("o", o, inp=np.full(n, -12345, np.int32))
    c.launch("diverge", 2, 128, ["a", "o", s32(n)])


@cuda("cg_tiles", "warp.cu", "cooperative groups: tiles, reduce, scan, coalesced, binary and labeled partitions", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    a = rng(75).integers(-50, 60, N).astype(np.int32)
    def f(v):
        v = [int(t) for t in v]
        L = range(32)
        seg = lambda l, w: v[l // w * w:l // w * w + w]
        import functools, operator
        rows = [[seg(l, 8)[3] for l in L], [v[l + 2] if l % 8 + 2 < 8 else v[l] for l in L], [v[l ^ 1] for l in L],
                [sum(1 << j for j, x in enumerate(seg(l, 8)) if x & 1) for l in L], [int(any(x > 40 for x in seg(l, 4))) for l in L], [int(all(x > -20 for x in seg(l, 4))) for l in L],
                [sum(v)] * 32, [min(seg(l, 8)) for l in L], [functools.reduce(operator.xor, seg(l, 4)) for l in L],
                [sum(v[l // 8 * 8:l + 1]) for l in L], [sum(v[:l]) for l in L], [2 if x % 3 == 0 else -7 for x in v]]
        same = lambda l, key: [j for j in L if key(v[j]) == key(v[l])]
        p = lambda x: x & 1
        q = lambda x: x & 3
        rows += [[len(same(l, p)) for l in L], [len([j for j in same(l, p) if j < l]) for l in L], [sum(v[j] for j in same(l, p)) for l in L],
                 [len(same(l, q)) for l in L], [max(v[j] for j in same(l, q)) for l in L]]
        return rows
    t = np.arange(N) % 128
    head = np.stack([t, t // 32, t % 8, t % 32 // 8]).astype(np.int32)
    c.inp("a", a)
    c.out("o", np.concatenate([head, to(lanes(f, a), np.int32)]))
    c.launch("tiles", 2, 128, ["a", "o", s32(N)])


def regs(name, vs, cluster, kern_rows):
    @cuda(name, "warp.cu", "special registers in three dimensions, clock and globaltimer monotonic, nanosleep" + (", clusters" if kern_rows else ""), vs)
    def _(c):
        g, b = (4, 2, 3), (8, 6, 2)
        rows = []
        for bz in range(g[2]):
            for by in range(g[1]):
                for bx in range(g[0]):
                    for tz in range(b[2]):
                        for ty in range(b[1]):
                            for tx in range(b[0]):
                                tid = (tz * b[1] + ty) * b[0] + tx
                                r = [tx, ty, tz, bx, by, bz, 862, 423, tid % 32, 1, 1, g[1], 4096, 1]
                                if kern_rows:
                                    cx, cy = cluster[:2]
                                    r += [bx // cx, g[0] // cx, bx % cx + by % cy * cx, cx * cy, bx % cx]
                                rows.append(r)
        n = len(rows)
        c.out("o", np.array(rows, np.int32).T.copy())
        c.out("o64", np.full(n, 7, np.uint64))
        c.launch("special_regs", g, b, ["o", "o64"], smem=4096, cluster=cluster)


regs("special_regs", ("90a.o3", "90a.o0"), (2, 2, 1), True)
regs("special_regs_sm80", ("80.o3",), (1, 1, 1), False)
