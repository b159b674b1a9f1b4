from base import *
from int_cases import S, U, popc, cmod

N = 301
ALL = ("90a.o3", "80.o3", "90a.o1", "90a.o0", "90a.g")


@cuda("dense_switch", "control.cu", "a dense switch (brx.idx or a branch tree), fall-through, per-lane divergence", ALL + ("90a.li", "90a.src"))
def _(c):
    r = rng(61)
    a = r.integers(-3, 15, N).astype(np.int32)
    o, o2 = [], np.zeros(N, np.int32)
    for i, x in enumerate(a):
        x = int(x)
        f = {0: x + N, 1: x * 17, 2: x ^ 0x55, 3: x << 7, 4: N - x, 5: x * x * N, 6: -x, 7: i // 3 + i, 8: i, 9: N % max(x + 1, 1),
             10: next(k for k in range(99) if k * k >= N), 11: popc(i * 77)}
        o.append(f.get(x, -1000 - x))
        if x in (2, 4): o2[i] = x
    c.inp("a", a)
    c.out("o", np.concatenate([np.array(o, np.int32), o2]), fill=0)
    c.launch("dense_switch", 3, 128, ["a", "o", s32(N)])


@cuda("brx_idx", "control.cu", "brx.idx with .branchtargets, divergent", ("90a.o3", "80.o3"))
def _(c):
    a = rng(67).integers(0, 1000, N).astype(np.int32)
    c.inp("a", a)
    f = [lambda x: x + 100, lambda x: x * 3, lambda x: x ^ 0xff00, lambda x: x ^ 0xff00]
    c.out("o", np.array([f[x & 3](x) for x in a.tolist()], np.int32))
    c.launch("brx_idx", 3, 128, ["a", "o", s32(N)])


@cuda("collatz", "control.cu", "divergent while loops with break and continue, grid-stride", ALL)
def _(c):
    a = rng(62).integers(1, 2**31, N).astype(np.uint32)
    a[:3] = [1, 2, 27]
    def f(v):
        s = 0
        while v > 1:
            if s > 400: return -1
            s += 1
            v = v >> 1 if v % 2 == 0 else v * 3 + 1
        return s
    c.inp("a", a)
    c.out("o", np.array([f(int(v)) for v in a], np.int32))
    c.launch("collatz", 2, 96, ["a", "o", s32(N)])


@cuda("recursion", "control.cu", "recursive device functions", ALL)
def _(c):
    def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
    def ack(m, n): return n + 1 if m == 0 else ack(m - 1, 1) if n == 0 else ack(m - 1, ack(m, n - 1))
    c.out("o", np.array([fib(t % 16) * 1000 + ack(t % 3, t % 5) for t in range(64)], np.int32))
    c.launch("recursion", 1, 64, ["o"])


@cuda("fn_pointers", "control.cu", "function pointers in a global array, uniform and divergent indirect calls", ALL)
def _(c):
    a = rng(63).integers(0, 100, N).astype(np.int32)
    f = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a ^ b]
    c.inp("sel", a)
    c.out("o", np.array([S(f[a[i] & 3](i * 3, 100 - i) + f[(int(a[0]) + 1) & 3](i, 7) * 1000) for i in range(N)], np.int32))
    c.launch("fn_pointers", 3, 128, ["sel", "o", s32(N)])


@cuda("virtuals", "control.cu", "virtual functions (vtables in global memory, indirect calls)", ALL)
def _(c):
    w = rng(64).uniform(0.1, 9, N).astype(f32)
    sq = (w.view(np.int32) >> 20) & 1
    area = np.where(sq, w * w, f32(0.5) * w * f32(4))
    c.inp("w", w)
    c.out("o", np.concatenate([area, np.where(sq, 4, -1).astype(f32)]), exact=True)
    c.launch("virtuals", 3, 128, ["w", "o", s32(N)])


@cuda("structs", "control.cu", "structs by value as kernel parameter, function parameter and result; byte and short parameters", ALL)
def _(c):
    import struct
    blob = struct.pack("<d6i ihbx 8x 4f", 1.5, *range(1, 7), 11, -22, 33, 0.5, 1.5, 2.5, 3.5)
    # d 0..8, v 8..32, s 32..40, padding to 48, f 48..64
    assert len(blob) == 64
    od, oi, of = [], [], []
    s8 = lambda v: S(v, 8)
    def tr(b, k, s):
        return {"d": b["d"] * 2 + k, "v": [b["v"][5 - i] + s[0] for i in range(6)], "s": (s[0] - 1, S(s[1] + b["s"][1], 16), s8(s[2] ^ b["s"][2])), "f": b["f"][::-1]}
    for t in range(64):
        b = {"d": 1.5, "v": list(range(1, 7)), "s": (11, -22, 33), "f": [0.5, 1.5, 2.5, 3.5]}
        r = tr(b, t, (t, S(t * 3, 16), s8(t + 1)))
        r = tr(r, 1, r["s"])
        by = U((t * 5), 8)
        oi += r["v"] + list(r["s"]) + [U(by + (t & 3) if t & 1 else by - (t & 7), 8)]
        od.append(r["d"]); of += [2 * v for v in r["f"]]
    c.out("od", np.array(od), exact=True); c.out("oi", np.array(oi, np.int32)); c.out("of", np.array(of, f32), exact=True)
    c.launch("structs", 1, 64, [{"bytes": blob.hex()}, "od", "oi", "of"])


@cuda("globals", "control.cu", "constant memory, initialised globals with pointers between them, strings, state kept between launches", ALL)
def _(c):
    tab = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7, 9, 5, 0, 2, 8, 8, 4]
    g = b'bytes\n\t"\\end\0'
    o, od = [], []
    for t in range(96):
        v, s = [(5, "zero"), (6, "one"), (7, "two!")][t % 3]
        o += [tab[t % 37], v * 100 + ord(s[-1]), [30, 40][t & 1] + 0, [-1, 2, -3, 4, -5][t % 5], g[t % len(g)], len(s), 3 + len(g), 1]
        od.append([0.5, -1.25, 3.0][t % 3] * tab[(t * t) % 37])
    c.out("o", np.array(o, np.int32)); c.out("od", np.array(od), exact=True)
    c.out("after", np.arange(32, dtype=np.int32) + 96)
    c.launch("globals", 1, 96, ["o", "od"])
    c.launch("globals_after", 1, 32, ["after"])


@cuda("local_array", "control.cu", "dynamically indexed local arrays (.local depot)", ALL)
def _(c):
    idx = rng(65).integers(0, 1000, N).astype(np.int32)
    o = []
    for i in range(N):
        buf = [k * k + i for k in range(24)]; sh = [k * -7 for k in range(10)]; w = [(1 << (k * 12 + 3)) + i for k in range(4)]
        j = int(idx[i])
        buf[(j * 5) % 24] += 1000; sh[(j * 3) % 10] = S(sh[(j * 3) % 10] ^ 0x55, 16); w[j & 3] *= 3
        s = 0
        for k in range(4):
            m = (j + k * 7) % 24
            s = S(s * 3 + buf[m] + sh[m % 10] + S(w[m & 3] >> 9))
        o.append(s)
    c.inp("idx", idx); c.out("o", np.array(o, np.int32))
    c.launch("local_array", 3, 128, ["idx", "o", s32(N)])


@cuda("alloca", "control.cu", "alloca with a per-thread size", ALL)
def _(c):
    a = rng(66).integers(0, 1000, 50).astype(np.int32)
    o = []
    for t in range(64):
        m = 4 + t % 5
        s = 0
        for k in range(m):
            s = S(s * 7 + int(a[(t + m - 1 - k) % 50]))
        o.append(s)
    c.inp("a", a); c.out("o", np.array(o, np.int32))
    c.launch("alloca_rev", 1, 64, ["a", "o", s32(50)])


@cuda("printf_assert", "control.cu", "printf formats, passing assert, a trap, breakpoint and exit that are not reached", ("90a.o3", "80.o3", "90a.o0"))
def _(c):
    a = np.arange(32, dtype=np.int32) * 7 - 50
    c.inp("a", a)
    c.stdout = ("plain\n"
                "-5 7 3000000000 beef BEEF 10 q str %|\n"
                "   42|42   |00042|+42| 42|0x2a|007\n"
                "3.250000 0.67 1.234568e+04 0.0001     -1.500|9.8       |+2\n"
                "-1234567890123 12345678901234567890 123456789abcdef 77\n"
                "    12|0.333|     right|left  |cu\n"
                "-3 4000000000 0x1p+0\n"
                "no args returns 1\n"
                "ret 1\n" + "".join(f"thread {31 - k} a={a[31 - k]}\n" for k in range(3)))
    c.launch("print_it", 1, 32, ["a"])
